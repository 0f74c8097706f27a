//! The source folder: scan, then follow.
//!
//! Events are a hint, the scan is the truth. Every folder is watched before it is read, so that what is written in between is
//! either in the listing or announced. Where events were lost, or a folder appeared, a scan is asked for; never a queue of scans,
//! only one more. What was seen is sent once it has been quiet for a while, and [`read()`] proves that nobody wrote: the quiet
//! time saves work, the proof carries correctness. A file that is still open for writing, or lacks the end of its format, is waited
//! for, within bounds. What is excluded is neither watched nor sent.
//!
//! Files known from earlier runs are not sent again, and known files that a scan has not seen are looked for: a file is removed when
//! a look finds that it has left its place, in a folder that is the same as before.
//!
//! Where changes are not announced, as on a network, scans come more often and what they find is looked at twice. A watcher that
//! misses events is found out by what scans find, and replaced.
//!
//! ```text
//! scan ───┐
//!         ├─▶ settle ─▶ Change ─▶ read
//! events ─┘
//! ```
//!
//! Linux only: it needs inotify, `openat2` and `O_PATH`.

mod complete;
mod look;
mod scan;
mod settle;
mod source_status;
mod watch;

use std::io;
use std::panic;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::domain::MemoryError;

pub use complete::completed::{DisposeError, Disposed, End, OnDone, OnFailed, dispose, put_back};
pub use look::done_marker::{Marker, NotAMarker};
pub use look::file_filter::Filter;
pub use look::globs::{Globs, NotAGlob};
pub use look::read::{Contents, ReadError, read};
pub use look::verdict::{Verdict, verdict};
pub use scan::follow::follow;
pub use scan::once::{read_insisting, scan_once};
pub use source_status::Found;
pub use watch::watch_mode::{Silence, Watching};

/// `[source]`: the folder that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceConfig {
    /// Folder whose files are documents. It is only read; a daemon waits while it is missing.
    pub path: PathBuf,
    /// Whether subfolders are followed too. Each takes one inotify watch.
    pub recursive: bool,
    /// Globs of the files that are documents, with the rules of `.gitignore`; empty means all files. `"*.md"` matches at any
    /// depth, `"/a/*.md"` only from the source folder, `"reports/"` everything below such folders. `"!…"` excludes again what an
    /// earlier glob included. A glob that can match nothing, such as `"./a/"`, is an error.
    #[schemars(with = "Vec<String>")]
    pub include: Globs,
    /// Globs of the files and folders to leave out, whatever `include` says. Lines of files that were embedded before are
    /// deleted. Excluded folders are neither read nor watched, so no glob includes anything in them again. A file
    /// `.riverbedignore` in the source folder does the same without a restart.
    #[schemars(with = "Vec<String>")]
    pub exclude: Globs,
    /// Quiet time before a file is read, once its writer has closed it. Files whose writer is unknown wait 10×; empty files 120×;
    /// files still open, or truncated PDF, ZIP, gzip or JSON files, up to 600×. Raise it if writers pause for longer; it delays
    /// every document.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub settle: Duration,
    /// Suffix of a marker file by which a writer says that its file is complete. With `".done"`, `a.pdf` is read once
    /// `a.pdf.done` lies beside it, without any quiet time. Absent, files need no marker.
    #[schemars(with = "Option<String>")]
    pub marker: Option<Marker>,
    /// Interval between full scans (±10 %). Ten times shorter where inotify is unreliable (network mounts, too few watches).
    /// Scans of large folders are spaced out to take at most 0.5 % of the time, 1 % where inotify is unreliable, 5 % on a network
    /// mount.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub rescan: Duration,
    /// Largest file that is read, in bytes. A file is in memory while its text is extracted.
    #[schemars(with = "String")]
    pub max_file_size: ByteSize,
    /// What happens to symbolic links: `ignore` skips them, `inside` reads a link to a file in the source folder as a document of
    /// its own. `include` and `exclude` match the name of the link. Only a rescan notices changes behind a link. Links to folders
    /// and absolute links are never followed.
    pub symlinks: Symlinks,
    /// What happens to a file once all lines of its document are written: `keep` leaves it, `move` moves it to `done-dir`,
    /// `delete` deletes it. Its marker file goes with it, and its lines stay in the output. Skipped files and symbolic links stay
    /// where they are. A file that is still open for writing stays until it is closed.
    pub on_done: OnDone,
    /// Folder for the files of finished documents, each at its path below the source folder; created when needed. A number is
    /// added to a name that exists. It must lie outside the source folder. On another file system files are copied, which takes
    /// longer.
    #[schemars(with = "Option<String>")]
    pub done_dir: Option<PathBuf>,
    /// What happens to a file whose document failed: `keep` leaves it, `move` moves it to `failed-dir`, with the reason in
    /// `….reason.txt` beside it. Moving it back retries it.
    pub on_failed: OnFailed,
    /// Folder for the files of failed documents, with the rules of `done-dir`.
    #[schemars(with = "Option<String>")]
    pub failed_dir: Option<PathBuf>,
}

/// How symbolic links in the source folder are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Symlinks {
    /// None is a document.
    #[default]
    Ignore,
    /// One that leads to a regular file and nowhere out of the source folder is.
    Inside,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            path: "drop".into(),
            recursive: true,
            include: Globs::default(),
            exclude: Globs::default(),
            settle: Duration::from_millis(500),
            marker: None,
            rescan: Duration::from_mins(5),
            max_file_size: ByteSize::mib(256),
            symlinks: Symlinks::default(),
            on_done: OnDone::default(),
            done_dir: None,
            on_failed: OnFailed::default(),
            failed_dir: None,
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
    /// What is recorded of it cannot be read.
    #[error("cannot read the known files of the source folder")]
    Memory(#[source] MemoryError),
}

/// How far a scan may be ahead of the receiver.
const QUEUE: usize = 256;

/// Returns the time a while after another. What is further away than a year is never waited for.
fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(Duration::from_hours(24 * 365))
}

/// Returns a time that is up to a tenth shorter or longer, as `roll` wants it: daemons that were started together, by one
/// deployment on one file server, do not go on scanning together.
fn jittered(time: Duration, roll: u64) -> Duration {
    const STEPS: u32 = 1000;
    let step = u32::try_from(roll % u64::from(2 * STEPS + 1)).expect("it is less than 2001");
    let tenth = time / 10;
    time.saturating_sub(tenth).saturating_add(tenth.saturating_mul(step) / STEPS)
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
        let written = toml::to_string(&SourceConfig::default()).unwrap();
        assert_eq!(toml::from_str::<SourceConfig>(&written).unwrap(), SourceConfig::default());
        assert_eq!(toml::from_str::<SourceConfig>("").unwrap(), SourceConfig::default());
    }

    #[test]
    fn jitter_is_at_most_a_tenth_either_way() {
        let minute = Duration::from_mins(1);
        let times = [0, 500, 1000, 1500, 2000, 2001].map(|roll| jittered(minute, roll).as_secs());
        assert_eq!(times, [54, 57, 60, 63, 66, 54]);
        assert_eq!(jittered(Duration::from_millis(1), u64::MAX).as_micros() / 900, 1);
        assert!(jittered(Duration::MAX, 2000) >= Duration::MAX / 10 * 8);
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused() {
        assert!(toml::from_str::<SourceConfig>("setle = \"1s\"").is_err());
    }
}
