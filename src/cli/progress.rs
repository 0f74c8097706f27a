//! Progress of a run: live on a terminal, one line per interval elsewhere.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tracing::info;

use super::run::Terminal;
use crate::domain::Usd;
use crate::folder::Found;
use crate::telemetry::{Counters, Totals};
use crate::throttle::Limiter;

/// How often the live line is brought up to date.
const LIVE: Duration = Duration::from_millis(100);

/// What is counted.
pub(super) struct Counted<'a> {
    pub(super) vectors: &'a Counters,
    pub(super) answers: &'a Counters,
    pub(super) contexts: &'a Counters,
}

impl Counted<'_> {
    fn totals(&self) -> (Totals, Questions) {
        let [answers, contexts] = [self.answers, self.contexts].map(Counters::totals);
        let questions = Questions {
            answered: answers.embedded,
            in_flight: answers.in_flight + contexts.in_flight,
            attempts: answers.attempts + contexts.attempts,
            cost: answers.cost + contexts.cost,
            unpriced: answers.unpriced + contexts.unpriced,
        };
        (self.vectors.totals(), questions)
    }
}

/// What of chat models is shown.
#[derive(Debug, Clone, Copy, Default)]
struct Questions {
    /// Answers that have their line.
    answered: u64,
    /// Calls in flight, those for contexts too.
    in_flight: u64,
    /// All attempts, likewise.
    attempts: u64,
    /// What they cost, as far as prices are known.
    cost: Usd,
    /// Answered calls whose price is not known.
    unpriced: u64,
}

/// Shows progress until it is dropped.
pub(super) async fn show(
    terminal: &Terminal,
    counted: &Counted<'_>,
    found: &Found,
    limiter: &Limiter,
    mut every: watch::Receiver<Duration>,
) -> Infallible {
    let Terminal { console, log } = terminal;
    let hidden = console.progress().is_hidden();
    let mut ticks = ticks(if hidden { *every.borrow_and_update() } else { LIVE });
    let bar = (!hidden).then(|| Bar(console.progress().add(bar())));
    let begun = Instant::now();
    let mut said_of_rest = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = every.changed(), if hidden => {
                ticks = self::ticks(*every.borrow_and_update());
                continue;
            }
        }
        log.tell_repeats();
        let known = Known { files: found.taken(), is_all: found.scans() > 0 };
        let (totals, questions) = counted.totals();
        let pace = limiter.snapshot();
        if let Some(Bar(bar)) = &bar {
            let (length, position) = match totals.planned {
                0 => (known.files, totals.ended()),
                planned => (planned, totals.embedded + totals.rejected),
            };
            bar.set_length(length.max(1));
            bar.set_position(position);
            bar.set_message(line(&totals, &questions, &known, pace.requests_now, begun.elapsed()));
        } else {
            // With nothing to do there is nothing new to say, all day long.
            let is_resting = totals.ended() >= known.files && totals.in_flight + questions.in_flight == 0;
            let now =
                is_resting.then_some((totals.ended() + totals.gone, totals.attempts + questions.attempts, questions.answered));
            if std::mem::replace(&mut said_of_rest, now) == now && is_resting {
                continue;
            }
            info!(
                documents = totals.ended(),
                found = known.files,
                chunks = totals.embedded,
                answers = (questions.attempts > 0).then_some(questions.answered),
                in_flight = totals.in_flight + questions.in_flight,
                throttled = totals.throttled,
                failed = totals.failed + totals.failed_asking,
                cost = known_cost(&totals, &questions).map(tracing::field::display),
                unpriced = Some(totals.unpriced + questions.unpriced).filter(|calls| *calls > 0),
                requests_per_second = pace.requests_now.map(in_tenths),
                tokens_per_second = pace.tokens_now.map(in_tenths),
                requests_ceiling = pace.requests_ceiling.map(in_tenths),
                tokens_ceiling = pace.tokens_ceiling.map(in_tenths),
                throttled_share = (pace.throttled > 0).then(|| (pace.throttled_share() * 1000.0).round() / 1000.0),
                "progress"
            );
        }
    }
}

/// Longer than any process runs.
const NEVER: Duration = Duration::from_hours(24 * 365 * 30);

/// Returns when it is looked: first after a while.
fn ticks(every: Duration) -> Interval {
    // So far off is never, and a clock goes no further than some centuries.
    let every = every.min(NEVER);
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// The live line; it leaves the terminal when progress ends.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn bar() -> ProgressBar {
    // What is said is worth more than the bar, and a line that is broken leaves its pieces behind.
    let template = match Term::stderr().size() {
        (_, ..60) => "{bar:6.cyan/dim} {wide_msg}",
        (_, ..100) => "{bar:12.cyan/dim} {wide_msg}",
        _ => "{bar:24.cyan/dim} {wide_msg}",
    };
    let style = ProgressStyle::with_template(template).expect("a template of ours").progress_chars("━╸─");
    ProgressBar::new(1).with_style(style)
}

/// The files that the source has found.
struct Known {
    files: u64,
    /// Whether it has looked through the whole folder. A full queue makes it wait, so on a large one that is late.
    is_all: bool,
}

/// Returns what the calls cost as far as prices are known, if any is.
fn known_cost(totals: &Totals, questions: &Questions) -> Option<Usd> {
    let cost = totals.cost + questions.cost;
    (cost > Usd::ZERO || totals.unpriced + questions.unpriced == 0).then_some(cost)
}

/// Returns a rate as it is shown.
fn in_tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// `paced` is how many requests a second leave at most, once that has been found.
fn line(totals: &Totals, questions: &Questions, known: &Known, paced: Option<f64>, elapsed: Duration) -> String {
    let settled = totals.embedded + totals.rejected;
    #[expect(clippy::cast_precision_loss, reason = "shown without digits")]
    let rate = settled as f64 / elapsed.as_secs_f64().max(0.001);
    let more = if known.is_all { "" } else { "+" };
    let mut line = format!("{}/{}{more} documents", totals.ended(), known.files);
    if totals.skipped() > 0 {
        let _infallible = write!(line, " ({} skipped)", totals.skipped());
    }
    // Documents that are only asked about have no chunks to be embedded.
    if totals.planned > 0 || questions.attempts == 0 {
        let _infallible = write!(line, " · {settled}/{}{more} chunks · {rate:.0}/s", totals.planned);
    }
    let _infallible = write!(line, " · {} in flight", totals.in_flight + questions.in_flight);
    if let Some(paced) = paced {
        let _infallible = write!(line, " · at most {paced:.1} calls/s");
    }
    if questions.attempts > 0 {
        let _infallible = write!(line, " · {} answers", questions.answered);
    }
    if let Some(cost) = known_cost(totals, questions).filter(|cost| *cost > Usd::ZERO) {
        let more = if totals.unpriced + questions.unpriced > 0 { "+" } else { "" };
        let _infallible = write!(line, " · {cost}{more}");
    }
    let left = totals.planned.saturating_sub(settled);
    if known.is_all && left > 0 && rate > 0.0 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = Duration::from_secs_f64(left as f64 / rate);
        // How many questions there will be is not known before the chunks are.
        let more = if questions.in_flight > 0 { " or more" } else { "" };
        let _infallible = write!(line, " · {}{more} left", HumanDuration(left));
    }
    let failed = totals.failed + totals.failed_asking;
    if failed > 0 {
        let _infallible = write!(line, " · {failed} failed");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_said_only_when_all_is_known() {
        let totals = Totals { done: 40, planned: 100, embedded: 50, in_flight: 8, ..Totals::default() };
        let totals = Totals { cost: Usd::new(0.0123), ..totals };
        let none = Questions::default();
        let line = |is_all, paced| line(&totals, &none, &Known { files: 90, is_all }, paced, Duration::from_secs(10));
        assert_eq!(line(false, None), "40/90+ documents · 50/100+ chunks · 5/s · 8 in flight · $0.012");
        assert_eq!(
            line(true, Some(5.04)),
            "40/90 documents · 50/100 chunks · 5/s · 8 in flight · at most 5.0 calls/s · $0.012 · 10 seconds left"
        );
    }

    #[test]
    fn questions_are_in_flight_and_cost_too() {
        let totals = Totals { done: 90, planned: 100, embedded: 100, cost: Usd::new(0.01), ..Totals::default() };
        let questions = Questions { answered: 12, in_flight: 4, attempts: 17, cost: Usd::new(0.03), unpriced: 0 };
        let line = |totals| line(totals, &questions, &Known { files: 90, is_all: true }, None, Duration::from_secs(10));
        assert_eq!(line(&totals), "90/90 documents · 100/100 chunks · 10/s · 4 in flight · 12 answers · $0.040");
        let busy = Totals { embedded: 50, ..totals.clone() };
        assert!(line(&busy).ends_with(" · 10 seconds or more left"), "more may be asked: {}", line(&busy));
        let alone = Totals { done: 90, ..Totals::default() };
        assert_eq!(line(&alone), "90/90 documents · 4 in flight · 12 answers · $0.030");
    }

    #[test]
    fn a_cost_that_is_not_known_is_not_said_to_be_nothing() {
        let cost = |known: f64, unpriced| {
            let totals = Totals { cost: Usd::new(known), unpriced, ..Totals::default() };
            let none = Questions::default();
            let line = line(&totals, &none, &Known { files: 0, is_all: true }, None, Duration::ZERO);
            (known_cost(&totals, &none).map(Usd::dollars), line.split_once('$').map(|(_, cost)| cost.to_owned()))
        };
        assert_eq!(cost(0.0, 0), (Some(0.0), None));
        assert_eq!(cost(0.5, 0), (Some(0.5), Some("0.50".into())));
        assert_eq!(cost(0.0, 3), (None, None));
        assert_eq!(cost(0.5, 3), (Some(0.5), Some("0.50+".into())));
    }
}
