//! A file of the output by its lines.

use std::io;

use super::disk::DiskFile;

/// What is read of a file at once.
const READ: usize = 1 << 20;
/// What is read of a file's first line at once: most are shorter.
const FIRST_READ: usize = 32 << 10;
/// No line is longer: the ledger has none that is (<https://sqlite.org/limits.html>, "Maximum length of a string or BLOB").
const LONGEST_LINE: usize = 1_000_000_000;

/// The lines of a file from a position on, each with its newline and where it is.
pub(super) struct Lines<'a> {
    file: &'a dyn DiskFile,
    /// Where `held` is in the file.
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

/// Returns the last whole line of a file of this length, whatever is behind it; `None` where none is, or where it is longer than any
/// of ours.
pub(super) fn last_line(file: &dyn DiskFile, length: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(end) = last_newline(file, length)? else { return Ok(None) };
    // Where none is found the line begins with the file, or is longer than any of ours.
    let begin = last_newline(file, end)?.map_or(0, |before| before + 1);
    let Some(length) = usize::try_from(end + 1 - begin).ok().filter(|length| *length <= LONGEST_LINE) else { return Ok(None) };
    let mut line = vec![0; length];
    Ok((fill(file, &mut line, begin)? == length).then_some(line))
}

/// Returns where the last newline before a position stands, if it is no further away than a line is long.
fn last_newline(file: &dyn DiskFile, before: u64) -> io::Result<Option<u64>> {
    let mut bytes = Vec::new();
    let mut from = before;
    while from > 0 && before - from <= LONGEST_LINE as u64 {
        let step = (READ as u64).min(from);
        from -= step;
        bytes.resize(usize::try_from(step).expect("a step is small"), 0);
        let filled = fill(file, &mut bytes, from)?;
        if let Some(at) = bytes[..filled].iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(from + at as u64));
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::commitlog::disk::Stat;

    /// Bytes, and how many of them have been read.
    #[derive(Debug, Default)]
    struct Counted {
        bytes: Vec<u8>,
        read: AtomicUsize,
    }

    impl DiskFile for Counted {
        fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<usize> {
            unreachable!("it is only read")
        }

        fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<usize> {
            let from = usize::try_from(position).unwrap().min(self.bytes.len());
            let length = bytes.len().min(self.bytes.len() - from);
            bytes[..length].copy_from_slice(&self.bytes[from..from + length]);
            self.read.fetch_add(length, Relaxed);
            Ok(length)
        }

        fn sync(&mut self) -> io::Result<()> {
            unreachable!("it is only read")
        }

        fn stat(&self) -> io::Result<Stat> {
            Ok(Stat { file: (1, 1), length: self.bytes.len() as u64 })
        }

        fn has_name(&self) -> io::Result<bool> {
            Ok(true)
        }
    }

    #[test]
    fn the_last_line_is_found_behind_what_is_torn_and_read_no_more_than_twice() {
        let long = |length: usize| [vec![b'x'; length], vec![b'\n']].concat();
        for (before, length, torn) in
            [(0, 3, 0), (10, 0, 5), (7, READ - 1, 0), (READ, 9 * READ + 5, 3), (2 * READ, READ, 2 * READ)]
        {
            let line = long(length);
            let mut file = Counted { bytes: if before > 0 { long(before) } else { Vec::new() }, ..Counted::default() };
            file.bytes.extend_from_slice(&line);
            file.bytes.extend(vec![b'y'; torn]);
            let found = last_line(&file, file.bytes.len() as u64).unwrap();
            assert_eq!(found, Some(line), "{before} {length} {torn}");
            let read = file.read.load(Relaxed);
            assert!(read <= 2 * (length + 1) + torn + 3 * READ, "{read} bytes for a line of {length}");
        }
        assert_eq!(last_line(&Counted { bytes: b"no end".to_vec(), ..Counted::default() }, 6).unwrap(), None);
    }
}
