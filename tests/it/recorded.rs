//! Exchanges recorded from the service: the emulator answers in the same form, and the client knows what each answer means.

use riverbed::bedrock::client::Emulated;
use riverbed::bedrock::embed::{self, Settings};
use riverbed::bedrock::{self, CallError, Class, Client, Disposition, Embedder};
use riverbed::emulator::{self, Emulator, Fault};
use serde_json::Value;

use crate::emulator::{SIGNED, exchange, post};

async fn start() -> Emulator {
    Emulator::start(([127, 0, 0, 1], 0).into(), emulator::Config::default()).await.unwrap()
}

/// Sends a recorded request and returns the answer's head and body.
async fn replay(path: &str, body: &str) -> (String, String) {
    let answer = exchange(&start().await, &post(path, SIGNED, body)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn assert_has(head: &str, lines: &[&str]) {
    for line in lines {
        assert!(head.lines().any(|found| found.starts_with(line)), "`{line}` is missing: {head}");
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Returns the text of a body with every array of numbers put as `[…]` and every id as `"…"`.
fn outline(body: &str) -> String {
    let mut outline = String::new();
    let mut rest = body;
    while let Some(at) = rest.find('[') {
        outline.push_str(&rest[..at]);
        let is_vector = rest[at + 1..].starts_with(|next: char| next == '-' || next.is_ascii_digit());
        outline.push_str(if is_vector { "[…]" } else { "[" });
        rest = if is_vector { rest[at..].split_once(']').unwrap().1 } else { &rest[at + 1..] };
    }
    outline + rest
}

#[tokio::test]
async fn titan_v2_sends_its_vector_twice_and_counts_the_tokens_in_head_and_body() {
    let request = r#"{"inputText": "Test normalization disabled", "dimensions": 1024, "normalize": false}"#;
    let (head, body) = replay("/model/amazon.titan-embed-text-v2%3A0/invoke", request).await;
    let counts = ["x-amzn-bedrock-input-token-count: 4", "x-amzn-bedrock-invocation-latency: "];
    assert_has(&head, &["HTTP/1.1 200 ", "content-type: application/json", counts[0], counts[1]]);
    assert_eq!(outline(&body), r#"{"embedding":[…],"embeddingsByType":{"float":[…]},"inputTextTokenCount":4}"#);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["embedding"].as_array().unwrap().len(), 1024);
    assert_eq!(answer["embedding"], answer["embeddingsByType"]["float"]);
}

#[tokio::test]
async fn cohere_v4_answers_with_a_map_though_no_type_was_asked_for() {
    let request = concat!(
        r#"{"texts": ["Test max tokens setting"], "input_type": "search_query", "max_tokens": 256, "#,
        r#""output_dimension": 1536, "truncate": "NONE"}"#
    );
    let (head, body) = replay("/model/cohere.embed-v4%3A0/invoke", request).await;
    assert_has(&head, &["HTTP/1.1 200 ", "content-type: application/json", "x-amzn-bedrock-input-token-count: 4"]);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(keys(&answer), ["embeddings", "id", "response_type", "texts"]);
    assert_eq!(keys(&answer["embeddings"]), ["float"]);
    assert_eq!(answer["embeddings"]["float"][0].as_array().unwrap().len(), 1536);
    assert_eq!(answer["response_type"], "embeddings_by_type");
    assert_eq!(answer["texts"][0], "Test max tokens setting");
}

#[tokio::test]
async fn a_model_that_does_not_exist_is_a_400_of_55_bytes() {
    let (head, body) = replay("/model/us.does-not-exist-model-v1%3A0/invoke", "{}").await;
    assert_has(&head, &["HTTP/1.1 400 ", "content-type: application/json", "content-length: 55"]);
    assert_eq!(body, r#"{"message":"The provided model identifier is invalid."}"#);
}

/// Answers a call with an error in the service's form, through the SDK and back.
async fn meaning(status: u16, name: &str, message: &str) -> CallError {
    let emulator = start().await;
    emulator.script([Fault::error(status, name, message)]);
    let emulated = Emulated { url: emulator.endpoint() };
    let client = Client::connect(&bedrock::Config::default(), Some(&emulated)).await.unwrap();
    let embedder = Embedder::new(client, Settings::resolve(&embed::Config::default()).unwrap());
    let error = embedder.embed(&["an otter"]).await.unwrap_err();
    assert_eq!((error.status, error.code.as_deref(), error.message.as_str()), (Some(status), Some(name), message));
    assert!(error.request_id.is_some());
    error
}

#[tokio::test]
async fn every_message_that_the_service_is_known_for_means_what_it_says() {
    let invalid = "ValidationException";
    for (status, name, message, class) in [
        (400, invalid, "The provided model identifier is invalid.", Class::Model),
        (
            400,
            invalid,
            "Invocation of model ID cohere.embed-v4:0 with on-demand throughput isn\u{2019}t supported. Retry your request \
             with the ID or ARN of an inference profile that contains this model.",
            Class::Model,
        ),
        (
            400,
            invalid,
            "This model version has reached the end of its life. Please refer to the AWS documentation.",
            Class::Model,
        ),
        (
            400,
            invalid,
            "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9875",
            Class::Refused,
        ),
        (
            400,
            invalid,
            "Malformed input request: expected maxLength: 50000, actual: 52611, please reformat your input and try again.",
            Class::Refused,
        ),
        (
            400,
            invalid,
            "Malformed input request: #/texts/0: expected maxLength: 2048, actual: 19882, please reformat your input and try again.",
            Class::Refused,
        ),
        (400, invalid, "The model returned the following errors: Input is too long for requested model", Class::Refused),
        (429, "ThrottlingException", "Too many requests, please wait before trying again.", Class::Throttled),
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", Class::Throttled),
        (429, "ThrottlingException", "Your request rate is too high. Reduce the frequency of requests.", Class::Throttled),
        (429, "ThrottlingException", "Rate exceeded", Class::Throttled),
    ] {
        assert_eq!(meaning(status, name, message).await.class, class, "{message}");
    }
    for (name, message) in [
        ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
        (
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/x/y is not authorized to perform: bedrock:InvokeModel on resource: \
             arn:aws:bedrock:us-east-2::foundation-model/amazon.titan-embed-text-v2:0 because no identity-based policy allows the \
             bedrock:InvokeModel action",
        ),
        ("ExpiredTokenException", "The security token included in the request is expired"),
        ("UnrecognizedClientException", "The security token included in the request is invalid"),
    ] {
        assert_eq!(meaning(403, name, message).await.class.disposition(), Disposition::Halt, "{message}");
    }
}
