//! `riverbed failed`: failed documents are listed, shown and retried, with a daemon and without.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;

use insta::{assert_snapshot, with_settings};
use riverbed::emulator::Fault;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Ended, Scene, changes_until, ends, finish, signal};

const LEDGER: &str = "out/.riverbed/ledger.db";
const SOCKET: &str = "out/.riverbed/ledger.db-socket";

/// A scene in which a document failed, and whose emulator would accept it now.
async fn given_up() -> Scene {
    let scene = Scene::cheap().await;
    // First an answer: it says who makes the vectors, which is part of what a document ended under.
    scene.drop("good.txt", "words");
    assert_eq!(scene.once().await.code, Some(0));
    scene.drop("notes/poison.txt", "POISON");
    scene.emulator.fault_where("POISON", Fault::validation("not \u{1b}[31mthis"));
    assert_eq!(scene.once().await.code, Some(2));
    scene.emulator.clear_faults();
    scene
}

async fn failed(scene: &Scene, arguments: &[&str]) -> Ended {
    finish(scene.riverbed(&[&["failed"], arguments].concat())).await
}

/// Waits until the daemon takes commands.
async fn listens(scene: &Scene) -> PathBuf {
    let socket = scene.path(SOCKET);
    let is_heard = || UnixStream::connect(&socket).is_ok();
    changes_until(&scene.path("out"), is_heard).await;
    socket
}

fn documents_of(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["document"].as_str().unwrap()).collect()
}

/// Hides what differs from run to run.
fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
        (r"[0-9a-f]{8}-[0-9a-f-]{27}", "[request id]"),
        (r"`[^`]*/(ledger[^`/]*)`", "`[folder]/$1`"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_documents_are_listed_and_shown_with_reason_and_advice() {
    let scene = given_up().await;
    let (list, show) = (failed(&scene, &[]).await, failed(&scene, &["show", "notes/poison.txt"]).await);
    with_settings!({filters => filters()}, {
        assert_snapshot!(list.stdout);
        assert_snapshot!(show.stdout);
    });
    assert_eq!((list.code, show.code), (Some(0), Some(0)));
    assert_eq!(failed(&scene, &["list"]).await.stdout, list.stdout);
    let line: Value = serde_json::from_str(&failed(&scene, &["--json"]).await.stdout).unwrap();
    let written = &scene.lines("failed.jsonl")[0];
    for key in ["document", "version", "stage", "class", "message", "attempts", "request_id", "failed_at", "advice"] {
        assert_eq!(line[key], written[key], "{key} is as in failed.jsonl");
    }
    assert_eq!(line["retried"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_document_is_retried_by_the_next_run_when_no_daemon_runs() {
    let scene = given_up().await;
    assert_eq!(scene.once().await.code, Some(2), "by itself it is not tried again");
    let calls = scene.emulator.counts().calls;
    let ended = failed(&scene, &["retry", "drop/notes/poison.txt"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "1 document is retried by the next run\n"));
    assert!(failed(&scene, &[]).await.stdout.contains("(to be retried)"));
    let line: Value = serde_json::from_str(&failed(&scene, &["--json"]).await.stdout).unwrap();
    assert_eq!(line["retried"], true);
    let run = scene.once().await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(scene.emulator.counts().calls, calls + 1);
    assert_eq!(documents_of(&scene.vectors()), ["good.txt", "notes/poison.txt"]);
    assert_eq!(failed(&scene, &[]).await.stdout, "output out\nno document has failed\n");
    assert_eq!(failed(&scene, &["retry"]).await.stdout, "nothing to retry: no document has failed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_document_is_retried_at_once_by_the_daemon_that_runs() {
    let scene = given_up().await;
    let child = scene.follow();
    listens(&scene).await;
    let ended = failed(&scene, &["retry", "--all"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "1 document is retried now\n"), "{ended:?}");
    let lines = scene.vectors_reach(2).await;
    assert_eq!(documents_of(&lines), ["good.txt", "notes/poison.txt"]);

    // And again, by name: the daemon itself gave this one up.
    scene.emulator.fault_where("WORSE", Fault::validation("no"));
    scene.drop("worse.txt", "WORSE");
    changes_until(&scene.path("out"), || scene.lines("failed.jsonl").len() == 2).await;
    scene.emulator.clear_faults();
    let ended = failed(&scene, &["retry", "worse.txt", "--json"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "{\"retried\":1}\n"), "{ended:?}");
    scene.vectors_reach(3).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(failed(&scene, &[]).await.stdout, "output out\nno document has failed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_took_the_process_down_is_begun_again_when_a_person_asks() {
    let scene = Scene::cheap().await;
    scene.drop("fatal.txt", "words");
    scene.once().await;
    let ledger = rusqlite::Connection::open(scene.path(LEDGER)).unwrap();
    ledger.execute("UPDATE documents SET starts = 3, observation = NULL, state = 0", []).unwrap();
    drop(ledger);
    assert_eq!(scene.once().await.code, Some(2), "three times is enough");
    assert_eq!(scene.lines("failed.jsonl")[0]["class"], "crash");
    assert_eq!(failed(&scene, &["retry"]).await.code, Some(0));
    assert_eq!(scene.once().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_known_by_its_name_as_it_is_shown_and_by_its_bytes() {
    let scene = Scene::cheap().await;
    let name = OsStr::from_bytes(b"caf\xe9\n.txt");
    fs::write(scene.path("drop").join(name), "POISON").unwrap();
    scene.emulator.fault_where("POISON", Fault::validation("no"));
    scene.once().await;
    assert!(failed(&scene, &[]).await.stdout.contains("caf\\xe9\\n.txt  "), "no byte of it reaches the terminal");
    for given in [OsStr::new("caf\\xe9\\n.txt"), OsStr::new("caf\\xe9\n.txt"), name, OsStr::from_bytes(b"drop/caf\xe9\n.txt")] {
        let mut command = scene.riverbed(&["failed", "show"]);
        command.arg(given);
        let ended = finish(command).await;
        assert_eq!(ended.code, Some(0), "{given:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_did_not_fail_is_refused_with_what_to_do() {
    let scene = given_up().await;
    let (unknown, done) = (failed(&scene, &["retry", "nowhere\u{1b}.txt"]).await, failed(&scene, &["show", "good.txt"]).await);
    assert_eq!((unknown.code, done.code), (Some(64), Some(64)));
    assert_snapshot!(format!("{}\n{}", unknown.stderr, done.stderr));
    let none = Scene::cheap().await;
    let ended = failed(&none, &[]).await;
    assert_eq!(ended.code, Some(74));
    assert!(ended.stderr.contains("there is no ledger at"), "{}", ended.stderr);
    assert!(!none.path(LEDGER).exists(), "looking makes none");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_the_users_own_and_goes_with_the_daemon_and_a_stale_one_is_replaced() {
    let scene = given_up().await;
    // What a killed daemon leaves: nobody listens there.
    drop(UnixListener::bind(scene.path(SOCKET)).unwrap());
    let child = scene.follow();
    let socket = listens(&scene).await;
    let found = fs::symlink_metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert!(!socket.exists());
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(failed(&scene, &["retry"]).await.code, Some(0), "a stale one is nobody: the ledger is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_socket_cannot_be_made_runs_and_says_so_and_a_command_for_it_says_what_to_do() {
    let scene = given_up().await;
    fs::write(scene.path(SOCKET), "in the way").unwrap();
    let child = scene.follow();
    scene.drop("more.txt", "more");
    scene.vectors_reach(2).await;
    let ended = failed(&scene, &["retry"]).await;
    assert_eq!(ended.code, Some(75), "{ended:?}");
    with_settings!({filters => filters()}, { assert_snapshot!(ended.stderr) });
    assert_eq!(failed(&scene, &[]).await.code, Some(0), "looking needs nobody");
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(fs::read_to_string(scene.path(SOCKET)).unwrap(), "in the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_works_however_deep_the_ledger_lies() {
    let deep = format!("{}/ledger.db", ["a-folder-with-a-long-name"; 6].join("/"));
    let scene = Scene::cheap().await.set("ledger.path", &format!("\"{deep}\""));
    scene.drop("poison.txt", "POISON");
    scene.emulator.fault_where("POISON", Fault::validation("no"));
    let child = scene.follow();
    changes_until(&scene.path("out"), || scene.lines("failed.jsonl").len() == 1).await;
    scene.emulator.clear_faults();
    assert_eq!(failed(&scene, &["retry"]).await.stdout, "1 document is retried now\n");
    scene.vectors_reach(1).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_answers_each_line_and_is_not_put_out_by_what_is_none() {
    let scene = given_up().await;
    let child = scene.follow();
    let socket = listens(&scene).await;
    let ask = |lines: &[&str]| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let answer = lines.iter().map(|line| {
            // A daemon that has read enough closes while the rest is sent.
            let _cut_off = stream.write_all(format!("{line}\n").as_bytes());
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            serde_json::from_str::<Value>(&answer).unwrap()
        });
        answer.collect::<Vec<_>>()
    };
    let answers = ask(&[
        "nonsense",
        r#"{"do":"retry"}"#,
        r#"{"do":"retry","paths":["good.txt"]}"#,
        r#"{"do":"retry","paths":["x"]}"#,
        r#"{"do":"status"}"#,
    ]);
    assert!(answers[0]["error"].as_str().unwrap().starts_with("not a request"));
    assert_eq!(answers[1], json!({"error": "give either `paths` or `all`"}));
    assert_eq!(answers[2], json!({"error": "`good.txt` is done, not failed"}));
    assert_eq!(answers[3], json!({"error": "`x` is not known"}));
    let status = &answers[4]["status"];
    let documents = &status["documents"];
    assert_eq!([&documents["done"], &documents["failed"], &documents["waiting"]], [1, 1, 0]);
    assert_eq!((&status["calls"]["in_flight"], &status["daemon"]["pid"]), (&json!(0), &json!(child.id())));
    let long = ask(&[&"x".repeat(70_000)]);
    assert_eq!(long, [json!({"error": "a request has at most 65536 bytes"})]);
    // Those who say nothing take up the places; a request is served when one is free.
    let idle: Vec<_> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let asking = scene.riverbed(&["failed", "retry"]).stdout(Stdio::null()).spawn().unwrap();
    drop(idle);
    assert_eq!(ends(asking).await, Some(0));
    scene.vectors_reach(2).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_program_can_look_into_the_ledger_while_the_daemon_runs() {
    let scene = given_up().await;
    let child = scene.follow();
    listens(&scene).await;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let ledger = rusqlite::Connection::open_with_flags(scene.path(LEDGER), flags).unwrap();
    let count = |state: i64| -> i64 {
        ledger.query_row("SELECT count(*) FROM documents WHERE state = ?1", [state], |row| row.get(0)).unwrap()
    };
    assert_eq!((count(1), count(2)), (1, 1));
    scene.drop("more.txt", "more");
    scene.vectors_reach(2).await;
    changes_until(&scene.path("out"), || count(1) == 2).await;
    assert_eq!(count(2), 1);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}
