//! A server that answers each request with the next response it was given, byte by byte as it was given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The server; it ends with this.
pub(super) struct Canned {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
    _task: JoinSet<()>,
}

impl Canned {
    /// Begins to listen. A connection beyond the last response is answered with nothing, and kept open.
    pub(super) async fn start(responses: Vec<Vec<u8>>) -> Self {
        Self::serving(responses, After::End).await
    }

    async fn serving(responses: Vec<Vec<u8>>, after: After) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut task = JoinSet::new();
        task.spawn(serve(listener, responses.into(), after, Arc::clone(&requests)));
        Self { url, requests, _task: task }
    }

    /// The same, where the one response is followed by silence.
    pub(super) async fn start_silent(response: Vec<u8>) -> Self {
        Self::serving(vec![response], After::Silence).await
    }

    /// Returns what was asked: the request's line and its body.
    pub(super) fn requests(&self) -> Vec<(String, Value)> {
        self.requests.lock().unwrap().clone()
    }
}

/// What follows a response.
#[derive(Clone, Copy, PartialEq)]
enum After {
    End,
    Silence,
}

async fn serve(
    listener: TcpListener,
    mut responses: VecDeque<Vec<u8>>,
    after: After,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
) {
    let mut silent = Vec::new();
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let request = read(&mut connection).await;
        requests.lock().unwrap().push(request);
        match responses.pop_front() {
            Some(response) => {
                connection.write_all(&response).await.unwrap();
                match after {
                    After::End => connection.shutdown().await.unwrap(),
                    After::Silence => silent.push(connection),
                }
            }
            None => silent.push(connection),
        }
    }
}

async fn read(connection: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    loop {
        connection.read_buf(&mut bytes).await.unwrap();
        let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap().to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        if bytes.len() >= head + 4 + length {
            let line = String::from_utf8(bytes[..head].to_vec()).unwrap().lines().next().unwrap().to_owned();
            return (line, serde_json::from_slice(&bytes[head + 4..]).unwrap());
        }
    }
}

/// Returns a response of JSON.
pub(super) fn response(status: u16, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\
         x-amzn-requestid: r-1\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// Returns a response of an event stream that ends where the bytes end.
pub(super) fn stream(body: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\n\
                x-amzn-requestid: r-1\r\nx-riverbed-emulator: 1\r\n\r\n";
    [head.as_bytes(), body].concat()
}
