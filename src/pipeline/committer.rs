//! The writer: a plain loop on a thread of its own, and the one place where a document ends.

mod batch;
mod chat;
mod completed_files;
mod maintenance;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::PipelineError;
use super::chat::{Progress, Prompts, messages_config};
use super::reload::Wanted;
use super::single_flight::Shared;
use crate::commitlog::{DeliverError, Delivery, Entry, VersionEnd};
use crate::domain::Fingerprints;
use crate::domain::moment::unix_seconds;
use crate::domain::path::Sanitized;
use crate::domain::{
    ChunkId, Claims, DocumentPath, Embedded, Ended, Failure, Fingerprint, Origin, Planned, Record, Setting, Version,
};
use crate::extract;
use crate::folder;
use crate::ledger::{DocumentState, Reader, Tally};
use crate::telemetry::Counters;
use crate::throttle::limiter::Learned;
use crate::throttle::{Lane, Lanes};

use batch::{Group, Said, follow};
use chat::{Name, OpenInquiry};
use completed_files::Later;

/// Records that are taken together at most; what has come while one group was committed is the next.
const GROUP: usize = 256;

/// How often the files are looked at, and a full disk is retried.
const LOOK: Duration = Duration::from_secs(1);

/// What the stage works with.
pub(super) struct CommitterStage {
    pub(super) delivery: Delivery,
    pub(super) source: folder::SourceConfig,
    pub(super) shape: Arc<Fingerprints>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    /// What answers are counted in.
    pub(super) answers: Arc<Counters>,
    /// Receives what has reached its outcome.
    pub(super) asking: Arc<Progress>,
    /// What is asked.
    pub(super) prompts: Arc<Setting<Prompts>>,
    /// What else is wanted to be asked.
    pub(super) wanted: Wanted,
    /// The lane of the embedding model: what its texts are billed is kept for the next start.
    pub(super) embed: Arc<Lane>,
    /// All lanes. What the calls have learned is kept for the next start; a full disk closes their gates.
    pub(super) lanes: Lanes,
    /// Has the source look again at what is to be retried.
    pub(super) claims: Claims,
    /// After this nothing more is waited for that can be had by the next start.
    pub(super) stop: CancellationToken,
    /// Cancelled when there is no time left: what cannot be written now is left to the next start.
    pub(super) hurry: CancellationToken,
}

/// Writes until `records` ends, and then `answers`.
pub(super) fn run(
    stage: CommitterStage,
    runtime: &Handle,
    mut records: mpsc::Receiver<Record>,
    mut answers: mpsc::Receiver<Record>,
) -> Result<(), PipelineError> {
    // However this ends: callers that wait for room among the texts in progress are released.
    let _close = scopeguard(Arc::clone(&stage.shared));
    let next_look = Instant::now() + LOOK;
    let mut stage = stage;
    let ledger = stage.delivery.ledger().reader().map_err(DeliverError::from)?;
    let mut writer = Writer {
        stage,
        warned: HashSet::new(),
        ledger,
        open: HashMap::new(),
        inquiries: HashMap::new(),
        group: Group::default(),
        next_look,
        learned: Vec::new(),
        next_keep: next_look,
        learned_calls: 0,
        commits: 0,
        lacks_reserve: false,
        later: Vec::new(),
    };
    if writer.lacks_reserve() {
        writer.close_for_the_disk();
    }
    writer.learned = writer.lanes().iter().map(|lane| lane.limiter.learned(unix_seconds(SystemTime::now()))).collect();
    writer.warn_of_standing()?;
    writer.dispose_again()?;
    writer.take_back_unasked()?;
    let mut received = Vec::with_capacity(GROUP);
    let (mut is_fed, mut is_answered) = (false, false);
    let mut wanted = writer.stage.wanted.wanted.clone();
    let mut is_asked_anew = false;
    while !(is_fed && is_answered) {
        let due = writer.stage.delivery.sync_due().map_or(writer.next_look, |due| due.min(writer.next_look));
        let wait = due.saturating_duration_since(Instant::now());
        let (from_records, from_answers) = runtime.block_on(async {
            let (mut new, mut told) = (Vec::new(), Vec::new());
            let more = timeout(wait, async {
                tokio::select! {
                    more = records.recv_many(&mut new, GROUP), if !is_fed => (Some(more), None),
                    more = answers.recv_many(&mut told, GROUP), if !is_answered => (None, Some(more)),
                    Ok(()) = wanted.changed() => {
                        is_asked_anew = true;
                        (None, None)
                    }
                }
            });
            let more = more.await.unwrap_or_default();
            received.extend(new.into_iter().chain(told));
            more
        });
        for record in received.drain(..) {
            writer.take(record)?;
        }
        // In this order: files whose pause is over are recorded in the same commit, and nothing is moved before that.
        writer.dispose_later().map_err(DeliverError::from)?;
        writer.commit()?;
        writer.look_after_files()?;
        // The log is compacted while nothing waits, so that no commit waits for that.
        if records.is_empty() && answers.is_empty() {
            writer.work_in_the_log();
        }
        if is_asked_anew {
            let prompts = Arc::clone(&wanted.borrow());
            is_asked_anew = !writer.ask_anew(prompts)?;
        }
        if from_records == Some(0) {
            is_fed = true;
            writer.stage.asking.nothing_more_comes();
        }
        is_answered |= from_answers == Some(0);
    }
    writer.finish()
}

/// Closes the texts in progress when it is dropped.
fn scopeguard(shared: Arc<Shared>) -> impl Drop {
    struct Close(Arc<Shared>);
    impl Drop for Close {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    Close(shared)
}

struct Writer {
    stage: CommitterStage,
    /// The kinds of file of which it was said that they are not read.
    warned: HashSet<String>,
    /// Versions of which some chunks are still in progress. One a document: the claim sees to that.
    open: HashMap<DocumentPath, OpenDocument>,
    inquiries: HashMap<Name, OpenInquiry>,
    /// Looks into what has been committed.
    ledger: Reader,
    group: Group,
    next_look: Instant,
    /// What of the limiters' states the ledger has, lane by lane.
    learned: Vec<Learned>,
    /// When what calls are billed is kept next, and after how many of them it was.
    next_keep: Instant,
    learned_calls: u64,
    /// Commits since the ledger's log was last worked into its file here.
    commits: u32,
    /// It was said that the ledger's disk has no room for a stop.
    lacks_reserve: bool,
    /// Files that could not be taken away yet.
    later: Vec<Later>,
}

struct OpenDocument {
    left: usize,
    failure: Option<Failure>,
    tally: Tally,
    /// Some chunk is left for another run.
    is_left: bool,
    replaced: Replaced,
}

/// What became of chunks that were too long for the service.
#[derive(Default)]
struct Replaced {
    /// How many they were.
    wholes: usize,
    /// What came in their place.
    parts: HashSet<ChunkId>,
    /// Those of them that have a line from before.
    standing: Vec<ChunkId>,
}

impl Writer {
    fn take(&mut self, record: Record) -> Result<(), DeliverError> {
        match record {
            Record::Embedded(embedded) => {
                // One call answers every chunk with this text: each gets a line of its own.
                for planned in self.stage.shared.followers(&embedded.planned.key) {
                    self.embedded(follow(&embedded, planned));
                }
                self.embedded(embedded);
            }
            Record::Rejected(planned, failure) => {
                for follower in self.stage.shared.end(&planned.key) {
                    self.rejected(&follower, &failure);
                }
                self.rejected(&planned, &failure);
            }
            Record::Left(planned) => {
                for follower in self.stage.shared.end(&planned.key) {
                    self.left(&follower);
                }
                self.left(&planned);
            }
            Record::Cut { version, whole, cut, parts } => {
                // A line of an earlier version is its current one where the model could take more then.
                let ledger = self.stage.delivery.ledger().reader()?;
                let stands = match ledger.document(&version.path)? {
                    Some(document) => ledger.standing(document.id)?.contains_key(&whole),
                    None => false,
                };
                self.group.entries.push(Entry::Cut(version.path.clone(), cut));
                let open = self.open(&version);
                open.left += parts.len() - 1;
                open.replaced.wholes += 1;
                open.replaced.parts.extend(parts);
                open.replaced.standing.extend(stands.then_some(whole));
            }
            Record::Unchanged(version) => self.end(version, Tally::default(), None, &Replaced::default()),
            Record::Touched(claim, path, seen) => {
                self.group.entries.push(Entry::Touched(path.clone(), seen));
                let is_through = !self.is_asked_about(&path)?;
                if is_through {
                    self.intend(&path, DocumentState::Done);
                }
                self.group.ended.push(Said::Unchanged(path, seen, is_through));
                self.group.claims.push(claim);
            }
            Record::Kept(kept) => self.group.entries.push(Entry::Keep(Box::new(kept))),
            Record::Answered(answered) => self.answered(*answered)?,
            Record::Unanswered(question, failure) => self.unanswered(question, failure)?,
            Record::LeftUnasked(question) => self.left_unasked(question)?,
            Record::NothingToAsk(inquiry) => self.end_inquiry(Arc::new(inquiry), None, None, 0)?,
            Record::Retry(retry) => {
                self.group.entries.extend(retry.paths.iter().cloned().map(Entry::Retry));
                self.group.retries.push(retry);
            }
            Record::GotOver(path) => self.group.entries.push(Entry::GotOver(path)),
            Record::Root((device, inode)) => {
                self.group.entries.push(Entry::Note("root".to_owned(), format!("{device} {inode}")));
            }
            Record::Skipped(ended, why) => {
                // A file that is skipped is taken again when another build may read it.
                let config = skipped_config();
                let said = Said::Skipped(ended.path.clone(), why.clone());
                self.end_early(ended, DocumentState::Skipped, config, None, Some(why.to_string()), said);
            }
            Record::Failed(ended, failure) => {
                let said = Said::Failed(ended.path.clone(), ended.seen, failure.clone());
                self.end_early(ended, DocumentState::Failed, self.stage.shape.config(), Some(failure), None, said);
            }
            Record::Gone(ended) => {
                let said = Said::Gone(ended.path.clone(), ended.retract.len());
                self.end_early(ended, DocumentState::Gone, self.stage.shape.config(), None, None, said);
            }
        }
        Ok(())
    }

    fn embedded(&mut self, embedded: Embedded) {
        self.learn_who_answers(embedded.emulated);
        let tally = match embedded.origin {
            Origin::Call(_) => Tally { embedded: 1, tokens: embedded.tokens.get(), ..Tally::default() },
            Origin::Cache => {
                self.stage.counters.cached();
                Tally { cached: 1, ..Tally::default() }
            }
        };
        self.stage.counters.embedded(embedded.emulated);
        let version = Arc::clone(&embedded.planned.version);
        self.group.entries.push(Entry::Upsert(Box::new(embedded)));
        self.settle(version, tally, None);
    }

    /// Notes whether an emulator answers, where only the answers say that.
    fn learn_who_answers(&mut self, emulated: bool) {
        if self.stage.shape.answered(emulated) {
            debug!(emulated, "the answers say who makes them");
            if let Some(key) = self.stage.shape.remembered_as() {
                self.group.entries.push(Entry::Note(key.to_owned(), emulated.to_string()));
            }
        }
    }

    fn rejected(&mut self, planned: &Planned, failure: &Failure) {
        self.stage.counters.rejected();
        self.settle(Arc::clone(&planned.version), Tally::default(), Some(failure.clone()));
    }

    /// Leaves a chunk, and with it the end of its version, to another run. What of the version has its line by then is found there.
    fn left(&mut self, planned: &Planned) {
        self.open(&planned.version).is_left = true;
        self.settle(Arc::clone(&planned.version), Tally::default(), None);
    }

    fn open(&mut self, version: &Version) -> &mut OpenDocument {
        let new = || OpenDocument {
            left: version.lines,
            failure: None,
            tally: Tally::default(),
            is_left: false,
            replaced: Replaced::default(),
        };
        self.open.entry(version.path.clone()).or_insert_with(new)
    }

    /// Counts a chunk of a version as settled, and ends the version with its last.
    fn settle(&mut self, version: Arc<Version>, tally: Tally, failure: Option<Failure>) {
        let open = self.open(&version);
        open.left -= 1;
        open.failure = open.failure.take().or(failure);
        open.tally.embedded += tally.embedded;
        open.tally.cached += tally.cached;
        open.tally.tokens += tally.tokens;
        if open.left > 0 {
            return;
        }
        match self.open.remove(&version.path) {
            Some(OpenDocument { is_left: true, .. }) => {
                debug!(document = %Sanitized(&version.path), "document deferred to another run");
                self.stage.counters.left();
                // A daemon takes it again behind what waits now.
                self.stage.claims.retry(&version.path);
            }
            Some(OpenDocument { failure, tally, replaced, .. }) => self.end(version, tally, failure, &replaced),
            None => {}
        }
    }

    /// Ends a version: its new lines are current, so the lines that it replaced are deleted. Where some chunk failed none is, so that
    /// a reader is left with the old text rather than with a gap.
    fn end(&mut self, version: Arc<Version>, mut tally: Tally, failure: Option<Failure>, replaced: &Replaced) {
        let Version { path, seen, hash, media_type, chunks, retract, asks, .. } = &*version;
        let is_messages = asks.iter().any(|asks| asks.prompt.is_none());
        let prompts = self.stage.prompts.get();
        // The format of a file may have changed while it was in progress.
        let is_as_taken = is_messages == prompts.is_messages(path);
        let asks = match (is_as_taken, is_messages) {
            (true, true) => asks.clone(),
            (true, false) => prompts.asks(path),
            (false, _) => Vec::new(),
        };
        let is_asked = !asks.is_empty();
        if failure.is_none() {
            // An earlier version may have had a part for a chunk of its own.
            for chunk in retract.iter().filter(|chunk| !replaced.parts.contains(*chunk)).chain(&replaced.standing) {
                tally.retracted += 1;
                self.stage.counters.retracted();
                self.group.entries.push(Entry::Delete { path: path.clone(), version: *hash, chunk: *chunk });
            }
        }
        self.group.entries.push(Entry::End(Box::new(VersionEnd {
            path: path.clone(),
            state: if failure.is_some() { DocumentState::Failed } else { DocumentState::Done },
            version: Some(*hash),
            config: if is_messages { messages_config() } else { self.stage.shape.config() },
            seen: is_as_taken.then_some(*seen),
            media_type: Some(media_type.clone()),
            chunks: *chunks - replaced.wholes + replaced.parts.len(),
            failure: failure.clone(),
            skip: None,
            tally,
            asks,
        })));
        let path = path.clone();
        // It was read as another format than it has now: the source sends it again, so nothing is asked or moved yet.
        if !is_as_taken {
            self.group.anew.push(path);
            self.group.versions.push(version);
            return;
        }
        self.group.is_asking |= is_asked;
        if !is_asked {
            self.intend(&path, if failure.is_some() { DocumentState::Failed } else { DocumentState::Done });
        }
        match failure {
            None => self.group.ended.push(Said::Done(version, is_asked)),
            Some(failure) => {
                let file = (!is_asked).then_some(version.seen);
                self.group.ended.push(Said::Failed(path, file, failure));
                self.group.versions.push(version);
            }
        }
    }

    /// Ends a file that came to no chunks.
    fn end_early(
        &mut self,
        ended: Ended,
        state: DocumentState,
        config: Fingerprint,
        failure: Option<Failure>,
        skip: Option<String>,
        said: Said,
    ) {
        let Ended { path, seen, hash, retract, retract_answers, claim } = ended;
        if let Some(version) = hash {
            for answer in retract_answers {
                self.stage.answers.retracted();
                self.group.entries.push(Entry::TakeBack { path: path.clone(), version, answer, of: None });
            }
            for chunk in &retract {
                self.stage.counters.retracted();
                self.group.entries.push(Entry::Delete { path: path.clone(), version, chunk: *chunk });
            }
        }
        let tally = Tally { retracted: retract.len() as u64, ..Tally::default() };
        let end = VersionEnd {
            path,
            state,
            version: hash,
            config,
            seen,
            media_type: None,
            chunks: 0,
            failure,
            skip,
            tally,
            asks: Vec::new(),
        };
        let path = end.path.clone();
        self.group.entries.push(Entry::End(Box::new(end)));
        self.intend(&path, state);
        self.group.ended.push(said);
        self.group.claims.push(claim);
    }

    /// Leaves the files as they should be left. What has no room now is in the ledger, and written by the next start.
    fn finish(mut self) -> Result<(), PipelineError> {
        if self.stage.delivery.is_stalled() && !self.stage.delivery.retry()? {
            warn!("output disk is full; the next start writes the missing lines from the ledger");
            return Ok(());
        }
        self.stage.delivery.sync()?;
        self.keep_what_was_learned()?;
        self.keep_density()?;
        self.stage.delivery.ledger().settle();
        Ok(())
    }
}

/// Returns the configuration under which a skipped file need not be taken again: the kinds of file that are read.
#[must_use]
pub fn skipped_config() -> Fingerprint {
    Fingerprint::of(&[("extract", extract::VERSION)])
}
