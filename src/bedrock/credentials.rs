//! Credentials: the AWS chain, or a profile, or a role taken on with either; and the ones in use, until they are refused.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_bedrockruntime::config::{
    ConfigBag, ResolveCachedIdentity, RuntimeComponents, SharedHttpClient, SharedIdentityCache,
};
use aws_smithy_runtime_api::client::identity::{IdentityFuture, SharedIdentityResolver};

use super::{Config, ExternalId, RoleArn};

/// How long a look for credentials may take: roles and metadata services are asked over the network, a few times.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names riverbed's sessions in the account's trail of calls.
const SESSION: &str = "riverbed";

/// The variable that holds a Bedrock API key.
pub(super) const API_KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// Finds credentials. Keeps what it has read of files and variables until the credentials are refused or cannot be had: what is
/// then asked for is read anew, so that a daemon sees what a person has put right.
#[derive(Debug, Clone)]
pub(super) struct Chain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    profile: Option<String>,
    role: Option<(RoleArn, Option<ExternalId>)>,
    region: Region,
    http: SharedHttpClient,
    read: Mutex<Option<SharedCredentialsProvider>>,
    cache: Cache,
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
    pub(super) fn new(config: &Config, region: Region, http: SharedHttpClient) -> Self {
        let role = config.role_arn.clone().map(|role| (role, config.external_id.clone()));
        let (profile, read, cache) = (config.profile.clone(), Mutex::default(), Cache::default());
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
            _ if let Some((role, _)) = &self.0.role => format!("the role {role}, taken on as `bedrock.role-arn` says"),
            "EnvironmentVariable" => "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into(),
            "ProfileFile" => of_profile("the keys"),
            "AssumeRoleProvider" => of_profile("the role"),
            "CredentialProcess" => of_profile("the credential process"),
            "SSO" => of_profile("the sign-in (SSO)"),
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
            let chain = self.build().await;
            *self.read() = Some(chain.clone());
            chain
        };
        let found = chain.provide_credentials().await;
        if found.is_err() {
            *self.read() = None;
        }
        found
    }

    async fn build(&self) -> SharedCredentialsProvider {
        let Inner { profile, role, region, http, .. } = &*self.0;
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http.clone()).region(region.clone());
        let aws = match profile {
            Some(profile) => {
                // Not the chain, in which variables come first: who names a profile means it.
                let of = ProviderConfig::without_region().with_region(Some(region.clone())).with_http_client(http.clone());
                let keys = ProfileFileCredentialsProvider::builder().configure(&of).profile_name(profile).build();
                loader.profile_name(profile).credentials_provider(OfProfile { name: profile.clone(), keys })
            }
            None => loader,
        };
        let aws = aws.load().await;
        let source = aws.credentials_provider().expect("the loader was given a chain, or has made one");
        let Some((role, external_id)) = role else { return source };
        let mut taken_on =
            AssumeRoleProvider::builder(role.as_str()).session_name(SESSION).region(region.clone()).configure(&aws);
        if let Some(id) = external_id {
            taken_on = taken_on.external_id(id.as_str());
        }
        SharedCredentialsProvider::new(taken_on.build_from_provider(source).await)
    }

    fn read(&self) -> MutexGuard<'_, Option<SharedCredentialsProvider>> {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the SDK's name for the source of credentials. It shows it nowhere but in their `Debug` form, which leaves secrets out.
fn provider(found: &Credentials) -> String {
    let shown = format!("{found:?}");
    let name = shown.split_once("provider_name: \"").and_then(|(_, rest)| rest.split_once('"'));
    name.map_or_else(|| "an unknown source".into(), |(name, _)| name.to_owned())
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.find())
    }
}

/// A profile's credentials. The SDK takes a profile that gives none for a link to be passed over, and says no more of it.
#[derive(Debug)]
struct OfProfile {
    name: String,
    keys: ProfileFileCredentialsProvider,
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
struct Cache(RwLock<SharedIdentityCache>);

impl Cache {
    fn forget(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = empty();
    }
}

fn empty() -> SharedIdentityCache {
    IdentityCache::lazy().load_timeout(PATIENCE).build()
}

impl Default for Cache {
    fn default() -> Self {
        Self(RwLock::new(empty()))
    }
}

impl fmt::Debug for Cache {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_source_is_read_from_what_the_sdk_shows() {
        assert_eq!(provider(&Credentials::new("AKID", "secret", None, None, "EnvironmentVariable")), "EnvironmentVariable");
    }
}
