//! Outages, faults, and quotas of nothing.

use super::service::{Counts, Faults, Outage, Quota};
use super::*;

#[tokio::test(start_paused = true)]
async fn in_an_outage_one_call_in_five_seconds_is_made_nothing_is_failed_and_work_goes_on_after_it() {
    let (from, to) = (60, 360);
    for outage in [Outage::Refused, Outage::Unavailable, Outage::BlackHole] {
        let mut service = Service::new(1);
        service.latency = 2 * SECOND;
        service.outage = Some((outage, from * SECOND, to * SECOND));
        let service = Arc::new(service);
        let ended = work(&service, Setting { lasts: 480 * SECOND, ..Setting::default() }).await;
        let at = |second: u64| service.begun + Duration::from_secs(second);
        let count = |calls: &[(Instant, f64)], span: std::ops::Range<u64>| {
            calls.iter().filter(|(when, _)| (at(span.start)..at(span.end)).contains(when)).count() as u64
        };
        // Calls that hang are known to only after their time is over.
        let known = if outage == Outage::BlackHole { 75 } else { 10 };
        let from_known = u64::from(from) + known;
        let probes = count(&ended.seen.arrived, from_known..u64::from(to));
        assert!(probes <= (u64::from(to) - from_known) / 5 + 1, "{outage:?}: {probes} probes");
        assert!(probes > 0);
        assert_eq!(ended.rejected, 0);
        // 64 calls, a queue of 256 before them and one behind them, and a text in each hand between.
        assert!(ended.most_held <= 64 + 2 * 256 + 4, "{outage:?}: {} texts were held", ended.most_held);
        let before = count(&ended.seen.served, 20..50);
        let after = count(&ended.seen.served, u64::from(to) + 30..u64::from(to) + 60);
        println!("{outage:?}: {probes} probes, {before} served in 30 s before, {after} after");
        assert!(after * 10 >= before * 9, "{outage:?}: {after} after {before}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_every_kind_lose_and_fail_nothing() {
    let mut service = Service::new(1);
    service.faults = Faults { throttled: 0.1, broken: 0.05, reset: 0.02, hanging: 0.01, cut: 0.005 };
    let service = Arc::new(service);
    let texts = 20_000;
    let ended = work(&service, Setting { texts, lasts: Duration::from_hours(1000), ..Setting::default() }).await;
    assert_eq!((ended.embedded, ended.rejected), (texts, 0));
    let attempts = ended.totals.attempts as f64 / texts as f64;
    println!("faults: {attempts:.3} attempts a text, {:?}", ended.took);
    assert!(attempts <= 1.35, "{attempts} attempts a text");
    assert!(ended.took < Duration::from_mins(20), "it took {:?}", ended.took);
}

#[tokio::test(start_paused = true)]
async fn throttled_calls_never_fail_and_the_services_hint_is_the_least_wait() {
    let mut service = Service::new(1);
    service.quota = Some(Quota { counts: Counts::Requests, kind: BURST, steps: vec![(0, 1e-6), (3000, 10.0)], largest: 1.0 });
    service.hint = Some(40 * SECOND);
    let service = Arc::new(service);
    let ended = work(&service, Setting { texts: 5, lasts: Duration::from_hours(2), ..Setting::default() }).await;
    assert_eq!((ended.embedded, ended.rejected), (5, 0), "fifty minutes are more than a call is tried for");
    let most = ended.took.as_secs() / 40 * 5 + 5;
    assert!(ended.totals.attempts <= most, "{} attempts with 40 s between them in {:?}", ended.totals.attempts, ended.took);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_names_a_quota_of_zero_after_a_bounded_time() {
    let mut service = Service::new(1);
    service.quota = Some(Quota { counts: Counts::Requests, kind: Kind::Minute, steps: vec![(0, 0.0)], largest: 1.0 });
    let service = Arc::new(service);
    let ended = work(&service, Setting { mode: Mode::Once, ..Setting::default() }).await;
    let Some(PipelineError::Halted(error)) = ended.error else { panic!("it went on for {:?}", ended.took) };
    assert!(error.message.starts_with("the quota seems to be zero"), "{error}");
    assert!(ended.took < Duration::from_mins(4), "{:?}", ended.took);
    assert_eq!(ended.rejected, 0);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_waits_out_a_quota_of_zero_with_a_probe_each_half_minute_and_fails_nothing() {
    let mut service = Service::new(1);
    let raised = 3600;
    service.quota = Some(Quota { counts: Counts::Requests, kind: BURST, steps: vec![(0, 0.0), (raised, 20.0)], largest: 0.0 });
    let service = Arc::new(service);
    let ended = work(&service, Setting { texts: 500, lasts: Duration::from_hours(2), ..Setting::default() }).await;
    assert_eq!((ended.embedded, ended.rejected), (500, 0));
    let at = |second: u64| service.begun + Duration::from_secs(second);
    let known = 240;
    let probes = ended.seen.arrived.iter().filter(|(when, _)| (at(known)..at(raised)).contains(when)).count() as u64;
    assert!((1..=(raised - known) / 30 + 1).contains(&probes), "{probes} probes");
    assert!(ended.took < Duration::from_secs(raised + 180), "it was noticed after {:?}", ended.took);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_gives_its_texts_up_in_an_outage_that_does_not() {
    let mut service = Service::new(1);
    service.outage = Some((Outage::Refused, Duration::ZERO, Duration::from_hours(24)));
    let service = Arc::new(service);
    let ended =
        work(&service, Setting { texts: 64, mode: Mode::Once, lasts: Duration::from_hours(1), ..Setting::default() }).await;
    assert_eq!((ended.embedded, ended.rejected), (0, 64));
    assert!(ended.took < Duration::from_mins(16), "{:?}", ended.took);
}

#[test]
fn no_clock_that_can_be_set_has_a_part_in_it() {
    let sources = [
        include_str!("../../call.rs"),
        include_str!("../../../throttle/gate.rs"),
        include_str!("../../../throttle/limiter.rs"),
        include_str!("../../../throttle/quota_bucket.rs"),
        include_str!("../../../throttle/throughput.rs"),
        include_str!("../../../throttle/rate_search.rs"),
        include_str!("../../../throttle/fixed_cap.rs"),
    ];
    assert!(sources.iter().all(|source| !source.contains("SystemTime")));
}
