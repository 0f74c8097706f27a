//! What the keys of `[source]` change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use riverbed::domain::{Claims, NoMemory};
use riverbed::emulator::Fault;
use riverbed::folder::{self, Found, Watching};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shown;
use crate::support::{PATIENCE, Scene};

/// Returns the documents that came out.
fn documents(scene: &Scene) -> BTreeSet<String> {
    scene.vectors().iter().map(|line| line["document"].as_str().unwrap().to_owned()).collect()
}

pub(super) async fn path() {
    let scene = Scene::cheap().await.set("source.path", "\"other\"");
    scene.drop("a.txt", "words");
    fs::create_dir(scene.path("other")).unwrap();
    fs::write(scene.path("other/b.txt"), "words").unwrap();
    scene.once().await;
    assert_eq!(documents(&scene), BTreeSet::from(["b.txt".to_owned()]));
}

pub(super) async fn recursive() {
    let scene = Scene::cheap().await.set("source.recursive", "false");
    scene.drop("a.txt", "words");
    scene.drop("below/b.txt", "words");
    scene.once().await;
    assert_eq!(documents(&scene), BTreeSet::from(["a.txt".to_owned()]));
}

pub(super) async fn include() {
    let scene = Scene::cheap().await.set("source.include", "[\"*.md\"]");
    scene.drop("a.txt", "words");
    scene.drop("below/b.md", "words");
    scene.once().await;
    assert_eq!(documents(&scene), BTreeSet::from(["below/b.md".to_owned()]));
}

pub(super) async fn exclude() {
    let scene = Scene::cheap().await.set("source.exclude", "[\"below/\"]");
    scene.drop("a.txt", "words");
    scene.drop("below/b.md", "words");
    scene.once().await;
    assert_eq!(documents(&scene), BTreeSet::from(["a.txt".to_owned()]));
}

pub(super) async fn marker() {
    let scene = Scene::cheap().await.set("source.marker", "\".done\"");
    scene.drop("a.txt", "words");
    scene.drop("b.txt", "words");
    scene.drop("b.txt.done", "");
    scene.once().await;
    assert_eq!(documents(&scene), BTreeSet::from(["b.txt".to_owned()]));
}

/// Follows a folder with a fresh file in it until `until` is through, and returns the virtual time that it took.
async fn follow(
    config: impl FnOnce(&mut folder::SourceConfig),
    until: impl AsyncFnOnce(&Found, &mut mpsc::Receiver<riverbed::domain::Change>),
) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "words").unwrap();
    let mut source = folder::SourceConfig { path: folder.path().to_owned(), ..folder::SourceConfig::default() };
    config(&mut source);
    let (sender, mut changes) = mpsc::channel(8);
    let (found, stop) = (Found::default(), CancellationToken::new());
    let begun = tokio::time::Instant::now();
    tokio::select! {
        ended = folder::follow(source, Arc::new(NoMemory), Claims::default(), sender, stop.clone(), &found) => panic!("it ended: {ended:?}"),
        () = until(&found, &mut changes) => {}
    }
    begun.elapsed()
}

pub(super) fn settle() -> Shown {
    Box::pin(async {
        for settle in [Duration::from_millis(1), Duration::from_hours(1)] {
            let took = follow(|source| source.settle = settle, async |_, changes| drop(changes.recv().await.unwrap())).await;
            // A fresh file is quiet ten settling times after its last change; those few milliseconds count too.
            let near = (settle * 10).saturating_sub(PATIENCE)..=settle * 20 + PATIENCE;
            assert!(near.contains(&took), "{took:?} for a settling time of {settle:?}");
        }
    })
}

pub(super) fn rescan() -> Shown {
    Box::pin(async {
        for rescan in [Duration::from_mins(1), Duration::from_hours(24)] {
            let watching = Mutex::new(Watching::Events);
            let until = async |found: &Found, _: &mut _| {
                found.scanned(2).await;
                *watching.lock().unwrap() = found.watching();
            };
            let took = follow(|source| source.rescan = rescan, until).await;
            // Where the tests run on an overlay, as in a container, scans come more often.
            let is_announced = *watching.lock().unwrap() == Watching::Events;
            let rescan = if is_announced { rescan } else { rescan / 10 };
            let near = rescan / 2..rescan * 2;
            assert!(near.contains(&took), "the second scan came after {took:?} with a rescan every {rescan:?}");
        }
    })
}

pub(super) async fn max_file_size() {
    let scene = Scene::cheap().await.set("source.max-file-size", "\"4B\"");
    scene.drop("a.txt", "word");
    scene.drop("b.txt", "words");
    scene.once().await;
    assert_eq!(documents(&scene), BTreeSet::from(["a.txt".to_owned()]));
}

pub(super) async fn symlinks() {
    for (symlinks, expected) in [("ignore", &["a.txt"][..]), ("inside", &["a.txt", "b.txt"])] {
        let scene = Scene::cheap().await.set("source.symlinks", &format!("\"{symlinks}\""));
        scene.drop("a.txt", "words");
        std::os::unix::fs::symlink("a.txt", scene.path("drop/b.txt")).unwrap();
        scene.once().await;
        assert_eq!(documents(&scene), expected.iter().map(ToString::to_string).collect());
    }
}

/// Works off a document that is done and one that fails, and returns what lies where then: of each file its path and what it holds.
async fn disposed_of(set: &[(&str, &str)]) -> BTreeMap<String, String> {
    let scene = set.iter().fold(Scene::cheap().await, |scene, (key, value)| scene.set(key, value));
    let scene = scene.set("retry.give-up-after", "\"0s\"");
    scene.emulator.fault_where("broken", Fault::internal());
    scene.drop("below/a.txt", "words");
    scene.drop("below/b.txt", "broken words");
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(documents(&scene), BTreeSet::from(["below/a.txt".to_owned()]));
    let mut lie = BTreeMap::new();
    for folder in ["drop", "done", "failed", "away"].map(|name| format!("{name}/below")) {
        for entry in fs::read_dir(scene.path(&folder)).into_iter().flatten() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
            lie.insert(name.clone(), fs::read_to_string(scene.path(&name)).unwrap());
        }
    }
    lie
}

fn paths(lie: &BTreeMap<String, String>) -> Vec<&str> {
    lie.keys().map(String::as_str).collect()
}

pub(super) async fn on_done() {
    let keep = disposed_of(&[("source.on-done", "\"keep\"")]).await;
    assert_eq!(paths(&keep), ["drop/below/a.txt", "drop/below/b.txt"]);
    let moved = disposed_of(&[("source.on-done", "\"move\""), ("source.done-dir", "\"done\"")]).await;
    assert_eq!(paths(&moved), ["done/below/a.txt", "drop/below/b.txt"]);
    assert_eq!(moved["done/below/a.txt"], "words");
    assert_eq!(paths(&disposed_of(&[("source.on-done", "\"delete\"")]).await), ["drop/below/b.txt"]);
}

pub(super) async fn done_dir() {
    let lie = disposed_of(&[("source.on-done", "\"move\""), ("source.done-dir", "\"away\"")]).await;
    assert_eq!(paths(&lie), ["away/below/a.txt", "drop/below/b.txt"]);
}

pub(super) async fn on_failed() {
    assert_eq!(paths(&disposed_of(&[("source.on-failed", "\"keep\"")]).await), ["drop/below/a.txt", "drop/below/b.txt"]);
    let lie = disposed_of(&[("source.on-failed", "\"move\""), ("source.failed-dir", "\"failed\"")]).await;
    assert_eq!(paths(&lie), ["drop/below/a.txt", "failed/below/b.txt", "failed/below/b.txt.reason.txt"]);
    assert_eq!(lie["failed/below/b.txt"], "broken words");
    let reason = &lie["failed/below/b.txt.reason.txt"];
    assert!(reason.contains("`below/b.txt`") && reason.contains("What to do:"), "{reason}");
}

pub(super) async fn failed_dir() {
    let lie = disposed_of(&[("source.on-failed", "\"move\""), ("source.failed-dir", "\"away\"")]).await;
    assert_eq!(paths(&lie), ["away/below/b.txt", "away/below/b.txt.reason.txt", "drop/below/a.txt"]);
}
