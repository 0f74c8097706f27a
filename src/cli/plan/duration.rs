//! Duration of a plan's calls, and the source of that estimate.

use std::fmt;
use std::time::Duration;

use indicatif::HumanDuration;
use serde_json::{Value, json};

use crate::bedrock::{self, Endpoint};
use crate::emulator;
use crate::throttle::limiter::Learned;
use crate::throttle::token_density::Range;

/// What the service takes for a short text (recorded calls of Titan Text v2 and Cohere v4 took 80 to 100 ms).
const LATENCY: Duration = Duration::from_millis(100);
/// Requests per second that a new account has, where nothing is known of the quota.
const NEW_ACCOUNT: f64 = 1.0;

/// How long the calls take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time {
    low: Duration,
    high: Duration,
    by: By,
}

/// What it is taken from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// Nothing is to be called.
    Nothing,
    /// The emulator's own latency.
    Emulator,
    /// The rate at which throttling began, or the configured one.
    Rate { requests: Option<f64>, tokens: Option<f64>, told: Told },
    /// A guess.
    Guess,
}

/// The source of the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    /// The service, by throttling.
    Throttles,
    /// The caps of `[bedrock]`.
    Caps,
    /// The quotas of `[emulator]`.
    Emulator,
}

impl Time {
    /// Takes the rate that was learned or configured, whichever is less; where there is neither, it lies between what the calls in
    /// flight allow and what the quota of a new account does.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn of(
        bedrock: &bedrock::BedrockConfig,
        emulator: &emulator::EmulatorConfig,
        learned: Learned,
        calls: u64,
        tokens: Range,
    ) -> Self {
        let calls = calls as f64;
        // The last calls in flight take as long as the first.
        let at_once = |latency: Duration| (calls / bedrock.max_in_flight.get() as f64).ceil() * latency.as_secs_f64();
        if calls == 0.0 {
            return Self { low: Duration::ZERO, high: Duration::ZERO, by: By::Nothing };
        }
        let is_emulator = bedrock.endpoint == Some(Endpoint::Emulator);
        let cap = |per_minute: Option<std::num::NonZeroU64>| per_minute.map(|per_minute| per_minute.get() as f64 / 60.0);
        let caps = [cap(bedrock.requests_per_minute), cap(bedrock.tokens_per_minute)];
        let found = [learned.requests_per_second, learned.tokens_per_second].map(|rate| rate.filter(|rate| *rate > 0.0));
        let least = |cap: Option<f64>, found: Option<f64>| cap.into_iter().chain(found).reduce(f64::min);
        // The emulator in this process keeps to what is configured of it, whatever a service was found to take.
        let quotas = [&emulator.requests, &emulator.tokens].map(emulator::Quota::mean_per_second);
        let found = if is_emulator { quotas.map(|rate| rate.filter(|rate| *rate > 0.0)) } else { found };
        let rates = [least(caps[0], found[0]), least(caps[1], found[1])];
        let latency = if is_emulator { emulator.latency } else { LATENCY };
        if let [None, None] = rates {
            let low = at_once(latency);
            if is_emulator {
                return Self { low: secs(low), high: secs(at_once(latency + emulator.jitter)), by: By::Emulator };
            }
            return Self { low: secs(low), high: secs(low.max(calls / NEW_ACCOUNT)), by: By::Guess };
        }
        let [requests, by_tokens] = rates;
        let needed = |tokens: f64| {
            let waits = [requests.map(|rate| calls / rate), by_tokens.map(|rate| tokens / rate)];
            waits.into_iter().flatten().fold(at_once(latency), f64::max)
        };
        let told = match () {
            () if (requests, by_tokens) == (caps[0], caps[1]) => Told::Caps,
            () if is_emulator => Told::Emulator,
            () => Told::Throttles,
        };
        let by = By::Rate { requests, tokens: by_tokens, told };
        Self { low: secs(needed(tokens.low)), high: secs(needed(tokens.high)), by }
    }

    pub(super) fn json(&self) -> Value {
        let (requests, tokens) = match self.by {
            By::Rate { requests, tokens, .. } => (requests, tokens),
            By::Nothing | By::Emulator | By::Guess => (None, None),
        };
        json!({
            "low_secs": self.low.as_secs_f64(),
            "high_secs": self.high.as_secs_f64(),
            "assumes": self.by.to_string(),
            "requests_per_second": requests,
            "tokens_per_second": tokens,
        })
    }
}

fn secs(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = [self.low, self.high].map(|time| HumanDuration(time).to_string());
        match self.by {
            By::Nothing => f.write_str("none"),
            _ if self.high < Duration::from_secs(1) => write!(f, "less than a second ({})", self.by),
            _ if low == high => write!(f, "about {low} ({})", self.by),
            _ => write!(f, "{low} to {high} ({})", self.by),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is called"),
            Self::Emulator => f.write_str("the emulator answers after `emulator.latency`"),
            Self::Guess => f.write_str(
                "the quota is not known yet: from unthrottled at 100 ms a call to 60 requests a minute, as new accounts have",
            ),
            Self::Rate { requests, tokens, told } => {
                let rate = |rate: &Option<f64>, unit| rate.map(|rate| format!("{:.0} {unit} a minute", rate * 60.0));
                let rates: Vec<_> = [rate(requests, "requests"), rate(tokens, "tokens")].into_iter().flatten().collect();
                let why = match told {
                    Told::Caps => "as configured",
                    Told::Throttles => "where throttling began",
                    Told::Emulator => "the emulator's quota",
                };
                write!(f, "at {}, {why}", rates.join(" and "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn time(bedrock: &bedrock::BedrockConfig, learned: Option<Learned>) -> String {
        let tokens = Range { low: 90_000.0, expected: 100_000.0, high: 120_000.0 };
        let emulator = emulator::EmulatorConfig { latency: Duration::from_millis(640), ..emulator::EmulatorConfig::default() };
        Time::of(bedrock, &emulator, learned.unwrap_or_default(), 6_000, tokens).to_string()
    }

    #[test]
    fn the_time_follows_from_the_rate_that_is_known_or_says_what_it_assumes() {
        let mut bedrock = bedrock::BedrockConfig::default();
        let guess = "9 seconds to 2 hours (the quota is not known yet: from unthrottled at 100 ms a call to 60 requests a \
                     minute, as new accounts have)";
        assert_eq!(time(&bedrock, None), guess);
        let learned = Learned { requests_per_second: Some(10.0), ..Learned::default() };
        assert_eq!(time(&bedrock, Some(learned)), "about 10 minutes (at 600 requests a minute, where throttling began)");
        bedrock.tokens_per_minute = NonZeroU64::new(3_000);
        let by_tokens = "30 minutes to 40 minutes (at 600 requests a minute and 3000 tokens a minute, where throttling began)";
        assert_eq!(time(&bedrock, Some(learned)), by_tokens);
        assert_eq!(time(&bedrock, None), "30 minutes to 40 minutes (at 3000 tokens a minute, as configured)");
        let bedrock = bedrock::BedrockConfig { endpoint: Some(Endpoint::Emulator), ..bedrock::BedrockConfig::default() };
        let emulated = "about 60 seconds (the emulator answers after `emulator.latency`)";
        assert_eq!(time(&bedrock, None), emulated);
    }

    #[test]
    fn no_call_is_quicker_than_the_model_however_many_are_in_flight() {
        let bedrock = bedrock::BedrockConfig { endpoint: Some(Endpoint::Emulator), ..bedrock::BedrockConfig::default() };
        let latency = Duration::from_secs(3);
        let tokens = Range { low: 100.0, expected: 100.0, high: 100.0 };
        let time = |calls, jitter| {
            let emulator = emulator::EmulatorConfig { latency, jitter, ..emulator::EmulatorConfig::default() };
            let Time { low, high, .. } = Time::of(&bedrock, &emulator, Learned::default(), calls, tokens);
            (low.as_secs(), high.as_secs())
        };
        assert_eq!([1, 64, 65].map(|calls| time(calls, Duration::ZERO)), [(3, 3), (3, 3), (6, 6)]);
        assert_eq!(time(65, Duration::from_secs(1)), (6, 8), "each may take the jitter longer");
    }

    #[test]
    fn the_emulator_takes_as_long_as_its_own_quota_says_whatever_was_learned() {
        let bedrock = bedrock::BedrockConfig { endpoint: Some(Endpoint::Emulator), ..bedrock::BedrockConfig::default() };
        let emulator = emulator::EmulatorConfig { requests: "10/s".parse().unwrap(), ..emulator::EmulatorConfig::default() };
        let tokens = Range { low: 90_000.0, expected: 100_000.0, high: 120_000.0 };
        let learned = Learned { requests_per_second: Some(1000.0), ..Learned::default() };
        let time = Time::of(&bedrock, &emulator, learned, 6_000, tokens);
        assert_eq!(time.to_string(), "about 10 minutes (at 600 requests a minute, the emulator's quota)");
        let emulator = emulator::EmulatorConfig { tokens: "3000/min window".parse().unwrap(), ..emulator };
        let time = Time::of(&bedrock, &emulator, Learned::default(), 6_000, tokens);
        let expected = "30 minutes to 40 minutes (at 600 requests a minute and 3000 tokens a minute, the emulator's quota)";
        assert_eq!(time.to_string(), expected);
    }
}
