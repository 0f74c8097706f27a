//! The gate before all calls of a model: open, or closed for a reason that sets the retry schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::gate_reason::CallResult;
pub use super::gate_reason::{Probes, Reason};
use super::retry;
use super::shared_refusals::Doubts;
pub use super::shared_refusals::{Doubt, Input};
use crate::bedrock::advice::ModelKey;
use crate::bedrock::error::CallError;
use crate::domain::DocumentPath;

/// Failures in succession, with no answer between them, that make an outage.
const OUTAGE: u32 = 8;
/// In an outage one call goes each time this has passed, whether the one before has its answer or hangs.
const OUTAGE_PROBE: Duration = Duration::from_secs(5);
/// Nothing but throttles for so long is no full minute any more: the quota is zero, as it is for models of new accounts, or another
/// client uses all of it.
const QUOTA_ZERO: Duration = Duration::from_mins(2);
/// With a quota of zero one call goes each time this has passed.
const QUOTA_ZERO_PROBE: Duration = Duration::from_secs(30);
/// A run that ends probes at least this often what a person must fix…
const HURRIED_PROBE: Duration = Duration::from_millis(250);
/// … and this often where all inputs are rejected alike, for it tries as many as it can…
const HURRIED_COMMON_PROBE: Duration = Duration::from_millis(20);
/// … in this time, and takes it then that nothing will be served.
const HURRIED_COMMON: Duration = Duration::from_secs(20);
/// Otherwise it takes that after so many refusals in succession, the last of them a probe's…
const HOPELESS: u32 = 12;
/// … or after so many where it was served before. Behind a profile for several regions two of three may be closed to the account: of
/// forty calls none is served then once in ten million.
const HOPELESS_AFTER_ALL: u32 = 40;
/// Calls in doubt that are held beside those that have a place; each holds its input.
const MOST_HELD: usize = 16;
/// Documents that are remembered as refused when there was nothing to compare them with.
const MOST_ALONE: usize = 256;

/// So many answers in succession that the model is not ready, with none served between them, are not one copy of it that is loaded.
const NOT_READY: u32 = 4;
/// While it is not ready one call goes each time this has passed. Asking costs nothing, and is what makes the service load it.
const NOT_READY_PROBES: Probes =
    Probes::Growing { first: Duration::from_millis(250), factor: 2.0, longest: Duration::from_secs(2) };

/// A gate for the calls of one model and operation. Several reasons may apply at once; each keeps it closed.
#[derive(Debug)]
pub struct Gate {
    name: String,
    /// How calls that a person must fix are probed.
    refused: Mutex<retry::RetryConfig>,
    /// Whose turn it is to be the next probe: first come, first served, so that one bad text is not asked for ever.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<GateState>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct GateState {
    closed: Vec<Closed>,
    /// Counts closings and openings: an answer to a call from before says nothing about the state after.
    turn: u64,
    passes: u64,
    served: u64,
    /// Refusals that a person must fix, since a call was served.
    refusals: u32,
    /// Whether the run ends by itself, and so cannot wait for a person.
    is_hurried: bool,
    /// Why a run that ends makes no more calls.
    halted: Option<CallError>,
    begun: u64,
    on_their_way: BTreeMap<u64, Begun>,
    /// The last attempt to begin of those that were served.
    last_served: u64,
    doubts: Doubts,
    /// How often the gate was closed because a refusal was everybody's.
    closings: u64,
    /// Calls that are being tried, and not in doubt.
    tried: usize,
    /// Since when there are none.
    idle_since: Option<Instant>,
    feeds: Feeds,
    held: usize,
    /// Inputs in doubt that wait for their verdict, by the attempt that was refused last: the one that was tried least recently is next.
    waiting: BTreeSet<u64>,
    /// Documents of inputs that were refused while nothing else was asked, by the attempt.
    alone: Vec<(u64, DocumentPath)>,
    failures: u32,
    /// The call whose failures these are, while they are all of one call.
    failing: Option<u64>,
    throttled_since: Option<Instant>,
    not_ready: u32,
}

/// An attempt that is on its way.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// How many had been served when it began.
    served: u64,
    /// How often the gate had been closed for all inputs and opened again by then. One that is refused over such a time is asked again.
    closings: u64,
}

/// Those who bring calls.
#[derive(Debug, Default)]
struct Feeds {
    begun: usize,
    ended: usize,
}

#[derive(Debug)]
struct Closed {
    reason: Reason,
    /// Whether it is the same refusal for all inputs. Then only a call that is served shows that it has gone.
    is_common: bool,
    cause: Option<CallError>,
    since: Instant,
    probes: Probes,
    wait: Duration,
    next: Option<Instant>,
}

/// One of the things that keep a gate closed.
#[derive(Debug, Clone)]
pub struct Closing {
    /// What it is.
    pub reason: Reason,
    /// Since when.
    pub since: Instant,
    /// The error that closed it, if one did.
    pub cause: Option<CallError>,
}

/// Leave to make one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Whether the gate is closed, and this attempt is to see whether it may open.
    pub is_probe: bool,
    turn: u64,
    /// Its number among the attempts that were made, once it is made.
    attempt: u64,
}

/// What is decided of an input in doubt.
#[derive(Debug)]
pub enum Verdict {
    /// The refusal was its own.
    Own,
    /// The refusal was its own as far as is known: there was nothing to compare it with.
    Alone,
    /// It is asked again: the refusal is everybody's, or was.
    Again,
    /// It is left for later: too many wait.
    Later,
    /// The refusal is everybody's, and a run that ends does not wait for the end of it.
    Halted(CallError),
}

/// Says that an input in doubt waits, until it is dropped.
struct Waiting<'a>(&'a Gate, u64);

enum Look {
    Go(Pass),
    Wait(Option<Instant>),
}

impl Gate {
    /// Makes an open gate. `name` is model and operation, for the log; `retry` says how calls that a person must fix are probed.
    #[must_use]
    pub fn new(name: String, retry: &retry::RetryConfig) -> Self {
        let refused = Mutex::new(retry.clone());
        Self { name, refused, turn: tokio::sync::Mutex::default(), state: Mutex::default(), changed: watch::Sender::default() }
    }

    /// Has calls that a person must fix probed in another way. Where the gate is closed for them, the next goes soon.
    pub fn probe_as(&self, retry: &retry::RetryConfig) {
        let before = std::mem::replace(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner), retry.clone());
        let now = Instant::now();
        {
            let mut state = self.state();
            if probes(&before, state.is_hurried) == probes(retry, state.is_hurried) {
                return;
            }
            let probes = probes(retry, state.is_hurried);
            for closed in state.closed.iter_mut().filter(|closed| closed.reason == Reason::Refused) {
                (closed.probes, closed.wait) = (probes, retry.initial);
                closed.next = now.checked_add(retry.initial);
            }
        }
        self.changed.send_replace(());
    }

    /// Marks the waiting calls as those of `run --once`: causes that a person must fix are probed quickly, and not for long.
    pub fn hurry(&self) {
        self.state().is_hurried = true;
    }

    /// Waits until the gate is open, or a probe is due and it is the caller's turn. Cancel safe.
    pub async fn pass(&self) -> Pass {
        if let Look::Go(pass) = self.look(false) {
            return pass;
        }
        let _turn = self.turn.lock().await;
        let mut changed = self.changed.subscribe();
        loop {
            let due = match self.look(true) {
                Look::Go(pass) => return pass,
                Look::Wait(due) => due,
            };
            let due = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                changed = changed.changed() => changed.expect("the sender is part of `self`"),
            }
        }
    }

    /// Begins the attempt that a pass is for. Returns `None` where it does not hold any more: it is no probe, and the gate has been
    /// closed since. Its outcome is to be reported to [`heard`](Self::heard).
    #[must_use]
    pub fn begin(&self, pass: Pass) -> Option<Pass> {
        let mut state = self.state();
        if !pass.is_probe && !state.closed.is_empty() {
            return None;
        }
        state.begun += 1;
        let attempt = state.begun;
        let closings = state.closings - u64::from(state.closed.iter().any(|closed| closed.is_common));
        let begun = Begun { served: state.served, closings };
        state.on_their_way.insert(attempt, begun);
        Some(Pass { attempt, ..pass })
    }

    /// Names a call, so that failures of one call differ from those of all.
    #[must_use]
    pub fn name_call(&self) -> u64 {
        let mut state = self.state();
        state.passes += 1;
        state.passes
    }

    /// Returns how many calls have been served.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.state().served
    }

    /// Returns the reasons for which the gate is closed.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        self.state().closed.iter().map(|closed| closed.reason).collect()
    }

    /// Returns all that keeps the gate closed.
    #[must_use]
    pub fn closed(&self) -> Vec<Closing> {
        let closing = |closed: &Closed| Closing { reason: closed.reason, since: closed.since, cause: closed.cause.clone() };
        self.state().closed.iter().map(closing).collect()
    }

    /// Returns the error that closed the gate, if one did.
    #[must_use]
    pub fn cause(&self) -> Option<CallError> {
        self.state().closed.iter().find_map(|closed| closed.cause.clone())
    }

    /// Waits until the gate is closed for a reason. Cancel safe.
    pub async fn closed_for(&self, reason: Reason) {
        let mut changed = self.changed.subscribe();
        while !self.state().closed.iter().any(|closed| closed.reason == reason) {
            changed.changed().await.expect("the sender is part of `self`");
        }
    }

    /// Closes the gate for a reason, unless it is closed for it already.
    pub fn close(&self, reason: Reason, probes: Probes) {
        self.close_for(reason, false, probes, None);
    }

    /// Removes a reason. The gate opens when none is left.
    pub fn open(&self, reason: Reason) {
        self.retain(|closed| closed.reason != reason);
    }

    /// Records the outcome of an attempt of a call that [`name_call`](Self::name_call) has named.
    pub fn heard(&self, call: u64, pass: Pass, result: Result<(), &CallError>) {
        self.answered(call, pass, CallResult::of(result), result.err());
    }

    /// Takes the refusal of an input that may be everybody's, and returns what is to be decided of it. `before` is what was said of an
    /// earlier refusal of the same input. `None`: others were served since, so it is its own.
    #[must_use]
    pub fn doubt(&self, call: u64, pass: Pass, input: Input, error: &CallError, before: Option<&Doubt>) -> Option<Doubt> {
        let doubt = {
            let mut state = self.state();
            let first = before.map_or(pass.attempt, |before| before.attempt);
            let begun = state.on_their_way.get(&pass.attempt).copied();
            let is_decided = before.is_some() && state.last_served > first;
            if !is_decided {
                let last = state.begun;
                let is_among_served = begun.is_some_and(|begun| begun.served < state.served);
                state.doubts.add(first, input, error, last, is_among_served);
            }
            let closings = begun.map_or(state.closings, |begun| begun.closings);
            (!is_decided).then_some(Doubt { attempt: first, last: pass.attempt, closings })
        };
        self.answered(call, pass, CallResult::Rejected, Some(error));
        doubt
    }

    fn answered(&self, call: u64, pass: Pass, answer: CallResult, error: Option<&CallError>) {
        let now = Instant::now();
        let mut closing = None;
        let mut is_current = true;
        let common;
        {
            let mut state = self.state();
            state.on_their_way.remove(&pass.attempt);
            match answer {
                CallResult::Served => {
                    state.served += 1;
                    state.refusals = 0;
                    state.last_served = state.last_served.max(pass.attempt);
                    let begun = state.begun;
                    state.doubts.served(pass.attempt, begun);
                }
                CallResult::Refused => state.refusals += 1,
                CallResult::Rejected | CallResult::Throttled | CallResult::NotReady | CallResult::Failed => {}
            }
            let state = &mut *state;
            // Not while an attempt is in flight that had begun before the refused ones: its answer may still set them apart.
            common = state.doubts.common(|attempts| state.on_their_way.range(attempts).next().is_some()).cloned();
            // The gate has opened or closed since an earlier turn, so such an answer says nothing about now.
            if pass.turn == state.turn {
                closing = state.judge(call, now, answer);
            } else {
                is_current = false;
            }
        }
        if is_current {
            self.retain(|closed| closed.is_common || !closed.reason.is_disproved_by(answer));
        }
        // The time when a call began decides here, not whether the gate has closed or opened meanwhile.
        if answer == CallResult::Served && !self.state().doubts.are_enough() {
            self.retain(|closed| !closed.is_common);
        }
        // After the reasons that this answer disproves have been removed: it may disprove one and show another.
        if let Some((reason, probes)) = closing {
            let probes = probes.unwrap_or_else(|| self.refused_probes());
            self.close_for(reason, false, probes, error.cloned());
        }
        if let Some(cause) = common {
            let is_hurried = self.state().is_hurried;
            let probes = if is_hurried { Probes::Every(HURRIED_COMMON_PROBE) } else { self.refused_probes() };
            self.close_for(Reason::Refused, true, probes, Some(cause.as_everybodys()));
        }
        // Calls in doubt check again.
        self.changed.send_replace(());
    }

    fn refused_probes(&self) -> Probes {
        let retry = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        probes(&retry, self.state().is_hurried)
    }

    /// Waits until it is decided whose fault a refusal was. `held` says whether the call has given its place to another one. Cancel safe.
    ///
    /// While the gate is closed for all inputs, those that come newly are the probes, and the ones in doubt again when no others are
    /// there: so none is asked for ever while others wait behind it.
    pub async fn verdict(&self, doubt: &Doubt, is_held: bool, patience: Duration) -> Verdict {
        let mut changed = self.changed.subscribe();
        let _waiting = Waiting::new(self, doubt);
        loop {
            // Before the state is read, so that a change after that ends the wait below.
            changed.mark_unchanged();
            let looks_again = {
                let state = self.state();
                let common = state.closed.iter().find(|closed| closed.is_common);
                let idle = state.idle_until(patience);
                match common {
                    // `run --once` waits for so long at most, then ends with the common cause.
                    Some(Closed { cause: Some(cause), since, .. }) if state.is_hurried => {
                        let ends = idle.map_or(*since + HURRIED_COMMON, |idle| idle.min(*since + HURRIED_COMMON));
                        if ends <= Instant::now() {
                            return Verdict::Halted(cause.clone());
                        }
                        if !is_held {
                            return Verdict::Later;
                        }
                        Some(ends)
                    }
                    Some(_) if !is_held => return Verdict::Later,
                    // No new input is left to probe with: the oldest one in doubt is the probe.
                    Some(_) if state.tried == 0 && state.waiting.first() == Some(&doubt.last) => return Verdict::Again,
                    Some(_) => None,
                    // The gate has been closed for all inputs since, so this refusal need not be the input's own.
                    None if state.closings != doubt.closings || !state.closed.is_empty() => return Verdict::Again,
                    // A later attempt was served, so this input alone is refused.
                    None if state.last_served > doubt.attempt => return Verdict::Own,
                    // No other input has come for a while that could be compared with it.
                    None if idle.is_some_and(|idle| idle <= Instant::now()) => return Verdict::Alone,
                    None => idle,
                }
            };
            let again = async {
                match looks_again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = again => {}
                changed = changed.changed() => changed.expect("the sender is part of `self`"),
            }
        }
    }

    /// Returns whether a call in doubt may be held beside those that have a place, so that others can be tried; each that may is to be
    /// [let go](Self::let_go).
    pub(super) fn hold(&self) -> bool {
        let mut state = self.state();
        let has_room = state.held < MOST_HELD;
        state.held += usize::from(has_room);
        has_room
    }

    pub(super) fn let_go(&self) {
        self.state().held -= 1;
    }

    /// Counts a call that is being tried, until it is [at rest](Self::rest).
    pub(super) fn try_one(&self) {
        let mut state = self.state();
        state.tried += 1;
        state.idle_since = None;
    }

    pub(super) fn rest(&self) {
        {
            let mut state = self.state();
            state.tried -= 1;
            if state.tried == 0 {
                state.idle_since = Some(Instant::now());
            }
            if state.doubts.are_none() {
                return;
            }
        }
        self.changed.send_replace(());
    }

    /// Counts a stage that brings calls, until it has [no more](Self::feed_ends). When none has, an input in doubt waits for no others.
    pub(super) fn feed_begins(&self) {
        self.state().feeds.begun += 1;
    }

    pub(super) fn feed_ends(&self) {
        self.state().feeds.ended += 1;
        self.changed.send_replace(());
    }

    /// Remembers a document whose input was refused while there was nothing to compare it with.
    pub fn was_alone(&self, doubt: &Doubt, document: &DocumentPath) {
        let mut state = self.state();
        if state.alone.len() < MOST_ALONE {
            state.alone.push((doubt.attempt, document.clone()));
        }
    }

    /// Returns documents whose inputs were refused alone, once another input has been served: each is to be tried once more.
    #[must_use]
    pub fn no_more_alone(&self) -> Vec<DocumentPath> {
        let mut state = self.state();
        if state.alone.is_empty() {
            return Vec::new();
        }
        let last_served = state.last_served;
        let (served, alone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.alone).into_iter().partition(|(refused, _)| *refused < last_served);
        state.alone = alone;
        served.into_iter().map(|(_, document)| document).collect()
    }

    /// Returns whether a run that ends has nothing to hope for after this refusal.
    #[must_use]
    pub fn is_hopeless(&self, pass: Pass, error: &CallError) -> bool {
        let state = self.state();
        let most = match state.served {
            0 if error.is_of_all_calls() => return true,
            0 => HOPELESS,
            _ => HOPELESS_AFTER_ALL,
        };
        pass.is_probe && state.refusals >= most
    }

    /// Has a run that ends make no more calls. Returns whether it is the first to say so.
    pub fn halt(&self, error: &CallError) -> bool {
        let is_first = {
            let mut state = self.state();
            let is_first = state.halted.is_none();
            state.halted.get_or_insert_with(|| error.clone());
            is_first
        };
        self.changed.send_replace(());
        is_first
    }

    /// Returns why a run that ends makes no more calls, if it does not.
    #[must_use]
    pub fn halted(&self) -> Option<CallError> {
        self.state().halted.clone()
    }

    /// Waits until a run that ends makes no more calls. Cancel safe.
    pub async fn until_halted(&self) -> CallError {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(error) = self.halted() {
                return error;
            }
            changed.changed().await.expect("the sender is part of `self`");
        }
    }

    fn close_for(&self, reason: Reason, is_common: bool, probes: Probes, cause: Option<CallError>) {
        let now = Instant::now();
        {
            let mut state = self.state();
            if state.closed.iter().any(|closed| closed.reason == reason) {
                return;
            }
            state.closings += u64::from(is_common);
            let wait = match probes {
                Probes::Every(wait) | Probes::Growing { first: wait, .. } => wait,
                Probes::Never => Duration::MAX,
            };
            let (cause, next) = (cause.clone(), now.checked_add(wait));
            state.closed.push(Closed { reason, is_common, cause, since: now, probes, wait, next });
            state.turn += 1;
        }
        self.changed.send_replace(());
        let (gate, why) = (&self.name, reason.as_str());
        match cause {
            Some(cause) if matches!(reason, Reason::Refused | Reason::QuotaZero) => {
                error!(gate, reason = why, error = %cause, class = cause.class.as_str(), request_id = cause.request_id, help = %cause.advice_for(ModelKey::of_lane(&self.name)), "calls are not served; waiting");
            }
            Some(cause) => warn!(gate, reason = why, error = %cause, class = cause.class.as_str(), "calls keep failing; waiting"),
            None => warn!(gate, reason = why, "calls are held back; waiting"),
        }
    }

    fn retain(&self, stays: impl Fn(&Closed) -> bool) {
        let gone = {
            let mut state = self.state();
            let (stay, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut state.closed).into_iter().partition(stays);
            state.closed = stay;
            if gone.is_empty() {
                return;
            }
            // A new turn: answers to calls from before count no more, and every streak begins at zero.
            state.turn += 1;
            state.failures = 0;
            state.throttled_since = None;
            state.not_ready = 0;
            gone
        };
        self.changed.send_replace(());
        for closed in gone {
            let closed_ms = u64::try_from(closed.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(gate = self.name, reason = closed.reason.as_str(), closed_ms, "calls are made again");
        }
    }

    fn look(&self, may_probe: bool) -> Look {
        let now = Instant::now();
        let mut state = self.state();
        let turn = state.turn;
        if state.closed.is_empty() {
            return Look::Go(Pass { is_probe: false, turn, attempt: 0 });
        }
        // Every reason must allow the probe; one that never does leaves it to the caller that closed the gate.
        let due = state.closed.iter().map(|closed| closed.next).reduce(|one, other| Some(one?.max(other?))).flatten();
        if !may_probe || due.is_none_or(|due| due > now) {
            return Look::Wait(due);
        }
        // One probe serves all reasons, so each of them waits its own time again after it.
        for closed in &mut state.closed {
            if let Probes::Growing { factor, longest, .. } = closed.probes {
                closed.wait = Duration::try_from_secs_f64(closed.wait.as_secs_f64() * factor).unwrap_or(longest).min(longest);
            }
            closed.next = now.checked_add(closed.wait);
        }
        Look::Go(Pass { is_probe: true, turn, attempt: 0 })
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GateState {
    /// Returns what an answer to a call of this turn closes the gate for; without a way to probe where that is configured.
    fn judge(&mut self, call: u64, now: Instant, answer: CallResult) -> Option<(Reason, Option<Probes>)> {
        match answer {
            CallResult::Failed => {
                self.failures += 1;
                if self.failures == 1 {
                    self.failing = Some(call);
                } else if self.failing != Some(call) {
                    self.failing = None;
                }
                // A call that fails on and on by itself may be the trouble itself; its own waits are long enough.
                let is_outage = self.failures >= OUTAGE && self.failing.is_none();
                is_outage.then_some((Reason::Outage, Some(Probes::Every(OUTAGE_PROBE))))
            }
            CallResult::Throttled => {
                self.failures = 0;
                let since = *self.throttled_since.get_or_insert(now);
                let is_zero = now.duration_since(since) >= QUOTA_ZERO;
                is_zero.then_some((Reason::QuotaZero, Some(Probes::Every(QUOTA_ZERO_PROBE))))
            }
            CallResult::NotReady => {
                self.failures = 0;
                self.throttled_since = None;
                self.not_ready += 1;
                (self.not_ready >= NOT_READY).then_some((Reason::NotReady, Some(NOT_READY_PROBES)))
            }
            CallResult::Served | CallResult::Rejected => {
                self.failures = 0;
                self.throttled_since = None;
                self.not_ready = 0;
                None
            }
            CallResult::Refused => Some((Reason::Refused, None)),
        }
    }

    /// Returns when it is known that no other input is there to compare one with; `None` while there is.
    fn idle_until(&self, patience: Duration) -> Option<Instant> {
        let since = self.idle_since.filter(|_| self.tried == 0)?;
        let is_fed = self.feeds.begun > 0 && self.feeds.begun == self.feeds.ended;
        if is_fed { Some(since) } else { since.checked_add(patience) }
    }
}

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate, doubt: &Doubt) -> Self {
        gate.state().waiting.insert(doubt.last);
        Self(gate, doubt.last)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting.remove(&self.1);
    }
}

fn probes(retry: &retry::RetryConfig, is_hurried: bool) -> Probes {
    let longest = if is_hurried { HURRIED_PROBE } else { Duration::MAX };
    Probes::Growing { first: retry.initial.min(longest), factor: retry.multiplier, longest: retry.max_interval.min(longest) }
}

#[cfg(test)]
mod tests;
