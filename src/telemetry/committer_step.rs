//! Heartbeat of the writer's steps, for the watchdog.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What the writer does with a group of records, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waits for records.
    Idle = b'-' as isize,
    /// Commits them to the ledger.
    Commit = b'c' as isize,
    /// Writes their lines.
    Write = b'w' as isize,
    /// Syncs the files.
    Sync = b's' as isize,
    /// Seals a segment.
    Seal = b'r' as isize,
    /// Moves or deletes a file of the source that is done.
    Move = b'm' as isize,
}

/// The step that the writer is at. Where the variable `RIVERBED_STEPS` names a file, its first byte is the step: so it can be known
/// at which a process died.
#[derive(Debug)]
pub struct Steps {
    now: AtomicU8,
    taken: AtomicU64,
    file: Option<File>,
}

impl Default for Steps {
    fn default() -> Self {
        let open = |path| OpenOptions::new().write(true).create(true).truncate(false).open(path).ok();
        Self {
            now: AtomicU8::new(Step::Idle as u8),
            taken: AtomicU64::default(),
            file: std::env::var_os("RIVERBED_STEPS").and_then(open),
        }
    }
}

impl Steps {
    /// Goes to a step until the guard is dropped.
    pub fn enter(self: &Arc<Self>, step: Step) -> Entered {
        let before = self.now.swap(step as u8, Relaxed);
        self.tell(step as u8);
        Entered { steps: Arc::clone(self), before }
    }

    /// Returns a number that changes with each step, and whether one is in progress.
    #[must_use]
    pub fn look(&self) -> (u64, bool) {
        (self.taken.load(Relaxed), self.now.load(Relaxed) != Step::Idle as u8)
    }

    fn tell(&self, step: u8) {
        self.taken.fetch_add(1, Relaxed);
        if let Some(file) = &self.file {
            let _untold = file.write_all_at(&[step], 0);
        }
    }
}

/// A step in progress.
#[derive(Debug)]
pub struct Entered {
    steps: Arc<Steps>,
    before: u8,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.steps.now.store(self.before, Relaxed);
        self.steps.tell(self.before);
    }
}
