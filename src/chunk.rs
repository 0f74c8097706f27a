//! Splits a document's text into chunks that a model accepts.
//!
//! # Where the boundaries are
//!
//! The text is a row of *units*: paragraphs, list items, code blocks, tables, headings. A unit longer than half of the
//! limit is a row of smaller ones (sentences or lines; failing that words; failing that graphemes). Before each unit
//! is a possible border. Its *rank* is its structural level (a section beats a paragraph, a paragraph a sentence)
//! and, among equals, a hash of the unit. Two rules decide, with `limit` the most a chunk may hold and
//! `reach = limit / 6`:
//!
//! 1. A border is cut where it outranks every other within `reach` on both sides.
//! 2. Where two such cuts, or a cut and an end of the text, lie further apart than `limit`, the stretch is cut from its
//!    left end on, each time at the highest border between half the limit and the limit.
//!
//! Both look at ranks near by and at nothing else, so borders are *local*. To replace a unit `P` by one of up to half the limit
//! changes the ranks of the borders beside it at most, and no distance but those across it. So rule 1 can only decide differently
//! within `reach` before `P` and within `reach` after it; and as its cuts are more than `reach` apart, the new text has at most one
//! cut in either place. Hence, where rule 2 is silent, there are
//!
//! - with a cut after `P` that is near, at most three new pieces, and what follows begins more than `reach` after `P`, further
//!   than an overlap goes;
//! - without one, at most two new pieces, and the overlap of the one that follows.
//!
//! At most 3 chunks change, in any text, as long as the overlap is no longer than `reach`. The same holds if `P` is
//! inserted or removed.
//!
//! Rule 2 is the exception. It speaks where the ranks fall and rise in one valley from a cut to the next over six times `reach`, which
//! befalls two stretches in 10⁴ at most. It changes a fourth chunk only where such a stretch is cut differently *and* all
//! beside it is, too: in 18 million simulated edits of prose, short lines and sections, with a `P` up to a quarter of the limit, four
//! times, all under headings over every paragraph or two. Text that repeats itself has no highest border, so that rule 2 cuts it
//! throughout, but into equal chunks: there, 3 is the bound for a `P` up to `reach`.
//!
//! A text that fits into one chunk as a whole is one. When it outgrows that, all of its few chunks are new, once.
//!
//! A splitter that packs units from the front has no such bound: its borders depend on all that came before, and
//! one longer paragraph moves them until chance brings them back.

use std::num::NonZeroU32;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Chunk, Format, Limits, is_blank};

mod boundary;
mod granularity;
mod headings;
mod markdown;
mod overlap;
mod plain_text;
mod resplit;
mod select;
mod token_estimate;

#[cfg(test)]
mod tests;

use boundary::{Border, Level, Rank, TextBlock};
use granularity::Grain;
use headings::{Outline, Section};
use select::Cutter;
use token_estimate::Scale;

pub use resplit::pieces;
pub use token_estimate::{prompt_tokens, tokens};

/// Names the algorithm in the fingerprint; changes when borders change.
pub const VERSION: &str = "peaks-1";

/// `[chunk]`: how long the pieces are, and where they may be cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChunkConfig {
    /// Longest chunk in estimated tokens, overlap included; the model's own limit applies too. A text that fits is one chunk.
    /// Chunks of longer texts have about 40 to 50 % of it, since boundaries follow the text. Longer chunks cost fewer calls and
    /// make search less precise.
    pub max_tokens: NonZeroU32,
    /// Estimated tokens that a chunk repeats of the one before, from a whole sentence or word and never across a heading. That
    /// text is in calls and output twice. Up to a sixth of `max-tokens`, an edited paragraph changes at most 3 chunks.
    pub overlap_tokens: u32,
    /// Which boundaries count: `auto` decides by media type, `text` knows paragraphs, `markdown` also headings, lists, tables and
    /// code.
    pub strategy: Strategy,
}

impl Default for ChunkConfig {
    fn default() -> Self {
        const MAX_TOKENS: NonZeroU32 = NonZeroU32::new(512).expect("512 is not 0");
        Self { max_tokens: MAX_TOKENS, overlap_tokens: 64, strategy: Strategy::Auto }
    }
}

/// How a document's structure is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// As the file's type says.
    #[default]
    Auto,
    /// Every document is paragraphs and lines.
    Text,
    /// Every document is Markdown.
    Markdown,
}

impl Strategy {
    fn format(self, found: Format) -> Format {
        match self {
            Self::Auto => found,
            Self::Text => Format::Text,
            Self::Markdown => Format::Markdown,
        }
    }
}

/// Cuts `text` into chunks, in order.
///
/// A chunk is its *core*, and before it an overlap with what precedes. The cores tile the text but for what cannot be seen
/// between them. No span exceeds `max_tokens` or `limits`, unless a single character does.
#[must_use]
pub fn split(text: &str, format: Format, config: &ChunkConfig, limits: &Limits) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let _whole = each(text, format, config, limits, |chunk| {
        chunks.push(chunk);
        ControlFlow::Continue(())
    });
    chunks
}

/// Cuts `text` as [`split`] does and sends one chunk after the other, until `take` has enough. What it keeps does not grow with the
/// text.
pub fn each(
    text: &str,
    format: Format,
    config: &ChunkConfig,
    limits: &Limits,
    mut take: impl FnMut(Chunk) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let scale = Scale::new(config.max_tokens, limits);
    let format = config.strategy.format(format);
    if scale.holds(text.trim()) {
        return whole(text, format, scale).map_or(ControlFlow::Continue(()), take);
    }
    let pieces = Pieces {
        text,
        scale,
        overlap: scale.overlap(config.overlap_tokens),
        open: None,
        last: 0,
        take: &mut take,
        said: ControlFlow::Continue(()),
    };
    let splitter = Splitter { text, scale, weight: 0, cutter: Cutter::new(scale.limit()), pieces };
    match format {
        Format::Text => splitter.run(plain_text::blocks(text)),
        Format::Markdown => splitter.run(markdown::blocks(text, |range| scale.fits(&text[range]))),
    }
}

/// Makes one chunk of a text that fits into one: a border in it would part what a model can see together.
fn whole(text: &str, format: Format, scale: Scale) -> Option<Chunk> {
    let trimmed = text.trim();
    if is_blank(trimmed) {
        return None;
    }
    let first = match format {
        Format::Text => None,
        Format::Markdown => markdown::blocks(text, |range| scale.fits(&text[range])).next(),
    };
    let section = first.map(|block| Outline::default().enter(block.start, block.heading));
    let start = text.len() - text.trim_start().len();
    Some(Chunk {
        span: start..start + trimmed.len(),
        headings: section.map_or_else(Arc::default, |section| Arc::clone(&section.headings)),
        tokens: tokens(trimmed),
        part: None,
    })
}

/// Cuts blocks into units, weighs and ranks them, and passes on their borders.
struct Splitter<'t, T> {
    text: &'t str,
    scale: Scale,
    /// Of all units so far.
    weight: u64,
    cutter: Cutter,
    pieces: Pieces<'t, T>,
}

impl<T: FnMut(Chunk) -> ControlFlow<()>> Splitter<'_, T> {
    fn run(mut self, blocks: impl Iterator<Item = TextBlock>) -> ControlFlow<()> {
        let mut outline = Outline::default();
        let mut blocks = blocks.peekable();
        while let Some(block) = blocks.next() {
            let end = blocks.peek().map_or(self.text.len(), |next| next.start);
            let section = outline.enter(block.start, block.heading);
            self.unit(block.start..end, block.level, block.grain, &section);
            self.pieces.said?;
        }
        self.cutter.finish(self.weight, |border| self.pieces.cut(border));
        self.pieces.finish()
    }

    /// Takes the text up to the next block as one unit, or as the finer ones it is made of where it is too long.
    fn unit(&mut self, range: Range<usize>, level: Level, grain: Grain, section: &Arc<Section>) {
        let text = &self.text[range.clone()];
        let weight = self.scale.weight(text);
        if weight <= self.scale.half() || grain == Grain::Whole {
            let rank = Rank::new(level, grain.context(self.text, range.clone()));
            let border = Border { at: range.start, weight: self.weight, rank, section: Arc::clone(section) };
            self.weight += weight;
            if border.weight == 0 {
                self.pieces.cut(border);
            } else {
                self.cutter.push(border, |border| self.pieces.cut(border));
            }
            return;
        }
        let (mut start, mut level) = (range.start, level);
        for (offset, next_level) in grain.borders(text) {
            if self.pieces.said.is_break() {
                return;
            }
            let end = range.start + offset;
            self.unit(start..end, level, grain.finer(), section);
            (start, level) = (end, next_level);
        }
        self.unit(start..range.end, level, grain.finer(), section);
    }
}

/// Makes chunks of the text between cuts.
struct Pieces<'t, T> {
    text: &'t str,
    scale: Scale,
    overlap: u64,
    /// Where the core begins that has no end yet.
    open: Option<Border>,
    /// Where the core of the last chunk begins.
    last: usize,
    /// The receiver.
    take: &'t mut T,
    /// Its last answer.
    said: ControlFlow<()>,
}

impl<T: FnMut(Chunk) -> ControlFlow<()>> Pieces<'_, T> {
    fn cut(&mut self, border: Border) {
        let end = border.at;
        if let Some(start) = self.open.replace(border) {
            self.close(&start, end);
        }
    }

    fn finish(mut self) -> ControlFlow<()> {
        if let Some(start) = self.open.take() {
            self.close(&start, self.text.len());
        }
        self.said
    }

    fn close(&mut self, start: &Border, end: usize) {
        let untrimmed = &self.text[start.at..end];
        let core = untrimmed.trim();
        // Nobody finds what nobody can see, and no model makes anything of it.
        if is_blank(core) || self.said.is_break() {
            return;
        }
        let core_start = start.at + (untrimmed.len() - untrimmed.trim_start().len());
        // A core may take the whole limit; the overlap then makes room.
        let room = self.overlap.min(self.scale.limit().saturating_sub(self.scale.weight(core)));
        let earliest = self.last.max(start.section.start);
        self.last = core_start;
        let from = overlap::start(self.text, earliest..core_start, room, self.scale);
        let span = from..core_start + core.len();
        let tokens = tokens(&self.text[span.clone()]);
        self.said = (self.take)(Chunk { span, headings: Arc::clone(&start.section.headings), tokens, part: None });
    }
}
