//! What a start costs over a ledger of 100,000 documents, made by the program itself: after a SIGKILL in the middle of a change, and
//! when nothing has changed.
//!
//! ```text
//! cargo bench --bench ledger              100,000 documents
//! cargo bench --bench ledger -- 10000     as many as you like
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::fs::{self, File};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Scene, ends, paragraph, signal};
use tokio::process::Child;
use tokio::runtime::Runtime;

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

/// Recovery may take this long.
const RECOVERY: Duration = Duration::from_secs(2);
/// So long may it take from the start of a process to the first that it shows.
const FIRST_SIGN: Duration = Duration::from_secs(1);
/// Nothing here takes longer, on a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);

fn main() -> ExitCode {
    let documents = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    if Runtime::new().expect("a runtime starts").block_on(bench(documents)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn bench(documents: usize) -> bool {
    let scene = Scene::cheap().await.set("embed.dimensions", "256").set("run.progress-every", "\"10ms\"");
    for number in 0..documents {
        let below = scene.path("drop").join(format!("{:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&below).unwrap();
        }
        fs::write(below.join(format!("{number}.txt")), paragraph(number, 30)).unwrap();
    }
    let begun = Instant::now();
    let mut first = scene.riverbed(&["run", "--once"]);
    let made = first.stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap();
    assert!(made.success());
    println!("{documents} documents embedded in {:.1} s", begun.elapsed().as_secs_f64());
    let calls = scene.emulator.counts().calls;
    assert_eq!(calls, documents as u64);

    // Killed in the middle of a change.
    take_away(&scene, 0);
    let (mut child, _) = start(&scene).await;
    scanned(&scene).await;
    assert_eq!(scene.emulator.counts().calls, calls, "a start over what has not changed makes no call");
    scene.drop("changed.txt", (0..3000).map(|number| paragraph(documents + number, 200) + "\n\n").collect::<String>());
    scene.emulator.called(calls + 200).await;
    child.start_kill().unwrap();
    child.wait().await.unwrap();

    take_away(&scene, 1);
    let (child, recovered) = start(&scene).await;
    let mut is_well = at_most("started after a kill in the middle of a change", recovered, RECOVERY);
    let begun = Instant::now();
    scanned(&scene).await;
    println!("       first scan after that: {} ms", begun.elapsed().as_millis());
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "{}", log(&scene));
    // Works off what is left of the change.
    let mut rest = scene.riverbed(&["run", "--once"]);
    assert!(rest.stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap().success());

    let calls = scene.emulator.counts().calls;
    take_away(&scene, 2);
    let begun = Instant::now();
    let (child, started) = start(&scene).await;
    is_well &= at_most("started over unchanged documents", started, FIRST_SIGN);
    until(&scene, "progress").await;
    is_well &= at_most("first line of progress", begun.elapsed(), FIRST_SIGN);
    scanned(&scene).await;
    println!("       all seen: {} ms from the start", begun.elapsed().as_millis());
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "{}", log(&scene));
    let mut again = scene.riverbed(&["run", "--once"]);
    let begun = Instant::now();
    assert!(again.stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap().success());
    println!("       a whole `run --once` over unchanged documents: {} ms", begun.elapsed().as_millis());
    let more = scene.emulator.counts().calls - calls;
    println!("       calls over unchanged documents: {more}");
    is_well && more == 0
}

fn at_most(name: &str, took: Duration, mark: Duration) -> bool {
    let verdict = if took <= mark { "ok" } else { "MISSED" };
    println!("{verdict:6} {name}: {} ms (at most {} ms)", took.as_millis(), mark.as_millis());
    took <= mark
}

/// Starts the daemon and returns how long it took to say that it has.
async fn start(scene: &Scene) -> (Child, Duration) {
    let mut command = scene.riverbed(&["run"]);
    let log = File::create(scene.path("log")).unwrap();
    let begun = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    until(scene, "started").await;
    (child, begun.elapsed())
}

/// Deletes a document while nobody looks: the next scan reports at its end that it was removed, and that costs no call.
fn take_away(scene: &Scene, number: usize) {
    fs::remove_file(scene.path("drop").join(format!("000/{number}.txt"))).unwrap();
}

/// Waits for the end of the first scan.
async fn scanned(scene: &Scene) {
    until(scene, "no longer in the source folder").await;
}

async fn until(scene: &Scene, word: &str) {
    let said = async {
        while !log(scene).contains(word) {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, said).await.is_ok(), "it never said `{word}`: {}", log(scene));
}

fn log(scene: &Scene) -> String {
    fs::read_to_string(scene.path("log")).unwrap_or_default()
}
