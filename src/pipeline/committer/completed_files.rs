//! Moves or deletes files after processing: recorded before, done after the commit, and recorded again. A failure is
//! retried.

use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Writer;
use crate::commitlog::{DeliverError, Entry};
use crate::domain::path::Sanitized;
use crate::domain::{DocumentPath, Failure, Observation};
use crate::folder::{self, Disposed};
use crate::ledger::{DocumentState, LedgerError, Undisposed};
use crate::report::chain;
use crate::telemetry::Step;

/// Files that are retried. Past so many they wait for the next start.
const LATER: usize = 1000;
/// The first pause before a file is retried, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A file that could not be moved or deleted: its writer still has it open, or its new folder did not take it.
pub(super) struct Later {
    path: DocumentPath,
    seen: Observation,
    pause: Duration,
    due: Instant,
}

/// Which try at a file this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// The first. Where that `is_begun`, a file that is not there was moved or deleted before a crash.
    First { is_begun: bool },
    /// One after it, with the pause before it: a file that is not there was moved or deleted by another program.
    Again(Duration),
}

impl Writer {
    /// Notes that a file will be moved or deleted if that is configured for the end of its document. It is committed before that happens:
    /// a crash in between must not make the document a removed one.
    pub(super) fn intend(&mut self, path: &DocumentPath, state: DocumentState) {
        let config = &self.stage.source;
        let takes = match state {
            DocumentState::Done => config.on_done != folder::OnDone::Keep,
            DocumentState::Failed => config.on_failed != folder::OnFailed::Keep,
            DocumentState::UnderWay | DocumentState::Skipped | DocumentState::Gone => false,
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
        if config.on_done != folder::OnDone::Keep {
            left.extend(ledger.undisposed(DocumentState::Done)?);
        }
        if config.on_failed != folder::OnFailed::Keep {
            left.extend(ledger.undisposed(DocumentState::Failed)?);
        }
        for Undisposed { path, seen, failure, is_begun } in left {
            let first = Try::First { is_begun };
            match failure {
                None => self.dispose(&path, &seen, folder::End::Done, first),
                Some(failure) => self.dispose(&path, &seen, folder::End::Failed { reason: &reason(&failure) }, first),
            }
        }
        self.commit()
    }

    /// Notes that files will be moved or deleted whose pause is over. Those of which a change is in progress wait for its end.
    pub(super) fn dispose_later(&mut self) -> Result<(), LedgerError> {
        let now = Instant::now();
        let due = self.later.extract_if(.., |later| later.due <= now).collect::<Vec<_>>();
        for Later { path, seen, pause, .. } in due {
            let Some(claim) = self.stage.claims.claim(&path) else {
                self.later.push(Later { path, seen, pause, due: now + PAUSES.0 });
                continue;
            };
            if let Some(document) = self.ledger.document(&path)? {
                self.dispose_when_through(document.id, &path, &seen, Try::Again(pause))?;
            }
            self.group.claims.push(claim);
        }
        Ok(())
    }

    /// Does with a file what is configured for the end of its document.
    pub(super) fn dispose(&mut self, path: &DocumentPath, seen: &Observation, end: folder::End<'_>, which: Try) {
        let takes = match end {
            folder::End::Done => self.stage.source.on_done != folder::OnDone::Keep,
            folder::End::Failed { .. } => self.stage.source.on_failed != folder::OnFailed::Keep,
        };
        if !takes {
            return;
        }
        let _step = self.stage.delivery.steps().enter(Step::Move);
        let document = Sanitized(path);
        let is_taken = match folder::dispose(&self.stage.source, path, seen, end, &self.stage.stop) {
            Ok(disposed) => {
                debug!(%document, ?disposed, "disposed of");
                match disposed {
                    Disposed::Moved(_) | Disposed::Deleted => true,
                    Disposed::Gone if which == (Try::First { is_begun: true }) => true,
                    Disposed::Gone => {
                        // The event of its removal may have come while its absence meant nothing.
                        self.group.anew.push(path.clone());
                        false
                    }
                    Disposed::Kept | Disposed::Changed => false,
                    Disposed::Open => {
                        if matches!(which, Try::First { .. }) {
                            info!(%document, "file is open for writing; it stays in the source folder until closed");
                        }
                        self.try_later(path, seen, which);
                        false
                    }
                }
            }
            // Nothing is written down of it, so that the next start does it.
            Err(error) if error.is_shortage() => {
                warn!(%document, error = %chain(&error), "the file stays in the source folder until the next start");
                return;
            }
            Err(error) => {
                match which {
                    Try::First { .. } => {
                        warn!(%document, error = %chain(&error), "file stays in the source folder; retrying");
                    }
                    Try::Again(_) => debug!(%document, error = %chain(&error), "the file stays in the source folder"),
                }
                self.try_later(path, seen, which);
                false
            }
        };
        if is_taken && matches!(which, Try::Again(_)) {
            info!(%document, "the file has left the source folder");
        }
        let path = path.clone();
        self.group.entries.push(if is_taken { Entry::Disposed(path) } else { Entry::Kept(path) });
    }
}

impl Writer {
    fn try_later(&mut self, path: &DocumentPath, seen: &Observation, which: Try) {
        // One a file: the claim that a try takes is refused to any other.
        self.later.retain(|later| later.path != *path);
        if self.later.len() >= LATER {
            return;
        }
        let (first, longest) = PAUSES;
        let pause = match which {
            Try::First { .. } => first,
            Try::Again(pause) => (2 * pause).min(longest),
        };
        self.later.push(Later { path: path.clone(), seen: *seen, pause, due: Instant::now() + pause });
    }
}

/// Returns why a document failed, for the person who finds its file.
pub(super) fn reason(failure: &Failure) -> String {
    format!("{}\n\nWhat to do: {}", failure.message, failure.advice)
}
