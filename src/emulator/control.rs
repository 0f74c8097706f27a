//! Settings and counts that a test sets and reads while the server runs.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::auth::Authorization;
use super::converse::Usage;
use super::fault::Fault;
use super::fault_rates::FaultRates;
use super::quota::Quota;
use super::quota_meter::{Meters, Over};
use super::response::Refusal;
use super::{EmulatorConfig, hash};

/// What has happened since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that arrived whole, whatever became of them.
    pub calls: u64,
    /// Calls that were answered, by HTTP status.
    pub answered: BTreeMap<u16, u64>,
    /// Calls that were not: cut, or their client went away.
    pub unanswered: u64,
    /// Texts that were embedded.
    pub texts: u64,
    /// Different texts among those that arrived since [`tell_apart`](super::Emulator::tell_apart).
    pub distinct: u64,
    /// Tokens billed for them. A call that is embedded is billed, even when its answer is then lost.
    pub tokens: u64,
    /// Calls arrived and not answered yet.
    pub in_flight: u64,
    /// The most there ever were of those.
    pub most_in_flight: u64,
    /// Connections accepted.
    pub connections: u64,
    /// When the first call arrived.
    pub first_call: Option<Instant>,
    /// The calls to chat models among them.
    pub chat: ChatCounts,
}

/// What chat models were asked, and what it cost. A call that is answered is billed, even when its answer is then lost or its
/// stream breaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatCounts {
    /// Calls of either operation that arrived whole.
    pub calls: u64,
    /// Calls that asked for a stream.
    pub streams: u64,
    /// Tokens of requests, without those below.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the prompt cache.
    pub cache_write_tokens: u64,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `InvokeModel`.
    Invoke,
    /// `Converse`.
    Converse,
    /// `ConverseStream`.
    ConverseStream,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The model id, percent-decoded; `None` when the request was for another route.
    pub model_id: Option<String>,
    /// What it asked for; `None` when the request was for another route.
    pub operation: Option<Operation>,
    /// The texts to embed, or those sent to a chat model, as far as the body has any for this model.
    pub texts: Vec<String>,
    /// The whole body; `null` when it was not JSON.
    pub body: serde_json::Value,
    /// How it was authorised; `None` when it was not, or not in a form that the service takes.
    pub authorization: Option<Authorization>,
    /// Its `content-type`.
    pub content_type: Option<String>,
    /// Its `accept`.
    pub accept: Option<String>,
}

/// The state behind an [`Emulator`](super::Emulator). One short lock; nothing in it grows with the number
/// of calls, unless texts are counted one by one.
#[derive(Debug)]
pub(super) struct Control {
    state: Mutex<ControlState>,
    calls: watch::Sender<u64>,
    held: watch::Sender<bool>,
}

#[derive(Debug)]
struct ControlState {
    counts: Counts,
    script: VecDeque<Fault>,
    standing: Vec<(String, Fault)>,
    /// As it is now, and as it was at the start.
    config: EmulatorConfig,
    started: EmulatorConfig,
    meters: Meters,
    received: VecDeque<Received>,
    keep: usize,
    /// Hashes of the texts that arrived, while they are counted one by one.
    seen: Option<HashSet<u64>>,
}

/// What each random decision about a call is drawn for: two of them must not go together.
#[derive(Clone, Copy)]
enum Draw {
    Fault,
    Jitter,
}

impl Control {
    pub(super) fn new(config: &EmulatorConfig) -> Self {
        let state = ControlState {
            counts: Counts::default(),
            script: VecDeque::new(),
            standing: Vec::new(),
            config: config.clone(),
            started: config.clone(),
            meters: meters(config),
            received: VecDeque::new(),
            keep: 0,
            seen: None,
        };
        Self { state: Mutex::new(state), calls: watch::Sender::default(), held: watch::Sender::default() }
    }

    /// Counts a call in and decides how it goes wrong and how long it takes. `received` is made only while requests are recorded.
    pub(super) fn arrive(&self, texts: &[&str], received: impl FnOnce() -> Received) -> (InFlight<'_>, Fault) {
        let (fault, delay) = {
            let mut state = self.state();
            state.counts.calls += 1;
            state.counts.in_flight += 1;
            state.counts.most_in_flight = state.counts.most_in_flight.max(state.counts.in_flight);
            state.counts.first_call.get_or_insert_with(Instant::now);
            if let Some(seen) = &mut state.seen {
                seen.extend(texts.iter().map(|text| hash::text(text)));
                state.counts.distinct = seen.len() as u64;
            }
            if state.keep > 0 {
                state.received.push_back(received());
                state.trim();
            }
            (state.next_fault(texts), state.delay())
        };
        self.calls.send_modify(|calls| *calls += 1);
        (InFlight { control: self, status: None, delay }, fault)
    }

    /// Refuses a call early that the quota of requests has no room for; takes nothing of it.
    pub(super) fn ask(&self, model_id: &str) -> Result<(), Refusal> {
        self.state().meters.ask(model_id, Instant::now()).map_err(refused)
    }

    /// Takes a call out of the quotas, or refuses it: then it takes nothing.
    pub(super) fn take(&self, model_id: &str, tokens: u64) -> Result<(), Refusal> {
        self.state().meters.take(model_id, tokens, Instant::now()).map_err(refused)
    }

    /// Gives back what was taken of a quota of tokens beyond what a call came to.
    pub(super) fn give_back(&self, model_id: &str, tokens: u64) {
        self.state().meters.give_back(model_id, tokens);
    }

    /// Sets the quotas again: nothing has been taken of them, and their schedules begin.
    pub(super) fn set_quotas(&self, requests: Quota, tokens: Quota) {
        let mut state = self.state();
        (state.config.requests, state.config.tokens) = (requests, tokens);
        state.meters = meters(&state.config);
    }

    pub(super) fn set_faults(&self, rates: FaultRates) {
        self.state().config.faults = rates;
    }

    pub(super) fn set_latency(&self, latency: Duration, jitter: Duration) {
        let mut state = self.state();
        (state.config.latency, state.config.jitter) = (latency, jitter);
    }

    pub(super) fn config(&self) -> EmulatorConfig {
        self.state().config.clone()
    }

    /// Takes over what can change; quotas begin again only if they are among it.
    pub(super) fn configure(&self, config: EmulatorConfig, quotas: bool) {
        let mut state = self.state();
        state.config = config;
        if quotas {
            state.meters = meters(&state.config);
        }
    }

    pub(super) fn reset(&self) {
        let mut state = self.state();
        let Counts { in_flight, .. } = state.counts;
        state.counts = Counts { in_flight, most_in_flight: in_flight, ..Counts::default() };
        state.config = state.started.clone();
        state.meters = meters(&state.config);
        state.script.clear();
        state.standing.clear();
        state.received.clear();
        if let Some(seen) = &mut state.seen {
            seen.clear();
        }
        drop(state);
        self.calls.send_replace(0);
    }

    /// Returns how many scripted faults wait for their calls.
    pub(super) fn scripted(&self) -> usize {
        self.state().script.len()
    }

    /// Counts the texts and tokens of a call that was embedded.
    pub(super) fn bill(&self, texts: u64, tokens: u64) {
        let mut state = self.state();
        state.counts.texts += texts;
        state.counts.tokens += tokens;
    }

    /// Counts a call to a chat model that is about to arrive.
    pub(super) fn chat(&self, operation: Operation) {
        let mut state = self.state();
        state.counts.chat.calls += 1;
        state.counts.chat.streams += u64::from(operation == Operation::ConverseStream);
    }

    /// Counts the tokens of a chat call that was answered.
    pub(super) fn bill_chat(&self, usage: &Usage) {
        let (read, written) = usage.cached();
        let chat = &mut self.state().counts.chat;
        chat.input_tokens += usage.input;
        chat.output_tokens += usage.output;
        chat.cache_read_tokens += read;
        chat.cache_write_tokens += written;
    }

    pub(super) fn connected(&self) {
        self.state().counts.connections += 1;
    }

    /// Returns at once unless answers are held; then when they are released. Cancel safe.
    pub(super) async fn released(&self) {
        if *self.held.borrow() {
            let released = self.held.subscribe().wait_for(|held| !held).await.map(drop);
            released.expect("the sender is part of `self`");
        }
    }

    pub(super) async fn called(&self, calls: u64) {
        let called = self.calls.subscribe().wait_for(|arrived| *arrived >= calls).await.map(drop);
        called.expect("the sender is part of `self`");
    }

    pub(super) fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    pub(super) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        // Collected first: the caller's iterator must not run under the lock.
        let faults: Vec<Fault> = faults.into_iter().collect();
        self.state().script.extend(faults);
    }

    pub(super) fn fault_where(&self, marker: String, fault: Fault) {
        self.state().standing.push((marker, fault));
    }

    pub(super) fn clear_faults(&self) {
        let mut state = self.state();
        state.script.clear();
        state.standing.clear();
        state.config.faults = FaultRates::default();
    }

    pub(super) fn record(&self, last: NonZeroUsize) {
        let mut state = self.state();
        state.keep = last.get();
        state.trim();
    }

    pub(super) fn tell_apart(&self) {
        self.state().seen.get_or_insert_default();
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.state().received.iter().cloned().collect()
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    fn state(&self) -> MutexGuard<'_, ControlState> {
        // Counters and queues are usable whatever a panicking thread left behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn meters(config: &EmulatorConfig) -> Meters {
    Meters::new(config.requests.clone(), config.tokens.clone(), Instant::now())
}

fn refused(over: Over) -> Refusal {
    match over {
        Over::Requests => Refusal::throttled(),
        Over::Tokens => Refusal::too_many_tokens(),
    }
}

impl ControlState {
    /// What somebody asked for goes before what chance brings: scripted, then by text, then at random.
    fn next_fault(&mut self, texts: &[&str]) -> Fault {
        self.script.pop_front().unwrap_or_else(|| {
            let standing = self.standing.iter().find(|(marker, _)| texts.iter().any(|text| text.contains(marker)));
            match standing {
                Some((_, fault)) => fault.clone(),
                None if self.config.faults.is_none() => Fault::None,
                None => self.config.faults.draw(self.chance(Draw::Fault)),
            }
        })
    }

    /// Returns how long the call that has just been counted takes.
    fn delay(&self) -> Duration {
        let EmulatorConfig { latency, jitter, .. } = self.config;
        if jitter.is_zero() {
            return latency;
        }
        let part =
            f64::from(u32::try_from(self.chance(Draw::Jitter) >> 32).expect("its high half")) / (f64::from(u32::MAX) + 1.0);
        latency.saturating_add(jitter.mul_f64(part))
    }

    /// Returns 64 bits that follow from the seed and from how many calls came before this one, and from nothing else.
    fn chance(&self, draw: Draw) -> u64 {
        let call = hash::fold(hash::fold(hash::finish(self.config.seed), self.counts.calls), draw as u64);
        hash::finish(call)
    }

    fn trim(&mut self) {
        let surplus = self.received.len().saturating_sub(self.keep);
        self.received.drain(..surplus);
    }
}

/// A call that has arrived and is not over. Dropped without an answer, it counts as unanswered.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    control: &'a Control,
    status: Option<u16>,
    /// How long the answer takes, from the arrival of the call.
    pub(super) delay: Duration,
}

impl InFlight<'_> {
    pub(super) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.control.state();
        state.counts.in_flight -= 1;
        match self.status {
            Some(status) => *state.counts.answered.entry(status).or_default() += 1,
            None => state.counts.unanswered += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive<'a>(control: &'a Control, text: &str) -> (InFlight<'a>, Fault) {
        control.arrive(&[text], || Received {
            model_id: None,
            operation: None,
            texts: vec![text.to_owned()],
            body: serde_json::Value::Null,
            authorization: None,
            content_type: None,
            accept: None,
        })
    }

    #[test]
    fn scripted_faults_go_one_a_call_and_before_standing_ones() {
        let control = Control::new(&EmulatorConfig::default());
        control.fault_where("POISON".to_owned(), Fault::internal());
        control.script([Fault::Throttle, Fault::None]);
        let faults = ["a", "POISON", "some POISON", "b"].map(|text| arrive(&control, text).1);
        assert_eq!(faults, [Fault::Throttle, Fault::None, Fault::internal(), Fault::None]);
    }

    fn config(toml: &str) -> EmulatorConfig {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn random_faults_and_latencies_follow_from_the_seed_and_the_order_alone() {
        let fares = |config: &str| {
            let control = Control::new(&self::config(config));
            let fare = |_| {
                let (in_flight, fault) = arrive(&control, "a");
                (fault, in_flight.delay)
            };
            (0..200).map(fare).collect::<Vec<_>>()
        };
        let (faults, jitter) = ("faults = \"429 30%, 5xx 30%\"\n", "latency = \"1s\"\njitter = \"2s\"\n");
        let both = fares(&format!("{faults}{jitter}seed = 1"));
        assert_eq!(both, fares(&format!("{faults}{jitter}seed = 1")));
        assert_ne!(both, fares(&format!("{faults}{jitter}seed = 2")));
        // One does not shift the other.
        let (alone_faults, alone_delays) = (fares(&format!("{faults}seed = 1")), fares(&format!("{jitter}seed = 1")));
        let joined = alone_faults.into_iter().zip(alone_delays).map(|((fault, _), (_, delay))| (fault, delay));
        assert_eq!(both, joined.collect::<Vec<_>>());
        let (least, most) = (both.iter().map(|fare| fare.1).min().unwrap(), both.iter().map(|fare| fare.1).max().unwrap());
        assert!(least >= Duration::from_secs(1) && least < Duration::from_millis(1_100), "{least:?}");
        assert!(most < Duration::from_secs(3) && most > Duration::from_millis(2_900), "{most:?}");
    }

    #[test]
    fn a_fault_that_was_asked_for_goes_before_one_by_chance() {
        let control = Control::new(&config("faults = \"reset 100%\""));
        control.fault_where("POISON".to_owned(), Fault::internal());
        control.script([Fault::None, Fault::Hang]);
        let faults = ["a", "POISON", "POISON", "a"].map(|text| arrive(&control, text).1);
        assert_eq!(faults, [Fault::None, Fault::Hang, Fault::internal(), Fault::Reset]);
        control.clear_faults();
        assert_eq!(["POISON", "a"].map(|text| arrive(&control, text).1), [Fault::None, Fault::None]);
    }

    #[test]
    fn only_the_last_requests_are_kept() {
        let control = Control::new(&EmulatorConfig::default());
        drop(arrive(&control, "before"));
        control.record(NonZeroUsize::new(2).unwrap());
        for text in ["a", "b", "c"] {
            drop(arrive(&control, text));
        }
        let texts: Vec<_> = control.requests().into_iter().flat_map(|request| request.texts).collect();
        assert_eq!(texts, ["b", "c"]);
    }

    #[test]
    fn a_call_is_in_flight_until_it_is_answered_or_dropped() {
        let control = Control::new(&EmulatorConfig::default());
        let (first, _) = arrive(&control, "a");
        let (second, _) = arrive(&control, "b");
        first.answered(200);
        drop(second);
        let counts = control.counts();
        assert_eq!((counts.in_flight, counts.most_in_flight, counts.unanswered), (0, 2, 1));
        assert_eq!(counts.answered, BTreeMap::from([(200, 1)]));
    }
}
