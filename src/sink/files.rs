//! The files that are open: written at the places that the ledger has committed, synced, and given their final names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::SinkError;
use super::disk::{Disk, DiskFile, Stat};
use crate::ledger::Committed;
use crate::model::Output;

/// The open file of each output.
#[derive(Debug)]
pub struct Files {
    disk: Box<dyn Disk>,
    open: BTreeMap<Output, Open>,
}

#[derive(Debug)]
struct Open {
    name: String,
    file: Box<dyn DiskFile>,
    /// Device and inode number.
    id: (u64, u64),
    /// Bytes that stand in the file.
    written: u64,
}

/// What somebody else did to a live file.
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
}

impl Files {
    /// Takes a folder in which nothing is open yet.
    #[must_use]
    pub fn new(disk: Box<dyn Disk>) -> Self {
        Self { disk, open: BTreeMap::new() }
    }

    /// Returns the folder.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes the live file of an output, or takes an empty one that is there, and returns its device and inode number.
    ///
    /// # Errors
    /// When it cannot be made, or one is there that is not empty.
    pub fn create(&mut self, output: Output) -> Result<(u64, u64), SinkError> {
        let name = output.live_name();
        // Made by an earlier try, it would be held by ourselves.
        self.open.remove(&output);
        let file = match self.disk.create(&name) {
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
        // The lock is the descriptor's: one that is open would keep this one out.
        self.open.remove(&output);
        let file = self.disk.open(name).map_err(|source| opening(name, source))?;
        let stat = file.stat().map_err(|source| opening(name, source))?;
        self.take(output, output.live_name(), file, written)?;
        Ok(stat)
    }

    fn take(&mut self, output: Output, name: String, file: Box<dyn DiskFile>, written: u64) -> Result<(u64, u64), SinkError> {
        let id = file.stat().map_err(|source| opening(&name, source))?.file;
        self.open.insert(output, Open { name, file, id, written });
        Ok(id)
    }

    /// Returns whether an output's file is open.
    #[must_use]
    pub fn is_open(&self, output: Output) -> bool {
        self.open.contains_key(&output)
    }

    /// Returns whether somebody took bytes from the end of an open file.
    ///
    /// # Errors
    /// When a file cannot be looked at.
    pub fn is_cut(&self) -> Result<bool, SinkError> {
        for open in self.open.values() {
            if open.file.stat().map_err(|source| opening(&open.name, source))?.length < open.written {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the bytes that stand in the open file of an output.
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

    /// Looks whether somebody else did something to an output's file.
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
        Ok((length < open.written).then_some(Outside::Cut { length }))
    }

    /// Returns the name that a file has in the folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn name_of(&self, file: (u64, u64)) -> Result<Option<String>, SinkError> {
        for name in self.disk.list().map_err(|source| opening(".", source))? {
            let found = self.disk.stat(&name).map_err(|source| opening(&name, source))?;
            if found.is_some_and(|found| found.file == file) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

fn opening(name: &str, source: io::Error) -> SinkError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::ResourceBusy => SinkError::Taken { name },
        _ if is_full(&source) => SinkError::Full,
        _ => SinkError::Open { name, source },
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a line of the output back; `None` where it is not there as it was written.
#[must_use]
pub fn read_line(folder: &Path, name: &str, position: u64, length: u64, crc: u32) -> Option<String> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    File::open(folder.join(name)).ok()?.read_exact_at(&mut bytes, position).ok()?;
    (crc32fast::hash(&bytes) == crc).then_some(())?;
    String::from_utf8(bytes).ok()
}
