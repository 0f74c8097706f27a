//! Known contexts: they are in a line, cached for one, or were written for the same chunk before.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Contexts, Document, ROOM, WAITING, Waiting, about, of_context};
use crate::chat::Prompt;
use crate::chat::prompt::{About, CannotAsk};
use crate::chunk;
use crate::commitlog::config;
use crate::domain::{
    ChunkId, ContentHash, Context, EmbeddingKey, Fingerprint, Planned, QuestionKey, Record, Said, TokenCount, Version,
};
use crate::ledger::{AnswerLine, LedgerError, Reader};
use crate::pipeline::chat;
use crate::pipeline::prepare::{Onward, PrepareStage, Stopped};
use crate::plan::Want;

/// A document's text, with the prompt that runs over its chunks.
pub(in crate::pipeline) struct ContextInput<'a> {
    pub(in crate::pipeline) prompt: &'a Arc<Prompt>,
    pub(in crate::pipeline) version: &'a Arc<Version>,
    pub(in crate::pipeline) text: &'a str,
    /// The longest chunk that gets a line.
    pub(in crate::pipeline) longest: &'a Planned,
    /// The document's row, where it is known.
    pub(in crate::pipeline) document: Option<i64>,
}

/// Chunks that get a line, sent one after the other.
type PlannedLines<'a> = &'a dyn Fn(&mut dyn FnMut(Planned, Want) -> Result<(), Stopped>) -> Result<(), Stopped>;

/// Questions about the chunks of one document.
pub(in crate::pipeline) struct Questions<'a> {
    prompt: &'a Prompt,
    /// How much of the document's text is asked with, in bytes from its beginning.
    pub(in crate::pipeline) kept: usize,
    /// What is the same in all of them.
    shared: String,
    hash: ContentHash,
    settings: [Fingerprint; 2],
}

impl<'a> Questions<'a> {
    /// Looks how much of a document can be asked with; `longest` is about its longest chunk.
    pub(in crate::pipeline) fn new(prompt: &'a Prompt, longest: &About<'_>) -> Result<Self, CannotAsk> {
        let kept = prompt.fit(longest, chunk::prompt_tokens)?;
        let shared = prompt.shared(&About { document_text: &longest.document_text[..kept], ..*longest });
        let settings =
            [false, true].map(|emulated| Fingerprint::of(&[("context of", &prompt.fingerprint(emulated).to_string())]));
        Ok(Self { prompt, kept, hash: ContentHash::of(shared.as_bytes()), shared, settings })
    }

    /// Returns what the question about a chunk is known by: where a model answers, and where an emulator does.
    pub(in crate::pipeline) fn keys(&self, about: &About<'_>) -> [QuestionKey; 2] {
        let mut text = self.hash.as_bytes().to_vec();
        text.extend(self.prompt.rest(about).into_bytes());
        self.settings.map(|settings| QuestionKey::of(settings, &text))
    }

    fn is_kept(&self) -> bool {
        self.prompt.keeps(&self.shared, chunk::tokens)
    }

    /// Returns the tokens that the model keeps, if it keeps any.
    pub(in crate::pipeline) fn kept_tokens(&self) -> Option<TokenCount> {
        self.is_kept().then(|| chunk::tokens(&self.shared))
    }
}

/// Returns what was said in answer to a question, if it was ever asked and the answer is to be had.
pub(in crate::pipeline) fn recall(ledger: &Reader, output: &Path, question: &QuestionKey) -> Result<Option<Said>, LedgerError> {
    if let Some(kept) = ledger.kept(question)? {
        return Ok(serde_json::from_str(&kept).ok());
    }
    Ok(ledger.answer_line(question)?.and_then(|line| read(output, &line)))
}

/// Returns what was said of a chunk whose line is current.
pub(in crate::pipeline) fn standing(
    ledger: &Reader,
    output: &Path,
    document: i64,
    chunk: ChunkId,
) -> Result<Option<Said>, LedgerError> {
    Ok(ledger.standing_line(document, chunk)?.and_then(|line| read(output, &line)))
}

fn read(output: &Path, AnswerLine { names, position, length, crc }: &AnswerLine) -> Option<Said> {
    let line = names.iter().find_map(|name| config::read_line(output, name, *position, *length, *crc))?;
    serde_json::from_str(&line).ok()
}

impl Contexts {
    /// Sends a document whose chunks are to come. Blocks while there is no room for it.
    fn open(&self, of: &ContextInput<'_>, text: Arc<str>, is_kept: bool) -> Result<mpsc::Sender<Waiting>, Stopped> {
        let size = (of.text.len() / 1024 + 1).min(ROOM);
        let size = u32::try_from(size).expect("the room is small");
        let room = Handle::current().block_on(Arc::clone(&self.room).acquire_many_owned(size));
        let (asked, chunks) = mpsc::channel(WAITING);
        let room = room.expect("the room is never closed");
        let document = Document { version: Arc::clone(of.version), text, chunks, is_kept, _room: room };
        self.documents.blocking_send(document).map_err(|_| Stopped::Closed)?;
        Ok(asked)
    }
}

impl PrepareStage {
    /// Gives a chunk its context.
    pub(super) fn with_context(&self, chunk: Planned, said: Said, question: QuestionKey) -> Planned {
        let context = Context::new(said, question, &chunk.text);
        let (key, tokens) = (self.shape.key(context.input()), chunk::tokens(context.input()));
        Planned { key, tokens, context: Some(Box::new(context)), ..chunk }
    }

    /// Sends chunks with their contexts, and those whose context is not known to where it is asked for. A chunk that `stands`, though
    /// in another place, keeps the context that it has. Blocks while the next stages are busy.
    pub(in crate::pipeline) fn with_contexts(
        &self,
        text: &ContextInput<'_>,
        lines: PlannedLines<'_>,
        onward: &Onward,
        contexts: &Contexts,
    ) -> Result<(), Stopped> {
        let unkeyed = |chunk: Planned| {
            // Nobody else waits for a vector under a key that is still to come.
            let key = EmbeddingKey::of(&chunk.text, Fingerprint::of(&[("waits for its context", &chunk.id.to_string())]));
            Planned { key, ..chunk }
        };
        let questions = match Questions::new(text.prompt, &about(text.version, text.text, text.longest)) {
            Ok(questions) => questions,
            Err(cannot) => {
                let failure = of_context(chat::failure(&cannot, Some(text.prompt)));
                return lines(&mut |chunk, _| {
                    let record = Record::Rejected(unkeyed(chunk), failure.clone());
                    onward.records.blocking_send(record).map_err(|_| Stopped::Closed)
                });
            }
        };
        let document_text = &text.text[..questions.kept];
        let mut asked: Option<mpsc::Sender<Waiting>> = None;
        lines(&mut |chunk, want| {
            let chunk = unkeyed(chunk);
            let keys = questions.keys(&about(text.version, document_text, &chunk));
            let key = keys[usize::from(self.shape.is_emulated())];
            let said = match (text.document, want) {
                (Some(document), Want::Place) => standing(&self.ledger, &self.output, document, chunk.id)?,
                _ => None,
            };
            let said = match said {
                Some(said) => Some(said),
                None => recall(&self.ledger, &self.output, &key)?,
            };
            if let Some(said) = said {
                return self.onward(self.with_context(chunk, said, key), onward);
            }
            if asked.is_none() {
                asked = Some(contexts.open(text, document_text.into(), questions.is_kept())?);
            }
            let Some(asked) = &asked else { return Ok(()) };
            asked.blocking_send(Waiting { chunk, keys }).map_err(|_| Stopped::Closed)
        })
    }
}
