//! Oversize texts, and how they were split.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{Commit, LedgerError, Reader};
use crate::domain::{ChunkId, Cut, DocumentPath, Fingerprint};

impl Commit<'_> {
    /// Commits that a text of a document is cut under a configuration.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn cut(&mut self, path: &DocumentPath, cut: Cut, config: Fingerprint) -> Result<(), LedgerError> {
        let document = self.document(path)?;
        let parts = i64::try_from(cut.parts).unwrap_or(i64::MAX);
        let insert = || {
            self.tx
                .prepare_cached("INSERT OR REPLACE INTO cuts (document, chunk, config, parts) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![document, cut.text.as_bytes(), config.as_bytes(), parts])
        };
        insert().map_err(LedgerError::write)?;
        Ok(())
    }
}

impl Reader {
    /// Returns into how many parts texts of a document are cut under a configuration, by the ids of their first chunks.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn cuts(&self, document: i64, config: Fingerprint) -> Result<HashMap<ChunkId, usize>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT chunk, parts FROM cuts WHERE document = ?1 AND config = ?2")?;
            let mut rows = statement.query(params![document, config.as_bytes()])?;
            let mut cuts = HashMap::new();
            while let Some(row) = rows.next()? {
                if let Some(text) = ChunkId::from_bytes(row.get_ref(0)?.as_blob()?) {
                    cuts.insert(text, usize::try_from(row.get::<_, i64>(1)?).unwrap_or(1));
                }
            }
            Ok(cuts)
        };
        self.ask(query)
    }
}
