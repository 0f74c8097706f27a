//! OpenAI's messages to a Converse request. Does no I/O: a request that Bedrock or the model would reject is rejected here, with the
//! name of the field.
//!
//! The rules, where the two differ:
//!
//! - `system` and `developer` messages go to `system`, in their order, wherever they are; before them the request's own `system`.
//!   A model that takes no system text gets none: the request is refused.
//! - Neighbours of one role become one turn. Results of tools come first in the user's; reasoning, text and calls follow each other
//!   in the assistant's.
//! - Parts and messages of nothing but white space are left out, because Bedrock refuses them and they say nothing. Nothing else is
//!   left out, and nothing is put in: no text of ours ever stands in for what could not be sent.
//! - The user speaks first. Where the assistant does, the request is refused. The assistant may speak last, if the model goes on
//!   from there.
//! - What changes nothing in the answer (`seed`, `user`, a detail of images) is left out with a note, as are cache points of a model that
//!   keeps none; a word for effort that the model has not becomes the nearest below it.
//! - Every call of a tool has its result in the turn after it. Ids that Bedrock does not take are replaced, on both sides alike;
//!   names are not, since the model answers with them.
//! - Images and documents are data URIs. Nothing is fetched. Documents are called `document 1`, `document 2` and so on.
//! - Parameters that a model would refuse are refused, and so are fields that Bedrock has nothing like.
//!
//! ```
//! use riverbed::chat::openai::{Conversation, Settings, Traits, translate};
//!
//! let file = br#"{"model":"us.amazon.nova-micro-v1:0", "max_tokens":300, "top_k":20,
//!                 "messages":[{"role":"developer","content":"Answer in one word."},
//!                             {"role":"user","content":"What is an otter?"}]}"#;
//! let conversation = Conversation::parse(file)?;
//! let model = conversation.model.clone().expect("the file names one");
//! let request = translate(&conversation, &model, Traits::resolve(&model, None)?, &Settings::default())?;
//!
//! assert_eq!(serde_json::to_value(&request)?, serde_json::json!({
//!     "system": [{"text": "Answer in one word."}],
//!     "messages": [{"role": "user", "content": [{"text": "What is an otter?"}]}],
//!     "inferenceConfig": {"maxTokens": 300},
//!     "additionalModelRequestFields": {"inferenceConfig": {"topK": 20}},
//! }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
pub mod parts;
pub mod schema;

mod data_uri;
mod parameters;
mod tools;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::bedrock::ModelId;
use crate::domain::Tier;

pub use super::capabilities::{Traits, family_names};
pub use super::converse::{Guardrail, GuardrailTrace, Request};
pub use super::models::AS_OF;
pub use super::refusal::Refusal;
pub use super::request_options::{EffortWish, Latency, ThinkingWish, TierWish};
pub use config::Messages;
pub use parts::{Content, Part, Ttl};
pub use schema::{Conversation, Message, Role};

use super::converse::{PerformanceConfig, System};
use parts::Cache;

/// What configuration adds to a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The most tokens of an answer, where the conversation does not say. Something is always sent: without it the service reserves
    /// the model's maximum of the quota.
    pub max_tokens: NonZeroU32,
    /// Whether a cache point follows the system text, where the model keeps one.
    pub cache_system: bool,
    /// How long the model keeps the text before that point; absent: five minutes.
    pub cache_ttl: Option<Ttl>,
    /// The guardrail that watches over question and answer.
    pub guardrail: Option<Guardrail>,
    /// How urgent it is, where the conversation does not say.
    pub tier: Option<TierWish>,
    /// Whether it is served on what is made for speed.
    pub latency: Option<Latency>,
    /// Labels for the invocation log, beside the conversation's own.
    pub metadata: BTreeMap<String, String>,
    /// How hard the model thinks, where the conversation does not say.
    pub effort: Option<EffortWish>,
    /// Whether it thinks first, where the conversation does not say.
    pub thinking: Option<ThinkingWish>,
}

impl Settings {
    /// Returns the tier that is asked for, and whether what the model keeps is kept for an hour.
    #[must_use]
    pub fn rate(&self) -> (Tier, bool) {
        (self.tier.map(|tier| Tier::of(tier.as_str())).unwrap_or_default(), self.cache_ttl == Some(Ttl::OneHour))
    }
}

impl Default for Settings {
    /// 1,024 tokens and nothing else.
    fn default() -> Self {
        Self {
            max_tokens: NonZeroU32::new(1024).expect("not zero"),
            cache_system: false,
            cache_ttl: None,
            guardrail: None,
            tier: None,
            latency: None,
            metadata: BTreeMap::new(),
            effort: None,
            thinking: None,
        }
    }
}

/// Translates a conversation into a request to a model.
///
/// Which model is asked is the caller's to say: [`Conversation::model`] is a wish.
///
/// # Errors
/// When Bedrock or the model would not take it.
pub fn translate(conversation: &Conversation, model: &ModelId, traits: &Traits, settings: &Settings) -> Result<Request, Refusal> {
    let turns = turns::translate(conversation.system.as_ref(), &conversation.messages, settings, traits)?;
    let mut notes = turns.notes;
    parameters::check_neutral(conversation, &mut notes)?;
    let mut system = turns.system;
    let wish = match (conversation.cache_control, settings.cache_system) {
        (Some(cache), _) => Some((cache, "cache_control")),
        (None, true) if traits.caching != super::capabilities::Caching::No => {
            Some((Cache { r#type: parts::Ephemeral::Ephemeral, ttl: settings.cache_ttl }, "cache-ttl"))
        }
        (None, _) => None,
    };
    if let Some((cache, field)) = wish
        && !matches!(system.last(), None | Some(System::CachePoint(_)))
    {
        system.extend(turns::cache_point(cache, traits, field, &mut notes).map(System::CachePoint));
    }
    let tools = tools::translate(conversation, turns.uses_tools, traits, &mut notes)?;
    let inference_config = parameters::inference(conversation, settings, traits)?;
    let effort = parameters::effort(conversation, settings, traits, &mut notes)?;
    let thinking = parameters::thinking(conversation, settings, inference_config.max_tokens, traits, &mut notes)?;
    let thinks = thinking.is_some() || effort.is_some();
    let is_text = conversation.response_format.is_none();
    let mut additional = parameters::additional(conversation, effort, thinking, traits)?;
    additional.extend(tools.additional);
    let request = Request {
        model: model.clone(),
        burndown: super::quota_cost::burndown(model, traits),
        goes_on: traits.prefill
            && !traits.ids.is_empty()
            && tools.config.is_none()
            && !thinks
            && is_text
            && turns.turns.last().is_some_and(|turn| turn.role == super::converse::TurnRole::User),
        messages: turns.turns,
        system,
        inference_config,
        tool_config: tools.config,
        guardrail_config: settings.guardrail.clone(),
        additional_model_request_fields: additional,
        request_metadata: parameters::metadata(conversation, settings, &mut notes)?,
        service_tier: parameters::tier(conversation, settings, &mut notes)?,
        performance_config: settings.latency.map(|latency| PerformanceConfig { latency }),
        output_config: parameters::output(conversation, effort, traits)?,
        notes: notes.into_inner(),
    };
    super::request_limits::check(&request)?;
    Ok(request)
}

/// Returns whether a text says nothing. Bedrock counts control characters with white space.
fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || character.is_control())
}
