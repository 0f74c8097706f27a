//! How far the source has come, for those who show progress or wait for it.

use tokio::sync::watch;

/// Counts what the source has done. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Found(watch::Sender<Counts>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    files: u64,
    scans: u64,
    gone: u64,
}

impl Found {
    /// Returns how many files have been handed on; a file counts anew each time it changes.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.0.borrow().files
    }

    /// Returns how many files have been handed on as gone.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.0.borrow().gone
    }

    /// Returns how many scans of the whole folder have ended.
    #[must_use]
    pub fn scans(&self) -> u64 {
        self.0.borrow().scans
    }

    /// Waits until `scans` scans of the whole folder have ended. After the first, every folder is watched. Cancel safe.
    pub async fn scanned(&self, scans: u64) {
        let mut counts = self.0.subscribe();
        let Ok(_) = counts.wait_for(|counts| counts.scans >= scans).await else { unreachable!("the sender is `self`") };
    }

    pub(super) fn add_file(&self) {
        self.0.send_modify(|counts| counts.files += 1);
    }

    pub(super) fn add_gone(&self) {
        self.0.send_modify(|counts| counts.gone += 1);
    }

    pub(super) fn add_scan(&self) {
        self.0.send_modify(|counts| counts.scans += 1);
    }
}
