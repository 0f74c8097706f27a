//! One terminal for log lines and a live progress line, so that neither tears the other. Where it is closed no write can succeed, which
//! is no reason to end: no write to it fails.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use console::Term;
use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};
use tracing_subscriber::fmt::MakeWriter;

/// How often in a second the live line is drawn again, at most.
const DRAWN: u8 = 10;

/// Standard error, shared by the log and the progress line. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Console {
    progress: Arc<MultiProgress>,
}

impl Console {
    /// Returns the console; progress shows only where standard error is a terminal that can show it.
    #[must_use]
    pub fn stderr() -> Self {
        let term = Term::stderr();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let target = if term.is_term() && !is_dumb {
            // The library asks standard output whether it has colours, and draws here.
            console::set_colors_enabled(console::colors_enabled_stderr());
            ProgressDrawTarget::term_like_with_hz(Box::new(Screen { term, drawn: Mutex::default() }), DRAWN)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { progress: Arc::new(MultiProgress::with_draw_target(target)) }
    }

    /// Returns what draws live lines.
    #[must_use]
    pub fn progress(&self) -> &MultiProgress {
        &self.progress
    }
}

/// A terminal to draw on. The library ends the process where drawing fails (it unwraps), so that here it never does.
#[derive(Debug)]
struct Screen {
    term: Term,
    /// What is drawn with the next flush, in one write.
    drawn: Mutex<String>,
}

impl Screen {
    fn draw(&self, draw: impl FnOnce(&mut String)) {
        draw(&mut self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Moves the cursor by `n`, in the direction that a letter of ECMA-48 means.
    fn move_cursor(&self, n: usize, direction: char) {
        if n > 0 {
            self.draw(|drawn| {
                let _infallible = write!(drawn, "\x1b[{n}{direction}");
            });
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D');
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.draw(|drawn| {
            drawn.push_str(line);
            drawn.push('\n');
        });
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(|drawn| drawn.push_str(text));
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw(|drawn| drawn.push_str("\r\x1b[2K"));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = mem::take(&mut *self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        let _unseen = io::stderr().lock().write_all(drawn.as_bytes());
        Ok(())
    }
}

/// Writes a whole event at once, with the live lines out of its way.
#[derive(Debug)]
pub struct ConsoleLines<'a>(&'a MultiProgress);

impl Write for ConsoleLines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Where standard error is closed no write can succeed, and the subscriber would panic in trying to.
        let _unheard = self.0.suspend(|| io::stderr().lock().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _unheard = io::stderr().flush();
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = ConsoleLines<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        ConsoleLines(&self.progress)
    }
}
