//! The source folder: scan, then follow.
//!
//! Events are a hint, the scan is the truth. Every folder is watched before it is read, so that what is written in between is
//! either in the listing or announced. Where events were lost, or a folder appeared, a scan is asked for; never a queue of scans,
//! only one more. What was seen is handed on once it has been quiet for a while, and [`read()`] proves that nobody wrote: the quiet
//! time saves work, the proof carries correctness. A file that is still open for writing, or lacks the end of its format, is waited
//! for, within bounds. What is excluded is neither watched nor handed on.
//!
//! What is remembered of earlier runs is not handed on again, and what of it a scan has not seen is looked for: a file is gone when
//! a look finds that it has left its place, in a folder that is the same as before.
//!
//! Where changes are not announced, as on a network, scans come more often and what they find is looked at twice. A watcher that
//! hears nothing is found out by what scans find, and replaced.
//!
//! ```text
//! scan ───┐
//!         ├─▶ settle ─▶ Change ─▶ read
//! events ─┘
//! ```
//!
//! Linux only: it stands on inotify, `openat2` and `O_PATH`.

mod compare;
mod dispose;
mod ending;
mod events;
mod follow;
mod follower;
mod found;
mod globs;
mod hearing;
mod lately;
mod lease;
mod marker;
mod merge;
mod names;
mod near;
mod once;
mod pulse;
mod read;
mod root;
mod rules;
mod scan;
mod scope;
mod settle;
#[cfg(test)]
mod shelf;
mod survey;
mod told;
mod verdict;
mod watch;
mod watching;
mod work;

use std::io;
use std::panic;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::model::MemoryError;

pub use dispose::{DisposeError, Disposed, End, OnDone, OnFailed, dispose, put_back};
pub use follow::follow;
pub use found::Found;
pub use globs::{Globs, NotAGlob};
pub use marker::{Marker, NotAMarker};
pub use once::{read_insisting, scan_once};
pub use pulse::Pulse;
pub use read::{Contents, ReadError, read};
pub use rules::Filter;
pub use verdict::{Verdict, verdict};
pub use watching::{Silence, Watching};

/// `[source]`: the folder that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Folder whose files are documents. Only read from; a daemon waits for it while it is missing.
    pub path: PathBuf,
    /// Whether folders below it are followed too. Each takes one inotify watch.
    pub recursive: bool,
    /// Which files are documents, as globs with the rules of `.gitignore`: `"*.md"` matches at any depth, `"/a/*.md"` from the
    /// source folder, `"reports/"` all that is below such folders, `"!…"` takes back what an earlier glob took. A glob that can match
    /// nothing, as `"./a/"`, is an error. Empty: all files.
    #[schemars(with = "Vec<String>")]
    pub include: Globs,
    /// Which files and folders are left out, whatever `include` says; globs as there. Excluded folders are neither read nor
    /// watched, so nothing below them can be taken back. A file `.riverbedignore` in the source folder does the same without a
    /// restart. What was embedded before it was excluded is taken back.
    #[schemars(with = "Vec<String>")]
    pub exclude: Globs,
    /// How long a file must be quiet after its writer has closed it or moved it in. Ten times this where nothing tells that the
    /// writer is done: a file that is still open, linked in, or found by a scan; twice that where scans are all there is. Four
    /// times as long again where a file has holes, and 120 times this (a minute, by default) where it is empty. Up to 600 times this
    /// (5 minutes) where a file is still open for writing, or is a PDF, ZIP, gzip or JSON file that lacks its end. Raising it
    /// delays every document, and saves re-reading those whose writers pause.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub settle: Duration,
    /// What a writer adds to a file's name to say that the file is complete: with `".done"`, `a.pdf` is taken only once
    /// `a.pdf.done` lies beside it, and at once then, instead of when it has been quiet. Absent, files need no marker.
    #[schemars(with = "Option<String>")]
    pub marker: Option<Marker>,
    /// Time between scans of the whole folder, give or take a tenth, which find what no event told. Where not all is told, as on a
    /// network or when there are too few inotify watches, they come ten times as often. On a large folder scans are spaced out
    /// further, to take at most a two-hundredth of the time; a hundredth where not all is told, and a twentieth on a network.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub rescan: Duration,
    /// Largest file that is read. A file is held in memory while its text is taken out.
    #[schemars(with = "String")]
    pub max_file_size: ByteSize,
    /// What becomes of symbolic links: `ignore` skips them, `inside` takes one that leads to a file in the source folder as a
    /// document under its own name, by which it is also included or excluded. What changes behind a link is found by the rescan.
    /// Links to folders, and absolute ones, are never followed.
    pub symlinks: Symlinks,
    /// What becomes of a file once all lines of its document are written: `keep` leaves it, `move` moves it to `done-dir`, `delete`
    /// deletes it; its marker goes with it. The document stays in the output either way. Files that are skipped, and symbolic
    /// links, stay where they are. A file that is still open for writing is taken away once it is closed.
    pub on_done: OnDone,
    /// Where files of done documents are moved to, each with its path below the source folder; made when it is needed. Where a name is
    /// taken, a number is added. It must lie outside of the source folder; on another file system files are copied, which takes
    /// longer.
    #[schemars(with = "Option<String>")]
    pub done_dir: Option<PathBuf>,
    /// What becomes of a file whose document was given up: `keep` leaves it, `move` moves it to `failed-dir`, with the reason in
    /// a file beside it that is called `….reason.txt`. Put back into the source folder it is tried again.
    pub on_failed: OnFailed,
    /// Where files of failed documents are moved to, as with `done-dir`.
    #[schemars(with = "Option<String>")]
    pub failed_dir: Option<PathBuf>,
}

/// What becomes of symbolic links in the source folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Symlinks {
    /// None is a document.
    #[default]
    Ignore,
    /// One that leads to a regular file and nowhere out of the source folder is.
    Inside,
}

impl Default for Config {
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
    /// What is remembered of it cannot be read.
    #[error("cannot read what is remembered of the source folder")]
    Memory(#[source] MemoryError),
}

/// What a scan may be ahead of those who work off what it sees.
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
        let written = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), Config::default());
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
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
        assert!(toml::from_str::<Config>("setle = \"1s\"").is_err());
    }
}
