//! The one SDK client of the process.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_config::BehaviorVersion;
use aws_sdk_bedrockruntime::config::http::HttpResponse;
use aws_sdk_bedrockruntime::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{
    Builder, ConfigBag, Credentials, Intercept, Region, RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_bedrockruntime::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::RequestId as _;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_types::body::SdkBody;
use tokio_util::sync::CancellationToken;

use super::connection_pool::Connections;
use super::credential_check::{API_KEY, ApiKey, unusable_variable};
use super::credentials::{self, Chain};
use super::endpoint_override::{self, Redirect};
use super::error::CallError;
use super::local_shortage::{Shortage, of_the_process};
use super::panic_guard::{Panicked, caught};
use super::room::Room;
use super::{BedrockConfig, Endpoint, ModelId, region};
use crate::domain::{Held, TokenCount};

/// A connection to Bedrock's runtime API: credentials, connection pool and endpoint, set up once. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    sdk: aws_sdk_bedrockruntime::Client,
    connections: Connections,
    place: Arc<str>,
    region: Arc<str>,
    region_from: &'static str,
    keys: Keys,
    /// After this nothing is sent.
    stop: CancellationToken,
    room: Room,
}

/// What calls are signed with.
#[derive(Debug, Clone)]
enum Keys {
    /// Made up, for an emulator inside this process.
    Emulated,
    /// A Bedrock API key out of the environment.
    ApiKey(ApiKey),
    /// What the AWS chain finds.
    Chain(Chain),
}

pub use super::credentials::Holder;
pub use super::endpoint_override::{NotAUrl, redirected_by_variable};
pub use super::region::NotARegion;

/// Says why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither configuration nor environment names a region.
    #[error("no AWS region is configured")]
    NoRegion,
    /// The environment or the profile redirects the calls to what is no URL, or to one that holds a password.
    #[error(transparent)]
    Redirect(#[from] NotAUrl),
    /// The region that somebody names cannot be one.
    #[error("the AWS region in {from} is not valid")]
    BadRegion {
        /// Who names it: a key, a variable, the profile or the instance.
        from: &'static str,
        /// Why it is none.
        source: NotARegion,
    },
    /// A variable cannot be used that the SDK uses for each call.
    #[error("the variable {0} cannot be used")]
    Variable(&'static str),
    /// AWS's own variants of an endpoint are asked for, beside an endpoint that is somebody's own.
    #[error("{0} endpoints of AWS are configured, but `bedrock.endpoint` or AWS_ENDPOINT_URL sends the calls elsewhere")]
    TwoEndpoints(&'static str),
    /// The SDK cannot read what is configured for it.
    #[error("the configuration of AWS cannot be read")]
    Sdk(#[from] Panicked),
}

impl ConnectError {
    /// Returns what to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoRegion => "set `bedrock.region` in pipeline.toml, AWS_REGION, or `region` in the AWS profile",
            Self::BadRegion { .. } => {
                "write the region's code there, in small letters, digits and hyphens (us-east-1), or leave it out to have it found \
                 elsewhere"
            }
            Self::Variable("AWS_EXECUTION_ENV") => {
                "unset it: it is a part of a header, which has no line breaks and nothing outside ASCII"
            }
            Self::Redirect(_) => "write the URL there as http://host:port or https://host, or unset it to call AWS",
            Self::Variable(_) => "give a URL that begins with http:// or https://, or unset it",
            Self::TwoEndpoints("FIPS") => {
                "leave one of them out: AWS_USE_FIPS_ENDPOINT (`use_fips_endpoint` in the AWS profile) set to false, or \
                 `bedrock.endpoint` and AWS_ENDPOINT_URL; an endpoint of one's own that is FIPS is so by its URL alone"
            }
            Self::TwoEndpoints(_) => {
                "leave one of them out: AWS_USE_DUALSTACK_ENDPOINT (`use_dualstack_endpoint` in the AWS profile) set to false, or \
                 `bedrock.endpoint` and AWS_ENDPOINT_URL"
            }
            Self::Sdk(_) => "check the variables that begin with AWS_, and the files under ~/.aws",
        }
    }
}

/// How an emulator is reached that runs inside this process.
#[derive(Debug, Clone)]
pub struct Emulated {
    /// Its URL on loopback.
    pub url: String,
}

/// What a model answered.
pub(crate) struct RawResponse {
    pub(crate) body: Blob,
    pub(crate) request_id: Option<String>,
    pub(crate) input_tokens: Option<TokenCount>,
    pub(crate) emulated: bool,
}

impl Client {
    /// Loads credentials' sources and region and sets the client up. Sends nothing, but on AWS machines may ask the instance
    /// metadata service for the region.
    ///
    /// With an emulator inside the process nothing of the environment is read: it gets made-up credentials.
    ///
    /// # Errors
    /// When no region can be found, or what names region or endpoint cannot work.
    pub async fn connect(config: &BedrockConfig, emulated: Option<&Emulated>) -> Result<Self, ConnectError> {
        let mut url = match (&config.endpoint, emulated) {
            (_, Some(emulated)) => Some(emulated.url.clone()),
            (Some(Endpoint::Url(url)), None) => Some(url.clone()),
            (Some(Endpoint::Emulator) | None, None) => None,
        };
        let mut redirect = None;
        // Roles, sign-ins and metadata services have connections of AWS's: an endpoint of plain HTTP says nothing of theirs.
        let of_aws = Connections::to(None);
        let (builder, region_from, keys) = if emulated.is_some() {
            let credentials = Credentials::new("EMULATOR", "emulator", None, None, "riverbed's emulator");
            let builder = Builder::new()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::new(config.region.clone().unwrap_or_else(|| "us-east-1".into())))
                .credentials_provider(credentials);
            (builder, "the built-in emulator", Keys::Emulated)
        } else {
            if let Some(variable) = unusable_variable() {
                return Err(ConnectError::Variable(variable));
            }
            let aws = SharedHttpClient::new(of_aws.clone());
            let (region, from) = caught(region::find(config, aws.clone())).await??.ok_or(ConnectError::NoRegion)?;
            let chain = Chain::new(config, region.clone(), aws.clone());
            let loader = credentials::loader(aws, region, config.profile.as_ref());
            let shared = caught(Box::pin(loader.credentials_provider(chain.clone()).load())).await?;
            if url.is_none() {
                redirect = endpoint_override::find(&shared)?;
                url = redirect.as_ref().map(|redirect| redirect.url.clone());
            }
            let variants = [("FIPS", shared.use_fips()), ("dual-stack", shared.use_dual_stack())];
            if let Some((variant, _)) = variants.into_iter().find(|(_, wanted)| url.is_some() && *wanted == Some(true)) {
                return Err(ConnectError::TwoEndpoints(variant));
            }
            let mut builder = Builder::from(&shared).identity_cache(chain.cache());
            builder.set_endpoint_url(None);
            // Who names a profile or a role in the configuration means it, whatever the environment holds; and an empty variable
            // is no key, though the SDK takes it for one.
            let is_named = config.profile.is_some() || config.role_arn.is_some();
            match ApiKey::of_environment() {
                Some(key) if !is_named => {
                    let builder =
                        builder.token_provider(key.clone()).auth_scheme_preference([AuthSchemeId::from("httpBearerAuth")]);
                    (builder, from, Keys::ApiKey(key))
                }
                None if std::env::var_os(API_KEY).is_none() => (builder, from, Keys::Chain(chain)),
                _ => (builder.auth_scheme_preference([AuthSchemeId::from("sigv4")]), from, Keys::Chain(chain)),
            }
        };
        let http = url.as_deref().map_or(of_aws, |url| Connections::to(Some(url)));
        // Retries and timeouts are here and not on the loader, which would hand them to its own STS and SSO clients too.
        // Stalled streams need no watch of their own: an attempt's time is bounded, and bodies are small.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            // A service that is going to answer begins to well before the attempt's time is over; a dead connection never does.
            .read_timeout(config.attempt_timeout / 2)
            .operation_attempt_timeout(config.attempt_timeout)
            .build();
        http.bound(config.max_in_flight);
        let mut builder = builder
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        builder.set_endpoint_url(url.clone());
        let sdk = builder.build();
        let region: Arc<str> = sdk.region().map_or("", Region::as_ref).into();
        let place = match (emulated, url, redirect) {
            (Some(_), _, _) => "the built-in emulator".into(),
            (None, _, Some(Redirect { url, by })) => format!("{url} ({region}), as {by} says").into(),
            (None, Some(url), None) => format!("{url} ({region})").into(),
            (None, None, None) => format!("AWS, {region}").into(),
        };
        let (sdk, stop) = (aws_sdk_bedrockruntime::Client::from_conf(sdk), CancellationToken::new());
        Ok(Self { sdk, connections: http, place, region, region_from, keys, stop, room: Room::default() })
    }

    /// Sends nothing more after `stop`: a call that still waits for credentials then is not made, one that is on its way is waited for.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Bounds the connections to Bedrock, which begin at `max-in-flight`: for calls that are bounded by themselves, one model's beside
    /// another's, it is the sum.
    pub fn bound_connections(&self, most: NonZeroUsize) {
        self.connections.bound(most);
    }

    /// Says how many vectors an answer holds at most, and of how many numbers: no more is read than those take.
    pub(crate) fn expect_vectors(&self, vectors: usize, numbers: u32) {
        self.connections.expect_vectors(vectors, numbers);
    }

    /// Returns where the calls go, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Returns the AWS region and its source: a key, a variable, the profile or the instance.
    #[must_use]
    pub fn region(&self) -> (&str, &'static str) {
        (&self.region, self.region_from)
    }

    /// Finds the credentials that calls are signed with, and says whose they are. Asks over the network where their source does.
    ///
    /// # Errors
    /// When no source gives any, or one is broken.
    pub async fn holder(&self) -> Result<Holder, CallError> {
        let named = |source: &str| Holder { source: source.to_owned(), access_key_id: None, account: None, expires: None };
        match &self.keys {
            Keys::Emulated => Ok(named("made up for the built-in emulator")),
            Keys::ApiKey(key) => {
                key.check().map_err(|error| CallError::no_credentials(&error))?;
                Ok(named("the Bedrock API key in AWS_BEARER_TOKEN_BEDROCK"))
            }
            Keys::Chain(chain) => chain.holder().await.map_err(|error| CallError::no_credentials(&error)),
        }
    }

    /// Returns the SDK's client, for the calls that are made beside this file.
    pub(crate) fn sdk(&self) -> &aws_sdk_bedrockruntime::Client {
        &self.sdk
    }

    /// Calls `InvokeModel` once.
    pub(crate) async fn invoke(&self, model: &ModelId, body: Vec<u8>) -> Result<RawResponse, CallError> {
        let mut shortage = Shortage::default();
        loop {
            match self.send(model, body.clone()).await {
                Err(error) if shortage.is_waited_out(&error, &self.stop).await => {}
                ended => return ended,
            }
        }
    }

    async fn send(&self, model: &ModelId, body: Vec<u8>) -> Result<RawResponse, CallError> {
        let seen = self.watch();
        let call = self
            .sdk
            .invoke_model()
            .model_id(model.as_str())
            // Without these two the SDK says application/octet-stream.
            .content_type("application/json")
            .accept("application/json")
            .body(Blob::new(body))
            .customize()
            .interceptor(seen.clone());
        match caught(seen.unless_stopped(call.send())).await?? {
            Ok(output) => {
                let headers = seen.headers.get();
                Ok(RawResponse {
                    request_id: output.request_id().map(ToOwned::to_owned),
                    body: output.body,
                    input_tokens: headers.and_then(|headers| headers.input_tokens),
                    emulated: headers.is_some_and(|headers| headers.emulated),
                })
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Returns the room that there is for long answers.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Returns the stop after which nothing more is sent.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns the observer of one call: its headers, and whether it was sent.
    pub(crate) fn watch(&self) -> Seen {
        Seen { headers: Arc::default(), is_sent: Arc::default(), stop: self.stop.clone(), room: None, held: Arc::default() }
    }

    /// Returns what a failed call means. Where the service refuses the keys, the next call asks for others.
    pub(crate) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> CallError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let error = of_the_process(CallError::of(error));
        if let Keys::Chain(chain) = &self.keys
            && error.is_about_keys()
        {
            chain.forget();
        }
        error
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What the SDK's outputs do not show of a call: headers, and whether it has been sent.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    headers: Arc<OnceLock<Headers>>,
    is_sent: Arc<AtomicBool>,
    pub(crate) stop: CancellationToken,
    /// What a long answer takes, where it is one that is measured.
    room: Option<Room>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Headers {
    input_tokens: Option<TokenCount>,
    emulated: bool,
}

impl Seen {
    /// Has a long answer take room.
    pub(crate) fn measured(self, room: &Room) -> Self {
        Self { room: Some(room.clone()), ..self }
    }

    /// Returns what holds the room that the answer has taken.
    pub(crate) fn held(&self) -> Held {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether the answer bears the emulator's mark.
    pub(crate) fn is_emulated(&self) -> bool {
        self.headers.get().is_some_and(|headers| headers.emulated)
    }

    /// Waits for a call, unless it has not been sent when there is a stop.
    pub(crate) async fn unless_stopped<T>(&self, call: impl Future<Output = T>) -> Result<T, CallError> {
        let stopped = async {
            self.stop.cancelled().await;
            if self.is_sent.load(Relaxed) {
                pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            answer = call => Ok(answer),
            () = stopped => Err(CallError::stopped()),
        }
    }
}

impl Intercept for Seen {
    fn name(&self) -> &'static str {
        "SeenHeaders"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.stop.is_cancelled() {
            return Err(CallError::stopped().into());
        }
        self.is_sent.store(true, Relaxed);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(room) = &self.room {
            let body = context.response_mut().body_mut();
            let read = std::mem::replace(body, SdkBody::taken());
            *body = room.measure(read, Arc::clone(&self.held));
        }
        Ok(())
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
        self.headers.get_or_init(|| Headers {
            input_tokens: tokens.map(TokenCount::new),
            emulated: headers.get("x-riverbed-emulator").is_some(),
        });
        Ok(())
    }
}
