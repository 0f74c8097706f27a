//! Errors of the ledger.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::open::is_full;

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
    #[error("the ledger `{}` is on {kind}, where file locks are not reliable", path.display())]
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
    /// Its file cannot be read from its disk, which says nothing about its content.
    #[error("the ledger `{}` cannot be read from its disk", path.display())]
    Unreadable {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
    /// The disk that it lies on is full. Nothing of the transaction was kept; it can be retried.
    #[error("the disk of the ledger is full, or has no inodes left")]
    Full,
    /// Another program kept its lock on the ledger's file for long. Nothing of the transaction was kept; it can be retried.
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

impl LedgerError {
    /// Tells what the disk does from what is wrong with the file: it has no inodes left, or cannot return its content.
    ///
    /// `SQLite` takes a page that cannot be read for one that is not right where it looks for damage, and where it reads its schema. So
    /// the whole file is read here, but only where something is wrong already.
    #[must_use]
    pub fn or_of_the_disk(self, path: &Path) -> Self {
        match &self {
            Self::Damaged { .. } | Self::Corrupt(_) | Self::NotALedger { .. } => {}
            // For want of an inode no file can be made, which `SQLite` does not tell from a folder that may not be written to.
            Self::Make { source, .. } if is_full(source) => return Self::Full,
            Self::Open { .. } if is_without_inodes(path) => return Self::Full,
            _ => return self,
        }
        let files = [path.to_owned(), super::open::beside(path, "wal")];
        let refused =
            files.iter().find_map(|file| read_through(file).err().filter(|error| error.kind() != io::ErrorKind::NotFound));
        refused.map_or(self, |source| Self::Unreadable { path: path.to_owned(), source })
    }
}

/// Returns whether no file can be made beside the ledger, for want of room or inodes.
fn is_without_inodes(path: &Path) -> bool {
    let probe = super::open::beside(path, "probe");
    match std::fs::OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => {
            let _made = std::fs::remove_file(&probe);
            false
        }
        Err(error) => is_full(&error),
    }
}

/// Reads a file to its end.
fn read_through(path: &Path) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    let (mut bytes, mut position) = (vec![0; 1 << 20], 0);
    loop {
        match file.read_at(&mut bytes, position) {
            Ok(0) => return Ok(()),
            Ok(read) => position += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
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
    fn a_disk_that_fails_is_distinguished_from_a_file_that_is_damaged() {
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
    fn a_file_that_cannot_be_read_to_its_end_is_not_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (readable, not) = (folder.path().join("ledger.db"), folder.path().join("folder.db"));
        std::fs::write(&readable, vec![7; 3 << 20]).unwrap();
        std::fs::create_dir(&not).unwrap();
        let corrupt = || {
            let failure = ffi::Error::new(ffi::SQLITE_CORRUPT);
            [LedgerError::read(rusqlite::Error::SqliteFailure(failure, None)), LedgerError::NotALedger { path: PathBuf::new() }]
        };
        for error in corrupt() {
            assert!(matches!(error.or_of_the_disk(&readable), LedgerError::Corrupt(_) | LedgerError::NotALedger { .. }));
        }
        for error in corrupt() {
            assert!(matches!(error.or_of_the_disk(&not), LedgerError::Unreadable { .. }));
        }
        assert!(matches!(LedgerError::Busy.or_of_the_disk(&not), LedgerError::Busy));
        let full =
            |kind: io::ErrorKind| LedgerError::Make { path: PathBuf::new(), source: kind.into() }.or_of_the_disk(&readable);
        assert!(matches!(full(io::ErrorKind::StorageFull), LedgerError::Full));
        assert!(matches!(full(io::ErrorKind::PermissionDenied), LedgerError::Make { .. }));
    }

    #[test]
    fn a_table_that_is_not_there_is_damage() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let error = connection.prepare("SELECT value FROM meta").unwrap_err();
        assert!(matches!(LedgerError::read(error), LedgerError::Corrupt(_)));
    }
}
