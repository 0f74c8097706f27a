//! The folder that files are taken to: below it each keeps its path, and what is there already keeps its name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::completed::Disposed;
use super::names::{arriving, aside, numbered, reason_of};
use super::take::{OpenedFile, Origin, Still, is_same, is_written_to};
use crate::domain::{ContentHash, DocumentPath, Observation};
use crate::folder::look::root::{Entry, Root, fstat};
use crate::folder::settle::write_lease::Lease;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The place that a file is meant for.
pub(super) struct Target<'a> {
    folder: OwnedFd,
    path: PathBuf,
    name: &'a OsStr,
    /// What is to be in a file beside it.
    reason: Option<String>,
}

impl<'a> Target<'a> {
    /// Opens the folder for a document, and makes it if it is not there.
    pub(super) fn open(base: &Path, root: &Root, document: &'a DocumentPath, reason: Option<String>) -> io::Result<Self> {
        fs::create_dir_all(base)?;
        let resolved = fs::canonicalize(base)?;
        if resolved.starts_with(root.path()) || root.path().starts_with(&resolved) {
            let why = "it lies in the source folder, or the source folder in it";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let (Some(parent), Some(name)) = (document.as_path().parent(), document.as_path().file_name()) else {
            unreachable!("a document's path ends in a plain name")
        };
        let mut folder = rustix::fs::openat(CWD, &resolved, FOLDER, Mode::empty())?;
        for name in parent {
            match rustix::fs::mkdirat(&folder, name, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = rustix::fs::openat(&folder, name, FOLDER, Mode::empty())?;
        }
        Ok(Self { folder, path: base.join(parent), name, reason })
    }

    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Takes a file from its place, on the same file system, and puts it back if it is not the one that is held. In between it lies under
    /// a name that [`Target::recover`] knows. `None` when this folder is on another file system.
    pub(super) fn receive(&self, origin: &Origin<'_>, held: &OpenedFile) -> io::Result<Option<Disposed>> {
        let lease = match origin.still(held)? {
            Still::Held(lease) => lease,
            Still::Changed => return Ok(Some(Disposed::Changed)),
            Still::Open => return Ok(Some(Disposed::Open)),
        };
        self.receive_still(origin, held, lease.as_ref())
    }

    /// Does so with a file that holds still.
    pub(super) fn receive_still(
        &self,
        origin: &Origin<'_>,
        held: &OpenedFile,
        lease: Option<&Lease>,
    ) -> io::Result<Option<Disposed>> {
        let arriving = arriving(self.name);
        // What can go wrong here goes wrong before the file is touched: one that has moved to and fro looks like a changed one.
        let name = self.announce()?;
        match origin.rename_to(&self.folder, &arriving) {
            Ok(()) => {
                let is_taken = origin.is_taken(held, lease, &self.folder, &arriving);
                if is_taken.as_ref().is_ok_and(|is_taken| *is_taken) {
                    return Ok(Some(Disposed::Moved(self.path_of(&self.admit(origin, &arriving)?))));
                }
                origin.put_back(&self.folder, &arriving)?;
                self.forget(&name, None)?;
                is_taken.map(|_| Some(Disposed::Changed))
            }
            Err(error) => {
                self.forget(&name, None)?;
                match error {
                    Errno::XDEV | Errno::INVAL | Errno::NOSYS => Ok(None),
                    Errno::NOENT if origin.is_empty()? => Ok(Some(Disposed::Gone)),
                    error => Err(error.into()),
                }
            }
        }
    }

    /// Finishes a move that a crash has interrupted: a file that lies here still without its name gets it if it is the one that was
    /// `seen`, and is put back if it is another. Returns the name.
    pub(super) fn recover(&self, origin: &Origin<'_>, seen: &Observation) -> io::Result<Option<OsString>> {
        let arriving = arriving(self.name);
        match rustix::fs::statat(&self.folder, &arriving, AtFlags::SYMLINK_NOFOLLOW).map(Entry::from) {
            Ok(Entry::File(left, _)) if is_same(&left, seen) && !is_written_to(&self.folder, &arriving) => {
                self.admit(origin, &arriving).map(Some)
            }
            Ok(_) => origin.put_back(&self.folder, &arriving).map(|()| None),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file that has arrived its name, or puts it back where that fails.
    fn admit(&self, origin: &Origin<'_>, arriving: &OsStr) -> io::Result<OsString> {
        self.place(arriving).or_else(|error| {
            origin.put_back(&self.folder, arriving)?;
            Err(error.into())
        })
    }

    /// Gives a file in this folder the first name that is free. The reason comes first: a crash in between leaves the file to be moved
    /// again, and the reason to be found.
    fn place(&self, file: &OsStr) -> Result<OsString, Errno> {
        loop {
            let name = self.announce()?;
            match rename_new(&self.folder, file, &self.folder, &name) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {} // somebody else was quicker
                Err(error) => {
                    self.forget(&name, None)?;
                    return Err(error);
                }
            }
        }
    }

    /// Returns the first name that is free, with the reason beside it.
    fn announce(&self) -> Result<OsString, Errno> {
        let name = numbered(self.name, first(|number| self.is_free(&numbered(self.name, number))));
        match self.say(&name) {
            Ok(()) => Ok(name),
            Err(error) => {
                self.forget(&name, None)?;
                Err(error)
            }
        }
    }

    /// Removes the reason file beside a name, and the `file` if it is there.
    pub(super) fn forget(&self, name: &OsStr, file: Option<&File>) -> Result<(), Errno> {
        if let Some(file) = file {
            let (ours, there) = (rustix::fs::fstat(file)?, rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?);
            if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino) {
                rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?;
            }
        }
        if self.reason.is_some() && self.says(name) {
            rustix::fs::unlinkat(&self.folder, reason_of(name), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Copies a file that was `seen` so and has it on the disk when this returns, with its name and the file itself. `None` when it
    /// did not hold still.
    pub(super) fn copy(&self, from: &File, seen: &Observation) -> io::Result<Option<(OsString, File)>> {
        let taken = first(|number| self.is_free(&numbered(self.name, number))) - 1;
        if let Some(copied) = self.copy_from_before(&numbered(self.name, taken), from, seen)? {
            return Ok(Some(copied));
        }
        let aside = aside(self.name);
        match rustix::fs::unlinkat(&self.folder, &aside, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let making = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let to: File = rustix::fs::openat(&self.folder, &aside, making, Mode::RUSR | Mode::WUSR)?.into();
        let copied = write_copy(from, &to, seen);
        if !matches!(copied, Ok(true)) {
            rustix::fs::unlinkat(&self.folder, &aside, AtFlags::empty())?;
            return copied.map(|_| None);
        }
        let name = self.place(&aside)?;
        rustix::fs::fsync(&self.folder)?;
        Ok(Some((name, to)))
    }

    /// Gives the first file of this name back that has these bytes, if one has, and takes the reason beside it away. Returns whether it did.
    pub(super) fn give_back(&self, origin: &Origin<'_>, version: &ContentHash, max_size: u64) -> io::Result<bool> {
        let names = (1..u32::MAX).map(|number| numbered(self.name, number));
        for name in names.take_while(|name| exists(&self.folder, name)) {
            let Some(file) = self.read(&name)? else { continue };
            let mut bytes = Vec::new();
            let is_regular = matches!(fstat(&file)?, Entry::File(found, _) if found.size <= max_size);
            if !is_regular || (&file).take(max_size).read_to_end(&mut bytes).is_err() || ContentHash::of(&bytes) != *version {
                continue;
            }
            match rename_new(&self.folder, &name, origin.folder(), origin.name()) {
                Ok(()) => {}
                // Somebody has put another one there: that is the document now.
                Err(Errno::EXIST) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            match rustix::fs::unlinkat(&self.folder, reason_of(&name), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Returns the copy that an earlier call has made, if it is one: the same bytes, and the same time.
    fn copy_from_before(&self, name: &OsStr, from: &File, seen: &Observation) -> io::Result<Option<(OsString, File)>> {
        let Some(copy) = self.read(name)? else { return Ok(None) };
        let Entry::File(found, _) = fstat(&copy)? else { return Ok(None) };
        let is_alike = (found.size, found.modified) == (seen.size, seen.modified) && has_same_bytes(from, &copy)?;
        Ok(if is_alike && (self.reason.is_none() || self.says(name)) { Some((name.into(), copy)) } else { None })
    }

    /// Returns whether a file may be put under a name: nothing lies there, and beside it nothing but what is to be said of it.
    fn is_free(&self, name: &OsStr) -> bool {
        !exists(&self.folder, name) && (self.reason.is_none() || !exists(&self.folder, &reason_of(name)) || self.says(name))
    }

    /// Writes the reason, if there is one, beside a name.
    fn say(&self, name: &OsStr) -> Result<(), Errno> {
        let Some(reason) = &self.reason else { return Ok(()) };
        if self.says(name) {
            return Ok(());
        }
        let making = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let everybody = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let mut file: File = rustix::fs::openat(&self.folder, reason_of(name), making, everybody)?.into();
        file.write_all(reason.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
            let _half = rustix::fs::unlinkat(&self.folder, reason_of(name), AtFlags::empty());
            Errno::from_io_error(&error).unwrap_or(Errno::IO)
        })
    }

    /// Returns whether the reason is beside a name.
    fn says(&self, name: &OsStr) -> bool {
        let Some(reason) = &self.reason else { return false };
        let read = || {
            let mut said = Vec::new();
            let file = self.read(&reason_of(name))?;
            file.map(|file| file.take(reason.len() as u64 + 1).read_to_end(&mut said)).transpose()?;
            io::Result::Ok(said == reason.as_bytes())
        };
        read().unwrap_or(false)
    }

    fn read(&self, name: &OsStr) -> io::Result<Option<File>> {
        let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.folder, name, reading, Mode::empty()) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Gives a file of ours the first free name in a folder that begins as `name`.
pub(super) fn place(from: &OwnedFd, file: &OsStr, to: &OwnedFd, name: &OsStr) -> io::Result<()> {
    loop {
        let name = numbered(name, first(|number| !exists(to, &numbered(name, number))));
        match rename_new(from, file, to, &name) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gives a file of ours a name, if that is free, on every file system.
fn rename_new(from: &OwnedFd, file: &OsStr, to: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from, file, to, name, RenameFlags::NOREPLACE) {
        // NFS cannot rename so, but a link never replaces anything.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(from, file, to, name, AtFlags::empty())?;
            rustix::fs::unlinkat(from, file, AtFlags::empty())
        }
        renamed => renamed,
    }
}

/// Returns the first number that is free, found in few steps where many are taken one after the other.
fn first(is_free: impl Fn(u32) -> bool) -> u32 {
    let mut free = 1_u32;
    while !is_free(free) && free < u32::MAX / 2 {
        free *= 2;
    }
    let mut taken = free / 2;
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_free(middle) {
            free = middle;
        } else {
            taken = middle;
        }
    }
    free
}

fn exists(folder: impl AsFd, name: &OsStr) -> bool {
    !matches!(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
}

/// Returns whether all was copied, with mode and time, and is on the disk.
fn write_copy(from: &File, to: &File, seen: &Observation) -> io::Result<bool> {
    // One byte more than there should be: its coming is a change.
    let copied = io::copy(&mut from.take(seen.size.saturating_add(1)), &mut &*to)?;
    if copied != seen.size || !matches!(fstat(from)?, Entry::File(now, _) if now == *seen) {
        return Ok(false);
    }
    let mode = from.metadata()?.permissions().mode() & 0o777;
    rustix::fs::fchmod(to, Mode::from_raw_mode(mode))?;
    let modified = Timespec { tv_sec: seen.modified.0, tv_nsec: seen.modified.1 };
    rustix::fs::futimens(to, &Timestamps { last_access: modified, last_modification: modified })?;
    to.sync_all()?;
    Ok(true)
}

fn has_same_bytes(one: &File, other: &File) -> io::Result<bool> {
    let hash = |file: &File| io::Result::Ok(blake3::Hasher::new().update_reader(file)?.finalize());
    let is_same = hash(one)? == hash(other)?;
    rustix::fs::seek(one, rustix::fs::SeekFrom::Start(0))?;
    Ok(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_number_is_found_in_few_steps() {
        for taken in [0, 1, 2, 3, 7, 8, 1000, 1_000_000] {
            let steps = std::cell::Cell::new(0);
            let is_free = |number| {
                steps.set(steps.get() + 1);
                number > taken
            };
            assert_eq!(first(is_free), taken + 1);
            assert!(steps.get() <= 45, "{} steps for {taken}", steps.get());
        }
    }
}
