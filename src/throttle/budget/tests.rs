//! The budget in virtual time, with a wall clock that can be set.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tokio::time::Instant;

use super::*;
use crate::domain::TokenCount;
use crate::throttle::gate::{Gate, Reason};
use crate::throttle::price::{Prices, Used};
use crate::throttle::reservation::LOOK;
use crate::throttle::retry;

/// A wall clock that goes with the virtual one and can be set.
#[derive(Clone)]
struct Watch {
    begun: Instant,
    set_by: Arc<AtomicI64>,
}

/// 2026-03-01, a day like others.
const TODAY: Day = 20_513;

impl Watch {
    fn new() -> Self {
        Self { begun: Instant::now(), set_by: Arc::default() }
    }

    fn set_by(&self, secs: i64) {
        self.set_by.fetch_add(secs, Relaxed);
    }

    /// Tells the time; it was noon when the test began.
    fn clock(&self) -> Clock {
        let Self { begun, set_by } = self.clone();
        Clock::new(move || {
            let noon = begin_of(TODAY) + Duration::from_hours(12);
            let set_by = set_by.load(Relaxed);
            let shift = Duration::from_secs(set_by.unsigned_abs());
            let now = noon + begun.elapsed();
            if set_by < 0 { now - shift } else { now + shift }
        })
    }
}

/// A dollar a million tokens: a token costs a millionth.
fn account(max: f64, spent: Usd, watch: &Watch) -> Account {
    let prices = Prices::new(toml::from_str("[m]\ninput = 1\noutput = 4\n").unwrap(), None);
    let price = prices.of(&"m".to_owned().try_into().unwrap());
    Account::new(price, Some(Arc::new(Budget::new(Usd::new(max), [(TODAY, false, spent)], false, watch.clock()))), Purpose::Embed)
}

fn gate() -> Gate {
    Gate::new("m".into(), &retry::RetryConfig::default())
}

fn tokens(tokens: u64) -> Estimate {
    Estimate { input: TokenCount::new(tokens), ..Estimate::default() }
}

fn input(tokens: u64) -> Used {
    Used { calls: 1, input: TokenCount::new(tokens), ..Used::default() }
}

const MILLION: u64 = 1_000_000;

#[tokio::test(start_paused = true)]
async fn calls_in_flight_cannot_overrun_the_budget_together() {
    let watch = Watch::new();
    let (account, gate) = (account(10.0, Usd::ZERO, &watch), gate());
    // Each may cost two dollars and costs one.
    let first = account.reserve(&gate, tokens(MILLION), true).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(account.reserve(&gate, tokens(MILLION), true).await.unwrap());
    }
    let sixth = account.reserve(&gate, tokens(MILLION), true);
    tokio::pin!(sixth);
    assert!(futures::poll!(&mut sixth).is_pending(), "ten dollars are on their way");
    assert_eq!(gate.reasons(), [], "what is on its way may give some back");
    first.billed(input(MILLION), false);
    assert!(futures::poll!(&mut sixth).is_pending(), "one is spent, eight are on their way, and two would be needed");
    others.pop().unwrap().billed(input(MILLION), false);
    let sixth = sixth.await.unwrap();
    assert_eq!(account.budget().unwrap().standing().unwrap().left(), Usd::ZERO);
    drop((sixth, others));
    assert_eq!(
        account.budget().unwrap().standing().unwrap(),
        AccountState { max: Usd::new(10.0), spent: Usd::new(2.0), reserved: Usd::ZERO }
    );
}

#[tokio::test(start_paused = true)]
async fn what_chat_may_spend_is_part_of_all_and_vectors_go_on_when_it_is_spent() {
    let watch = Watch::new();
    let prices = Prices::new(toml::from_str("[m]\ninput = 1\noutput = 4\n").unwrap(), None);
    let price = prices.of(&"m".to_owned().try_into().unwrap());
    let budget = Budget::new(Usd::new(10.0), [(TODAY, false, Usd::new(5.0))], false, watch.clock());
    let budget = Arc::new(budget.with_chat(Some(Usd::new(3.0)), [(TODAY, false, Usd::new(1.0))]));
    let account = |purpose| Account::new(price, Some(Arc::clone(&budget)), purpose);
    let (chat, embed) = (account(Purpose::Chat), account(Purpose::Embed));
    let (chats, embeds) = (gate(), gate());
    // Two dollars are taken, and one is billed: two of three are spent on chat, and six of ten in all.
    chat.reserve(&chats, tokens(MILLION), false).await.unwrap().billed(input(MILLION), false);
    assert_eq!(budget.standing().unwrap().spent, Usd::new(6.0));
    assert_eq!(chat.reserve(&chats, tokens(MILLION), false).await.unwrap_err(), SpentOut);
    assert_eq!((chats.reasons(), embeds.reasons()), (vec![Reason::Budget], vec![]));
    embed.reserve(&embeds, tokens(MILLION), false).await.unwrap().billed(input(2 * MILLION), false);
    assert_eq!((budget.standing().unwrap().spent, embeds.reasons()), (Usd::new(8.0), vec![]));
    // With a bound of its own that would be enough it still has no more than there is in all.
    budget.set_max(Some(Usd::new(9.0)), Some(Usd::new(100.0)));
    assert_eq!(chat.reserve(&chats, tokens(MILLION), false).await.unwrap_err(), SpentOut);
    budget.set_max(None, None);
    drop(chat.reserve(&chats, tokens(MILLION), false).await.unwrap());
    assert_eq!(budget.standing(), None, "nothing bounds it any more");
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_closes_the_gate_until_midnight() {
    let watch = Watch::new();
    let (account, gate) = (account(10.0, Usd::new(9.0), &watch), gate());
    let begun = Instant::now();
    let next = account.reserve(&gate, tokens(MILLION), true);
    tokio::pin!(next);
    assert!(futures::poll!(&mut next).is_pending());
    assert_eq!(gate.reasons(), [Reason::Budget]);
    next.await.unwrap().billed(input(MILLION), false);
    assert_eq!(gate.reasons(), []);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_hours(12) && waited <= Duration::from_hours(12) + LOOK, "{waited:?}");
    assert_eq!(account.budget().unwrap().standing().unwrap().spent, Usd::new(1.0), "a new day begins with nothing spent");
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_wait_is_told_so_and_leaves_the_gate_closed() {
    let watch = Watch::new();
    let (account, gate) = (account(10.0, Usd::new(9.0), &watch), gate());
    assert_eq!(account.reserve(&gate, tokens(MILLION), false).await.unwrap_err(), SpentOut);
    assert_eq!(gate.reasons(), [Reason::Budget]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_opens_no_second_account_and_closes_none_for_good() {
    let watch = Watch::new();
    let (account, gate) = (account(10.0, Usd::new(9.0), &watch), gate());
    let begun = Instant::now();
    // It was wrong by ten years, and the money of that day is spent.
    watch.set_by(10 * 365 * 86_400);
    for _ in 0..5 {
        account.reserve(&gate, tokens(MILLION), true).await.unwrap().billed(input(2 * MILLION), false);
    }
    let next = account.reserve(&gate, tokens(MILLION), true);
    tokio::pin!(next);
    assert!(futures::poll!(&mut next).is_pending());
    watch.set_by(-10 * 365 * 86_400);
    // Back in today, of which nine dollars are spent: twelve hours are left of it, and an hour more when the clock is set back again.
    tokio::time::advance(Duration::from_hours(1)).await;
    assert!(futures::poll!(&mut next).is_pending());
    watch.set_by(-3600);
    next.await.unwrap().billed(input(MILLION), false);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_hours(13) && waited <= Duration::from_hours(13) + 2 * LOOK, "{waited:?}");
    // And yesterday is not paid twice when the clock goes back over midnight.
    watch.set_by(-3600);
    assert_eq!(account.budget().unwrap().standing().unwrap().spent, Usd::new(9.0));
    assert!(account.reserve(&gate, tokens(MILLION), false).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_cost_its_most_and_only_what_it_did_cost_is_kept() {
    let watch = Watch::new();
    let (account, gate) = (account(10.0, Usd::ZERO, &watch), gate());
    let estimate = Estimate { input: TokenCount::new(MILLION), output: TokenCount::new(2 * MILLION), ..Estimate::default() };
    let answer = account.reserve(&gate, estimate, true).await.unwrap();
    assert_eq!(account.budget().unwrap().standing().unwrap().reserved, Usd::new(2.0 + 8.0));
    answer.billed(Used { output: TokenCount::new(500_000), ..input(MILLION) }, false);
    assert_eq!(account.budget().unwrap().standing().unwrap().spent, Usd::new(1.0 + 2.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_billed_at_a_price_that_is_not_known_is_said_and_not_taken_for_nothing() {
    let watch = Watch::new();
    let budget = Arc::new(Budget::new(Usd::new(10.0), [], false, watch.clock()));
    budget.set_unpriced([(TODAY, false, 3), (TODAY, true, 50), (TODAY - 1, false, 70)]);
    assert_eq!(budget.unpriced(), 3);
    let (account, gate) = (Account::new(None, Some(Arc::clone(&budget)), Purpose::Embed), gate());
    let spent = || budget.standing().unwrap().spent;
    account.reserve(&gate, tokens(MILLION), true).await.unwrap().billed(input(MILLION), false);
    assert_eq!((budget.unpriced(), spent()), (4, Usd::ZERO));
    // The price is given while a call is on its way.
    let call = account.reserve(&gate, tokens(MILLION), true).await.unwrap();
    let prices = Prices::new(toml::from_str("[m]\ninput = 1\noutput = 4\n").unwrap(), None);
    account.set_price(prices.of(&"m".to_owned().try_into().unwrap()));
    call.billed(input(MILLION), false);
    assert_eq!((budget.unpriced(), spent()), (4, Usd::new(1.0)));
    // In a tier that has no price it counts as in the standard one, and that is a guess.
    let reserved = Used { rate: crate::domain::Tier::Reserved.into(), ..input(MILLION) };
    account.reserve(&gate, tokens(MILLION), true).await.unwrap().billed(reserved, false);
    assert_eq!((budget.unpriced(), spent()), (5, Usd::new(2.0)));
    watch.set_by(86_400);
    assert_eq!(budget.unpriced(), 0, "each day has an account of its own");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_served_in_vain_counts_as_what_was_expected_of_it() {
    let (account, gate) = (account(10.0, Usd::ZERO, &Watch::new()), gate());
    let estimate = Estimate { input: TokenCount::new(MILLION), output: TokenCount::new(MILLION), ..Estimate::default() };
    account.reserve(&gate, estimate, true).await.unwrap().served_in_vain();
    let expected = AccountState { max: Usd::new(10.0), spent: Usd::new(1.0 + 4.0), reserved: Usd::ZERO };
    assert_eq!(account.budget().unwrap().standing().unwrap(), expected);
    // The next one would need as much again and a million of margin.
    assert!(account.reserve(&gate, estimate, false).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_emulators_calls_count_among_themselves() {
    let watch = Watch::new();
    let (account, gate) = (account(10.0, Usd::new(5.0), &watch), gate());
    account.reserve(&gate, tokens(1), true).await.unwrap().billed(input(MILLION), true);
    assert_eq!(account.budget().unwrap().standing().unwrap().spent, Usd::new(1.0));
    account.reserve(&gate, tokens(1), true).await.unwrap().billed(input(MILLION), false);
    assert_eq!(account.budget().unwrap().standing().unwrap().spent, Usd::new(6.0));
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_nothing_is_waited_for_and_costs_are_known_all_the_same() {
    let prices = Prices::default();
    let account = Account::new(prices.of(&"amazon.titan-embed-text-v2:0".to_owned().try_into().unwrap()), None, Purpose::Embed);
    let gate = gate();
    account.reserve(&gate, tokens(u64::MAX), false).await.unwrap().billed(input(MILLION), false);
    assert_eq!(account.cost(input(MILLION)), Some(Usd::new(0.02)));
    assert_eq!(Account::default().cost(input(MILLION)), None);
    assert_eq!(account.affordable_tokens(), None);
}

#[test]
fn a_call_may_be_as_large_as_a_day_can_pay() {
    let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    paused.block_on(async {
        let account = account(10.0, Usd::new(9.0), &Watch::new());
        assert_eq!(account.affordable_tokens(), Some(TokenCount::new(5 * MILLION)));
    });
}

#[test]
fn days_are_those_of_utc_and_begin_at_midnight() {
    let day = |secs: i64| {
        let shift = Duration::from_secs(secs.unsigned_abs());
        day_of(if secs < 0 { UNIX_EPOCH - shift } else { UNIX_EPOCH + shift })
    };
    assert_eq!([day(0), day(86_399), day(86_400), day(-1)], [0, 0, 1, -1]);
    assert_eq!(day_of(begin_of(TODAY)), TODAY);
    assert_eq!(humantime::format_rfc3339_seconds(begin_of(TODAY)).to_string(), "2026-03-01T00:00:00Z");
}

#[test]
fn nothing_and_less_is_no_budget() {
    let check = |text: &str| toml::from_str::<BudgetConfig>(&format!("max-usd-per-day = {text}"));
    assert_eq!(check("2.5").unwrap().max_usd_per_day.map(Limit::usd), Some(Usd::new(2.5)));
    for bad in ["0.0", "-1.0", "nan", "inf"] {
        assert!(check(bad).unwrap_err().to_string().contains("more than 0"), "{bad}");
    }
    assert_eq!(check("3").unwrap().max_usd_per_day.map(Limit::usd), Some(Usd::new(3.0)), "an integer is a number too");
}
