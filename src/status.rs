//! The status of a daemon: over HTTP, and for the other commands over a Unix socket beside the ledger.
//!
//! The socket also takes commands. One request a line, one answer a line, both JSON:
//!
//! ```text
//! {"do":"status"}                        {"status":{…}}
//! {"do":"retry","paths":["a/b.md"]}      {"retried":1}
//! {"do":"retry","all":true}              {"retried":17}
//!                                        {"error":"`c.md` is not known"}
//! ```
//!
//! A user who can open the socket may ask: it is the user's own (mode 0600), and so is the ledger.

mod access;
mod client;
mod collect;
mod commands;
pub mod config;
mod control_socket;
mod from_ledger;
pub mod grafana;
mod http_server;
mod metrics;
mod page;
mod reload_status;
pub mod schema;
mod socket_path;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use access::Guard;
pub use client::{AskError, Connection};
pub use collect::{Parts, View};
pub use commands::Desk;
pub use config::Listen;
pub use control_socket::Socket;
pub use from_ledger::{Bounds, Standing};
pub use http_server::Server;
pub use reload_status::Reloads;
pub use schema::Status;

/// Longest request, in bytes with its newline.
pub const LONGEST: usize = 64 << 10;
/// Longest answer: a status with the names of some dozens of documents.
pub const LONGEST_ANSWER: usize = 1 << 20;
/// Connections that are served at once; more wait.
pub const CONNECTIONS: usize = 8;
/// How long a request may take to come, and its answer to be found and to be taken.
pub const TIME: Duration = Duration::from_secs(5);

/// What a daemon is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How it is doing.
    Status,
    /// To retry failed documents.
    Retry {
        /// Which, by their names as they are shown.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        paths: Vec<String>,
        /// All of them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        all: bool,
    },
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandReply {
    /// How it is doing.
    Status(Box<Status>),
    /// So many documents are retried.
    Retried(usize),
    /// It cannot.
    Error(String),
}

/// Returns the socket of the daemon that holds a ledger.
#[must_use]
pub fn socket_of(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push("-socket");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, request: &Request) {
        assert_eq!(serde_json::from_str::<Request>(json).unwrap(), *request);
        assert_eq!(serde_json::to_string(request).unwrap(), json);
    }

    #[test]
    fn requests_are_written_as_they_are_described() {
        check(r#"{"do":"status"}"#, &Request::Status);
        check(r#"{"do":"retry","paths":["a/b.md"]}"#, &Request::Retry { paths: vec!["a/b.md".into()], all: false });
        check(r#"{"do":"retry","all":true}"#, &Request::Retry { paths: Vec::new(), all: true });
        assert!(serde_json::from_str::<Request>(r#"{"do":"retry","path":"a"}"#).is_err(), "a slip is no request for nothing");
        assert_eq!(serde_json::to_string(&CommandReply::Retried(17)).unwrap(), r#"{"retried":17}"#);
    }
}
