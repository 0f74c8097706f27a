//! Totals of documents and output.

use std::path::Path;

use rusqlite::{Connection, Row, params};

use super::chat_stats::{Answers, answers};
use super::reader::{Failed, optional, path_of};
use super::segments::all;
use super::skipped_files::{SkippedKind, kinds};
use super::{DocumentState, LedgerError, Reader, Segment};
use crate::domain::{ContentHash, DocumentPath};

/// The ledger at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// How many documents each state has.
    pub documents: Vec<(DocumentState, u64)>,
    /// Failed documents, the latest first.
    pub failed: Vec<Failed>,
    /// Files that hold no document, by reason, most files first.
    pub skipped: Vec<SkippedKind>,
    /// Documents that ended, the latest first.
    pub ended: Vec<EndedDocument>,
    /// What chat models answered.
    pub answers: Answers,
    /// The files of the output.
    pub segments: Vec<Segment>,
    /// Size of the ledger's file with its log, in bytes.
    pub bytes: u64,
    /// Size of the vectors that are cached for repeated texts, in bytes.
    pub cached_bytes: u64,
}

/// How a document ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedDocument {
    /// Where it lies, or lay.
    pub path: DocumentPath,
    /// Its state then.
    pub state: DocumentState,
    /// Chunks of the version.
    pub chunks: u64,
    /// Lines that came out of calls.
    pub embedded: u64,
    /// Lines that came out of earlier answers.
    pub cached: u64,
    /// Deleted lines.
    pub retracted: u64,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

const STATES: [DocumentState; 5] =
    [DocumentState::UnderWay, DocumentState::Done, DocumentState::Failed, DocumentState::Skipped, DocumentState::Gone];

impl Reader {
    /// Looks over the whole: counts, and the `most` latest failures and ends. Takes some milliseconds for each hundred thousand
    /// documents.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn overview(&self, most: u32) -> Result<Overview, LedgerError> {
        let query = |connection: &Connection| {
            let moment = connection.unchecked_transaction()?;
            let mut count = moment.prepare_cached("SELECT count(*) FROM documents WHERE state = ?1")?;
            let count = |state: DocumentState| Ok((state, count.query_row([state.to_number()], |row| unsigned(row, 0))?));
            Ok(Overview {
                documents: STATES.into_iter().map(count).collect::<rusqlite::Result<_>>()?,
                failed: failed(&moment, most)?,
                skipped: kinds(&moment, None)?,
                ended: ended(&moment, most)?,
                answers: answers(&moment, self.schema())?,
                segments: all(&moment)?,
                bytes: size_of(self.path()),
                cached_bytes: moment.query_row(
                    "SELECT coalesce(sum(bytes), 0) FROM embeddings INDEXED BY embeddings_by_use WHERE bytes > 0",
                    [],
                    |row| unsigned(row, 0),
                )?,
            })
        };
        self.ask(query)
    }
}

fn failed(connection: &Connection, most: u32) -> rusqlite::Result<Vec<Failed>> {
    let mut statement = connection.prepare_cached(
        "SELECT path, version, reason, ended_at, observation IS NULL FROM documents WHERE state = ?1
         ORDER BY ended_at DESC, id DESC LIMIT ?2",
    )?;
    let mut rows = statement.query(params![DocumentState::Failed.to_number(), most])?;
    let mut failed = Vec::new();
    while let Some(row) = rows.next()? {
        let failure = row.get_ref(2)?.as_str_or_null()?.and_then(|json| serde_json::from_str(json).ok());
        if let (Some(path), Some(failure)) = (path_of(row.get_ref(0)?.as_blob()?), failure) {
            let version = optional(row, 1)?.and_then(ContentHash::from_bytes);
            failed.push(Failed { path, version, failure, at: row.get(3)?, retried: row.get(4)? });
        }
    }
    Ok(failed)
}

fn ended(connection: &Connection, most: u32) -> rusqlite::Result<Vec<EndedDocument>> {
    let mut statement = connection.prepare_cached(
        "SELECT d.path, v.state, v.chunks, v.embedded, v.cached, v.retracted, v.ended_at FROM versions v
         JOIN documents d ON d.id = v.document ORDER BY v.id DESC LIMIT ?1",
    )?;
    let mut rows = statement.query([most])?;
    let mut ended = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(path) = path_of(row.get_ref(0)?.as_blob()?) {
            ended.push(EndedDocument {
                path,
                state: DocumentState::from_number(row.get(1)?),
                chunks: unsigned(row, 2)?,
                embedded: unsigned(row, 3)?,
                cached: unsigned(row, 4)?,
                retracted: unsigned(row, 5)?,
                at: row.get(6)?,
            });
        }
    }
    Ok(ended)
}

fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(i64::cast_unsigned)
}

/// Returns how much room the ledger takes: its file, and the log beside it.
fn size_of(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    [path, Path::new(&log)].iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum()
}
