//! Which model a call names, and what answers for it. A new family is a row here and a file beside this one.

use serde_json::Value;

use super::answer::{Embedded, Refusal};
use super::space::Space;
use super::{cohere, titan};

/// A model of the table: its id, and the prefixes of the cross-region inference profiles that lead to it.
struct Model {
    id: &'static str,
    profiles: &'static [&'static str],
    family: Family,
}

const MODELS: &[Model] = &[
    Model { id: "amazon.titan-embed-text-v2:0", profiles: &[], family: Family::TitanV2 },
    Model { id: "cohere.embed-english-v3", profiles: &[], family: Family::CohereV3 },
    Model { id: "cohere.embed-multilingual-v3", profiles: &[], family: Family::CohereV3 },
    Model { id: "cohere.embed-v4:0", profiles: &["us", "eu", "global"], family: Family::CohereV4 },
];

/// Models that take the same requests and give the same answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    TitanV2,
    CohereV3,
    CohereV4,
}

impl Family {
    /// Returns the texts of a request, as far as it has any: it may still be refused.
    pub(super) fn texts(self, request: &Value) -> Vec<&str> {
        match self {
            Self::TitanV2 => titan::texts(request),
            Self::CohereV3 | Self::CohereV4 => cohere::texts(request),
        }
    }

    /// Checks a request as the service does, and embeds it.
    pub(super) fn embed(self, request: Value, space: &Space) -> Result<Embedded, Refusal> {
        match self {
            Self::TitanV2 => titan::embed(request, space),
            Self::CohereV3 => cohere::embed(&cohere::V3, request, space),
            Self::CohereV4 => cohere::embed(&cohere::V4, request, space),
        }
    }
}

/// Returns the family of a model id, an inference profile id, or the ARN of either. The message for any other is the one
/// that the service also gives for a model absent from the region.
pub(super) fn resolve(model_id: &str) -> Result<Family, Refusal> {
    let model = match model_id.strip_prefix("arn:") {
        Some(arn) => of_arn(arn),
        None => of_base_id(model_id).or_else(|| of_profile_id(model_id)),
    };
    model.map(|model| model.family).ok_or_else(|| Refusal::validation("The provided model identifier is invalid."))
}

fn of_base_id(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id)
}

fn of_profile_id(id: &str) -> Option<&'static Model> {
    let (prefix, base) = id.split_once('.')?;
    of_base_id(base).filter(|model| model.profiles.contains(&prefix))
}

/// `aws:bedrock:us-east-1::foundation-model/ID` or `aws:bedrock:us-east-1:123456789012:inference-profile/ID`. An
/// *application* inference profile ends in an opaque id that belongs to an account, so there is none here.
fn of_arn(arn: &str) -> Option<&'static Model> {
    let mut parts = arn.splitn(5, ':');
    let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    if !partition.starts_with("aws") || service != "bedrock" || region.is_empty() {
        return None;
    }
    match resource.split_once('/')? {
        ("foundation-model", id) if account.is_empty() => of_base_id(id),
        ("inference-profile", id) if account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) => {
            of_profile_id(id)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(model_id: &str, family: Option<Family>) {
        assert_eq!(resolve(model_id).ok(), family, "{model_id}");
    }

    #[test]
    fn base_ids_profiles_and_arns_resolve() {
        check("amazon.titan-embed-text-v2:0", Some(Family::TitanV2));
        check("cohere.embed-multilingual-v3", Some(Family::CohereV3));
        check("global.cohere.embed-v4:0", Some(Family::CohereV4));
        check("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0", Some(Family::TitanV2));
        check("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/cohere.embed-english-v3", Some(Family::CohereV3));
        check("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.cohere.embed-v4:0", Some(Family::CohereV4));
    }

    #[test]
    fn a_model_without_that_profile_is_invalid() {
        check("us.amazon.titan-embed-text-v2:0", None);
        check("eu.cohere.embed-english-v3", None);
        check("apac.cohere.embed-v4:0", None);
    }

    #[test]
    fn what_is_no_model_is_invalid() {
        check("", None);
        check("amazon.titan-embed-text-v2", None);
        check("us.us.cohere.embed-v4:0", None);
        check("arn:aws:bedrock:us-east-1:123456789012:foundation-model/cohere.embed-v4:0", None);
        check("arn:aws:bedrock:us-east-1:123456789012:inference-profile/cohere.embed-v4:0", None);
        check("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3", None);
        check("arn:aws:s3:us-east-1::foundation-model/cohere.embed-v4:0", None);
    }
}
