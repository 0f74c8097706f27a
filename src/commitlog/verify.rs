//! Compares the output with the ledger, line by line, with or without a running daemon.
//!
//! The ledger commits a line before its file gets it, and drops its bytes after the file is synced. So whatever a file
//! shows is looked up in the ledger after it was read, and a line that no file showed is looked for in the outbox first and then,
//! once more, in its file: in this order neither a line on its way nor one just come looks wrong.

mod compare;
mod read_lines;
mod seq_set;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use super::config;
use crate::domain::Output;
use crate::ledger::{LedgerError, Placed, Reader, Segment, SegmentState};

use compare::Comparison;

/// How the output stands against the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Lines that are as the ledger has them.
    pub lines: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Lines that the ledger holds for files that lack them: they are written when there is room, or by the next start.
    pub waiting: u64,
    /// Files that were abandoned when syncing failed or another program truncated them, with the bytes at their ends whose lines are in a later
    /// file: nothing is wrong with that.
    pub tails: BTreeMap<String, u64>,
    /// What is off, by file.
    pub findings: BTreeMap<(String, Off), Finding>,
    /// The numbers of lines that are in no file as they were committed, as ranges.
    pub lacking: BTreeMap<Output, Vec<(u64, u64)>>,
    /// What is damaged in the ledger itself.
    pub ledger: Vec<String>,
}

/// How lines can be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Off {
    /// It is in no file.
    Missing,
    /// There is only a part of it.
    Torn,
    /// Its bytes are not those that were written.
    WrongChecksum,
    /// It comes after a later one, or in another's file.
    OutOfOrder,
    /// It is there once more.
    Duplicated,
    /// The ledger does not know it.
    Extra,
}

impl Off {
    /// Returns the words for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Torn => "torn",
            Self::WrongChecksum => "wrong checksum",
            Self::OutOfOrder => "out of order",
            Self::Duplicated => "duplicated",
            Self::Extra => "extra",
        }
    }
}

/// Lines of one file that are off in one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finding {
    /// How many.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The lowest and the highest of their numbers; none where the ledger does not know them.
    pub numbers: Option<(u64, u64)>,
    /// Whether the whole file is not there.
    pub is_gone: bool,
}

/// Says why the output could not be compared with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// A file cannot be read.
    #[error("cannot read `{name}` in the output folder")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl Verified {
    /// Returns whether all is as it should be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.ledger.is_empty()
    }

    /// Notes that a line is in no file as it was committed. They come in order, but for those that were committed meanwhile.
    fn lacks(&mut self, output: Output, seq: u64) {
        let ranges = self.lacking.entry(output).or_default();
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => ranges.push((seq, seq)),
        }
    }

    fn add(&mut self, file: &str, off: Off, seq: Option<u64>, bytes: u64) -> &mut Finding {
        let finding = self.findings.entry((file.to_owned(), off)).or_default();
        finding.lines += 1;
        finding.bytes += bytes;
        if let Some(seq) = seq {
            let (lowest, highest) = finding.numbers.unwrap_or((seq, seq));
            finding.numbers = Some((lowest.min(seq), highest.max(seq)));
        }
        finding
    }
}

/// Reads all files of the output and compares them with the ledger. Memory does not grow with either.
///
/// # Errors
/// When ledger or files cannot be read. What is off is no error.
pub fn verify(reader: &Reader, folder: &Path) -> Result<Verified, VerifyError> {
    let mut verified = Verified { ledger: reader.check()?, ..Verified::default() };
    if !verified.ledger.is_empty() {
        // What it says of the files is worth nothing.
        return Ok(verified);
    }
    let extent = reader.extent()?;
    for output in Output::ALL {
        let mut comparison = Comparison::new(reader, folder, output, &mut verified);
        let mut read = Vec::new();
        for segment in extent.segments.iter().filter(|segment| segment.output == output) {
            match open(reader, folder, segment)? {
                Some((name, file)) => {
                    comparison.file(&name, file, Some(segment))?;
                    read.push(name);
                }
                None => comparison.gone(segment),
            }
        }
        for name in unknown(reader, folder, output, &read)? {
            match File::open(folder.join(&name)) {
                Ok(file) => comparison.file(&name, file, None)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(VerifyError::Read { name, source }),
            }
        }
        comparison.reconcile(extent.last.get(&output).copied().unwrap_or_default())?;
    }
    Ok(verified)
}

/// Opens the file of a segment, under whatever name it is now; `None` where it is not there. Its first line identifies it.
fn open(reader: &Reader, folder: &Path, segment: &Segment) -> Result<Option<(String, File)>, VerifyError> {
    let first = reader.ends(segment.output)?.get(&segment.id).map(|ends| ends.first);
    let is_its = |name: &str| first.is_none_or(|first| stands_in(folder, name, &first));
    if let Some(file) = at(folder, &segment.name)?
        && is_its(&segment.name)
    {
        return Ok(Some((segment.name.clone(), file)));
    }
    // It was sealed since, or somebody renamed it; or its first line is damaged, and only its name is left to go by.
    let now = reader.extent()?.segments;
    let name = now.iter().find(|now| now.id == segment.id).map_or(&segment.name, |now| &now.name);
    let by_name = at(folder, name)?;
    if by_name.is_none() || !is_its(name) {
        for other in names(folder)?.into_iter().filter(|other| now.iter().all(|segment| segment.name != *other)) {
            if first.is_some_and(|first| stands_in(folder, &other, &first))
                && let Some(file) = at(folder, &other)?
            {
                return Ok(Some((other, file)));
            }
        }
    }
    Ok(by_name.map(|file| (name.clone(), file)))
}

fn stands_in(folder: &Path, name: &str, placed: &Placed) -> bool {
    config::read_line(folder, name, placed.position, placed.length, placed.crc).is_some()
}

/// Opens a regular file of the folder, if there is one of this name.
fn at(folder: &Path, name: &str) -> Result<Option<File>, VerifyError> {
    let path = folder.join(name);
    if !std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
        return Ok(None);
    }
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(VerifyError::Read { name: name.to_owned(), source }),
    }
}

/// Returns the files that bear a name of the output and that the ledger does not know. An empty one is nothing, or a daemon is about
/// to tell the ledger of it; and one that is just being sealed has its new name before the ledger says so.
fn unknown(reader: &Reader, folder: &Path, output: Output, read: &[String]) -> Result<Vec<String>, VerifyError> {
    let mut names = names(folder)?;
    names.retain(|name| (*name == output.live_name() || output.sealed_number(name).is_some()) && !read.contains(name));
    names.retain(|name| std::fs::metadata(folder.join(name)).is_ok_and(|found| found.len() > 0));
    let mut known = reader.extent()?.segments;
    known.retain(|segment| segment.output == output);
    let is_of = |name: &String, segment: &Segment| {
        let is_sealing = matches!(segment.state, SegmentState::Open | SegmentState::Sealing);
        segment.name == *name || is_sealing && output.sealed_number(name) == Some(segment.number)
    };
    names.retain(|name| !known.iter().any(|segment| is_of(name, segment)));
    Ok(names)
}

fn names(folder: &Path) -> Result<Vec<String>, VerifyError> {
    let list = || -> io::Result<Vec<String>> {
        let names: io::Result<Vec<_>> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect();
        let mut names: Vec<_> = names?.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|source| VerifyError::Read { name: ".".to_owned(), source }),
    }
}
