//! Whether calls may be made at all: open, or closed for a reason that says when to try again.

mod reason;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::advice::ModelKey;
use super::error::CallError;
use super::retry;
use reason::Answer;
pub use reason::{Probes, Reason};

/// Failures in succession, with no answer between them, that make an outage.
const OUTAGE: u32 = 8;
/// In an outage one call goes each time this has passed, whether the one before has its answer or hangs.
const OUTAGE_PROBE: Duration = Duration::from_secs(5);
/// Nothing but throttles for so long is no full minute any more: the quota is zero, as it is for models of new accounts, or another
/// client uses all of it.
const QUOTA_ZERO: Duration = Duration::from_mins(2);
/// With a quota of zero one call goes each time this has passed.
const QUOTA_ZERO_PROBE: Duration = Duration::from_secs(30);

/// A gate for the calls of one model and operation. Several reasons may stand at once; each keeps it closed.
#[derive(Debug)]
pub struct Gate {
    name: String,
    /// How calls that a person must mend are probed.
    refused: Mutex<Probes>,
    /// Whose turn it is to be the next probe: first come, first served, so that one bad text is not asked for ever.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    closed: Vec<Closed>,
    /// Counts closings and openings: an answer to a call from before says nothing about the state after.
    turn: u64,
    passes: u64,
    served: u64,
    failures: u32,
    /// The call whose failures these are, while they are all of one call.
    failing: Option<u64>,
    throttled_since: Option<Instant>,
}

#[derive(Debug)]
struct Closed {
    reason: Reason,
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
}

enum Look {
    Go(Pass),
    Wait(Option<Instant>),
}

impl Gate {
    /// Makes an open gate. `name` is model and operation, for the log; `retry` says how calls that a person must mend are probed.
    #[must_use]
    pub fn new(name: String, retry: &retry::Config) -> Self {
        let refused = Mutex::new(probes(retry));
        Self { name, refused, turn: tokio::sync::Mutex::default(), state: Mutex::default(), changed: watch::Sender::default() }
    }

    /// Has calls that a person must mend probed in another way. Where the gate is closed for them, the next goes soon.
    pub fn probe_as(&self, retry: &retry::Config) {
        let probes = probes(retry);
        let before = std::mem::replace(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner), probes);
        if before == probes {
            return;
        }
        let now = Instant::now();
        for closed in self.state().closed.iter_mut().filter(|closed| closed.reason == Reason::Refused) {
            (closed.probes, closed.wait) = (probes, retry.initial);
            closed.next = now.checked_add(retry.initial);
        }
        self.changed.send_replace(());
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

    /// Returns whether a pass still holds: no probe, and the gate has not been closed since.
    #[must_use]
    pub fn holds(&self, pass: Pass) -> bool {
        pass.is_probe || self.state().closed.is_empty()
    }

    /// Names a call, to tell whether failures are one call's or everybody's.
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
        self.close_for(reason, probes, None);
    }

    /// Takes a reason back. The gate opens when none is left.
    pub fn open(&self, reason: Reason) {
        self.retain(|closed| closed.reason != reason);
    }

    /// Takes note of what became of an attempt of a call that [`name_call`](Self::name_call) has named.
    pub fn heard(&self, call: u64, pass: Pass, result: Result<(), &CallError>) {
        let now = Instant::now();
        let answer = Answer::of(result);
        let mut closing = None;
        {
            let mut state = self.state();
            if answer == Answer::Served {
                state.served += 1;
            }
            if pass.turn != state.turn {
                return;
            }
            match answer {
                Answer::Failed => {
                    state.failures += 1;
                    if state.failures == 1 {
                        state.failing = Some(call);
                    } else if state.failing != Some(call) {
                        state.failing = None;
                    }
                    // A call that fails on and on by itself may be the trouble itself; its own waits are long enough.
                    if state.failures >= OUTAGE && state.failing.is_none() {
                        closing = Some((Reason::Outage, Probes::Every(OUTAGE_PROBE)));
                    }
                }
                Answer::Throttled => {
                    state.failures = 0;
                    let since = *state.throttled_since.get_or_insert(now);
                    if now.duration_since(since) >= QUOTA_ZERO {
                        closing = Some((Reason::QuotaZero, Probes::Every(QUOTA_ZERO_PROBE)));
                    }
                }
                Answer::Served | Answer::Rejected => {
                    state.failures = 0;
                    state.throttled_since = None;
                }
                Answer::Refused => {
                    closing = Some((Reason::Refused, *self.refused.lock().unwrap_or_else(PoisonError::into_inner)));
                }
            }
        }
        self.retain(|closed| !closed.reason.is_disproved_by(answer));
        if let Some((reason, probes)) = closing {
            self.close_for(reason, probes, result.err().cloned());
        }
    }

    fn close_for(&self, reason: Reason, probes: Probes, cause: Option<CallError>) {
        let now = Instant::now();
        {
            let mut state = self.state();
            if state.closed.iter().any(|closed| closed.reason == reason) {
                return;
            }
            let wait = match probes {
                Probes::Every(wait) | Probes::Growing { first: wait, .. } => wait,
                Probes::Never => Duration::MAX,
            };
            state.closed.push(Closed { reason, cause: cause.clone(), since: now, probes, wait, next: now.checked_add(wait) });
            state.turn += 1;
        }
        self.changed.send_replace(());
        let (gate, why) = (&self.name, reason.as_str());
        match cause {
            Some(cause) if matches!(reason, Reason::Refused | Reason::QuotaZero) => {
                error!(gate, reason = why, error = %cause, class = cause.class.as_str(), request_id = cause.request_id, help = %cause.advice_for(ModelKey::of_lane(&self.name)), "calls are not served, waiting");
            }
            Some(cause) => warn!(gate, reason = why, error = %cause, class = cause.class.as_str(), "calls fail, waiting"),
            None => warn!(gate, reason = why, "no calls are made, waiting"),
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
            state.turn += 1;
            state.failures = 0;
            state.throttled_since = None;
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
            return Look::Go(Pass { is_probe: false, turn });
        }
        // Every reason must allow the probe; one that never does leaves it to whoever closed the gate.
        let due = state.closed.iter().map(|closed| closed.next).reduce(|one, other| Some(one?.max(other?))).flatten();
        if !may_probe || due.is_none_or(|due| due > now) {
            return Look::Wait(due);
        }
        for closed in &mut state.closed {
            if let Probes::Growing { factor, longest, .. } = closed.probes {
                closed.wait = Duration::try_from_secs_f64(closed.wait.as_secs_f64() * factor).unwrap_or(longest).min(longest);
            }
            closed.next = now.checked_add(closed.wait);
        }
        Look::Go(Pass { is_probe: true, turn })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn probes(retry: &retry::Config) -> Probes {
    Probes::Growing { first: retry.initial, factor: retry.multiplier, longest: retry.max_interval }
}

#[cfg(test)]
mod tests;
