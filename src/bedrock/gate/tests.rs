//! When it closes, when it lets a probe through, and what opens it.

use std::sync::Arc;

use super::*;
use crate::bedrock::Class;

fn error(class: Class) -> CallError {
    CallError { class, status: None, code: None, message: "no".into(), request_id: None, retry_after: None }
}

fn gate() -> Gate {
    Gate::new("embed".into(), &retry::Config::default())
}

/// Lets calls fail, each of another name.
async fn fail(gate: &Gate, class: Class, times: u32) {
    for _ in 0..times {
        let pass = gate.pass().await;
        gate.heard(gate.name_call(), pass, Err(&error(class)));
    }
}

#[tokio::test(start_paused = true)]
async fn eight_failures_in_succession_close_it_and_a_probe_every_five_seconds_opens_it() {
    let gate = gate();
    fail(&gate, Class::Connection, 7).await;
    gate.heard(1, gate.pass().await, Err(&error(Class::Refused)));
    fail(&gate, Class::TimedOut, 7).await;
    assert_eq!(gate.reasons(), [], "a refusal between them is an answer");
    fail(&gate, Class::Unavailable, 1).await;
    assert_eq!(gate.reasons(), [Reason::Outage]);
    let begun = Instant::now();
    fail(&gate, Class::Connection, 3).await;
    assert_eq!(begun.elapsed().as_secs(), 15);
    let probe = gate.pass().await;
    assert!(probe.is_probe);
    gate.heard(1, probe, Ok(()));
    assert_eq!(gate.reasons(), []);
}

#[tokio::test(start_paused = true)]
async fn the_failures_of_one_call_alone_are_no_outage() {
    let gate = gate();
    for _ in 0..20 {
        gate.heard(1, gate.pass().await, Err(&error(Class::Unavailable)));
    }
    assert_eq!(gate.reasons(), []);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_must_mend_is_probed_ever_more_seldom_up_to_the_longest_interval() {
    let gate = gate();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let begun = Instant::now();
        let pass = gate.pass().await;
        waits.push(begun.elapsed());
        gate.heard(1, pass, Err(&error(Class::Credentials)));
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!(waits[11].as_secs(), retry::Config::default().max_interval.as_secs());
    gate.heard(1, gate.pass().await, Ok(()));
    assert_eq!(gate.reasons(), []);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_throttles_for_two_minutes_is_a_quota_of_zero() {
    let gate = gate();
    let begun = Instant::now();
    while gate.reasons().is_empty() {
        fail(&gate, Class::Throttled, 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(gate.reasons(), [Reason::QuotaZero]);
    assert_eq!(begun.elapsed().as_secs(), 121);
    gate.heard(1, gate.pass().await, Ok(()));
    assert_eq!(gate.reasons(), []);
}

#[tokio::test(start_paused = true)]
async fn what_others_close_only_they_open() {
    let gate = Arc::new(gate());
    gate.close(Reason::Budget, Probes::Never);
    let late = { gate.state().turn };
    gate.heard(1, Pass { is_probe: false, turn: late }, Ok(()));
    fail_in_flight(&gate);
    assert_eq!(gate.reasons(), [Reason::Budget, Reason::Outage]);
    let waits = tokio::time::timeout(Duration::from_hours(24), gate.pass()).await;
    assert!(waits.is_err(), "no probe goes while a reason allows none");
    gate.open(Reason::Budget);
    let pass = gate.pass().await;
    assert!(pass.is_probe);
    gate.heard(1, pass, Ok(()));
    assert!(!gate.pass().await.is_probe);
}

fn fail_in_flight(gate: &Gate) {
    let turn = gate.state().turn;
    for call in 0..8 {
        gate.heard(call, Pass { is_probe: false, turn }, Err(&error(Class::Connection)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_call_from_before_it_closed_does_not_open_it() {
    let gate = gate();
    let before = gate.pass().await;
    gate.heard(1, gate.pass().await, Err(&error(Class::Credentials)));
    gate.heard(2, before, Ok(()));
    assert_eq!(gate.reasons(), [Reason::Refused]);
}
