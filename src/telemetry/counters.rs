//! Counters since the start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Meters, Queues};
use crate::domain::{DocumentPath, Failure, Skip, TokenCount, Usd};

/// Failed documents that are kept by name for the summary; `failed.jsonl` has all of them.
const KEPT_FAILURES: usize = 20;

/// Counters that every stage adds to. Only what is needed to see and to stop: nothing is decided by them.
///
/// There is a set for vectors, and one each for answers and contexts, where what is said of chunks and vectors is of those.
#[derive(Debug, Default)]
pub struct Counters {
    done: AtomicU64,
    unstable: AtomicU64,
    prepared: AtomicU64,
    planned: AtomicU64,
    embedded: AtomicU64,
    rejected: AtomicU64,
    kept: AtomicU64,
    retracted: AtomicU64,
    cached: AtomicU64,
    repaid: AtomicU64,
    gone: AtomicU64,
    unchanged: AtomicU64,
    calls: AtomicU64,
    texts: AtomicU64,
    attempts: AtomicU64,
    retried: AtomicU64,
    throttled: AtomicU64,
    tokens: AtomicU64,
    cost: AtomicU64,
    unpriced: AtomicU64,
    uncounted: AtomicU64,
    left: AtomicU64,
    in_flight: AtomicU64,
    emulated: AtomicU64,
    outcomes: Mutex<Outcomes>,
    served: AtomicU64,
    microseconds: AtomicU64,
    meters: Arc<Meters>,
    queues: Queues,
    is_of_questions: bool,
}

#[derive(Debug, Default)]
struct Outcomes {
    skipped: BTreeMap<String, u64>,
    failed: u64,
    failed_asking: u64,
    unnamed: u64,
    failures: Vec<(DocumentPath, Failure)>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Documents whose every chunk has its line.
    pub done: u64,
    /// Documents that failed before their vectors were committed.
    pub failed: u64,
    /// Documents of which a question failed; they ended before.
    pub failed_asking: u64,
    /// Failures that are not among the first ones.
    pub unnamed: u64,
    /// Files that kept changing while they were read, left for the next run.
    pub unstable: u64,
    /// Files that hold no document, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// The first failures: of a document there may be several, one for each question.
    pub failures: Vec<(DocumentPath, Failure)>,
    /// Chunks that need a vector, so far.
    pub planned: u64,
    /// Chunks whose line is written.
    pub embedded: u64,
    /// Failed chunks.
    pub rejected: u64,
    /// Chunks of changed documents whose line was current already.
    pub kept: u64,
    /// Lines deleted.
    pub retracted: u64,
    /// Lines whose vector was there from an earlier answer.
    pub cached: u64,
    /// Answers that were paid for once and are to be had nowhere any more, so that they were asked for again.
    pub repaid: u64,
    /// Documents that are not there any more, and whose lines were deleted.
    pub gone: u64,
    /// Files that look different and are the same.
    pub unchanged: u64,
    /// Calls that were answered.
    pub calls: u64,
    /// Texts in them.
    pub texts: u64,
    /// Attempts at calls, failed ones included.
    pub attempts: u64,
    /// Retried attempts.
    pub retried: u64,
    /// Throttled attempts.
    pub throttled: u64,
    /// Tokens billed where the service says, and estimated where it does not.
    pub tokens: TokenCount,
    /// Answered calls whose tokens are estimated, since the service did not say.
    pub uncounted: u64,
    /// What they cost, as far as prices are known.
    pub cost: Usd,
    /// Answered calls whose price is not known.
    pub unpriced: u64,
    /// Documents left for another run: the day's budget is spent, or too many were refused alike.
    pub left: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// Chunks whose vector came from an emulator.
    pub emulated: u64,
}

impl Totals {
    /// Returns the files that hold no document.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Returns the files that have ended, of those that are there.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.unstable + self.unchanged + self.skipped()
    }
}

impl Counters {
    /// Returns a set for questions, that are separate and are measured together with these.
    #[must_use]
    pub fn of_questions(&self) -> Self {
        Self { meters: Arc::clone(&self.meters), is_of_questions: true, ..Self::default() }
    }

    /// Returns what is measured beside what is counted.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Measures an attempt of a lane, whose name is operation and model: what it failed of, if it did, how long it waited for gate,
    /// money and limiter, and how long the service took.
    pub fn attempted(&self, lane: &str, failed: Option<&'static str>, waited: Duration, took: Duration) {
        // What was refused, reset or throttled says nothing of how long an answer takes.
        if failed.is_none() {
            self.served.fetch_add(1, Relaxed);
            self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        }
        self.meters.attempted(lane, failed, waited, took);
    }

    /// Returns how many attempts were served, and how long the service took for them in all.
    #[must_use]
    pub fn latency(&self) -> (u64, Duration) {
        (self.served.load(Relaxed), Duration::from_micros(self.microseconds.load(Relaxed)))
    }

    /// Returns the queues between the stages.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Counts a file that would not hold still.
    pub fn unstable(&self) {
        self.unstable.fetch_add(1, Relaxed);
    }

    /// Counts a file that has been read and whose chunks, if it has any, have been sent.
    pub fn prepared(&self) {
        self.prepared.fetch_add(1, Relaxed);
    }

    /// Returns the files that have been prepared.
    #[must_use]
    pub fn files_prepared(&self) -> u64 {
        self.prepared.load(Relaxed)
    }

    /// Counts a version that was planned.
    pub fn planned(&self, embed: u64, kept: u64) {
        self.planned.fetch_add(embed, Relaxed);
        self.kept.fetch_add(kept, Relaxed);
    }

    /// Counts an attempt that begins, until the guard is dropped.
    pub fn attempt(&self) -> InFlight<'_> {
        self.attempts.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self)
    }

    /// Counts an attempt that is made again.
    pub fn retried(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    /// Counts a throttled attempt.
    pub fn throttled(&self) {
        self.throttled.fetch_add(1, Relaxed);
    }

    /// Counts a call that was answered, with whether the service said how many tokens it billed, and what it cost if that is known.
    pub fn answered(&self, texts: u64, tokens: TokenCount, is_counted: bool, cost: Option<Usd>) {
        self.calls.fetch_add(1, Relaxed);
        self.texts.fetch_add(texts, Relaxed);
        if !self.is_of_questions {
            self.meters.answered(texts);
        }
        self.tokens.fetch_add(tokens.get(), Relaxed);
        self.uncounted.fetch_add(u64::from(!is_counted), Relaxed);
        self.cost.fetch_add(cost.unwrap_or_default().parts(), Relaxed);
        self.unpriced.fetch_add(u64::from(cost.is_none()), Relaxed);
    }

    /// Counts a document that is left for another run.
    pub fn left(&self) {
        self.left.fetch_add(1, Relaxed);
    }

    /// Counts a line that was written.
    pub fn embedded(&self, emulated: bool) {
        self.embedded.fetch_add(1, Relaxed);
        self.emulated.fetch_add(u64::from(emulated), Relaxed);
    }

    /// Counts a failed chunk.
    pub fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// Counts a line that was deleted.
    pub fn retracted(&self) {
        self.retracted.fetch_add(1, Relaxed);
    }

    /// Counts a line whose vector was there.
    pub fn cached(&self) {
        self.cached.fetch_add(1, Relaxed);
    }

    /// Counts an answer that has to be asked for again.
    pub fn repaid(&self) {
        self.repaid.fetch_add(1, Relaxed);
    }

    /// Counts a document that is not there any more.
    pub fn gone(&self) {
        self.gone.fetch_add(1, Relaxed);
    }

    /// Counts a file that is as it was.
    pub fn unchanged(&self) {
        self.unchanged.fetch_add(1, Relaxed);
    }

    /// Counts a document whose every chunk has its line.
    pub fn done(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    /// Counts a file that holds no document.
    pub fn skipped(&self, why: &Skip) {
        *self.outcomes().skipped.entry(why.kind()).or_default() += 1;
    }

    /// Counts a failed document.
    pub fn failed(&self, path: &DocumentPath, failure: &Failure) {
        let mut outcomes = self.outcomes();
        outcomes.failed += 1;
        if outcomes.failures.len() < KEPT_FAILURES {
            outcomes.failures.push((path.clone(), failure.clone()));
        } else {
            outcomes.unnamed += 1;
        }
    }

    /// Counts a failed question about a document: the document, too, if it is the first of its.
    pub fn failed_asking(&self, path: &DocumentPath, failure: &Failure, is_first: bool) {
        let mut outcomes = self.outcomes();
        outcomes.failed_asking += u64::from(is_first);
        if outcomes.failures.len() < KEPT_FAILURES {
            outcomes.failures.push((path.clone(), failure.clone()));
        } else {
            outcomes.unnamed += 1;
        }
    }

    /// Returns all counters. They are read one after the other, so while work goes on they may be a few apart.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let outcomes = self.outcomes();
        Totals {
            done: self.done.load(Relaxed),
            failed: outcomes.failed,
            failed_asking: outcomes.failed_asking,
            unnamed: outcomes.unnamed,
            unstable: self.unstable.load(Relaxed),
            skipped: outcomes.skipped.clone(),
            failures: outcomes.failures.clone(),
            embedded: self.embedded.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            planned: self.planned.load(Relaxed),
            kept: self.kept.load(Relaxed),
            retracted: self.retracted.load(Relaxed),
            cached: self.cached.load(Relaxed),
            repaid: self.repaid.load(Relaxed),
            gone: self.gone.load(Relaxed),
            unchanged: self.unchanged.load(Relaxed),
            calls: self.calls.load(Relaxed),
            texts: self.texts.load(Relaxed),
            attempts: self.attempts.load(Relaxed),
            retried: self.retried.load(Relaxed),
            throttled: self.throttled.load(Relaxed),
            tokens: TokenCount::new(self.tokens.load(Relaxed)),
            cost: Usd::from_parts(self.cost.load(Relaxed)),
            unpriced: self.unpriced.load(Relaxed),
            uncounted: self.uncounted.load(Relaxed),
            left: self.left.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            emulated: self.emulated.load(Relaxed),
        }
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt in progress.
#[derive(Debug)]
pub struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_served_says_how_long_an_answer_takes() {
        let counters = Counters::default();
        counters.attempted("embed m", Some("connection"), Duration::ZERO, Duration::from_micros(80));
        counters.attempted("embed m", Some("throttled"), Duration::ZERO, Duration::from_millis(2));
        assert_eq!(counters.latency(), (0, Duration::ZERO));
        counters.attempted("embed m", None, Duration::ZERO, Duration::from_millis(90));
        assert_eq!(counters.latency(), (1, Duration::from_millis(90)));
    }

    #[test]
    fn removed_files_are_not_counted_as_ended() {
        let counters = Counters::default();
        counters.done();
        counters.gone();
        counters.gone();
        assert_eq!((counters.totals().ended(), counters.totals().gone), (1, 2));
    }
}
