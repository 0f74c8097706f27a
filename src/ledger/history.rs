//! The history of one document.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::document::from_bytes;
use super::reader::optional;
use super::{DocumentState, LedgerError, Reader, Tally};
use crate::domain::{ContentHash, DocumentPath, Fingerprint, LineId, Observation};

/// All that is known of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Its state.
    pub state: DocumentState,
    /// The version that ended last.
    pub version: Option<ContentHash>,
    /// The configuration under which that version ended.
    pub config: Option<Fingerprint>,
    /// What the file looked like; `None` where it is taken again though it may not have changed.
    pub seen: Option<Observation>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// IANA media type.
    pub media_type: Option<String>,
    /// Chunks of the version.
    pub chunks: Option<u64>,
    /// How often work on it was begun and the process died.
    pub starts: u32,
    /// Why it is skipped, or why it failed, as JSON.
    pub reason: Option<String>,
    /// When it reached its state, in milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// Whether riverbed itself took the file out of the source folder when its document had ended.
    pub disposed: bool,
    /// Its latest ends, the last one first.
    pub versions: Vec<Ending>,
    /// Where its current lines are.
    pub standing: Vec<Stretch>,
}

/// How a version ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The version.
    pub version: Option<ContentHash>,
    /// The state of the document then.
    pub state: DocumentState,
    /// Chunks of the version.
    pub chunks: u64,
    /// What it took.
    pub tally: Tally,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Lines of one document in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The file's name in the output folder.
    pub file: String,
    /// How many lines.
    pub lines: u64,
    /// The number of the first.
    pub first: u64,
    /// The number of the last; lines of other documents may lie between.
    pub last: u64,
}

impl Reader {
    /// Returns a document's story; `None` where the ledger does not know it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn story(&self, path: &DocumentPath) -> Result<Option<Story>, LedgerError> {
        let query = |connection: &Connection| {
            let moment = connection.unchecked_transaction()?;
            let found = moment
                .query_row(
                    "SELECT id, state, version, config, observation, size, media_type, chunks, starts, reason, ended_at, disposed
                     FROM documents WHERE path = ?1",
                    [path.as_bytes()],
                    |row| {
                        let story = Story {
                            state: DocumentState::from_number(row.get(1)?),
                            version: optional(row, 2)?.and_then(ContentHash::from_bytes),
                            config: optional(row, 3)?.and_then(Fingerprint::from_bytes),
                            seen: optional(row, 4)?.and_then(from_bytes),
                            size: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
                            media_type: row.get(6)?,
                            chunks: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
                            starts: row.get(8)?,
                            reason: row.get(9)?,
                            ended_at: row.get(10)?,
                            disposed: row.get(11)?,
                            versions: Vec::new(),
                            standing: Vec::new(),
                        };
                        Ok((row.get::<_, i64>(0)?, story))
                    },
                )
                .optional()?;
            let Some((document, mut story)) = found else { return Ok(None) };
            story.versions = endings(&moment, document)?;
            story.standing = stretches(&moment, document)?;
            Ok(Some(story))
        };
        self.ask(query)
    }

    /// Returns a value that was kept under a name.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn meta(&self, key: &str) -> Result<Option<String>, LedgerError> {
        let query = |connection: &Connection| {
            connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, Option<String>>(0)).optional()
        };
        self.ask(query).map(Option::flatten)
    }
}

fn endings(connection: &Connection, document: i64) -> rusqlite::Result<Vec<Ending>> {
    let mut statement = connection.prepare_cached(
        "SELECT version, state, chunks, embedded, cached, retracted, tokens, ended_at FROM versions
         WHERE document = ?1 ORDER BY id DESC",
    )?;
    let endings = statement.query_map([document], |row| {
        let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        Ok(Ending {
            version: optional(row, 0)?.and_then(ContentHash::from_bytes),
            state: DocumentState::from_number(row.get(1)?),
            chunks: unsigned(2)?,
            tally: Tally { embedded: unsigned(3)?, cached: unsigned(4)?, retracted: unsigned(5)?, tokens: unsigned(6)? },
            at: row.get(7)?,
        })
    })?;
    endings.collect()
}

fn stretches(connection: &Connection, document: i64) -> rusqlite::Result<Vec<Stretch>> {
    let mut statement = connection.prepare_cached(
        "SELECT s.name, count(*), min(l.id), max(l.id) FROM standing d JOIN lines l ON l.id = d.line
         JOIN segments s ON s.id = l.segment WHERE d.document = ?1 GROUP BY s.id ORDER BY min(l.id)",
    )?;
    let stretches = statement.query_map(params![document], |row| {
        let seq = |at| row.get(at).map(|id| LineId::from_number(id).map_or(0, |line| line.seq));
        Ok(Stretch { file: row.get(0)?, lines: row.get::<_, i64>(1)?.cast_unsigned(), first: seq(2)?, last: seq(3)? })
    })?;
    stretches.collect()
}
