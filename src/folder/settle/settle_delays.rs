//! Settle delays, as multiples of `source.settle`.

use std::time::Duration;

use crate::folder::look::root::Extent;
use crate::folder::watch::event_queue::Signal;

/// What the waits depend on.
#[derive(Debug, Clone, Copy)]
pub(in crate::folder) struct Waits {
    /// How long a file must be quiet that its writer has closed.
    pub(super) settle: Duration,
    /// Whether only files come that their writers have marked as complete: then nothing is waited for.
    pub(super) marked: bool,
    /// Whether events may be missing.
    pub(super) unannounced: bool,
}

impl Waits {
    /// How much longer a file must be quiet whose writer has not said that it is done.
    const UNSIGNALLED: u32 = 10;
    /// How much longer a file must be quiet whose writes have no events.
    const UNANNOUNCED: u32 = 20;
    /// How much longer than that a file must be quiet that has holes: they are filled in an order that events do not show.
    const HOLES: u32 = 4;
    /// How much longer an empty file must be quiet: most are about to be written to.
    const EMPTY: u32 = 120;
    /// How long a file is waited for that seems unfinished: 5 minutes for 500 ms.
    const UNFINISHED: u32 = 600;
    /// The first back-off and the longest: 1 s and 60 s for 500 ms.
    const BACK_OFF: (u32, u32) = (2, 120);

    /// Handed back so often in a row, a file has been changing for about as long.
    pub(super) const RESTLESS: u32 = 10;

    /// Returns how long a file must be quiet.
    pub(super) fn quiet(&self, signal: Option<Signal>, extent: Extent, size: u64) -> Duration {
        let holes = match extent {
            Extent::Whole => 1,
            Extent::Holes => Self::HOLES,
        };
        self.settle.saturating_mul(match signal {
            _ if size == 0 => Self::EMPTY,
            Some(Signal::Complete) => holes,
            None if self.unannounced => Self::UNANNOUNCED * holes,
            Some(Signal::Written | Signal::Left | Signal::Touched) | None => Self::UNSIGNALLED * holes,
        })
    }

    /// Returns for how long a file is waited for that seems unfinished.
    pub(super) fn unfinished(&self) -> Duration {
        self.settle.saturating_mul(Self::UNFINISHED)
    }

    /// Returns how long a file is left alone that has been handed back so often in a row.
    pub(super) fn back_off(&self, attempt: u32) -> Duration {
        let (first, longest) = Self::BACK_OFF;
        self.settle.saturating_mul(first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(longest))
    }

    /// Returns whether a file that a scan has found, last changed `age` ago, has been quiet for long enough, so that only a close
    /// look is left: the finder may as well look.
    pub(in crate::folder) fn leave_a_close_look(&self, extent: Extent, size: u64, age: Option<Duration>) -> bool {
        let has_been_quiet = age.unwrap_or_default();
        !self.marked && (self.quiet(None, extent, size)..self.unfinished()).contains(&has_been_quiet)
    }
}
