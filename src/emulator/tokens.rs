//! How many tokens a text costs: an estimate, not a tokenizer.
//!
//! English comes out near the 4.7 characters a token that the Bedrock User Guide gives for Titan; digits, marks and
//! scripts without spaces are denser, as they are in the real thing.

use std::ops::Range;

/// Letters of an ASCII word in one token.
const ASCII_LETTERS: usize = 8;
/// Letters of a word in another alphabet in one token.
const OTHER_LETTERS: usize = 4;
/// Digits in one token.
const DIGITS: usize = 3;

/// Returns the estimate for the whole text; at least 1, because the service bills no call at zero.
pub(super) fn count(text: &str) -> u64 {
    pieces(text).map(|piece| piece.tokens).sum::<u64>().max(1)
}

/// Returns the longest beginning of `text` that costs at most `max` tokens.
pub(super) fn first(text: &str, max: u64) -> &str {
    let mut spent = 0;
    for piece in pieces(text) {
        spent += piece.tokens;
        if spent > max {
            return &text[..piece.range.start];
        }
    }
    text
}

/// Returns the longest end of `text` that costs at most `max` tokens.
pub(super) fn last(text: &str, max: u64) -> &str {
    let mut left = pieces(text).map(|piece| piece.tokens).sum::<u64>();
    for piece in pieces(text) {
        if left <= max {
            return &text[piece.range.start..];
        }
        left -= piece.tokens;
    }
    if left <= max { text } else { "" }
}

/// What counts as one: a word, a number, a mark, or a character of a script without spaces.
struct Piece {
    range: Range<usize>,
    tokens: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum CharacterClass {
    Space,
    AsciiWord,
    OtherWord,
    Number,
    Single,
}

fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    let mut rest = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, kind) = loop {
            let (start, first) = rest.next()?;
            match kind(first) {
                CharacterClass::Space => {}
                kind => break (start, kind),
            }
        };
        let (mut end, mut characters) = (start, 1);
        if kind != CharacterClass::Single {
            while rest.next_if(|&(_, next)| self::kind(next) == kind).is_some() {
                characters += 1;
            }
        }
        end = rest.peek().map_or(text.len(), |&(next, _)| next).max(end);
        let tokens = match kind {
            CharacterClass::AsciiWord => usize::div_ceil(characters, ASCII_LETTERS),
            CharacterClass::OtherWord => usize::div_ceil(characters, OTHER_LETTERS),
            CharacterClass::Number => usize::div_ceil(characters, DIGITS),
            CharacterClass::Space | CharacterClass::Single => 1,
        };
        Some(Piece { range: start..end, tokens: tokens as u64 })
    })
}

fn kind(character: char) -> CharacterClass {
    match character {
        'a'..='z' | 'A'..='Z' => CharacterClass::AsciiWord,
        '0'..='9' => CharacterClass::Number,
        ' ' | '\t' | '\n' | '\r' => CharacterClass::Space,
        _ if character.is_ascii() => CharacterClass::Single,
        _ if character.is_whitespace() => CharacterClass::Space,
        // Kana, ideographs and Hangul: about a token each.
        '\u{3040}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => {
            CharacterClass::Single
        }
        _ if character.is_alphabetic() => CharacterClass::OtherWord,
        _ => CharacterClass::Single,
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_recorded_calls_cost_what_they_did() {
        assert_eq!(count("Test normalization disabled"), 4);
        assert_eq!(count("Test max tokens setting"), 4);
    }

    #[test]
    fn english_has_about_four_to_five_characters_a_token() {
        let text = "Parents may take up to twelve weeks of paid leave in the first year after the birth or adoption of a \
                    child. Requests go to the people team at least four weeks before the leave begins, and the manager \
                    arranges cover for that time. A second period can be taken later, if both parents agree on it.";
        let characters_a_token = text.len() as f64 / count(text) as f64;
        assert!((4.0..5.5).contains(&characters_a_token), "{characters_a_token}");
    }

    #[test]
    fn nothing_is_billed_at_zero() {
        assert_eq!(count(" \n"), 1);
    }

    #[test]
    fn an_ideograph_costs_a_token() {
        assert_eq!(count("冰川正在融化"), 6);
    }

    proptest! {
        #[test]
        fn a_cut_text_costs_no_more_than_allowed(text: String, max in 1..20u64) {
            for kept in [first(&text, max), last(&text, max)] {
                prop_assert!(text.contains(kept));
                prop_assert!(count(kept) <= max, "{kept:?}");
            }
        }

        #[test]
        fn a_text_within_the_limit_is_not_cut(text: String) {
            let tokens = count(&text);
            prop_assert_eq!(first(&text, tokens), text.as_str());
            prop_assert_eq!(last(&text, tokens).trim(), text.trim());
        }
    }
}
