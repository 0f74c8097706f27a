//! Reads the ledger while its writer writes.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::document::{DocumentRow, DocumentState, from_bytes};
use super::open::keep_plans;
use super::{Damage, LedgerError, schema};
use crate::domain::{
    ChunkId, ContentHash, DocumentPath, EmbeddingKey, Failure, Fingerprint, Observation, Output, Place, Standing, TokenCount,
};

/// A view of the ledger that never writes. Each query sees one moment.
#[derive(Debug)]
pub struct Reader {
    connection: Mutex<Connection>,
    /// Its file: what `SQLite` tells of it is text, and names of files are bytes.
    path: PathBuf,
    /// The ledger's schema: one that only looks does not bring an older ledger up to date.
    schema: u32,
    damage: Damage,
}

/// An earlier answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// Where its vector is.
    pub vector: Stored,
    /// Tokens of the text.
    pub tokens: TokenCount,
    /// Whether an emulator made it.
    pub emulated: bool,
    /// When it came, in milliseconds since 1970.
    pub answered_at: i64,
}

/// Where a vector is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// In the cache, as its JSON.
    Here(String),
    /// In a line of the output.
    InLine {
        /// The file's names in the output folder: as it was, and as it will be when it has been sealed.
        names: [String; 2],
        /// Where in it, in bytes.
        position: u64,
        /// The line's length with its newline.
        length: u64,
        /// CRC-32 of the line.
        crc: u32,
    },
}

/// A failed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Where it lies.
    pub path: DocumentPath,
    /// The version.
    pub version: Option<ContentHash>,
    /// Why.
    pub failure: Failure,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Whether it will be taken again.
    pub retried: bool,
}

/// A file that is to be taken out of the source folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undisposed {
    /// Where it lies, or lay.
    pub path: DocumentPath,
    /// What it looked like.
    pub seen: Observation,
    /// Why its document failed.
    pub failure: Option<Failure>,
    /// Whether that was begun, so that it may have been done.
    pub is_begun: bool,
}

/// Documents whose lines do not fit the configuration any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unfit {
    /// How many.
    pub documents: u64,
    /// Their current lines.
    pub lines: u64,
    /// Tokens of their lines.
    pub tokens: u64,
    /// Those of which no line is current.
    pub lineless: u64,
}

const EMBEDDING: &str = "SELECT e.tokens, e.emulated, e.answered_at, v.json, s.name, l.position, l.length, l.crc, s.number
    FROM embeddings e LEFT JOIN vectors v ON v.id = e.id LEFT JOIN lines l ON l.id = e.line LEFT JOIN segments s ON s.id = l.segment
    WHERE e.key = ?1";

impl Reader {
    /// Opens a ledger to look into it. Its writer may be this process, another, or none.
    ///
    /// # Errors
    /// When there is none, or it cannot be read or is newer than this build.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_at(path).map_err(|error| error.or_of_the_disk(path))
    }

    fn open_at(path: &Path) -> Result<Self, LedgerError> {
        if !path.exists() {
            return Err(LedgerError::Missing { path: path.to_owned() });
        }
        let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::NotALedger { path: path.to_owned() },
            _ => LedgerError::open(path, error),
        };
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
        connection.pragma_update(None, "cache_size", -8192).map_err(failed)?;
        keep_plans(&connection).map_err(failed)?;
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match found {
            0 => Err(LedgerError::NotALedger { path: path.to_owned() }),
            found if found > schema::known() => Err(LedgerError::Newer { path: path.to_owned(), found, known: schema::known() }),
            schema => Ok(Self { connection: Mutex::new(connection), path: path.to_owned(), schema, damage: Damage::default() }),
        }
    }

    /// Opens another view of the same ledger.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn again(&self) -> Result<Self, LedgerError> {
        Ok(Self::open(&self.path)?.sharing(self.damage.clone()))
    }

    /// Tells of damage to those who have this in common.
    pub(super) fn sharing(self, damage: Damage) -> Self {
        Self { damage, ..self }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn schema(&self) -> u32 {
        self.schema
    }

    /// Looks into the ledger. Damage that it meets is met for all.
    pub(super) fn ask<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        query(&self.lock()).map_err(LedgerError::read).inspect_err(|error| self.damage.see(error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known of a document.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn document(&self, path: &DocumentPath) -> Result<Option<DocumentRow>, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached("SELECT id, state, version, config, starts, disposed FROM documents WHERE path = ?1")?
                .query_row([path.as_bytes()], |row| {
                    Ok(DocumentRow {
                        id: row.get(0)?,
                        state: DocumentState::from_number(row.get(1)?),
                        version: optional(row, 2)?.and_then(ContentHash::from_bytes),
                        config: optional(row, 3)?.and_then(Fingerprint::from_bytes),
                        starts: row.get(4)?,
                        disposed: row.get(5)?,
                    })
                })
                .optional()
        };
        self.ask(query)
    }

    /// Returns the current lines of a document, of finished and unfinished versions alike.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn standing(&self, document: i64) -> Result<HashMap<ChunkId, Standing>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT chunk, config, place FROM standing WHERE document = ?1")?;
            let mut rows = statement.query([document])?;
            let mut standing = HashMap::new();
            while let Some(row) = rows.next()? {
                let chunk = ChunkId::from_bytes(row.get_ref(0)?.as_blob()?);
                let config = Fingerprint::from_bytes(row.get_ref(1)?.as_blob()?);
                let place = Place::from_bytes(row.get_ref(2)?.as_blob()?);
                if let (Some(chunk), Some(config), Some(place)) = (chunk, config, place) {
                    standing.insert(chunk, Standing { config, place });
                }
            }
            Ok(standing)
        };
        self.ask(query)
    }

    /// Returns an earlier answer, if there was one and it is known where it is.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn embedding(&self, key: &EmbeddingKey) -> Result<Option<StoredAnswer>, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached(EMBEDDING)?
                .query_row([key.as_bytes()], |row| {
                    let vector = match (row.get::<_, Option<String>>(3)?, row.get::<_, Option<String>>(4)?) {
                        (Some(json), _) => Stored::Here(json),
                        (None, Some(name)) => Stored::InLine {
                            names: [name, Output::Vectors.sealed_name(row.get::<_, i64>(8)?.cast_unsigned())],
                            position: row.get::<_, i64>(5)?.cast_unsigned(),
                            length: row.get::<_, i64>(6)?.cast_unsigned(),
                            crc: row.get(7)?,
                        },
                        (None, None) => return Ok(None),
                    };
                    Ok(Some(StoredAnswer {
                        vector,
                        tokens: TokenCount::new(row.get::<_, i64>(0)?.cast_unsigned()),
                        emulated: row.get(1)?,
                        answered_at: row.get(2)?,
                    }))
                })
                .optional()
        };
        self.ask(query).map(Option::flatten)
    }

    /// Returns what the source folder was when it was last accepted: its device and inode number.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn root(&self) -> Result<Option<(u64, u64)>, LedgerError> {
        let query = |connection: &Connection| {
            connection.query_row("SELECT value FROM meta WHERE key = 'root'", [], |row| row.get::<_, String>(0)).optional()
        };
        let root = self.ask(query)?;
        Ok(root.and_then(|root| {
            let (device, inode) = root.split_once(' ')?;
            Some((device.parse().ok()?, inode.parse().ok()?))
        }))
    }

    /// Returns how many done documents did not end under one of these configurations.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn unfit(&self, configs: &[Fingerprint]) -> Result<Unfit, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT d.config, count(DISTINCT d.id), coalesce(sum(s.tokens), 0), count(s.line), sum(s.line IS NULL) FROM documents d
                 LEFT JOIN standing s ON s.document = d.id WHERE d.state = ?1 GROUP BY d.config",
            )?;
            let mut rows = statement.query([DocumentState::Done.to_number()])?;
            let mut unfit = Unfit::default();
            while let Some(row) = rows.next()? {
                let config = optional(row, 0)?.and_then(Fingerprint::from_bytes);
                if config.is_none_or(|config| !configs.contains(&config)) {
                    unfit.documents += row.get::<_, i64>(1)?.cast_unsigned();
                    unfit.tokens += row.get::<_, i64>(2)?.cast_unsigned();
                    unfit.lines += row.get::<_, i64>(3)?.cast_unsigned();
                    unfit.lineless += row.get::<_, i64>(4)?.cast_unsigned();
                }
            }
            Ok(unfit)
        };
        self.ask(query)
    }

    /// Returns the files of documents in a state that as far as is known have not been taken out of the source folder, and about which
    /// nothing is to be asked any more.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn undisposed(&self, state: DocumentState) -> Result<Vec<Undisposed>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT path, observation, reason, disposed <> 0 FROM documents
                 WHERE state = ?1 AND disposed <> 1 AND observation IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM asks WHERE asks.document = documents.id)",
            )?;
            let mut rows = statement.query([state.to_number()])?;
            let mut files = Vec::new();
            while let Some(row) = rows.next()? {
                let failure = row.get_ref(2)?.as_str_or_null()?.and_then(|json| serde_json::from_str(json).ok());
                if let (Some(path), Some(seen)) = (path_of(row.get_ref(0)?.as_blob()?), optional(row, 1)?.and_then(from_bytes)) {
                    files.push(Undisposed { path, seen, failure, is_begun: row.get(3)? });
                }
            }
            Ok(files)
        };
        self.ask(query)
    }

    /// Returns how many documents each state has.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn count(&self, state: DocumentState) -> Result<u64, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached("SELECT count(*) FROM documents WHERE state = ?1")?
                .query_row([state.to_number()], |row| row.get::<_, i64>(0))
        };
        self.ask(query).map(i64::cast_unsigned)
    }

    /// Returns the failed documents, by path.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn failed(&self) -> Result<Vec<Failed>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT path, version, reason, ended_at, observation IS NULL FROM documents WHERE state = ?1 ORDER BY path",
            )?;
            let mut rows = statement.query(params![DocumentState::Failed.to_number()])?;
            let mut failed = Vec::new();
            while let Some(row) = rows.next()? {
                let failure = row.get_ref(2)?.as_str_or_null()?.and_then(|json| serde_json::from_str(json).ok());
                if let (Some(path), Some(failure)) = (path_of(row.get_ref(0)?.as_blob()?), failure) {
                    let version = optional(row, 1)?.and_then(ContentHash::from_bytes);
                    failed.push(Failed { path, version, failure, at: row.get(3)?, retried: row.get(4)? });
                }
            }
            Ok(failed)
        };
        self.ask(query)
    }
}

/// Returns a blob, `None` where there is none.
pub(super) fn optional<'a>(row: &'a Row<'_>, at: usize) -> rusqlite::Result<Option<&'a [u8]>> {
    Ok(row.get_ref(at)?.as_blob_or_null()?)
}

/// Reads a path back.
pub(super) fn path_of(bytes: &[u8]) -> Option<DocumentPath> {
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    DocumentPath::new(&path).ok()
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;
    use rusqlite::StatementStatus;

    use super::*;
    use crate::ledger::Ledger;

    #[test]
    fn a_question_that_comes_with_every_chunk_is_planned_once() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db"), ByteSize::mib(1)).unwrap();
        let reader = ledger.reader().unwrap();
        for text in ["one", "two", "three"] {
            let key = EmbeddingKey::of(text, Fingerprint::of(&[("model", "m")]));
            assert!(reader.embedding(&key).unwrap().is_none());
        }
        let connection = reader.lock();
        let statement = connection.prepare_cached(EMBEDDING).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 3);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
