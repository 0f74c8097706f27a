//! Meter of the recently served rate.

use std::time::Duration;

use tokio::time::Instant;

/// Seconds that are remembered: quotas are given per minute.
const SECONDS: usize = 60;

/// What was served, by the second, over the last minute.
#[derive(Debug)]
pub(super) struct Meter {
    /// When the first call was sent.
    begun: Option<Instant>,
    seconds: [f64; SECONDS],
    /// The second that was written last, counted from `begun`.
    last: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { begun: None, seconds: [0.0; SECONDS], last: 0 }
    }

    /// Begins with the first call: what went before, when there was none to serve, is no part of a rate.
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
    }

    pub(super) fn add(&mut self, now: Instant, units: f64) {
        let second = self.turn(now);
        self.seconds[second] += units;
    }

    /// Returns the mean over the last minute, a shorter life counted as a whole one, in units per second.
    #[expect(clippy::cast_precision_loss, reason = "sixty")]
    pub(super) fn over_a_minute(&mut self, now: Instant) -> f64 {
        self.turn(now);
        self.seconds.iter().sum::<f64>() / SECONDS as f64
    }

    /// Returns the rate of the last one to two seconds, in units per second.
    pub(super) fn lately(&mut self, now: Instant) -> f64 {
        let second = self.turn(now);
        let before = self.seconds[(second + SECONDS - 1) % SECONDS];
        let life = self.life(now);
        let part = Duration::from_nanos(u64::from(life.subsec_nanos()));
        // A shorter span, shorter than any round trip, would make a rate of a single answer.
        let span = if self.last == 0 { life } else { part + Duration::from_secs(1) }.max(Duration::from_millis(50));
        (before + self.seconds[second]) / span.as_secs_f64()
    }

    fn life(&self, now: Instant) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| now.duration_since(begun))
    }

    /// Empties the seconds that have gone by and returns the place of the present one.
    fn turn(&mut self, now: Instant) -> usize {
        let second = self.life(now).as_secs();
        let place = |second: u64| usize::try_from(second % SECONDS as u64).expect("below sixty");
        for gone in (self.last + 1..=second).take(SECONDS) {
            self.seconds[place(gone)] = 0.0;
        }
        self.last = self.last.max(second);
        place(self.last)
    }
}
