//! A quota of a model, as people write it: `20/s burst 5`, `60/min window`, `20/s for 3m, 5/s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A quota of requests or of tokens, the same at all times or changing on a schedule. Each model has its own.
///
/// - `unlimited`: there is none.
/// - `20/s`, `60/min`: a bucket that is refilled evenly and holds what one second brings, at least one.
/// - `200/s burst 20`: the bucket holds 20.
/// - `60/min window`: 60 in each full minute, counted from the first call, whenever in it they come.
/// - `20/s for 3m, 5/s for 3m, 40/s`: one after the other; each begins with a full bucket or a new window. The last stays,
///   unless it has a time too: then they begin again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quota {
    /// Never empty; only the last may last for ever.
    steps: Vec<Step>,
}

/// A quota that holds for a time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    limit: Limit,
    lasts: Option<Duration>,
}

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    Unlimited,
    Bucket { amount: f64, per: Per, burst: Option<f64> },
    Window { a_minute: f64 },
}

/// More is a slip of the pen.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// What a rate is counted by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Per {
    Second,
    Minute,
}

impl Per {
    pub(super) const fn seconds(self) -> f64 {
        match self {
            Self::Second => 1.0,
            Self::Minute => 60.0,
        }
    }
}

/// Says why a text is no quota.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "`{step}` is no quota: {problem}; write `unlimited`, `20/s`, `60/min`, `200/s burst 20`, `60/min window`, or several with \
     times as `20/s for 3m, 5/s`"
)]
pub struct NotAQuota {
    step: String,
    problem: &'static str,
}

impl Quota {
    /// Returns what holds at a time since the quota was set, and which step that is, counted on when they begin again.
    pub(super) fn at(&self, elapsed: Duration) -> (u128, Limit) {
        let cycle = self.steps.iter().map(|step| step.lasts).sum::<Option<Duration>>();
        let (cycles, mut left) = match cycle {
            None => (0, elapsed.as_nanos()),
            Some(cycle) => (elapsed.as_nanos() / cycle.as_nanos(), elapsed.as_nanos() % cycle.as_nanos()),
        };
        let count = self.steps.len() as u128;
        for (number, step) in (0..).zip(&self.steps) {
            match step.lasts.map(|lasts| lasts.as_nanos()) {
                Some(lasts) if left >= lasts => left -= lasts,
                _ => return (cycles * count + number, step.limit),
            }
        }
        // The remainder is shorter than the steps together.
        unreachable!("the last step lasts longer than what is left")
    }

    /// Returns how much of it there is in a second, on the mean over its schedule; `None` where there is no bound for good.
    #[must_use]
    pub fn mean_per_second(&self) -> Option<f64> {
        let rate = |step: &Step| match step.limit {
            Limit::Unlimited => None,
            Limit::Bucket { amount, per, .. } => Some(amount / per.seconds()),
            Limit::Window { a_minute } => Some(a_minute / 60.0),
        };
        let last = self.steps.last()?;
        if last.lasts.is_none() {
            return rate(last);
        }
        let parts = self.steps.iter().map(|step| Some((rate(step)?, step.lasts?.as_secs_f64())));
        let parts: Vec<_> = parts.collect::<Option<_>>()?;
        let whole: f64 = parts.iter().map(|(_, secs)| secs).sum();
        Some(parts.iter().map(|(rate, secs)| rate * secs / whole).sum())
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.steps.iter().all(|step| step.limit == Limit::Unlimited)
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self { steps: vec![Step { limit: Limit::Unlimited, lasts: None }] }
    }
}

impl FromStr for Quota {
    type Err = NotAQuota;

    fn from_str(text: &str) -> Result<Self, NotAQuota> {
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        let step = |(number, part): (usize, &&str)| {
            let refuse = |problem| NotAQuota { step: (*part).to_owned(), problem };
            let step = Step::parse(part).map_err(refuse)?;
            if step.lasts.is_none() && number + 1 < parts.len() {
                return Err(refuse("what comes before another needs a time, as `for 3m`"));
            }
            Ok(step)
        };
        Ok(Self { steps: parts.iter().enumerate().map(step).collect::<Result<_, _>>()? })
    }
}

impl Step {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (limit, lasts) = match text.split_once(" for ") {
            None => (text, None),
            Some((limit, lasts)) => {
                let lasts = humantime::parse_duration(lasts.trim()).map_err(|_| "the time after `for` is none")?;
                if lasts.is_zero() || lasts > LONGEST {
                    return Err("the time after `for` is zero or more than a year");
                }
                (limit.trim(), Some(lasts))
            }
        };
        Ok(Self { limit: Limit::parse(limit)?, lasts })
    }
}

impl Limit {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let mut words = text.split_whitespace();
        let (amount, per) = words.next().and_then(|rate| rate.split_once('/')).ok_or("it has no rate")?;
        let amount = number(amount)?;
        let per = match per {
            "s" => Per::Second,
            "min" => Per::Minute,
            _ => return Err("a rate is `/s` or `/min`"),
        };
        match (words.next(), words.next(), words.next()) {
            (None, ..) => Ok(Self::Bucket { amount, per, burst: None }),
            (Some("burst"), Some(burst), None) => Ok(Self::Bucket { amount, per, burst: Some(number(burst)?) }),
            (Some("window"), None, None) if per == Per::Minute => Ok(Self::Window { a_minute: amount }),
            (Some("window"), None, None) => Err("a window is a full minute, as `60/min window`"),
            _ => Err("after the rate comes nothing, `burst` with a number, or `window`"),
        }
    }
}

fn number(text: &str) -> Result<f64, &'static str> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1e12).contains(number));
    number.ok_or("a number from 0 to 1000000000000 is missing")
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}", step.limit)?;
            if let Some(lasts) = step.lasts {
                write!(f, " for {}", humantime::format_duration(lasts))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Window { a_minute } => write!(f, "{a_minute}/min window"),
            Self::Bucket { amount, per, burst } => {
                write!(f, "{amount}/{}", if *per == Per::Second { "s" } else { "min" })?;
                burst.map_or(Ok(()), |burst| write!(f, " burst {burst}"))
            }
        }
    }
}

impl TryFrom<String> for Quota {
    type Error = NotAQuota;

    fn try_from(text: String) -> Result<Self, NotAQuota> {
        text.parse()
    }
}

impl From<Quota> for String {
    fn from(quota: Quota) -> Self {
        quota.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_printed_as_it_was_written() {
        for text in [
            "unlimited",
            "20/s",
            "0.5/s",
            "0/min",
            "200/s burst 20",
            "60/min burst 60",
            "60/min window",
            "20/s for 3m, 5/s burst 1 for 90ms, unlimited for 1h, 300000/min window",
        ] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_quota_says_what_is_missing_and_how_one_looks() {
        for (text, problem) in [
            ("", "it has no rate"),
            ("20", "it has no rate"),
            ("x/s", "a number from 0 to 1000000000000 is missing"),
            ("-1/s", "a number from 0"),
            ("NaN/s", "a number from 0"),
            ("20/h", "a rate is `/s` or `/min`"),
            ("20/s burst", "after the rate comes nothing"),
            ("20/s burst 5 5", "after the rate comes nothing"),
            ("20/s burst x", "a number from 0"),
            ("20/s window", "a window is a full minute"),
            ("20/s for long", "the time after `for` is none"),
            ("20/s for 0s", "the time after `for` is zero"),
            ("20/s for 2y", "more than a year"),
            ("20/s, 5/s", "needs a time, as `for 3m`"),
            ("20/s for 3m,", "it has no rate"),
        ] {
            let error = text.parse::<Quota>().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("200/s burst 20"), "{text}: {error}");
        }
    }

    #[test]
    fn the_mean_is_that_of_what_stays() {
        for (text, mean) in [
            ("unlimited", None),
            ("20/s burst 5", Some(20.0)),
            ("60/min", Some(1.0)),
            ("90/min window", Some(1.5)),
            ("20/s for 3m, 5/s", Some(5.0)),
            ("20/s for 1m, unlimited", None),
            ("20/s for 1m, unlimited for 1m", None),
            ("20/s for 1m, 5/s for 2m", Some(10.0)),
        ] {
            assert_eq!(text.parse::<Quota>().unwrap().mean_per_second(), mean, "{text}");
        }
    }

    #[test]
    fn the_last_step_stays_or_all_begin_again() {
        let step = |text: &str, secs| {
            let (number, limit) = text.parse::<Quota>().unwrap().at(Duration::from_secs(secs));
            (number, limit.to_string())
        };
        for (secs, expected) in [(0, (0, "20/s")), (179, (0, "20/s")), (180, (1, "5/s")), (100_000, (1, "5/s"))] {
            assert_eq!(step("20/s for 3m, 5/s", secs), (expected.0, expected.1.to_owned()));
        }
        for (secs, expected) in [(0, (0, "1/s")), (3, (1, "2/s")), (4, (2, "1/s")), (4_002, (2_001, "2/s"))] {
            assert_eq!(step("1/s for 2s, 2/s for 2s", secs), (expected.0, expected.1.to_owned()), "{secs}");
        }
    }
}
