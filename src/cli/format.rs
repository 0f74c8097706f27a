//! Formatting for people: times, texts and columns.

use std::fmt::Write as _;

use crate::domain::moment::{exact_rfc3339, moment, rfc3339};

/// Widest a column gets for the sake of alignment; what is longer pushes its row to the right.
const WIDEST: usize = 48;

/// Returns a time in milliseconds since 1970 as RFC 3339 in UTC, to the second.
pub(super) fn time(milliseconds: i64) -> String {
    rfc3339(moment(milliseconds))
}

/// The same to the millisecond, as the output has it.
pub(super) fn exact_time(milliseconds: i64) -> String {
    exact_rfc3339(moment(milliseconds))
}

/// Returns a text as a part of one line: it comes from a service, a file or its name.
pub(super) fn plain(text: &str) -> String {
    crate::domain::escape::plain(text).into_owned()
}

/// Returns rows with their columns aligned, two spaces apart.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |text: &String| text.chars().count();
    let mut widths = [0; N];
    for row in rows {
        for (widest, text) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(text).min(WIDEST));
        }
    }
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for (text, column) in row.iter().zip(widths) {
            let _infallible = write!(line, "{text:column$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// Returns lines, each a little to the right.
pub(super) fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |said, line| said + "  " + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_one_long_text_does_not_move_the_others() {
        let rows = [["a", "b"], ["ccc", "d"], [&"e".repeat(60), "f"]].map(|row| row.map(str::to_owned));
        let table = columns(&rows[..2]);
        assert_eq!(table, "a    b\nccc  d\n");
        assert_eq!(columns(&rows).lines().next().unwrap().len(), WIDEST + 2 + 1);
    }

    #[test]
    fn control_characters_of_a_text_do_not_reach_a_terminal() {
        assert_eq!(plain("a\x1b[2J\nb é"), "a\\u{1b}[2J\\nb é");
    }

    #[test]
    fn times_are_those_of_greenwich() {
        assert_eq!((time(-5), exact_time(1_001)), ("1970-01-01T00:00:00Z".into(), "1970-01-01T00:00:01.001Z".into()));
    }
}
