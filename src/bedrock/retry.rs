//! When a failed call is made again.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[retry]`: when a failed call is made again, and when it is given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The longest first wait. Waits are random between nothing and a bound that grows, so that calls do not come back together.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub initial: Duration,
    /// How much longer each next wait may be; at least 1.
    pub multiplier: f64,
    /// The longest wait of all. Turning it up is kinder to a service in trouble, and slower to come back.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_interval: Duration,
    /// How long a call is tried before its document is failed. While no call at all succeeds a daemon goes on trying.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub give_up_after: Duration,
}

impl Default for Config {
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
    pub fn new(config: &Config) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { initial: Duration::from_millis(100), max_interval: Duration::from_secs(1), ..Config::default() }
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
}
