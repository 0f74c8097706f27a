//! What the keys of `[emulator]` change.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::emulator::{SIGNED, exchange_with, post};
use crate::support::Scene;

/// Starts an emulator with these settings, makes this many calls one after the other and returns their answers.
async fn answers(settings: &[(&str, &str)], calls: usize) -> Vec<String> {
    let scene = settings.iter().fold(Scene::cheap().await, |scene, (key, value)| scene.set(key, value));
    let mut emulate = scene.riverbed(&["emulate", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(emulate.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let address = said.strip_prefix("listening on http://").unwrap();
    let call = post("/model/amazon.titan-embed-text-v2%3A0/invoke", SIGNED, r#"{"inputText":"some words"}"#);
    let mut answers = Vec::new();
    for _ in 0..calls {
        answers.push(exchange_with(address, &call).await);
    }
    answers
}

fn statuses(answers: &[String]) -> Vec<&str> {
    answers.iter().map(|answer| answer.split(' ').nth(1).unwrap()).collect()
}

pub(super) async fn latency() {
    let scene = Scene::cheap().await.set("bedrock.endpoint", "\"emulator\"").set("emulator.latency", "\"400ms\"");
    scene.drop("a.txt", "words");
    let begun = Instant::now();
    assert_eq!(scene.once().await.code, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

pub(super) async fn jitter() {
    let [answer] = answers(&[("emulator.jitter", "\"2s\"")], 1).await.try_into().unwrap();
    let waited = answer.lines().find_map(|line| line.strip_prefix("x-amzn-bedrock-invocation-latency: ")).unwrap();
    // Seed 0 gives the first call more than a tenth of it.
    assert!(waited.parse::<u64>().unwrap() > 200, "{waited}");
}

pub(super) async fn requests() {
    let answers = answers(&[("emulator.requests", "\"2/min window\"")], 3).await;
    assert_eq!(statuses(&answers), ["200", "200", "429"]);
    assert!(answers[2].ends_with(r#"{"message":"Too many requests, please wait before trying again."}"#), "{}", answers[2]);
}

pub(super) async fn tokens() {
    // Each call is of two tokens.
    let answers = answers(&[("emulator.tokens", "\"5/min window\"")], 3).await;
    assert_eq!(statuses(&answers), ["200", "200", "429"]);
    assert!(answers[2].ends_with(r#"{"message":"Too many tokens, please wait before trying again."}"#), "{}", answers[2]);
}

pub(super) async fn faults() {
    assert_eq!(statuses(&answers(&[("emulator.faults", "\"529 100%\"")], 2).await), ["529", "529"]);
}

pub(super) async fn seed() {
    let mut runs = Vec::new();
    for seed in ["1", "1", "2"] {
        let answers = answers(&[("emulator.faults", "\"529 50%\""), ("emulator.seed", seed)], 24).await;
        runs.push(statuses(&answers).join(" "));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

pub(super) async fn vectors() {
    let mut vectors: Vec<Value> = Vec::new();
    for kind in ["lexical", "cheap"] {
        let scene = Scene::cheap().await.set("bedrock.endpoint", "\"emulator\"").set("emulator.vectors", &format!("\"{kind}\""));
        scene.drop("a.txt", "words");
        scene.once().await;
        vectors.push(scene.vectors()[0]["embedding"].clone());
    }
    assert_ne!(vectors[0], vectors[1]);
}
