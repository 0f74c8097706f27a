//! Dry run: the same walk, the same chunks and the same comparison with the ledger, with nothing sent or written.

mod chat;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::batch::Load;
use super::chat::{Prompts, messages_config};
use super::document_chunks::Cutting;
use super::prepare::{self, Recall};
use super::{PipelineError, embed, known_files};
use crate::domain::Fingerprints;
use crate::domain::{
    Change, ChunkId, Claims, ContentHash, DocumentPath, Limits, Memory, MemoryError, Mix, NoMemory, Number, Observation,
    Remembered, TokenCount, What,
};
use crate::folder::{self, Found, ReadError};
use crate::ledger::{self, DocumentState, LedgerError, Reader, Terms};
use crate::plan::Want;
use crate::throttle::Lane;
use crate::{chunk, extract};

/// What a forecast is made of.
#[derive(Debug)]
pub struct DryRunParts {
    /// The folder.
    pub source: folder::SourceConfig,
    /// How texts are cut.
    pub chunk: chunk::ChunkConfig,
    /// What the model takes.
    pub limits: Limits,
    /// What one call may hold, as [`call_limits`] says.
    pub call: Limits,
    /// How many numbers a vector has, and of what kind.
    pub elements: (u32, Number),
    /// Folder of the output.
    pub output: PathBuf,
    /// What shapes a vector.
    pub shape: Arc<Fingerprints>,
    /// The ledger; `None` where there is none yet.
    pub ledger: Option<Reader>,
    /// The prompts that run over documents.
    pub prompts: Arc<Prompts>,
}

use chat::PromptInput;
pub use chat::{ByPrompt, Questions};

/// What a run would do now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    /// The documents.
    pub documents: Documents,
    /// Their chunks.
    pub chunks: Chunks,
    /// Calls that would be made, if none fails.
    pub calls: u64,
    /// What the texts of the calls are written in.
    pub mix: Mix,
    /// Whether there are so many different texts that equal ones may have been counted more than once.
    pub is_at_most: bool,
    /// Documents that could not be read now and may be when they are taken: what is in them is not counted.
    pub unseen: u64,
    /// Texts that are embedded with a context that nobody has written yet: its tokens are not counted.
    pub without_context: u64,
}

/// Documents by what a run would make of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Documents {
    /// Not known yet.
    pub new: u64,
    /// Known with other contents.
    pub changed: u64,
    /// Known with these contents, and taken again: the configuration has changed, or a run was not through with them.
    pub again: u64,
    /// Known with these contents under another name.
    pub moved: u64,
    /// Not there any more.
    pub gone: u64,
    /// As they were.
    pub unchanged: u64,
    /// Of no kind that is read, or empty.
    pub skipped: u64,
    /// Larger than `source.max-file-size`.
    pub too_large: u64,
    /// Not to be read, or the end of earlier attempts to.
    pub unreadable: u64,
    /// Changing while they were looked at.
    pub unstable: u64,
}

/// Chunks by what a run would do with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chunks {
    /// Texts that are asked for.
    pub embed: u64,
    /// Whose line is current.
    pub kept: u64,
    /// Whose text was answered before.
    pub cached: u64,
    /// Whose text is asked for by another chunk of this run.
    pub repeated: u64,
    /// Lines that are deleted.
    pub retracted: u64,
}

/// Returns the bounds of one call through a lane.
#[must_use]
pub fn call_limits(limits: Limits, lane: &Lane) -> Limits {
    embed::bounded(limits, lane)
}

/// Walks the folder as a run that ends would, and says what that would do.
///
/// # Errors
/// When the folder or the ledger cannot be read.
pub async fn forecast(parts: DryRunParts, stop: CancellationToken) -> Result<(Forecast, ByPrompt), PipelineError> {
    let DryRunParts { source, shape, ledger, .. } = &parts;
    let (memory, known): (Arc<dyn Memory>, _) = match ledger {
        Some(ledger) => {
            let terms = known_files::terms(shape, source.max_file_size.as_u64());
            (Arc::new(Looking { ledger: ledger.again().map_err(read)?, terms }), ledger.count_known().map_err(read)?)
        }
        None => (Arc::new(NoMemory), 0),
    };
    let (changes_tx, mut changes) = mpsc::channel(QUEUE);
    let source = source.clone();
    let stopping = stop.clone();
    let work = spawn_blocking(move || {
        let mut survey = Survey::new(parts, stopping);
        while let Some(change) = changes.blocking_recv() {
            survey.take(&change)?;
        }
        survey.backlog()?;
        Ok::<_, LedgerError>(survey)
    });
    let found = Found::default();
    let (scanned, worked) = tokio::join!(folder::scan_once(source, memory, Claims::default(), changes_tx, stop, &found), work);
    let survey = worked.map_err(PipelineError::Panicked)?.map_err(read)?;
    scanned?;
    let questions = survey.questions.clone();
    Ok((survey.end(known), questions))
}

/// Files that the walk may be ahead.
const QUEUE: usize = 256;

/// Different texts, and new documents, that are kept to detect equal ones: eight bytes each, and as much again for the table.
const REMEMBERED: usize = 4_000_000;

fn read(error: LedgerError) -> PipelineError {
    PipelineError::Deliver(error.into())
}

/// The source's view of the ledger, for a dry run.
#[derive(Debug)]
struct Looking {
    ledger: Reader,
    terms: Terms,
}

impl Memory for Looking {
    fn after(&self, path: &[u8], most: usize) -> Result<Vec<(DocumentPath, Remembered)>, MemoryError> {
        Ok(self.ledger.known_after(&self.terms, path, most)?)
    }

    fn of(&self, path: &DocumentPath) -> Result<Option<Remembered>, MemoryError> {
        Ok(self.ledger.known(&self.terms, path)?)
    }

    fn root(&self) -> Result<Option<(u64, u64)>, MemoryError> {
        Ok(self.ledger.root()?)
    }

    fn set_root(&self, _: (u64, u64)) -> Result<(), MemoryError> {
        Ok(())
    }
}

struct Survey {
    parts: Arc<DryRunParts>,
    stop: CancellationToken,
    forecast: Forecast,
    /// Known documents among the files that were sent.
    taken: u64,
    texts: HashSet<u64>,
    /// The contents of new documents: a removed one may have become one of them.
    new: HashSet<u64>,
    /// The call that is being filled.
    open: Option<Load>,
    questions: ByPrompt,
    /// Known documents whose questions have been counted, or that were removed.
    handled: HashSet<i64>,
}

impl Survey {
    fn new(parts: DryRunParts, stop: CancellationToken) -> Self {
        Self {
            parts: Arc::new(parts),
            stop,
            forecast: Forecast::default(),
            taken: 0,
            texts: HashSet::new(),
            new: HashSet::new(),
            open: None,
            questions: ByPrompt::new(),
            handled: HashSet::new(),
        }
    }

    fn end(self, known: u64) -> Forecast {
        let mut forecast = self.forecast;
        let left = forecast.documents.gone + forecast.documents.moved;
        forecast.documents.unchanged += known.saturating_sub(self.taken + left);
        forecast.documents.new -= forecast.documents.moved.min(forecast.documents.new);
        forecast
    }

    fn known(&self, path: &DocumentPath) -> Result<Option<ledger::DocumentRow>, LedgerError> {
        let Some(ledger) = &self.parts.ledger else { return Ok(None) };
        ledger.document(path)
    }

    fn standing(&self, known: Option<&ledger::DocumentRow>) -> Result<CurrentLines, LedgerError> {
        match (&self.parts.ledger, known) {
            (Some(ledger), Some(document)) => ledger.standing(document.id),
            _ => Ok(HashMap::new()),
        }
    }

    fn take(&mut self, change: &Change) -> Result<(), LedgerError> {
        match change.what {
            What::There(seen) => self.there(&change.path, seen),
            What::Gone(_) => self.gone(&change.path),
        }
    }

    fn gone(&mut self, path: &DocumentPath) -> Result<(), LedgerError> {
        let known = self.known(path)?.filter(|document| document.state != DocumentState::Gone && !document.disposed);
        let Some(document) = known else { return Ok(()) };
        self.handled.insert(document.id);
        self.forecast.chunks.retracted += self.standing(Some(&document))?.len() as u64;
        let is_moved = document.version.is_some_and(|version| self.new.contains(&short(version.as_bytes())));
        *(if is_moved { &mut self.forecast.documents.moved } else { &mut self.forecast.documents.gone }) += 1;
        Ok(())
    }

    /// Does what the pipeline does with a file, up to where it would ask.
    fn there(&mut self, path: &DocumentPath, seen: Observation) -> Result<(), LedgerError> {
        // The checks come in the order of `prepare`, so that plan and run agree.
        let known = self.known(path)?;
        self.taken +=
            u64::from(known.as_ref().is_some_and(|document| document.state != DocumentState::Gone && !document.disposed));
        if known.as_ref().is_some_and(|document| ledger::is_given_up(document.starts, seen.size)) {
            self.forecast.documents.unreadable += 1;
            return Ok(());
        }
        let contents = match folder::read_insisting(&self.parts.source, path, &seen, &self.stop) {
            Ok(contents) => contents,
            Err(error) => {
                self.forecast.unseen += u64::from(error.is_passing() && !matches!(error, ReadError::Gone));
                let documents = &mut self.forecast.documents;
                *match error {
                    ReadError::TooLarge { .. } => &mut documents.too_large,
                    ReadError::Changing | ReadError::Gone | ReadError::Closed | ReadError::NotRegular => &mut documents.unstable,
                    ReadError::Io(_) => &mut documents.unreadable,
                } += 1;
                return Ok(());
            }
        };
        let is_messages = self.parts.prompts.is_messages(path);
        let config = if is_messages { messages_config() } else { self.parts.shape.config() };
        let hash = contents.hash;
        if known.as_ref().is_some_and(|document| document.is_as_it_was(hash, config)) {
            self.forecast.documents.unchanged += 1;
            return Ok(());
        }
        self.handled.extend(known.as_ref().map(|document| document.id));
        let standing = self.standing(known.as_ref())?;
        if is_messages {
            self.forecast.chunks.retracted += standing.len() as u64;
            self.count(known.as_ref(), hash);
            return self.messages(&contents.bytes, path, known.map(|document| document.id));
        }
        let Ok(extracted) = extract::text(path, contents.bytes) else {
            self.forecast.documents.skipped += 1;
            self.forecast.chunks.retracted += standing.len() as u64;
            return Ok(());
        };
        self.count(known.as_ref(), hash);
        let cuts = self.cuts(known.as_ref())?;
        let parts = Arc::clone(&self.parts);
        let cutting = Cutting::new(path, &extracted, &parts.chunk, &parts.limits, cuts);
        let plan = cutting.plan(parts.shape.has_vectors(), standing, config);
        self.forecast.chunks.kept += plan.keep() as u64;
        self.forecast.chunks.retracted += plan.retract.len() as u64;
        let text = PromptInput { path, document: known.as_ref(), extracted: &extracted };
        if let Some(prompt) = parts.prompts.context_of(path) {
            self.contexts(prompt, &text, &plan, &cutting)?;
        } else if plan.lines > 0 {
            let mut wants = plan.wants.iter();
            cutting.each(|chunk| match wants.next() {
                None | Some(Want::Nothing) => Ok(()),
                Some(_) => self.chunk(&extracted.text[chunk.span.clone()], chunk.tokens),
            })?;
        }
        self.ask(&text, cutting)
    }

    /// Counts a document that is taken.
    fn count(&mut self, known: Option<&ledger::DocumentRow>, hash: ContentHash) {
        let version = known.and_then(|document| document.version);
        let is_new = version.is_none() || known.is_some_and(|document| document.state == DocumentState::Gone);
        let documents = &mut self.forecast.documents;
        match version {
            _ if is_new => {
                documents.new += 1;
                if self.new.len() < REMEMBERED {
                    self.new.insert(short(hash.as_bytes()));
                }
            }
            Some(version) if version == hash => documents.again += 1,
            _ => documents.changed += 1,
        }
    }

    /// Returns how texts of a document were cut that the service had found too long.
    fn cuts(&self, known: Option<&ledger::DocumentRow>) -> Result<HashMap<ChunkId, usize>, LedgerError> {
        match (&self.parts.ledger, known) {
            (Some(ledger), Some(document)) => ledger.cuts(document.id, self.parts.shape.limits()),
            _ => Ok(HashMap::new()),
        }
    }

    fn chunk(&mut self, text: &str, tokens: TokenCount) -> Result<(), LedgerError> {
        let key = self.parts.shape.key(text);
        let short = short(key.as_bytes());
        if self.texts.contains(&short) {
            self.forecast.chunks.repeated += 1;
            return Ok(());
        }
        if let Some(ledger) = &self.parts.ledger
            && let Recall::Found(_) = prepare::recall(ledger, &self.parts.output, self.parts.elements, &key)?
        {
            self.forecast.chunks.cached += 1;
            return Ok(());
        }
        if self.texts.len() < REMEMBERED {
            self.texts.insert(short);
        } else {
            self.forecast.is_at_most = true;
        }
        self.embed(text, tokens);
        Ok(())
    }

    /// Counts a text that is asked for.
    fn embed(&mut self, text: &str, tokens: TokenCount) {
        self.forecast.chunks.embed += 1;
        self.forecast.mix += Mix::of(text);
        let is_taken = self.open.as_mut().is_some_and(|open| open.add(tokens, text.len(), &self.parts.call));
        if !is_taken {
            self.open = Some(Load::new(tokens, text.len()));
            self.forecast.calls += 1;
        }
    }
}

type CurrentLines = HashMap<ChunkId, crate::domain::Standing>;

/// Returns the beginning of a hash, enough to distinguish a few million.
fn short(hash: &[u8]) -> u64 {
    hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;

    use super::*;
    use crate::domain::Fingerprint;

    fn survey(folder: &Path) -> Survey {
        let fingerprint = |name| Fingerprint::of(&[(name, "")]);
        let shape = Fingerprints::new(["a", "b"].map(fingerprint), ["c", "d"].map(fingerprint), false, None);
        let limits = Limits {
            texts_per_call: NonZeroUsize::MIN,
            characters_per_text: NonZeroUsize::MAX,
            tokens_per_text: TokenCount::new(8_192),
            tokens_per_call: TokenCount::new(8_192),
            bytes_per_call: NonZeroUsize::MAX,
        };
        let parts = DryRunParts {
            source: folder::SourceConfig { path: folder.to_owned(), ..folder::SourceConfig::default() },
            chunk: chunk::ChunkConfig::default(),
            limits,
            call: limits,
            elements: (8, Number::Float),
            output: folder.to_owned(),
            shape: Arc::new(shape),
            ledger: None,
            prompts: Arc::default(),
        };
        Survey::new(parts, CancellationToken::new())
    }

    #[test]
    fn a_document_that_cannot_be_read_now_is_one_whose_chunks_are_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut survey = survey(folder.path());
        let seen = Observation { device: 1, inode: 2, size: 3, modified: (3, 4), changed: (5, 6) };
        // The system has no file of such a name, and says so for none that is away.
        let unreadable = DocumentPath::new(Path::new(&"a".repeat(300))).unwrap();
        survey.there(&unreadable, seen).unwrap();
        let forecast = survey.forecast;
        assert_eq!((forecast.documents.unreadable, forecast.unseen), (1, 1));
        // What is away by now is no document.
        survey.there(&DocumentPath::new(Path::new("gone.md")).unwrap(), seen).unwrap();
        let forecast = survey.forecast;
        assert_eq!((forecast.documents.unstable, forecast.documents.unreadable, forecast.unseen), (1, 1, 1));
    }
}
