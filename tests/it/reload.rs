//! `SIGHUP`: the configuration is read again, and what needs no restart takes effect.

mod keys;
mod load;
mod prompts;

use std::fs;
use std::process::Stdio;

use riverbed::status::{CommandReply, Connection, Request};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use crate::support::{Ended, PATIENCE, Scene, changes_until, ends, finish, paragraph, riverbed, signal};

/// A daemon that has come as far as following its folder.
struct Daemon {
    child: Child,
}

impl Daemon {
    async fn follow(scene: &Scene) -> Self {
        Self::of(scene, scene.follow()).await
    }

    /// The same with its log, which has to be read.
    async fn logging(scene: &Scene) -> (Self, Log) {
        let mut child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Log(BufReader::new(child.stderr.take().unwrap()));
        (Self::of(scene, child).await, log)
    }

    async fn of(scene: &Scene, child: Child) -> Self {
        until(scene, |status| status["state"] == "following").await;
        Self { child }
    }

    /// Has the scene's configuration, as it is now, read again, and returns what became of that.
    async fn reload(&self, scene: &Scene) -> Value {
        scene.write();
        self.hang_up(scene).await
    }

    /// Has the configuration read again as it lies there.
    async fn hang_up(&self, scene: &Scene) -> Value {
        let before = told(scene).unwrap()["configuration"]["reloads"].as_u64().unwrap();
        signal(&self.child, Signal::HUP);
        let status = until(scene, |status| status["configuration"]["reloads"].as_u64() > Some(before)).await;
        status["configuration"].clone()
    }

    async fn stop(self) {
        signal(&self.child, Signal::TERM);
        assert_eq!(ends(self.child).await, Some(0));
    }
}

struct Log(BufReader<ChildStderr>);

impl Log {
    /// Reads on to a line with these words in it, and returns all up to it.
    async fn read_to(&mut self, words: &str) -> String {
        let mut read = String::new();
        let reading = async {
            while !read.lines().next_back().unwrap_or_default().contains(words) {
                assert!(self.0.read_line(&mut read).await.unwrap() > 0, "the log ended: {read}");
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("`{words}` was never logged"));
        read
    }
}

/// Returns what the daemon says, once it can be asked.
fn told(scene: &Scene) -> Option<Value> {
    let mut daemon = Connection::open(&scene.path("out/.riverbed/ledger.db")).unwrap()?;
    match daemon.ask(&Request::Status).unwrap() {
        CommandReply::Status(status) => Some(serde_json::to_value(status).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// Asks over and over until something holds of the status, which is the only way to learn of it.
async fn until(scene: &Scene, holds: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            if let Some(status) = tokio::task::block_in_place(|| told(scene)).filter(&holds) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the status never came to what was waited for")
}

/// Runs a command with the configuration as it lies there.
async fn run(scene: &Scene, arguments: &[&str]) -> Ended {
    finish(riverbed(&scene.path(""), arguments)).await
}

async fn scene() -> Scene {
    Scene::cheap().await.set("source.rescan", "\"24h\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_changes_nothing_and_the_reason_stays_until_a_good_one_is_read() {
    let scene = scene().await.set("log.format", "\"plain\"");
    let (daemon, mut log) = Daemon::logging(&scene).await;
    assert_eq!(told(&scene).unwrap()["configuration"]["error"], Value::Null);

    // What is sound in it does not take effect either.
    let scene = scene.set("source.exclude", "[\"*.md\"]").set("bedrock.max-in-flight", "0");
    let found = daemon.reload(&scene).await;
    let error = found["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("pipeline.toml") && error.contains("max-in-flight = 0") && error.contains("a whole number from 1"),
        "{error}"
    );
    assert_eq!((&found["reloads"], &found["failed_reloads"], &found["changed"]), (&json!(1), &json!(1), &json!([])));
    let logged = log.read_to("the configuration is invalid").await;
    let last = logged.lines().next_back().unwrap();
    assert!(last.contains("WARN") && last.contains("help: write a whole number from 1"), "{logged}");
    scene.drop("a.md", "words");
    scene.vectors_reach(1).await;

    // It is what `check` says, and the commands find the daemon all the same.
    let check = run(&scene, &["check"]).await;
    assert_eq!((check.code, check.stderr.trim_end()), (Some(78), error.as_str()));
    for broken in [None, Some("[sink]\npath = \"out\"\n[source\npath = 7\n")] {
        if let Some(broken) = broken {
            scene.write_as(broken);
        }
        let status = run(&scene, &["status", "--json"]).await;
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"));
        assert_eq!((&status["state"], &status["configuration"]["error"]), (&json!("following"), &json!(error)));
    }
    let text = run(&scene, &["status"]).await.stdout;
    assert!(text.contains("the file is invalid") && text.contains("max-in-flight = 0"), "{text}");

    // A file that has gone is as bad.
    fs::remove_file(scene.path("pipeline.toml")).unwrap();
    let found = daemon.hang_up(&scene).await;
    assert!(found["error"].as_str().unwrap().contains("cannot read the configuration"), "{found}");

    let scene = scene.set("bedrock.max-in-flight", "4");
    let found = daemon.reload(&scene).await;
    assert_eq!(found["error"], Value::Null);
    assert_eq!(found["changed"], json!(["bedrock.max-in-flight", "source.exclude"]));
    assert_eq!((&found["reloads"], &found["failed_reloads"]), (&json!(3), &json!(2)));
    assert!(found["reloaded_at"].is_string());
    log.read_to("file removed; deleting its lines").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shapes_the_output_is_named_and_stays_as_it_was() {
    let scene = scene().await.set("chunk.max-tokens", "400").set("chunk.overlap-tokens", "0");
    scene.drop("a.txt", (0..20).map(|number| paragraph(number, 20) + "\n\n").collect::<String>());
    let daemon = Daemon::follow(&scene).await;
    let chunks = scene.vectors_reach(1).await[0]["chunks"].as_u64().unwrap();
    scene.vectors_reach(usize::try_from(chunks).unwrap()).await;
    let texts = scene.emulator.counts().texts;
    let other = scene
        .set("chunk.max-tokens", "100")
        .set("embed.model", "\"cohere.embed-english-v3\"")
        .set("sink.path", "\"elsewhere\"")
        .set("retry.initial", "\"2ms\"");
    let found = daemon.reload(&other).await;
    assert_eq!(found["needs_restart"], json!(["chunk.max-tokens", "embed.model", "sink.path"]));
    assert_eq!((&found["changed"], &found["error"]), (&json!(["retry.initial"]), &Value::Null));

    // A document that comes now comes out as the others did.
    other.drop("b.txt", "words");
    let lines = other.vectors_reach(usize::try_from(chunks).unwrap() + 1).await;
    assert_eq!(lines.last().unwrap()["config"], lines[0]["config"]);
    assert_eq!(other.emulator.counts().texts, texts + 1);
    assert!(!other.path("elsewhere").exists());

    // They are named until the file says again what is in effect.
    let again = daemon.reload(&other.set("log.level", "\"debug\"")).await;
    assert_eq!((again["needs_restart"].as_array().unwrap().len(), &again["changed"]), (3, &json!(["log.level"])));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_sound_only_after_a_restart_is_refused_as_a_whole() {
    let scene = scene().await.set("chunk.max-tokens", "400");
    let daemon = Daemon::follow(&scene).await;
    let scene = scene.set("chunk.max-tokens", "40").set("chunk.overlap-tokens", "0").set("bedrock.tokens-per-minute", "50");
    let found = daemon.reload(&scene).await;
    let error = found["error"].as_str().unwrap();
    assert!(error.contains("this needs a restart: `bedrock.tokens-per-minute` is 50, less than one chunk"), "{error}");
    assert!(error.contains("`chunk.max-tokens`, `chunk.overlap-tokens` are as before"), "{error}");
    daemon.stop().await;
    assert_eq!(run(&scene, &["check"]).await.code, Some(0), "alone it is sound");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flags_and_variables_say_goes_on_lying_over_the_file() {
    let scene = scene().await;
    fs::create_dir(scene.path("other")).unwrap();
    let mut command = scene.riverbed(&["run", "--source", "other", "--set", "bedrock.max-in-flight=2"]);
    command.env("RIVERBED_RETRY_INITIAL", "3ms").env("RIVERBED_BUDGET_MAX_USD_PER_DAY", "7");
    let daemon = Daemon::of(&scene, command.stdout(Stdio::null()).spawn().unwrap()).await;
    let scene = scene.set("bedrock.max-in-flight", "9").set("retry.initial", "\"4ms\"").set("source.include", "[\"*.md\"]");
    let found = daemon.reload(&scene).await;
    assert_eq!((&found["changed"], &found["needs_restart"]), (&json!(["source.include"]), &json!([])));
    assert_eq!(told(&scene).unwrap()["money"]["budget_usd"], 7.0);
    fs::write(scene.path("other/a.txt"), "words").unwrap();
    fs::write(scene.path("other/b.md"), "words").unwrap();
    changes_until(&scene.path("out"), || !scene.vectors().is_empty()).await;
    assert_eq!(scene.vectors()[0]["document"], "b.md");
    daemon.stop().await;
}
