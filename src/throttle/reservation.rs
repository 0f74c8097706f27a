//! Reservations of calls against the day's account.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::budget::{AccountState, Bill, Budget, Day, Look, Purpose, begin_of};
use super::gate::{Gate, Probes, Reason};
use super::price::{Price, Used};
use crate::domain::moment::rfc3339;
use crate::domain::{Setting, Tier, TokenCount, Usd};

/// What a call may turn out to cost over what is estimated. Tokenizers are not published, and a call costs little beside a day.
const MARGIN: u64 = 2;

/// A call that waits for a new day looks at the clock this often: it may be set meanwhile.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// What the calls of one model and operation cost, and the money they come out of.
#[derive(Debug, Default)]
pub struct Account {
    price: Setting<Option<Price>>,
    budget: Option<Arc<Budget>>,
    purpose: Purpose,
    /// Whose turn it is: first come, first served.
    turn: tokio::sync::Mutex<()>,
}

/// What a call is expected to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens that go in.
    pub input: TokenCount,
    /// The most tokens that may come out; none where vectors do.
    pub output: TokenCount,
    /// The tier that is asked for.
    pub tier: Tier,
}

/// Says that the day's budget is spent, to a call that does not wait for a new day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpentOut;

/// Money that one call may spend. Dropped, it is given back: the call was not made, or not billed as far as is known.
#[derive(Debug)]
#[must_use]
pub struct Reservation<'a> {
    account: &'a Account,
    usd: Usd,
    /// What the call is expected to cost, without the margin.
    expected: Usd,
    is_settled: bool,
}

impl Account {
    /// Makes an account with the price of its model, if one is known, that draws on a budget, if there is one.
    #[must_use]
    pub fn new(price: Option<Price>, budget: Option<Arc<Budget>>, purpose: Purpose) -> Self {
        Self { price: Setting::new(price), budget, purpose, turn: tokio::sync::Mutex::default() }
    }

    /// Returns the price of the model, if it is known.
    #[must_use]
    pub fn price(&self) -> Option<Price> {
        *self.price.get()
    }

    /// Sets the price of the calls that are billed from now on.
    pub fn set_price(&self, price: Option<Price>) {
        self.price.set(price);
    }

    /// Returns the budget that it draws on, if there is one.
    #[must_use]
    pub fn budget(&self) -> Option<&Arc<Budget>> {
        self.budget.as_ref()
    }

    /// Returns the most tokens that one call may ask for, so that a day's money is enough for it; `None` where nothing bounds them.
    #[must_use]
    pub fn affordable_tokens(&self) -> Option<TokenCount> {
        affordable_tokens(&self.price()?, self.budget.as_ref()?.max()?)
    }

    /// Reserves the cost of a call, waiting for calls in flight where their reservations are in the way. When the day's budget is spent it closes
    /// the gate, and waits for a new day and opens it; or, where `waits` is false, leaves it closed and says so. Cancel safe: a caller
    /// that goes away has taken nothing.
    ///
    /// # Errors
    /// When the day's budget is spent, and the caller does not want to wait.
    pub async fn reserve(&self, gate: &Gate, estimate: Estimate, waits: bool) -> Result<Reservation<'_>, SpentOut> {
        let (Some(price), Some(budget)) = (self.price(), &self.budget) else {
            return Ok(Reservation { account: self, usd: Usd::ZERO, expected: Usd::ZERO, is_settled: false });
        };
        let used = Used { calls: 1, input: estimate.input, rate: estimate.tier.into(), ..Used::default() };
        let used = price.rated(used);
        let written = price.of(Used { output: estimate.output, rate: used.rate, ..Used::default() });
        let (usd, expected) = (price.of(used).times(MARGIN) + written, price.of(used) + written);
        let _turn = self.turn.lock().await;
        let mut changed = budget.changed.subscribe();
        let mut is_closed = false;
        loop {
            changed.mark_unchanged();
            match budget.look(usd, self.purpose) {
                Look::Taken => {
                    if is_closed {
                        info!("budget available again: a new day, or a changed budget");
                        gate.open(Reason::Budget);
                    }
                    return Ok(Reservation { account: self, usd, expected, is_settled: false });
                }
                Look::InFlight => {}
                Look::Spent(day, standing, of) => {
                    if !is_closed {
                        close(gate, day, standing, usd, of);
                        is_closed = true;
                    }
                    if !waits {
                        return Err(SpentOut);
                    }
                }
            }
            tokio::select! {
                changed = changed.changed() => changed.expect("the sender is part of the budget"),
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Returns what an answered call costs, where the price is known.
    #[must_use]
    pub fn cost(&self, used: Used) -> Option<Usd> {
        let price = self.price()?;
        price.knows(used.rate.tier).then(|| price.of(price.rated(used)))
    }

    /// Returns what an answered call used, with the rate that it is billed at.
    #[must_use]
    pub fn rated(&self, used: Used) -> Used {
        self.price().map_or(used, |price| price.rated(used))
    }
}

/// Returns the most tokens of one call that a sum of money is sure to be enough for; `None` where a call costs the same whatever is in
/// it, and the money is enough.
#[must_use]
pub fn affordable_tokens(price: &Price, max: Usd) -> Option<TokenCount> {
    let call = price.request().times(MARGIN);
    if call > max {
        return Some(TokenCount::new(0));
    }
    let per_token = price.input().times(MARGIN).parts();
    Some(TokenCount::new(max.less(call).parts().checked_div(per_token)?))
}

fn close(gate: &Gate, day: Day, standing: AccountState, call: Usd, of: Purpose) {
    if gate.reasons().contains(&Reason::Budget) {
        return;
    }
    let AccountState { max, spent, .. } = standing;
    let until = rfc3339(begin_of(day + 1));
    match of {
        Purpose::Embed => {
            warn!(%spent, max_per_day = %max, next_call = %call, %until, "the day's budget is spent: no calls until midnight UTC");
        }
        Purpose::Chat => {
            warn!(%spent, max_per_day = %max, next_call = %call, %until, "the day's chat budget is spent: no chat calls until midnight UTC");
        }
    }
    gate.close(Reason::Budget, Probes::Never);
}

impl Reservation<'_> {
    /// The call was answered. `emulated` says whether an emulator did.
    pub fn billed(mut self, used: Used, emulated: bool) {
        let Some(budget) = &self.account.budget else { return };
        self.is_settled = true;
        let (usd, is_known) = match self.account.price() {
            Some(price) => (price.of(price.rated(used)), price.knows(used.rate.tier)),
            None => (Usd::ZERO, false),
        };
        budget.settle(self.usd, Some(Bill { usd, is_known, emulated }), self.account.purpose);
    }

    /// The call was served and its answer came to nothing: nobody says what it was billed, so it counts as what was expected of it.
    pub fn served_in_vain(mut self) {
        let Some(budget) = &self.account.budget else { return };
        self.is_settled = true;
        let emulated = budget.state().emulated;
        let bill = Bill { usd: self.expected, is_known: self.account.price().is_some(), emulated };
        budget.settle(self.usd, Some(bill), self.account.purpose);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let (Some(budget), false) = (&self.account.budget, self.is_settled) {
            budget.settle(self.usd, None, self.account.purpose);
        }
    }
}
