//! What goes wrong with a ledger, and what it means.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Says why the ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Its folder or its lock could not be made.
    #[error("cannot make `{}`", path.display())]
    Make {
        /// What could not be made.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("another riverbed holds the ledger `{}`", path.display())]
    Taken {
        /// The ledger.
        path: PathBuf,
    },
    /// It lies where its locks and its shared memory do not work.
    #[error("the ledger `{}` lies on {kind}, where its locks do not hold", path.display())]
    Remote {
        /// The ledger.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// It could not be opened.
    #[error("cannot open the ledger `{}`", path.display())]
    Open {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// There is none, and the command needs one.
    #[error("there is no ledger at `{}`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file of another kind lies there.
    #[error("`{}` is no ledger of riverbed's", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// A newer build wrote it.
    #[error("the ledger `{}` has schema {found}; this build knows {known}", path.display())]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that this build knows.
        known: u32,
    },
    /// Its contents contradict each other.
    #[error("the ledger `{}` is damaged: {finding}", path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// What was found.
        finding: String,
    },
    /// `SQLite` found that its file is not what it wrote.
    #[error("the ledger is damaged")]
    Corrupt(#[source] rusqlite::Error),
    /// Its file was deleted, or another lies in its place: what is committed to it no start would find.
    #[error("the ledger `{}` was deleted or exchanged while it was in use", path.display())]
    Exchanged {
        /// The ledger.
        path: PathBuf,
    },
    /// The disk that it lies on is full. Nothing of the transaction was kept; it can be tried again.
    #[error("the disk of the ledger is full")]
    Full,
    /// Another program kept its lock on the ledger's file for long. Nothing of the transaction was kept; it can be tried again.
    #[error("another program keeps the ledger's file locked")]
    Busy,
    /// Reading failed.
    #[error("cannot read the ledger")]
    Read(#[source] rusqlite::Error),
    /// Writing failed. Whether the transaction was kept is unknown.
    #[error("cannot write the ledger")]
    Write(#[source] rusqlite::Error),
}

impl LedgerError {
    /// Sorts out what a failed look means.
    pub(super) fn read(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Corrupt(error) } else { Self::Read(error) }
    }

    /// Sorts out what a failed write means.
    pub(super) fn write(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ if is_damage(&error) => Self::Corrupt(error),
            _ => Self::Write(error),
        }
    }

    /// Sorts out why a ledger could not be opened.
    pub(super) fn open(path: &Path, error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotALedger { path: path.to_owned() },
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            // The disk failed, which says nothing of the file.
            Some(ErrorCode::SystemIoFailure) => Self::Read(error),
            _ if is_damage(&error) => Self::Damaged { path: path.to_owned(), finding: error.to_string() },
            _ => Self::Open { path: path.to_owned(), source: error },
        }
    }
}

/// Returns whether an error says that the file is not what was written, and not that it could not be read.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        // A value, a table or a column that no build of riverbed's has made.
        rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        rusqlite::Error::SqlInputError { msg, .. } => is_of_schema(msg),
        rusqlite::Error::SqliteFailure(failure, message) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || message.as_deref().is_some_and(is_of_schema)
        }
        _ => false,
    }
}

/// Returns whether a message says that a part of the schema is not there: its page was lost.
fn is_of_schema(message: &str) -> bool {
    message.starts_with("no such table") || message.starts_with("no such column") || message.starts_with("malformed")
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_disk_that_fails_is_told_from_a_file_that_is_damaged() {
        let failure = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let path = Path::new("ledger.db");
        for code in [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_FSTAT] {
            assert!(matches!(LedgerError::open(path, failure(code)), LedgerError::Read(_)));
            assert!(matches!(LedgerError::read(failure(code)), LedgerError::Read(_)));
            assert!(matches!(LedgerError::write(failure(code)), LedgerError::Write(_)));
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            assert!(matches!(
                LedgerError::open(path, failure(code)),
                LedgerError::Damaged { .. } | LedgerError::NotALedger { .. }
            ));
            assert!(matches!(LedgerError::read(failure(code)), LedgerError::Corrupt(_)));
            assert!(matches!(LedgerError::write(failure(code)), LedgerError::Corrupt(_)));
        }
        assert!(matches!(LedgerError::write(failure(ffi::SQLITE_FULL)), LedgerError::Full));
        assert!(matches!(LedgerError::open(path, failure(ffi::SQLITE_CANTOPEN)), LedgerError::Open { .. }));
    }

    #[test]
    fn a_table_that_is_not_there_is_damage() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let error = connection.prepare("SELECT value FROM meta").unwrap_err();
        assert!(matches!(LedgerError::read(error), LedgerError::Corrupt(_)));
    }
}
