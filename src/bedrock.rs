//! Transport to Amazon Bedrock: one client for the life of the process, its credentials and endpoints, and what a failure means.
//!
//! What is in a call is decided above, by the families in `embed` and by `chat`. Whether and when it is made is decided by `throttle`.
//! No retry of the SDK is on.
//!
//! It works alone: this embeds two texts, here through the emulator, and through AWS with `None` in its place.
//!
//! ```
//! use riverbed::bedrock::{Client, BedrockConfig, client::Emulated};
//! use riverbed::embed::{self, Embedder};
//! use riverbed::emulator::{self, Emulator};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::start("127.0.0.1:0".parse()?, emulator::EmulatorConfig::default()).await?;
//! let emulated = Emulated { url: emulator.endpoint() };
//! let client = Client::connect(&BedrockConfig::default(), Some(&emulated)).await?;
//!
//! let model = "us.cohere.embed-v4:0".to_owned().try_into()?;
//! let settings = embed::Settings::resolve(&embed::EmbedConfig { model, dimensions: Some(256), ..Default::default() })?;
//! let answer = Embedder::new(client, settings).embed(&["an otter", "a ledger"]).await?;
//!
//! let first: Vec<f32> = serde_json::from_str(answer.vectors[0].as_raw().get())?;
//! assert_eq!((answer.vectors.len(), first.len()), (2, 256));
//! # Ok(())
//! # }
//! ```

pub(crate) mod advice;
mod assume_role;
pub mod client;
mod connection_pool;
mod credential_check;
mod credentials;
mod endpoint_override;
pub mod error;
pub(crate) mod local_shortage;
pub mod model_id;
pub(crate) mod panic_guard;
mod process;
mod region;
mod response_limit;
pub(crate) mod room;

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use advice::ModelKey;
pub use assume_role::{ExternalId, RoleArn};
pub use client::{Client, ConnectError};
pub use error::{CallError, Class, Disposition, was_a_condition};
pub use model_id::ModelId;
pub use room::{Room, SHORT};

/// Returns the region that the environment names, if it names one.
#[must_use]
pub fn region_of_environment() -> Option<String> {
    region::of_environment().ok()?.map(|(region, _)| region)
}

/// `[bedrock]`: where the models are and how hard to ask them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BedrockConfig {
    /// Where calls go: `"emulator"` (in this process, no account needed) or a URL. Absent: AWS.
    pub endpoint: Option<Endpoint>,
    /// AWS region, such as `us-east-1`. Absent: from the environment or the profile.
    #[serde(deserialize_with = "region::deserialize")]
    pub region: Option<String>,
    /// Profile of the shared AWS configuration with the credentials; it takes precedence over variables. Absent: the AWS chain
    /// with `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// Role to assume through STS for all calls, with the credentials found. It is assumed again before it expires.
    pub role_arn: Option<RoleArn>,
    /// External id to send when the role is assumed, if its owner requires one.
    pub external_id: Option<ExternalId>,
    /// Calls in flight at once. It limits memory and connections; riverbed finds the best rate by itself.
    pub max_in_flight: NonZeroUsize,
    /// Most requests per minute, sent at even intervals. Absent: riverbed discovers the quota.
    pub requests_per_minute: Option<NonZeroU64>,
    /// Most tokens per minute, estimated before a call and corrected by the billed number. Absent: riverbed discovers the quota.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Time limit for opening a connection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// Time limit of one attempt of a call, from sending to the last byte of the response.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub attempt_timeout: Duration,
}

impl Default for BedrockConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            profile: None,
            role_arn: None,
            external_id: None,
            max_in_flight: NonZeroUsize::new(64).expect("64 is not zero"),
            requests_per_minute: None,
            tokens_per_minute: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_mins(1),
        }
    }
}

/// Where calls go, when not to AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Endpoint {
    /// The emulator, inside this process.
    Emulator,
    /// A server that speaks Bedrock's runtime API: a VPC endpoint, a gateway, an emulator elsewhere.
    Url(String),
}

/// Says why a text is not an endpoint.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an endpoint: write \"emulator\", or a URL that begins with http:// or https://, or leave it out for AWS")]
pub struct NotAnEndpoint(String);

impl Endpoint {
    /// Returns whether it is a URL with a name or a password in it.
    #[must_use]
    pub fn has_user_information(&self) -> bool {
        matches!(self, Self::Url(url) if has_user_information(url))
    }
}

/// Returns whether something comes before an `@` where a URL names its host. The SDK would not send it, and every log would hold it.
pub(crate) fn has_user_information(url: &str) -> bool {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

impl TryFrom<String> for Endpoint {
    type Error = NotAnEndpoint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "emulator" {
            return Ok(Self::Emulator);
        }
        // A password must not be repeated, as what parses a file would with the line that it refuses: the configuration's own checks do.
        if has_user_information(&text) {
            return Ok(Self::Url(text));
        }
        match text.parse::<http::Uri>() {
            Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()) => {
                Ok(Self::Url(text))
            }
            _ => Err(NotAnEndpoint(text)),
        }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Emulator => "emulator".into(),
            Endpoint::Url(url) => url,
        }
    }
}
