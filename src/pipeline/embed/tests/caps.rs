//! Caps that are configured: kept exactly, whatever the calls are and whatever becomes of them.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::service::{Counts, Faults, Quota};
use super::*;

/// Returns what the fullest minute had, wherever it begins.
fn fullest_minute(arrived: impl Iterator<Item = (Instant, f64)>) -> f64 {
    let (mut minute, mut sum, mut fullest) = (VecDeque::new(), 0.0, 0.0_f64);
    for (at, units) in arrived {
        while let Some((_, gone)) = minute.pop_front_if(|(then, _)| *then + 60 * SECOND <= at) {
            sum -= gone;
        }
        minute.push_back((at, units));
        sum += units;
        fullest = fullest.max(sum);
    }
    fullest
}

#[tokio::test(start_paused = true)]
async fn configured_caps_are_kept_in_any_minute_and_evenly() {
    let setting = |requests: Option<u64>, tokens: Option<u64>| Setting {
        tokens: 50..2_000,
        caps: limiter::LimiterConfig {
            name: "embed".into(),
            requests_per_minute: requests.and_then(NonZeroU64::new),
            tokens_per_minute: tokens.and_then(NonZeroU64::new),
        },
        ..Setting::default()
    };
    for (requests, tokens) in [(Some(7), None), (Some(600), None), (None, Some(20_000)), (None, Some(600_000))] {
        let mut service = Service::new(1);
        service.latency = Duration::from_secs(2);
        service.quota = tokens.map(|_| Quota { counts: Counts::Tokens, kind: BURST, steps: vec![(0, 1e9)], largest: 1.0 });
        let service = Arc::new(service);
        let ended = work(&service, setting(requests, tokens)).await;
        let cap = requests.or(tokens).unwrap() as f64;
        let arrived = &ended.seen.arrived;
        assert!(!arrived.is_empty());
        let fullest = fullest_minute(arrived.iter().copied());
        assert!(fullest <= cap, "{fullest} in a minute of at most {cap}");
        let half = arrived.iter().filter(|(when, _)| *when < service.begun + 30 * SECOND).map(|(_, units)| units).sum::<f64>();
        assert!(half <= 0.6 * cap, "{half} of {cap} in the first half minute");
        let all: f64 = arrived.iter().map(|(_, units)| units).sum();
        println!("cap {cap}: {:.3} of it used", all / (cap * 12.0));
        assert!(all >= 0.8 * cap * 12.0, "{all} of {}", cap * 12.0);
    }
}

/// Caps of requests and of tokens, and a service that takes its time and fails as it likes.
#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    requests: Option<u64>,
    tokens: Option<u64>,
    largest: u64,
    latency: Duration,
    faults: Faults,
}

prop_compose! {
    fn case()(
        seed in 1..1_000_u64,
        requests in proptest::option::weighted(0.7, 1..1_500_u64),
        tokens in proptest::option::weighted(0.7, 2_000..1_000_000_u64),
        largest in 60..1_000_u64,
        latency in 1..20_000_u64,
        parts in proptest::array::uniform5(0.0..0.15_f64),
        is_faulty: bool,
    ) -> Case {
        let [throttled, broken, reset, hanging, cut] = if is_faulty { parts } else { [0.0; 5] };
        let faults = Faults { throttled, broken, reset, hanging, cut };
        Case { seed, requests, tokens, largest, latency: Duration::from_millis(latency), faults }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_minute_has_more_requests_or_tokens_than_are_configured(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let arrived = runtime.block_on(async {
            let mut service = Service::new(case.seed);
            (service.latency, service.faults) = (case.latency, case.faults);
            let caps = limiter::LimiterConfig {
                name: "embed".into(),
                requests_per_minute: case.requests.and_then(NonZeroU64::new),
                tokens_per_minute: case.tokens.and_then(NonZeroU64::new),
            };
            let setting = Setting { texts: 3_000, tokens: 50..case.largest, caps, lasts: 300 * SECOND, ..Setting::default() };
            work(&Arc::new(service), setting).await.seen.counted
        });
        prop_assert!(!arrived.is_empty());
        let requests = fullest_minute(arrived.iter().map(|(at, _)| (*at, 1.0)));
        let tokens = fullest_minute(arrived.iter().copied());
        prop_assert!(case.requests.is_none_or(|cap| requests <= cap as f64), "{} requests in a minute", requests);
        prop_assert!(case.tokens.is_none_or(|cap| tokens <= cap as f64), "{} tokens in a minute", tokens);
    }
}
