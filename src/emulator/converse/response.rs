//! An answer, and the two forms in which it is sent: one object, or a stream of events.

use std::time::Duration;

use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};

use super::super::fault::Break;
use super::super::{eventstream, hash};
use super::prompt_cache::Cached;
use crate::emulator::event_body::{BodyEnd, Events};
use crate::emulator::response::{Payload, Whole};

/// What a model says in answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) content: Vec<AnswerBlock>,
    pub(super) stop: String,
    pub(super) usage: Option<Usage>,
    /// Fields that the request asked for by their paths.
    pub(super) additional: Option<Value>,
    pub(super) trace: Option<Value>,
    pub(super) latency: Option<&'static str>,
    pub(super) tier: Option<&'static str>,
}

/// A block of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum AnswerBlock {
    Text(String),
    Reasoning { text: String, signature: Option<String> },
    ToolUse { id: String, name: String, input: Value },
}

/// What a call is billed for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Usage {
    /// Tokens of the request that were neither read from the cache nor written to it.
    pub(in super::super) input: u64,
    pub(in super::super) output: u64,
    /// `None` where the request has no cache point.
    pub(super) cached: Option<Cached>,
}

impl Usage {
    /// Returns the tokens read from the cache, and those written to it.
    pub(in super::super) fn cached(&self) -> (u64, u64) {
        self.cached.as_ref().map_or((0, 0), |cached| (cached.read, cached.written))
    }

    fn json(&self) -> Value {
        let (read, written) = self.cached();
        let total = self.input + self.output + read + written;
        let mut usage = json!({
            "inputTokens": self.input, "outputTokens": self.output, "totalTokens": total, "serverToolUsage": {},
        });
        if let Some(cached) = &self.cached {
            usage["cacheReadInputTokens"] = json!(read);
            usage["cacheWriteInputTokens"] = json!(written);
            let details = cached.details.iter().map(|(ttl, tokens)| json!({"ttl": ttl.name(), "inputTokens": tokens}));
            usage["cacheDetails"] = details.collect();
        }
        usage
    }
}

/// An answer on its way: it says how long it took, so that its bytes are written last.
#[derive(Debug)]
pub(in super::super) struct Chat {
    pub(super) reply: Reply,
    /// Tokens that the call takes of a quota while it runs: those of the request, and all that the answer may have.
    pub(in super::super) reserved: u64,
    /// Tokens of a quota that it came to: reading the cache is free, and output may count several times.
    pub(in super::super) spent: u64,
    pub(super) stream: Option<Stream>,
}

/// How an answer is streamed.
#[derive(Debug)]
pub(super) struct Stream {
    /// Between two events.
    pub(super) pause: Duration,
    /// After how many events it breaks, and how.
    pub(super) breaks: Option<(usize, Break)>,
}

impl Chat {
    pub(in super::super) fn usage(&self) -> Usage {
        self.reply.usage.clone().unwrap_or_default()
    }

    pub(in super::super) fn without_usage(mut self: Box<Self>) -> Box<Self> {
        self.reply.usage = None;
        self
    }

    pub(in super::super) fn content_type(&self) -> HeaderValue {
        let media_type = if self.stream.is_some() { "application/vnd.amazon.eventstream" } else { "application/json" };
        HeaderValue::from_static(media_type)
    }

    /// Writes the body. `elapsed` is the time since the call arrived; `whole` says whether the body is to end too soon.
    pub(in super::super) fn payload(self, elapsed: Duration, whole: Whole) -> Payload {
        let Some(stream) = self.stream else {
            return Payload::Whole(whole.with(self.reply.body(elapsed).to_string().into_bytes()));
        };
        let mut frames = self.reply.frames(elapsed, stream.pause);
        let half = frames.len() / 2;
        let breaks = if whole.ends_too_soon() { Some((half, Break::Cut)) } else { stream.breaks };
        let end = breaks.map_or(BodyEnd::Whole, |(after, how)| broken(&mut frames, after, how));
        Payload::Events(Events::new(frames, stream.pause, end))
    }
}

impl Reply {
    fn body(&self, elapsed: Duration) -> Value {
        let content: Vec<Value> = self.content.iter().map(AnswerBlock::json).collect();
        let mut body = json!({
            "metrics": {"latencyMs": millis(elapsed)},
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": self.stop,
        });
        let members = body.as_object_mut().expect("it is one");
        members.extend(self.additional.clone().map(|fields| ("additionalModelResponseFields".to_owned(), fields)));
        members.extend(self.accounts());
        body
    }

    /// The fields beside the answer in both forms.
    fn accounts(&self) -> Map<String, Value> {
        let mut accounts = Map::new();
        let mut put = |key: &str, value: Option<Value>| accounts.extend(value.map(|value| (key.to_owned(), value)));
        put("usage", self.usage.as_ref().map(Usage::json));
        put("trace", self.trace.clone());
        put("performanceConfig", self.latency.map(|latency| json!({ "latency": latency })));
        put("serviceTier", self.tier.map(|tier| json!({ "type": tier })));
        accounts
    }

    /// Returns the answer as events, each in a frame of its own.
    fn frames(&self, elapsed: Duration, pause: Duration) -> Vec<Vec<u8>> {
        let mut events = vec![("messageStart", json!({"role": "assistant"}))];
        for (index, said) in self.content.iter().enumerate() {
            let at = |mut payload: Value| {
                payload["contentBlockIndex"] = json!(index);
                payload
            };
            // As from the service, a block of text has no beginning.
            if let AnswerBlock::ToolUse { id, name, .. } = said {
                events.push(("contentBlockStart", at(json!({"start": {"toolUse": {"toolUseId": id, "name": name}}}))));
            }
            let deltas = said.deltas().into_iter().map(|delta| ("contentBlockDelta", at(json!({ "delta": delta }))));
            events.extend(deltas);
            events.push(("contentBlockStop", at(json!({}))));
        }
        let mut stop = json!({"stopReason": self.stop});
        if let Some(fields) = &self.additional {
            stop["additionalModelResponseFields"] = fields.clone();
        }
        events.push(("messageStop", stop));
        let mut accounts = self.accounts();
        let pauses = pause.saturating_mul(u32::try_from(events.len()).unwrap_or(u32::MAX));
        accounts.insert("metrics".to_owned(), json!({"latencyMs": millis(elapsed.saturating_add(pauses))}));
        events.push(("metadata", Value::Object(accounts)));

        let padding = hash::sequence(hash::text(&events[events.len() / 2].1.to_string()));
        let framed = events.into_iter().zip(padding).map(|((name, mut payload), random)| {
            payload["p"] = json!(PADDING[..=hash::place(random, PADDING.len())]);
            eventstream::event(name, payload.to_string().as_bytes())
        });
        framed.collect()
    }
}

/// The service hides how long an event is behind some of these.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

impl AnswerBlock {
    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!({ "text": text }),
            Self::Reasoning { text, signature } => {
                let mut reasoning = json!({ "text": text });
                if let Some(signature) = signature {
                    reasoning["signature"] = json!(signature);
                }
                json!({"reasoningContent": {"reasoningText": reasoning}})
            }
            Self::ToolUse { id, name, input } => json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}),
        }
    }

    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Text(text) => pieces(text).into_iter().map(|piece| json!({ "text": piece })).collect(),
            Self::Reasoning { text, signature } => {
                let thoughts = pieces(text).into_iter().map(|piece| json!({"reasoningContent": {"text": piece}}));
                let signature = signature.iter().map(|signature| json!({"reasoningContent": {"signature": signature}}));
                thoughts.chain(signature).collect()
            }
            Self::ToolUse { input, .. } => {
                let input = input.to_string();
                pieces(&input).into_iter().map(|piece| json!({"toolUse": {"input": piece}})).collect()
            }
        }
    }
}

/// Parts a text into pieces of one to four words, by its own hash; together they are the text.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for random in hash::sequence(hash::text(text)) {
        if rest.is_empty() {
            break;
        }
        let words = 1 + hash::place(random, 4);
        let end = rest.match_indices(' ').nth(words).map_or(rest.len(), |(at, _)| at);
        // A text that begins with a space is no reason for an empty piece.
        let (piece, after) = rest.split_at(if end == 0 { rest.len() } else { end });
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Breaks a row of frames after so many of them.
fn broken(frames: &mut Vec<Vec<u8>>, after: usize, how: Break) -> BodyEnd {
    let mut until = |count: usize| frames.truncate(count);
    match how {
        Break::Exception { name, message } => {
            until(after);
            frames.push(eventstream::exception(&name, json!({ "message": message }).to_string().as_bytes()));
            BodyEnd::Whole
        }
        Break::Error { code, message } => {
            until(after);
            frames.push(eventstream::error(&code, &message));
            BodyEnd::Whole
        }
        Break::Cut => {
            until(after.saturating_add(1));
            if let Some(frame) = frames.get_mut(after) {
                frame.truncate(frame.len() / 2);
            }
            BodyEnd::Cut
        }
        Break::Reset => {
            until(after);
            BodyEnd::Reset
        }
        Break::Hang => {
            until(after);
            BodyEnd::Never
        }
        Break::BadChecksum => {
            if let Some(frame) = frames.get_mut(after) {
                let last_of_payload = frame.len() - 5;
                frame[last_of_payload] ^= 1;
            }
            BodyEnd::Whole
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pieces_of_a_text_are_the_text(text: String) {
            let pieces = pieces(&text);
            prop_assert_eq!(&pieces.concat(), &text);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }
    }

    #[test]
    fn the_same_answer_is_streamed_in_the_same_bytes() {
        let reply = || Reply {
            content: vec![AnswerBlock::Text("Otters swim in the river and sleep in the reeds. ".repeat(3))],
            ..Reply::default()
        };
        let frames = |reply: Reply| reply.frames(Duration::ZERO, Duration::ZERO);
        assert_eq!(frames(reply()), frames(reply()));
        assert!(frames(reply()).len() > 5);
    }
}
