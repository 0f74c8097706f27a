//! `riverbed explain`: the history of one document.

mod chat;

use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytesize::ByteSize;
use clap::{Args, ValueHint};
use serde_json::{Value, json};

use super::format::{columns, exact_time, indented, plain, time};
use super::{Failure, Global, document_arg, print, print_json};
use crate::config::Loaded;
use crate::daemon::startup::{is_emulated, ledger_failure};
use crate::domain::path::Sanitized;
use crate::domain::{DocumentPath, Failure as GivenUp, Observation, Skip, TokenCount, Usd};
use crate::folder::{self, Verdict};
use crate::ledger::{DocumentState, Ending, Story, Stretch};
use crate::pipeline::chat::messages_config;
use crate::pipeline::skipped_config;
use crate::report::Exit;
use crate::throttle::price::Used;

use chat::Answers;

const EXAMPLES: &str = "\
Examples:
  riverbed explain drop/handbook/leave.md    history of one document
  riverbed explain handbook/leave.md --json  the same as JSON

Costs are computed with today's price of the configured model.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArguments {
    /// File, or name of the document in the output
    #[arg(value_hint = ValueHint::FilePath)]
    file: OsString,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ExplainArguments, global: &Global) -> Result<Exit, Failure> {
    let (loaded, reader) = global.look("explain")?;
    let known = document_arg::find(&loaded, &reader, &arguments.file)?.map(|(path, _)| path);
    let path = match known {
        Some(path) => path,
        None => unknown(&loaded, arguments)?,
    };
    let story = reader.story(&path).map_err(ledger_failure)?;
    let now = Now::of(&loaded, &path, story.as_ref());
    if story.is_none() && now.verdict == Some(Verdict::Absent) {
        return Err(Failure::new(format!("`{}` is neither known nor in the source folder", Sanitized(&path)), Exit::Usage)
            .help("give the path of a file in `source.path`, or a document's name as the output has it"));
    }
    let emulated = is_emulated(&loaded, |key| reader.meta(key)).map_err(ledger_failure)?.0;
    let failure = story.as_ref().and_then(given_up);
    let answers = chat::read(&loaded, &reader, &path, failure.as_ref())?;
    let is_of_a_run = global.is_of_a_run();
    let told = Told { loaded: &loaded, emulated, is_of_a_run, path: &path, story: story.as_ref(), now, answers };
    if arguments.json { print_json(&format!("{}\n", told.json())) } else { print(&told.text()) }
}

/// Returns the path for a name that the ledger does not know.
fn unknown(loaded: &Loaded, arguments: &ExplainArguments) -> Result<DocumentPath, Failure> {
    let file = Path::new(&arguments.file);
    let below = document_arg::below(&loaded.config.source.path, file);
    below.or_else(|| DocumentPath::new(file).ok()).ok_or_else(|| {
        let said = format!("`{}` is not below the source folder", plain(&file.to_string_lossy()));
        Failure::new(said, Exit::Usage).help(format!("`source.path` is `{}`", loaded.config.source.path.display()))
    })
}

/// What lies in the folder now.
struct Now {
    verdict: Option<Verdict>,
    said: String,
}

impl Now {
    fn of(loaded: &Loaded, path: &DocumentPath, story: Option<&Story>) -> Self {
        let verdict = match folder::verdict(&loaded.config.source, path) {
            Ok(verdict) => verdict,
            Err(error) => return Self { verdict: None, said: format!("cannot be read: {error}") },
        };
        let known = story.filter(|story| story.state != DocumentState::Gone);
        let said = match (verdict, known.map(|story| story.seen)) {
            (Verdict::Absent, Some(_)) if known.is_some_and(|story| story.disposed) => {
                "moved or deleted by riverbed after processing; its lines stay".to_owned()
            }
            (Verdict::Absent, Some(_)) => "missing: the next scan deletes its lines".to_owned(),
            (Verdict::Absent, None) => "not there".to_owned(),
            (Verdict::Folder, _) => "a folder".to_owned(),
            (Verdict::Passed(why), None) => format!("ignored: {why}"),
            (Verdict::Passed(why), Some(_)) => format!("ignored: {why}; the next scan deletes its lines"),
            (Verdict::Document(seen) | Verdict::TooLarge(seen), Some(Some(then))) if seen == then => "unchanged".to_owned(),
            (Verdict::TooLarge(_), _) => {
                format!("too large: it will fail (`source.max-file-size` is {})", loaded.config.source.max_file_size)
            }
            (Verdict::Document(seen), _) if is_restless(loaded, &seen) => {
                "changing: it is read once it has been quiet for `source.settle`".to_owned()
            }
            (Verdict::Document(_), Some(Some(_))) => "changed since: the next scan reads it".to_owned(),
            (Verdict::Document(_), _) => "new: the next scan reads it".to_owned(),
        };
        Self { verdict: Some(verdict), said }
    }
}

/// What `explain` reports of a document.
struct Told<'a> {
    loaded: &'a Loaded,
    emulated: bool,
    /// Whether the configuration is that of a run, and not made up to look at an output.
    is_of_a_run: bool,
    path: &'a DocumentPath,
    story: Option<&'a Story>,
    now: Now,
    answers: Vec<Answers>,
}

impl Told<'_> {
    /// Returns whether a document ended under today's configuration; `None` where that says nothing.
    fn fits(&self, story: &Story) -> Option<bool> {
        let config = match story.state {
            DocumentState::Done | DocumentState::Failed if self.loaded.prompts.is_messages(self.path) => messages_config(),
            DocumentState::Done | DocumentState::Failed => self.loaded.fingerprint(self.emulated),
            DocumentState::Skipped => skipped_config(),
            DocumentState::UnderWay | DocumentState::Gone => return None,
        };
        if !self.is_of_a_run {
            return None;
        }
        Some(story.config == Some(config))
    }

    fn usd(&self, tokens: u64) -> Option<f64> {
        let price = || self.loaded.prices.of(self.loaded.settings.model());
        if self.emulated {
            return Some(0.0);
        }
        // A document's calls are not counted, since others share them: what costs by the call has no price by the document.
        let price = price().filter(|price| price.request() == Usd::ZERO)?;
        Some(price.of(Used { input: TokenCount::new(tokens), ..Used::default() }).dollars())
    }

    fn heading(&self) -> String {
        format!("output {}\n", plain(&self.loaded.config.sink.path.display().to_string()))
    }

    fn text(&self) -> String {
        let mut rows = Vec::new();
        let mut row = |name: &str, said: String| rows.push([name.to_owned(), said]);
        let Some(story) = self.story else {
            row("state", "not known".to_owned());
            row("in folder", self.now.said.clone());
            return format!("{}{}\n{}", self.heading(), Sanitized(self.path), indented(&columns(&rows)));
        };
        let lines: u64 = story.standing.iter().map(|stretch| stretch.lines).sum();
        row("state", story.state.as_str().to_owned());
        if let Some(at) = story.ended_at {
            row("since", time(at));
        }
        match (given_up(story), &story.reason) {
            (Some(failure), _) => {
                row("because", format!("{} ({}, {})", plain(&failure.message), plain(&failure.class), failure.stage.as_str()));
                row("what to do", plain(&failure.advice));
            }
            (None, Some(reason)) => {
                row("because", plain(reason));
                if let Some(advice) = advice(story) {
                    row("what to do", advice.to_owned());
                }
            }
            (None, None) => {}
        }
        if story.starts > 0 {
            row("crashes", format!("riverbed died {} times while processing it", story.starts));
        }
        row("in folder", self.now.said.clone());
        match self.fits(story) {
            Some(true) => row("configured", "as now".to_owned()),
            Some(false) => row("configured", "differently: it will be processed again".to_owned()),
            None => {}
        }
        if let Some(version) = &story.version {
            row("version", version.to_string());
        }
        if let Some(media_type) = &story.media_type {
            row("media type", plain(media_type));
        }
        if let Some(size) = story.size {
            row("size", ByteSize::b(size).display().iec().to_string());
        }
        let stand = if lines == 1 { "1 current line".to_owned() } else { format!("{lines} current lines") };
        let chunks = story.chunks.map_or_else(|| "not counted yet".to_owned(), |chunks| chunks.to_string());
        row("chunks", format!("{chunks}, {stand}"));
        for Stretch { file, lines, first, last } in &story.standing {
            let lines = if *lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
            let seq = if first == last { format!("seq {first}") } else { format!("seq {first} to {last}") };
            row("", format!("{}: {lines}, {seq}", plain(file)));
        }
        let mut said = format!("{}{}\n{}", self.heading(), Sanitized(self.path), indented(&columns(&rows)));
        if !story.versions.is_empty() {
            let heading = ["WHEN", "BECAME", "CHUNKS", "EMBEDDED", "CACHED", "KEPT", "RETRACTED", "TOKENS", "USD"];
            let versions = story.versions.iter().map(|ending| {
                let Ending { state, chunks, tally, at, .. } = ending;
                let usd = self.usd(tally.tokens).map_or_else(|| "unknown".to_owned(), |usd| format!("{usd:.6}"));
                let numbers = [*chunks, tally.embedded, tally.cached, kept(ending), tally.retracted, tally.tokens];
                let [chunks, embedded, cached, kept, retracted, tokens] = numbers.map(|number| number.to_string());
                [time(*at), state.as_str().to_owned(), chunks, embedded, cached, kept, retracted, tokens, usd]
            });
            let table = columns(&std::iter::once(heading.map(str::to_owned)).chain(versions).collect::<Vec<_>>());
            said = format!("{said}\n{}", indented(&table));
        }
        if !self.answers.is_empty() {
            let heading = Answers::HEADING.map(str::to_owned);
            let rows: Vec<_> = std::iter::once(heading).chain(self.answers.iter().map(Answers::row)).collect();
            said = format!("{said}\n{}", indented(&columns(&rows)));
        }
        said
    }

    fn json(&self) -> Value {
        let output = self.loaded.config.sink.path.display().to_string();
        let mut told = json!({ "document": self.path.to_string(), "output": output, "in_folder": self.now.said });
        if !self.path.is_utf8() {
            told["document_bytes"] = STANDARD.encode(self.path.as_bytes()).into();
        }
        let Some(story) = self.story else {
            told["state"] = Value::Null;
            return told;
        };
        let failure = given_up(story);
        let reason = story.reason.as_ref().filter(|_| failure.is_none());
        let version = |ending: &Ending| {
            json!({
                "version": ending.version.map(|version| version.to_string()),
                "state": ending.state.as_str(),
                "chunks": ending.chunks,
                "embedded": ending.tally.embedded,
                "cached": ending.tally.cached,
                "kept": kept(ending),
                "retracted": ending.tally.retracted,
                "tokens": ending.tally.tokens,
                "usd": self.usd(ending.tally.tokens),
                "ended_at": exact_time(ending.at),
            })
        };
        let stretch =
            |Stretch { file, lines, first, last }: &Stretch| json!({ "file": file, "lines": lines, "seq": [first, last] });
        let more = json!({
            "state": story.state.as_str(),
            "since": story.ended_at.map(exact_time),
            "skipped_because": reason,
            "skipped_advice": advice(story),
            "failure": failure,
            "crashes": story.starts,
            "configured_as_now": self.fits(story),
            "version": story.version.map(|version| version.to_string()),
            "media_type": story.media_type,
            "size": story.size,
            "chunks": story.chunks,
            "standing": story.standing.iter().map(stretch).collect::<Vec<_>>(),
            "versions": story.versions.iter().map(version).collect::<Vec<_>>(),
            "answers": self.answers,
        });
        if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
            told.extend(more);
        }
        told
    }
}

/// Returns whether a file has changed so recently that it may still be changing.
fn is_restless(loaded: &Loaded, seen: &Observation) -> bool {
    seen.age(SystemTime::now()).is_some_and(|age| age < loaded.config.source.settle)
}

/// Returns why a document failed.
fn given_up(story: &Story) -> Option<GivenUp> {
    serde_json::from_str(story.reason.as_deref().filter(|_| story.state == DocumentState::Failed)?).ok()
}

/// Returns what to do about a skipped file.
fn advice(story: &Story) -> Option<&'static str> {
    Some(Skip::parse(story.reason.as_deref().filter(|_| story.state == DocumentState::Skipped)?)?.advice())
}

/// Returns the chunks of a version whose lines were current already.
fn kept(ending: &Ending) -> u64 {
    match ending.state {
        DocumentState::Done => ending.chunks.saturating_sub(ending.tally.embedded + ending.tally.cached),
        DocumentState::UnderWay | DocumentState::Failed | DocumentState::Skipped | DocumentState::Gone => 0,
    }
}
