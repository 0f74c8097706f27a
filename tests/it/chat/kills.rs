//! The process dies while it asks.

use std::collections::BTreeMap;

use super::*;

const DOCUMENTS: usize = 200;
const IN_FLIGHT: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_lose_no_answer_and_double_none() {
    let scene = Scene::cheap_after(Duration::from_millis(5)).await.chat(SUMMARY).chat(TITLE);
    let scene = scene.set("bedrock.max-in-flight", &IN_FLIGHT.to_string());
    for number in 0..DOCUMENTS {
        scene.drop(&format!("{number}.md"), paragraph(number, 20));
    }
    for (kill, answers) in [40, 150, 280].into_iter().enumerate() {
        let mut daemon = scene.follow();
        scene.answers_reach(answers).await;
        daemon.kill().await.unwrap();
        assert!(scene.answers().len() < 2 * DOCUMENTS, "kill {kill} came too late to show anything");
    }
    let run = scene.once().await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    let lines = scene.answers();
    let mut times: BTreeMap<_, u32> = BTreeMap::new();
    for line in &lines {
        *times.entry((line["document"].to_string(), line["prompt"].to_string())).or_default() += 1;
    }
    assert_eq!(times.len(), 2 * DOCUMENTS, "every document and prompt");
    assert!(times.values().all(|times| *times == 1), "exactly once");
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=2 * DOCUMENTS as u64).collect::<Vec<_>>());
    // What was in flight, on each of two lanes, and what had come and was not committed yet.
    let (needed, calls) = (2 * DOCUMENTS as u64, asked(&scene));
    assert!(calls <= needed + 3 * (2 * IN_FLIGHT + 256), "{calls} calls");
    println!("{needed} needed, {calls} asked");
    let verified = finish(scene.riverbed(&["verify"])).await;
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
}
