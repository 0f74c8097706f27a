//! Rate search for an unknown quota: fast when nothing is known, careful near the ceiling.
//!
//! The numbers without another source were chosen with the simulation beside the pipeline's embedding stage: quotas from 20 a minute
//! to 40 a second, refilled evenly or granted again each minute, calls throttled by chance, and times in which every call is throttled.
//! The tests judge them on seeds that they were not chosen with.
//!
//! ```text
//!             throttle                      served soon
//! unpaced ───────────────▶ lowered ◀──────────────────────▶ cubic: back to the ceiling, and beyond
//!                             │            throttle           ▲
//!       none served for long  ▼                               │ throttle
//!                           probes ──── a call is served ──▶ climb: no ceiling is known
//! ```

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
/// While nothing is served, and no minute's quota is known to be used up, calls go on being tried at this rate, in calls per second: the
/// end of the throttling must be noticed within a second…
const PROBES: f64 = 1.0;
/// … and sooner in its first seconds: this many calls per second, divided by the seconds that it lasts…
const PROBES_SOON: f64 = 4.0;
/// … and by this where it has only just ended before: so begins the second minute of a quota that is granted again each minute.
const PROBES_SOON_AGAIN: f64 = 1.0;
/// A rate of probes is never more than this part of the ceiling.
const PROBES_PART: f64 = 0.1;
/// The most probes per second before the first one was answered.
const PROBES_MOST: f64 = 8.0;
/// Where the minute before has served a few calls only, it may have been all of a minute's quota, so that each probe is a large part of
/// it. Then there are as many probes as calls were served, but so many per second at least…
const PROBES_LEAST: f64 = 0.55;
/// … where so many calls per second were served.
const FEW: f64 = 10.0 / 60.0;
/// What is left of that rate where throttling has only just ended before.
const AGAIN: f64 = 0.15;
/// Above this part of the last few calls throttled, none is served any more: about 25 in a row. Then probes are enough.
const NONE_SERVED: f64 = 0.8;
/// Where no call was served for so long, throttling was not about the rate: any quota that lets calls through at a rate that was tried
/// would have let some through. In seconds, or…
const PATIENCE: f64 = 0.75;
/// … in calls at the ceiling…
const PATIENCE_CALLS: f64 = 4.0;
/// … and after so many decreases: a few calls prove nothing.
const PATIENCE_DECREASES: u32 = 3;
/// While the rate climbs from nothing, each call that is served raises it by so much, in calls per second: fourfold within a third of a
/// second, or with each answer where those take longer.
const CLIMB: f64 = 4.0;
/// A climb that has ended in a throttle before so many calls were served was futile: the next takes twice the patience.
const FUTILE: f64 = 24.0;
/// A process that knows a ceiling from before begins as if so many climbs had been futile.
const FUTILE_LEARNED: i32 = 2;
/// Where the throttling ends so long after it had ended before, it is a minute's quota that is used up and granted again. In seconds; the
/// end is noticed late, by as much as two calls are apart.
const MINUTE: std::ops::RangeInclusive<f64> = 45.0..=85.0;
/// When the ceiling has sunk by this factor, and still no more than `BORNE` of all calls are throttled, throttles are not about it: a
/// quota that had fallen so far would have throttled most of the calls on the way down.
const SUNK: f64 = 10.0;
/// From so many calls a second on, what was served recently is a rate and no accident.
const KNOWN_FROM: f64 = 10.0;
/// How far above it a ceiling may lie: what was served is counted over a second or two, and the rate grows meanwhile.
const MOST_OF_SERVED: f64 = 1.1;
/// How far, while the rate climbs from nothing or was not paced.
const MOST_OF_SERVED_CLIMBING: f64 = 4.0;
/// Below this part of the ceiling a throttle is not about the rate, as long as few calls are throttled…
const NEAR: f64 = 0.95;
/// … which is so few where the ceiling was not found by coming back to it, but by a burst or a climb, and may be too high.
const BORNE_UNCONFIRMED: f64 = 0.15;
/// From so many calls on that were served since a decrease, a throttle is of a call that was sent at the lower rate.
const SETTLED: f64 = 10.0;
/// A ceiling counts as reached where this part of it was served when the throttling began.
const REACHED: f64 = 0.5;
/// The part of all calls up to which throttles that come at any rate are borne.
const BORNE: f64 = 0.3;
/// Below this part of all calls they have ceased.
const CEASED: f64 = 0.03;
/// Calls over which those parts are taken…
const RECENT: f64 = 64.0;
/// … and over which it is decided whether throttles below the ceiling are about the rate.
const LAST: f64 = 16.0;

/// A rate in units per second. A unit is a request or a token.
#[derive(Debug)]
pub(super) struct Pace {
    /// The rate at which throttling began, as far as known.
    ceiling: f64,
    /// How it was found.
    origin: Origin,
    /// Seconds of use since the last decrease. Time in which nobody uses the rate teaches nothing about it.
    used: f64,
    /// Seconds of use from a decrease back to the ceiling.
    to_ceiling: f64,
    /// Above which the rate does not grow for now.
    most: f64,
    /// Since a decrease, until a call is served that was sent after it.
    unserved: Option<Unserved>,
    /// The rate while it climbs from nothing and no ceiling is known.
    climb: Option<f64>,
    /// Climbs in a row that ended before they had served much.
    futile: i32,
    /// Whether a throttle came far below the ceiling since the last decrease. Then those at the ceiling are not about the rate either.
    is_any_rate: bool,
    /// Units that were served since the last decrease.
    since_decrease: f64,
    /// Whether the quota is granted again each minute.
    minute: Minute,
    /// When throttling that was not about the rate last ended.
    anew: Option<Instant>,
    /// Units served since then.
    since_anew: f64,
    /// The ceiling that was reached last.
    reached: Option<Reached>,
    /// The ceiling from which it has been sinking.
    before: f64,
    /// The part of recent calls that was throttled.
    throttled_share: f64,
    /// The part of the last few.
    last_share: f64,
    /// Whether throttles come at any rate, so that going slower does not help.
    is_blind: bool,
    /// Counts decreases: a throttled call that was sent before the last one says nothing new.
    event: u64,
}

/// How a ceiling was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// Nothing had been served when it was set.
    Guess,
    /// By a burst or a climb, so it may be too high.
    Burst,
    /// By coming back to it.
    Confirmed,
}

/// What is known of a quota that is given anew each minute: it is used up, and is there again all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Minute {
    Unknown,
    /// It was there before, and was not used up lately.
    Seen,
    /// It was used up lately.
    UsedUp,
}

/// A ceiling that was found by being reached: about that rate was really served when the throttling began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    /// In units per second.
    pub(super) rate: f64,
    pub(super) at: Instant,
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

impl Served {
    /// Returns whether what was served lately is a rate: a few calls a second are too few to tell.
    fn is_known(&self) -> bool {
        self.lately >= KNOWN_FROM * self.unit
    }
}

/// The time from a decrease until a call is served that was sent after it.
#[derive(Debug)]
struct Unserved {
    since: Instant,
    decreases: u32,
    /// What the decreases have left.
    rate: f64,
    /// Whether it only matters to notice when calls are served again.
    is_probing: bool,
    /// The rate of probes…
    least: f64,
    /// … and while the throttling is young.
    soon: f64,
    /// What the minute before had served, per second.
    minute_before: f64,
}

impl Pace {
    /// Begins at what was served when the first throttle came. `unit` is what a call uses on average.
    pub(super) fn at(ceiling: f64, unit: f64) -> Self {
        let to_ceiling = to_ceiling(ceiling / unit);
        Self {
            ceiling,
            origin: Origin::Burst,
            used: to_ceiling,
            to_ceiling,
            most: f64::INFINITY,
            unserved: None,
            climb: None,
            futile: 0,
            is_any_rate: false,
            since_decrease: 0.0,
            minute: Minute::Unknown,
            anew: None,
            since_anew: 0.0,
            reached: None,
            before: ceiling,
            throttled_share: 0.0,
            last_share: 0.0,
            is_blind: false,
            event: 0,
        }
    }

    /// Begins where nothing was served before the first throttle.
    pub(super) fn guessed(unit: f64) -> Self {
        Self { origin: Origin::Guess, before: 0.0, ..Self::at(LEAST_START * unit, unit) }
    }

    /// Begins at a ceiling that was found by an earlier process. However little that was, a start is never slower than others: a few
    /// calls find a lower rate again, and a higher one would be found only after minutes.
    pub(super) fn learned(ceiling: f64, unit: f64) -> Self {
        Self { futile: FUTILE_LEARNED, before: 0.0, ..Self::at(ceiling.max(LEAST_START * unit), unit) }
    }

    /// Returns where throttling begins, unless nothing is known of it.
    pub(super) fn ceiling(&self) -> Option<f64> {
        self.climb.is_none().then(|| self.ceiling.max(self.rate()))
    }

    /// Returns the ceiling that was reached last, if one was.
    pub(super) fn reached(&self) -> Option<Reached> {
        self.reached
    }

    fn is_by_the_minute(&self) -> bool {
        self.minute == Minute::UsedUp
    }

    /// Returns how often the rate was lowered.
    pub(super) fn event(&self) -> u64 {
        self.event
    }

    pub(super) fn rate(&self) -> f64 {
        if let Some(unserved) = &self.unserved {
            let rate = if unserved.is_probing { 0.0 } else { unserved.rate };
            return rate.max(unserved.least).max(unserved.soon).min(self.ceiling);
        }
        if let Some(rate) = self.climb {
            return rate;
        }
        let from_ceiling = (self.used - self.to_ceiling) / self.to_ceiling;
        (self.ceiling * (1.0 + (1.0 - DECREASE) * from_ceiling.powi(3))).min(self.most)
    }

    /// Records that the rate was used for a while.
    pub(super) fn used(&mut self, time: Duration, over_a_minute: f64) {
        self.used += time.as_secs_f64();
        let times = if self.since_anew > RAISED * 60.0 * self.ceiling { MOST_TIMES_RAISED } else { MOST_TIMES };
        self.most = if self.is_by_the_minute() { (times * over_a_minute).max(self.ceiling) } else { f64::INFINITY };
    }

    /// Records how a call ended, whenever it was sent.
    pub(super) fn ended(&mut self, throttled: bool) {
        let throttled = f64::from(u8::from(throttled));
        self.throttled_share += (throttled - self.throttled_share) / RECENT;
        self.last_share += (throttled - self.last_share) / LAST;
        self.is_blind &= self.throttled_share > CEASED;
        if let Some(unserved) = &mut self.unserved {
            unserved.is_probing |= self.last_share > NONE_SERVED;
        }
        // A ceiling that was never reached is none to sink from.
        if self.climb.is_none() && (self.origin == Origin::Confirmed || self.reached.is_some()) {
            let is_fallen = self.throttled_share >= BORNE;
            self.before = if is_fallen { self.ceiling } else { self.before.max(self.ceiling) };
        }
    }

    /// Records a throttle of a call that was sent after the last decrease. Returns whether the rate was lowered.
    pub(super) fn throttled(&mut self, now: Instant, served: &Served) -> bool {
        let is_about_the_rate = self.is_about_the_rate(served);
        if is_about_the_rate {
            self.lower(now, served);
        }
        is_about_the_rate
    }

    /// Some throttles have nothing to do with the rate: a model that is short of room throttles one call in ten of everybody. Going
    /// slower for those would end in standing still.
    fn is_about_the_rate(&mut self, served: &Served) -> bool {
        if self.unserved.is_some() || self.climb.is_some() {
            self.is_blind &= self.throttled_share < BORNE;
            return !self.is_blind;
        }
        if self.throttled_share >= BORNE {
            self.is_blind = false;
        } else if !self.is_blind && SUNK * self.rate() < self.before {
            self.is_blind = true;
            self.ceiling = self.before;
            self.to_ceiling = to_ceiling(self.ceiling / served.unit);
            self.used = self.to_ceiling;
        }
        // A rate that was served a moment ago is not too much, unless the quota has fallen, and then most of the calls are throttled.
        let bearable = if self.origin == Origin::Confirmed { BORNE } else { BORNE_UNCONFIRMED };
        let are_few = served.is_known() && self.last_share < BORNE && self.throttled_share < bearable;
        let is_far = self.rate() < NEAR * self.ceiling;
        self.is_any_rate |= are_few && is_far && self.since_decrease >= SETTLED * served.unit;
        !self.is_blind && !(are_few && (is_far || self.is_any_rate))
    }

    fn lower(&mut self, now: Instant, served: &Served) {
        self.event += 1;
        let is_again = self.anew.is_some_and(|anew| now.duration_since(anew).as_secs_f64() < *MINUTE.end());
        let (rate, is_by_the_minute) = (self.rate(), self.is_by_the_minute());
        let Some(unserved) = &mut self.unserved else { return self.lower_first(now, served, rate, is_again) };
        unserved.decreases += 1;
        unserved.rate = match unserved.decreases {
            2 if is_by_the_minute => DECREASE * (DECREASE * self.ceiling).min(unserved.minute_before),
            2 => DECREASE * unserved.rate,
            _ => DECREASE_AGAIN * unserved.rate,
        };
        if is_by_the_minute {
            // Two throttles in a row, and the minute's quota is used up.
            (unserved.is_probing, unserved.soon) = (true, 0.0);
        } else {
            let probes =
                if is_again { PROBES_SOON_AGAIN } else { PROBES_SOON } / now.duration_since(unserved.since).as_secs_f64();
            unserved.soon = (probes * served.unit).min(PROBES_PART * self.ceiling);
        }
    }

    /// Lowers the rate at which calls were served until now.
    fn lower_first(&mut self, now: Instant, served: &Served, rate: f64, is_again: bool) {
        let is_climb = self.climb.take().is_some();
        self.futile = match self.since_decrease < FUTILE * served.unit {
            true if is_climb => self.futile + 1,
            true => self.futile,
            false => 0,
        };
        self.since_decrease = 0.0;
        self.is_any_rate = false;
        self.origin = if is_climb || self.event == 1 { self.origin.min(Origin::Burst) } else { Origin::Confirmed };
        // A rate that was never used says nothing.
        let times = if self.origin == Origin::Confirmed { MOST_OF_SERVED } else { MOST_OF_SERVED_CLIMBING };
        self.ceiling = if served.is_known() { rate.min(times * served.lately) } else { rate };
        let really = if served.is_known() { served.lately } else { served.over_a_minute };
        if (REACHED * self.ceiling..=self.ceiling / REACHED).contains(&really) {
            self.reached = Some(Reached { rate: self.ceiling, at: now });
        }
        let least = (LEAST_PART * served.over_a_minute).max(LEAST * served.unit);
        let are_some = served.over_a_minute >= FEW * served.unit;
        let minute = if are_some { served.over_a_minute.max(PROBES_LEAST * served.unit) } else { f64::INFINITY };
        let most = PROBES_PART * self.ceiling;
        let probes = (PROBES * served.unit).min(most).min(minute) * if is_again { AGAIN } else { 1.0 };
        self.unserved = Some(Unserved {
            since: now,
            decreases: 1,
            rate: DECREASE * self.ceiling,
            is_probing: false,
            least: if self.is_by_the_minute() { least } else { probes.max(least) },
            soon: (PROBES_MOST * served.unit).min(most),
            minute_before: served.over_a_minute,
        });
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
            self.origin = Origin::Burst;
            self.ceiling = served.lately;
            unserved.rate = DECREASE * self.ceiling;
            unserved.is_probing = false;
        }
    }

    /// Records that a call was served that was sent after the last decrease, and used `units`.
    pub(super) fn served(&mut self, now: Instant, served: &Served, units: f64) {
        self.since_decrease += units;
        if let Some(rate) = &mut self.climb {
            *rate += CLIMB * served.unit;
            return;
        }
        let Some(unserved) = self.unserved.take() else { return };
        let rate = unserved.rate.max(unserved.least).max(unserved.soon).min(self.ceiling);
        let took = now.duration_since(unserved.since).as_secs_f64();
        let patience = (PATIENCE_CALLS * served.unit / self.ceiling).max(PATIENCE) * 2.0_f64.powi(self.futile);
        // A lower quota would have served some of the calls meanwhile.
        let is_over = (took > patience && (unserved.decreases >= PATIENCE_DECREASES || self.minute != Minute::Unknown))
            || self.origin == Origin::Guess;
        self.origin = self.origin.max(Origin::Burst);
        if is_over {
            let is_a_minute = self.anew.is_some_and(|anew| MINUTE.contains(&now.duration_since(anew).as_secs_f64()));
            let was_a_minute = self.minute != Minute::Unknown && took <= *MINUTE.end();
            self.minute = if is_a_minute || was_a_minute { Minute::UsedUp } else { Minute::Unknown };
            self.anew = Some(now);
            self.since_anew = 0.0;
            if !self.is_by_the_minute() {
                self.climb = Some(rate.max(CLIMB * served.unit));
                // Calls that were sent before it say nothing of it.
                self.event += 1;
                return;
            }
        } else {
            self.minute = self.minute.min(Minute::Seen);
        }
        // A minute's quota that was used up and is there again: what it served in the minute before tells what it is. Otherwise, soon
        // served again, what was served a moment ago is not too much: a burst had only to be waited for.
        let least = match self.is_by_the_minute() {
            true => unserved.minute_before,
            false if served.is_known() => served.lately,
            false => 0.0,
        };
        self.ceiling = self.ceiling.min((rate / DECREASE).max(least));
        if self.is_by_the_minute() {
            self.reached = Some(Reached { rate: self.ceiling, at: now });
        }
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
        pace.served(now, &SERVED, 1.0);
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
                pace.served(now, &SERVED, 1.0);
            }
        }
        assert!(pace.rate() > 20.0, "{}", pace.rate());
        (0..50).for_each(|_| pace.ended(true));
        assert!(pace.throttled(now, &SERVED), "so many cannot be borne");
    }

    /// Throttles calls from a moment on, serves one at another, and says at what rate calls are tried just before that.
    fn use_up(pace: &mut Pace, from: Instant, to: Instant) -> f64 {
        (0..20_u32).for_each(|call| {
            pace.ended(true);
            pace.throttled(from + (to - from) * call / 20, &SERVED);
        });
        let probes = pace.rate();
        pace.served(to, &SERVED, 1.0);
        probes
    }

    /// Uses a minute's quota of 1,200 up twice.
    fn by_the_minute(now: Instant) -> Pace {
        let mut pace = Pace::at(200.0, 1.0);
        let second = Duration::from_secs(1);
        use_up(&mut pace, now, now + 50 * second);
        assert!(pace.ceiling().is_none(), "once tells nothing");
        (0..1_200).for_each(|_| pace.served(now + 50 * second, &SERVED, 1.0));
        use_up(&mut pace, now + 60 * second, now + 110 * second);
        pace
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_that_is_used_up_and_refilled_is_taken_up_at_its_mean() {
        let now = Instant::now();
        let mut pace = by_the_minute(now);
        assert!((pace.ceiling().unwrap() - 20.0).abs() < 1e-9 && (pace.rate() - 14.0).abs() < 1e-9, "{pace:?}");
        assert!((pace.reached().unwrap().rate - 20.0).abs() < 1e-9);
        let probes = use_up(&mut pace, now + Duration::from_secs(150), now + Duration::from_secs(170));
        assert!((probes - 0.2).abs() < 1e-9, "{probes} of 20 a second");
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_minutes_quota_has_been_raised_the_rate_may_grow_faster() {
        let mut pace = by_the_minute(Instant::now());
        let grown = |pace: &mut Pace| {
            (0..100).for_each(|_| pace.used(Duration::from_secs(1), 20.0));
            pace.rate()
        };
        assert!((grown(&mut pace) - 36.0).abs() < 1e-9);
        pace.add(1_501.0);
        assert!((grown(&mut pace) - 120.0).abs() < 1e-9, "1,500 in a minute of 1,200 at most");
    }

    #[tokio::test(start_paused = true)]
    async fn after_throttling_that_let_nothing_through_the_rate_climbs_with_each_call_that_is_served() {
        for seconds in [2, 6, 50, 600] {
            let now = Instant::now();
            let mut pace = Pace::at(60.0, 1.0);
            let probes = use_up(&mut pace, now, now + Duration::from_secs(seconds));
            assert!((1.0..=8.0).contains(&probes), "{probes} a second after {seconds} s");
            (0..16).for_each(|_| pace.served(now + Duration::from_secs(seconds), &SERVED, 1.0));
            assert!(pace.rate() >= 64.0 && pace.ceiling().is_none(), "{pace:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_climb_that_ended_at_once_the_next_takes_more_patience() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut pace = Pace::at(60.0, 1.0);
        use_up(&mut pace, now, now + second);
        assert!(pace.ceiling().is_none(), "{pace:?}");
        use_up(&mut pace, now + 2 * second, now + 3 * second);
        assert!(pace.ceiling().is_some(), "{pace:?}");
        use_up(&mut pace, now + 4 * second, now + 44 * second);
        assert!(pace.ceiling().is_none(), "{pace:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_is_reached_only_where_about_so_much_was_served() {
        let now = Instant::now();
        for (lately, over_a_minute, is_reached) in [(0.0, 0.0, false), (15.0, 0.0, true), (0.0, 20.0, true), (0.0, 3.0, false)] {
            let mut pace = Pace::at(20.0, 1.0);
            pace.throttled(now, &Served { lately, over_a_minute, unit: 1.0 });
            assert_eq!(pace.reached().is_some(), is_reached, "{lately} lately, {over_a_minute} over a minute");
        }
    }
}
