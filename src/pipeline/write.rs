//! The writer: a plain loop on a thread of its own, and the one place where a document ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::PipelineError;
use crate::ledger::Ledger;
use crate::model::path::Sanitized;
use crate::model::{DocumentPath, Failure, Record, Version};
use crate::sink::{Sink, SinkError};
use crate::telemetry::Counters;

/// Records that are written together at most; what has come while one group was written is the next.
const GROUP: usize = 256;

/// Writes until `records` ends.
pub(super) fn run(
    sink: Sink,
    ledger: &Ledger,
    counters: &Counters,
    mut records: mpsc::Receiver<Record>,
) -> Result<(), PipelineError> {
    let mut writer = Writer { sink, ledger, counters, open: HashMap::new(), ended: Vec::new() };
    let mut group = Vec::with_capacity(GROUP);
    while records.blocking_recv_many(&mut group, GROUP) > 0 {
        for record in group.drain(..) {
            writer.take(record)?;
        }
        writer.publish()?;
    }
    writer.sink.sync()?;
    Ok(())
}

struct Writer<'a> {
    sink: Sink,
    ledger: &'a Ledger,
    counters: &'a Counters,
    /// Versions of which some chunks are still under way. One a document: the claim sees to that.
    open: HashMap<DocumentPath, Open>,
    /// What is to be said once the lines are written.
    ended: Vec<Ended>,
}

struct Open {
    left: usize,
    failure: Option<Failure>,
}

enum Ended {
    Done(Arc<Version>),
    Failed(DocumentPath, Option<Arc<Version>>, Failure),
}

impl Writer<'_> {
    fn take(&mut self, record: Record) -> Result<(), SinkError> {
        match record {
            Record::Embedded(embedded) => {
                self.sink.upsert(&embedded)?;
                self.ledger.wrote(&embedded.planned.version.path, embedded.planned.id);
                self.counters.embedded(embedded.emulated);
                self.settle(embedded.planned.version, None)
            }
            Record::Rejected(planned, failure) => {
                self.counters.rejected();
                self.settle(planned.version, Some(failure))
            }
            Record::Unchanged(version) => self.end(version, None),
            Record::Skipped(path, why) => {
                info!(document = %Sanitized(&path), %why, "skipped");
                self.counters.skipped(&why);
                Ok(())
            }
            Record::Failed(path, failure) => self.fail(path, None, failure),
        }
    }

    /// Counts a chunk of a version as settled, and ends the version with its last.
    fn settle(&mut self, version: Arc<Version>, failure: Option<Failure>) -> Result<(), SinkError> {
        let open = self.open.entry(version.path.clone()).or_insert(Open { left: version.embed, failure: None });
        open.left -= 1;
        open.failure = open.failure.take().or(failure);
        if open.left > 0 {
            return Ok(());
        }
        let failure = self.open.remove(&version.path).and_then(|open| open.failure);
        self.end(version, failure)
    }

    /// Ends a version: its new lines stand, so what it replaced is taken back. Where some chunk was given up nothing is, so that
    /// a reader is left with the old text rather than with a gap.
    fn end(&mut self, version: Arc<Version>, failure: Option<Failure>) -> Result<(), SinkError> {
        if let Some(failure) = failure {
            return self.fail(version.path.clone(), Some(version), failure);
        }
        for id in &version.retract {
            self.sink.delete(*id, &version)?;
            self.ledger.retracted(&version.path, *id);
            self.counters.retracted();
        }
        self.ended.push(Ended::Done(version));
        Ok(())
    }

    fn fail(&mut self, path: DocumentPath, version: Option<Arc<Version>>, failure: Failure) -> Result<(), SinkError> {
        self.sink.fail(&path, version.as_deref(), &failure, SystemTime::now())?;
        self.ended.push(Ended::Failed(path, version, failure));
        Ok(())
    }

    /// Writes the group. Only then is anything said to be done, and only then may a next version of it come.
    fn publish(&mut self) -> Result<(), SinkError> {
        self.sink.flush()?;
        for end in self.ended.drain(..) {
            match end {
                Ended::Done(version) => {
                    let document = Sanitized(&version.path);
                    debug!(%document, chunks = version.chunks, embedded = version.embed, "done");
                    self.counters.done();
                }
                Ended::Failed(path, _version, failure) => {
                    let (document, stage) = (Sanitized(&path), failure.stage.as_str());
                    warn!(%document, stage, class = failure.class, attempts = failure.attempts, error = %failure.message, "failed");
                    self.counters.failed(&path, &failure);
                }
            }
        }
        Ok(())
    }
}
