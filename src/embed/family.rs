//! The trait of a model family, and the lookup of a model's family.

use std::borrow::Cow;
use std::fmt::Debug;
use std::num::NonZeroUsize;

use serde_json::value::RawValue;

use super::{EmbeddingType, FAMILIES, InputType};
use crate::bedrock::model_id::{ModelId, is_variant};
use crate::domain::{Limits, Number, TokenCount};
use crate::report::Invalid;

/// A model family: which ids belong to it, what it takes, and its own request and response bodies.
pub(super) trait Family: Debug + Sync {
    /// Returns the name that `embed.family` uses.
    fn name(&self) -> &'static str;

    /// Returns the ids of the foundation models that speak this family's bodies.
    fn models(&self) -> &'static [&'static str];

    /// Returns the sizes of vector that it makes, its default first.
    fn dimensions(&self) -> &'static [u32];

    /// Returns what its vectors can be made of.
    fn embedding_types(&self) -> &'static [EmbeddingType] {
        &[EmbeddingType::Float]
    }

    /// Returns how many numbers a vector of so many dimensions has, and of what kind.
    fn elements(&self, embedding_type: EmbeddingType, dimensions: u32) -> (u32, Number) {
        match embedding_type {
            EmbeddingType::Float => (dimensions, Number::Float),
            EmbeddingType::Int8 => (dimensions, Number::Int8),
            EmbeddingType::Uint8 => (dimensions, Number::Uint8),
            EmbeddingType::Binary => (dimensions / 8, Number::Int8),
            EmbeddingType::Ubinary => (dimensions / 8, Number::Uint8),
        }
    }

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

    /// Writes a request body. Where a setting says what the model does with a text that is too long, it refuses it.
    fn body(&self, request: &Request<'_>) -> Vec<u8>;

    /// Reads a response body.
    ///
    /// # Errors
    /// When the body is of no shape that the family answers with, or says that the model did not embed the whole text.
    fn parse<'body>(&self, body: &'body [u8], embedding_type: EmbeddingType) -> Result<Parsed<'body>, Unusable>;
}

/// What goes into a request body.
pub(super) struct Request<'a> {
    pub(super) texts: &'a [&'a str],
    pub(super) dimensions: u32,
    pub(super) embedding_type: EmbeddingType,
    pub(super) normalize: Option<bool>,
    pub(super) input_type: InputType,
}

impl<'a> Request<'a> {
    /// Returns the text of a request to a family whose calls take one.
    pub(super) fn text(&self) -> &'a str {
        let [text] = self.texts else { unreachable!("the limits say one text a call") };
        text
    }
}

/// What comes out of a response body: the vectors' own text, in the order of the inputs, not yet checked.
#[derive(Debug)]
pub(super) struct Parsed<'body> {
    pub(super) vectors: Vec<&'body RawValue>,
    /// `None` where the body counts no tokens; the header may.
    pub(super) tokens: Option<TokenCount>,
    /// The texts as the answer holds them, where it does.
    pub(super) texts: Option<Vec<Cow<'body, str>>>,
}

/// Says why a success holds no vectors.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// No shape that the family answers with.
    #[error("it does not parse: {0}")]
    Shape(#[from] serde_json::Error),
    /// The model says why it made none, or that it did not embed the whole text. It would say so again.
    #[error("{0}")]
    Refused(String),
}

/// Writes a body.
pub(super) fn json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("texts and settings are JSON")
}

/// Returns the bounds of a model that takes one text a call, of so many Unicode characters and tokens.
pub(super) const fn one_text(characters: usize, tokens: u64) -> Limits {
    // No character has more than four bytes in UTF-8.
    let (Some(characters_per_text), Some(bytes_per_call)) = (NonZeroUsize::new(characters), NonZeroUsize::new(4 * characters))
    else {
        panic!("a model takes some characters")
    };
    Limits {
        texts_per_call: NonZeroUsize::MIN,
        characters_per_text,
        tokens_per_text: TokenCount::new(tokens),
        tokens_per_call: TokenCount::new(tokens),
        bytes_per_call,
    }
}

/// Returns the family of a model: by its id, or as named where the id does not tell.
pub(super) fn resolve(model: &ModelId, named: Option<&str>) -> Result<&'static dyn Family, Invalid> {
    let find = |is_it: &dyn Fn(&dyn Family) -> bool| FAMILIES.iter().copied().find(|family| is_it(*family));
    let by_id = model.foundation_model().and_then(|id| find(&|family| family.models().iter().any(|known| is_variant(known, id))));
    let known = || super::family_names().join(", ");
    match (by_id, named) {
        (Some(family), None) => Ok(family),
        (Some(family), Some(name)) if family.name() == name => Ok(family),
        (Some(family), Some(name)) => Err(Invalid {
            key: "embed.family",
            problem: format!("is `{name}`, but `{model}` is a model of the family `{}`", family.name()),
            help: "leave it out: the model's id tells its family".into(),
        }),
        (None, Some(name)) => find(&|family| family.name() == name).ok_or_else(|| Invalid {
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
        for (id, family) in [
            ("amazon.titan-embed-text-v1", "titan-text-v1"),
            ("amazon.titan-embed-g1-text-02", "titan-text-v1"),
            ("amazon.titan-embed-text-v2:0", "titan-text-v2"),
            ("amazon.titan-embed-text-v1:2:8k", "titan-text-v1"),
            ("amazon.titan-embed-text-v2:0:8k", "titan-text-v2"),
            ("cohere.embed-english-v3:0:512", "cohere-v3"),
            ("amazon.titan-embed-image-v1", "titan-multimodal-g1"),
            ("amazon.titan-embed-image-v1:0", "titan-multimodal-g1"),
            ("amazon.nova-2-multimodal-embeddings-v1:0", "nova-2"),
            ("cohere.embed-english-v3", "cohere-v3"),
            ("cohere.embed-multilingual-v3", "cohere-v3"),
            ("cohere.embed-v4:0", "cohere-v4"),
            ("twelvelabs.marengo-embed-2-7-v1:0", "marengo-2.7"),
            ("twelvelabs.marengo-embed-3-0-v1:0", "marengo-3.0"),
        ] {
            for prefix in ["", "us.", "eu.", "apac.", "jp.", "au.", "in.", "ca.", "sa.", "us-gov.", "global."] {
                assert_eq!(check(&format!("{prefix}{id}"), None), Ok(family));
                let profile = format!("arn:aws:bedrock:us-east-1:123456789012:inference-profile/{prefix}{id}");
                assert_eq!(check(&profile, None), Ok(family), "{profile}");
            }
            for partition in ["aws", "aws-us-gov", "aws-cn"] {
                let arn = format!("arn:{partition}:bedrock:us-east-1::foundation-model/{id}");
                assert_eq!(check(&arn, None), Ok(family), "{arn}");
            }
        }
    }

    #[test]
    fn every_model_of_the_table_resolves_to_its_own_family_and_no_two_have_a_name() {
        for family in FAMILIES {
            assert!(family.models().iter().all(|id| check(id, None) == Ok(family.name())));
            assert_eq!(FAMILIES.iter().filter(|other| other.name() == family.name()).count(), 1);
        }
    }

    #[test]
    fn an_opaque_arn_needs_a_family_and_takes_the_one_that_is_named() {
        for kind in
            ["application-inference-profile", "provisioned-model", "custom-model", "imported-model", "custom-model-deployment"]
        {
            let arn = format!("arn:aws:bedrock:us-east-1:123456789012:{kind}/abc123");
            let refused = resolve(&ModelId::try_from(arn.clone()).unwrap(), None).unwrap_err();
            assert_eq!(refused.key, "embed.model");
            assert!(FAMILIES.iter().all(|family| refused.help.contains(family.name())), "{}", refused.help);
            for family in FAMILIES {
                assert_eq!(check(&arn, Some(family.name())), Ok(family.name()));
            }
            assert_eq!(check(&arn, Some("word2vec")), Err("embed.family"));
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for unknown in [
            "amazon.titan-embed-text-v9:0",
            "amazon.titan-embed-text-v2",
            "titan",
            "us.us.cohere.embed-v4:0",
            "cohere.command-r-v1:0",
        ] {
            assert_eq!(check(unknown, None), Err("embed.model"), "{unknown}");
        }
        assert_eq!(check("amazon.titan-embed-text-v2:0", Some("cohere-v3")), Err("embed.family"));
    }

    #[test]
    fn every_family_can_pack_every_type_that_it_makes() {
        for family in FAMILIES {
            assert_eq!(family.embedding_types()[0], EmbeddingType::Float, "{}", family.name());
            assert!(family.dimensions().iter().all(|dimensions| dimensions % 8 == 0));
        }
    }
}
