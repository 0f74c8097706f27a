//! The HTTP server: read-only. Everything in it is bounded, so that no client can hold the pipeline up.
//!
//! On hyper itself, as the emulator is: connections belong to the server and end with it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, error, warn};

use super::access::{Guard, May, Refused};
use super::collect::View;
use super::metrics;
use super::page::{self, History};
use super::schema::State;

/// Connections that are served at once; one more gets 503 and is closed.
const CONNECTIONS: usize = 16;
/// How long a request's head may take to come.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Of them, those that listen to events; the others stay free for single requests.
const LISTENERS: usize = 8;
/// How long a connection may last that does not listen. Each is for one request.
const TIME: Duration = Duration::from_secs(15);
/// Longest head of a request, in bytes: the least that hyper takes for a bound.
const LONGEST_HEAD: usize = 8192;
/// Most header lines of a request.
const HEADERS: usize = 64;

/// Where the page listens.
const EVENTS: &str = "/events";

/// What is sent: a whole text, or events.
type Shown = UnsyncBoxBody<Bytes, Infallible>;

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    guard: Guard,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is taken, or is none of this machine.
    pub async fn bind(address: SocketAddr, guard: Guard) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, guard })
    }

    /// Returns the address, with the port that a port of 0 has come to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows a view until it is dropped; connections end with it.
    pub async fn serve(self, view: Arc<View>) -> Infallible {
        view.set_url(format!("http://{}", self.address));
        let history = Arc::new(History::default());
        let listeners = Arc::new(Semaphore::new(LISTENERS));
        let served = Arc::new(Served { guard: self.guard, view, history, listeners });
        let samples = served.history.keep(&served.view);
        tokio::pin!(samples);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                never = &mut samples => match never {},
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    error!(%error, "a status connection ended in a bug of riverbed");
                },
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() < CONNECTIONS => {
                        connections.spawn(serve(stream, Arc::clone(&served)));
                    }
                    Ok((stream, _)) => turn_away(&stream),
                    Err(error) => {
                        warn!(%error, "cannot accept a status connection, waiting");
                        // Out of file descriptors, as a rule: it fails again at once until some are given back.
                        sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }
}

/// Says that there is no place, if that can be said without waiting.
fn turn_away(stream: &TcpStream) {
    let _unheard = stream.try_write(b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

struct Served {
    guard: Guard,
    view: Arc<View>,
    history: Arc<History>,
    listeners: Arc<Semaphore>,
}

async fn serve(stream: TcpStream, served: Arc<Served>) {
    let Ok(at) = stream.local_addr() else { return };
    let listens = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        listens.store(request.uri().path() == EVENTS, Relaxed);
        let served = Arc::clone(&served);
        async move { Ok::<_, Infallible>(served.answer(request, at).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(LONGEST_HEAD).max_headers(HEADERS);
    let connection = builder.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    // A stream of events ends by itself.
    let too_long = async {
        sleep(TIME).await;
        if listens.load(Relaxed) {
            pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!(%error, "a status connection failed");
        },
        () = too_long => debug!("a status connection took too long"),
    }
}

impl Served {
    async fn answer(&self, request: Request<Incoming>, at: SocketAddr) -> Response<Shown> {
        let (head, body) = request.into_parts();
        let may = match self.guard.admit(&head, at) {
            Ok(_) if !body.is_end_stream() => {
                return refused(&Refused { status: StatusCode::BAD_REQUEST, why: "a request has no body" });
            }
            Ok(may) => may,
            Err(refusal) => return refused(&refusal),
        };
        let Self { view, .. } = self;
        match head.uri.path() {
            "/" if may == May::HearNames => {
                let mut response = text(StatusCode::OK, "text/html; charset=utf-8", page::PAGE);
                let policy = HeaderValue::from_str(&page::POLICY).expect("it is ASCII");
                response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
                response
            }
            // A browser's stream of events cannot carry the token.
            "/" => {
                refused(&Refused { status: StatusCode::FORBIDDEN, why: "the page is for the machine itself: take an SSH tunnel" })
            }
            EVENTS => match Arc::clone(&self.listeners).try_acquire_owned() {
                Ok(place) => {
                    let events = page::events(Arc::clone(view), Arc::clone(&self.history), may == May::HearNames, place);
                    let mut response = text(StatusCode::OK, "text/event-stream", "");
                    *response.body_mut() = StreamBody::new(events).boxed_unsync();
                    response
                }
                Err(_) => refused(&Refused { status: StatusCode::SERVICE_UNAVAILABLE, why: "enough listen already" }),
            },
            "/healthz" => text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            "/readyz" => {
                let (status, said) = match view.state() {
                    State::Following => (StatusCode::OK, "ready\n"),
                    State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
                    State::Waiting => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the source folder\n"),
                    State::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
                    State::Stopped => unreachable!("a daemon that answers runs"),
                };
                text(status, "text/plain; charset=utf-8", said)
            }
            path @ ("/metrics" | "/status.json") => match view.status().await {
                Ok(status) if path == "/metrics" => {
                    let format = metrics::Format::accepted(&head.headers);
                    let mut response = text(StatusCode::OK, format.media_type(), metrics::render(status, view.meters(), format));
                    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
                    response
                }
                Ok(status) => {
                    let status = if may == May::HearNames { status } else { status.without_names() };
                    let json = serde_json::to_string(&status).expect("a status is JSON");
                    text(StatusCode::OK, "application/json", json + "\n")
                }
                Err(error) => {
                    warn!(%error, "cannot tell the status");
                    text(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", "the ledger cannot be read; see the log\n")
                }
            },
            _ => refused(&Refused {
                status: StatusCode::NOT_FOUND,
                why: "there are /, /events, /metrics, /status.json, /healthz and /readyz",
            }),
        }
    }
}

fn refused(Refused { status, why }: &Refused) -> Response<Shown> {
    let mut response = text(*status, "text/plain; charset=utf-8", format!("{why}\n"));
    let headers = response.headers_mut();
    match *status {
        StatusCode::METHOD_NOT_ALLOWED => headers.insert(ALLOW, HeaderValue::from_static("GET")),
        StatusCode::UNAUTHORIZED => headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        _ => None,
    };
    response
}

fn text(status: StatusCode, media_type: &'static str, text: impl Into<Bytes>) -> Response<Shown> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
