//! Crash guard: records which documents are being processed, so that one that crashes the process is known afterwards.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::LedgerError;
use crate::domain::DocumentPath;

/// A file with one place for each document that is being processed. A place is written before the work begins and cleared when it is
/// over; the file named in one at the next start was being processed when the process died. The file is not synced: it tells of crashes of
/// the process, which the system's cache survives, and a power loss is no document's fault.
#[derive(Debug)]
pub struct Working {
    file: File,
    free: Mutex<Vec<u64>>,
    pause: Duration,
}

/// Bytes of a place: a length, a path (`PATH_MAX` is 4,096) and its checksum; the file's size, and a checksum of both.
const PLACE: u64 = 4608;
/// Places; more than anyone works at once.
const PLACES: u64 = 16;
const CHECKSUM: usize = 8;

/// A file that is smaller cannot have taken the memory of the machine. Where processes keep being killed while it is read, a death more than
/// of others is needed to say that it is the cause.
const SMALL: u64 = 1 << 20;

/// Returns whether a file of so many bytes is not begun again after so many deaths over it. In all but the first it was alone.
#[must_use]
pub fn is_given_up(deaths: u32, size: u64) -> bool {
    deaths >= if size < SMALL { 3 } else { 2 }
}

/// A document that was being processed when the process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The document.
    pub path: DocumentPath,
    /// How long its file was, in bytes.
    pub size: u64,
}

/// In how many milliseconds the unit may be started only so often (`StartLimitIntervalSec`), and some more.
pub(super) const WINDOW: i64 = 310_000;
/// Deaths in that time after which the next must be put off: the unit is started five times (`StartLimitBurst`), and this is the fifth.
pub(super) const DEATHS: usize = 4;

impl Working {
    /// Opens the file and returns which documents were being processed when it was last used.
    ///
    /// # Errors
    /// When the file cannot be made, read or written.
    pub fn open(path: &Path) -> Result<(Self, Vec<Left>), LedgerError> {
        let open = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            let mut left = Vec::new();
            for place in 0..PLACES {
                left.extend(read(&file, place)?);
                file.write_all_at(&0_u32.to_le_bytes(), place * PLACE)?;
            }
            let free = Mutex::new((0..PLACES).rev().collect());
            Ok((Self { file, free, pause: Duration::ZERO }, left))
        };
        open().map_err(|source: io::Error| LedgerError::Make { path: path.to_owned(), source })
    }

    /// Returns how long no new work should begin, since too many processes have died of it in a short time.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Has no new work begin for a while, where the processes that died over files at these times, in milliseconds since 1970, are so many
    /// that one more would have systemd give the service up.
    pub(super) fn pause_after(&mut self, deaths: &[i64], now: i64) {
        let recent = deaths.iter().filter(|death| (now - WINDOW..=now).contains(*death));
        let mut recent: Vec<_> = recent.copied().collect();
        recent.sort_unstable();
        if let Some(first) = recent.len().checked_sub(DEATHS).and_then(|first| recent.get(first)) {
            self.pause = Duration::from_millis((first + WINDOW - now).unsigned_abs());
        }
    }

    /// Notes that work on a document begins, until the guard is dropped. A disk that is full is no reason not to work.
    pub fn begin(&self, path: &DocumentPath, size: u64) -> Begun<'_> {
        let place = self.places().pop();
        if let Some(place) = place {
            let bytes = path.as_bytes();
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let mut entry = length.to_le_bytes().to_vec();
            entry.extend_from_slice(bytes);
            entry.extend_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM]);
            entry.extend_from_slice(&sized(bytes, size.to_le_bytes()));
            let fits = entry.len() as u64 <= PLACE;
            let _unnoted = if fits { self.file.write_all_at(&entry, place * PLACE) } else { Ok(()) };
        }
        Begun { working: self, place }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Work on a document, until it is dropped.
#[derive(Debug)]
pub struct Begun<'a> {
    working: &'a Working,
    place: Option<u64>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let _unnoted = self.working.file.write_all_at(&0_u32.to_le_bytes(), place * PLACE);
            self.working.places().push(place);
        }
    }
}

/// Returns a size with a checksum of it and of a path.
fn sized(path: &[u8], size: [u8; 8]) -> [u8; 8 + CHECKSUM] {
    let mut sized = [0; 8 + CHECKSUM];
    sized[..8].copy_from_slice(&size);
    let checksum = blake3::Hasher::new().update(path).update(&size).finalize();
    sized[8..].copy_from_slice(&checksum.as_bytes()[..CHECKSUM]);
    sized
}

fn read(file: &File, place: u64) -> io::Result<Option<Left>> {
    let mut entry = vec![0; usize::try_from(PLACE).expect("a place is small")];
    let mut filled = 0;
    while filled < entry.len() {
        match file.read_at(&mut entry[filled..], place * PLACE + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    let Some((length, rest)) = entry.split_first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length + CHECKSUM > rest.len() {
        return Ok(None);
    }
    let (bytes, checksum) = rest.split_at(length);
    if blake3::hash(bytes).as_bytes()[..CHECKSUM] != checksum[..CHECKSUM] {
        return Ok(None);
    }
    // A build before this one wrote no size.
    let size = checksum[CHECKSUM..].first_chunk::<8>().filter(|size| checksum[CHECKSUM..].starts_with(&sized(bytes, **size)));
    let size = size.map_or(0, |size| u64::from_le_bytes(*size));
    Ok(DocumentPath::new(Path::new(std::ffi::OsStr::from_bytes(bytes))).ok().map(|path| Left { path, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_under_work_when_the_process_died_is_known_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("working");
        let document = |name: &str| DocumentPath::new(Path::new(name)).unwrap();
        let (working, left) = Working::open(&path).unwrap();
        assert_eq!(left, []);
        drop(working.begin(&document("finished.md"), 1));
        // These have not ended when the next process looks: a crash runs no destructor.
        let _under_work = ["a/fatal.md", "other.md"].map(|name| working.begin(&document(name), name.len() as u64));
        let (next, left) = Working::open(&path).unwrap();
        assert_eq!(left, ["a/fatal.md", "other.md"].map(|name| Left { path: document(name), size: name.len() as u64 }));
        drop(next);
        assert_eq!(Working::open(&path).unwrap().1, [], "each is reported once");
    }

    #[test]
    fn what_a_build_before_has_left_has_no_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("working");
        let entry = [&4_u32.to_le_bytes()[..], b"a.md", &blake3::hash(b"a.md").as_bytes()[..CHECKSUM], &[7; 100]].concat();
        std::fs::write(&path, entry).unwrap();
        let document = DocumentPath::new(Path::new("a.md")).unwrap();
        assert_eq!(Working::open(&path).unwrap().1, [Left { path: document, size: 0 }]);
    }

    #[test]
    fn a_large_file_fails_after_its_second_crash_and_a_small_one_after_its_third() {
        assert!(!is_given_up(1, 60_000_000) && is_given_up(2, 60_000_000));
        assert!(!is_given_up(2, 1000) && is_given_up(3, 1000));
    }

    #[test]
    fn work_pauses_where_one_more_death_would_be_the_end_of_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let (mut working, _) = Working::open(&folder.path().join("working")).unwrap();
        let now = 1_000_000;
        working.pause_after(&[now - 9000, now - 6000, now - 3000], now);
        assert_eq!(working.pause(), Duration::ZERO);
        working.pause_after(&[now - WINDOW - 1, now - 9000, now - 6000, now - 3000], now);
        assert_eq!(working.pause(), Duration::ZERO, "one is too long ago");
        working.pause_after(&[now - 9000, now - 6000, now - 3000, now], now);
        assert_eq!(working.pause(), Duration::from_secs(301), "until the first of them does not count any more");
    }

    #[test]
    fn a_place_that_was_torn_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("working");
        std::fs::write(&path, [5, 0, 0, 0, b'a', b'b']).unwrap();
        assert_eq!(Working::open(&path).unwrap().1, []);
        std::fs::write(&path, [255; 9000]).unwrap();
        assert_eq!(Working::open(&path).unwrap().1, []);
    }
}
