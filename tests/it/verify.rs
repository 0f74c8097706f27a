//! `riverbed verify` finds every change to the output, and reports no other.

use std::fs;
use std::path::Path;

use insta::{assert_snapshot, with_settings};
use riverbed::emulator::Fault;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Ended, Scene, changes_until, ends, finish, paragraph, signal};

const LEDGER: &str = "out/.riverbed/ledger.db";
const SEALED: &str = "vectors-000001.jsonl";

async fn verify(scene: &Scene, arguments: &[&str]) -> Ended {
    finish(scene.riverbed(&[&["verify"], arguments].concat())).await
}

/// Something that is done to the lines of a file.
type Damage = Box<dyn FnOnce(&mut Vec<Vec<u8>>)>;

/// An output of some sealed files, a live one and a failed document.
async fn written() -> Scene {
    let scene = Scene::cheap().await.set("embed.dimensions", "256").set("sink.rotate-size", "\"16KiB\"");
    for number in 0..12 {
        scene.drop(&format!("{number:02}.txt"), paragraph(number, 8));
    }
    scene.drop("poison.txt", "POISON");
    scene.emulator.fault_where("POISON", Fault::validation("no"));
    assert_eq!(scene.once().await.code, Some(2));
    scene
}

fn sealed_lines(scene: &Scene) -> usize {
    fs::read_to_string(scene.path("out").join(SEALED)).unwrap().lines().count()
}

/// Changes the lines of a file, asks, and puts the file back as it was.
async fn damaged(scene: &Scene, name: &str, damage: impl FnOnce(&mut Vec<Vec<u8>>)) -> (Ended, Value) {
    let path = scene.path("out").join(name);
    let whole = fs::read(&path).unwrap();
    let mut lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    damage(&mut lines);
    fs::write(&path, lines.concat()).unwrap();
    let said = both(scene).await;
    fs::write(&path, whole).unwrap();
    said
}

/// What a person and a program see.
async fn both(scene: &Scene) -> (Ended, Value) {
    let (shown, told) = (verify(scene, &[]).await, verify(scene, &["--json"]).await);
    assert_eq!(shown.code, told.code);
    (shown, serde_json::from_str(&told.stdout).unwrap())
}

fn found(told: &Value) -> Vec<(&str, &str, u64)> {
    let findings = told["findings"].as_array().unwrap().iter();
    let text = |finding: &'_ Value, key| -> &'static str { finding[key].as_str().unwrap().to_owned().leak() };
    findings.map(|finding| (text(finding, "file"), text(finding, "what"), finding["lines"].as_u64().unwrap())).collect()
}

/// Sizes hang on how long a line is, which hangs on the emulator's port and the time.
fn filters() -> Vec<(&'static str, &'static str)> {
    vec![(r"\(\d+\.\d [KM]iB\)", "([size])"), (r"(\w  +\d+  +)\d{3,}\b", "$1[bytes]")]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_as_it_was_written_is_sound() {
    let scene = written().await;
    let (shown, told) = both(&scene).await;
    assert_eq!((shown.code, &told["sound"], &told["lines"]), (Some(0), &json!(true), &json!(13)), "{shown:?}");
    assert!(told["files"].as_u64().unwrap() > 3, "it was rotated: {told}");
    assert_eq!((shown.stdout.lines().count(), shown.stdout.contains("\n13 lines in")), (2, true), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_distinguished_from_the_others() {
    let scene = written().await;
    let count = sealed_lines(&scene);
    assert!(count >= 4, "{count} lines are too few to damage");
    let kinds: [(&str, Damage); 11] = [
        ("missing 1", Box::new(|lines| drop(lines.remove(1)))),
        ("wrong_checksum 1", Box::new(|lines| lines[1][90] ^= 1)),
        ("wrong_checksum 1", Box::new(|lines| lines[1][0] = b'[')),
        ("out_of_order 1", Box::new(|lines| lines.swap(1, 2))),
        ("duplicated 1", Box::new(|lines| lines.insert(2, lines[1].clone()))),
        ("duplicated 2", Box::new(|lines| lines.extend([lines[0].clone(), lines[2].clone()]))),
        ("extra 1", Box::new(|lines| lines.push(b"garbage\n".to_vec()))),
        ("extra 1", Box::new(|lines| lines.push(b"garbage".to_vec()))),
        ("extra 2", Box::new(|lines| drop(lines.splice(1..1, [b"\n".to_vec(), b"{\"seq\":99}\n".to_vec()])))),
        ("torn 1", Box::new(|lines| lines.last_mut().unwrap().truncate(100))),
        ("torn 1", Box::new(|lines| drop(lines[1].drain(8..60)))),
    ];
    let mut shown = String::new();
    for (number, (expected, damage)) in kinds.into_iter().enumerate() {
        let (said, told) = damaged(&scene, SEALED, damage).await;
        assert_eq!(said.code, Some(65), "{said:?}");
        let (what, lines) = expected.split_once(' ').unwrap();
        assert_eq!(found(&told), [(SEALED, what, lines.parse().unwrap())], "damage {number}: {told}");
        shown += &said.stdout.lines().nth(2).unwrap().replace(&format!("seq {count}"), "seq [last]");
        shown.push('\n');
    }
    with_settings!({filters => filters()}, { assert_snapshot!(shown) });
    assert_eq!(verify(&scene, &[]).await.code, Some(0), "put back as it was, it is sound");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_damages_at_once_are_all_counted() {
    let scene = written().await;
    let (said, told) = damaged(&scene, SEALED, |lines| {
        lines.remove(0);
        let copy = lines[0].clone();
        lines[1][90] ^= 1;
        lines.push(copy);
        lines.push(b"{\"op\":\"ups".to_vec());
    })
    .await;
    let mut kinds = found(&told);
    kinds.sort_unstable();
    let expected = ["duplicated", "extra", "missing", "wrong_checksum"].map(|what| (SEALED, what, 1));
    assert_eq!(kinds, expected);
    with_settings!({filters => filters()}, { assert_snapshot!(said.stdout) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_file_that_was_moved_away_is_missing_with_all_its_lines() {
    let scene = written().await;
    let count = sealed_lines(&scene);
    let path = scene.path("out").join(SEALED);
    fs::rename(&path, scene.path("away.jsonl")).unwrap();
    let (said, told) = both(&scene).await;
    assert_eq!((said.code, found(&told)), (Some(65), vec![(SEALED, "missing", count as u64)]));
    assert_eq!((&told["findings"][0]["file_is_gone"], &told["findings"][0]["seq"]), (&json!(true), &json!([1, count])));
    assert!(said.stdout.contains("the file is not there"), "{}", said.stdout);
    // Under another name in the folder it is still itself, and so is a copy under its own name.
    fs::rename(scene.path("away.jsonl"), scene.path("out/taken.jsonl")).unwrap();
    assert_eq!(verify(&scene, &[]).await.code, Some(0));
    fs::copy(scene.path("out/taken.jsonl"), &path).unwrap();
    fs::remove_file(scene.path("out/taken.jsonl")).unwrap();
    assert_eq!(verify(&scene, &[]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_the_ledger_does_not_know_are_read_too() {
    let scene = written().await;
    let copy = "vectors-000099.jsonl";
    fs::copy(scene.path("out").join(SEALED), scene.path("out").join(copy)).unwrap();
    let (said, told) = both(&scene).await;
    assert_eq!((said.code, found(&told)), (Some(65), vec![(copy, "duplicated", sealed_lines(&scene) as u64)]));
    fs::write(scene.path("out").join(copy), "not a line\nof ours\n").unwrap();
    assert_eq!(found(&both(&scene).await.1), [(copy, "extra", 2)]);
    fs::write(scene.path("out").join(copy), "").unwrap();
    assert_eq!(verify(&scene, &[]).await.code, Some(0), "nothing is nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_wait_in_the_ledger_are_not_missing() {
    let scene = written().await;
    let path = scene.path("out/vectors.jsonl");
    let whole = fs::read(&path).unwrap();
    // As after a crash between commit and write: the last line is in the outbox, and half of it in the file.
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let ledger = rusqlite::Connection::open(scene.path(LEDGER)).unwrap();
    let insert = "INSERT INTO outbox (line, head, vector, tail)
                  VALUES ((SELECT max(id) FROM lines WHERE id < 1 << 56), ?1, NULL, x'')";
    ledger.execute(insert, [&whole[last..]]).unwrap();
    ledger.execute("UPDATE segments SET synced = ?1 WHERE name = 'vectors.jsonl'", [i64::try_from(last).unwrap()]).unwrap();
    drop(ledger);
    for length in [last, last + 10] {
        fs::write(&path, &whole[..length]).unwrap();
        let (said, told) = both(&scene).await;
        assert_eq!((said.code, &told["waiting"], &told["lines"]), (Some(0), &json!(1), &json!(12)), "{said:?}");
        assert!(said.stdout.contains("1 more line waiting in the ledger to be written"), "{}", said.stdout);
    }
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(fs::read(&path).unwrap(), whole, "the next start writes the missing lines");
    assert_eq!(verify(&scene, &[]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_file_whose_sync_failed_is_distinguished() {
    let scene = written().await;
    let ledger = rusqlite::Connection::open(scene.path(LEDGER)).unwrap();
    // As after a failed sync and the next start: what was not known to be on disk is in a later file too.
    ledger.execute("UPDATE segments SET state = 3 WHERE name = ?1", [SEALED]).unwrap();
    let later: String = ledger.query_row("SELECT name FROM segments WHERE number = 2", [], |row| row.get(0)).unwrap();
    drop(ledger);
    let later = fs::read(scene.path("out").join(later)).unwrap();
    let (said, told) = damaged(&scene, SEALED, |lines| {
        lines.push(later.clone());
        lines.push(b"\0\0\0".to_vec());
    })
    .await;
    assert_eq!((said.code, &told["given_up_tails"][SEALED]), (Some(0), &json!(later.len() + 3)), "{said:?}");
    assert!(said.stdout.contains("at the end of 1 abandoned file, whose lines are repeated in a later one"), "{}", said.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_sound_while_a_daemon_writes_and_rotates_it() {
    let scene = Scene::cheap().await.set("embed.dimensions", "256").set("sink.rotate-size", "\"16KiB\"");
    scene.drop("first.txt", "first");
    let child = scene.follow();
    scene.vectors_reach(1).await;
    let lines = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let names = names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("vectors"));
        names.map(|path| fs::read_to_string(path).unwrap_or_default().matches('\n').count()).sum::<usize>()
    };
    for round in 0..6 {
        for number in 0..20 {
            scene.drop(&format!("{round}/{number}.txt"), paragraph(100 * round + number, 8));
        }
        // While they are in progress, at whatever point that is.
        let (said, told) = both(&scene).await;
        assert_eq!((said.code, &told["findings"]), (Some(0), &json!([])), "{told}");
    }
    changes_until(&scene.path("out"), || lines(&scene.path("out")) >= 121).await;
    let (_, told) = both(&scene).await;
    assert_eq!(told["lines"].as_u64().unwrap() + told["waiting"].as_u64().unwrap(), 121);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(verify(&scene, &[]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ledger_there_is_nothing_to_hold_the_output_against() {
    let scene = Scene::cheap().await;
    let ended = verify(&scene, &[]).await;
    assert_eq!(ended.code, Some(74));
    assert!(ended.stderr.contains("there is no ledger at"), "{}", ended.stderr);
}
