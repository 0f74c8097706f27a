//! The status of a daemon, as programs read it. Keys may be added; those that are here stay.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::telemetry::queue_depth::Queue;

/// How a daemon is doing; where none runs, what its ledger says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of riverbed.
    pub version: String,
    /// Whether it runs, and what it is about.
    pub state: State,
    /// The daemon.
    pub daemon: Option<Daemon>,
    /// Where documents come from and lines go; shown on the machine itself only.
    #[serde(default)]
    pub folders: Option<Folders>,
    /// The documents.
    pub documents: Documents,
    /// What chat models answered about them.
    #[serde(default)]
    pub answers: Answers,
    /// Chunks since the start.
    pub chunks: Option<Chunks>,
    /// Calls for vectors since the start, where any are made.
    pub calls: Option<Calls>,
    /// Calls to chat models since the start, for answers and for contexts.
    #[serde(default)]
    pub questions: Option<Calls>,
    /// What the calls of each model share.
    pub models: Vec<Model>,
    /// What was spent.
    pub money: Money,
    /// The queues between the stages.
    pub queues: Vec<Queue>,
    /// The source folder.
    pub source: Option<Source>,
    /// Outcomes of configuration reloads.
    #[serde(default)]
    pub configuration: Option<Configuration>,
    /// What lies on the disks.
    pub storage: Storage,
    /// Documents in progress, those that have been for longest first; names are shown on the machine itself only.
    pub waiting: Vec<Waiting>,
    /// Failed documents, the latest first; likewise.
    pub failed: Vec<Failed>,
    /// Files that hold no document, by reason, most files first; an example is shown on the machine itself only.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// Documents that ended, the latest first; likewise.
    pub ended: Vec<Ended>,
}

/// What a daemon is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No daemon answers.
    Stopped,
    /// It has not got as far as following its folder.
    Starting,
    /// It follows its folder.
    Following,
    /// It cannot follow its folder, and tries again and again.
    Waiting,
    /// It finishes what is in flight.
    Stopping,
}

/// A daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its process.
    pub pid: u32,
    /// When it was started, RFC 3339.
    pub started_at: String,
    /// Where it shows its status over HTTP.
    pub url: Option<String>,
}

/// The folders, each from the root of the file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folders {
    /// The documents' folder.
    pub source: String,
    /// That of the lines.
    pub output: String,
    /// The ledger's file.
    pub ledger: String,
}

impl Folders {
    /// Returns them as they are shown.
    #[must_use]
    pub fn of(source: &Path, output: &Path, ledger: &Path) -> Self {
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        Self { source: whole(source), output: whole(output), ledger: whole(ledger) }
    }
}

/// Documents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Documents {
    /// Seen and not at their end; before the first scan of the folder (`source.scans`) there may be more. Without a daemon: those of
    /// which some lines are current and some are not.
    pub waiting: u64,
    /// Whose every chunk has its line.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// That hold nothing to embed.
    pub skipped: u64,
    /// That are not in the folder any more.
    pub gone: u64,
    /// Age of the oldest of those in progress.
    pub oldest_waiting_seconds: Option<f64>,
    /// What ended since the start.
    pub since_start: Option<SinceStart>,
}

/// What chat models answered about documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Current answers.
    pub done: u64,
    /// Prompts that wait to be asked about documents.
    pub waiting: u64,
    /// Documents of which a question failed.
    pub failed: u64,
    /// Answers that got their line since the start.
    #[serde(default)]
    pub since_start: Option<u64>,
}

/// What became of documents since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinceStart {
    /// Done.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Without anything to embed.
    pub skipped: u64,
    /// Deleted.
    pub gone: u64,
    /// Touched, and the same as before.
    pub unchanged: u64,
}

/// Chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunks {
    /// That need a line.
    pub planned: u64,
    /// That got it.
    pub embedded: u64,
    /// Of them from an earlier answer.
    pub cached: u64,
    /// Failed.
    pub rejected: u64,
    /// Whose line was current already.
    pub kept: u64,
    /// Whose line was deleted.
    pub retracted: u64,
    /// That were paid for a second time.
    pub repaid: u64,
}

/// Calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// In progress.
    pub in_flight: u64,
    /// Answered.
    pub answered: u64,
    /// Texts in those.
    pub texts: u64,
    /// Tokens that were billed for them; where the service does not say, as estimated.
    pub tokens: u64,
    /// Attempts.
    pub attempts: u64,
    /// Of them made again.
    pub retried: u64,
    /// Of them throttled.
    pub throttled: u64,
    /// How long the service took for one, on the average.
    pub mean_seconds: Option<f64>,
    /// What they cost, as far as prices are known.
    #[serde(default)]
    pub usd: f64,
    /// Answered calls whose price is not known: their cost is not in the sum.
    #[serde(default)]
    pub unpriced: u64,
    /// Answered calls whose tokens are estimated, since the service did not say.
    #[serde(default)]
    pub uncounted: u64,
}

/// What the calls of one model and operation share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Operation and model.
    pub name: String,
    /// Limit on requests per second; absent while unpaced.
    pub requests_per_second: Option<f64>,
    /// Tokens likewise.
    pub tokens_per_second: Option<f64>,
    /// Requests per second at which throttling begins, once known.
    pub requests_ceiling: Option<f64>,
    /// Tokens likewise.
    pub tokens_ceiling: Option<f64>,
    /// The part of calls that was throttled, from 0 to 1.
    pub throttled_share: f64,
    /// Why no calls are made, if none are.
    pub closed: Vec<Closed>,
}

/// Why no calls are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// In a word: `outage`, `refused`, `quota-zero`, `not-ready`, `budget` or `disk`.
    pub reason: String,
    /// For how long.
    pub seconds: f64,
    /// The error, if one was the cause.
    pub error: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// Money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Money {
    /// What today (UTC) has cost, all models together, as far as prices are known; in a tier whose price is not, as in the standard one.
    pub today_usd: f64,
    /// What the calls to an emulator would have cost.
    pub today_emulated_usd: f64,
    /// Calls of today whose price is not known: the sums lack them, or have a guess.
    pub today_unpriced_calls: u64,
    /// The daily budget.
    pub budget_usd: Option<f64>,
    /// Rest of the daily budget, less reservations of calls in flight; at most so much where calls of today have no price that is known.
    pub budget_left_usd: Option<f64>,
    /// Daily budget for chat, where that has a bound of its own.
    pub chat_budget_usd: Option<f64>,
    /// Rest of the daily chat budget, less reservations of calls in flight.
    pub chat_budget_left_usd: Option<f64>,
    /// Cost since the start, as far as prices are known.
    pub since_start_usd: Option<f64>,
}

/// The source folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// How changes are noticed: `events` or `scans`.
    pub by: String,
    /// Why not by events, where it is not.
    pub because: Option<String>,
    /// What to do about that.
    pub help: Option<String>,
    /// Why the folder cannot be followed.
    pub trouble: Option<String>,
    /// Scans of the whole folder.
    pub scans: u64,
    /// Files that are not quiet yet.
    pub settling: u64,
    /// Watchers that had to be replaced.
    pub watchers_replaced: u64,
}

/// Outcomes of configuration reloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// How often that was since the start.
    pub reloads: u64,
    /// Of them those at which it could not be used.
    pub failed_reloads: u64,
    /// When it was last read again and used, RFC 3339; absent while it is that of the start.
    pub reloaded_at: Option<String>,
    /// The keys that took effect then; a prompt as `chat.NAME`.
    pub changed: Vec<String>,
    /// The keys that have another value in it than is in effect, and take effect with a restart.
    pub needs_restart: Vec<String>,
    /// Why it is invalid now. The previous configuration stays in effect.
    pub error: Option<String>,
}

/// What lies on the disks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Bytes of the ledger.
    pub ledger_bytes: u64,
    /// Bytes of vectors in it that are cached for repeated texts.
    pub cache_bytes: u64,
    /// The output.
    pub outputs: Vec<Output>,
}

/// One kind of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// `vectors`, `failed`…
    pub name: String,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that are committed and not known to be on disk.
    pub unsynced_bytes: u64,
    /// Files that another program truncated, or that failed to sync.
    pub unsound_files: u64,
}

/// A document in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its name.
    pub document: String,
    /// For how long.
    pub seconds: f64,
}

/// A failed document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its name.
    pub document: String,
    /// At which stage.
    pub stage: String,
    /// The class of the error.
    pub class: String,
    /// The error.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// When, RFC 3339.
    pub failed_at: String,
    /// Whether it is to be retried.
    pub retried: bool,
}

/// Files that hold no document, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The reason.
    pub reason: String,
    /// The reason in one word: `empty`, `unsupported`, `not-utf-8` or `nul`.
    pub class: String,
    /// What kind of file it is, where that is known.
    pub media_type: Option<String>,
    /// How many they are.
    pub files: u64,
    /// One of them.
    pub example: Option<String>,
    /// What to do.
    pub advice: String,
}

/// How a document ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its name.
    pub document: String,
    /// As what: `done`, `failed`, `skipped` or `gone`.
    pub became: String,
    /// Its chunks.
    pub chunks: u64,
    /// Lines out of calls.
    pub embedded: u64,
    /// Lines out of earlier answers.
    pub cached: u64,
    /// Deleted lines.
    pub retracted: u64,
    /// When, RFC 3339.
    pub at: String,
}

impl Status {
    /// Takes the names of documents and folders out, what was said about them, and what an error shows of the configuration: they are
    /// shown on the machine itself only.
    #[must_use]
    pub fn without_names(self) -> Self {
        let shown = |_| "it cannot be used; `riverbed status` on the machine itself says why".to_owned();
        let configuration = self.configuration.map(|of| Configuration { error: of.error.map(shown), ..of });
        let skipped = self.skipped.into_iter().map(|of| Skipped { example: None, ..of }).collect();
        let (waiting, failed, ended) = (Vec::new(), Vec::new(), Vec::new());
        Self { waiting, failed, ended, skipped, folders: None, configuration, ..self }
    }
}
