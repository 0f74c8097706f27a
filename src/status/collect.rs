//! Collects the daemon's status for commands, scrapes and pages.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::from_ledger::{Bounds, NAMED, Standing, name};
use super::reload_status::Reloads;
use super::schema::{
    Answers, Calls, Chunks, Closed, Daemon, Documents, Folders, Model, Money, SinceStart, Source, State, Status, Waiting,
};
use crate::bedrock::ModelKey;
use crate::domain::moment::rfc3339;
use crate::domain::{Claims, Setting, Usd};
use crate::folder::{Found, Watching};
use crate::ledger::Reader;
use crate::report::chain;
use crate::telemetry::{Counters, Meters, Totals};
use crate::throttle::{Lane, Lanes, Prices, gate::Closing};

/// What the ledger says is read again after this time at the earliest…
const FRESH: Duration = Duration::from_secs(1);
/// … and after so many times as long as reading it took, so that being watched costs next to nothing however much it holds.
const SHARE: u32 = 200;

/// What the view is of.
#[derive(Debug)]
pub struct Parts {
    /// Looks into the ledger.
    pub reader: Reader,
    /// What is counted of documents and vectors.
    pub counters: Arc<Counters>,
    /// The same of questions and answers.
    pub answers: Arc<Counters>,
    /// The same of contexts.
    pub contexts: Arc<Counters>,
    /// How the source is.
    pub found: Arc<Found>,
    /// The documents in progress.
    pub claims: Claims,
    /// What the calls of each model share.
    pub lanes: Lanes,
    /// Whether vectors are made: else the first lane, which is theirs, is left out.
    pub has_vectors: bool,
    /// What calls cost.
    pub prices: Setting<Prices>,
    /// Cancelled when the daemon is to stop.
    pub stop: CancellationToken,
}

/// How the daemon is doing.
#[derive(Debug)]
pub struct View {
    parts: Parts,
    started: SystemTime,
    url: OnceLock<String>,
    folders: OnceLock<Folders>,
    /// What the ledger said last, and until when that is fresh enough.
    standing: Mutex<Option<(Instant, Arc<Standing>)>>,
    reloads: Reloads,
}

impl View {
    /// Begins to observe.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let (started, url, folders) = (SystemTime::now(), OnceLock::new(), OnceLock::new());
        Self { parts, started, url, folders, standing: Mutex::default(), reloads: Reloads::default() }
    }

    /// Sets where it is shown over HTTP, once.
    pub(super) fn set_url(&self, url: String) {
        let _set_before = self.url.set(url);
    }

    /// Sets where documents come from and lines go, once.
    pub fn set_folders(&self, folders: Folders) {
        let _set_before = self.folders.set(folders);
    }

    /// Sets what calls cost.
    pub fn set_prices(&self, prices: Prices) {
        self.parts.prices.set(prices);
    }

    /// Returns what became of the configuration when it was read again.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Returns what is measured.
    pub(super) fn meters(&self) -> &Meters {
        self.parts.counters.meters()
    }

    /// Returns what is counted of the calls that most are about: those for vectors, or where none are made of questions.
    pub(super) fn main_calls(&self) -> &Counters {
        if self.parts.has_vectors { &self.parts.counters } else { &self.parts.answers }
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.parts.reader
    }

    /// Returns what the daemon is about.
    #[must_use]
    pub fn state(&self) -> State {
        let found = &self.parts.found;
        match () {
            () if self.parts.stop.is_cancelled() => State::Stopping,
            () if found.trouble().is_some() => State::Waiting,
            () if found.is_watched() => State::Following,
            () => State::Starting,
        }
    }

    /// Waits until the daemon is to stop. Cancel safe.
    pub async fn stopping(&self) {
        self.parts.stop.cancelled().await;
    }

    /// Returns how it is doing. What the ledger says may be a second old, or more where reading it takes long. Cancel safe.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn status(self: &Arc<Self>) -> Result<Status, String> {
        let standing = self.standing().await?;
        let Parts { counters, answers, contexts, found, claims, lanes, has_vectors, prices, .. } = &self.parts;
        let (totals, questions, now) = (counters.totals(), calls(&[answers, contexts]), Instant::now());
        let under_way = claims.under_way(NAMED as usize);
        let lanes = lanes.all();
        let status = standing.status(&prices.get(), Bounds::default());
        let settling = found.settling();
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
        Ok(Status {
            state: self.state(),
            daemon: Some(Daemon { pid: std::process::id(), started_at: rfc3339(self.started), url: self.url.get().cloned() }),
            folders: self.folders.get().cloned(),
            documents: Documents {
                waiting: (under_way.documents + settling) as u64,
                oldest_waiting_seconds: under_way.oldest.first().map(|(_, since)| seconds(*since)),
                since_start: Some(SinceStart {
                    done: totals.done,
                    failed: totals.failed + totals.failed_asking,
                    skipped: totals.skipped(),
                    gone: totals.gone,
                    unchanged: totals.unchanged,
                }),
                ..status.documents
            },
            answers: Answers { since_start: Some(answers.totals().embedded), ..status.answers },
            chunks: Some(chunks(&totals)),
            calls: has_vectors.then(|| calls(&[counters])),
            questions: Some(questions),
            models: lanes.iter().skip(usize::from(!has_vectors)).map(|lane| model(lane)).collect(),
            money: self.money(status.money, totals.cost.dollars() + questions.usd),
            queues: counters.queues().look(),
            source: Some(source(found)),
            configuration: Some(self.reloads.look()),
            waiting: under_way
                .oldest
                .iter()
                .map(|(path, since)| Waiting { document: name(path), seconds: seconds(*since) })
                .collect(),
            ..status
        })
    }

    fn money(&self, money: Money, since_start: f64) -> Money {
        let budget = self.parts.lanes.all().iter().find_map(|lane| lane.account.budget().cloned());
        let (day, chat) = budget.map(|budget| (budget.standing(), budget.chat_standing())).unwrap_or_default();
        Money {
            budget_usd: day.map(|day| day.max.dollars()),
            budget_left_usd: day.map(|day| day.left().dollars()),
            chat_budget_usd: chat.map(|chat| chat.max.dollars()),
            chat_budget_left_usd: chat.map(|chat| chat.left().dollars()),
            since_start_usd: Some(since_start),
            ..money
        }
    }

    async fn standing(self: &Arc<Self>) -> Result<Arc<Standing>, String> {
        // Held while it is read: a request meanwhile gets the same answer.
        let mut kept = self.standing.lock().await;
        if let Some((_, standing)) = kept.as_ref().filter(|(until, _)| Instant::now() < *until) {
            return Ok(Arc::clone(standing));
        }
        let view = Arc::clone(self);
        let read = move || {
            let begun = Instant::now();
            Standing::read(view.reader()).map(|standing| (standing, begun.elapsed()))
        };
        let read = spawn_blocking(read).await.map_err(|error| error.to_string())?;
        let (standing, took) = read.map_err(|error| chain(&error))?;
        let standing = Arc::new(standing);
        *kept = Some((Instant::now() + FRESH.max(took * SHARE), Arc::clone(&standing)));
        Ok(standing)
    }
}

fn chunks(totals: &Totals) -> Chunks {
    Chunks {
        planned: totals.planned,
        embedded: totals.embedded,
        cached: totals.cached,
        rejected: totals.rejected,
        kept: totals.kept,
        retracted: totals.retracted,
        repaid: totals.repaid,
    }
}

/// Returns the calls of these counters together.
fn calls(counters: &[&Arc<Counters>]) -> Calls {
    let totals: Vec<_> = counters.iter().map(|counters| counters.totals()).collect();
    let sum = |of: fn(&Totals) -> u64| totals.iter().map(of).sum();
    let (ended, took) = counters.iter().fold((0, Duration::ZERO), |(ended, took), counters| {
        let (more, longer) = counters.latency();
        (ended + more, took + longer)
    });
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    let mean_seconds = (ended > 0).then(|| took.as_secs_f64() / ended as f64);
    Calls {
        in_flight: sum(|totals| totals.in_flight),
        answered: sum(|totals| totals.calls),
        texts: sum(|totals| totals.texts),
        tokens: sum(|totals| totals.tokens.get()),
        attempts: sum(|totals| totals.attempts),
        retried: sum(|totals| totals.retried),
        throttled: sum(|totals| totals.throttled),
        mean_seconds,
        usd: totals.iter().map(|totals| totals.cost).sum::<Usd>().dollars(),
        unpriced: sum(|totals| totals.unpriced),
        uncounted: sum(|totals| totals.uncounted),
    }
}

fn model(lane: &Lane) -> Model {
    let pace = lane.limiter.snapshot();
    let now = tokio::time::Instant::now();
    let asked = ModelKey::of_lane(lane.limiter.name());
    let closed = |Closing { reason, since, cause }: Closing| Closed {
        reason: reason.as_str().to_owned(),
        seconds: now.saturating_duration_since(since).as_secs_f64(),
        error: cause.as_ref().map(ToString::to_string),
        help: cause.as_ref().map(|cause| cause.advice_for(asked).into_owned()),
    };
    Model {
        name: lane.limiter.name().to_owned(),
        requests_per_second: pace.requests_now,
        tokens_per_second: pace.tokens_now,
        requests_ceiling: pace.requests_ceiling,
        tokens_ceiling: pace.tokens_ceiling,
        throttled_share: pace.throttled_share(),
        closed: lane.gate.closed().into_iter().map(closed).collect(),
    }
}

fn source(found: &Found) -> Source {
    let (by, because, help) = match found.watching() {
        Watching::Events => ("events", None, None),
        Watching::Scans { reason } => ("scans", Some(reason.to_string()), reason.help()),
    };
    Source {
        by: by.to_owned(),
        because,
        help,
        trouble: found.trouble(),
        scans: found.scans(),
        settling: found.settling() as u64,
        watchers_replaced: found.watchers_replaced(),
    }
}
