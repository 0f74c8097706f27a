//! `run`: following the folder, and stopping.

use std::collections::BTreeMap;
use std::fs;

use riverbed::emulator::Fault;
use serde_json::{Value, json};

use crate::support::{Scene, changes_until, ends, finish, paragraph, signal};
use rustix::process::Signal;

fn of<'a>(lines: &'a [Value], op: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["op"] == op).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_and_new_files_are_embedded() {
    let scene = Scene::cheap().await;
    scene.drop("before.txt", "before");
    let child = scene.follow();
    scene.vectors_reach(1).await;
    scene.drop("later/after.txt", "after");
    let lines = scene.vectors_reach(2).await;
    assert_eq!((&lines[0]["document"], &lines[1]["document"]), (&json!("before.txt"), &json!("later/after.txt")));
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(scene.emulator.counts().calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_log_is_worked_into_its_file_while_nobody_waits() {
    const DOCUMENTS: usize = 40;
    let scene = Scene::cheap().await;
    let child = scene.follow();
    // One commit each at least.
    for number in 0..DOCUMENTS {
        scene.drop(&format!("{number}.txt"), paragraph(number, 5));
        scene.vectors_reach(number + 1).await;
    }
    // The content of the file alone, without the log beside it, as a commit that has to make room would have left it far later.
    let (ledger, alone) = (scene.path("out/.riverbed/ledger.db"), scene.path("alone.db"));
    let in_the_file = || {
        fs::copy(&ledger, &alone).unwrap();
        let count = rusqlite::Connection::open(&alone).unwrap();
        count.query_row("SELECT count(*) FROM documents", [], |row| row.get::<_, i64>(0)).unwrap_or(0)
    };
    changes_until(&scene.path("out/.riverbed"), || in_the_file() > 0).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_embeds_new_text_and_then_deletes_lines_of_removed_text() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "60").set("chunk.overlap-tokens", "0");
    let mut paragraphs: Vec<_> = (0..30).map(|number| paragraph(number, 20)).collect();
    scene.drop("a.txt", paragraphs.join("\n\n"));
    let child = scene.follow();
    let first = scene.vectors_reach(1).await[0]["chunks"].as_u64().unwrap();
    let first = usize::try_from(first).unwrap();
    scene.vectors_reach(first).await;

    paragraphs[15] = paragraph(99, 20);
    scene.drop("a.txt", paragraphs.join("\n\n"));
    let is_over = |lines: &[Value]| !of(lines, "delete").is_empty();
    changes_until(&scene.path("out"), || is_over(&scene.vectors())).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    let lines = scene.vectors();
    let (upserts, deletes) = (of(&lines, "upsert"), of(&lines, "delete"));
    let embedded = usize::try_from(scene.emulator.counts().texts).unwrap() - first;
    assert!((1..=3).contains(&embedded), "{embedded} texts were embedded for one edited paragraph");
    assert!((1..=3).contains(&deletes.len()), "{} lines were deleted", deletes.len());
    let last_upsert = upserts.iter().filter_map(|line| line["seq"].as_u64()).max();
    assert!(deletes.iter().all(|line| line["seq"].as_u64() > last_upsert), "a reader never has a gap");
    for delete in deletes {
        assert!(upserts[..first].iter().any(|line| line["id"] == delete["id"]), "only current lines are deleted");
    }
    // Lines that are current after the edit are where the file has their text.
    let mut standing = BTreeMap::new();
    for line in &lines {
        match line["op"].as_str().unwrap() {
            "upsert" => standing.insert(line["id"].as_str().unwrap(), line),
            _ => standing.remove(line["id"].as_str().unwrap()),
        };
    }
    let file = fs::read_to_string(scene.path("drop/a.txt")).unwrap();
    for line in standing.values() {
        let at = |end: usize| usize::try_from(line["span"][end].as_u64().unwrap()).unwrap();
        assert_eq!(&file[at(0)..at(1)], line["text"].as_str().unwrap());
    }
    assert!(standing.len() > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_fails_nothing_and_a_bad_text_is_failed_once_others_succeed() {
    let scene = Scene::cheap().await.set("retry.give-up-after", "\"1ms\"");
    scene.drop("a.txt", "OUTAGE");
    scene.emulator.fault_where("", Fault::internal());
    let child = scene.follow();
    scene.emulator.called(30).await;
    assert!(scene.lines("failed.jsonl").is_empty(), "30 attempts took longer than give-up-after");
    scene.emulator.clear_faults();
    scene.vectors_reach(1).await;

    scene.emulator.fault_where("BROKEN", Fault::internal());
    let calls = scene.emulator.counts().calls;
    scene.drop("broken.txt", "BROKEN");
    scene.emulator.called(calls + 1).await;
    scene.drop("good.txt", "words");
    scene.vectors_reach(2).await;
    changes_until(&scene.path("out"), || !scene.lines("failed.jsonl").is_empty()).await;
    assert_eq!(scene.lines("failed.jsonl")[0]["document"], "broken.txt");
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_is_in_flight() {
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", "8");
    for number in 0..8 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.emulator.hold();
    let child = scene.follow();
    scene.emulator.called(8).await;
    signal(&child, Signal::TERM);
    scene.emulator.release();
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(scene.vectors().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_stops_under_64_calls_in_flight_lose_nothing_and_pay_for_nothing_twice() {
    const CALLS: usize = 64;
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", &CALLS.to_string()).set("run.queue", "1000");
    let mut dropped = 0;
    for round in 1..=10 {
        // More than are in flight at once: what is accepted and waits is left to the next run.
        for _ in 0..CALLS + 20 {
            scene.drop(&format!("{dropped}.txt"), format!("{dropped} {}", paragraph(dropped, 8)));
            dropped += 1;
        }
        let calls = scene.emulator.counts().calls;
        scene.emulator.hold();
        let child = scene.follow();
        scene.emulator.called(calls + CALLS as u64).await;
        signal(&child, Signal::TERM);
        scene.emulator.release();
        assert_eq!(ends(child).await, Some(0), "round {round}");
        let documents: Vec<_> = scene.vectors().iter().map(|line| line["document"].to_string()).collect();
        assert!(documents.len() >= round * CALLS, "round {round}: what was in flight is committed");
        let calls = scene.emulator.counts().calls;
        assert_eq!(calls, documents.len() as u64, "round {round}: each answer that was paid for has its line");
    }
    assert_eq!(scene.once().await.code, Some(0));
    let documents: Vec<_> = scene.vectors().iter().map(|line| line["document"].to_string()).collect();
    let distinct: std::collections::BTreeSet<_> = documents.iter().collect();
    assert_eq!((documents.len(), distinct.len()), (dropped, dropped), "nothing is lost, nothing is there twice");
    assert_eq!(scene.emulator.counts().calls, dropped as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_hanging_calls_no_longer_than_the_grace_period() {
    let scene = Scene::cheap().await.set("run.grace", "\"50ms\"");
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let child = scene.follow();
    scene.emulator.called(1).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "though the call never ended");
    assert!(scene.vectors().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_to_stop_ends_at_once() {
    let scene = Scene::cheap().await.set("run.grace", "\"1h\"");
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let mut command = scene.riverbed(&["run"]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    scene.emulator.called(1).await;
    signal(&child, Signal::INT);
    // The first one has been received when it is logged.
    let mut log = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("a second request ends at once") {
        line.clear();
        assert!(tokio::io::AsyncBufReadExt::read_line(&mut log, &mut line).await.unwrap() > 0, "it ended without saying so");
    }
    signal(&child, Signal::INT);
    assert_eq!(ends(child).await, Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_waits_for_a_folder_that_is_not_there_yet() {
    let scene = Scene::cheap().await;
    fs::remove_dir(scene.path("drop")).unwrap();
    let child = scene.follow();
    // It holds its output, so it runs.
    changes_until(&scene.path("out"), || scene.path("out/vectors.jsonl").exists()).await;
    scene.drop("a.txt", "words");
    scene.vectors_reach(1).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_whose_files_are_moved_away_stay_in_the_output() {
    let scene = Scene::cheap().await.set("source.on-done", "\"move\"").set("source.done-dir", "\"done\"");
    let child = scene.follow();
    for (name, moved) in [("a.txt", "done/a.txt"), ("b.txt", "done/b.txt"), ("a.txt", "done/a-2.txt")] {
        scene.drop(name, "words");
        changes_until(&scene.path("done"), || scene.path(moved).exists()).await;
    }
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    let said: Vec<_> = scene.vectors().iter().map(|line| format!("{} {}", line["op"], line["document"])).collect();
    assert_eq!(said, ["\"upsert\" \"a.txt\"", "\"upsert\" \"b.txt\""], "the second a.txt is as the first was");
    let told = finish(scene.riverbed(&["explain", "a.txt"])).await.stdout;
    assert!(told.contains("moved or deleted by riverbed after processing; its lines stay"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_asks_for_a_scan() {
    let scene = Scene::cheap().await.set("source.rescan", "\"24h\"");
    let child = scene.follow();
    scene.drop("a.txt", "first");
    scene.vectors_reach(1).await;
    // inotify tells only of what is done through the name that is watched.
    fs::hard_link(scene.path("drop/a.txt"), scene.path("link")).unwrap();
    fs::write(scene.path("link"), "second").unwrap();
    signal(&child, Signal::HUP);
    let said: Vec<_> = scene.vectors_reach(3).await.iter().map(|line| format!("{} {}", line["op"], line["text"])).collect();
    assert_eq!(said[..2], ["\"upsert\" \"first\"", "\"upsert\" \"second\""]);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}
