//! How the calls of one limiter affect each other.

use super::*;

/// A moment of the clock, in Unix seconds.
const NOW: u64 = 1_800_000_000;

fn limiter(learned: Option<Learned>) -> Limiter {
    Limiter::new(LimiterConfig { name: "embed".into(), ..LimiterConfig::default() }, learned.unwrap_or_default(), NOW)
}

/// What was found a minute ago.
fn found(requests_per_second: Option<f64>, tokens_per_second: Option<f64>) -> Learned {
    let at = |rate: Option<f64>| rate.map(|_| NOW - 60);
    Learned {
        requests_per_second,
        tokens_per_second,
        requests_found_at: at(requests_per_second),
        tokens_found_at: at(tokens_per_second),
    }
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
    let limiter = limiter(Some(found(Some(100.0), None)));
    let begun = rate(&limiter);
    let before = permits(&limiter, 20).await;
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
    assert_eq!((limiter.snapshot().throttled, limiter.snapshot().ended), (21, 21));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_lowers_the_quota_that_it_names_and_no_other() {
    let limiter = limiter(Some(found(Some(100.0), Some(40_000.0))));
    for permit in permits(&limiter, 5).await {
        permit.throttled(Some(Quota::Tokens));
    }
    let seen = limiter.snapshot();
    assert!(seen.requests_now.unwrap() >= 100.0, "{seen:?}");
    assert!((27_000.0..29_000.0).contains(&seen.tokens_now.unwrap()), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_made_has_taken_nothing() {
    let limiter = limiter(Some(found(Some(1.0), None)));
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
    calls.drain(..10).for_each(|permit| permit.throttled(Some(Quota::Requests)));
    assert!((139.0..141.0).contains(&rate(&limiter)), "{}", rate(&limiter));
    calls.drain(..).for_each(|permit| permit.throttled(Some(Quota::Requests)));
    assert!(rate(&limiter) < 20.0, "none is served any more: {}", rate(&limiter));
}

#[tokio::test(start_paused = true)]
async fn a_ceiling_is_where_a_start_begins_for_an_hour_and_known_for_a_week() {
    let found_before = |seconds| Learned { requests_found_at: Some(NOW - seconds), ..found(Some(50.0), None) };
    for (seconds, begins_at, is_known) in [
        (0, Some(50.0), true),
        (3_600, Some(50.0), true),
        (3_601, None, true),
        (7 * 86_400, None, true),
        (7 * 86_400 + 1, None, false),
    ] {
        let written = serde_json::to_string(&found_before(seconds)).unwrap();
        let learned = Learned::read(&written, NOW);
        let limiter = limiter(Some(learned));
        assert_eq!(limiter.snapshot().requests_now, begins_at, "{seconds} s");
        assert_eq!(limiter.learned(NOW).requests_per_second.is_some(), is_known, "{seconds} s");
    }
    // A clock that was set back since then.
    let later = Learned { requests_found_at: Some(NOW + 86_400), ..found(Some(50.0), None) };
    assert_eq!(limiter(Some(later)).snapshot().requests_now, Some(50.0));
}

#[tokio::test(start_paused = true)]
async fn a_start_is_never_slower_than_one_that_knows_nothing() {
    for rate in [0.05, 0.2, 1.0, 9.9] {
        assert_eq!(limiter(Some(found(Some(rate), None))).snapshot().requests_now, Some(10.0), "{rate}");
        let tokens = limiter(Some(found(None, Some(rate)))).snapshot().tokens_now;
        assert_eq!(tokens, Some(10.0 * USUAL_TOKENS), "{rate}");
    }
}

#[test]
fn a_ceiling_that_an_earlier_build_has_stored_without_its_time_is_none() {
    for json in [
        r#"{"requests_per_second":0.2,"tokens_per_second":null}"#,
        r#"{"requests_per_second":-1.0,"requests_found_at":1799999999}"#,
        "[]",
        "",
    ] {
        let learned = Learned::read(json, NOW);
        assert_eq!((learned.requests_per_second, learned.tokens_per_second), (None, None), "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ceiling_that_was_not_reached_is_not_kept_and_what_was_known_before_is() {
    let earlier = found(Some(50.0), None);
    for (earlier, kept) in [(None, Learned::default()), (Some(earlier), earlier)] {
        let limiter = limiter(earlier);
        for _ in 0..8 {
            for permit in permits(&limiter, 1).await {
                permit.throttled(None);
            }
        }
        assert!(rate(&limiter) < 5.0, "{}", rate(&limiter));
        assert_eq!(limiter.learned(NOW), kept);
    }
}
