//! The blocks of a text without markup.

use super::boundary::{Level, TextBlock};
use super::granularity::Grain;

/// Returns the paragraphs of a text: the text between blank lines.
pub(super) fn blocks(text: &str) -> impl Iterator<Item = TextBlock> {
    let mut offset = 0;
    let mut blank = true;
    text.split_inclusive('\n').filter_map(move |line| {
        let start = offset;
        offset += line.len();
        let after_blank = std::mem::replace(&mut blank, line.trim().is_empty());
        (after_blank && !blank).then_some(TextBlock { start, level: Level::Block, grain: Grain::Sentence, heading: None })
    })
}
