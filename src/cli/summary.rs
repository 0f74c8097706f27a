//! The summary of `run --once`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::HumanCount;

use super::format::plain;
use crate::bedrock::ModelId;
use crate::config::Loaded;
use crate::daemon::spending::in_play_money;
use crate::domain::Skip;
use crate::domain::path::Sanitized;
use crate::ledger::SkippedKind;
use crate::telemetry::Totals;
use crate::throttle::price::{self, Price};
use crate::throttle::{Lane, Lanes, budget, gate::Reason};

/// Documents by state.
#[derive(Debug, Clone)]
pub(super) struct DocumentCounts {
    pub(super) done: u64,
    pub(super) skipped: u64,
    pub(super) failed: u64,
    /// Why files are skipped, most files first.
    pub(super) kinds: Vec<SkippedKind>,
}

/// Kinds of skipped files that are reported.
const KINDS: usize = 12;

pub(super) struct Summary<'a> {
    pub(super) totals: &'a Totals,
    /// The same of questions and answers.
    pub(super) answers: &'a Totals,
    /// The same of contexts.
    pub(super) contexts: &'a Totals,
    /// Files that were worked off, or are left.
    pub(super) found: u64,
    /// Files that were not even read, since they are as they were.
    pub(super) unchanged: u64,
    pub(super) elapsed: Duration,
    /// The files that lines go to.
    pub(super) outputs: &'a [PathBuf],
    /// Whether vectors are made.
    pub(super) has_vectors: bool,
    pub(super) stopped: bool,
    /// Totals of the ledger, from this run and earlier ones.
    pub(super) standing: DocumentCounts,
    pub(super) money: Money<'a>,
}

/// What the calls cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Money<'a> {
    pub(super) model: &'a ModelId,
    pub(super) price: Option<Price>,
    pub(super) budget: Option<budget::AccountState>,
    /// What of it may go to chat, where that has a bound of its own.
    pub(super) for_chat: Option<budget::AccountState>,
    /// Calls of today whose price is not known.
    pub(super) unpriced: u64,
    /// Whether calls were held back for it.
    pub(super) is_spent: bool,
}

impl<'a> Money<'a> {
    pub(super) fn of(loaded: &'a Loaded, lane: &'a Lane, lanes: &Lanes) -> Self {
        Self {
            model: loaded.settings.model(),
            price: lane.account.price().filter(|_| loaded.config.embed.enabled),
            budget: lane.account.budget().and_then(|budget| budget.standing()),
            for_chat: lane.account.budget().and_then(|budget| budget.chat_standing()),
            unpriced: lane.account.budget().map_or(0, |budget| budget.unpriced()),
            is_spent: lanes.all().iter().any(|lane| lane.gate.reasons().contains(&Reason::Budget)),
        }
    }

    /// Says what was spent, and what for its lack was left.
    fn say(&self, f: &mut fmt::Formatter<'_>, totals: &Totals) -> fmt::Result {
        let emulated = in_play_money(totals.emulated > 0);
        let (least, unpriced) = match self.unpriced {
            0 => ("", String::new()),
            1 => ("at least ", ": the price of 1 call is not known".to_owned()),
            calls => ("at least ", format!(": the price of {} calls is not known", HumanCount(calls))),
        };
        match self.price {
            Some(price) => {
                let cost = cost_said(totals);
                writeln!(f, "cost       {cost} ({price}, {}{emulated})", price.source())?;
            }
            None if totals.unpriced > 0 => {
                writeln!(f, "cost       unknown: no price of `{}` is known", self.model)?;
                writeln!(f, "           help: {}", price::missing(self.model))?;
            }
            None => {}
        }
        if let Some(budget) = self.budget {
            writeln!(f, "budget     {}{} of {} spent today (UTC){unpriced}", least, budget.spent, budget.max)?;
        }
        if let Some(budget) = self.for_chat {
            writeln!(f, "for chat   {}{} of {} spent today (UTC){unpriced}", least, budget.spent, budget.max)?;
        }
        if totals.left > 0 && !self.is_spent {
            writeln!(
                f,
                "waiting    {} documents, for another run: many were rejected alike and none was served",
                HumanCount(totals.left)
            )?;
        } else if totals.left > 0 {
            writeln!(f, "waiting    {} documents, for another day: the day's budget is spent", HumanCount(totals.left))?;
            writeln!(
                f,
                "           help: run again after midnight UTC, or raise `budget.max-usd-per-day`; what is done stays done"
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn ratio(of: u64, per: f64) -> f64 {
    if per > 0.0 { of as f64 / per } else { 0.0 }
}

/// Says what became of the chunks, and what was asked for their vectors.
fn say_vectors(f: &mut fmt::Formatter<'_>, totals: &Totals) -> fmt::Result {
    let count = HumanCount;
    let Totals { embedded, cached, kept, retracted, rejected, calls, texts, retried, throttled, tokens, uncounted, .. } = totals;
    writeln!(f, "chunks     {} embedded, {} failed", count(embedded - cached), count(*rejected))?;
    if kept + cached + retracted > 0 {
        let [cached, kept, retracted] = [*cached, *kept, *retracted].map(count);
        writeln!(f, "           {cached} from earlier answers, {kept} kept, {retracted} deleted")?;
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let per_call = ratio(*texts, *calls as f64);
    writeln!(
        f,
        "calls      {} ({per_call:.1} texts per call), {} retried, {} throttled",
        count(*calls),
        count(*retried),
        count(*throttled)
    )?;
    match uncounted {
        0 => writeln!(f, "tokens     {}", count(tokens.get())),
        calls => {
            let calls = count(*calls);
            writeln!(f, "tokens     about {}: of {calls} calls they are estimated, the service did not say", count(tokens.get()))
        }
    }
}

/// Says what calls cost, as far as prices are known.
fn cost_said(totals: &Totals) -> String {
    let Totals { cost, unpriced, calls, .. } = totals;
    match *unpriced {
        0 => cost.to_string(),
        all if all >= *calls => "at an unknown price".to_owned(),
        some => format!("at least {cost}, {} calls at an unknown price", HumanCount(some)),
    }
}

/// Says before a number of tokens whether some of them are estimated.
fn about(totals: &Totals) -> &'static str {
    if totals.uncounted > 0 { "about " } else { "" }
}

/// Says what was asked for contexts, if anything was.
fn say_contexts(f: &mut fmt::Formatter<'_>, contexts: &Totals, emulated: bool) -> fmt::Result {
    let Totals { calls, retried, throttled, tokens, .. } = contexts;
    if *calls + *retried == 0 {
        return Ok(());
    }
    let [calls, retried, throttled, tokens] = [*calls, *retried, *throttled, tokens.get()].map(HumanCount);
    writeln!(
        f,
        "contexts   {calls} calls, {retried} retried, {throttled} throttled; {}{tokens} tokens asked, {}{}",
        about(contexts),
        cost_said(contexts),
        in_play_money(emulated)
    )
}

/// Says what was asked of chat models, if anything was.
fn say_answers(f: &mut fmt::Formatter<'_>, answers: &Totals) -> fmt::Result {
    let count = HumanCount;
    let Totals { embedded, cached, retracted, rejected, calls, retried, throttled, tokens, left, .. } = answers;
    if *embedded + *rejected + *retracted + *left == 0 {
        return Ok(());
    }
    write!(
        f,
        "answers    {} from {} calls ({} retried, {} throttled)",
        count(*embedded),
        count(*calls),
        count(*retried),
        count(*throttled)
    )?;
    writeln!(f, ", {} from earlier answers, {} deleted, {} failed", count(*cached), count(*retracted), count(*rejected))?;
    let (about, cost) = (about(answers), cost_said(answers));
    writeln!(f, "           {about}{} tokens asked, {cost}{}", count(tokens.get()), in_play_money(answers.emulated > 0))?;
    if *left > 0 {
        writeln!(
            f,
            "waiting    {} questions, for another run: the model is not served, or the day's budget is spent",
            count(*left)
        )?;
    }
    Ok(())
}

impl Summary<'_> {
    /// Says why files are skipped, of this run and of earlier ones: what has not changed is not found again.
    fn say_skipped(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = &self.standing.kinds;
        for SkippedKind { why, files, .. } in kinds.iter().take(KINDS) {
            writeln!(f, "skipped    {} {}", HumanCount(*files), plain(&why.kind()))?;
        }
        let rest: u64 = kinds.iter().skip(KINDS).map(|kind| kind.files).sum();
        if rest > 0 {
            writeln!(f, "skipped    {} of other kinds", HumanCount(rest))?;
        }
        if kinds.iter().any(|kind| kind.why != Skip::Empty) {
            writeln!(f, "           help: `riverbed skipped` lists them, and what to do")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { totals, answers, contexts, found, unchanged, elapsed, outputs, has_vectors, stopped, standing, money } = self;
        let count = HumanCount;
        let secs = elapsed.as_secs_f64();
        let as_before = match totals.unchanged + unchanged {
            0 => String::new(),
            files => format!(", {} unchanged", count(files)),
        };
        writeln!(
            f,
            "documents  {} done, {} skipped, {} failed{as_before} of {} found, in {secs:.2} s ({:.1} documents/s)",
            count(totals.done),
            count(totals.skipped()),
            count(totals.failed),
            count(*found + unchanged),
            ratio(totals.done, secs),
        )?;
        let left = found.saturating_sub(totals.ended() + totals.left);
        if *stopped || left > 0 || totals.unstable > 0 {
            let why = if *stopped { "stopped before the end" } else { "not finished" };
            writeln!(
                f,
                "left       {} for the next run ({why}; {} kept changing)",
                count(left + totals.unstable),
                count(totals.unstable)
            )?;
        }
        let DocumentCounts { done, skipped, failed, .. } = *standing;
        if totals.failed_asking > 0 {
            let documents = if totals.failed_asking == 1 {
                "1 document".into()
            } else {
                format!("{} documents", count(totals.failed_asking))
            };
            writeln!(f, "           {documents} failed when a chat model was asked")?;
        }
        if (done, skipped, failed) != (totals.done, totals.skipped(), totals.failed) {
            writeln!(
                f,
                "in all     {} done, {} skipped, {} failed; {} removed since the last run",
                count(done),
                count(skipped),
                count(failed),
                count(totals.gone)
            )?;
        }
        if *has_vectors {
            say_vectors(f, totals)?;
        } else if totals.retracted > 0 {
            writeln!(f, "chunks     {} deleted", count(totals.retracted))?;
        }
        money.say(f, totals)?;
        say_contexts(f, contexts, totals.emulated > 0)?;
        say_answers(f, answers)?;
        self.say_skipped(f)?;
        for (path, failure) in &totals.failures {
            writeln!(f, "failed     {}: {} ({})", Sanitized(path), plain(&failure.message), plain(&failure.class))?;
            writeln!(f, "           help: {}", plain(&failure.advice))?;
        }
        if totals.unnamed > 0 {
            writeln!(f, "failed     {} more, in failed.jsonl", count(totals.unnamed))?;
        }
        let earlier = standing.failed.saturating_sub(totals.failed + totals.failed_asking);
        if earlier > 0 {
            writeln!(
                f,
                "failed     {} in earlier runs; `riverbed failed` lists them, `riverbed failed retry` retries them",
                count(earlier)
            )?;
        }
        if totals.emulated + answers.emulated > 0 {
            let made =
                if totals.emulated > 0 { "vectors come from an emulator: lexical" } else { "answers come from an emulator:" };
            writeln!(f, "note       these {made} stand-ins, not a model's")?;
            writeln!(f, "           `riverbed init` writes a configuration for AWS; `riverbed run` follows the folder")?;
        }
        for (at, output) in outputs.iter().enumerate() {
            writeln!(f, "{:<11}{}", if at == 0 { "output" } else { "" }, output.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TokenCount, Usd};

    #[test]
    fn what_is_not_known_of_cost_and_tokens_is_said() {
        let known = Totals { calls: 5, tokens: TokenCount::new(1_000), cost: Usd::new(0.5), ..Totals::default() };
        let tokens = |totals: &Totals| {
            struct Said<'a>(&'a Totals);
            impl fmt::Display for Said<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    say_vectors(f, self.0)
                }
            }
            Said(totals).to_string().lines().last().unwrap().to_owned()
        };
        assert_eq!((cost_said(&known), tokens(&known)), ("$0.50".into(), "tokens     1,000".into()));
        let partly = Totals { unpriced: 2, uncounted: 3, ..known.clone() };
        let estimated = "tokens     about 1,000: of 3 calls they are estimated, the service did not say";
        assert_eq!(
            (cost_said(&partly), tokens(&partly)),
            ("at least $0.50, 2 calls at an unknown price".into(), estimated.into())
        );
        assert_eq!((about(&known), about(&partly)), ("", "about "));
        let unknown = Totals { unpriced: 5, cost: Usd::ZERO, ..known };
        assert_eq!(cost_said(&unknown), "at an unknown price");
    }
}
