//! One file that grows by lines and that others may follow with `tail -F`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::Formatter;
use tracing::warn;

use super::SinkError;

/// Lines are written at the latest when this many bytes wait.
const LARGEST_WRITE: usize = 4 << 20;

/// The end of the file that is searched for its last line; a line with 3,072 numbers and a long text is well within.
const TAIL: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Live {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
}

impl Live {
    /// Opens the file for this process alone. A line that a crash tore is ended, so that the next one stands for itself.
    pub(super) fn open(path: PathBuf) -> Result<Self, SinkError> {
        let open = |source| SinkError::Open { path: path.clone(), source };
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&path).map_err(open)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SinkError::Taken { path }),
            Err(TryLockError::Error(source)) => return Err(open(source)),
        }
        let mut live = Self { path: path.clone(), file, waiting: Vec::new() };
        if live.tail().map_err(open)?.last().is_some_and(|last| *last != b'\n') {
            warn!(path = %path.display(), "the last line was torn, ending it");
            live.waiting.push(b'\n');
            live.flush()?;
        }
        Ok(live)
    }

    /// Returns the last line that parses as `T`, if the end of the file has one.
    pub(super) fn last<T: DeserializeOwned>(&self) -> Option<T> {
        let tail = self.tail().ok()?;
        tail.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice(line).ok())
    }

    pub(super) fn append(&mut self, line: &impl Serialize) -> Result<(), SinkError> {
        let mut json = serde_json::Serializer::with_formatter(&mut self.waiting, OneLine);
        line.serialize(&mut json).expect("a line is JSON, and memory takes every byte");
        self.waiting.push(b'\n');
        if self.waiting.len() >= LARGEST_WRITE { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> Result<(), SinkError> {
        let written = self.file.write_all(&self.waiting);
        self.waiting.clear();
        written.map_err(|source| SinkError::Write { path: self.path.clone(), source })
    }

    pub(super) fn sync(&self) -> Result<(), SinkError> {
        self.file.sync_data().map_err(|source| SinkError::Write { path: self.path.clone(), source })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn tail(&self) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        let start = length.saturating_sub(TAIL);
        let mut tail = vec![0; usize::try_from(length - start).expect("the tail is short")];
        self.file.read_exact_at(&mut tail, start)?;
        Ok(tail)
    }
}

/// Compact JSON that no reader takes for two lines: the line ends of Unicode are escaped like those of ASCII.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['\u{85}', '\u{2028}', '\u{2029}']) {
            let (before, after) = rest.split_at(at);
            let line_end = after.chars().next().expect("found there");
            writer.write_all(before.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(line_end))?;
            rest = &after[line_end.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn a_torn_last_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.jsonl");
        std::fs::write(&path, "{\"seq\":1}\n{\"seq\":2,\"te").unwrap();
        let mut live = Live::open(path.clone()).unwrap();
        assert_eq!(live.last::<serde_json::Value>().unwrap()["seq"], 1);
        live.append(&serde_json::json!({"seq": 2})).unwrap();
        live.flush().unwrap();
        assert_eq!(lines(&path), ["{\"seq\":1}", "{\"seq\":2,\"te", "{\"seq\":2}"]);
    }

    #[test]
    fn a_second_opening_is_refused_while_the_first_lives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.jsonl");
        let first = Live::open(path.clone()).unwrap();
        assert!(matches!(Live::open(path.clone()), Err(SinkError::Taken { .. })));
        drop(first);
        assert!(Live::open(path).is_ok());
    }

    #[test]
    fn no_line_end_of_any_kind_stands_inside_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.jsonl");
        let mut live = Live::open(path.clone()).unwrap();
        let text = "a\nb\rc\u{85}d\u{2028}e\u{2029}f\u{b}g\u{c}h";
        live.append(&text).unwrap();
        live.flush().unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, "\"a\\nb\\rc\\u0085d\\u2028e\\u2029f\\u000bg\\fh\"\n");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
