//! A document's row in the ledger.

use crate::domain::{ContentHash, Failure, Fingerprint, Observation};

/// State of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentState {
    /// Some of its lines are committed.
    UnderWay,
    /// All of its lines are.
    Done,
    /// It failed.
    Failed,
    /// It holds nothing to embed.
    Skipped,
    /// It is not in the folder any more.
    Gone,
}

impl DocumentState {
    pub(super) fn to_number(self) -> i64 {
        match self {
            Self::UnderWay => 0,
            Self::Done => 1,
            Self::Failed => 2,
            Self::Skipped => 3,
            Self::Gone => 4,
        }
    }

    pub(super) fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Done,
            2 => Self::Failed,
            3 => Self::Skipped,
            4 => Self::Gone,
            _ => Self::UnderWay,
        }
    }

    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under way",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Gone => "gone",
        }
    }
}

/// A document's row, as far as it decides what to do with a change of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRow {
    /// Its row.
    pub id: i64,
    /// Its state.
    pub state: DocumentState,
    /// The version that ended last.
    pub version: Option<ContentHash>,
    /// The configuration under which that version ended.
    pub config: Option<Fingerprint>,
    /// How often work on it was begun and the process died.
    pub starts: u32,
    /// Whether riverbed itself took the file out of the source folder.
    pub disposed: bool,
}

impl DocumentRow {
    /// Returns whether all lines of these contents stand, shaped as they are now.
    #[must_use]
    pub fn is_as_it_was(&self, version: ContentHash, config: Fingerprint) -> bool {
        self.state == DocumentState::Done && self.version == Some(version) && self.config == Some(config)
    }
}

/// How a version of a document ended.
#[derive(Debug, Clone)]
pub struct Outcome<'a> {
    /// The state of the document now.
    pub state: DocumentState,
    /// The version.
    pub version: Option<ContentHash>,
    /// The configuration under which it need not be taken again.
    pub config: Fingerprint,
    /// What the file looked like; `None` where it was removed.
    pub seen: Option<Observation>,
    /// IANA media type.
    pub media_type: Option<&'a str>,
    /// Chunks of the version.
    pub chunks: usize,
    /// Why it is failed.
    pub failure: Option<&'a Failure>,
    /// Why it is skipped.
    pub skip: Option<String>,
    /// What it took.
    pub tally: Tally,
}

/// What a version took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines whose vectors were asked for.
    pub embedded: u64,
    /// Lines whose vectors were there.
    pub cached: u64,
    /// Lines deleted.
    pub retracted: u64,
    /// Tokens of the texts that were asked for.
    pub tokens: u64,
}

/// Returns an observation as bytes.
pub(super) fn to_bytes(seen: &Observation) -> [u8; 56] {
    let Observation { device, inode, size, modified, changed } = *seen;
    let mut bytes = [0; 56];
    let fields = [
        device.to_le_bytes(),
        inode.to_le_bytes(),
        size.to_le_bytes(),
        modified.0.to_le_bytes(),
        modified.1.to_le_bytes(),
        changed.0.to_le_bytes(),
        changed.1.to_le_bytes(),
    ];
    for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field);
    }
    bytes
}

/// Reads an observation back; `None` where the bytes are none.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Observation> {
    let fields: &[[u8; 8]; 7] = bytes.as_chunks().0.first_chunk()?;
    let unsigned = |at: usize| u64::from_le_bytes(fields[at]);
    let signed = |at: usize| i64::from_le_bytes(fields[at]);
    Some(Observation {
        device: unsigned(0),
        inode: unsigned(1),
        size: unsigned(2),
        modified: (signed(3), signed(4)),
        changed: (signed(5), signed(6)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_reads_back_from_its_bytes() {
        let seen = Observation { device: 1, inode: u64::MAX, size: 3, modified: (-4, 5), changed: (6, i64::MIN) };
        assert_eq!(from_bytes(&to_bytes(&seen)), Some(seen));
        assert_eq!(from_bytes(&[0; 55]), None);
    }

    #[test]
    fn states_read_back_from_their_numbers() {
        for state in
            [DocumentState::UnderWay, DocumentState::Done, DocumentState::Failed, DocumentState::Skipped, DocumentState::Gone]
        {
            assert_eq!(DocumentState::from_number(state.to_number()), state);
        }
    }
}
