//! The table of model families. A new family is one new file and one line here.

use std::fmt::Debug;

use serde_json::value::RawValue;

use super::{InputType, cohere, titan_v2};
use crate::bedrock::model_id::ModelId;
use crate::model::{Limits, TokenCount};
use crate::report::Invalid;

/// Every family, in the order in which messages list them.
pub(super) static FAMILIES: [&dyn Family; 3] = [&titan_v2::TitanV2, &cohere::CohereV3, &cohere::CohereV4];

/// A model family: which ids belong to it, what it takes, and its own request and response bodies.
pub(super) trait Family: Debug + Sync {
    /// Returns the name that `embed.family` uses.
    fn name(&self) -> &'static str;

    /// Returns the ids of the foundation models that speak this family's bodies.
    fn models(&self) -> &'static [&'static str];

    /// Returns the sizes of vector that it makes, its default first.
    fn dimensions(&self) -> &'static [u32];

    /// Returns the bounds of one call.
    fn limits(&self) -> Limits;

    /// Returns whether it can be told to normalise or not.
    fn takes_normalize(&self) -> bool {
        false
    }

    /// Returns whether it wants to know what the vectors are for.
    fn takes_input_type(&self) -> bool {
        false
    }

    /// Writes a request body.
    fn body(&self, request: &Request<'_>) -> Vec<u8>;

    /// Reads a response body.
    ///
    /// # Errors
    /// When the body is not JSON of any shape that the family answers with.
    fn parse<'body>(&self, body: &'body [u8]) -> Result<Parsed<'body>, serde_json::Error>;
}

/// What goes into a request body.
pub(super) struct Request<'a> {
    pub(super) texts: &'a [&'a str],
    pub(super) dimensions: u32,
    pub(super) normalize: Option<bool>,
    pub(super) input_type: InputType,
}

/// What comes out of a response body: the vectors' own text, in the order of the inputs, not yet checked.
pub(super) struct Parsed<'body> {
    pub(super) vectors: Vec<&'body RawValue>,
    pub(super) tokens: Option<TokenCount>,
}

/// Returns the family of a model: by its id, or as named where the id does not tell.
pub(super) fn resolve(model: &ModelId, named: Option<&str>) -> Result<&'static dyn Family, Invalid> {
    let by_id = model.foundation_model().and_then(|id| FAMILIES.into_iter().find(|family| family.models().contains(&id)));
    let known = || FAMILIES.map(Family::name).join(", ");
    match (by_id, named) {
        (Some(family), None) => Ok(family),
        (Some(family), Some(name)) if family.name() == name => Ok(family),
        (Some(family), Some(name)) => Err(Invalid {
            key: "embed.family",
            problem: format!("is `{name}`, but `{model}` is a model of the family `{}`", family.name()),
            help: "leave it out: the model's id tells its family".into(),
        }),
        (None, Some(name)) => FAMILIES.into_iter().find(|family| family.name() == name).ok_or_else(|| Invalid {
            key: "embed.family",
            problem: format!("is `{name}`, which is no family"),
            help: format!("choose one of {}", known()),
        }),
        (None, None) if model.foundation_model().is_none() => Err(Invalid {
            key: "embed.model",
            problem: format!("is `{model}`, an ARN that does not tell its family"),
            help: format!("say which bodies the model speaks with `embed.family`: one of {}", known()),
        }),
        (None, None) => Err(Invalid {
            key: "embed.model",
            problem: format!("is `{model}`, which is no embedding model that riverbed knows"),
            help: format!(
                "known are {}, also with a region prefix or as an ARN; for a model that speaks the same bodies under another \
                 id set `embed.family`",
                FAMILIES.iter().flat_map(|family| family.models()).copied().collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, named: Option<&str>) -> Result<&'static str, &'static str> {
        resolve(&ModelId::try_from(id.to_owned()).unwrap(), named).map(Family::name).map_err(|invalid| invalid.key)
    }

    #[test]
    fn an_id_tells_its_family_with_any_prefix_and_in_an_arn() {
        assert_eq!(check("amazon.titan-embed-text-v2:0", None), Ok("titan-text-v2"));
        assert_eq!(check("cohere.embed-multilingual-v3", None), Ok("cohere-v3"));
        assert_eq!(check("eu.cohere.embed-v4:0", None), Ok("cohere-v4"));
        assert_eq!(check("arn:aws:bedrock:us-east-1:1:inference-profile/us.cohere.embed-v4:0", None), Ok("cohere-v4"));
    }

    #[test]
    fn an_opaque_arn_needs_a_family_and_takes_the_one_that_is_named() {
        let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/x";
        assert_eq!(check(arn, None), Err("embed.model"));
        assert_eq!(check(arn, Some("cohere-v3")), Ok("cohere-v3"));
        assert_eq!(check(arn, Some("word2vec")), Err("embed.family"));
    }

    #[test]
    fn nothing_is_guessed() {
        assert_eq!(check("amazon.titan-embed-text-v9:0", None), Err("embed.model"));
        assert_eq!(check("amazon.titan-embed-text-v2:0", Some("cohere-v3")), Err("embed.family"));
    }
}
