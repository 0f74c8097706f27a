//! Answers in the service's form: bodies, headers, error names.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;
use uuid::Uuid;

use super::converse::Chat;
use super::event_body::Events;
use super::fault::{Flaw, spoil};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const INPUT_TOKENS: HeaderName = HeaderName::from_static("x-amzn-bedrock-input-token-count");
const LATENCY: HeaderName = HeaderName::from_static("x-amzn-bedrock-invocation-latency");
/// Tells a client that no model made this.
const EMULATOR: HeaderName = HeaderName::from_static("x-riverbed-emulator");

/// The service appends the place an error type is defined at; clients have to cut it off.
const ERROR_TYPE_SUFFIX: &str = ":http://internal.amazon.com/coral/com.amazon.bedrock/";

const HTML: &str = "<html><head><title>Gateway</title></head><body><h1>The service cannot be reached</h1></body></html>\n";

pub(super) const INTERNAL_MESSAGE: &str = "The system encountered an unexpected error during processing. Try your request again.";

/// The vectors of one call, ready to send.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) body: Vec<u8>,
    pub(super) texts: u64,
    pub(super) tokens: u64,
}

/// Why the service says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) name: Cow<'static, str>,
    pub(super) message: Cow<'static, str>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, name: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, name: name.into(), message: message.into(), retry_after: None }
    }

    pub(super) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", INTERNAL_MESSAGE)
    }

    pub(super) fn throttled() -> Self {
        let message = "Too many requests, please wait before trying again.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", message)
    }

    /// Over the quota of tokens, not too long: the words are easily taken for that.
    pub(super) fn too_many_tokens() -> Self {
        let message = "Too many tokens, please wait before trying again.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", message)
    }
}

/// What goes back to the client.
#[derive(Debug)]
pub(super) struct EmulatedResponse {
    pub(super) status: StatusCode,
    content_type: HeaderValue,
    error_type: Option<HeaderValue>,
    retry_after: Option<Duration>,
    billed_tokens: Option<u64>,
    payload: Whole,
    /// The answer of a chat model takes the place of the payload: it says how long it took, so it is written last.
    chat: Option<Box<Chat>>,
    /// Tokens to give back to a model's quota when the answer leaves: reserved for it and not spent.
    pub(super) surplus: Option<(String, u64)>,
}

impl EmulatedResponse {
    pub(super) fn embedded(embedded: Embedded) -> Self {
        Self { billed_tokens: Some(embedded.tokens), ..Self::json(StatusCode::OK, embedded.body) }
    }

    pub(super) fn chat(chat: Chat, model_id: String) -> Self {
        Self {
            content_type: chat.content_type(),
            surplus: Some((model_id, chat.reserved.saturating_sub(chat.spent))),
            chat: Some(Box::new(chat)),
            ..Self::json(StatusCode::OK, Vec::new())
        }
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        let mut body = json!({ "message": refusal.message });
        if refusal.name == "ModelErrorException" {
            body["originalStatusCode"] = json!(500);
        }
        Self {
            // A scripted name may hold what no header can; then the error goes without a type, as a gateway's would.
            error_type: HeaderValue::try_from(format!("{}{ERROR_TYPE_SUFFIX}", refusal.name)).ok(),
            retry_after: refusal.retry_after,
            ..Self::json(refusal.status, body.to_string().into_bytes())
        }
    }

    /// The answer to a route that the API does not have.
    pub(super) fn unknown_operation() -> Self {
        let body = r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
        Self {
            error_type: Some(HeaderValue::from_static("UnknownOperationException")),
            ..Self::json(StatusCode::NOT_FOUND, body.into())
        }
    }

    /// What a gateway that knows nothing of Bedrock sends.
    pub(super) fn page(status: StatusCode) -> Self {
        Self { content_type: HeaderValue::from_static("text/html"), ..Self::json(status, HTML.into()) }
    }

    /// Ends the connection in the middle of the body.
    pub(super) fn cut(mut self) -> Self {
        self.payload.cut = Cut::AfterHalf;
        self
    }

    /// Puts a flaw into the vectors, if there are any.
    pub(super) fn spoilt(mut self, flaw: Flaw) -> Self {
        if self.status == StatusCode::OK && self.chat.is_none() {
            self.payload.bytes = spoil(&self.payload.bytes, flaw).into();
        }
        self
    }

    /// Keeps the token count and the latency to itself.
    pub(super) fn without_counts(self) -> Self {
        Self { billed_tokens: None, chat: self.chat.map(Chat::without_usage), ..self }
    }

    #[cfg(test)]
    pub(super) fn into_bytes(self) -> Bytes {
        self.payload.bytes
    }

    /// Writes the head. `elapsed` is the time since the call arrived.
    pub(super) fn into_response(self, elapsed: Duration) -> Response<Payload> {
        let payload = match self.chat {
            Some(chat) => chat.payload(elapsed, self.payload),
            None => Payload::Whole(self.payload),
        };
        let mut response = Response::new(payload);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        headers.insert(EMULATOR, HeaderValue::from_static("1"));
        let mut request_id = Uuid::encode_buffer();
        let request_id = Uuid::new_v4().hyphenated().encode_lower(&mut request_id);
        headers.insert(REQUEST_ID, HeaderValue::from_str(request_id).expect("hex digits and hyphens"));
        if let Some(tokens) = self.billed_tokens {
            headers.insert(INPUT_TOKENS, HeaderValue::from(tokens));
            headers.insert(LATENCY, HeaderValue::from(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)));
        }
        if let Some(error_type) = self.error_type {
            headers.insert(ERROR_TYPE, error_type);
        }
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0)));
        }
        response
    }

    pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: HeaderValue::from_static("application/json"),
            error_type: None,
            retry_after: None,
            billed_tokens: None,
            payload: Whole { bytes: body.into(), cut: Cut::Never },
            chat: None,
            surplus: None,
        }
    }
}

/// A body.
#[derive(Debug)]
pub(super) enum Payload {
    Whole(Whole),
    Events(Events),
}

/// A body of known length that may end too soon.
#[derive(Debug)]
pub(super) struct Whole {
    bytes: Bytes,
    cut: Cut,
}

impl Whole {
    /// Puts other bytes in the place of its own; they end as soon as those would have.
    pub(super) fn with(self, bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), ..self }
    }

    pub(super) fn ends_too_soon(&self) -> bool {
        !matches!(self.cut, Cut::Never)
    }
}

#[derive(Debug, Clone, Copy)]
enum Cut {
    Never,
    AfterHalf,
    /// Half is handed over with this many bytes missing; it has to leave the process before the connection may end.
    AfterFlush(usize),
    Now(usize),
}

/// Why a body ended too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the emulator cut the answer")]
    Cut,
    #[error("the emulator reset the connection")]
    Reset,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(whole) => whole.poll(context),
            Self::Events(events) => events.poll(context),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.left()),
            // Nobody knows: it is sent in chunks.
            Self::Events(_) => SizeHint::default(),
        }
    }
}

impl Whole {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.cut {
            Cut::Never if self.bytes.is_empty() => Poll::Ready(None),
            Cut::Never => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes))))),
            Cut::AfterHalf => {
                let half = self.bytes.len() / 2;
                self.cut = Cut::AfterFlush(self.bytes.len() - half);
                Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(half)))))
            }
            Cut::AfterFlush(missing) => {
                // hyper flushes when a body has nothing to give, and drops what it has when a body fails.
                self.cut = Cut::Now(missing);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Cut::Now(_) => Poll::Ready(Some(Err(Broken::Cut))),
        }
    }

    fn left(&self) -> u64 {
        match self.cut {
            Cut::Never | Cut::AfterHalf => self.bytes.len() as u64,
            Cut::AfterFlush(missing) | Cut::Now(missing) => missing as u64,
        }
    }
}
