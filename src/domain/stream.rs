//! The output streams, and the sequence numbers of their lines.

use std::fmt;

/// The kinds of output, each a row of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Output {
    /// `vectors.jsonl`.
    Vectors = 0,
    /// `answers.jsonl`.
    Answers = 1,
    /// `failed.jsonl`.
    Failed = 2,
}

impl Output {
    /// All of them, in the order in which they are kept.
    pub const ALL: [Self; 3] = [Self::Vectors, Self::Answers, Self::Failed];

    /// Returns the number that the ledger knows it by.
    #[must_use]
    pub fn to_number(self) -> u8 {
        self as u8
    }

    /// Reads the number back.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|output| i64::from(output.to_number()) == number)
    }

    /// Returns what its files' names begin with.
    #[must_use]
    pub fn stem(self) -> &'static str {
        match self {
            Self::Vectors => "vectors",
            Self::Answers => "answers",
            Self::Failed => "failed",
        }
    }

    /// Returns the name of the file that is being written.
    #[must_use]
    pub fn live_name(self) -> String {
        format!("{}.jsonl", self.stem())
    }

    /// Returns the name of a sealed segment.
    #[must_use]
    pub fn sealed_name(self, number: u64) -> String {
        format!("{}-{number:06}.jsonl", self.stem())
    }

    /// Returns the number of the segment that a file of this name is, `None` where it is none of this output's sealed ones.
    #[must_use]
    pub fn sealed_number(self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(self.stem())?.strip_prefix('-')?.strip_suffix(".jsonl")?;
        let plain = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    }
}

/// Names a line: which output, and its number there, from 1. Ordered by output, then number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId {
    /// The output.
    pub output: Output,
    /// The line's number in it.
    pub seq: u64,
}

impl LineId {
    /// Bits of a number: a million lines a second would last for two thousand years.
    const SEQ_BITS: u32 = 56;

    /// Returns the id as one number, in the same order.
    #[must_use]
    pub fn to_number(self) -> i64 {
        (i64::from(self.output.to_number()) << Self::SEQ_BITS) | i64::try_from(self.seq).expect("56 bits are never used up")
    }

    /// Reads the id back.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        let output = Output::from_number(number >> Self::SEQ_BITS)?;
        Some(Self { output, seq: u64::try_from(number & ((1 << Self::SEQ_BITS) - 1)).ok()? })
    }
}

impl fmt::Debug for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.output.stem(), self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_place_as_a_number() {
        let ids = Output::ALL.into_iter().flat_map(|output| [1, 2, (1 << 56) - 1].map(|seq| LineId { output, seq }));
        let numbers: Vec<_> = ids.clone().map(LineId::to_number).collect();
        assert!(numbers.is_sorted());
        assert_eq!(numbers.into_iter().filter_map(LineId::from_number).collect::<Vec<_>>(), ids.collect::<Vec<_>>());
    }

    #[test]
    fn only_names_of_sealed_segments_have_a_number() {
        assert_eq!(Output::Vectors.sealed_number(&Output::Vectors.sealed_name(12)), Some(12));
        assert_eq!(Output::Vectors.sealed_number("vectors-1234567.jsonl"), Some(1_234_567));
        for other in ["vectors.jsonl", "vectors-12.jsonl", "vectors-00001x.jsonl", "failed-000001.jsonl", "vectors-+00001.jsonl"]
        {
            assert_eq!(Output::Vectors.sealed_number(other), None, "{other}");
        }
    }
}
