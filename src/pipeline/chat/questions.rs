//! Pending prompts become questions: the file is read again, and compared with the current answers.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{House, Prompts};
use crate::bedrock::{Room, SHORT};
use crate::chat::Prompt;
use crate::chat::openai::Messages;
use crate::chat::prompt::{About, Asking, CannotAsk, Long, Per};
use crate::chunk;
use crate::commitlog::config;
use crate::domain::Fingerprints;
use crate::domain::{
    Answered, Billed, Body, Chunk, ChunkId, DocumentPath, Failure, Fingerprint, Held, Inquiry, Limits, Question, QuestionKey,
    Record, Setting, Stage as At,
};
use crate::extract;
use crate::folder;
use crate::ledger::{LedgerError, Reader, Waits};
use crate::pipeline::Mode;
use crate::pipeline::document_chunks::Cutting;
use crate::plan::Names;

/// Makes questions of what waits.
pub(super) struct Desk {
    mode: Mode,
    source: folder::SourceConfig,
    chunk: chunk::ChunkConfig,
    limits: Limits,
    shape: Arc<Fingerprints>,
    prompts: Arc<Setting<Prompts>>,
    pub(super) ledger: Reader,
    output: PathBuf,
    stop: CancellationToken,
    /// Room for the texts of documents.
    documents: Texting,
    /// Room for long answers that are told again.
    room: Room,
}

/// Room for texts, in bytes: one that is larger than all of it is there alone. Clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Texting(Arc<Semaphore>);

impl Texting {
    /// In KiB.
    const ROOM: u32 = 64 << 10;

    /// Waits for room for so many bytes; not after a stop. Blocks, on a thread of the runtime's that may.
    pub(super) fn take(&self, bytes: u64, stop: &CancellationToken) -> Option<Held> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(Self::ROOM);
        let permit = Handle::current().block_on(stop.run_until_cancelled(Arc::clone(&self.0).acquire_many_owned(kib)))?;
        Some(Held::of(permit.expect("nobody closes it")))
    }
}

impl Default for Texting {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(Self::ROOM as usize)))
    }
}

/// A question that is to be asked now.
pub(super) struct PendingPrompt {
    pub(super) question: Question,
    /// Its fingerprint, which differs for a model and an emulator.
    pub(super) keys: [QuestionKey; 2],
    pub(super) asking: Asking,
    /// What is needed to ask about the answers to the parts of a long text.
    pub(super) about: Option<Joining>,
    /// The room that the text of its document takes, which its questions have in common.
    pub(super) document: Held,
    /// The room that its requests take, once it has that.
    pub(super) requests: Held,
}

impl PendingPrompt {
    /// Returns about how many bytes its requests hold.
    pub(super) fn bytes(&self) -> u64 {
        self.asking.requests.iter().map(|request| request.estimated_input().get().saturating_mul(4)).sum()
    }
}

/// What joins a long text's answers.
pub(in crate::pipeline) struct Joining {
    /// What is asked again, shorter, where the model finds it too long.
    pub(in crate::pipeline) texts: Option<Texts>,
    pub(in crate::pipeline) prompt: Arc<Prompt>,
    pub(in crate::pipeline) media_type: String,
    pub(in crate::pipeline) headings: Arc<[Box<str>]>,
    pub(in crate::pipeline) chunks: usize,
}

/// The texts of a question.
#[derive(Clone)]
pub(in crate::pipeline) struct Texts {
    pub(in crate::pipeline) text: Arc<str>,
    pub(in crate::pipeline) document_text: Arc<str>,
}

impl Texts {
    /// Keeps the texts of a question that may turn out to be too long: where the prompt has a way for such texts, and where there is so
    /// much that an estimate could be that far off. No tokenizer that was measured has a token for each character, and none of the
    /// contexts that are known is smaller.
    ///
    /// The questions about one document has its text in common.
    pub(super) fn of(prompt: &Prompt, about: &About<'_>, document: &OnceCell<Arc<str>>) -> Option<Self> {
        /// Shorter texts fit every context.
        const SHORT: usize = 2_000;
        let is_long = about.text.len().max(about.document_text.len()) > SHORT;
        (prompt.long() != Long::Fail && is_long).then(|| {
            let document_text = Arc::clone(document.get_or_init(|| about.document_text.into()));
            // Most prompts are about a document, whose text is both.
            let is_same = std::ptr::eq(about.text, about.document_text) || about.text == about.document_text;
            let text = if is_same { Arc::clone(&document_text) } else { about.text.into() };
            Self { text, document_text }
        })
    }
}

/// Result of preparing a pending prompt.
pub(super) enum Made {
    /// A question.
    Open(Box<PendingPrompt>),
    /// Something for the writer that needs no call.
    Told(Box<Record>),
}

/// Why a pending prompt is skipped for now: its file has changed, or cannot be read.
pub(super) struct PassedOver;

/// The receiver of questions. `false`: it takes no more.
pub(super) type Take<'a> = &'a mut dyn FnMut(Made) -> bool;

impl Desk {
    /// Opens a desk in a house. Blocks.
    pub(super) fn new(house: &House, room: Room, stop: CancellationToken) -> Result<Self, LedgerError> {
        Ok(Self {
            mode: house.mode,
            source: house.source.clone(),
            chunk: house.chunk.clone(),
            limits: house.limits,
            shape: Arc::clone(&house.shape),
            prompts: Arc::clone(&house.prompts),
            ledger: house.ledger.again()?,
            output: house.output.clone(),
            stop,
            documents: Texting::default(),
            room,
        })
    }

    /// Makes the questions of one prompt about one document, one after the other.
    pub(super) fn make(&self, waits: &Waits, take: Take<'_>) -> Result<Result<(), PassedOver>, LedgerError> {
        let Some(seen) = self.ledger.observation(waits.document)? else { return Ok(Err(PassedOver)) };
        let Some(room) = self.documents.take(seen.size, &self.stop) else { return Ok(Err(PassedOver)) };
        let read = match self.mode {
            Mode::Follow => folder::read(&self.source, &waits.path, &seen, &self.stop),
            Mode::Once => folder::read_insisting(&self.source, &waits.path, &seen, &self.stop),
        };
        let Ok(contents) = read else { return Ok(Err(PassedOver)) };
        if contents.hash != waits.version {
            return Ok(Err(PassedOver)); // the source brings the new version
        }
        let inquiry = |prompt: Option<&Prompt>, config: Fingerprint, lines: usize, retract: Vec<ChunkId>| Inquiry {
            document: waits.document,
            path: waits.path.clone(),
            version: waits.version,
            seen: contents.seen,
            prompt: prompt.map(|prompt| Arc::clone(&prompt.name)),
            config,
            lines,
            retract,
        };
        let prompts = self.prompts.get();
        let Some(name) = &waits.prompt else {
            if prompts.messages().is_none() {
                return Ok(Err(PassedOver)); // the source brings it as a document
            }
            self.messages(&prompts, &contents.bytes, inquiry(None, super::messages_config(), 1, Vec::new()), &room, take)?;
            return Ok(Ok(()));
        };
        let Some(prompt) = prompts.find(name) else { return Ok(Err(PassedOver)) };
        let config = prompts.fingerprint(prompt, self.shape.is_emulated());
        let inquiry = inquiry(Some(prompt), config, 0, Vec::new());
        match extract::text(&waits.path, contents.bytes) {
            Ok(extracted) if prompts.is_for(name, &waits.path) => self.prompt(prompt, &extracted, inquiry, &room, take)?,
            // No prompt runs over it: a glob leaves it out.
            _ => {
                let retract = leftover(self.ledger.answers(waits.document, Some(Some(name)))?);
                take(Made::Told(Box::new(Record::NothingToAsk(Inquiry { retract, ..inquiry }))));
            }
        }
        Ok(Ok(()))
    }

    /// Makes the questions of a prompt about a text: those that have no current answer.
    fn prompt(
        &self,
        prompt: &Arc<Prompt>,
        extracted: &extract::Extracted,
        inquiry: Inquiry,
        room: &Held,
        take: Take<'_>,
    ) -> Result<(), LedgerError> {
        let shared = OnceCell::new();
        let (text, path, name) = (&extracted.text, inquiry.path.clone(), &*prompt.name);
        let emulated = usize::from(self.shape.is_emulated());
        let standing = self.ledger.answers(inquiry.document, Some(Some(name)))?;
        let subjects = match prompt.per {
            Per::Document => Subjects::Document(whole(text)),
            Per::Chunk => {
                let cuts = self.ledger.cuts(inquiry.document, self.shape.limits())?;
                Subjects::Chunks(Cutting::new(&path, extracted, &self.chunk, &self.limits, cuts))
            }
        };
        let count = subjects.count();
        let of = Of { prompt, path: &path, extracted, count };
        let settings = [false, true].map(|emulated| prompt.fingerprint(emulated));
        let keys = |about: &About<'_>| settings.map(|settings| prompt.key(settings, about));
        let mut left = standing;
        let mut is_wanted = Vec::new();
        let Ok(()) = subjects.each::<Infallible>(prompt, &path, text, |index, id, chunk| {
            let stands = left.remove(&id);
            is_wanted.push(stands != Some(keys(&of.about(index, chunk))[emulated]));
            Ok(())
        });
        let lines = is_wanted.iter().filter(|is_wanted| **is_wanted).count();
        let inquiry = Inquiry { lines, retract: leftover(left), ..inquiry };
        if lines == 0 {
            take(Made::Told(Box::new(Record::NothingToAsk(inquiry))));
            return Ok(());
        }
        let inquiry = Arc::new(inquiry);
        let ended = subjects.each(prompt, &path, text, |index, id, chunk| {
            if !is_wanted.get(index).copied().unwrap_or_default() {
                return Ok(());
            }
            let about = of.about(index, chunk);
            let keys = keys(&about);
            let is_asked = self.prompts.get().still_ask(Some(name), inquiry.config);
            let question = Question { inquiry: Arc::clone(&inquiry), id, key: keys[emulated], chunk: about.chunk };
            let made = if !is_asked {
                // The prompt has changed meanwhile, and the new prompt runs over its document.
                Made::Told(Box::new(Record::LeftUnasked(question)))
            } else if let Some((body, held)) = self.recall(&question.key).map_err(Some)? {
                Made::Told(Box::new(Record::Answered(Box::new(Answered { question, body, billed: Billed::default(), held }))))
            } else {
                match prompt.ask(&about, chunk::prompt_tokens, chunk::pieces) {
                    Ok(asking) => {
                        let about = Some(Joining {
                            texts: Texts::of(prompt, &about, &shared),
                            prompt: Arc::clone(prompt),
                            media_type: extracted.media_type.clone(),
                            headings: Arc::clone(&chunk.headings),
                            chunks: count,
                        });
                        let (document, requests) = (room.clone(), Held::default());
                        Made::Open(Box::new(PendingPrompt { question, keys, asking, about, document, requests }))
                    }
                    Err(cannot) => Made::Told(Box::new(Record::Unanswered(question, failure(&cannot, Some(prompt))))),
                }
            };
            if take(made) { Ok(()) } else { Err(None) }
        });
        match ended {
            Ok(()) | Err(None) => Ok(()),
            Err(Some(error)) => Err(error),
        }
    }

    /// Makes the question that a file of messages is.
    fn messages(&self, prompts: &Prompts, json: &[u8], inquiry: Inquiry, room: &Held, take: Take<'_>) -> Result<(), LedgerError> {
        let keys = messages_keys(json, prompts.messages().and_then(Messages::fingerprint));
        let id = ChunkId::of_answer(&inquiry.path, None, None);
        let key = keys[usize::from(self.shape.is_emulated())];
        let standing = self.ledger.answers(inquiry.document, Some(None))?;
        if standing.get(&id) == Some(&key) {
            take(Made::Told(Box::new(Record::NothingToAsk(Inquiry { lines: 0, ..inquiry }))));
            return Ok(());
        }
        let question = Question { inquiry: Arc::new(inquiry), id, key, chunk: None };
        let made = if let Some((body, held)) = self.recall(&key)? {
            Made::Told(Box::new(Record::Answered(Box::new(Answered { question, body, billed: Billed::default(), held }))))
        } else {
            match prompts.read_messages(json) {
                Ok(request) => {
                    let asking = Asking { requests: vec![request], long: None, parts: Vec::new() };
                    let (document, requests) = (room.clone(), Held::default());
                    Made::Open(Box::new(PendingPrompt { question, keys, asking, about: None, document, requests }))
                }
                Err(refusal) => Made::Told(Box::new(Record::Unanswered(question, failure(&refusal.into(), None)))),
            }
        };
        take(made);
        Ok(())
    }

    /// Returns an earlier answer to the same question, read back from its line.
    fn recall(&self, key: &QuestionKey) -> Result<Option<(Body, Held)>, LedgerError> {
        let Some(line) = self.ledger.answer_line(key)? else { return Ok(None) };
        let held = if line.length > SHORT as u64 {
            // After a stop nothing is told any more.
            Handle::current().block_on(self.stop.run_until_cancelled(self.room.take())).unwrap_or_default()
        } else {
            Held::default()
        };
        let text = line.names.iter().find_map(|name| config::read_line(&self.output, name, line.position, line.length, line.crc));
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).map(|body| (body, held)))
    }
}

/// Returns a whole text as one chunk.
pub(in crate::pipeline) fn whole(text: &str) -> Chunk {
    Chunk { span: 0..text.len(), headings: Arc::default(), tokens: chunk::tokens(""), part: None }
}

/// What is the same of all questions of one prompt about one text.
struct Of<'a> {
    prompt: &'a Prompt,
    path: &'a DocumentPath,
    extracted: &'a extract::Extracted,
    count: usize,
}

impl Of<'_> {
    fn about<'a>(&'a self, index: usize, chunk: &'a Chunk) -> About<'a> {
        About {
            document: self.path,
            media_type: &self.extracted.media_type,
            text: &self.extracted.text[chunk.span.clone()],
            document_text: &self.extracted.text,
            headings: &chunk.headings,
            chunk: (self.prompt.per == Per::Chunk).then_some(index),
            chunks: self.count,
        }
    }
}

/// What a prompt runs over: a whole text, or its chunks.
pub(in crate::pipeline) enum Subjects<'a> {
    Document(Chunk),
    Chunks(Cutting<'a>),
}

impl Subjects<'_> {
    /// Returns how many they are.
    pub(in crate::pipeline) fn count(&self) -> usize {
        match self {
            Self::Document(_) => 1,
            Self::Chunks(cutting) => cutting.count(),
        }
    }

    /// Sends each of them with its place and the id of its answer, until one is refused.
    pub(in crate::pipeline) fn each<E>(
        &self,
        prompt: &Prompt,
        path: &DocumentPath,
        text: &str,
        mut take: impl FnMut(usize, ChunkId, &Chunk) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Document(whole) => take(0, ChunkId::of_answer(path, Some(&prompt.name), None), whole),
            Self::Chunks(cutting) => {
                let (mut names, mut index) = (Names::new(path, text), 0);
                cutting.each(|chunk| {
                    let id = ChunkId::of_answer(path, Some(&prompt.name), Some(names.next(chunk)));
                    index += 1;
                    take(index - 1, id, chunk)
                })
            }
        }
    }
}

/// Returns what the messages in a file are known by: where a model answers, and where an emulator does. `settings` is of what shapes an
/// answer beside the file, where anything does.
pub(in crate::pipeline) fn messages_keys(json: &[u8], settings: Option<Fingerprint>) -> [QuestionKey; 2] {
    let settings = settings.map(|settings| settings.to_string());
    [false, true].map(|emulated| {
        let emulated = emulated.to_string();
        let first = [("messages", "1"), ("emulated", emulated.as_str())];
        let shapes: Vec<_> = first.into_iter().chain(settings.as_deref().map(|settings| ("settings", settings))).collect();
        QuestionKey::of(Fingerprint::of(&shapes), json)
    })
}

/// Returns the current answers that nothing has claimed, in ascending order.
fn leftover(left: HashMap<ChunkId, QuestionKey>) -> Vec<ChunkId> {
    let mut leftover: Vec<_> = left.into_keys().collect();
    leftover.sort_unstable();
    leftover
}

/// Returns the class and the advice of what is longer than the model's context.
pub(super) fn too_long(prompt: Option<&Prompt>) -> (&'static str, Cow<'static, str>) {
    let advice = match prompt {
        None => "make the conversation in the file shorter, or name a model with a larger context in it",
        Some(_) => "set the prompt's `long` to \"truncate\" or \"map-reduce\", or name a model with a larger context",
    };
    ("too-long", advice.into())
}

/// Returns why something cannot be asked, as the document's failure.
pub(in crate::pipeline) fn failure(cannot: &CannotAsk, prompt: Option<&Prompt>) -> Failure {
    let (class, advice) = match (cannot, prompt) {
        (CannotAsk::TooLong { .. }, _) => too_long(prompt),
        (CannotAsk::Refused(_), Some(_)) => ("refused", "change the prompt".into()),
        (CannotAsk::Refused(_), None) => ("messages", "fix the file; a changed file is asked again".into()),
    };
    let about = prompt.map(|prompt| format!("`{}`: ", prompt.name)).unwrap_or_default();
    Failure {
        stage: At::Chat,
        class: class.into(),
        message: format!("{about}{cannot}"),
        attempts: 0,
        request_id: None,
        advice: advice.into_owned(),
        written: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn texts_wait_for_room_one_that_is_larger_than_all_of_it_is_there_alone_and_a_stop_ends_the_wait() {
        let (texting, stop) = (Texting::default(), CancellationToken::new());
        let take = |bytes: u64| {
            let (texting, stop) = (texting.clone(), stop.clone());
            tokio::task::spawn_blocking(move || texting.take(bytes, &stop))
        };
        let first = take(40 << 20).await.unwrap().unwrap();
        assert_eq!(texting.0.available_permits(), 24 << 10);
        let second = take(1 << 40);
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(texting.0.available_permits(), 0);
        let third = take(1);
        stop.cancel();
        assert!(third.await.unwrap().is_none());
        drop(second);
        assert_eq!(texting.0.available_permits(), 64 << 10);
    }
}
