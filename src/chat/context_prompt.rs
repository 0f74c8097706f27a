//! A prompt whose answers are contexts: each is put before its chunk when that is embedded. The document's text comes first in it, so that a
//! model with a prompt cache takes it once for all chunks of the document.

use super::capabilities::Caching;
use super::openai::{Content, Part};
use super::template::{Marks, Variable};
use super::{
    prompt::{About, CannotAsk, Estimate, LONGEST, Long, Per, Prompt, shorten},
    request::Prepared,
};
use crate::domain::TokenCount;
use crate::report::Invalid;

/// Shorter beginnings are kept by no model (user guide, prompt caching: from 1,000 tokens for Nova to 4,096 for Claude Haiku 4.5).
const LEAST_KEPT: u64 = 1_000;

impl Prompt {
    /// Makes the prompt one for contexts.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn for_contexts(self) -> Result<Self, Invalid> {
        let invalid = |problem: &str, help: &str| {
            Err(Invalid { key: "embed.context", problem: format!("is `{}`, {problem}", self.name), help: help.into() })
        };
        if self.per != Per::Chunk {
            return invalid("which runs once for each document", "say `per = \"chunk\"` in that prompt");
        }
        if self.config.long == Long::MapReduce {
            return invalid(
                "which asks about long texts in parts",
                "say `long = \"truncate\"` or `long = \"fail\"` in that prompt",
            );
        }
        if !self.template.begins_with_document() {
            return invalid(
                "in which `{{document-text}}` follows text that differs for each chunk, so that no model can cache it",
                "put `{{document-text}}` before `{{text}}`, `{{headings}}` and `{{chunk}}`",
            );
        }
        Ok(Self { is_for_contexts: true, ..self })
    }

    /// Returns how many bytes of a document's text are asked with, from its beginning on, where this is the longest of its chunks.
    ///
    /// # Errors
    /// When it does not fit the model's context and may not be shortened, or when the model would not take it.
    pub fn fit(&self, about: &About<'_>, estimate: Estimate) -> Result<usize, CannotAsk> {
        let measure = |document_text: &str| {
            // How much of a text is asked with is part of what the question is known by, so nothing of it may be drawn.
            let content = self.content(&About { document_text, ..*about }, estimate, Marks::Known);
            Ok::<_, CannotAsk>(Prepared::new(self.request(content)?, estimate).reserved())
        };
        let context = self.traits.context;
        if about.document_text.len() > LONGEST {
            let needed = estimate(about.document_text);
            if self.config.long == Long::Fail || !self.template.has(Variable::DocumentText) {
                return Err(CannotAsk::TooLong { needed, context });
            }
            let beginning = &about.document_text[..about.document_text.floor_char_boundary(LONGEST)];
            return self.fit(&About { document_text: beginning, ..*about }, estimate);
        }
        let needed = measure(about.document_text)?;
        if needed <= context {
            return Ok(about.document_text.len());
        }
        let too_long = CannotAsk::TooLong { needed, context };
        if self.config.long == Long::Fail || !self.template.has(Variable::DocumentText) {
            return Err(too_long);
        }
        // What is shortened must fit for certain, and estimates of tokens are off by some percent.
        let room = TokenCount::new(context.get() / 10 * 9);
        shorten(about.document_text, room, measure)?.ok_or(too_long)
    }

    /// Returns what of the prompt is the same for every chunk of a document, as a question is known by it.
    #[must_use]
    pub fn shared(&self, about: &About<'_>) -> String {
        self.template.fill_shared(about, Marks::Known)
    }

    /// Returns what of it is another for each, likewise.
    #[must_use]
    pub fn rest(&self, about: &About<'_>) -> String {
        self.template.fill_rest(about, Marks::Known)
    }

    /// Returns whether the model keeps what is the same for every chunk.
    #[must_use]
    pub fn keeps(&self, shared: &str, estimate: Estimate) -> bool {
        self.is_for_contexts && self.traits.caching != Caching::No && estimate(shared).get() >= LEAST_KEPT
    }

    /// Returns what the user says: with a cache point behind the document, where the model is to keep it.
    pub(super) fn content(&self, about: &About<'_>, estimate: Estimate, marks: Marks) -> Content {
        if self.is_for_contexts && self.keeps(&self.shared(about), estimate) {
            let [shared, rest] = [self.template.fill_shared(about, marks), self.template.fill_rest(about, marks)];
            return Content::Parts(vec![Part::text(shared).cached(self.config.cache_ttl), Part::text(rest)]);
        }
        Content::Text(self.template.fill(about, marks))
    }
}
