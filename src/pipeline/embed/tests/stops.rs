//! After a stop: calls in flight are waited for, and nothing else.

use super::service::{Counts, Faults, Outage, Quota};
use super::*;
use crate::throttle::gate::{Probes, Reason};

/// How long the stage works before it is stopped.
const BEFORE: Duration = Duration::from_secs(150);

/// Stops the stage in the midst of its work. Returns what came of it, and how long it took to end.
async fn stopped(mut service: Service, setting: Setting) -> (Arc<Service>, Ended, Duration) {
    service.begun = Instant::now();
    let service = Arc::new(service);
    let stop = setting.stop.clone();
    let stopping = async {
        sleep(BEFORE).await;
        stop.cancel();
    };
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(work(&service, setting), stopping);
    (Arc::clone(&service), ended, begun.elapsed().saturating_sub(BEFORE))
}

/// Calls begin before they arrive, at a third of their time.
fn begun_after(service: &Service, ended: &Ended) -> usize {
    let latest = service.begun + BEFORE + service.latency;
    ended.seen.arrived.iter().filter(|(at, _)| *at > latest).count()
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_and_those_that_are_on_their_way_are_answered() {
    let mut service = Service::new(1);
    service.latency = 2 * SECOND;
    service.spread = 0.0;
    let setting = Setting { slots: 4, lasts: Duration::from_hours(1), ..Setting::default() };
    let (service, ended, took) = stopped(service, setting).await;
    assert_eq!(begun_after(&service, &ended), 0);
    assert!(took <= 2 * SECOND, "{took:?}");
    assert_eq!(ended.embedded, ended.seen.arrived.len() as u64, "each call that was made has its answer");
    assert_eq!((ended.rejected, ended.left), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_wait_goes_on() {
    let always = (Duration::ZERO, Duration::from_hours(24));
    let in_an_outage = |kind| {
        let mut service = Service::new(1);
        service.outage = Some((kind, always.0, always.1));
        service
    };
    let mut throttled = Service::new(1);
    throttled.quota = Some(Quota { counts: Counts::Requests, kind: BURST, steps: vec![(0, 0.0)], largest: 0.0 });
    throttled.hint = Some(Duration::from_mins(1));
    let mut refused = Service::new(1);
    refused.refuses = |_, _| Some("this is not for you");
    let mut failing = Service::new(1);
    failing.faults = Faults { broken: 1.0, ..Faults::default() };
    let mut paced = Setting::default();
    paced.caps.requests_per_minute = Some(1.try_into().unwrap());
    let long = retry::RetryConfig {
        initial: Duration::from_hours(1),
        max_interval: Duration::from_hours(1),
        ..retry::RetryConfig::default()
    };
    for (what, service, setting) in [
        ("an outage", in_an_outage(Outage::Unavailable), Setting::default()),
        ("refused connections", in_an_outage(Outage::Refused), Setting::default()),
        ("throttles", throttled, Setting::default()),
        ("refusals of every text", refused, Setting { retry: long.clone(), ..Setting::default() }),
        ("the wait for another attempt", failing, Setting { retry: long, ..Setting::default() }),
        ("the pace", Service::new(1), paced),
    ] {
        let stop = setting.stop.clone();
        let (service, ended, took) = stopped(service, Setting { lasts: Duration::from_hours(2), ..setting }).await;
        assert!(stop.is_cancelled() && took <= 2 * SECOND, "{what}: it ended {took:?} after the stop");
        assert_eq!((begun_after(&service, &ended), ended.rejected), (0, 0), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_keeps_nobody_after_a_stop() {
    for reason in Reason::ALL {
        let service = Arc::new(Service::new(1));
        let setting = Setting { texts: 10, lasts: Duration::from_hours(2), ..Setting::default() };
        let stop = setting.stop.clone();
        let ended = work_with(&service, setting, |lane| {
            lane.gate.close(reason, Probes::Never);
            stop.cancel();
        });
        let ended = ended.await;
        assert_eq!((ended.seen.arrived.len(), ended.rejected, ended.took), (0, 0, Duration::ZERO), "{reason:?}");
    }
}
