//! Access for tests to the ledger's inside.

use rusqlite::Connection;

use super::{Ledger, SegmentId};
use crate::domain::{ChunkId, LineId};

impl Ledger {
    /// Calls `may` before each commit; where it says no, nothing is committed.
    pub(crate) fn on_commit(&mut self, mut may: impl FnMut() -> bool + Send + 'static) {
        self.connection.commit_hook(Some(move || !may())).unwrap();
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Lets the file grow no more, as a full disk does, or again.
    pub(crate) fn fill(&self, full: bool) {
        let pages: u32 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let most = if full { pages } else { u32::MAX - 1 };
        self.connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(())).unwrap();
    }

    /// Returns the current line of a chunk.
    pub(crate) fn line_of(&self, document: i64, chunk: ChunkId) -> LineId {
        let find = "SELECT line FROM standing WHERE document = ?1 AND chunk = ?2";
        let id = self.connection.query_row(find, rusqlite::params![document, chunk.as_bytes()], |row| row.get(0));
        LineId::from_number(id.unwrap()).unwrap()
    }
}

impl SegmentId {
    pub(crate) fn to_number(self) -> i64 {
        self.0
    }
}
