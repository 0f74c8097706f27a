//! Retries of failed documents, and finding a document by the name that a person gives.

use std::ffi::OsStr;
use std::path::Path;

use rusqlite::{Connection, params};

use super::reader::path_of;
use super::{Commit, DocumentState, Ledger, LedgerError, Reader};
use crate::domain::DocumentPath;
use crate::domain::path::Sanitized;

impl Commit<'_> {
    /// Commits that a failed document is retried, though its file may be as it was. One that has not failed
    /// is left as it is.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn retry(&mut self, path: &DocumentPath) -> Result<(), LedgerError> {
        let update = || {
            self.tx
                .prepare_cached("UPDATE documents SET observation = NULL, starts = 0 WHERE path = ?1 AND state = ?2")?
                .execute(params![path.as_bytes(), DocumentState::Failed.to_number()])
        };
        update().map_err(LedgerError::write)?;
        Ok(())
    }
}

impl Ledger {
    /// Has failed documents processed again by the next scan.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn retry(&mut self, paths: &[DocumentPath]) -> Result<(), LedgerError> {
        let mut commit = self.begin()?;
        for path in paths {
            commit.retry(path)?;
        }
        commit.commit()?;
        Ok(())
    }
}

impl Reader {
    /// Returns where the failed documents are.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn failed_paths(&self) -> Result<Vec<DocumentPath>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT path FROM documents WHERE state = ?1 ORDER BY path")?;
            let mut rows = statement.query([DocumentState::Failed.to_number()])?;
            let mut paths = Vec::new();
            while let Some(row) = rows.next()? {
                paths.extend(path_of(row.get_ref(0)?.as_blob()?));
            }
            Ok(paths)
        };
        self.ask(query)
    }

    /// Returns the document of this name and its state: by the name itself, else by how such a name is shown, with `\xNN` for
    /// the bytes that are not UTF-8 and control characters escaped.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn find(&self, name: &OsStr) -> Result<Option<(DocumentPath, DocumentState)>, LedgerError> {
        if let Ok(path) = DocumentPath::new(Path::new(name))
            && let Some(document) = self.document(&path)?
        {
            return Ok(Some((path, document.state)));
        }
        let Some(shown) = name.to_str().filter(|name| name.contains('\\')) else { return Ok(None) };
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT path, state FROM documents")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let path = path_of(row.get_ref(0)?.as_blob()?);
                let is_shown = |path: &DocumentPath| path.to_string() == shown || Sanitized(path).to_string() == shown;
                if let Some(path) = path.filter(is_shown) {
                    return Ok(Some((path, DocumentState::from_number(row.get(1)?))));
                }
            }
            Ok(None)
        };
        self.ask(query)
    }
}
