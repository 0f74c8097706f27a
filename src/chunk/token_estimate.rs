//! Estimates the tokens of a text.
//!
//! Tokenizers differ between models and are not published for most, so this one estimates from above: a cost for each character,
//! summed. Sums need no context, so a range costs the same wherever it is cut.

use std::num::NonZeroU32;

use crate::domain::{Limits, Script, TokenCount};

/// One token, in the unit of weights.
const TOKEN: u64 = 1000;

/// Returns the estimated number of tokens of a text, rounded up.
///
/// Letters and white space of ASCII are 4 to a token, so that English comes to about 3.5 with its punctuation (Amazon counts 4.7 for
/// Titan). Digits and other alphabets are 2 to a token, Chinese, Japanese and Korean characters 1. A punctuation mark is a token, as
/// word-piece tokenizers have it, and an emoji three.
#[must_use]
pub fn tokens(text: &str) -> TokenCount {
    TokenCount::new(text.chars().map(cost).sum::<u64>().div_ceil(TOKEN))
}

/// Returns the estimated number of tokens of a text in a prompt, rounded up: as [`tokens`], but for base64 and hex, which are three times as
/// dense as words. Where a text is cut does not depend on this, since it must be cut the same way again.
#[must_use]
pub fn prompt_tokens(text: &str) -> TokenCount {
    let cost = |(character, script)| if script == Script::Dense { DENSE } else { cost(character) };
    TokenCount::new(Script::all_of(text).map(cost).sum::<u64>().div_ceil(TOKEN))
}

/// Thousandths of a token of a character of base64 or hex. Measured over 60,000 random bytes with the tokenizers of Claude 2, GPT-4o, Llama 3
/// and Qwen 3, tokens a character: base64 0.70, 0.68, 0.72, 0.74 (in lines of 76 0.71, 0.69, 0.72, 0.75); hex 0.58, 0.57, 0.57, 0.88; UUIDs
/// 0.67, 0.64, 0.64, 0.88.
const DENSE: u64 = 750;

/// What a chunk may weigh, where a character weighs its tokens, or its share of the characters a model takes if that is more.
/// So one sum keeps both limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    limit: u64,
    /// The least a character weighs.
    floor: u64,
}

impl Scale {
    pub(super) fn new(max_tokens: NonZeroU32, limits: &Limits) -> Self {
        let tokens = u64::from(max_tokens.get()).min(limits.tokens_per_text.get()).max(1);
        let characters = u64::try_from(limits.characters_per_text.get()).unwrap_or(u64::MAX);
        let limit = tokens * TOKEN;
        Self { limit, floor: limit.div_ceil(characters) }
    }

    /// Returns the most a chunk may weigh.
    pub(super) fn limit(self) -> u64 {
        self.limit
    }

    /// Returns the most a unit may weigh that is not divided.
    pub(super) fn half(self) -> u64 {
        self.limit / 2
    }

    /// Returns the weight of an overlap of `tokens`: half the limit at most.
    pub(super) fn overlap(self, tokens: u32) -> u64 {
        (u64::from(tokens) * TOKEN).min(self.half())
    }

    pub(super) fn weight(self, text: &str) -> u64 {
        text.chars().map(|character| self.weigh(character)).sum()
    }

    /// Returns whether a text need not be divided. Reads no more of it than that takes.
    pub(super) fn fits(self, text: &str) -> bool {
        self.is_within(text, self.half())
    }

    /// Returns whether one chunk may hold a text. Reads no more of it than that takes.
    pub(super) fn holds(self, text: &str) -> bool {
        self.is_within(text, self.limit)
    }

    fn is_within(self, text: &str, bound: u64) -> bool {
        text.chars().try_fold(bound, |left, character| left.checked_sub(self.weigh(character))).is_some()
    }

    pub(super) fn weigh(self, character: char) -> u64 {
        cost(character).max(self.floor)
    }
}

/// Thousandths of a token that a character costs.
fn cost(character: char) -> u64 {
    match character {
        'a'..='z' | 'A'..='Z' | ' ' | '\t' | '\n' | '\r' => 250,
        // The second range is the rest of Latin, Greek, Cyrillic, Armenian, Hebrew and Arabic.
        '0'..='9' | '\u{80}'..='\u{7ff}' => 500,
        // ASCII marks and controls; then Indic, Thai, Georgian, Ethiopic, Chinese, Japanese, Korean, and symbols.
        '\0'..='\u{ffff}' => 1000,
        // Emoji, and letters so rare that tokenizers spell them in bytes.
        '\u{10000}'.. => 3000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_rounded_up_once() {
        let check = |text, expected| assert_eq!(tokens(text).get(), expected, "{text:?}");
        check("", 0);
        check("a", 1);
        check("four", 1);
        check("fours", 2);
        check("2026", 2);
        check("a, b", 2);
        check("漢字かな", 4);
        check("Привет", 3);
        check("🦀", 3);
    }

    #[test]
    fn base64_and_hex_are_estimated_at_what_tokenizers_make_of_them_and_words_as_ever() {
        // Three bytes of a sequence without a pattern, over and over again.
        let bytes: Vec<u8> = (0..3000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[1]).collect();
        let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &bytes);
        let lines = base64.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n");
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap();
        let hex: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        for text in [base64, lines, hex] {
            let characters = text.len() as u64;
            let (prompt, chunk) = (prompt_tokens(&text).get(), tokens(&text).get());
            assert!((700..=760).contains(&(prompt * 1000 / characters)), "{prompt} of {characters}");
            assert!(chunk * 3 < prompt * 2, "{chunk} and {prompt}: chunks are cut as they were");
        }
        let words =
            "A word is a word, even src/chat/prompt.rs or a_very_long_name_of_some_function_in_rust or theInternationalisation.";
        assert_eq!(prompt_tokens(words), tokens(words));
    }

    #[test]
    fn english_is_not_underestimated() {
        let text = "It was a bright cold day in April, and the clocks were striking thirteen.";
        assert!((16..=22).contains(&tokens(text).get()), "{}", tokens(text));
    }
}
