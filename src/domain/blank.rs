//! Characters that leave no mark on paper.

/// Returns whether a text shows nothing to a reader: white space, control characters and invisible ones alone.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// Returns whether a character has no shape of its own: white space, control characters, and what a program may leave out where it
/// cannot show it (Unicode's `Default_Ignorable_Code_Point`, with the anchors of annotations and the empty Braille pattern).
#[must_use]
pub fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_nothing_that_can_be_seen_is_blank() {
        for blank in [
            "",
            " \t\r\n\u{b}\u{c}\u{85}",
            "\u{a0}\u{1680}\u{2003}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}",
            "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}",
            "\u{fe0f}\u{e0100}\u{180b}\u{34f}",
            "\u{202e}\u{2066}\u{2069}\u{61c}\u{200e}",
            "\u{3164}\u{115f}\u{1160}\u{ffa0}\u{2800}\u{180e}",
            "\u{1}\u{7f}\u{9f}",
            "\u{e0041}\u{e007f}",
        ] {
            assert!(is_blank(blank), "{}", blank.escape_unicode());
        }
    }

    #[test]
    fn one_mark_is_enough_to_be_a_text() {
        for text in ["\u{200b}a", ".", "字", "\u{301}", "😀\u{fe0f}", "\u{fffd}", "\u{e000}", "ـ"] {
            assert!(!is_blank(text), "{}", text.escape_unicode());
        }
    }
}
