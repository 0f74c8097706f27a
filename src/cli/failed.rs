//! `riverbed failed`: failed documents: list, reasons, retry.

use std::ffi::OsString;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;

use super::format::{columns, exact_time, indented, plain, time};
use super::{Failure, Global, document_arg, print, print_json};
use crate::config::Loaded;
use crate::daemon::startup::ledger_failure;
use crate::domain::DocumentPath;
use crate::domain::path::Sanitized;
use crate::ledger::{self, Ledger, LedgerError};
use crate::report::Exit;
use crate::status::{AskError, CommandReply, Connection, LONGEST, Request, socket_of};

const EXAMPLES: &str = "\
Examples:
  riverbed failed                       list the failed documents
  riverbed failed show handbook/a.md    show one in detail
  riverbed failed retry handbook/a.md   retry one
  riverbed failed retry                 retry all
  riverbed failed --output b            list those of another output
  riverbed failed --json | jq .document

A changed file is retried by itself.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FailedArguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Prints one JSON object per document and line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the failed documents (the default)
    List,
    /// Shows the details of some documents
    Show {
        /// Documents, as `list` names them, or their files
        #[arg(required = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
        paths: Vec<OsString>,
    },
    /// Retries some documents or all: at once if a daemon runs, else in the next run
    Retry {
        /// Documents, as `list` names them, or their files [default: all]
        #[arg(value_name = "PATH", value_hint = ValueHint::FilePath)]
        paths: Vec<OsString>,
        /// Retries all of them, as without a path
        #[arg(long, conflicts_with = "paths")]
        all: bool,
    },
}

pub(super) fn run(arguments: FailedArguments, global: &Global) -> Result<Exit, Failure> {
    let FailedArguments { action, json } = arguments;
    let (loaded, reader) = global.look("failed")?;
    match action.unwrap_or(Action::List) {
        Action::List => {
            let failed = reader.failed().map_err(ledger_failure)?;
            let output = plain(&loaded.config.sink.path.display().to_string());
            if json { print_json(&lines(&failed)) } else { print(&format!("output {output}\n{}", list(&failed))) }
        }
        Action::Show { paths } => {
            let wanted = document_arg::find_failed(&loaded, &reader, &paths)?;
            let mut failed = reader.failed().map_err(ledger_failure)?;
            failed.retain(|failed| wanted.contains(&failed.path));
            if json {
                return print_json(&lines(&failed));
            }
            print(&failed.iter().map(show).collect::<Vec<_>>().join("\n"))
        }
        Action::Retry { paths, all: _ } => {
            let wanted = match paths.as_slice() {
                [] => reader.failed_paths().map_err(ledger_failure)?,
                some => document_arg::find_failed(&loaded, &reader, some)?,
            };
            let (retried, how) = retry(&loaded, &wanted, paths.is_empty())?;
            print(&match (json, retried) {
                (true, _) => format!("{{\"retried\":{retried}}}\n"),
                (false, 0) => "nothing to retry: no document has failed\n".to_owned(),
                (false, 1) => format!("1 document is retried {how}\n"),
                (false, _) => format!("{retried} documents are retried {how}\n"),
            })
        }
    }
}

/// Has documents retried, by the daemon if one runs. Returns how many, and how.
fn retry(loaded: &Loaded, wanted: &[DocumentPath], all: bool) -> Result<(usize, &'static str), Failure> {
    if wanted.is_empty() {
        return Ok((0, ""));
    }
    let path = loaded.ledger_path();
    if let Some(mut daemon) = Connection::open(&path).map_err(ask_failure)? {
        let mut retried = 0;
        for request in if all { vec![Request::Retry { paths: Vec::new(), all }] } else { requests(wanted) } {
            if let CommandReply::Retried(more) = daemon.ask(&request).map_err(ask_failure)? {
                retried += more;
            }
        }
        return Ok((retried, "now"));
    }
    let mut ledger = Ledger::open(&path, loaded.config.ledger.cache_size).map_err(|error| match error {
        LedgerError::Taken { .. } => {
            let help = format!(
                "it takes no commands on `{}`: `run --once` never does, and a daemon that could not make it says why in its log; \
                 try again once it has ended",
                socket_of(&path).display()
            );
            ledger_failure(error).help(help)
        }
        error => ledger_failure(error),
    })?;
    ledger.retry(wanted).map_err(ledger_failure)?;
    Ok((wanted.len(), "by the next run"))
}

/// Puts documents into requests, as many into each as it holds.
fn requests(paths: &[DocumentPath]) -> Vec<Request> {
    let mut requests = Vec::new();
    let (mut held, mut bytes) = (Vec::new(), 0);
    for path in paths.iter().map(ToString::to_string) {
        // JSON writes a byte as six at most.
        let longest = 6 * path.len() + 3;
        if bytes + longest > LONGEST - 64 && !held.is_empty() {
            requests.push(Request::Retry { paths: std::mem::take(&mut held), all: false });
            bytes = 0;
        }
        bytes += longest;
        held.push(path);
    }
    requests.push(Request::Retry { paths: held, all: false });
    requests
}

pub(super) fn ask_failure(error: AskError) -> Failure {
    let (exit, help) = match &error {
        AskError::Closed { .. } => (Exit::Permission, "run this as the user of riverbed; nobody else may give it commands"),
        AskError::Unheard { .. } => {
            (Exit::Io, "it may be starting, stopping or waiting for its disk: see its log, then try again")
        }
        AskError::Refused(_) => (Exit::Io, "see `riverbed failed`, then try again"),
    };
    Failure::new(error, exit).help(help)
}

fn list(failed: &[ledger::Failed]) -> String {
    if failed.is_empty() {
        return "no document has failed\n".to_owned();
    }
    let heading = ["DOCUMENT", "STAGE", "CLASS", "ATTEMPTS", "WHEN", "MESSAGE"].map(str::to_owned);
    let rows = failed.iter().map(|ledger::Failed { path, failure, at, retried, .. }| {
        let again = if *retried { "(to be retried) " } else { "" };
        [
            Sanitized(path).to_string(),
            failure.stage.as_str().to_owned(),
            plain(&failure.class),
            failure.attempts.to_string(),
            time(*at),
            format!("{again}{}", plain(&failure.message)),
        ]
    });
    let mut said = columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
    let _infallible = writeln!(
        said,
        "\n{} failed. `riverbed failed show PATH` says what to do, `riverbed failed retry` retries them",
        failed.len()
    );
    said
}

fn show(failed: &ledger::Failed) -> String {
    let ledger::Failed { path, version, failure, at, retried } = failed;
    let mut rows = vec![
        ["stage", failure.stage.as_str()].map(str::to_owned),
        ["class".to_owned(), plain(&failure.class)],
        ["message".to_owned(), plain(&failure.message)],
        ["attempts".to_owned(), failure.attempts.to_string()],
        ["failed at".to_owned(), time(*at)],
    ];
    rows.extend(failure.request_id.as_ref().map(|id| ["request id".to_owned(), plain(id)]));
    rows.extend(version.as_ref().map(|version| ["version".to_owned(), version.to_string()]));
    rows.push(["what to do".to_owned(), plain(&failure.advice)]);
    if *retried {
        rows.push(["next", "the next scan retries it"].map(str::to_owned));
    }
    format!("{}\n{}", Sanitized(path), indented(&columns(&rows)))
}

/// A failed document as JSON; its keys are those of `failed.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    document: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    document_bytes: Option<String>,
    version: Option<String>,
    stage: &'a str,
    class: &'a str,
    message: &'a str,
    attempts: u32,
    request_id: Option<&'a str>,
    failed_at: String,
    advice: &'a str,
    /// Whether it is to be retried.
    retried: bool,
}

fn lines(failed: &[ledger::Failed]) -> String {
    let line = |ledger::Failed { path, version, failure, at, retried }: &ledger::Failed| {
        let line = Line {
            document: path.to_string(),
            document_bytes: (!path.is_utf8()).then(|| STANDARD.encode(path.as_bytes())),
            version: version.map(|version| version.to_string()),
            stage: failure.stage.as_str(),
            class: &failure.class,
            message: &failure.message,
            attempts: failure.attempts,
            request_id: failure.request_id.as_deref(),
            failed_at: exact_time(*at),
            advice: &failure.advice,
            retried: *retried,
        };
        serde_json::to_string(&line).expect("a failed document is JSON") + "\n"
    };
    failed.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn no_request_is_longer_than_the_daemon_reads() {
        let path = |number: usize| DocumentPath::new(Path::new(&format!("{number}{}", "\x1b".repeat(4_000)))).unwrap();
        let paths: Vec<_> = (0..9).map(path).collect();
        let requests = requests(&paths);
        assert!(requests.len() > 3);
        assert!(requests.iter().all(|request| serde_json::to_vec(request).unwrap().len() < LONGEST));
        let count = |request: &Request| if let Request::Retry { paths, .. } = request { paths.len() } else { 0 };
        assert_eq!(requests.iter().map(count).sum::<usize>(), 9);
    }
}
