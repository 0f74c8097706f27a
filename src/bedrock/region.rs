//! The AWS region, and its source.

use std::env::{self, VarError};

use aws_config::Region;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_bedrockruntime::config::SharedHttpClient;
use serde::{Deserialize as _, Deserializer};

use super::BedrockConfig;
use super::client::ConnectError;

/// The variables that name a region, in the order in which the SDK looks at them.
const VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Labels of host names are no longer; a region is one.
const LONGEST: usize = 63;

/// Says why a text is no region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no AWS region (example: `us-east-1`)", .0.escape_debug())]
pub struct NotARegion(String);

/// Reads a region as it becomes part of a host name: letters, digits and hyphens. White space around it, as copying brings it along, is
/// left out.
pub(super) fn read(text: &str) -> Result<String, NotARegion> {
    let region = text.trim();
    let is_plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    let is_region = region.starts_with(|character: char| character.is_ascii_lowercase())
        && !region.ends_with('-')
        && region.len() <= LONGEST
        && region.chars().all(is_plain);
    if is_region { Ok(region.to_owned()) } else { Err(NotARegion(text.to_owned())) }
}

/// Reads the region of the configuration, where one is there.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| read(&text).map_err(serde::de::Error::custom)).transpose()
}

/// Returns the region that the environment names, and the variable. One that is empty or all white space names none: container set-ups
/// write such ones where nothing was meant.
pub(super) fn of_environment() -> Result<Option<(String, &'static str)>, (NotARegion, &'static str)> {
    for variable in VARIABLES {
        let text = match env::var(variable) {
            Ok(text) => text,
            Err(VarError::NotPresent) => continue,
            Err(VarError::NotUnicode(text)) => return Err((NotARegion(text.to_string_lossy().into_owned()), variable)),
        };
        if !text.trim().is_empty() {
            return read(&text).map(|region| Some((region, variable))).map_err(|error| (error, variable));
        }
    }
    Ok(None)
}

/// Looks for the region where the SDK does and in its order, link by link, so that it can be told where it was found.
///
/// The last link asks the instance metadata service, unless `AWS_EC2_METADATA_DISABLED` is set.
pub(super) async fn find(config: &BedrockConfig, http: SharedHttpClient) -> Result<Option<(Region, &'static str)>, ConnectError> {
    let bad = |(source, from)| ConnectError::BadRegion { from, source };
    let check = |region: &str, from| read(region).map(|region| (Region::new(region), from)).map_err(|error| bad((error, from)));
    if let Some(region) = &config.region {
        return check(region, "`bedrock.region`").map(|(region, _)| Some((region, "bedrock.region")));
    }
    if let Some((region, variable)) = of_environment().map_err(bad)? {
        return Ok(Some((Region::new(region), variable)));
    }
    let aws = ProviderConfig::without_region().with_http_client(http);
    let mut profile = ProfileFileRegionProvider::builder().configure(&aws);
    if let Some(name) = &config.profile {
        profile = profile.profile_name(name);
    }
    if let Some(region) = profile.build().region().await {
        return check(region.as_ref(), "the AWS profile").map(Some);
    }
    match ImdsRegionProvider::builder().configure(&aws).build().region().await {
        Some(region) => check(region.as_ref(), "the instance").map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_taken_without_the_white_space_around_it_and_refused_where_it_cannot_be_one() {
        for (text, region) in [
            ("us-east-1", "us-east-1"),
            (" us-east-1 \n", "us-east-1"),
            ("\u{a0}eu-central-2\u{feff}".trim_end_matches('\u{feff}'), "eu-central-2"),
            ("us-gov-west-1", "us-gov-west-1"),
            ("eusc-de-east-1", "eusc-de-east-1"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(region), "{text:?}");
        }
        let long = "a".repeat(64);
        for text in [
            "",
            "  ",
            "us_east_1",
            "us-east-1/",
            "us east 1",
            "US-EAST-1",
            "-us",
            "us-",
            "us.east.1",
            "\"us-east-1\"",
            "1",
            "us-\u{e4}",
            "us-east-1\u{0}",
            "us-east-1#",
            "https://us-east-1",
            &long,
        ] {
            assert_eq!(read(text), Err(NotARegion(text.to_owned())), "{text:?}");
        }
    }
}
