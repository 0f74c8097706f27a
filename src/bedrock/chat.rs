//! Questions to answers: one attempt of Converse, whole or as a stream.
//!
//! What is asked comes from [`messages`](super::messages), which has refused beforehand what would be refused.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use riverbed::bedrock::chat::{Chat, Prepared};
//! use riverbed::bedrock::messages::{Conversation, Settings, Traits, translate};
//! use riverbed::bedrock::{Client, Config};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = "us.amazon.nova-micro-v1:0".to_owned().try_into()?;
//! let conversation = Conversation::ask(Some("Answer in one word.".into()), "What is an otter?");
//! let request = translate(&conversation, &model, Traits::resolve(&model, None)?, &Settings::default())?;
//!
//! let chat = Chat::new(Client::connect(&Config::default(), None).await?, Duration::from_secs(120));
//! let answer = chat.ask(&Prepared::new(request, riverbed::chunk::tokens)).await?;
//! println!("{} ({})", answer.text, answer.stop_reason);
//! # Ok(())
//! # }
//! ```

pub mod answer;
pub mod guardrail;
pub mod prompt;

mod blocks;
mod document;
mod prepared;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_bedrockruntime::config::Builder;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::operation::RequestId as _;

use super::client::{Client, Seen};
use super::error::CallError;
use super::panics::caught;
use super::shortage::Shortage;
use crate::model::Setting;

pub use answer::{Answer, Ending, ToolCall, Usage};
pub use prepared::Prepared;
pub use prompt::Prompt;
pub use stream::Streaming;

/// Asks models through Converse. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chat {
    client: Client,
    attempt_timeout: Arc<Setting<Duration>>,
}

impl Chat {
    /// Asks through this client.
    ///
    /// `attempt_timeout` bounds one attempt from sending to the last byte of the answer, and in a stream the wait for each piece. An
    /// answer comes whole or not at all, so it must leave the model the time to write `max_tokens`: some 20 to 100 tokens a second.
    #[must_use]
    pub fn new(client: Client, attempt_timeout: Duration) -> Self {
        Self { client, attempt_timeout: Arc::new(Setting::new(attempt_timeout)) }
    }

    /// Bounds the attempts from now on, those of clones too.
    pub fn set_attempt_timeout(&self, attempt_timeout: Duration) {
        self.attempt_timeout.set(attempt_timeout);
    }

    /// Asks once and waits for the whole answer. Cancel safe, though a call that has been sent is billed.
    ///
    /// # Errors
    /// When the service refuses or fails, or its answer is none.
    pub async fn ask(&self, request: &Prepared) -> Result<Answer, CallError> {
        let mut shortage = Shortage::default();
        loop {
            match self.send(request).await {
                Err(error) if shortage.is_waited_out(&error).await => {}
                ended => return ended,
            }
        }
    }

    async fn send(&self, request: &Prepared) -> Result<Answer, CallError> {
        let seen = Seen::default();
        let call = request.converse(self.client.sdk()).customize();
        let call = call.config_override(self.timeouts()).interceptor(seen.clone());
        match caught(call.send()).await? {
            Ok(output) => {
                let request_id = output.request_id().map(ToOwned::to_owned);
                blocks::read(output, request_id, seen.is_emulated())
            }
            Err(error) => Err(self.client.failed(&error)),
        }
    }

    /// Asks once and returns the answer as it is written. Cancel safe, though a call that has been sent is billed.
    ///
    /// # Errors
    /// When the service refuses or fails before it begins to answer.
    pub async fn stream(&self, request: &Prepared) -> Result<Streaming, CallError> {
        let mut shortage = Shortage::default();
        loop {
            match self.begin(request).await {
                Err(error) if shortage.is_waited_out(&error).await => {}
                ended => return ended,
            }
        }
    }

    async fn begin(&self, request: &Prepared) -> Result<Streaming, CallError> {
        let seen = Seen::default();
        let call = request.converse_stream(self.client.sdk()).customize();
        let call = call.config_override(self.timeouts()).interceptor(seen.clone());
        match caught(call.send()).await? {
            Ok(output) => {
                let request_id = output.request_id().map(ToOwned::to_owned);
                Ok(Streaming::new(output.stream, *self.attempt_timeout.get(), request_id, seen.is_emulated()))
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
