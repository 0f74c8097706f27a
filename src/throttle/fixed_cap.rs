//! A sliding window that keeps a configured cap exactly; a cap set at run time counts the last minute's use.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_mins(1);
/// Calls that end this close together are forgotten together, when the last may be. Bounds the memory of a window.
const GRAIN: Duration = Duration::from_millis(100);

/// What a minute has used of a cap.
///
/// A call counts from the moment it is sent until a minute after it has ended. The service sees it at some moment in between, so
/// no minute of the service's ever sees more than the cap, however long calls are on their way.
#[derive(Debug)]
pub(super) struct Window {
    cap: Option<f64>,
    in_flight: f64,
    /// The end of the last call of a group, at the latest, and what the group used.
    ended: VecDeque<(Instant, f64)>,
    sum: f64,
}

impl Window {
    pub(super) fn new(cap: Option<u64>) -> Self {
        Self { cap: cap.map(units), in_flight: 0.0, ended: VecDeque::new(), sum: 0.0 }
    }

    /// Sets another cap, or none.
    pub(super) fn set_cap(&mut self, cap: Option<u64>) {
        self.cap = cap.map(units);
    }

    /// Returns the even pace of a cap, in units per second: a hundredth below the cap, so that calls on their way, which count longer than
    /// a minute, do not make it uneven.
    pub(super) fn pace(&self) -> Option<f64> {
        Some(self.cap? / (1.01 * MINUTE.as_secs_f64()))
    }

    /// Returns when `units` more may fit; now, if they do.
    pub(super) fn fits_at(&mut self, now: Instant, units: f64) -> Instant {
        self.forget(now);
        let Some(cap) = self.cap else { return now };
        // What is larger than the cap itself goes when it is alone: it would wait for ever.
        let is_alone = self.ended.is_empty() && self.in_flight <= 0.0;
        if self.sum + self.in_flight + units <= cap || is_alone {
            return now;
        }
        // While all of it is in flight, an answer makes room, and only the next look shows it.
        self.ended.front().map_or(now + GRAIN, |(at, _)| *at + MINUTE)
    }

    pub(super) fn sent(&mut self, reserved: f64) {
        self.in_flight += reserved;
    }

    /// Releases the reservation and counts the real usage in its place.
    pub(super) fn ended(&mut self, now: Instant, reserved: f64, used: f64) {
        self.in_flight = (self.in_flight - reserved).max(0.0);
        self.forget(now);
        if used <= 0.0 {
            return;
        }
        self.sum += used;
        match self.ended.back_mut() {
            Some((at, units)) if now <= *at => *units += used,
            _ => self.ended.push_back((now + GRAIN, used)),
        }
    }

    /// Forgets what is more than a minute ago.
    fn forget(&mut self, now: Instant) {
        while let Some((_, gone)) = self.ended.pop_front_if(|(at, _)| *at + MINUTE <= now) {
            self.sum -= gone;
        }
        if self.ended.is_empty() {
            // Nothing is left of what rounding left behind.
            self.sum = 0.0;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 a minute")]
fn units(cap: u64) -> f64 {
    cap as f64
}
