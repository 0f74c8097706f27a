//! Never shown: secrets, and the text of documents, in anything that riverbed logs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use riverbed::emulator::Fault;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::status::Shown;
use crate::support::{Scene, changes_until, finish};

/// Stands in every document, in every credential, and in nothing else.
const CANARY: &str = "Zeisig";

/// A place where the canary was looked for.
struct Place {
    name: String,
    text: String,
}

async fn said_by(scene: &Scene, arguments: &[&str]) -> Place {
    let mut command = scene.riverbed(arguments);
    with_canaries(&mut command);
    let ended = finish(command).await;
    assert!(!ended.stdout.is_empty(), "{arguments:?} says nothing: {ended:?}");
    Place { name: arguments.join(" "), text: ended.stdout + &ended.stderr }
}

fn with_canaries(command: &mut tokio::process::Command) {
    command.env("AWS_SECRET_ACCESS_KEY", format!("{CANARY}/secret")).env("AWS_SESSION_TOKEN", format!("{CANARY}/session"));
}

/// Returns every value of the ledger but the bytes of lines that are not written yet, which are the output's.
fn ledger(path: &Path) -> Vec<Place> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'outbox'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut places = Vec::new();
    for table in tables {
        let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        let mut text = String::new();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let ValueRef::Text(value) | ValueRef::Blob(value) = row.get_ref(column).unwrap() {
                    text.push_str(&String::from_utf8_lossy(value));
                    text.push(' ');
                }
            }
        }
        places.push(Place { name: format!("the ledger's {table}"), text });
    }
    places
}

fn assert_private(folder: &Path) {
    let mode = fs::metadata(folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", folder.display());
    for entry in fs::read_dir(folder).unwrap() {
        let (path, mode) = {
            let entry = entry.unwrap();
            (entry.path(), entry.metadata().unwrap().permissions().mode())
        };
        if path.is_dir() {
            assert_private(&path);
        } else {
            assert_eq!(mode & 0o137, 0, "{} is open to others: {mode:o}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_document_is_seen_in_what_riverbed_says_of_itself_at_any_level() {
    let scene =
        Scene::cheap().await.set("status.listen", "\"127.0.0.1:0\"").set("log.level", "\"trace\"").set("log.format", "\"json\"");
    let scene = scene
        .set("messages.enabled", "true")
        .chat("name = \"gist\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up: {{text}}\"");
    scene.emulator.fault_where("POISON", Fault::validation("not this"));
    let mut command = scene.riverbed(&["run"]);
    with_canaries(&mut command);
    let shown = Shown::start(command).await;
    scene.drop("good.md", format!("# {CANARY}\n\nA {CANARY} sings in the tree.\n"));
    scene.drop("refused.txt", format!("{CANARY} POISON"));
    scene.drop("ask.chat.json", format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"What is a {CANARY}?\"}}]}}"));
    scene.vectors_reach(1).await;
    scene.answers_reach(2).await;
    let failed = scene.path("out/failed.jsonl");
    changes_until(&scene.path("out"), || fs::read_to_string(&failed).is_ok_and(|text| text.contains("refused.txt"))).await;
    assert!(fs::read_to_string(scene.path("out/vectors.jsonl")).unwrap().contains(CANARY), "it is the output that has the text");

    let limits = fs::read_to_string(format!("/proc/{}/limits", shown.child.id().unwrap())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "a core would hold documents and keys: {core}");
    let mut places = Vec::new();
    for path in ["/status.json", "/metrics", "/", "/readyz"] {
        let answer = shown.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        places.push(Place { name: path.to_owned(), text: answer.head + &answer.body });
    }
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["failed"],
        &["failed", "show", "refused.txt"],
        &["explain", "good.md"],
        &["explain", "refused.txt"],
        &["check", "--online"],
        &["plan"],
        &["verify"],
        &["service"],
    ] {
        places.push(said_by(&scene, arguments).await);
    }
    let (code, log) = shown.stop_and_tell().await;
    assert_eq!(code, Some(0));
    assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""), "it says little: {log}");
    places.push(Place { name: "the log".into(), text: log });
    places.push(Place { name: "failed.jsonl".into(), text: fs::read_to_string(&failed).unwrap() });
    places.extend(ledger(&scene.path("out/.riverbed/ledger.db")));
    for Place { name, text } in &places {
        let found = text.find(CANARY).map(|at| &text[at.saturating_sub(200)..(at + 50).min(text.len())]);
        assert_eq!(found, None, "{name} gives it away");
    }
    assert_private(&scene.path("out"));
}
