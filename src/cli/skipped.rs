//! `riverbed skipped`: files that hold no document, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use indicatif::HumanCount;
use serde::Serialize;

use super::format::{columns, exact_time, indented, plain, time};
use super::{Failure, Global, print, print_json};
use crate::daemon::startup::ledger_failure;
use crate::domain::path::Sanitized;
use crate::ledger::Skipped;
use crate::report::Exit;

const EXAMPLES: &str = "\
Examples:
  riverbed skipped                              list the skipped files
  riverbed skipped --json | jq -r .media_type | sort | uniq -c

A skipped file is read again when it changes, or when a new version of riverbed knows its kind. Excluded, hidden and
special files are not listed; `riverbed explain FILE` shows why.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SkippedArguments {
    /// Prints one JSON object per file and line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &SkippedArguments, global: &Global) -> Result<Exit, Failure> {
    let (loaded, reader) = global.look("skipped")?;
    let mut skipped = Vec::new();
    reader.skipped(|file| skipped.push(file)).map_err(ledger_failure)?;
    if arguments.json {
        return print_json(&skipped.iter().map(line).collect::<String>());
    }
    print(&format!("output {}\n{}", plain(&loaded.config.sink.path.display().to_string()), list(&skipped)))
}

fn list(skipped: &[Skipped]) -> String {
    if skipped.is_empty() {
        return "no file is skipped\n".to_owned();
    }
    let heading = ["DOCUMENT", "KIND", "REASON", "SINCE"].map(str::to_owned);
    let mut advice = BTreeMap::new();
    let rows = skipped.iter().map(|Skipped { path, why, at, .. }| {
        *advice.entry((why.class(), why.advice())).or_insert(0_u64) += 1;
        [
            Sanitized(path).to_string(),
            plain(why.media_type().unwrap_or("-")),
            plain(&why.to_string()),
            at.map_or_else(|| "unknown".to_owned(), time),
        ]
    });
    let mut said = columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
    let advice: Vec<_> = advice
        .into_iter()
        .map(|((class, advice), files)| [HumanCount(files).to_string(), class.to_owned(), advice.to_owned()])
        .collect();
    let _infallible =
        write!(said, "\n{} skipped. What to do:\n{}", HumanCount(skipped.len() as u64), indented(&columns(&advice)));
    said
}

/// A skipped file as JSON.
#[derive(Serialize)]
struct SkippedLine<'a> {
    document: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    document_bytes: Option<String>,
    version: Option<String>,
    media_type: Option<&'a str>,
    class: &'a str,
    reason: String,
    size: Option<u64>,
    skipped_at: Option<String>,
    advice: &'a str,
}

fn line(Skipped { path, version, why, size, at }: &Skipped) -> String {
    let line = SkippedLine {
        document: path.to_string(),
        document_bytes: (!path.is_utf8()).then(|| STANDARD.encode(path.as_bytes())),
        version: version.map(|version| version.to_string()),
        media_type: why.media_type(),
        class: why.class(),
        reason: why.to_string(),
        size: *size,
        skipped_at: at.map(exact_time),
        advice: why.advice(),
    };
    serde_json::to_string(&line).expect("a skipped file is JSON") + "\n"
}
