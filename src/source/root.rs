//! The source folder, opened. Nothing outside it is ever reached: no symbolic link is followed on the way to a file, whoever puts
//! one there and whenever.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::model::{DocumentPath, Observation};

/// The folder as it was when it was opened. It stays that folder when its path leads elsewhere.
#[derive(Debug)]
pub(super) struct Root {
    configured: PathBuf,
    resolved: PathBuf,
    descriptor: OwnedFd,
}

/// What lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A regular file.
    File(Observation),
    /// A folder.
    Folder,
    /// A symbolic link, FIFO, socket or device.
    Other,
}

impl Root {
    /// Opens the folder. Its own path may lead over symbolic links, for it comes from the operator.
    pub(super) fn open(configured: &Path) -> io::Result<Self> {
        let resolved = fs::canonicalize(configured)?;
        let descriptor = rustix::fs::openat(CWD, &resolved, FOLDER, Mode::empty())?;
        Ok(Self { configured: configured.into(), resolved, descriptor })
    }

    /// Returns the folder's absolute path without symbolic links, as it was when it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.resolved
    }

    /// Returns whether the configured path still leads to this folder.
    pub(super) fn is_in_place(&self) -> bool {
        let (Ok(there), Ok(here)) = (rustix::fs::stat(&self.configured), rustix::fs::fstat(&self.descriptor)) else {
            return false;
        };
        (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
    }

    /// Opens a folder below this one, or with an empty path this one, and starts to list it.
    pub(super) fn list(&self, path: &Path) -> io::Result<(OwnedFd, Dir)> {
        let folder = self.folder(path)?;
        let listing = rustix::fs::openat(&folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok((folder, Dir::new(listing)?))
    }

    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(resolve(&self.descriptor, path)?)
    }

    /// Returns what lies under a path, or `None` when nothing does.
    pub(super) fn look(&self, path: &DocumentPath) -> io::Result<Option<Entry>> {
        let found = self.parent_of(path).and_then(|(parent, name)| Ok(Entry::from(lstat(&parent, name)?)));
        match found {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading. Never blocks, and fails on a symbolic link.
    pub(super) fn file(&self, path: &DocumentPath) -> io::Result<File> {
        let (parent, name) = self.parent_of(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
    }

    fn parent_of<'a>(&self, path: &'a DocumentPath) -> io::Result<(OwnedFd, &'a Path)> {
        let path = path.as_path();
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            unreachable!("a document's path ends in a plain name")
        };
        Ok((self.folder(parent)?, Path::new(name)))
    }
}

/// Returns what lies under a name in an open folder.
pub(super) fn lstat(folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Returns what an open file is now.
pub(super) fn fstat(file: &File) -> io::Result<Entry> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// Returns whether an error says that nothing lies under a path, symbolic links not counting.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

impl From<Stat> for Entry {
    fn from(stat: Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File(Observation {
                device: stat.st_dev,
                inode: stat.st_ino,
                size: stat.st_size.cast_unsigned(),
                modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
                changed: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
            }),
            FileType::Directory => Self::Folder,
            _ => Self::Other,
        }
    }
}

/// `O_PATH`: opening announces nothing to watchers and needs no right to list.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder below another without following a symbolic link on any step.
///
/// Mount points are crossed: binding a second volume into the source folder is the operator's doing, no dropper can.
fn resolve(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, FOLDER, Mode::empty(), beneath) {
        // Linux before 5.6, or a seccomp filter that has not heard of it.
        Err(Errno::NOSYS | Errno::PERM) => resolve_by_steps(root, path),
        outcome => outcome,
    }
}

/// Does the same with a call for each name. `O_NOFOLLOW` is about the last name of a path, so every name must be the last.
fn resolve_by_steps(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let mut folder = rustix::fs::openat(root, ".", FOLDER, Mode::empty())?;
    for name in path {
        folder = rustix::fs::openat(&folder, name, FOLDER, Mode::empty())?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    #[test]
    fn folders_are_found_the_same_way_in_one_call_and_by_steps() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/file"), "").unwrap();
        symlink("/etc", folder.path().join("out")).unwrap();
        symlink("a", folder.path().join("in")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for resolve in [resolve, resolve_by_steps] {
            for good in [".", "a", "a/b"] {
                assert!(resolve(&root.descriptor, Path::new(good)).is_ok(), "{good}");
            }
            for bad in ["out", "out/ssl", "in", "in/b", "a/file", "none"] {
                let error = resolve(&root.descriptor, Path::new(bad)).unwrap_err();
                assert!(is_gone(&error.into()), "{bad}: {error}");
            }
        }
    }

    #[test]
    fn a_look_tells_files_folders_and_the_rest_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/file"), "four").unwrap();
        symlink("file", folder.path().join("a/link")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert!(matches!(root.look(&path("a/file")).unwrap(), Some(Entry::File(Observation { size: 4, .. }))));
        assert_eq!(root.look(&path("a")).unwrap(), Some(Entry::Folder));
        assert_eq!(root.look(&path("a/link")).unwrap(), Some(Entry::Other));
        assert_eq!(root.look(&path("a/none")).unwrap(), None);
        assert_eq!(root.look(&path("a/file/below")).unwrap(), None);
    }

    #[test]
    fn a_recreated_folder_is_another_one() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("drop");
        fs::create_dir(&folder).unwrap();
        let root = Root::open(&folder).unwrap();
        assert!(root.is_in_place());
        fs::remove_dir(&folder).unwrap();
        assert!(!root.is_in_place());
        fs::create_dir(&folder).unwrap();
        assert!(!root.is_in_place());
    }
}
