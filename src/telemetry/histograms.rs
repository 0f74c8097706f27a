//! Histograms: duration of calls and documents, and outcomes of attempts, by model.
//!
//! In the library's own types, so that they need not be copied to be shown.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Seconds that calls take and wait: from what a model in the same region needs to what ends in a time-out.
const CALL_SECONDS: [f64; 13] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 15.0, 60.0];
/// Seconds that documents take, from one chunk to a book behind a small quota.
const DOCUMENT_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];
/// Texts in a call; the models that take several take up to 96.
const TEXTS: [f64; 7] = [1.0, 4.0, 16.0, 32.0, 64.0, 95.0, 96.0];

/// What is measured.
#[derive(Debug)]
pub struct Meters {
    attempts: Family<Attempt, Counter>,
    took: Family<Model, Histogram, fn() -> Histogram>,
    waited: Family<Model, Histogram, fn() -> Histogram>,
    texts: Histogram,
    documents: Histogram,
    commits: Histogram,
}

/// Whose call it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    operation: String,
    model: String,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    operation: String,
    model: String,
    outcome: &'static str,
}

impl Default for Meters {
    fn default() -> Self {
        let calls: fn() -> Histogram = || Histogram::new(CALL_SECONDS);
        Self {
            attempts: Family::default(),
            took: Family::new_with_constructor(calls),
            waited: Family::new_with_constructor(calls),
            texts: Histogram::new(TEXTS),
            documents: Histogram::new(DOCUMENT_SECONDS),
            // From half a millisecond to five seconds, so finely that a percentile is off by an eighth at most: a disk that slows down
            // shows before it is slow.
            commits: Histogram::new(exponential_buckets(0.000_5, 1.25, 42)),
        }
    }
}

impl Meters {
    /// Measures an attempt.
    pub(super) fn attempted(&self, lane: &str, failed: Option<&'static str>, waited: Duration, took: Duration) {
        let of = model(lane);
        self.waited.get_or_create(&of).observe(waited.as_secs_f64());
        if failed.is_none() {
            self.took.get_or_create(&of).observe(took.as_secs_f64());
        }
        let Model { operation, model } = of;
        self.attempts.get_or_create(&Attempt { operation, model, outcome: failed.unwrap_or("served") }).inc();
    }

    /// Measures how many texts an answered call for vectors had.
    pub(super) fn answered(&self, texts: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a hundred at most")]
        self.texts.observe(texts as f64);
    }

    /// Measures how long a document took from being accepted to its last line.
    pub fn done(&self, took: Duration) {
        self.documents.observe(took.as_secs_f64());
    }

    /// Measures how long a group of records took to be in the ledger and in its files.
    pub fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// Enters everything into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("calls", "Attempts by outcome: served, or the class of the error", self.attempts.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit("call", "Latency of served attempts", seconds, self.took.clone());
        let help = "Wait of an attempt for gate, budget and limiter";
        registry.register_with_unit("call_wait", help, Unit::Seconds, self.waited.clone());
        registry.register("call_texts", "Texts per answered embedding call", self.texts.clone());
        let help = "Time from the acceptance of a document to its last line";
        registry.register_with_unit("document", help, Unit::Seconds, self.documents.clone());
        let help = "Time to commit a group of records to ledger and files";
        registry.register_with_unit("commit", help, Unit::Seconds, self.commits.clone());
    }
}

/// Returns whose calls a lane's are.
fn model(lane: &str) -> Model {
    let (operation, model) = lane.split_once(' ').unwrap_or(("call", lane));
    Model { operation: operation.to_owned(), model: model.to_owned() }
}
