//! Chat: as many questions at once as there are, and every answer once whatever kills the daemon.
//!
//! The first figure is the article's: a hundred questions to a model that takes 500 ms, all in flight, through the library's client. The
//! second kills the daemon ten times while it asks two prompts about each of a thousand documents, with faults, and fails unless every
//! answer is there once.
//!
//! ```text
//! cargo bench --bench answers                all of it
//! cargo bench --bench answers -- table       or one: table, kills
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use riverbed::bedrock::chat::{Chat, Prepared};
use riverbed::bedrock::client::Emulated;
use riverbed::bedrock::messages::{Conversation, Settings, Traits, translate};
use riverbed::bedrock::{Client, Config};
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
        println!("{}", runtime.block_on(driver::run(1000, 10, "429 5%, 5xx 3%, cut 1%, reset 1%")));
    }
    if is_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns how much longer than one question all of them take.
async fn table() -> f64 {
    let config = emulator::Config { latency: LATENCY, ..emulator::Config::default() };
    let emulator = Emulator::start(([127, 0, 0, 1], 0).into(), config).await.unwrap();
    let client = Client::connect(&Config::default(), Some(&Emulated { url: emulator.endpoint() })).await.unwrap();
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
