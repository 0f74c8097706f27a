//! How the calls of one limiter affect each other.

use super::*;

fn limiter(learned: Option<Learned>) -> Limiter {
    Limiter::new(Config { name: "embed".into(), ..Config::default() }, learned)
}

async fn permits(limiter: &Limiter, calls: usize) -> Vec<Permit<'_>> {
    let mut permits = Vec::new();
    for _ in 0..calls {
        permits.push(limiter.permit(TokenCount::new(400)).await);
    }
    permits
}

fn rate(limiter: &Limiter) -> f64 {
    limiter.snapshot().requests_now.unwrap()
}

#[tokio::test(start_paused = true)]
async fn until_the_first_throttle_nothing_is_paced() {
    let limiter = limiter(None);
    let begun = Instant::now();
    for permit in permits(&limiter, 1000).await {
        permit.served(None);
    }
    assert_eq!((begun.elapsed(), limiter.snapshot().requests_now), (Duration::ZERO, None));
}

#[tokio::test(start_paused = true)]
async fn throttles_of_calls_that_were_sent_before_a_decrease_are_one_event() {
    let limiter = limiter(Some(Learned { requests_per_second: Some(100.0), tokens_per_second: None }));
    let begun = rate(&limiter);
    let before = permits(&limiter, 50).await;
    let mut rates = Vec::new();
    for permit in before {
        permit.throttled(Some(Quota::Requests));
        rates.push(rate(&limiter));
    }
    assert!((0.69..0.71).contains(&(rates[0] / begun)), "{} after the first of {begun}", rates[0]);
    assert!(rates.iter().all(|rate| (rate - rates[0]).abs() < 1e-6), "the others changed it: {rates:?}");
    for permit in permits(&limiter, 1).await {
        permit.throttled(Some(Quota::Requests));
    }
    assert!(rate(&limiter) < 0.75 * rates[0], "one that was sent after it says something new");
    assert_eq!((limiter.snapshot().throttled, limiter.snapshot().ended), (51, 51));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_lowers_the_quota_that_it_names_and_no_other() {
    let limiter = limiter(Some(Learned { requests_per_second: Some(100.0), tokens_per_second: Some(40_000.0) }));
    for permit in permits(&limiter, 5).await {
        permit.throttled(Some(Quota::Tokens));
    }
    let seen = limiter.snapshot();
    assert!(seen.requests_now.unwrap() >= 100.0, "{seen:?}");
    assert!((27_000.0..29_000.0).contains(&seen.tokens_now.unwrap()), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_made_has_taken_nothing() {
    let limiter = limiter(Some(Learned { requests_per_second: Some(1.0), tokens_per_second: None }));
    for permit in permits(&limiter, 1).await {
        permit.give_back();
    }
    let begun = Instant::now();
    let _permit = limiter.permit(TokenCount::new(400)).await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_served_of_the_unpaced_calls_says_where_to_begin_though_a_throttle_arrived_first() {
    let limiter = limiter(None);
    // A process reads files for a while before its first call.
    tokio::time::advance(Duration::from_millis(900)).await;
    let mut calls = permits(&limiter, 64).await;
    tokio::time::advance(Duration::from_millis(100)).await;
    calls.pop().unwrap().throttled(Some(Quota::Requests));
    let at_first = rate(&limiter);
    for permit in calls.drain(..20) {
        permit.served(None);
    }
    // 20 in a tenth of a second, and what a decrease leaves of that.
    assert!(at_first < 20.0, "{at_first}");
    assert!((139.0..141.0).contains(&rate(&limiter)), "{}", rate(&limiter));
    calls.drain(..).for_each(|permit| permit.throttled(Some(Quota::Requests)));
    assert!((139.0..141.0).contains(&rate(&limiter)), "{}", rate(&limiter));
}
