//! Files to chunks: read, cut and planned off the async runtime.

use std::io;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, future};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::{Mode, PipelineError};
use crate::ledger::Ledger;
use crate::model::path::Sanitized;
use crate::model::{Change, Failure, Limits, Planned, Record, Stage as At, Version};
use crate::report::chain;
use crate::source::ReadError;
use crate::telemetry::Counters;
use crate::{chunk, extract, plan, source};

/// Files that are prepared at once; each holds its text. More would not help two cores and costs memory.
const AT_ONCE: usize = 2;

/// Files that one turn on a blocking thread takes if they are ready: handing over costs more than a small file.
const PER_TURN: usize = 32;

/// What the stage works with.
pub(super) struct Stage {
    pub(super) mode: Mode,
    pub(super) source: source::Config,
    pub(super) chunk: chunk::Config,
    pub(super) limits: Limits,
    pub(super) ledger: Arc<Ledger>,
    pub(super) counters: Arc<Counters>,
}

/// The next stage is gone, which is the end and no error.
struct Closed;

/// Runs until `changes` ends and every chunk has been handed on.
pub(super) async fn run(
    stage: Stage,
    changes: mpsc::Receiver<Change>,
    planned: mpsc::Sender<Planned>,
    records: mpsc::Sender<Record>,
) -> Result<(), PipelineError> {
    let stage = Arc::new(stage);
    ReceiverStream::new(changes)
        .ready_chunks(PER_TURN)
        .map(|group| {
            let (stage, planned, records) = (Arc::clone(&stage), planned.clone(), records.clone());
            spawn_blocking(move || {
                // Errors are the end: whoever comes next has the cause.
                let _closed = group.into_iter().try_for_each(|change| {
                    stage.prepare(change, &planned, &records)?;
                    stage.counters.prepared();
                    Ok::<_, Closed>(())
                });
            })
        })
        .buffer_unordered(AT_ONCE)
        .map_err(PipelineError::Panicked)
        .try_for_each(|()| future::ready(Ok(())))
        .await
}

impl Stage {
    /// Returns whether a file that could not be read is left for another look rather than failed. One that may not be read is
    /// failed: when its permissions change, it is a change.
    fn comes_again(&self, error: &ReadError) -> bool {
        match error {
            ReadError::Changing | ReadError::Gone => true,
            ReadError::Io(error) => self.mode == Mode::Follow && error.kind() != io::ErrorKind::PermissionDenied,
            ReadError::NotRegular | ReadError::TooLarge { .. } => false,
        }
    }

    /// Brings one file to its chunks, or says why it has none. Blocks while the next stage is busy.
    fn prepare(&self, change: Change, planned: &mpsc::Sender<Planned>, records: &mpsc::Sender<Record>) -> Result<(), Closed> {
        let say = |record| records.blocking_send(record).map_err(|_| Closed);
        let read = match self.mode {
            Mode::Follow => source::read(&self.source, &change),
            Mode::Once => source::read_insisting(&self.source, &change),
        };
        let Change { path, claim, .. } = change;
        let contents = match read {
            Ok(contents) => contents,
            Err(error) if self.comes_again(&error) => {
                let document = Sanitized(&path);
                match self.mode {
                    Mode::Follow => debug!(%document, error = %chain(&error), "not ready, looking again later"),
                    Mode::Once => {
                        warn!(%document, error = %chain(&error), "would not hold still, left for the next run");
                        self.counters.unstable();
                    }
                }
                claim.again();
                return Ok(());
            }
            Err(error) => return say(Record::Failed(path, failure(&error))),
        };
        let hash = contents.hash;
        let extracted = match extract::text(&path, contents.bytes) {
            Ok(extracted) => extracted,
            Err(why) => return say(Record::Skipped(path, why)),
        };
        let chunks = chunk::split(&extracted.text, extracted.format, &self.chunk, &self.limits);
        let plan = plan::diff(&path, &extracted.text, &chunks, &self.ledger.standing(&path));
        self.counters.planned(plan.embed.len() as u64, plan.keep as u64);
        let version = Arc::new(Version {
            path,
            hash,
            media_type: extracted.media_type,
            chunks: chunks.len(),
            embed: plan.embed.len(),
            retract: plan.retract,
            claim,
        });
        if plan.embed.is_empty() {
            return say(Record::Unchanged(version));
        }
        for (index, id) in plan.embed {
            let chunk = &chunks[index];
            let chunk = Planned {
                version: Arc::clone(&version),
                id,
                index,
                span: chunk.span.clone(),
                headings: Arc::clone(&chunk.headings),
                tokens: chunk.tokens,
                text: extracted.text[chunk.span.clone()].into(),
            };
            planned.blocking_send(chunk).map_err(|_| Closed)?;
        }
        Ok(())
    }
}

fn failure(error: &ReadError) -> Failure {
    let (class, advice) = match error {
        ReadError::TooLarge { .. } => ("too-large", "split the file, or raise `source.max-file-size`"),
        ReadError::NotRegular => ("not-regular", "only regular files are read"),
        ReadError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => ("permission", "let riverbed's user read it"),
        ReadError::Changing | ReadError::Gone | ReadError::Io(_) => ("io", "see that the file can be read"),
    };
    Failure { stage: At::Read, class, message: chain(error), attempts: 1, request_id: None, advice: advice.to_owned() }
}
