//! `riverbed plan`: what a run would do and cost, before it does.

mod chat;
mod duration;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use indicatif::HumanCount;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::run::{pipeline_failure, source_is_there};
use super::{Failure, Global, Needs, format, print, print_json, runtime};
use crate::config::Loaded;
use crate::daemon::spending::in_play_money;
use crate::daemon::startup::{self, is_emulated, ledger_failure};
use crate::domain::moment::unix_seconds;
use crate::domain::{TokenCount, Usd};
use crate::ledger::{LedgerError, Reader};
use crate::pipeline::dry_run::{self, Chunks, Documents, Forecast, forecast};
use crate::report::Exit;
use crate::telemetry::{self, Console};
use crate::throttle::budget;
use crate::throttle::price::{self, Price, Used};
use crate::throttle::token_density::Range;
use chat::PromptPlan;
use duration::Time;

const EXAMPLES: &str = "\
Examples:
  riverbed plan                     work, cost and duration of a run
  riverbed plan --json              the same as JSON
  riverbed plan --source ~/reports  the same for another folder

It reads folder and ledger, also beside a running daemon. It neither sends nor writes anything.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PlanArguments {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &PlanArguments, global: &Global) -> Result<Exit, Failure> {
    let loaded = global.load_for(Needs::Folders, Vec::new())?;
    telemetry::start(&loaded.config.log, &Console::stderr());
    source_is_there(&loaded)?;
    let reader = match Reader::open(&loaded.ledger_path()) {
        Ok(reader) => Some(reader),
        Err(LedgerError::Missing { .. }) => None,
        Err(error) => return Err(ledger_failure(error)),
    };
    let plan = Plan::make(&loaded, reader.as_ref())?;
    if arguments.json { print_json(&format!("{}\n", plan.json())) } else { print(&plan.text()) }
}

/// What a run would do, cost and take.
struct Plan<'a> {
    loaded: &'a Loaded,
    emulated: bool,
    forecast: Forecast,
    tokens: Range,
    /// Whether any call has ever said what it was billed.
    is_learned: bool,
    price: Option<Price>,
    budget: Option<budget::AccountState>,
    /// Calls of today whose price is not known.
    unpriced: u64,
    time: Time,
    asked: Vec<PromptPlan>,
}

impl<'a> Plan<'a> {
    fn make(loaded: &'a Loaded, reader: Option<&Reader>) -> Result<Self, Failure> {
        let (config, settings) = (&loaded.config, &loaded.settings);
        let meta = |key: &str| reader.map_or(Ok(None), |reader| reader.meta(key));
        let (emulated, remembered_as) = is_emulated(loaded, meta).map_err(ledger_failure)?;
        let shape = startup::shape(loaded, emulated, remembered_as);
        let lane = startup::lane(loaded, reader, emulated)?;
        let again = |reader: &Reader| reader.again().map_err(ledger_failure);
        let parts = dry_run::DryRunParts {
            source: config.source.clone(),
            chunk: config.chunk.clone(),
            limits: loaded.chunk_limits(),
            call: dry_run::call_limits(settings.limits(), &lane),
            elements: settings.elements(),
            output: config.sink.path.clone(),
            shape: Arc::new(shape),
            ledger: reader.map(again).transpose()?,
            prompts: Arc::clone(&loaded.prompts),
        };
        let forecast = runtime()?.block_on(forecast(parts, CancellationToken::new()));
        let (forecast, questions) = forecast.map_err(|error| pipeline_failure(error, loaded))?;
        let rates = lane.density.rates(emulated);
        let tokens = rates.range(&forecast.mix);
        Ok(Self {
            loaded,
            emulated,
            forecast,
            tokens,
            is_learned: !rates.is_empty(),
            price: lane.account.price(),
            budget: lane.account.budget().and_then(|budget| budget.standing()),
            unpriced: lane.account.budget().map_or(0, |budget| budget.unpriced()),
            asked: PromptPlan::of(questions, loaded, reader)?,
            time: Time::of(
                &config.bedrock,
                &config.emulator,
                lane.limiter.learned(unix_seconds(SystemTime::now())),
                forecast.calls,
                tokens,
            ),
        })
    }

    /// Returns what so many tokens would cost.
    fn cost(&self, tokens: f64) -> Option<Usd> {
        let used = Used { calls: self.forecast.calls, input: whole(tokens), ..Used::default() };
        Some(self.price.as_ref()?.of(used))
    }

    fn text(&self) -> String {
        let Forecast { documents, chunks, calls, is_at_most, .. } = self.forecast;
        let count = HumanCount;
        let mut text = String::new();
        let mut row = |name: &str, said: &str| {
            let _infallible = writeln!(text, "{}", format!("{name:<11}{said}").trim_end());
        };
        let shown = |path: &Path| format::plain(&path.display().to_string());
        row("output", &shown(&self.loaded.config.sink.path));
        row("source", &shown(&self.loaded.config.source.path));
        let Documents { new, changed, again, moved, gone, unchanged, skipped, too_large, unreadable, unstable } = documents;
        let taken = [(new, "new"), (changed, "changed"), (moved, "moved"), (gone, "gone"), (unchanged, "unchanged")];
        row("documents", &taken.map(|(documents, what)| format!("{} {what}", count(documents))).join(", "));
        let others = [
            (again, "to be processed again: the configuration changed, or a run did not finish them"),
            (skipped, "skipped: empty, or of an unsupported kind"),
            (too_large, "too large for `source.max-file-size`"),
            (unreadable, "cannot be read"),
            (unstable, "changing during the scan"),
        ];
        for (documents, what) in others.into_iter().filter(|(documents, _)| *documents > 0) {
            row("", &format!("{} {what}", count(documents)));
        }
        let Chunks { embed, kept, cached, repeated, retracted } = chunks;
        if self.loaded.config.embed.enabled {
            let most = if is_at_most { "at most " } else { "" };
            row("chunks", &format!("{most}{} to embed, {} kept", count(embed), count(kept)));
            if cached + repeated + retracted > 0 {
                let [cached, repeated, retracted] = [cached, repeated, retracted].map(count);
                row("", &format!("{cached} from earlier answers, {repeated} with the text of another, {retracted} deleted"));
            }
            let model = self.loaded.settings.model();
            #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
            let texts = if calls == 0 { String::new() } else { format!(" ({:.1} texts per call)", embed as f64 / calls as f64) };
            row("calls", &format!("{most}{} to {model}{texts}", count(calls)));
            row("tokens", &self.tokens_said());
            row("cost", &self.cost_said());
            if self.price.is_none() && calls > 0 {
                row("", &format!("help: {}", price::missing(model)));
            }
            for what in not_counted(&self.forecast) {
                row("", &what);
            }
            row("time", &self.time.to_string());
            if self.asked.iter().any(PromptPlan::takes_unknown_time) {
                row("", "without the questions: how long their answers take is not known yet");
            }
        } else {
            row("chunks", &format!("none to embed, {} deleted: `embed.enabled` is false", count(retracted)));
            for what in not_counted(&self.forecast) {
                row("", &what);
            }
        }
        for (at, asked) in self.asked.iter().enumerate() {
            for (line, said) in asked.said(self.emulated).iter().enumerate() {
                row(if at + line == 0 { "questions" } else { "" }, said);
            }
        }
        if let Some(budget) = &self.budget {
            let most = if self.unpriced > 0 { "at most " } else { "" };
            row("budget", &format!("{most}{} of {} left today (UTC){}", budget.left(), budget.max, self.days()));
        }
        text
    }

    fn tokens_said(&self) -> String {
        let Range { low, expected, high } = self.tokens;
        let shown = |tokens| HumanCount(whole(tokens).get());
        match (self.forecast.calls, self.is_learned) {
            (0, _) => "0".to_owned(),
            _ if is_narrow(self.tokens) => format!("about {}, by what calls were billed so far", shown(expected)),
            (_, true) => {
                format!("{} to {}: too few calls in some of the scripts were billed yet", shown(low), shown(high))
            }
            (_, false) => {
                format!("{} to {}: the model's token density is not known before the first bill", shown(low), shown(high))
            }
        }
    }

    fn cost_said(&self) -> String {
        let Range { low, expected, high } = self.tokens;
        let (Some(price), Some(least), Some(usual), Some(most)) =
            (self.price, self.cost(low), self.cost(expected), self.cost(high))
        else {
            return match self.forecast.calls {
                0 => "nothing".to_owned(),
                _ => format!("unknown: no price of `{}` is known", self.loaded.settings.model()),
            };
        };
        let sum = match () {
            () if self.forecast.calls == 0 || least == most => usual.to_string(),
            () if is_narrow(self.tokens) => format!("about {usual}"),
            () => format!("{least} to {most}"),
        };
        format!("{sum} ({price}, {}{})", price.source(), in_play_money(self.emulated))
    }

    /// Says how many days' budgets it needs, where today's is not enough.
    fn days(&self) -> String {
        // What no call is made for costs nothing, whether a price is known or not.
        let most = if self.forecast.calls == 0 { Some(Usd::ZERO) } else { self.cost(self.tokens.high) };
        let (Some(budget), Some(most)) = (&self.budget, most) else { return String::new() };
        let most = self.asked.iter().filter_map(PromptPlan::cost).fold(most, std::ops::Add::add);
        let rest = most.less(budget.left());
        let is_all_known = not_counted(&self.forecast).is_empty() && !self.asked.iter().any(PromptPlan::costs_unknown_money);
        if rest == Usd::ZERO && !is_all_known {
            return ": enough for what is known of it".to_owned();
        }
        match rest.parts().div_ceil(budget.max.parts().max(1)) {
            0 => ": enough".to_owned(),
            1 => "; the rest waits for tomorrow's".to_owned(),
            days => format!("; the rest waits for the budgets of up to {days} more days"),
        }
    }

    fn json(&self) -> Value {
        let Forecast { documents, chunks, calls, is_at_most, .. } = self.forecast;
        let Documents { new, changed, again, moved, gone, unchanged, skipped, too_large, unreadable, unstable } = documents;
        let Chunks { embed, kept, cached, repeated, retracted } = chunks;
        let Range { low, expected, high } = self.tokens;
        let per_million = |token: Usd| token.times(1_000_000).dollars();
        let usd = |tokens| self.cost(tokens).map(Usd::dollars);
        json!({
            "source": self.loaded.config.source.path.display().to_string(),
            "output": self.loaded.config.sink.path.display().to_string(),
            "model": self.loaded.config.embed.enabled.then(|| self.loaded.settings.model().as_str()),
            "emulated": self.emulated,
            "documents": {
                "new": new, "changed": changed, "again": again, "moved": moved, "gone": gone, "unchanged": unchanged,
                "skipped": skipped, "too_large": too_large, "unreadable": unreadable, "unstable": unstable,
            },
            "chunks": {
                "embed": embed, "kept": kept, "cached": cached, "repeated": repeated, "retracted": retracted,
                "at_most": is_at_most,
                "at_least": self.forecast.unseen > 0,
            },
            "calls": calls,
            "tokens": {
                "at_least": !not_counted(&self.forecast).is_empty(),
                "low": whole(low).get(), "expected": whole(expected).get(), "high": whole(high).get(),
                "learned": self.is_learned,
            },
            "cost": {
                "usd": { "low": usd(low), "expected": usd(expected), "high": usd(high) },
                "price": self.price.map(|price| json!({
                    "input_usd_per_million": per_million(price.input()),
                    "request_usd": price.request().dollars(),
                    "source": price.source().as_str(),
                    "as_of": (price.source() == price::Source::Table).then_some(price::AS_OF),
                })),
            },
            "time": self.time.json(),
            "questions": self.asked.iter().map(PromptPlan::json).collect::<Vec<_>>(),
            "budget": self.budget.map(|budget| json!({
                "max_usd_per_day": budget.max.dollars(),
                "spent_today_usd": budget.spent.dollars(),
                "left_today_usd": budget.left().dollars(),
                "unpriced_calls_today": self.unpriced,
            })),
        })
    }
}

/// Says what the numbers of a forecast lack, since it is not known before it is read or written.
fn not_counted(forecast: &Forecast) -> Vec<String> {
    let Forecast { unseen, without_context, .. } = *forecast;
    let some = |count: u64, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("at least that: {one}")),
        _ => Some(format!("at least that: {} {many}", HumanCount(count))),
    };
    let unseen = some(unseen, "1 document could not be read now", "documents could not be read now");
    let contexts =
        some(without_context, "the context of 1 text is not written yet", "texts have contexts that are not written yet");
    unseen.into_iter().chain(contexts).collect()
}

/// Returns whether the bounds say the same to a reader.
fn is_narrow(range: Range) -> bool {
    range.high <= range.low * 1.15
}

fn whole(tokens: f64) -> TokenCount {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and there is no less than none"
    )]
    TokenCount::new(tokens.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_lack_something_say_what() {
        let said = |unseen, without_context| not_counted(&Forecast { unseen, without_context, ..Forecast::default() });
        assert_eq!(said(0, 0), [""; 0]);
        assert_eq!(said(1, 0), ["at least that: 1 document could not be read now"]);
        let both = [
            "at least that: 2 documents could not be read now",
            "at least that: 1,200 texts have contexts that are not written yet",
        ];
        assert_eq!(said(2, 1_200), both);
    }
}
