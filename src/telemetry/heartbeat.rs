//! Heartbeat of blocking file-system work, so the watchdog can see a call that hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What one kind of work leaves behind. Clones are of the same one.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    beats: AtomicU64,
    working: AtomicUsize,
    waiting: AtomicUsize,
}

impl Pulse {
    /// Returns a number that changes as the work makes progress.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Relaxed)
    }

    /// Returns whether somebody is at work, and waits for nobody but the file system.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.0.working.load(Relaxed) > self.0.waiting.load(Relaxed)
    }

    /// Records that the work makes progress.
    pub(crate) fn beat(&self) {
        self.0.beats.fetch_add(1, Relaxed);
    }

    /// Works.
    pub(crate) fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        self.during(&self.0.working, work)
    }

    /// Marks time spent waiting on another monitored stage, which is not a stall.
    pub(crate) fn wait<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.during(&self.0.waiting, wait)
    }

    fn during<T>(&self, count: &AtomicUsize, what: impl FnOnce() -> T) -> T {
        let _counted = Counted::new(count);
        let done = what();
        self.beat();
        done
    }
}

/// One of a count, until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_counts_as_busy_except_while_it_waits() {
        let pulse = Pulse::default();
        assert!(!pulse.is_at_work());
        pulse.work(|| {
            assert!(pulse.is_at_work());
            pulse.wait(|| assert!(!pulse.is_at_work()));
            assert!(pulse.is_at_work());
        });
        assert!(!pulse.is_at_work());
        assert_eq!(pulse.beats(), 2, "the end of each");
    }
}
