//! Finds the emulated model of a call. A new family is a row here and a file beside this one; chat models
//! have a table of their own.

use serde_json::Value;

use super::response::{Embedded, Refusal};
use super::vector_kind::Space;
use super::{cohere, converse, marengo, nova, titan_multimodal, titan_v1, titan_v2};

/// A model of the table: its id, and the prefixes of the cross-region inference profiles that lead to it.
pub(super) struct Model {
    pub(super) id: &'static str,
    pub(super) profiles: &'static [&'static str],
    /// Whether calls may name it without a profile.
    pub(super) on_demand: bool,
    pub(super) family: Family,
}

impl Model {
    const fn new(id: &'static str, profiles: &'static [&'static str], family: Family) -> Self {
        Self { id, profiles, on_demand: true, family }
    }
}

const MODELS: &[Model] = &[
    Model::new("amazon.titan-embed-text-v1", &[], Family::TitanV1),
    Model::new("amazon.titan-embed-g1-text-02", &[], Family::TitanV1),
    Model::new("amazon.titan-embed-text-v2:0", &[], Family::TitanV2),
    Model::new("amazon.titan-embed-image-v1", &[], Family::TitanImage),
    Model::new("amazon.titan-embed-image-v1:0", &[], Family::TitanImage),
    Model::new("amazon.nova-2-multimodal-embeddings-v1:0", &[], Family::Nova),
    Model::new("cohere.embed-english-v3", &[], Family::CohereV3),
    Model::new("cohere.embed-multilingual-v3", &[], Family::CohereV3),
    Model::new("cohere.embed-v4:0", &["us", "eu", "global"], Family::CohereV4),
    Model { on_demand: false, ..Model::new("twelvelabs.marengo-embed-2-7-v1:0", &["us", "eu"], Family::Marengo2) },
    Model::new("twelvelabs.marengo-embed-3-0-v1:0", &["us", "eu"], Family::Marengo3),
];

/// Models that take the same requests and give the same answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    TitanV1,
    TitanV2,
    TitanImage,
    Nova,
    CohereV3,
    CohereV4,
    Marengo2,
    Marengo3,
    Chat(&'static converse::Traits),
}

impl Family {
    /// Returns the texts of a request, as far as it has any: it may still be refused.
    pub(super) fn texts(self, request: &Value) -> Vec<&str> {
        match self {
            Self::TitanV1 | Self::TitanV2 | Self::TitanImage => titan_v2::texts(request),
            Self::Nova => nova::texts(request),
            Self::CohereV3 | Self::CohereV4 => cohere::texts(request),
            Self::Marengo2 => marengo::texts(&marengo::V2, request),
            Self::Marengo3 => marengo::texts(&marengo::V3, request),
            Self::Chat(_) => converse::texts(request),
        }
    }

    /// Checks a request as the service does, and embeds it.
    pub(super) fn embed(self, request: Value, space: &Space) -> Result<Embedded, Refusal> {
        match self {
            Self::TitanV1 => titan_v1::embed(request, space),
            Self::TitanV2 => titan_v2::embed(request, space),
            Self::TitanImage => titan_multimodal::embed(request, space),
            Self::Nova => nova::embed(request, space),
            Self::CohereV3 => cohere::embed(&cohere::V3, request, space),
            Self::CohereV4 => cohere::embed(&cohere::V4, request, space),
            Self::Marengo2 => marengo::embed(&marengo::V2, request, space),
            Self::Marengo3 => marengo::embed(&marengo::V3, request, space),
            Self::Chat(_) => Err(Refusal::validation("this emulator's chat models answer Converse and ConverseStream only")),
        }
    }
}

/// Returns the family of a model id, an inference profile id, or the ARN of either. The message for any other is the one
/// that the service also gives for a model absent from the region.
pub(super) fn resolve(model_id: &str) -> Result<Family, Refusal> {
    let named = match model_id.strip_prefix("arn:") {
        Some(arn) => of_arn(arn),
        None => of_base_id(model_id).map(|model| (model, Named::Itself)).or_else(|| of_profile_id(model_id)),
    };
    match named {
        Some((model, Named::Itself)) if !model.on_demand => Err(Refusal::validation(format!(
            "Invocation of model ID {} with on-demand throughput isn\u{2019}t supported. Retry your request with the ID or ARN \
             of an inference profile that contains this model.",
            model.id
        ))),
        Some((model, _)) => Ok(model.family),
        None => Err(Refusal::validation("The provided model identifier is invalid.")),
    }
}

/// What a call names.
#[derive(Clone, Copy)]
enum Named {
    Itself,
    Profile,
}

fn models() -> impl Iterator<Item = &'static Model> {
    MODELS.iter().chain(converse::MODELS)
}

fn of_base_id(id: &str) -> Option<&'static Model> {
    models().find(|model| model.id == id)
}

fn of_profile_id(id: &str) -> Option<(&'static Model, Named)> {
    let (prefix, base) = id.split_once('.')?;
    let model = of_base_id(base).filter(|model| model.profiles.contains(&prefix))?;
    Some((model, Named::Profile))
}

/// `aws:bedrock:us-east-1::foundation-model/ID` or `aws:bedrock:us-east-1:123456789012:inference-profile/ID`. An
/// *application* inference profile ends in an opaque id that belongs to an account, so there is none here.
fn of_arn(arn: &str) -> Option<(&'static Model, Named)> {
    let mut parts = arn.splitn(5, ':');
    let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    if !partition.starts_with("aws") || service != "bedrock" || region.is_empty() {
        return None;
    }
    match resource.split_once('/')? {
        ("foundation-model", id) if account.is_empty() => of_base_id(id).map(|model| (model, Named::Itself)),
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
    fn every_model_is_reached_by_each_of_its_names() {
        for model in models() {
            if model.on_demand {
                check(model.id, Some(model.family));
                check(&format!("arn:aws:bedrock:us-east-1::foundation-model/{}", model.id), Some(model.family));
            }
            for prefix in model.profiles {
                check(&format!("{prefix}.{}", model.id), Some(model.family));
                let arn = format!("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/{prefix}.{}", model.id);
                check(&arn, Some(model.family));
            }
        }
    }

    #[test]
    fn a_model_that_needs_a_profile_says_so() {
        let id = "twelvelabs.marengo-embed-2-7-v1:0";
        for named in [id.to_owned(), format!("arn:aws:bedrock:us-east-1::foundation-model/{id}")] {
            let message = resolve(&named).unwrap_err().message;
            let expected = "Invocation of model ID twelvelabs.marengo-embed-2-7-v1:0 with on-demand throughput isn\u{2019}t supported. \
                            Retry your request with the ID or ARN of an inference profile that contains this model.";
            assert_eq!(message, expected);
        }
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
