//! A file in its place below the source folder, and how it leaves it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::names::aside;
use super::target::place;
use crate::model::{DocumentPath, Observation};
use crate::source::root::{Entry, Root, fstat, is_gone};
use crate::source::told::Skip;

/// A place below the source folder: an open folder and a name in it.
pub(super) struct Origin<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
}

/// A regular file that is held open, for nothing but to be told from every other.
pub(super) struct Held {
    seen: Observation,
    _file: File,
}

/// What lies in a place.
pub(super) enum Look {
    Held(Held),
    /// A symbolic link. Moving it would break it, and what it leads to is a document of its own.
    Link,
    /// Another file than was expected, or no file.
    Other,
    Nothing,
}

/// Whether a file has been deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Yes,
    /// Another one lies there now, and does so still.
    Changed,
    Gone,
}

impl<'a> Origin<'a> {
    pub(super) fn of(root: &Root, path: &'a DocumentPath) -> io::Result<Self> {
        let (folder, name) = root.parent_of(path)?;
        Ok(Self { folder, name: name.as_os_str() })
    }

    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    pub(super) fn name(&self) -> &OsStr {
        self.name
    }

    /// Looks for the file as it was `seen`, or for whatever file lies here.
    pub(super) fn look(&self, seen: Option<&Observation>) -> io::Result<Look> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(&self.folder, self.name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(Look::Nothing),
            Err(error) => return Err(error.into()),
        };
        Ok(match fstat(&file)? {
            Entry::File(now, _) if seen.is_none_or(|seen| now == *seen) => Look::Held(Held { seen: now, _file: file }),
            Entry::Other(Skip::Link) => Look::Link,
            Entry::File(..) | Entry::Folder | Entry::Other(_) => Look::Other,
        })
    }

    /// Returns whether nothing lies here.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        Ok(matches!(self.look(None)?, Look::Nothing))
    }

    /// Opens a held file for reading, or returns `None` if it is not as it was any more.
    pub(super) fn open(&self, held: &Held) -> io::Result<Option<File>> {
        let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(&self.folder, self.name, reading, Mode::empty())?.into();
        Ok(matches!(fstat(&file)?, Entry::File(now, _) if now == held.seen).then_some(file))
    }

    /// Gives what lies here another place, if that is free and on the same file system.
    pub(super) fn rename_to(&self, folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat_with(&self.folder, self.name, folder, name, RenameFlags::NOREPLACE)
    }

    /// Deletes the held file, and no other: it leaves its name first, and is looked at where nobody puts another.
    pub(super) fn remove(&self, held: &Held) -> io::Result<Removed> {
        let aside = aside(self.name);
        let renamed = match self.rename_to(&self.folder, &aside) {
            // A file system that cannot tell whether it replaces something, as NFS. There is nothing to replace: see `recover`.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(&self.folder, self.name, &self.folder, &aside),
            renamed => renamed,
        };
        match renamed {
            Ok(()) if held.lies_in(&self.folder, &aside)? => {
                rustix::fs::unlinkat(&self.folder, &aside, AtFlags::empty())?;
                Ok(Removed::Yes)
            }
            Ok(()) => {
                self.put_back(&self.folder, &aside)?;
                Ok(Removed::Changed)
            }
            Err(Errno::NOENT) => Ok(Removed::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings back what was taken by mistake; beside what has come to lie here since, if need be, for it must not be lost.
    pub(super) fn put_back(&self, folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
        place(folder, name, &self.folder, self.name)
    }

    /// Finishes a [`removal`](Self::remove) that a crash has interrupted: what it left aside is deleted if it is the file that was `seen`, and put back if not.
    pub(super) fn recover(&self, seen: &Observation) -> io::Result<()> {
        let aside = aside(self.name);
        match rustix::fs::statat(&self.folder, &aside, AtFlags::SYMLINK_NOFOLLOW).map(Entry::from) {
            Ok(Entry::File(left, _)) if is_same(&left, seen) => {
                rustix::fs::unlinkat(&self.folder, &aside, AtFlags::empty())?;
            }
            Ok(_) => self.put_back(&self.folder, &aside)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Held {
    pub(super) fn seen(&self) -> &Observation {
        &self.seen
    }

    /// Returns whether this very file lies in a place and has not been written to.
    pub(super) fn lies_in(&self, folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(Entry::from).map_err(io::Error::from) {
            Ok(Entry::File(now, _)) => Ok(is_same(&now, &self.seen)),
            Ok(Entry::Folder | Entry::Other(_)) => Ok(false),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns whether two observations are of one file with the same contents. Its name is no part of that: a rename changes the time
/// of the last change of the inode.
pub(super) fn is_same(one: &Observation, other: &Observation) -> bool {
    let Observation { device, inode, size, modified, changed: _ } = *one;
    (device, inode, size, modified) == (other.device, other.inode, other.size, other.modified)
}
