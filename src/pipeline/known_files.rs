//! The source's view of the ledger: known files, and the folder that they are in.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::chat::messages_config;
use super::skipped_config;
use crate::domain::Fingerprints;
use crate::domain::{DocumentPath, Memory, MemoryError, Record, Remembered};
use crate::ledger::{Reader, Terms};

/// Reads from the ledger; what is to be written goes the way of all records.
#[derive(Debug)]
pub(super) struct Remembering {
    pub(super) ledger: Reader,
    pub(super) terms: Terms,
    pub(super) records: mpsc::Sender<Record>,
    /// The folder that was accepted by this run, whose record may still be on its way.
    pub(super) accepted: Mutex<Option<(u64, u64)>>,
}

impl Memory for Remembering {
    fn after(&self, path: &[u8], most: usize) -> Result<Vec<(DocumentPath, Remembered)>, MemoryError> {
        Ok(self.ledger.known_after(&self.terms, path, most)?)
    }

    fn of(&self, path: &DocumentPath) -> Result<Option<Remembered>, MemoryError> {
        Ok(self.ledger.known(&self.terms, path)?)
    }

    fn root(&self) -> Result<Option<(u64, u64)>, MemoryError> {
        match *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(root) => Ok(Some(root)),
            None => Ok(self.ledger.root()?),
        }
    }

    fn set_root(&self, root: (u64, u64)) -> Result<(), MemoryError> {
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(root);
        // A writer that has stopped has ended the pipeline, and says why itself.
        let _ended = self.records.blocking_send(Record::Root(root));
        Ok(())
    }
}

/// Returns when a file need not be taken again although it has not changed.
pub(super) fn terms(shape: &Fingerprints, max_file_size: u64) -> Terms {
    Terms { configs: vec![shape.config(), skipped_config(), messages_config()], max_file_size }
}
