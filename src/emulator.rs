//! The Bedrock runtime API on loopback, for a first run without an account and for tests.
//!
//! ```text
//! accept ─▶ read ─▶ count, pick a fault ─▶ check, answer, meter ───────────▶ latency, gate ─▶ answer
//! server    server  control, rates         model, titan, …, converse, meter  server, control  answer, events
//! ```
//!
//! It refuses what the service refuses, in the service's words, and counts what a client did. It shares no code with
//! the client it is there to test: two independent readings of one API, so that a wrong field name cannot pass on both sides.
//!
//! How a call ends is decided in this order: a fault that was scripted for it, else one for its text, else one drawn at random;
//! only then come credentials, model, quotas and body. So a call that a fault answers takes nothing of a quota, and one whose
//! right answer a fault spoils (cut, wrong vectors) takes what any other does. A call over quota gets the service's 429 and takes
//! no request and no token.
//!
//! A program in another language drives it over HTTP, by the paths of `remote`. A test drives it by events, never by sleeping: [`Emulator::script`] says how the next calls fail, [`Emulator::hold`]
//! keeps all answers back, [`Emulator::called`] waits until calls have arrived.

mod admin_api;
mod auth;
mod cohere;
mod control;
mod converse;
mod event_body;
mod eventstream;
mod fast_vectors;
mod fault;
mod fault_rates;
mod hash;
mod json_members;
pub mod lexical_vectors;
mod marengo;
mod models;
mod nova;
mod quota;
mod quota_meter;
mod response;
mod server;
mod sigv4;
mod titan_multimodal;
mod titan_v1;
mod titan_v2;
mod tokens;
mod vector_kind;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use auth::Authorization;
pub use control::{ChatCounts, Counts, Operation, Received};
pub use fault::{Break, Fault};
pub use fault_rates::{FaultRates, NotRates};
pub use quota::{NotAQuota, Quota};

use control::Control;
use converse::Chats;
use server::Server;
use vector_kind::Space;

/// `[emulator]`: how the built-in stand-in for Amazon Bedrock behaves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EmulatorConfig {
    /// Latency of every response. Bedrock takes 80 to 100 ms for a short text.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub latency: Duration,
    /// Upper bound of a random extra latency, evenly distributed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub jitter: Duration,
    /// Requests per model: `20/s` (a bucket of one second's worth), `200/s burst 20`, `60/min window` (per full minute), a
    /// sequence such as `20/s for 3m, 5/s`, or `unlimited`. Requests above it get a 429 and take nothing.
    #[schemars(with = "String")]
    pub requests: Quota,
    /// Tokens per model, in the same syntax. A text larger than the bucket passes when the bucket is full.
    #[schemars(with = "String")]
    pub tokens: Quota,
    /// Random failures with their share, such as `429 10%, 5xx 5%, cut 0.5%`: `429`, `500`, `502`, `503`, `504`, `5xx` (any of
    /// these), `408`, `424`, `529`, `reset`, `hang`, `cut`, `garbage`, `wrong-vectors`, `no-counts`. A failed call takes nothing
    /// of a quota.
    #[schemars(with = "String")]
    pub faults: FaultRates,
    /// Seed of `faults` and `jitter`. The same number gives the first, second, third call the same outcome.
    pub seed: u64,
    /// Kind of vectors: `lexical` ones are close together for texts that share words; `cheap` ones mean nothing and cost almost
    /// no CPU, for benches.
    pub vectors: Vectors,
    /// Wait between two events of a streamed answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub chunk_latency: Duration,
    /// Whose instructions its chat models follow besides the prompt's, to test prompts against untrusted text: `no`,
    /// `outside-data` (instructions in a user's text, except in delimited data), or `fully` (those too).
    pub gullible: Gullible,
}

/// Which instructions in its texts a chat model of the emulator follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gullible {
    /// None: it answers the question with sentences of the texts.
    #[default]
    No,
    /// Those in a user's text, except between delimiters, in attached documents or in results of tools.
    OutsideData,
    /// All of them.
    Fully,
}

/// Where the emulator's vectors come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Vectors {
    /// Made from words and word parts: texts about the same subject are closer than others.
    #[default]
    Lexical,
    /// Made from a hash of the text: of unit length, without meaning.
    Cheap,
}

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// The address is taken, or is none of this machine's.
    #[error("cannot listen on `{listen}`")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A running emulator. Dropping it closes the port and cuts every connection.
pub struct Emulator {
    address: SocketAddr,
    control: Arc<Control>,
    stop: CancellationToken,
    /// Holds the accept loop, which in turn owns every connection: nothing outlives this set.
    accepting: JoinSet<()>,
}

impl Emulator {
    /// Listens on `listen` (port 0 picks a free one) and serves until stopped or dropped.
    ///
    /// # Errors
    ///
    /// Fails when the address cannot be bound.
    pub async fn start(listen: SocketAddr, config: EmulatorConfig) -> Result<Self, EmulatorError> {
        let failed = |source| EmulatorError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;

        let control = Arc::new(Control::new(&config));
        let server = Server {
            control: Arc::clone(&control),
            space: Arc::new(Space::new(config.vectors)),
            chats: Arc::new(Chats::new(config.gullible, config.chunk_latency)),
        };
        let stop = CancellationToken::new();
        let mut accepting = JoinSet::new();
        accepting.spawn(server::accept(listener, Arc::new(server), stop.clone()));
        Ok(Self { address, control, stop, accepting })
    }

    /// Returns the address it listens on, with the port the system picked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL that reaches it from this machine, for a client's endpoint: `http://127.0.0.1:40123`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let mut reachable = self.address;
        if reachable.ip().is_unspecified() {
            reachable.set_ip(if reachable.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        format!("http://{reachable}")
    }

    /// Returns what has happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.control.counts()
    }

    /// Waits until `calls` calls have arrived since the start, whatever they were or will be answered. A call has arrived
    /// when its body has: it is then in [`counts`](Self::counts) and, if recorded, in [`requests`](Self::requests).
    ///
    /// Cancel safe.
    pub async fn called(&self, calls: u64) {
        self.control.called(calls).await;
    }

    /// Decides the answers to the next calls, one fault a call in order of arrival, after those already scripted.
    /// [`Fault::None`] lets one call through, past the standing faults too.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.control.script(faults);
    }

    /// Answers every call that has a text containing `marker` with `fault`, until [`clear_faults`](Self::clear_faults).
    /// Of several that fit, the first one set wins; a scripted fault goes before all of them, and they before random ones.
    pub fn fault_where(&self, marker: impl Into<String>, fault: Fault) {
        self.control.fault_where(marker.into(), fault);
    }

    /// Lets calls go wrong by chance from now on, at these rates in place of those before.
    pub fn set_faults(&self, rates: FaultRates) {
        self.control.set_faults(rates);
    }

    /// Sets the quotas of each model, with nothing taken of them; schedules begin now.
    pub fn set_quotas(&self, requests: Quota, tokens: Quota) {
        self.control.set_quotas(requests, tokens);
    }

    /// Answers calls that arrive from now on after `latency` and up to `jitter` more.
    pub fn set_latency(&self, latency: Duration, jitter: Duration) {
        self.control.set_latency(latency, jitter);
    }

    /// Goes back to the start: the settings it was started with, nothing scripted, every count at zero but those of calls and
    /// connections that there are.
    pub fn reset(&self) {
        self.control.reset();
    }

    /// Forgets every scripted, standing and random fault.
    pub fn clear_faults(&self) {
        self.control.clear_faults();
    }

    /// Keeps every answer back from now on. Calls still arrive and are counted.
    pub fn hold(&self) {
        self.control.hold(true);
    }

    /// Lets held answers go, and those that follow.
    pub fn release(&self) {
        self.control.hold(false);
    }

    /// Keeps the last `last` requests for [`requests`](Self::requests). Off until called, because it copies every body.
    pub fn record(&self, last: NonZeroUsize) {
        self.control.record(last);
    }

    /// Counts from now on how many different texts arrive. Off until called, because it keeps eight bytes of each.
    pub fn tell_apart(&self) {
        self.control.tell_apart();
    }

    /// Returns the recorded requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.control.requests()
    }

    /// Cuts every connection and returns when the port is free.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.accepting.join_next().await.is_some() {}
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("address", &self.address).field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_means_no_latency_no_limit_no_fault_and_lexical_vectors() {
        let config: EmulatorConfig = toml::from_str("").unwrap();
        assert_eq!(config, EmulatorConfig::default());
        let written = ["\"0s\"", "\"0s\"", "\"unlimited\"", "\"unlimited\"", "\"none\"", "0", "\"lexical\"", "\"0s\"", "\"no\""];
        let keys = ["latency", "jitter", "requests", "tokens", "faults", "seed", "vectors", "chunk-latency", "gullible"];
        let written: Vec<_> = keys.iter().zip(written).map(|(key, value)| format!("{key} = {value}\n")).collect();
        assert_eq!(toml::to_string(&config).unwrap(), written.concat());
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let config: EmulatorConfig = toml::from_str("latency = \"80ms\"\nvectors = \"cheap\"").unwrap();
        assert_eq!(
            config,
            EmulatorConfig { latency: Duration::from_millis(80), vectors: Vectors::Cheap, ..EmulatorConfig::default() }
        );
        assert!(toml::to_string(&config).unwrap().contains("latency = \"80ms\""));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<EmulatorConfig>("speed = 1").unwrap_err().to_string().contains("unknown field `speed`"));
    }

    #[test]
    fn a_quota_or_a_rate_that_cannot_be_shows_its_line_and_how_to_write_one() {
        for (line, says) in [
            ("requests = \"20/h\"", "a rate is `/s` or `/min`; write `unlimited`, `20/s`"),
            ("tokens = \"\"", "it has no rate"),
            ("faults = \"418 1%\"", "there is no fault `418`, but there are 429,"),
        ] {
            let error = toml::from_str::<EmulatorConfig>(line).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(line), "{error}");
        }
    }

    #[tokio::test]
    async fn an_emulator_on_all_interfaces_is_reached_over_loopback() {
        let emulator = Emulator::start("0.0.0.0:0".parse().unwrap(), EmulatorConfig::default()).await.unwrap();
        assert_eq!(emulator.endpoint(), format!("http://127.0.0.1:{}", emulator.address().port()));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let first = Emulator::start("127.0.0.1:0".parse().unwrap(), EmulatorConfig::default()).await.unwrap();
        let error = Emulator::start(first.address(), EmulatorConfig::default()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on `{}`", first.address()));
    }

    #[tokio::test]
    async fn a_stopped_emulator_frees_its_port() {
        let first = Emulator::start("127.0.0.1:0".parse().unwrap(), EmulatorConfig::default()).await.unwrap();
        let address = first.address();
        first.stop().await;
        Emulator::start(address, EmulatorConfig::default()).await.unwrap();
    }
}
