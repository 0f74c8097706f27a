//! Parts of an oversize chunk, one that the model rejects as too long.

use std::ops::Range;

use unicode_segmentation::GraphemeCursor;

use crate::domain::is_blank;

/// Cuts a text into at most `parts` pieces of about the same length, each time at white space near by, else between two graphemes.
/// The same text is always cut in the same places.
///
/// The pieces are byte ranges in order, none of them blank or with white space at an end.
#[must_use]
pub fn pieces(text: &str, parts: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::with_capacity(parts);
    let mut start = 0;
    for part in 1..=parts {
        let end = if part == parts { text.len() } else { border(text, start, text.len() * part / parts, text.len() / parts) };
        let piece = &text[start..end];
        let trimmed = piece.trim();
        if !is_blank(trimmed) {
            let begins = start + piece.len() - piece.trim_start().len();
            pieces.push(begins..begins + trimmed.len());
        }
        start = end;
    }
    pieces
}

/// Returns the last border after `start` and up to `target`: after white space, where some is in the quarter of a piece before it.
fn border(text: &str, start: usize, target: usize, length: usize) -> usize {
    let target = (start..=target).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(start);
    let least = (target.saturating_sub(length / 4)..target).find(|at| text.is_char_boundary(*at)).unwrap_or(target).max(start);
    if let Some(at) = text[least..target].rfind(char::is_whitespace) {
        let space = text[least + at..].chars().next().map_or(0, char::len_utf8);
        return least + at + space;
    }
    let mut cursor = GraphemeCursor::new(target, text.len(), true);
    match cursor.is_boundary(text, 0) {
        Ok(false) => cursor.prev_boundary(text, 0).ok().flatten().filter(|at| *at > start).unwrap_or(target),
        Ok(true) | Err(_) => target,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_near_its_middle_and_between_words() {
        let text = "one two three four five six seven eight";
        let words: Vec<_> = pieces(text, 2).into_iter().map(|piece| &text[piece]).collect();
        assert_eq!(words, ["one two three four", "five six seven eight"]);
    }

    #[test]
    fn where_no_white_space_is_graphemes_stay_whole() {
        // Each is a letter and a mark over it: two characters in three bytes. The middle falls into one.
        let text = "e\u{301}".repeat(99);
        let pieces = pieces(&text, 2);
        assert_eq!(pieces.len(), 2);
        assert!(text[pieces[1].clone()].starts_with("e\u{301}"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_hold_everything_but_white_space_in_order(text: String, parts in 1..9usize) {
            let pieces = pieces(&text, parts);
            prop_assert!(pieces.len() <= parts);
            let mut end = 0;
            for piece in &pieces {
                prop_assert!(is_blank(&text[end..piece.start]));
                prop_assert!(!text[piece.clone()].is_empty() && text[piece.clone()].trim() == &text[piece.clone()]);
                end = piece.end;
            }
            prop_assert!(is_blank(&text[end..]));
        }
    }
}
