//! The mark in an output folder: the owner of its lines, and the numbers in use.
//!
//! A ledger can come from an old copy while readers have taken the files away that would show it. The mark stays where the files were.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Output;

/// Whose output a folder is, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Names the output.
    pub instance: String,
    /// The number that the next line of each output gets, by the output's name.
    next: BTreeMap<String, u64>,
}

/// Bytes of a mark, so that each is written over the whole of the one before.
const LENGTH: usize = 512;

impl Mark {
    /// Makes the mark of an output.
    #[must_use]
    pub fn new(instance: &str, next: impl Fn(Output) -> u64) -> Self {
        let next = Output::ALL.into_iter().map(|output| (output.stem().to_owned(), next(output))).collect();
        Self { instance: instance.to_owned(), next }
    }

    /// Returns the number that the next line of an output gets.
    #[must_use]
    pub fn next(&self, output: Output) -> u64 {
        self.next.get(output.stem()).copied().unwrap_or(1)
    }

    /// Returns it as bytes: a line of JSON, its checksum, and spaces.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).expect("names and numbers are JSON");
        let checksum = crc32fast::hash(json.as_bytes());
        format!("{json}\n{checksum:08x}{:width$}\n", "", width = LENGTH.saturating_sub(json.len() + 10)).into_bytes()
    }

    /// Reads it back; `None` where it is not as it was written: a power loss may tear it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (json, rest) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
        (rest.trim_end() == format!("{:08x}", crc32fast::hash(json.as_bytes()))).then_some(())?;
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_as_it_was_written_and_not_at_all_when_it_is_torn() {
        let mark = Mark::new("an instance", |output| 1 << (20 * u64::from(output.to_number())));
        let bytes = mark.encode();
        assert_eq!((bytes.len(), Mark::decode(&bytes)), (LENGTH, Some(mark)));
        assert_eq!(Mark::new("i", |_| 1).encode().len(), LENGTH);
        for torn in [&bytes[..0], &bytes[..40], &[&bytes[..60], &[0; 452][..]].concat(), &[b"x", &bytes[..]].concat()] {
            assert_eq!(Mark::decode(torn), None);
        }
    }
}
