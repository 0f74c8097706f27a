//! The files that are open: written at the places that the ledger has committed, synced, and given their final names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tracing::debug;

use super::config::SinkError;
use super::disk::{CLAIM, Claim, Disk, DiskFile, Stat};
use super::output_mark::Mark;
use crate::domain::Output;
use crate::domain::shortage::is_shortage;
use crate::ledger::Committed;

/// The open file of each output.
#[derive(Debug)]
pub struct Files {
    disk: Box<dyn Disk>,
    claim: Box<dyn Claim>,
    /// The mark in the folder, as far as it is known.
    mark: Option<Mark>,
    open: BTreeMap<Output, Open>,
}

#[derive(Debug)]
struct Open {
    name: String,
    file: Box<dyn DiskFile>,
    /// Device and inode number.
    id: (u64, u64),
    /// Bytes in the file.
    written: u64,
    /// Bytes that it may have: more than are known to be where it was opened with an end that a power loss left.
    length: u64,
}

/// What another program did to a live file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// It has another name in the folder now.
    Renamed(String),
    /// It was moved to another folder of the same disk, with all its lines.
    MovedOut,
    /// It was deleted, or moved to another disk.
    Deleted,
    /// Bytes were taken from its end.
    Cut {
        /// Its length now.
        length: u64,
    },
    /// Bytes were appended to it.
    Grown {
        /// Its length now.
        length: u64,
    },
}

impl Files {
    /// Takes a folder for this process alone.
    ///
    /// # Errors
    /// When another process has it, or it cannot be written to.
    pub fn new(disk: Box<dyn Disk>) -> Result<Self, SinkError> {
        let claim = disk.claim().map_err(|source| opening(CLAIM, source))?;
        let mut files = Self { disk, claim, mark: None, open: BTreeMap::new() };
        files.mark = files.read_mark()?;
        Ok(files)
    }

    /// Returns the mark in the folder.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    fn read_mark(&self) -> Result<Option<Mark>, SinkError> {
        let name = CLAIM.to_owned();
        let bytes = self.claim.read().map_err(|source| SinkError::Read { name, source })?;
        Ok(Mark::decode(&bytes))
    }

    /// Leaves a mark in the folder, unless it is there.
    pub fn set_mark(&mut self, mark: Mark) {
        if self.mark.as_ref() == Some(&mark) {
            return;
        }
        // Without one a start knows less. That is no reason to keep lines from being written.
        match self.claim.write(&mark.encode()) {
            Ok(()) => self.mark = Some(mark),
            Err(error) => debug!(%error, "the mark in the output folder cannot be written"),
        }
    }

    /// Ensures that the folder is still this process'. A deleted lock file is made again.
    ///
    /// # Errors
    /// When the folder was removed, or another process has it by now.
    pub fn hold(&mut self) -> Result<(), SinkError> {
        if self.claim.holds().map_err(|source| opening(CLAIM, source))? {
            return Ok(());
        }
        self.claim = self.disk.claim().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SinkError::FolderGone,
            _ => opening(CLAIM, source),
        })?;
        self.mark = self.read_mark()?;
        Ok(())
    }

    /// Returns the folder.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes a file that is to be the next live one of an output, unless there is one.
    ///
    /// # Errors
    /// [`SinkError::Full`] where there is no room for it; else when it cannot be made.
    pub fn prepare(&self, output: Output) -> Result<(), SinkError> {
        let name = next_name(output);
        match self.disk.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map(drop).map_err(|source| opening(&name, source)),
        }
    }

    /// Makes the live file of an output, or takes an empty one that is there, and returns its device and inode number.
    ///
    /// # Errors
    /// When it cannot be made, or one is there that is not empty.
    pub fn create(&mut self, output: Output) -> Result<(u64, u64), SinkError> {
        let name = output.live_name();
        self.open.remove(&output);
        let prepared = match self.disk.rename(&next_name(output), &name) {
            Ok(()) => self.disk.open(&name),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                self.disk.create(&name)
            }
            Err(error) => Err(error),
        };
        let file = match prepared {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = self.disk.open(&name);
                // Those who rotate logs leave an empty file in the place of the one that they took.
                match file.as_ref().map(|file| file.stat().map(|stat| stat.length)) {
                    Ok(Ok(1..)) => Err(error),
                    _ => file,
                }
            }
            made => made,
        };
        let file = file.map_err(|source| opening(&name, source))?;
        self.take(output, name, file, 0)
    }

    /// Opens the file of an output, which stands up to a length, under whatever name it lies, and returns what it looks like.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reopen(&mut self, output: Output, name: &str, written: u64) -> Result<Stat, SinkError> {
        let file = self.disk.open(name).map_err(|source| opening(name, source))?;
        let stat = file.stat().map_err(|source| opening(name, source))?;
        self.take(output, output.live_name(), file, written)?;
        Ok(stat)
    }

    fn take(&mut self, output: Output, name: String, file: Box<dyn DiskFile>, written: u64) -> Result<(u64, u64), SinkError> {
        let found = file.stat().map_err(|source| opening(&name, source))?;
        self.open.insert(output, Open { name, file, id: found.file, written, length: found.length.max(written) });
        Ok(found.file)
    }

    /// Returns whether an output's file is open.
    #[must_use]
    pub fn is_open(&self, output: Output) -> bool {
        self.open.contains_key(&output)
    }

    /// Returns whether somebody took bytes from the end of an open file, or appended some.
    ///
    /// # Errors
    /// When a file cannot be looked at.
    pub fn is_touched(&self) -> Result<bool, SinkError> {
        for open in self.open.values() {
            let length = open.file.stat().map_err(|source| opening(&open.name, source))?.length;
            if length < open.written || length > open.length {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the bytes in the open file of an output.
    #[must_use]
    pub fn written(&self, output: Output) -> u64 {
        self.open.get(&output).map_or(0, |open| open.written)
    }

    /// Writes what has been committed to the files that are open. Where an earlier part is still missing nothing is written: it must
    /// come first.
    ///
    /// # Errors
    /// [`SinkError::Full`] where there was no room; [`Self::write_at`] takes up the rest later.
    pub fn write(&mut self, committed: &Committed) -> Result<(), SinkError> {
        for run in committed.runs() {
            self.write_at(run.output, run.position, &run.bytes)?;
        }
        Ok(())
    }

    /// Writes committed bytes at their place, or what of them is missing.
    ///
    /// # Errors
    /// [`SinkError::Full`] where there was no room, or an earlier part is missing; else when writing failed.
    pub fn write_at(&mut self, output: Output, position: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let open = self.open.get_mut(&output).expect("a file is opened before lines are committed to it");
        if position > open.written {
            return Err(SinkError::Full);
        }
        let mut rest = bytes.get(usize::try_from(open.written - position).unwrap_or(usize::MAX)..).unwrap_or_default();
        while !rest.is_empty() {
            match open.file.write_at(rest, open.written) {
                Ok(0) => return Err(SinkError::Full),
                Ok(count) => {
                    open.written += count as u64;
                    open.length = open.length.max(open.written);
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => return Err(SinkError::Full),
                Err(source) => return Err(SinkError::Write { name: open.name.clone(), source }),
            }
        }
        Ok(())
    }

    /// Waits until an output's file is on disk and returns its length. After a failure the file is not touched again.
    ///
    /// # Errors
    /// When it cannot be synced.
    pub fn sync(&mut self, output: Output) -> Result<u64, SinkError> {
        let Some(open) = self.open.get_mut(&output) else { return Ok(0) };
        match open.file.sync() {
            Ok(()) => Ok(open.written),
            Err(source) => {
                let name = open.name.clone();
                self.open.remove(&output);
                Err(SinkError::Sync { name, source })
            }
        }
    }

    /// Closes an output's file.
    pub fn close(&mut self, output: Output) {
        self.open.remove(&output);
    }

    /// Gives a file its final name, unless it has it.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), SinkError> {
        if from == to {
            return Ok(());
        }
        self.disk.rename(from, to).map_err(|source| opening(from, source))
    }

    /// Checks whether another program changed an output's file.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn outside(&self, output: Output) -> Result<Option<Outside>, SinkError> {
        let Some(open) = self.open.get(&output) else { return Ok(None) };
        let looking = |source| opening(&open.name, source);
        let at_name = self.disk.stat(&open.name).map_err(looking)?;
        if at_name.is_none_or(|found| found.file != open.id) {
            return Ok(Some(match self.name_of(open.id)? {
                Some(name) => Outside::Renamed(name),
                None if open.file.has_name().map_err(looking)? => Outside::MovedOut,
                None => Outside::Deleted,
            }));
        }
        let length = open.file.stat().map_err(looking)?.length;
        Ok(match length {
            _ if length < open.written => Some(Outside::Cut { length }),
            _ if length > open.length => Some(Outside::Grown { length }),
            _ => None,
        })
    }

    /// Returns the name that a file has in the folder. Only the number of a file that is open is no other's.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn name_of(&self, file: (u64, u64)) -> Result<Option<String>, SinkError> {
        for name in self.disk.list().map_err(|source| opening(".", source))? {
            let found = self.disk.stat(&name).map_err(|source| opening(&name, source))?;
            if found.is_some_and(|found| found.file == file) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

/// Returns the name of the file that is to be the next live one. Readers look for no name that begins with a dot.
fn next_name(output: Output) -> String {
    format!(".{}.next", output.live_name())
}

fn opening(name: &str, source: io::Error) -> SinkError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::ResourceBusy => SinkError::Taken,
        _ if is_full(&source) => SinkError::Full,
        _ => SinkError::Open { name, source },
    }
}

/// Returns whether there is no room, or what a file is opened with is short: both come back, and lines wait for it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) || is_shortage(error)
}

/// Reads a line of the output back; `None` where it is not there as it was written.
#[must_use]
pub fn read_line(folder: &Path, name: &str, position: u64, length: u64, crc: u32) -> Option<String> {
    let file = File::open(folder.join(name)).ok()?;
    // Not room for a line that a damaged ledger only thinks is there.
    (position.checked_add(length)? <= file.metadata().ok()?.len()).then_some(())?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, position).ok()?;
    (crc32fast::hash(&bytes) == crc).then_some(())?;
    String::from_utf8(bytes).ok()
}
