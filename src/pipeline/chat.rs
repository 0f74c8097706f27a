//! Questions about documents: questions that the ledger has pending go to chat models, a bounded number at once.
//!
//! It begins once a version's vectors are committed, and has no part in them: what waits to be asked waits in the ledger, so a chat model that
//! does not answer stops nothing and fills no memory. Each model has a lane of its own.

mod answer;
mod map_reduce;
mod prompts;
mod questions;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, future};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, info_span};

use super::call::{Place, Under};
use super::resizable_semaphore::Slots;
use super::{Mode, PipelineError, owned};
use crate::chat::Chat;
use crate::chunk;
use crate::domain::Fingerprints;
use crate::domain::{ContentHash, Inquiry, Limits, Record, Setting};
use crate::folder;
use crate::ledger::{LedgerError, Reader, Waits};
use crate::telemetry::Counters;
use crate::throttle::{Feeding, Lane};

pub use answer::try_out;
pub(super) use answer::{AnswerStage as Answering, Ended, Spent, converse};
use map_reduce::Keeping;
pub use prompts::{Prompts, messages_config};
use questions::{Desk, Made, PassedOver, PendingPrompt, Texting};
pub(super) use questions::{Joining, Subjects, Texts, failure, messages_keys, whole};

/// Questions that are ready at most: each holds its text.
const READY: usize = 4;

/// What of the ledger is looked at together.
const PAGE: usize = 64;

/// How long a skipped question rests before it is retried: its file was away, or is about to change.
const REST: Duration = Duration::from_secs(30);

/// How much may rest at once; beyond that nothing more is looked at before the rest is over.
const MOST_RESTING: usize = 10_000;

/// One model that is asked. Clones ask through the same lane.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The model's id, as it is configured.
    pub model: String,
    /// How it is asked.
    pub chat: Chat,
    /// When.
    pub lane: Arc<Lane>,
}

/// What the writer tells the chat stage.
#[derive(Debug)]
pub(super) struct Progress {
    under_way: Mutex<HashSet<Name>>,
    news: watch::Sender<u64>,
    /// Nothing more comes: all that is to be asked is in the ledger.
    is_fed: CancellationToken,
}

/// Names something that is asked: document and prompt.
type Name = (i64, Option<Arc<str>>);

impl Progress {
    pub(super) fn new() -> Self {
        Self { under_way: Mutex::default(), news: watch::Sender::new(0), is_fed: CancellationToken::new() }
    }

    /// Says that there may be more to ask.
    pub(super) fn there_is_more(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// Says that no more comes.
    pub(super) fn nothing_more_comes(&self) {
        self.is_fed.cancel();
        self.there_is_more();
    }

    /// Says that an inquiry has ended, or is left.
    pub(super) fn ended(&self, inquiry: &Inquiry) {
        self.lock().remove(&(inquiry.document, inquiry.prompt.clone()));
        self.there_is_more();
    }

    fn begin(&self, name: Name) -> bool {
        self.lock().insert(name)
    }

    fn forget(&self, name: &Name) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all models are asked with.
pub(super) struct House {
    pub(super) mode: Mode,
    pub(super) source: folder::SourceConfig,
    pub(super) chunk: chunk::ChunkConfig,
    pub(super) limits: Limits,
    pub(super) shape: Arc<Fingerprints>,
    pub(super) prompts: Arc<Setting<Prompts>>,
    pub(super) ledger: Reader,
    pub(super) output: PathBuf,
    /// Calls in flight at once, of each model.
    pub(super) max_in_flight: watch::Receiver<NonZeroUsize>,
    pub(super) counters: Arc<Counters>,
    pub(super) progress: Arc<Progress>,
}

/// Asks these models, and those that come meanwhile, until `stop`; or where the run ends by itself until nothing is left to ask.
pub(super) async fn run(
    house: House,
    askers: Vec<Asker>,
    mut newcomers: mpsc::Receiver<Asker>,
    records: mpsc::Sender<Record>,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let house = Arc::new(house);
    let mut asking = JoinSet::new();
    let ask = |asker| ask_one(Arc::clone(&house), asker, records.clone(), stop.clone()).instrument(Span::current());
    for asker in askers {
        asking.spawn(ask(asker));
    }
    if house.mode == Mode::Once {
        newcomers.close();
    }
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            Some(ended) = asking.join_next() => {
                let ended = ended.map_err(PipelineError::Panicked).flatten();
                if ended.is_err() {
                    stop.cancel();
                }
                outcome = outcome.and(ended);
            }
            Some(newcomer) = newcomers.recv() => drop(asking.spawn(ask(newcomer))),
            () = stop.cancelled(), if !newcomers.is_closed() => newcomers.close(),
            else => return outcome,
        }
    }
}

/// Asks one model.
async fn ask_one(
    house: Arc<House>,
    asker: Asker,
    records: mpsc::Sender<Record>,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let (mode, counters, progress) = (house.mode, Arc::clone(&house.counters), Arc::clone(&house.progress));
    let under = Under { mode, counters, stop: stop.clone(), is_trial: false };
    let feeding = asker.lane.feeding();
    let slots = Slots::new(house.max_in_flight.clone());
    let (room, stopping) = (asker.chat.room().clone(), stop.clone());
    let open = spawn_blocking(move || Ok::<_, LedgerError>((Desk::new(&house, room, stopping)?, house.ledger.again()?)));
    let (desk, ledger) = open.await.map_err(PipelineError::Panicked)??;
    let (ready, questions) = mpsc::channel(READY);
    let model = asker.model.clone();
    let keeping = Some(Keeping { ledger: Arc::new(ledger), records: records.clone() });
    let answer = Arc::new(answer::AnswerStage { chat: asker.chat, lane: asker.lane, under, keeping });
    let answering = slots
        .give(ReceiverStream::new(questions))
        .take_until(stop.clone().cancelled_owned())
        .map(|(slot, open): (_, PendingPrompt)| {
            let span = info_span!("ask", prompt = open.question.inquiry.prompt.as_deref().unwrap_or("messages"));
            let (answer, records) = (Arc::clone(&answer), records.clone());
            let place = Place::new(&answer.lane, Some(slot));
            owned(answer::run(answer, place, open, records).instrument(span))
        })
        .buffer_unordered(usize::MAX) // as many as there are slots
        // Only poll: calls in flight move only while this loop does.
        .try_for_each(|()| future::ready(Ok(())));
    let feeder = Feeder {
        model,
        desk: Arc::new(desk),
        mode,
        progress,
        ready,
        requests: Texting::default(),
        records: records.clone(),
        resting: HashMap::new(),
        feeding: Some(feeding),
    };
    let (fed, answered) = tokio::join!(feeder.run(stop), answering);
    fed.and(answered)
}

/// Hands pending questions of the ledger to the models.
struct Feeder {
    model: String,
    desk: Arc<Desk>,
    mode: Mode,
    progress: Arc<Progress>,
    ready: mpsc::Sender<PendingPrompt>,
    /// Room for the requests of this model: those of another may wait for long.
    requests: Texting,
    records: mpsc::Sender<Record>,
    /// Skipped questions, by version. One is retried when that has changed, or all of it has rested.
    resting: HashMap<Name, ContentHash>,
    /// Until nothing new comes.
    feeding: Option<Feeding>,
}

impl Feeder {
    async fn run(mut self, stop: CancellationToken) -> Result<(), PipelineError> {
        let mut news = self.progress.news.subscribe();
        loop {
            // Looked at before the ledger is: what comes later is news.
            news.mark_unchanged();
            let is_fed = self.progress.is_fed.is_cancelled();
            let begun = tokio::select! {
                begun = self.pass(&stop) => begun?,
                () = stop.cancelled() => return Ok(()),
            };
            let Some(begun) = begun else { return Ok(()) };
            if self.mode == Mode::Once && is_fed && begun == 0 {
                self.feeding = None;
            }
            let is_idle = begun == 0 && self.progress.lock().is_empty();
            if self.mode == Mode::Once && is_fed && is_idle {
                return Ok(());
            }
            tokio::select! {
                _told = news.changed() => {}
                () = tokio::time::sleep(REST), if !self.resting.is_empty() && self.mode == Mode::Follow => self.resting.clear(),
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Goes once through what waits for this model. Returns how much was begun, or `None` when nobody answers any more.
    async fn pass(&mut self, stop: &CancellationToken) -> Result<Option<u64>, PipelineError> {
        let mut after: Option<(i64, String)> = None;
        let mut begun = 0;
        loop {
            let (desk, model, from) = (Arc::clone(&self.desk), self.model.clone(), after.clone());
            let page = spawn_blocking(move || {
                desk.ledger.waiting(&model, from.as_ref().map(|(document, prompt)| (*document, prompt.as_str())), PAGE)
            });
            let page = page.await.map_err(PipelineError::Panicked)??;
            let Some(last) = page.last() else { return Ok(Some(begun)) };
            after = Some((last.document, last.prompt.clone().unwrap_or_default()));
            for waits in page {
                let name: Name = (waits.document, waits.prompt.as_deref().map(Arc::from));
                let rests = self.resting.get(&name) == Some(&waits.version)
                    || (self.mode == Mode::Follow && self.resting.len() >= MOST_RESTING);
                if rests || !self.progress.begin(name.clone()) {
                    continue;
                }
                let version = waits.version;
                match self.begin(waits, stop.clone()).await? {
                    None => return Ok(None),
                    Some(Ok(())) => {
                        begun += 1;
                        // What is left for another run is not begun again by this one.
                        if self.mode == Mode::Once {
                            self.resting.insert(name, version);
                        }
                    }
                    Some(Err(PassedOver)) => {
                        self.progress.forget(&name);
                        self.resting.insert(name, version);
                    }
                }
            }
        }
    }

    /// Makes the questions of something that waits, as fast as they are taken.
    async fn begin(&self, waits: Waits, stop: CancellationToken) -> Result<Option<Result<(), PassedOver>>, PipelineError> {
        let (desk, ready, records) = (Arc::clone(&self.desk), self.ready.clone(), self.records.clone());
        let requests = self.requests.clone();
        let made = spawn_blocking(move || {
            let mut is_taken = true;
            let made = desk.make(&waits, &mut |made| {
                is_taken = match made {
                    Made::Open(open) => match requests.take(open.bytes(), &stop) {
                        Some(requests) => ready.blocking_send(PendingPrompt { requests, ..*open }).is_ok(),
                        None => false,
                    },
                    Made::Told(record) => records.blocking_send(*record).is_ok(),
                } && !stop.is_cancelled();
                is_taken
            });
            made.map(|made| is_taken.then_some(made))
        });
        Ok(made.await.map_err(PipelineError::Panicked)??)
    }
}
