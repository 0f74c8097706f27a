//! The watcher: one inotify watch for each folder, set by the scan before it reads the folder.
//!
//! notify can watch a tree by itself, but it reports a new folder before it watches it, and adds nothing for what is already
//! inside: a scan started by that event can end before the watch is there, and what is written in between is lost.

use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::event_queue::{Events, Recorder};
use super::watch_mode::Silence;

/// A running watcher, at first without watches.
#[derive(Debug)]
pub(in crate::folder) struct Watch {
    events: Arc<Events>,
    /// `None` only while it is being dropped.
    watcher: Mutex<Option<RecommendedWatcher>>,
    /// What kept some folder from being watched since this was last asked for.
    gap: Mutex<Option<Silence>>,
}

impl Watch {
    /// Starts a watcher that records into `events`.
    pub(in crate::folder) fn start(events: &Arc<Events>) -> notify::Result<Self> {
        events.expect_watcher();
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(Recorder(Arc::clone(events)), config)?;
        Ok(Self { events: Arc::clone(events), watcher: Mutex::new(Some(watcher)), gap: Mutex::default() })
    }

    /// Watches a folder (not those below it), if it is not watched already. When this returns, nothing new in it goes unannounced.
    ///
    /// Blocks for a round trip to the watcher's thread. A folder that cannot be watched is left to the scans.
    pub(super) fn add(&self, folder: &Path) {
        // The thread is asked over a channel whose other end it holds: without it, notify panics.
        if self.events.is_dead() {
            return;
        }
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watcher) = watcher.as_mut() else { return };
        let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) else { return };
        if !matches!(error.kind, ErrorKind::PathNotFound) {
            self.fell_short(Silence::of_error(&error));
        }
    }

    /// Records that some folder is not watched.
    pub(in crate::folder) fn fell_short(&self, why: Silence) {
        let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        // A limit, which concerns all that comes after, goes over what concerns one folder.
        if !matches!((&*gap, &why), (Some(_), Silence::Refused(_))) {
            *gap = Some(why);
        }
    }

    /// Takes what kept some folder from being watched since the last time.
    pub(super) fn take_gap(&self) -> Option<Silence> {
        self.gap.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watcher = self.watcher.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.events.is_dead() {
            // Dropping it would panic, as above. The thread has closed everything itself; what is lost is the handle, a few dozen bytes
            // each time that a thread has died.
            mem::forget(watcher);
        }
    }
}
