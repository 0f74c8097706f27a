//! A wall clock that is set back and forth under the real program: nothing stalls, nothing is failed, nothing is paid or written twice,
//! and each day keeps its own account. The clock is libfaketime's, so this is a program of its own, and fails where the library is not
//! installed (Debian: `faketime`):
//!
//! ```text
//! cargo bench --profile dev --bench clock
//! ```
#![expect(clippy::print_stdout, reason = "a bench says what it shows")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::timeout;

use support::{PATIENCE, Scene, ends, finish, paragraph, signal};

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(a_daemon_goes_on_when_its_clock_is_set());
    println!("ok     a daemon goes on when its clock is set");
    runtime.block_on(signatures_of_another_hour_are_refused_and_fail_nothing());
    println!("ok     signatures of another hour are refused and fail nothing");
    runtime.block_on(each_day_has_its_own_account());
    println!("ok     each day has its own purse");
}

/// A tenth of a cent a token.
const DEAR: &str = "{ \"amazon.titan-embed-text-v2:0\" = { input = 1000 } }";
/// Calls in flight.
const IN_FLIGHT: u64 = 8;

/// Finds the library, wherever this machine's architecture has it.
fn library() -> String {
    let folders = fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok).map(|entry| entry.path().join("faketime"));
    let found = folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|library| library.exists());
    found.expect("libfaketime is not installed: apt-get install faketime").to_string_lossy().into_owned()
}

/// Has a command see a clock that is off by what the scene's file says, now and whenever that changes.
fn with_clock(scene: &Scene, mut command: Command) -> Command {
    command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", scene.path("clock")).env("FAKETIME_NO_CACHE", "1");
    // What a set clock does not change: the monotonic one, and the times that files have.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    command
}

/// Sets the clock in one piece.
fn set_clock(scene: &Scene, offset: &str) {
    write(&scene.path("clock"), offset);
}

fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

async fn scene() -> Scene {
    let scene = Scene::cheap_after(Duration::from_millis(10)).await.set("bedrock.max-in-flight", &IN_FLIGHT.to_string());
    let scene = scene.set("budget.prices", DEAR).set("budget.max-usd-per-day", "100").set("retry.max-interval", "\"500ms\"");
    set_clock(&scene, "+0s");
    scene
}

fn drop_documents(scene: &Scene, numbers: std::ops::Range<usize>) {
    for number in numbers {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
}

/// Returns what the ledger counts: on how many days, and how many tokens in all.
fn usage(scene: &Scene) -> (u64, u64) {
    let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
    let query = "SELECT count(DISTINCT day), sum(tokens) FROM usage";
    let (days, tokens): (i64, i64) = ledger.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (days.cast_unsigned(), tokens.cast_unsigned())
}

/// Checks that the output has one line for each document, and the service one call.
fn assert_once(scene: &Scene, documents: usize) {
    let lines = scene.vectors();
    let ids: HashSet<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), ids.len()), (documents, documents));
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "numbers only grow");
    assert!(scene.lines("failed.jsonl").is_empty(), "{:?}", scene.lines("failed.jsonl"));
    assert_eq!(scene.emulator.counts().texts, documents as u64, "each text was paid once");
}

/// With an API key, which no clock has a part in: hours and a day back and forth, each in the middle of work.
async fn a_daemon_goes_on_when_its_clock_is_set() {
    let scene = scene().await;
    let mut command = scene.riverbed(&["run"]);
    command.env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-test").stdout(Stdio::null());
    let child = with_clock(&scene, command).spawn().unwrap();
    let mut dropped = 0;
    for offset in ["+0s", "+3600s", "-3600s", "-30s", "+30s", "+90000s", "-90000s", "+0s"] {
        drop_documents(&scene, dropped..dropped + 20);
        scene.emulator.called(dropped as u64 + 5).await;
        set_clock(&scene, offset);
        drop_documents(&scene, dropped + 20..dropped + 40);
        dropped += 40;
        scene.vectors_reach(dropped).await;
    }
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_once(&scene, dropped);
    assert_eq!(scene.emulator.counts().calls, dropped as u64);
    let years: HashSet<_> = scene.vectors().iter().map(|line| line["embedded_at"].as_str().unwrap()[..13].to_owned()).collect();
    assert!(years.len() >= 4, "the clock was never set: {years:?}");
    let (days, tokens) = usage(&scene);
    assert!(days >= 3, "{days} days had a bill");
    assert_eq!(tokens, scene.emulator.counts().tokens, "every token stands on the bill of some day");
}

/// With keys that sign: the service takes no signature of another hour, and tells its own time with the refusal, by which the SDK
/// signs from then on.
async fn signatures_of_another_hour_are_refused_and_fail_nothing() {
    let scene = scene().await;
    let signing = |arguments: &[&str]| {
        let mut command = scene.riverbed(arguments);
        // The one key whose signatures and times the emulator looks at.
        command
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        with_clock(&scene, command)
    };
    let child = signing(&["run"]).stdout(Stdio::null()).spawn().unwrap();
    let mut dropped = 0;
    for (offset, is_refused) in [("-30s", false), ("+3600s", true), ("-3600s", true), ("+0s", true)] {
        let refused = |scene: &Scene| scene.emulator.counts().answered.get(&403).copied().unwrap_or_default();
        let before = refused(&scene);
        set_clock(&scene, offset);
        drop_documents(&scene, dropped..dropped + 20);
        dropped += 20;
        scene.vectors_reach(dropped).await;
        let refused = refused(&scene) - before;
        // Those that were on their way with the first, and a probe or two behind the gate that this closes.
        assert!(
            if is_refused { (1..=IN_FLIGHT + 2).contains(&refused) } else { refused == 0 },
            "{offset}: {refused} were refused"
        );
    }
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_once(&scene, dropped);
    // A run that ends does not try again, and says what helps.
    set_clock(&scene, "+3600s");
    drop_documents(&scene, dropped..dropped + 1);
    let ended = finish(signing(&["run", "--once"])).await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.stderr.contains("help: set this machine's clock"), "{}", ended.stderr);
}

/// What a day has spent stays spent when the clock comes back to it.
async fn each_day_has_its_own_account() {
    let scene = scene().await.set("budget.max-usd-per-day", "1.50");
    // Six cents each and a bit.
    for number in 0..80 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 40));
    }
    let once = async |offset: &str| {
        set_clock(&scene, offset);
        let mut command = scene.riverbed(&["run", "--once"]);
        command.env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-test");
        let ended = timeout(PATIENCE, finish(with_clock(&scene, command))).await.unwrap();
        assert_eq!(ended.code, Some(2), "{offset}: {ended:?}");
        scene.emulator.counts().texts
    };
    let today = once("+0s").await;
    assert!(today > 5 && today < 40, "{today} texts for a dollar and a half");
    assert_eq!(once("+0s").await, today);
    let tomorrow = once("+86400s").await;
    assert!(tomorrow > today, "tomorrow has money of its own");
    assert_eq!(once("+0s").await, tomorrow, "today's is spent, though tomorrow has been");
    assert_eq!(once("+86400s").await, tomorrow, "and so is tomorrow's");
    assert_once(&scene, usize::try_from(tomorrow).unwrap());
    assert_eq!(usage(&scene), (2, scene.emulator.counts().tokens));
}
