//! `run` is asked to stop: calls in flight are waited for, and nothing else begins or goes on waiting.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Stdio;

use riverbed::emulator::Fault;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use crate::support::{PATIENCE, Scene, ends, paragraph, signal};

const SUMMARY: &str = "name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"\n";
const CONTEXT: &str = "name = \"place\"\nmodel = \"amazon.nova-micro-v1:0\"\nper = \"chunk\"\nmax-tokens = 100\n\
    prompt = \"The document:\\n{{document-text}}\\nWhere in it stands this?\\n{{text}}\"\n";

/// A run whose log is read.
struct Run {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Run {
    fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut child = scene.riverbed(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, said: String::new() }
    }

    /// Reads the log until it says something.
    async fn says(&mut self, words: &str) {
        while !self.said.contains(words) {
            let line = timeout(PATIENCE, self.log.next_line()).await.unwrap_or_else(|_| panic!("no «{words}» in {}", self.said));
            let line = line.unwrap().unwrap_or_else(|| panic!("it ended without «{words}»: {}", self.said));
            let _infallible = writeln!(self.said, "{line}");
        }
    }

    fn stop(&self) {
        signal(&self.child, Signal::TERM);
    }

    async fn ends(mut self) -> (Option<i32>, String) {
        while let Some(line) = timeout(PATIENCE, self.log.next_line()).await.expect("it never ended").unwrap() {
            let _infallible = writeln!(self.said, "{line}");
        }
        (ends(self.child).await, self.said)
    }
}

/// Stops a run while all its calls are held and have come to so many, lets them go and waits for its end. Returns how many calls there
/// were by then.
async fn stopped_in_flight(scene: &Scene, arguments: &[&str], calls: u64) -> u64 {
    let in_flight = calls - scene.emulator.counts().calls;
    scene.emulator.hold();
    let mut run = Run::start(scene, arguments);
    timeout(PATIENCE, scene.emulator.called(calls)).await.expect("the calls were never made");
    run.stop();
    run.says(&format!("waiting for {in_flight} calls in flight")).await;
    scene.emulator.release();
    let (code, said) = run.ends().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("still in flight"), "{said}");
    scene.emulator.counts().calls
}

fn documents(lines: &[serde_json::Value]) -> BTreeSet<String> {
    lines.iter().map(|line| line["document"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_no_call_begins_what_was_in_flight_is_committed_and_the_next_run_asks_for_the_rest() {
    for arguments in [&["run"][..], &["run", "--once"]] {
        let scene = Scene::cheap().await.set("bedrock.max-in-flight", "4").set("run.grace", "\"1h\"");
        for number in 0..60 {
            scene.drop(&format!("{number}.txt"), paragraph(number, 8));
        }
        assert_eq!(stopped_in_flight(&scene, arguments, 4).await, 4, "calls, {arguments:?}");
        assert_eq!(scene.vectors().len(), 4, "lines, {arguments:?}");
        assert_eq!(scene.once().await.code, Some(0));
        let lines = scene.vectors();
        assert_eq!((lines.len(), documents(&lines).len(), scene.emulator.counts().calls), (60, 60, 60), "{arguments:?}");
        assert!(scene.lines("failed.jsonl").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_document_is_the_ledgers_and_its_other_half_the_next_runs() {
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", "4").set("run.grace", "\"1h\"");
    let scene = scene.set("chunk.max-tokens", "40").set("chunk.overlap-tokens", "0");
    // No two chunks with the same text: those are asked for once.
    scene.drop("a.txt", (0..60).map(|number| format!("otter{number} ").repeat(20) + "\n\n").collect::<String>());
    assert_eq!(stopped_in_flight(&scene, &["run"], 4).await, 4);
    let before = scene.vectors().len();
    assert_eq!(scene.once().await.code, Some(0));
    let lines = scene.vectors();
    let texts: BTreeSet<_> = lines.iter().map(|line| line["text"].to_string()).collect();
    assert_eq!((before, lines.len() as u64), (4, lines[0]["chunks"].as_u64().unwrap()));
    assert_eq!(texts.len() as u64, scene.emulator.counts().calls, "none was paid for twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_is_on_its_way_and_the_next_one_is_not() {
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"").set("bedrock.max-in-flight", "2");
    let scene = scene.set("embed.batch-wait", "\"1h\"").set("run.grace", "\"1h\"");
    for number in 0..500 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    assert_eq!(stopped_in_flight(&scene, &["run"], 2).await, 2);
    assert_eq!(scene.vectors().len(), 2 * 96);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_no_question_is_put() {
    let messages = json!({"messages": [{"role": "user", "content": "Do otters swim?"}]}).to_string();
    for of_files in [false, true] {
        let scene =
            Scene::cheap().await.set("bedrock.max-in-flight", "3").set("run.grace", "\"1h\"").set("embed.enabled", "false");
        let scene = if of_files {
            scene.set("messages.enabled", "true").set("messages.models", "[\"amazon.nova-micro-v1:0\"]")
        } else {
            scene.chat(SUMMARY)
        };
        for number in 0..20 {
            if of_files {
                scene.drop(&format!("{number}.chat.json"), messages.replace("otters", &format!("{number} otters")));
            } else {
                scene.drop(&format!("{number}.md"), paragraph(number, 20));
            }
        }
        for arguments in [&["run"][..], &["run", "--once"]] {
            let before = scene.emulator.counts().chat.calls;
            scene.emulator.hold();
            let mut run = Run::start(&scene, arguments);
            scene.emulator.called(scene.emulator.counts().calls + 3).await;
            run.stop();
            run.says("waiting for 3 calls in flight").await;
            scene.emulator.release();
            let (code, said) = run.ends().await;
            assert_eq!((code, scene.emulator.counts().chat.calls - before), (Some(0), 3), "{arguments:?}: {said}");
        }
        assert_eq!(scene.answers().len(), 6, "what was in flight is committed");
        assert_eq!(scene.once().await.code, Some(0));
        let answers = scene.answers();
        assert_eq!((documents(&answers).len(), answers.len(), scene.emulator.counts().chat.calls), (20, 20, 20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_no_context_is_requested() {
    let scene = Scene::cheap().await.chat(CONTEXT).set("embed.context", "\"place\"").set("bedrock.max-in-flight", "3");
    let scene = scene.set("chunk.max-tokens", "120").set("chunk.overlap-tokens", "0").set("run.grace", "\"1h\"");
    // First an answer: it says who makes the vectors, which is part of what contexts are kept under.
    scene.drop("before.txt", "words");
    assert_eq!(scene.once().await.code, Some(0));
    for number in 0..6 {
        scene.drop(&format!("{number}.txt"), (0..8).map(|at| paragraph(number * 8 + at, 16) + "\n\n").collect::<String>());
    }
    let before = scene.emulator.counts().calls;
    let calls = stopped_in_flight(&scene, &["run"], before + 3).await;
    assert_eq!(calls, before + 3, "the answers are kept, and their vectors are the next run's");
    assert_eq!(scene.once().await.code, Some(0));
    let lines = scene.vectors().len() as u64;
    let counts = scene.emulator.counts();
    assert_eq!((counts.chat.calls, counts.texts), (lines, lines), "no answer was paid for twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_neither_for_the_end_of_an_outage_nor_for_a_person_nor_for_money() {
    let fault = |status, name: &str| Some(Fault::error(status, name, "no"));
    for (what, fault, keys) in [
        ("an outage", fault(503, "ServiceUnavailableException"), &[][..]),
        ("throttling", fault(429, "ThrottlingException"), &[]),
        ("a model that is not ready", fault(429, "ModelNotReadyException"), &[]),
        ("refused credentials", fault(403, "ExpiredTokenException"), &[]),
        ("refusals of every text", fault(400, "ValidationException"), &[]),
        ("long waits between attempts", fault(500, "InternalServerException"), &[("retry.initial", "\"1h\"")]),
        ("a configured pace", None, &[("bedrock.requests-per-minute", "60")]),
        ("the day's budget", None, &[("budget.max-usd-per-day", "0.00003")]),
    ] {
        let mut scene =
            Scene::cheap().await.set("run.grace", "\"1h\"").set("retry.max-interval", "\"1h\"").set("retry.initial", "\"1s\"");
        for (key, value) in keys {
            scene = scene.set(key, value);
        }
        for number in 0..100 {
            scene.drop(&format!("{number}.txt"), paragraph(number, 30));
        }
        if let Some(fault) = fault {
            scene.emulator.fault_where("", fault);
        }
        let mut run = Run::start(&scene, &["run"]);
        run.says("following the source folder").await;
        timeout(PATIENCE, scene.emulator.called(1)).await.unwrap_or_else(|_| panic!("{what}: no call was made"));
        if keys.iter().any(|(key, _)| key.starts_with("budget")) {
            run.says("the day's budget is spent").await;
        }
        run.stop();
        let (code, said) = run.ends().await;
        assert_eq!(code, Some(0), "{what}: {said}");
        assert!(said.contains("in flight") && !said.contains("after the grace period"), "{what}: {said}");
        assert!(scene.lines("failed.jsonl").is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_credentials_is_not_made_after_a_stop() {
    let scene = Scene::cheap().await.set("run.grace", "\"1h\"").set("bedrock.profile", "\"slow\"");
    // The process says when it is asked, and waits until somebody answers it.
    let (asked, answer) = (scene.path("asked"), scene.path("answer"));
    assert!(std::process::Command::new("mkfifo").arg(&answer).status().unwrap().success());
    let script = format!("#!/bin/sh\ntouch {}\ncat {}\n", asked.display(), answer.display());
    let process = scene.path("process.sh");
    std::fs::write(&process, script).unwrap();
    std::fs::write(scene.path("aws"), format!("[profile slow]\ncredential_process = sh {}\n", process.display())).unwrap();
    scene.drop("a.txt", "words");
    let mut command = scene.riverbed(&["run"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("AWS_CONFIG_FILE", scene.path("aws"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let run = Run { child, log, said: String::new() };
    crate::support::changes_until(&scene.path(""), || asked.exists()).await;
    run.stop();
    let (code, said) = run.ends().await;
    assert_eq!((code, scene.emulator.counts().calls), (Some(0), 0), "{said}");
}
