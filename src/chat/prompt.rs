//! `[[chat]]`: prompts that run over each document, with their models.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Prepared;
use super::{
    capabilities,
    openai::{
        Content, Conversation, EffortWish, Guardrail, GuardrailTrace, Latency, Message, Refusal, Role, Settings, ThinkingWish,
        TierWish, Traits, Ttl, family_names, translate,
    },
};
use crate::bedrock::ModelId;
use crate::domain::{ContentHash, DocumentPath, Fingerprint, QuestionKey, Tier, TokenCount};
use crate::report::Invalid;

use super::template::{Marks, Template, Variable};

/// `[[chat]]`: one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PromptConfig {
    /// Name of the prompt in the output. Renaming it makes no calls and writes the answers again under the new name.
    pub name: String,
    /// Chat model: an id, with or without a region prefix, or an ARN.
    pub model: ModelId,
    /// Whose parameters the model accepts, only where its id does not tell it. `any` leaves checks to Bedrock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Whether the prompt runs for each `document` or for each `chunk`.
    #[serde(default)]
    pub per: Per,
    /// System prompt, the same for every document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// User prompt. `{{text}}` is the text, as a marked block. Also available: `{{document}}` (its path), `{{document-text}}`
    /// (the whole text, for a chunk), `{{headings}}`, `{{chunk}}`, `{{chunks}}` and `{{media-type}}`.
    pub prompt: String,
    /// Longest answer in tokens. A longer one is cut and marked.
    #[serde(default = "max_tokens")]
    pub max_tokens: NonZeroU32,
    /// Randomness of sampling. Absent: the model's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling. Absent: the model's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Number of likeliest tokens to sample from, on models that have it. Absent: the model's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Texts at which the model stops.
    #[serde(default)]
    pub stop_sequences: Vec<String>,
    /// What happens to a text longer than the model's context: `fail`, `truncate` (uses its beginning) or `map-reduce` (asks
    /// about its parts, then about their answers).
    #[serde(default)]
    pub long: Long,
    /// Whether the model caches the instructions, if it can. From the second call on they are cheaper.
    #[serde(default)]
    pub cache_prompt: bool,
    /// How long the cache keeps them: `5m` from their last use, or `1h`, which costs more to write. Absent: five minutes. Applies
    /// to `embed.context` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ttl: Option<Ttl>,
    /// Service tier: `default`, `flex` (cheaper, slower), `priority` (more expensive, faster) or `reserved`. Absent: `default`.
    /// Not every model has every tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<TierWish>,
    /// `optimized` uses faster hardware on models that have it. Absent: `standard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Labels for Bedrock's invocation log, such as `{ team = "search" }`; at most 16.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Reasoning effort: `low`, `medium`, `high`, `xhigh` or `max`, as far as the model goes. Absent: the model's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<EffortWish>,
    /// Thinking: `"off"`, `"adaptive"` or a number of tokens out of `max-tokens` (Claude). Absent: the model's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingWish>,
    /// Id or ARN of a guardrail for question and answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<String>,
    /// Version of the guardrail: a number, or `DRAFT`.
    #[serde(default = "draft")]
    pub guardrail_version: String,
    /// Whether the line says what the guardrail found.
    #[serde(default)]
    pub guardrail_trace: bool,
    /// Globs of the documents that the prompt runs for, with the rules of `source.include`. Empty: all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs of the documents that the prompt does not run for.
    #[serde(default)]
    pub exclude: Vec<String>,
}

fn max_tokens() -> NonZeroU32 {
    NonZeroU32::new(1024).expect("not zero")
}

fn draft() -> String {
    "DRAFT".into()
}

/// What a prompt runs over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Each document.
    #[default]
    Document,
    /// Each chunk.
    Chunk,
}

/// How a text is handled that is longer than the model's context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Long {
    /// Its document fails.
    #[default]
    Fail,
    /// The prompt sees its beginning.
    Truncate,
    /// The prompt runs over its parts, then over their answers.
    MapReduce,
}

/// A prompt that can be asked.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Its name.
    pub name: Arc<str>,
    /// The model.
    pub model: ModelId,
    /// What it runs over.
    pub per: Per,
    pub(super) config: PromptConfig,
    pub(super) traits: &'static Traits,
    pub(super) template: Template,
    pub(super) settings: Settings,
    /// Whether its answers come before the chunks that are embedded.
    pub(super) is_for_contexts: bool,
}

/// What the prompt runs over.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The document.
    pub document: &'a DocumentPath,
    /// IANA media type of its file.
    pub media_type: &'a str,
    /// The text in question: the document's, a chunk's, or what was answered to parts of it.
    pub text: &'a str,
    /// All of the document's text.
    pub document_text: &'a str,
    /// Headings above the chunk.
    pub headings: &'a [Box<str>],
    /// The chunk's place, from 0.
    pub chunk: Option<usize>,
    /// How many chunks there are.
    pub chunks: usize,
}

/// What is sent to ask something.
#[derive(Debug)]
pub struct Asking {
    /// The requests: one, or one for each part of a long text, whose answers are then asked about.
    pub requests: Vec<Prepared>,
    /// What was done because the text is long.
    pub long: Option<String>,
    /// Names the text of each part, where there are parts.
    pub parts: Vec<ContentHash>,
}

/// Says why something cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotAsk {
    /// The text does not fit.
    #[error("about {needed} tokens with the answer, and the model's context holds {context}")]
    TooLong {
        /// Tokens, as estimated, with those of the answer.
        needed: TokenCount,
        /// What the model takes.
        context: TokenCount,
    },
    /// Bedrock or the model would not take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Estimates the tokens of a text.
pub type Estimate = fn(&str) -> TokenCount;

/// Cuts a text into at most so many parts.
pub type CutText = fn(&str, usize) -> Vec<std::ops::Range<usize>>;

/// Parts of a long text at most: more would cost a fortune unasked.
const MOST_PARTS: usize = 64;

/// A text that is longer, in bytes, is in no model's context, at a quarter of a token for a letter: no request is made of it to see that.
pub(super) const LONGEST: usize = 8 << 20;

impl Prompt {
    /// Checks a prompt, without asking AWS: its model, its variables, and that the model takes its parameters.
    ///
    /// # Errors
    /// When it cannot work.
    pub fn resolve(config: PromptConfig) -> Result<Self, Invalid> {
        let shown = if config.name.is_empty() { "(without a name)" } else { &config.name };
        let invalid =
            |key, problem: String, help: &str| Invalid { key, problem: format!("of `{shown}` {problem}"), help: help.into() };
        if config.name.is_empty() || config.name.chars().any(char::is_control) {
            return Err(invalid("chat.name", "is empty or has control characters in it".into(), "give it a word, as `summary`"));
        }
        let traits = Traits::resolve(&config.model, config.family.as_deref()).map_err(|unknown| {
            let key = if config.family.is_some() && !matches!(unknown, capabilities::Unknown::Model(_)) {
                "chat.family"
            } else {
                "chat.model"
            };
            let help = match unknown {
                capabilities::Unknown::Family(_) => format!("there are {}", family_names().join(", ")),
                _ => "name another model, or say in `family` whose rules it follows; `any` leaves it to the service".into(),
            };
            invalid(key, format!("cannot be used: {unknown}"), &help)
        })?;
        let template = Template::parse(&config.prompt)
            .map_err(|problem| invalid("chat.prompt", problem, "write `{{text}}` where the document's text belongs"))?;
        if !template.has(Variable::Text) {
            let help = "write `{{text}}` where the document's text belongs";
            return Err(invalid("chat.prompt", "never shows the text".into(), help));
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
        let prompt = Self {
            name: config.name.as_str().into(),
            model: config.model.clone(),
            per: config.per,
            traits,
            template,
            settings,
            is_for_contexts: false,
            config,
        };
        // What a file of messages may ask for in vain is a mistake in a configuration: somebody reads what is said of it.
        let request = prompt.request(Content::Text("words".into())).and_then(|request| match request.notes.first() {
            Some(note) => {
                let (field, problem) = note.split_once(": ").unwrap_or((note, ""));
                Err(Refusal { field: field.to_owned(), problem: problem.to_owned() })
            }
            None => Ok(request),
        });
        match request {
            Ok(_) => Ok(prompt),
            Err(refusal) => {
                let key = key_of(&refusal.field);
                let help = "change it, leave it out, or name another model";
                let problem = format!("would be refused: {refusal}");
                Err(Invalid { key, problem: format!("of `{}` {problem}", prompt.name), help: help.into() })
            }
        }
    }

    /// Returns the tier that is asked for, and whether what the model keeps is kept for an hour.
    #[must_use]
    pub fn rate(&self) -> (Tier, bool) {
        self.settings.rate()
    }

    /// Returns whether the model is known, or it is said whose rules it follows.
    #[must_use]
    pub fn is_known(&self) -> bool {
        Traits::is_known(&self.model, self.config.family.as_deref())
    }

    /// Returns the fingerprint of what shapes an answer beside the document's text. Keys that came later count only where they
    /// are set: a prompt without them has the fingerprint that it had before.
    #[must_use]
    pub fn fingerprint(&self, emulated: bool) -> Fingerprint {
        let PromptConfig { model, system, prompt, max_tokens, temperature, top_p, top_k, stop_sequences, long, .. } =
            &self.config;
        let PromptConfig { guardrail, guardrail_version, .. } = &self.config;
        let number = |number: Option<String>| number.unwrap_or_default();
        let effort = self.config.effort.map(EffortWish::as_str);
        let thinking = self.config.thinking.map(|thinking| thinking.to_string());
        let later = [("effort", effort), ("thinking", thinking.as_deref())];
        let later = later.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let emulated = emulated.to_string();
        let (max_tokens, long) = (max_tokens.to_string(), format!("{long:?}"));
        let (temperature, top_p) = (temperature.map(|value| value.to_string()), top_p.map(|value| value.to_string()));
        let (top_k, stop_sequences) = (top_k.map(|value| value.to_string()), stop_sequences.join("\0"));
        let (temperature, top_p, top_k) = (number(temperature), number(top_p), number(top_k));
        let first = [
            ("emulated", emulated.as_str()),
            ("model", model.as_str()),
            ("system", system.as_deref().unwrap_or_default()),
            ("prompt", prompt),
            ("max-tokens", &max_tokens),
            ("temperature", &temperature),
            ("top-p", &top_p),
            ("top-k", &top_k),
            ("stop-sequences", &stop_sequences),
            ("long", &long),
            ("guardrail", guardrail.as_deref().unwrap_or_default()),
            ("guardrail-version", guardrail_version),
        ];
        Fingerprint::of(&first.into_iter().chain(later).collect::<Vec<_>>())
    }

    /// Returns a text as it is in a prompt: between two marks that it cannot forge.
    #[must_use]
    pub fn block(text: &str) -> String {
        let mut block = String::new();
        let _infallible = super::template::block(&mut block, text, Marks::Keyed);
        block
    }

    /// Returns the longest answer that is asked for, in tokens.
    #[must_use]
    pub fn max_tokens(&self) -> u32 {
        self.config.max_tokens.get()
    }

    /// Returns what a question is known by under settings, by their fingerprint: the text, and what else is in the prompt. What is equal
    /// is the same question.
    #[must_use]
    pub fn key(&self, settings: Fingerprint, about: &About<'_>) -> QuestionKey {
        QuestionKey::of_written(settings, |out| self.template.write(out, about, Marks::Known))
    }

    /// Returns How a text is handled that is longer than the model's context.
    #[must_use]
    pub fn long(&self) -> Long {
        self.config.long
    }

    /// Makes the requests of a question.
    ///
    /// # Errors
    /// When the text does not fit the model's context and may not be shortened, or when the model would not take it.
    pub fn ask(&self, about: &About<'_>, estimate: Estimate, cut: CutText) -> Result<Asking, CannotAsk> {
        // What is shortened must fit for certain, and estimates of tokens are off by some percent.
        let context = self.traits.context;
        self.within(about, context, TokenCount::new(context.get() / 10 * 9), estimate, cut)
    }

    /// Makes the requests of a question that the model found too long: of each, input and answer are estimated at no more than `room`.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn ask_within(&self, about: &About<'_>, room: TokenCount, estimate: Estimate, cut: CutText) -> Result<Asking, CannotAsk> {
        self.within(about, room, room, estimate, cut)
    }

    fn within(
        &self,
        about: &About<'_>,
        context: TokenCount,
        room: TokenCount,
        estimate: Estimate,
        cut: CutText,
    ) -> Result<Asking, CannotAsk> {
        // Before a chunk stands all of its document, which is what there may be too much of.
        let is_of_document = self.is_for_contexts && self.template.has(Variable::DocumentText);
        let text = if is_of_document { about.document_text } else { about.text };
        let marked = |text: &str, marks: Marks| {
            let about = if is_of_document { About { document_text: text, ..*about } } else { About { text, ..*about } };
            let content = self.content(&about, estimate, marks);
            Ok::<_, CannotAsk>(Prepared::new(self.request(content)?, estimate))
        };
        // What fits is found with marks that are the same in every process, or a long text would be cut in other places by the next.
        let measure = |text: &str| marked(text, Marks::Known).map(|request| request.reserved());
        let prepare = |text: &str| marked(text, Marks::Keyed);
        let needed = if text.len() <= LONGEST {
            let needed = measure(text)?;
            if needed <= context {
                return Ok(Asking { requests: vec![prepare(text)?], long: None, parts: Vec::new() });
            }
            needed
        } else {
            estimate(text)
        };
        match self.config.long {
            Long::Fail => Err(CannotAsk::TooLong { needed, context }),
            Long::Truncate => {
                let beginning = &text[..text.floor_char_boundary(LONGEST)];
                let kept = shorten(beginning, room, measure)?.ok_or(CannotAsk::TooLong { needed, context })?;
                let request = prepare(&text[..kept])?;
                let long = format!("truncated to {kept} of {} bytes", text.len());
                Ok(Asking { requests: vec![request], long: Some(long), parts: Vec::new() })
            }
            Long::MapReduce => {
                let least = text.len().div_ceil(LONGEST);
                for parts in least.max(2)..=MOST_PARTS {
                    let pieces = cut(text, parts);
                    let mut do_fit = true;
                    for piece in &pieces {
                        do_fit = do_fit && measure(&text[piece.clone()])? <= room;
                    }
                    if do_fit {
                        let requests = pieces.iter().map(|piece| prepare(&text[piece.clone()]));
                        let requests = requests.collect::<Result<Vec<_>, _>>()?;
                        let long = format!("asked in {} parts, then about their answers", requests.len());
                        let hash = |piece: &std::ops::Range<usize>| ContentHash::of(text[piece.clone()].as_bytes());
                        return Ok(Asking { requests, long: Some(long), parts: pieces.iter().map(hash).collect() });
                    }
                }
                Err(CannotAsk::TooLong { needed, context })
            }
        }
    }

    pub(super) fn request(&self, content: Content) -> Result<super::openai::Request, Refusal> {
        let PromptConfig { temperature, top_p, top_k, stop_sequences, .. } = &self.config;
        let conversation = Conversation {
            temperature: *temperature,
            top_p: *top_p,
            top_k: *top_k,
            stop: stop_sequences.clone(),
            system: self.config.system.clone().map(Content::Text),
            messages: vec![Message::new(Role::User, content)],
            ..Conversation::default()
        };
        translate(&conversation, &self.model, self.traits, &self.settings)
    }
}

/// Leaves out of a text's end what is too much. Returns how many bytes are kept; `None` where nothing is short enough.
pub(super) fn shorten(
    text: &str,
    room: TokenCount,
    measure: impl Fn(&str) -> Result<TokenCount, CannotAsk>,
) -> Result<Option<usize>, CannotAsk> {
    let (mut kept, mut needed) = (text, measure(text)?);
    // Each round leaves out what is over, and a little more: the estimate is not linear.
    for _ in 0..20 {
        kept = &kept[..kept.floor_char_boundary(scaled(kept.len(), share(room, needed)))];
        needed = measure(kept)?;
        if needed <= room {
            return Ok(Some(kept.len()));
        }
    }
    Ok(None)
}

/// Returns which part of a text is kept so that so many tokens become so few, a little less than that.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(room: TokenCount, needed: TokenCount) -> f64 {
    (0.98 * room.get() as f64 / needed.get().max(1) as f64).min(0.98)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is a length"
)]
fn scaled(length: usize, share: f64) -> usize {
    (length as f64 * share) as usize
}

/// Returns the key of `[[chat]]` that a field of the request comes from.
fn key_of(field: &str) -> &'static str {
    match field {
        "temperature" => "chat.temperature",
        "top_p" => "chat.top-p",
        "top_k" => "chat.top-k",
        "max_tokens" | "max_completion_tokens" => "chat.max-tokens",
        "system" => "chat.system",
        "reasoning_effort" => "chat.effort",
        "thinking" => "chat.thinking",
        "cache-ttl.ttl" => "chat.cache-ttl",
        field if field.starts_with("metadata") => "chat.metadata",
        field if field.starts_with("stop") => "chat.stop-sequences",
        _ => "chat.prompt",
    }
}

#[cfg(test)]
mod tests;
