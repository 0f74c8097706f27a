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

/// Prefixes of cross-region inference profiles (Bedrock user guide, inference profiles; and ids seen in use).
const REGION_PREFIXES: [&str; 9] = ["us.", "eu.", "apac.", "jp.", "au.", "in.", "ca.", "us-gov.", "global."];

impl ModelId {
    /// Returns the id as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id of the foundation model behind this id, where the id tells: without the region prefix, without what
    /// stands before it in the ARN of a foundation model or of a cross-region inference profile.
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
        Some(REGION_PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id))
    }
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
