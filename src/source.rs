//! The source folder: scan, then follow.
//!
//! Events are a hint, the scan is the truth. Every folder is watched before it is read, so that what is written in between is
//! either in the listing or announced. Where events were lost, or a folder appeared, a scan is asked for; never a queue of scans,
//! only one more. What was seen is handed on once it has been quiet for a while, and [`read()`] proves that nobody wrote: the quiet
//! time saves work, the proof carries correctness.
//!
//! ```text
//! scan ───┐
//!         ├─▶ settle ─▶ Change ─▶ read
//! events ─┘
//! ```
//!
//! Linux only: it stands on inotify, `openat2` and `O_PATH`.

mod events;
mod follow;
mod found;
mod known;
mod names;
mod once;
mod read;
mod root;
mod scan;
mod scope;
mod settle;
mod told;
mod watch;
mod work;

use std::io;
use std::panic;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;
use tokio::time::Instant;

pub use follow::follow;
pub use found::Found;
pub use once::{read_insisting, scan_once};
pub use read::{Contents, ReadError, read};

/// `[source]`: the folder that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Folder whose files are documents. Only read from; a daemon waits for it while it is missing.
    pub path: PathBuf,
    /// Whether folders below it are followed too. Each takes one inotify watch.
    pub recursive: bool,
    /// How long a file must be quiet after its writer has closed it or moved it in. Ten times this where nothing tells that the
    /// writer is done: a file that is still open, empty, linked in, or found by a scan. Raising it delays every document, and
    /// saves re-reading those whose writers pause.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub settle: Duration,
    /// Time between scans of the whole folder, which find what no event told. On a large folder scans are spaced out further, to
    /// take at most a two-hundredth of the time.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub rescan: Duration,
    /// Largest file that is read. A file is held in memory while its text is taken out.
    #[schemars(with = "String")]
    pub max_file_size: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "drop".into(),
            recursive: true,
            settle: Duration::from_millis(500),
            rescan: Duration::from_mins(5),
            max_file_size: ByteSize::mib(256),
        }
    }
}

/// Says why the source folder cannot be worked off.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such folder.
    #[error("the source folder `{}` does not exist", path.display())]
    RootMissing {
        /// As configured.
        path: PathBuf,
    },
    /// It is there, but cannot be opened or listed.
    #[error("cannot read the source folder `{}`", path.display())]
    Root {
        /// As configured.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What a scan may be ahead of those who work off what it sees.
const QUEUE: usize = 256;

/// Returns the time a while after another. What is further away than a year is never waited for.
fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(Duration::from_hours(24 * 365))
}

/// Returns what a task returned, or passes its panic on.
fn joined<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_survive_being_written_and_read() {
        let written = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), Config::default());
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused() {
        assert!(toml::from_str::<Config>("setle = \"1s\"").is_err());
    }
}
