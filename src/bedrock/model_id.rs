//! Model ids, cross-region prefixes and ARNs.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Bedrock model id or ARN, as it goes into the request's path; never empty, no spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ModelId(String);

/// Says that a text cannot be a model id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a Bedrock model id (example: `amazon.titan-embed-text-v2:0`)")]
pub struct NotAModelId(String);

/// Prefixes of cross-region inference profiles that are no country (Bedrock user guide, inference profiles). The others are two letters,
/// as `us.`, `eu.` and `jp.`, and new ones come; no provider of models has a name so short.
const REGION_PREFIXES: [&str; 3] = ["apac", "us-gov", "global"];

impl ModelId {
    /// Returns the id as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id of the foundation model behind this id, where the id tells: without the region prefix, without the
    /// part before it in the ARN of a foundation model or of a cross-region inference profile.
    ///
    /// `None` for the other ARNs (application inference profile, provisioned throughput, custom model): they end in
    /// an id that says nothing.
    #[must_use]
    pub fn foundation_model(&self) -> Option<&str> {
        let id = if self.0.starts_with("arn:") {
            let resource = self.0.splitn(6, ':').nth(5)?;
            let (kind, id) = resource.split_once('/')?;
            matches!(kind, "foundation-model" | "inference-profile").then_some(id)?
        } else {
            &self.0
        };
        Some(split_region(id).1)
    }

    /// Returns the prefix of a cross-region inference profile, as `us` or `global`, where the id has one.
    #[must_use]
    pub fn region_prefix(&self) -> Option<&str> {
        split_region(self.0.rsplit('/').next()?).0
    }
}

fn split_region(id: &str) -> (Option<&str>, &str) {
    let is_region = |prefix: &str| {
        REGION_PREFIXES.contains(&prefix) || (prefix.len() == 2 && prefix.bytes().all(|byte| byte.is_ascii_lowercase()))
    };
    match id.split_once('.') {
        Some((prefix, rest)) if is_region(prefix) => (Some(prefix), rest),
        _ => (None, id),
    }
}

/// Returns whether an id is a known one, or the same with the numbers that AWS puts behind it: a version (`:0`), a size of context that
/// throughput is bought for (`:0:8k`).
#[must_use]
pub fn is_variant(known: &str, id: &str) -> bool {
    let Some(rest) = id.strip_prefix(known) else { return false };
    let is_number = |part: &str| {
        let digits = part.strip_suffix('k').unwrap_or(part);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let most = if known.contains(':') { 1 } else { 2 };
    let mut parts = rest.split(':');
    parts.next() == Some("") && parts.clone().count() <= most && parts.all(is_number)
}

/// Returns whether an id is that of a model by its name: behind it stand nothing but date, version and size of context, as in
/// `anthropic.claude-haiku-4-5-20251001-v1:0`. So `claude-opus-5` is not taken for `claude-opus-5-5`.
#[must_use]
pub fn is_version(name: &str, id: &str) -> bool {
    let Some(rest) = id.strip_prefix(name) else { return false };
    let (rest, _numbers) = rest.split_once(':').map_or((rest, None), |(rest, numbers)| (rest, Some(numbers)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_of_version = |part: &str| digits(part.strip_prefix('v').unwrap_or_default());
    let mut parts = rest.split('-');
    parts.next() == Some("")
        && parts.all(|part| {
            is_of_version(part)
                || (part.len() == 8 && digits(part))
                || part == "preview"
                || (part == "1" && id.starts_with("openai."))
        })
}

impl TryFrom<String> for ModelId {
    type Error = NotAModelId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        // 2,048 characters is the service model's own bound on `modelId`.
        let plain = |byte: u8| byte.is_ascii_graphic();
        if !id.is_empty() && id.len() <= 2048 && id.bytes().all(plain) { Ok(Self(id)) } else { Err(NotAModelId(id)) }
    }
}

impl From<ModelId> for String {
    fn from(id: ModelId) -> Self {
        id.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, foundation_model: Option<&str>) {
        assert_eq!(ModelId::try_from(id.to_owned()).unwrap().foundation_model(), foundation_model, "{id}");
    }

    #[test]
    fn prefixes_and_arns_resolve_to_the_foundation_model() {
        check("amazon.titan-embed-text-v2:0", Some("amazon.titan-embed-text-v2:0"));
        check("us.cohere.embed-v4:0", Some("cohere.embed-v4:0"));
        check("global.cohere.embed-v4:0", Some("cohere.embed-v4:0"));
        check("us-gov.cohere.embed-v4:0", Some("cohere.embed-v4:0"));
        check("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0", Some("amazon.titan-embed-text-v2:0"));
        check("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.cohere.embed-v4:0", Some("cohere.embed-v4:0"));
    }

    #[test]
    fn any_country_may_stand_before_a_model_and_no_provider_is_taken_for_one() {
        check("sa.anthropic.claude-haiku-4-5-20251001-v1:0", Some("anthropic.claude-haiku-4-5-20251001-v1:0"));
        check("uk.amazon.nova-lite-v1:0", Some("amazon.nova-lite-v1:0"));
        for id in ["deepseek.v3.2", "xai.grok-4.6", "zai.glm-5.3", "openai.gpt-5.6-sol", "moonshotai.kimi-k2.5", "titan"] {
            check(id, Some(id));
            assert_eq!(ModelId::try_from(id.to_owned()).unwrap().region_prefix(), None);
        }
        let prefix = |id: &str| ModelId::try_from(id.to_owned()).unwrap().region_prefix().map(ToOwned::to_owned);
        assert_eq!(
            prefix("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us-gov.cohere.embed-v4:0"),
            Some("us-gov".into())
        );
        assert_eq!(prefix("global.xai.grok-4.6"), Some("global".into()));
    }

    #[test]
    fn versions_and_sizes_of_context_are_distinguished_from_other_models() {
        for (known, id) in [
            ("amazon.titan-embed-image-v1", "amazon.titan-embed-image-v1:0"),
            ("amazon.titan-embed-text-v1", "amazon.titan-embed-text-v1:2:8k"),
            ("amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v2:0:8k"),
            ("cohere.embed-english-v3", "cohere.embed-english-v3:0:512"),
        ] {
            assert!(is_variant(known, id) && is_variant(known, known), "{id}");
        }
        for (known, id) in [
            ("amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v2:0:8k:0"),
            ("amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v2:01"),
            ("amazon.titan-embed-text-v1", "amazon.titan-embed-text-v1:"),
            ("amazon.titan-embed-text-v1", "amazon.titan-embed-text-v1:x"),
            ("cohere.embed-v4:0", "cohere.embed-v4"),
        ] {
            assert!(!is_variant(known, id), "{id}");
        }
        for (name, id) in [
            ("openai.gpt-oss-120b", "openai.gpt-oss-120b"),
            ("openai.gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
            ("amazon.nova-lite", "amazon.nova-lite-v1:0:300k"),
            ("anthropic.claude-haiku-4-5", "anthropic.claude-haiku-4-5-20251001-v1:0"),
            ("amazon.nova-2-pro", "amazon.nova-2-pro-preview-20251202-v1:0"),
        ] {
            assert!(is_version(name, id), "{id}");
        }
        assert!(!is_version("anthropic.claude-opus-5", "anthropic.claude-opus-5-5"));
        assert!(!is_version("openai.gpt-oss-120b", "openai.gpt-oss-1200b"));
        assert!(!is_version("cohere.embed-v4", "cohere.embed-v40:0"));
    }

    #[test]
    fn an_opaque_arn_tells_no_model() {
        check("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", None);
        check("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123", None);
        check("arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.titan/abc", None);
    }

    #[test]
    fn what_cannot_stand_in_a_path_is_no_model_id() {
        for bad in ["", "two words", "tab\t", "ü"] {
            assert!(ModelId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
