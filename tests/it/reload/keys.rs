//! Every key takes effect at a reload, with a test of that, or is listed as one that needs a restart.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures::{StreamExt as _, stream};
use riverbed::config::{Loaded, Purpose, is_live, template};
use riverbed::emulator::Fault;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Daemon, prompts, scene, told, until};
use crate::support::{PATIENCE, Scene, changes_until, paragraph};

type Show = fn() -> Shown;

type Shown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What takes effect, with what shows that it does. All keys of a prompt, and all of `[messages]`, go one way.
const LIVE: &[(&str, Show)] = &[
    ("source.include", || Box::pin(globs("source.include", "[\"*.md\"]"))),
    ("source.exclude", || Box::pin(globs("source.exclude", "[\"*.txt\", \"below/\"]"))),
    ("bedrock.max-in-flight", || Box::pin(max_in_flight())),
    ("bedrock.requests-per-minute", || Box::pin(cap("bedrock.requests-per-minute", "1", "6000"))),
    ("bedrock.tokens-per-minute", || Box::pin(cap("bedrock.tokens-per-minute", "64", "600000"))),
    ("chat", || Box::pin(prompts::a_changed_prompt_is_asked_again_and_no_other())),
    ("messages", || Box::pin(prompts::files_of_messages_become_questions_and_documents_again())),
    ("retry.initial", || Box::pin(initial())),
    ("retry.max-interval", || Box::pin(growing("retry.max-interval", "\"5ms\""))),
    ("retry.multiplier", || Box::pin(growing("retry.multiplier", "1.0"))),
    ("retry.give-up-after", || Box::pin(give_up_after())),
    ("budget.max-usd-per-day", || Box::pin(max_usd_per_day())),
    ("budget.max-chat-usd-per-day", || Box::pin(max_chat_usd_per_day())),
    ("budget.prices", || Box::pin(prices())),
    ("run.progress-every", || Box::pin(progress_every())),
    ("log.level", || Box::pin(log_level())),
];

/// A prompt that can be one for contexts.
/// What all of them have: without it there would be nothing to do where no vectors are made.
const BASE: &str = "[messages]\nenabled = true\nmodels = [\"amazon.nova-micro-v1:0\"]\n";

const PLACE: &str = "[[chat]]\nname = \"place\"\nmodel = \"amazon.nova-micro-v1:0\"\nper = \"chunk\"\nprompt = \"{{text}}\"";

/// Other values than the defaults of keys that need a restart, with what must be set beside them.
const RESTART: &[(&str, &str, &str)] = &[
    ("source.path", "\"other\"", ""),
    ("source.recursive", "false", ""),
    ("source.marker", "\".done\"", ""),
    ("source.settle", "\"7s\"", ""),
    ("source.rescan", "\"7m\"", ""),
    ("source.max-file-size", "\"255.999MiB\"", ""),
    ("source.symlinks", "\"inside\"", ""),
    ("source.on-done", "\"delete\"", ""),
    ("source.done-dir", "\"done\"", ""),
    ("source.on-failed", "\"move\"", "failed-dir = \"failed\""),
    ("source.failed-dir", "\"failed\"", ""),
    ("chunk.max-tokens", "99", "overlap-tokens = 0"),
    ("chunk.overlap-tokens", "0", ""),
    ("chunk.strategy", "\"text\"", ""),
    ("bedrock.endpoint", "\"emulator\"", ""),
    ("bedrock.region", "\"eu-west-3\"", ""),
    ("bedrock.profile", "\"archive\"", ""),
    ("bedrock.role-arn", "\"arn:aws:iam::123456789012:role/riverbed\"", ""),
    ("bedrock.external-id", "\"customer-42\"", "role-arn = \"arn:aws:iam::123456789012:role/riverbed\""),
    ("bedrock.connect-timeout", "\"7s\"", ""),
    ("bedrock.attempt-timeout", "\"7s\"", ""),
    ("embed.enabled", "false", ""),
    ("embed.model", "\"cohere.embed-english-v3\"", ""),
    ("embed.family", "\"titan-text-v2\"", "model = \"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc\""),
    ("embed.dimensions", "512", ""),
    ("embed.embedding-type", "\"binary\"", ""),
    ("embed.normalize", "false", ""),
    ("embed.input-type", "\"clustering\"", "model = \"cohere.embed-v4:0\""),
    ("embed.context", "\"place\"", PLACE),
    ("embed.batch-wait", "\"7ms\"", ""),
    ("sink.path", "\"other\"", ""),
    ("sink.rotate-size", "\"255.999MiB\"", ""),
    ("sink.rotate-every", "\"7h\"", ""),
    ("sink.sync-every", "\"7s\"", ""),
    ("ledger.path", "\"my.db\"", ""),
    ("ledger.cache-size", "\"1023.999MiB\"", ""),
    ("run.queue", "7", ""),
    ("run.grace", "\"7s\"", ""),
    ("emulator.latency", "\"7ms\"", ""),
    ("emulator.jitter", "\"7ms\"", ""),
    ("emulator.requests", "\"7/s\"", ""),
    ("emulator.tokens", "\"7/s\"", ""),
    ("emulator.faults", "\"429 7%\"", ""),
    ("emulator.seed", "7", ""),
    ("emulator.vectors", "\"cheap\"", ""),
    ("emulator.chunk-latency", "\"7ms\"", ""),
    ("emulator.gullible", "\"fully\"", ""),
    ("status.listen", "\"off\"", ""),
    ("status.allow-remote", "true", "token-file = \"token\""),
    ("status.token-file", "\"token\"", ""),
    ("log.format", "\"json\"", ""),
];

/// Returns all keys of the configuration.
fn keys() -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in template(Purpose::Aws, &[]).lines() {
        let bare = line.trim_start_matches("# ");
        if bare.starts_with('[') && bare.ends_with(']') {
            bare.trim_matches(['[', ']']).clone_into(&mut section);
        } else if let Some((key, _)) = bare.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn every_key_takes_effect_or_is_named() {
    let (live, restart): (BTreeSet<_>, BTreeSet<_>) = keys().into_iter().partition(|key| is_live(key));
    let is_shown = |key: &String| LIVE.iter().any(|(shown, _)| key == shown || key.split_once('.').unwrap().0 == *shown);
    assert!(live.iter().all(is_shown), "{live:?}");
    assert_eq!(restart, RESTART.iter().map(|(key, ..)| (*key).to_owned()).collect());

    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let path = folder.path().join("pipeline.toml");
        std::fs::write(&path, text).unwrap();
        Loaded::load(&path, &[]).unwrap_or_else(|error| panic!("{error} in {text}"))
    };
    for (key, value, beside) in RESTART {
        let (section, name) = key.split_once('.').unwrap();
        let renewed = load(BASE).renewed(load(&format!("[{section}]\n{name} = {value}\n{beside}\n{BASE}"))).unwrap();
        assert!(renewed.needs_restart.contains(&(*key).to_owned()), "{key} is not named: {:?}", renewed.needs_restart);
        assert_eq!((renewed.changed, &renewed.loaded.config), (Vec::new(), &load(BASE).config), "{key} takes effect");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_live_key_takes_effect() {
    let shown = stream::iter(LIVE).map(|(key, show)| async move {
        timeout(PATIENCE, show()).await.unwrap_or_else(|_| panic!("`{key}` was never shown"));
    });
    assert_eq!(shown.buffer_unordered(4).count().await, LIVE.len());
}

fn lines_of(scene: &Scene, op: &str) -> Vec<String> {
    let name = |line: &Value| line["document"].as_str().unwrap().to_owned();
    let mut documents: Vec<_> = scene.vectors().iter().filter(|line| line["op"] == op).map(name).collect();
    documents.sort_unstable();
    documents
}

/// Narrower globs delete what they leave out, and wider ones restore it, at no cost.
async fn globs(key: &str, narrow: &str) {
    let scene = scene().await;
    scene.drop("a.md", "first");
    scene.drop("b.txt", "second");
    scene.drop("below/c.txt", "third");
    let daemon = Daemon::follow(&scene).await;
    scene.vectors_reach(3).await;
    let scene = scene.set(key, narrow);
    assert_eq!(daemon.reload(&scene).await["changed"], json!([key]));
    scene.vectors_reach(5).await;
    assert_eq!(lines_of(&scene, "delete"), ["b.txt", "below/c.txt"]);
    let scene = scene.unset(key);
    daemon.reload(&scene).await;
    scene.vectors_reach(7).await;
    assert_eq!(lines_of(&scene, "upsert"), ["a.md", "b.txt", "b.txt", "below/c.txt", "below/c.txt"]);
    assert_eq!(scene.emulator.counts().calls, 3);
    let watchers = until(&scene, |_| true).await["source"]["watchers_replaced"].clone();
    assert_eq!(watchers, 0, "what other globs let in is no sign of a deaf watcher");
    daemon.stop().await;
}

async fn max_in_flight() {
    let scene = scene().await.set("bedrock.max-in-flight", "3");
    for number in 0..12 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.emulator.hold();
    let daemon = Daemon::follow(&scene).await;
    scene.emulator.called(3).await;
    let scene = scene.set("bedrock.max-in-flight", "7");
    daemon.reload(&scene).await;
    scene.emulator.called(7).await;
    scene.emulator.release();
    scene.vectors_reach(12).await;
    let counts = scene.emulator.counts();
    assert_eq!((counts.most_in_flight, counts.calls), (7, 12));
    daemon.stop().await;
}

/// Under a cap of a call or three a minute the others wait; raised, it lets them through within that minute.
async fn cap(key: &str, low: &str, high: &str) {
    let scene = scene().await.set("chunk.max-tokens", "64").set("chunk.overlap-tokens", "0").set(key, low);
    for number in 0..8 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 14));
    }
    let daemon = Daemon::follow(&scene).await;
    until(&scene, |status| status["chunks"]["planned"] == 8).await;
    assert!(scene.emulator.counts().calls < 2);
    let scene = scene.set(key, high);
    assert_eq!(daemon.reload(&scene).await["changed"], json!([key]));
    scene.vectors_reach(8).await;
    // And without one nothing is paced.
    let scene = scene.unset(key);
    daemon.reload(&scene).await;
    let model = told(&scene).unwrap()["models"][0].clone();
    assert_eq!((&model["requests_per_second"], &model["tokens_per_second"]), (&Value::Null, &Value::Null));
    daemon.stop().await;
}

/// A call fails once and waits for longer than anybody has; one that comes after the reload does not.
async fn initial() {
    let scene = scene().await.set("retry.initial", "\"1000000h\"").set("retry.max-interval", "\"1000000h\"");
    scene.emulator.fault_where("first", Fault::internal());
    scene.drop("a.txt", "first");
    let daemon = Daemon::follow(&scene).await;
    until(&scene, |status| status["calls"]["retried"] == 1).await;
    let scene = scene.set("retry.initial", "\"1ms\"");
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["retry.initial"]));
    scene.emulator.clear_faults();
    scene.emulator.script([Fault::internal()]);
    scene.drop("b.txt", "second");
    scene.vectors_reach(1).await;
    assert_eq!(scene.vectors()[0]["document"], "b.txt");
}

/// Waits that grow a hundredfold each: the fourth alone could last minutes.
async fn growing(key: &str, value: &str) {
    let scene = scene().await.set("retry.multiplier", "100.0").set("retry.max-interval", "\"1000000h\"");
    let daemon = Daemon::follow(&scene).await;
    let scene = scene.set(key, value);
    assert_eq!(daemon.reload(&scene).await["changed"], json!([key]));
    scene.emulator.script([(); 7].map(|()| Fault::internal()));
    scene.drop("a.txt", "words");
    scene.vectors_reach(1).await;
    assert_eq!(scene.emulator.counts().calls, 8);
    daemon.stop().await;
}

async fn give_up_after() {
    let scene = scene().await;
    let daemon = Daemon::follow(&scene).await;
    let scene = scene.set("retry.give-up-after", "\"0s\"");
    daemon.reload(&scene).await;
    scene.emulator.fault_where("BROKEN", Fault::internal());
    scene.drop("broken.txt", "BROKEN");
    scene.emulator.called(1).await;
    scene.drop("good.txt", "words");
    // It fails once others are served; by default it would be tried for a quarter of an hour.
    changes_until(&scene.path("out"), || !scene.lines("failed.jsonl").is_empty()).await;
    assert_eq!(scene.lines("failed.jsonl")[0]["document"], "broken.txt");
    daemon.stop().await;
}

/// A tenth of a cent a token.
const DEAR: &str = "{ \"amazon.titan-embed-text-v2:0\" = { input = 1000 } }";

async fn max_usd_per_day() {
    let scene = scene().await.set("budget.prices", DEAR).set("budget.max-usd-per-day", "1.50").set("run.grace", "\"20ms\"");
    for number in 0..60 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 40));
    }
    let daemon = Daemon::follow(&scene).await;
    let reasons = |status: &Value| status["models"][0]["closed"].as_array().unwrap().clone();
    until(&scene, |status| reasons(status).iter().any(|closed| closed["reason"] == "budget")).await;
    let done = scene.vectors().len();
    assert!(done < 60, "{done}");
    let scene = scene.set("budget.max-usd-per-day", "100");
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["budget.max-usd-per-day"]));
    scene.vectors_reach(60).await;
    let status = until(&scene, |status| reasons(status).is_empty()).await;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let spent = scene.emulator.counts().tokens as f64 * 0.001;
    assert!((status["money"]["budget_left_usd"].as_f64().unwrap() - (100.0 - spent)).abs() < 1e-6, "{}", status["money"]);

    // One that is set where there was none knows what the day has cost before.
    let scene = scene.unset("budget.max-usd-per-day");
    daemon.reload(&scene).await;
    assert_eq!(told(&scene).unwrap()["money"]["budget_usd"], Value::Null);
    scene.drop("more.txt", paragraph(99, 40));
    scene.vectors_reach(61).await;
    let scene = scene.set("budget.max-usd-per-day", "1.50");
    daemon.reload(&scene).await;
    scene.drop("too-much.txt", paragraph(100, 40));
    until(&scene, |status| reasons(status).iter().any(|closed| closed["reason"] == "budget")).await;
    assert_eq!(scene.vectors().len(), 61);
    daemon.stop().await;
}

async fn max_chat_usd_per_day() {
    let scene = scene().await.set("budget.max-chat-usd-per-day", "0.000001").set("run.grace", "\"20ms\"");
    let scene = scene.chat("name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up: {{text}}\"");
    let daemon = Daemon::follow(&scene).await;
    scene.drop("a.txt", "words");
    let is_closed = |status: &Value| status["models"][1]["closed"].as_array().unwrap().iter().any(|by| by["reason"] == "budget");
    until(&scene, is_closed).await;
    scene.vectors_reach(1).await;
    assert_eq!(scene.answers().len(), 0);
    let scene = scene.set("budget.max-chat-usd-per-day", "1");
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["budget.max-chat-usd-per-day"]));
    scene.answers_reach(1).await;
    daemon.stop().await;
}

async fn prices() {
    let scene = scene().await.set("budget.max-usd-per-day", "100");
    for number in 0..4 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let daemon = Daemon::follow(&scene).await;
    scene.vectors_reach(4).await;
    until(&scene, |status| status["documents"]["done"] == 4).await;
    let scene = scene.set("budget.prices", "{ \"amazon.titan-embed-text-v2:0\" = { request = 0.5 } }");
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["budget.prices"]));
    scene.drop("5.txt", "words");
    let status = until(&scene, |status| status["documents"]["done"] == 5).await;
    // What was made today before counts at the price that holds now, as it does after a restart.
    let money = &status["money"];
    let (today, left) = (money["today_emulated_usd"].as_f64().unwrap(), money["budget_left_usd"].as_f64().unwrap());
    assert!((today - 2.5).abs() < 1e-6 && (left - 97.5).abs() < 1e-6, "{money}");
    daemon.stop().await;
    // A command without a daemon shows the same.
    let rest = super::run(&scene, &["status", "--json"]).await.stdout;
    let rest: Value = serde_json::from_str(&rest).unwrap();
    let left = rest["money"]["budget_left_usd"].as_f64().unwrap();
    assert!((left - 97.5).abs() < 1e-6, "{}", rest["money"]);
}

async fn progress_every() {
    let scene = scene().await.set("run.progress-every", "\"24h\"");
    let (daemon, mut log) = Daemon::logging(&scene).await;
    let scene = scene.set("run.progress-every", "\"10ms\"");
    daemon.reload(&scene).await;
    log.read_to("progress").await;
    log.read_to("progress").await;
}

async fn log_level() {
    let scene = scene().await.set("log.level", "\"warn\"").set("log.format", "\"plain\"");
    let (daemon, mut log) = Daemon::logging(&scene).await;
    scene.drop("a.txt", "words");
    scene.vectors_reach(1).await;
    until(&scene, |status| status["documents"]["done"] == 1).await;
    let scene = scene.set("log.level", "\"debug\"");
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["log.level"]));
    scene.drop("b.txt", "others");
    let logged = log.read_to("done document=b.txt").await;
    assert!(!logged.contains("a.txt") && !logged.contains("started"), "what went before was logged as before: {logged}");
    assert!(logged.lines().all(|line| !line.contains("hyper") && !line.contains("aws")), "others' logs stay off: {logged}");
}
