//! `ConverseStream`.

use serde_json::json;

use super::canned::stream;
use super::frames::{event, exception};
use super::*;
use crate::bedrock::Class;
use crate::chat::response::Reasoning;
use crate::chat::{Draft, Ending, ToolCall};

fn delta(index: i32, delta: &Value) -> Vec<u8> {
    event("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta, "p": "abcdef"}))
}

fn text(text: &str) -> Vec<u8> {
    delta(0, &json!({"text": text}))
}

fn start() -> Vec<u8> {
    event("messageStart", &json!({"role": "assistant"}))
}

fn stop(reason: &str) -> Vec<u8> {
    event("messageStop", &json!({"stopReason": reason}))
}

fn metadata() -> Vec<u8> {
    event("metadata", &json!({"usage": {"inputTokens": 7, "outputTokens": 39, "totalTokens": 46}, "metrics": {"latencyMs": 300}}))
}

/// Streams an answer of these bytes: the pieces of text, and how it came out.
async fn listen(body: Vec<u8>) -> (Vec<String>, Result<Answer, CallError>) {
    let server = Canned::start(vec![stream(&body)]).await;
    let mut streaming = chat(&server, PATIENCE).await.stream(&question()).await.unwrap();
    let mut pieces = Vec::new();
    loop {
        match streaming.next().await {
            Ok(Some(piece)) => pieces.push(piece),
            Ok(None) => return (pieces, streaming.finish().await),
            Err(error) => return (pieces, Err(error)),
        }
    }
}

#[tokio::test]
async fn a_request_goes_out_as_the_translator_wrote_it() {
    let (conversation, settings) = everything();
    let (prepared, mut expected) = prepare(&conversation, &settings);
    let server = Canned::start(vec![stream(&[start(), text("x"), stop("end_turn"), metadata()].concat())]).await;
    let answer = chat(&server, PATIENCE).await.stream(&prepared).await.unwrap().finish().await.unwrap();
    assert_eq!(answer.text, "x");
    expected["guardrailConfig"]["streamProcessingMode"] = json!("sync");
    let line = "POST /model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse-stream HTTP/1.1".to_owned();
    assert_eq!(server.requests(), [(line, expected)]);
}

#[tokio::test]
async fn texts_come_as_they_are_written_and_the_rest_at_the_end() {
    let end = |index| event("contentBlockStop", &json!({"contentBlockIndex": index}));
    let call = json!({"toolUse": {"toolUseId": "t1", "name": "look"}});
    let body = [
        start(),
        delta(0, &json!({"reasoningContent": {"text": "H"}})),
        delta(0, &json!({"reasoningContent": {"text": "m."}})),
        delta(0, &json!({"reasoningContent": {"signature": "c2ln"}})),
        end(0),
        delta(1, &json!({"text": "One, "})),
        delta(1, &json!({"text": ""})),
        delta(1, &json!({"text": "two."})),
        end(1),
        event("contentBlockStart", &json!({"contentBlockIndex": 2, "start": call})),
        delta(2, &json!({"toolUse": {"input": "{\"at\":"}})),
        delta(2, &json!({"toolUse": {"input": " [1]}"}})),
        end(2),
        event("contentBlockStart", &json!({"contentBlockIndex": 3, "start": call})),
        end(3),
        event("somethingNew", &json!({})),
        delta(4, &json!({"reasoningContent": {"redactedContent": "AAEC"}})),
        stop("tool_use"),
        metadata(),
    ];
    let (pieces, answer) = listen(body.concat()).await;
    let answer = answer.unwrap();
    assert_eq!((pieces.concat(), pieces.len(), answer.text.as_str()), ("One, two.".to_owned(), 2, "One, two."));
    assert_eq!((answer.ending, answer.latency_ms, answer.emulated), (Ending::ToolUse, Some(300), true));
    assert_eq!(answer.usage.unwrap().prompt_tokens().get(), 7);
    assert_eq!(answer.request_id.as_deref(), Some("r-1"));
    let called = |input| ToolCall { id: "t1".into(), name: "look".into(), input };
    assert_eq!(answer.tool_calls, [called(json!({"at": [1]})), called(json!({}))]);
    let thought = Reasoning::Text { text: "Hm.".into(), signature: Some("c2ln".into()) };
    assert_eq!(answer.reasoning, [thought, Reasoning::Redacted(vec![0, 1, 2])]);
}

#[tokio::test]
async fn arguments_that_were_cut_are_kept_as_they_are() {
    let call = json!({"toolUse": {"toolUseId": "t1", "name": "look"}});
    let body = [
        start(),
        event("contentBlockStart", &json!({"contentBlockIndex": 0, "start": call})),
        delta(0, &json!({"toolUse": {"input": "{\"at\":"}})),
        stop("max_tokens"),
        metadata(),
    ];
    let answer = listen(body.concat()).await.1.unwrap();
    assert_eq!((answer.ending, &answer.tool_calls[0].input), (Ending::CutAtMaxTokens, &json!("{\"at\":")));
}

#[tokio::test]
async fn a_failure_in_the_middle_is_of_the_class_that_it_would_have_at_the_start() {
    for (kind, code, class) in [
        ("throttlingException", "ThrottlingException", Class::Throttled),
        ("internalServerException", "InternalServerException", Class::Unavailable),
        ("serviceUnavailableException", "ServiceUnavailableException", Class::Unavailable),
        ("modelStreamErrorException", "ModelStreamErrorException", Class::Unavailable),
        ("validationException", "ValidationException", Class::Refused),
    ] {
        let (pieces, answer) = listen([start(), text("Begun"), exception(kind, "Not now.")].concat()).await;
        let error = answer.unwrap_err();
        assert_eq!(pieces, ["Begun"]);
        assert_eq!((error.class, error.code.as_deref(), error.message.as_str()), (class, Some(code), "Not now."), "{error:?}");
        assert_eq!((error.status, error.request_id.as_deref()), (Some(200), Some("r-1")));
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_the_answer_is_no_answer() {
    let (pieces, answer) = listen([start(), text("Begun")].concat()).await;
    assert_eq!((pieces.len(), answer.unwrap_err().class), (1, Class::Connection));
    let frame = text("cut");
    let (_, answer) = listen([start(), text("Begun"), frame[..frame.len() - 5].to_vec()].concat()).await;
    let class = answer.unwrap_err().class;
    assert!(matches!(class, Class::Connection | Class::BadAnswer), "{class:?}");
    let mut broken = text("broken");
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(listen([start(), broken].concat()).await.1.unwrap_err().class, Class::BadAnswer);
}

#[tokio::test]
async fn a_stream_that_falls_silent_has_an_end() {
    // More is promised than comes, and the connection stays open.
    let body = [start(), text("Begun")].concat();
    let server = Canned::start_silent(stream(&body)).await;
    let mut streaming = chat(&server, Duration::from_secs(2)).await.stream(&question()).await.unwrap();
    assert_eq!(streaming.next().await.unwrap().as_deref(), Some("Begun"));
    assert_eq!(streaming.next().await.unwrap_err().class, Class::TimedOut);
}

/// Asks for an answer of so many tokens of a model, at a server with these responses.
async fn answer_of(model: &str, server: &Canned, draft: &Draft) -> Result<Answer, CallError> {
    let model = ModelId::try_from(model.to_owned()).unwrap();
    let conversation =
        Conversation::parse(json!({"messages": [{"role": "user", "content": "Hello"}]}).to_string().as_bytes()).unwrap();
    let settings = Settings { max_tokens: std::num::NonZeroU32::new(8_000).unwrap(), ..Settings::default() };
    let request = translate(&conversation, &model, Traits::resolve(&model, None).unwrap(), &settings).unwrap();
    let request = Prepared::new(request, |text| TokenCount::new(text.len() as u64));
    chat(server, PATIENCE).await.answer(&request, draft).await
}

#[tokio::test]
async fn a_long_answer_that_breaks_off_goes_on_from_what_was_written_where_the_model_can() {
    let (begun, rest) =
        ([start(), text("One, "), text("two, ")].concat(), [start(), text(" three."), stop("end_turn"), metadata()].concat());
    let server = Canned::start(vec![stream(&begun), stream(&rest)]).await;
    let draft = Draft::default();
    assert_eq!(answer_of(MODEL, &server, &draft).await.unwrap_err().class, Class::Connection);
    assert_eq!(draft.written().as_deref(), Some("One, two, "));
    let answer = answer_of(MODEL, &server, &draft).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.ending), ("One, two, three.", Ending::Whole));
    let requests = server.requests();
    assert!(requests.iter().all(|(line, _)| line.contains("/converse-stream ")));
    // Claude takes no white space at the end of what it goes on from, and has fewer tokens left.
    assert_eq!(requests[1].1["messages"][1], json!({"role": "assistant", "content": [{"text": "One, two,"}]}));
    let left = requests[1].1["inferenceConfig"]["maxTokens"].as_u64().unwrap();
    assert!((7_990..8_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_model_that_does_not_go_on_is_asked_from_the_beginning_and_what_it_wrote_is_kept_meanwhile() {
    let (begun, whole) =
        ([start(), text("One, two")].concat(), [start(), text("One, two, three."), stop("end_turn"), metadata()].concat());
    let server = Canned::start(vec![stream(&begun), stream(&whole)]).await;
    let draft = Draft::default();
    let model = "us.anthropic.claude-opus-5";
    answer_of(model, &server, &draft).await.unwrap_err();
    assert_eq!(draft.written().as_deref(), Some("One, two"));
    assert_eq!(answer_of(model, &server, &draft).await.unwrap().text, "One, two, three.");
    assert_eq!(server.requests()[1].1["messages"].as_array().unwrap().len(), 1);
    // One that should, and refuses, is asked from the beginning at once.
    let refused =
        super::canned::response(400, "x-amzn-errortype: ValidationException\r\n", &json!({"message": "no prefill here"}));
    let server = Canned::start(vec![stream(&begun), refused, stream(&whole)]).await;
    let draft = Draft::default();
    answer_of(MODEL, &server, &draft).await.unwrap_err();
    assert_eq!(answer_of(MODEL, &server, &draft).await.unwrap().text, "One, two, three.");
}

#[tokio::test]
async fn a_short_answer_comes_whole() {
    let body = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Whole."}]}}, "stopReason": "end_turn"});
    let server = Canned::start(vec![super::canned::response(200, "", &body)]).await;
    let answer = chat(&server, PATIENCE).await.answer(&question(), &Draft::default()).await.unwrap();
    assert_eq!(answer.text, "Whole.");
    assert!(server.requests()[0].0.contains("/converse "));
}
