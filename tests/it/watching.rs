//! The daemon's reaction to changes in its folder, from the writers' system calls to the lines.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;

use crate::concurrent_writers::{self, Ground};
use crate::hostile::{at, canaries, has_canary, names, race, set_traps};
use crate::renames;
use crate::support::{PATIENCE, Scene, changes_until, ends, signal};

#[tokio::test(flavor = "multi_thread")]
async fn no_writer_gets_half_a_file_embedded() {
    let scene = Scene::cheap().await.set("source.settle", "\"500ms\"");
    scene.emulator.record(NonZeroUsize::new(1000).unwrap());
    let child = scene.follow();
    changes_until(&scene.path("out"), || scene.path("out/vectors.jsonl").exists()).await;
    let mut all = BTreeMap::new();
    for (number, (kind, replaces, write)) in concurrent_writers::KINDS.into_iter().enumerate() {
        // That one is there to be slow, and this one is in the bench.
        if kind == "slow" || (kind.starts_with("rsync") && !concurrent_writers::is_installed("rsync")) {
            continue;
        }
        let ground = Ground::new(scene.path("drop").join(kind), scene.path("stage").join(kind));
        let works = concurrent_writers::works(2, number * 1000, replaces);
        concurrent_writers::prepare(&ground, &works);
        write(&ground, &works, &|_| ());
        all.extend(works.into_iter().map(|work| (concurrent_writers::document(kind, &work), work)));
    }
    let last = || -> BTreeMap<String, String> {
        let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let lines = scene.vectors();
        let upserts = lines.iter().filter(|line| line["op"] == "upsert");
        upserts.map(|line| (text(line, "document"), text(line, "text"))).collect()
    };
    let is_done = || {
        let last = last();
        all.iter().all(|(document, work)| last.get(document) == Some(&work.whole))
    };
    changes_until(&scene.path("out"), is_done).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    let works: Vec<_> = all.into_values().collect();
    for text in scene.emulator.requests().into_iter().flat_map(|request| request.texts) {
        assert!(concurrent_writers::is_whole(&works, &text), "half a file was embedded: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_pauses_gives_one_version_a_pause() {
    let scene = Scene::cheap().await;
    let child = scene.follow();
    let path = scene.path("drop/a.txt");
    for part in 1..=3 {
        let mut file = fs::File::options().create(true).append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, format!("Part {part}.").as_bytes()).unwrap();
        drop(file);
        let text = fs::read_to_string(&path).unwrap();
        let is_out = || scene.vectors().iter().any(|line| line["text"] == *text);
        changes_until(&scene.path("out"), is_out).await;
    }
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    let ops: Vec<_> = scene.vectors().iter().map(|line| line["op"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ops, ["upsert", "upsert", "delete", "upsert", "delete"], "each version takes the place of the one before");
}

/// The bench has the same with 200,000 files.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_folder_that_are_renamed_all_the_time_have_their_lines_once_and_under_their_last_names() {
    let scene = renames::scene().await;
    let report = renames::run(&scene, 2_000, PATIENCE, |_, _| ()).await;
    assert!(report.is_paid_once(), "{report:?}");
    assert!(report.files > 1_000 && report.renames > 10_000 && report.lines > report.files, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_come_out_whole_and_once() {
    let scene = Scene::cheap().await;
    let child = scene.follow();
    changes_until(&scene.path("out"), || scene.path("out/vectors.jsonl").exists()).await;
    let names = names();
    assert_eq!(names.len(), 200);
    for (number, name) in names.iter().enumerate() {
        fs::write(scene.path("stage"), format!("Number {number}.")).unwrap();
        fs::rename(scene.path("stage"), at(&scene.path("drop"), name)).unwrap();
    }
    scene.vectors_reach(200).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    let came: BTreeMap<Vec<u8>, String> = scene
        .vectors() // of which each line is parsed
        .iter()
        .map(|line| {
            let name = match line["document_bytes"].as_str() {
                Some(bytes) => BASE64_STANDARD.decode(bytes).unwrap(),
                None => line["document"].as_str().unwrap().as_bytes().to_vec(),
            };
            (name, line["text"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(scene.vectors().len(), 200, "each once");
    let expected = names.into_iter().enumerate().map(|(number, name)| (name, format!("Number {number}.")));
    assert_eq!(came, expected.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_the_folder_is_read_and_nothing_blocks() {
    let scene = Scene::cheap().await.set("source.settle", "\"1ms\"").set("source.symlinks", "\"inside\"");
    scene.emulator.record(NonZeroUsize::new(10_000).unwrap());
    let _socket = set_traps(&scene);
    let child = scene.follow();
    changes_until(&scene.path("out"), || scene.path("out/vectors.jsonl").exists()).await;
    race(&scene, 400, |_| std::thread::yield_now());
    let is_out = |number: usize| scene.vectors().iter().any(|line| line["text"] == format!("Harmless words, number {number}."));
    changes_until(&scene.path("out"), || is_out(400) && is_out(401)).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(canaries(&scene.path("out")), Vec::<std::path::PathBuf>::new());
    let requests = scene.emulator.requests();
    assert!(!requests.is_empty() && !requests.iter().any(|request| has_canary(request.body.to_string().as_bytes())));
}
