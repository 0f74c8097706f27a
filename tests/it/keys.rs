//! Every key of pipeline.toml changes something, and this is what.

mod chat;
mod emulated;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use riverbed::config::{Purpose, template};
use riverbed::emulator::{Fault, Received};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::credentials;
use crate::status;
use crate::support::{PATIENCE, Scene, changes_until, ends, finish, paragraph, signal, standstill};

/// What shows that a key takes effect.
type Show = fn() -> Shown;

type Shown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Each key with what shows that it takes effect.
const KEYS: &[(&str, Show)] = &[
    ("source.path", || Box::pin(source::path())),
    ("source.recursive", || Box::pin(source::recursive())),
    ("source.include", || Box::pin(source::include())),
    ("source.exclude", || Box::pin(source::exclude())),
    ("source.marker", || Box::pin(source::marker())),
    ("source.settle", || Box::pin(virtual_time(source::settle))),
    ("source.rescan", || Box::pin(virtual_time(source::rescan))),
    ("source.max-file-size", || Box::pin(source::max_file_size())),
    ("source.symlinks", || Box::pin(source::symlinks())),
    ("source.on-done", || Box::pin(source::on_done())),
    ("source.done-dir", || Box::pin(source::done_dir())),
    ("source.on-failed", || Box::pin(source::on_failed())),
    ("source.failed-dir", || Box::pin(source::failed_dir())),
    ("chunk.max-tokens", || Box::pin(chunk_max_tokens())),
    ("chunk.overlap-tokens", || Box::pin(chunk_overlap_tokens())),
    ("chunk.strategy", || Box::pin(chunk_strategy())),
    ("bedrock.endpoint", || Box::pin(bedrock_endpoint())),
    ("bedrock.region", || Box::pin(bedrock_region())),
    ("bedrock.profile", || Box::pin(bedrock_profile())),
    ("bedrock.role-arn", || Box::pin(credentials::a_role_is_taken_on(None))),
    ("bedrock.external-id", || Box::pin(credentials::a_role_is_taken_on(Some("customer-42")))),
    ("bedrock.max-in-flight", || Box::pin(bedrock_max_in_flight())),
    ("bedrock.requests-per-minute", || Box::pin(bedrock_requests_per_minute())),
    ("bedrock.tokens-per-minute", || Box::pin(bedrock_tokens_per_minute())),
    ("bedrock.connect-timeout", || Box::pin(bedrock_connect_timeout())),
    ("bedrock.attempt-timeout", || Box::pin(bedrock_attempt_timeout())),
    ("embed.enabled", || Box::pin(chat::embed_enabled())),
    ("embed.model", || Box::pin(embed_model())),
    ("embed.family", || Box::pin(embed_family())),
    ("embed.dimensions", || Box::pin(embed_dimensions())),
    ("embed.embedding-type", || Box::pin(embed_embedding_type())),
    ("embed.normalize", || Box::pin(embed_normalize())),
    ("embed.input-type", || Box::pin(embed_input_type())),
    ("embed.context", || Box::pin(chat::embed_context())),
    ("embed.batch-wait", || Box::pin(embed_batch_wait())),
    ("chat.name", || Box::pin(chat::name())),
    ("chat.model", || Box::pin(chat::model())),
    ("chat.family", || Box::pin(chat::family())),
    ("chat.per", || Box::pin(chat::per())),
    ("chat.system", || Box::pin(chat::system())),
    ("chat.prompt", || Box::pin(chat::prompt())),
    ("chat.max-tokens", || Box::pin(chat::max_tokens())),
    ("chat.temperature", || Box::pin(chat::temperature())),
    ("chat.top-p", || Box::pin(chat::top_p())),
    ("chat.top-k", || Box::pin(chat::top_k())),
    ("chat.stop-sequences", || Box::pin(chat::stop_sequences())),
    ("chat.long", || Box::pin(chat::long())),
    ("chat.cache-prompt", || Box::pin(chat::cache_prompt())),
    ("chat.cache-ttl", || Box::pin(chat::cache_ttl())),
    ("chat.service-tier", || Box::pin(chat::service_tier())),
    ("chat.latency", || Box::pin(chat::latency())),
    ("chat.metadata", || Box::pin(chat::metadata())),
    ("chat.effort", || Box::pin(chat::effort())),
    ("chat.thinking", || Box::pin(chat::thinking())),
    ("chat.guardrail", || Box::pin(chat::guardrail())),
    ("chat.guardrail-version", || Box::pin(chat::guardrail_version())),
    ("chat.guardrail-trace", || Box::pin(chat::guardrail_trace())),
    ("chat.include", || Box::pin(chat::include())),
    ("chat.exclude", || Box::pin(chat::exclude())),
    ("messages.enabled", || Box::pin(chat::messages_enabled())),
    ("messages.models", || Box::pin(chat::messages_models())),
    ("messages.max-tokens", || Box::pin(chat::messages_max_tokens())),
    ("messages.family", || Box::pin(chat::messages_family())),
    ("messages.guardrail", || Box::pin(chat::messages_guardrail())),
    ("messages.guardrail-version", || Box::pin(chat::messages_guardrail_version())),
    ("messages.guardrail-trace", || Box::pin(chat::messages_guardrail_trace())),
    ("messages.cache-prompt", || Box::pin(chat::messages_cache_prompt())),
    ("messages.cache-ttl", || Box::pin(chat::messages_cache_ttl())),
    ("messages.service-tier", || Box::pin(chat::messages_service_tier())),
    ("messages.latency", || Box::pin(chat::messages_latency())),
    ("messages.metadata", || Box::pin(chat::messages_metadata())),
    ("messages.effort", || Box::pin(chat::messages_effort())),
    ("messages.thinking", || Box::pin(chat::messages_thinking())),
    ("retry.initial", || Box::pin(retry_initial())),
    ("retry.multiplier", || Box::pin(retry_multiplier())),
    ("retry.max-interval", || Box::pin(retry_max_interval())),
    ("retry.give-up-after", || Box::pin(retry_give_up_after())),
    ("sink.path", || Box::pin(sink_path())),
    ("sink.rotate-size", || Box::pin(sink_rotate_size())),
    ("sink.rotate-every", || Box::pin(sink_rotate_every())),
    ("sink.sync-every", || Box::pin(sink_sync_every())),
    ("ledger.path", || Box::pin(ledger_path())),
    ("ledger.cache-size", || Box::pin(ledger_cache_size())),
    ("budget.max-usd-per-day", || Box::pin(budget_max_usd_per_day())),
    ("budget.max-chat-usd-per-day", || Box::pin(chat::max_chat_usd_per_day())),
    ("budget.prices", || Box::pin(budget_prices())),
    ("run.queue", || Box::pin(run_queue())),
    ("run.grace", || Box::pin(run_grace())),
    ("run.progress-every", || Box::pin(run_progress_every())),
    ("emulator.latency", || Box::pin(emulated::latency())),
    ("emulator.jitter", || Box::pin(emulated::jitter())),
    ("emulator.requests", || Box::pin(emulated::requests())),
    ("emulator.tokens", || Box::pin(emulated::tokens())),
    ("emulator.faults", || Box::pin(emulated::faults())),
    ("emulator.seed", || Box::pin(emulated::seed())),
    ("emulator.vectors", || Box::pin(emulated::vectors())),
    ("emulator.chunk-latency", || Box::pin(emulated::chunk_latency())),
    ("emulator.gullible", || Box::pin(emulated::gullible())),
    ("status.listen", || Box::pin(status::listen_key())),
    ("status.allow-remote", || Box::pin(status::remote_keys())),
    ("status.token-file", || Box::pin(status::remote_keys())),
    ("log.format", || Box::pin(log_format())),
    ("log.level", || Box::pin(log_level())),
];

#[test]
fn every_key_is_held_to_what_it_changes() {
    let mut section = String::new();
    let mut written = BTreeSet::new();
    for line in template(Purpose::Aws, &[]).lines() {
        // A list of tables is commented out as a whole.
        let bare = line.trim_start_matches("# ");
        if bare.starts_with('[') && bare.ends_with(']') {
            bare.trim_matches(['[', ']']).clone_into(&mut section);
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        {
            written.insert(format!("{section}.{key}"));
        }
    }
    assert_eq!(KEYS.iter().map(|(key, _)| (*key).to_owned()).collect::<BTreeSet<_>>(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_changes_what_it_says() {
    let shown = stream::iter(KEYS).map(|(key, show)| async move {
        timeout(PATIENCE, show()).await.unwrap_or_else(|_| panic!("`{key}` was never shown"));
    });
    // A few at once: each is a process or two.
    assert_eq!(shown.buffer_unordered(4).count().await, KEYS.len());
}

/// Works a folder with one document off and returns the one request that came.
async fn request(scene: Scene) -> Received {
    scene.emulator.record(NonZeroUsize::MIN);
    scene.drop("a.txt", "words");
    scene.once().await;
    scene.emulator.requests().pop().expect("a request came")
}

/// Returns how often a call that never succeeds was tried.
async fn attempts(scene: Scene) -> u64 {
    scene.drop("a.txt", "words");
    scene.emulator.fault_where("words", Fault::internal());
    assert_eq!(scene.once().await.code, Some(2));
    scene.lines("failed.jsonl")[0]["attempts"].as_u64().unwrap()
}

/// Runs on a runtime of its own whose clock jumps to the next timer when there is nothing to do. No socket is involved.
async fn virtual_time(test: fn() -> Shown) {
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(test());
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

fn long_text() -> String {
    (0..20).map(|number| paragraph(number, 20)).collect::<Vec<_>>().join("\n\n")
}

async fn chunk_max_tokens() {
    let mut chunks = Vec::new();
    for tokens in ["64", "512"] {
        let scene = Scene::cheap().await.set("chunk.max-tokens", tokens).set("chunk.overlap-tokens", "0");
        scene.drop("a.txt", long_text());
        scene.once().await;
        chunks.push(scene.vectors().len());
    }
    assert!(chunks[0] > 2 * chunks[1], "{chunks:?}");
}

async fn chunk_overlap_tokens() {
    for (tokens, overlaps) in [("0", false), ("30", true)] {
        let scene = Scene::cheap().await.set("chunk.max-tokens", "100").set("chunk.overlap-tokens", tokens);
        scene.drop("a.txt", long_text());
        scene.once().await;
        let mut spans: Vec<_> = scene.vectors().iter().map(|line| (line["span"][0].as_u64(), line["span"][1].as_u64())).collect();
        spans.sort_unstable();
        assert_eq!(spans.windows(2).any(|pair| pair[1].0 < pair[0].1), overlaps, "{spans:?}");
    }
}

async fn chunk_strategy() {
    for (strategy, headings) in [("auto", json!(["Title"])), ("text", json!([]))] {
        let scene = Scene::cheap().await.set("chunk.strategy", &format!("\"{strategy}\""));
        scene.drop("a.md", "# Title\n\nWords.");
        scene.once().await;
        assert_eq!(scene.vectors()[0]["headings"], headings);
    }
}

async fn bedrock_endpoint() {
    let scene = Scene::cheap().await.set("bedrock.endpoint", "\"emulator\"");
    scene.drop("a.txt", "words");
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(scene.emulator.counts().calls, 0, "the one inside the process was asked, and not this one");
    let inside = &scene.vectors()[0];
    assert_eq!(inside["model"], "emulator/amazon.titan-embed-text-v2:0");
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.once().await;
    assert_eq!(scene.vectors()[0]["config"], inside["config"], "behind a URL it is no more a model than inside");
}

async fn bedrock_region() {
    let request = request(Scene::cheap().await.set("bedrock.region", "\"eu-west-3\"")).await;
    assert!(format!("{:?}", request.authorization).contains("eu-west-3"));
}

async fn bedrock_profile() {
    let scene = Scene::cheap().await.set("bedrock.profile", "\"archive\"");
    fs::write(scene.path("aws"), "[archive]\naws_access_key_id = FROMPROFILE\naws_secret_access_key = secret\n").unwrap();
    scene.emulator.record(NonZeroUsize::MIN);
    scene.drop("a.txt", "words");
    let mut command = scene.riverbed(&["run", "--once"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_SHARED_CREDENTIALS_FILE", scene.path("aws"));
    assert_eq!(finish(command).await.code, Some(0));
    assert!(format!("{:?}", scene.emulator.requests()[0].authorization).contains("FROMPROFILE"));
}

async fn bedrock_max_in_flight() {
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", "3");
    for number in 0..12 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.emulator.hold();
    let child = scene.riverbed(&["run", "--once"]).stdout(Stdio::null()).spawn().unwrap();
    scene.emulator.called(3).await;
    scene.emulator.release();
    assert_eq!(ends(child).await, Some(0));
    let counts = scene.emulator.counts();
    assert_eq!((counts.most_in_flight, counts.calls), (3, 12));
}

/// Returns how long four documents take, one call each.
async fn four(scene: Scene) -> Duration {
    for number in 0..4 {
        scene.drop(&format!("{number}.txt"), format!("words and {number}"));
    }
    let begun = Instant::now();
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(scene.emulator.counts().calls, 4);
    begun.elapsed()
}

async fn bedrock_requests_per_minute() {
    let took = four(Scene::cheap().await.set("bedrock.requests-per-minute", "120")).await;
    assert!(took >= Duration::from_millis(1500), "four calls at two a second left within {took:?}");
}

async fn bedrock_tokens_per_minute() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "64").set("chunk.overlap-tokens", "0");
    let took = four(scene.set("bedrock.tokens-per-minute", "480")).await;
    assert!(took >= Duration::from_millis(1200), "a dozen tokens at eight a second were spent within {took:?}");
}

async fn bedrock_connect_timeout() {
    // A socket that accepts nobody: once its queue is full, connecting takes for ever.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&deaf, 0).unwrap();
    let _fills_the_queue = std::net::TcpStream::connect(deaf.local_addr().unwrap()).unwrap();
    let endpoint = format!("\"http://{}\"", deaf.local_addr().unwrap());
    let scene = Scene::cheap().await.set("bedrock.endpoint", &endpoint).set("bedrock.attempt-timeout", "\"1h\"");
    let scene = scene.set("bedrock.connect-timeout", "\"50ms\"").set("retry.give-up-after", "\"0s\"");
    scene.drop("a.txt", "words");
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(scene.lines("failed.jsonl")[0]["class"], "timed-out");
}

async fn bedrock_attempt_timeout() {
    let scene = Scene::cheap().await.set("bedrock.attempt-timeout", "\"50ms\"").set("retry.give-up-after", "\"0s\"");
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(scene.lines("failed.jsonl")[0]["class"], "timed-out");
}

async fn embed_model() {
    let request = request(Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"")).await;
    assert_eq!(request.model_id.as_deref(), Some("cohere.embed-english-v3"));
    assert_eq!(request.texts, ["words"]);
}

async fn embed_family() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
    let scene = Scene::cheap().await.set("embed.model", &format!("\"{arn}\"")).set("embed.family", "\"cohere-v3\"");
    let request = request(scene).await;
    assert_eq!(request.model_id.as_deref(), Some(arn));
    assert_eq!(request.body["texts"], json!(["words"]));
}

async fn embed_dimensions() {
    let request = request(Scene::cheap().await.set("embed.dimensions", "512")).await;
    assert_eq!(request.body["dimensions"], 512);
}

async fn embed_embedding_type() {
    let mut configs = Vec::new();
    for (embedding_type, sent) in [("float", json!(null)), ("int8", json!(["int8"]))] {
        let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-v4:0\"");
        let scene = scene.set("embed.embedding-type", &format!("\"{embedding_type}\""));
        scene.emulator.record(NonZeroUsize::MIN);
        scene.drop("a.txt", "words");
        scene.once().await;
        assert_eq!(scene.emulator.requests()[0].body["embedding_types"], sent);
        configs.push(scene.vectors()[0]["config"].clone());
    }
    assert_ne!(configs[0], configs[1], "vectors of different types cannot be compared");
}

async fn embed_normalize() {
    let request = request(Scene::cheap().await.set("embed.normalize", "false")).await;
    assert_eq!(request.body["normalize"], false);
}

async fn embed_input_type() {
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-v4:0\"").set("embed.input-type", "\"clustering\"");
    assert_eq!(request(scene).await.body["input_type"], "clustering");
}

async fn embed_batch_wait() {
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"").set("embed.batch-wait", "\"1h\"");
    let scene = scene.set("run.progress-every", "\"200ms\"");
    scene.drop("0.txt", "words 0");
    let mut child = scene.riverbed(&["run"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut reports = 0;
    while reports < 2 {
        reports += usize::from(log.next_line().await.unwrap().unwrap().contains("found=1"));
    }
    // The first text has waited longer than it would by default; it goes with those that come now.
    for number in 1..96 {
        scene.drop(&format!("{number}.txt"), format!("words {number}"));
    }
    scene.vectors_reach(96).await;
    assert_eq!(scene.emulator.counts().calls, 1);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

async fn retry_initial() {
    let scene = Scene::cheap().await.set("retry.initial", "\"1000000h\"").set("retry.max-interval", "\"1000000h\"");
    assert_eq!(attempts(scene.set("retry.give-up-after", "\"5s\"")).await, 1, "the first wait would be too long");
}

async fn retry_multiplier() {
    let scene = |multiplier| async move {
        let scene = Scene::cheap().await.set("retry.multiplier", multiplier).set("retry.max-interval", "\"1000000h\"");
        attempts(scene.set("retry.give-up-after", "\"3s\"")).await
    };
    let (steady, growing) = (scene("1.0").await, scene("100.0").await);
    assert!(steady > 2 * growing, "{steady} attempts without growth, {growing} with");
}

async fn retry_max_interval() {
    let scene = Scene::cheap().await.set("retry.multiplier", "100.0").set("retry.max-interval", "\"1ms\"");
    let capped = attempts(scene.set("retry.give-up-after", "\"3s\"")).await;
    assert!(capped > 8, "{capped} attempts in three seconds: without the cap the fourth wait alone could last minutes");
}

async fn retry_give_up_after() {
    assert_eq!(attempts(Scene::cheap().await.set("retry.give-up-after", "\"0s\"")).await, 1);
}

async fn sink_path() {
    let scene = Scene::cheap().await.set("sink.path", "\"deep/down\"");
    scene.drop("a.txt", "words");
    scene.once().await;
    assert!(scene.path("deep/down/vectors.jsonl").exists() && !scene.path("out").exists());
}

async fn sink_rotate_size() {
    // A line of 1,024 numbers is longer than 4 KiB: each has a file of its own.
    let scene = Scene::cheap().await.set("sink.rotate-size", "\"4KiB\"");
    for number in 0..3 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.once().await;
    let lines = ["vectors-000001.jsonl", "vectors-000002.jsonl", "vectors.jsonl"].map(|name| scene.lines(name).len());
    assert_eq!(lines, [1, 1, 1]);
}

async fn sink_rotate_every() {
    let scene = Scene::cheap().await.set("sink.rotate-every", "\"1ms\"");
    scene.drop("a.txt", "words");
    let child = scene.follow();
    changes_until(&scene.path("out"), || scene.path("out/vectors-000001.jsonl").exists()).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(scene.lines("vectors-000001.jsonl").len(), 1);
}

async fn sink_sync_every() {
    let mut waiting = Vec::new();
    for every in ["\"1ms\"", "\"1h\""] {
        let scene = Scene::cheap().await.set("sink.sync-every", every);
        scene.drop("a.txt", "words");
        let child = scene.follow();
        scene.vectors_reach(1).await;
        // A second document's line tells that the writer has been through the first.
        scene.drop("b.txt", "others");
        scene.vectors_reach(2).await;
        scene.drop("c.txt", "more");
        scene.vectors_reach(3).await;
        let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
        waiting.push(ledger.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, u32>(0)).unwrap());
        drop(child);
    }
    assert!(waiting[0] < 3 && waiting[1] == 3, "{waiting:?} of three lines waited for a sync");
}

async fn ledger_path() {
    let scene = Scene::cheap().await.set("ledger.path", "\"state/my.db\"");
    scene.drop("a.txt", "words");
    scene.once().await;
    assert!(scene.path("state/my.db").exists() && !scene.path("out/.riverbed").exists());
}

async fn ledger_cache_size() {
    let mut kept = Vec::new();
    for size in ["\"0\"", "\"10MiB\""] {
        let scene = Scene::cheap().await.set("ledger.cache-size", size);
        scene.drop("a.txt", "words");
        scene.once().await;
        let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
        kept.push(ledger.query_row("SELECT count(*) FROM vectors", [], |row| row.get::<_, u32>(0)).unwrap());
    }
    assert_eq!(kept, [0, 1]);
}

async fn run_queue() {
    let mut taken = Vec::new();
    for queue in ["1", "100"] {
        let scene = Scene::cheap().await.set("run.queue", queue).set("run.progress-every", "\"20ms\"");
        for number in 0..400 {
            scene.drop(&format!("{number}.txt"), paragraph(number, 8));
        }
        scene.emulator.hold();
        let mut child = scene.riverbed(&["run", "--once"]).stderr(Stdio::piped()).spawn().unwrap();
        taken.push(standstill(&mut child).await);
        child.kill().await.unwrap();
    }
    assert!(taken[0] + 100 < taken[1], "{taken:?} files were taken in with queues of 1 and of 100");
}

async fn budget_max_usd_per_day() {
    let scene = Scene::cheap().await.set("budget.max-usd-per-day", "0.00003");
    for number in 0..60 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 40));
    }
    assert_eq!(scene.once().await.code, Some(2), "a day's money is not enough for it all");
}

async fn budget_prices() {
    let prices = "{ \"amazon.titan-embed-text-v2:0\" = { request = 0.5 } }";
    let scene = Scene::cheap().await.set("budget.prices", prices);
    scene.drop("a.txt", "words");
    let said = scene.once().await.stdout;
    assert!(said.contains("cost       $0.50 ($0.5 per call, prices from `[budget] prices`"), "{said}");
}

async fn run_grace() {
    let scene = Scene::cheap().await.set("run.grace", "\"20ms\"");
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let child = scene.follow();
    scene.emulator.called(1).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "by default it would wait for the answer");
}

async fn run_progress_every() {
    let scene = Scene::cheap().await.set("run.progress-every", "\"10ms\"");
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let mut child = scene.riverbed(&["run", "--once"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    standstill(&mut child).await;
    scene.emulator.release();
    assert_eq!(ends(child).await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(50), "ten reports would take 100 s by default");
}

async fn log_format() {
    let scene = Scene::cheap().await.set("log.format", "\"json\"");
    scene.drop("b.png", b"\x89PNG\r\n\x1a\n....");
    let ended = scene.once().await;
    let events: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let skipped = events.iter().find(|event| event["message"] == "skipped").unwrap();
    assert_eq!(skipped["document"], "b.png");
}

async fn log_level() {
    let scene = Scene::cheap().await.set("log.level", "\"error\"");
    scene.drop("b.png", b"\x89PNG\r\n\x1a\n....");
    assert_eq!(scene.once().await.stderr, "");
}
