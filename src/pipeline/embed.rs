//! Calls to Bedrock: packed, a bounded number at once, retried until they succeed or fail.

mod request;
#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation counts in thousands and needs three digits"
)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument as _, debug, info_span};

use super::call::{CallEnd, Decided, Place, Tried, Under, until_decided, until_settled};
use super::resizable_semaphore::Slots;
use super::resplit::{self, MOST_PARTS};
use super::{Mode, PipelineError, batch, owned};
use crate::bedrock::{CallError, Class, ModelKey};
use crate::domain::{ChunkId, Cut, Embedded, Failure, Limits, Origin, Planned, Record, Retry, Stage as At, Usage};
use crate::embed::Embedded as Embeddings;
use crate::folder::Found;
use crate::throttle::Lane;

use request::{Asked, Transport};

/// What the stage works with.
pub(super) struct EmbedStage<T> {
    pub(super) transport: T,
    pub(super) lane: Arc<Lane>,
    pub(super) under: Under,
    pub(super) batch_wait: Duration,
    pub(super) found: Arc<Found>,
    pub(super) texts: Arc<super::single_flight::Shared>,
}

/// Runs until `planned` ends and every call has its end; after a stop until those have it that are on their way.
pub(super) async fn run<T: Transport>(
    stage: EmbedStage<T>,
    slots: Slots,
    planned: mpsc::Receiver<Planned>,
    records: mpsc::Sender<Record>,
) -> Result<(), PipelineError> {
    let batch_wait = stage.batch_wait;
    // While files are on their way a call that is not full waits for them, however slow they are; and while it could not be sent, it
    // may as well.
    let more_is_coming = {
        let (counters, found, mode) = (Arc::clone(&stage.under.counters), Arc::clone(&stage.found), stage.under.mode);
        let (texts, lane) = (Arc::clone(&stage.texts), Arc::clone(&stage.lane));
        move || {
            let is_coming = found.files() > counters.files_prepared() || (mode == Mode::Once && found.scans() == 0);
            !texts.is_full() && (is_coming || lane.limiter.withholds())
        }
    };
    let stage = Arc::new(stage);
    let feeding = stage.lane.feeding();
    let limits = {
        let stage = Arc::clone(&stage);
        move || bounded(stage.transport.limits(), &stage.lane)
    };
    let calls = slots
        .give(batch::calls(planned, limits, batch_wait, more_is_coming))
        .take_until(stage.under.stop.clone().cancelled_owned())
        // The guard goes with the last call.
        .chain(stream::once(async move { drop(feeding) }).filter_map(|()| future::ready(None)));
    calls
        .map(|(slot, call)| {
            let span = info_span!("call", texts = call.len());
            let (stage, records) = (Arc::clone(&stage), records.clone());
            let place = Place::new(&stage.lane, Some(slot));
            owned(finish(stage, place, call, records).instrument(span))
        })
        .buffer_unordered(usize::MAX) // as many as there are slots
        // Only poll: calls in flight move only while this loop does. Each call's own task sends its own records.
        .try_for_each(|()| future::ready(Ok(())))
        .await
}

/// Returns what one call may hold: what the model takes, as far as quota and money are enough for it.
pub(super) fn bounded(mut limits: Limits, lane: &Lane) -> Limits {
    for most in [lane.limiter.tokens_per_minute(), lane.account.affordable_tokens()].into_iter().flatten() {
        limits.tokens_per_call = limits.tokens_per_call.min(most);
    }
    limits
}

/// Brings one call's texts to their end: vectors, or reasons. A call that the service refuses is halved until the text that
/// it means is alone, so that one bad text fails itself and not its neighbours. A text that is in doubt alone waits for the others
/// of its call: their answers show whose fault it is.
async fn finish<T: Transport>(
    stage: Arc<EmbedStage<T>>,
    mut place: Place,
    call: Vec<Planned>,
    records: mpsc::Sender<Record>,
) -> Result<(), PipelineError> {
    let mut open = vec![(call, None)];
    let mut doubted: VecDeque<(Planned, Tried)> = VecDeque::new();
    loop {
        let Some((mut call, before)) = open.pop() else {
            let Some((planned, tried)) = doubted.pop_front() else { return Ok(()) };
            let record = match place.decide(&stage.under, tried, &planned.version.path).await {
                Decided::Again(tried) => {
                    open.push((vec![planned], Some(tried)));
                    continue;
                }
                Decided::GivenUp(tried) => Record::Rejected(planned, failure(&tried.error, tried.attempts)),
                Decided::Later => Record::Left(planned),
                Decided::Halted(error) => return Err(PipelineError::Halted(error)),
                Decided::Stopped => return Ok(()),
            };
            if records.send(record).await.is_err() {
                return Ok(());
            }
            continue;
        };
        let answer = {
            let texts: Vec<&str> = call.iter().map(Planned::input).collect();
            let estimated = call.iter().map(|planned| planned.tokens).sum();
            until_settled(&stage.lane, &stage.under, &Asked::new(&stage.transport, &texts, estimated), before).await
        };
        let told: Vec<Record> = match answer {
            Ok(answer) => embedded(&stage, call, answer),
            Err(CallEnd::Halted(error)) => return Err(PipelineError::Halted(error)),
            Err(CallEnd::Stopped) => return Ok(()),
            Err(CallEnd::Left) => call.into_iter().map(Record::Left).collect(),
            Err(CallEnd::Doubted(tried)) => {
                doubted.extend(call.pop().map(|planned| (planned, tried)));
                continue;
            }
            // A refusal of several texts does not say which it means, so each half is tried by itself.
            Err(CallEnd::GivenUp { error, .. }) if error.class == Class::Refused && call.len() > 1 => {
                debug!(texts = call.len(), error = %error, "call rejected; halving it");
                open.push((call.split_off(call.len() / 2), None));
                open.push((call, None));
                continue;
            }
            Err(CallEnd::GivenUp { error, attempts })
                if call.len() == 1 && error.parts().is_some_and(|parts| parts <= MOST_PARTS) =>
            {
                let (whole, parts) = (call.remove(0), error.parts().unwrap_or(MOST_PARTS));
                if !finish_parts(&stage, &mut place, whole, parts, (&error, attempts), &records).await? {
                    return Ok(());
                }
                continue;
            }
            Err(CallEnd::GivenUp { error, attempts }) => {
                call.into_iter().map(|planned| Record::Rejected(planned, failure(&error, attempts))).collect()
            }
        };
        for record in told {
            if records.send(record).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Returns what the writer learns of a call that was answered.
fn embedded<T>(stage: &EmbedStage<T>, call: Vec<Planned>, answer: Embeddings) -> Vec<Record> {
    let at = SystemTime::now();
    let billed = answer.tokens.filter(|_| call.len() == 1);
    let estimated = call.iter().map(|planned| planned.tokens).sum();
    let mut usage = Some(Usage { texts: call.len() as u64, tokens: answer.tokens.unwrap_or(estimated) });
    let embedded = call.into_iter().zip(answer.vectors).map(|(planned, vector)| {
        let tokens = billed.unwrap_or(planned.tokens);
        let origin = Origin::Call(usage.take());
        Record::Embedded(Embedded { planned, vector, tokens, emulated: answer.emulated, at, origin })
    });
    embedded.chain(no_more_alone(&stage.lane)).collect()
}

/// Returns the wish to try documents again that were refused while there was nothing to compare them with, now that others are served.
pub(super) fn no_more_alone(lane: &Lane) -> Option<Record> {
    let paths = lane.gate.no_more_alone();
    (!paths.is_empty()).then(|| Record::Retry(Retry { paths, done: oneshot::channel().0 }))
}

/// Cuts a text that was refused for its length, for every document that waits for it, and brings the parts to their end. What is
/// still too long then fails. Returns whether anybody is there to take the records.
async fn finish_parts<T: Transport>(
    stage: &EmbedStage<T>,
    place: &mut Place,
    whole: Planned,
    parts: usize,
    (refusal, attempts): (&CallError, u32),
    records: &mpsc::Sender<Record>,
) -> Result<bool, PipelineError> {
    let mut wholes = stage.texts.end(&whole.key);
    wholes.insert(0, whole);
    let mut columns: Vec<Vec<Planned>> = Vec::new();
    for whole in wholes {
        let cut = resplit::cut(&whole, parts);
        let record = if cut.len() < 2 {
            Record::Rejected(whole, failure(refusal, attempts))
        } else {
            debug!(parts = cut.len(), bytes = whole.text.len(), error = %refusal, "chunk too long for the service; splitting it");
            let record = Record::Cut {
                version: Arc::clone(&whole.version),
                whole: whole.id,
                cut: Cut { text: ChunkId::of_vector(&whole.version.path, &whole.text, 0), parts },
                parts: cut.iter().map(|part| part.id).collect(),
            };
            columns.resize_with(cut.len(), Vec::new);
            columns.iter_mut().zip(cut).for_each(|(column, part)| column.push(part));
            record
        };
        if records.send(record).await.is_err() {
            return Ok(false);
        }
    }
    // The same part of every document's chunk is one text, and asked for once.
    for column in columns {
        let first = &column[0];
        let texts = [first.input()];
        let asked = Asked::new(&stage.transport, &texts, first.tokens);
        let answer = until_decided(place, &stage.under, &asked, &first.version.path).await;
        let at = SystemTime::now();
        let told: Vec<Record> = match answer {
            Ok(answer) => {
                let vector = answer.vectors.into_iter().next().expect("the embedder has counted one for each text");
                let tokens = answer.tokens.unwrap_or(first.tokens);
                let mut origin = Origin::Call(Some(Usage { texts: 1, tokens }));
                let embedded = column.into_iter().map(|planned| {
                    let origin = std::mem::replace(&mut origin, Origin::Cache);
                    Record::Embedded(Embedded { planned, vector: vector.clone(), tokens, emulated: answer.emulated, at, origin })
                });
                embedded.chain(no_more_alone(&stage.lane)).collect()
            }
            Err(CallEnd::Halted(error)) => return Err(PipelineError::Halted(error)),
            Err(CallEnd::Stopped) => return Ok(false),
            Err(CallEnd::Left) => column.into_iter().map(Record::Left).collect(),
            Err(CallEnd::GivenUp { error, attempts } | CallEnd::Doubted(Tried { error, attempts, .. })) => {
                column.into_iter().map(|part| Record::Rejected(part, failure(&error, attempts))).collect()
            }
        };
        for record in told {
            if records.send(record).await.is_err() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn failure(error: &CallError, attempts: u32) -> Failure {
    Failure {
        stage: At::Embed,
        class: error.class.as_str().into(),
        message: error.to_string(),
        attempts,
        request_id: error.request_id.clone(),
        advice: error.advice_for(ModelKey::Embed).into_owned(),
        written: None,
    }
}
