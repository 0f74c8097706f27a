//! Ledger and output that were moved, deleted, restored or exchanged: a file's lines identify it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Ended, PATIENCE, Scene, changes_until, ends, finish, paragraph, signal};

const LEDGER: &str = "state/ledger.db";
const LIVE: &str = "out/vectors.jsonl";

/// A scene with its ledger beside its output.
async fn scene() -> Scene {
    let scene = Scene::cheap().await.set("embed.dimensions", "256").set("ledger.path", "\"state/ledger.db\"");
    scene.emulator.tell_apart();
    scene
}

fn drop_some(scene: &Scene, numbers: std::ops::Range<usize>) {
    for number in numbers {
        scene.drop(&format!("{number:02}.txt"), paragraph(number, 8));
    }
}

/// Works the folder off and returns how many texts were paid for.
async fn runs(scene: &Scene) -> u64 {
    let before = scene.emulator.counts().texts;
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    scene.emulator.counts().texts - before
}

/// Every line of the files that readers look for, by number; no number is there twice.
fn lines(scene: &Scene) -> BTreeMap<u64, Value> {
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir(scene.path("out")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_read = name == "vectors.jsonl" || name.starts_with("vectors-0");
        for line in
            fs::read_to_string(&path).unwrap_or_default().split_inclusive('\n').filter(|line| is_read && line.ends_with('\n'))
        {
            let Ok(read) = serde_json::from_str::<Value>(line) else { continue };
            let before = lines.insert(read["seq"].as_u64().unwrap(), read);
            assert_eq!(before, None, "a number is there twice");
        }
    }
    lines
}

/// The documents whose lines are there.
fn documents(scene: &Scene) -> BTreeSet<String> {
    lines(scene).into_values().map(|line| line["document"].as_str().unwrap().to_owned()).collect()
}

async fn verify(scene: &Scene, arguments: &[&str]) -> (Ended, Value) {
    let ended = finish(scene.riverbed(&[&["verify", "--json"], arguments].concat())).await;
    let told = serde_json::from_str(&ended.stdout).unwrap_or_default();
    (ended, told)
}

fn copy_ledger(scene: &Scene, to: &str) {
    fs::copy(scene.path(LEDGER), scene.path(to)).unwrap();
}

fn put_ledger_back(scene: &Scene, from: &str) {
    for beside in ["-wal", "-shm"] {
        let _absent = fs::remove_file(scene.path(&format!("{LEDGER}{beside}")));
    }
    fs::copy(scene.path(from), scene.path(LEDGER)).unwrap();
}

fn seen(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_resumes_after_a_deleted_live_file_whose_inode_number_is_reused() {
    let scene = scene().await;
    drop_some(&scene, 0..3);
    assert_eq!(runs(&scene).await, 3);
    // As after a deletion: the number of the one is given to the other.
    let number = fs::metadata(scene.path("out/failed.jsonl")).unwrap().ino();
    fs::remove_file(scene.path(LIVE)).unwrap();
    fs::rename(scene.path("out/failed.jsonl"), scene.path(LIVE)).unwrap();
    assert_eq!(fs::metadata(scene.path(LIVE)).unwrap().ino(), number);
    drop_some(&scene, 3..5);
    assert_eq!(runs(&scene).await, 2);
    assert_eq!(
        lines(&scene).into_keys().collect::<Vec<_>>(),
        [4, 5],
        "what was taken away stays away, and no number is used again"
    );
    assert_eq!(runs(&scene).await, 0);
    // A user who misses it has it rebuilt, from the answers that are kept.
    let (ended, told) = verify(&scene, &["--repair"]).await;
    assert_eq!((ended.code, &told["repaired"]["lost"]), (Some(0), &json!(3)), "{ended:?}");
    assert_eq!(runs(&scene).await, 0);
    assert_eq!((documents(&scene).len(), lines(&scene).len()), (5, 5));
    assert_eq!(verify(&scene, &[]).await.0.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_live_file_keeps_its_lines_and_what_it_lacks_is_made_again_without_a_call() {
    let scene = scene().await;
    drop_some(&scene, 0..3);
    assert_eq!(runs(&scene).await, 3);
    let older = fs::read(scene.path(LIVE)).unwrap();
    drop_some(&scene, 3..8);
    assert_eq!(runs(&scene).await, 5);
    let before: BTreeSet<_> = lines(&scene).into_values().map(|line| line["id"].to_string()).collect();
    fs::remove_file(scene.path(LIVE)).unwrap();
    fs::write(scene.path(LIVE), older).unwrap();
    assert_eq!(runs(&scene).await, 0);
    let after: BTreeSet<_> = lines(&scene).into_values().map(|line| line["id"].to_string()).collect();
    assert_eq!((lines(&scene).len(), after), (8, before), "each is there once, under its id");
    assert_eq!(verify(&scene, &[]).await.0.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_ledger_beside_output_of_which_readers_took_files_asks_a_person() {
    let scene = scene().await.set("sink.rotate-size", "\"8KiB\"");
    drop_some(&scene, 0..5);
    assert_eq!(runs(&scene).await, 5);
    copy_ledger(&scene, "yesterday.db");
    drop_some(&scene, 5..20);
    assert_eq!(runs(&scene).await, 15);
    for name in seen(&scene.path("out")).into_keys().filter(|name| name.starts_with("vectors-0")) {
        fs::remove_file(scene.path("out").join(name)).unwrap();
    }
    let highest = lines(&scene).into_keys().max().unwrap();
    put_ledger_back(&scene, "yesterday.db");
    let before = seen(&scene.path("out"));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(65), "{ended:?}");
    assert!(ended.stderr.contains("are in no file") && ended.stderr.contains("verify --repair"), "{}", ended.stderr);
    assert_eq!(seen(&scene.path("out")), before, "nothing was changed");
    assert_eq!(scene.emulator.counts().texts, 20, "and nothing was paid for");
    // With all of it taken, the mark in the folder still tells.
    let live = fs::read(scene.path(LIVE)).unwrap();
    fs::write(scene.path(LIVE), "").unwrap();
    assert_eq!(scene.once().await.code, Some(65));
    fs::write(scene.path(LIVE), live).unwrap();
    let (ended, _) = verify(&scene, &["--repair"]).await;
    assert!(matches!(ended.code, Some(0 | 65)), "{ended:?}");
    runs(&scene).await;
    assert_eq!(documents(&scene).len(), 20, "a person agreed: all is there again");
    assert!(lines(&scene).into_keys().max().unwrap() > highest, "under numbers that were not given before");
    assert_eq!(runs(&scene).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_outputs_ledger_is_refused_and_nothing_is_changed() {
    let (scene, other) = (scene().await, scene().await);
    for scene in [&scene, &other] {
        drop_some(scene, 0..3);
        assert_eq!(runs(scene).await, 3);
    }
    copy_ledger(&scene, "its-own.db");
    fs::copy(other.path(LEDGER), scene.path("others.db")).unwrap();
    for is_marked in [true, false] {
        put_ledger_back(&scene, "others.db");
        if !is_marked {
            fs::remove_file(scene.path("out/.riverbed-output")).unwrap();
        }
        let before = seen(&scene.path("out"));
        let ended = scene.once().await;
        assert_eq!(ended.code, Some(65), "{ended:?}");
        assert!(ended.stderr.contains("is of the output"), "{}", ended.stderr);
        let mut after = seen(&scene.path("out"));
        after.retain(|name, bytes| name != ".riverbed-output" || is_marked || !bytes.is_empty());
        assert_eq!(after, before);
        put_ledger_back(&scene, "its-own.db");
        assert_eq!(runs(&scene).await, 0, "with its own it goes on");
    }
    assert_eq!(lines(&scene).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_without_a_mark_opens_as_it_did() {
    let scene = scene().await.set("sink.rotate-size", "\"8KiB\"");
    drop_some(&scene, 0..9);
    assert_eq!(runs(&scene).await, 9);
    // Builds before left none.
    fs::remove_file(scene.path("out/.riverbed-output")).unwrap();
    let before = lines(&scene);
    assert_eq!(runs(&scene).await, 0);
    assert_eq!(lines(&scene), before);
    assert!(scene.path("out/.riverbed-output").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_asks_a_person_says_how_it_is_rebuilt_and_is_found_by_verify() {
    let scene = scene().await;
    drop_some(&scene, 0..30);
    assert_eq!(runs(&scene).await, 30);
    let sound = fs::read(scene.path(LEDGER)).unwrap();
    let mut found = 0;
    // Page after page is overwritten, the first with its header too.
    for page in 0..sound.len() / 4096 {
        let file = fs::OpenOptions::new().write(true).open(scene.path(LEDGER)).unwrap();
        file.write_all_at(&[0xa5; 4096], page as u64 * 4096).unwrap();
        let ended = scene.once().await;
        // A page that nothing needs harms nothing.
        if ended.code != Some(0) {
            found += 1;
            assert_eq!(ended.code, Some(65), "page {page}: {ended:?}");
            assert!(ended.stderr.contains("--rebuild-ledger"), "page {page}: {}", ended.stderr);
        }
        put_ledger_back_as(&scene, &sound);
        file.write_all_at(&[0xa5; 4096], page as u64 * 4096).unwrap();
        let is_free = page > 0 && is_free_page(&scene, &sound, page);
        if !is_free {
            let ended = finish(scene.riverbed(&["verify"])).await;
            assert_eq!(ended.code, Some(65), "page {page}: {ended:?}");
            let said = ended.stdout + &ended.stderr;
            assert!(said.contains("--rebuild-ledger"), "page {page}: {said}");
        }
        put_ledger_back_as(&scene, &sound);
    }
    assert!(found > 5, "{found}");
    assert_eq!(runs(&scene).await, 0);
    fs::remove_file(scene.path(LEDGER)).unwrap();
    let ended = finish(scene.riverbed(&["run", "--once", "--rebuild-ledger"])).await;
    assert_eq!((ended.code, scene.emulator.counts().texts, lines(&scene).len()), (Some(0), 30, 30), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_ends_when_a_scan_alone_meets_damage_in_the_ledger_and_writes_nothing_more() {
    let scene = scene().await.set("source.rescan", "\"1s\"");
    for number in 0..400 {
        scene.drop(&format!("{number:03}-{}.txt", "of-a-long-name-".repeat(8)), format!("text {number}"));
    }
    assert_eq!(runs(&scene).await, 400);
    // What lies in the middle of the table of files, no commit about the last of them comes near.
    let child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    scene.drop("zz-1.txt", "one more");
    scene.vectors_reach(401).await;
    let bytes = fs::read(scene.path(LEDGER)).unwrap();
    let has = |page: &[u8], name: &str| page.windows(name.len()).any(|window| window == name.as_bytes());
    let is_inside = |page: &[u8]| has(page, "200-of-a") && !has(page, "000-of-a") && !has(page, "399-of-a");
    let inside: Vec<_> =
        bytes.chunks(4096).enumerate().filter(|(at, page)| *at > 0 && is_inside(page)).map(|(at, _)| at).collect();
    assert!(!inside.is_empty(), "no page holds that file alone");
    let file = fs::OpenOptions::new().write(true).open(scene.path(LEDGER)).unwrap();
    for page in inside {
        file.write_all_at(&[0xa5; 4096], page as u64 * 4096).unwrap();
    }
    // A commit has every connection read again, and this one comes near no page that is damaged.
    scene.drop("zz-2.txt", "and one more");
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it goes on beside the damage").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("is damaged") && said.contains("--rebuild-ledger"), "{said}");
    let written = lines(&scene).len();
    assert!((401..=402).contains(&written), "{written}");
    scene.drop("zz-3.txt", "nobody takes this");
    let ended = scene.once().await;
    assert_eq!((ended.code, lines(&scene).len()), (Some(65), written), "{ended:?}");
}

fn put_ledger_back_as(scene: &Scene, bytes: &[u8]) {
    for beside in ["-wal", "-shm"] {
        let _absent = fs::remove_file(scene.path(&format!("{LEDGER}{beside}")));
    }
    fs::write(scene.path(LEDGER), bytes).unwrap();
}

/// Returns whether the file has this page only in reserve.
fn is_free_page(scene: &Scene, sound: &[u8], page: usize) -> bool {
    let path = scene.path("sound.db");
    fs::write(&path, sound).unwrap();
    let sound = rusqlite::Connection::open(&path).unwrap();
    let free: i64 = sound.pragma_query_value(None, "freelist_count", |row| row.get(0)).unwrap();
    drop(sound);
    let mut bytes = fs::read(&path).unwrap();
    bytes[page * 4096..(page + 1) * 4096].fill(0);
    fs::write(&path, bytes).unwrap();
    let damaged = rusqlite::Connection::open(&path).unwrap();
    let checked: Result<String, _> = damaged.query_row("PRAGMA quick_check", [], |row| row.get(0));
    free > 0 && checked.is_ok_and(|checked| checked == "ok")
}

/// Waits until a daemon ends by itself, and returns how.
async fn ended(child: tokio::process::Child) -> Option<i32> {
    ends(child).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_ledger_or_output_was_deleted_or_exchanged_ends_before_it_writes_anything() {
    for whole in ["out", "state"] {
        let scene =
            scene().await.set("ledger.path", if whole == "out" { "\"out/.riverbed/ledger.db\"" } else { "\"state/ledger.db\"" });
        scene.drop("first.txt", "first");
        let child = scene.follow();
        scene.vectors_reach(1).await;
        fs::remove_dir_all(scene.path(whole)).unwrap();
        assert_eq!(ended(child).await, Some(65), "{whole}");
        if whole == "out" {
            assert!(!scene.path("out").exists(), "nothing was made in its place");
            scene.drop("second.txt", "second");
            assert_eq!(runs(&scene).await, 2);
            assert_eq!(documents(&scene), BTreeSet::from(["first.txt".to_owned(), "second.txt".to_owned()]));
        } else {
            let refused = scene.once().await;
            assert_eq!(refused.code, Some(65), "{refused:?}");
        }
    }
    // With its ledger elsewhere, and another folder in its place.
    let elsewhere = scene().await;
    elsewhere.drop("first.txt", "first");
    let child = elsewhere.follow();
    elsewhere.vectors_reach(1).await;
    fs::rename(elsewhere.path("out"), elsewhere.path("moved")).unwrap();
    fs::create_dir(elsewhere.path("out")).unwrap();
    assert_eq!(ended(child).await, Some(65));
    assert_eq!(seen(&elsewhere.path("out")), BTreeMap::new());

    let scene = scene().await;
    scene.drop("first.txt", "first");
    let child = scene.follow();
    scene.vectors_reach(1).await;
    let before = fs::read(scene.path(LIVE)).unwrap();
    // Another in its place: its name is there all the time.
    fs::copy(scene.path(LEDGER), scene.path("state/other.db")).unwrap();
    fs::rename(scene.path("state/other.db"), scene.path(LEDGER)).unwrap();
    scene.drop("second.txt", "second");
    assert_eq!(ended(child).await, Some(65));
    assert_eq!(fs::read(scene.path(LIVE)).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_dropped_that_was_not_synced_is_written_again_byte_by_byte() {
    let scene = scene().await.set("sink.sync-every", "\"1h\"");
    drop_some(&scene, 0..6);
    let child = scene.follow();
    scene.vectors_reach(6).await;
    signal(&child, Signal::KILL);
    assert_eq!(ends(child).await, None);
    let whole = fs::read(scene.path(LIVE)).unwrap();
    // The ledger is as of its last commit: that is synced.
    let ledger: Vec<_> = ["", "-wal"].map(|beside| fs::read(scene.path(&format!("{LEDGER}{beside}"))).unwrap()).into();
    let looks = rusqlite::Connection::open(scene.path(LEDGER)).unwrap();
    let find = "SELECT synced FROM segments WHERE name = 'vectors.jsonl'";
    let synced: usize = looks.query_row(find, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap();
    drop(looks);
    assert!(synced < whole.len(), "nothing was left to lose");
    let half = synced.midpoint(whole.len());
    let zeroed = |from: usize, to: usize| [&whole[..from], &vec![0; to - from]].concat();
    for left in [whole[..synced].to_vec(), zeroed(synced, half), zeroed(half, whole.len()), zeroed(synced, whole.len())] {
        put_ledger_back_as(&scene, &ledger[0]);
        fs::write(scene.path(&format!("{LEDGER}-wal")), &ledger[1]).unwrap();
        fs::write(scene.path(LIVE), left).unwrap();
        assert_eq!(runs(&scene).await, 0);
        assert_eq!(fs::read(scene.path(LIVE)).unwrap(), whole);
        assert_eq!(verify(&scene, &[]).await.0.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_with_ledgers_of_their_own_do_not_write_to_one_folder() {
    let scene = scene().await;
    scene.drop("first.txt", "first");
    let child = scene.follow();
    scene.vectors_reach(1).await;
    // Not even where nothing is left of the first one's files.
    fs::remove_file(scene.path(LIVE)).unwrap();
    let mut second = scene.riverbed(&["run", "--once", "--set", "ledger.path=\"state/second.db\""]);
    second.env("NO_COLOR", "1");
    let second = finish(second).await;
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.stderr.contains("another riverbed writes to the output folder"), "{}", second.stderr);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_a_folder_is_made_again_where_somebody_cleans_up() {
    let scene = scene().await;
    scene.drop("first.txt", "first");
    let child = scene.follow();
    scene.vectors_reach(1).await;
    fs::remove_file(scene.path("out/.riverbed-output")).unwrap();
    changes_until(&scene.path("out"), || fs::read(scene.path("out/.riverbed-output")).is_ok_and(|mark| !mark.is_empty())).await;
    scene.drop("second.txt", "second");
    scene.vectors_reach(2).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_whose_vectors_are_damaged_are_put_back_byte_by_byte_and_lost_files_are_made_again() {
    let scene = scene().await.set("sink.rotate-size", "\"8KiB\"");
    drop_some(&scene, 0..12);
    assert_eq!(runs(&scene).await, 12);
    let sealed = scene.path("out/vectors-000002.jsonl");
    let whole = fs::read(&sealed).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let at = text.find("\"embedding\":[").unwrap() + 20;
    let mut broken = whole.clone();
    broken[at..at + 9].fill(b'x');
    fs::write(&sealed, &broken).unwrap();
    fs::remove_file(scene.path("out/vectors-000001.jsonl")).unwrap();
    let (found, told) = verify(&scene, &[]).await;
    assert_eq!((found.code, told["findings"].as_array().unwrap().len()), (Some(65), 2), "{told}");
    let gone = told["findings"][0]["lines"].clone();
    let (repaired, told) = verify(&scene, &["--repair"]).await;
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert_eq!((&told["repaired"]["put_back"], &told["repaired"]["lost"]), (&json!(1), &gone), "{told}");
    assert_eq!(fs::read(&sealed).unwrap(), whole);
    assert_eq!(runs(&scene).await, 0, "the answers are kept");
    assert_eq!(documents(&scene).len(), 12);
    assert_eq!(verify(&scene, &[]).await.0.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_the_size_of_files_is_said_and_loses_nothing() {
    let scene = scene().await;
    drop_some(&scene, 0..400);
    let plain = scene.riverbed(&["run", "--once"]);
    let plain = plain.as_std();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 1000; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    limited.current_dir(plain.get_current_dir().unwrap());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let ended = finish(limited).await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.stderr.contains("ulimit -f"), "{}", ended.stderr);
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!((lines(&scene).len(), documents(&scene).len()), (400, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_a_newer_build_is_refused_by_every_command() {
    let scene = scene().await;
    drop_some(&scene, 0..1);
    assert_eq!(runs(&scene).await, 1);
    rusqlite::Connection::open(scene.path(LEDGER)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for arguments in [&["run", "--once"][..], &["verify"], &["verify", "--repair"], &["failed", "list"]] {
        let ended = finish(scene.riverbed(arguments)).await;
        assert_eq!(ended.code, Some(65), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("run the newer riverbed"), "{arguments:?}: {}", ended.stderr);
    }
}
