//! A file of the output by its lines.

use std::io;

use crate::sink::disk::DiskFile;

/// What is read of a file at once.
const READ: usize = 1 << 20;
/// What is read of a file's first line at once: most are shorter.
const FIRST_READ: usize = 32 << 10;
/// No line is longer: the ledger has none that is (<https://sqlite.org/limits.html>, "Maximum length of a string or BLOB").
const LONGEST_LINE: usize = 1_000_000_000;

/// The lines of a file from a position on, each with its newline and where it stands.
pub(super) struct Lines<'a> {
    file: &'a dyn DiskFile,
    /// Where `held` stands in the file.
    position: u64,
    held: Vec<u8>,
    /// Bytes of `held` that have been handed out.
    used: usize,
    /// Bytes of `held` in which no line ends.
    searched: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, position: u64) -> Self {
        Self { file, position, held: Vec::new(), used: 0, searched: 0 }
    }

    /// Returns the next whole line; `None` at the end, or where a line is longer than any of ours.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let from = self.used.max(self.searched);
            if let Some(length) = self.held[from..].iter().position(|byte| *byte == b'\n') {
                let line = self.held[self.used..=from + length].to_vec();
                let position = self.position + self.used as u64;
                self.used += line.len();
                return Ok(Some((position, line)));
            }
            self.held.drain(..self.used);
            self.position += self.used as u64;
            self.used = 0;
            let filled = self.held.len();
            self.searched = filled;
            if filled > LONGEST_LINE {
                return Ok(None);
            }
            let more = if filled == 0 && self.position == 0 { FIRST_READ } else { READ };
            self.held.resize(filled + more, 0);
            let read = fill(self.file, &mut self.held[filled..], self.position + filled as u64)?;
            self.held.truncate(filled + read);
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

/// Returns the last whole line of a file of this length, whatever stands behind it.
pub(super) fn last_line(file: &dyn DiskFile, length: u64) -> io::Result<Option<Vec<u8>>> {
    let mut held = Vec::new();
    let mut from = length;
    while from > 0 && held.len() <= LONGEST_LINE {
        let step = (READ as u64).min(from);
        from -= step;
        let mut bytes = vec![0; usize::try_from(step).expect("a step is small")];
        let filled = fill(file, &mut bytes, from)?;
        bytes.truncate(filled);
        bytes.append(&mut held);
        held = bytes;
        let Some(end) = held.iter().rposition(|byte| *byte == b'\n') else { continue };
        match held[..end].iter().rposition(|byte| *byte == b'\n') {
            Some(before) => return Ok(Some(held[before + 1..=end].to_vec())),
            None if from == 0 => return Ok(Some(held[..=end].to_vec())),
            None => {}
        }
    }
    Ok(None)
}

/// Returns the CRC-32 of bytes of a file; `None` where it ends before.
pub(super) fn checksum(file: &dyn DiskFile, position: u64, length: u64) -> io::Result<Option<u32>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(READ)];
    let (mut hasher, mut done) = (crc32fast::Hasher::new(), 0);
    while done < length {
        let step = bytes.len().min(usize::try_from(length - done).unwrap_or(usize::MAX));
        if fill(file, &mut bytes[..step], position + done)? < step {
            return Ok(None);
        }
        hasher.update(&bytes[..step]);
        done += step as u64;
    }
    Ok(Some(hasher.finalize()))
}

/// Reads until the buffer is full or the file ends, and returns how much that was.
pub(super) fn fill(file: &dyn DiskFile, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
