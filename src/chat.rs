//! Questions to answers: one attempt of Converse, whole or as a stream.
//!
//! Requests come from [`messages`](openai), which has already rejected those that Bedrock would reject.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use riverbed::chat::{Chat, Prepared};
//! use riverbed::chat::openai::{Conversation, Settings, Traits, translate};
//! use riverbed::bedrock::{Client, BedrockConfig};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = "us.amazon.nova-micro-v1:0".to_owned().try_into()?;
//! let conversation = Conversation::ask(Some("Answer in one word.".into()), "What is an otter?");
//! let request = translate(&conversation, &model, Traits::resolve(&model, None)?, &Settings::default())?;
//!
//! let chat = Chat::new(Client::connect(&BedrockConfig::default(), None).await?, Duration::from_secs(120));
//! let answer = chat.ask(&Prepared::new(request, riverbed::chunk::tokens)).await?;
//! println!("{} ({})", answer.text, answer.stop_reason);
//! # Ok(())
//! # }
//! ```

pub mod capabilities;
pub mod context_overflow;
mod context_prompt;
pub mod converse;
pub mod guardrail;
mod models;
pub mod openai;
pub mod prompt;
mod quota_cost;
mod refusal;
mod request_limits;
mod request_options;
pub mod response;
mod template;
mod token_estimate;

mod content_blocks;
mod partial_answer;
mod request;
mod smithy_json;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_bedrockruntime::config::Builder;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::operation::RequestId as _;
use tracing::info;

use crate::bedrock::client::Client;
use crate::bedrock::error::{CallError, Class};
use crate::bedrock::local_shortage::Shortage;
use crate::bedrock::panic_guard::caught;
use crate::bedrock::room::Room;
use crate::domain::Setting;

pub use partial_answer::Draft;
pub use prompt::Prompt;
pub use request::Prepared;
pub use response::{Answer, Ending, ToolCall, Usage};
pub use stream::Streaming;

/// Asks models through Converse. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chat {
    client: Client,
    attempt_timeout: Arc<Setting<Duration>>,
    /// Whether long answers come whole, because the model or what is called does not stream.
    is_whole: Arc<AtomicBool>,
}

/// Nobody waits longer for the next piece of a stream: what has come so far says that the model is at work.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

impl Chat {
    /// Asks through this client.
    ///
    /// `attempt_timeout` bounds one attempt from sending to the last byte of the answer, and in a stream the wait for each piece. An
    /// answer comes whole or not at all, so it must leave the model the time to write `max_tokens`: some 20 to 100 tokens a second.
    #[must_use]
    pub fn new(client: Client, attempt_timeout: Duration) -> Self {
        Self { client, attempt_timeout: Arc::new(Setting::new(attempt_timeout)), is_whole: Arc::default() }
    }

    /// Bounds the attempts from now on, those of clones too.
    pub fn set_attempt_timeout(&self, attempt_timeout: Duration) {
        self.attempt_timeout.set(attempt_timeout);
    }

    /// Returns the room that there is for long answers.
    #[must_use]
    pub fn room(&self) -> &Room {
        self.client.room()
    }

    /// Asks once and waits for the whole answer. Cancel safe, though a call that has been sent is billed.
    ///
    /// # Errors
    /// When the service refuses or fails, or its answer is none.
    pub async fn ask(&self, request: &Prepared) -> Result<Answer, CallError> {
        let mut shortage = Shortage::default();
        loop {
            match self.send(request).await {
                Err(error) if shortage.is_waited_out(&error, self.client.stop()).await => {}
                ended => return ended,
            }
        }
    }

    async fn send(&self, request: &Prepared) -> Result<Answer, CallError> {
        let seen = self.client.watch().measured(self.client.room());
        let call = request.converse(self.client.sdk()).customize();
        let call = call.config_override(self.timeouts()).interceptor(seen.clone());
        match caught(seen.unless_stopped(call.send())).await?? {
            Ok(output) => {
                let request_id = output.request_id().map(ToOwned::to_owned);
                let answer = content_blocks::read(output, request_id, seen.is_emulated())?;
                Ok(Answer { usage: request.believable().check(answer.usage), held: seen.held(), ..answer })
            }
            Err(error) => Err(self.client.failed(&error)),
        }
    }

    /// Asks once and waits for the answer: a long one comes as a stream, so that no gateway takes the connection for idle, and what was
    /// written before the stream broke off is kept in the draft. Where the model goes on from the beginning of an answer, it goes on from
    /// that draft. Cancel safe, though a call that has been sent is billed.
    ///
    /// Where what is called does not stream (a policy, a gateway, a model), the answer is waited for whole.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn answer(&self, request: &Prepared, draft: &Draft) -> Result<Answer, CallError> {
        if !request.is_long() || self.is_whole.load(Ordering::Relaxed) {
            return self.ask(request).await;
        }
        if let Some((begun, rest)) = draft.written().and_then(|written| request.going_on_from(&written)) {
            match self.listen(&rest, &begun, draft).await {
                Ok(answer) => return Ok(Answer { text: begun + &answer.text, ..answer }),
                // The model does not go on from there after all: it is asked from the beginning.
                Err(error) if error.class == Class::Refused => draft.clear(),
                Err(error) => return Err(error),
            }
        }
        match self.listen(request, "", draft).await {
            Err(error) if is_about_streams(&error) => {
                let answer = self.ask(request).await;
                if answer.is_ok() && !self.is_whole.swap(true, Ordering::Relaxed) {
                    info!(model = %request.model(), error = %error, "streaming is not permitted; long answers are awaited whole");
                }
                answer
            }
            answer => answer,
        }
    }

    async fn listen(&self, request: &Prepared, begun: &str, draft: &Draft) -> Result<Answer, CallError> {
        let mut streaming = self.stream(request).await?;
        let mut text = begun.to_owned();
        loop {
            match streaming.next().await {
                Ok(Some(piece)) => text.push_str(&piece),
                Ok(None) => break,
                Err(error) => {
                    draft.keep(&text);
                    return Err(error);
                }
            }
        }
        streaming.finish().await.inspect_err(|_| draft.keep(&text))
    }

    /// Asks once and returns the answer as it is written. Cancel safe, though a call that has been sent is billed.
    ///
    /// # Errors
    /// When the service refuses or fails before it begins to answer.
    pub async fn stream(&self, request: &Prepared) -> Result<Streaming, CallError> {
        let mut shortage = Shortage::default();
        loop {
            match self.begin(request).await {
                Err(error) if shortage.is_waited_out(&error, self.client.stop()).await => {}
                ended => return ended,
            }
        }
    }

    async fn begin(&self, request: &Prepared) -> Result<Streaming, CallError> {
        let seen = self.client.watch();
        let call = request.converse_stream(self.client.sdk()).customize();
        let call = call.config_override(self.timeouts()).interceptor(seen.clone());
        match caught(seen.unless_stopped(call.send())).await?? {
            Ok(output) => {
                let request_id = output.request_id().map(ToOwned::to_owned);
                let patience = (*self.attempt_timeout.get()).min(LONGEST_SILENCE);
                let room = self.client.room().clone();
                Ok(Streaming::new(output.stream, patience, request.believable(), room, request_id, seen.is_emulated()))
            }
            Err(error) => Err(self.client.failed(&error)),
        }
    }

    /// The first byte of an answer comes when the whole of it is written, so that the wait for it is the attempt's.
    fn timeouts(&self) -> Builder {
        let attempt = *self.attempt_timeout.get();
        let timeouts = TimeoutConfig::builder().read_timeout(attempt).operation_attempt_timeout(attempt).build();
        Builder::new().timeout_config(timeouts)
    }
}

/// Returns whether a call may have failed because it was for a stream: a policy names that action apart, gateways do not all know the
/// operation, and some models do not stream with tools.
fn is_about_streams(error: &CallError) -> bool {
    let message = error.message.to_lowercase();
    let is_named = message.contains("stream");
    match error.class {
        Class::Model => error.status == Some(404) && !matches!(error.code.as_deref(), Some("ResourceNotFoundException")),
        Class::Credentials | Class::Refused => is_named && error.status != Some(200),
        _ => error.status == Some(405) || error.status == Some(501),
    }
}
