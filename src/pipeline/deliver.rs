//! Delivery: what is committed is written, what is written is synced, what is full is sealed. Redo, never undo.
//!
//! Entries are committed to the ledger with the bytes of their lines; then the lines are written at the places that the commit gave
//! them. What a crash, a full disk or a power loss kept from the files is written again from the ledger, to the same places. So a
//! line is there once, and stays.

mod recover;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use crate::ledger::{self, Encoded, Ledger, LedgerError, NewEmbedding, Outcome, SegmentState, State, Tally};
use crate::model::{
    ChunkId, ContentHash, DocumentPath, Embedded, Failure, Fingerprint, Observation, Origin, Output, Planned, Usage,
};
use crate::sink::line::{self, Bytes};
use crate::sink::{self, Disk, Files, Outside, SinkError, Stamp};
use crate::telemetry::{Step, Steps};

use super::Shape;

pub use recover::Recovered;

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
pub struct Parts {
    /// The memory.
    pub ledger: Ledger,
    /// The folder of the output.
    pub disk: Box<dyn Disk>,
    /// What every line carries; the instance is the ledger's.
    pub stamp: Stamp,
    /// What shapes a vector.
    pub shape: Arc<Shape>,
    /// When files are synced and sealed.
    pub config: sink::Config,
    /// Where it is told what is being done.
    pub steps: Arc<Steps>,
}

/// The ledger and the files that follow it.
#[derive(Debug)]
pub struct Delivery {
    ledger: Ledger,
    files: Files,
    stamp: Arc<Stamp>,
    shape: Arc<Shape>,
    config: sink::Config,
    steps: Arc<Steps>,
    unsynced: Unsynced,
    /// The output's disk is full: lines wait in the ledger.
    stalled: bool,
}

#[derive(Debug, Default)]
struct Unsynced {
    commits: u32,
    bytes: u64,
    since: Option<Instant>,
}

/// Something to commit. What belongs together stands in order: lines before the end of their document.
#[derive(Debug)]
pub enum Entry {
    /// A chunk's line.
    Upsert(Embedded),
    /// The line that takes a chunk's line back.
    Delete {
        /// The document.
        path: DocumentPath,
        /// Its version that has the chunk no more.
        version: ContentHash,
        /// The chunk.
        chunk: ChunkId,
    },
    /// The end of a version.
    End(End),
    /// A file that looks different and is the same.
    Touched(DocumentPath, Observation),
    /// A file that was taken out of the source folder when its document had come to its end.
    Disposed(DocumentPath),
    /// A document that no longer takes the process down.
    GotOver(DocumentPath),
    /// A document that was given up and is taken again.
    Retry(DocumentPath),
    /// A value to remember under a name.
    Note(String, String),
}

/// How a version ended.
#[derive(Debug)]
pub struct End {
    /// The document.
    pub path: DocumentPath,
    /// Where it stands now.
    pub state: State,
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
    /// What it took.
    pub tally: Tally,
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
    /// A ledger is to be rebuilt where there is one.
    #[error("there is a ledger, so it is not rebuilt")]
    LedgerPresent,
}

impl DeliverError {
    /// Returns whether there was no room, or another program was in the way, so that it can be tried again.
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

    /// Returns where it is told what is being done.
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

    /// Returns when the next sync is due, if anything waits for one.
    #[must_use]
    pub fn sync_due(&self) -> Option<Instant> {
        Some(self.unsynced.since? + self.config.sync_every.min(Duration::from_hours(1)))
    }

    /// Commits some of the entries from the first on and writes their lines. Returns how many it took; at least one.
    ///
    /// # Errors
    /// When there is no room in the ledger, and nothing was taken; or when ledger or output failed for good. An output without room
    /// is no error: its lines wait.
    pub fn commit(&mut self, entries: &[Entry], now: SystemTime) -> Result<usize, DeliverError> {
        for output in Output::ALL {
            self.ensure_open(output, now)?;
        }
        let (taken, full, committed) = {
            let _step = self.steps.enter(Step::Commit);
            let mut group = Group {
                commit: self.ledger.begin()?,
                stamp: &self.stamp,
                shape: &self.shape,
                rotate_size: if self.stalled { u64::MAX } else { self.config.rotate_size.as_u64() },
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
            self.unsynced.bytes += group.bytes as u64;
            (taken, full, group.commit.commit()?)
        };
        self.unsynced.commits += 1;
        self.unsynced.since.get_or_insert_with(Instant::now);
        {
            let _step = self.steps.enter(Step::Write);
            match self.files.write(&committed) {
                Err(SinkError::Full) => self.stall(),
                written => written?,
            }
        }
        if self.unsynced.commits >= COMMITS_PER_SYNC || self.unsynced.bytes >= BYTES_PER_SYNC {
            self.sync()?;
        }
        if let Some(output) = full {
            self.rotate(output, now)?;
        }
        Ok(taken)
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
            self.sync_one(output)?;
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
            info!("the output's disk has room again, going on");
        }
        self.sync()?;
        Ok(true)
    }

    /// Writes what is committed to an output's open segment and does not stand in its file.
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

    fn stall(&mut self) {
        if !self.stalled {
            self.stalled = true;
            warn!("the output's disk is full: what was paid for is kept in the ledger, and written when there is room");
        }
    }

    /// Seals an output's live file and begins the next.
    ///
    /// # Errors
    /// When ledger or output fail.
    pub fn rotate(&mut self, output: Output, now: SystemTime) -> Result<(), DeliverError> {
        let Some(open) = self.ledger.open_segment(output).filter(|open| open.committed > 0) else { return Ok(()) };
        if self.stalled {
            return Ok(());
        }
        let _step = self.steps.enter(Step::Seal);
        self.sync_one(output)?;
        let Some(segment) = self.ledger.segments()?.into_iter().find(|segment| segment.id == open.segment) else {
            return Ok(());
        };
        let (live, sealed) = (output.live_name(), output.sealed_name(segment.number));
        self.ledger.set_segment(segment.id, SegmentState::Sealing, &live)?;
        self.files.rename(&live, &sealed)?;
        self.ledger.set_segment(segment.id, SegmentState::Sealed, &sealed)?;
        self.files.close(output);
        info!(file = %sealed, bytes = segment.committed, "sealed");
        self.ensure_open(output, now)
    }

    /// Seals the files that are older than they may get.
    ///
    /// # Errors
    /// When ledger or output fail.
    pub fn rotate_old(&mut self, now: SystemTime) -> Result<(), DeliverError> {
        let longest = i64::try_from(self.config.rotate_every.as_millis()).unwrap_or(i64::MAX);
        if longest == 0 {
            return Ok(());
        }
        for segment in self.ledger.segments()? {
            let is_old = milliseconds(now).saturating_sub(segment.opened_at) >= longest;
            if segment.state == SegmentState::Open && is_old {
                self.rotate(segment.output, now)?;
            }
        }
        Ok(())
    }

    /// Looks whether somebody renamed, deleted or cut a live file, and if so goes on in a new one.
    ///
    /// # Errors
    /// When ledger or output fail.
    pub fn look_outside(&mut self, now: SystemTime) -> Result<(), DeliverError> {
        for output in Output::ALL {
            let Some(outside) = self.files.outside(output)? else { continue };
            let Some(open) = self.ledger.open_segment(output) else { continue };
            let _step = self.steps.enter(Step::Seal);
            let live = output.live_name();
            match outside {
                // Whoever follows the file reads on in it, so what is committed to it is finished there.
                Outside::Moved(name) => {
                    match self.catch_up(output) {
                        Err(error) if error.is_passing() => continue,
                        caught_up => caught_up?,
                    }
                    self.sync_one(output)?;
                    let state = if name.is_some() { SegmentState::Sealed } else { SegmentState::Damaged };
                    if let Some(name) = &name {
                        info!(file = %live, %name, "renamed by somebody else, going on in a new file");
                    } else {
                        error!(file = %live, "deleted by somebody else: its lines are gone; going on in a new file");
                    }
                    self.ledger.set_segment(open.segment, state, name.as_deref().unwrap_or(&live))?;
                    self.files.close(output);
                    self.ensure_open(output, now)?;
                }
                Outside::Cut { length } => {
                    error!(
                        file = %live, bytes = length, expected = self.files.written(output),
                        "cut by somebody else: what was cut off is gone; rotate by renaming, or by `sink.rotate-size`",
                    );
                    self.give_up_segment(output, now)?;
                }
            }
        }
        Ok(())
    }

    /// Leaves a damaged live file as it is under its final name, and writes what of it is not known to be on disk to a new one.
    fn give_up_segment(&mut self, output: Output, now: SystemTime) -> Result<(), DeliverError> {
        let open = self.ledger.open_segment(output);
        let segment = self.ledger.segments()?.into_iter().find(|segment| open.is_some_and(|open| open.segment == segment.id));
        let Some(segment) = segment else { return Ok(()) };
        self.files.close(output);
        self.set_aside(&segment, SegmentState::Damaged)?;
        self.ensure_open(output, now)?;
        self.ledger.move_waiting(&segment)?;
        match self.catch_up(output) {
            Err(error) if error.is_passing() => self.stall(),
            caught_up => caught_up?,
        }
        self.sync()
    }

    fn set_aside(&mut self, segment: &ledger::Segment, state: SegmentState) -> Result<(), DeliverError> {
        let sealed = segment.output.sealed_name(segment.number);
        let name = match self.files.disk().stat(&segment.name) {
            Ok(Some(_)) if segment.name == segment.output.live_name() => {
                self.files.rename(&segment.name, &sealed)?;
                sealed
            }
            _ => segment.name.clone(),
        };
        Ok(self.ledger.set_segment(segment.id, state, &name)?)
    }

    /// Sees to it that an output has a segment that lines can be committed to.
    fn ensure_open(&mut self, output: Output, now: SystemTime) -> Result<(), DeliverError> {
        if self.ledger.open_segment(output).is_some() {
            return Ok(());
        }
        let number = self.next_number(output)?;
        let file = self.files.create(output)?;
        self.ledger.begin_segment(output, number, file, milliseconds(now))?;
        Ok(())
    }

    /// Returns a number that no segment of an output has, neither in the ledger nor in the folder.
    fn next_number(&self, output: Output) -> Result<u64, DeliverError> {
        let known = self.ledger.segments()?.into_iter().filter(|segment| segment.output == output).map(|segment| segment.number);
        let names = self.files.disk().list().map_err(|source| SinkError::Open { name: ".".into(), source })?;
        let there = names.iter().filter_map(|name| output.sealed_number(name));
        Ok(known.chain(there).max().unwrap_or(0) + 1)
    }
}

/// A commit under way.
struct Group<'a> {
    commit: ledger::Commit<'a>,
    stamp: &'a Stamp,
    shape: &'a Shape,
    rotate_size: u64,
    bytes: usize,
    now: SystemTime,
}

impl Group<'_> {
    /// Takes an entry, or says which output's file is too full for it.
    fn take(&mut self, entry: &Entry) -> Result<Result<(), Output>, LedgerError> {
        match entry {
            Entry::Upsert(embedded) => {
                let bytes = line::upsert(self.commit.next_seq(Output::Vectors), embedded, self.stamp);
                if !self.fits(Output::Vectors, &bytes) {
                    return Ok(Err(Output::Vectors));
                }
                self.upsert(embedded, bytes)?;
            }
            Entry::Delete { path, version, chunk } => {
                let seq = self.commit.next_seq(Output::Vectors);
                let bytes = line::delete(seq, *chunk, path, version, self.shape.config(), self.stamp);
                if !self.fits(Output::Vectors, &bytes) {
                    return Ok(Err(Output::Vectors));
                }
                let document = self.commit.document(path)?;
                self.commit.delete(document, *chunk, encoded(bytes))?;
            }
            Entry::End(end) => {
                if let Some(failure) = &end.failure {
                    let seq = self.commit.next_seq(Output::Failed);
                    let bytes = line::failed(seq, &end.path, end.version.as_ref(), failure, self.now, self.stamp);
                    if !self.fits(Output::Failed, &bytes) {
                        return Ok(Err(Output::Failed));
                    }
                    self.commit.plain(Output::Failed, encoded(bytes))?;
                }
                self.end(end)?;
            }
            Entry::Touched(path, seen) => self.commit.touched(path, seen)?,
            Entry::Disposed(path) => self.commit.disposed(path)?,
            Entry::GotOver(path) => self.commit.got_over(path)?,
            Entry::Retry(path) => self.commit.retry(path)?,
            Entry::Note(key, value) => self.commit.note(key, value)?,
        }
        Ok(Ok(()))
    }

    /// Takes the room of a line, unless its segment has lines already and would grow too large.
    fn fits(&mut self, output: Output, line: &Bytes) -> bool {
        let committed = self.commit.open_segment(output).map_or(0, |open| open.committed);
        let fits = committed == 0 || committed + line.bytes.len() as u64 <= self.rotate_size;
        if fits {
            self.bytes += line.bytes.len();
        }
        fits
    }

    fn upsert(&mut self, embedded: &Embedded, bytes: Bytes) -> Result<(), LedgerError> {
        let Embedded { planned: Planned { version, id, headings, span, text, .. }, tokens, emulated, at, origin, .. } = embedded;
        let document = self.commit.document(&version.path)?;
        let line = ledger::Line {
            chunk: *id,
            config: self.shape.config_of(*emulated),
            place: crate::model::Place::of(span, None, headings),
            tokens: *tokens,
        };
        let embedding = NewEmbedding {
            key: self.shape.key_of(text, *emulated),
            tokens: *tokens,
            emulated: *emulated,
            answered_at: milliseconds(*at),
            origin: *origin,
        };
        self.commit.upsert(document, &line, &embedding, encoded(bytes))?;
        if let Origin::Call(Some(Usage { texts, tokens })) = origin {
            let day = milliseconds(self.now) / (24 * 60 * 60 * 1000);
            let prefix = if *emulated { "emulator/" } else { "" };
            self.commit.used(day, &format!("{prefix}{}", self.stamp.model), 1, *texts, *tokens)?;
        }
        Ok(())
    }

    fn end(&mut self, end: &End) -> Result<(), LedgerError> {
        let document = self.commit.document(&end.path)?;
        let outcome = Outcome {
            state: end.state,
            version: end.version,
            config: end.config,
            seen: end.seen,
            media_type: end.media_type.as_deref(),
            chunks: end.chunks,
            failure: end.failure.as_ref(),
            skip: end.skip.clone(),
            tally: end.tally,
        };
        self.commit.end(document, &outcome, milliseconds(self.now))
    }
}

fn encoded(Bytes { bytes, vector }: Bytes) -> Encoded {
    Encoded { bytes, vector }
}

/// Returns a time as the ledger keeps it, in milliseconds since 1970.
pub(super) fn milliseconds(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
