//! Chat: as many questions at once as there are, and every answer once whatever kills the daemon.
//!
//! The first figure is the article's: a hundred questions to a model that takes 500 ms, all in flight, through the library's client. The
//! second kills the daemon ten times while it asks two prompts about each of a thousand documents, with faults, and fails unless every
//! answer is there once. The third has a chat model without any quota beside a healthy embedding model: vectors must come as fast as
//! without prompts, and three times as many documents that wait to be asked about must not take more memory.
//!
//! ```text
//! cargo bench --bench answers                all of it
//! cargo bench --bench answers -- table       or one: table, kills, zero
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use riverbed::bedrock::client::Emulated;
use riverbed::bedrock::{BedrockConfig, Client};
use riverbed::chat::openai::{Conversation, Settings, Traits, translate};
use riverbed::chat::{Chat, Prepared};
use riverbed::emulator::{self, Emulator};
use tokio::runtime::Runtime;

#[path = "../tests/it/chat/driver.rs"]
mod driver;
#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

const QUESTIONS: u32 = 100;
const LATENCY: Duration = Duration::from_millis(500);
/// Over the latency, for all of them together.
const MOST: f64 = 1.1;
const RUNS: usize = 5;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = Runtime::new().expect("a runtime starts");
    let mut is_held = true;
    if is_wanted("table") {
        let ratio = runtime.block_on(table());
        let verdict = if ratio <= MOST { "ok    " } else { "MISSED" };
        println!(
            "{verdict} {QUESTIONS} questions at 500 ms, all in flight: {ratio:.3} x 500 ms (at most {MOST} x, median of {RUNS})"
        );
        is_held &= ratio <= MOST;
    }
    if is_wanted("kills") {
        println!("{}", runtime.block_on(driver::run(1000, 10, "429 5%, 5xx 3%, cut 1%, reset 1%", true)));
    }
    if is_wanted("zero") {
        is_held &= runtime.block_on(zero());
    }
    if is_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Documents whose vectors are timed; twice as many more come then.
const DOCUMENTS: usize = 1_000;
/// Words of each: 16 KiB, so that a backlog in memory would show.
const WORDS: usize = 2_300;
/// Of the rate without prompts.
const LEAST_RATE: f64 = 0.9;
/// Between the first documents and three times as many.
const MOST_GROWTH_MIB: f64 = 16.0;

/// Has a chat model throttle every call while documents are embedded. Returns whether vectors came as fast as without it, and memory
/// stayed what it was while the questions gathered in the ledger.
async fn zero() -> bool {
    let mut without = Vec::new();
    let mut with = Vec::new();
    let mut growths = Vec::new();
    for _ in 0..3 {
        without.push(flow(false).await.0);
        let (rate, growth) = flow(true).await;
        with.push(rate);
        growths.push(growth);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (without, with, growth) = (median(&mut without), median(&mut with), median(&mut growths));
    let said = |is_held: bool| if is_held { "ok    " } else { "MISSED" };
    let (is_fast, is_flat) = (with >= LEAST_RATE * without, growth <= MOST_GROWTH_MIB);
    println!(
        "{} vectors beside a chat quota of 0: {with:.0} documents/s, {without:.0} without prompts (at least {LEAST_RATE} x, medians of 3)",
        said(is_fast)
    );
    println!(
        "{} memory from {DOCUMENTS} to {} documents whose questions wait: {growth:+.1} MiB (at most {MOST_GROWTH_MIB})",
        said(is_flat),
        3 * DOCUMENTS
    );
    is_fast && is_flat
}

/// Follows a folder. Returns how many documents a second got their vector, of the first, and how many MiB the process grew by with the
/// others.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
async fn flow(asks: bool) -> (f64, f64) {
    let mut scene = support::Scene::cheap_after(Duration::from_millis(5)).await.set("chunk.max-tokens", "8000");
    if asks {
        scene = scene.chat("name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"\n");
        let message = "Too many requests, please wait before trying again.";
        scene.emulator.fault_where("Sum up", emulator::Fault::error(429, "ThrottlingException", message));
    }
    let fill = |scene: &support::Scene, numbers: std::ops::Range<usize>| {
        for number in numbers {
            scene.drop(&format!("{number}.txt"), support::paragraph(number, WORDS));
        }
    };
    fill(&scene, 0..DOCUMENTS);
    let begun = Instant::now();
    let mut daemon = scene.follow();
    done(&scene, DOCUMENTS).await;
    let rate = DOCUMENTS as f64 / begun.elapsed().as_secs_f64();
    let before = resident(&daemon);
    fill(&scene, DOCUMENTS..3 * DOCUMENTS);
    done(&scene, 3 * DOCUMENTS).await;
    let growth = resident(&daemon) - before;
    assert!(scene.answers().is_empty(), "nothing was answered");
    daemon.kill().await.unwrap();
    if asks {
        let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
        let waiting: i64 = ledger.query_row("SELECT count(*) FROM asks", [], |row| row.get(0)).unwrap();
        assert_eq!(waiting.unsigned_abs(), 3 * DOCUMENTS as u64, "the backlog waits in the ledger");
    }
    (rate, growth)
}

/// Waits until so many documents are done, by the ledger: the files are too large to be read again and again.
async fn done(scene: &support::Scene, documents: usize) {
    let path = scene.path("out/.riverbed/ledger.db");
    let begun = Instant::now();
    loop {
        let count = rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|ledger| {
            ledger.query_row("SELECT count(*) FROM documents WHERE state = 1", [], |row| row.get::<_, i64>(0))
        });
        if count.is_ok_and(|count| count.unsigned_abs() >= documents as u64) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "the documents are never done");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the memory of a process that is no file's, in MiB.
fn resident(daemon: &tokio::process::Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Returns how much longer than one question all of them take.
async fn table() -> f64 {
    let config = emulator::EmulatorConfig { latency: LATENCY, ..emulator::EmulatorConfig::default() };
    let emulator = Emulator::start(([127, 0, 0, 1], 0).into(), config).await.unwrap();
    let client = Client::connect(&BedrockConfig::default(), Some(&Emulated { url: emulator.endpoint() })).await.unwrap();
    let chat = Chat::new(client, Duration::from_secs(30));
    let model = "us.amazon.nova-micro-v1:0".to_owned().try_into().unwrap();
    let traits = Traits::resolve(&model, None).unwrap();
    let ask = |number: u32| {
        let conversation = Conversation::ask(None, format!("Otter {number} swims. What does it do?"));
        let request = translate(&conversation, &model, traits, &Settings::default()).unwrap();
        let (chat, request) = (chat.clone(), Prepared::new(request, riverbed::chunk::tokens));
        async move { chat.ask(&request).await.map(|answer| answer.text.len()) }
    };
    ask(0).await.unwrap();
    let mut ratios = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let answers: Vec<_> = stream::iter(0..QUESTIONS).map(ask).buffer_unordered(QUESTIONS as usize).collect().await;
        ratios.push(begun.elapsed().as_secs_f64() / LATENCY.as_secs_f64());
        assert!(answers.into_iter().all(|answer| answer.unwrap() > 0), "every question has its answer");
    }
    ratios.sort_by(f64::total_cmp);
    ratios[RUNS / 2]
}
