//! `[messages]`: files that hold a request in OpenAI's shape.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Conversation, Refusal, Request, Settings, Traits, family_names, translate};
use crate::bedrock::ModelId;
use crate::model::DocumentPath;
use crate::report::Invalid;

/// `[messages]`: files that are questions themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Whether a file whose name ends in `.chat.json` is a request in OpenAI's shape (`messages`, and if it likes `model`, `max_tokens`,
    /// `temperature`, `top_p`, `top_k`, `stop`, `system`). It is asked, and neither embedded nor put to `[[chat]]`.
    pub enabled: bool,
    /// Models that such files may name; the first is asked where a file names none. Empty: those of `[[chat]]`.
    pub models: Vec<ModelId>,
    /// The most `max_tokens` that such a file may ask for; also what is sent where it does not say.
    pub max_tokens: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: false, models: Vec::new(), max_tokens: NonZeroU32::new(1024).expect("not zero") }
    }
}

/// What files of messages may ask for.
#[derive(Debug, Clone)]
pub struct Messages {
    models: Vec<(ModelId, &'static Traits)>,
    max_tokens: NonZeroU32,
}

impl Messages {
    /// Checks the section; `others` are the models of `[[chat]]`. `None` where it is switched off.
    ///
    /// # Errors
    /// When a model's rules are not known, or there is none.
    pub fn resolve(config: &Config, others: &[ModelId]) -> Result<Option<Self>, Invalid> {
        if !config.enabled {
            return Ok(None);
        }
        let named = if config.models.is_empty() { others } else { &config.models };
        if named.is_empty() {
            let problem = "is on, but no model may be asked".into();
            return Err(Invalid { key: "messages.enabled", problem, help: "name some in `messages.models`".into() });
        }
        let mut models = Vec::new();
        for model in named {
            match Traits::resolve(model, None) {
                Ok(traits) => models.push((model.clone(), traits)),
                // One of `[[chat]]` that needs its family named there is asked there only.
                Err(_) if config.models.is_empty() && named.len() > 1 => {}
                Err(unknown) => {
                    let help = format!("name a model of a family that is known: {}", family_names().join(", "));
                    return Err(Invalid { key: "messages.models", problem: format!("cannot be used: {unknown}"), help });
                }
            }
        }
        Ok(Some(Self { models, max_tokens: config.max_tokens }))
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
        self.max_tokens.get()
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
        let most = self.max_tokens.get();
        for (field, wanted) in
            [("max_tokens", conversation.max_tokens), ("max_completion_tokens", conversation.max_completion_tokens)]
        {
            if let Some(wanted) = wanted.filter(|wanted| *wanted > most) {
                return Err(Refusal::new(field, format!("is {wanted}; `messages.max-tokens` allows {most}")));
            }
        }
        translate(&conversation, model, traits, &Settings { max_tokens: self.max_tokens, ..Settings::default() })
    }
}
