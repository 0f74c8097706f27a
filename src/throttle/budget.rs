//! The daily budget: cost billed today plus reservations of calls in flight, compared with `budget.max-usd-per-day`.
//!
//! A call reserves its cost before it is made and releases the rest afterwards, so that calls in flight cannot overrun the budget
//! together. Days are those of UTC. Each has its own account, so that a clock that is set back or forth opens no second account, and
//! none that was wrong for a while keeps the gate closed: whatever day the clock says it is, that day's account counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::price::Overrides;
use crate::domain::Usd;

pub use super::reservation::{Account, Estimate, Reservation, SpentOut, affordable_tokens};

/// `[budget]`: what may be spent, and what things cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BudgetConfig {
    /// Most USD per UTC day, for all models together. Billed calls count across restarts, and so do calls in flight. When it is
    /// spent, no call is made until midnight UTC: the daemon waits, `run --once` exits with 2. Emulator calls count in an account
    /// of their own. Absent: no limit.
    pub max_usd_per_day: Option<Limit>,
    /// Most USD per UTC day for chat models, as a part of `max-usd-per-day`. When it is spent, prompts wait until midnight UTC;
    /// vectors continue, except those with a context. Absent: no limit of its own.
    pub max_chat_usd_per_day: Option<Limit>,
    /// Prices that override the built-in ones, by model: `input` and `output` in USD per million tokens, `request` in USD per
    /// call. `cache-read` and `cache-write` default to the price of `input`. A model is named by its id; a region prefix
    /// restricts the price to that profile.
    #[serde(skip_serializing_if = "Overrides::is_empty")]
    pub prices: Overrides,
}

/// A sum of money that can be spent: more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64")]
pub struct Limit(f64);

/// Says why a number is no budget.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no budget: give USD, more than 0 and at most 1000000")]
pub struct NotALimit(f64);

impl Limit {
    /// Returns the sum.
    #[must_use]
    pub fn usd(self) -> Usd {
        Usd::new(self.0)
    }
}

impl TryFrom<f64> for Limit {
    type Error = NotALimit;

    fn try_from(usd: f64) -> Result<Self, Self::Error> {
        if usd > 0.0 && usd <= 1e6 { Ok(Self(usd)) } else { Err(NotALimit(usd)) }
    }
}

impl From<Limit> for f64 {
    fn from(limit: Limit) -> Self {
        limit.0
    }
}

/// The wall clock. Days of money are the world's days, so it cannot be the monotonic one.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// Takes the clock.
    #[must_use]
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A day of UTC, counted from 1970.
pub type Day = i64;

const DAY_SECS: u64 = 24 * 60 * 60;

/// Returns the day of a time.
#[must_use]
pub fn day_of(time: SystemTime) -> Day {
    let signed = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_secs() / DAY_SECS),
        Err(before) => -1 - signed(before.duration().as_secs() / DAY_SECS),
    }
}

/// Returns when a day begins.
#[must_use]
pub fn begin_of(day: Day) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(day).unwrap_or_default().saturating_mul(DAY_SECS))
}

/// One process's money, for the calls of all models. It is counted whether or not it is bounded, so that a bound that is set meanwhile
/// holds for the whole day.
#[derive(Debug)]
pub struct Budget {
    clock: Clock,
    state: Mutex<BudgetState>,
    pub(super) changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(crate) struct BudgetState {
    all: Purse,
    /// What of it is chat's.
    chat: Purse,
    /// Whether an emulator answers, as far as is known.
    pub(super) emulated: bool,
    /// Calls of each day that were billed at a price that is not known, by who was paid: the sums lack them, or have a guess.
    unpriced: BTreeMap<Day, [u64; 2]>,
}

#[derive(Debug, Default)]
struct Purse {
    /// The most that a day may cost.
    max: Option<Usd>,
    /// What each day has cost so far, by who was paid: a service, or an emulator in play money.
    spent: BTreeMap<Day, [Usd; 2]>,
    /// What the calls that are on their way may cost.
    reserved: Usd,
}

/// What calls are made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Vectors. They have all the money.
    #[default]
    Embed,
    /// Answers. They may have a bound of their own below that.
    Chat,
}

/// What an answered call was billed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bill {
    /// As far as the price is known.
    pub(super) usd: Usd,
    pub(super) is_known: bool,
    /// Whether an emulator was paid.
    pub(super) emulated: bool,
}

/// Days whose accounts are kept: the clock may be set back over a few.
const DAYS: usize = 16;

/// State of the day's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    /// The most that it may cost.
    pub max: Usd,
    /// What was billed.
    pub spent: Usd,
    /// Cost that calls in flight may still have.
    pub reserved: Usd,
}

impl AccountState {
    /// Returns what is left.
    #[must_use]
    pub fn left(&self) -> Usd {
        self.max.less(self.spent + self.reserved)
    }
}

/// What a look at the account says to a call.
pub(super) enum Look {
    /// Its cost is reserved.
    Taken,
    /// There may be enough when calls in flight have ended.
    InFlight,
    /// There is not enough today, in all or for this purpose.
    Spent(Day, AccountState, Purpose),
}

impl Budget {
    /// Opens the accounts with what was spent before: by day, and whether an emulator was paid. `emulated` says who is to be paid now,
    /// as far as is known.
    #[must_use]
    pub fn new(
        max: impl Into<Option<Usd>>,
        spent: impl IntoIterator<Item = (Day, bool, Usd)>,
        emulated: bool,
        clock: Clock,
    ) -> Self {
        let mut state = BudgetState { emulated, ..BudgetState::default() };
        state.all.max = max.into();
        state.all.add(spent);
        Self { clock, state: Mutex::new(state), changed: watch::Sender::default() }
    }

    /// Bounds what of it goes to chat, with what was spent on that before, which is part of all that was.
    #[must_use]
    pub fn with_chat(mut self, max: Option<Usd>, spent: impl IntoIterator<Item = (Day, bool, Usd)>) -> Self {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.chat.max = max;
        state.chat.add(spent);
        self
    }

    /// Sets how many calls of each day, by whether an emulator was paid, were billed at a price that is not known.
    pub fn set_unpriced(&self, unpriced: impl IntoIterator<Item = (Day, bool, u64)>) {
        let mut state = self.state();
        state.unpriced.clear();
        for (day, emulated, calls) in unpriced {
            state.add_unpriced(day, emulated, calls);
        }
    }

    /// Returns how many calls of today were billed at a price that is not known. What was spent is more than the sum then, or a guess.
    #[must_use]
    pub fn unpriced(&self) -> u64 {
        let state = self.state();
        state.unpriced.get(&day_of(self.clock.now())).map_or(0, |calls| calls[usize::from(state.emulated)])
    }

    /// Returns the state of the day's account, where what it may cost is bounded.
    #[must_use]
    pub fn standing(&self) -> Option<AccountState> {
        let state = self.state();
        state.all.standing(day_of(self.clock.now()), state.emulated)
    }

    /// Returns the day's chat account, where what may go to that is bounded. Chat has no more than the day as a whole has.
    #[must_use]
    pub fn chat_standing(&self) -> Option<AccountState> {
        let state = self.state();
        state.chat.standing(day_of(self.clock.now()), state.emulated)
    }

    /// Returns the most that a day may cost.
    #[must_use]
    pub fn max(&self) -> Option<Usd> {
        self.state().all.max
    }

    /// Sets the most that a day may cost, the current day included, and what of that may go to chat. Calls that wait for budget look
    /// again at once.
    pub fn set_max(&self, max: Option<Usd>, for_chat: Option<Usd>) {
        {
            let mut state = self.state();
            state.all.max = max;
            state.chat.max = for_chat;
        }
        self.changed.send_replace(());
    }

    /// Corrects the accounts when prices have changed: by day and whether an emulator was paid, what was counted `before` comes to
    /// `now`. What is counted for chat is counted in all, too.
    pub fn revalue(&self, purpose: Purpose, before: &[(Day, bool, Usd)], now: &[(Day, bool, Usd)]) {
        {
            let mut state = self.state();
            let purse = match purpose {
                Purpose::Embed => &mut state.all,
                Purpose::Chat => &mut state.chat,
            };
            for (day, emulated, usd) in before {
                let spent = &mut purse.spent.entry(*day).or_default()[usize::from(*emulated)];
                *spent = spent.less(*usd);
            }
            purse.add(now.iter().copied());
        }
        self.changed.send_replace(());
    }

    /// Reserves the cost of a call in all accounts that it concerns, or in none.
    pub(super) fn look(&self, usd: Usd, purpose: Purpose) -> Look {
        let day = day_of(self.clock.now());
        let mut state = self.state();
        let emulated = state.emulated;
        let mut lacks = None;
        for (purse, of) in state.purses(purpose) {
            match purse.standing(day, emulated) {
                Some(standing) if standing.spent + standing.reserved + usd > standing.max => {
                    if standing.reserved == Usd::ZERO {
                        return Look::Spent(day, standing, of);
                    }
                    lacks = Some(Look::InFlight);
                }
                Some(_) | None => {}
            }
        }
        if let Some(lacks) = lacks {
            return lacks;
        }
        for (purse, _) in state.purses(purpose) {
            purse.reserved += usd;
        }
        Look::Taken
    }

    pub(super) fn settle(&self, reserved: Usd, billed: Option<Bill>, purpose: Purpose) {
        {
            let day = day_of(self.clock.now());
            let mut state = self.state();
            if let Some(Bill { is_known, emulated, .. }) = billed {
                state.emulated = emulated;
                state.add_unpriced(day, emulated, u64::from(!is_known));
            }
            for (purse, _) in state.purses(purpose) {
                purse.reserved = purse.reserved.less(reserved);
                if let Some(Bill { usd, emulated, .. }) = billed {
                    purse.add([(day, emulated, usd)]);
                }
            }
        }
        self.changed.send_replace(());
    }

    pub(super) fn state(&self) -> MutexGuard<'_, BudgetState> {
        // Sums are usable whatever a panicking thread left behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    fn add_unpriced(&mut self, day: Day, emulated: bool, calls: u64) {
        if calls > 0 {
            self.unpriced.entry(day).or_default()[usize::from(emulated)] += calls;
        }
        while self.unpriced.len() > DAYS {
            self.unpriced.pop_first();
        }
    }

    /// Returns the accounts that a kind of call is charged to.
    fn purses(&mut self, purpose: Purpose) -> impl Iterator<Item = (&mut Purse, Purpose)> {
        let chat = (purpose == Purpose::Chat).then_some((&mut self.chat, Purpose::Chat));
        chat.into_iter().chain([(&mut self.all, Purpose::Embed)])
    }
}

impl Purse {
    fn standing(&self, day: Day, emulated: bool) -> Option<AccountState> {
        let spent = self.spent.get(&day).map_or(Usd::ZERO, |spent| spent[usize::from(emulated)]);
        Some(AccountState { max: self.max?, spent, reserved: self.reserved })
    }

    fn add(&mut self, spent: impl IntoIterator<Item = (Day, bool, Usd)>) {
        for (day, emulated, usd) in spent {
            self.spent.entry(day).or_default()[usize::from(emulated)] += usd;
        }
        while self.spent.len() > DAYS {
            self.spent.pop_first();
        }
    }
}

#[cfg(test)]
mod tests;
