//! How fast calls to a model may go: finds unknown quotas, and keeps the caps that are configured.
//!
//! Bedrock counts requests and tokens per minute and says neither how many there are nor how many are left. Until the first throttle
//! nothing is paced. From then on calls leave evenly, at a rate that falls at each throttle and climbs back along a cubic: fast while
//! far from the ceiling, slowly near it, and ever faster beyond, so that a raised quota is found. Time is monotonic throughout.
//!
//! Some throttling is not about the rate: a neighbour in the account, a model that is short of room. Where no call succeeds for longer
//! than a quota could explain, the ceiling is dropped and the rate climbs with each call that succeeds. Where few calls are throttled
//! at a rate well below the ceiling, it is not lowered.

use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::quota_bucket::{Bucket, Share};
use super::rate_search::Reached;
use crate::domain::TokenCount;

/// A call that waits looks again at least this often: the rate changes while it waits.
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// A ceiling that has moved by this factor is worth a line of the log…
const NEWS: f64 = 1.5;
/// … but not more often than this.
const NEWS_EVERY: Duration = Duration::from_mins(1);
/// What a call is taken to use before the first one, in tokens.
const USUAL_TOKENS: f64 = 400.0;

/// What is configured of a limiter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimiterConfig {
    /// Names model and operation in the log.
    pub name: String,
    /// The most requests in any minute; absent: as many as the service takes.
    pub requests_per_minute: Option<NonZeroU64>,
    /// The most tokens in any minute; absent: as many as the service takes.
    pub tokens_per_minute: Option<NonZeroU64>,
}

/// A ceiling that was found so recently is where the next start begins; after an older one it begins unpaced.
const RECENT: Duration = Duration::from_hours(1);
/// A ceiling that was found so long ago is forgotten. In between it is known to `plan`.
const FORGOTTEN: Duration = Duration::from_hours(7 * 24);

/// What a limiter has found out, for the next start. A ceiling is in it only if it was reached: about that rate was really served when
/// throttling began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Requests per second at which throttling begins.
    pub requests_per_second: Option<f64>,
    /// Tokens per second at which throttling begins.
    pub tokens_per_second: Option<f64>,
    /// When the ceiling of requests was found, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_found_at: Option<u64>,
    /// When the ceiling of tokens was found, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_found_at: Option<u64>,
}

impl Learned {
    /// Reads what an earlier process has stored. What does not parse is nothing.
    ///
    /// A ceiling without a time was stored by a build that did not look whether it was reached, so it is none.
    #[must_use]
    pub fn read(json: &str, now: u64) -> Self {
        serde_json::from_str::<Self>(json).unwrap_or_default().not_older_than(FORGOTTEN, now)
    }

    /// Returns whether it is worth storing where `before` is stored. The time of the same ceiling moves with each throttle.
    #[must_use]
    pub fn is_news_to(&self, before: &Self) -> bool {
        let rates = |of: &Self| (of.requests_per_second, of.tokens_per_second);
        let is_later = |found: Option<u64>, before: Option<u64>| {
            found.is_some_and(|found| before.is_none_or(|before| found.abs_diff(before) >= NEWS_EVERY.as_secs()))
        };
        rates(self) != rates(before)
            || is_later(self.requests_found_at, before.requests_found_at)
            || is_later(self.tokens_found_at, before.tokens_found_at)
    }

    /// Returns the ceilings that were found at most so long before `now`, in Unix seconds. A clock that was set back since then tells no
    /// age, so such a ceiling counts as found now.
    fn not_older_than(self, age: Duration, now: u64) -> Self {
        let is_young = |found_at: &u64| now.saturating_sub(*found_at) <= age.as_secs();
        let usable = |rate: &f64| rate.is_finite() && *rate > 0.0;
        let requests_found_at = self.requests_found_at.filter(is_young);
        let tokens_found_at = self.tokens_found_at.filter(is_young);
        Self {
            requests_per_second: self.requests_per_second.filter(usable).filter(|_| requests_found_at.is_some()),
            tokens_per_second: self.tokens_per_second.filter(usable).filter(|_| tokens_found_at.is_some()),
            requests_found_at,
            tokens_found_at,
        }
    }
}

/// What a throttled call was over, where the service says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
}

/// A limiter at one moment, for metrics and log. Rates are per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Snapshot {
    /// The rate of requests that is kept now; `None` while they are not paced.
    pub requests_now: Option<f64>,
    /// The rate of tokens that is kept now; `None` while they are not paced.
    pub tokens_now: Option<f64>,
    /// The rate of requests at which throttling begins, as far as it has been found.
    pub requests_ceiling: Option<f64>,
    /// The rate of tokens at which throttling begins, as far as it has been found.
    pub tokens_ceiling: Option<f64>,
    /// Calls that were throttled since the start.
    pub throttled: u64,
    /// Calls that ended since the start, throttled ones included.
    pub ended: u64,
}

impl Snapshot {
    /// Returns the part of all calls that was throttled, from 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn throttled_share(&self) -> f64 {
        self.throttled as f64 / self.ended.max(1) as f64
    }
}

/// Lets the calls of one model and operation go one by one, as fast as the quotas allow.
#[derive(Debug)]
pub struct Limiter {
    name: String,
    /// Whose turn it is: first come, first served.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<LimiterState>,
}

#[derive(Debug)]
struct LimiterState {
    requests: Bucket,
    tokens: Bucket,
    tokens_per_minute: Option<NonZeroU64>,
    /// What earlier limiters have learned.
    earlier: Learned,
    /// The quota that the service named last.
    named: Quota,
    /// Tokens billed for each that was estimated.
    billed_per_estimated: f64,
    throttled: u64,
    ended: u64,
    /// When a ceiling was logged last, and which.
    logged: Option<(Instant, f64)>,
}

/// Leave to make one attempt. Dropped without a word, the attempt counts as sent and lost.
#[derive(Debug)]
#[must_use]
pub struct Permit<'a> {
    limiter: &'a Limiter,
    requests: Share,
    tokens: Share,
    estimated: f64,
    is_settled: bool,
}

impl Limiter {
    /// Makes a limiter that begins at what an earlier one has learned lately, or unpaced. `unix` is what the clock says, in Unix seconds.
    #[must_use]
    pub fn new(config: LimiterConfig, earlier: Learned, unix: u64) -> Self {
        let now = Instant::now();
        let recent = earlier.not_older_than(RECENT, unix);
        let cap = |cap: Option<NonZeroU64>| cap.map(NonZeroU64::get);
        let state = LimiterState {
            requests: Bucket::new(cap(config.requests_per_minute), recent.requests_per_second, 1.0, now),
            tokens: Bucket::new(cap(config.tokens_per_minute), recent.tokens_per_second, USUAL_TOKENS, now),
            tokens_per_minute: config.tokens_per_minute,
            earlier,
            named: Quota::Requests,
            billed_per_estimated: 1.0,
            throttled: 0,
            ended: 0,
            logged: None,
        };
        Self { name: config.name, turn: tokio::sync::Mutex::new(()), state: Mutex::new(state) }
    }

    /// Waits for a call's turn. `estimated` is what it will use. Cancel safe: a caller that goes away has taken nothing.
    pub async fn permit(&self, estimated: TokenCount) -> Permit<'_> {
        let _turn = self.turn.lock().await;
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 tokens")]
        let estimated = estimated.get() as f64;
        loop {
            let now = Instant::now();
            let free_at = match self.state().try_take(now, estimated) {
                Ok((requests, tokens)) => return Permit { limiter: self, requests, tokens, estimated, is_settled: false },
                Err(free_at) => free_at,
            };
            sleep_until(free_at.min(now + LONGEST_LOOK)).await;
        }
    }

    /// Returns whose calls it paces: operation and model.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a usual call would have to wait now.
    #[must_use]
    pub fn withholds(&self) -> bool {
        let now = Instant::now();
        // The next call in line waits already; its share must not be measured with another's size.
        self.turn.try_lock().is_err() || {
            let mut state = self.state();
            state.requests.withholds(now) || state.tokens.withholds(now)
        }
    }

    /// Returns the most tokens that a call may ask for, where a cap is configured.
    #[must_use]
    pub fn tokens_per_minute(&self) -> Option<TokenCount> {
        self.state().tokens_per_minute.map(|cap| TokenCount::new(cap.get()))
    }

    /// Sets other caps, or none. A call that waits learns of them within half a second.
    pub fn set_caps(&self, requests_per_minute: Option<NonZeroU64>, tokens_per_minute: Option<NonZeroU64>) {
        let mut state = self.state();
        state.requests.set_cap(requests_per_minute.map(NonZeroU64::get));
        state.tokens.set_cap(tokens_per_minute.map(NonZeroU64::get));
        state.tokens_per_minute = tokens_per_minute;
    }

    /// Returns what the next start may begin with: what was reached here, or by earlier processes. `unix` is what the clock says, in Unix
    /// seconds.
    #[must_use]
    pub fn learned(&self, unix: u64) -> Learned {
        let state = self.state();
        let found_at = |reached: Reached| unix.saturating_sub(reached.at.elapsed().as_secs());
        let (requests, tokens) = (state.requests.reached(), state.tokens.reached());
        Learned {
            requests_per_second: requests.map(|reached| reached.rate).or(state.earlier.requests_per_second),
            tokens_per_second: tokens.map(|reached| reached.rate).or(state.earlier.tokens_per_second),
            requests_found_at: requests.map(found_at).or(state.earlier.requests_found_at),
            tokens_found_at: tokens.map(found_at).or(state.earlier.tokens_found_at),
        }
    }

    /// Returns the limiter's state.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            requests_now: state.requests.rate(),
            tokens_now: state.tokens.rate(),
            requests_ceiling: state.requests.ceiling(),
            tokens_ceiling: state.tokens.ceiling(),
            throttled: state.throttled,
            ended: state.ended,
        }
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        // Numbers are usable whatever a panicking thread left behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LimiterState {
    fn try_take(&mut self, now: Instant, estimated: f64) -> Result<(Share, Share), Instant> {
        let tokens = estimated * self.billed_per_estimated;
        // What a call will be billed is known only afterwards. Until then it counts double against a cap, so that a wrong estimate
        // does not break it; that costs little, since few calls are on their way at once.
        let reserved = 2.0 * tokens.max(estimated);
        let free_at = self.requests.free_at(now, 1.0, 1.0).max(self.tokens.free_at(now, tokens, reserved));
        if free_at > now {
            return Err(free_at);
        }
        Ok((self.requests.take(now, 1.0, 1.0), self.tokens.take(now, tokens, reserved)))
    }
}

impl Permit<'_> {
    /// The call was served. `billed` is what it used, where the service says.
    pub fn served(mut self, billed: Option<TokenCount>) {
        self.is_settled = true;
        let now = Instant::now();
        let mut state = self.limiter.state();
        state.ended += 1;
        if let Some(billed) = billed
            && self.estimated > 0.0
        {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 tokens")]
            let ratio = billed.get() as f64 / self.estimated;
            state.billed_per_estimated += (ratio - state.billed_per_estimated) / 16.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 tokens")]
        let used = billed.map_or(self.estimated * state.billed_per_estimated, |billed| billed.get() as f64);
        state.requests.served(now, self.requests, 1.0);
        state.tokens.served(now, self.tokens, used);
    }

    /// The call was throttled, for the quota that the service names, if it names one.
    pub fn throttled(mut self, named: Option<Quota>) {
        self.is_settled = true;
        let now = Instant::now();
        let mut state = self.limiter.state();
        state.ended += 1;
        state.throttled += 1;
        state.named = named.unwrap_or(state.named);
        let state = &mut *state;
        // A refused request was a request, but its tokens are not counted (Bedrock's user guide on quotas).
        state.requests.refused(now, self.requests, 1.0);
        state.tokens.refused(now, self.tokens, 0.0);
        let quota = state.named;
        let (bucket, share) = match quota {
            Quota::Requests => (&mut state.requests, self.requests),
            Quota::Tokens => (&mut state.tokens, self.tokens),
        };
        if bucket.throttled(now, share)
            && let (Some(rate), Some(ceiling)) = (bucket.rate(), bucket.ceiling())
        {
            let is_news = state.logged.is_none_or(|(at, logged)| {
                now.duration_since(at) >= NEWS_EVERY && (ceiling > logged * NEWS || ceiling < logged / NEWS)
            });
            if is_news {
                state.logged = Some((now, ceiling));
                let quota = match quota {
                    Quota::Requests => "requests",
                    Quota::Tokens => "tokens",
                };
                info!(limiter = self.limiter.name, quota, rate, ceiling, "throttled; pacing calls");
            }
        }
    }

    /// The call was refused, and no quota was the reason: the model is not ready.
    pub fn refused(mut self) {
        self.is_settled = true;
        let now = Instant::now();
        let mut state = self.limiter.state();
        state.ended += 1;
        state.requests.refused(now, self.requests, 1.0);
        state.tokens.refused(now, self.tokens, 0.0);
    }

    /// The call failed otherwise; it may have been counted and billed.
    pub fn failed(mut self) {
        self.lost();
    }

    /// The call was not made.
    pub fn give_back(mut self) {
        self.is_settled = true;
        let now = Instant::now();
        let mut state = self.limiter.state();
        state.requests.give_back(now, self.requests);
        state.tokens.give_back(now, self.tokens);
    }

    fn lost(&mut self) {
        self.is_settled = true;
        let now = Instant::now();
        let mut state = self.limiter.state();
        state.ended += 1;
        let tokens = self.estimated * state.billed_per_estimated;
        state.requests.lost(now, self.requests, 1.0);
        state.tokens.lost(now, self.tokens, tokens);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.lost();
        }
    }
}

#[cfg(test)]
mod tests;
