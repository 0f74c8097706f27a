//! Amazon Bedrock's runtime: one client for the life of the process, each model family's own bodies, one layer of retries.

pub mod client;
pub mod embed;
pub mod error;
pub mod model_id;
pub mod price;
pub mod retry;

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use client::{Client, ConnectError};
pub use embed::Embedder;
pub use error::{CallError, Class, Disposition};
pub use model_id::ModelId;

/// `[bedrock]`: where the models are and how hard to ask them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where to send the calls: `"emulator"` (inside this process, no account needed), a URL, or absent for AWS.
    pub endpoint: Option<Endpoint>,
    /// AWS region, as `us-east-1`; absent: from the environment or the profile.
    pub region: Option<String>,
    /// Profile in the shared AWS configuration; absent: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// Calls in flight at once. A bound on memory and connections; above the account's quota it only adds throttling.
    pub max_in_flight: NonZeroUsize,
    /// How long to wait for a connection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// How long one attempt of a call may take, from sending to the last byte of the answer.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub attempt_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            profile: None,
            max_in_flight: NonZeroUsize::new(64).expect("64 is not zero"),
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

impl TryFrom<String> for Endpoint {
    type Error = NotAnEndpoint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "emulator" {
            return Ok(Self::Emulator);
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
