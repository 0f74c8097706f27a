//! The ledger, as far as the source asks: which files are known, and of which folder.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::ask::messages_config;
use super::{Shape, skipped_config};
use crate::ledger::Reader;
use crate::model::{DocumentPath, Memory, MemoryError, Record, Remembered};

/// Reads from the ledger; what is to be written goes the way of all records.
#[derive(Debug)]
pub(super) struct Remembering {
    pub(super) ledger: Reader,
    pub(super) shape: Arc<Shape>,
    pub(super) max_file_size: u64,
    pub(super) records: mpsc::Sender<Record>,
    /// The folder that was accepted by this run, whose record may still be on its way.
    pub(super) accepted: Mutex<Option<(u64, u64)>>,
}

impl Memory for Remembering {
    fn each(&self, see: &mut dyn FnMut(DocumentPath, Remembered) -> ControlFlow<()>) -> Result<(), MemoryError> {
        Ok(self.ledger.each_known(&[self.shape.config(), skipped_config(), messages_config()], self.max_file_size, see)?)
    }

    fn root(&self) -> Result<Option<(u64, u64)>, MemoryError> {
        match *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(root) => Ok(Some(root)),
            None => Ok(self.ledger.root()?),
        }
    }

    fn set_root(&self, root: (u64, u64)) -> Result<(), MemoryError> {
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(root);
        // A writer that is gone has ended the pipeline, and says why itself.
        let _ended = self.records.blocking_send(Record::Root(root));
        Ok(())
    }
}
