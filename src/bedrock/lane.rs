//! What all calls of one model and operation share.

use super::budget::Account;
use super::density::Density;
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
    /// What they cost, and the money that they come out of.
    pub account: Account,
    /// How many tokens they are billed at.
    pub density: Density,
}

impl Lane {
    /// Opens a lane whose calls cost nothing that is known; its limiter begins at what an earlier one has learned.
    #[must_use]
    pub fn new(limits: limit::Config, retry: retry::Config, learned: Option<Learned>) -> Self {
        let gate = Gate::new(limits.name.clone(), &retry);
        Self {
            limiter: Limiter::new(limits, learned),
            gate,
            retry,
            retries: retry::Budget::default(),
            account: Account::default(),
            density: Density::default(),
        }
    }
}
