//! Exchanges recorded from the service: the emulator answers in the same form, and the client knows what each answer means.

use riverbed::bedrock::{self, CallError, Class, Client, Disposition, client::Emulated};
use riverbed::domain::TokenCount;
use riverbed::embed::{self, Embedded, Embedder, Settings};
use riverbed::emulator::{self, Emulator, Fault};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::emulator::{SIGNED, exchange, post};
use crate::support::PATIENCE;

async fn start() -> Emulator {
    Emulator::start(([127, 0, 0, 1], 0).into(), emulator::EmulatorConfig::default()).await.unwrap()
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
async fn cohere_v3_answers_with_a_list_where_no_type_was_asked_for() {
    let request = r#"{"texts": ["Test max tokens setting"], "input_type": "search_document", "truncate": "END"}"#;
    let (head, body) = replay("/model/cohere.embed-english-v3/invoke", request).await;
    assert_has(&head, &["HTTP/1.1 200 ", "content-type: application/json", "x-amzn-bedrock-input-token-count: 4"]);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(keys(&answer), ["embeddings", "id", "response_type", "texts"]);
    assert_eq!(
        (answer["embeddings"][0].as_array().unwrap().len(), &answer["response_type"]),
        (1024, &"embeddings_floats".into())
    );
}

#[tokio::test]
async fn nova_counts_its_instructions_in_the_head_and_nothing_in_the_body() {
    let request = r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","embeddingDimension":256,
        "text":{"truncationMode":"END","value":"Hello brave world"}}}"#;
    let (head, body) = replay("/model/amazon.nova-2-multimodal-embeddings-v1%3A0/invoke", request).await;
    let counted = head.lines().find_map(|line| line.strip_prefix("x-amzn-bedrock-input-token-count: ")).unwrap();
    assert!((17..=18).contains(&counted.parse::<u32>().unwrap()), "{counted}");
    assert_eq!(outline(&body), r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[…]}]}"#);
}

#[tokio::test]
async fn every_answer_bears_the_headers_that_clients_rely_on() {
    let (head, _) = replay("/model/amazon.titan-embed-text-v2%3A0/invoke", r#"{"inputText": "a", "dimensions": 256}"#).await;
    assert_has(&head, &["x-amzn-requestid: ", "x-amzn-bedrock-invocation-latency: ", "content-length: "]);
    let (head, _) = replay("/model/amazon.titan-embed-text-v2%3A0/invoke", "{}").await;
    assert_has(&head, &["HTTP/1.1 400 ", "x-amzn-requestid: ", "x-amzn-errortype: ValidationException"]);
    assert!(!head.contains("input-token-count"), "{head}");
}

/// Embeds a text against an answer that was recorded, and returns what the client read and what it had sent.
async fn read(
    model: &str,
    head: &str,
    body: &str,
    change: impl FnOnce(&mut embed::EmbedConfig),
) -> (Result<Embedded, CallError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {head}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let service = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        // The request is over when its body is as long as its head says.
        loop {
            assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0, "the client went away");
            let text = String::from_utf8_lossy(&asked);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if length.is_some_and(|length: usize| body.len() >= length) {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    };
    let mut config = embed::EmbedConfig { model: model.to_owned().try_into().unwrap(), ..embed::EmbedConfig::default() };
    change(&mut config);
    let client = Client::connect(&bedrock::BedrockConfig::default(), Some(&Emulated { url })).await.unwrap();
    let embedder = Embedder::new(client, Settings::resolve(&config).unwrap());
    timeout(PATIENCE, async { tokio::join!(embedder.embed(&["Test max tokens setting"]), service) }).await.unwrap()
}

/// Numbers as long as the service sends them.
fn numbers(count: usize) -> String {
    let numbers: Vec<_> =
        (0..count).map(|at| format!("{}0.0{}234567890123456", if at % 2 == 0 { "-" } else { "" }, 1 + at % 9)).collect();
    numbers.join(",")
}

const COUNTED: &str = "200 OK\r\nx-amzn-bedrock-input-token-count: 4\r\nx-amzn-bedrock-invocation-latency: 96";

#[tokio::test]
async fn the_client_reads_titans_doubled_vector_once() {
    let numbers = numbers(1024);
    let body = format!(r#"{{"embedding":[{numbers}],"embeddingsByType":{{"float":[{numbers}]}},"inputTextTokenCount":4}}"#);
    let (answer, asked) = read("amazon.titan-embed-text-v2:0", COUNTED, &body, |config| config.normalize = Some(false)).await;
    let answer = answer.unwrap();
    assert_eq!((answer.vectors.len(), answer.vectors[0].as_raw().get()), (1, format!("[{numbers}]").as_str()));
    assert_eq!((answer.tokens.map(TokenCount::get), answer.emulated), (Some(4), false));
    assert!(asked.starts_with("POST /model/amazon.titan-embed-text-v2%3A0/invoke HTTP/1.1\r\n"), "{asked}");
    let sent: Value = serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(sent, json!({"inputText": "Test max tokens setting", "dimensions": 1024, "normalize": false}));
    let head = asked.to_ascii_lowercase();
    assert!(head.contains("content-type: application/json\r\n") && head.contains("accept: application/json\r\n"), "{asked}");
}

#[tokio::test]
async fn the_client_reads_a_map_and_a_list_of_cohere_alike() {
    let numbers = numbers(1024);
    let tail = r#""texts":["Test max tokens setting"]}"#;
    let map = format!(r#"{{"embeddings":{{"float":[[{numbers}]]}},"id":"a","response_type":"embeddings_by_type",{tail}"#);
    let list = format!(r#"{{"embeddings":[[{numbers}]],"id":"a","response_type":"embeddings_floats",{tail}"#);
    for model in ["cohere.embed-v4:0", "cohere.embed-english-v3"] {
        for body in [&map, &list] {
            let change = |config: &mut embed::EmbedConfig| {
                config.dimensions = (model == "cohere.embed-v4:0").then_some(1024);
            };
            let answer = read(model, COUNTED, body, change).await.0.unwrap();
            assert_eq!(answer.vectors[0].as_raw().get(), format!("[{numbers}]"), "{model}");
            assert_eq!(answer.tokens.map(TokenCount::get), Some(4));
        }
    }
}

#[tokio::test]
async fn the_client_reads_novas_answer() {
    let body = format!(r#"{{"embeddings":[{{"embeddingType":"TEXT","embedding":[{}]}}]}}"#, numbers(3072));
    let head = "200 OK\r\nx-amzn-bedrock-input-token-count: 18";
    let answer = read("amazon.nova-2-multimodal-embeddings-v1:0", head, &body, |_| ()).await.0.unwrap();
    assert_eq!((answer.vectors.len(), answer.tokens.map(TokenCount::get)), (1, Some(18)));
}

#[tokio::test]
async fn the_client_knows_a_missing_model_by_its_name_however_the_name_is_written() {
    let body = r#"{"message":"The provided model identifier is invalid."}"#;
    assert_eq!(body.len(), 55);
    for name in ["ValidationException", "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"] {
        let head = format!("400 Bad Request\r\nx-amzn-errortype: {name}\r\nx-amzn-requestid: 7a5c1d2e");
        let error = read("amazon.titan-embed-text-v2:0", &head, body, |_| ()).await.0.unwrap_err();
        assert_eq!((error.class, error.code.as_deref()), (Class::Model, Some("ValidationException")));
        assert_eq!((error.status, error.request_id.as_deref()), (Some(400), Some("7a5c1d2e")));
    }
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
    let client = Client::connect(&bedrock::BedrockConfig::default(), Some(&emulated)).await.unwrap();
    let embedder = Embedder::new(client, Settings::resolve(&embed::EmbedConfig::default()).unwrap());
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
