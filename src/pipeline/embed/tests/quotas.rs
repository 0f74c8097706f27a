//! Unknown quotas, and caps that are configured.

use std::sync::Mutex;
use std::time::SystemTime;

use super::service::{Counts, Quota};
use super::*;
use crate::domain::moment::unix_seconds;

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

/// The part of a quota that must be used at least, and that of the calls that may be wasted at most.
struct Marks {
    least_used: f64,
    most_wasted: f64,
}

/// Runs a quota under every seed, on every core, and holds each run to its marks. `look` holds it to more.
fn hold(
    name: &str,
    usual_seeds: u64,
    marks: &Marks,
    make: impl Fn(u64) -> (Arc<Service>, Setting) + Sync,
    look: impl Fn(&Service, &Ended) + Sync,
) {
    let next = Mutex::new(seeds(usual_seeds));
    let results = Mutex::new(Vec::new());
    let run_all = || {
        // Taken in a statement of its own, so that nobody waits while it runs.
        while let Some(seed) = { next.lock().unwrap().next() } {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let (used, wasted) = runtime.block_on(async {
                let (service, setting) = make(seed);
                let ended = work(&service, setting).await;
                assert_eq!(ended.rejected, 0);
                assert!(ended.error.is_none());
                look(&service, &ended);
                shares(&service, &ended)
            });
            results.lock().unwrap().push((used, wasted, seed));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(run_all);
        }
    });
    let results = results.into_inner().unwrap();
    let spread = |of: fn(&(f64, f64, u64)) -> f64| {
        let mut sorted: Vec<_> = results.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
    };
    let (used, wasted) = (spread(|run| run.0), spread(|run| run.1));
    println!("{name}, {} seeds (least, median, most): {used:.3?} used, {wasted:.3?} wasted", results.len());
    for (used, wasted, seed) in results {
        let holds = used >= marks.least_used && wasted <= marks.most_wasted;
        assert!(holds, "{name}, seed {seed}: {used} of the quota used, {wasted} of the calls wasted");
    }
}

#[test]
fn an_unknown_quota_that_changes_is_found_and_filled() {
    let make = |seed| (quota(seed, Counts::Requests, BURST, &STEPS, 1.0), Setting::default());
    hold("20, 5, 40, 10 a second", 4, &Marks { least_used: 0.95, most_wasted: 0.05 }, make, |service, ended| {
        let raised = reached(ended, service, 360, 40.0);
        println!("raised quota reached after {raised} s");
        assert!(raised <= 30, "a raised quota was reached after {raised} s");
    });
}

/// 4,000 texts at 200 a second, 20 at once.
fn fast_quota(seed: u64, spread: f64) -> (Arc<Service>, Setting) {
    let mut service = Service::new(seed);
    (service.latency, service.spread) = (Duration::from_millis(50), spread);
    let kind = Kind::Bucket(SECOND / 10);
    service.quota = Some(Quota { counts: Counts::Requests, kind, steps: vec![(0, 200.0)], largest: 1.0 });
    (Arc::new(service), Setting { texts: 4000, ..Setting::default() })
}

#[test]
fn a_fast_quota_is_filled_from_the_first_second() {
    let marks = Marks { least_used: 0.95, most_wasted: 0.03 };
    hold("200 a second, 4,000 texts", 8, &marks, |seed| fast_quota(seed, 0.3), |_, ended| assert_eq!(ended.embedded, 4000));
}

#[test]
fn a_first_throttle_that_arrives_before_the_first_answer_does_not_begin_the_rate_at_nothing() {
    // All answers to the first calls take equally long, but for those that are throttled.
    let make = |seed| {
        let (service, setting) = fast_quota(seed, 0.0);
        let mut service = Arc::into_inner(service).expect("nobody else has it yet");
        service.refused_after = Some(Duration::from_millis(30));
        (Arc::new(service), setting)
    };
    hold("200 a second, throttles first", 2, &Marks { least_used: 0.95, most_wasted: 0.03 }, make, |_, _| ());
}

#[test]
fn a_quota_that_is_refilled_each_minute_is_filled() {
    let make = |seed| (quota(seed, Counts::Requests, Kind::Minute, &STEPS, 1.0), Setting::default());
    hold("by the minute", 4, &Marks { least_used: 0.97, most_wasted: 0.08 }, make, |_, _| ());
}

/// Texts of 50 to 8,000 tokens, half an hour long.
fn fill_with_texts_of_any_length(name: &str, kind: Kind) {
    let make = |seed| {
        let service = quota(seed, Counts::Tokens, kind, &[(0, 50_000.0)], 8_000.0);
        (service, Setting { tokens: 50..8_000, lasts: Duration::from_mins(30), ..Setting::default() })
    };
    hold(name, 3, &Marks { least_used: 0.9, most_wasted: 0.05 }, make, |_, _| ());
}

#[test]
fn a_quota_of_tokens_is_filled_with_texts_of_any_length() {
    fill_with_texts_of_any_length("tokens, 1 s", BURST);
}

#[test]
fn a_quota_of_tokens_that_lets_a_burst_through_is_filled() {
    fill_with_texts_of_any_length("tokens, 10 s", Kind::Bucket(10 * SECOND));
}

#[test]
fn a_quota_of_tokens_that_is_refilled_each_minute_is_filled() {
    fill_with_texts_of_any_length("tokens by the minute", Kind::Minute);
}

#[test]
fn a_quota_of_a_few_requests_a_minute_is_filled() {
    for rate in [60.0, 20.0] {
        for (name, kind) in [("even", BURST), ("by the minute", Kind::Minute)] {
            let make = |seed| {
                // The first 64 calls are on their way before the first throttle arrives; two hours make up for them.
                let service = quota(seed, Counts::Requests, kind, &[(0, rate / 60.0)], 1.0);
                (service, Setting { lasts: Duration::from_hours(2), ..Setting::default() })
            };
            let marks = Marks { least_used: 0.8, most_wasted: 0.1 };
            hold(&format!("{rate} a minute, {name}"), 4, &marks, make, |_, _| ());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_is_the_next_start() {
    let service = quota(1, Counts::Requests, BURST, &[(0, 1.0)], 1.0);
    let first = work(&service, Setting { lasts: Duration::from_mins(30), ..Setting::default() }).await;
    let now = unix_seconds(SystemTime::now());
    let learned = first.lane.limiter.learned(now);
    let found = learned.requests_per_second.unwrap();
    assert!((0.8..1.2).contains(&found), "{found} a second was found of 1");
    assert_eq!(learned.tokens_per_second, None);
    let written = serde_json::to_string(&learned).unwrap();
    let learned = Learned::read(&written, now);
    let service = quota(2, Counts::Requests, BURST, &[(0, 1.0)], 1.0);
    let setting = Setting { lasts: Duration::from_mins(10), learned: Some(learned), ..Setting::default() };
    let ended = work(&service, setting).await;
    let (used, wasted) = shares(&service, &ended);
    assert!(used >= 0.8 && wasted <= 0.1, "{used} used, {wasted} wasted");
}

#[tokio::test(start_paused = true)]
async fn while_the_limiter_withholds_a_call_its_batch_keeps_filling() {
    let mut service = Service::new(1);
    service.texts_per_call = NonZeroUsize::new(96).unwrap();
    let service = Arc::new(service);
    let caps = limiter::LimiterConfig { requests_per_minute: std::num::NonZeroU64::new(30), ..limiter::LimiterConfig::default() };
    // A text each 100 ms, and a call each two seconds: without pacing each text would go alone.
    let setting = Setting { texts: 1200, apart: SECOND / 10, caps, lasts: Duration::from_hours(1), ..Setting::default() };
    let ended = work(&service, setting).await;
    assert_eq!(ended.embedded, 1200);
    println!("{} texts in {} calls", ended.embedded, ended.totals.calls);
    assert!(ended.totals.calls <= 65, "{} calls", ended.totals.calls);
}
