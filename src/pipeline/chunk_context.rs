//! Contexts: a chat model describes each chunk, and the chunk is embedded with that.
//!
//! Each answer is committed as soon as it is there, so a crash repeats it only where it was in flight; once the chunk's
//! vector is committed, the line has it. A current chunk keeps its context when its document is edited elsewhere. While the model does not
//! answer, documents wait here, and in front of here: without their contexts they would be other vectors.

mod cache;

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, info_span};

use super::call::Place;
use super::chat::{self, Answering, Ended, Joining, Spent, Texts, converse};
use super::embed::no_more_alone;
use super::prepare::{self, Onward, Stopped};
use super::resizable_semaphore::Slots;
use super::{PipelineError, owned};
use crate::chat::Prompt;
use crate::chat::prompt::{About, Long};
use crate::chat::response::Answer;
use crate::chunk;
use crate::domain::model_limits::CHARACTERS_PER_TOKEN;
use crate::domain::{Ending, Failure, Kept, Planned, QuestionKey, Record, Said, Stage as At, Version};

pub(super) use cache::{ContextInput, Questions, recall, standing};

/// Texts of documents that may be here, in KiB; one that is larger is here alone.
pub(super) const ROOM: usize = 64 << 10;

/// Chunks of a document that wait here to be asked about; the rest of them waits to be cut.
const WAITING: usize = 256;

/// Where documents go whose chunks are to be given contexts.
pub(super) struct Contexts {
    pub(super) documents: mpsc::Sender<Document>,
    pub(super) room: Arc<Semaphore>,
}

/// A document whose chunks get contexts.
pub(super) struct Document {
    version: Arc<Version>,
    /// What is asked with of its text.
    text: Arc<str>,
    chunks: mpsc::Receiver<Waiting>,
    /// Whether the model keeps the text once it has been asked about a first chunk.
    is_kept: bool,
    _room: OwnedSemaphorePermit,
}

/// A chunk, and what its question is known by: where a model answers, and where an emulator does.
struct Waiting {
    chunk: Planned,
    keys: [QuestionKey; 2],
}

/// What the stage works with.
pub(super) struct ContextStage {
    pub(super) answering: Answering,
    pub(super) prompt: Arc<Prompt>,
    /// Takes chunks on with their contexts.
    pub(super) prepare: Arc<prepare::PrepareStage>,
    pub(super) onward: Onward,
    pub(super) max_in_flight: watch::Receiver<NonZeroUsize>,
}

/// Runs until `documents` ends and every chunk has been sent.
pub(super) async fn run(stage: ContextStage, documents: mpsc::Receiver<Document>) -> Result<(), PipelineError> {
    let most = stage.max_in_flight.borrow().get();
    let feeding = stage.answering.lane.feeding();
    let stop = stage.answering.under.stop.clone();
    let slots = Arc::new(Mutex::new(Slots::new(stage.max_in_flight.clone())));
    let stage = Arc::new(stage);
    ReceiverStream::new(documents)
        .take_until(stop.cancelled_owned())
        // The guard goes with the last document.
        .chain(stream::once(async move { drop(feeding) }).filter_map(|()| future::ready(None)))
        .map(|document| owned(ask_about(Arc::clone(&stage), document, Arc::clone(&slots))))
        .buffer_unordered(most)
        // Only poll: questions in flight are tasks of their own.
        .try_for_each(|()| future::ready(Ok(())))
        .await
}

/// Asks about the chunks of one document, each in a slot of its own; after a stop about no more of them.
async fn ask_about(stage: Arc<ContextStage>, document: Document, slots: Arc<Mutex<Slots>>) -> Result<(), PipelineError> {
    let Document { version, text, mut chunks, mut is_kept, _room } = document;
    let mut asked = JoinSet::new();
    let stop = stage.answering.under.stop.clone();
    while let Some(waiting) = stop.run_until_cancelled(chunks.recv()).await.flatten() {
        let Some(slot) = stop.run_until_cancelled(async { slots.lock().await.take().await }).await else { break };
        let place = Place::new(&stage.answering.lane, Some(slot));
        let (stage, version, text) = (Arc::clone(&stage), Arc::clone(&version), Arc::clone(&text));
        let span = info_span!("ask", prompt = &*stage.prompt.name);
        asked.spawn(ask_about_chunk(stage, version, text, waiting, place).instrument(span));
        // What the model keeps is there for others only when the first has been answered: it is paid for once.
        if std::mem::take(&mut is_kept) {
            ended(asked.join_next().await)?;
        }
        while let Some(one) = asked.try_join_next() {
            ended(Some(one))?;
        }
    }
    while let Some(one) = asked.join_next().await {
        ended(Some(one))?;
    }
    Ok(())
}

fn ended(one: Option<Result<Result<(), PipelineError>, JoinError>>) -> Result<(), PipelineError> {
    one.map_or(Ok(()), |one| one.map_err(PipelineError::Panicked).flatten())
}

/// Asks about one chunk, and sends it with what was said.
async fn ask_about_chunk(
    stage: Arc<ContextStage>,
    version: Arc<Version>,
    text: Arc<str>,
    Waiting { chunk, keys }: Waiting,
    mut place: Place,
) -> Result<(), PipelineError> {
    let prompt = Arc::clone(&stage.prompt);
    // It takes time with the length of the document.
    let making = spawn_blocking(move || {
        let about = about(&version, &text, &chunk);
        let asking = prompt.ask(&about, chunk::prompt_tokens, chunk::pieces);
        let texts = Texts { text: about.text.into(), document_text: Arc::clone(&text) };
        let texts = (prompt.long() != Long::Fail).then_some(texts);
        (chunk, asking, texts)
    });
    let (chunk, asking, texts) = making.await.map_err(PipelineError::Panicked)?;
    let prompt = &stage.prompt;
    let records = &stage.onward.records;
    let record = match asking {
        Err(cannot) => Record::Rejected(chunk, of_context(chat::failure(&cannot, Some(prompt)))),
        Ok(asking) => {
            let joining = Joining {
                texts,
                prompt: Arc::clone(prompt),
                media_type: chunk.version.media_type.clone(),
                headings: Arc::clone(&chunk.headings),
                chunks: chunk.version.chunks,
            };
            let mut spent = Spent::default();
            let about_what = (&chunk.version.path, Some(chunk.index), None);
            match converse(&stage.answering, &mut place, about_what, asking, Some(&joining), &mut spent).await {
                Ok((answer, _)) => {
                    let question = keys[usize::from(answer.emulated)];
                    let said = said(&answer, prompt);
                    let kept = Kept {
                        question,
                        answer: said.as_ref().map(|said| serde_json::to_string(said).expect("a context is JSON")),
                        model: format!("{}{}", if answer.emulated { "emulator/" } else { "" }, prompt.model),
                        billed: spent.billed,
                    };
                    // A writer that has stopped has ended the pipeline, and says why itself.
                    for record in std::iter::once(Record::Kept(kept)).chain(no_more_alone(&stage.answering.lane)) {
                        if records.send(record).await.is_err() {
                            return Ok(());
                        }
                    }
                    match said {
                        Some(said) => {
                            drop(place);
                            return stage.hand_on(chunk, said, question).await;
                        }
                        None => Record::Rejected(chunk, no_context(&answer, prompt)),
                    }
                }
                Err(Ended::Halted(error)) => return Err(PipelineError::NoContexts(error)),
                Err(Ended::Broken(error)) => return Err(error),
                Err(Ended::Left) => Record::Left(chunk),
                Err(Ended::Stopped) => return Ok(()),
                Err(Ended::Failed(failure)) => Record::Rejected(chunk, of_context(failure)),
            }
        }
    };
    let _ended = records.send(record).await;
    Ok(())
}

impl ContextStage {
    async fn hand_on(self: &Arc<Self>, chunk: Planned, said: Said, question: QuestionKey) -> Result<(), PipelineError> {
        let stage = Arc::clone(self);
        let handing = spawn_blocking(move || {
            let chunk = stage.prepare.with_context(chunk, said, question);
            stage.prepare.onward(chunk, &stage.onward)
        });
        match handing.await.map_err(PipelineError::Panicked)? {
            Ok(()) | Err(Stopped::Closed) => Ok(()),
            Err(Stopped::Ledger(error)) => Err(error.into()),
        }
    }
}

/// Returns what of an answer is a context, if it is one. It has no more room than was left for it.
fn said(answer: &Answer, prompt: &Prompt) -> Option<Said> {
    let text = answer.text.trim();
    let most = CHARACTERS_PER_TOKEN * prompt.max_tokens() as usize;
    let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    let is_cut = answer.ending == Ending::CutAtMaxTokens || end < text.len();
    let is_context = answer.ending.is_whole() || answer.ending == Ending::CutAtMaxTokens;
    (is_context && !text.is_empty()).then(|| Said { context: text[..end].to_owned(), context_cut: is_cut })
}

fn no_context(answer: &Answer, prompt: &Prompt) -> Failure {
    Failure {
        stage: At::Context,
        class: "no-context".into(),
        message: format!("`{}`: the model said nothing that could be a context ({})", prompt.name, answer.stop_reason),
        attempts: 1,
        request_id: answer.request_id.clone(),
        advice: "change the prompt, or leave such documents out with its `exclude`: they are embedded without a context then"
            .into(),
        written: None,
    }
}

fn of_context(failure: Failure) -> Failure {
    Failure { stage: At::Context, ..failure }
}

fn about<'a>(version: &'a Version, text: &'a str, chunk: &'a Planned) -> About<'a> {
    About {
        document: &version.path,
        media_type: &version.media_type,
        text: &chunk.text,
        document_text: text,
        headings: &chunk.headings,
        chunk: Some(chunk.index),
        chunks: version.chunks,
    }
}
