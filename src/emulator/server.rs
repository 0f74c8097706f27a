//! Connections, routes, and the way of one call from its arrival to its answer.
//!
//! On hyper itself, not on a framework above it: connections have to belong to somebody (`axum::serve` detaches them),
//! and a connection has to be cut in the middle of a call, which a service that may fail can do and a route cannot.

use std::error::Error;
use std::future::{self, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, trace, warn};

use super::admin_api;
use super::auth::{self, Authorization};
use super::control::{Control, Operation, Received};
use super::converse::{self, Asked, Chat, Chats};
use super::fault::{Fault, Flaw};
use super::json_members;
use super::models::{self, Family};
use super::response::{Broken, Embedded, EmulatedResponse, Payload, Refusal};
use super::vector_kind::Space;

/// Connections served at once; more wait in the listener's backlog. With the limit on bodies, a bound on memory.
const MAX_CONNECTIONS: usize = 4_096;
/// The service's limit on a body.
const MAX_BODY: usize = 25_000_000;
/// A larger body is read to its end, so that its client gets to read the answer, but no further than this.
const MAX_DISCARDED: usize = 4 * MAX_BODY;
/// Larger requests are embedded on the blocking pool: 96 texts of 2,000 characters take some 10 ms.
const MAX_INLINE: usize = 16 * 1024;

/// What every connection shares.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) control: Arc<Control>,
    pub(super) space: Arc<Space>,
    pub(super) chats: Arc<Chats>,
}

/// Accepts connections until `stop`, then cuts those there are. Owns them all: dropped, it takes them along.
pub(super) async fn accept(listener: TcpListener, server: Arc<Server>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                error!(%error, "a connection ended in a bug of the emulator");
            },
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    server.control.connected();
                    connections.spawn(serve(stream, Arc::clone(&server)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection, waiting");
                    // Out of file descriptors, as a rule: it fails again at once until some are given back.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, server: Arc<Server>) {
    if let Err(error) = stream.set_nodelay(true) {
        trace!(%error, "cannot switch off Nagle's algorithm");
    }
    let service = service_fn(|request| Arc::clone(&server).call(request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else { return };
    trace!(%error, "connection ended");
    let in_a_stream = error.source().and_then(|cause| cause.downcast_ref::<Broken>()) == Some(&Broken::Reset);
    if in_a_stream || error.source().is_some_and(<dyn Error>::is::<Reset>) {
        // No lingering: closing now sends RST instead of FIN.
        if let Err(error) = connection.into_parts().io.into_inner().set_zero_linger() {
            warn!(%error, "cannot reset a connection");
        }
    }
}

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the emulator reset the connection")]
struct Reset;

impl Server {
    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Payload>, Reset> {
        let (head, body) = request.into_parts();
        // A client that goes away in the middle of its request never made a call.
        let body = read(body).await.map_err(|_| Reset)?;
        let arrived = Instant::now();
        if let Some(route) = admin_api::route(head.uri.path()) {
            let body = body.as_ref().ok().map(Vec::as_slice);
            return Ok(admin_api::answer(&self.control, &head.method, route, body).into_response(arrived.elapsed()));
        }
        let call = Call::read(&head, body);
        if let Some(operation) = call.operation().filter(|operation| *operation != Operation::Invoke) {
            self.control.chat(operation);
        }
        let (in_flight, fault) = self.control.arrive(&call.texts(), || call.received(&head));

        let answer = self.answer(call, fault).await;
        // Zero has to cost nothing: even an elapsed timer goes once through the runtime's wheel.
        if !in_flight.delay.is_zero() {
            tokio::time::sleep(in_flight.delay.saturating_sub(arrived.elapsed())).await;
        }
        self.control.released().await;
        let mut answer = answer?;
        if let Some((model_id, tokens)) = answer.surplus.take() {
            self.control.give_back(&model_id, tokens);
        }
        in_flight.answered(answer.status.as_u16());
        Ok(answer.into_response(arrived.elapsed()))
    }

    async fn answer(&self, call: Call, fault: Fault) -> Result<EmulatedResponse, Reset> {
        Ok(match fault {
            fault @ (Fault::None | Fault::Stop { .. } | Fault::Reasoning | Fault::Guardrail { .. } | Fault::Stream { .. }) => {
                self.judge(call, fault).await
            }
            Fault::Reset => return Err(Reset),
            Fault::Hang => future::pending().await,
            Fault::Throttle => EmulatedResponse::refused(&Refusal::throttled()),
            Fault::Error { status, name, message, retry_after } => {
                let status = error_status(status, StatusCode::INTERNAL_SERVER_ERROR);
                EmulatedResponse::refused(&Refusal { retry_after, ..Refusal::new(status, name, message) })
            }
            Fault::Gateway { status } => EmulatedResponse::page(error_status(status, StatusCode::BAD_GATEWAY)),
            Fault::NotJson => EmulatedResponse::page(StatusCode::OK),
            Fault::CutBody => self.judge(call, Fault::None).await.cut(),
            Fault::WrongDimensions => self.judge(call, Fault::None).await.spoilt(Flaw::ShortVectors),
            Fault::MissingVector => self.judge(call, Fault::None).await.spoilt(Flaw::MissingVector),
            Fault::NotFinite => self.judge(call, Fault::None).await.spoilt(Flaw::NotFinite),
            Fault::NoTokenCount => self.judge(call, Fault::None).await.without_counts(),
        })
    }

    /// The answer that the call deserves. `fault` says what is asked of a chat model's answer.
    async fn judge(&self, call: Call, fault: Fault) -> EmulatedResponse {
        let Some(target) = call.target else { return EmulatedResponse::unknown_operation() };
        let size = call.size;
        let answered = match call.authorization {
            Ok(_) => self.serve(target, call.body, size, fault).await,
            Err(refusal) => Err(refusal),
        };
        answered.unwrap_or_else(|refusal| EmulatedResponse::refused(&refusal))
    }

    async fn converse(&self, request: Value, asked: Asked, size: usize) -> Result<Chat, Refusal> {
        if size <= MAX_INLINE {
            return self.chats.answer(request, &asked);
        }
        let chats = Arc::clone(&self.chats);
        let answering = tokio::task::spawn_blocking(move || chats.answer(request, &asked));
        answering.await.unwrap_or_else(|error| {
            error!(%error, "answering ended in a bug of the emulator");
            Err(Refusal::internal())
        })
    }

    /// A client over its quota is told so before anything about the body; what is refused takes nothing of a quota.
    async fn serve(
        &self,
        target: Target,
        body: Result<Value, Refusal>,
        size: usize,
        fault: Fault,
    ) -> Result<EmulatedResponse, Refusal> {
        let Target { model_id, operation, family } = target;
        let family = family?;
        self.control.ask(&model_id)?;
        if operation == Operation::Invoke {
            let embedded = self.embed(family, body?, size).await?;
            self.control.take(&model_id, embedded.tokens)?;
            self.control.bill(embedded.texts, embedded.tokens);
            return Ok(EmulatedResponse::embedded(embedded));
        }
        let Family::Chat(traits) = family else {
            return Err(Refusal::validation(
                "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
            ));
        };
        let asked = Asked { model_id, traits, streamed: operation == Operation::ConverseStream, fault };
        let model_id = asked.model_id.clone();
        let chat = self.converse(body?, asked, size).await?;
        // What the answer may cost is taken until it is known what it did.
        self.control.take(&model_id, chat.reserved)?;
        self.control.bill_chat(&chat.usage());
        Ok(EmulatedResponse::chat(chat, model_id))
    }

    async fn embed(&self, family: Family, request: Value, size: usize) -> Result<Embedded, Refusal> {
        if size <= MAX_INLINE {
            return family.embed(request, &self.space);
        }
        // It cannot be aborted, but it ends by itself and holds nothing but its input.
        let space = Arc::clone(&self.space);
        let embedding = tokio::task::spawn_blocking(move || family.embed(request, &space));
        embedding.await.unwrap_or_else(|error| {
            error!(%error, "embedding ended in a bug of the emulator");
            Err(Refusal::internal())
        })
    }
}

/// A request, read but not judged.
struct Call {
    /// `None` for a route that the API does not have.
    target: Option<Target>,
    authorization: Result<Authorization, Refusal>,
    /// The body as JSON, or what is wrong with it.
    body: Result<Value, Refusal>,
    size: usize,
}

struct Target {
    model_id: String,
    operation: Operation,
    family: Result<Family, Refusal>,
}

impl Call {
    fn read(head: &Parts, body: Result<Vec<u8>, Refusal>) -> Self {
        let target = route(head).map(|(model_id, operation)| Target { family: models::resolve(&model_id), model_id, operation });
        let size = body.as_ref().map_or(0, Vec::len);
        let authorization = auth::check(&head.headers).and_then(|authorization| {
            // A body that is too large was not kept, and is refused for that.
            body.as_ref().map_or(Ok(()), |bytes| auth::verify(&authorization, head, bytes))?;
            Ok(authorization)
        });
        let body = body.and_then(|bytes| {
            check_content_type(&head.headers)?;
            serde_json::from_slice(&bytes).map_err(|_| json_members::not_json())
        });
        Self { target, authorization, body, size }
    }

    fn operation(&self) -> Option<Operation> {
        self.target.as_ref().map(|target| target.operation)
    }

    fn texts(&self) -> Vec<&str> {
        if self.operation().is_some_and(|operation| operation != Operation::Invoke) {
            return self.body.as_ref().map_or_else(|_| Vec::new(), converse::texts);
        }
        let family = self.target.as_ref().and_then(|target| target.family.as_ref().ok());
        family.zip(self.body.as_ref().ok()).map_or_else(Vec::new, |(family, body)| family.texts(body))
    }

    fn received(&self, head: &Parts) -> Received {
        Received {
            model_id: self.target.as_ref().map(|target| target.model_id.clone()),
            operation: self.operation(),
            texts: self.texts().into_iter().map(str::to_owned).collect(),
            body: self.body.as_ref().map_or(Value::Null, Value::clone),
            authorization: self.authorization.as_ref().ok().cloned(),
            content_type: header(&head.headers, CONTENT_TYPE).map(str::to_owned),
            accept: header(&head.headers, ACCEPT).map(str::to_owned),
        }
    }
}

/// A scripted status, if it is one that an error can have.
fn error_status(status: u16, otherwise: StatusCode) -> StatusCode {
    StatusCode::from_u16(status).ok().filter(|status| status.is_client_error() || status.is_server_error()).unwrap_or(otherwise)
}

/// Reads a body. The inner error is the service's answer to one that is too large, the outer one a broken connection.
async fn read(mut body: Incoming) -> Result<Result<Vec<u8>, Refusal>, hyper::Error> {
    let mut bytes = Vec::new();
    let mut size = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else { continue };
        size += data.len();
        if size <= MAX_BODY {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
        if size > MAX_DISCARDED {
            break;
        }
    }
    if size <= MAX_BODY {
        return Ok(Ok(bytes));
    }
    let message = "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less than or equal to 25000000";
    Ok(Err(Refusal::validation(message)))
}

/// Returns the model and the operation of `POST /model/{modelId}/invoke` and its like. The segments are told apart before any
/// is decoded: an ARN has slashes of its own, sent as `%2F`.
fn route(head: &Parts) -> Option<(String, Operation)> {
    let mut segments = head.uri.path().strip_prefix("/model/")?.split('/');
    let (model_id, operation, end) = (segments.next()?, segments.next()?, segments.next());
    let operation = match (&head.method, operation, end) {
        (&Method::POST, "invoke", None) => Operation::Invoke,
        (&Method::POST, "converse", None) => Operation::Converse,
        (&Method::POST, "converse-stream", None) => Operation::ConverseStream,
        _ => return None,
    };
    let model_id = percent_decoded(model_id).filter(|model_id| !model_id.is_empty())?;
    Some((model_id, operation))
}

fn percent_decoded(segment: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        decoded.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

/// An SDK that is not told otherwise sends `application/octet-stream`.
fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let media_type = header(headers, CONTENT_TYPE).map(|value| value.split_once(';').map_or(value, |(media_type, _)| media_type));
    match media_type {
        Some(media_type) if media_type.trim().eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Refusal::validation("The provided Content Type is invalid or not supported for this model")),
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, expected: Option<&str>) {
        let (head, ()) = Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
        assert_eq!(route(&head).map(|(model_id, _)| model_id).as_deref(), expected, "{method} {path}");
    }

    #[test]
    fn a_model_id_is_decoded_after_the_path_is_split() {
        check("POST", "/model/amazon.titan-embed-text-v2%3A0/invoke", Some("amazon.titan-embed-text-v2:0"));
        check("POST", "/model/amazon.titan-embed-text-v2:0/invoke", Some("amazon.titan-embed-text-v2:0"));
        check("POST", "/model/arn%3aaws%3Abedrock%3A%3Ax%2Finvoke%2Fy/invoke", Some("arn:aws:bedrock::x/invoke/y"));
    }

    #[test]
    fn the_last_segment_is_the_operation() {
        let operation = |last: &str| {
            let (head, ()) = Request::builder().method("POST").uri(format!("/model/a/{last}")).body(()).unwrap().into_parts();
            route(&head).map(|(_, operation)| operation)
        };
        let found = ["invoke", "converse", "converse-stream", "converse/x"].map(operation);
        assert_eq!(found, [Some(Operation::Invoke), Some(Operation::Converse), Some(Operation::ConverseStream), None]);
    }

    #[test]
    fn other_routes_have_no_model() {
        check("GET", "/model/a/invoke", None);
        check("POST", "/model/a/count-tokens", None);
        check("GET", "/model/a/converse", None);
        check("POST", "/model/a/invoke/", None);
        check("POST", "/model//invoke", None);
        check("POST", "/model/a/b/invoke", None);
        check("POST", "/model/a%2/invoke", None);
        check("POST", "/model/a%ff/invoke", None);
        check("POST", "/", None);
    }
}
