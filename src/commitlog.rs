//! Delivery: what is committed is written, what is written is synced, what is full is sealed. Redo, never undo.
//!
//! Entries are committed to the ledger with the bytes of their lines; then the lines are written at the places that the commit gave
//! them. What a crash, a full disk or a power loss kept from the files is written again from the ledger, to the same places. So a
//! line is there once, and stays.

mod answer_line;
mod append;
pub mod config;
pub mod disk;
mod file_identity;
mod files;
pub mod line;
mod line_reader;
mod output_mark;
mod recover;
mod repair;
mod rotate;
#[cfg(test)]
mod tests;
pub mod verify;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use crate::domain::Fingerprints;
use crate::domain::shortage::lacking;
use crate::domain::{
    Answered, Asks, ChunkId, ContentHash, Cut, DocumentPath, Embedded, Failure, Fingerprint, Inquiry, Kept, Observation, Output,
    Script,
};
use crate::ledger::{Committed, DocumentState, Ledger, LedgerError, SegmentState, Tally};
use crate::telemetry::{Step, Steps};
use config::{Disk, Files, SinkError, Stamp};

use append::Group;

pub use recover::{Opening, Recovered};
pub use repair::Repaired;

/// What one commit holds at most, in bytes of lines.
const LARGEST_COMMIT: usize = 4 << 20;
/// Commits between two syncs at most.
const COMMITS_PER_SYNC: u32 = 16;
/// Bytes between two syncs at most.
const BYTES_PER_SYNC: u64 = 16 << 20;
/// Bytes that the ledger holds at most for files whose disk is full; then nothing more is taken.
const LARGEST_OUTBOX: u64 = 256 << 20;

/// What delivery is made of.
#[derive(Debug)]
pub struct CommitLogParts {
    /// The memory.
    pub ledger: Ledger,
    /// The folder of the output.
    pub disk: Box<dyn Disk>,
    /// What every line carries; the instance is the ledger's.
    pub stamp: Stamp,
    /// What shapes a vector.
    pub shape: Arc<Fingerprints>,
    /// When files are synced and sealed.
    pub config: config::SinkConfig,
    /// Where work in progress is reported.
    pub steps: Arc<Steps>,
}

/// The ledger and the files that follow it.
#[derive(Debug)]
pub struct Delivery {
    ledger: Ledger,
    files: Files,
    stamp: Arc<Stamp>,
    shape: Arc<Fingerprints>,
    config: config::SinkConfig,
    steps: Arc<Steps>,
    unsynced: Unsynced,
    /// The output's disk is full: lines wait in the ledger.
    stalled: bool,
    /// No file can be made in the output folder: the ones that are open grow over their size.
    is_cramped: bool,
}

#[derive(Debug, Default)]
struct Unsynced {
    commits: u32,
    bytes: u64,
    since: Option<Instant>,
}

/// Something to commit. What belongs together is in order: lines before the end of their document. A document may have millions of
/// chunks that are deleted together, so what is larger than that is boxed.
#[derive(Debug)]
pub enum Entry {
    /// A chunk's line.
    Upsert(Box<Embedded>),
    /// The line that deletes a chunk's line.
    Delete {
        /// The document.
        path: DocumentPath,
        /// Its version that has the chunk no more.
        version: ContentHash,
        /// The chunk.
        chunk: ChunkId,
    },
    /// An answer without a line is kept.
    Keep(Box<Kept>),
    /// An answer's line. It is left out where its document has changed meanwhile.
    Answer(Box<Answered>),
    /// A prompt has run over a whole version: earlier answers that are left over are deleted. Where it failed, they stay and
    /// the document is failed.
    Asked(Arc<Inquiry>, Option<Box<Failure>>),
    /// The line that deletes an answer of a document.
    TakeBack {
        /// The document.
        path: DocumentPath,
        /// Its version that has the answer no more.
        version: ContentHash,
        /// The answer.
        answer: ChunkId,
        /// What it is part of: it stays where the document has changed meanwhile.
        of: Option<Arc<Inquiry>>,
    },
    /// A text of a document is cut, since the service finds it too long.
    Cut(DocumentPath, Cut),
    /// The end of a version.
    End(Box<VersionEnd>),
    /// A document's line in `failed.jsonl` was lost: it says again what happened, and when, in milliseconds since 1970.
    FailedAgain {
        /// The document.
        path: DocumentPath,
        /// Its version.
        version: Option<ContentHash>,
        /// Why it is failed.
        failure: Failure,
        /// When it failed.
        at: i64,
    },
    /// A file that looks different and is the same.
    Touched(DocumentPath, Observation),
    /// A file that is about to be taken out of the source folder, for its document has ended.
    Disposing(DocumentPath),
    /// A file that was taken out of it.
    Disposed(DocumentPath),
    /// A file that stays after all.
    Kept(DocumentPath),
    /// A document that no longer takes the process down.
    GotOver(DocumentPath),
    /// A failed document that is retried.
    Retry(DocumentPath),
    /// A value to remember under a name.
    Note(String, String),
}

/// How a version ended.
#[derive(Debug)]
pub struct VersionEnd {
    /// The document.
    pub path: DocumentPath,
    /// Its state now.
    pub state: DocumentState,
    /// The version.
    pub version: Option<ContentHash>,
    /// The configuration under which it need not be taken again.
    pub config: Fingerprint,
    /// What the file looked like.
    pub seen: Option<Observation>,
    /// IANA media type.
    pub media_type: Option<String>,
    /// Chunks of the version.
    pub chunks: usize,
    /// Why it is failed.
    pub failure: Option<Failure>,
    /// Why it is skipped.
    pub skip: Option<String>,
    /// What is to be asked about it.
    pub asks: Vec<Asks>,
    /// What it took.
    pub tally: Tally,
}

impl Entry {
    /// Returns whether it has lines in `answers.jsonl`.
    fn is_of_answers(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Asked(..) | Self::TakeBack { .. })
    }
}

/// Says why lines could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// The output failed.
    #[error("the output failed")]
    Sink(#[from] SinkError),
    /// The output has lines and the ledger knows of none.
    #[error("the output has lines (`{name}`), and the ledger is new")]
    LedgerLost {
        /// A file with lines.
        name: String,
    },
    /// Ledger and output are not of one output.
    #[error("`{name}` in the output folder is of the output {theirs}, and the ledger is of {ours}")]
    OtherOutput {
        /// The file that shows it.
        name: String,
        /// Whose it is.
        theirs: String,
        /// Whose the ledger is.
        ours: String,
    },
    /// The ledger is older than the output, and what it lacks is in no file.
    #[error("the ledger is older than the output, and lines {from} to {to} of `{}` are in no file", output.live_name())]
    LinesTaken {
        /// The output.
        output: Output,
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// Ledger and output went on apart from each other.
    #[error("`{name}` in the output folder and the ledger have different lines of number {seq}")]
    Contradicts {
        /// The file.
        name: String,
        /// The number of its first line.
        seq: u64,
    },
    /// A ledger is to be rebuilt where there is one.
    #[error("refusing to rebuild: a ledger already exists")]
    LedgerPresent,
}

impl DeliverError {
    /// Returns whether there was no room, or another program was in the way, so that it can be retried.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Ledger(LedgerError::Full | LedgerError::Busy) | Self::Sink(SinkError::Full))
    }
}

impl Delivery {
    /// Returns the ledger.
    #[must_use]
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Keeps what was learned of how the model bills: for each script characters and tokens.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn keep_density(
        &mut self,
        emulated: bool,
        learned: impl IntoIterator<Item = (Script, f64, f64)>,
    ) -> Result<(), DeliverError> {
        Ok(self.ledger.keep_density(&self.stamp.model, emulated, learned)?)
    }

    /// Returns where work in progress is reported.
    #[must_use]
    pub fn steps(&self) -> &Arc<Steps> {
        &self.steps
    }

    /// Returns whether lines wait for room on the output's disk.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Returns whether there is room for more in the ledger, though the output's disk may be full.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unsynced.bytes < LARGEST_OUTBOX
    }

    /// Returns when the next sync is due, if anything waits for one. While there is no room nothing is synced.
    #[must_use]
    pub fn sync_due(&self) -> Option<Instant> {
        if self.stalled {
            return None;
        }
        Some(self.unsynced.since? + self.config.sync_every.min(Duration::from_hours(1)))
    }

    /// Commits some of the entries from the first on and writes their lines. Returns how many it took; at least one.
    ///
    /// # Errors
    /// When there is no room in the ledger, and nothing was taken; or when ledger or output failed for good. An output without room
    /// is no error: its lines wait.
    pub fn commit(&mut self, entries: &[Entry], now: SystemTime) -> Result<usize, DeliverError> {
        // First: what is committed to a deleted or replaced file would be lost.
        self.holds_both()?;
        for output in Output::ALL {
            // Without questions there is no file of answers.
            if output != Output::Answers || entries.iter().any(Entry::is_of_answers) {
                self.ensure_open(output, now)?;
            }
        }
        let (taken, full, committed) = {
            let _step = self.steps.enter(Step::Commit);
            let mut group = Group {
                commit: self.ledger.begin()?,
                stamp: &self.stamp,
                shape: &self.shape,
                // While the disk is full, or no file can be made, the open segment grows past its size.
                rotate_size: if self.stalled || self.is_cramped { u64::MAX } else { self.config.rotate_size.as_u64() },
                bytes: 0,
                now,
            };
            let mut taken = 0;
            let mut full = None;
            for entry in entries {
                if group.bytes >= LARGEST_COMMIT {
                    break;
                }
                match group.take(entry)? {
                    Ok(()) => taken += 1,
                    Err(output) => {
                        full = Some(output);
                        break;
                    }
                }
            }
            let bytes = group.bytes as u64;
            // The commit point. Only from here on may a line be written, and from here on none may be lost.
            let committed = group.commit.commit()?;
            self.unsynced.commits += 1;
            self.unsynced.bytes += bytes;
            self.unsynced.since.get_or_insert_with(Instant::now);
            (taken, full, committed)
        };
        // Before any line can be seen: no number is given again, whatever happens to the ledger.
        self.mark();
        match self.follow(&committed, full, now) {
            // What was taken stands: an error would have it committed once more. The next commit meets what is in the way again.
            Err(error) if taken > 0 && error.is_passing() => Ok(taken),
            followed => followed.map(|()| taken),
        }
    }

    /// Brings the files to what has been committed.
    fn follow(&mut self, committed: &Committed, full: Option<Output>, now: SystemTime) -> Result<(), DeliverError> {
        {
            let _step = self.steps.enter(Step::Write);
            if self.files.is_touched()? {
                // What was committed would be behind a hole, or over what another program wrote.
                self.look_outside(now)?;
            } else {
                match self.files.write(committed) {
                    Err(SinkError::Full) => self.stall(),
                    written => written?,
                }
            }
        }
        // The ledger has the lines until they are synced, so a power loss before that costs time and no line.
        if self.unsynced.commits >= COMMITS_PER_SYNC || self.unsynced.bytes >= BYTES_PER_SYNC {
            self.sync()?;
        }
        // Last: a segment is sealed once all its lines are in its file.
        match full {
            Some(output) => self.rotate(output, now),
            None => Ok(()),
        }
    }

    /// Syncs the files, so that the ledger need not hold their lines any more. Lines that wait for room still do.
    ///
    /// # Errors
    /// When a file cannot be synced: it is not touched again.
    pub fn sync(&mut self) -> Result<(), DeliverError> {
        if self.stalled {
            return Ok(());
        }
        let _step = self.steps.enter(Step::Sync);
        for output in Output::ALL {
            match self.sync_one(output) {
                // The files are on disk, and the ledger holds their lines until that can be recorded.
                Err(error) if error.is_passing() => {
                    self.unsynced.since = Some(Instant::now());
                    return Ok(());
                }
                synced => synced?,
            }
        }
        self.unsynced = Unsynced::default();
        Ok(())
    }

    fn sync_one(&mut self, output: Output) -> Result<(), DeliverError> {
        let Some(open) = self.ledger.open_segment(output) else { return Ok(()) };
        if open.committed == 0 {
            return Ok(());
        }
        match self.files.sync(output) {
            Ok(length) => Ok(self.ledger.synced(open.segment, length)?),
            Err(error) => {
                // Written down if that can be; if not, the next start goes by what it finds.
                let _unnoted = self.ledger.set_segment(open.segment, SegmentState::Suspect, &output.live_name());
                Err(error.into())
            }
        }
    }

    /// Tries to write the lines that wait for room. Returns whether none is left.
    ///
    /// # Errors
    /// When writing fails for another reason.
    pub fn retry(&mut self) -> Result<bool, DeliverError> {
        for output in Output::ALL {
            match self.catch_up(output) {
                Ok(()) => {}
                Err(error) if error.is_passing() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if self.stalled {
            self.stalled = false;
            info!("output disk has room again; resuming");
        }
        self.sync()?;
        Ok(true)
    }

    /// Writes what is committed to an output's open segment and is not in its file.
    fn catch_up(&mut self, output: Output) -> Result<(), DeliverError> {
        let Some(open) = self.ledger.open_segment(output) else { return Ok(()) };
        while self.files.written(output) < open.committed {
            let waiting = self.ledger.waiting(open.segment, self.files.written(output), LARGEST_COMMIT)?;
            if waiting.is_empty() {
                let finding = format!("bytes {} to {} of {}", self.files.written(output), open.committed, output.live_name());
                return Err(LedgerError::Damaged { path: self.ledger.path().to_owned(), finding }.into());
            }
            for line in waiting {
                self.files.write_at(output, line.position, &line.bytes)?;
            }
        }
        Ok(())
    }

    /// Writes what its file lacks, or as much as there is room for.
    fn catch_up_or_stall(&mut self, output: Output) -> Result<(), DeliverError> {
        match self.catch_up(output) {
            Err(error) if error.is_passing() => {
                self.stall();
                Ok(())
            }
            caught_up => caught_up,
        }
    }

    fn stall(&mut self) {
        if !self.stalled {
            self.stalled = true;
            let lacks = lacking(&self.config.path);
            warn!(lacks, "output disk is full; paid answers stay in the ledger until there is room");
        }
    }
}
