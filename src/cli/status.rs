//! `riverbed status`: state of the daemon, from its socket, or from the ledger where none runs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use humantime::format_duration;
use indicatif::HumanCount;

use super::failed::ask_failure;
use super::format::{columns, indented, plain};
use super::screen::{Screen, ScreenLine};
use super::{
    FILE, Failure, Global, Needs, StopRequests, print, print_json, reader, running_instances, runtime, unreadable, write,
};
use crate::config::Loaded;
use crate::daemon::spending;
use crate::daemon::startup::{is_emulated, ledger_failure};
use crate::domain::escape::plain_json;
use crate::report::Exit;
use crate::status::schema::{Answers, Calls, Documents, Folders, Model, Money, Output, Source, State, Status};
use crate::status::{Bounds, CommandReply, Connection, Request, Standing};

const EXAMPLES: &str = "\
Examples:
  riverbed status                                 documents, calls and cost
  riverbed status --output b                      the same for another output
  riverbed status --watch                         repeat until Ctrl-C
  riverbed status --json | jq .documents.failed   one number for a script

Where no daemon runs, it reads the ledger. A daemon serves the same over HTTP at `status.listen`.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArguments {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    /// Repeats every second; with --json, one object per line
    #[arg(long)]
    watch: bool,
}

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);
/// Documents of each kind that are shown on a terminal.
const SHOWN: usize = 8;

pub(super) fn run(arguments: &StatusArguments, global: &Global) -> Result<Exit, Failure> {
    if !arguments.watch {
        let said = look(global)?.said(arguments.json);
        return if arguments.json { print_json(&said) } else { print(&said) };
    }
    let screen = (io::stdout().is_terminal() && !arguments.json).then(Screen::new);
    runtime()?.block_on(async {
        let mut requests = StopRequests::listen()?;
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_looked = false;
        loop {
            tokio::select! {
                () = requests.next() => return Ok(Exit::Done),
                _ = ticks.tick() => {}
            }
            let looked = tokio::task::block_in_place(|| look(global));
            let said = match (looked, &screen) {
                (Ok(looked), Some(screen)) => screen.shows(&looked.lines()),
                (Ok(looked), None) => looked.said(arguments.json),
                // Who watches sees a daemon go and come back.
                (Err(failure), Some(screen)) if has_looked => {
                    screen.shows(&failure.report().to_string().lines().map(|line| ScreenLine::new(0, line)).collect::<Vec<_>>())
                }
                (Err(failure), _) => return Err(failure),
            };
            has_looked = true;
            // A screen writes codes of the terminal's own: what it shows is plain already.
            let written = if screen.is_some() { write(&said) } else { write(&plain_json(&said)) };
            if written?.is_break() {
                return Ok(Exit::Done);
            }
        }
    })
}

/// What was found.
struct Looked {
    status: Status,
    /// Other riverbeds that run, where none does here: a line each.
    others: Vec<String>,
}

impl Looked {
    fn said(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(&self.status).expect("a status is JSON") + "\n";
        }
        self.lines().into_iter().fold(String::new(), |said, line| said + &line.text + "\n")
    }

    fn lines(&self) -> Vec<ScreenLine> {
        lines(&self.status, &self.others)
    }
}

/// Asks the daemon, or the ledger where none runs. A daemon was started with a configuration that may have become unusable since.
fn look(global: &Global) -> Result<Looked, Failure> {
    let overrides = global.overrides(Vec::new());
    let file = global.file(Needs::Output, &overrides);
    let loaded = Loaded::read(file.as_deref(), &overrides);
    let beside = || Loaded::ledger_beside(file.as_deref().unwrap_or(Path::new(FILE)), &overrides);
    let path = loaded.as_ref().map_or_else(|_| beside(), Loaded::ledger_path);
    let daemon = match Connection::open(&path) {
        Err(_) if loaded.is_err() => None,
        opened => opened.map_err(ask_failure)?,
    };
    if let Some(mut daemon) = daemon
        && let CommandReply::Status(mut status) = daemon.ask(&Request::Status).map_err(ask_failure)?
    {
        if let Err(unusable) = loaded {
            let configuration = status.configuration.get_or_insert_default();
            configuration.error.get_or_insert_with(|| Failure::from(unusable).report().to_string());
        }
        return Ok(Looked { status: *status, others: Vec::new() });
    }
    let loaded = loaded.map_err(|error| unreadable(error, "status"))?;
    let reader = reader(&loaded, "status")?;
    let standing = Standing::read(&reader).map_err(ledger_failure)?;
    let (emulated, _) = is_emulated(&loaded, |key| reader.meta(key)).map_err(ledger_failure)?;
    let (day, chat) = spending::bounds(&loaded.config.budget);
    let folders = Folders::of(&loaded.config.source.path, &loaded.config.sink.path, &path);
    let status = standing.status(&loaded.prices, Bounds { day, chat, emulated });
    Ok(Looked {
        status: Status { folders: Some(folders), ..status },
        others: running_instances::others("status", Some(&path), Some(&loaded)),
    })
}

/// What must be seen first; where a terminal is too small, the greatest go first.
mod rank {
    /// Which output it is, and what goes on.
    pub(super) const HEAD: u8 = 0;
    /// What keeps work from going on.
    pub(super) const TROUBLE: u8 = 1;
    pub(super) const MONEY: u8 = 2;
    pub(super) const CALLS: u8 = 3;
    pub(super) const FAILED: u8 = 4;
    pub(super) const WAITING: u8 = 5;
    pub(super) const MODELS: u8 = 6;
    pub(super) const PLACES: u8 = 7;
    pub(super) const ENDED: u8 = 8;
}

/// Returns what is said, line by line.
fn lines(status: &Status, others: &[String]) -> Vec<ScreenLine> {
    let mut rows = Vec::new();
    let mut ranks = Vec::new();
    let mut row = |rank: u8, name: &str, said: String| {
        ranks.push(rank);
        rows.push([name.to_owned(), said]);
    };
    row(rank::HEAD, "documents", documents(&status.documents, status.source.as_ref()));
    let Answers { done, waiting, failed, .. } = status.answers;
    if done + waiting + failed > 0 {
        let [done, waiting, failed] = [done, waiting, failed].map(HumanCount);
        row(rank::CALLS, "answers", format!("{waiting} pending, {done} current, {failed} documents failed"));
    }
    if let Some(daemon) = &status.daemon {
        let url = daemon.url.as_ref().map(|url| format!(", {url}")).unwrap_or_default();
        row(rank::PLACES, "daemon", format!("process {}, since {}{url}", daemon.pid, daemon.started_at));
    }
    if let Some(source) = &status.source {
        row(if source.trouble.is_some() { rank::TROUBLE } else { rank::PLACES }, "source", source_of(source));
    }
    if let Some(calls) = &status.calls {
        row(rank::CALLS, "calls", calls_of(calls));
    }
    if let Some(questions) = status.questions.as_ref().filter(|questions| questions.attempts > 0) {
        row(rank::CALLS, "questions", calls_of(questions));
    }
    for model in &status.models {
        row(rank::MODELS, "model", model_of(model));
        for closed in &model.closed {
            let said = closed.error.as_ref().map(|error| format!(": {}", plain(error))).unwrap_or_default();
            row(rank::TROUBLE, "held back", format!("{}, for {}{said}", plain(&closed.reason), seconds(closed.seconds)));
            if let Some(help) = &closed.help {
                row(rank::TROUBLE, "", format!("help: {}", plain(help)));
            }
        }
    }
    row(rank::MONEY, "cost", money(&status.money));
    if let Some(configuration) = &status.configuration {
        if let Some(error) = &configuration.error {
            let said = "the file is invalid; the previous configuration stays in effect until a restart";
            row(rank::TROUBLE, "config", said.into());
            for line in error.lines() {
                row(rank::TROUBLE, "", plain(line));
            }
        }
        if !configuration.needs_restart.is_empty() {
            row(rank::PLACES, "config", format!("a restart is needed for {}", plain(&configuration.needs_restart.join(", "))));
        }
    }
    let storage = &status.storage;
    row(rank::PLACES, "ledger", format!("{}, {} of it kept answers", bytes(storage.ledger_bytes), bytes(storage.cache_bytes)));
    for output in &storage.outputs {
        row(rank::PLACES, "lines", output_of(output));
    }
    let mut said: Vec<_> = heading(status).iter().map(|line| ScreenLine::new(rank::HEAD, line)).collect();
    said.extend(others.iter().map(|other| ScreenLine::new(rank::TROUBLE, other)));
    said.extend(std::iter::zip(ranks, indented(&columns(&rows)).lines()).map(|(rank, line)| ScreenLine::new(rank, line)));
    let mut list = |rank: u8, title: &str, rows: Vec<[String; 3]>| {
        if !rows.is_empty() {
            let rows = indented(&columns(&rows));
            said.extend(["", title].into_iter().chain(rows.lines()).map(|line| ScreenLine::new(rank, line)));
        }
    };
    let waiting = status.waiting.iter().take(SHOWN).map(|of| [plain(&of.document), seconds(of.seconds), String::new()]);
    list(rank::WAITING, "pending for longest", waiting.collect());
    let failed = status.failed.iter().take(SHOWN).map(|of| {
        let again = if of.retried { "to be retried" } else { &of.class };
        [plain(&of.document), plain(again), plain(&of.message)]
    });
    list(rank::FAILED, "failed last (`riverbed failed` lists all)", failed.collect());
    let skipped = status.skipped.iter().take(SHOWN).map(|of| {
        let example = of.example.as_ref().map(|example| format!("as {example}")).unwrap_or_default();
        [HumanCount(of.files).to_string(), plain(&of.reason), example]
    });
    list(rank::FAILED, "skipped (`riverbed skipped` lists all, with what to do)", skipped.collect());
    let ended = status.ended.iter().take(SHOWN).map(|of| {
        let chunks = if of.chunks == 1 { "1 chunk".to_owned() } else { format!("{} chunks", of.chunks) };
        let lines = format!("{chunks}, {} embedded, {} from earlier answers", of.embedded, of.cached);
        [plain(&of.document), plain(&of.became), lines]
    });
    list(rank::ENDED, "ended last", ended.collect());
    said
}

fn heading(status: &Status) -> [String; 2] {
    let about = match status.state {
        State::Stopped => "no daemon runs; the figures come from the ledger",
        State::Starting => "starting",
        State::Following => "following its folder",
        State::Waiting => "waiting for its folder",
        State::Stopping => "stopping",
    };
    let output = status.folders.as_ref().map_or("of a daemon that does not report it", |folders| &folders.output);
    [format!("output {}", plain(output)), format!("riverbed {}: {about}", status.version)]
}

fn documents(documents: &Documents, source: Option<&Source>) -> String {
    let count = HumanCount;
    let oldest = documents.oldest_waiting_seconds.map(|oldest| format!(" (for up to {})", seconds(oldest)));
    // What a daemon has not looked through may hold any number of new documents.
    let is_looked_through = source.is_none_or(|source| source.scans > 0);
    let so_far = if is_looked_through { "" } else { " so far, the first scan is not finished" };
    format!(
        "{} waiting{}{so_far}, {} done, {} failed, {} skipped, {} removed",
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
    let settling = match source.settling {
        0 => String::new(),
        1 => ", 1 file is settling".to_owned(),
        files => format!(", {} files are settling", HumanCount(files)),
    };
    format!("changes are detected by {}{because}{help}, {} scans{replaced}{settling}", source.by, HumanCount(source.scans))
}

fn calls_of(calls: &Calls) -> String {
    let mean = calls.mean_seconds.map(|mean| format!(" in {:.0} ms each", mean * 1000.0)).unwrap_or_default();
    let about = if calls.uncounted > 0 { "about " } else { "" };
    let unpriced =
        if calls.unpriced > 0 { format!(", {} at an unknown price", HumanCount(calls.unpriced)) } else { String::new() };
    format!(
        "{} in flight, {} answered{mean}, {} retried, {} throttled, {about}{} tokens{unpriced}",
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
    let (least, most) = if money.today_unpriced_calls > 0 { ("at least ", "at most ") } else { ("", "") };
    let mut said = format!("{least}${:.6} today (UTC)", money.today_usd);
    if money.today_emulated_usd > 0.0 {
        let _infallible = write!(said, ", ${:.6} in an emulator's play money", money.today_emulated_usd);
    }
    if let (Some(max), Some(left)) = (money.budget_usd, money.budget_left_usd) {
        let _infallible = write!(said, "; {most}${left:.6} of ${max:.2} are left");
    }
    if let (Some(max), Some(left)) = (money.chat_budget_usd, money.chat_budget_left_usd) {
        let _infallible = write!(said, "; {most}${left:.6} of ${max:.2} for chat");
    }
    if money.today_unpriced_calls > 0 {
        let calls = if money.today_unpriced_calls == 1 { "call" } else { "calls" };
        let _infallible = write!(said, "; {} {calls} at an unknown price", HumanCount(money.today_unpriced_calls));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_lacks_calls_says_at_least_and_what_is_left_at_most() {
        let known = Money { today_usd: 0.5, budget_usd: Some(2.0), budget_left_usd: Some(1.5), ..Money::default() };
        assert_eq!(money(&known), "$0.500000 today (UTC); $1.500000 of $2.00 are left");
        let partly = "at least $0.500000 today (UTC); at most $1.500000 of $2.00 are left; 3 calls at an unknown price";
        assert_eq!(money(&Money { today_unpriced_calls: 3, ..known }), partly);
    }

    #[test]
    fn tokens_that_are_estimated_and_calls_without_a_price_are_said() {
        let known = Calls { answered: 5, tokens: 70, ..Calls::default() };
        assert_eq!(calls_of(&known), "0 in flight, 5 answered, 0 retried, 0 throttled, 70 tokens");
        let partly = "0 in flight, 5 answered, 0 retried, 0 throttled, about 70 tokens, 2 at an unknown price";
        assert_eq!(calls_of(&Calls { uncounted: 1, unpriced: 2, ..known }), partly);
    }

    #[test]
    fn a_folder_that_is_not_looked_through_yet_is_not_said_to_hold_nothing_more() {
        let source_after = |scans| Source {
            by: "events".into(),
            because: None,
            help: None,
            trouble: None,
            scans,
            settling: 0,
            watchers_replaced: 0,
        };
        let waiting = |source| documents(&Documents { waiting: 3, ..Documents::default() }, source);
        let known = "3 waiting, 0 done, 0 failed, 0 skipped, 0 removed";
        assert_eq!(waiting(None), known, "without a daemon nobody looks");
        let (before, after) = (source_after(0), source_after(1));
        assert_eq!(waiting(Some(&after)), known);
        let so_far = "3 waiting so far, the first scan is not finished, 0 done, 0 failed, 0 skipped, 0 removed";
        assert_eq!(waiting(Some(&before)), so_far);
    }
}
