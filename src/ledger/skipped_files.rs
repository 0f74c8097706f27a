//! Skipped files, with reasons.

use rusqlite::{Connection, params};

use super::reader::{optional, path_of};
use super::{DocumentState, LedgerError, Reader};
use crate::domain::{ContentHash, DocumentPath, Fingerprint, Skip};

/// A file that is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it lies.
    pub path: DocumentPath,
    /// The version.
    pub version: Option<ContentHash>,
    /// Why.
    pub why: Skip,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Since when, in milliseconds since 1970, where that is known.
    pub at: Option<i64>,
}

/// Files that are skipped for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKind {
    /// The reason; what in it belongs to one file is that of none.
    pub why: Skip,
    /// How many they are.
    pub files: u64,
    /// One of them.
    pub example: DocumentPath,
}

impl Reader {
    /// Calls `take` with each file that is skipped, by path, until that breaks off.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn skipped(&self, mut take: impl FnMut(Skipped)) -> Result<(), LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection
                .prepare_cached("SELECT path, version, reason, size, ended_at FROM documents WHERE state = ?1 ORDER BY path")?;
            let mut rows = statement.query([DocumentState::Skipped.to_number()])?;
            while let Some(row) = rows.next()? {
                if let Some(path) = path_of(row.get_ref(0)?.as_blob()?) {
                    take(Skipped {
                        path,
                        version: optional(row, 1)?.and_then(ContentHash::from_bytes),
                        why: reason(row.get_ref(2)?.as_str_or_null()?.unwrap_or_default()),
                        size: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
                        at: row.get(4)?,
                    });
                }
            }
            Ok(())
        };
        self.ask(query)
    }

    /// Returns the files that are skipped by reason, most files first; with a configuration only those that need not be taken again.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn skipped_kinds(&self, config: Option<Fingerprint>) -> Result<Vec<SkippedKind>, LedgerError> {
        self.ask(|connection| kinds(connection, config))
    }
}

pub(super) fn kinds(connection: &Connection, config: Option<Fingerprint>) -> rusqlite::Result<Vec<SkippedKind>> {
    // Where in a file it is wrong makes no kind.
    let mut statement = connection.prepare_cached(
        "SELECT CASE instr(reason, ' at byte ') WHEN 0 THEN reason ELSE substr(reason, 1, instr(reason, ' at byte ')) || 'at byte 0)' END
             AS kind, count(*), min(path)
         FROM documents WHERE state = ?1 AND (?2 IS NULL OR config = ?2) GROUP BY kind ORDER BY count(*) DESC, kind",
    )?;
    let config = config.as_ref().map(|config| config.as_bytes().as_slice());
    let mut rows = statement.query(params![DocumentState::Skipped.to_number(), config])?;
    let mut kinds = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(example) = path_of(row.get_ref(2)?.as_blob()?) {
            let why = reason(row.get_ref(0)?.as_str_or_null()?.unwrap_or_default());
            kinds.push(SkippedKind { why, files: row.get::<_, i64>(1)?.cast_unsigned(), example });
        }
    }
    Ok(kinds)
}

/// Reads a reason; one of another build is shown as it is.
fn reason(text: &str) -> Skip {
    Skip::parse(text).unwrap_or_else(|| Skip::Unsupported { media_type: text.to_owned() })
}
