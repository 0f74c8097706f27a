//! Files to chunks: read, cut and planned off the async runtime.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures::{StreamExt as _, TryStreamExt as _, future};
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::admission::Turns;
use super::chat::{self, Prompts, messages_config};
use super::chunk_context::{self, Contexts};
use super::document_chunks::Cutting;
use super::single_flight::Shared;
use super::{Mode, PipelineError};
use crate::chat::Prompt;
use crate::chunk;
use crate::commitlog::{config, line};
use crate::domain::Fingerprints;
use crate::domain::moment::moment;
use crate::domain::path::Sanitized;
use crate::domain::shortage::is_shortage;
use crate::domain::{
    Asks, Change, Chunk, ChunkId, Claim, ContentHash, Departure, DocumentPath, Embedded, EmbeddingKey, Ended, Failure, Limits,
    Number, Observation, Origin, Planned, Record, Setting, Stage as At, TokenCount, Vector, Version, What,
};
use crate::extract;
use crate::folder::{self, ReadError};
use crate::ledger::{self, DocumentState, LedgerError, Reader, Stored, StoredAnswer, Working, is_given_up};
use crate::plan::{Names, Plan, Want};
use crate::report::chain;
use crate::telemetry::Counters;

/// Files that are prepared at once; each holds its text. More would not help two cores and costs memory.
const AT_ONCE: usize = 2;

/// Files that one turn on a blocking thread takes if they are ready: handing over costs more than a small file.
const PER_TURN: usize = 32;

/// What the stage works with.
pub(super) struct PrepareStage {
    pub(super) mode: Mode,
    pub(super) source: folder::SourceConfig,
    pub(super) chunk: chunk::ChunkConfig,
    pub(super) limits: Limits,
    pub(super) elements: (u32, Number),
    pub(super) output: PathBuf,
    pub(super) shape: Arc<Fingerprints>,
    pub(super) ledger: Reader,
    pub(super) working: Working,
    pub(super) turns: Turns,
    pub(super) shared: Arc<Shared>,
    /// The prompts that run over documents.
    pub(super) prompts: Arc<Setting<Prompts>>,
    pub(super) counters: Arc<Counters>,
    /// After this no file is begun.
    pub(super) stop: CancellationToken,
}

/// A version with what its chunks want.
struct Planning<'a> {
    version: &'a Arc<Version>,
    cutting: &'a Cutting<'a>,
    wants: &'a [Want],
    /// The document's row, where it is known.
    document: Option<i64>,
}

/// Where chunks go: to be asked for, or straight to the writer.
#[derive(Clone)]
pub(super) struct Onward {
    pub(super) planned: mpsc::Sender<Planned>,
    pub(super) records: mpsc::Sender<Record>,
}

/// Why a change was not brought to its end.
pub(super) enum Stopped {
    /// The next stage has stopped, which is the end and no error.
    Closed,
    /// The ledger cannot be read.
    Ledger(LedgerError),
}

impl From<LedgerError> for Stopped {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// Runs until `changes` ends and every chunk has been sent; after a stop no other file is begun: the next run takes it.
pub(super) async fn run(
    stage: Arc<PrepareStage>,
    changes: mpsc::Receiver<Change>,
    onward: Onward,
    documents: mpsc::Sender<chunk_context::Document>,
    stop: CancellationToken,
) -> Result<(), PipelineError> {
    let pause = stage.working.pause();
    if stage.mode == Mode::Follow && !pause.is_zero() {
        warn!(pause = %humantime::format_duration(pause), "repeated crashes while processing files; new files are held back");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    let room = Arc::new(Semaphore::new(chunk_context::ROOM));
    ReceiverStream::new(changes)
        .ready_chunks(PER_TURN)
        .take_until(stage.stop.clone().cancelled_owned())
        .map(|group| {
            let (stage, onward) = (Arc::clone(&stage), onward.clone());
            let contexts = Contexts { documents: documents.clone(), room: Arc::clone(&room) };
            spawn_blocking(move || {
                let mut prepared = group.into_iter().map(|change| {
                    if stage.stop.is_cancelled() {
                        return Err(Stopped::Closed);
                    }
                    let Change { path, what, claim } = change;
                    match what {
                        What::There(seen) => {
                            stage.prepare(path, seen, claim, &onward, &contexts)?;
                            stage.counters.prepared();
                        }
                        What::Gone(departure) => stage.retract(path, departure, claim, &onward.records)?,
                    }
                    Ok(())
                });
                match prepared.try_for_each(|ended| ended) {
                    Ok(()) | Err(Stopped::Closed) => Ok(()),
                    Err(Stopped::Ledger(error)) => Err(error),
                }
            })
        })
        .buffer_unordered(AT_ONCE)
        .map(|ended| Ok(ended.map_err(PipelineError::Panicked)??))
        .try_for_each(|()| future::ready(Ok(())))
        .await
}

impl PrepareStage {
    /// Returns whether a file that could not be read is left for another look rather than failed. One that may not be read is
    /// failed: when its permissions change, it is a change.
    fn comes_again(&self, error: &ReadError) -> bool {
        match error {
            // One that has become a link or a folder is ignored by the next scan, which deletes its lines.
            ReadError::Changing | ReadError::Gone | ReadError::Closed | ReadError::NotRegular => true,
            // A file has no part in what the process is short of.
            ReadError::Io(error) if is_shortage(error) => true,
            ReadError::Io(error) => self.mode == Mode::Follow && error.kind() != io::ErrorKind::PermissionDenied,
            ReadError::TooLarge { .. } => false,
        }
    }

    /// Deletes the current lines of a removed document.
    fn retract(
        &self,
        path: DocumentPath,
        departure: Departure,
        claim: Claim,
        records: &mpsc::Sender<Record>,
    ) -> Result<(), Stopped> {
        let is_here = |document: &ledger::DocumentRow| document.state != DocumentState::Gone && !document.disposed;
        let Some(document) = self.ledger.document(&path)?.filter(is_here) else { return Ok(()) };
        debug!(document = %Sanitized(&path), ?departure, "gone");
        let mut retract: Vec<_> = self.ledger.standing(document.id)?.into_keys().collect();
        retract.sort_unstable();
        // Lines without a version that ended are of one that never did; nobody knows its name any more.
        let hash = Some(document.version.unwrap_or_else(|| ContentHash::of(b"")));
        let retract_answers = self.answers(document.id)?;
        records
            .blocking_send(Record::Gone(Ended { path, seen: None, hash, retract, retract_answers, claim }))
            .map_err(|_| Stopped::Closed)
    }

    /// Returns the ids of the current answers of a document.
    fn answers(&self, document: i64) -> Result<Vec<ChunkId>, LedgerError> {
        let mut answers: Vec<_> = self.ledger.answers(document, None)?.into_keys().collect();
        answers.sort_unstable();
        Ok(answers)
    }

    /// Brings one file to its records: chunks, or why there are none. Blocks while the next stage is busy.
    fn prepare(
        &self,
        path: DocumentPath,
        seen: Observation,
        claim: Claim,
        onward: &Onward,
        contexts: &Contexts,
    ) -> Result<(), Stopped> {
        let say = |record| onward.records.blocking_send(record).map_err(|_| Stopped::Closed);
        let known = self.ledger.document(&path)?;
        let standing = match &known {
            Some(document) => self.ledger.standing(document.id)?,
            None => HashMap::new(),
        };
        let starts = known.as_ref().map_or(0, |document| document.starts);
        let ended =
            |claim, path, hash, retract| Ended { path, seen: Some(seen), hash, retract, retract_answers: Vec::new(), claim };
        // It has crashed the process before: reading it again could end in a crash loop.
        if is_given_up(starts, seen.size) {
            return say(Record::Failed(ended(claim, path, None, Vec::new()), crashed(starts)));
        }
        // A suspect is processed alone: a second crash is then known to be its own.
        let mut turn = self.turns.take(seen.size, starts > 0);
        // Recorded before the file is read, so that a crash from here on names it.
        let begun = self.working.begin(&path, seen.size);
        let read = match self.mode {
            Mode::Follow => folder::read(&self.source, &path, &seen, &self.stop),
            Mode::Once => folder::read_insisting(&self.source, &path, &seen, &self.stop),
        };
        let contents = match read {
            Ok(contents) => contents,
            Err(error) if self.comes_again(&error) => {
                let document = Sanitized(&path);
                match self.mode {
                    Mode::Follow => debug!(%document, error = %chain(&error), "file not ready; retrying later"),
                    Mode::Once => {
                        warn!(%document, error = %chain(&error), "file cannot be read; left for the next run");
                        self.counters.unstable();
                    }
                }
                claim.again();
                return Ok(());
            }
            Err(error) => {
                drop(begun);
                return say(Record::Failed(ended(claim, path, None, Vec::new()), failure(&error)));
            }
        };
        let seen = contents.seen;
        let hash = contents.hash;
        let config = self.shape.config();
        let prompts = self.prompts.get();
        let is_messages = prompts.is_messages(&path);
        let config = if is_messages { messages_config() } else { config };
        // The crash guard ends before a record is sent: its receiver may be busy for long, and that is not the document's fault.
        if known.as_ref().is_some_and(|document| document.is_as_it_was(hash, config)) {
            drop(begun);
            return say(Record::Touched(claim, path, seen));
        }
        if is_messages {
            drop(begun);
            let mut retract: Vec<_> = standing.into_keys().collect();
            retract.sort_unstable();
            return say(messages(&prompts, &contents.bytes, ended(claim, path, Some(hash), retract), seen, hash));
        }
        let extracted = match extract::text(&path, contents.bytes) {
            Ok(extracted) => extracted,
            Err(why) => {
                drop(begun);
                let mut retract: Vec<_> = standing.into_keys().collect();
                retract.sort_unstable();
                let retract_answers = known.map_or_else(|| Ok(Vec::new()), |document| self.answers(document.id))?;
                let ended = Ended { seen: Some(seen), retract_answers, ..ended(claim, path, Some(hash), retract) };
                return say(Record::Skipped(ended, why));
            }
        };
        let cuts = match &known {
            Some(document) => self.ledger.cuts(document.id, self.shape.limits())?,
            None => HashMap::new(),
        };
        let cutting = Cutting::new(&path, &extracted, &self.chunk, &self.limits, cuts);
        let Plan { wants, lines, longest, retract } = cutting.plan(self.shape.has_vectors(), standing, config);
        drop(begun);
        turn.no_longer_alone();
        if starts > 0 {
            // It was processed to its end, so its earlier crashes count no more.
            say(Record::GotOver(path.clone()))?;
        }
        self.counters.planned(lines as u64, (wants.len() - lines) as u64);
        let version = Arc::new(Version {
            path: path.clone(),
            seen,
            hash,
            media_type: extracted.media_type.clone(),
            chunks: wants.len(),
            lines,
            retract,
            asks: Vec::new(),
            claim,
        });
        let Some(longest) = longest else { return say(Record::Unchanged(version)) };
        let document = known.as_ref().map(|document| document.id);
        let planning = Planning { version: &version, cutting: &cutting, wants: &wants, document };
        self.hand_on(&planning, prompts.context_of(&path), longest, onward, contexts)
    }

    /// Sends the chunks that get a line, cutting the text once more. Blocks while the next stages are busy.
    fn hand_on(
        &self,
        planning: &Planning<'_>,
        context: Option<&Arc<Prompt>>,
        (index, id, longest): (usize, ChunkId, Chunk),
        onward: &Onward,
        contexts: &Contexts,
    ) -> Result<(), Stopped> {
        let Planning { version, cutting, wants, document } = planning;
        let text = &cutting.extracted.text;
        let lines = |take: &mut dyn FnMut(Planned, Want) -> Result<(), Stopped>| {
            let (mut names, mut wants) = (Names::new(cutting.path, text), wants.iter().enumerate());
            cutting.each(|chunk| {
                let id = names.next(chunk);
                match wants.next() {
                    None | Some((_, Want::Nothing)) => Ok(()),
                    Some((index, want)) => take(self.planned(version, index, id, chunk, text), *want),
                }
            })
        };
        match context {
            None => lines(&mut |chunk, _| self.onward(chunk, onward)),
            Some(prompt) => {
                let longest = self.planned(version, index, id, &longest, text);
                let text = chunk_context::ContextInput { prompt, version, text, longest: &longest, document: *document };
                self.with_contexts(&text, &lines, onward, contexts)
            }
        }
    }

    fn planned(&self, version: &Arc<Version>, index: usize, id: ChunkId, chunk: &Chunk, text: &str) -> Planned {
        let text = &text[chunk.span.clone()];
        Planned {
            version: Arc::clone(version),
            id,
            key: self.shape.key(text),
            index,
            span: chunk.span.clone(),
            headings: Arc::clone(&chunk.headings),
            tokens: chunk.tokens,
            text: text.into(),
            context: None,
        }
    }

    /// Sends a chunk that gets a line: to be asked for, or with the answer where there is an earlier one. Blocks while the next stage
    /// is busy.
    pub(super) fn onward(&self, chunk: Planned, onward: &Onward) -> Result<(), Stopped> {
        let Some(chunk) = self.shared.join(chunk) else { return Ok(()) };
        match self.recall(&chunk.key)? {
            Some(recalled) => onward.records.blocking_send(Record::Embedded(recalled.of(chunk))).map_err(|_| Stopped::Closed),
            None => onward.planned.blocking_send(chunk).map_err(|_| Stopped::Closed),
        }
    }

    /// Returns an earlier answer to the same question, and counts one that is to be had nowhere any more.
    fn recall(&self, key: &EmbeddingKey) -> Result<Option<Recalled>, LedgerError> {
        Ok(match recall(&self.ledger, &self.output, self.elements, key)? {
            Recall::Never => None,
            Recall::Lost => {
                self.counters.repaid();
                None
            }
            Recall::Found(recalled) => Some(recalled),
        })
    }
}

/// Brings a file of messages to its end: there is nothing to embed in it, and something to ask; or a reason why there is not.
fn messages(prompts: &Prompts, json: &[u8], ended: Ended, seen: Observation, hash: ContentHash) -> Record {
    match prompts.read_messages(json) {
        // What an earlier version was answered stays.
        Err(refusal) => Record::Failed(Ended { seen: Some(seen), ..ended }, chat::failure(&refusal.into(), None)),
        Ok(request) => Record::Unchanged(Arc::new(Version {
            asks: vec![Asks { prompt: None, model: request.model().as_str().into() }],
            path: ended.path,
            seen,
            hash,
            media_type: "application/json".into(),
            chunks: 0,
            lines: 0,
            retract: ended.retract,
            claim: ended.claim,
        })),
    }
}

/// What is to be had of an earlier answer.
pub(super) enum Recall {
    /// There was none.
    Never,
    /// There was one, and it is to be had nowhere any more.
    Lost,
    /// It is here.
    Found(Recalled),
}

/// Looks for an earlier answer to the same question, in the cache and in its line.
pub(super) fn recall(
    ledger: &Reader,
    output: &Path,
    (length, number): (u32, Number),
    key: &EmbeddingKey,
) -> Result<Recall, LedgerError> {
    let Some(held) = ledger.embedding(key)? else { return Ok(Recall::Never) };
    let StoredAnswer { vector, tokens, emulated, answered_at } = held;
    let vector = match vector {
        Stored::Here(json) => RawValue::from_string(json).ok(),
        Stored::InLine { names, position, length, crc } => {
            // A file may be sealed between the look into the ledger and this.
            let line = names.iter().find_map(|name| config::read_line(output, name, position, length, crc));
            line.and_then(|line| Some(serde_json::from_str::<line::Read<'_>>(&line).ok()?.embedding?.to_owned()))
        }
    };
    let vector = vector.and_then(|numbers| Vector::check(&numbers, length, number).ok());
    let at = moment(answered_at);
    Ok(vector.map_or(Recall::Lost, |vector| Recall::Found(Recalled { vector, tokens, emulated, at })))
}

/// An earlier answer.
pub(super) struct Recalled {
    vector: Vector,
    tokens: TokenCount,
    emulated: bool,
    at: SystemTime,
}

impl Recalled {
    fn of(self, planned: Planned) -> Embedded {
        let Self { vector, tokens, emulated, at } = self;
        Embedded { planned, vector, tokens, emulated, at, origin: Origin::Cache }
    }
}

fn crashed(starts: u32) -> Failure {
    Failure {
        stage: At::Extract,
        class: "crash".into(),
        message: format!("riverbed died {starts} times while it worked on this file"),
        attempts: starts,
        request_id: None,
        advice: "keep the file for a report; `riverbed failed retry` retries it, as does any change of it".into(),
        written: None,
    }
}

fn failure(error: &ReadError) -> Failure {
    let (class, advice) = match error {
        ReadError::TooLarge { .. } => ("too-large", "split the file, or raise `source.max-file-size`"),
        ReadError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => ("permission", "let riverbed's user read it"),
        ReadError::Io(error) if is_shortage(error) => ("limit", "raise the limit that the message names for riverbed's process"),
        ReadError::Changing | ReadError::Gone | ReadError::Closed | ReadError::NotRegular | ReadError::Io(_) => {
            ("io", "check that the file can be read")
        }
    };
    Failure {
        stage: At::Read,
        class: class.into(),
        message: chain(error),
        attempts: 1,
        request_id: None,
        advice: advice.to_owned(),
        written: None,
    }
}
