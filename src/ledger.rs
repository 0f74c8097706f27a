//! What is known of each document: which lines stand for it.
//!
//! Kept in memory, for the life of the process: an edit re-embeds what changed, a restart starts anew.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{ChunkId, DocumentPath};

/// The memory of the pipeline. One writer; any number of readers.
#[derive(Debug, Default)]
pub struct Ledger {
    standing: Mutex<HashMap<DocumentPath, HashSet<ChunkId>>>,
}

impl Ledger {
    /// Returns the ids of the lines that stand for a document, of finished and unfinished versions alike.
    #[must_use]
    pub fn standing(&self, path: &DocumentPath) -> HashSet<ChunkId> {
        self.lock().get(path).cloned().unwrap_or_default()
    }

    /// Records that a line stands.
    pub fn wrote(&self, path: &DocumentPath, id: ChunkId) {
        let mut standing = self.lock();
        match standing.get_mut(path) {
            Some(ids) => ids.insert(id),
            None => standing.entry(path.clone()).or_default().insert(id),
        };
    }

    /// Records that a line stands no more.
    pub fn retracted(&self, path: &DocumentPath, id: ChunkId) {
        if let Some(ids) = self.lock().get_mut(path) {
            ids.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DocumentPath, HashSet<ChunkId>>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
