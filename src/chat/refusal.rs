//! Why a conversation cannot be sent.

use std::fmt;

/// What Bedrock or the model would not take: which field of the request, and why. Nothing has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Refusal {
    /// Where in the request, as `messages[2].content[0].image_url`.
    pub field: String,
    /// What is wrong with it, and what to do.
    pub problem: String,
}

impl Refusal {
    pub(super) fn new(field: impl fmt::Display, problem: impl Into<String>) -> Self {
        Self { field: field.to_string(), problem: problem.into() }
    }
}

/// What was left out or changed because Bedrock or the model has nothing like it, each with its field.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    pub(super) fn add(&mut self, field: impl fmt::Display, what: impl fmt::Display) {
        let note = format!("{field}: {what}");
        // One of a kind says it for all: a conversation of a thousand images has a thousand details.
        if self.0.len() < MOST_NOTES && !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    pub(super) fn into_inner(self) -> Vec<String> {
        self.0
    }
}

/// Notes of one request at most.
const MOST_NOTES: usize = 32;

/// A message's content, or one part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) message: usize,
    /// `None` where the content is one string.
    pub(super) part: Option<usize>,
}

impl At {
    /// Returns the place of a field of this part.
    pub(super) fn field(self, name: &str) -> String {
        format!("{self}.{name}")
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "messages[{}].content", self.message)?;
        self.part.map_or(Ok(()), |part| write!(f, "[{part}]"))
    }
}
