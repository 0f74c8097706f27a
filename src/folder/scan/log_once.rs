//! Logs each path without a document once, not once a scan.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{debug, info, warn};

use crate::domain::path::Sanitized;
use crate::domain::{Departure, DocumentPath};
use crate::folder::look::root::is_gone;
use crate::folder::settle::settler::Unfinished;

/// Why a path makes no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Skip {
    /// Its name says that it is not finished, or not for us.
    Temporary,
    /// It is a FIFO, socket or device.
    NotRegular,
    /// It is a symbolic link, and those are ignored.
    Link,
    /// It is a symbolic link to a folder.
    LinkToFolder,
    /// It is a symbolic link that leads out of the source folder, if only on the way.
    LinkOutside,
    /// It is a symbolic link to nothing, or to itself.
    LinkNowhere,
    /// The operator leaves it out: by `include`, `exclude` or the ignore file.
    Excluded,
    /// It lies in a folder, and those are left out.
    Below,
    /// It marks another file as complete.
    Marker,
    /// Its marker is not there yet.
    Unmarked,
}

/// The known files that a scan has not found.
#[derive(Debug, Default)]
pub(in crate::folder) struct Missing {
    removed: u64,
    hidden: u64,
}

impl Missing {
    pub(in crate::folder) fn add(&mut self, departure: Departure) {
        match departure {
            Departure::Removed => self.removed += 1,
            Departure::Hidden => self.hidden += 1,
        }
    }

    /// Says how many there are, if there are any.
    pub(in crate::folder) fn say(&self) {
        if self.removed > 0 {
            info!(documents = self.removed, "no longer in the source folder");
        }
        if self.hidden > 0 {
            info!(documents = self.hidden, "still in the source folder, but hidden by its rules now");
        }
    }
}

/// The paths that have been spoken of.
#[derive(Debug, Default)]
pub(crate) struct Told {
    skipped: HashSet<PathBuf>,
    unfinished: HashSet<PathBuf>,
    unreadable: HashSet<PathBuf>,
    restless: HashSet<PathBuf>,
}

impl Told {
    /// Past this many of each kind, paths are not logged.
    const MAX: usize = 10_000;

    /// Says, once, that a path is skipped.
    pub(in crate::folder) fn skipped(&mut self, path: &DocumentPath, why: Skip) {
        if is_news(&mut self.skipped, path.as_path()) {
            let path = Sanitized(path);
            match why {
                Skip::Temporary => debug!(%path, "ignored: hidden or temporary"),
                Skip::NotRegular => debug!(%path, "skipped: not a regular file"),
                Skip::Link => debug!(%path, "skipped: a symbolic link"),
                Skip::LinkToFolder => debug!(%path, "skipped: a link to a folder"),
                Skip::LinkOutside => debug!(%path, "skipped: a link out of the source folder"),
                Skip::LinkNowhere => debug!(%path, "skipped: a link that leads nowhere"),
                Skip::Excluded => debug!(%path, "excluded"),
                Skip::Below => debug!(%path, "excluded: in a folder below"),
                Skip::Marker => debug!(%path, "ignored: marks another file"),
                Skip::Unmarked => debug!(%path, "waits for its marker"),
            }
        }
    }

    /// Says, once, that a file seems unfinished.
    pub(in crate::folder) fn unfinished(&mut self, path: &DocumentPath, why: Unfinished) {
        if is_news(&mut self.unfinished, path.as_path()) {
            let path = Sanitized(path);
            match why {
                Unfinished::Open => info!(%path, "waiting for a file that is still open for writing"),
                Unfinished::Cut => info!(%path, "waiting for a file that lacks the end of its format"),
            }
        }
    }

    /// Says, once, that a file keeps changing.
    pub(in crate::folder) fn restless(&mut self, path: &DocumentPath) {
        if is_news(&mut self.restless, path.as_path()) {
            info!(path = %Sanitized(path), "waiting for a file that keeps changing; it is read once it is quiet for `source.settle`");
        }
    }

    /// Says, once, that a path cannot be looked at. A path that has vanished is nothing to speak of.
    pub(in crate::folder) fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if !is_gone(error) && is_news(&mut self.unreadable, path) {
            let path = path.as_os_str().as_encoded_bytes().escape_ascii();
            warn!(%path, %error, "cannot read this path; the next scan retries");
        }
    }
}

fn is_news(told: &mut HashSet<PathBuf>, path: &Path) -> bool {
    told.len() < Told::MAX && told.insert(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_news_once_and_the_list_has_an_end() {
        let mut told = HashSet::new();
        assert!(is_news(&mut told, Path::new("a")));
        assert!(!is_news(&mut told, Path::new("a")));
        for number in 0..2 * Told::MAX {
            is_news(&mut told, Path::new(&number.to_string()));
        }
        assert_eq!(told.len(), Told::MAX);
    }
}
