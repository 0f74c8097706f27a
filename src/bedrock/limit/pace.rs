//! Rate search for an unknown quota: fast when nothing is known, careful near the ceiling.
//!
//! The numbers without another source were chosen with the simulation beside the pipeline's embedding stage: quotas from 20 a minute
//! to 40 a second, refilled evenly or granted again each minute.

use std::time::Duration;

use tokio::time::Instant;

/// What a throttle leaves of the rate (CUBIC's β, RFC 9438; the same in the AWS SDKs). Softer values waste more calls.
const DECREASE: f64 = 0.7;
/// What a throttle leaves of it when the calls sent after two decreases were throttled too.
const DECREASE_AGAIN: f64 = 0.4;
/// How steeply the rate grows, in calls per second per second cubed (the AWS SDKs' scale).
const SCALE: f64 = 0.4;
/// The longest way back to the ceiling that this scale may ask for, in seconds: hundreds of calls a second would take long.
const LONGEST_BY_SCALE: f64 = 2.5;
/// Calls from a decrease back to a ceiling of one a second, at least: a throttle must be paid for by enough calls that succeed, and
/// more so the slower they are. The AWS SDKs' scale alone would have 60 a minute back in a second.
const CALLS_TO_CEILING: f64 = 24.0;
/// How fast that falls with the ceiling, so that quotas from 5 a second on are found within half a minute after they are raised.
const CALLS_EXPONENT: f64 = 1.2;
/// The longest way back to the ceiling of all, in seconds.
const LONGEST_TO_CEILING: f64 = 120.0;
/// While nothing is served, the rate goes no lower than this part of what the minute before had served. Calls at this rate are wasted
/// for as long as a minute's quota is used up…
const LEAST_PART: f64 = 0.01;
/// … or than this, in calls per second: three of them in a minute that is used up.
const LEAST: f64 = 0.05;
/// Where the quota is granted again each minute, the rate grows no higher than this many times the minute's mean. The less, the later in
/// the minute all of it is used, and the fewer calls are refused then; some more is needed to use all of it at all.
const MOST_TIMES: f64 = 1.8;
/// When a minute has served this many times what the ceiling allows, its quota has been raised…
const RAISED: f64 = 1.25;
/// … and then the rate may grow so far, to reach a quota eight times as high within two minutes.
const MOST_TIMES_RAISED: f64 = 6.0;
/// The least rate from which to begin, in calls per second, where little or nothing was served before the first throttle. A few calls
/// more find a lower one; from a lower one, a higher would be found only after minutes.
pub(super) const LEAST_START: f64 = 10.0;
/// Where nothing was served for so long, the quota was no minute's that was used up: there was none, and what was known of it is over.
const FORGOTTEN: Duration = Duration::from_mins(2);
/// When the ceiling has sunk by this factor, and still no more than `BORNE` of all calls are throttled, throttles are not about it: a
/// quota that had fallen so far would have throttled most of the calls on the way down.
const SUNK: f64 = 10.0;
/// From so many calls a second on, what was served recently is a rate and no accident.
const KNOWN_FROM: f64 = 10.0;
/// How far above it a ceiling may lie.
const MOST_OF_SERVED: f64 = 4.0;
/// The part of all calls up to which throttles that come at any rate are borne.
const BORNE: f64 = 0.3;
/// Below this part of all calls they have ceased.
const CEASED: f64 = 0.03;
/// Calls over which those parts are taken.
const RECENT: f64 = 64.0;

/// A rate in units per second. A unit is a request or a token.
#[derive(Debug)]
pub(super) struct Pace {
    /// The rate at which throttling began, as far as known.
    ceiling: f64,
    /// Seconds of use since the last decrease. Time in which nobody uses the rate teaches nothing about it.
    used: f64,
    /// Seconds of use from a decrease back to the ceiling.
    to_ceiling: f64,
    /// Above which the rate does not grow for now.
    most: f64,
    unserved: Option<Unserved>,
    /// Whether the quota seems to be granted again each minute: it was seen to be used up, and to be there again all at once.
    is_by_the_minute: bool,
    /// Units served since it was there again.
    since_anew: f64,
    /// The ceiling from which it has been sinking.
    before: f64,
    /// The part of recent calls that was throttled.
    throttled_share: f64,
    /// Whether throttles come at any rate, so that going slower does not help.
    is_blind: bool,
    /// Counts decreases: a throttled call that was sent before the last one says nothing new.
    event: u64,
}

/// What has been served, in units per second.
#[derive(Debug)]
pub(super) struct Served {
    /// In the last one to two seconds.
    pub(super) lately: f64,
    /// In the last minute.
    pub(super) over_a_minute: f64,
    /// What a call uses on average, in units.
    pub(super) unit: f64,
}

/// The time from a decrease until a call is served that was sent after it.
#[derive(Debug)]
struct Unserved {
    since: Instant,
    decreases: u32,
    rate: f64,
    least: f64,
    /// What the minute before had served, per second.
    minute_before: f64,
}

impl Pace {
    /// Begins at a ceiling that was found before. `unit` is what a call uses on average.
    pub(super) fn at(ceiling: f64, unit: f64) -> Self {
        let to_ceiling = to_ceiling(ceiling / unit);
        Self {
            ceiling,
            used: to_ceiling,
            to_ceiling,
            most: f64::INFINITY,
            unserved: None,
            is_by_the_minute: false,
            since_anew: 0.0,
            before: ceiling,
            throttled_share: 0.0,
            is_blind: false,
            event: 0,
        }
    }

    pub(super) fn ceiling(&self) -> f64 {
        self.ceiling
    }

    /// Returns how often the rate was lowered.
    pub(super) fn event(&self) -> u64 {
        self.event
    }

    pub(super) fn rate(&self) -> f64 {
        if let Some(unserved) = &self.unserved {
            return unserved.rate.max(unserved.least).min(self.ceiling);
        }
        let from_ceiling = (self.used - self.to_ceiling) / self.to_ceiling;
        (self.ceiling * (1.0 + (1.0 - DECREASE) * from_ceiling.powi(3))).min(self.most)
    }

    /// Records that the rate was used for a while.
    pub(super) fn used(&mut self, time: Duration, over_a_minute: f64) {
        self.used += time.as_secs_f64();
        let times = if self.since_anew > RAISED * 60.0 * self.ceiling { MOST_TIMES_RAISED } else { MOST_TIMES };
        self.most = if self.is_by_the_minute { (times * over_a_minute).max(self.ceiling) } else { f64::INFINITY };
    }

    /// Records how a call ended, whenever it was sent.
    pub(super) fn ended(&mut self, throttled: bool) {
        self.throttled_share += (f64::from(u8::from(throttled)) - self.throttled_share) / RECENT;
        self.is_blind &= self.throttled_share > CEASED;
        let is_fallen = self.throttled_share >= BORNE;
        self.before = if is_fallen { self.ceiling } else { self.before.max(self.ceiling) };
    }

    /// Records a throttle of a call that was sent after the last decrease. Returns whether the rate was lowered.
    pub(super) fn throttled(&mut self, now: Instant, served: &Served) -> bool {
        if self.is_about_the_rate(served.unit) {
            self.lower(now, served);
            return true;
        }
        false
    }

    /// Some throttles have nothing to do with the rate: a model that is short of room throttles one call in ten of everybody. Going
    /// slower for those would end in standing still.
    fn is_about_the_rate(&mut self, unit: f64) -> bool {
        if self.throttled_share >= BORNE {
            self.is_blind = false;
        } else if !self.is_blind && self.unserved.is_none() && SUNK * self.rate() < self.before {
            self.is_blind = true;
            self.ceiling = self.before;
            self.to_ceiling = to_ceiling(self.ceiling / unit);
            self.used = self.to_ceiling;
        }
        !self.is_blind
    }

    fn lower(&mut self, now: Instant, served: &Served) {
        self.event += 1;
        let Some(unserved) = &mut self.unserved else {
            // A rate that was never used says nothing.
            let is_known = served.lately >= KNOWN_FROM * served.unit;
            let most = if is_known { MOST_OF_SERVED * served.lately } else { f64::INFINITY };
            self.ceiling = self.rate().min(most);
            let least = (LEAST_PART * served.over_a_minute).max(LEAST * served.unit);
            let rate = DECREASE * self.ceiling;
            self.unserved = Some(Unserved { since: now, decreases: 1, rate, least, minute_before: served.over_a_minute });
            return;
        };
        unserved.decreases += 1;
        unserved.rate = match unserved.decreases {
            2 if self.is_by_the_minute => DECREASE * (DECREASE * self.ceiling).min(unserved.minute_before),
            2 => DECREASE * unserved.rate,
            _ => DECREASE_AGAIN * unserved.rate,
        };
    }

    /// Records what a call was served, whenever it was sent.
    pub(super) fn add(&mut self, units: f64) {
        self.since_anew += units;
    }

    /// Records that a call was served that was sent before anything was paced.
    ///
    /// The first throttle may arrive before any of the answers to calls that were sent with it, and would then have the rate begin
    /// at next to nothing: what is served until the first paced call has its answer tells better where to begin.
    pub(super) fn served_unpaced(&mut self, served: &Served) {
        if self.event == 1
            && let Some(unserved) = &mut self.unserved
            && served.lately > self.ceiling
        {
            self.ceiling = served.lately;
            unserved.rate = DECREASE * self.ceiling;
        }
    }

    /// Records that a call was served that was sent after the last decrease.
    pub(super) fn served(&mut self, now: Instant, served: &Served) {
        let lowered = self.rate() / DECREASE;
        let Some(unserved) = self.unserved.take() else { return };
        if now.duration_since(unserved.since) >= FORGOTTEN {
            *self = Self { event: self.event, ..Self::at(LEAST_START * served.unit, served.unit) };
            return;
        }
        // A lower quota would have served some of the calls meanwhile. One that served none was used up and is there again, and then
        // what it served in the minute before tells what it is.
        let patience = (4.0 * served.unit / self.ceiling).max(2.5);
        self.is_by_the_minute = now.duration_since(unserved.since).as_secs_f64() > patience;
        if self.is_by_the_minute {
            self.since_anew = 0.0;
        }
        // Soon served again, what was served a moment ago is not too much: a burst had only to be waited for. A few calls a second are
        // too few to tell.
        let is_known = served.lately >= KNOWN_FROM * served.unit;
        let least = match self.is_by_the_minute {
            true => unserved.minute_before,
            false if is_known => served.lately,
            false => 0.0,
        };
        self.ceiling = self.ceiling.min(lowered.max(least));
        self.to_ceiling = to_ceiling(self.ceiling / served.unit);
        self.used = 0.0;
    }
}

/// Returns the seconds from a decrease back to a ceiling, which is in calls per second.
fn to_ceiling(ceiling: f64) -> f64 {
    let by_calls = CALLS_TO_CEILING / ceiling.powf(CALLS_EXPONENT);
    ((1.0 - DECREASE) * ceiling / SCALE).cbrt().min(LONGEST_BY_SCALE).max(by_calls.min(LONGEST_TO_CEILING))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Served = Served { lately: 0.0, over_a_minute: 20.0, unit: 1.0 };

    #[tokio::test(start_paused = true)]
    async fn a_throttle_takes_three_tenths_and_the_rate_comes_back_to_the_ceiling_and_goes_beyond() {
        let now = Instant::now();
        let mut pace = Pace::at(20.0, 1.0);
        pace.throttled(now, &SERVED);
        assert!((pace.rate() - 14.0).abs() < 1e-9);
        pace.served(now, &SERVED);
        let mut last = pace.rate();
        for _ in 0..100 {
            pace.used(Duration::from_millis(100), 20.0);
            assert!(pace.rate() >= last);
            last = pace.rate();
        }
        assert!(last > 40.0, "{last} after ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_that_come_at_any_rate_do_not_bring_it_down() {
        let now = Instant::now();
        let mut pace = Pace::at(20.0, 1.0);
        for call in 1..1000_u32 {
            pace.used(Duration::from_secs_f64(1.0 / pace.rate()), 20.0);
            pace.ended(call.is_multiple_of(10));
            if call.is_multiple_of(10) {
                pace.throttled(now, &SERVED);
            } else {
                pace.served(now, &SERVED);
            }
        }
        assert!(pace.rate() > 20.0, "{}", pace.rate());
        (0..50).for_each(|_| pace.ended(true));
        assert!(pace.throttled(now, &SERVED), "so many cannot be borne");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_that_is_used_up_and_refilled_is_taken_up_at_its_mean() {
        let now = Instant::now();
        let mut pace = Pace::at(200.0, 1.0);
        for _ in 0..20 {
            pace.throttled(now, &SERVED);
        }
        assert!((pace.rate() - 0.2).abs() < 1e-9, "{} of 20 a second", pace.rate());
        pace.served(now + Duration::from_secs(50), &SERVED);
        assert!((pace.ceiling() - 20.0).abs() < 1e-9 && (pace.rate() - 14.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_minutes_quota_has_been_raised_the_rate_may_grow_faster() {
        let now = Instant::now();
        let mut pace = Pace::at(20.0, 1.0);
        pace.throttled(now, &SERVED);
        pace.served(now + Duration::from_secs(50), &SERVED);
        let grown = |pace: &mut Pace| {
            (0..100).for_each(|_| pace.used(Duration::from_secs(1), 20.0));
            pace.rate()
        };
        assert!((grown(&mut pace) - 36.0).abs() < 1e-9);
        pace.add(1_501.0);
        assert!((grown(&mut pace) - 120.0).abs() < 1e-9, "1,500 in a minute of 1,200 at most");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_known_of_a_quota_is_over_when_there_was_none_for_minutes() {
        let now = Instant::now();
        let mut pace = Pace::at(0.05, 1.0);
        pace.throttled(now, &SERVED);
        pace.served(now + FORGOTTEN, &SERVED);
        assert!((pace.rate() - LEAST_START).abs() < 1e-9, "{}", pace.rate());
    }
}
