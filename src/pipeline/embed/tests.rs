//! The stage as it runs, limiter, gate and retries included, against a service in virtual time.

mod caps;
mod comeback;
mod conditions;
mod quotas;
mod service;
mod stops;
mod troubles;

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::service::{Kind, Seen, Service, draw};
use super::*;
use crate::domain::change::Claims;
use crate::domain::{ChunkId, ContentHash, DocumentPath, EmbeddingKey, Fingerprint, Observation, TokenCount, Version};
use crate::telemetry::Counters;
use crate::throttle::limiter::{self, Learned};
use crate::throttle::retry;

/// What came of a run.
struct Ended {
    seen: Seen,
    lane: Arc<Lane>,
    error: Option<PipelineError>,
    embedded: u64,
    rejected: u64,
    left: u64,
    /// The most texts that the stage held at once, its queue included.
    most_held: u64,
    took: Duration,
    totals: crate::telemetry::Totals,
}

struct Setting {
    texts: u64,
    tokens: std::ops::Range<u64>,
    caps: limiter::LimiterConfig,
    learned: Option<Learned>,
    lasts: Duration,
    mode: Mode,
    /// How far apart the texts come.
    apart: Duration,
    stop: CancellationToken,
    retry: retry::RetryConfig,
    slots: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            texts: u64::MAX,
            tokens: 400..401,
            caps: limiter::LimiterConfig { name: "embed".into(), ..limiter::LimiterConfig::default() },
            learned: None,
            lasts: Duration::from_mins(12),
            mode: Mode::Follow,
            apart: Duration::ZERO,
            stop: CancellationToken::new(),
            retry: retry::RetryConfig::default(),
            slots: 64,
        }
    }
}

/// Returns the seeds of a run of the limiter. Its numbers were chosen with others.
/// `SEEDS=32 cargo test embed::tests -- --nocapture` takes more than are run every day, and shows how what came of them is spread.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let count = std::env::var("SEEDS").ok().map_or(usual, |count| count.parse().expect("SEEDS is a number"));
    5_001..5_001 + count
}

/// Lets the stage work on a backlog until it ends or the time is over.
async fn work(service: &Arc<Service>, setting: Setting) -> Ended {
    work_with(service, setting, |_| ()).await
}

/// The same, with the lane as somebody has left it.
async fn work_with(service: &Arc<Service>, setting: Setting, prepare: impl FnOnce(&Lane)) -> Ended {
    let lane = Arc::new(Lane::new(setting.caps, setting.retry, setting.learned));
    prepare(&lane);
    if setting.mode == Mode::Once {
        lane.gate.hurry();
    }
    let (planned_tx, planned) = mpsc::channel(256);
    let (records_tx, mut records) = mpsc::channel(256);
    let counters = Arc::new(Counters::default());
    let stage = EmbedStage {
        transport: Arc::clone(service),
        lane: Arc::clone(&lane),
        under: Under { mode: setting.mode, counters: Arc::clone(&counters), stop: setting.stop, is_trial: false },
        batch_wait: Duration::from_millis(50),
        found: Arc::new(Found::default()),
        texts: Arc::default(),
    };
    let path = DocumentPath::new(Path::new("a.txt")).unwrap();
    let version = Arc::new(Version {
        hash: ContentHash::of(b""),
        media_type: "text/plain".into(),
        chunks: 1,
        lines: 1,
        seen: Observation { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) },
        retract: Vec::new(),
        asks: Vec::new(),
        claim: Claims::default().claim(&path).unwrap(),
        path,
    });
    let tokens = setting.tokens;
    let (settled, most_held) = (Cell::new(0), Cell::new(0));
    let feed = async {
        let planned_tx = planned_tx;
        for number in 0..setting.texts {
            let span = (tokens.end - tokens.start) as f64;
            let billed = tokens.start + (draw(number ^ 0xfeed) * span) as u64;
            // The estimate is off by up to a quarter, and by a tenth on the whole.
            let estimated = billed as f64 * (0.85 + 0.5 * draw(number ^ 0xe571));
            let text = format!("{number} {billed}");
            let planned = Planned {
                id: ChunkId::of_vector(&version.path, &text, 0),
                key: EmbeddingKey::of(&text, Fingerprint::of(&[])),
                version: Arc::clone(&version),
                index: 0,
                span: 0..1,
                headings: Arc::default(),
                tokens: TokenCount::new(estimated as u64),
                text: text.into(),
                context: None,
            };
            if planned_tx.send(planned).await.is_err() {
                break;
            }
            most_held.set((number + 1 - settled.get()).max(most_held.get()));
            if !setting.apart.is_zero() {
                sleep(setting.apart).await;
            }
        }
    };
    let begun = Instant::now();
    let (mut embedded, mut rejected, mut left) = (0, 0, 0);
    let drain = async {
        while let Some(record) = records.recv().await {
            match record {
                Record::Embedded(_) => embedded += 1,
                Record::Rejected(..) => rejected += 1,
                Record::Left(_) => left += 1,
                _ => {}
            }
            settled.set(embedded + rejected + left);
        }
    };
    let all = async {
        let slots = Slots::new(watch::Sender::new(NonZeroUsize::new(setting.slots).unwrap()).subscribe());
        let ((), ended, ()) = tokio::join!(feed, run(stage, slots, planned, records_tx), drain);
        ended.err()
    };
    let error = tokio::select! {
        error = all => error,
        () = sleep(setting.lasts) => None,
    };
    let seen = service.state.lock().unwrap().seen.clone();
    let most_held = most_held.get();
    Ended { seen, lane, error, embedded, rejected, left, most_held, took: begun.elapsed(), totals: counters.totals() }
}

const SECOND: Duration = Duration::from_secs(1);
const BURST: Kind = Kind::Bucket(SECOND);
