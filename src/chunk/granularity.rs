//! Divides a unit that is too long for one chunk.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::boundary::Level;

/// What a unit is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    /// Sentences and lines, for prose.
    Sentence,
    /// Lines, for code and tables.
    Line,
    /// Words, with the white space after them.
    Word,
    /// What a reader sees as one character.
    Grapheme,
    /// Code points.
    Character,
    /// Nothing.
    Whole,
}

impl Grain {
    /// Returns what the pieces are cut into in turn.
    pub(super) fn finer(self) -> Self {
        match self {
            Self::Sentence | Self::Line => Self::Word,
            Self::Word => Self::Grapheme,
            Self::Grapheme => Self::Character,
            Self::Character | Self::Whole => Self::Whole,
        }
    }

    /// Returns the borders inside a unit, in order. None comes before white space, at the start or at the end.
    pub(super) fn borders(self, unit: &str) -> Box<dyn Iterator<Item = (usize, Level)> + '_> {
        match self {
            Self::Sentence => Box::new(sentences(unit)),
            Self::Line => Box::new(lines(unit)),
            Self::Word => Box::new(words(unit)),
            Self::Grapheme => Box::new(letters(unit.grapheme_indices(true))),
            Self::Character => Box::new(letters(unit.char_indices().map(|(offset, _)| (offset, &unit[offset..])))),
            Self::Whole => Box::new(std::iter::empty()),
        }
    }

    /// Returns the text that tells a unit from others, if the unit is what has still to be cut into this.
    ///
    /// That is the unit itself. But words and letters recur, so theirs is a stretch of what follows.
    pub(super) fn context(self, text: &str, unit: Range<usize>) -> &str {
        const AHEAD: usize = 32;
        match self {
            Self::Sentence | Self::Line | Self::Word => &text[unit],
            Self::Grapheme | Self::Character | Self::Whole => {
                let end = unit.start.saturating_add(AHEAD);
                &text[unit.start..text.floor_char_boundary(end)]
            }
        }
    }
}

/// Finds sentences that end with a mark, and lines.
///
/// UAX #29 is not used here: it ends a sentence at each line break, which tears wrapped prose, and its look-ahead after a full stop
/// (rule SB8) is quadratic in a run of brackets or spaces.
fn sentences(unit: &str) -> impl Iterator<Item = (usize, Level)> {
    let mut end = End::None;
    let (mut white, mut line) = (false, false);
    unit.char_indices().filter_map(move |(offset, character)| {
        if character.is_whitespace() {
            white = true;
            line |= is_line_break(character);
            return None;
        }
        let mark = End::of(character);
        if !white && end != End::None && (mark != End::None || is_closing(character)) {
            // `?!`, `...`, `."`, `。」`
            end = end.max(mark);
            return None;
        }
        let begins = match end {
            End::None => false,
            End::Stop => white && !character.is_lowercase(),
            End::FullWidth => true,
        };
        let level = if begins {
            Some(Level::Sentence)
        } else if line {
            Some(Level::Line)
        } else {
            None
        };
        (end, white, line) = (mark, false, false);
        level.map(|level| (offset, level))
    })
}

/// How a sentence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It does not.
    None,
    /// With a mark that white space must follow.
    Stop,
    /// With one after which none is written.
    FullWidth,
}

impl End {
    fn of(character: char) -> Self {
        match character {
            // Also the Greek question mark and the full stops of Armenian, Arabic, Devanagari, Ethiopic, Burmese and Khmer.
            '.' | '!' | '?' | '…' | '\u{37e}' | '։' | '؟' | '۔' | '।' | '॥' | '።' | '၊' | '။' | '។' => {
                Self::Stop
            }
            '。' | '！' | '？' | '｡' | '．' => Self::FullWidth,
            _ => Self::None,
        }
    }
}

fn is_closing(character: char) -> bool {
    matches!(character, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '›' | '」' | '』' | '）' | '】' | '》' | '〉')
}

fn is_line_break(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Finds where the text of each line begins, behind its indentation.
fn lines(unit: &str) -> impl Iterator<Item = (usize, Level)> {
    let mut end = 0;
    unit.split_inclusive(is_line_break).filter_map(move |line| {
        end += line.len();
        let start = end - line.trim_start().len();
        (0 < start && start < end).then_some((start, Level::Line))
    })
}

/// Finds words (UAX #29), and the marks and symbols between them.
///
/// Where words are written without white space between them (Chinese, Japanese, Thai), each character is one to UAX #29.
fn words(unit: &str) -> impl Iterator<Item = (usize, Level)> {
    let (mut white, mut word) = (false, false);
    unit.split_word_bound_indices().filter_map(move |(offset, segment)| {
        if segment.starts_with(char::is_whitespace) {
            white = true;
            return None;
        }
        let after_white = std::mem::take(&mut white);
        let after_word = std::mem::replace(&mut word, segment.starts_with(char::is_alphanumeric));
        let level = if after_white || (after_word && word) { Level::Word } else { Level::Inside };
        (offset > 0).then_some((offset, level))
    })
}

/// Finds the borders between parts of words.
fn letters<'u>(parts: impl Iterator<Item = (usize, &'u str)>) -> impl Iterator<Item = (usize, Level)> {
    let starts = parts.filter(|(offset, part)| *offset > 0 && !part.starts_with(char::is_whitespace));
    starts.map(|(offset, _)| (offset, Level::Inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(grain: Grain, unit: &str, expected: &str) {
        let mut marked = String::new();
        let mut end = 0;
        for (offset, level) in grain.borders(unit) {
            marked += &unit[end..offset];
            marked.push(if level == Level::Inside { '¦' } else { '|' });
            end = offset;
        }
        marked += &unit[end..];
        assert_eq!(marked, expected);
    }

    #[test]
    fn a_sentence_ends_at_its_mark() {
        check(
            Grain::Sentence,
            "One. Two! Three? \"Four.\" Five... six, 7.5 e.g. eight.",
            "One. |Two! |Three? |\"Four.\" |Five... six, 7.5 e.g. eight.",
        );
        check(Grain::Sentence, "她走了。他留下。「好！」她说。", "她走了。|他留下。|「好！」|她说。");
        check(Grain::Sentence, "यह एक है। वह दो है।", "यह एक है। |वह दो है।");
    }

    #[test]
    fn a_line_is_a_lesser_border_than_a_sentence() {
        let found: Vec<_> = Grain::Sentence.borders("wrapped\r\nprose. It\r\n\r\nends.\r\n").map(|(_, level)| level).collect();
        assert_eq!(found, [Level::Line, Level::Sentence, Level::Line]);
    }

    #[test]
    fn a_line_of_code_begins_behind_its_indentation() {
        check(Grain::Line, "if a:\n    b\n\nc\n", "if a:\n    |b\n\n|c\n");
    }

    #[test]
    fn a_word_keeps_its_white_space_and_its_marks_if_it_can() {
        check(Grain::Word, "Well, (it's) 3.5  words", "Well¦, |(¦it's¦) |3.5  |words");
        check(Grain::Word, "漢字テスト", "漢|字|テスト");
        check(Grain::Word, "ภาษาไทย", "ภ|า|ษ|า|ไ|ท|ย");
    }

    #[test]
    fn a_grapheme_is_whole() {
        check(Grain::Grapheme, "e\u{301}👩‍👩‍👧x", "e\u{301}¦👩‍👩‍👧¦x");
    }
}
