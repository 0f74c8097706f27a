//! What is shown of the pipeline: counters, measures and logs.

pub mod console;
pub mod counters;
pub mod listen;
pub mod meters;
pub mod queues;
pub mod step;

use std::io::IsTerminal as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

pub use console::Console;
pub use counters::{Counters, Totals};
pub use listen::Listen;
pub use meters::Meters;
pub use queues::Queues;
pub use step::{Step, Steps};

/// `[log]`: how the log is written, to stderr.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `auto` (for people on a terminal, one line per event elsewhere), `pretty`, `plain` or `json`.
    pub format: Format,
    /// The least important events that are logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Level,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `pretty` on a terminal, `plain` elsewhere.
    #[default]
    Auto,
    /// With colours.
    Pretty,
    /// Without colours.
    Plain,
    /// One JSON object an event.
    Json,
}

/// How important an event is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Data lost, or a person is needed.
    Error,
    /// Something went wrong and was mended.
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

/// Starts the log. The first call counts; a later one changes nothing.
pub fn start(config: &Config, console: &Console) {
    // The SDK and hyper log bodies and headers at their lowest levels: theirs stays off, whatever ours is.
    let filter = EnvFilter::new(format!("off,riverbed={}", config.level.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(console.clone()).with_target(false);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = match config.format {
        Format::Auto => builder.with_ansi(colours).try_init(),
        Format::Pretty => builder.with_ansi(true).try_init(),
        Format::Plain => builder.with_ansi(false).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "a log is running already");
    }
}
