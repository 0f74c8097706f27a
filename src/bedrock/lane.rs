//! What all calls of one model and operation share.

use super::gate::Gate;
use super::limit::{self, Learned, Limiter};
use super::retry;

/// One model's calls of one operation: one limiter, one gate, one retry budget. Chat has its own, so that it does not stop vectors.
#[derive(Debug)]
pub struct Lane {
    /// How fast calls may go.
    pub limiter: Limiter,
    /// Whether they may go at all.
    pub gate: Gate,
    /// When a failed call is made again.
    pub retry: retry::Config,
    /// How many of them may be.
    pub retries: retry::Budget,
}

impl Lane {
    /// Opens a lane; its limiter begins at what an earlier one has learned.
    #[must_use]
    pub fn new(limits: limit::Config, retry: retry::Config, learned: Option<Learned>) -> Self {
        let gate = Gate::new(limits.name.clone(), &retry);
        Self { limiter: Limiter::new(limits, learned), gate, retry, retries: retry::Budget::default() }
    }
}
