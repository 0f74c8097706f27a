//! Whether, when and at what cost a call is made: the state that all calls of one model and operation share.
//!
//! ```text
//! gate: may calls go at all?  ─▶  budget: is there money?  ─▶  limiter: is it its turn?  ─▶  the call  ─▶  retry: again, and when?
//! ```
//!
//! Nothing here makes a call or knows what is in one.

pub mod budget;
mod fixed_cap;
pub mod gate;
mod gate_reason;
pub mod limiter;
pub mod price;
mod price_table;
mod quota_bucket;
mod rate_search;
mod reservation;
pub mod retry;
mod shared_refusals;
mod throughput;
pub mod token_density;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::domain::Setting;
use crate::domain::moment::unix_seconds;
use limiter::Learned;

pub use budget::Budget;
pub use gate::Gate;
pub use limiter::Limiter;
pub use price::Prices;
pub use reservation::Account;
pub use token_density::Density;

/// One model's calls of one operation: one limiter, one gate, one retry budget. Chat has its own, so that it does not stop vectors.
#[derive(Debug)]
pub struct Lane {
    /// How fast calls may go.
    pub limiter: Limiter,
    /// Whether they may go at all.
    pub gate: Gate,
    /// Retry with exponential backoff and jitter.
    pub retry: Setting<retry::RetryConfig>,
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
    pub fn new(limits: limiter::LimiterConfig, retry: retry::RetryConfig, learned: Option<Learned>) -> Self {
        let gate = Gate::new(limits.name.clone(), &retry);
        Self {
            limiter: Limiter::new(limits, learned.unwrap_or_default(), unix_seconds(SystemTime::now())),
            gate,
            retry: Setting::new(retry),
            retries: retry::Budget::default(),
            account: Account::default(),
            density: Density::default(),
        }
    }

    /// Says that a call is being tried, until the guard is dropped.
    #[must_use]
    pub fn trying(self: &Arc<Self>) -> Trying {
        self.gate.try_one();
        Trying(Arc::clone(self))
    }

    /// Returns room for a call in doubt beside those that have a place, if there is any.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Option<DoubtfulCall> {
        self.gate.hold().then(|| DoubtfulCall(Arc::clone(self)))
    }

    /// Says that calls may come, until the guard is dropped.
    #[must_use]
    pub fn feeding(self: &Arc<Self>) -> Feeding {
        self.gate.feed_begins();
        Feeding(Arc::clone(self))
    }

    /// Has failed calls made again by another schedule; those that are being tried go on by theirs.
    pub fn retry_as(&self, retry: &retry::RetryConfig) {
        self.gate.probe_as(retry);
        self.retry.set(retry.clone());
    }
}

/// A call that is being tried, and whose answer says something of others that are in doubt.
#[derive(Debug)]
pub struct Trying(Arc<Lane>);

/// A call in doubt that is held beside those that have a place.
#[derive(Debug)]
pub struct DoubtfulCall(Arc<Lane>);

/// A stage that may bring calls.
#[derive(Debug)]
pub struct Feeding(Arc<Lane>);

impl Drop for Trying {
    fn drop(&mut self) {
        self.0.gate.rest();
    }
}

impl Drop for DoubtfulCall {
    fn drop(&mut self) {
        self.0.gate.let_go();
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.0.gate.feed_ends();
    }
}

/// The lanes of one process. Clones are of the same ones.
#[derive(Debug, Clone, Default)]
pub struct Lanes(Arc<RwLock<Vec<Arc<Lane>>>>);

impl Lanes {
    /// Takes the lanes, that of the embedding model first.
    #[must_use]
    pub fn new(lanes: Vec<Arc<Lane>>) -> Self {
        Self(Arc::new(RwLock::new(lanes)))
    }

    /// Returns them as they are now: those of before, in their order, and those that have come.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Lane>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds the lane of a model that is asked from now on.
    pub fn add(&self, lane: Arc<Lane>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(lane);
    }
}
