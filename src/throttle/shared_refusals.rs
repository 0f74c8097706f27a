//! Rejections that may concern every input: the same message for different inputs, and no call served since.
//!
//! A 400 does not tell whether the input is at fault or what every input shares: the account, a guardrail, a parameter. The answers to
//! other inputs do. So a refused input is in doubt until another one that was sent later has been served, which makes the refusal its
//! own; or until enough different inputs are refused in the same words, which makes it everybody's and closes the gate.

use crate::bedrock::error::CallError;
use crate::domain::ContentHash;

/// Kinds of words that are kept apart, and inputs in doubt of each: what comes beyond that is in doubt all the same.
const MOST_WORDS: usize = 8;
const MOST_INPUTS: usize = 64;

/// So many different inputs that are rejected alike are refused for something that they share.
const ALIKE: usize = 2;
/// The same where others were served while these were on their way: some documents are bad then, or what is shared has just gone.
const ALIKE_AMONG_SERVED: usize = 16;
/// The same for requests that people have written: those have parameters of their own, and are copied from each other.
const ALIKE_WRITTEN: usize = 8;

/// The identity of an input whose refusal may concern all inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    id: ContentHash,
    is_written: bool,
}

impl Input {
    /// A text that the configuration has chat prompts for.
    #[must_use]
    pub fn configured(id: ContentHash) -> Self {
        Self { id, is_written: false }
    }

    /// A whole request that a person has written, parameters included.
    #[must_use]
    pub fn written(id: ContentHash) -> Self {
        Self { id, is_written: true }
    }

    /// Returns whether everything but the text of the request comes from the configuration.
    #[must_use]
    pub fn is_configured(self) -> bool {
        !self.is_written
    }

    fn enough(self) -> usize {
        if self.is_written { ALIKE_WRITTEN } else { ALIKE }
    }
}

/// A refused input whose fault is not decided.
#[derive(Debug, Clone)]
pub struct Doubt {
    /// The attempt that was refused first.
    pub(super) attempt: u64,
    /// The attempt that was refused last.
    pub(super) last: u64,
    /// How often the gate had been closed for all inputs by then.
    pub(super) closings: u64,
}

/// The refusals since the last call that was served.
#[derive(Debug, Default)]
pub(super) struct Doubts(Vec<Alike>);

#[derive(Debug)]
struct Alike {
    words: String,
    cause: CallError,
    enough: usize,
    /// Whether others were served while these were on their way.
    is_among_served: bool,
    /// Each input with the attempt that was refused first, in ascending order of these.
    inputs: Vec<(u64, Input)>,
    /// The last attempt that had begun when there were enough of them.
    enough_at: Option<u64>,
}

impl Alike {
    /// Notes whether there are enough of them now. `begun` is the last attempt that has begun.
    fn count(&mut self, begun: u64) {
        let enough = if self.is_among_served { self.enough.max(ALIKE_AMONG_SERVED) } else { self.enough };
        if self.inputs.len() < enough {
            self.enough_at = None;
        } else {
            self.enough_at.get_or_insert(begun);
        }
    }
}

impl Doubts {
    /// Adds a refusal. `begun` is the last attempt that has begun by now; `is_among_served` says whether another one was served while this
    /// one was on its way.
    pub(super) fn add(&mut self, attempt: u64, input: Input, error: &CallError, begun: u64, is_among_served: bool) {
        let words = error.words();
        let at = self.0.iter().position(|alike| alike.words == words).unwrap_or_else(|| {
            if self.0.len() == MOST_WORDS {
                self.0.remove(0);
            }
            let cause = error.clone();
            let (enough, inputs) = (input.enough(), Vec::new());
            self.0.push(Alike { words, cause, enough, is_among_served: false, inputs, enough_at: None });
            self.0.len() - 1
        });
        let alike = &mut self.0[at];
        alike.enough = alike.enough.min(input.enough());
        let is_there = alike.inputs.iter().any(|(_, other)| *other == input);
        if !is_there && alike.inputs.len() < MOST_INPUTS {
            let place = alike.inputs.partition_point(|(other, _)| *other < attempt);
            alike.inputs.insert(place, (attempt, input));
        }
        alike.is_among_served |= is_among_served;
        alike.count(begun);
    }

    /// An attempt was served: what was refused before it had begun was refused for itself. `begun` is the last attempt that has begun.
    pub(super) fn served(&mut self, attempt: u64, begun: u64) {
        for alike in &mut self.0 {
            let before = alike.inputs.len();
            alike.inputs.retain(|(refused, _)| *refused > attempt);
            // What had begun before the others and was served after them does not tell: a guardrail may have gone in between.
            alike.is_among_served = true;
            if alike.inputs.len() < before {
                alike.enough_at = None;
            }
            alike.count(begun);
        }
        self.0.retain(|alike| !alike.inputs.is_empty());
    }

    /// Returns the refusal that is everybody's, if one is: enough inputs are rejected alike, and no attempt is on its way that had begun
    /// by then and may still be served.
    pub(super) fn common(&self, mut is_on_its_way: impl FnMut(std::ops::RangeInclusive<u64>) -> bool) -> Option<&CallError> {
        let is_common = |alike: &&Alike| match (alike.enough_at, alike.inputs.first()) {
            (Some(enough_at), Some((first, _))) => !is_on_its_way(*first..=enough_at.max(*first)),
            _ => false,
        };
        self.0.iter().find(is_common).map(|alike| &alike.cause)
    }

    /// Returns whether there are enough refusals of some kind.
    pub(super) fn are_enough(&self) -> bool {
        self.0.iter().any(|alike| alike.enough_at.is_some())
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }
}
