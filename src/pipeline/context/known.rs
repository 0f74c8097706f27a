//! What is known of contexts before anything is asked: they stand in a line, are kept for one, or were said of the same chunk before.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Contexts, Document, ROOM, Waiting, about, of_context};
use crate::bedrock::chat::Prompt;
use crate::bedrock::chat::prompt::{About, CannotAsk};
use crate::ledger::{AnswerLine, LedgerError, Reader};
use crate::model::{
    ChunkId, ContentHash, Context, EmbeddingKey, Fingerprint, Planned, QuestionKey, Record, Said, TokenCount, Version,
};
use crate::pipeline::ask;
use crate::pipeline::prepare::{Onward, Stage, Stopped};
use crate::{chunk, sink};

/// A document's text, with the prompt that is asked about its chunks.
pub(in crate::pipeline) struct Text<'a> {
    pub(in crate::pipeline) prompt: &'a Arc<Prompt>,
    pub(in crate::pipeline) version: &'a Arc<Version>,
    pub(in crate::pipeline) text: &'a str,
}

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

/// Returns what was said of a chunk whose line stands.
pub(in crate::pipeline) fn standing(
    ledger: &Reader,
    output: &Path,
    document: i64,
    chunk: ChunkId,
) -> Result<Option<Said>, LedgerError> {
    Ok(ledger.standing_line(document, chunk)?.and_then(|line| read(output, &line)))
}

fn read(output: &Path, AnswerLine { names, position, length, crc }: &AnswerLine) -> Option<Said> {
    let line = names.iter().find_map(|name| sink::read_line(output, name, *position, *length, *crc))?;
    serde_json::from_str(&line).ok()
}

impl Stage {
    /// Gives a chunk its context.
    pub(super) fn with_context(&self, chunk: Planned, said: Said, question: QuestionKey) -> Planned {
        let context = Context::new(said, question, &chunk.text);
        let (key, tokens) = (self.shape.key(context.input()), chunk::tokens(context.input()));
        Planned { key, tokens, context: Some(Box::new(context)), ..chunk }
    }

    /// Hands on chunks with their contexts, and those whose context is not known to where it is asked for. A chunk that `stands`, though
    /// in another place, keeps the context that it has. Blocks while the next stages are busy.
    pub(in crate::pipeline) fn with_contexts(
        &self,
        text: &Text<'_>,
        mut lines: Vec<Planned>,
        stands: Option<&(i64, impl Fn(&Planned) -> bool)>,
        onward: &Onward,
        contexts: &Contexts,
    ) -> Result<(), Stopped> {
        for chunk in &mut lines {
            // Nobody else waits for a vector under a key that is still to come.
            chunk.key = EmbeddingKey::of(&chunk.text, Fingerprint::of(&[("waits for its context", &chunk.id.to_string())]));
        }
        let Some(longest) = lines.iter().max_by_key(|chunk| chunk.text.len()) else { return Ok(()) };
        let questions = match Questions::new(text.prompt, &about(text.version, text.text, longest)) {
            Ok(questions) => questions,
            Err(cannot) => {
                let failure = of_context(ask::failure(&cannot, Some(text.prompt)));
                let mut reject = lines.into_iter().map(|chunk| Record::Rejected(chunk, failure.clone()));
                return reject.try_for_each(|record| onward.records.blocking_send(record).map_err(|_| Stopped::Closed));
            }
        };
        let document_text = &text.text[..questions.kept];
        let mut waiting = Vec::new();
        for chunk in lines {
            let keys = questions.keys(&about(text.version, document_text, &chunk));
            let key = keys[usize::from(self.shape.is_emulated())];
            let said = match stands {
                Some((document, stands)) if stands(&chunk) => standing(&self.ledger, &self.output, *document, chunk.id)?,
                _ => None,
            };
            let said = match said {
                Some(said) => Some(said),
                None => recall(&self.ledger, &self.output, &key)?,
            };
            match said {
                Some(said) => self.onward(self.with_context(chunk, said, key), onward)?,
                None => waiting.push(Waiting { chunk, keys }),
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let size = (text.text.len() / 1024 + 1).min(ROOM);
        let size = u32::try_from(size).expect("the room is small");
        let room = Handle::current().block_on(Arc::clone(&contexts.room).acquire_many_owned(size));
        let document = Document {
            version: Arc::clone(text.version),
            text: document_text.into(),
            chunks: waiting,
            is_kept: questions.is_kept(),
            _room: room.expect("the room is never closed"),
        };
        contexts.documents.blocking_send(document).map_err(|_| Stopped::Closed)
    }
}
