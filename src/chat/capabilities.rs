//! Traits of chat models, and the lookup of a model id.

use super::models::{MODELS, NEW, NEW_CLAUDE, NEW_NOVA};
use crate::bedrock::ModelId;
use crate::bedrock::model_id::is_version;
use crate::domain::TokenCount;

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
    /// Whether it caches the text before a cache point.
    pub caching: Caching,
    /// Where `top_k` goes.
    pub top_k: TopK,
    /// Which sampling parameters it takes.
    pub sampling: Sampling,
    /// How many stop sequences it takes.
    pub stop_sequences: usize,
    /// Whether answers can be held to a schema.
    pub json_schema: bool,
    /// How a request sets its thinking length.
    pub effort: Effort,
    /// In which words, the least first.
    pub efforts: &'static [&'static str],
    /// How a request turns thinking on.
    pub thinking: Thinking,
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

/// How a request sets a model's thinking length.
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

/// How a request turns on thinking before the answer, in Anthropic's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// Not at all, or by its effort alone.
    No,
    /// With a budget of tokens.
    Budget,
    /// With a budget, or as much as it finds good.
    Either,
    /// As much as it finds good.
    Adaptive,
    /// The same, and it cannot be told not to.
    Always,
}

/// Says that a model's traits are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// This is no id of Bedrock's, which begin with their provider.
    #[error("`{0}` is no id of a chat model (example: `amazon.nova-micro-v1:0`)")]
    Model(ModelId),
    /// The model makes vectors, or orders texts.
    #[error("`{0}` is no chat model: it makes vectors or ranks texts, and writes none")]
    Vectors(ModelId),
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
    /// The family `any` takes everything and leaves it to the service to refuse. So does a model that is not in the table: it is newer
    /// than that.
    ///
    /// # Errors
    /// When the id is none of a chat model, the family has not that name, or the id tells another one.
    pub fn resolve(model: &ModelId, family: Option<&str>) -> Result<&'static Self, Unknown> {
        let by_id = model.foundation_model().and_then(|id| MODELS.iter().find(|traits| traits.is(id)));
        match (by_id, family) {
            (Some(traits), None) => Ok(traits),
            (Some(traits), Some(name)) if traits.name == name => Ok(traits),
            (Some(traits), Some(_)) => Err(Unknown::Other { model: model.clone(), family: traits.name }),
            (None, Some(name)) => {
                MODELS.iter().find(|traits| traits.name == name).ok_or_else(|| Unknown::Family(name.to_owned()))
            }
            (None, None) => match model.foundation_model() {
                Some(id) if !id.contains('.') => Err(Unknown::Model(model.clone())),
                Some(id) if id.contains("embed") || id.contains("rerank") => Err(Unknown::Vectors(model.clone())),
                Some(id) if id.starts_with("anthropic.") => Ok(&NEW_CLAUDE),
                Some(id) if id.starts_with("amazon.nova") => Ok(&NEW_NOVA),
                Some(_) | None => Ok(&NEW),
            },
        }
    }

    /// Returns whether the table has the model, or the configuration says whose rules it follows.
    #[must_use]
    pub fn is_known(model: &ModelId, family: Option<&str>) -> bool {
        family.is_some() || model.foundation_model().is_some_and(|id| MODELS.iter().any(|traits| traits.is(id)))
    }

    fn is(&self, id: &str) -> bool {
        self.ids.iter().any(|known| is_version(known, id))
    }
}

/// Returns every chat model of the table with what it takes, in the table's order.
pub fn known() -> impl Iterator<Item = (&'static str, &'static Traits)> {
    MODELS.iter().flat_map(|traits| traits.ids.iter().map(move |id| (*id, traits)))
}

/// Returns the names of the families, for messages.
#[must_use]
pub fn family_names() -> Vec<&'static str> {
    let mut names: Vec<_> = MODELS.iter().map(|traits| traits.name).collect();
    names.dedup();
    names
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
            ("us-gov.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-3.7-sonnet"),
            ("sa.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-4.5"),
            ("us.anthropic.claude-mythos-5-1", "claude-5-schema"),
            ("global.xai.grok-4.6", "grok-4"),
            ("us.xai.grok-4.7", "grok-4"),
            ("global.openai.gpt-5.6-sol", "gpt-5.6"),
            ("global.openai.gpt-6-astra", "gpt-6"),
            ("us.openai.gpt-6.1-sol", "gpt-6"),
            ("openai.gpt-oss-120b", "gpt-oss"),
            ("global.zai.glm-5.3", "glm-5.3"),
            ("zai.glm-5", "glm"),
            ("amazon.nova-2-omni-v1:0", "nova-2"),
            ("amazon.nova-2-pro-preview-20251202-v1:0", "nova-2"),
            ("cohere.command-r-v1:0", "command-r"),
            ("cohere.command-r-plus-v1:0", "command-r"),
            ("mistral.voxtral-small-24b-2507", "voxtral"),
            ("moonshotai.kimi-k2-thinking", "kimi-k2"),
            ("moonshotai.kimi-k3", "kimi-k3"),
            ("minimax.minimax-m2.5", "minimax-m2.1"),
            ("google.gemma-3-27b-it", "gemma-3"),
            ("nvidia.nemotron-nano-3-30b", "nemotron-nano"),
            ("qwen.qwen3-next-80b-a3b", "qwen3"),
            ("us.anthropic.claude-opus-5-5", "claude-5.5"),
            ("openai.gpt-oss-120b-1:0", "gpt-oss"),
            ("meta.llama3-3-70b-instruct-v1:0", "llama-3"),
            ("mistral.mistral-7b-instruct-v0:2", "mistral-7b"),
        ] {
            assert_eq!(resolve(id, None), Ok(name), "{id}");
        }
    }

    #[test]
    fn a_model_that_is_not_known_is_left_to_the_service_with_its_providers_parameters() {
        let opaque = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
        for (id, dialect) in [
            ("anthropic.claude-opus-5-9", Dialect::Claude),
            ("global.anthropic.claude-opus-7", Dialect::Claude),
            ("amazon.nova-lite-2-v1:0", Dialect::Nova),
            ("example.new-model-v1:0", Dialect::Plain),
            (opaque, Dialect::Plain),
            ("arn:aws:bedrock:us-east-1:123456789012:imported-model/abc123", Dialect::Plain),
        ] {
            let model = ModelId::try_from(id.to_owned()).unwrap();
            let traits = Traits::resolve(&model, None).unwrap();
            assert_eq!((traits.name, traits.dialect, Traits::is_known(&model, None)), ("any", dialect, false), "{id}");
        }
        assert!(matches!(resolve("claude", None), Err(Unknown::Model(_))));
        for id in ["amazon.titan-embed-text-v2:0", "us.cohere.embed-v9:0", "cohere.rerank-v3-5:0"] {
            assert!(matches!(resolve(id, None), Err(Unknown::Vectors(_))), "{id}");
        }
        let known = ModelId::try_from("amazon.nova-micro-v1:0".to_owned()).unwrap();
        assert!(Traits::is_known(&known, None) && Traits::is_known(&ModelId::try_from(opaque.to_owned()).unwrap(), Some("any")));
        assert_eq!(resolve(opaque, Some("claude-5")), Ok("claude-5"));
        assert_eq!(resolve("example.new-model-v1:0", Some("any")), Ok("any"));
        assert!(matches!(resolve(opaque, Some("eliza")), Err(Unknown::Family(_))));
        assert!(matches!(resolve("amazon.nova-micro-v1:0", Some("any")), Err(Unknown::Other { family: "nova-micro", .. })));
    }

    #[test]
    fn every_model_of_the_table_resolves_to_its_own_row() {
        let names = family_names();
        assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1), "{names:?}");
        for traits in MODELS {
            assert!(traits.ids.iter().all(|id| resolve(id, None) == Ok(traits.name)), "{}", traits.name);
            let others = MODELS.iter().filter(|other| other.name == traits.name);
            assert!(others.clone().all(|other| other.dialect == traits.dialect), "{}", traits.name);
            assert!(traits.min_output >= 1 && traits.min_output <= traits.max_output, "{}", traits.name);
            assert!(TokenCount::new(traits.max_output.into()) <= traits.context, "{}", traits.name);
            assert_eq!(traits.effort == Effort::No, traits.efforts.is_empty(), "{}", traits.name);
        }
    }
}
