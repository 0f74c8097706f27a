//! Files are moved or deleted after processing, beside writers that go on with them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::Child;
use tokio::task::yield_now;

use crate::support::{Scene, changes_until, ends, signal};

fn follow(scene: &Scene) -> Child {
    let mut command = scene.riverbed(&["run"]);
    command.env("RIVERBED_STEPS", scene.path("steps"));
    command.stdout(Stdio::null()).stderr(File::create(scene.path("log")).unwrap()).spawn().unwrap()
}

fn log(scene: &Scene) -> String {
    fs::read_to_string(scene.path("log")).unwrap_or_default()
}

async fn says(scene: &Scene, words: &str) {
    changes_until(&scene.path(""), || log(scene).contains(words)).await;
}

async fn ends_well(scene: &Scene, child: Child) {
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "{}", log(scene));
}

/// Returns the files below a folder that are there, whatever they are called.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn texts(scene: &Scene) -> BTreeSet<String> {
    let lines = scene.vectors();
    let upserts = lines.iter().filter(|line| line["op"] == "upsert");
    upserts.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_its_writer_keeps_open_is_moved_away_once_it_is_closed_and_what_came_in_between_is_embedded() {
    for (on_done, moved) in [("move", Some("done/a.txt")), ("delete", None)] {
        let scene = Scene::cheap().await.set("source.on-done", &format!("\"{on_done}\"")).set("source.done-dir", "\"done\"");
        // Open files are waited for, 600 times as long.
        let scene = scene.set("source.settle", "\"1ms\"");
        let child = follow(&scene);
        let mut writer = File::create(scene.path("drop/a.txt")).unwrap();
        writer.write_all(b"The first part.").unwrap();
        says(&scene, "file is open for writing; it stays in the source folder until closed").await;
        assert_eq!(texts(&scene), BTreeSet::from(["The first part.".to_owned()]));
        assert!(scene.path("drop/a.txt").exists());
        writer.write_all(b" The second part.").unwrap();
        let whole = "The first part. The second part.";
        changes_until(&scene.path("out"), || texts(&scene).contains(whole)).await;
        assert!(scene.path("drop/a.txt").exists());
        drop(writer);
        changes_until(&scene.path("drop"), || !scene.path("drop/a.txt").exists()).await;
        ends_well(&scene, child).await;
        assert_eq!(moved.map(|moved| fs::read_to_string(scene.path(moved)).unwrap()).as_deref(), moved.map(|_| whole));
        assert!(texts(&scene).contains(whole));
        let counts = scene.emulator.counts();
        assert_eq!(counts.texts, 2, "a file that waits to be taken away is not embedded again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_file_that_its_writer_keeps_open_is_moved_once_it_is_closed() {
    let scene = Scene::cheap().await.set("source.on-failed", "\"move\"").set("source.failed-dir", "\"failed\"");
    let scene = scene.set("source.settle", "\"1ms\"").set("source.max-file-size", "\"4B\"");
    let child = follow(&scene);
    let mut writer = File::create(scene.path("drop/a.txt")).unwrap();
    writer.write_all(b"too large").unwrap();
    says(&scene, "file is open for writing; it stays in the source folder until closed").await;
    assert_eq!((files(&scene.path("failed")), scene.path("drop/a.txt").exists()), (Vec::new(), true));
    drop(writer);
    changes_until(&scene.path("failed"), || scene.path("failed/a.txt").exists()).await;
    ends_well(&scene, child).await;
    assert!(scene.path("failed/a.txt.reason.txt").exists() && !scene.path("drop/a.txt").exists());
    assert_eq!(scene.lines("failed.jsonl").len(), 1, "it failed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_its_new_folder_does_not_take_is_moved_when_it_does() {
    let scene = Scene::cheap().await.set("source.on-done", "\"move\"").set("source.done-dir", "\"done\"");
    fs::create_dir(scene.path("done")).unwrap();
    fs::write(scene.path("done/a"), "a file in the place of a folder").unwrap();
    let child = follow(&scene);
    scene.drop("a/b.txt", "words");
    says(&scene, "file stays in the source folder; retrying").await;
    assert!(scene.path("drop/a/b.txt").exists());
    fs::remove_file(scene.path("done/a")).unwrap();
    changes_until(&scene.path("done"), || scene.path("done/a/b.txt").exists()).await;
    ends_well(&scene, child).await;
    assert_eq!(scene.vectors().len(), 1);
    let told = log(&scene).matches("file stays").count();
    assert_eq!(told, 1, "that is said once: {}", log(&scene));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_deletes_while_it_waits_to_be_moved_away_takes_its_lines_with_it() {
    let scene = Scene::cheap().await.set("source.on-done", "\"move\"").set("source.done-dir", "\"done\"");
    let scene = scene.set("source.settle", "\"1ms\"");
    let child = follow(&scene);
    let mut writer = File::create(scene.path("drop/a.txt")).unwrap();
    writer.write_all(b"words").unwrap();
    says(&scene, "file is open for writing; it stays in the source folder until closed").await;
    fs::remove_file(scene.path("drop/a.txt")).unwrap();
    drop(writer);
    let ops: Vec<_> = scene.vectors_reach(2).await.iter().map(|line| line["op"].as_str().unwrap().to_owned()).collect();
    ends_well(&scene, child).await;
    assert_eq!((ops, files(&scene.path("done"))), (vec!["upsert".to_owned(), "delete".to_owned()], Vec::new()));
}

/// Writes that are aimed at the moment in which files are moved or deleted.
const ROUNDS: usize = 300;
const FILES: usize = 6;
/// A write that waited this long for its moment is made wherever it falls.
const LONGEST_AIM: Duration = Duration::from_millis(30);

#[tokio::test(flavor = "multi_thread")]
async fn beside_writers_of_all_kinds_nothing_is_moved_away_that_was_not_embedded() {
    for on_done in ["move", "delete"] {
        let scene = Scene::cheap().await.set("source.on-done", &format!("\"{on_done}\"")).set("source.done-dir", "\"done\"");
        let scene = scene.set("source.settle", "\"1ms\"").set("log.level", "\"warn\"");
        fs::write(scene.path("secret.txt"), "a secret").unwrap();
        let child = follow(&scene);
        changes_until(&scene.path("out"), || scene.path("out/vectors.jsonl").exists()).await;
        let steps = File::open(scene.path("steps")).unwrap();
        let is_taking = || {
            let mut step = [0];
            steps.read_exact_at(&mut step, 0).is_ok() && step == *b"m"
        };
        let mut met = 0;
        for round in 0..ROUNDS {
            let begun = Instant::now();
            while !is_taking() && begun.elapsed() < LONGEST_AIM {
                yield_now().await;
            }
            met += usize::from(is_taking());
            write(&scene, round);
        }
        let last = |file: usize| format!("The last version of file {file}.");
        for file in 0..FILES {
            scene.drop(&format!("{file}.txt"), last(file));
        }
        changes_until(&scene.path("drop"), || files(&scene.path("drop")).is_empty()).await;
        ends_well(&scene, child).await;
        let texts = texts(&scene);
        for file in 0..FILES {
            assert!(texts.contains(&last(file)), "{on_done}: {}", last(file));
        }
        for path in files(&scene.path("done")) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(texts.contains(&text), "{on_done}: `{}` was taken away and never embedded: {text}", path.display());
        }
        assert_eq!(fs::read_to_string(scene.path("secret.txt")).unwrap(), "a secret");
        assert!(!texts.contains("a secret"));
        assert!(scene.lines("failed.jsonl").is_empty(), "{}", log(&scene));
        assert!(met > ROUNDS / 20, "{on_done}: of {ROUNDS} writes {met} met a file that was being taken away");
    }
}

/// Writes to a file in one of the ways in which that is done. A file that has gone meanwhile is recreated, or passed over.
fn write(scene: &Scene, round: usize) {
    let path = scene.path("drop").join(format!("{}.txt", round % FILES));
    let text = format!("Version {round:04} of file {}.", round % FILES);
    let open = |options: &mut fs::OpenOptions| options.custom_flags(libc::O_NOFOLLOW).open(&path).ok();
    match round / FILES % 7 {
        0 => scene.drop(&format!("{}.txt", round % FILES), text),
        1 => {
            let file = open(File::options().write(true).create(true).truncate(true));
            let (first, second) = text.split_at(10);
            if let Some(mut file) = file {
                file.write_all(first.as_bytes()).unwrap();
                file.write_all(second.as_bytes()).unwrap();
            }
        }
        2 => {
            if let Some(mut file) = open(File::options().append(true).create(true)) {
                file.write_all(text.as_bytes()).unwrap();
            }
        }
        3 => {
            let _gone = [fs::remove_file(&path), fs::remove_file(scene.path("anew"))];
            fs::write(scene.path("anew"), text).unwrap();
            let _taken = fs::hard_link(scene.path("anew"), &path);
        }
        // In the same size, and with the time that it had.
        4 => {
            if let Some(file) = open(File::options().write(true)) {
                let modified = file.metadata().unwrap().modified().unwrap();
                file.write_all_at(b"VERSION", 0).unwrap();
                file.set_modified(modified).unwrap();
            }
        }
        5 => {
            symlink(scene.path("secret.txt"), scene.path("link")).unwrap();
            fs::rename(scene.path("link"), &path).unwrap();
        }
        _ => {
            let _gone = fs::remove_file(&path);
            scene.drop(&format!("{}.txt", round % FILES), text);
        }
    }
}
