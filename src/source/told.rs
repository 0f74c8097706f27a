//! What has been said about paths that make no document, so that each is spoken of once and not once a scan.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use super::root::is_gone;
use crate::model::DocumentPath;
use crate::model::path::Sanitized;

/// Why a path makes no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// Its name says that it is not finished, or not for us.
    Temporary,
    /// It is a symbolic link, FIFO, socket or device.
    NotRegular,
}

/// The paths that have been spoken of.
#[derive(Debug, Default)]
pub(super) struct Told(HashSet<PathBuf>);

impl Told {
    /// Past this many, paths are skipped without a word.
    const MAX: usize = 10_000;

    /// Says, once, that a path is skipped.
    pub(super) fn skipped(&mut self, path: &DocumentPath, why: Skip) {
        if self.is_news(path.as_path()) {
            let path = Sanitized(path);
            match why {
                Skip::Temporary => debug!(%path, "ignored: hidden or temporary"),
                Skip::NotRegular => debug!(%path, "skipped: not a regular file"),
            }
        }
    }

    /// Says, once, that a path cannot be looked at. A path that has vanished is nothing to speak of.
    pub(super) fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if !is_gone(error) && self.is_news(path) {
            let path = path.as_os_str().as_encoded_bytes().escape_ascii();
            warn!(%path, %error, "cannot look here; the next scan tries again");
        }
    }

    fn is_news(&mut self, path: &Path) -> bool {
        self.0.len() < Self::MAX && self.0.insert(path.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_news_once_and_the_list_has_an_end() {
        let mut told = Told::default();
        assert!(told.is_news(Path::new("a")));
        assert!(!told.is_news(Path::new("a")));
        for number in 0..2 * Told::MAX {
            told.is_news(Path::new(&number.to_string()));
        }
        assert_eq!(told.0.len(), Told::MAX);
    }
}
