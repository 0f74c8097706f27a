//! The emulator's chat models, called by the real SDK over loopback.

mod answers;
mod gullible;
mod rules;
mod stream;

use std::time::Duration;

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::converse::{ConverseError, ConverseOutput};
use aws_sdk_bedrockruntime::operation::converse_stream::{ConverseStreamError, ConverseStreamOutput};
use aws_sdk_bedrockruntime::types::ContentBlock;
use riverbed::emulator::{self, Emulator};
use serde_json::{Value, json};

const NOVA: &str = "amazon.nova-micro-v1:0";
const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

/// Far more than any step needs: reached only when a test would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(30);

const LEAVE: &str = "Parents may take up to twelve weeks of paid leave. The request goes to the people team four weeks before the leave \
                     begins. Lunch is served at noon. A second period of leave can be arranged with the people team.";

async fn start() -> (Emulator, Client) {
    start_with(emulator::EmulatorConfig::default()).await
}

async fn start_with(config: emulator::EmulatorConfig) -> (Emulator, Client) {
    let emulator = Emulator::start("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let client = client(&emulator.endpoint());
    (emulator, client)
}

/// Returns a client that never retries.
pub fn client(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIDEMULATOR", "secret", None, None, "test"))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build());
    Client::from_conf(config.build())
}

type Failure = SdkError<ConverseError>;

/// Sends any body, right or wrong: the SDK's own builders cannot write most of what the service refuses.
pub async fn converse(client: &Client, model: &str, body: &Value) -> Result<ConverseOutput, Failure> {
    let body = body.to_string();
    let call = client.converse().model_id(model).customize().mutate_request(move |request| {
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = body.clone().into();
    });
    call.send().await
}

/// The same for a stream.
pub async fn converse_stream(
    client: &Client,
    model: &str,
    body: &Value,
) -> Result<ConverseStreamOutput, SdkError<ConverseStreamError>> {
    let body = body.to_string();
    let call = client.converse_stream().model_id(model).customize().mutate_request(move |request| {
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = body.clone().into();
    });
    call.send().await
}

/// Returns a turn of one text.
fn turn(role: &str, text: &str) -> Value {
    json!({"role": role, "content": [{"text": text}]})
}

/// Returns a request of one user's text.
pub fn question(text: &str) -> Value {
    json!({"messages": [turn("user", text)]})
}

/// Returns a question about a text in a delimited block.
fn about(text: &str, asked: &str) -> Value {
    question(&format!("{asked}\n<document>\n{text}\n</document>"))
}

/// Returns the texts of an answer, joined.
pub fn text(output: &ConverseOutput) -> String {
    let content = output.output().unwrap().as_message().unwrap().content();
    content.iter().filter_map(|block| block.as_text().ok()).cloned().collect()
}

fn blocks(output: &ConverseOutput) -> &[ContentBlock] {
    output.output().unwrap().as_message().unwrap().content()
}

fn assert_refused(failure: &Failure, message: &str) {
    assert_eq!(failure.raw_response().map(|raw| raw.status().as_u16()), Some(400), "{failure:?}");
    assert_eq!((failure.code(), failure.message()), (Some("ValidationException"), Some(message)));
}
