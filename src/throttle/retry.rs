//! Retry with exponential backoff and jitter.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[retry]`: when a failed call is made again, and when it fails for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetryConfig {
    /// Upper bound of the first backoff. Each wait is random between zero and a growing bound (full jitter).
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub initial: Duration,
    /// Factor by which the bound grows with each retry; at least 1.
    pub multiplier: f64,
    /// Largest bound. Raise it to spare a service in trouble; recovery is noticed later.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_interval: Duration,
    /// How long a call is retried before its document fails. Time spent throttled, or without any calls, does not count. A daemon
    /// keeps retrying while no other call succeeds.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            multiplier: 2.0,
            max_interval: Duration::from_secs(20),
            give_up_after: Duration::from_mins(15),
        }
    }
}

/// The delays of one call: full jitter under a bound that grows to `max-interval`.
#[derive(Debug)]
pub struct Schedule {
    delays: backoff::ExponentialBackoff,
    longest: Duration,
}

impl Schedule {
    /// Begins a schedule.
    #[must_use]
    pub fn new(config: &RetryConfig) -> Self {
        // A factor of 1 makes `backoff` draw from nothing to twice its interval, so half the interval gives full jitter. It applies
        // jitter after the cap; halving the cap as well keeps the longest delay at `max-interval`. Its own budget of time is off:
        // it starts when the schedule is built, and we count ourselves.
        let delays = ExponentialBackoffBuilder::new()
            .with_initial_interval(config.initial / 2)
            .with_multiplier(config.multiplier)
            .with_max_interval(config.max_interval / 2)
            .with_randomization_factor(1.0)
            .with_max_elapsed_time(None)
            .build();
        Self { delays, longest: config.max_interval }
    }

    /// Returns how long to wait before the next attempt; a hint of the service's is the least of it.
    pub fn next_delay(&mut self, hint: Option<Duration>) -> Duration {
        let delay = self.delays.next_backoff().unwrap_or(self.longest).min(self.longest);
        delay.max(hint.unwrap_or_default())
    }
}

/// What one success adds to the budget, in retries.
const PER_SUCCESS: f64 = 0.1;
/// The most retries that a budget saves up.
const MOST: f64 = 100.0;

/// Keeps retries in proportion to successes, over all calls: one in ten, and a hundred saved up (Finagle's rule).
///
/// An empty budget drops nothing: a retry then waits as long as `max-interval` allows.
#[derive(Debug)]
pub struct Budget(Mutex<f64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(MOST))
    }
}

impl Budget {
    /// Records a success.
    pub fn earn(&self) {
        let mut left = self.left();
        *left = (*left + PER_SUCCESS).min(MOST);
    }

    /// Takes a retry out. Returns whether there was one.
    pub fn spend(&self) -> bool {
        let mut left = self.left();
        let has_one = *left >= 1.0;
        if has_one {
            *left -= 1.0;
        }
        has_one
    }

    fn left(&self) -> MutexGuard<'_, f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RetryConfig {
        RetryConfig { initial: Duration::from_millis(100), max_interval: Duration::from_secs(1), ..RetryConfig::default() }
    }

    #[test]
    fn delays_are_spread_from_nothing_to_a_bound_that_grows_to_the_cap() {
        let bounds = [100, 200, 400, 800, 1000, 1000, 1000];
        let mut longest = [Duration::ZERO; 7];
        for _ in 0..500 {
            let mut schedule = Schedule::new(&config());
            for (longest, bound) in longest.iter_mut().zip(bounds) {
                let delay = schedule.next_delay(None);
                assert!(delay <= Duration::from_millis(bound), "{delay:?} is over {bound} ms");
                *longest = delay.max(*longest);
            }
        }
        for (longest, bound) in longest.iter().zip(bounds) {
            assert!(*longest > Duration::from_millis(bound / 2), "500 draws under {bound} ms never passed half of it");
        }
    }

    #[test]
    fn the_services_hint_is_the_least_delay() {
        let mut schedule = Schedule::new(&config());
        assert!(schedule.next_delay(Some(Duration::from_secs(7))) >= Duration::from_secs(7));
    }

    #[test]
    fn a_budget_holds_a_hundred_retries_and_gets_one_for_ten_successes() {
        let budget = Budget::default();
        assert_eq!((0..200).filter(|_| budget.spend()).count(), 100);
        (0..55).for_each(|_| budget.earn());
        assert_eq!((0..200).filter(|_| budget.spend()).count(), 5);
    }
}
