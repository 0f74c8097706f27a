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
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: HeaderValue,
    error_type: Option<HeaderValue>,
    retry_after: Option<Duration>,
    billed_tokens: Option<u64>,
    payload: Payload,
}

impl Answer {
    pub(super) fn embedded(embedded: Embedded) -> Self {
        Self { billed_tokens: Some(embedded.tokens), ..Self::json(StatusCode::OK, embedded.body) }
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        let body = json!({ "message": refusal.message }).to_string();
        Self {
            // A scripted name may hold what no header can; then the error goes without a type, as a gateway's would.
            error_type: HeaderValue::try_from(format!("{}{ERROR_TYPE_SUFFIX}", refusal.name)).ok(),
            retry_after: refusal.retry_after,
            ..Self::json(refusal.status, body.into_bytes())
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
        if self.status == StatusCode::OK {
            self.payload.bytes = spoil(&self.payload.bytes, flaw).into();
        }
        self
    }

    /// Keeps the token count and the latency to itself.
    pub(super) fn without_counts(self) -> Self {
        Self { billed_tokens: None, ..self }
    }

    /// Writes the head. `elapsed` is the time since the call arrived.
    pub(super) fn into_response(self, elapsed: Duration) -> Response<Payload> {
        let mut response = Response::new(self.payload);
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

    fn json(status: StatusCode, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: HeaderValue::from_static("application/json"),
            error_type: None,
            retry_after: None,
            billed_tokens: None,
            payload: Payload { bytes: body.into(), cut: Cut::Never },
        }
    }
}

/// A body of known length that may end too soon.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Bytes,
    cut: Cut,
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
#[derive(Debug, thiserror::Error)]
#[error("the emulator cut the answer")]
pub(super) struct CutShort;

impl Body for Payload {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
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
            Cut::Now(_) => Poll::Ready(Some(Err(CutShort))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.cut {
            Cut::Never | Cut::AfterHalf => SizeHint::with_exact(self.bytes.len() as u64),
            Cut::AfterFlush(missing) | Cut::Now(missing) => SizeHint::with_exact(missing as u64),
        }
    }
}
