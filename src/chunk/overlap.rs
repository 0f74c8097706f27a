//! Overlap of a chunk with the text before it.

use std::ops::Range;

use super::boundary::Level;
use super::granularity::Grain;
use super::token_estimate::Scale;

/// Returns where the overlap of a core begins that starts at `reach.end`.
///
/// It begins with the first whole sentence among the last `room` of text, or else with the first line or word, and never
/// before `reach.start`: where the core before begins, or the section, as the text under another heading is about
/// something else.
pub(super) fn start(text: &str, reach: Range<usize>, room: u64, scale: Scale) -> usize {
    let mut left = room;
    let earliest = text[reach.clone()]
        .char_indices()
        .rev()
        .take_while(|&(_, character)| {
            let weight = scale.weigh(character);
            let fits = weight <= left;
            left = left.saturating_sub(weight);
            fits
        })
        .last()
        .map_or(reach.end, |(offset, _)| reach.start + offset);

    let window = &text[earliest..reach.end];
    // Where the window was not cut short it begins at a border, and elsewhere likely inside a word.
    let first = if earliest == reach.start { Some(0) } else { first_border(window) };
    first.map_or(reach.end, |first| reach.end - window[first..].trim_start().len())
}

fn first_border(window: &str) -> Option<usize> {
    [(Grain::Sentence, Level::Sentence), (Grain::Line, Level::Line), (Grain::Word, Level::Word)]
        .into_iter()
        .find_map(|(grain, level)| grain.borders(window).find(|&(_, found)| found == level).map(|(offset, _)| offset))
}
