//! Calls to Bedrock: packed, a bounded number at once, tried until they succeed or are given up.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, future};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::{Mode, PipelineError, owned, pack};
use crate::bedrock::retry::{self, Schedule};
use crate::bedrock::{CallError, Class, Disposition, Embedder, embed};
use crate::model::{Embedded, Failure, Origin, Planned, Record, Stage as At, Usage};
use crate::source::Found;
use crate::telemetry::Counters;

/// What the stage works with.
pub(super) struct Stage {
    pub(super) embedder: Embedder,
    pub(super) retry: retry::Config,
    pub(super) mode: Mode,
    pub(super) batch_wait: Duration,
    pub(super) max_in_flight: NonZeroUsize,
    pub(super) counters: Arc<Counters>,
    pub(super) found: Arc<Found>,
    pub(super) texts: Arc<super::share::Shared>,
}

struct Shared {
    stage: Stage,
    /// Whether the last answer said that a person must act.
    halted: AtomicBool,
    /// Calls answered so far: whether others succeed tells a bad text from an outage.
    answered: AtomicU64,
}

/// Runs until `planned` ends and every call has its end.
pub(super) async fn run(
    stage: Stage,
    planned: mpsc::Receiver<Planned>,
    records: mpsc::Sender<Record>,
) -> Result<(), PipelineError> {
    let limits = stage.embedder.settings().limits();
    let (batch_wait, max_in_flight) = (stage.batch_wait, stage.max_in_flight.get());
    // While files are on their way a call that is not full waits for them, however slow they are.
    let more_is_coming = {
        let (counters, found, mode) = (Arc::clone(&stage.counters), Arc::clone(&stage.found), stage.mode);
        let texts = Arc::clone(&stage.texts);
        move || !texts.is_full() && (found.files() > counters.files_prepared() || (mode == Mode::Once && found.scans() == 0))
    };
    let shared = Arc::new(Shared { stage, halted: AtomicBool::new(false), answered: AtomicU64::new(0) });
    pack::calls(planned, limits, batch_wait, more_is_coming)
        .map(|call| {
            let span = info_span!("call", texts = call.len());
            owned(finish(Arc::clone(&shared), call, records.clone()).instrument(span))
        })
        .buffer_unordered(max_in_flight)
        // Only poll: calls in flight move only while this loop does. Each call's own task hands on its own records.
        .try_for_each(|()| future::ready(Ok(())))
        .await
}

/// Brings one call's texts to their end: vectors, or reasons. A call that the service refuses is halved until the text that
/// it means stands alone, so that one bad text fails itself and not its neighbours.
async fn finish(shared: Arc<Shared>, call: Vec<Planned>, records: mpsc::Sender<Record>) -> Result<(), PipelineError> {
    let mut open = vec![call];
    while let Some(mut call) = open.pop() {
        match call_until_settled(&shared, &call).await {
            Ok(answer) => {
                let at = SystemTime::now();
                let billed = answer.tokens.filter(|_| call.len() == 1);
                let estimated = call.iter().map(|planned| planned.tokens).sum();
                let mut usage = Some(Usage { texts: call.len() as u64, tokens: answer.tokens.unwrap_or(estimated) });
                for (planned, vector) in call.into_iter().zip(answer.vectors) {
                    let tokens = billed.unwrap_or(planned.tokens);
                    let origin = Origin::Call(usage.take());
                    let embedded = Embedded { planned, vector, tokens, emulated: answer.emulated, at, origin };
                    if records.send(Record::Embedded(embedded)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Err(GivenUp { error, .. }) if error.class.disposition() == Disposition::Halt => {
                return Err(PipelineError::Halted(error));
            }
            Err(GivenUp { error, .. }) if error.class == Class::Refused && call.len() > 1 => {
                debug!(texts = call.len(), error = %error, "refused, halving the call");
                open.push(call.split_off(call.len() / 2));
                open.push(call);
            }
            Err(GivenUp { error, attempts }) => {
                for planned in call {
                    if records.send(Record::Rejected(planned, failure(&error, attempts))).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

struct GivenUp {
    error: CallError,
    attempts: u32,
}

/// Calls until there is an answer, a refusal, or no time left. The call keeps its slot while it waits: that is the backpressure.
async fn call_until_settled(shared: &Shared, call: &[Planned]) -> Result<embed::Embedded, GivenUp> {
    let Stage { embedder, retry, mode, counters, .. } = &shared.stage;
    let texts: Vec<&str> = call.iter().map(|planned| &*planned.text).collect();
    let begun = Instant::now();
    let answered_before = shared.answered.load(Relaxed);
    let mut schedule = Schedule::new(retry);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let attempt = counters.attempt();
        let answer = embedder.embed(&texts).await;
        drop(attempt);
        let error = match answer {
            Ok(answer) => {
                shared.answered.fetch_add(1, Relaxed);
                if shared.halted.swap(false, Relaxed) {
                    info!("calls are served again");
                }
                let estimated = call.iter().map(|planned| planned.tokens).sum();
                counters.answered(texts.len() as u64, answer.tokens.unwrap_or(estimated));
                return Ok(answer);
            }
            Err(error) => error,
        };
        if error.class == Class::Throttled {
            counters.throttled();
        }
        let delay = match (error.class.disposition(), mode) {
            (Disposition::Reject, _) | (Disposition::Halt, Mode::Once) => return Err(GivenUp { error, attempts }),
            // Nobody's text is at fault, so none is failed: ask again, seldom, until a person has acted.
            (Disposition::Halt, Mode::Follow) => {
                if !shared.halted.swap(true, Relaxed) {
                    error!(error = %error, class = error.class.as_str(), help = error.class.advice(), "calls are not served, waiting");
                }
                retry.max_interval
            }
            (Disposition::Retry, _) => {
                let delay = schedule.next_delay(error.retry_after);
                // In an outage no text is at fault: a daemon waits for its end. A run that ends cannot.
                let is_outage = *mode == Mode::Follow && shared.answered.load(Relaxed) == answered_before;
                if begun.elapsed() + delay > retry.give_up_after && !is_outage {
                    return Err(GivenUp { error, attempts });
                }
                delay
            }
        };
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if attempts == 5 {
            warn!(attempts, elapsed_ms, class = error.class.as_str(), error = %error, "a call keeps failing, going on");
        } else {
            debug!(attempts, elapsed_ms, class = error.class.as_str(), error = %error, ?delay, "a call failed, waiting");
        }
        counters.retried();
        sleep(delay).await;
    }
}

fn failure(error: &CallError, attempts: u32) -> Failure {
    let code = error.code.as_deref().map(|code| format!("{code}: ")).unwrap_or_default();
    let status = error.status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
    Failure {
        stage: At::Embed,
        class: error.class.as_str().into(),
        message: format!("{code}{}{status}", error.message),
        attempts,
        request_id: error.request_id.clone(),
        advice: error.class.advice().to_owned(),
    }
}
