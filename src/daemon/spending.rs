//! The budget of a run and the billed cost, from the ledger.

use std::sync::Arc;
use std::time::SystemTime;

use super::failure::Failure;
use super::startup::ledger_failure;
use crate::bedrock::ModelId;
use crate::config::Loaded;
use crate::domain::Usd;
use crate::ledger::{self, Reader};
use crate::throttle::price::{self, Used};
use crate::throttle::token_density::{Rates, Sum};
use crate::throttle::{
    Budget,
    budget::{self, Clock, Day, Limit, day_of},
};

/// Days before and after today whose accounts are opened: a clock that is set by less finds them as they were.
const DAYS: Day = 7;

/// What was spent on the days around today: the day, whether an emulator was paid, and how much.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// For everything.
    pub(super) all: Vec<(Day, bool, Usd)>,
    /// For chat, of that.
    pub(super) chat: Vec<(Day, bool, Usd)>,
    /// Calls that the sums lack, or have a guess of: their price is not known.
    pub(super) unpriced: Vec<(Day, bool, u64)>,
}

/// Opens the day's account from the ledger.
pub(super) fn budget(loaded: &Loaded, reader: Option<&Reader>, emulated: bool) -> Result<Arc<Budget>, Failure> {
    let (max, for_chat) = bounds(&loaded.config.budget);
    let Spent { all, chat, unpriced } = reader.map(|reader| spent(loaded, reader)).transpose()?.unwrap_or_default();
    let budget = Budget::new(max, all, emulated, Clock::default()).with_chat(for_chat, chat);
    budget.set_unpriced(unpriced);
    Ok(Arc::new(budget))
}

/// Returns the most that a day may cost, and what of that may go to chat.
pub(crate) fn bounds(config: &budget::BudgetConfig) -> (Option<Usd>, Option<Usd>) {
    (config.max_usd_per_day.map(Limit::usd), config.max_chat_usd_per_day.map(Limit::usd))
}

/// Returns what was spent.
pub(super) fn spent(loaded: &Loaded, reader: &Reader) -> Result<Spent, Failure> {
    let today = day_of(SystemTime::now());
    let is_bounded = bounds(&loaded.config.budget) != (None, None);
    let mut spent = Spent::default();
    for ledger::Day { day, model, emulated, usage } in reader.usage(today - DAYS, today + DAYS).map_err(ledger_failure)? {
        let (usd, is_known) = loaded.prices.bill(&model, used(usage));
        if !is_known {
            spent.unpriced.push((day, emulated, usage.calls));
            if day == today && is_bounded {
                let help = ModelId::try_from(model.clone()).map(|model| price::missing(&model)).unwrap_or_default();
                let (calls, rate) = (usage.calls, usage.rate.to_string());
                tracing::warn!(model, calls, rate, help, "what was asked of this model today has no price that is known");
            }
        }
        let bill = (day, emulated, usd);
        // Only chat models write.
        if usage.output.get() > 0 {
            spent.chat.push(bill);
        }
        spent.all.push(bill);
    }
    Ok(spent)
}

fn used(usage: ledger::DayUsage) -> Used {
    let ledger::DayUsage { calls, tokens, cache_read, cache_write, cache_write_hour, output, rate, .. } = usage;
    Used { calls, input: tokens, cache_read, cache_write, cache_write_hour, output, rate }
}

/// Returns what was learned of how the embedding model bills, as a model and as an emulator.
pub(super) fn rates(loaded: &Loaded, reader: Option<&Reader>) -> Result<[Rates; 2], Failure> {
    let mut rates = [Rates::default(); 2];
    let Some(reader) = reader else { return Ok(rates) };
    for emulated in [false, true] {
        let learned = reader.density(loaded.settings.model().as_str(), emulated).map_err(ledger_failure)?;
        let learned = learned.into_iter().map(|(script, characters, tokens)| (script, Sum { characters, tokens }));
        rates[usize::from(emulated)] = Rates::new(learned);
    }
    Ok(rates)
}

/// Says what a sum is worth, where an emulator may have been paid in play money.
pub(crate) fn in_play_money(emulated: bool) -> &'static str {
    if emulated { "; an emulator charges nothing" } else { "" }
}
