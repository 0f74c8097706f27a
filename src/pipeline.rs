//! The wiring, and the only file that knows every stage.
//!
//! ```text
//! source ─▶ prepare ─▶ embed ─▶ committer ─▶ completed files
//!              │         ▲          │
//!              └ recall ─┘          └▶ chat: questions wait in the ledger
//! ```
//!
//! Between two stages is a bounded channel. Stages live here; what they work with (chunks, calls, lines) has rooms of its own.

mod admission;
mod batch;
mod call;
pub mod chat;
mod chunk_context;
mod committer;
mod document_chunks;
pub mod dry_run;
mod embed;
mod known_files;
mod prepare;
mod reload;
mod requeue_failed;
mod resizable_semaphore;
mod resplit;
mod single_flight;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, info, info_span, warn};

use crate::bedrock::CallError;
use crate::chunk;
use crate::domain::Fingerprints;
use crate::domain::change::Claims;
use crate::domain::{Change, Limits, Memory, Record, Retry, Setting};
use crate::embed::Embedder;
use crate::folder::{self, Found, SourceError};
use crate::ledger::{Damage, LedgerError, Reader, Working};
use crate::telemetry::Counters;
use crate::throttle::{Lane, Lanes};

use crate::commitlog::{DeliverError, Delivery};
use admission::Turns;
use chat::{Asker, Prompts};
pub use committer::skipped_config;
pub use reload::{Controlled, Controls, controls};

/// `[run]`: how the stages are joined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunConfig {
    /// Places in each queue between two stages. It limits memory; a full queue slows the stage before it.
    pub queue: NonZeroUsize,
    /// How long a stop waits for calls in flight. The next run repeats what is not finished then.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub grace: Duration,
    /// Interval of progress lines in the log, where no terminal shows progress live.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub progress_every: Duration,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            queue: NonZeroUsize::new(256).expect("256 is not zero"),
            grace: Duration::from_secs(30),
            progress_every: Duration::from_secs(10),
        }
    }
}

/// How long the pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Processes the folder once and ends.
    Once,
    /// Follows the folder until it is asked to stop.
    Follow,
}

/// What the pipeline is made of.
#[derive(Debug)]
pub struct PipelineParts {
    /// How long it runs.
    pub mode: Mode,
    /// The folder.
    pub source: folder::SourceConfig,
    /// How far the source has come.
    pub found: Arc<Found>,
    /// How texts are cut.
    pub chunk: chunk::ChunkConfig,
    /// What a chunk may be.
    pub limits: Limits,
    /// What makes vectors.
    pub embedder: Embedder,
    /// How long a call that is not full waits for another text.
    pub batch_wait: Duration,
    /// When calls are made, and when failed ones are made again.
    pub lane: Arc<Lane>,
    /// All lanes, that of the vectors and those of the models that are asked.
    pub lanes: Lanes,
    /// What may be changed while it runs.
    pub controlled: Controlled,
    /// The documents in progress.
    pub claims: Claims,
    /// What a person wants retried. It ends with `stop`, if its senders have not ended it before.
    pub retries: mpsc::Receiver<Retry>,
    /// Looks into the ledger for what is planned.
    pub reader: Reader,
    /// Looks into the ledger for what the source knows.
    pub memory: Reader,
    /// Records which files are being processed.
    pub working: Working,
    /// What shapes a vector.
    pub shape: Arc<Fingerprints>,
    /// The ledger, and the files that follow it.
    pub delivery: Delivery,
    /// Folder of the output.
    pub output: PathBuf,
    /// How the stages are joined.
    pub run: RunConfig,
    /// The prompts that run over documents.
    pub prompts: Arc<Prompts>,
    /// The models that are asked.
    pub askers: Vec<Asker>,
    /// What everything is counted in.
    pub counters: Arc<Counters>,
    /// What questions and answers are counted in.
    pub answers: Arc<Counters>,
    /// What the questions for contexts are counted in.
    pub contexts: Arc<Counters>,
}

/// Says why the pipeline ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The folder cannot be read.
    #[error("the source stopped")]
    Source(#[from] SourceError),
    /// The lines cannot be written, or the ledger cannot be read.
    #[error("the delivery stopped")]
    Deliver(#[from] DeliverError),
    /// No call can succeed until a person acts.
    #[error("Bedrock rejects these calls")]
    Halted(#[source] CallError),
    /// The same of the calls that ask for contexts.
    #[error("Bedrock rejects the calls for contexts")]
    NoContexts(#[source] CallError),
    /// A bug.
    #[error("a stage panicked")]
    Panicked(#[source] JoinError),
}

/// ```text
/// watch ─▶ read, cut, plan ─▶ (context) ─▶ pack ─▶ embed ─▶ write
///                                                            │ ▲
///                                           ledger: to ask ◀─┘ └─ ask
/// ```
///
/// Returns when everything that was accepted is in the files; or after `stop`, once the calls that were in flight have ended and what they
/// brought is in the files, but no later than `grace`. What was accepted and has no answer then is the next run's: the ledger knows.
///
/// # Errors
/// When a stage cannot go on. A document that cannot is no error: it is written down as failed.
#[expect(clippy::too_many_lines, reason = "the wiring: one stage after the other")]
pub async fn run(mut parts: PipelineParts, stop: CancellationToken) -> Result<(), PipelineError> {
    // Before the source looks at anything.
    requeue_failed::take_again(&parts.reader, parts.delivery.ledger(), &parts.source).map_err(DeliverError::from)?;
    let (damage, ledger) = (parts.delivery.ledger().damage(), parts.delivery.ledger().path().to_owned());
    let queue = parts.run.queue.get();
    let (changes_tx, changes) = mpsc::channel(queue);
    let (planned_tx, planned) = mpsc::channel(queue);
    let (records_tx, records) = mpsc::channel(queue);
    let (answers_tx, answers) = mpsc::channel(queue);

    let queues = parts.counters.queues();
    queues.show("changes", &changes_tx);
    queues.show("planned", &planned_tx);
    queues.show("records", &records_tx);

    let progress = Arc::new(chat::Progress::new());
    let prompts = Arc::new(Setting::new(Arc::clone(&parts.prompts)));
    let house = house(&parts, &prompts, &progress)?;
    let contexts = parts.prompts.context().and_then(|prompt| {
        let asker = parts.askers.iter().find(|asker| asker.model == prompt.model.as_str())?;
        Some((Arc::clone(prompt), asker.chat.clone(), Arc::clone(&asker.lane)))
    });
    let Controlled { max_in_flight, prompts: wanted, askers: newcomers } = parts.controlled;
    let lane = parts.lane;
    if parts.mode == Mode::Once {
        parts.lanes.all().iter().for_each(|lane| lane.gate.hurry());
    }
    let shared = Arc::new(single_flight::Shared::default());
    let mut workers = JoinSet::new();
    let memory = known_files::Remembering {
        ledger: parts.memory,
        terms: known_files::terms(&parts.shape, parts.source.max_file_size.as_u64()),
        records: records_tx.clone(),
        accepted: Mutex::default(),
    };
    // From here on stages are only started. At a stop the source closes its channel, and each later stage ends with the channel before it.
    workers.spawn(relay(parts.retries, records_tx.clone(), stop.clone()));
    let (mode, source, found) = (parts.mode, parts.source.clone(), Arc::clone(&parts.found));
    workers.spawn(
        follow(mode, source, Arc::new(memory), parts.claims.clone(), changes_tx, found, stop.clone())
            .instrument(info_span!("source")),
    );
    workers.spawn(chat::run(house, parts.askers, newcomers, answers_tx, stop.clone()).instrument(info_span!("chat")));
    let prepare = Arc::new(prepare::PrepareStage {
        mode: parts.mode,
        source: parts.source.clone(),
        chunk: parts.chunk,
        limits: parts.limits,
        elements: parts.embedder.settings().elements(),
        output: parts.output,
        shape: Arc::clone(&parts.shape),
        ledger: parts.reader,
        working: parts.working,
        turns: Turns::new(parts.source.max_file_size.as_u64()),
        shared: Arc::clone(&shared),
        prompts: Arc::clone(&prompts),
        counters: Arc::clone(&parts.counters),
        stop: stop.clone(),
    });
    let under = |counters: &Arc<Counters>| call::Under {
        mode: parts.mode,
        counters: Arc::clone(counters),
        stop: stop.clone(),
        is_trial: false,
    };
    let (documents_tx, documents) = mpsc::channel(1);
    if let Some((prompt, chat, lane)) = contexts {
        let stage = chunk_context::ContextStage {
            answering: chat::Answering { chat, lane, under: under(&parts.contexts), keeping: None },
            prompt,
            prepare: Arc::clone(&prepare),
            max_in_flight: max_in_flight.clone(),
            onward: prepare::Onward { planned: planned_tx.clone(), records: records_tx.clone() },
        };
        workers.spawn(chunk_context::run(stage, documents).instrument(info_span!("context")));
    }
    let onward = prepare::Onward { planned: planned_tx, records: records_tx.clone() };
    workers.spawn(prepare::run(prepare, changes, onward, documents_tx, stop.clone()).instrument(info_span!("prepare")));
    workers.spawn(
        embed::run(
            embed::EmbedStage {
                transport: parts.embedder,
                lane: Arc::clone(&lane),
                under: under(&parts.counters),
                batch_wait: parts.batch_wait,
                found: Arc::clone(&parts.found),
                texts: Arc::clone(&shared),
            },
            resizable_semaphore::Slots::new(max_in_flight),
            planned,
            records_tx,
        )
        .instrument(info_span!("embed")),
    );
    let hurry = CancellationToken::new();
    let calls = [&parts.counters, &parts.answers, &parts.contexts].map(Arc::clone);
    let stopping = Stopping {
        grace: parts.run.grace,
        stop: stop.clone(),
        hurry: hurry.clone(),
        shared: Arc::clone(&shared),
        calls,
        damage,
        ledger,
    };
    let writer = committer::CommitterStage {
        delivery: parts.delivery,
        source: parts.source,
        shape: parts.shape,
        shared,
        counters: parts.counters,
        answers: parts.answers,
        asking: progress,
        prompts,
        wanted,
        embed: lane,
        lanes: parts.lanes,
        claims: parts.claims,
        stop,
        hurry,
    };
    let runtime = Handle::current();
    workers.spawn_blocking(move || info_span!("sink").in_scope(|| committer::run(writer, &runtime, records, answers)));

    stopping.join(workers).await
}

/// Opens the house in which models are asked.
fn house(
    parts: &PipelineParts,
    prompts: &Arc<Setting<Prompts>>,
    progress: &Arc<chat::Progress>,
) -> Result<chat::House, PipelineError> {
    Ok(chat::House {
        mode: parts.mode,
        source: parts.source.clone(),
        chunk: parts.chunk.clone(),
        limits: parts.limits,
        shape: Arc::clone(&parts.shape),
        prompts: Arc::clone(prompts),
        ledger: parts.reader.again()?,
        output: parts.output.clone(),
        max_in_flight: parts.controlled.max_in_flight.clone(),
        counters: Arc::clone(&parts.answers),
        progress: Arc::clone(progress),
    })
}

/// How the stages are brought to an end.
struct Stopping {
    grace: Duration,
    stop: CancellationToken,
    /// Tells the writer that there is no time left.
    hurry: CancellationToken,
    shared: Arc<single_flight::Shared>,
    /// What calls in flight are counted in.
    calls: [Arc<Counters>; 3],
    /// What says that somebody has met damage in the ledger, and where that lies.
    damage: Damage,
    ledger: PathBuf,
}

impl Stopping {
    /// Waits for all stages to end, and after a stop no longer than the grace period for those that do not.
    async fn join(self, mut workers: JoinSet<Result<(), PipelineError>>) -> Result<(), PipelineError> {
        // After a stop no stage takes anything more in, no call begins, and none waits but for its answer. So each stage ends with the
        // last of its calls, the end of input runs down the channels, and the writer commits what the calls have brought. When grace is
        // over the other tasks are dropped, and the writer ends with what it has.
        let grace_is_over = async {
            self.stop.cancelled().await;
            // Who waits for room among the texts in progress waits for calls that are not made any more.
            self.shared.close();
            match self.in_flight() {
                0 => info!("stopping: no calls are in flight"),
                1 => info!("stopping: waiting for 1 call in flight"),
                calls => info!("stopping: waiting for {calls} calls in flight"),
            }
            tokio::time::sleep(self.grace).await;
        };
        tokio::pin!(grace_is_over);
        let mut outcome = Ok(());
        let (mut aborted, mut is_damaged) = (false, false);
        loop {
            let joined = tokio::select! {
                joined = workers.join_next() => joined,
                // Most who look into the ledger only try again: the source, the status.
                damaged = self.damaged(), if !is_damaged => {
                    is_damaged = true;
                    self.stop.cancel();
                    self.hurry.cancel();
                    outcome = outcome.and(Err(damaged));
                    continue;
                }
                () = &mut grace_is_over, if !aborted => {
                    match self.in_flight() {
                        0 => warn!("grace period over; ending with what is committed"),
                        1 => warn!("1 call is still in flight after the grace period, dropping it"),
                        calls => warn!("{calls} calls are still in flight after the grace period, dropping them"),
                    }
                    workers.abort_all();
                    self.hurry.cancel();
                    aborted = true;
                    continue;
                }
            };
            let ended = match joined {
                None => return outcome,
                Some(Err(error)) if aborted && error.is_cancelled() => Ok(()),
                Some(ended) => ended.map_err(PipelineError::Panicked).flatten(),
            };
            if ended.is_err() {
                self.stop.cancel();
                self.hurry.cancel();
            }
            outcome = outcome.and(ended);
        }
    }

    /// Waits until somebody meets damage in the ledger.
    async fn damaged(&self) -> PipelineError {
        self.damage.met().await;
        let met: Result<(), LedgerError> = self.damage.check(&self.ledger);
        DeliverError::from(met.expect_err("it was met")).into()
    }

    fn in_flight(&self) -> u64 {
        self.calls.iter().map(|counters| counters.totals().in_flight).sum()
    }
}

async fn follow(
    mode: Mode,
    config: folder::SourceConfig,
    memory: Arc<dyn Memory>,
    claims: Claims,
    changes: mpsc::Sender<Change>,
    found: Arc<Found>,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    match mode {
        Mode::Once => folder::scan_once(config, memory, claims, changes, stop, &found).await?,
        Mode::Follow => folder::follow(config, memory, claims, changes, stop, &found).await,
    }
    Ok(())
}

/// Hands what a person asks for to the writer, which alone writes to the ledger. Like the source it obeys `stop`: its sender must
/// not keep the writer waiting.
async fn relay(
    mut retries: mpsc::Receiver<Retry>,
    records: mpsc::Sender<Record>,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    loop {
        let retry = tokio::select! {
            retry = retries.recv() => retry,
            () = stop.cancelled() => None,
        };
        let Some(retry) = retry else { return Ok(()) };
        if records.send(Record::Retry(retry)).await.is_err() {
            return Ok(());
        }
    }
}

/// Runs a future as a task of its own, on any core, for as long as the returned future lives.
fn owned<T: Send + 'static>(
    task: impl Future<Output = Result<T, PipelineError>> + Send + 'static,
) -> impl Future<Output = Result<T, PipelineError>> {
    #[expect(clippy::disallowed_methods, reason = "the handle aborts the task when it is dropped: it has one owner")]
    let handle = AbortOnDropHandle::new(tokio::spawn(task));
    async { handle.await.map_err(PipelineError::Panicked).flatten() }
}
impl From<LedgerError> for PipelineError {
    fn from(error: LedgerError) -> Self {
        Self::Deliver(error.into())
    }
}
