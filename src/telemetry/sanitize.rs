//! Sanitises log lines before a terminal or a file: text from outside can neither begin a line nor control the terminal.

use std::io::{self, Write};

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::domain::escape::{is_hidden, plain, plain_json};

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventFormat {
    /// As a line of text, which the log may have coloured.
    Line,
    /// As JSON.
    Json,
}

/// Makes writers that write a whole event at once, as one line.
#[derive(Debug, Clone)]
pub(super) struct Clean<M> {
    inner: M,
    kind: EventFormat,
}

impl<M> Clean<M> {
    pub(super) fn new(inner: M, kind: EventFormat) -> Self {
        Self { inner, kind }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Clean<M> {
    type Writer = EventWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EventWriter { inner: self.inner.make_writer(), kind: self.kind }
    }
}

/// Writes events, each in one piece.
#[derive(Debug)]
pub(super) struct EventWriter<W> {
    inner: W,
    kind: EventFormat,
}

impl<W: Write> Write for EventWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        match self.kind {
            EventFormat::Line => self.inner.write_all(line(&text).as_bytes())?,
            EventFormat::Json => self.inner.write_all(plain_json(&text).as_bytes())?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns what writes the fields of an event: as the log does by itself, but with their values escaped, which are not its own.
pub(super) fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|out, field, value| {
        let value = format!("{value:?}");
        let value = plain(&value);
        match field.name() {
            "message" => write!(out, "{value}"),
            name => {
                let name = name.trim_start_matches("r#");
                if out.has_ansi_escapes() {
                    write!(out, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}")
                } else {
                    write!(out, "{name}={value}")
                }
            }
        }
    })
    .delimited(" ")
}

/// Returns an event as one line. Its colours are its own: those of its fields have been escaped by now.
fn line(event: &str) -> String {
    let body = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 16);
    let mut rest = body;
    while let Some(at) = rest.find(is_hidden) {
        line.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(length) = colour(rest) {
            line.push_str(&rest[..length]);
            rest = &rest[length..];
        } else if let Some(character) = rest.chars().next() {
            line.extend(character.escape_default());
            rest = &rest[character.len_utf8()..];
        }
    }
    line.push_str(rest);
    if body.len() < event.len() {
        line.push('\n');
    }
    line
}

/// Returns the length of the colour that a text begins with, if it does: `ESC [ 2 ; 31 m`.
fn colour(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\x1b[")?;
    let end = inside.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    inside[end..].starts_with('m').then_some(text.len() - inside.len() + end + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What a peer might say to forge a line.
    const FORGED: &str = "no\n2026-01-01T00:00:00Z ERROR \x1b[31mpaid twice\r\u{9b}31m\u{202e}\u{85}";

    fn logged(kind: EventFormat, has_colours: bool) -> String {
        let kept = Kept::default();
        let lines = fmt::layer().fmt_fields(fields()).with_writer(Clean::new(kept.clone(), kind));
        let lines = lines.with_target(false).without_time();
        let log = |log: &dyn Fn()| match kind {
            EventFormat::Line => {
                tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.with_ansi(has_colours)), log);
            }
            EventFormat::Json => {
                let json = fmt::layer().json().with_writer(Clean::new(kept.clone(), kind));
                tracing::subscriber::with_default(tracing_subscriber::registry().with(json), log);
            }
        };
        log(&|| tracing::warn!(document = FORGED, error = %FORGED, other = ?FORGED, "said {FORGED}"));
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_field_cannot_begin_a_line_or_colour_one() {
        for has_colours in [false, true] {
            let said = logged(EventFormat::Line, has_colours);
            assert_eq!(said.matches('\n').count(), 1, "{said}");
            assert!(said.ends_with('\n') && !said.contains("\x1b[31m"), "{said:?}");
            let mut rest = said.trim_end_matches('\n');
            while let Some(at) = rest.find(is_hidden) {
                let length = colour(&rest[at..]).unwrap_or_else(|| panic!("{said:?}"));
                assert!(has_colours, "{said:?}");
                rest = &rest[at + length..];
            }
        }
    }

    #[test]
    fn json_holds_the_true_text_in_one_line() {
        let said = logged(EventFormat::Json, false);
        assert!(!said.trim_end_matches('\n').contains(is_hidden), "{said:?}");
        let event: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(event["fields"]["document"], FORGED);
    }
}
