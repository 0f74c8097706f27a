//! Only changes are paid for, and lines of removed text are deleted.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Ended, Scene, paragraph};

/// Works the folder off and returns how many texts that cost.
async fn texts(scene: &Scene) -> u64 {
    let before = scene.emulator.counts().texts;
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.emulator.counts().texts - before
}

/// Returns the current lines, by id, after all lines have been applied in order.
fn standing(scene: &Scene) -> BTreeMap<String, Value> {
    let mut standing = BTreeMap::new();
    for line in scene.vectors() {
        let id = line["id"].as_str().unwrap().to_owned();
        match line["op"].as_str().unwrap() {
            "upsert" => drop(standing.insert(id, line)),
            _ => assert!(standing.remove(&id).is_some(), "only current lines are deleted"),
        }
    }
    standing
}

/// Compares the current lines with the files in the folder.
fn stands_as_the_files(scene: &Scene) {
    let standing = standing(scene);
    for line in standing.values() {
        let file = fs::read_to_string(scene.path("drop").join(line["document"].as_str().unwrap())).unwrap();
        let at = |end: usize| usize::try_from(line["span"][end].as_u64().unwrap()).unwrap();
        assert_eq!(&file[at(0)..at(1)], line["text"].as_str().unwrap());
    }
    let documents: Vec<_> = fs::read_dir(scene.path("drop")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in documents {
        let name = name.into_string().unwrap();
        assert!(standing.values().any(|line| line["document"] == *name), "`{name}` stands");
    }
}

/// A document of this many paragraphs, each a chunk or two.
fn document(from: usize, paragraphs: usize) -> String {
    (from..from + paragraphs).map(|number| paragraph(number, 20)).collect::<Vec<_>>().join("\n\n")
}

async fn scene() -> Scene {
    Scene::cheap().await.set("chunk.max-tokens", "60").set("chunk.overlap-tokens", "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_asks_for_nothing_and_writes_nothing() {
    let scene = scene().await;
    scene.drop("a.txt", document(0, 20));
    scene.drop("empty.txt", "");
    assert!(texts(&scene).await > 5);
    let lines = scene.vectors();
    assert_eq!(texts(&scene).await, 0);
    assert_eq!(scene.vectors(), lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_edited_paragraph_of_a_thousand_chunks_costs_three_texts_at_most() {
    let scene = scene().await;
    let mut paragraphs: Vec<_> = (0..2500).map(|number| paragraph(number, 20)).collect();
    scene.drop("a.txt", paragraphs.join("\n\n"));
    assert!(texts(&scene).await >= 1000);
    paragraphs[1200] = paragraph(9999, 20);
    scene.drop("a.txt", paragraphs.join("\n\n"));
    let cost = texts(&scene).await;
    assert!((1..=3).contains(&cost), "{cost} texts were embedded for one edited paragraph");
    stands_as_the_files(&scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_a_touch_a_copy_and_a_document_that_comes_back_cost_nothing() {
    let scene = scene().await;
    scene.drop("a.txt", document(0, 20));
    scene.drop("b.txt", document(50, 20));
    assert!(texts(&scene).await > 20);
    let chunks = standing(&scene).len();

    fs::rename(scene.path("drop/a.txt"), scene.path("drop/renamed.txt")).unwrap();
    assert_eq!(texts(&scene).await, 0);
    stands_as_the_files(&scene);
    assert_eq!(standing(&scene).len(), chunks);

    let touched = fs::File::options().append(true).open(scene.path("drop/b.txt")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let lines = scene.vectors().len();
    assert_eq!(texts(&scene).await, 0);
    assert_eq!(scene.vectors().len(), lines, "a file that only looks different changes no line");

    fs::copy(scene.path("drop/b.txt"), scene.path("drop/copy.txt")).unwrap();
    assert_eq!(texts(&scene).await, 0);
    stands_as_the_files(&scene);

    let kept = fs::read(scene.path("drop/b.txt")).unwrap();
    fs::remove_file(scene.path("drop/b.txt")).unwrap();
    assert_eq!(texts(&scene).await, 0);
    assert!(standing(&scene).values().all(|line| line["document"] != "b.txt"), "removed documents' lines are deleted");
    scene.drop("b.txt", kept);
    assert_eq!(texts(&scene).await, 0);
    stands_as_the_files(&scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_paragraph_in_many_documents_is_paid_once_also_while_it_is_in_flight() {
    let scene = scene().await;
    for number in 0..50 {
        scene.drop(&format!("{number}.txt"), "The same words everywhere.");
    }
    assert_eq!(texts(&scene).await, 1);
    assert_eq!(standing(&scene).len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_that_has_left_the_cache_is_read_back_from_its_line() {
    // Each line is sealed in a file of its own, so that both live and sealed files are read.
    let scene = scene().await.set("ledger.cache-size", "\"0\"").set("sink.rotate-size", "\"4KiB\"");
    scene.drop("a.txt", document(0, 6));
    assert!(texts(&scene).await > 2);
    fs::rename(scene.path("drop/a.txt"), scene.path("drop/b.txt")).unwrap();
    assert_eq!(texts(&scene).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_that_is_nowhere_any_more_is_paid_again() {
    let scene = scene().await.set("ledger.cache-size", "\"0\"");
    scene.drop("a.txt", "words");
    assert_eq!(texts(&scene).await, 1);
    fs::write(scene.path("out/vectors.jsonl"), "").unwrap();
    scene.drop("copy.txt", "words");
    assert_eq!(texts(&scene).await, 1);
    assert_eq!(scene.vectors().last().unwrap()["document"], "copy.txt");
}

async fn once_with(scene: &Scene, set: &str) -> Ended {
    crate::support::finish(scene.riverbed(&["run", "--once", "--set", set])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shapes_vectors_embeds_again_and_says_so_and_what_does_not_does_not() {
    let scene = scene().await;
    scene.drop("a.txt", document(0, 10));
    let chunks = texts(&scene).await;
    let calls = || scene.emulator.counts().texts;
    for set in ["bedrock.max-in-flight=3", "log.level=debug", "sink.sync-every=5s", "source.settle=1s"] {
        let before = calls();
        let ended = once_with(&scene, set).await;
        assert_eq!((ended.code, calls()), (Some(0), before), "{set}: {ended:?}");
        assert!(!ended.stderr.contains("embedding these documents again"), "{set}: {}", ended.stderr);
    }
    let before = calls();
    let ended = once_with(&scene, "embed.dimensions=256").await;
    assert!(ended.stderr.contains("documents=1") && ended.stderr.contains("embedding these documents again"), "{}", ended.stderr);
    assert_eq!(calls() - before, chunks);
    assert!(standing(&scene).values().all(|line| line["dimensions"] == 256), "the ids are the same, so every line is replaced");
    let before = calls();
    let ended = once_with(&scene, "embed.dimensions=1024").await;
    assert_eq!((ended.code, calls()), (Some(0), before), "what was paid for once is in the cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_document_is_retried_when_it_changes() {
    let scene = scene().await;
    scene.drop("a.txt", "POISON");
    scene.emulator.fault_where("POISON", riverbed::emulator::Fault::validation("no"));
    assert_eq!(scene.once().await.code, Some(2));
    let calls = scene.emulator.counts().calls;
    let again = scene.once().await;
    assert_eq!((again.code, scene.emulator.counts().calls), (Some(2), calls), "it stands as failed, and is not asked again");
    assert!(again.stdout.contains("1 in earlier runs"), "{}", again.stdout);
    assert_eq!(scene.lines("failed.jsonl").len(), 1);
    scene.drop("a.txt", "wholesome");
    assert_eq!(scene.once().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_exits_at_once_and_changes_nothing() {
    let scene = scene().await;
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let mut first = scene.riverbed(&["run"]).stderr(Stdio::null()).spawn().unwrap();
    scene.emulator.called(1).await;
    let second = scene.once().await;
    assert_eq!(second.code, Some(75), "{second:?}");
    assert_eq!(scene.emulator.counts().calls, 1);
    first.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_refused_and_restored_from_the_lines() {
    let scene = scene().await.set("sink.rotate-size", "\"40KiB\"");
    scene.drop("a.txt", document(0, 20));
    scene.drop("b.txt", document(50, 20));
    assert!(texts(&scene).await > 10);
    fs::remove_file(scene.path("drop/b.txt")).unwrap();
    texts(&scene).await;
    let lines = scene.vectors();

    fs::remove_dir_all(scene.path("out/.riverbed")).unwrap();
    let refused = scene.once().await;
    assert_eq!(refused.code, Some(65), "{refused:?}");
    assert!(refused.stderr.contains("--rebuild-ledger"), "{}", refused.stderr);
    fs::remove_dir_all(scene.path("out/.riverbed")).unwrap();
    let calls = scene.emulator.counts().calls;
    let rebuilt = crate::support::finish(scene.riverbed(&["run", "--once", "--rebuild-ledger"])).await;
    assert_eq!((rebuilt.code, scene.emulator.counts().calls), (Some(0), calls), "{rebuilt:?}");
    // What is appended goes on where the last line stopped, under the same name.
    scene.drop("c.txt", "words");
    texts(&scene).await;
    let last = scene.vectors().pop().unwrap();
    assert_eq!(last["document"], "c.txt");
    assert_eq!(last["instance"], lines[0]["instance"]);
}
