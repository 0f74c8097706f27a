//! Scripts of a text, which decide its number of tokens.

/// Kinds of characters that tokenizers treat alike: alphabets and writing systems, and what all of them share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Script {
    /// Latin letters, accented ones included.
    Latin,
    /// White space.
    Space,
    /// Digits.
    Digits,
    /// Punctuation and symbols.
    Marks,
    /// Cyrillic letters.
    Cyrillic,
    /// Greek letters.
    Greek,
    /// Arabic and Hebrew letters.
    Semitic,
    /// The scripts of South and Southeast Asia.
    Indic,
    /// Chinese, Japanese and Korean characters, with their punctuation.
    Cjk,
    /// Emoji.
    Emoji,
    /// Everything else.
    Other,
    /// Base64, hex and their like: letters and digits that no tokenizer has words for.
    Dense,
    /// No character: that a text begins. Models count a few tokens for that alone.
    Begin,
}

impl Script {
    /// How many there are.
    pub const COUNT: usize = 13;

    /// All of them, in the order of [`Script::place`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Latin,
        Self::Space,
        Self::Digits,
        Self::Marks,
        Self::Cyrillic,
        Self::Greek,
        Self::Semitic,
        Self::Indic,
        Self::Cjk,
        Self::Emoji,
        Self::Other,
        Self::Dense,
        Self::Begin,
    ];

    /// Returns the name that the ledger uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latin => "latin",
            Self::Space => "space",
            Self::Digits => "digits",
            Self::Marks => "marks",
            Self::Cyrillic => "cyrillic",
            Self::Greek => "greek",
            Self::Semitic => "semitic",
            Self::Indic => "indic",
            Self::Cjk => "cjk",
            Self::Emoji => "emoji",
            Self::Other => "other",
            Self::Dense => "dense",
            Self::Begin => "begin",
        }
    }

    /// Returns its place among [`Script::ALL`].
    #[must_use]
    pub const fn place(self) -> usize {
        self as usize
    }

    /// Returns each character of a text with its script; those of [`Script::Dense`] are known by their neighbours.
    pub fn all_of(text: &str) -> impl Iterator<Item = (char, Self)> {
        let (mut run_end, mut is_dense) = (0, false);
        text.char_indices().map(move |(at, character)| {
            if at >= run_end {
                let run = text.as_bytes()[at..].iter().take_while(|byte| class(**byte).is_some()).count();
                is_dense = is_dense_run(&text.as_bytes()[at..at + run]);
                run_end = at + run;
            }
            (character, if is_dense && at < run_end { Self::Dense } else { Self::of(character) })
        })
    }

    /// Returns the script of a character, by Unicode's blocks.
    #[must_use]
    pub fn of(character: char) -> Self {
        match character {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Self::Latin,
            '0'..='9' => Self::Digits,
            '\t'..='\r'
            | ' '
            | '\u{85}'
            | '\u{a0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200a}'
            | '\u{2028}'..='\u{202f}'
            | '\u{3000}' => Self::Space,
            '\0'..='\u{bf}' | '\u{2000}'..='\u{2bff}' => Self::Marks,
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Self::Greek,
            '\u{400}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{2de0}'..='\u{2dff}' => Self::Cyrillic,
            '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' => Self::Semitic,
            '\u{900}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{a8e0}'..='\u{a8ff}' => Self::Indic,
            '\u{1100}'..='\u{11ff}'
            | '\u{2e80}'..='\u{9fff}'
            | '\u{a960}'..='\u{a97f}'
            | '\u{ac00}'..='\u{d7ff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe4f}'
            | '\u{ff00}'..='\u{ffef}'
            | '\u{20000}'..='\u{3ffff}' => Self::Cjk,
            '\u{1f000}'..='\u{1faff}' => Self::Emoji,
            _ => Self::Other,
        }
    }
}

/// Runs of fewer characters are words, or too short to count.
const SHORTEST_RUN: usize = 20;

/// Which of the kinds of characters of base64 and hex a byte is of.
fn class(byte: u8) -> Option<u8> {
    match byte {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        b'+' | b'/' | b'=' | b'-' | b'_' => Some(3),
        _ => None,
    }
}

/// Returns whether a run of such characters is base64, hex or their like. Hex has no other letters than its six. In base64 a quarter of the
/// characters and more are followed by one of another kind (65 of 100 in random bytes), and digits are among them (16 of 100); names in code
/// and paths change at marks, or seldom, and have few digits.
fn is_dense_run(run: &[u8]) -> bool {
    if run.len() < SHORTEST_RUN {
        return false;
    }
    let count = |is: fn(u8) -> bool| run.iter().filter(|byte| is(**byte)).count();
    let (digits, letters) = (count(|byte| byte.is_ascii_digit()), count(|byte| byte.is_ascii_alphabetic()));
    let is_hex = count(|byte| byte.is_ascii_hexdigit() || byte == b'-') == run.len();
    let is_change = |pair: &&[u8]| class(pair[0]) != class(pair[1]) && class(pair[0]) != MARK && class(pair[1]) != MARK;
    let changes = run.windows(2).filter(is_change).count();
    (is_hex && digits * 5 >= run.len() && letters * 10 >= run.len()) || (digits * 20 >= run.len() && changes * 4 > run.len())
}

/// The kind of characters between words.
const MARK: Option<u8> = Some(3);

/// How many characters of each script some texts have, and how many texts they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mix([u64; Script::COUNT]);

impl Mix {
    /// Counts one text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut counts = [0; Script::COUNT];
        for (_, script) in Script::all_of(text) {
            counts[script.place()] += 1;
        }
        counts[Script::Begin.place()] = 1;
        Self(counts)
    }

    /// Returns how often each script occurs, with the number of texts under [`Script::Begin`].
    pub fn counts(&self) -> impl Iterator<Item = (Script, u64)> {
        Script::ALL.into_iter().zip(self.0)
    }
}

impl std::ops::AddAssign for Mix {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }
}

impl std::iter::Sum for Mix {
    fn sum<I: Iterator<Item = Self>>(mixes: I) -> Self {
        mixes.fold(Self::default(), |mut sum, mix| {
            sum += mix;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_its_characters() {
        let check = |script, characters: &str| {
            for character in characters.chars() {
                assert_eq!(Script::of(character), script, "{character:?}");
            }
        };
        check(Script::Latin, "azAZéßøłẞ");
        check(Script::Space, " \t\n\r\u{a0}\u{3000}");
        check(Script::Digits, "0123456789");
        check(Script::Marks, ".,;{}<>§»–“€→\u{7}");
        check(Script::Cyrillic, "ПриветЇ");
        check(Script::Greek, "Ωμἀ");
        check(Script::Semitic, "שלוםسلام");
        check(Script::Indic, "नमस्तेไทย");
        check(Script::Cjk, "漢字かなカナ한글。！");
        check(Script::Emoji, "🦀🎉");
        check(Script::Other, "\u{10300}ᚠ");
    }

    #[test]
    fn the_places_are_those_of_the_list_and_no_two_have_a_name() {
        for (place, script) in Script::ALL.into_iter().enumerate() {
            assert_eq!(script.place(), place);
            assert_eq!(Script::ALL.iter().filter(|other| other.as_str() == script.as_str()).count(), 1);
        }
    }

    #[test]
    fn base64_and_hex_are_distinguished_from_names_and_words() {
        let dense = |text: &str| Script::all_of(text).filter(|(_, script)| *script == Script::Dense).count();
        for run in [
            "PZ1cRS9dX0vZQ3hL0eTn7Jb2KqYwXk5uGm8Hf4Ai",
            "e06821608615defc7691457295cb8ad3",
            "46d82eaf6edc633ad3cdb5527bdf832bd4d31346aa2fe89070ef35650a0dfa24",
            "785bd0b0-0d3f-4a2e-9c1b-7f3a5e6d2c41",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        ] {
            assert_eq!(dense(run), run.len(), "{run}");
            assert_eq!(dense(&format!("the hash, {run}: so")), run.len(), "{run}");
        }
        for words in [
            "src/bedrock/chat/prompt/contexts",
            "a_prompt_that_is_new_or_has_changed",
            "theInternationalisationOfEverything",
            "Donaudampfschifffahrtsgesellschaft",
            "2026-11-29",
            "aGVsbG8",
            "========================================",
            "11111111111111111111111111111111",
        ] {
            assert_eq!(dense(words), 0, "{words}");
        }
        assert!(
            Script::all_of("漢字 e06821608615defc7691457295cb8ad3 é")
                .map(|(character, _)| character)
                .eq("漢字 e06821608615defc7691457295cb8ad3 é".chars())
        );
    }

    #[test]
    fn a_mix_counts_every_character_once_and_every_text() {
        let mix: Mix = ["Hi, Мир 42", "漢字"].map(Mix::of).into_iter().sum();
        let counts: Vec<_> = mix.counts().filter(|(_, count)| *count > 0).collect();
        let expected = [
            (Script::Latin, 2),
            (Script::Space, 2),
            (Script::Digits, 2),
            (Script::Marks, 1),
            (Script::Cyrillic, 3),
            (Script::Cjk, 2),
            (Script::Begin, 2),
        ];
        assert_eq!(counts, expected);
    }
}
