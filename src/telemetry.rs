//! Telemetry of the pipeline: counters, histograms, queue depths, heartbeats and logs.
//!
//! Any room may count and log here. Nothing here decides anything: what a stage does may not depend on a number of this room. Texts of
//! documents, vectors and secrets are never written to the log.

pub mod committer_step;
pub mod console;
pub mod counters;
pub(crate) mod heartbeat;
pub mod histograms;
pub mod log_throttle;
pub mod queue_depth;
mod sanitize;

use std::io::{self, IsTerminal as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, registry, reload};

pub use committer_step::{Step, Steps};
pub use console::Console;
pub use counters::{Counters, Totals};
pub use heartbeat::Pulse;
pub use histograms::Meters;
pub use log_throttle::Repeats;
pub use queue_depth::Queues;
use sanitize::{Clean, EventFormat};

/// `[log]`: how the log is written, to stderr or to the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// `pretty`, `plain`, `json`, `journald` (each field of an event is a journal field: `journalctl DOCUMENT=a.md`), or `auto`:
    /// `journald` under systemd, `pretty` on a terminal, `plain` elsewhere.
    pub format: Format,
    /// Least important events that are logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Level,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `journald` where standard error is the journal, `pretty` on a terminal, `plain` elsewhere.
    #[default]
    Auto,
    /// With colours.
    Pretty,
    /// Without colours.
    Plain,
    /// One JSON object an event.
    Json,
    /// To the journal, fields and all.
    Journald,
}

/// How important an event is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Data lost, or a person is needed.
    Error,
    /// Something went wrong and was fixed.
    Warn,
    /// Changes of state, and what became of files that are not embedded.
    #[default]
    Info,
    /// Every document and every retry.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A log that has been started.
#[derive(Debug, Clone)]
pub struct Log {
    repeats: Repeats,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Reports repeated warnings that were suppressed. To be called now and then.
    pub fn tell_repeats(&self) {
        self.repeats.tell();
    }

    /// Has events logged from this level on.
    pub fn set_level(&self, level: Level) {
        if let Err(error) = self.filter.reload(filter(level)) {
            tracing::debug!(%error, "another log is running: its level stays");
        }
    }
}

/// Returns what is logged at a level.
fn filter(level: Level) -> EnvFilter {
    // The SDK and hyper log bodies and headers at their lowest levels: theirs stays off, whatever ours is.
    EnvFilter::new(format!("off,riverbed={}", level.as_str()))
}

/// Starts the log. The first call counts; a later one changes nothing.
pub fn start(config: &LogConfig, console: &Console) -> Log {
    let (filter, handle) = reload::Layer::new(filter(config.level));
    let log = Log { repeats: Repeats::default(), filter: handle };
    let (lines, trouble) = lines(config.format, console);
    let started = registry().with(filter).with(lines.with_filter(log.repeats.clone())).try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "a log is running already");
    }
    if let Some(error) = trouble {
        tracing::warn!(%error, "the journal cannot be written to; the log goes to standard error");
    }
    log
}

type LogLines = Box<dyn Layer<Layered<reload::Layer<EnvFilter, Registry>, Registry>> + Send + Sync>;

/// Returns what writes events in a format, and why it is not the journal where that was wanted.
fn lines(format: Format, console: &Console) -> (LogLines, Option<io::Error>) {
    let stderr = || {
        fmt::layer().fmt_fields(sanitize::fields()).with_writer(Clean::new(console.clone(), EventFormat::Line)).with_target(false)
    };
    let has_colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match format {
        Format::Auto if is_the_journal() => match journal() {
            Ok(journal) => (journal, None),
            Err(error) => (stderr().with_ansi(false).boxed(), Some(error)),
        },
        Format::Journald => match journal() {
            Ok(journal) => (journal, None),
            Err(error) => (stderr().with_ansi(has_colours).boxed(), Some(error)),
        },
        Format::Auto => (stderr().with_ansi(has_colours).boxed(), None),
        Format::Pretty => (stderr().with_ansi(true).boxed(), None),
        Format::Plain => (stderr().with_ansi(false).boxed(), None),
        Format::Json => {
            let json = fmt::layer().with_writer(Clean::new(console.clone(), EventFormat::Json)).with_target(false).json();
            (json.flatten_event(true).with_current_span(true).with_span_list(false).boxed(), None)
        }
    }
}

/// Returns what sends events to the journal, with their fields as fields of its own: `DOCUMENT`, `ERROR`, `ATTEMPTS`…, and at the
/// priorities that are called as their levels are (syslog(3)), so that `journalctl -p info` shows no debugging.
fn journal() -> io::Result<LogLines> {
    let identifier = env!("CARGO_PKG_NAME").to_owned();
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let layer = tracing_journald::layer()?.with_field_prefix(None).with_syslog_identifier(identifier);
    Ok(layer.with_priority_mappings(priorities).boxed())
}

/// Returns whether standard error is the journal, as systemd says where it has made it so: by device and inode number.
fn is_the_journal() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stream| named == format!("{}:{}", stream.st_dev, stream.st_ino))
}
