//! A file in its place below the source folder, and how it leaves it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::destination::place;
use super::names::aside;
use crate::domain::{DocumentPath, Observation};
use crate::folder::look::root::{Entry, Root, fstat, is_gone};
use crate::folder::scan::log_once::Skip;
use crate::folder::settle::write_lease::{Lease, has_writer};

/// A place below the source folder: an open folder and a name in it.
pub(super) struct Origin<'a> {
    root: &'a Root,
    path: &'a DocumentPath,
    folder: OwnedFd,
    name: &'a OsStr,
}

/// A regular file that is held open, only to be distinguished from every other.
pub(super) struct OpenedFile {
    seen: Observation,
    _file: File,
}

/// What lies in a place.
pub(super) enum PathState {
    Held(OpenedFile),
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
    /// Somebody has it open for writing.
    Open,
    Gone,
}

/// Whether a file holds still.
pub(super) enum Still {
    /// Nobody writes to it as long as this is held, as far as that is known.
    Held(Option<Lease>),
    /// It is not as it was any more.
    Changed,
    /// Somebody has it open for writing.
    Open,
}

impl<'a> Origin<'a> {
    pub(super) fn of(root: &'a Root, path: &'a DocumentPath) -> io::Result<Self> {
        let (folder, name) = root.parent_of(path)?;
        Ok(Self { root, path, folder, name: name.as_os_str() })
    }

    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    pub(super) fn name(&self) -> &OsStr {
        self.name
    }

    /// Looks for the file as it was `seen`, or for whatever file lies here.
    pub(super) fn look(&self, seen: Option<&Observation>) -> io::Result<PathState> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(&self.folder, self.name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(PathState::Nothing),
            Err(error) => return Err(error.into()),
        };
        Ok(match fstat(&file)? {
            Entry::File(now, _) if seen.is_none_or(|seen| now == *seen) => PathState::Held(OpenedFile { seen: now, _file: file }),
            Entry::Other(Skip::Link) => PathState::Link,
            Entry::File(..) | Entry::Folder | Entry::Other(_) => PathState::Other,
        })
    }

    /// Returns whether nothing lies here.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        Ok(matches!(self.look(None)?, PathState::Nothing))
    }

    /// Opens a held file for reading, or returns `None` if it is not as it was any more.
    pub(super) fn open(&self, held: &OpenedFile) -> io::Result<Option<File>> {
        let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = rustix::fs::openat(&self.folder, self.name, reading, Mode::empty())?.into();
        Ok(matches!(fstat(&file)?, Entry::File(now, _) if now == held.seen).then_some(file))
    }

    /// Keeps writers from a held file, and then looks whether it is still as it was: what is written to it from now on waits, and what was
    /// written before shows, if only in the time of its last change.
    pub(super) fn still(&self, held: &OpenedFile) -> io::Result<Still> {
        let file = match self.open(held) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Still::Changed),
            // Not there, not readable, or a link now: the rename tells which.
            Err(_) => return Ok(Still::Held(None)),
        };
        let Some(lease) = Lease::take(file) else { return Ok(Still::Open) };
        Ok(match fstat(lease.file())? {
            Entry::File(now, _) if now == held.seen => Still::Held(Some(lease)),
            _ => Still::Changed,
        })
    }

    /// Returns whether a held file that was given another name is the one that was meant: that very file, with nobody waiting to write to
    /// it, and taken from a folder that is still below the source folder.
    pub(super) fn is_taken(&self, held: &OpenedFile, lease: Option<&Lease>, folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
        Ok(held.lies_in(folder, name)? && !lease.is_some_and(Lease::is_wanted) && self.is_in_place()?)
    }

    /// Returns whether the folder is where the path says, and not moved out of the source folder.
    fn is_in_place(&self) -> io::Result<bool> {
        let there = match self.root.parent_of(self.path) {
            Ok((there, _)) => rustix::fs::fstat(there)?,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let here = rustix::fs::fstat(&self.folder)?;
        Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) && self.root.is_in_place())
    }

    /// Gives what lies here another place, if that is free and on the same file system.
    pub(super) fn rename_to(&self, folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat_with(&self.folder, self.name, folder, name, RenameFlags::NOREPLACE)
    }

    /// Deletes the held file, and no other: it leaves its name first, and is looked at where nobody puts another. Who opened it by its
    /// name just before, to write to it, waits for the lease, which shows.
    pub(super) fn remove(&self, held: &OpenedFile) -> io::Result<Removed> {
        let lease = match self.still(held)? {
            Still::Held(lease) => lease,
            Still::Changed => return Ok(Removed::Changed),
            Still::Open => return Ok(Removed::Open),
        };
        self.remove_still(held, lease.as_ref())
    }

    /// Does so with a file that holds still.
    pub(super) fn remove_still(&self, held: &OpenedFile, lease: Option<&Lease>) -> io::Result<Removed> {
        let aside = aside(self.name);
        let renamed = match self.rename_to(&self.folder, &aside) {
            // A file system that cannot tell whether it replaces something, as NFS. There is nothing to replace: see `recover`.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(&self.folder, self.name, &self.folder, &aside),
            renamed => renamed,
        };
        match renamed {
            Ok(()) => {
                let is_taken = self.is_taken(held, lease, &self.folder, &aside);
                if is_taken.as_ref().is_ok_and(|is_taken| *is_taken) {
                    rustix::fs::unlinkat(&self.folder, &aside, AtFlags::empty())?;
                    return Ok(Removed::Yes);
                }
                self.put_back(&self.folder, &aside)?;
                is_taken.map(|_| Removed::Changed)
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
            Ok(Entry::File(left, _)) if is_same(&left, seen) && !is_written_to(&self.folder, &aside) => {
                rustix::fs::unlinkat(&self.folder, &aside, AtFlags::empty())?;
            }
            Ok(_) => self.put_back(&self.folder, &aside)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl OpenedFile {
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

/// Returns whether somebody has a file open for writing, as far as that is known.
pub(super) fn is_written_to(folder: &OwnedFd, name: &OsStr) -> bool {
    let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, reading, Mode::empty()).is_ok_and(|file| has_writer(file.into()))
}

/// Returns whether two observations are of one file with the same contents. Its name is no part of that: a rename changes the time
/// of the last change of the inode.
pub(super) fn is_same(one: &Observation, other: &Observation) -> bool {
    let Observation { device, inode, size, modified, changed: _ } = *one;
    (device, inode, size, modified) == (other.device, other.inode, other.size, other.modified)
}
