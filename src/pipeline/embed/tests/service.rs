//! A service in virtual time, in the place of the network.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::bedrock::{CallError, Class};
use crate::domain::{Limits, Number, TokenCount, Vector};
use crate::embed;
use crate::pipeline::embed::request::Transport;

/// What the quota counts.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Counts {
    Requests,
    Tokens,
}

/// How the quota is counted.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Refilled evenly, holding what this time brings, or one call.
    Bucket(Duration),
    /// Granted again at each full minute.
    Minute,
}

pub(super) struct Quota {
    pub(super) counts: Counts,
    pub(super) kind: Kind,
    /// From when on, in seconds, how much per second.
    pub(super) steps: Vec<(u64, f64)>,
    /// What the largest call needs at once.
    pub(super) largest: f64,
}

/// What goes wrong with an attempt, decided by the call and the number of the attempt alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) throttled: f64,
    pub(super) broken: f64,
    pub(super) reset: f64,
    pub(super) hanging: f64,
    pub(super) cut: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outage {
    Refused,
    Unavailable,
    BlackHole,
}

/// A time in which every call is refused with 429: a neighbour uses the quota, or the model sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    /// How many texts are served before it.
    pub(super) after: usize,
    pub(super) lasts: Duration,
    /// `ThrottlingException` or `ModelNotReadyException`.
    pub(super) code: &'static str,
}

#[derive(Default, Clone)]
pub(super) struct Seen {
    pub(super) arrived: Vec<(Instant, f64)>,
    pub(super) served: Vec<(Instant, f64)>,
    /// What arrived and the tokens that it counts: none where it was throttled.
    pub(super) counted: Vec<(Instant, f64)>,
    pub(super) throttled: u64,
    pub(super) refused: u64,
    /// When the trouble began.
    pub(super) trouble: Option<Instant>,
}

pub(super) struct Service {
    pub(super) begun: Instant,
    pub(super) latency: Duration,
    /// How far latencies lie apart: the sigma of a log-normal spread.
    pub(super) spread: f64,
    /// What a throttled call takes after its arrival, if not as long as any other.
    pub(super) refused_after: Option<Duration>,
    pub(super) quota: Option<Quota>,
    pub(super) faults: Faults,
    pub(super) outage: Option<(Outage, Duration, Duration)>,
    /// Says of a text and the time since the start in which words it is refused, if it is.
    pub(super) refuses: fn(u64, Duration) -> Option<&'static str>,
    pub(super) trouble: Option<Trouble>,
    pub(super) seed: u64,
    /// The wait that a throttle asks for.
    pub(super) hint: Option<Duration>,
    pub(super) texts_per_call: NonZeroUsize,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    level: Option<f64>,
    at: Option<Instant>,
    minute: u64,
    attempts: u64,
    pub(super) seen: Seen,
}

/// Texts say what they cost: «number tokens».
pub(super) fn tokens(text: &str) -> u64 {
    text.split_once(' ').unwrap().1.parse().unwrap()
}

fn number(text: &str) -> u64 {
    text.split_once(' ').unwrap().0.parse().unwrap()
}

/// Returns a number from 0 to 1 for a seed (splitmix64).
pub(super) fn draw(seed: u64) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Service {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            begun: Instant::now(),
            latency: Duration::from_millis(250),
            spread: 0.3,
            refused_after: None,
            quota: None,
            faults: Faults::default(),
            outage: None,
            refuses: |_, _| None,
            trouble: None,
            seed,
            hint: None,
            texts_per_call: NonZeroUsize::MIN,
            state: Mutex::default(),
        }
    }

    fn rate(&self, at: Instant) -> f64 {
        let secs = at.duration_since(self.begun).as_secs();
        let steps = &self.quota.as_ref().unwrap().steps;
        steps.iter().rev().find(|(from, _)| *from <= secs).unwrap().1
    }

    /// Returns what the quota allows between two moments, in seconds from the start.
    pub(super) fn allowed(&self, from: u64, to: u64) -> f64 {
        (from..to).map(|second| self.rate(self.begun + Duration::from_secs(second))).sum()
    }

    fn admits(&self, now: Instant, units: f64) -> bool {
        let Some(quota) = &self.quota else { return true };
        let rate = self.rate(now);
        let mut state = self.state.lock().unwrap();
        let level = match quota.kind {
            Kind::Bucket(burst) => {
                let most = (rate * burst.as_secs_f64()).max(quota.largest);
                let since = state.at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
                (state.level.unwrap_or(most) + since * rate).min(most)
            }
            Kind::Minute => {
                let minute = now.duration_since(self.begun).as_secs() / 60;
                let level = state.level.filter(|_| state.minute == minute).unwrap_or(rate * 60.0);
                state.minute = minute;
                level
            }
        };
        let admits = level + 1e-9 >= units;
        state.level = Some(if admits { level - units } else { level });
        state.at = Some(now);
        admits
    }

    fn trouble_since(&self, now: Instant, after: usize) -> Option<Instant> {
        let seen = &mut self.state.lock().unwrap().seen;
        (seen.served.len() >= after).then(|| *seen.trouble.get_or_insert(now))
    }

    /// Counts the call that has just arrived as throttled.
    fn throttle(&self) {
        let mut state = self.state.lock().unwrap();
        state.seen.throttled += 1;
        state.seen.counted.last_mut().unwrap().1 = 0.0;
    }

    fn error(class: Class, message: &str) -> CallError {
        CallError { class, status: None, code: None, message: message.into(), request_id: None, retry_after: None }
    }
}

impl Transport for std::sync::Arc<Service> {
    fn limits(&self) -> Limits {
        Limits {
            texts_per_call: self.texts_per_call,
            characters_per_text: NonZeroUsize::MAX,
            tokens_per_text: TokenCount::new(u64::MAX),
            tokens_per_call: TokenCount::new(u64::MAX),
            bytes_per_call: NonZeroUsize::MAX,
        }
    }

    async fn embed(&self, texts: &[&str]) -> Result<embed::Embedded, CallError> {
        let billed: u64 = texts.iter().map(|text| tokens(text)).sum();
        let attempt = {
            let mut state = self.state.lock().unwrap();
            state.attempts += 1;
            state.attempts
        };
        let chance = |salt: u64| draw((self.seed << 48) ^ (attempt << 8) ^ salt);
        // Log-normal, as latencies are (a normal number from twelve even ones).
        let normal = (0..12).map(|salt| chance(100 + salt)).sum::<f64>() - 6.0;
        let latency = self.latency.mul_f64((self.spread * normal).exp());
        let there = latency.mul_f64(0.3);
        sleep(there).await;
        let now = Instant::now();
        let is_tokens = self.quota.as_ref().is_some_and(|quota| quota.counts == Counts::Tokens);
        let units = if is_tokens { billed as f64 } else { 1.0 };
        {
            let mut state = self.state.lock().unwrap();
            state.seen.arrived.push((now, units));
            state.seen.counted.push((now, billed as f64));
        }
        // A refusal comes sooner than an answer.
        if let Some(words) = texts.iter().find_map(|text| (self.refuses)(number(text), now.duration_since(self.begun))) {
            self.state.lock().unwrap().seen.refused += 1;
            return Err(CallError { status: Some(400), ..Service::error(Class::Refused, words) });
        }
        if let Some((outage, from, to)) = self.outage
            && (from..to).contains(&now.duration_since(self.begun))
        {
            match outage {
                Outage::Refused => return Err(Service::error(Class::Connection, "refused")),
                Outage::Unavailable => return Err(Service::error(Class::Unavailable, "busy")),
                Outage::BlackHole => {
                    sleep(Duration::from_mins(1)).await;
                    return Err(Service::error(Class::TimedOut, "no answer"));
                }
            }
        }
        if let Some(Trouble { after, lasts, code }) = self.trouble
            && let Some(since) = self.trouble_since(now, after)
            && now < since + lasts
        {
            self.throttle();
            sleep(latency.saturating_sub(there)).await;
            let error = Service::error(Class::Throttled, "please wait before trying again");
            return Err(CallError { code: Some(code.into()), retry_after: self.hint, ..error });
        }
        let fault = chance(1);
        let Faults { throttled, broken, reset, hanging, cut } = self.faults;
        let limits = [throttled, broken, reset, hanging, cut].into_iter().scan(0.0, |sum, part| {
            *sum += part;
            Some(*sum)
        });
        let fault = limits.into_iter().position(|limit| fault < limit);
        let error = match fault {
            Some(1) => Some(Service::error(Class::Unavailable, "broken")),
            Some(2) => Some(Service::error(Class::Connection, "reset")),
            Some(3) => {
                sleep(Duration::from_mins(1)).await;
                Some(Service::error(Class::TimedOut, "no answer"))
            }
            Some(4) => Some(Service::error(Class::BadAnswer, "cut")),
            Some(_) => {
                self.throttle();
                Some(Service::error(Class::Throttled, "Too many requests, please wait before trying again."))
            }
            None if !self.admits(now, units) => {
                self.throttle();
                let named = if is_tokens { "Too many tokens, please wait" } else { "Too many requests, please wait" };
                if let Some(after) = self.refused_after {
                    sleep(after).await;
                    return Err(CallError { retry_after: self.hint, ..Service::error(Class::Throttled, named) });
                }
                Some(CallError { retry_after: self.hint, ..Service::error(Class::Throttled, named) })
            }
            None => None,
        };
        if error.is_none() {
            self.state.lock().unwrap().seen.served.push((now, units));
        }
        sleep(latency.saturating_sub(there)).await;
        if let Some(error) = error {
            return Err(error);
        }
        let numbers: Box<RawValue> = RawValue::from_string("[0]".into()).unwrap();
        let vectors = texts.iter().map(|_| Vector::check(&numbers, 1, Number::Float).unwrap()).collect();
        Ok(embed::Embedded { vectors, tokens: Some(TokenCount::new(billed)), emulated: true })
    }
}
