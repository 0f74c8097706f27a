//! One terminal for log lines and a live progress line, so that neither tears the other.

use std::io::{self, Write};
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::fmt::MakeWriter;

/// Standard error, shared by the log and the progress line. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Console {
    progress: Arc<MultiProgress>,
}

impl Console {
    /// Returns the console; progress shows only where standard error is a terminal.
    #[must_use]
    pub fn stderr() -> Self {
        Self { progress: Arc::new(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))) }
    }

    /// Returns what draws live lines.
    #[must_use]
    pub fn progress(&self) -> &MultiProgress {
        &self.progress
    }
}

/// Writes a whole event at once, with the live lines out of its way.
#[derive(Debug)]
pub struct Lines<'a>(&'a MultiProgress);

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Where standard error is closed there is nobody to tell, and the subscriber would panic in trying to.
        let _unheard = self.0.suspend(|| io::stderr().lock().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines(&self.progress)
    }
}
