//! A model that is not ready, and then is: that time teaches nothing about its quota.

use super::service::Trouble;
use super::*;

const IN_FLIGHT: usize = 16;
const SEEDS: std::ops::Range<u64> = 1_001..1_005;

/// Runs something under every seed, on every core, each in a virtual time of its own.
fn under_every_seed(run: impl AsyncFn(u64) + Sync) {
    let next = std::sync::Mutex::new(SEEDS);
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

/// Returns how many calls are served in so many seconds of a run without trouble, once it has begun.
async fn possible(seed: u64, seconds: u32) -> f64 {
    let service = service(seed, None);
    let ended = work(&service, setting((seconds + 2) * SECOND)).await;
    served(&ended, service.begun + SECOND, seconds)
}

/// Asserts that half of what is possible is served in the ten seconds from a moment on, and nine tenths in thirty.
async fn hold(name: &str, seed: u64, ended: &Ended, end: Instant) {
    assert_eq!(ended.rejected, 0);
    assert!(ended.error.is_none());
    for (seconds, part) in [(10, 0.5), (30, 0.9)] {
        let (served, possible) = (served(ended, end, seconds), possible(seed, seconds).await);
        assert!(served >= part * possible, "{name}, seed {seed}: {served} of {possible} within {seconds} s");
    }
}

/// Lets the model sleep for a while after so many were served, and looks how the pace comes back.
fn comes_back(after: usize) {
    let code = "ModelNotReadyException";
    for seconds in [1, 6, 20, 50] {
        let lasts = seconds * SECOND;
        let name = format!("{code} for {seconds} s after {after}");
        under_every_seed(async |seed| {
            let service = service(seed, Some(Trouble { after, lasts, code }));
            let ended = work(&service, setting(lasts + 40 * SECOND)).await;
            hold(&name, seed, &ended, ended.seen.trouble.unwrap() + lasts).await;
        });
    }
}

#[test]
fn after_a_model_has_woken_the_pace_is_found() {
    comes_back(0);
}

#[test]
fn after_a_model_was_not_ready_in_the_middle_the_pace_comes_back() {
    comes_back(200);
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
