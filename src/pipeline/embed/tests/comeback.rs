//! Throttling that ends, and a model that was not ready and is: the pace comes back as fast as it fell.

use super::service::{Faults, Trouble};
use super::*;

const IN_FLIGHT: usize = 16;
/// A moment of the clock, in Unix seconds.
const NOW: u64 = 1_800_000_000;

/// Runs something under every seed, on every core, each in a virtual time of its own.
fn under_every_seed(run: impl AsyncFn(u64) + Sync) {
    let next = std::sync::Mutex::new(seeds(4));
    let run_all = || {
        while let Some(seed) = { next.lock().unwrap().next() } {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(run(seed));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(run_all);
        }
    });
}

fn service(seed: u64, trouble: Option<Trouble>) -> Arc<Service> {
    let mut service = Service::new(seed);
    service.trouble = trouble;
    Arc::new(service)
}

fn setting(lasts: Duration) -> Setting {
    Setting { slots: IN_FLIGHT, lasts, ..Setting::default() }
}

fn served(ended: &Ended, from: Instant, seconds: u32) -> f64 {
    let span = from..from + seconds * SECOND;
    ended.seen.served.iter().filter(|(at, _)| span.contains(at)).count() as f64
}

/// Asserts that half of what is possible is served in the ten seconds from a moment on, and nine tenths in thirty.
async fn hold(name: &str, seed: u64, ended: &Ended, end: Instant) {
    assert_eq!(ended.rejected, 0);
    assert!(ended.error.is_none());
    let without = service(seed, None);
    let undisturbed = work(&without, setting(32 * SECOND)).await;
    for (seconds, part) in [(10, 0.5), (30, 0.9)] {
        let (served, possible) = (served(ended, end, seconds), served(&undisturbed, without.begun + SECOND, seconds));
        assert!(served >= part * possible, "{name}, seed {seed}: {served} of {possible} within {seconds} s");
    }
}

/// Refuses every call for a while after so many were served, and looks how the pace comes back.
fn comes_back(code: &'static str, after: usize) {
    for seconds in [1, 6, 20, 50] {
        let lasts = seconds * SECOND;
        let name = format!("{code} for {seconds} s after {after}");
        under_every_seed(async |seed| {
            let service = service(seed, Some(Trouble { after, lasts, code }));
            let ended = work(&service, setting(lasts + 36 * SECOND)).await;
            hold(&name, seed, &ended, ended.seen.trouble.unwrap() + lasts).await;
        });
    }
}

#[test]
fn after_first_calls_that_were_throttled_the_pace_is_found() {
    comes_back("ThrottlingException", 0);
}

#[test]
fn after_throttling_in_the_middle_the_pace_comes_back() {
    comes_back("ThrottlingException", 200);
}

#[test]
fn throttling_before_a_restart_does_not_cripple_the_next_run() {
    for (seconds, after) in [(1, 0), (6, 0), (6, 200), (50, 0), (50, 200)] {
        let name = format!("throttled for {seconds} s after {after}, then a restart");
        under_every_seed(async |seed| {
            let code = "ThrottlingException";
            let first = service(seed, Some(Trouble { after, lasts: Duration::MAX / 4, code }));
            let ended = work(&first, setting((seconds + 4) * SECOND)).await;
            let written = serde_json::to_string(&ended.lane.limiter.learned(NOW)).unwrap();
            let second = service(seed, None);
            let learned = Learned::read(&written, NOW + 5);
            let ended = work(&second, Setting { learned: Some(learned), ..setting(32 * SECOND) }).await;
            hold(&name, seed, &ended, second.begun).await;
        });
    }
}

/// Returns the median of how many times as long so many texts take where so many of the calls are throttled by chance, and the most.
fn slower(texts: u64, throttled: f64) -> (f64, f64) {
    let times = std::sync::Mutex::new(Vec::new());
    under_every_seed(async |seed| {
        let mut took = Vec::new();
        for throttled in [0.0, throttled] {
            let mut service = Service::new(seed);
            service.faults = Faults { throttled, ..Faults::default() };
            let ended = work(&Arc::new(service), Setting { texts, ..setting(Duration::from_hours(1)) }).await;
            assert_eq!((ended.embedded, ended.rejected), (texts, 0));
            took.push(ended.took.as_secs_f64());
        }
        times.lock().unwrap().push(took[1] / took[0]);
    });
    let mut times = times.into_inner().unwrap();
    times.sort_by(f64::total_cmp);
    println!(
        "{texts} texts, {throttled} throttled: {:.2} times as long, {:.2} at most",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    (times[times.len() / 2], times[times.len() - 1])
}

#[test]
fn throttles_that_have_nothing_to_do_with_the_rate_do_not_bring_it_down() {
    for (texts, throttled, usual, most) in [(200, 0.1, 2.0, 4.5), (2_000, 0.1, 1.5, 2.5), (2_000, 0.03, 1.5, 2.5)] {
        let found = slower(texts, throttled);
        assert!(found.0 <= usual && found.1 <= most, "{texts} texts, {throttled} throttled: {found:?} times as long");
    }
}

#[test]
fn after_a_model_has_woken_the_pace_is_found() {
    comes_back("ModelNotReadyException", 0);
}

#[test]
fn after_a_model_was_not_ready_in_the_middle_the_pace_comes_back() {
    comes_back("ModelNotReadyException", 200);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_waits_minutes_for_a_model_to_wake_and_fails_nothing() {
    for (minutes, wakes) in [(10, true), (60, false)] {
        let trouble = Trouble { after: 0, lasts: minutes * 60 * SECOND, code: "ModelNotReadyException" };
        let service = service(1, Some(trouble));
        let setting = Setting { texts: 40, mode: Mode::Once, lasts: Duration::from_hours(2), ..setting(SECOND) };
        let ended = work(&service, setting).await;
        assert_eq!(ended.rejected, 0, "no text is at fault");
        assert_eq!((ended.embedded == 40, ended.error.is_none()), (wakes, wakes));
        let probes = ended.seen.arrived.len() as u64;
        assert!(probes <= 2 * 40 + ended.took.as_secs() / 2 + 16, "{probes} calls in {:?}", ended.took);
    }
}
