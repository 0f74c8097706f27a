//! The known files: the source compares the folder with them.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::document::{DocumentState, from_bytes};
use super::reader::{optional, path_of};
use super::{LedgerError, Reader};
use crate::domain::{DocumentPath, Fingerprint, Remembered};

/// What must hold for a file not to be taken again although it has not changed.
#[derive(Debug, Clone)]
pub struct Terms {
    /// It ended under one of these configurations.
    pub configs: Vec<Fingerprint>,
    /// In bytes: one that was too large for it must still be so.
    pub max_file_size: u64,
}

impl Reader {
    /// Returns the next files that are known, at most so many, whose paths' bytes come after these; in ascending order. None when
    /// there are no more. One that the terms do not hold for has no observation.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn known_after(&self, terms: &Terms, path: &[u8], most: usize) -> Result<Vec<(DocumentPath, Remembered)>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT observation, config, device, state = ?2 AND size <= ?3 AND reason LIKE '%\"class\":\"too-large\"%', path
                 FROM documents WHERE state <> ?1 AND NOT disposed AND path > ?4 ORDER BY path LIMIT ?5",
            )?;
            let [gone, failed, size] = terms.numbers();
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let known = statement.query_map(params![gone, failed, size, path, most], |row| {
                // Its path came from a file.
                Ok(path_of(row.get_ref(4)?.as_blob()?).zip(Some(terms.remembered(row)?)))
            })?;
            known.filter_map(Result::transpose).collect::<Result<_, _>>()
        };
        self.ask(query)
    }

    /// Returns as what a file is known, if it is; without an observation where the terms do not hold for it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn known(&self, terms: &Terms, path: &DocumentPath) -> Result<Option<Remembered>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT observation, config, device, state = ?2 AND size <= ?3 AND reason LIKE '%\"class\":\"too-large\"%'
                 FROM documents WHERE state <> ?1 AND NOT disposed AND path = ?4",
            )?;
            let [gone, failed, size] = terms.numbers();
            statement.query_row(params![gone, failed, size, path.as_bytes()], |row| terms.remembered(row)).optional()
        };
        self.ask(query)
    }

    /// Returns how many files are known.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn count_known(&self) -> Result<u64, LedgerError> {
        let query = |connection: &Connection| {
            let sql = "SELECT count(*) FROM documents WHERE state <> ?1 AND NOT disposed";
            connection.query_row(sql, [DocumentState::Gone.to_number()], |row| row.get::<_, i64>(0))
        };
        self.ask(query).map(i64::cast_unsigned)
    }
}

impl Terms {
    fn numbers(&self) -> [i64; 3] {
        let size = i64::try_from(self.max_file_size).unwrap_or(i64::MAX);
        [DocumentState::Gone.to_number(), DocumentState::Failed.to_number(), size]
    }

    fn remembered(&self, row: &Row<'_>) -> rusqlite::Result<Remembered> {
        let config = optional(row, 1)?.and_then(Fingerprint::from_bytes);
        let fits_now = row.get::<_, Option<bool>>(3)?.unwrap_or(false);
        let holds = config.is_some_and(|config| self.configs.contains(&config)) && !fits_now;
        let seen = optional(row, 0)?.and_then(from_bytes).filter(|_| holds);
        Ok(Remembered { seen, device: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned) })
    }
}
