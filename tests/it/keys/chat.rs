//! What the keys of `[[chat]]` and `[messages]` change.

use std::num::NonZeroUsize;

use riverbed::emulator::Received;
use serde_json::{Value, json};

use crate::support::{Scene, paragraph};

/// Works one document off under a prompt and returns what the chat model was sent.
async fn asked(prompt: &str) -> Received {
    let base = "name = \"summary\"\nmodel = \"us.anthropic.claude-haiku-4-5-20251001-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"\n";
    let given: Vec<&str> = prompt.lines().filter_map(|line| line.split_once(" = ").map(|(key, _)| key)).collect();
    let rest = base.lines().filter(|line| !given.iter().any(|key| line.starts_with(&format!("{key} = "))));
    let rest: Vec<&str> = rest.collect();
    let scene = Scene::cheap().await.chat(&format!("{}\n{prompt}", rest.join("\n")));
    scene.emulator.record(NonZeroUsize::new(4).unwrap());
    scene.drop("a.md", "Otters swim.");
    let run = scene.once().await;
    let requests = scene.emulator.requests();
    let is_chat = |request: &Received| request.body.get("messages").is_some();
    requests.into_iter().find(is_chat).unwrap_or_else(|| panic!("nothing was asked: {}", run.stderr))
}

fn question(request: &Received) -> &str {
    request.body["messages"][0]["content"][0]["text"].as_str().unwrap()
}

/// Returns the documents, with their prompts, that were answered.
async fn answered(prompt: &str) -> Vec<Value> {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "40").set("chunk.overlap-tokens", "0");
    let scene = scene.chat(&format!("model = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{{{text}}}}\"\n{prompt}"));
    scene.drop("a.md", (0..6).map(|number| paragraph(number, 24) + "\n\n").collect::<String>());
    scene.drop("b.txt", "Otters swim.");
    assert_eq!(scene.once().await.code, Some(0));
    scene.answers()
}

pub(super) async fn max_chat_usd_per_day() {
    let scene = Scene::cheap().await.set("budget.max-chat-usd-per-day", "0.000001");
    let scene = scene.chat("name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up: {{text}}\"");
    scene.drop("a.md", "Otters swim.");
    assert_eq!((scene.once().await.code, scene.vectors().len(), scene.answers().len()), (Some(2), 1, 0));
}

pub(super) async fn embed_enabled() {
    let scene = Scene::cheap().await.set("embed.enabled", "false");
    let scene = scene.chat("name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up: {{text}}\"");
    scene.drop("a.md", "Otters swim.");
    assert_eq!((scene.once().await.code, scene.vectors().len(), scene.answers().len()), (Some(0), 0, 1));
}

pub(super) async fn embed_context() {
    let scene = Scene::cheap().await.set("embed.context", "\"place\"");
    let scene = scene.chat(
        "name = \"place\"\nmodel = \"amazon.nova-micro-v1:0\"\nper = \"chunk\"\nmax-tokens = 50\nprompt = \"Where is this?\\n{{text}}\"",
    );
    scene.drop("a.md", "Otters swim.");
    assert_eq!(scene.once().await.code, Some(0));
    assert!(scene.vectors()[0]["context"].as_str().is_some_and(|context| context.contains("Otters")));
}

pub(super) async fn name() {
    assert!(answered("name = \"abstract\"").await.iter().all(|line| line["prompt"] == "abstract"));
}

pub(super) async fn model() {
    let request = asked("model = \"amazon.nova-lite-v1:0\"").await;
    assert_eq!(request.model_id.as_deref(), Some("amazon.nova-lite-v1:0"));
}

pub(super) async fn family() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
    let request = asked(&format!("model = \"{arn}\"\nfamily = \"nova-micro\"\ntop-k = 7")).await;
    assert_eq!(request.body["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 7}}));
}

pub(super) async fn per() {
    let lines = answered("name = \"claims\"\nper = \"chunk\"").await;
    let chunks = lines.iter().filter(|line| line["document"] == "a.md" && line["chunk"].is_u64()).count();
    assert!(chunks > 3, "{chunks}");
}

pub(super) async fn system() {
    assert_eq!(asked("system = \"Be brief.\"").await.body["system"], json!([{"text": "Be brief."}]));
}

pub(super) async fn prompt() {
    let request = asked("prompt = \"What of {{document}} ({{media-type}})?\\n{{text}}\"").await;
    assert!(question(&request).starts_with("What of a.md (text/markdown)?\n<document-"), "{}", question(&request));
}

pub(super) async fn max_tokens() {
    assert_eq!(asked("max-tokens = 17").await.body["inferenceConfig"], json!({"maxTokens": 17}));
}

pub(super) async fn temperature() {
    assert_eq!(asked("temperature = 0.5").await.body["inferenceConfig"]["temperature"], 0.5);
}

pub(super) async fn top_p() {
    assert_eq!(asked("top-p = 0.5").await.body["inferenceConfig"]["topP"], 0.5);
}

pub(super) async fn top_k() {
    assert_eq!(asked("top-k = 7").await.body["additionalModelRequestFields"], json!({"top_k": 7}));
}

pub(super) async fn stop_sequences() {
    assert_eq!(asked("stop-sequences = [\"END\"]").await.body["inferenceConfig"]["stopSequences"], json!(["END"]));
}

pub(super) async fn long() {
    let scene = Scene::cheap()
        .await
        .set("chunk.max-tokens", "2000")
        .chat("name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"\nlong = \"truncate\"");
    scene.drop("a.txt", (0..9000).map(|number| paragraph(number, 14) + "\n\n").collect::<String>());
    assert_eq!(scene.once().await.code, Some(0));
    assert!(scene.answers()[0]["long"].as_str().unwrap().starts_with("truncated"));
}

pub(super) async fn cache_prompt() {
    let request = asked(&format!("cache-prompt = true\nsystem = \"{}\"", "Be brief. ".repeat(800))).await;
    assert_eq!(request.body["system"][1], json!({"cachePoint": {"type": "default"}}));
}

pub(super) async fn guardrail() {
    let request = asked("guardrail = \"gr-1\"").await;
    let expected = json!({"guardrailIdentifier": "gr-1", "guardrailVersion": "DRAFT", "trace": "disabled"});
    assert_eq!(request.body["guardrailConfig"], expected);
}

pub(super) async fn guardrail_version() {
    let request = asked("guardrail = \"gr-1\"\nguardrail-version = \"3\"").await;
    assert_eq!(request.body["guardrailConfig"]["guardrailVersion"], "3");
}

pub(super) async fn guardrail_trace() {
    let request = asked("guardrail = \"gr-1\"\nguardrail-trace = true").await;
    assert_eq!(request.body["guardrailConfig"]["trace"], "enabled");
}

pub(super) async fn include() {
    assert!(answered("name = \"s\"\ninclude = [\"*.md\"]").await.iter().all(|line| line["document"] == "a.md"));
}

pub(super) async fn exclude() {
    assert!(answered("name = \"s\"\nexclude = [\"*.md\"]").await.iter().all(|line| line["document"] == "b.txt"));
}

/// Asks a file of messages, and returns the request that it makes.
async fn messages(settings: &[(&str, &str)], file: Value) -> Option<Received> {
    let scene = settings.iter().fold(Scene::cheap().await, |scene, (key, value)| scene.set(key, value));
    scene.emulator.record(NonZeroUsize::new(2).unwrap());
    scene.drop("a.chat.json", file.to_string());
    scene.once().await;
    scene.emulator.requests().into_iter().find(|request| request.body.get("messages").is_some())
}

const MODELS: (&str, &str) = ("messages.models", "[\"amazon.nova-micro-v1:0\", \"amazon.nova-lite-v1:0\"]");

pub(super) async fn messages_enabled() {
    let file = json!({"messages": [{"role": "user", "content": "Do otters swim?"}]});
    assert!(messages(&[MODELS], file.clone()).await.is_none());
    let request = messages(&[MODELS, ("messages.enabled", "true")], file).await.unwrap();
    assert_eq!(question(&request), "Do otters swim?");
}

pub(super) async fn messages_models() {
    let file = json!({"messages": [{"role": "user", "content": "Do otters swim?"}], "model": "amazon.nova-lite-v1:0"});
    let request = messages(&[MODELS, ("messages.enabled", "true")], file).await.unwrap();
    assert_eq!(request.model_id.as_deref(), Some("amazon.nova-lite-v1:0"));
}

pub(super) async fn messages_max_tokens() {
    let file = json!({"messages": [{"role": "user", "content": "Do otters swim?"}]});
    let request = messages(&[MODELS, ("messages.enabled", "true"), ("messages.max-tokens", "77")], file).await.unwrap();
    assert_eq!(request.body["inferenceConfig"]["maxTokens"], 77);
}

/// A model that takes all that can be asked of one.
const THINKS: &str = "model = \"us.anthropic.claude-sonnet-4-6\"\nmax-tokens = 3000";

pub(super) async fn cache_ttl() {
    let request = asked(&format!("cache-prompt = true\ncache-ttl = \"1h\"\nsystem = \"{}\"", "Be brief. ".repeat(800))).await;
    assert_eq!(request.body["system"][1], json!({"cachePoint": {"type": "default", "ttl": "1h"}}));
}

pub(super) async fn service_tier() {
    assert_eq!(asked("service-tier = \"flex\"").await.body["serviceTier"], json!({"type": "flex"}));
}

pub(super) async fn latency() {
    assert_eq!(asked("latency = \"optimized\"").await.body["performanceConfig"], json!({"latency": "optimized"}));
}

pub(super) async fn metadata() {
    assert_eq!(asked("metadata = { team = \"search\" }").await.body["requestMetadata"], json!({"team": "search"}));
}

pub(super) async fn effort() {
    assert_eq!(asked(&format!("{THINKS}\neffort = \"low\"")).await.body["outputConfig"], json!({"effort": "low"}));
}

pub(super) async fn thinking() {
    let request = asked(&format!("{THINKS}\nthinking = 2048")).await;
    let expected = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    assert_eq!(request.body["additionalModelRequestFields"], expected);
}

/// Asks a plain file of messages of a model that takes all that can be asked of one, with these keys set.
async fn messages_with(settings: &[(&str, &str)], file: Value) -> Value {
    let models = ("messages.models", "[\"us.anthropic.claude-sonnet-4-6\"]");
    let all = [&[models, ("messages.enabled", "true"), ("messages.max-tokens", "3000")], settings].concat();
    messages(&all, file).await.expect("its questions").body
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Do otters swim?"}]})
}

pub(super) async fn messages_family() {
    let arn = "\"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123\"";
    let mut file = hello();
    file["top_k"] = json!(7);
    let settings = [("messages.models", format!("[{arn}]")), ("messages.family", "\"nova-micro\"".to_owned())];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let body = messages_with(&settings, file).await;
    assert_eq!(body["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 7}}));
}

pub(super) async fn messages_guardrail() {
    let body = messages_with(&[("messages.guardrail", "\"gr-1\"")], hello()).await;
    let expected = json!({"guardrailIdentifier": "gr-1", "guardrailVersion": "DRAFT", "trace": "disabled"});
    assert_eq!(body["guardrailConfig"], expected);
}

pub(super) async fn messages_guardrail_version() {
    let settings = [("messages.guardrail", "\"gr-1\""), ("messages.guardrail-version", "\"3\"")];
    assert_eq!(messages_with(&settings, hello()).await["guardrailConfig"]["guardrailVersion"], "3");
}

pub(super) async fn messages_guardrail_trace() {
    let settings = [("messages.guardrail", "\"gr-1\""), ("messages.guardrail-trace", "true")];
    assert_eq!(messages_with(&settings, hello()).await["guardrailConfig"]["trace"], "enabled");
}

fn instructed() -> Value {
    let mut file = hello();
    file["system"] = json!("Be brief. ".repeat(800));
    file
}

pub(super) async fn messages_cache_prompt() {
    let body = messages_with(&[("messages.cache-prompt", "true")], instructed()).await;
    assert_eq!(body["system"][1], json!({"cachePoint": {"type": "default"}}));
}

pub(super) async fn messages_cache_ttl() {
    let settings = [("messages.cache-prompt", "true"), ("messages.cache-ttl", "\"1h\"")];
    assert_eq!(
        messages_with(&settings, instructed()).await["system"][1],
        json!({"cachePoint": {"type": "default", "ttl": "1h"}})
    );
}

pub(super) async fn messages_service_tier() {
    let setting = [("messages.service-tier", "\"flex\"")];
    assert_eq!(messages_with(&setting, hello()).await["serviceTier"], json!({"type": "flex"}));
    let mut file = hello();
    file["service_tier"] = json!("priority");
    assert_eq!(messages_with(&setting, file).await["serviceTier"], json!({"type": "priority"}));
}

pub(super) async fn messages_latency() {
    let body = messages_with(&[("messages.latency", "\"optimized\"")], hello()).await;
    assert_eq!(body["performanceConfig"], json!({"latency": "optimized"}));
}

pub(super) async fn messages_metadata() {
    let mut file = hello();
    file["metadata"] = json!({"from": "file"});
    let body = messages_with(&[("messages.metadata", "{ team = \"search\" }")], file).await;
    assert_eq!(body["requestMetadata"], json!({"team": "search", "from": "file"}));
}

pub(super) async fn messages_effort() {
    assert_eq!(messages_with(&[("messages.effort", "\"low\"")], hello()).await["outputConfig"], json!({"effort": "low"}));
}

pub(super) async fn messages_thinking() {
    let body = messages_with(&[("messages.thinking", "2048")], hello()).await;
    assert_eq!(body["additionalModelRequestFields"]["thinking"], json!({"type": "enabled", "budget_tokens": 2048}));
}
