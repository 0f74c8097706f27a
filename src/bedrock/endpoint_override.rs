//! The endpoint from the environment or an AWS profile, in place of Bedrock's own.
//!
//! The SDK would read it by itself. It is read here so that the log says where calls go and who sent them there, so that connections
//! fit it (plain HTTP, no proxy to this machine), and so that an empty variable is none.

use std::fmt;

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

use super::{Endpoint, has_user_information};

/// The service's own variable, and the one for all services.
const OF_SERVICE: &str = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME";
const OF_ALL: &str = "AWS_ENDPOINT_URL";

/// Switches both off, and the keys of profiles too.
const IGNORE: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

/// Another endpoint than Bedrock's own, which no key of ours names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) url: String,
    pub(super) by: EndpointSource,
}

/// Who names an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointSource {
    /// A variable.
    Variable(&'static str),
    /// `endpoint_url` in the AWS profile, or in its `services` section.
    Profile,
}

impl fmt::Display for EndpointSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Profile => f.write_str("`endpoint_url` of the AWS profile"),
        }
    }
}

/// Says that a text is no URL of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{by} {text}")]
pub struct NotAUrl {
    by: EndpointSource,
    /// What is wrong with it, without a password that may be in it.
    text: String,
}

/// Returns where a variable sends calls for which the configuration names no endpoint, without looking into profiles.
#[must_use]
pub fn redirected_by_variable() -> Option<String> {
    let is_ignored = variable(IGNORE).is_some_and(|word| word.eq_ignore_ascii_case("true"));
    choose(variable, None).ok().flatten().filter(|_| !is_ignored).map(|redirect| redirect.url)
}

/// Returns a variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Looks where the SDK looks and in its order: the service's variable, the one for all, then the same two of the profile.
///
/// # Errors
/// When the first that is set is no URL.
pub(super) fn find(shared: &SdkConfig) -> Result<Option<Redirect>, NotAUrl> {
    let of_profile = |service: &str, key: &str| {
        // The SDK would look for a variable first, and stop at one that is empty. No variable has a space in its name.
        let key = ServiceConfigKey::builder().service_id(service).env("NO VARIABLE").profile(key).build();
        shared.service_config()?.load_config(key.expect("all three are given"))
    };
    let is_ignored = variable(IGNORE).or_else(|| of_profile("none", "ignore_configured_endpoint_urls"));
    if is_ignored.is_some_and(|word| word.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    // The user guide of AWS writes the service's name with a low line, this SDK with a hyphen.
    let of_all = of_profile("none", "endpoint_url");
    let of_service = ["bedrock_runtime", "bedrock-runtime"].map(|service| of_profile(service, "endpoint_url"));
    let of_service = of_service.into_iter().find(|url| *url != of_all).flatten();
    choose(variable, of_service.or(of_all))
}

/// An empty variable is none: that is how one is switched off where it cannot be unset.
fn choose(variable: impl Fn(&str) -> Option<String>, profile: Option<String>) -> Result<Option<Redirect>, NotAUrl> {
    let variables = [OF_SERVICE, OF_ALL].map(|name| (EndpointSource::Variable(name), variable(name)));
    let mut named = variables.into_iter().chain([(EndpointSource::Profile, profile)]).filter_map(|(by, url)| Some((by, url?)));
    let Some((by, text)) = named.next() else { return Ok(None) };
    match Endpoint::try_from(text.clone()) {
        _ if has_user_information(&text) => {
            Err(NotAUrl { by, text: "holds a user name or a password, which would appear in every log".to_owned() })
        }
        Ok(Endpoint::Url(url)) => Ok(Some(Redirect { url, by })),
        Ok(Endpoint::Emulator) | Err(_) => {
            Err(NotAUrl { by, text: format!("is `{text}`, which is no URL that begins with http:// or https://") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], profile: Option<&str>) -> Result<Option<(String, String)>, String> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, url)| (*url).to_owned());
        choose(variable, profile.map(ToOwned::to_owned))
            .map(|found| found.map(|found| (found.url, found.by.to_string())))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_services_own_variable_goes_before_the_one_for_all_and_both_before_the_profile() {
        let both = [(OF_ALL, "http://all"), (OF_SERVICE, "http://service")];
        let check = |variables: &[(&str, &str)], url: &str, by: &str| {
            assert_eq!(chosen(variables, Some("http://profile")), Ok(Some((url.to_owned(), by.to_owned()))));
        };
        check(&both, "http://service", OF_SERVICE);
        check(&both[..1], "http://all", OF_ALL);
        check(&[], "http://profile", "`endpoint_url` of the AWS profile");
        assert_eq!(chosen(&[], None), Ok(None));
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let refused = chosen(&[(OF_ALL, "http://me:hush@host")], None).unwrap_err();
        assert_eq!(refused, "AWS_ENDPOINT_URL holds a user name or a password, which would appear in every log");
    }

    #[test]
    fn what_is_no_url_is_refused_with_who_says_it() {
        for wrong in ["localhost:4566", "ftp://host", "emulator", "http://"] {
            let refused = chosen(&[(OF_ALL, wrong)], None).unwrap_err();
            assert!(refused.starts_with(&format!("AWS_ENDPOINT_URL is `{wrong}`")), "{refused}");
        }
    }
}
