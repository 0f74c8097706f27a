//! Opening the ledger, for this process alone.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, ToSql};
use rustix::fs::FallocateFlags;

use super::segments::Tails;
use super::vector_cache::Cache;
use super::{Damage, LedgerError, Left, Reader, Working, crash_guard, is_given_up, schema};
use crate::domain::Output;
use crate::domain::moment::milliseconds;

/// The ledger, with the right to write it.
#[derive(Debug)]
pub struct Ledger {
    pub(super) connection: Connection,
    pub(super) tails: Tails,
    pub(super) cache: Cache,
    path: PathBuf,
    instance: String,
    /// There is no room for a clean stop.
    lacks_reserve: bool,
    /// The files as they were opened. The lock is held as long as the ledger is: dropping it lets another process in.
    files: [(PathBuf, File); 2],
    damage: Damage,
}

/// The oldest `SQLite` without the write-ahead log's race that could lose a commit (<https://sqlite.org/wal.html>, 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Under this name the ledger remembers when processes died over a file, in milliseconds since 1970.
const DEATHS: &str = "deaths";

/// Under this name, when one of them was proven to be the file's doing.
const PROVEN: &str = "death_proven";

/// Room that is kept for a clean stop on a full disk.
const RESERVE: ByteSize = if cfg!(test) { ByteSize::kib(4) } else { ByteSize::mib(16) };

/// With less than this nothing is paid for.
const LEAST_RESERVE: ByteSize = if cfg!(test) { ByteSize::kib(1) } else { ByteSize::mib(1) };

/// Pages of 4 KiB that the write-ahead log grows to before a commit has to work it into the file.
const LOG_PAGES: u32 = 4000;

/// How long one connection waits for another's lock: only a checkpoint by a foreign program can hold ours up.
const BUSY: Duration = Duration::from_secs(10);

impl Ledger {
    /// Opens the ledger, making it and its folder if need be, and holds it until it is dropped.
    ///
    /// Blocks: call it off the runtime.
    ///
    /// # Errors
    /// When another process holds it, when it cannot be made or read, or when it is of another kind, newer or damaged.
    pub fn open(path: &Path, cache_size: ByteSize) -> Result<Self, LedgerError> {
        Self::open_at(path, cache_size).map_err(|error| error.or_of_the_disk(path))
    }

    fn open_at(path: &Path, cache_size: ByteSize) -> Result<Self, LedgerError> {
        let path = path.to_owned();
        let make = |path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::Make { path, source }
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Only its own folder is closed to others: what is above may be the output's.
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(make(folder))?;
        if let Some(kind) = remote(folder).map_err(make(folder))? {
            return Err(LedgerError::Remote { path, kind });
        }
        let lock = take(&beside(&path, "lock"), &path)?;
        let ledger_file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        drop(ledger_file.map_err(make(&path))?);
        let files = [(beside(&path, "lock"), lock), (path.clone(), look_at(&path).map_err(make(&path))?)];

        let connection = connect(&path).and_then(|mut connection| {
            schema::migrate(&mut connection, &path)?;
            sound(&connection, &path)?;
            Ok(connection)
        })?;
        let tails = Tails::load(&connection).map_err(LedgerError::read)?;
        let cache = Cache::load(&connection, cache_size).map_err(LedgerError::read)?;
        let mut ledger = Self {
            connection,
            tails,
            cache,
            path,
            instance: String::new(),
            lacks_reserve: false,
            files,
            damage: Damage::default(),
        };
        match ledger.meta::<String>("instance")? {
            Some(instance) => ledger.instance = instance,
            None => ledger.set_instance(uuid::Uuid::new_v4().to_string())?,
        }
        ledger.forget_the_long_gone().map_err(LedgerError::write)?;
        ledger.keep_reserve();
        Ok(ledger)
    }

    /// Looks at where a ledger lies or would, without making anything.
    ///
    /// # Errors
    /// When that is on a file system on which none can be.
    pub fn place(path: &Path) -> Result<(), LedgerError> {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = whole.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        match remote(folder).map_err(|source| LedgerError::Make { path: folder.to_owned(), source })? {
            Some(kind) => Err(LedgerError::Remote { path: path.to_owned(), kind }),
            None => Ok(()),
        }
    }

    /// Returns whether nothing was ever written: the ledger is new.
    #[must_use]
    pub fn is_new(&self) -> bool {
        Output::ALL.into_iter().all(|output| self.tails.next_seq(output) == 1 && self.tails.get(output).is_none())
    }

    /// Forgets documents that have been gone for a month: nobody asks for their history any more. And answers that were kept as long.
    fn forget_the_long_gone(&self) -> rusqlite::Result<()> {
        const LONG_GONE: &str =
            "SELECT id FROM documents WHERE state = 4 AND ended_at < (unixepoch() - 30 * 24 * 60 * 60) * 1000";
        self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             DELETE FROM versions WHERE document IN ({LONG_GONE});
             DELETE FROM cuts WHERE document IN ({LONG_GONE});
             DELETE FROM asked WHERE document IN ({LONG_GONE});
             DELETE FROM documents WHERE id IN ({LONG_GONE});
             DELETE FROM kept WHERE at < (unixepoch() - 30 * 24 * 60 * 60) * 1000;
             COMMIT;"
        ))
    }

    /// Returns the ledger's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Holds the names of the ledger and of its lock to the files that were opened under them: what is committed to a file that has no
    /// name any more is lost with it, and a later process has a ledger of its own by now.
    ///
    /// # Errors
    /// When one of the files was deleted, or another lies in its place; or when somebody has met damage in it.
    pub fn stands(&self) -> Result<(), LedgerError> {
        self.damage.check(&self.path)?;
        for (path, opened) in &self.files {
            // The number of a file that is open is not given to another.
            let number = |found: std::fs::Metadata| (found.dev(), found.ino());
            let failed = |source| LedgerError::Make { path: path.clone(), source };
            let named = match std::fs::metadata(path) {
                Ok(found) => Some(number(found)),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
                Err(error) => return Err(failed(error)),
            };
            if named != Some(number(opened.metadata().map_err(failed)?)) {
                return Err(LedgerError::Exchanged { path: self.path.clone() });
            }
        }
        Ok(())
    }

    /// Returns what names this output in its lines.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Names the output again: a rebuilt ledger goes on with the name that its lines have.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn set_instance(&mut self, instance: String) -> Result<(), LedgerError> {
        self.set_meta("instance", &instance)?;
        self.instance = instance;
        Ok(())
    }

    /// Returns a value that was kept under a name.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn meta<T: rusqlite::types::FromSql>(&self, key: &str) -> Result<Option<T>, LedgerError> {
        let query = self.connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
        query.optional().map(Option::flatten).map_err(LedgerError::read)
    }

    /// Keeps a value under a name.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn set_meta(&self, key: &str, value: &dyn ToSql) -> Result<(), LedgerError> {
        self.damage.check(&self.path)?;
        let set = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.connection.execute(set, rusqlite::params![key, value]).map_err(LedgerError::write)?;
        Ok(())
    }

    /// Opens another read-only connection.
    ///
    /// # Errors
    /// When a second connection cannot be opened.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        Ok(Reader::open(&self.path)?.sharing(self.damage.clone()))
    }

    /// Returns what says that somebody has met damage in it.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage.clone()
    }

    /// Opens the crash guard's file, and counts a crash for each file that it names.
    ///
    /// # Errors
    /// When the file or the ledger cannot be written.
    pub fn working(&mut self) -> Result<(Working, Vec<Left>), LedgerError> {
        let (mut working, left) = Working::open(&beside(&self.path, "working"))?;
        let count = |ledger: &Self| {
            let mut is_proven = false;
            // A file with one crash is processed alone, so a second one is its own. One that is still to be tried alone stays a suspect,
            // whatever else the process dies of meanwhile; one that was processed is none any more.
            for Left { path, size } in &left {
                let starts = ledger.connection.query_row(
                    "INSERT INTO documents (path, state, starts) VALUES (?1, 0, 1)
                     ON CONFLICT (path) DO UPDATE SET starts = starts + 1, observation = NULL RETURNING starts",
                    [path.as_bytes()],
                    |row| row.get(0),
                )?;
                is_proven |= is_given_up(starts, *size);
            }
            Ok(is_proven)
        };
        let is_proven = count(self).map_err(LedgerError::write)?;
        let now = milliseconds(SystemTime::now());
        let noted: String = self.meta(DEATHS)?.unwrap_or_default();
        let mut deaths: Vec<i64> = noted.split(' ').filter_map(|death| death.parse().ok()).collect();
        if !left.is_empty() {
            deaths.push(now);
            let last = deaths.len().saturating_sub(crash_guard::DEATHS);
            deaths.drain(..last);
            let noted: Vec<String> = deaths.iter().map(ToString::to_string).collect();
            self.set_meta(DEATHS, &noted.join(" "))?;
        }
        if is_proven {
            self.set_meta(PROVEN, &now.to_string())?;
        }
        // Processes may be killed from outside, often and while they read: that is no reason to wait.
        let proven: Option<String> = self.meta(PROVEN)?;
        if proven
            .and_then(|proven| proven.parse().ok())
            .is_some_and(|proven: i64| (now - crash_guard::WINDOW..=now).contains(&proven))
        {
            working.pause_after(&deaths, now);
        }
        Ok((working, left))
    }

    /// Works the write-ahead log into the file, so that a copy of the file alone is whole. Readers that are in the way are left in
    /// peace: then the log stays beside it.
    pub fn settle(&self) {
        let settled = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = settled {
            tracing::debug!(%error, "the write-ahead log stays");
        }
    }

    /// Works what there is of the write-ahead log into the file, as far as no reader needs it, so that a later commit need not.
    pub fn work_in_the_log(&self) {
        let worked_in = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = worked_in {
            tracing::debug!(%error, "the write-ahead log waits");
        }
    }

    /// Releases the reserved room, so that a stop on a full disk can still commit. Returns whether there was any.
    pub fn use_reserve(&self) -> bool {
        std::fs::remove_file(beside(&self.path, "reserve")).is_ok()
    }

    /// Sets room aside, as much as there is of what should be.
    pub fn keep_reserve(&mut self) {
        let path = beside(&self.path, "reserve");
        let keep = |bytes: u64| {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            Ok::<_, io::Error>(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)?)
        };
        let halves = std::iter::successors(Some(RESERVE.as_u64()), |bytes| Some(bytes / 2));
        let mut tried = halves.take_while(|bytes| *bytes >= LEAST_RESERVE.as_u64()).map(keep);
        let kept = tried.find(|kept| kept.as_ref().err().is_none_or(|error| !is_full(error)));
        if !matches!(kept, Some(Ok(()))) {
            self.use_reserve();
        }
        // Where it is not for want of room, as on a file system that sets none aside, a commit will report when there is none.
        self.lacks_reserve = kept.is_none();
    }

    /// Returns whether there is no room on the ledger's disk for what a stop would have to commit: then nothing more is to be paid for.
    #[must_use]
    pub fn lacks_reserve(&self) -> bool {
        self.lacks_reserve
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns the name of a file that belongs to the ledger and lies beside it.
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(what);
    name.into()
}

/// Opens a file for nothing but its name's sake. Closing any other descriptor of it would release the locks that `SQLite` holds in
/// this process (fcntl(2), "Record locking"); one that was opened like this holds and releases none.
fn look_at(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::PATH.bits().cast_signed()).open(path)
}

fn take(lock: &Path, ledger: &Path) -> Result<File, LedgerError> {
    let made = |source| LedgerError::Make { path: lock.to_owned(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock).map_err(made)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Taken { path: ledger.to_owned() }),
        Err(TryLockError::Error(source)) => Err(made(source)),
    }
}

/// Opens the writer's connection. `synchronous = FULL` makes a commit survive a power loss; `NORMAL` locking lets readers in.
fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -16_384)?;
        keep_plans(&connection)?;
        Ok(connection)
    };
    if rusqlite::version_number() < OLDEST_SQLITE {
        let finding = format!("SQLite {} can lose a commit; build with 3.51.3 or newer", rusqlite::version());
        return Err(LedgerError::Damaged { path: path.to_owned(), finding });
    }
    open().map_err(|error| LedgerError::open(path, error))
}

/// Has each statement be planned once. Without the planner's stability guarantee, `SQLite` plans one again for each value that it may hold
/// against a partial index; that took a tenth of all the time that a run over small files takes.
pub(super) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Looks into the tables that recovery depends on. The vectors are left out: each line has its checksum.
fn sound(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    for table in ["meta", "segments", "outbox"] {
        let check = format!("PRAGMA quick_check({table})");
        let finding: String =
            connection.query_row(&check, [], |row| row.get(0)).map_err(|error| LedgerError::open(path, error))?;
        if finding != "ok" {
            return Err(LedgerError::Damaged { path: path.to_owned(), finding });
        }
    }
    Ok(())
}

/// Returns the kind of file system where it is one on which `SQLite`'s log cannot work (statfs(2) names the numbers).
fn remote(folder: &Path) -> io::Result<Option<&'static str>> {
    const KINDS: [(u32, &str); 5] = [
        (0x6969, "an NFS mount"),
        (0xff53_4d42, "a CIFS mount"),
        (0xfe53_4d42, "an SMB mount"),
        (0x6573_5546, "a FUSE mount"),
        (0x0102_1997, "a 9p mount"),
    ];
    let found = rustix::fs::statfs(folder)?.f_type;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the kernel's numbers have 32 bits")]
    let found = found as u32;
    Ok(KINDS.iter().find(|(number, _)| *number == found).map(|(_, kind)| *kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_worked_in_is_in_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, alone) = (folder.path().join("ledger.db"), folder.path().join("alone.db"));
        let mut ledger = Ledger::open(&path, ByteSize::mib(1)).unwrap();
        let mut commit = ledger.begin().unwrap();
        commit.note("what", "it is").unwrap();
        commit.commit().unwrap();
        let in_the_file = || {
            std::fs::copy(&path, &alone).unwrap();
            let find = "SELECT value FROM meta WHERE key = 'what'";
            Connection::open(&alone).unwrap().query_row(find, [], |row| row.get::<_, String>(0)).ok()
        };
        assert_eq!(in_the_file(), None);
        ledger.work_in_the_log();
        assert_eq!(in_the_file().as_deref(), Some("it is"));
    }
}
