//! The chat questions in a plan.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use indicatif::{HumanCount, HumanDuration};
use serde_json::{Value, json};

use super::super::Failure;
use crate::bedrock::{Endpoint, ModelId};
use crate::chat::openai::Messages;
use crate::cli::format::plain;
use crate::config::{Config, Loaded};
use crate::daemon::spending::in_play_money;
use crate::daemon::startup::ledger_failure;
use crate::domain::moment::unix_seconds;
use crate::domain::{Tier, TokenCount, Usd};
use crate::ledger::Reader;
use crate::pipeline::dry_run::{ByPrompt, Questions};
use crate::throttle::limiter::Learned;
use crate::throttle::price::{self, Price, Used};

/// The questions of one prompt, with what they would cost and take.
pub(super) struct PromptPlan {
    /// `None` for files of messages.
    prompt: Option<String>,
    questions: Questions,
    price: Option<Price>,
    /// The tier that is asked for, and whether what the model keeps is kept for an hour.
    tier: Tier,
    keeps_an_hour: bool,
    time: Option<Duration>,
    /// Whether the emulator in this process answers.
    is_emulated: bool,
}

impl PromptPlan {
    pub(super) fn of(questions: ByPrompt, loaded: &Loaded, reader: Option<&Reader>) -> Result<Vec<Self>, Failure> {
        let is_emulated = loaded.config.bedrock.endpoint == Some(Endpoint::Emulator);
        let asked = |(prompt, questions): (Option<std::sync::Arc<str>>, Questions)| {
            let model = match &*questions.models {
                [only] => ModelId::try_from(only.clone()).ok(),
                _ => None,
            };
            let price = model.as_ref().and_then(|model| loaded.prices.of_chat(model));
            let name = model.map(|model| format!("chat {model}")).unwrap_or_default();
            let learned = reader.map_or(Ok(None), |reader| reader.meta(&name)).map_err(ledger_failure)?;
            let learned = learned.map(|learned| Learned::read(&learned, unix_seconds(SystemTime::now())));
            let time = if is_emulated {
                Some(emulated(&questions, &loaded.config))
            } else {
                learned.and_then(|learned| time(&questions, learned))
            };
            // What a file of messages says itself is not looked at here.
            let of_messages = || loaded.prompts.messages().map(Messages::rate);
            let rate = prompt.as_ref().map_or_else(of_messages, |name| loaded.prompts.find(name).map(|prompt| prompt.rate()));
            let (tier, keeps_an_hour) = rate.unwrap_or_default();
            Ok(Self { prompt: prompt.map(|prompt| prompt.to_string()), questions, price, tier, keeps_an_hour, time, is_emulated })
        };
        questions.into_iter().map(asked).collect()
    }

    /// Returns the most that it costs, if that is known.
    pub(super) fn cost(&self) -> Option<Usd> {
        let Questions { calls, input, cache_read, cache_write, output, .. } = self.questions;
        let cache_write_hour = if self.keeps_an_hour { cache_write } else { TokenCount::default() };
        let price = self.price.filter(|price| price.knows(self.tier))?;
        Some(price.of(Used { calls, input, cache_read, cache_write, cache_write_hour, output, rate: self.tier.into() }))
    }

    /// Returns whether there are questions whose cost is unknown.
    pub(super) fn costs_unknown_money(&self) -> bool {
        self.questions.asked > 0 && self.cost().is_none()
    }

    /// Returns whether there are questions whose duration is unknown.
    pub(super) fn takes_unknown_time(&self) -> bool {
        self.questions.asked > 0 && self.time.is_none()
    }

    /// Says it, in lines.
    pub(super) fn said(&self, emulated: bool) -> Vec<String> {
        let Questions { models, asked, cached, refused, input, cache_read, output, .. } = &self.questions;
        let count = HumanCount;
        let what = self.prompt.as_ref().map_or_else(|| "files of messages".to_owned(), |name| format!("`{}`", plain(name)));
        let to = if models.is_empty() { String::new() } else { format!(" to {}", models.join(", ")) };
        let mut first = format!("{what}: {}{to}", count(*asked));
        if *cached > 0 {
            let _infallible = write!(first, ", {} answered before", count(*cached));
        }
        if *refused > 0 {
            let _infallible = write!(first, ", {} that cannot be asked", count(*refused));
        }
        let mut said = vec![first];
        if *asked == 0 {
            return said;
        }
        let read =
            if cache_read.get() > 0 { format!(" ({} from a prompt cache)", count(cache_read.get())) } else { String::new() };
        let cost = match (self.cost(), &**models) {
            (Some(usd), _) => format!("{usd} at most{}", in_play_money(emulated)),
            (None, [_]) => "at a price that is not known".to_owned(),
            (None, _) => "at the prices of several models".to_owned(),
        };
        said.push(format!("about {} tokens in{read}, {} out at most; {cost}", count(input.get()), count(output.get())));
        if let (None, [model]) = (self.price, &**models)
            && let Ok(model) = ModelId::try_from(model.clone())
        {
            said.push(format!("help: {}", price::missing(&model)));
        }
        if let Some(time) = self.time {
            let time =
                if time < Duration::from_secs(1) { "less than a second".to_owned() } else { HumanDuration(time).to_string() };
            said.push(if self.is_emulated {
                format!("{time} as the emulator answers")
            } else {
                format!("{time} or more at the rate at which throttling began")
            });
        }
        said
    }

    pub(super) fn json(&self) -> Value {
        let Questions { models, asked, cached, refused, calls, input, cache_read, cache_write, output } = &self.questions;
        json!({
            "prompt": self.prompt,
            "models": models,
            "asked": asked,
            "cached": cached,
            "refused": refused,
            "calls": calls,
            "tokens": {
                "input": input.get(), "cache_read": cache_read.get(), "cache_write": cache_write.get(), "output_at_most": output.get(),
            },
            "usd_at_most": self.cost().map(Usd::dollars),
            "seconds_at_least": self.time.map(|time| time.as_secs_f64()),
        })
    }
}

/// Returns how long it takes in the emulator, which answers after its latency however long the answer is.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn emulated(questions: &Questions, config: &Config) -> Duration {
    let Config { bedrock, emulator, .. } = config;
    let in_flight = bedrock.max_in_flight.get() as u64;
    let at_once = questions.calls.div_ceil(in_flight) as f64 * (emulator.latency + emulator.jitter / 2).as_secs_f64();
    let quota = emulator.requests.mean_per_second().filter(|rate| *rate > 0.0).map(|rate| questions.calls as f64 / rate);
    Duration::try_from_secs_f64(quota.unwrap_or_default().max(at_once)).unwrap_or(Duration::MAX)
}

/// Returns how long it takes at the rates at which a model was found to throttle, if it was.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn time(questions: &Questions, learned: Learned) -> Option<Duration> {
    let tokens = (questions.input + questions.output).get() as f64;
    let per = |many: f64, rate: Option<f64>| rate.filter(|rate| *rate > 0.0).map(|rate| many / rate);
    let seconds = [per(questions.calls as f64, learned.requests_per_second), per(tokens, learned.tokens_per_second)];
    Duration::try_from_secs_f64(seconds.into_iter().flatten().reduce(f64::max)?).ok()
}
