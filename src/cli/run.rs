//! `riverbed run`: the daemon, and with `--once` the run that ends.

use std::convert::Infallible;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Failure, Global, Needs, StopRequests, call_exit, call_help, print, progress, runtime, summary};
use crate::bedrock::{Client, Endpoint, ModelKey, client::Emulated};
use crate::config::{Config, Loaded};
use crate::daemon::process_limits;
use crate::daemon::reload::{Reloading, Written};
use crate::daemon::serve::{Daemon, Seen};
use crate::daemon::sighup::Hangups;
use crate::daemon::startup::{self, Store, ledger_failure};
use crate::domain::{Claims, Output};
use crate::embed::Embedder;
use crate::emulator::Emulator;
use crate::folder::{Found, SourceError};
use crate::ledger::{DocumentState, Reader};
use crate::pipeline::{self, Mode, PipelineError, PipelineParts};
use crate::report::{Exit, Invalid};
use crate::systemd::Notifier;
use crate::systemd::sd_notify::Notice;
use crate::telemetry::{self, Console, Counters, Log};
use crate::throttle::Lanes;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Processes what is there, prints a summary and exits; with 2 if documents failed or wait for budget
    #[arg(long)]
    once: bool,
    /// Restores a lost ledger from the output; refused if a ledger exists
    #[arg(long)]
    rebuild_ledger: bool,
}

pub(super) fn run(arguments: &RunArguments, global: &Global) -> Result<Exit, Failure> {
    let overrides = global.overrides(Vec::new());
    let file = global.file(Needs::Folders, &overrides);
    let mut loaded = Loaded::read(file.as_deref(), &overrides)?;
    leave_no_core();
    process_limits::raise_descriptors();
    let short = process_limits::fit(&mut loaded);
    let console = Console::stderr();
    let log = telemetry::start(&loaded.config.log, &console);
    let foreign = loaded.foreign_variables();
    if !foreign.is_empty() {
        warn!(variables = foreign.join(", "), "variables match no section of the configuration and are ignored");
    }
    if arguments.once {
        source_is_there(&loaded)?;
    }
    if let Some(short) = short {
        let (allowed, needed, max_in_flight, help) =
            (short.allowed, short.needed, loaded.config.bedrock.max_in_flight, short.help());
        warn!(allowed, needed, max_in_flight, help, "too few descriptors; fewer calls will be in flight");
    }
    let mode = if arguments.once { Mode::Once } else { Mode::Follow };
    let written = Written { file, overrides };
    runtime()?.block_on(flow(mode, arguments.rebuild_ledger, loaded, written, &Terminal { console, log }))
}

/// Keeps a crash from writing the process' memory to disk, which has documents and keys in it.
fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Lowering a limit needs no right, so that only a filter of system calls could refuse: the unit sets the same limit itself.
    let _refused = setrlimit(Resource::Core, none);
}

/// Where a run is seen as it goes.
pub(super) struct Terminal {
    pub(super) console: Console,
    pub(super) log: Log,
}

/// Checks that the source folder is usable, as `check` and `run --once` need it; the daemon waits for it instead.
pub(super) fn source_is_there(loaded: &Loaded) -> Result<(), Failure> {
    let path = &loaded.config.source.path;
    let problem = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => format!("is `{}`, which is no folder", path.display()),
        Err(error) => format!("is `{}`, which cannot be opened ({error})", path.display()),
    };
    let help = format!("make it (`mkdir -p {}`), or name another folder", path.display());
    Err(loaded.invalid(Invalid { key: "source.path", problem, help }).into())
}

/// Starts what the configuration asks for, runs the pipeline to its end and says how it went.
#[expect(clippy::too_many_lines, reason = "one thing after the other, each a line or two")]
async fn flow(mode: Mode, rebuild: bool, loaded: Loaded, written: Written, terminal: &Terminal) -> Result<Exit, Failure> {
    let config = &loaded.config;
    // First of all: nobody's hangup ends a daemon because it came early. A run that ends takes it for the end, as other programs do.
    let hangups = match mode {
        Mode::Follow => Some(Hangups::listen().map_err(|error| Failure::new(error, Exit::Io))?),
        Mode::Once => None,
    };
    let emulator = emulator_of(config).await?;
    let notifier = if mode == Mode::Follow { Notifier::from_environment() } else { Notifier::default() };
    notifier.tell(&[Notice::Status("recovering what the last run left unfinished")]);
    // The ledger first: where another instance holds it, nothing else is touched.
    let mut store = tokio::task::block_in_place(|| Store::open(&loaded, rebuild))?;
    let emulated = emulator.as_ref().map(|emulator| Emulated { url: emulator.endpoint() });
    let stop = CancellationToken::new();
    let client = Client::connect(&config.bedrock, emulated.as_ref()).await?.until(stop.clone());
    let place = client.place().to_owned();
    let model = match emulated {
        _ if !config.embed.enabled => "none, documents are only asked about".to_owned(),
        Some(_) => format!("emulator/{}", loaded.settings.model()),
        None => loaded.settings.model().to_string(),
    };
    let outputs = outputs(&loaded);
    let counters = Arc::new(Counters::default());
    let found = Arc::new(Found::default());

    info!(source = %config.source.path.display(), output = %outputs[0].display(), %model, bedrock = %place, "started");
    if emulated.is_some() {
        let made = if config.embed.enabled { "vectors are lexical" } else { "answers are" };
        warn!("the emulator answers: its {made} stand-ins, not a model's");
    }
    store.announce(&loaded)?;
    let lane = store.lane(&loaded)?;
    let paying = Arc::clone(&lane);
    let askers = store.askers(&loaded, &client, &lane)?;
    let (answers, contexts) = (Arc::new(counters.of_questions()), Arc::new(counters.of_questions()));
    let (standing, memory) = (store.look_on()?, store.look_on()?);
    let claims = Claims::default();
    let lanes = Lanes::new(std::iter::once(&lane).chain(askers.iter().map(|asker| &asker.lane)).cloned().collect());
    let (controls, controlled) = pipeline::controls(config.bedrock.max_in_flight, &loaded.prompts);
    let (progress_every, every) = watch::channel(config.run.progress_every);
    let (daemon, retries) = match hangups {
        Some(hangups) => {
            let (counters, found, claims) = (Arc::clone(&counters), Arc::clone(&found), claims.clone());
            let (answers, contexts, stop) = (Arc::clone(&answers), Arc::clone(&contexts), stop.clone());
            let seen = Seen { counters, answers, contexts, found: Arc::clone(&found), claims, lanes: lanes.clone(), stop };
            let reloading = Reloading {
                written,
                running: loaded.clone(),
                ledger: store.look_on()?,
                client: client.clone(),
                askers: askers.clone(),
                lanes: lanes.clone(),
                controls,
                found,
                log: terminal.log.clone(),
                progress_every,
                hangups,
            };
            let (daemon, retries) = Daemon::prepare(&loaded, &store, seen, reloading, notifier).await?;
            (Some(daemon), retries)
        }
        // `run --once` takes no commands.
        None => (None, mpsc::channel(1).1),
    };
    let requests = StopRequests::listen()?;
    let called = lanes.clone();
    let parts = PipelineParts {
        mode,
        source: config.source.clone(),
        found: Arc::clone(&found),
        chunk: config.chunk.clone(),
        limits: loaded.chunk_limits(),
        embedder: Embedder::new(client, loaded.settings.clone()),
        batch_wait: config.embed.batch_wait,
        lane,
        lanes,
        controlled,
        claims,
        retries,
        reader: store.reader,
        memory,
        working: store.working,
        shape: store.shape,
        delivery: store.delivery,
        output: config.sink.path.clone(),
        run: config.run.clone(),
        prompts: Arc::clone(&loaded.prompts),
        askers,
        counters: Arc::clone(&counters),
        answers: Arc::clone(&answers),
        contexts: Arc::clone(&contexts),
    };
    let begun = Instant::now();
    let counted = progress::Counted { vectors: &counters, answers: &answers, contexts: &contexts };
    let ended = {
        let pipeline = pipeline::run(parts, stop.clone());
        let progress = progress::show(terminal, &counted, &found, &paying.limiter, every);
        let beside = async {
            match daemon {
                Some(daemon) => Box::pin(daemon.run()).await,
                None => pending().await,
            }
        };
        tokio::pin!(pipeline, progress, beside);
        tokio::select! {
            ended = &mut pipeline => ended,
            never = &mut progress => match never {},
            never = &mut beside => match never {},
            never = stop_when_asked(requests, &stop) => match never {},
        }
    };
    if let Some(emulator) = emulator {
        emulator.stop().await;
    }
    let (totals, answers, contexts) = (counters.totals(), answers.totals(), contexts.totals());
    ended.map_err(|error| pipeline_failure(error, &loaded))?;
    if mode == Mode::Follow {
        info!(
            documents = totals.done,
            chunks = totals.embedded,
            answers = answers.embedded,
            failed = totals.failed + totals.failed_asking,
            "stopped"
        );
        return Ok(Exit::Done);
    }
    let standing = count(&standing)?;
    let money = summary::Money::of(&loaded, &paying, &called);
    let summary = summary::Summary {
        totals: &totals,
        answers: &answers,
        contexts: &contexts,
        found: found.files(),
        unchanged: found.unchanged(),
        elapsed: begun.elapsed(),
        outputs: &outputs,
        has_vectors: config.embed.enabled,
        stopped: stop.is_cancelled(),
        standing: standing.clone(),
        money,
    };
    // The work is done: a summary that cannot be written (a full disk, a closed window) does not undo it.
    let _unheard = print(&summary.to_string());
    // What could be done without that model is done, and its questions are left for another run.
    for lane in called.all() {
        if let Some(error) = lane.gate.halted() {
            let (exit, help) = (call_exit(&error), call_help(&error, ModelKey::of_lane(lane.limiter.name())));
            return Err(Failure::new(PipelineError::Halted(error), exit).help(help));
        }
    }
    Ok(if standing.failed + totals.left + answers.left > 0 { Exit::DocumentsFailed } else { Exit::Done })
}

/// Starts the emulator, if the configuration asks for it.
pub(super) async fn emulator_of(config: &Config) -> Result<Option<Emulator>, Failure> {
    match config.bedrock.endpoint {
        Some(Endpoint::Emulator) => {
            let started = Emulator::start(([127, 0, 0, 1], 0).into(), config.emulator.clone()).await;
            Ok(Some(started.map_err(|error| Failure::new(error, Exit::Io))?))
        }
        Some(Endpoint::Url(_)) | None => Ok(None),
    }
}

/// Returns the files that lines go to: vectors first, where there are any.
fn outputs(loaded: &Loaded) -> Vec<PathBuf> {
    let has_answers = loaded.prompts.answered().next().is_some() || loaded.prompts.messages().is_some();
    let outputs = [(Output::Vectors, loaded.config.embed.enabled), (Output::Answers, has_answers)];
    let outputs = outputs.into_iter().filter(|(_, is_written)| *is_written);
    outputs.map(|(output, _)| loaded.config.sink.path.join(output.live_name())).collect()
}

/// Counts the documents in the ledger by state.
fn count(ledger: &Reader) -> Result<summary::DocumentCounts, Failure> {
    let count = |state| ledger.count(state).map_err(ledger_failure);
    let kinds = ledger.skipped_kinds(None).map_err(ledger_failure)?;
    Ok(summary::DocumentCounts {
        done: count(DocumentState::Done)?,
        skipped: count(DocumentState::Skipped)?,
        failed: count(DocumentState::Failed)?,
        kinds,
    })
}

/// Turns the first request to stop into `stop`; the second ends the process.
async fn stop_when_asked(mut requests: StopRequests, stop: &CancellationToken) -> Infallible {
    requests.next().await;
    info!("stopping: no new calls; a second request ends at once");
    stop.cancel();
    requests.next().await;
    #[expect(clippy::exit, reason = "second request, ending at once; the next run repeats what is not written")]
    std::process::exit(130);
}

pub(super) fn pipeline_failure(error: PipelineError, loaded: &Loaded) -> Failure {
    match error {
        PipelineError::Deliver(error) => startup::failure(error),
        PipelineError::Source(SourceError::RootMissing { path }) => missing(&path, loaded),
        PipelineError::Source(_) => {
            let (exit, help) = startup::ledger_advice(&error).unwrap_or((Exit::Io, "check that the folder can be read"));
            Failure::new(error, exit).help(help)
        }
        PipelineError::Halted(ref cause) | PipelineError::NoContexts(ref cause) => {
            let asked = if matches!(error, PipelineError::Halted(_)) { ModelKey::Embed } else { ModelKey::Chat };
            let (exit, help) = (call_exit(cause), call_help(cause, asked));
            Failure::new(error, exit).help(help)
        }
        PipelineError::Panicked(_) => {
            Failure::new(error, Exit::Bug).help("this is a bug in riverbed; please report it with the lines above")
        }
    }
}

fn missing(path: &Path, loaded: &Loaded) -> Failure {
    let problem = format!("is `{}`, which has disappeared", path.display());
    let help = "restore it, or name another folder".into();
    loaded.invalid(Invalid { key: "source.path", problem, help }).into()
}
