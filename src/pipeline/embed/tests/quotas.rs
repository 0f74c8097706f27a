//! Quotas that nobody tells, and caps that are configured.

use super::service::{Counts, Quota};
use super::*;

/// Returns the parts of the quota that was used and of the calls that were wasted.
fn shares(service: &Service, ended: &Ended) -> (f64, f64) {
    let served: f64 = ended.seen.served.iter().map(|(_, units)| units).sum();
    (served / service.allowed(0, ended.took.as_secs()), ended.seen.throttled as f64 / ended.seen.arrived.len() as f64)
}

const STEPS: [(u64, f64); 4] = [(0, 20.0), (180, 5.0), (360, 40.0), (540, 10.0)];

fn quota(seed: u64, counts: Counts, kind: Kind, steps: &[(u64, f64)], largest: f64) -> Arc<Service> {
    let mut service = Service::new(seed);
    service.quota = Some(Quota { counts, kind, steps: steps.to_vec(), largest });
    Arc::new(service)
}

/// Returns how many seconds after `from` a window of five seconds first serves nine tenths of `rate`.
fn reached(ended: &Ended, service: &Service, from: u64, rate: f64) -> u64 {
    let at = |second| service.begun + Duration::from_secs(second);
    let served = |second: u64| {
        let span = at(second)..at(second + 5);
        ended.seen.served.iter().filter(|(when, _)| span.contains(when)).map(|(_, units)| units).sum::<f64>() / 5.0
    };
    (from..from + 180).find(|second| served(*second) >= 0.9 * rate).expect("it was never reached") + 5 - from
}

/// Runs one quota and holds it to the least part of it that is used and the most of the calls that are wasted.
async fn hold(name: &str, service: Arc<Service>, setting: Setting, least_used: f64, most_wasted: f64) -> Ended {
    let ended = work(&service, setting).await;
    let (used, wasted) = shares(&service, &ended);
    println!("{name}: {used:.3} used, {wasted:.3} wasted");
    assert!(used >= least_used && wasted <= most_wasted, "{name}: {used} of the quota used, {wasted} of the calls wasted");
    assert_eq!(ended.rejected, 0);
    assert!(ended.error.is_none());
    ended
}

#[tokio::test(start_paused = true)]
async fn an_unknown_quota_that_changes_is_found_and_filled() {
    for seed in 1..=3 {
        let service = quota(seed, Counts::Requests, BURST, &STEPS, 1.0);
        let ended = hold("20, 5, 40, 10 a second", Arc::clone(&service), Setting::default(), 0.95, 0.05).await;
        let raised = reached(&ended, &service, 360, 40.0);
        println!("raised quota reached after {raised} s");
        assert!(raised <= 30, "a raised quota was reached after {raised} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_quota_is_filled_from_the_first_second() {
    for seed in 1..=3 {
        let mut service = Service::new(seed);
        service.latency = Duration::from_millis(50);
        let kind = Kind::Bucket(SECOND / 10);
        service.quota = Some(Quota { counts: Counts::Requests, kind, steps: vec![(0, 200.0)], largest: 1.0 });
        let service = Arc::new(service);
        let ended = work(&service, Setting { texts: 4000, ..Setting::default() }).await;
        let used = 4000.0 / 200.0 / ended.took.as_secs_f64();
        let wasted = ended.seen.throttled as f64 / ended.seen.arrived.len() as f64;
        println!("200 a second, 4,000 texts: {used:.3} used, {wasted:.3} wasted");
        assert!(used >= 0.95 && wasted <= 0.03, "{used} used, {wasted} wasted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_given_anew_each_minute_is_filled() {
    for seed in 1..=3 {
        let service = quota(seed, Counts::Requests, Kind::Minute, &STEPS, 1.0);
        hold("by the minute", service, Setting::default(), 0.97, 0.08).await;
    }
}

/// Texts of 50 to 8,000 tokens, half an hour long.
async fn fill_with_texts_of_any_length(name: &str, kind: Kind) {
    for seed in 1..=3 {
        let service = quota(seed, Counts::Tokens, kind, &[(0, 50_000.0)], 8_000.0);
        let setting = Setting { tokens: 50..8_000, lasts: Duration::from_mins(30), ..Setting::default() };
        hold(name, service, setting, 0.9, 0.05).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_tokens_is_filled_with_texts_of_any_length() {
    fill_with_texts_of_any_length("tokens, 1 s", BURST).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_tokens_that_lets_a_burst_through_is_filled() {
    fill_with_texts_of_any_length("tokens, 10 s", Kind::Bucket(10 * SECOND)).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_tokens_that_is_given_anew_each_minute_is_filled() {
    fill_with_texts_of_any_length("tokens by the minute", Kind::Minute).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_a_few_requests_a_minute_is_filled() {
    for seed in 1..=3 {
        for rate in [60.0, 20.0] {
            for (name, kind) in [("even", BURST), ("by the minute", Kind::Minute)] {
                // The first 64 calls are on their way before the first throttle is heard; two hours make up for them.
                let service = quota(seed, Counts::Requests, kind, &[(0, rate / 60.0)], 1.0);
                let setting = Setting { lasts: Duration::from_hours(2), ..Setting::default() };
                hold(&format!("{rate} a minute, {name}"), service, setting, 0.8, 0.1).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_is_the_next_start() {
    let service = quota(1, Counts::Requests, BURST, &[(0, 1.0)], 1.0);
    let first = work(&service, Setting { lasts: Duration::from_mins(30), ..Setting::default() }).await;
    let learned = first.lane.limiter.learned();
    let found = learned.requests_per_second.unwrap();
    assert!((0.8..1.2).contains(&found), "{found} a second was found of 1");
    assert_eq!(learned.tokens_per_second, None);
    let written = serde_json::to_string(&learned).unwrap();
    let learned = serde_json::from_str(&written).unwrap();
    let service = quota(2, Counts::Requests, BURST, &[(0, 1.0)], 1.0);
    let setting = Setting { lasts: Duration::from_mins(10), learned: Some(learned), ..Setting::default() };
    hold("60 a minute, from what was learned", service, setting, 0.8, 0.1).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_limiter_withholds_a_call_its_batch_keeps_filling() {
    let mut service = Service::new(1);
    service.texts_per_call = NonZeroUsize::new(96).unwrap();
    let service = Arc::new(service);
    let caps = limit::Config { requests_per_minute: std::num::NonZeroU64::new(30), ..limit::Config::default() };
    // A text each 100 ms, and a call each two seconds: without pacing each text would go alone.
    let setting = Setting { texts: 1200, apart: SECOND / 10, caps, lasts: Duration::from_hours(1), ..Setting::default() };
    let ended = work(&service, setting).await;
    assert_eq!(ended.embedded, 1200);
    println!("{} texts in {} calls", ended.embedded, ended.totals.calls);
    assert!(ended.totals.calls <= 65, "{} calls", ended.totals.calls);
}
