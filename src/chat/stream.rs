//! An answer as it is written.

use std::fmt;
use std::time::Duration;

use aws_sdk_bedrockruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockruntime::types::ConverseStreamOutput;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use tokio::time::timeout;

use super::content_blocks::{Parts, unusable};
use super::response::{Answer, Believable};
use crate::bedrock::error::{CallError, Class};
use crate::bedrock::panic_guard::caught;
use crate::bedrock::room::{Room, SHORT};
use crate::domain::Held;

/// Bytes of one answer: many times what any model writes.
const LARGEST: usize = 16 << 20;

/// An answer that is being written. Dropping it ends the call; what has been written is billed.
pub struct Streaming {
    events: EventReceiver<ConverseStreamOutput, ConverseStreamOutputError>,
    patience: Duration,
    believable: Believable,
    parts: Parts,
    bytes: usize,
    /// What the answer takes once it is long, and what holds it.
    room: Room,
    held: Held,
    is_over: bool,
    request_id: Option<String>,
    emulated: bool,
}

impl Streaming {
    pub(super) fn new(
        events: EventReceiver<ConverseStreamOutput, ConverseStreamOutputError>,
        patience: Duration,
        believable: Believable,
        room: Room,
        request_id: Option<String>,
        emulated: bool,
    ) -> Self {
        let (parts, held) = (Parts::default(), Held::default());
        Self { events, patience, believable, parts, bytes: 0, room, held, is_over: false, request_id, emulated }
    }

    /// Returns the next piece of text; `None` when there is no more. Not cancel safe: drop the whole then.
    ///
    /// # Errors
    /// When the service fails in the middle, or says nothing for the time of an attempt.
    pub async fn next(&mut self) -> Result<Option<String>, CallError> {
        while !self.is_over {
            if self.bytes > SHORT && !self.held.is_any() {
                self.held = self.room.take().await;
            }
            let event = match timeout(self.patience, caught(self.events.recv())).await {
                Ok(Ok(Ok(event))) => event,
                Ok(Ok(Err(error))) => return Err(CallError::of_stream(&error, self.request_id.clone())),
                Ok(Err(panicked)) => return Err(panicked.into()),
                Err(_) => {
                    let message = format!("nothing more of the answer has come for {:?}", self.patience);
                    return Err(self.broken(Class::TimedOut, message));
                }
            };
            let Some(event) = event else {
                self.is_over = true;
                break;
            };
            if let Some(text) = self.take(event)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// Reads what is left and returns the whole answer.
    ///
    /// # Errors
    /// As [`next`](Self::next); or when the stream ended before the answer did.
    pub async fn finish(mut self) -> Result<Answer, CallError> {
        while self.next().await?.is_some() {}
        if self.parts.stop_reason.is_none() {
            return Err(self.broken(Class::Connection, "the stream ended before the answer did".into()));
        }
        let answer = self.parts.finish(self.request_id, self.emulated)?;
        Ok(Answer { usage: self.believable.check(answer.usage), held: self.held, ..answer })
    }

    fn take(&mut self, event: ConverseStreamOutput) -> Result<Option<String>, CallError> {
        match event {
            ConverseStreamOutput::ContentBlockStart(start) => self.parts.begin(start.content_block_index, start.start),
            ConverseStreamOutput::ContentBlockDelta(event) => {
                let Some(delta) = event.delta else { return Ok(None) };
                let (bytes, text) = self.parts.add(event.content_block_index, delta);
                self.bytes += bytes;
                if self.bytes > LARGEST {
                    return Err(unusable("it does not end", self.request_id.clone()));
                }
                return Ok(text.filter(|text| !text.is_empty()));
            }
            ConverseStreamOutput::MessageStop(stop) => self.parts.stop_reason = Some(stop.stop_reason),
            ConverseStreamOutput::Metadata(metadata) => {
                self.parts.usage = metadata.usage;
                self.parts.latency_ms = metadata.metrics.map(|metrics| metrics.latency_ms);
                self.parts.tier = metadata.service_tier;
                self.parts.trace = metadata.trace.and_then(|trace| trace.guardrail);
            }
            // Whose turn it is and where a block ends, the order says; what is new says nothing to us.
            _ => {}
        }
        Ok(None)
    }

    fn broken(&self, class: Class, message: String) -> CallError {
        CallError { class, status: Some(200), code: None, message, request_id: self.request_id.clone(), retry_after: None }
    }
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").field("request_id", &self.request_id).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
