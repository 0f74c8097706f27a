//! When the gate closes, lets a probe through, and opens.

use std::sync::Arc;

use super::*;
use crate::bedrock::Class;

fn error(class: Class) -> CallError {
    CallError { class, status: None, code: None, message: "no".into(), request_id: None, retry_after: None }
}

fn gate() -> Gate {
    Gate::new("embed".into(), &retry::RetryConfig::default())
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
async fn a_cause_that_a_person_must_fix_is_probed_with_growing_waits_up_to_the_longest() {
    let gate = gate();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let begun = Instant::now();
        let pass = gate.pass().await;
        waits.push(begun.elapsed());
        gate.heard(1, pass, Err(&error(Class::Credentials)));
    }
    assert!(waits.is_sorted(), "{waits:?}");
    assert_eq!(waits[11].as_secs(), retry::RetryConfig::default().max_interval.as_secs());
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
    gate.heard(1, Pass { is_probe: false, turn: late, attempt: 0 }, Ok(()));
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
        gate.heard(call, Pass { is_probe: false, turn, attempt: 0 }, Err(&error(Class::Connection)));
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

/// Says that inputs of these numbers are refused, each in an attempt that has begun in its turn.
fn refuse(gate: &Gate, inputs: &[u32], pass: Pass) -> Vec<Option<Doubt>> {
    let refuse = |number: &u32| {
        let pass = gate.begin(pass).expect("the gate is open, or it is a probe");
        let input = Input::configured(crate::domain::ContentHash::of(&number.to_be_bytes()));
        gate.doubt(1, pass, input, &error(Class::Refused), None)
    };
    inputs.iter().map(refuse).collect()
}

#[tokio::test(start_paused = true)]
async fn the_same_refusal_of_two_inputs_with_none_served_closes_it_and_of_one_input_twice_does_not() {
    let gate = gate();
    let pass = gate.pass().await;
    refuse(&gate, &[7, 7, 7], pass);
    assert_eq!(gate.reasons(), [], "it is one input");
    refuse(&gate, &[8], pass);
    assert_eq!(gate.reasons(), [Reason::Refused]);
    let cause = gate.cause().unwrap();
    assert_eq!(
        (cause.class, cause.message.as_str()),
        (Class::Configuration, "different inputs are rejected alike, and none is served: no")
    );
    let probe = gate.pass().await;
    refuse(&gate, &[9], probe);
    gate.heard(1, gate.pass().await, Err(&error(Class::Refused)));
    assert_eq!(gate.reasons(), [Reason::Refused], "a refusal does not open it");
    let probe = gate.begin(gate.pass().await).unwrap();
    gate.heard(1, probe, Ok(()));
    assert_eq!(gate.reasons(), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_is_waited_for_before_a_refusal_is_everybodys() {
    let gate = gate();
    let pass = gate.pass().await;
    refuse(&gate, &[1], pass);
    let between = gate.begin(pass).unwrap();
    refuse(&gate, &[2], pass);
    assert_eq!(gate.reasons(), [], "the one in between may be served");
    gate.heard(1, between, Err(&error(Class::TimedOut)));
    assert_eq!(gate.reasons(), [Reason::Refused]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_its_inputs_own_once_one_that_has_begun_later_is_served() {
    let gate = gate();
    let pass = gate.pass().await;
    gate.try_one();
    let doubts = refuse(&gate, &[1], pass);
    let doubt = doubts[0].as_ref().unwrap();
    let patience = Duration::from_secs(20);
    let early = tokio::time::timeout(Duration::from_hours(1), gate.verdict(doubt, true, patience)).await;
    assert!(early.is_err(), "another call is in flight, and may show it");
    gate.heard(2, gate.begin(pass).unwrap(), Ok(()));
    assert!(matches!(gate.verdict(doubt, true, patience).await, Verdict::Own));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_arrives_only_after_the_fix_is_asked_again() {
    let gate = gate();
    let pass = gate.pass().await;
    refuse(&gate, &[1, 2], pass);
    assert_eq!(gate.reasons(), [Reason::Refused]);
    let slow = gate.begin(gate.pass().await).unwrap();
    gate.heard(1, gate.begin(gate.pass().await).unwrap(), Ok(()));
    assert_eq!(gate.reasons(), []);
    let input = Input::configured(crate::domain::ContentHash::of(b"slow"));
    let doubt = gate.doubt(1, slow, input, &error(Class::Refused), None).unwrap();
    assert!(matches!(gate.verdict(&doubt, true, Duration::from_secs(20)).await, Verdict::Again));
}

#[tokio::test(start_paused = true)]
async fn an_input_that_nothing_is_compared_with_waits_for_its_patience_or_the_end_of_the_feed() {
    let patience = Duration::from_secs(20);
    for is_fed in [false, true] {
        let gate = gate();
        let pass = gate.pass().await;
        gate.feed_begins();
        gate.try_one();
        let doubts = refuse(&gate, &[1], pass);
        gate.rest();
        if is_fed {
            gate.feed_ends();
        }
        let begun = Instant::now();
        assert!(matches!(gate.verdict(doubts[0].as_ref().unwrap(), true, patience).await, Verdict::Alone));
        assert_eq!(begun.elapsed(), if is_fed { Duration::ZERO } else { patience });
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_has_no_hope_after_twelve_refusals_and_after_forty_where_it_was_served() {
    for (served, most) in [(false, 12), (true, 40)] {
        let gate = gate();
        gate.hurry();
        if served {
            gate.heard(1, gate.begin(gate.pass().await).unwrap(), Ok(()));
        }
        let begun = Instant::now();
        let denied = CallError { code: Some("AccessDeniedException".into()), ..error(Class::Credentials) };
        let mut refusals = 0;
        loop {
            let pass = gate.begin(gate.pass().await).unwrap();
            gate.heard(1, pass, Err(&denied));
            refusals += 1;
            if gate.is_hopeless(pass, &denied) {
                break;
            }
        }
        assert_eq!(refusals, most);
        assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    let gate = gate();
    let pass = gate.begin(gate.pass().await).unwrap();
    assert!(gate.is_hopeless(pass, &error(Class::Credentials)), "refused keys are refused for every call");
}
