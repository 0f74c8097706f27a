//! Credentials: the AWS chain, a profile, or a role assumed with either; cached until they are rejected.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::identity::IdentityCache;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_bedrockruntime::config::{
    ConfigBag, ResolveCachedIdentity, RuntimeComponents, SharedHttpClient, SharedIdentityCache,
};
use aws_smithy_runtime_api::client::identity::{IdentityFuture, SharedIdentityResolver};

use super::credential_check::{Variables, checked, provider};
use super::panic_guard::caught;
use super::process::{Found, Role};
use super::{BedrockConfig, ExternalId, RoleArn};

/// How long a look for credentials may take: roles and metadata services are asked over the network, a few times.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names riverbed's sessions in the account's trail of calls.
const SESSION: &str = "riverbed";

/// Returns what loads the SDK's settings. What riverbed does not use is given, so that it is not read: over a `retry_mode` that it does
/// not know, as boto3's `legacy`, the SDK panics.
pub(super) fn loader(http: SharedHttpClient, region: Region, profile: Option<&String>) -> ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http).region(region);
    let loader = loader.retry_config(RetryConfig::standard());
    match profile {
        Some(profile) => loader.profile_name(profile),
        None => loader,
    }
}

/// Finds credentials. Keeps what it has read of files and variables until the credentials are refused or cannot be had: what is
/// then asked for is read again, so that a daemon sees what a person has put right.
#[derive(Debug, Clone)]
pub(super) struct Chain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    profile: Option<String>,
    role: Option<(RoleArn, Option<ExternalId>)>,
    region: Region,
    http: SharedHttpClient,
    read: Mutex<Option<SharedCredentialsProvider>>,
    cache: CredentialsCache,
}

/// Whose credentials are used, as far as they tell without another call. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Where they come from.
    pub source: String,
    /// The public half of the key; a Bedrock API key has none.
    pub access_key_id: Option<String>,
    /// The account, where the source tells.
    pub account: Option<String>,
    /// When they run out, where they do.
    pub expires: Option<SystemTime>,
}

impl Chain {
    pub(super) fn new(config: &BedrockConfig, region: Region, http: SharedHttpClient) -> Self {
        let role = config.role_arn.clone().map(|role| (role, config.external_id.clone()));
        let (profile, read, cache) = (config.profile.clone(), Mutex::default(), CredentialsCache::default());
        Self(Arc::new(Inner { profile, role, region, http, read, cache }))
    }

    /// Returns the credentials in use, for the SDK to ask.
    pub(super) fn cache(&self) -> impl ResolveCachedIdentity + use<> {
        InUse(Arc::clone(&self.0))
    }

    /// Forgets credentials that were refused, and what they were made of.
    pub(super) fn forget(&self) {
        *self.read() = None;
        self.0.cache.forget();
    }

    /// Finds credentials and says whose they are.
    ///
    /// # Errors
    /// When no source gives any, or one is broken.
    pub(super) async fn holder(&self) -> Result<Holder, CredentialsError> {
        let found = tokio::time::timeout(PATIENCE, self.find()).await;
        let found = found.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(PATIENCE)))?;
        Ok(Holder {
            source: self.source(&found),
            access_key_id: Some(found.access_key_id().to_owned()),
            account: found.account_id().map(|account| account.as_str().to_owned()),
            expires: found.expiry(),
        })
    }

    /// Names the source for people.
    fn source(&self, found: &Credentials) -> String {
        let name = self.0.profile.clone().or_else(|| std::env::var("AWS_PROFILE").ok()).unwrap_or_else(|| "default".into());
        let of_profile = |what: &str| format!("{what} of the AWS profile `{name}`");
        match provider(found).as_str() {
            _ if let Some((role, _)) = &self.0.role => format!("the role {role} of `bedrock.role-arn`"),
            "EnvironmentVariable" => "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into(),
            "ProfileFile" => of_profile("the keys"),
            "AssumeRoleProvider" => of_profile("the role"),
            "CredentialProcess" => of_profile("the credential process"),
            "SSO" => of_profile("the sign-in (SSO)"),
            "Login" => of_profile("the sign-in (`aws login`)"),
            "WebIdentityToken" => "a web identity".into(),
            "EcsContainer" => "the container's role".into(),
            "IMDSv2" => "the instance's role".into(),
            other => other.to_owned(),
        }
    }

    async fn find(&self) -> provider::Result {
        let read = self.read().clone();
        let chain = if let Some(chain) = read {
            chain
        } else {
            let chain = caught(Box::pin(self.build())).await.map_err(CredentialsError::unhandled)?;
            *self.read() = Some(chain.clone());
            chain
        };
        let found = checked(&chain).await;
        if found.is_err() {
            *self.read() = None;
        }
        found
    }

    async fn build(&self) -> SharedCredentialsProvider {
        let Inner { profile, role, region, http, .. } = &*self.0;
        let aws = loader(http.clone(), region.clone(), profile.as_ref()).no_credentials().load().await;
        let source = self.source_of_keys(&aws).await;
        let Some((role, external_id)) = role else { return source };
        let mut taken_on =
            AssumeRoleProvider::builder(role.as_str()).session_name(SESSION).region(region.clone()).configure(&aws);
        if let Some(id) = external_id {
            taken_on = taken_on.external_id(id.as_str());
        }
        SharedCredentialsProvider::new(taken_on.build_from_provider(source).await)
    }

    /// Returns the SDK's default chain, link by link, with each link's keys checked before the next one signs with them; or what the
    /// profile of the configuration gives.
    async fn source_of_keys(&self, aws: &SdkConfig) -> SharedCredentialsProvider {
        let Inner { profile, region, http, .. } = &*self.0;
        let mut of = ProviderConfig::without_region()
            .with_region(Some(region.clone()))
            .with_http_client(http.clone())
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_retry_config(RetryConfig::standard())
            .with_use_fips(aws.use_fips())
            .with_use_dual_stack(aws.use_dual_stack());
        if let Some(timeouts) = aws.timeout_config() {
            of = of.with_timeout_config(timeouts.clone());
        }
        // Reads the profiles for all links: clients of STS that are made before know nothing of an endpoint in them.
        let _read = ProfileFileRegionProvider::builder().configure(&of).build().region().await;
        let container = || Checked(EcsCredentialsProvider::builder().configure(&of).build());
        let instance = || Checked(ImdsCredentialsProvider::builder().configure(&of).build());
        // The names are those of `credential_source` in a profile.
        let keys = ProfileFileCredentialsProvider::builder()
            .configure(&of)
            .with_custom_provider("Environment", Variables)
            .with_custom_provider("EcsContainer", container())
            .with_custom_provider("Ec2InstanceMetadata", instance());
        let of_command = match Found::of(profile.as_deref()).await {
            Some(found) => Some(self.source_of_command(found, aws).await),
            None => None,
        };
        // Not the chain, in which variables come first: who names a profile means it.
        if let Some(profile) = profile {
            let keys = of_command.unwrap_or_else(|| checked_source(keys.profile_name(profile).build()));
            return SharedCredentialsProvider::new(OfProfile { name: profile.clone(), keys });
        }
        let of_profile = of_command.unwrap_or_else(|| checked_source(keys.build()));
        let identity = WebIdentityTokenCredentialsProvider::builder().configure(&of).build();
        let chain = CredentialsProviderChain::first_try("Environment", Variables)
            .or_else("Profile", of_profile)
            .or_else("WebIdentityToken", Checked(identity))
            .or_else("EcsContainer", container())
            .or_else("Ec2InstanceMetadata", instance());
        SharedCredentialsProvider::new(chain)
    }

    /// Returns what a profile's command gives, or the roles that are taken on with it.
    async fn source_of_command(&self, found: Found, aws: &SdkConfig) -> SharedCredentialsProvider {
        let mut source = checked_source(found.process);
        for Role { arn, external_id, session } in found.roles {
            let session = session.unwrap_or_else(|| SESSION.to_owned());
            let mut taken_on =
                AssumeRoleProvider::builder(arn).session_name(session).region(self.0.region.clone()).configure(aws);
            if let Some(id) = external_id {
                taken_on = taken_on.external_id(id);
            }
            source = checked_source(taken_on.build_from_provider(source).await);
        }
        source
    }

    fn read(&self) -> MutexGuard<'_, Option<SharedCredentialsProvider>> {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source whose keys are checked before anything is signed with them.
#[derive(Debug)]
struct Checked<P>(P);

impl<P: ProvideCredentials> ProvideCredentials for Checked<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(checked(&self.0))
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.0.fallback_on_interrupt()
    }
}

fn checked_source(source: impl ProvideCredentials + 'static) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Checked(source))
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.find())
    }
}

/// A profile's credentials. The SDK skips a profile that gives none, and says nothing about it.
#[derive(Debug)]
struct OfProfile {
    name: String,
    keys: SharedCredentialsProvider,
}

/// Says that a profile is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the AWS profile `{0}` is not there, or gives no credentials")]
struct NoSuchProfile(String);

impl OfProfile {
    async fn find(&self) -> provider::Result {
        self.keys.provide_credentials().await.map_err(|error| match error {
            CredentialsError::CredentialsNotLoaded(_) => CredentialsError::provider_error(NoSuchProfile(self.name.clone())),
            other => other,
        })
    }
}

impl ProvideCredentials for OfProfile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.find())
    }
}

/// The SDK's cache, which renews what is about to run out and looks once for all who wait; it can be emptied.
struct CredentialsCache(RwLock<SharedIdentityCache>);

impl CredentialsCache {
    fn forget(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = empty();
    }
}

fn empty() -> SharedIdentityCache {
    IdentityCache::lazy().load_timeout(PATIENCE).build()
}

impl Default for CredentialsCache {
    fn default() -> Self {
        Self(RwLock::new(empty()))
    }
}

impl fmt::Debug for CredentialsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

#[derive(Debug)]
struct InUse(Arc<Inner>);

impl ResolveCachedIdentity for InUse {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let cache = self.0.cache.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        IdentityFuture::new(async move { cache.resolve_cached_identity(resolver, components, config).await })
    }
}
