//! The chat questions of a dry run, with tokens and cost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Survey;
use crate::chat::Prompt;
use crate::chat::openai::Messages;
use crate::chat::prompt::{About, Asking, CannotAsk, Per};
use crate::chunk;
use crate::domain::{Chunk, ChunkId, Context, DocumentPath, TokenCount};
use crate::extract::{self, Extracted};
use crate::folder;
use crate::ledger::{self, LedgerError, Waits};
use crate::pipeline::chat::Subjects;
use crate::pipeline::document_chunks::Cutting;
use crate::pipeline::{chat, chunk_context};
use crate::plan::{Names, Plan, Want};

/// What one prompt would ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// The models that are asked; several only for files of messages.
    pub models: Vec<String>,
    /// Questions that are put.
    pub asked: u64,
    /// That were answered before.
    pub cached: u64,
    /// That cannot be put: the text is too long, or the model would not take it.
    pub refused: u64,
    /// Calls, if none fails.
    pub calls: u64,
    /// Tokens that go in, as estimated, those of the prompt cache included.
    pub input: TokenCount,
    /// Those of them that are read from the prompt cache.
    pub cache_read: TokenCount,
    /// Those of them that are written to it.
    pub cache_write: TokenCount,
    /// The most tokens that come out.
    pub output: TokenCount,
}

/// By the prompt's name; `None` for files of messages.
pub type ByPrompt = BTreeMap<Option<Arc<str>>, Questions>;

/// What of the ledger is looked at together.
const PAGE: usize = 256;

/// A text that prompts run over.
pub(super) struct PromptInput<'a> {
    pub(super) path: &'a DocumentPath,
    pub(super) document: Option<&'a ledger::DocumentRow>,
    pub(super) extracted: &'a Extracted,
}

impl PromptInput<'_> {
    fn about<'a>(&'a self, chunk: &'a Chunk, index: Option<usize>, document_text: &'a str, chunks: usize) -> About<'a> {
        About {
            document: self.path,
            media_type: &self.extracted.media_type,
            text: &self.extracted.text[chunk.span.clone()],
            document_text,
            headings: &chunk.headings,
            chunk: index,
            chunks,
        }
    }
}

impl Questions {
    fn take(&mut self, asking: Result<Asking, CannotAsk>) {
        let Ok(Asking { requests, .. }) = asking else {
            self.refused += 1;
            return;
        };
        self.asked += 1;
        let (mut parts, mut longest) = (TokenCount::default(), TokenCount::default());
        for request in &requests {
            self.calls += 1;
            self.input += request.estimated_input();
            longest = request.longest_answer();
            parts += longest;
        }
        self.output += parts;
        if requests.len() > 1 {
            // The parts' answers take one more question, at least.
            self.calls += 1;
            self.input += parts;
            self.output += longest;
        }
    }

    fn of(&mut self, model: &str) -> &mut Self {
        if self.models.iter().all(|known| known != model) {
            self.models.push(model.to_owned());
        }
        self
    }
}

impl Survey {
    /// Counts the questions about a text that a run takes.
    pub(super) fn ask(&mut self, of: &PromptInput<'_>, cutting: Cutting<'_>) -> Result<(), LedgerError> {
        let prompts = Arc::clone(&self.parts.prompts);
        let chunks = Subjects::Chunks(cutting);
        let names = prompts.asks(of.path).into_iter().filter_map(|asks| asks.prompt);
        names.filter_map(|name| prompts.find(&name)).try_for_each(|prompt| match prompt.per {
            Per::Document => self.ask_one(prompt, of, &Subjects::Document(chat::whole(&of.extracted.text))),
            Per::Chunk => self.ask_one(prompt, of, &chunks),
        })
    }

    fn ask_one(&mut self, prompt: &Arc<Prompt>, of: &PromptInput<'_>, subjects: &Subjects<'_>) -> Result<(), LedgerError> {
        let (text, parts, count) = (&of.extracted.text, Arc::clone(&self.parts), subjects.count());
        let settings = prompt.fingerprint(self.parts.shape.is_emulated());
        let standing = match (&self.parts.ledger, of.document) {
            (Some(ledger), Some(document)) => ledger.answers(document.id, Some(Some(&prompt.name)))?,
            _ => HashMap::new(),
        };
        let questions = self.questions.entry(Some(Arc::clone(&prompt.name))).or_default().of(prompt.model.as_str());
        subjects.each(prompt, of.path, text, |index, id, chunk| {
            let place = (prompt.per == Per::Chunk).then_some(index);
            let about = of.about(chunk, place, text, count);
            let key = prompt.key(settings, &about);
            if standing.get(&id) == Some(&key) {
                return Ok(());
            }
            let known = parts.ledger.as_ref().map_or(Ok(None), |ledger| ledger.answer_line(&key))?;
            if known.is_some() {
                questions.cached += 1;
            } else {
                questions.take(prompt.ask(&about, chunk::prompt_tokens, chunk::pieces));
            }
            Ok(())
        })
    }

    /// Counts what is asked for the contexts of chunks that get a line, and what is embedded of them. What will be said is not known, so
    /// its own tokens are not among those that are embedded.
    pub(super) fn contexts(
        &mut self,
        prompt: &Arc<Prompt>,
        of: &PromptInput<'_>,
        plan: &Plan,
        cutting: &Cutting<'_>,
    ) -> Result<(), LedgerError> {
        let (text, total) = (&of.extracted.text, plan.wants.len());
        let name = Some(Arc::clone(&prompt.name));
        self.questions.entry(name.clone()).or_default().of(prompt.model.as_str());
        let Some((index, _, longest)) = &plan.longest else { return Ok(()) };
        let known = chunk_context::Questions::new(prompt, &of.about(longest, Some(*index), text, total));
        let Ok(known) = known else {
            self.questions.entry(name).or_default().refused += plan.lines as u64;
            return Ok(());
        };
        let (document_text, kept) = (&text[..known.kept], known.kept_tokens());
        let emulated = usize::from(self.parts.shape.is_emulated());
        let mut is_written = false;
        let (mut names, mut wants) = (Names::new(of.path, text), plan.wants.iter().enumerate());
        cutting.each(|chunk| {
            let id = names.next(chunk);
            let Some((index, want)) = wants.next().filter(|(_, want)| **want != Want::Nothing) else { return Ok(()) };
            let about = of.about(chunk, Some(index), document_text, total);
            // A chunk that has only moved keeps the context of its line; else an earlier answer to the same question is used.
            let said = match (&self.parts.ledger, of.document) {
                (Some(ledger), Some(document)) if *want == Want::Place => {
                    chunk_context::standing(ledger, &self.parts.output, document.id, id)?
                }
                _ => None,
            };
            let said = match (said, &self.parts.ledger) {
                (None, Some(ledger)) => chunk_context::recall(ledger, &self.parts.output, &known.keys(&about)[emulated])?,
                (said, _) => said,
            };
            let questions = self.questions.entry(name.clone()).or_default();
            if let Some(said) = said {
                questions.cached += 1;
                let input = Context::before(Some(&said.context), about.text);
                return self.chunk(&input, chunk::tokens(&input));
            }
            questions.take(prompt.ask(&about, chunk::prompt_tokens, chunk::pieces));
            // The first question writes the document's text to the prompt cache, the others read it.
            if let Some(kept) = kept {
                *(if is_written { &mut questions.cache_read } else { &mut questions.cache_write }) += kept;
                is_written = true;
            }
            self.forecast.without_context += 1;
            self.embed(about.text, chunk.tokens);
            Ok(())
        })
    }

    /// Counts a file that is a question itself.
    pub(super) fn messages(&mut self, json: &[u8], path: &DocumentPath, document: Option<i64>) -> Result<(), LedgerError> {
        let settings = self.parts.prompts.messages().and_then(Messages::fingerprint);
        let key = chat::messages_keys(json, settings)[usize::from(self.parts.shape.is_emulated())];
        let questions = self.questions.entry(None).or_default();
        if let Some(ledger) = &self.parts.ledger {
            let standing = document.map_or(Ok(HashMap::new()), |document| ledger.answers(document, Some(None)))?;
            if standing.get(&ChunkId::of_answer(path, None, None)) == Some(&key) {
                return Ok(());
            }
            if ledger.answer_line(&key)?.is_some() {
                questions.cached += 1;
                return Ok(());
            }
        }
        match self.parts.prompts.read_messages(json) {
            Err(_) => questions.refused += 1,
            Ok(request) => {
                let model = request.model().to_string();
                questions.of(&model).take(Ok(Asking { requests: vec![request], long: None, parts: Vec::new() }));
            }
        }
        Ok(())
    }

    /// Counts the questions about unchanged documents: what waits in the ledger, and what new or changed prompts ask.
    pub(super) fn backlog(&mut self) -> Result<(), LedgerError> {
        let Some(ledger) = self.parts.ledger.as_ref().map(ledger::Reader::again).transpose()? else { return Ok(()) };
        let prompts = Arc::clone(&self.parts.prompts);
        let emulated = self.parts.shape.is_emulated();
        let messages = chat::messages_config();
        let named = prompts.answered().map(|prompt| (Some(prompt), prompts.fingerprint(prompt, emulated)));
        for (prompt, config) in named.chain(prompts.messages().map(|_| (None, messages))) {
            let mut after = i64::MIN;
            loop {
                let page = ledger.unasked(prompt.map(|prompt| &*prompt.name), config, messages, after, PAGE)?;
                let Some(last) = page.last() else { break };
                after = last.document;
                for waits in page.into_iter().filter(|waits| !self.handled.contains(&waits.document)).collect::<Vec<_>>() {
                    self.waits(prompt, &waits, &ledger)?;
                }
            }
        }
        Ok(())
    }

    fn waits(&mut self, prompt: Option<&Arc<Prompt>>, waits: &Waits, ledger: &ledger::Reader) -> Result<(), LedgerError> {
        let Some(seen) = ledger.observation(waits.document)? else { return Ok(()) };
        let Ok(contents) = folder::read_insisting(&self.parts.source, &waits.path, &seen, &self.stop) else { return Ok(()) };
        if contents.hash != waits.version {
            return Ok(());
        }
        let Some(prompt) = prompt else { return self.messages(&contents.bytes, &waits.path, Some(waits.document)) };
        if !self.parts.prompts.is_for(&prompt.name, &waits.path) {
            return Ok(());
        }
        let Ok(extracted) = extract::text(&waits.path, contents.bytes) else { return Ok(()) };
        let document = ledger.document(&waits.path)?;
        let parts = Arc::clone(&self.parts);
        let subjects = match prompt.per {
            Per::Document => Subjects::Document(chat::whole(&extracted.text)),
            Per::Chunk => {
                let cuts = self.cuts(document.as_ref())?;
                Subjects::Chunks(Cutting::new(&waits.path, &extracted, &parts.chunk, &parts.limits, cuts))
            }
        };
        self.ask_one(prompt, &PromptInput { path: &waits.path, document: document.as_ref(), extracted: &extracted }, &subjects)
    }
}
