//! Behaviour of real chat models that the emulator lacks: refusals for length in each provider's words, details of the prompt
//! cache, tiers, streams that break off. The stand-in answers as a function says.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::fake_service::{Heard, Said, StandIn};
use crate::support::{Ended, Scene};

const JSON: &str = "application/json";

/// Returns an answer of Converse with this usage, and more beside it.
fn answer(text: &str, usage: &Value, more: &Value) -> Said {
    let mut body = json!({"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn",
                          "usage": usage, "metrics": {"latencyMs": 5}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (200, JSON, body.to_string())
}

fn plain(text: &str) -> Said {
    answer(text, &json!({"inputTokens": 10, "outputTokens": 2, "totalTokens": 12}), &json!({}))
}

/// Returns how many characters all texts of a request have.
fn size(heard: &Heard) -> usize {
    let body: Value = serde_json::from_str(&heard.body).unwrap();
    let blocks = body["messages"].as_array().unwrap().iter().flat_map(|turn| turn["content"].as_array().unwrap());
    blocks.filter_map(|block| block["text"].as_str()).map(str::len).sum()
}

/// Returns a scene in which documents are only asked about, at a stand-in.
async fn scene(service: &StandIn) -> Scene {
    Scene::cheap().await.set("bedrock.endpoint", &format!("\"{}\"", service.url)).set("embed.enabled", "false")
}

/// Runs a file of messages through a model, at a service that answers so.
async fn ask_file(model: &str, file: Value, service: &StandIn) -> (Scene, Ended) {
    let scene = scene(service).await.set("messages.enabled", "true").set("messages.models", &format!("[\"{model}\"]"));
    let scene = scene.set("messages.max-tokens", "4000");
    scene.drop("a.chat.json", file.to_string());
    let ended = scene.once().await;
    (scene, ended)
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello?"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_finds_too_long_is_asked_again_as_the_prompt_has_it_for_long_texts() {
    const LIMIT: usize = 60_000;
    // Texts that are denser than any estimate: of the model's 128,000 tokens the emoji would be far fewer by ours.
    let text = ["mute ".repeat(200).as_str(); 90].join("\n\n");
    for message in [
        "The model returned the following errors: prompt is too long: 300000 tokens > 200000 maximum",
        "Input is too long for requested model.",
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
    ] {
        for (long, shown) in [("truncate", "truncated to"), ("map-reduce", "asked in"), ("fail", "")] {
            let service = StandIn::new(move |heard| {
                if size(heard) > LIMIT {
                    return (400, JSON, json!({"message": message, "__type": "ValidationException"}).to_string());
                }
                plain("Short.")
            })
            .await;
            let scene = scene(&service).await.chat(&format!(
                "name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up: {{{{text}}}}\"\nlong = \"{long}\""
            ));
            scene.drop("a.txt", &text);
            let ended = scene.once().await;
            let sizes: Vec<_> = service.heard().iter().map(size).collect();
            if long == "fail" {
                let failed = scene.lines("failed.jsonl");
                assert_eq!((ended.code, sizes.len(), failed[0]["class"].as_str()), (Some(2), 1, Some("too-long")), "{failed:?}");
                assert!(failed[0]["advice"].as_str().unwrap().contains("`long`"), "{failed:?}");
                continue;
            }
            assert_eq!(ended.code, Some(0), "{message} {long}: {sizes:?} {}", ended.stderr);
            let line = &scene.answers()[0];
            assert!(line["long"].as_str().unwrap().starts_with(shown), "{line}");
            assert!(sizes[0] > LIMIT && sizes.iter().filter(|size| **size > LIMIT).count() <= 4, "{sizes:?}");
            // What is shortened is not shortened to nothing.
            let taken = sizes.iter().filter(|size| **size <= LIMIT).max().unwrap();
            assert!(*taken > LIMIT / 3, "{sizes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_too_long_is_said_to_be_so() {
    let service = StandIn::new(|_| {
        (400, JSON, json!({"message": "Input is too long for requested model.", "__type": "ValidationException"}).to_string())
    })
    .await;
    let (scene, ended) = ask_file("amazon.nova-micro-v1:0", hello(), &service).await;
    let failed = &scene.lines("failed.jsonl")[0];
    assert_eq!((ended.code, failed["class"].as_str()), (Some(2), Some("too-long")), "{failed}");
    assert!(failed["advice"].as_str().unwrap().contains("conversation"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_the_cache_for_an_hour_is_priced_in_the_line_and_counts_in_the_budget_of_the_next_start() {
    let usage = json!({"inputTokens": 10, "outputTokens": 1, "totalTokens": 100_011, "cacheWriteInputTokens": 100_000,
                       "cacheReadInputTokens": 0, "cacheDetails": [{"ttl": "1h", "inputTokens": 100_000}]});
    let service = StandIn::new(move |_| answer("Yes.", &usage, &json!({}))).await;
    let file = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "Long text. ".repeat(50), "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "What?"},
    ]}]});
    let (scene, _) = ask_file("global.anthropic.claude-sonnet-4-6", file, &service).await;
    let sent: Value = serde_json::from_str(&service.heard()[0].body).unwrap();
    assert_eq!(sent["messages"][0]["content"][1], json!({"cachePoint": {"type": "default", "ttl": "1h"}}));
    let line = &scene.answers()[0];
    assert_eq!(line["usage"]["cache_write_hour_tokens"], 100_000);
    let hour = 0.600_045;
    assert!((line["usd"].as_f64().unwrap() - hour).abs() < 1e-9, "{line}");
    // Out of the ledger it costs as much: of a dollar a day there is not enough for what the next call may cost.
    let scene = scene.set("budget.max-usd-per-day", "0.65");
    scene.drop("b.chat.json", json!({"messages": [{"role": "user", "content": "Again?"}]}).to_string());
    let ended = scene.once().await;
    assert_eq!((ended.code, scene.answers().len()), (Some(2), 1), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_has_its_own_price_and_is_in_the_line() {
    let mut usd = Vec::new();
    for tier in ["flex", "default", "priority"] {
        let usage = json!({"inputTokens": 1_000_000, "outputTokens": 0, "totalTokens": 1_000_000});
        let service = StandIn::new(move |_| answer("Yes.", &usage, &json!({"serviceTier": {"type": tier}}))).await;
        let mut file = hello();
        file["service_tier"] = json!(tier);
        let (scene, _) = ask_file("openai.gpt-oss-120b-1:0", file, &service).await;
        let line = &scene.answers()[0];
        assert_eq!(line["service_tier"], tier);
        usd.push(line["usd"].as_f64().unwrap());
    }
    assert_eq!(usd, [0.075, 0.15, 0.2625]);
    // What is not known is not taken for the standard price.
    let usage = json!({"inputTokens": 10, "outputTokens": 1, "totalTokens": 11});
    let service = StandIn::new(move |_| answer("Yes.", &usage, &json!({"serviceTier": {"type": "reserved"}}))).await;
    let (scene, _) = ask_file("openai.gpt-oss-120b-1:0", hello(), &service).await;
    let line = &scene.answers()[0];
    assert_eq!((&line["usd"], &line["service_tier"]), (&Value::Null, &json!("reserved")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_knows_is_asked_with_a_warning_and_what_is_left_out_is_in_the_line() {
    for model in [
        "global.example.brand-new-1",
        "us.anthropic.claude-opus-9",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
    ] {
        let service = StandIn::new(|_| plain("Yes.")).await;
        let mut file = hello();
        file["seed"] = json!(7);
        let (scene, ended) = ask_file(model, file, &service).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("riverbed does not know this model"), "{}", ended.stderr);
        let line = &scene.answers()[0];
        assert_eq!((&line["usd"], line["notes"].as_array().map(Vec::len)), (&Value::Null, Some(1)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arn_of_a_prompt_that_names_its_family_is_asked_for_messages_too() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456";
    let service = StandIn::new(|_| plain("Yes.")).await;
    let scene = scene(&service)
        .await
        .set("messages.enabled", "true")
        .chat(&format!("name = \"sum\"\nmodel = \"{arn}\"\nfamily = \"claude-sonnet-4.6\"\nprompt = \"Sum up: {{{{text}}}}\""));
    scene.drop("a.txt", "Otters swim.");
    scene.drop("q.chat.json", hello().to_string());
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(scene.answers().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_streamed_and_where_that_may_not_be_it_is_waited_for_whole() {
    for refusal in [
        (
            403,
            json!({"message": "User: x is not authorized to perform: bedrock:InvokeModelWithResponseStream", "__type": "AccessDeniedException"}),
        ),
        (404, json!({"message": "no such operation"})),
        (400, json!({"message": "The model is unsupported for streaming.", "__type": "ValidationException"})),
    ] {
        let streams = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&streams);
        let service = StandIn::new(move |heard| {
            if heard.line.ends_with("/converse-stream") {
                counted.fetch_add(1, Ordering::Relaxed);
                return (refusal.0, JSON, refusal.1.to_string());
            }
            plain("Whole.")
        })
        .await;
        let chat = "name = \"sum\"\nmodel = \"amazon.nova-2-lite-v1:0\"\nprompt = \"Sum up: {{text}}\"\nmax-tokens = 9000";
        let scene = scene(&service).await.chat(chat).set("bedrock.max-in-flight", "1");
        scene.drop("a.txt", "Otters swim.");
        scene.drop("b.txt", "Otters dive.");
        let ended = scene.once().await;
        assert_eq!((ended.code, scene.answers().len()), (Some(0), 2), "{}", ended.stderr);
        assert_eq!((streams.load(Ordering::Relaxed), service.heard().len()), (1, 3), "it is tried once");
    }
    let scene = Scene::cheap()
        .await
        .chat("name = \"sum\"\nmodel = \"us.amazon.nova-2-lite-v1:0\"\nprompt = \"Sum up: {{text}}\"\nmax-tokens = 9000");
    scene.drop("a.txt", "Otters swim.");
    assert_eq!((scene.once().await.code, scene.answers().len()), (Some(0), 1), "the emulator streams");
}
