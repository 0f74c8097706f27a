//! What a test sets and reads while the server runs.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::authorization::Authorization;
use super::fault::Fault;
use super::hash;

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
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The model id, percent-decoded; `None` when the request was for another route.
    pub model_id: Option<String>,
    /// The texts to embed, as far as the body has any for this model.
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
/// of calls, unless texts are told apart.
#[derive(Debug, Default)]
pub(super) struct Control {
    state: Mutex<State>,
    calls: watch::Sender<u64>,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    script: VecDeque<Fault>,
    standing: Vec<(String, Fault)>,
    received: VecDeque<Received>,
    keep: usize,
    /// Hashes of the texts that arrived, while they are told apart.
    seen: Option<HashSet<u64>>,
}

impl Control {
    /// Counts a call in and decides how it goes wrong. `received` is made only while requests are recorded.
    pub(super) fn arrive(&self, texts: &[&str], received: impl FnOnce() -> Received) -> (InFlight<'_>, Fault) {
        let fault = {
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
            state.next_fault(texts)
        };
        self.calls.send_modify(|calls| *calls += 1);
        (InFlight { control: self, status: None }, fault)
    }

    /// Counts the texts and tokens of a call that was embedded.
    pub(super) fn bill(&self, texts: u64, tokens: u64) {
        let mut state = self.state();
        state.counts.texts += texts;
        state.counts.tokens += tokens;
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

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and queues are usable whatever a panicking thread left behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_fault(&mut self, texts: &[&str]) -> Fault {
        self.script.pop_front().unwrap_or_else(|| {
            let standing = self.standing.iter().find(|(marker, _)| texts.iter().any(|text| text.contains(marker)));
            standing.map_or(Fault::None, |(_, fault)| fault.clone())
        })
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
            texts: vec![text.to_owned()],
            body: serde_json::Value::Null,
            authorization: None,
            content_type: None,
            accept: None,
        })
    }

    #[test]
    fn scripted_faults_go_one_a_call_and_before_standing_ones() {
        let control = Control::default();
        control.fault_where("POISON".to_owned(), Fault::internal());
        control.script([Fault::Throttle, Fault::None]);
        let faults = ["a", "POISON", "some POISON", "b"].map(|text| arrive(&control, text).1);
        assert_eq!(faults, [Fault::Throttle, Fault::None, Fault::internal(), Fault::None]);
    }

    #[test]
    fn only_the_last_requests_are_kept() {
        let control = Control::default();
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
        let control = Control::default();
        let (first, _) = arrive(&control, "a");
        let (second, _) = arrive(&control, "b");
        first.answered(200);
        drop(second);
        let counts = control.counts();
        assert_eq!((counts.in_flight, counts.most_in_flight, counts.unanswered), (0, 2, 1));
        assert_eq!(counts.answered, BTreeMap::from([(200, 1)]));
    }
}
