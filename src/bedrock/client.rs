//! The one SDK client of the process.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_config::BehaviorVersion;
use aws_config::identity::IdentityCache;
use aws_sdk_bedrockruntime::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{
    Builder, ConfigBag, Credentials, Intercept, Region, RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_bedrockruntime::error::BoxError;
use aws_sdk_bedrockruntime::operation::RequestId as _;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

use super::error::CallError;
use super::{Config, Endpoint, ModelId};
use crate::model::TokenCount;

/// A connection to Bedrock's runtime API: credentials, connection pool and endpoint, set up once. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    sdk: aws_sdk_bedrockruntime::Client,
    place: Arc<str>,
}

/// Says why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither configuration nor environment names a region.
    #[error("no AWS region is configured")]
    NoRegion,
}

/// How an emulator is reached that runs inside this process.
#[derive(Debug, Clone)]
pub struct Emulated {
    /// Its URL on loopback.
    pub url: String,
}

/// What a model answered.
pub(super) struct Answer {
    pub(super) body: Blob,
    pub(super) request_id: Option<String>,
    pub(super) input_tokens: Option<TokenCount>,
    pub(super) emulated: bool,
}

impl Client {
    /// Loads credentials' sources and region and sets the client up. Sends nothing, but on AWS machines may ask the instance
    /// metadata service for the region.
    ///
    /// With an emulator inside the process nothing of the environment is read: it gets made-up credentials.
    ///
    /// # Errors
    /// When no region can be found.
    pub async fn connect(config: &Config, emulated: Option<&Emulated>) -> Result<Self, ConnectError> {
        let url = match (&config.endpoint, emulated) {
            (_, Some(emulated)) => Some(emulated.url.clone()),
            (Some(Endpoint::Url(url)), None) => Some(url.clone()),
            (Some(Endpoint::Emulator) | None, None) => None,
        };
        let http = http_client(config, url.as_deref());
        let builder = if emulated.is_some() {
            let credentials = Credentials::new("EMULATOR", "emulator", None, None, "riverbed's emulator");
            Builder::new()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::new(config.region.clone().unwrap_or_else(|| "us-east-1".into())))
                .credentials_provider(credentials)
                .http_client(http)
        } else {
            let identities = IdentityCache::lazy().load_timeout(std::time::Duration::from_secs(30)).build();
            let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http).identity_cache(identities);
            if let Some(region) = &config.region {
                loader = loader.region(Region::new(region.clone()));
            }
            if let Some(profile) = &config.profile {
                loader = loader.profile_name(profile);
            }
            let shared = loader.load().await;
            if shared.region().is_none() {
                return Err(ConnectError::NoRegion);
            }
            Builder::from(&shared)
        };
        // Retries and timeouts stand here and not on the loader, which would hand them to its own STS and SSO clients too.
        // Stalled streams need no watch of their own: an attempt's time is bounded, and bodies are small.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .operation_attempt_timeout(config.attempt_timeout)
            .build();
        let mut builder = builder
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(url) = &url {
            builder = builder.endpoint_url(url);
        }
        let sdk = builder.build();
        let region = sdk.region().map_or("", Region::as_ref);
        let place = match (emulated, url) {
            (Some(_), _) => "the built-in emulator".into(),
            (None, Some(url)) => format!("{url} ({region})").into(),
            (None, None) => format!("AWS, {region}").into(),
        };
        Ok(Self { sdk: aws_sdk_bedrockruntime::Client::from_conf(sdk), place })
    }

    /// Returns where the calls go, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Calls `InvokeModel` once.
    pub(super) async fn invoke(&self, model: &ModelId, body: Vec<u8>) -> Result<Answer, CallError> {
        let seen = Seen::default();
        let sent = self
            .sdk
            .invoke_model()
            .model_id(model.as_str())
            // Without these two the SDK says application/octet-stream.
            .content_type("application/json")
            .accept("application/json")
            .body(Blob::new(body))
            .customize()
            .interceptor(seen.clone())
            .send()
            .await;
        match sent {
            Ok(output) => {
                let headers = seen.0.get();
                Ok(Answer {
                    request_id: output.request_id().map(ToOwned::to_owned),
                    body: output.body,
                    input_tokens: headers.and_then(|headers| headers.input_tokens),
                    emulated: headers.is_some_and(|headers| headers.emulated),
                })
            }
            Err(error) => Err(CallError::of(&error)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("place", &self.place).finish_non_exhaustive()
    }
}

/// One connection pool for everything, the credential services included.
fn http_client(config: &Config, url: Option<&str>) -> SharedHttpClient {
    // Gateways forget idle connections after 350 s without telling; hyper's 90 s are well within that.
    let builder = HttpBuilder::new().pool_max_idle_per_host(config.max_in_flight.get());
    if url.is_some_and(|url| url.starts_with("http://")) {
        // No certificates are loaded for plain HTTP: that alone takes longer than the rest of a start.
        builder.build_http()
    } else {
        builder.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_https()
    }
}

/// Headers that `InvokeModelOutput` does not show.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<OnceLock<Headers>>);

#[derive(Debug)]
struct Headers {
    input_tokens: Option<TokenCount>,
    emulated: bool,
}

impl Intercept for Seen {
    fn name(&self) -> &'static str {
        "SeenHeaders"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        let tokens = headers.get("x-amzn-bedrock-input-token-count").and_then(|count| count.parse().ok());
        // One attempt a call, so nothing has been set before.
        self.0.get_or_init(|| Headers {
            input_tokens: tokens.map(TokenCount::new),
            emulated: headers.get("x-riverbed-emulator").is_some(),
        });
        Ok(())
    }
}
