//! What the load bench measures, small and counted: an unknown quota, faults of every kind, full calls, every slot in use.

use std::collections::HashSet;

use crate::support::{Scene, ends, paragraph, signal};

async fn scene(documents: usize, in_flight: usize) -> Scene {
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", &in_flight.to_string());
    for number in 0..documents {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene
}

/// Checks that the output has one line for each document, and none failed.
fn assert_all(scene: &Scene, documents: usize) {
    let lines = scene.vectors();
    let names: HashSet<_> = lines.iter().map(|line| line["document"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), names.len()), (documents, documents));
    assert!(scene.lines("failed.jsonl").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_an_unknown_quota_everything_is_embedded_once_and_few_calls_are_wasted() {
    const DOCUMENTS: usize = 150;
    const IN_FLIGHT: usize = 16;
    let scene = scene(DOCUMENTS, IN_FLIGHT).await;
    scene.emulator.set_quotas("50/s burst 5".parse().unwrap(), "unlimited".parse().unwrap());
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_all(&scene, DOCUMENTS);
    let counts = scene.emulator.counts();
    let throttled = counts.answered.get(&429).copied().unwrap_or_default();
    assert_eq!(counts.calls, DOCUMENTS as u64 + throttled);
    assert!(throttled > 0, "the quota was never met: the test shows nothing");
    // Those that were on their way when the first throttle arrived, and one in ten of the others.
    assert!(throttled <= (IN_FLIGHT + DOCUMENTS / 10) as u64, "{throttled} of {} calls were throttled", counts.calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_every_kind_lose_double_and_fail_nothing() {
    const DOCUMENTS: usize = 200;
    let scene = scene(DOCUMENTS, 16).await.set("bedrock.attempt-timeout", "\"1s\"");
    // Few throttles: each slows the calls down, which is theirs to do and takes time.
    scene.emulator.set_faults("429 2%, 5xx 8%, reset 4%, hang 1%, cut 1%".parse().unwrap());
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_all(&scene, DOCUMENTS);
    let counts = scene.emulator.counts();
    assert!(counts.calls > DOCUMENTS as u64 && counts.calls <= DOCUMENTS as u64 * 135 / 100, "{counts:?}");
    // Only a cut answer was billed and has to be asked for again: one call in a hundred, and a few more for chance.
    assert!(counts.texts <= DOCUMENTS as u64 + 10, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_backlog_of_short_texts_makes_full_calls_and_one_that_fits_makes_one() {
    for (documents, calls) in [(64, 1), (96, 1), (97, 2), (480, 5)] {
        let scene = scene(documents, 16).await.set("embed.model", "\"cohere.embed-english-v3\"");
        let scene = scene.set("embed.batch-wait", "\"5s\"");
        assert_eq!(scene.once().await.code, Some(0));
        assert_all(&scene, documents);
        assert_eq!(scene.emulator.counts().calls, calls, "{documents} texts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slot_is_in_use_while_there_is_work_and_no_more_than_those() {
    const IN_FLIGHT: usize = 100;
    let scene = scene(250, IN_FLIGHT).await;
    scene.emulator.hold();
    let child = scene.follow();
    scene.emulator.called(IN_FLIGHT as u64).await;
    let counts = scene.emulator.counts();
    assert_eq!((counts.in_flight, counts.connections), (IN_FLIGHT as u64, IN_FLIGHT as u64));
    scene.emulator.release();
    scene.vectors_reach(250).await;
    assert_eq!(scene.emulator.counts().most_in_flight, IN_FLIGHT as u64);
    assert_eq!(scene.emulator.counts().calls, 250);
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_all(&scene, 250);
}
