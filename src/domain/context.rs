//! A chunk's context, written by a chat model and embedded with the chunk.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::QuestionKey;

/// What a chat model said of a chunk. It comes before the chunk's text where that is embedded, and beside it in its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// What it said.
    pub said: Said,
    /// What it was asked.
    pub question: QuestionKey,
    input: Box<str>,
}

/// What a chat model said, under the names that it has in a chunk's line: so it can be read back from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The context.
    pub context: String,
    /// Whether it was cut at the prompt's `max-tokens`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub context_cut: bool,
}

impl Context {
    /// Puts what was said, in answer to a question, before a chunk's text.
    #[must_use]
    pub fn new(said: Said, question: QuestionKey, text: &str) -> Self {
        let input = Self::before(Some(&said.context), text).into();
        Self { said, question, input }
    }

    /// Returns the same before a part of the text.
    #[must_use]
    pub fn of_part(&self, text: &str) -> Self {
        Self::new(self.said.clone(), self.question, text)
    }

    /// Returns what is embedded: the context, an empty line, and the text.
    #[must_use]
    pub fn input(&self) -> &str {
        &self.input
    }

    /// Returns what is embedded of a text with this context, or without one.
    #[must_use]
    pub fn before<'a>(context: Option<&str>, text: &'a str) -> Cow<'a, str> {
        context.map_or(Cow::Borrowed(text), |context| Cow::Owned(format!("{context}\n\n{text}")))
    }
}
