//! The source's state and progress, and requests to it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::{Filter, watch::watch_mode::Watching};
use crate::telemetry::Pulse;

/// Counts what the source has done, and says how it is. Clones are of the same source.
#[derive(Debug, Clone, Default)]
pub struct Found {
    state: watch::Sender<SourceState>,
    wanted: Arc<Notify>,
    settling: Arc<AtomicUsize>,
    beats: Arc<AtomicU64>,
    pulses: Pulses,
    filter: Arc<Mutex<Option<Arc<Filter>>>>,
}

/// Progress of the work on other threads, which runs side by side: one of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulses {
    pub(super) scan: Pulse,
    pub(super) look: Pulse,
    /// Short pieces of work on the source folder itself.
    pub(super) root: Pulse,
}

#[derive(Debug, Default)]
struct SourceState {
    files: u64,
    again: u64,
    unchanged: u64,
    scans: u64,
    gone: u64,
    watchers_replaced: u64,
    watching: Watching,
    trouble: Option<String>,
    is_watched: bool,
}

impl Found {
    /// Returns how many files have been sent; a file counts again each time it changes.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.state.borrow().files
    }

    /// Returns how many of those ended or will: a file that was handed back to be taken again later does not count twice.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let state = self.state.borrow();
        state.files.saturating_sub(state.again)
    }

    /// Returns how many files a scan that works off what is there has left alone, since they are as they are recorded.
    #[must_use]
    pub fn unchanged(&self) -> u64 {
        self.state.borrow().unchanged
    }

    /// Returns how many files have been sent as gone.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.state.borrow().gone
    }

    /// Returns how many scans of the whole folder have ended.
    #[must_use]
    pub fn scans(&self) -> u64 {
        self.state.borrow().scans
    }

    /// Returns how many watchers have died, or announced nothing while files changed, and were restarted.
    #[must_use]
    pub fn watchers_replaced(&self) -> u64 {
        self.state.borrow().watchers_replaced
    }

    /// Returns how changes are noticed, as far as that is known: before the folder has been scanned, events are hoped for.
    #[must_use]
    pub fn watching(&self) -> Watching {
        self.state.borrow().watching.clone()
    }

    /// Returns why the folder cannot be followed at the moment, if it cannot: it is missing, has been replaced, or may not be read.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.state.borrow().trouble.clone()
    }

    /// Returns how many files have been seen that are not quiet yet, or for which there is no room in the queue.
    #[must_use]
    pub fn settling(&self) -> usize {
        self.settling.load(Relaxed)
    }

    /// Returns whether the folder is followed: it is there, and a watcher has been started for it, or cannot be had.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.state.borrow().is_watched
    }

    /// Asks for one more scan of the whole folder, as soon as it can be read. However often it is asked for before it begins, it is
    /// one scan.
    pub fn rescan(&self) {
        self.wanted.notify_one();
    }

    /// Has other globs say which files are documents, in the place of those of the configuration that it was started with, and asks for
    /// a scan. What they leave out is deleted.
    pub fn filter_by(&self, filter: Filter) {
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(filter));
        self.rescan();
    }

    /// Returns the globs that were last asked for.
    pub(super) fn filter(&self) -> Option<Arc<Filter>> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `scans` scans of the whole folder have ended. After the first, every folder is watched. Cancel safe.
    pub async fn scanned(&self, scans: u64) {
        self.wait_until(|found| found.scans() >= scans).await;
    }

    /// Waits until something holds of this. Cancel safe.
    pub async fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        let mut news = self.state.subscribe();
        while !holds(self) {
            let Ok(()) = news.changed().await else { unreachable!("the sender is `self`") };
        }
    }

    /// Waits until a scan is asked for. Cancel safe, for one waiter.
    pub(super) async fn rescan_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Returns a number that changes at least once in a few seconds while the folder is followed: its loop goes round.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// Returns the progress of each kind of work on the file system, while there is some.
    #[must_use]
    pub fn pulses(&self) -> [&Pulse; 3] {
        let Pulses { scan, look, root } = &self.pulses;
        [scan, look, root]
    }

    pub(super) fn work(&self) -> &Pulses {
        &self.pulses
    }

    /// Records that the loop is running, with so many files that are not quiet yet.
    pub(super) fn beat(&self, files: usize) {
        self.beats.fetch_add(1, Relaxed);
        self.settling.store(files, Relaxed);
    }

    /// Records that the folder is followed from now on, or, while it is missing, is not.
    pub(super) fn set_watched(&self, is_watched: bool) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.is_watched, is_watched) != is_watched);
    }

    pub(super) fn add_file(&self) {
        self.state.send_modify(|state| state.files += 1);
    }

    pub(super) fn add_again(&self) {
        self.state.send_modify(|state| state.again += 1);
    }

    pub(super) fn add_unchanged(&self, files: u64) {
        self.state.send_modify(|state| state.unchanged += files);
    }

    pub(super) fn add_gone(&self) {
        self.state.send_modify(|state| state.gone += 1);
    }

    pub(super) fn add_scan(&self) {
        self.state.send_modify(|state| state.scans += 1);
    }

    pub(super) fn add_watcher_replaced(&self) {
        self.state.send_modify(|state| state.watchers_replaced += 1);
    }

    /// Sets how changes are noticed, and returns whether that is news.
    pub(super) fn set_watching(&self, watching: Watching) -> bool {
        self.state.send_if_modified(|state| {
            let is_news = state.watching != watching;
            state.watching = watching;
            is_news
        })
    }

    /// Sets why the folder cannot be followed, and returns whether that is news.
    pub(super) fn set_trouble(&self, trouble: Option<String>) -> bool {
        self.state.send_if_modified(|state| {
            let is_news = state.trouble != trouble;
            state.trouble = trouble;
            is_news
        })
    }
}
