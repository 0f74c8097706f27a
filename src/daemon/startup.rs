//! Ledger and output, opened for a run: what is current, what must be processed again, and what keeps them from being opened.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::failure::Failure;
use super::spending::{self, in_play_money};
use crate::bedrock::{Client, Endpoint, ModelId, client::redirected_by_variable};
use crate::chat::Chat;
use crate::commitlog::config::{Folder, SinkError, Stamp};
use crate::commitlog::{CommitLogParts, DeliverError, Delivery, Opening};
use crate::config::Loaded;
use crate::domain::Fingerprints;
use crate::domain::TokenCount;
use crate::domain::moment::unix_seconds;
use crate::domain::path::{Sanitized, escaped};
use crate::ledger::{Ledger, LedgerError, Left, Reader, Segment, Working};
use crate::pipeline::chat::{Asker, messages_config};
use crate::pipeline::skipped_config;
use crate::report::Exit;
use crate::telemetry::Steps;
use crate::throttle::limiter::Learned;
use crate::throttle::price::Used;
use crate::throttle::{Account, Budget, Density, Lane, budget::Purpose, limiter};

/// What a run needs.
pub(crate) struct Store {
    pub(crate) reader: Reader,
    pub(crate) working: Working,
    pub(crate) shape: Arc<Fingerprints>,
    pub(crate) delivery: Delivery,
}

/// Under this name the ledger remembers the folder of its output.
pub(crate) const OUTPUT: &str = "output";

/// And under this one the folder of the documents, for commands that get nothing but the output.
pub(crate) const SOURCE: &str = "source";

impl Store {
    /// Takes ledger and output for this process and recovers what the last one left undone.
    pub(crate) fn open(loaded: &Loaded, rebuild: bool) -> Result<Self, Failure> {
        Self::open_as(loaded, if rebuild { Opening::Rebuild } else { Opening::Plain })
    }

    /// The same, where a person may have agreed to more.
    pub(crate) fn open_as(loaded: &Loaded, opening: Opening) -> Result<Self, Failure> {
        let (config, path) = (&loaded.config, loaded.ledger_path());
        outlive_file_limit()?;
        let mut ledger = Ledger::open(&path, config.ledger.cache_size).map_err(ledger_failure)?;
        let folder = |source| failure(SinkError::Folder { path: config.sink.path.clone(), source }.into());
        let disk = Folder::new(&config.sink.path).map_err(folder)?;
        let output = config.sink.path.canonicalize().map_err(folder)?;
        let known = ledger.meta(OUTPUT).map_err(ledger_failure)?;
        same_output(known, &ledger.segments().map_err(ledger_failure)?, &path, &output)?;

        let (emulated, remembered_as) = is_emulated(loaded, |key| ledger.meta(key)).map_err(ledger_failure)?;
        let shape = Arc::new(shape(loaded, emulated, remembered_as));
        let stamp = Stamp {
            model: loaded.settings.model().to_string(),
            dimensions: loaded.settings.dimensions(),
            config: shape.config_of(false),
            config_emulated: shape.config_of(true),
            instance: String::new(), // the ledger's
        };
        let (working, crashed) = ledger.working().map_err(ledger_failure)?;
        for Left { path, .. } in crashed {
            warn!(document = %Sanitized(&path), "the last run died while it worked on this file");
        }
        let reader = ledger.reader().map_err(ledger_failure)?;
        let steps = Arc::new(Steps::default());
        let (disk, shape_of_lines, config) = (Box::new(disk), Arc::clone(&shape), config.sink.clone());
        let parts = CommitLogParts { ledger, disk, stamp, shape: shape_of_lines, config, steps };
        let opened = Delivery::open(parts, opening, SystemTime::now());
        let (mut delivery, _) = opened.map_err(failure)?;
        delivery.ledger().set_meta(OUTPUT, &escaped(&output)).map_err(ledger_failure)?;
        let source = std::path::absolute(&loaded.config.source.path).unwrap_or_else(|_| loaded.config.source.path.clone());
        delivery.ledger().set_meta(SOURCE, &escaped(&source)).map_err(ledger_failure)?;
        Ok(Self { reader, working, shape, delivery })
    }

    /// Says what a changed configuration asks to be made again, and about what that costs.
    pub(crate) fn announce(&self, loaded: &Loaded) -> Result<(), Failure> {
        let unfit = self.reader.unfit(&[self.shape.config(), skipped_config(), messages_config()]).map_err(ledger_failure)?;
        if !self.shape.has_vectors() {
            if unfit.lines > 0 {
                let (documents, lines) = (unfit.documents, unfit.lines);
                info!(documents, lines, "`embed.enabled` is false; deleting the vectors of these documents");
            }
            return Ok(());
        }
        if unfit.documents > 0 {
            // Where calls carry one text, their billed tokens are in the lines; else the estimates are.
            let limits = loaded.settings.limits();
            let calls = unfit.lines.div_ceil(limits.texts_per_call.get() as u64);
            let used = Used { calls, input: TokenCount::new(unfit.tokens), ..Used::default() };
            let price = loaded.prices.of(loaded.settings.model());
            let cost = price.map_or_else(|| "unknown".to_owned(), |price| price.of(used).to_string());
            let cost = if self.shape.is_emulated() { format!("{cost}{}", in_play_money(true)) } else { cost };
            let cost = match unfit.lineless {
                0 => cost,
                // Their vectors were switched off, so that no lines have their tokens.
                lineless => format!("{cost}, and more for those without vectors ({lineless}): `riverbed plan` says how much"),
            };
            info!(
                documents = unfit.documents,
                tokens = unfit.tokens,
                cost,
                "vector settings changed; embedding these documents again, at most at this cost",
            );
            if let Some(prompt) = loaded.prompts.context() {
                let (prompt, questions) = (&*prompt.name, unfit.lines);
                info!(prompt, questions, "chunk contexts are generated first, with at most one call each");
            }
        }
        Ok(())
    }

    /// Opens the lane of the embedding calls; its limiter begins at what the last run has learned.
    pub(crate) fn lane(&self, loaded: &Loaded) -> Result<Arc<Lane>, Failure> {
        Ok(Arc::new(lane(loaded, Some(&self.reader), self.shape.is_emulated())?))
    }

    /// Opens the lanes of the models that are asked, and has what is to be asked wait in the ledger.
    pub(crate) fn askers(&mut self, loaded: &Loaded, client: &Client, embed: &Lane) -> Result<Vec<Asker>, Failure> {
        loaded.prompts.hold(self.delivery.ledger(), self.shape.is_emulated()).map_err(ledger_failure)?;
        let mut askers = Vec::new();
        for (name, (model, max_tokens)) in loaded.prompts.models() {
            let budget = embed.account.budget().cloned();
            askers.push(Asker { model: name, ..asker(loaded, Some(&self.reader), budget, client.clone(), &model, max_tokens)? });
        }
        bound_connections(client, loaded, askers.len());
        Ok(askers)
    }

    /// Opens another read-only connection.
    pub(crate) fn look_on(&self) -> Result<Reader, Failure> {
        self.reader.again().map_err(ledger_failure)
    }
}

/// Bounds the connections by the calls in flight: `max-in-flight` for the vectors, and for each of so many models that are asked.
pub(super) fn bound_connections(client: &Client, loaded: &Loaded, askers: usize) {
    // Questions for contexts have calls in flight of their own, beside those for answers.
    let others = askers + usize::from(loaded.prompts.context().is_some());
    client.bound_connections(loaded.config.bedrock.max_in_flight.saturating_mul(NonZeroUsize::MIN.saturating_add(others)));
}

/// Makes what a chat model is asked with: a lane with what a ledger, if there is one, knows of earlier calls.
pub(crate) fn asker(
    loaded: &Loaded,
    reader: Option<&Reader>,
    budget: Option<Arc<Budget>>,
    client: Client,
    model: &ModelId,
    max_tokens: u32,
) -> Result<Asker, Failure> {
    if !loaded.prompts.is_known(model) {
        let help =
            "`riverbed models` lists those that are known; `family` says whose rules it follows, `[budget.prices]` what it costs";
        warn!(%model, help, "riverbed does not know this model: what it takes and how long its context is, the service says");
    }
    let limits = limiter::LimiterConfig { name: format!("chat {model}"), requests_per_minute: None, tokens_per_minute: None };
    let learned = reader.map_or(Ok(None), |reader| reader.meta(&limits.name)).map_err(ledger_failure)?;
    let learned = learned.map(|learned| Learned::read(&learned, unix_seconds(SystemTime::now())));
    let account = Account::new(loaded.prices.of_chat(model), budget, Purpose::Chat);
    let lane = Lane { account, ..Lane::new(limits, loaded.config.retry.clone(), learned) };
    let chat = Chat::new(client, chat_timeout(loaded, max_tokens));
    Ok(Asker { model: model.to_string(), chat, lane: Arc::new(lane) })
}

/// Returns how long one attempt of a chat call may take: the model must have the time to write its answer, at 20 tokens a second.
pub(super) fn chat_timeout(loaded: &Loaded, max_tokens: u32) -> Duration {
    loaded.config.bedrock.attempt_timeout + Duration::from_millis(50) * max_tokens
}

/// Makes the lane of the embedding calls, with what a ledger, if there is one, knows of earlier ones.
pub(crate) fn lane(loaded: &Loaded, reader: Option<&Reader>, emulated: bool) -> Result<Lane, Failure> {
    let bedrock = &loaded.config.bedrock;
    let limits = limiter::LimiterConfig {
        name: format!("embed {}", loaded.settings.model()),
        requests_per_minute: bedrock.requests_per_minute,
        tokens_per_minute: bedrock.tokens_per_minute,
    };
    let learned = reader.map_or(Ok(None), |reader| reader.meta(&limits.name)).map_err(ledger_failure)?;
    let learned = learned.map(|learned| Learned::read(&learned, unix_seconds(SystemTime::now())));
    let account = Account::new(
        loaded.prices.of(loaded.settings.model()),
        Some(spending::budget(loaded, reader, emulated)?),
        Purpose::Embed,
    );
    let density = Density::new(spending::rates(loaded, reader)?, emulated);
    Ok(Lane { account, density, ..Lane::new(limits, loaded.config.retry.clone(), learned) })
}

/// Returns what shapes a vector, as `is_emulated` says who makes it.
pub(crate) fn shape(loaded: &Loaded, emulated: bool, remembered_as: Option<String>) -> Fingerprints {
    let configs = [false, true].map(|emulated| loaded.fingerprint(emulated));
    let vectors = [false, true].map(|emulated| loaded.vectors(emulated));
    let shape = Fingerprints::new(configs, vectors, emulated, remembered_as);
    if loaded.config.embed.enabled { shape } else { shape.without_vectors() }
}

/// Returns whether an emulator makes the vectors, as far as is known, and under which name the ledger remembers what answers say.
pub(crate) fn is_emulated(
    loaded: &Loaded,
    meta: impl FnOnce(&str) -> Result<Option<String>, LedgerError>,
) -> Result<(bool, Option<String>), LedgerError> {
    let url = match &loaded.config.bedrock.endpoint {
        Some(Endpoint::Emulator) => return Ok((true, None)),
        Some(Endpoint::Url(url)) => Some(url.clone()),
        // A variable may lead to an emulator too. Without one these are AWS's own answers, whatever was remembered of an address.
        None => redirected_by_variable(),
    };
    let Some(url) = url else { return Ok((false, None)) };
    let key = format!("emulated {url}");
    Ok((meta(&key)?.as_deref() == Some("true"), Some(key)))
}

/// Has a write beyond the limit on the size of files (`ulimit -f`) fail with an error that can be reported, instead of ending the process
/// without a word.
fn outlive_file_limit() -> Result<(), Failure> {
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // Once it is listened to, its default is off for good.
    signal(kind).map(drop).map_err(|error| Failure::new(error, Exit::Io))
}

/// Checks that a ledger belongs to its output: with another one it would know of lines that are not there.
pub(crate) fn same_output(known: Option<String>, segments: &[Segment], path: &Path, output: &Path) -> Result<(), Failure> {
    let Some(known) = known.filter(|known| *known != escaped(output)) else { return Ok(()) };
    let has_lines = segments.iter().any(|segment| segment.committed > 0);
    if !has_lines || segments.iter().any(|segment| segment.committed > 0 && output.join(&segment.name).exists()) {
        return Ok(());
    }
    let said = format!(
        "the ledger `{}` belongs to the output in `{known}`, and nothing of that is in `{}`",
        path.display(),
        output.display()
    );
    Err(Failure::new(said, Exit::Ledger)
        .help("move the files there too, or give this output a ledger of its own in `ledger.path`"))
}

const SOUND_DISK: &str = "check that the disk is sound, then start again";

/// Returns whether an error is the disk's, and nobody's rights are the matter.
fn is_of_the_disk(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// Says what to do about a ledger that cannot be used.
pub(crate) fn ledger_failure(error: LedgerError) -> Failure {
    let (exit, help) = advice(&error);
    Failure::new(error, exit).help(help)
}

/// Says what to do where the ledger is the cause of an error, wherever it occurred.
pub(crate) fn ledger_advice(error: &(dyn Error + 'static)) -> Option<(Exit, &'static str)> {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.find_map(|cause| cause.downcast_ref::<LedgerError>()).map(advice)
}

fn advice(error: &LedgerError) -> (Exit, &'static str) {
    match error {
        LedgerError::Taken { .. } => (Exit::AlreadyRunning, "stop the other one, or give this one another `ledger.path`"),
        LedgerError::Make { source, .. } if is_of_the_disk(source) => (Exit::Io, SOUND_DISK),
        LedgerError::Make { .. } | LedgerError::Open { .. } => {
            (Exit::Io, "give the user of riverbed write access, or name another file in `ledger.path`")
        }
        LedgerError::Remote { .. } => (Exit::Config, "name a file on a local disk in `ledger.path`"),
        LedgerError::Missing { .. } => (Exit::Io, "`riverbed run` makes one; `ledger.path` names another"),
        LedgerError::NotALedger { .. } => (
            Exit::Ledger,
            "name another file in `ledger.path`; if it was the ledger of this output, move it away and restore it: from a copy, or from \
             the output with `riverbed run --rebuild-ledger`",
        ),
        LedgerError::Newer { .. } => (Exit::Ledger, "run the newer riverbed that wrote it"),
        LedgerError::Damaged { .. } | LedgerError::Corrupt(_) => (
            Exit::Ledger,
            "move it away with its `-wal` and restore it: from a copy, or from the output with `riverbed run --rebuild-ledger`",
        ),
        LedgerError::Exchanged { .. } => (
            Exit::Ledger,
            "find out what did that; the next start uses the ledger that is there and repeats the calls that were in flight",
        ),
        LedgerError::Busy => (Exit::Io, "end the program that writes to the ledger's file; looking into it needs no lock"),
        LedgerError::Full => (Exit::Io, "make room (`df -h`), or free inodes (`df -i`); only calls in flight are lost"),
        LedgerError::Read(_) | LedgerError::Unreadable { .. } => (Exit::Io, SOUND_DISK),
        LedgerError::Write(_) => (
            Exit::Io,
            "check that the disk is sound, and that no limit on the size of files (`ulimit -f`) is in the way, then start again",
        ),
    }
}

/// Says what to do about lines that cannot be delivered.
pub(crate) fn failure(error: DeliverError) -> Failure {
    let (exit, help) = match error {
        DeliverError::Ledger(error) => return ledger_failure(error),
        DeliverError::Sink(error) => return sink_failure(error),
        DeliverError::LedgerLost { .. } => (
            Exit::Ledger,
            "restore the ledger from a copy, or from these lines with `riverbed run --rebuild-ledger`; or name an empty `sink.path`",
        ),
        DeliverError::OtherOutput { .. } | DeliverError::Contradicts { .. } => (
            Exit::Ledger,
            "restore the ledger of this output, or move the foreign file out of the folder, or name another `sink.path`; nothing was \
             changed",
        ),
        DeliverError::LinesTaken { .. } => (
            Exit::Ledger,
            "restore the newer ledger, or the files; to continue without those lines, `riverbed verify --repair` rebuilds them under new \
             numbers, and pays again where no answer is cached",
        ),
        DeliverError::LedgerPresent => {
            (Exit::Ledger, "leave `--rebuild-ledger` out; to rebuild it all the same, move it away first")
        }
    };
    Failure::new(error, exit).help(help)
}

fn sink_failure(error: SinkError) -> Failure {
    let (exit, help) = match &error {
        SinkError::Taken => (Exit::AlreadyRunning, "stop the other one, or give this one another `sink.path`"),
        SinkError::Folder { source, .. } | SinkError::Open { source, .. } if is_of_the_disk(source) => (Exit::Io, SOUND_DISK),
        SinkError::Folder { .. } | SinkError::Open { .. } => {
            (Exit::Io, "give the user of riverbed write access, or name another folder in `sink.path`")
        }
        SinkError::FolderGone => {
            (Exit::Ledger, "put it back, or mount its disk; a start makes a new one, in which earlier lines are missing")
        }
        SinkError::Read { .. } => (Exit::Io, SOUND_DISK),
        SinkError::Write { source, .. } if source.kind() == std::io::ErrorKind::FileTooLarge => (
            Exit::Io,
            "raise the limit on the size of files (`ulimit -f`, `LimitFSIZE=`), or lower `sink.rotate-size` below it; what was paid for \
             is in the ledger",
        ),
        SinkError::Full => (Exit::Io, "make room (`df -h`), or free inodes (`df -i`); what was paid for is in the ledger"),
        SinkError::Write { .. } | SinkError::Sync { .. } => {
            (Exit::Io, "check that the disk is sound, then start again: what is not on disk is written again, to a new file")
        }
    };
    Failure::new(error, exit).help(help)
}
