//! One call, from its first attempt to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::resizable_semaphore::Slot;
use crate::bedrock::{CallError, Class, Disposition};
use crate::domain::{DocumentPath, TokenCount};
use crate::pipeline::Mode;
use crate::telemetry::Counters;
use crate::throttle::gate::{Doubt, Input, Pass, Reason, Verdict};
use crate::throttle::limiter::{Permit, Quota};
use crate::throttle::price::Used;
use crate::throttle::retry::{self, Schedule};
use crate::throttle::{DoubtfulCall, Trying};
use crate::throttle::{
    Lane,
    budget::{Estimate, Reservation},
};

/// What calls are made under.
#[derive(Debug, Clone)]
pub(super) struct Under {
    pub(super) mode: Mode,
    pub(super) counters: Arc<Counters>,
    /// After this no call begins, and none waits for anything but its answer.
    pub(super) stop: CancellationToken,
    /// Whether a call is only tried out: what the service says to it is the answer, and is compared with no other.
    pub(super) is_trial: bool,
}

/// What a call has while it is tried: a place among those in flight, or beside them where it is in doubt.
pub(super) struct Place {
    lane: Arc<Lane>,
    slot: Option<Slot>,
    held: Option<DoubtfulCall>,
    trying: Option<Trying>,
}

impl Place {
    /// Takes a place. To be called where the call is made out, before anything is waited for: from here on it counts as one that may
    /// yet be served.
    pub(super) fn new(lane: &Arc<Lane>, slot: Option<Slot>) -> Self {
        Self { lane: Arc::clone(lane), slot, held: None, trying: Some(lane.trying()) }
    }

    /// Waits until it is decided whose fault a refusal was. The place goes to another call meanwhile, as long as few are in doubt.
    /// A `document` that had nothing to be compared with is remembered, to be retried when another is served.
    pub(super) async fn decide(&mut self, under: &Under, tried: Tried, document: &DocumentPath) -> Decided {
        let lane = Arc::clone(&self.lane);
        self.held = self.held.take().or_else(|| lane.hold());
        if self.held.is_some() {
            self.slot = None;
        }
        self.trying = None;
        let patience = lane.retry.get().max_interval;
        let verdict = tokio::select! {
            biased;
            () = under.stop.cancelled() => return Decided::Stopped,
            verdict = lane.gate.verdict(&tried.doubt, self.held.is_some(), patience) => verdict,
        };
        self.trying = Some(lane.trying());
        match verdict {
            Verdict::Own => Decided::GivenUp(tried),
            Verdict::Alone => {
                lane.gate.was_alone(&tried.doubt, document);
                Decided::GivenUp(tried)
            }
            Verdict::Again => Decided::Again(tried),
            Verdict::Later => Decided::Later,
            Verdict::Halted(error) => {
                lane.gate.halt(&error);
                Decided::Halted(error)
            }
        }
    }
}

/// A call that was refused, perhaps for what is no fault of its input.
#[derive(Debug)]
pub(super) struct Tried {
    doubt: Doubt,
    pub(super) error: CallError,
    pub(super) attempts: u32,
}

/// The decision about a call in doubt.
pub(super) enum Decided {
    /// The input is at fault.
    GivenUp(Tried),
    /// It is asked again.
    Again(Tried),
    /// It is left for another time: too many are in doubt.
    Later,
    /// Every input is refused, and this run does not wait for the end of it.
    Halted(CallError),
    /// The run has been stopped.
    Stopped,
}

/// Something that can be asked, in as many attempts as it takes.
pub(super) trait Call: Sync {
    /// Its outcome.
    type Answer: Send;

    /// Returns what one attempt is expected to count and to cost.
    fn weigh(&self, lane: &Lane) -> Weight;

    /// Asks once.
    fn attempt(&self) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;

    /// Returns the identity of the input, where its refusal means something: not where it is several that are halved then.
    fn input(&self) -> Option<Input>;

    /// Returns whether the service refuses the input itself, so that a refusal is in no doubt.
    fn is_of_input(&self, error: &CallError) -> bool {
        error.is_of_input()
    }

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
    pub(crate) emulated: bool,
    /// Texts that a prompt ran over.
    pub(super) texts: u64,
}

/// How long a run that ends waits for a model that is not ready. Imported models take minutes at most.
const ASLEEP: Duration = Duration::from_mins(15);
/// The longest wait of a call that met a model that is not ready, while others may be served.
const ASLEEP_WAIT: Duration = Duration::from_secs(2);

/// Why a call ended without an answer.
pub(super) enum CallEnd {
    /// Nothing will be served until a person acts, and this run does not wait for one.
    Halted(CallError),
    /// The input is at fault, or nothing more is to be hoped for.
    GivenUp { error: CallError, attempts: u32 },
    /// The input was refused, and it is to be decided whose fault that is.
    Doubted(Tried),
    /// It is left for another time: the day's budget is spent, and this run does not wait for another day; or too many are in doubt.
    Left,
    /// The run has been stopped before there was an answer: the next one asks.
    Stopped,
}

/// Calls until there is an answer, a refusal, or no time left. The call keeps its slot while it waits: that is the backpressure.
///
/// Only its own trying counts towards `give-up-after`: neither time in which it was throttled or the model was not ready, nor time
/// under a closed gate, except that a run that is to end does not wait longer for a gate either. After a stop no attempt begins, and only
/// one in flight is waited for.
pub(super) async fn until_settled<C: Call>(
    lane: &Lane,
    under: &Under,
    asked: &C,
    before: Option<Tried>,
) -> Result<C::Answer, CallEnd> {
    let (mode, Under { counters, stop, .. }) = (under.mode, under);
    let call = lane.gate.name_call();
    let served_before = lane.gate.served();
    let retry = lane.retry.get();
    let mut schedule = Schedule::new(&retry);
    let mut asleep = Schedule::new(&retry::RetryConfig { max_interval: retry.max_interval.min(ASLEEP_WAIT), ..(*retry).clone() });
    let mut attempts = before.as_ref().map_or(0, |before| before.attempts);
    let mut tried = Duration::ZERO;
    let (mut last, before) = before.map_or((None, None), |before| (Some(before.error), Some(before.doubt)));
    loop {
        let waiting = Instant::now();
        let ready = stop.run_until_cancelled(ready(lane, mode, asked, retry.give_up_after, &mut tried));
        let (pass, money, permit) = match ready.await {
            None => return Err(CallEnd::Stopped),
            Some(Ok(ready)) => ready,
            Some(Err(shut)) => return Err(shut.ends(lane, last, attempts)),
        };
        if stop.is_cancelled() {
            permit.give_back();
            return Err(CallEnd::Stopped);
        }
        let Some(pass) = lane.gate.begin(pass) else {
            permit.give_back();
            continue;
        };
        let begun = Instant::now();
        let attempt = counters.attempt();
        let answer = asked.attempt().await;
        drop(attempt);
        let outcome = answer.as_ref().err().map(|error| error.class.as_str());
        counters.attempted(lane.limiter.name(), outcome, begun - waiting, begun.elapsed());
        let error = match answer {
            Ok(answer) => {
                lane.gate.heard(call, pass, Ok(()));
                bill(lane, counters, &asked.bill(lane, &answer), money, permit);
                return Ok(answer);
            }
            Err(error) => error,
        };
        give_back(money, &error);
        let (input, error) = (asked.input(), as_common(asked, error));
        let is_throttled = error.class == Class::Throttled;
        if is_throttled {
            counters.throttled();
            if error.is_not_ready() { permit.refused() } else { permit.throttled(quota(&error)) }
        } else {
            permit.failed();
            attempts += 1;
            tried += begun.elapsed();
        }
        if stop.is_cancelled() {
            return Err(CallEnd::Stopped);
        }
        let disposition = error.class.disposition();
        if let (Disposition::Reject, Some(input), false, false) = (disposition, input, asked.is_of_input(&error), under.is_trial)
        {
            return Err(match lane.gate.doubt(call, pass, input, &error, before.as_ref()) {
                Some(doubt) => CallEnd::Doubted(Tried { doubt, error, attempts }),
                None => CallEnd::GivenUp { error, attempts },
            });
        }
        lane.gate.heard(call, pass, Err(&error));
        let delay = match disposition {
            Disposition::Reject => return Err(CallEnd::GivenUp { error, attempts }),
            // The gate says when, once it is closed for that. Until then others may be served.
            Disposition::Retry if error.is_not_ready() && pass.is_probe => error.retry_after.unwrap_or_default(),
            Disposition::Retry if error.is_not_ready() => asleep.next_delay(error.retry_after),
            // The limiter and the gate say when; the service may ask for more.
            Disposition::Retry if is_throttled => {
                if mode == Mode::Once && lane.gate.reasons().contains(&Reason::QuotaZero) {
                    return Err(CallEnd::Halted(quota_zero(error)));
                }
                error.retry_after.unwrap_or_default()
            }
            // Others may be served: behind a profile for several regions one of them may be closed to the account.
            Disposition::Halt if mode == Mode::Once && (under.is_trial || lane.gate.is_hopeless(pass, &error)) => {
                lane.gate.halt(&error);
                return Err(CallEnd::Halted(error));
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
                    return Err(CallEnd::GivenUp { error, attempts });
                }
                tried += delay;
                delay
            }
        };
        tell(&error, attempts, delay);
        counters.retried();
        last = Some(error);
        if stop.run_until_cancelled(sleep(delay)).await.is_none() {
            return Err(CallEnd::Stopped);
        }
    }
}

/// Counts an answer, and what it was billed.
fn bill(lane: &Lane, counters: &Counters, bill: &Bill, money: Reservation<'_>, permit: Permit<'_>) {
    let Bill { quota, used, emulated, texts } = *bill;
    permit.served(quota);
    lane.retries.earn();
    money.billed(used, emulated);
    counters.answered(texts, used.input, quota.is_some(), lane.account.cost(used));
}

/// Releases the reservation of a failed attempt. What the service had begun to answer was billed, though nobody says how much; what failed
/// otherwise was not, as far as is known.
fn give_back(money: Reservation<'_>, error: &CallError) {
    if error.status == Some(200) && error.class != Class::Throttled {
        money.served_in_vain();
    }
}

/// Says that an attempt failed and that another one will be made.
fn tell(error: &CallError, attempts: u32, delay: Duration) {
    if attempts == 5 && error.class != Class::Throttled {
        warn!(attempts, class = error.class.as_str(), error = %error, "a call keeps failing; retrying with backoff");
    } else {
        debug!(attempts, class = error.class.as_str(), error = %error, ?delay, "a call failed; retrying after backoff");
    }
}

/// Waits for the gate, the budget and the limiter.
async fn ready<'a, C: Call>(
    lane: &'a Lane,
    mode: Mode,
    asked: &C,
    give_up_after: Duration,
    tried: &mut Duration,
) -> Result<(Pass, Reservation<'a>, Permit<'a>), Shut> {
    let pass = enter(lane, mode, give_up_after, tried).await?;
    let weight = asked.weigh(lane);
    let money = lane.account.reserve(&lane.gate, weight.most, mode == Mode::Follow).await;
    let money = money.map_err(|_spent_out| Shut::ForTheDay)?;
    Ok((pass, money, lane.limiter.permit(weight.quota).await))
}

/// Calls until there is an answer, or it is decided why there is none. For a call that nothing else of its place waits for.
pub(super) async fn until_decided<C: Call>(
    place: &mut Place,
    under: &Under,
    asked: &C,
    document: &DocumentPath,
) -> Result<C::Answer, CallEnd> {
    let lane = Arc::clone(&place.lane);
    let mut before = None;
    loop {
        let tried = match until_settled(&lane, under, asked, before.take()).await {
            Err(CallEnd::Doubted(tried)) => tried,
            ended => return ended,
        };
        match place.decide(under, tried, document).await {
            Decided::Again(tried) => before = Some(tried),
            Decided::GivenUp(Tried { error, attempts, .. }) => return Err(CallEnd::GivenUp { error, attempts }),
            Decided::Later => return Err(CallEnd::Left),
            Decided::Halted(error) => return Err(CallEnd::Halted(error)),
            Decided::Stopped => return Err(CallEnd::Stopped),
        }
    }
}

/// Returns a refusal as one of what all requests have in common, where the configuration wrote them and not the input itself.
fn as_common<C: Call>(asked: &C, error: CallError) -> CallError {
    match asked.input() {
        Some(input) if !input.is_configured() || asked.is_of_input(&error) => error,
        _ => error.of_configured_request(),
    }
}

/// Why a call did not pass the gate.
enum Shut {
    /// The day's budget is spent.
    ForTheDay,
    /// It was closed for longer than a call may take.
    TooLong,
    /// The model was not ready for longer than a run waits that ends. No text is at fault.
    Asleep,
    /// Nothing is served, and this run makes no more calls.
    ForGood(CallError),
}

impl Shut {
    /// Returns how the call ends, whose last attempt failed so, if it made one.
    fn ends(self, lane: &Lane, last: Option<CallError>, attempts: u32) -> CallEnd {
        match self {
            Self::ForTheDay => CallEnd::Left,
            Self::ForGood(error) => CallEnd::Halted(error),
            Self::Asleep => CallEnd::Halted(last.or_else(|| lane.gate.cause()).unwrap_or_else(closed)),
            Self::TooLong => {
                let error = last.or_else(|| lane.gate.cause()).unwrap_or_else(closed);
                match error.class.disposition() {
                    Disposition::Halt => CallEnd::Halted(error),
                    Disposition::Reject | Disposition::Retry => CallEnd::GivenUp { error, attempts },
                }
            }
        }
    }
}

/// Waits for the gate. A run that ends waits neither for another day nor longer than a call may take, which counts as its own trying.
async fn enter(lane: &Lane, mode: Mode, give_up_after: Duration, tried: &mut Duration) -> Result<Pass, Shut> {
    match mode {
        Mode::Follow => Ok(lane.gate.pass().await),
        Mode::Once => loop {
            let begun = Instant::now();
            let asleep = asleep_since(lane);
            let left = match asleep {
                Some(since) => ASLEEP.saturating_sub(since.elapsed()),
                None => give_up_after.saturating_sub(*tried),
            };
            let passed = tokio::select! {
                biased;
                error = lane.gate.until_halted() => return Err(Shut::ForGood(error)),
                () = lane.gate.closed_for(Reason::Budget) => return Err(Shut::ForTheDay),
                passed = timeout(left, lane.gate.pass()) => passed,
            };
            if asleep.is_none() && asleep_since(lane).is_none() {
                *tried += begun.elapsed();
            }
            match (passed, asleep_since(lane)) {
                (Ok(pass), _) => return Ok(pass),
                (Err(_), None) if asleep.is_none() => return Err(Shut::TooLong),
                (Err(_), Some(since)) if since.elapsed() >= ASLEEP => return Err(Shut::Asleep),
                // It fell asleep or awoke meanwhile, so another bound holds from now on.
                (Err(_), _) => {}
            }
        },
    }
}

/// Returns since when the gate is closed because the model is not ready, if it is.
fn asleep_since(lane: &Lane) -> Option<Instant> {
    lane.gate.closed().into_iter().find(|closing| closing.reason == Reason::NotReady).map(|closing| closing.since)
}

/// Returns the quota that a throttle names. Status and code do not distinguish the two, so here the words have to; without them it is
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
