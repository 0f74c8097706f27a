//! `riverbed status`: how the daemon is doing, from itself, or from the ledger where none runs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use humantime::format_duration;
use indicatif::HumanCount;

use super::failed::ask_failure;
use super::money;
use super::shown::{columns, indented, plain};
use super::store::{is_emulated, ledger_failure};
use super::{Failure, Global, StopRequests, runtime};
use crate::config::Loaded;
use crate::ledger::{LedgerError, Reader};
use crate::model::shown::plain_json;
use crate::report::Exit;
use crate::status::shape::{Answers, Calls, Model, Money, Output, Source, State, Status};
use crate::status::{Answer, Bounds, Connection, Request, Standing};

const EXAMPLES: &str = "\
Examples:
  riverbed status                                 what is done, waiting, failed, and what it cost
  riverbed status --watch                         the same, over and over, until Ctrl-C
  riverbed status --json | jq .documents.failed   one number for a script

Without a daemon it tells what stands in the ledger. Over HTTP the same is at `status.listen`.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    /// Goes on, once a second; with --json one object a line
    #[arg(long)]
    watch: bool,
}

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);
/// Documents of each kind that are shown on a terminal.
const SHOWN: usize = 8;

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Failure> {
    if !arguments.watch {
        return print_said(&look(global)?, arguments.json).map(|_| Exit::Done);
    }
    // What is shown next goes over what is there, where that can be done.
    let before = if io::stdout().is_terminal() && !arguments.json { "\x1b[2J\x1b[H" } else { "" };
    runtime()?.block_on(async {
        let mut requests = StopRequests::listen()?;
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = requests.next() => return Ok(Exit::Done),
                _ = ticks.tick() => {}
            }
            let status = tokio::task::block_in_place(|| look(global))?;
            if super::write(before)?.is_break() || print_said(&status, arguments.json)?.is_break() {
                return Ok(Exit::Done);
            }
        }
    })
}

/// Asks the daemon, or the ledger where none runs. A daemon was started with a configuration that may have become unusable since.
fn look(global: &Global) -> Result<Status, Failure> {
    let overrides = global.overrides(Vec::new());
    let loaded = Loaded::load(&global.config, &overrides).map_err(Failure::from);
    let path = loaded.as_ref().map_or_else(|_| Loaded::ledger_beside(&global.config, &overrides), Loaded::ledger_path);
    let daemon = match Connection::open(&path) {
        Err(_) if loaded.is_err() => None,
        opened => opened.map_err(ask_failure)?,
    };
    if let Some(mut daemon) = daemon
        && let Answer::Status(mut status) = daemon.ask(&Request::Status).map_err(ask_failure)?
    {
        if let Err(unusable) = loaded {
            let configuration = status.configuration.get_or_insert_default();
            configuration.error.get_or_insert_with(|| unusable.report().to_string());
        }
        return Ok(*status);
    }
    let loaded = loaded?;
    let reader = Reader::open(&path).map_err(|error| match error {
        LedgerError::Missing { .. } => ledger_failure(error).help("nothing has run here yet: `riverbed run` makes the ledger"),
        error => ledger_failure(error),
    })?;
    let standing = Standing::read(&reader).map_err(ledger_failure)?;
    let (emulated, _) = is_emulated(&loaded, |key| reader.meta(key)).map_err(ledger_failure)?;
    let (day, chat) = money::bounds(&loaded.config.budget);
    Ok(standing.status(&loaded.prices, Bounds { day, chat, emulated }))
}

fn print_said(status: &Status, json: bool) -> Result<ControlFlow<()>, Failure> {
    if json {
        let json = serde_json::to_string(status).expect("a status is JSON") + "\n";
        return super::write(&plain_json(&json));
    }
    super::print_on(&text(status))
}

fn text(status: &Status) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, said: String| rows.push([name.to_owned(), said]);
    row("documents", documents(status));
    let Answers { done, waiting, failed, .. } = status.answers;
    if done + waiting + failed > 0 {
        let [done, waiting, failed] = [done, waiting, failed].map(HumanCount);
        row("answers", format!("{waiting} prompts wait, {done} answers stand, {failed} documents failed"));
    }
    if let Some(source) = &status.source {
        row("source", source_of(source));
    }
    if let Some(calls) = &status.calls {
        row("calls", calls_of(calls));
    }
    if let Some(questions) = status.questions.as_ref().filter(|questions| questions.attempts > 0) {
        row("questions", calls_of(questions));
    }
    for model in &status.models {
        row("model", model_of(model));
        for closed in &model.closed {
            let said = closed.error.as_ref().map(|error| format!(": {}", plain(error))).unwrap_or_default();
            row("held back", format!("{}, for {}{said}", plain(&closed.reason), seconds(closed.seconds)));
            if let Some(help) = &closed.help {
                row("", format!("help: {}", plain(help)));
            }
        }
    }
    row("cost", money(&status.money));
    if let Some(configuration) = &status.configuration {
        if let Some(error) = &configuration.error {
            row("config", "it cannot be used as it is now; what was in effect before is still, until a restart".into());
            for line in error.lines() {
                row("", plain(line));
            }
        }
        if !configuration.needs_restart.is_empty() {
            row("config", format!("a restart is needed for {}", plain(&configuration.needs_restart.join(", "))));
        }
    }
    let storage = &status.storage;
    row("ledger", format!("{}, {} of it kept answers", bytes(storage.ledger_bytes), bytes(storage.cache_bytes)));
    for output in &storage.outputs {
        row("output", output_of(output));
    }
    let mut said = format!("{}\n{}", heading(status), indented(&columns(&rows)));
    let mut list = |title: &str, rows: Vec<[String; 3]>| {
        if !rows.is_empty() {
            let _infallible = write!(said, "\n{title}\n{}", indented(&columns(&rows)));
        }
    };
    let waiting = status.waiting.iter().take(SHOWN).map(|of| [plain(&of.document), seconds(of.seconds), String::new()]);
    list("under way for longest", waiting.collect());
    let failed = status.failed.iter().take(SHOWN).map(|of| {
        let again = if of.retried { "to be tried again" } else { &of.class };
        [plain(&of.document), plain(again), plain(&of.message)]
    });
    list("failed last (`riverbed failed` lists all)", failed.collect());
    let skipped = status.skipped.iter().take(SHOWN).map(|of| {
        let example = of.example.as_ref().map(|example| format!("as {example}")).unwrap_or_default();
        [HumanCount(of.files).to_string(), plain(&of.reason), example]
    });
    list("skipped (`riverbed skipped` lists all, with what to do)", skipped.collect());
    let ended = status.ended.iter().take(SHOWN).map(|of| {
        let lines = format!("{} chunks, {} embedded, {} from earlier answers", of.chunks, of.embedded, of.cached);
        [plain(&of.document), plain(&of.became), lines]
    });
    list("ended last", ended.collect());
    said
}

fn heading(status: &Status) -> String {
    let about = match status.state {
        State::Stopped => "no daemon runs; this is what the ledger says",
        State::Starting => "starting",
        State::Following => "following its folder",
        State::Waiting => "waiting for its folder",
        State::Stopping => "stopping",
    };
    let daemon = status.daemon.as_ref().map(|daemon| {
        let url = daemon.url.as_ref().map(|url| format!(", {}", plain(url))).unwrap_or_default();
        format!(" (process {}, since {}{url})", daemon.pid, daemon.started_at)
    });
    format!("riverbed {}: {about}{}", status.version, daemon.unwrap_or_default())
}

fn documents(status: &Status) -> String {
    let documents = &status.documents;
    let count = HumanCount;
    let oldest = documents.oldest_waiting_seconds.map(|oldest| format!(" (for up to {})", seconds(oldest)));
    format!(
        "{} waiting{}, {} done, {} failed, {} skipped, {} gone",
        count(documents.waiting),
        oldest.unwrap_or_default(),
        count(documents.done),
        count(documents.failed),
        count(documents.skipped),
        count(documents.gone)
    )
}

fn source_of(source: &Source) -> String {
    if let Some(trouble) = &source.trouble {
        return plain(trouble);
    }
    let because = source.because.as_ref().map(|because| format!(" ({})", plain(because))).unwrap_or_default();
    let help = source.help.as_ref().map(|help| format!("; {}", plain(help))).unwrap_or_default();
    let replaced =
        if source.watchers_replaced > 0 { format!(", {} watchers replaced", source.watchers_replaced) } else { String::new() };
    format!("changes are noticed by {}{because}{help}, {} scans{replaced}", source.by, HumanCount(source.scans))
}

fn calls_of(calls: &Calls) -> String {
    let mean = calls.mean_seconds.map(|mean| format!(" in {:.0} ms each", mean * 1000.0)).unwrap_or_default();
    format!(
        "{} in flight, {} answered{mean}, {} retried, {} throttled, {} tokens",
        HumanCount(calls.in_flight),
        HumanCount(calls.answered),
        HumanCount(calls.retried),
        HumanCount(calls.throttled),
        HumanCount(calls.tokens)
    )
}

fn model_of(model: &Model) -> String {
    let rate = |now: Option<f64>, ceiling: Option<f64>, what: &str| {
        let now = now?;
        let ceiling = ceiling.map(|ceiling| format!(", throttled from {ceiling:.1}")).unwrap_or_default();
        Some(format!("at most {now:.1} {what}/s{ceiling}"))
    };
    let rates = [
        rate(model.requests_per_second, model.requests_ceiling, "calls"),
        rate(model.tokens_per_second, model.tokens_ceiling, "tokens"),
    ];
    let rates: Vec<_> = rates.into_iter().flatten().collect();
    let pace = if rates.is_empty() { "not paced".to_owned() } else { rates.join("; ") };
    let share = match model.throttled_share * 100.0 {
        0.0 => String::new(),
        share => format!("; {share:.1} % throttled"),
    };
    format!("{}: {pace}{share}", plain(&model.name))
}

fn money(money: &Money) -> String {
    let mut said = format!("${:.6} today (UTC)", money.today_usd);
    if money.today_emulated_usd > 0.0 {
        let _infallible = write!(said, ", ${:.6} in an emulator's play money", money.today_emulated_usd);
    }
    if let (Some(max), Some(left)) = (money.budget_usd, money.budget_left_usd) {
        let _infallible = write!(said, "; ${left:.6} of ${max:.2} are left");
    }
    if let (Some(max), Some(left)) = (money.chat_budget_usd, money.chat_budget_left_usd) {
        let _infallible = write!(said, "; ${left:.6} of ${max:.2} for chat");
    }
    if money.today_unpriced_calls > 0 {
        let _infallible = write!(said, "; {} calls at an unknown price", HumanCount(money.today_unpriced_calls));
    }
    said
}

fn output_of(output: &Output) -> String {
    let files = if output.files == 1 { "1 file".to_owned() } else { format!("{} files", HumanCount(output.files)) };
    let mut said = format!("{}: {files}, {}", output.name, bytes(output.bytes));
    if output.unsynced_bytes > 0 {
        let _infallible = write!(said, ", {} not synced yet", bytes(output.unsynced_bytes));
    }
    if output.unsound_files > 0 {
        let _infallible = write!(said, ", {} unsound (see the log)", output.unsound_files);
    }
    said
}

fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Returns a time as people say it, to the second, or to the tenth where it is short.
fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    format_duration(Duration::from_secs(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs())).to_string()
}
