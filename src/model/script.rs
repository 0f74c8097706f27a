//! What a text is made of, as far as the number of its tokens goes.

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
    /// No character: that a text begins. Models count a few tokens for that alone.
    Begin,
}

impl Script {
    /// How many there are.
    pub const COUNT: usize = 12;

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
            Self::Begin => "begin",
        }
    }

    /// Returns its place among [`Script::ALL`].
    #[must_use]
    pub const fn place(self) -> usize {
        self as usize
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

/// How many characters of each script some texts have, and how many texts they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mix([u64; Script::COUNT]);

impl Mix {
    /// Counts one text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut counts = [0; Script::COUNT];
        for character in text.chars() {
            counts[Script::of(character).place()] += 1;
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
