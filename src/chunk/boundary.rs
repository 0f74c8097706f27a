//! Possible boundaries of a text, with their scores.

use std::sync::Arc;

use super::granularity::Grain;
use super::headings::{Heading, Section};

/// What may be cut there, from the worst place to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Between a heading and what it announces.
    AfterHeading,
    /// Inside a word, or between a word and its punctuation.
    Inside,
    /// Before a word.
    Word,
    /// Before a line.
    Line,
    /// Before a sentence.
    Sentence,
    /// Before a block or an item inside a list item or a nested quote.
    Nested,
    /// Before a paragraph, a list item, a code block, a table. An item ranks no lower than a paragraph, lest putting one in the
    /// place of the other outrank or expose all borders around it.
    Block,
    /// Before a heading.
    Section,
    /// At an end of the text.
    Edge,
}

/// What decides between two borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    level: Level,
    hash: u64,
}

impl Rank {
    /// The rank of the text's ends, above all others.
    pub(super) const EDGE: Self = Self { level: Level::Edge, hash: 0 };

    /// Ranks a border by its level and by the text that follows it; white space at the ends of that text is ignored.
    pub(super) fn new(level: Level, following: &str) -> Self {
        let mut hash = [0; 8];
        blake3::Hasher::new().update(following.trim().as_bytes()).finalize_xof().fill(&mut hash);
        Self { level, hash: u64::from_le_bytes(hash) }
    }
}

/// A place before a unit.
#[derive(Debug)]
pub(super) struct Border {
    /// Byte offset in the text.
    pub(super) at: usize,
    /// Weight of all units before it. No two borders have the same.
    pub(super) weight: u64,
    pub(super) rank: Rank,
    /// The section in which the unit after it stands.
    pub(super) section: Arc<Section>,
}

/// A stretch of text that is kept whole if it can be. It reaches to the next one.
#[derive(Debug)]
pub(super) struct TextBlock {
    pub(super) start: usize,
    pub(super) level: Level,
    /// How it is cut if it is too long.
    pub(super) grain: Grain,
    /// Set if it opens a section.
    pub(super) heading: Option<Heading>,
}
