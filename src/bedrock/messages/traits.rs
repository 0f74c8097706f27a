//! What a chat model takes, and which one a model id means.

use super::models::MODELS;
use crate::bedrock::ModelId;
use crate::model::TokenCount;

/// What a model takes of a conversation and of its parameters. All of it is known before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and a table of them is what this is")]
pub struct Traits {
    /// The name that configuration uses where an id does not tell.
    pub name: &'static str,
    /// Ids of foundation models, without the version at their end.
    pub(super) ids: &'static [&'static str],
    /// Whose parameters it takes beside those that all have.
    pub dialect: Dialect,
    /// Whether it takes instructions.
    pub system: bool,
    /// Whether it sees images.
    pub images: bool,
    /// Whether it reads documents.
    pub documents: bool,
    /// Whether it calls tools, and whether it can be made to.
    pub tools: Tools,
    /// Whether arguments of tools can be held to their schema.
    pub strict_tools: bool,
    /// Whether a turn may hold something beside results of tools.
    pub text_beside_results: bool,
    /// Whether it goes on from an assistant's last turn.
    pub prefill: bool,
    /// Whether it keeps what stands before a cache point.
    pub caching: Caching,
    /// Where `top_k` goes.
    pub top_k: TopK,
    /// Which sampling parameters it takes.
    pub sampling: Sampling,
    /// How many stop sequences it takes.
    pub stop_sequences: usize,
    /// Whether answers can be held to a schema.
    pub json_schema: bool,
    /// How it is told how long to think.
    pub effort: Effort,
    /// Input and output together.
    pub context: TokenCount,
    /// The most that `max_tokens` may be.
    pub max_output: u32,
    /// The least.
    pub min_output: u32,
}

/// A provider's own parameters and habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Anthropic's.
    Claude,
    /// Amazon Nova's.
    Nova,
    /// None that matter here.
    Plain,
}

/// What a model does with tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tools {
    /// It has none.
    No,
    /// It calls them as it thinks best.
    Auto,
    /// It can be made to call one.
    Any,
    /// It can be made to call a certain one.
    Named,
}

/// What a model keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caching {
    /// Nothing.
    No,
    /// For five minutes.
    FiveMinutes,
    /// For an hour, if asked.
    OneHour,
}

/// Where `top_k` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopK {
    /// Nowhere.
    No,
    /// `additionalModelRequestFields.top_k`.
    Field,
    /// `additionalModelRequestFields.inferenceConfig.topK`.
    Nova,
}

/// Which sampling parameters a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// All that it has.
    Free,
    /// `temperature` or `top_p`, not both.
    OneOfTwo,
    /// None.
    Fixed,
}

/// How a model is told how long to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Not at all, or not in three words.
    No,
    /// `outputConfig.effort`.
    OutputConfig,
    /// `additionalModelRequestFields.reasoningConfig`.
    ReasoningConfig,
    /// `additionalModelRequestFields.reasoning_effort`.
    Field,
}

/// Says that a model's traits are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No known model has this id.
    #[error("`{0}` is no chat model that riverbed knows")]
    Model(ModelId),
    /// The ARN ends in an id that says nothing.
    #[error("`{0}` is an ARN that does not tell its model")]
    Opaque(ModelId),
    /// No family has this name.
    #[error("`{0}` is no family of chat models")]
    Family(String),
    /// The id tells another one.
    #[error("`{model}` is of the family `{family}`")]
    Other {
        /// The id.
        model: ModelId,
        /// The family it tells.
        family: &'static str,
    },
}

impl Traits {
    /// Returns what a model takes: by its id, or as the family says that is named where the id does not tell.
    ///
    /// The family `any` takes everything and leaves it to the service to refuse.
    ///
    /// # Errors
    /// When neither tells; nothing is guessed.
    pub fn resolve(model: &ModelId, family: Option<&str>) -> Result<&'static Self, Unknown> {
        let by_id = model.foundation_model().and_then(|id| MODELS.iter().find(|traits| traits.is(id)));
        match (by_id, family) {
            (Some(traits), None) => Ok(traits),
            (Some(traits), Some(name)) if traits.name == name => Ok(traits),
            (Some(traits), Some(_)) => Err(Unknown::Other { model: model.clone(), family: traits.name }),
            (None, Some(name)) => {
                MODELS.iter().find(|traits| traits.name == name).ok_or_else(|| Unknown::Family(name.to_owned()))
            }
            (None, None) if model.foundation_model().is_none() => Err(Unknown::Opaque(model.clone())),
            (None, None) => Err(Unknown::Model(model.clone())),
        }
    }

    fn is(&self, id: &str) -> bool {
        let is_version = |rest: &str| rest.is_empty() || rest.starts_with("-v") || rest.starts_with(':');
        self.ids.iter().any(|known| id.strip_prefix(known).is_some_and(is_version))
    }
}

/// Returns the names of the families, for messages.
#[must_use]
pub fn family_names() -> Vec<&'static str> {
    MODELS.iter().map(|traits| traits.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(id: &str, family: Option<&str>) -> Result<&'static str, Unknown> {
        Traits::resolve(&ModelId::try_from(id.to_owned()).unwrap(), family).map(|traits| traits.name)
    }

    #[test]
    fn an_id_tells_its_traits_with_any_prefix_version_and_in_an_arn() {
        for (id, name) in [
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "claude-4.5"),
            ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-4.5"),
            ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6", "claude-sonnet-4.6"),
            ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0", "nova-micro"),
            ("amazon.nova-lite-v1:0:300k", "nova-lite-pro"),
            ("anthropic.claude-opus-5", "claude-5"),
            ("us.anthropic.claude-opus-5-5", "claude-5.5"),
            ("openai.gpt-oss-120b-1:0", "gpt-oss"),
            ("meta.llama3-3-70b-instruct-v1:0", "llama-3"),
            ("mistral.mistral-7b-instruct-v0:2", "mistral-7b"),
        ] {
            assert_eq!(resolve(id, None), Ok(name), "{id}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for id in ["anthropic.claude-opus-5-9", "amazon.nova-lite-2-v1:0", "claude", "amazon.titan-embed-text-v2:0"] {
            assert!(matches!(resolve(id, None), Err(Unknown::Model(_))), "{id}");
        }
        let opaque = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
        assert!(matches!(resolve(opaque, None), Err(Unknown::Opaque(_))));
        assert_eq!(resolve(opaque, Some("claude-5")), Ok("claude-5"));
        assert_eq!(resolve("example.new-model-v1:0", Some("any")), Ok("any"));
        assert!(matches!(resolve(opaque, Some("eliza")), Err(Unknown::Family(_))));
        assert!(matches!(resolve("amazon.nova-micro-v1:0", Some("any")), Err(Unknown::Other { family: "nova-micro", .. })));
    }

    #[test]
    fn every_model_of_the_table_resolves_to_its_own_row_and_no_two_rows_have_a_name() {
        for traits in MODELS {
            assert!(traits.ids.iter().all(|id| resolve(id, None) == Ok(traits.name)), "{}", traits.name);
            assert_eq!(MODELS.iter().filter(|other| other.name == traits.name).count(), 1, "{}", traits.name);
            assert!(traits.min_output >= 1 && traits.min_output <= traits.max_output, "{}", traits.name);
            assert!(TokenCount::new(traits.max_output.into()) <= traits.context, "{}", traits.name);
        }
    }
}
