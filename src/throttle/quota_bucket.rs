//! A token bucket for one quota, of requests or of tokens.

use std::time::Duration;

use tokio::time::Instant;

use super::fixed_cap::Window;
use super::rate_search::{LEAST_START, Pace, Reached, Served};
use super::throughput::Meter;

/// Timers are a millisecond coarse: what a late one misses may be made up for, or fast rates would not be reached.
const SLACK: f64 = 0.005;

/// One quota. Unpaced until its first throttle, unless a cap is configured; from then on paced evenly, one call at a time.
#[derive(Debug)]
pub(super) struct Bucket {
    pace: Option<Pace>,
    window: Window,
    /// Units that may be sent now. Never more than one call's worth: what was not used is no reason for a burst.
    level: f64,
    /// When `level` was brought up to date.
    at: Instant,
    sent: Instant,
    served: Meter,
    /// What a call uses, on average.
    unit: f64,
}

/// What a call holds of a bucket while it is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    units: f64,
    reserved: f64,
    event: Option<u64>,
}

impl Bucket {
    pub(super) fn new(cap: Option<u64>, ceiling: Option<f64>, unit: f64, now: Instant) -> Self {
        Self {
            pace: ceiling.map(|ceiling| Pace::learned(ceiling, unit)),
            window: Window::new(cap),
            level: 0.0,
            at: now,
            sent: now,
            served: Meter::new(),
            unit,
        }
    }

    /// Sets another cap, or none; what the last minute has used counts under it.
    pub(super) fn set_cap(&mut self, cap: Option<u64>) {
        self.window.set_cap(cap);
    }

    /// Returns the rate that is kept now, in units per second; `None` while nothing is paced.
    pub(super) fn rate(&self) -> Option<f64> {
        let found = self.pace.as_ref().map(Pace::rate);
        let configured = self.window.pace();
        match (found, configured) {
            (Some(found), Some(configured)) => Some(found.min(configured)),
            (found, configured) => found.or(configured),
        }
    }

    /// Returns the rate at which throttling begins, as far as it has been found, in units per second.
    pub(super) fn ceiling(&self) -> Option<f64> {
        self.pace.as_ref().and_then(Pace::ceiling)
    }

    /// Returns the ceiling that was reached last, if one was.
    pub(super) fn reached(&self) -> Option<Reached> {
        self.pace.as_ref().and_then(Pace::reached)
    }

    /// Returns when a call of `units` may be sent; now, if it may.
    pub(super) fn free_at(&mut self, now: Instant, units: f64, reserved: f64) -> Instant {
        let Some(rate) = self.rate() else { return now };
        let gained = now.duration_since(self.at).as_secs_f64() * rate;
        self.level = (self.level + gained).min(units + SLACK * rate);
        self.at = now;
        let paced = if self.level >= units { now } else { now + Duration::from_secs_f64((units - self.level) / rate) };
        let fits = self.window.fits_at(now, reserved);
        paced.max(fits)
    }

    /// Takes a call's units. In flight it counts `reserved` against a cap.
    pub(super) fn take(&mut self, now: Instant, units: f64, reserved: f64) -> Share {
        self.served.begin(now);
        if let Some(rate) = self.rate() {
            self.level -= units;
            let since = now.duration_since(self.sent);
            // A rate that is used by less than half is not tested, and must not grow.
            if let Some(pace) = &mut self.pace
                && since.as_secs_f64() <= 2.0 * units / rate + SLACK
            {
                pace.used(since, self.served.over_a_minute(now));
            }
        }
        self.window.sent(reserved);
        self.sent = now;
        self.unit += (units - self.unit) / 32.0;
        Share { units, reserved, event: self.pace.as_ref().map(Pace::event) }
    }

    /// Records that a call was served and used `units`.
    pub(super) fn served(&mut self, now: Instant, share: Share, units: f64) {
        self.ended(now, share, units);
        self.served.add(now, units);
        let served = self.seen(now);
        if let Some(pace) = &mut self.pace {
            pace.ended(false);
            pace.add(units);
            match share.event {
                None => pace.served_unpaced(&served),
                Some(event) if event == pace.event() => pace.served(now, &served, units),
                Some(_) => {}
            }
        }
    }

    /// Records that a call was throttled for this quota. Returns whether the rate was lowered.
    pub(super) fn throttled(&mut self, now: Instant, share: Share) -> bool {
        let served = self.seen(now);
        if let Some(pace) = &mut self.pace {
            pace.ended(true);
        }
        let pace = match &mut self.pace {
            None => {
                self.at = now;
                let is_known = served.lately >= LEAST_START * self.unit;
                self.pace.insert(if is_known { Pace::at(served.lately, self.unit) } else { Pace::guessed(self.unit) })
            }
            // All calls that were sent before the last decrease speak of the rate before it.
            Some(pace) if share.event != Some(pace.event()) => return false,
            Some(pace) => pace,
        };
        pace.throttled(now, &served)
    }

    fn seen(&mut self, now: Instant) -> Served {
        Served { lately: self.served.lately(now), over_a_minute: self.served.over_a_minute(now), unit: self.unit }
    }

    /// Records a call's end, and what it really used.
    pub(super) fn ended(&mut self, now: Instant, share: Share, used: f64) {
        if self.rate().is_some() {
            self.level += share.units - used;
        }
        self.refused(now, share, used);
    }

    /// Records a call whose end is unknown. Against a cap it counts as it did in flight, since it may have used more than was
    /// estimated.
    pub(super) fn lost(&mut self, now: Instant, share: Share, estimated: f64) {
        if self.rate().is_some() {
            self.level += share.units - estimated;
        }
        self.refused(now, share, share.reserved);
    }

    /// Records a refused call's end. It used up its turn, whatever it counts against a cap.
    pub(super) fn refused(&mut self, now: Instant, share: Share, used: f64) {
        self.window.ended(now, share.reserved, used);
    }

    /// Returns whether a usual call would have to wait.
    pub(super) fn withholds(&mut self, now: Instant) -> bool {
        self.free_at(now, self.unit, self.unit) > now
    }

    /// Puts back what was taken for a call that was never sent.
    pub(super) fn give_back(&mut self, now: Instant, share: Share) {
        self.ended(now, share, 0.0);
    }
}
