//! Reads a file, and proves that nobody wrote meanwhile.

use std::fmt;
use std::io::{self, Read as _};

use bytesize::ByteSize;
use tokio_util::sync::CancellationToken;

use super::root::{Entry, Root, fstat, is_gone};
use crate::domain::{ContentHash, DocumentPath, Observation};
use crate::folder::SourceConfig;

/// A file's bytes, all of one moment.
pub struct Contents {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their hash, which names this version of the document.
    pub hash: ContentHash,
    /// What the file looked like, before and after.
    pub seen: Observation,
}

/// Says why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no regular file (any more).
    #[error("not a regular file")]
    NotRegular,
    /// It is larger than `source.max-file-size`; nothing of it was read.
    #[error("{} is more than the limit of {}", ByteSize::b(*size).display().iec(), ByteSize::b(*max).display().iec())]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// It is not what was seen, or changed while it was read.
    #[error("the file is changing")]
    Changing,
    /// Nothing lies there now. That is no proof of a deletion: the folder may be away for a moment.
    #[error("the file no longer exists")]
    Gone,
    /// A folder on the way to it may not be entered. That says nothing of the file.
    #[error("a folder on the way to the file may not be entered")]
    Closed,
    /// The system refused.
    #[error("cannot read the file")]
    Io(#[source] io::Error),
}

impl ReadError {
    /// Returns whether another look may find the file readable: hand it back with [`Claim::again`](crate::domain::Claim::again).
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Changing | Self::Gone | Self::Closed | Self::Io(_) => true,
            Self::NotRegular | Self::TooLarge { .. } => false,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if is_gone(&error) { Self::Gone } else { Self::Io(error) }
    }
}

/// Reads the file at `path` wholly, from the source folder, if it is still as it was `seen`.
///
/// What was seen, the path before and after, and the open file before and after must all be the same: device, inode, size and both
/// times. At most one byte more than `max-file-size` is read, even of a file that grows. Nothing outside the folder is opened,
/// whatever the path has been turned into meanwhile. The folder is opened again each time, so that a recreated one counts.
///
/// Where the system has no descriptor or memory it is asked for some seconds, but not after `stop`.
///
/// Blocks: call it off the runtime.
///
/// # Errors
/// When there is no such proof; [`ReadError::is_passing`] tells what to do.
pub fn read(
    config: &SourceConfig,
    path: &DocumentPath,
    seen: &Observation,
    stop: &CancellationToken,
) -> Result<Contents, ReadError> {
    let root = Root::open_until(&config.path, stop).map_err(on_the_way)?.with(config.symlinks);
    read_between(&root, path, seen, config.max_file_size.as_u64(), || ())
}

/// Calls `midway` once the bytes are read and before they are proven, where a test can interfere.
pub(super) fn read_between(
    root: &Root,
    path: &DocumentPath,
    seen: &Observation,
    max: u64,
    midway: impl FnOnce(),
) -> Result<Contents, ReadError> {
    // By its path first: opening a FIFO would let its writer go on, opening a device may do anything.
    let look = || root.look(path).map_err(on_the_way)?.ok_or(ReadError::Gone);
    expect_seen(look()?, seen)?;
    if seen.size > max {
        return Err(ReadError::TooLarge { size: seen.size, max });
    }
    let file = root.file(path)?;
    expect_seen(fstat(&file)?, seen)?;

    let mut bytes = Vec::with_capacity(usize::try_from(seen.size).unwrap_or(0));
    // One byte more than there should be: its coming is a change.
    (&file).take(seen.size.saturating_add(1)).read_to_end(&mut bytes)?;
    midway();
    if bytes.len() as u64 != seen.size {
        return Err(ReadError::Changing);
    }
    let hash = ContentHash::of(&bytes);
    expect_seen(fstat(&file)?, seen)?;
    expect_seen(look()?, seen)?;
    Ok(Contents { bytes, hash, seen: *seen })
}

/// Takes an error of a look at the path, for which nobody needs rights on the file itself.
fn on_the_way(error: io::Error) -> ReadError {
    if error.kind() == io::ErrorKind::PermissionDenied { ReadError::Closed } else { error.into() }
}

fn expect_seen(entry: Entry, seen: &Observation) -> Result<(), ReadError> {
    match entry {
        Entry::File(now, _) if now == *seen => Ok(()),
        Entry::File(..) => Err(ReadError::Changing),
        Entry::Folder | Entry::Other(_) => Err(ReadError::NotRegular),
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("bytes", &self.bytes.len())
            .field("hash", &format_args!("{}", self.hash))
            .field("seen", &self.seen)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;
    use crate::folder::scan::log_once::Skip;

    /// A source folder with the file `a/file` in it, and beside it what nobody may read.
    struct Scene {
        temporary: TempDir,
        path: DocumentPath,
        seen: Observation,
    }

    impl Scene {
        fn new(bytes: &[u8]) -> Self {
            let temporary = tempfile::tempdir().unwrap();
            fs::create_dir_all(temporary.path().join("drop/a")).unwrap();
            fs::create_dir(temporary.path().join("outside")).unwrap();
            fs::write(temporary.path().join("outside/file"), "secret").unwrap();
            fs::write(temporary.path().join("drop/a/file"), bytes).unwrap();
            let path = DocumentPath::new(Path::new("a/file")).unwrap();
            let Some(Entry::File(seen, _)) = Root::open(&temporary.path().join("drop")).unwrap().look(&path).unwrap() else {
                panic!("the file is there")
            };
            Self { temporary, path, seen }
        }

        fn at(&self, path: &str) -> std::path::PathBuf {
            self.temporary.path().join(path)
        }

        fn read(&self) -> Result<Contents, ReadError> {
            self.read_while(|| ())
        }

        fn read_while(&self, midway: impl FnOnce()) -> Result<Contents, ReadError> {
            read_between(&Root::open(&self.at("drop"))?, &self.path, &self.seen, 1000, midway)
        }
    }

    #[test]
    fn a_quiet_file_is_read_wholly() {
        let contents = Scene::new(b"\xffsome bytes").read().unwrap();
        assert_eq!(contents.bytes, b"\xffsome bytes");
        assert_eq!(contents.hash, ContentHash::of(b"\xffsome bytes"));
        assert_eq!(Scene::new(b"").read().unwrap().bytes, b"");
    }

    #[test]
    fn a_file_over_the_limit_is_not_read() {
        let scene = Scene::new(&[0; 1001]);
        let outcome = scene.read_while(|| panic!("it was read"));
        assert!(matches!(outcome, Err(ReadError::TooLarge { size: 1001, max: 1000 })));
        assert_eq!(Scene::new(&[0; 1000]).read().unwrap().bytes.len(), 1000);
    }

    #[test]
    fn a_file_that_is_not_as_it_was_seen_is_changing() {
        let scene = Scene::new(b"seen");
        fs::write(scene.at("drop/a/file"), "other").unwrap();
        assert!(matches!(scene.read(), Err(ReadError::Changing)));
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_changing() {
        let append = |scene: &Scene| {
            let mut file = File::options().append(true).open(scene.at("drop/a/file")).unwrap();
            io::Write::write_all(&mut file, b"more").unwrap();
        };
        let rewrite_with_the_old_times = |scene: &Scene| {
            let file = File::options().write(true).open(scene.at("drop/a/file")).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            io::Write::write_all(&mut &file, b"SEEN").unwrap();
            file.set_modified(modified).unwrap();
        };
        let replace = |scene: &Scene| {
            fs::write(scene.at("outside/new"), "seen").unwrap();
            fs::rename(scene.at("outside/new"), scene.at("drop/a/file")).unwrap();
        };
        let touch = |scene: &Scene| {
            let file = File::options().write(true).open(scene.at("drop/a/file")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        };
        let changes: [&dyn Fn(&Scene); 4] = [&append, &rewrite_with_the_old_times, &replace, &touch];
        for change in changes {
            let scene = Scene::new(b"seen");
            assert!(matches!(scene.read_while(|| change(&scene)), Err(ReadError::Changing)));
        }
    }

    #[test]
    fn a_file_that_is_moved_away_while_it_is_read_no_longer_exists() {
        let scene = Scene::new(b"seen");
        let outcome = scene.read_while(|| fs::rename(scene.at("drop/a"), scene.at("drop/b")).unwrap());
        assert!(matches!(outcome, Err(ReadError::Gone)));
    }

    #[test]
    fn a_file_swapped_for_a_link_leads_nowhere() {
        let scene = Scene::new(b"seen");
        fs::remove_file(scene.at("drop/a/file")).unwrap();
        symlink(scene.at("outside/file"), scene.at("drop/a/file")).unwrap();
        assert!(matches!(scene.read(), Err(ReadError::NotRegular)));
        assert!(Root::open(&scene.at("drop")).unwrap().file(&scene.path).is_err());
    }

    #[test]
    fn a_folder_swapped_for_a_link_leads_nowhere() {
        let scene = Scene::new(b"seen");
        fs::rename(scene.at("drop/a"), scene.at("drop/b")).unwrap();
        symlink(scene.at("outside"), scene.at("drop/a")).unwrap();
        assert!(matches!(scene.read(), Err(ReadError::Gone)));
        assert!(Root::open(&scene.at("drop")).unwrap().file(&scene.path).is_err());
    }

    #[test]
    fn a_fifo_is_refused_without_waiting_for_a_writer() {
        let scene = Scene::new(b"seen");
        fs::remove_file(scene.at("drop/a/file")).unwrap();
        mknodat(CWD, scene.at("drop/a/file"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(scene.read(), Err(ReadError::NotRegular)));
        // Should it come after the look: opening does not wait either.
        assert_eq!(
            fstat(&Root::open(&scene.at("drop")).unwrap().file(&scene.path).unwrap()).unwrap(),
            Entry::Other(Skip::NotRegular)
        );
    }

    #[test]
    fn what_may_pass_is_distinguished_from_what_will_not() {
        let scene = Scene::new(b"seen");
        fs::remove_dir_all(scene.at("drop")).unwrap();
        let gone = scene.read().unwrap_err();
        assert!(matches!(gone, ReadError::Gone) && gone.is_passing());
        assert!(!ReadError::NotRegular.is_passing());
        assert_eq!(ReadError::TooLarge { size: 3 << 20, max: 1 << 20 }.to_string(), "3.0 MiB is more than the limit of 1.0 MiB");
    }
}
