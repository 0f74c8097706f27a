//! `SIGHUP`: asks a daemon to read its configuration again, unless it only means that the terminal was closed.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// How often, and how far apart, it is checked whether the terminal is still there: a shell that ends tells its jobs so before its terminal
/// closes.
const LOOKS: usize = 5;
const BETWEEN: Duration = Duration::from_millis(100);

/// The requests to read the configuration again.
#[derive(Debug)]
pub(crate) struct Hangups {
    signals: Signal,
    /// What there was of a terminal at the start.
    terminal: Terminal,
}

/// What there is of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terminal {
    /// Whether the process has one that controls it.
    controls: bool,
    /// Whether standard input, output and error are one.
    streams: [bool; 3],
}

impl Terminal {
    fn look() -> Self {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let controls = openat(CWD, "/dev/tty", flags, Mode::empty()).is_ok();
        Self { controls, streams: [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()] }
    }

    /// Returns whether any of it was there before and is not now.
    fn has_lost(self, now: Self) -> bool {
        let lost = |before: bool, now: bool| before && !now;
        lost(self.controls, now.controls) || self.streams.into_iter().zip(now.streams).any(|(before, now)| lost(before, now))
    }

    fn is_any(self) -> bool {
        self.controls || self.streams.contains(&true)
    }
}

impl Hangups {
    /// Takes the signal over from here on; before, it ends the process.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { signals: signal(SignalKind::hangup())?, terminal: Terminal::look() })
    }

    /// Waits for the next request; `None` when there will be none. Cancel safe, though a signal that is being looked into is lost then.
    pub(super) async fn next(&mut self) -> Option<()> {
        loop {
            self.signals.recv().await?;
            if !self.is_gone().await {
                return Some(());
            }
            // What was lost once says nothing of the next signal.
            self.terminal = Terminal::look();
            info!("terminal closed; continuing without it");
        }
    }

    /// Returns whether the terminal of the start has closed.
    async fn is_gone(&self) -> bool {
        for _ in 0..LOOKS {
            if !self.terminal.is_any() {
                return false;
            }
            if self.terminal.has_lost(Terminal::look()) {
                return true;
            }
            tokio::time::sleep(BETWEEN).await;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_closed_where_any_stream_was_one_and_is_no_more() {
        let none = Terminal { controls: false, streams: [false; 3] };
        let whole = Terminal { controls: true, streams: [true; 3] };
        let error = Terminal { controls: false, streams: [false, false, true] };
        assert!(!none.has_lost(none) && !none.has_lost(whole) && !whole.has_lost(whole) && !none.is_any());
        assert!(whole.has_lost(none) && whole.has_lost(error) && error.has_lost(none) && error.is_any());
    }
}
