//! Faults of one call.

use std::time::Duration;

use serde_json::Value;

use super::response::INTERNAL_MESSAGE;

/// How a call goes wrong. Set with [`Emulator::script`](super::Emulator::script) for one call and with
/// [`Emulator::fault_where`](super::Emulator::fault_where) for every call with a certain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It does not: the call is answered as it deserves.
    None,
    /// 429 `ThrottlingException` with the service's words and no hint when to come back, as the service sends it.
    Throttle,
    /// Any error in the service's form.
    Error {
        /// The HTTP status, from 400 to 599; any other is sent as 500.
        status: u16,
        /// The exception, for the `x-amzn-errortype` header: `ValidationException`.
        name: String,
        /// The message in the body.
        message: String,
        /// Sent as `retry-after`, in whole seconds, rounded up.
        retry_after: Option<Duration>,
    },
    /// An HTML page with this status and no error type, as a gateway in between sends it.
    Gateway {
        /// The HTTP status, from 400 to 599; any other is sent as 502.
        status: u16,
    },
    /// The connection is reset without an answer.
    Reset,
    /// No answer ever; ends when the client goes away or the emulator stops.
    Hang,
    /// The head and the first half of the right answer, then the end of the connection.
    CutBody,
    /// A 200 whose body is an HTML page.
    NotJson,
    /// Every vector is one number short.
    WrongDimensions,
    /// One vector fewer than texts.
    MissingVector,
    /// The first number of every vector is `1e300`: a valid number, but infinite as an `f32`.
    NotFinite,
    /// The right answer without the headers that count tokens and milliseconds; from a chat model, without its `usage`.
    NoTokenCount,
    /// A chat model stops for this reason, whatever it had to say: `content_filtered`, or one that no client knows yet. What
    /// goes with the reason goes with it: a blocked answer is the guardrail's, a malformed one is empty, a cut one is half.
    Stop {
        /// The `stopReason`.
        reason: String,
    },
    /// A chat model thinks aloud before it answers.
    Reasoning,
    /// A chat call that brings a `guardrailConfig` is blocked by it because of this word; one that brings none is answered.
    Guardrail {
        /// What the trace names as the match.
        word: String,
    },
    /// A stream breaks after this many events. Any other call is answered as it deserves.
    Stream {
        /// Events sent whole before it breaks; 0 breaks it before `messageStart`.
        after: usize,
        /// How it breaks.
        how: Break,
    },
}

/// How a stream of events breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// An exception of the service's model in the place of the next event.
    Exception {
        /// As the event stream names it: `throttlingException`.
        name: String,
        /// The message in its payload.
        message: String,
    },
    /// An error that the service's model does not know, in the place of the next event.
    Error {
        /// Its code.
        code: String,
        /// Its message.
        message: String,
    },
    /// The connection ends inside of the next event.
    Cut,
    /// The connection is reset.
    Reset,
    /// One bit of the next event's payload is wrong, so that its checksum is.
    BadChecksum,
    /// Nothing comes any more, and the connection stays.
    Hang,
}

impl Fault {
    /// An error in the service's form.
    pub fn error(status: u16, name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Error { status, name: name.into(), message: message.into(), retry_after: None }
    }

    /// A 400 that no retry will fix.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::error(400, "ValidationException", message)
    }

    /// A 500 that may be gone at the next attempt.
    #[must_use]
    pub fn internal() -> Self {
        Self::error(500, "InternalServerException", INTERNAL_MESSAGE)
    }

    /// A 503: the service has no room, whatever the quota.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::error(503, "ServiceUnavailableException", "Bedrock is unable to process your request.")
    }

    /// A 408: the model took too long.
    #[must_use]
    pub fn model_timeout() -> Self {
        let message = "Model has timed out in processing the request. Try your request again.";
        Self::error(408, "ModelTimeoutException", message)
    }

    /// A 424: the model failed.
    #[must_use]
    pub fn model_error() -> Self {
        let message = "The system encountered an unexpected error during processing. Try your request again.";
        Self::error(424, "ModelErrorException", message)
    }

    /// A 529, for which the API has no exception.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::error(529, "overloaded_error", "Overloaded")
    }
}

/// A right answer with wrong vectors in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    ShortVectors,
    MissingVector,
    NotFinite,
}

/// Puts a flaw into the body of an answer. Knows no model family: a vector is whatever is an array of numbers.
pub(super) fn spoil(body: &[u8], flaw: Flaw) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(body).expect("the emulator writes valid JSON");
    spoil_vectors(&mut answer, flaw);
    serde_json::to_vec(&answer).expect("a value prints")
}

fn spoil_vectors(value: &mut Value, flaw: Flaw) {
    match value {
        Value::Array(numbers) if numbers.first().is_some_and(Value::is_number) => match flaw {
            Flaw::ShortVectors => numbers.truncate(numbers.len() - 1),
            Flaw::NotFinite => numbers[0] = Value::from(1e300),
            Flaw::MissingVector => {}
        },
        Value::Array(vectors) if flaw == Flaw::MissingVector && vectors.iter().all(is_vector) => {
            vectors.truncate(vectors.len().saturating_sub(1));
        }
        Value::Array(inner) => inner.iter_mut().for_each(|value| spoil_vectors(value, flaw)),
        Value::Object(members) => {
            if flaw == Flaw::MissingVector {
                members.retain(|_, member| !is_vector(member));
            }
            members.values_mut().for_each(|value| spoil_vectors(value, flaw));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_vector(value: &Value) -> bool {
    value.as_array().and_then(|numbers| numbers.first()).is_some_and(Value::is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, flaw: Flaw, spoilt: &str) {
        assert_eq!(String::from_utf8(spoil(answer.as_bytes(), flaw)).unwrap(), spoilt);
    }

    #[test]
    fn a_flaw_touches_the_vectors_and_nothing_else() {
        let titan = r#"{"embedding":[0.5,1.0],"embeddingsByType":{"float":[0.5,1.0]},"inputTextTokenCount":4}"#;
        check(titan, Flaw::ShortVectors, r#"{"embedding":[0.5],"embeddingsByType":{"float":[0.5]},"inputTextTokenCount":4}"#);
        check(titan, Flaw::MissingVector, r#"{"embeddingsByType":{},"inputTextTokenCount":4}"#);
        let cohere = r#"{"embeddings":{"int8":[[1,2],[3,4]]},"texts":["a","b"]}"#;
        check(cohere, Flaw::MissingVector, r#"{"embeddings":{"int8":[[1,2]]},"texts":["a","b"]}"#);
        check(cohere, Flaw::NotFinite, r#"{"embeddings":{"int8":[[1e+300,2],[1e+300,4]]},"texts":["a","b"]}"#);
    }
}
