//! Converse.

use serde_json::{Value, json};

use super::canned::response;
use super::*;
use crate::bedrock::{Class, Disposition};
use crate::chat::guardrail::Side;
use crate::chat::response::Reasoning;
use crate::chat::{Ending, ToolCall, Usage};

fn body(content: &Value, stop_reason: &str) -> Value {
    json!({"metrics": {"latencyMs": 300}, "output": {"message": {"content": content, "role": "assistant"}},
           "stopReason": stop_reason, "usage": {"inputTokens": 7, "outputTokens": 39, "serverToolUsage": {}, "totalTokens": 46}})
}

fn says(body: &Value) -> Vec<u8> {
    response(200, "", body)
}

#[tokio::test]
async fn a_request_goes_out_as_the_translator_wrote_it_each_time() {
    let (conversation, settings) = everything();
    let (prepared, expected) = prepare(&conversation, &settings);
    let said = says(&body(&json!([{"text": "Hello."}]), "end_turn"));
    let server = Canned::start(vec![said.clone(), said]).await;
    let chat = chat(&server, PATIENCE).await;
    for _ in 0..2 {
        chat.ask(&prepared).await.unwrap();
    }
    let line = "POST /model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse HTTP/1.1".to_owned();
    assert_eq!(server.requests(), [(line.clone(), expected.clone()), (line, expected)]);
}

#[tokio::test]
async fn a_plain_request_has_nothing_that_was_not_asked_for() {
    let server = Canned::start(vec![says(&body(&json!([{"text": "Hello."}]), "end_turn"))]).await;
    chat(&server, PATIENCE).await.ask(&question()).await.unwrap();
    let expected =
        json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}], "inferenceConfig": {"maxTokens": 1024}});
    assert_eq!(server.requests()[0].1, expected);
}

#[tokio::test]
async fn all_texts_are_joined_and_the_rest_is_carried_beside_them() {
    let content = json!([
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"text": "One, "},
        {"citationsContent": {"content": [{"text": "two, "}], "citations": []}},
        {"text": "three."},
        {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"at": [1, -2, 0.5]}}},
        {"image": {"format": "png", "source": {"bytes": "AAEC"}}},
        {"hologram": {}}
    ]);
    let mut said = body(&content, "tool_use");
    said["usage"]["cacheReadInputTokens"] = json!(100);
    said["usage"]["cacheWriteInputTokens"] = json!(20);
    said["usage"]["cacheDetails"] = json!([{"ttl": "5m", "inputTokens": 8}, {"ttl": "1h", "inputTokens": 12}]);
    said["serviceTier"] = json!({"type": "flex"});
    let answer = ask(response(200, "x-riverbed-emulator: 1\r\n", &said)).await.unwrap();
    let count = TokenCount::new;
    let usage = Usage {
        input_tokens: count(7),
        output_tokens: count(39),
        cache_read_tokens: count(100),
        cache_write_tokens: count(20),
        cache_write_hour_tokens: count(12),
    };
    assert_eq!(usage.prompt_tokens(), count(127));
    let expected = Answer {
        text: "One, two, three.".into(),
        ending: Ending::ToolUse,
        stop_reason: "tool_use".into(),
        usage: Some(usage),
        service_tier: Some("flex".into()),
        latency_ms: Some(300),
        tool_calls: vec![ToolCall { id: "t1".into(), name: "look".into(), input: json!({"at": [1, -2, 0.5]}) }],
        reasoning: vec![
            Reasoning::Text { text: "Hm.".into(), signature: Some("c2ln".into()) },
            Reasoning::Redacted(vec![0, 1, 2]),
        ],
        guardrail: None,
        left_out: vec!["image", "unknown"],
        request_id: Some("r-1".into()),
        emulated: true,
        held: Held::default(),
    };
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_number_of_tokens_that_an_answer_lacks_is_not_known_and_not_zero() {
    let written = json!([{"text": "Words."}]);
    let usage = async |content: &Value, stop_reason, usage: Value| {
        let mut said = body(content, stop_reason);
        said["usage"] = usage;
        ask(says(&said)).await.unwrap().usage.map(|usage| (usage.prompt_tokens().get(), usage.output_tokens.get()))
    };
    assert_eq!(usage(&written, "end_turn", json!({"inputTokens": 7, "outputTokens": 2, "totalTokens": 9})).await, Some((7, 2)));
    assert_eq!(usage(&json!([]), "end_turn", json!({"inputTokens": 7, "totalTokens": 7})).await, Some((7, 0)));
    let none = json!({"inputTokens": 7, "outputTokens": 0, "totalTokens": 7});
    assert_eq!(usage(&written, "end_turn", none).await, Some((7, 0)), "the total says so too");
    let cached = json!({"inputTokens": 0, "outputTokens": 2, "totalTokens": 9, "cacheReadInputTokens": 7});
    assert_eq!(usage(&written, "end_turn", cached).await, Some((7, 2)));
    for lacking in [
        Value::Null,
        json!({}),
        json!({"inputTokens": 7, "totalTokens": 9}),
        json!({"outputTokens": 2, "totalTokens": 9}),
        json!({"inputTokens": -7, "outputTokens": 2, "totalTokens": 9}),
        json!({"inputTokens": 7, "outputTokens": 2, "totalTokens": 9, "cacheReadInputTokens": -1}),
    ] {
        assert_eq!(usage(&written, "end_turn", lacking.clone()).await, None, "{lacking}");
    }
    let nothing = json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0});
    assert_eq!(usage(&written, "guardrail_intervened", nothing).await, Some((0, 0)), "no model was asked");
}

#[tokio::test]
async fn how_an_answer_ended_is_marked_and_a_new_word_is_kept() {
    for (stop_reason, ending) in [
        ("end_turn", Ending::Whole),
        ("stop_sequence", Ending::Whole),
        ("max_tokens", Ending::CutAtMaxTokens),
        ("model_context_window_exceeded", Ending::CutAtContextWindow),
        ("refusal", Ending::Refused),
        ("content_filtered", Ending::ContentFiltered),
        ("guardrail_intervened", Ending::GuardrailIntervened),
        ("malformed_model_output", Ending::Malformed),
        ("malformed_tool_use", Ending::Malformed),
        ("struck_by_lightning", Ending::Unknown),
    ] {
        let answer = ask(says(&body(&json!([]), stop_reason))).await.unwrap();
        assert_eq!((answer.ending, answer.stop_reason.as_str(), answer.text.as_str()), (ending, stop_reason, ""));
        assert_eq!(answer.ending.is_whole(), ending == Ending::Whole);
        assert!(!answer.emulated);
    }
}

#[tokio::test]
async fn a_guardrails_trace_is_summed_up_without_its_quotations() {
    let mut said = body(&json!([{"text": "Blocked."}]), "guardrail_intervened");
    said["trace"] = json!({"guardrail": {
        "actionReason": "Guardrail blocked.",
        "inputAssessment": {"gr1": {
            "topicPolicy": {"topics": [{"name": "weather", "type": "DENY", "action": "BLOCKED"}]},
            "contentPolicy": {"filters": [{"type": "INSULTS", "confidence": "HIGH", "action": "BLOCKED"}]},
            "wordPolicy": {"customWords": [{"match": "SECRET", "action": "BLOCKED"}],
                           "managedWordLists": [{"match": "SECRET", "type": "PROFANITY", "action": "BLOCKED"}]}
        }},
        "outputAssessments": {"gr1": [{
            "sensitiveInformationPolicy": {
                "piiEntities": [{"match": "SECRET", "type": "EMAIL", "action": "ANONYMIZED"}],
                "regexes": [{"name": "badge", "match": "SECRET", "regex": "S.*", "action": "BLOCKED"}]},
            "contextualGroundingPolicy": {"filters": [{"type": "GROUNDING", "threshold": 0.5, "score": 0.1, "action": "NONE"}]}
        }]}
    }});
    let trace = ask(says(&said)).await.unwrap().guardrail.unwrap();
    assert_eq!(trace.reason.as_deref(), Some("Guardrail blocked."));
    let found: Vec<_> =
        trace.findings.iter().map(|found| (found.side, found.policy, found.about.as_str(), found.action.as_str())).collect();
    assert_eq!(
        found,
        [
            (Side::Input, "topic", "weather", "BLOCKED"),
            (Side::Input, "content", "INSULTS", "BLOCKED"),
            (Side::Input, "word", "custom", "BLOCKED"),
            (Side::Input, "word", "PROFANITY", "BLOCKED"),
            (Side::Output, "sensitive-information", "EMAIL", "ANONYMIZED"),
            (Side::Output, "sensitive-information", "badge", "BLOCKED"),
            (Side::Output, "contextual-grounding", "GROUNDING", "NONE"),
        ]
    );
    assert!(!format!("{trace:?}").contains("SECRET"));
}

#[tokio::test]
async fn failures_are_of_the_same_classes_as_everywhere() {
    for (status, name, message, class, disposition) in [
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", Class::Throttled, Disposition::Retry),
        (429, "ModelNotReadyException", "x", Class::Throttled, Disposition::Retry),
        (503, "ServiceUnavailableException", "x", Class::Unavailable, Disposition::Retry),
        (408, "ModelTimeoutException", "x", Class::Unavailable, Disposition::Retry),
        (424, "ModelErrorException", "x", Class::Unavailable, Disposition::Retry),
        (529, "", "overloaded", Class::Unavailable, Disposition::Retry),
        (400, "ValidationException", "Input is too long for requested model.", Class::Refused, Disposition::Reject),
        (400, "ValidationException", "The provided model identifier is invalid.", Class::Model, Disposition::Halt),
        (403, "AccessDeniedException", "x", Class::Credentials, Disposition::Halt),
    ] {
        let header = format!("x-amzn-errortype: {name}:http://internal.amazon.com/coral/\r\n");
        let header = if name.is_empty() { "" } else { &header };
        let error = ask(response(status, header, &json!({"message": message}))).await.unwrap_err();
        assert_eq!((error.class, error.class.disposition()), (class, disposition), "{error:?}");
        assert_eq!((error.status, error.request_id.as_deref()), (Some(status), Some("r-1")), "{error:?}");
        if !name.is_empty() {
            assert_eq!((error.code.as_deref(), error.message.as_str()), (Some(name), message));
        }
    }
}

#[tokio::test]
async fn a_success_that_is_no_answer_is_a_bad_one() {
    for said in
        [json!({}), json!({"output": {}, "stopReason": "end_turn"}), json!({"output": {"picture": {}}, "stopReason": "end_turn"})]
    {
        assert_eq!(ask(says(&said)).await.unwrap_err().class, Class::BadAnswer, "{said}");
    }
    assert_eq!(ask(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>".to_vec()).await.unwrap_err().class, Class::BadAnswer);
}

#[tokio::test]
async fn an_attempt_has_an_end() {
    let server = Canned::start(Vec::new()).await;
    let error = chat(&server, Duration::from_millis(50)).await.ask(&question()).await.unwrap_err();
    assert_eq!(error.class, Class::TimedOut, "{error:?}");
    let error = chat(&server, Duration::from_millis(50)).await.stream(&question()).await.unwrap_err();
    assert_eq!(error.class, Class::TimedOut, "{error:?}");
}

#[test]
fn a_prepared_request_knows_what_it_will_count() {
    let prepared = question();
    assert_eq!((prepared.model().as_str(), prepared.estimated_input().get(), prepared.reserved().get()), (MODEL, 5, 5 + 1024));
}
