//! Sanitises text from outside for display: names of files, words of a service, text of a document or a model.
//!
//! What would move the cursor, colour or hide something, end a line, or turn the direction of the text beside it is written as its escape.
//! Records and answers in JSON hold the true text: there the same characters are escaped in JSON's own way.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Returns a text as a part of one line.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Returns a text with its lines, tabs, and the joiners that hold a family of emoji or a Persian word together.
#[must_use]
pub fn plain_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| is_hidden(character) && !matches!(character, '\n' | '\t' | '\u{200c}' | '\u{200d}'))
}

/// Returns the same JSON with what is not to be seen in its strings escaped.
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    // Outside of strings there is nothing but ASCII, and white space.
    let is_escaped = |character: char| is_hidden(character) && !matches!(character, '\n' | '\r' | '\t');
    if !json.contains(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_escaped(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Writes a value as [`plain`] returns its text.
pub struct Plain<T>(pub T);

impl<T: fmt::Display> fmt::Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.0.to_string()))
    }
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool + Copy) -> Cow<'_, str> {
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_escaped(character) {
            let _infallible = write!(escaped, "{}", character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character is a control, ends a line, or is a format character (Unicode's category Cf): those turn the direction of
/// text, or show nothing.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_shown_as_escapes() {
        assert_eq!(plain("a\x1b[2J\r\nb\u{9b}1m é"), "a\\u{1b}[2J\\r\\nb\\u{9b}1m é");
        assert_eq!(plain("fdp.\u{202e}exe\u{2066}x\u{200b}\u{e0041}"), "fdp.\\u{202e}exe\\u{2066}x\\u{200b}\\u{e0041}");
        assert!(matches!(plain("größe 日本 👩"), Cow::Borrowed(_)));
        assert_eq!(Plain("a\nb").to_string(), "a\\nb");
    }

    #[test]
    fn lines_stay_lines_where_they_are_wanted() {
        assert_eq!(plain_lines("one\n\ttwo\r\x1b[1m\u{202e} 👩\u{200d}👧"), "one\n\ttwo\\r\\u{1b}[1m\\u{202e} 👩\u{200d}👧");
    }

    #[test]
    fn json_says_the_same_and_shows_nothing_else() {
        let text = "a\u{202e}b\u{9b}\u{7f}\u{e0041}";
        let json = serde_json::to_string(text).unwrap();
        let shown = plain_json(&json);
        assert_eq!(shown, r#""a\u202eb\u009b\u007f\udb40\udc41""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
