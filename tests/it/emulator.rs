//! The emulator, called by the real SDK over loopback.

use std::num::NonZeroUsize;
use std::time::Duration;

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::RequestId;
use aws_sdk_bedrockruntime::operation::invoke_model::InvokeModelError;
use aws_sdk_bedrockruntime::primitives::Blob;
use futures::future::join_all;
use riverbed::emulator::{self, Authorization, Emulator, Fault, Quota, Vectors};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE_V3: &str = "cohere.embed-english-v3";
const COHERE_V4: &str = "us.cohere.embed-v4:0";

/// Far more than any step needs: reached only when a test would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(30);

async fn start() -> (Emulator, Client) {
    start_with(emulator::EmulatorConfig::default()).await
}

async fn start_with(config: emulator::EmulatorConfig) -> (Emulator, Client) {
    let emulator = Emulator::start("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let client = client(&emulator, |config| config);
    (emulator, client)
}

fn client(
    emulator: &Emulator,
    customise: impl FnOnce(aws_sdk_bedrockruntime::config::Builder) -> aws_sdk_bedrockruntime::config::Builder,
) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIDEMULATOR", "secret", None, None, "test"))
        .endpoint_url(emulator.endpoint())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build());
    Client::from_conf(customise(config).build())
}

type Failure = SdkError<InvokeModelError>;

async fn invoke(client: &Client, model: &str, body: &Value) -> Result<Value, Failure> {
    let body = Blob::new(body.to_string());
    let sent = client.invoke_model().model_id(model).content_type("application/json").accept("application/json").body(body);
    let output = sent.send().await?;
    Ok(serde_json::from_slice(output.body().as_ref()).unwrap())
}

async fn embed(client: &Client, text: &str) -> Result<Value, Failure> {
    invoke(client, TITAN, &json!({ "inputText": text })).await
}

fn assert_refused(failure: &Failure, status: u16, name: &str, message: &str) {
    assert_eq!(failure.raw_response().map(|raw| raw.status().as_u16()), Some(status), "{failure:?}");
    assert_eq!((failure.code(), failure.message()), (Some(name), Some(message)));
    assert!(failure.request_id().is_some());
    assert_eq!(failure.raw_response().unwrap().headers().get("x-riverbed-emulator"), Some("1"));
}

#[tokio::test]
async fn titan_answers_with_the_doubled_vector_and_the_token_count() {
    let (emulator, client) = start().await;
    let answer = embed(&client, "Test normalization disabled").await.unwrap();
    assert_eq!(answer["embedding"].as_array().unwrap().len(), 1024);
    assert_eq!(answer["embedding"], answer["embeddingsByType"]["float"]);
    assert_eq!(answer["inputTextTokenCount"], 4);
    let counts = emulator.counts();
    assert_eq!((counts.calls, counts.texts, counts.tokens, counts.answered[&200]), (1, 1, 4, 1));
    assert!(counts.first_call.is_some());
}

#[tokio::test]
async fn a_success_carries_the_headers_that_the_service_sends() {
    let (emulator, _) = start().await;
    let answer =
        exchange(&emulator, &post("/model/cohere.embed-v4%3A0/invoke", SIGNED, r#"{"texts":["a b"],"input_type":"clustering"}"#))
            .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for header in [
        "content-type: application/json",
        "x-amzn-bedrock-input-token-count: 2",
        "x-amzn-bedrock-invocation-latency: ",
        "x-amzn-requestid: ",
        "x-riverbed-emulator: 1",
    ] {
        assert!(answer.contains(&format!("\r\n{header}")), "{header} is missing: {answer}");
    }
}

#[tokio::test]
async fn cohere_v3_answers_a_batch_with_a_list_in_order() {
    let (emulator, client) = start().await;
    let request = |texts: &[&str]| json!({"texts": texts, "input_type": "search_document", "truncate": "END"});
    let batch = invoke(&client, COHERE_V3, &request(&["espresso", "glacier"])).await.unwrap();
    let single = invoke(&client, COHERE_V3, &request(&["glacier"])).await.unwrap();
    assert_eq!(batch["embeddings"][1], single["embeddings"][0]);
    assert_eq!(emulator.counts().texts, 3);
}

#[tokio::test]
async fn a_full_batch_of_long_texts_is_embedded() {
    let (emulator, client) =
        start_with(emulator::EmulatorConfig { vectors: Vectors::Cheap, ..emulator::EmulatorConfig::default() }).await;
    let texts: Vec<String> = (0..96).map(|number| format!("{number} {}", "x".repeat(2_040))).collect();
    let answer = invoke(&client, COHERE_V3, &json!({"texts": texts, "input_type": "search_document"})).await.unwrap();
    assert_eq!(answer["embeddings"].as_array().unwrap().len(), 96);
    assert_eq!(emulator.counts().texts, 96);
}

#[tokio::test]
async fn cohere_v4_answers_with_a_map_through_a_profile_and_its_arn() {
    let (_emulator, client) = start().await;
    let request = json!({"texts": ["espresso"], "input_type": "search_query", "output_dimension": 256});
    let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.cohere.embed-v4:0";
    let by_profile = invoke(&client, COHERE_V4, &request).await.unwrap();
    let by_arn = invoke(&client, arn, &request).await.unwrap();
    assert_eq!(by_profile["embeddings"]["float"][0].as_array().unwrap().len(), 256);
    assert_eq!(by_profile["embeddings"], by_arn["embeddings"]);
}

#[tokio::test]
async fn an_unknown_model_is_a_validation_error() {
    let (_emulator, client) = start().await;
    let failure = invoke(&client, "amazon.titan-embed-text-v9:0", &json!({"inputText": "a"})).await.unwrap_err();
    assert_refused(&failure, 400, "ValidationException", "The provided model identifier is invalid.");
}

#[tokio::test]
async fn a_request_that_does_not_fit_the_schema_is_refused_and_not_billed() {
    let (emulator, client) = start().await;
    let failure = invoke(&client, TITAN, &json!({"x": 1})).await.unwrap_err();
    let message = "Malformed input request: #: required key [inputText] not found#: extraneous key [x] is not permitted, \
                   please reformat your input and try again.";
    assert_refused(&failure, 400, "ValidationException", message);
    assert_eq!((emulator.counts().tokens, emulator.counts().answered[&400]), (0, 1));
}

#[tokio::test]
async fn a_forgotten_content_type_is_refused() {
    let (_emulator, client) = start().await;
    let sent = client.invoke_model().model_id(TITAN).body(Blob::new(r#"{"inputText":"a"}"#)).send().await;
    let message = "The provided Content Type is invalid or not supported for this model";
    assert_refused(&sent.unwrap_err(), 400, "ValidationException", message);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let (_emulator, client) = start().await;
    let sent = client.invoke_model().model_id(TITAN).content_type("application/json").body(Blob::new("text")).send().await;
    let message = "Malformed input request, please reformat your input and try again.";
    assert_refused(&sent.unwrap_err(), 400, "ValidationException", message);
}

#[tokio::test]
async fn a_body_above_25_million_bytes_is_refused() {
    let (_emulator, client) = start().await;
    let failure = embed(&client, &"x".repeat(25_000_000)).await.unwrap_err();
    assert_eq!(failure.code(), Some("ValidationException"), "{failure:?}");
    assert!(failure.message().unwrap().contains("less than or equal to 25000000"));
}

#[tokio::test]
async fn another_operation_is_unknown() {
    let (_emulator, client) = start().await;
    let failure = client.count_tokens().model_id("amazon.nova-micro-v1:0").send().await.unwrap_err();
    assert_eq!(failure.raw_response().unwrap().status().as_u16(), 404);
    let body = failure.raw_response().unwrap().body().bytes().unwrap();
    assert_eq!(body, br#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#);
}

#[tokio::test]
async fn a_request_without_credentials_is_forbidden() {
    let (emulator, _) = start().await;
    let answer = exchange(&emulator, &post("/model/amazon.titan-embed-text-v2%3A0/invoke", "", r#"{"inputText":"a"}"#)).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("x-amzn-errortype: MissingAuthenticationTokenException:http"), "{answer}");
}

#[tokio::test]
async fn a_bearer_token_is_accepted() {
    let (emulator, _) = start().await;
    emulator.record(NonZeroUsize::MIN);
    let bearer = "authorization: Bearer bedrock-api-key\r\n";
    let answer = exchange(&emulator, &post("/model/amazon.titan-embed-text-v2%3A0/invoke", bearer, r#"{"inputText":"a"}"#)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(emulator.requests()[0].authorization, Some(Authorization::Bearer));
}

#[tokio::test]
async fn recorded_requests_show_what_the_client_sent() {
    let (emulator, client) = start().await;
    embed(&client, "before recording").await.unwrap();
    emulator.record(NonZeroUsize::MIN);
    invoke(&client, TITAN, &json!({"inputText": "zwölf", "dimensions": 512})).await.unwrap();
    let [request] = emulator.requests().try_into().unwrap();
    assert_eq!(request.model_id.as_deref(), Some(TITAN));
    assert_eq!(request.texts, ["zwölf"]);
    assert_eq!(request.body["dimensions"], 512);
    assert_eq!(request.content_type.as_deref(), Some("application/json"));
    assert_eq!(request.accept.as_deref(), Some("application/json"));
    let Some(Authorization::SigV4 { access_key_id, scope }) = request.authorization else { panic!("not signed") };
    assert_eq!(access_key_id, "AKIDEMULATOR");
    assert!(scope.ends_with("/us-east-1/bedrock/aws4_request"), "{scope}");
}

#[tokio::test]
async fn scripted_faults_answer_the_next_calls_one_each() {
    let (emulator, client) = start().await;
    emulator.script([Fault::Throttle, Fault::None, Fault::error(529, "overloaded_error", "Overloaded")]);
    let throttled = embed(&client, "a").await.unwrap_err();
    assert_refused(&throttled, 429, "ThrottlingException", "Too many requests, please wait before trying again.");
    assert!(throttled.raw_response().unwrap().headers().get("retry-after").is_none());
    embed(&client, "a").await.unwrap();
    assert_refused(&embed(&client, "a").await.unwrap_err(), 529, "overloaded_error", "Overloaded");
    embed(&client, "a").await.unwrap();
    assert_eq!(emulator.counts().answered.into_iter().collect::<Vec<_>>(), [(200, 2), (429, 1), (529, 1)]);
}

#[tokio::test]
async fn a_retry_hint_is_sent_in_whole_seconds() {
    let (emulator, client) = start().await;
    let (name, message) = ("ThrottlingException".to_owned(), "Rate exceeded".to_owned());
    emulator.script([Fault::Error { status: 429, name, message, retry_after: Some(Duration::from_millis(1_200)) }]);
    let failure = embed(&client, "a").await.unwrap_err();
    assert_eq!(failure.raw_response().unwrap().headers().get("retry-after"), Some("2"));
}

#[tokio::test]
async fn a_marked_text_fails_its_call_and_no_other() {
    let (emulator, client) = start().await;
    emulator.fault_where("POISON", Fault::validation("no"));
    let (good, bad) = tokio::join!(embed(&client, "water"), embed(&client, "some POISON here"));
    good.unwrap();
    assert_refused(&bad.unwrap_err(), 400, "ValidationException", "no");
    emulator.clear_faults();
    embed(&client, "POISON").await.unwrap();
}

#[tokio::test]
async fn a_reset_connection_is_no_answer() {
    let (emulator, client) = start().await;
    emulator.script([Fault::Reset]);
    let failure = embed(&client, "a").await.unwrap_err();
    assert!(matches!(failure, SdkError::DispatchFailure(_)), "{failure:?}");
    assert_eq!(emulator.counts().unanswered, 1);
    embed(&client, "a").await.unwrap();
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_wire() {
    let (emulator, _) = start().await;
    emulator.script([Fault::Reset]);
    let mut stream = TcpStream::connect(emulator.address()).await.unwrap();
    stream.write_all(post("/model/a/invoke", SIGNED, "{}").as_bytes()).await.unwrap();
    let error = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_cut_body_ends_in_the_middle() {
    let (emulator, client) = start().await;
    emulator.script([Fault::CutBody, Fault::CutBody]);
    let failure = embed(&client, "a").await.unwrap_err();
    assert!(!matches!(failure, SdkError::ServiceError(_)), "{failure:?}");
    let answer = exchange(&emulator, &post("/model/amazon.titan-embed-text-v2%3A0/invoke", SIGNED, r#"{"inputText":"a"}"#)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);
}

#[tokio::test]
async fn a_hanging_call_ends_when_its_client_goes() {
    let (emulator, client) = start().await;
    emulator.script([Fault::Hang]);
    {
        let call = embed(&client, "a");
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => panic!("it was answered"),
            called = timeout(PATIENCE, emulator.called(1)) => called.unwrap(),
        }
    }
    assert_eq!(emulator.counts().answered.len(), 0);
    emulator.stop().await;
}

#[tokio::test]
async fn wrong_answers_are_well_formed_json_with_wrong_vectors() {
    let (emulator, client) = start().await;
    emulator.script([Fault::WrongDimensions, Fault::NotFinite, Fault::MissingVector]);
    let length = |answer: &Value| answer["embedding"].as_array().map(Vec::len);
    assert_eq!(length(&embed(&client, "a").await.unwrap()), Some(1023));
    assert_eq!(embed(&client, "a").await.unwrap()["embedding"][0], 1e300);
    assert_eq!(length(&embed(&client, "a").await.unwrap()), None);
}

#[tokio::test]
async fn a_page_of_html_has_no_error_type() {
    let (emulator, client) = start().await;
    emulator.script([Fault::NotJson, Fault::Gateway { status: 502 }]);
    let body = Blob::new(r#"{"inputText":"a"}"#);
    let sent = client.invoke_model().model_id(TITAN).content_type("application/json").body(body);
    assert_eq!(sent.send().await.unwrap().content_type(), "text/html");
    let failure = embed(&client, "a").await.unwrap_err();
    assert_eq!((failure.raw_response().unwrap().status().as_u16(), failure.code()), (502, None));
}

#[tokio::test]
async fn held_answers_are_all_in_flight_until_released() {
    let (emulator, client) = start().await;
    emulator.hold();
    let calls = join_all((0..8).map(|_| embed(&client, "a")));
    let release = async {
        timeout(PATIENCE, emulator.called(8)).await.unwrap();
        assert_eq!((emulator.counts().in_flight, emulator.counts().answered.len()), (8, 0));
        emulator.release();
    };
    let (answers, ()) = tokio::join!(calls, release);
    assert!(answers.iter().all(Result::is_ok));
    let counts = emulator.counts();
    assert_eq!((counts.most_in_flight, counts.in_flight, counts.connections), (8, 0, 8));
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let (emulator, client) = start().await;
    for _ in 0..5 {
        embed(&client, "a").await.unwrap();
    }
    assert_eq!(emulator.counts().connections, 1);
}

#[tokio::test]
async fn latency_is_waited_and_reported() {
    let latency = Duration::from_millis(30);
    let (emulator, _) = start_with(emulator::EmulatorConfig { latency, ..emulator::EmulatorConfig::default() }).await;
    let answer = exchange(&emulator, &post("/model/amazon.titan-embed-text-v2%3A0/invoke", SIGNED, r#"{"inputText":"a"}"#)).await;
    let reported = answer.lines().find_map(|line| line.strip_prefix("x-amzn-bedrock-invocation-latency: ")).unwrap();
    assert!(reported.parse::<u64>().unwrap() >= 30);
}

#[tokio::test]
async fn cheap_vectors_go_the_same_way() {
    let (_emulator, client) =
        start_with(emulator::EmulatorConfig { vectors: Vectors::Cheap, ..emulator::EmulatorConfig::default() }).await;
    let (one, same, other) =
        (embed(&client, "a").await.unwrap(), embed(&client, "a").await.unwrap(), embed(&client, "b").await.unwrap());
    assert_eq!(one["embedding"], same["embedding"]);
    assert_ne!(one["embedding"], other["embedding"]);
}

#[tokio::test]
async fn a_dropped_emulator_cuts_its_connections() {
    let (emulator, client) = start().await;
    emulator.hold();
    let call = embed(&client, "a");
    tokio::pin!(call);
    tokio::select! {
        _ = &mut call => panic!("it was answered"),
        called = timeout(PATIENCE, emulator.called(1)) => called.unwrap(),
    }
    drop(emulator);
    assert!(matches!(call.await.unwrap_err(), SdkError::DispatchFailure(_)));
}

#[tokio::test]
async fn what_is_over_a_quota_gets_the_services_words_and_costs_nothing() {
    let (emulator, client) = start().await;
    emulator.set_quotas("3/min window".parse().unwrap(), "10/min window".parse().unwrap());
    embed(&client, "one two three four five six seven").await.unwrap();
    let too_many = "Too many tokens, please wait before trying again.";
    assert_refused(&embed(&client, "one two three four").await.unwrap_err(), 429, "ThrottlingException", too_many);
    let malformed = invoke(&client, TITAN, &json!({})).await.unwrap_err();
    assert_eq!(malformed.code(), Some("ValidationException"));
    embed(&client, "one").await.unwrap();
    embed(&client, "one").await.unwrap();
    let too_many = "Too many requests, please wait before trying again.";
    // The quota comes before the body.
    for refused in [embed(&client, "one").await, invoke(&client, TITAN, &json!({})).await] {
        assert_refused(&refused.unwrap_err(), 429, "ThrottlingException", too_many);
    }
    assert_eq!((emulator.counts().texts, emulator.counts().tokens), (3, 9));
    // Another model has its own.
    invoke(&client, COHERE_V3, &json!({"texts": ["one"], "input_type": "search_document"})).await.unwrap();
    emulator.set_quotas(Quota::default(), Quota::default());
    embed(&client, "one two three four").await.unwrap();
}

#[tokio::test]
async fn a_fault_in_place_of_an_answer_takes_nothing_of_a_quota_and_a_spoilt_answer_does() {
    let (emulator, client) = start().await;
    emulator.set_quotas("1/min window".parse().unwrap(), Quota::default());
    emulator.set_faults("503 100%".parse().unwrap());
    let message = "Bedrock is unable to process your request.";
    for _ in 0..2 {
        assert_refused(&embed(&client, "a").await.unwrap_err(), 503, "ServiceUnavailableException", message);
    }
    emulator.set_faults("wrong-vectors 100%".parse().unwrap());
    embed(&client, "a").await.unwrap();
    assert_eq!(embed(&client, "a").await.unwrap_err().code(), Some("ThrottlingException"));
}

#[tokio::test]
async fn the_control_path_drives_it_over_http_and_counts_as_no_call() {
    let (emulator, client) = start().await;
    let ask = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let state = |answer: String| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        serde_json::from_str::<Value>(body).unwrap()
    };
    let change = ask("PUT", "/_riverbed/settings", r#"{"requests": "2/min window"}"#);
    assert_eq!(state(exchange(&emulator, &change).await)["settings"]["requests"], "2/min window");
    state(exchange(&emulator, &ask("POST", "/_riverbed/script", r#"["500", "none"]"#)).await);
    assert_eq!(embed(&client, "a").await.unwrap_err().code(), Some("InternalServerException"));
    embed(&client, "a").await.unwrap();
    embed(&client, "a").await.unwrap();
    assert_eq!(embed(&client, "a").await.unwrap_err().code(), Some("ThrottlingException"));
    let counts = state(exchange(&emulator, &ask("GET", "/_riverbed", "")).await)["counts"].clone();
    assert_eq!((&counts["calls"], &counts["answered"]), (&json!(4), &json!({"200": 2, "429": 1, "500": 1})));
    emulator.reset();
    assert_eq!(emulator.counts().calls, 0);
    embed(&client, "a").await.unwrap();
    let long = exchange(&emulator, &ask("PUT", "/_riverbed/settings", &" ".repeat(70_000))).await;
    assert!(long.starts_with("HTTP/1.1 413 ") && long.ends_with("65536 bytes are enough\"}"), "{long}");
}

/// What a signed request carries; the emulator checks the form, not the signature.
pub const SIGNED: &str = "x-amz-date: 20260131T120000Z\r\nauthorization: AWS4-HMAC-SHA256 \
    Credential=AKID/20260131/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, \
    Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";

/// A request as bytes on the wire, for what the SDK does not do or does not show.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
}

pub async fn exchange(emulator: &Emulator, request: &str) -> String {
    exchange_with(emulator.address(), request).await
}

pub async fn exchange_with(address: impl ToSocketAddrs, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}
