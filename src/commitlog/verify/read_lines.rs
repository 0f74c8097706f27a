//! Reads a file line by line, whatever is in it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};

/// What is read of a file at once.
const READ: usize = 1 << 20;
/// No line of ours is longer: the ledger has none that is.
const LONGEST: u64 = 1_000_000_000;

/// The lines of a file.
pub(super) struct Lines {
    file: BufReader<File>,
    position: u64,
}

/// A line as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it begins, in bytes.
    pub(super) position: u64,
    /// Its length, with its newline if it has one.
    pub(super) length: u64,
    /// Whether it has one, and is not longer than any of ours.
    pub(super) is_whole: bool,
}

impl Lines {
    pub(super) fn new(file: File) -> Self {
        Self { file: BufReader::with_capacity(READ, file), position: 0 }
    }

    /// Reads the next line into `line`; `None` at the end.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Found>> {
        line.clear();
        let position = self.position;
        let mut length = (&mut self.file).take(LONGEST).read_until(b'\n', line)? as u64;
        if length == 0 {
            return Ok(None);
        }
        let is_whole = line.ends_with(b"\n");
        if length == LONGEST && !is_whole {
            length += self.file.skip_until(b'\n')? as u64;
        }
        self.position += length;
        Ok(Some(Found { position, length, is_whole }))
    }
}
