//! `[messages]`: files that hold a request in OpenAI's shape.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Conversation, EffortWish, Guardrail, GuardrailTrace, Latency, Refusal, Request, Settings, ThinkingWish, TierWish, Traits,
    Ttl, family_names, translate,
};
use crate::bedrock::ModelId;
use crate::chat::capabilities::Unknown;
use crate::domain::{DocumentPath, Fingerprint, Tier};
use crate::report::Invalid;

/// `[messages]`: files that are questions themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MessagesConfig {
    /// Whether a file whose name ends in `.chat.json` is a chat request in OpenAI's format (`messages`, and optionally `model`,
    /// `max_tokens`, `temperature`, `top_p`, `top_k`, `stop`, `system`). It is answered; it is not embedded, and no `[[chat]]`
    /// prompt runs for it.
    pub enabled: bool,
    /// Models that such files may name; the first is the default. Empty: those of `[[chat]]`.
    pub models: Vec<ModelId>,
    /// Largest `max_tokens` that such a file may have, and the value where it has none.
    pub max_tokens: NonZeroU32,
    /// Whose parameters a model of `models` accepts, only where its id does not tell it. Absent: Bedrock checks them.
    pub family: Option<String>,
    /// Id or ARN of a guardrail for questions and answers.
    pub guardrail: Option<String>,
    /// Version of the guardrail: a number, or `DRAFT`.
    pub guardrail_version: String,
    /// Whether the line says what the guardrail found.
    pub guardrail_trace: bool,
    /// Whether the model caches a file's instructions, if it can, also without `cache_control` in the file.
    pub cache_prompt: bool,
    /// How long the cache keeps them: `5m` from their last use, or `1h`, which costs more to write. Absent: five minutes.
    pub cache_ttl: Option<Ttl>,
    /// Service tier where the file has no `service_tier`: `default`, `flex` (cheaper, slower), `priority` (more expensive,
    /// faster) or `reserved`.
    pub service_tier: Option<TierWish>,
    /// `optimized` uses faster hardware on models that have it. Absent: `standard`.
    pub latency: Option<Latency>,
    /// Labels for Bedrock's invocation log, such as `{ team = "search" }`, besides those in a file's `metadata`.
    pub metadata: BTreeMap<String, String>,
    /// Reasoning effort where the file has no `reasoning_effort`: `low`, `medium`, `high`, `xhigh` or `max`, as far as the model
    /// goes.
    pub effort: Option<EffortWish>,
    /// Thinking where the file has no `thinking`: `"off"`, `"adaptive"` or a number of tokens (Claude).
    pub thinking: Option<ThinkingWish>,
}

impl Default for MessagesConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            models: Vec::new(),
            max_tokens: NonZeroU32::new(1024).expect("not zero"),
            family: None,
            guardrail: None,
            guardrail_version: "DRAFT".into(),
            guardrail_trace: false,
            cache_prompt: false,
            cache_ttl: None,
            service_tier: None,
            latency: None,
            metadata: BTreeMap::new(),
            effort: None,
            thinking: None,
        }
    }
}

/// What files of messages may ask for.
#[derive(Debug, Clone)]
pub struct Messages {
    models: Vec<(ModelId, &'static Traits)>,
    unknown: Vec<ModelId>,
    settings: Settings,
    /// Of what shapes an answer beside the file, where anything does.
    fingerprint: Option<Fingerprint>,
}

impl Messages {
    /// Checks the section; `others` are the models of `[[chat]]`, with the families that are named there. `None` where it is switched
    /// off.
    ///
    /// # Errors
    /// When there is no model, or one that writes no answers; or when the first one takes no question with these settings.
    pub fn resolve(config: &MessagesConfig, others: &[(ModelId, Option<String>)]) -> Result<Option<Self>, Invalid> {
        if !config.enabled {
            return Ok(None);
        }
        let named = if config.models.is_empty() {
            others.iter().map(|(model, _)| model.clone()).collect()
        } else {
            config.models.clone()
        };
        if named.is_empty() {
            let problem = "is on, but no model may be asked".into();
            return Err(Invalid { key: "messages.enabled", problem, help: "name some in `messages.models`".into() });
        }
        let (mut models, mut unknown) = (Vec::new(), Vec::new());
        for model in named {
            // What the id tells counts, then what its `[[chat]]` says, then the section.
            let of_chat = others.iter().find(|(other, family)| *other == model && family.is_some());
            let family = of_chat.and_then(|(_, family)| family.as_deref()).or(config.family.as_deref());
            let family = family.filter(|_| !Traits::is_known(&model, None));
            let traits = Traits::resolve(&model, family).map_err(|why| {
                let (key, help) = match why {
                    Unknown::Family(_) => ("messages.family", format!("there are {}", family_names().join(", "))),
                    _ => ("messages.models", "name a model that answers: `riverbed models` lists those that are known".into()),
                };
                Invalid { key, problem: format!("cannot be used: {why}"), help }
            })?;
            if !Traits::is_known(&model, family) && !unknown.contains(&model) {
                unknown.push(model.clone());
            }
            models.push((model, traits));
        }
        let guardrail = config.guardrail.clone().map(|guardrail_identifier| Guardrail {
            guardrail_identifier,
            guardrail_version: config.guardrail_version.clone(),
            trace: if config.guardrail_trace { GuardrailTrace::Enabled } else { GuardrailTrace::Disabled },
        });
        let settings = Settings {
            max_tokens: config.max_tokens,
            cache_system: config.cache_prompt,
            cache_ttl: config.cache_ttl,
            guardrail,
            tier: config.service_tier,
            latency: config.latency,
            metadata: config.metadata.clone(),
            effort: config.effort,
            thinking: config.thinking,
        };
        let messages = Self { models, unknown, settings, fingerprint: fingerprint(config) };
        // What a file does not say is not the file's fault.
        if let Err(refusal) = messages.read(br#"{"messages":[{"role":"user","content":"Hello"}]}"#) {
            let key = match refusal.field.as_str() {
                "thinking" => "messages.thinking",
                "reasoning_effort" => "messages.effort",
                field if field.starts_with("metadata") => "messages.metadata",
                _ => "messages.max-tokens",
            };
            let help = "change it, leave it out, or name another model first".into();
            return Err(Invalid { key, problem: format!("would be refused: {refusal}"), help });
        }
        Ok(Some(messages))
    }

    /// Returns the tier that files ask for that do not say, and whether what the model keeps is kept for an hour.
    #[must_use]
    pub fn rate(&self) -> (Tier, bool) {
        self.settings.rate()
    }

    /// Returns the models of which nothing is known, so that the service alone says what they take.
    #[must_use]
    pub fn unknown(&self) -> &[ModelId] {
        &self.unknown
    }

    /// Returns the fingerprint of what shapes an answer beside the file; `None` where nothing does.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// Returns whether a file is one of messages, by its name.
    #[must_use]
    pub fn is_file(path: &DocumentPath) -> bool {
        path.as_bytes().ends_with(b".chat.json")
    }

    /// Returns the models that may be asked.
    pub fn models(&self) -> impl Iterator<Item = &ModelId> {
        self.models.iter().map(|(model, _)| model)
    }

    /// Returns the longest answer that may be asked for, in tokens.
    #[must_use]
    pub fn max_tokens(&self) -> u32 {
        self.settings.max_tokens.get()
    }

    /// Reads a file of messages into the request that it makes.
    ///
    /// # Errors
    /// With the field that Bedrock, the model or the configuration would not take.
    pub fn read(&self, json: &[u8]) -> Result<Request, Refusal> {
        let conversation = Conversation::parse(json)?;
        let (model, traits) = match &conversation.model {
            None => self.models.first(),
            Some(wanted) => self.models.iter().find(|(model, _)| model == wanted),
        }
        .ok_or_else(|| {
            let allowed: Vec<_> = self.models.iter().map(|(model, _)| format!("`{model}`")).collect();
            let wanted = conversation.model.as_ref().map(ToString::to_string).unwrap_or_default();
            Refusal::new("model", format!("is `{wanted}`, which is not in `messages.models`: {}", allowed.join(", ")))
        })?;
        let most = self.max_tokens();
        for (field, wanted) in
            [("max_tokens", conversation.max_tokens), ("max_completion_tokens", conversation.max_completion_tokens)]
        {
            if let Some(wanted) = wanted.filter(|wanted| *wanted > most) {
                return Err(Refusal::new(field, format!("is {wanted}; `messages.max-tokens` allows {most}")));
            }
        }
        translate(&conversation, model, traits, &self.settings)
    }
}

/// Returns the fingerprint of the keys that shape an answer. Where none is set it is absent, as it was before there were any.
fn fingerprint(config: &MessagesConfig) -> Option<Fingerprint> {
    let guardrail = config.guardrail.as_ref().map(|guardrail| [guardrail.clone(), config.guardrail_version.clone()].join(" "));
    let shapes = [
        ("guardrail", guardrail),
        ("effort", config.effort.map(|effort| effort.as_str().to_owned())),
        ("thinking", config.thinking.map(|thinking| thinking.to_string())),
    ];
    let shapes: Vec<_> = shapes.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    (!shapes.is_empty()).then(|| Fingerprint::of(&shapes))
}
