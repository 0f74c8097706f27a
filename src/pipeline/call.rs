//! One call, from its first attempt to its end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::bedrock::budget::Estimate;
use crate::bedrock::gate::{Pass, Reason};
use crate::bedrock::limit::Quota;
use crate::bedrock::price::Used;
use crate::bedrock::retry::Schedule;
use crate::bedrock::{CallError, Class, Disposition, Lane};
use crate::model::TokenCount;
use crate::pipeline::Mode;
use crate::telemetry::Counters;

/// Something that can be asked, in as many attempts as it takes.
pub(super) trait Call: Sync {
    /// What comes of it.
    type Answer: Send;

    /// Returns what one attempt is expected to count and to cost.
    fn weigh(&self, lane: &Lane) -> Weight;

    /// Asks once.
    fn attempt(&self) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;

    /// Returns what an answer was billed.
    fn bill(&self, lane: &Lane, answer: &Self::Answer) -> Bill;
}

/// What one attempt is expected to count and to cost.
pub(super) struct Weight {
    /// Tokens that the service takes from the quota.
    pub(super) quota: TokenCount,
    /// The most that it may use.
    pub(super) most: Estimate,
}

/// What an answer was billed.
pub(super) struct Bill {
    /// Tokens that count towards the quota, where the service says.
    pub(super) quota: Option<TokenCount>,
    pub(super) used: Used,
    /// Whether an emulator answered.
    pub(super) emulated: bool,
    /// Texts that were asked about.
    pub(super) texts: u64,
}

/// Why a call ended without an answer.
pub(super) enum End {
    /// Nothing will be served until a person acts, and this run does not wait for one.
    Halted(CallError),
    /// The input is at fault, or nothing more is to be hoped for.
    GivenUp { error: CallError, attempts: u32 },
    /// The day's money is spent, and this run does not wait for another day.
    Left,
}

/// Calls until there is an answer, a refusal, or no time left. The call keeps its slot while it waits: that is the backpressure.
///
/// Only its own trying counts towards `give-up-after`: neither time in which it was throttled nor time under a closed gate, except
/// that a run that is to end does not wait longer for a gate either.
pub(super) async fn until_settled<C: Call>(lane: &Lane, mode: Mode, counters: &Counters, asked: &C) -> Result<C::Answer, End> {
    let call = lane.gate.name_call();
    let served_before = lane.gate.served();
    let retry = lane.retry.get();
    let mut schedule = Schedule::new(&retry);
    let mut attempts = 0;
    let mut tried = Duration::ZERO;
    let mut last = None;
    loop {
        let waiting = Instant::now();
        let pass = match enter(lane, mode, retry.give_up_after, &mut tried).await {
            Ok(pass) => pass,
            Err(Shut::ForTheDay) => return Err(End::Left),
            Err(Shut::TooLong) => {
                let error = last.or_else(|| lane.gate.cause()).unwrap_or_else(closed);
                return Err(End::GivenUp { error, attempts });
            }
        };
        let weight = asked.weigh(lane);
        let Ok(money) = lane.account.reserve(&lane.gate, weight.most, mode == Mode::Follow).await else {
            return Err(End::Left);
        };
        let permit = lane.limiter.permit(weight.quota).await;
        if !lane.gate.holds(pass) {
            permit.give_back();
            continue;
        }
        let begun = Instant::now();
        let attempt = counters.attempt();
        let answer = asked.attempt().await;
        drop(attempt);
        let outcome = answer.as_ref().err().map(|error| error.class.as_str());
        counters.attempted(lane.limiter.name(), outcome, begun - waiting, begun.elapsed());
        let error = match answer {
            Ok(answer) => {
                let Bill { quota, used, emulated, texts } = asked.bill(lane, &answer);
                permit.served(quota);
                lane.gate.heard(call, pass, Ok(()));
                lane.retries.earn();
                money.billed(used, emulated);
                counters.answered(texts, used.input, lane.account.cost(used));
                return Ok(answer);
            }
            Err(error) => error,
        };
        // What failed was not billed, as far as is known.
        drop(money);
        let is_throttled = error.class == Class::Throttled;
        if is_throttled {
            counters.throttled();
            permit.throttled(quota(&error));
        } else {
            permit.failed();
            attempts += 1;
            tried += begun.elapsed();
        }
        match (error.class.disposition(), mode) {
            (Disposition::Halt, Mode::Once) => return Err(End::Halted(error)),
            _ => lane.gate.heard(call, pass, Err(&error)),
        }
        let delay = match error.class.disposition() {
            Disposition::Reject => return Err(End::GivenUp { error, attempts }),
            // The limiter and the gate say when; the service may ask for more.
            Disposition::Retry if is_throttled => {
                if mode == Mode::Once && lane.gate.reasons().contains(&Reason::QuotaZero) {
                    return Err(End::Halted(quota_zero(error)));
                }
                error.retry_after.unwrap_or_default()
            }
            // Nobody's text is at fault, so none is failed.
            Disposition::Halt => Duration::ZERO,
            Disposition::Retry => {
                // A probe comes at the gate's pace, not at its own.
                let delay = match (pass.is_probe, lane.retries.spend()) {
                    (true, _) => error.retry_after.unwrap_or_default(),
                    (false, true) => schedule.next_delay(error.retry_after),
                    (false, false) => retry.max_interval.max(error.retry_after.unwrap_or_default()),
                };
                // While nobody else is served either, no text is at fault: a daemon waits for the end of it. A run that ends cannot.
                let is_alone = mode == Mode::Once || lane.gate.served() > served_before;
                if tried + delay > retry.give_up_after && is_alone {
                    return Err(End::GivenUp { error, attempts });
                }
                tried += delay;
                delay
            }
        };
        if attempts == 5 && !is_throttled {
            warn!(attempts, class = error.class.as_str(), error = %error, "a call keeps failing, going on");
        } else {
            debug!(attempts, class = error.class.as_str(), error = %error, ?delay, "a call failed, waiting");
        }
        counters.retried();
        last = Some(error);
        sleep(delay).await;
    }
}

/// Why a call that does not wait for ever did not pass the gate.
enum Shut {
    /// The day's money is spent.
    ForTheDay,
    /// It was closed for longer than a call may take.
    TooLong,
}

/// Waits for the gate. A run that ends waits neither for another day nor longer than a call may take, which counts as its own trying.
async fn enter(lane: &Lane, mode: Mode, give_up_after: Duration, tried: &mut Duration) -> Result<Pass, Shut> {
    match mode {
        Mode::Follow => Ok(lane.gate.pass().await),
        Mode::Once => {
            let begun = Instant::now();
            let passed = tokio::select! {
                biased;
                () = lane.gate.closed_for(Reason::Budget) => return Err(Shut::ForTheDay),
                passed = timeout(give_up_after.saturating_sub(*tried), lane.gate.pass()) => passed,
            };
            *tried += begun.elapsed();
            passed.map_err(|_| Shut::TooLong)
        }
    }
}

/// Returns the quota that a throttle names. Status and code do not tell the two apart, so here the words have to; without them it is
/// the one that was named last.
fn quota(error: &CallError) -> Option<Quota> {
    match (error.message.contains("requests"), error.message.contains("tokens")) {
        (true, false) => Some(Quota::Requests),
        (false, true) => Some(Quota::Tokens),
        _ => None,
    }
}

fn quota_zero(error: CallError) -> CallError {
    CallError { message: format!("the quota seems to be zero, since every call is throttled: {}", error.message), ..error }
}

/// What is said of a call that a gate which nobody's error had closed kept waiting.
pub(super) fn closed() -> CallError {
    CallError {
        class: Class::Unavailable,
        status: None,
        code: None,
        message: "no calls are made".into(),
        request_id: None,
        retry_after: None,
    }
}
