//! Validates keys, tokens and regions on input: the SDK signs with any value, and panics where a header cannot hold
//! it.

use std::env::{self, VarError};
use std::fmt;

use aws_credential_types::provider::error::{CredentialsError, TokenError};
use aws_credential_types::provider::token::ProvideToken;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_credential_types::{Credentials, Token};

use super::Endpoint;
use super::panic_guard::caught;

/// The variable that holds a Bedrock API key.
pub(super) const API_KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// Says why a key cannot be one. It does not show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{of} holds {what}: no credentials can be made of it")]
pub(super) struct Flaw {
    /// What is wrong, as a variable's name.
    of: String,
    what: Fault,
}

/// What a key cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NotText,
    LineBreak(usize),
    Space(usize),
    Control(usize),
    Foreign(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, at) = match self {
            Self::NotText => return f.write_str("bytes that are no text (UTF-8)"),
            Self::LineBreak(at) => ("a line break", at),
            Self::Space(at) => ("a space", at),
            Self::Control(at) => ("a control character", at),
            Self::Foreign(at) => ("a character outside ASCII", at),
        };
        write!(f, "{what}, its character {}", at + 1)
    }
}

/// Returns a key without the white space around it, which files and shells leave there.
fn trimmed<'a>(of: &str, key: &'a str) -> Result<&'a str, Flaw> {
    let key = key.trim();
    let fault = key.chars().enumerate().find_map(|(at, character)| match character {
        '!'..='~' => None,
        '\n' | '\r' => Some(Fault::LineBreak(at)),
        ' ' | '\t' => Some(Fault::Space(at)),
        _ if character.is_ascii_control() => Some(Fault::Control(at)),
        _ => Some(Fault::Foreign(at)),
    });
    fault.map_or(Ok(key), |what| Err(Flaw { of: of.to_owned(), what }))
}

/// Returns a variable's value without the white space around it; one that holds nothing else is not set.
fn variable(name: &str) -> Result<Option<String>, Flaw> {
    match env::var(name) {
        Ok(value) => Ok(Some(trimmed(name, &value)?.to_owned()).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Flaw { of: name.to_owned(), what: Fault::NotText }),
    }
}

/// Returns the first variable that the SDK puts into each call, or calls for credentials, and cannot: no call would ever be made.
pub(super) fn unusable_variable() -> Option<&'static str> {
    const ENDPOINTS: [&str; 5] = [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL_SSO",
        "AWS_ENDPOINT_URL_SSO_OIDC",
        "AWS_ENDPOINT_URL_SIGNIN",
    ];
    let is_url = |url: &str| url.is_empty() || matches!(Endpoint::try_from(url.to_owned()), Ok(Endpoint::Url(_)));
    let is_header = |text: &str| text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    // What is no text the SDK takes for not set.
    let is_fit = |name: &str, is_fit: &dyn Fn(&str) -> bool| env::var(name).map_or(true, |value| is_fit(&value));
    let unfit = ENDPOINTS.into_iter().find(|name| !is_fit(name, &is_url));
    unfit.or_else(|| Some("AWS_EXECUTION_ENV").filter(|name| !is_fit(name, &is_header)))
}

/// The keys in variables.
#[derive(Debug)]
pub(super) struct Variables;

impl Variables {
    fn find() -> provider::Result {
        let read = |name| variable(name).map_err(CredentialsError::invalid_configuration);
        let secret = match read("AWS_SECRET_ACCESS_KEY")? {
            None => read("SECRET_ACCESS_KEY")?,
            secret => secret,
        };
        let (Some(id), Some(secret)) = (read("AWS_ACCESS_KEY_ID")?, secret) else {
            return Err(CredentialsError::not_loaded(
                "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set",
            ));
        };
        let mut found = Credentials::builder().access_key_id(id).secret_access_key(secret).provider_name("EnvironmentVariable");
        found.set_session_token(read("AWS_SESSION_TOKEN")?);
        // It is only shown.
        found.set_account_id(variable("AWS_ACCOUNT_ID").ok().flatten().map(Into::into));
        Ok(found.build())
    }
}

impl ProvideCredentials for Variables {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Self::find())
    }
}

/// A Bedrock API key, as it was found in its variable.
#[derive(Clone)]
pub(super) struct ApiKey(Result<String, Flaw>);

impl ApiKey {
    /// Returns the key of the environment, where there is one.
    pub(super) fn of_environment() -> Option<Self> {
        variable(API_KEY).transpose().map(Self)
    }

    /// Says why it is of no use.
    ///
    /// # Errors
    /// When it can be no key.
    pub(super) fn check(&self) -> Result<(), CredentialsError> {
        self.0.as_ref().map(drop).map_err(|flaw| CredentialsError::invalid_configuration(flaw.clone()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

impl ProvideToken for ApiKey {
    fn provide_token<'a>(&'a self) -> future::ProvideToken<'a>
    where
        Self: 'a,
    {
        let key = self.0.as_ref().map(|key| Token::new(key.as_str(), None));
        future::ProvideToken::ready(key.map_err(|flaw| TokenError::invalid_configuration(flaw.clone())))
    }
}

/// Asks a source, and checks what it gives. A source that panics is one that gives nothing.
pub(super) async fn checked(source: &dyn ProvideCredentials) -> provider::Result {
    match caught(source.provide_credentials()).await {
        Ok(found) => check(found?),
        Err(panicked) => Err(CredentialsError::unhandled(panicked)),
    }
}

/// Returns credentials without white space around them.
fn check(found: Credentials) -> provider::Result {
    let of = |what: &str| format!("{what} of {}", provider(&found));
    let flawed = CredentialsError::invalid_configuration;
    let id = trimmed(&of("the access key id"), found.access_key_id()).map_err(flawed)?;
    let secret = trimmed(&of("the secret access key"), found.secret_access_key()).map_err(flawed)?;
    let token = found.session_token().map(|token| trimmed(&of("the session token"), token)).transpose().map_err(flawed)?;
    if (id, secret, token) == (found.access_key_id(), found.secret_access_key(), found.session_token()) {
        return Ok(found);
    }
    let mut clean = Credentials::builder().access_key_id(id).secret_access_key(secret).provider_name(known(&provider(&found)));
    clean.set_session_token(token.filter(|token| !token.is_empty()).map(ToOwned::to_owned));
    clean.set_expiry(found.expiry());
    clean.set_account_id(found.account_id().cloned());
    Ok(clean.build())
}

/// Returns the SDK's name for the source of credentials. It shows it nowhere but in their `Debug` form, which leaves secrets out.
pub(super) fn provider(found: &Credentials) -> String {
    let shown = format!("{found:?}");
    let name = shown.split_once("provider_name: \"").and_then(|(_, rest)| rest.split_once('"'));
    name.map_or_else(|| "an unknown source".into(), |(name, _)| name.to_owned())
}

/// Returns a name of the SDK's for a source, as one that lives as long as the process.
fn known(name: &str) -> &'static str {
    const NAMES: [&str; 9] = [
        "EnvironmentVariable",
        "ProfileFile",
        "AssumeRoleProvider",
        "CredentialProcess",
        "SSO",
        "Login",
        "WebIdentityToken",
        "EcsContainer",
        "IMDSv2",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("another source")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[derive(Debug)]
    struct Panics;

    impl ProvideCredentials for Panics {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async { panic!("a secret") })
        }
    }

    #[test]
    fn white_space_around_a_key_is_none_of_it_and_what_no_header_holds_is_named_and_not_shown() {
        for padded in ["AKID", "AKID\n", "AKID\r\n", " \tAKID ", "\u{feff}AKID".trim_start_matches('\u{feff}')] {
            assert_eq!(trimmed("the key", padded), Ok("AKID"), "{padded:?}");
        }
        for (key, said) in [
            ("AK\nID", "the key holds a line break, its character 3: no credentials can be made of it"),
            ("AK\rID", "the key holds a line break, its character 3: no credentials can be made of it"),
            ("AK ID", "the key holds a space, its character 3: no credentials can be made of it"),
            ("\u{0}AKID", "the key holds a control character, its character 1: no credentials can be made of it"),
            ("AKI\u{7f}", "the key holds a control character, its character 4: no credentials can be made of it"),
            ("AKIDÉ", "the key holds a character outside ASCII, its character 5: no credentials can be made of it"),
        ] {
            assert_eq!(trimmed("the key", key).unwrap_err().to_string(), said, "{key:?}");
        }
    }

    #[test]
    fn keys_are_cleaned_with_all_that_belongs_to_them() {
        let expiry = Some(SystemTime::UNIX_EPOCH);
        let found = Credentials::new("AKID\n", " secret ", Some("token\r\n".into()), expiry, "CredentialProcess");
        let clean = check(found).unwrap();
        assert_eq!((clean.access_key_id(), clean.secret_access_key(), clean.session_token()), ("AKID", "secret", Some("token")));
        assert_eq!((clean.expiry(), provider(&clean).as_str()), (expiry, "CredentialProcess"));
        let fine = Credentials::new("AKID", "secret", None, expiry, "of my own");
        assert_eq!(provider(&check(fine).unwrap()), "of my own");
        let said = format!("{:?}", check(Credentials::new("AKID", "sec\nret", None, None, "SSO")).unwrap_err());
        assert!(said.contains("the secret access key of SSO") && !said.contains("sec\\nret"), "{said}");
    }

    #[tokio::test]
    async fn a_source_that_panics_gives_nothing_and_ends_nothing() {
        let said = crate::report::chain(&checked(&Panics).await.unwrap_err());
        assert!(said.contains("the AWS SDK cannot use a value") && !said.contains("a secret"), "{said}");
    }

    #[test]
    fn the_name_of_a_source_is_read_from_what_the_sdk_shows() {
        assert_eq!(provider(&Credentials::new("AKID", "secret", None, None, "EnvironmentVariable")), "EnvironmentVariable");
    }
}
