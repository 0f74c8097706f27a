//! Files are taken away once their documents have ended: noted before, done after the commit, and noted again.

use tracing::{debug, warn};

use super::Writer;
use crate::ledger::{State, Undisposed};
use crate::model::path::Sanitized;
use crate::model::{DocumentPath, Failure, Observation};
use crate::pipeline::deliver::{DeliverError, Entry};
use crate::report::chain;
use crate::source::{self, Disposed};
use crate::telemetry::Step;

impl Writer {
    /// Notes that a file will be taken away if that is configured for the end of its document. It is committed before that happens:
    /// a crash in between must not make the document one that is gone.
    pub(super) fn intend(&mut self, path: &DocumentPath, state: State) {
        let config = &self.stage.source;
        let takes = match state {
            State::Done => config.on_done != source::OnDone::Keep,
            State::Failed => config.on_failed != source::OnFailed::Keep,
            State::UnderWay | State::Skipped | State::Gone => false,
        };
        if takes {
            self.group.entries.push(Entry::Disposing(path.clone()));
        }
    }

    /// Does with the files of documents that have ended what may not have been done when the last run ended.
    pub(super) fn dispose_again(&mut self) -> Result<(), DeliverError> {
        let config = &self.stage.source;
        let mut left = Vec::new();
        let ledger = self.stage.delivery.ledger().reader()?;
        if config.on_done != source::OnDone::Keep {
            left.extend(ledger.undisposed(State::Done)?);
        }
        if config.on_failed != source::OnFailed::Keep {
            left.extend(ledger.undisposed(State::Failed)?);
        }
        for Undisposed { path, seen, failure, is_begun } in left {
            match failure {
                None => self.dispose(&path, &seen, source::End::Done, is_begun),
                Some(failure) => self.dispose(&path, &seen, source::End::Failed { reason: &reason(&failure) }, is_begun),
            }
        }
        self.commit()
    }

    /// Does with a file what is configured for the end of its document. Where that `is_begun`, a file that is not there was taken away
    /// by an earlier try.
    pub(super) fn dispose(&mut self, path: &DocumentPath, seen: &Observation, end: source::End<'_>, is_begun: bool) {
        let takes = match end {
            source::End::Done => self.stage.source.on_done != source::OnDone::Keep,
            source::End::Failed { .. } => self.stage.source.on_failed != source::OnFailed::Keep,
        };
        if !takes {
            return;
        }
        let _step = self.stage.delivery.steps().enter(Step::Move);
        let document = Sanitized(path);
        let is_taken = match source::dispose(&self.stage.source, path, seen, end, &self.stage.stop) {
            Ok(disposed) => {
                debug!(%document, ?disposed, "disposed of");
                match disposed {
                    Disposed::Moved(_) | Disposed::Deleted => true,
                    Disposed::Gone => is_begun,
                    Disposed::Kept | Disposed::Changed => false,
                }
            }
            // Nothing is written down of it, so that the next start does it.
            Err(error) if error.is_shortage() => {
                warn!(%document, error = %chain(&error), "the file stays in the source folder until the next start");
                return;
            }
            Err(error) => {
                warn!(%document, error = %chain(&error), "the file stays in the source folder");
                false
            }
        };
        let path = path.clone();
        self.group.entries.push(if is_taken { Entry::Disposed(path) } else { Entry::Kept(path) });
    }
}

/// Returns why a document failed, for whoever finds its file.
pub(super) fn reason(failure: &Failure) -> String {
    format!("{}\n\nWhat to do: {}", failure.message, failure.advice)
}
