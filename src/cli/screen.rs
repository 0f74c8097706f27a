//! Redraws a list of lines on a terminal: as many as fit, the most important first.

use console::{Term, measure_text_width, truncate_str};

/// What a line is cut with.
const CUT: &str = "…";
/// Lines up to this rank are wrapped where they are too long, and not cut: what to do is at their end.
const WRAPPED: u8 = 1;

/// A line, and how important it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScreenLine {
    /// 0 is the most important.
    pub(super) rank: u8,
    pub(super) text: String,
}

impl ScreenLine {
    pub(super) fn new(rank: u8, text: &str) -> Self {
        Self { rank, text: text.to_owned() }
    }
}

/// The terminal at standard output.
pub(super) struct Screen(Term);

impl Screen {
    pub(super) fn new() -> Self {
        Self(Term::stdout())
    }

    /// Returns what shows the lines in the place of what was there. Each is written over the one before: to clear first would flicker.
    pub(super) fn shows(&self, lines: &[ScreenLine]) -> String {
        let (height, width) = self.0.size();
        // The cursor needs a line of its own, or the first one leaves the screen.
        let fitting = fit(lines, usize::from(width), usize::from(height).saturating_sub(1));
        let shown = fitting.iter().fold("\x1b[H".to_owned(), |shown, line| shown + line + "\x1b[K\n");
        shown + "\x1b[J"
    }
}

/// Returns as many of the lines as there is room for, in their order and none wider than that.
fn fit(lines: &[ScreenLine], width: usize, height: usize) -> Vec<String> {
    let laid = lines.iter().flat_map(|line| {
        let texts = if line.rank <= WRAPPED { wrapped(&line.text, width) } else { vec![cut(&line.text, width)] };
        texts.into_iter().map(|text| (line.rank, text))
    });
    let mut laid: Vec<_> = laid.collect();
    if laid.len() <= height {
        return laid.into_iter().map(|(_, text)| text).collect();
    }
    let all = laid.len();
    while laid.len() + 1 > height {
        let Some(least) = laid.iter().map(|(rank, _)| *rank).max() else { break };
        let at = laid.iter().rposition(|(rank, _)| *rank == least).expect("one has the greatest rank");
        laid.remove(at);
    }
    // The title of a list, which is behind an empty line, says nothing without what is listed.
    let mut at = 0;
    while at < laid.len() {
        let is_empty = |at: usize| laid.get(at).is_none_or(|(_, text)| text.is_empty());
        if is_empty(at) && is_empty(at + 2) {
            laid.drain(at..(at + 2).min(laid.len()));
        } else {
            at += 1;
        }
    }
    let left_out = all - laid.len();
    let more = format!("{CUT} {left_out} more lines, for a larger terminal");
    let texts = laid.into_iter().map(|(_, text)| text).chain([cut(&more, width)]);
    texts.take(height).collect()
}

fn cut(text: &str, width: usize) -> String {
    truncate_str(text, width, CUT).into_owned()
}

/// Returns a text in lines of that width, broken between words, the further ones as far to the right as the first and a little more.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if measure_text_width(text) <= width {
        return vec![text.to_owned()];
    }
    let indent = (text.len() - text.trim_start().len() + 2).min(width / 2);
    let mut lines = vec![" ".repeat(text.len() - text.trim_start().len())];
    // Empty words are what is between columns.
    for word in text.trim().split(' ') {
        let last = lines.last_mut().expect("there is one from the start");
        let is_first = last.trim().is_empty();
        if !is_first && measure_text_width(last) + 1 + measure_text_width(word) > width {
            last.truncate(last.trim_end().len());
            lines.push(" ".repeat(indent) + word);
        } else {
            if !is_first {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rank: u8, text: &str) -> ScreenLine {
        ScreenLine::new(rank, text)
    }

    #[test]
    fn what_is_least_important_goes_first_and_the_order_stays() {
        let lines =
            [line(0, "head"), line(3, "calls"), line(2, "cost"), line(8, ""), line(8, "ended"), line(8, "  a"), line(8, "  b")];
        assert_eq!(fit(&lines, 80, 7).len(), 7);
        assert_eq!(fit(&lines, 80, 6), ["head", "calls", "cost", "… 4 more lines, for a larger terminal"]);
        assert_eq!(fit(&lines, 80, 3), ["head", "cost", "… 5 more lines, for a larger terminal"]);
        assert_eq!(fit(&lines, 12, 2), ["head", "… 6 more li…"]);
        assert_eq!(fit(&lines, 80, 0), [""; 0]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_what_to_do_is_read_whole() {
        let lines =
            [line(1, "  help: give the user access to the model in the console"), line(3, "  calls  日本語日本語日本語日本語")];
        let shown = fit(&lines, 20, 24);
        assert!(shown.iter().all(|line| measure_text_width(line) <= 20), "{shown:#?}");
        let words: Vec<_> = shown[..shown.len() - 1].iter().flat_map(|line| line.split_whitespace()).collect();
        assert_eq!(words.join(" "), "help: give the user access to the model in the console");
        assert!(shown[1].starts_with("    "), "{shown:#?}");
        assert!(shown.last().unwrap().ends_with('…'));
    }
}
