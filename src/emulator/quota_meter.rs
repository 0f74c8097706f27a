//! Counts the use of a quota.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::quota::{Limit, Quota};

/// Models that are counted apart. Clients name them, so there is a bound; those beyond it share one count.
const MOST_MODELS: usize = 256;

const MINUTE: Duration = Duration::from_mins(1);

/// The quotas of an account, and what each model has taken of them. On a monotonic clock.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) requests: Quota,
    pub(super) tokens: Quota,
    models: HashMap<String, Pair>,
    /// When the quotas were set: their schedules run from here.
    since: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    requests: Meter,
    tokens: Meter,
}

/// Which quota does not allow a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Requests,
    Tokens,
}

impl Meters {
    pub(super) fn new(requests: Quota, tokens: Quota, since: Instant) -> Self {
        Self { requests, tokens, models: HashMap::new(), since }
    }

    /// Says whether a request would be allowed now, whatever its tokens; takes nothing.
    pub(super) fn ask(&mut self, model: &str, now: Instant) -> Result<(), Over> {
        if self.requests.is_unlimited() {
            return Ok(());
        }
        let elapsed = now.saturating_duration_since(self.since);
        let allows = Self::pair(&mut self.models, model).requests.allows(&self.requests, elapsed, 1.0);
        if allows { Ok(()) } else { Err(Over::Requests) }
    }

    /// Takes a request and its tokens, both or neither.
    pub(super) fn take(&mut self, model: &str, tokens: u64, now: Instant) -> Result<(), Over> {
        if self.requests.is_unlimited() && self.tokens.is_unlimited() {
            return Ok(());
        }
        #[expect(clippy::cast_precision_loss, reason = "a call has far fewer than 2^52 tokens")]
        let tokens = tokens as f64;
        let elapsed = now.saturating_duration_since(self.since);
        let pair = Self::pair(&mut self.models, model);
        if !pair.requests.allows(&self.requests, elapsed, 1.0) {
            return Err(Over::Requests);
        }
        if !pair.tokens.allows(&self.tokens, elapsed, tokens) {
            return Err(Over::Tokens);
        }
        pair.requests.level -= 1.0;
        pair.tokens.level -= tokens;
        Ok(())
    }

    /// Gives back what was taken of the tokens beyond what a call came to.
    pub(super) fn give_back(&mut self, model: &str, tokens: u64) {
        if !self.tokens.is_unlimited() {
            #[expect(clippy::cast_precision_loss, reason = "a call has far fewer than 2^52 tokens")]
            let tokens = tokens as f64;
            Self::pair(&mut self.models, model).tokens.level += tokens;
        }
    }

    fn pair<'a>(models: &'a mut HashMap<String, Pair>, model: &str) -> &'a mut Pair {
        let model = if models.len() < MOST_MODELS || models.contains_key(model) { model } else { "" };
        if !models.contains_key(model) {
            models.insert(model.to_owned(), Pair::default());
        }
        models.get_mut(model).expect("it was put in if it was not there")
    }
}

/// What is left of one quota for one model.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    level: f64,
    /// The step of the schedule and the window in it that the level is of; none before the first call.
    of: Option<(u128, u64)>,
    /// When the step began to be counted, and when the level was last brought up to date.
    begun: Duration,
    at: Duration,
}

impl Meter {
    /// Brings the level up to date and says whether it has room for a cost.
    ///
    /// A bucket lets a cost above its size through when it is full, and owes the rest: a text of 8,000 tokens gets through
    /// 300,000 tokens a minute, though a second brings 5,000. A window does not: what is above a whole minute's quota never fits.
    fn allows(&mut self, quota: &Quota, elapsed: Duration, cost: f64) -> bool {
        let (step, limit) = quota.at(elapsed);
        if self.of.is_none_or(|(of, _)| of != step) {
            self.begun = elapsed;
        }
        match limit {
            Limit::Unlimited => {
                self.of = Some((step, 0));
                true
            }
            Limit::Bucket { amount, per, burst } => {
                let a_second = amount / per.seconds();
                let size = burst.unwrap_or(if amount > 0.0 { a_second.max(1.0) } else { 0.0 });
                let refilled = self.level + a_second * elapsed.saturating_sub(self.at).as_secs_f64();
                self.level = if self.of == Some((step, 0)) { refilled.min(size) } else { size };
                (self.of, self.at) = (Some((step, 0)), elapsed);
                // Sums of parts of a second must not fall short of a whole by their last bit.
                size > 0.0 && self.level + 1e-9 >= cost.min(size)
            }
            Limit::Window { a_minute } => {
                let window = elapsed.saturating_sub(self.begun).as_secs() / MINUTE.as_secs();
                if self.of != Some((step, window)) {
                    self.level = a_minute;
                }
                (self.of, self.at) = (Some((step, window)), elapsed);
                self.level >= cost
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes calls of these tokens at these times (ms) and returns what became of each.
    fn calls(requests: &str, tokens: &str, calls: &[(u64, u64)]) -> String {
        let since = Instant::now();
        let mut meters = Meters::new(requests.parse().unwrap(), tokens.parse().unwrap(), since);
        let mut outcome = |&(at, tokens)| match meters.take("model", tokens, since + Duration::from_millis(at)) {
            Ok(()) => '.',
            Err(Over::Requests) => 'R',
            Err(Over::Tokens) => 'T',
        };
        calls.iter().map(&mut outcome).collect()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let times = [0, 0, 0, 0, 500, 500, 999, 1_000, 10_000, 10_000, 10_000, 10_000];
        assert_eq!(calls("2/s burst 3", "unlimited", &times.map(|at| (at, 1))), "...R.RR....R");
    }

    #[test]
    fn a_bucket_holds_a_seconds_worth_unless_told_otherwise() {
        assert_eq!(calls("3/s", "unlimited", &[(0, 1); 4]), "...R");
        assert_eq!(calls("60/min", "unlimited", &[(0, 1), (0, 1), (999, 1), (1_000, 1)]), ".RR.");
        assert_eq!(calls("20/min", "unlimited", &[(0, 1), (2_999, 1), (3_000, 1)]), ".R.");
    }

    #[test]
    fn a_window_gives_all_of_it_at_any_time_of_its_minute() {
        let times = [0, 0, 59_999, 60_000, 119_000, 119_000, 120_000];
        assert_eq!(calls("2/min window", "unlimited", &times.map(|at| (at, 1))), "..R..R.");
    }

    #[test]
    fn a_quota_of_zero_allows_nothing() {
        for quota in ["0/s", "0/min", "0/min window", "0/min burst 0"] {
            assert_eq!(calls(quota, "unlimited", &[(0, 1), (600_000, 1)]), "RR", "{quota}");
            assert_eq!(calls("unlimited", quota, &[(0, 1), (600_000, 1)]), "TT", "{quota}");
        }
        assert_eq!(calls("0/s burst 1", "unlimited", &[(0, 1), (600_000, 1)]), ".R");
    }

    #[test]
    fn a_call_over_one_quota_takes_nothing_of_the_other() {
        assert_eq!(calls("2/min window", "10/min window", &[(0, 8), (0, 3), (0, 2), (0, 0)]), ".T.R");
    }

    #[test]
    fn a_call_above_the_size_of_a_bucket_gets_through_when_it_is_full_and_is_owed() {
        assert_eq!(calls("unlimited", "10/s", &[(0, 25), (1_000, 1), (1_500, 1), (1_600, 1)]), ".TT.");
        assert_eq!(calls("unlimited", "10/min window", &[(0, 11), (0, 10)]), "T.");
    }

    #[test]
    fn a_step_begins_with_a_full_bucket_or_a_new_window() {
        let times = [0, 0, 10_000, 10_000, 10_000, 19_000, 20_000, 79_999, 80_000];
        assert_eq!(calls("1/s for 10s, 2/s for 10s, 1/min window", "unlimited", &times.map(|at| (at, 1))), ".R..R..R.");
        assert_eq!(calls("0/s for 1s, unlimited for 1s", "unlimited", &[(0, 1), (1_000, 1), (1_999, 1), (2_000, 1)]), "R..R");
    }

    #[test]
    fn over_a_long_time_a_bucket_gives_its_rate_and_no_more() {
        // Two calls a millisecond against 200/s for a minute.
        let times: Vec<_> = (0..120_000).map(|half| (half / 2, 1)).collect();
        let served = calls("200/s burst 20", "unlimited", &times).matches('.').count();
        assert!((12_018..=12_020).contains(&served), "{served}");
    }

    #[test]
    fn each_model_has_its_own_count_and_those_beyond_the_bound_share_one() {
        let now = Instant::now();
        let mut meters = Meters::new("1/min window".parse().unwrap(), Quota::default(), now);
        for number in 0..MOST_MODELS {
            assert_eq!(meters.take(&format!("model {number}"), 1, now), Ok(()));
        }
        assert_eq!(meters.take("model 0", 1, now), Err(Over::Requests));
        assert_eq!(meters.take("one more", 1, now), Ok(()));
        assert_eq!(meters.take("and another", 1, now), Err(Over::Requests));
        assert_eq!(meters.models.len(), MOST_MODELS + 1);
    }

    #[test]
    fn asking_takes_nothing() {
        let now = Instant::now();
        let mut meters = Meters::new("1/min window".parse().unwrap(), Quota::default(), now);
        assert_eq!([meters.ask("model", now), meters.ask("model", now)], [Ok(()), Ok(())]);
        meters.take("model", 1, now).unwrap();
        assert_eq!(meters.ask("model", now), Err(Over::Requests));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let now = Instant::now();
        let mut meters = Meters::new(Quota::default(), "100/min window".parse().unwrap(), now);
        meters.take("model", 90, now).unwrap();
        assert_eq!(meters.take("model", 50, now), Err(Over::Tokens));
        meters.give_back("model", 80);
        meters.take("model", 50, now).unwrap();
        assert_eq!(meters.take("other", 101, now), Err(Over::Tokens));
    }
}
