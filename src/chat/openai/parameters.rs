//! Inference parameters, mapped to Converse fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Settings;
use super::schema::{Conversation, FormatType, ResponseFormat};
use crate::chat::capabilities::{Dialect, Effort, Sampling, Thinking, TopK, Traits};
use crate::chat::converse::{Inference, OutputConfig, SchemaText, ServiceTier, Structure, TextFormat};
use crate::chat::refusal::{Notes, Refusal};
use crate::chat::request_options::{EffortWish, ThinkingWish, TierWish};

/// The largest number of tokens that the API can carry.
const MOST_TOKENS: u32 = i32::MAX.unsigned_abs();

/// Refuses what Bedrock has nothing like and what would make another answer of it, unless it says nothing; notes what only says how the
/// answer is to travel, or to be kept.
pub(super) fn check_neutral(conversation: &Conversation, notes: &mut Notes) -> Result<(), Refusal> {
    let is_some_number = |number: Option<f64>| number.is_some_and(|number| number != 0.0);
    for (field, says_something, help) in [
        (
            "n",
            conversation.n.is_some_and(|n| n != 1),
            "Bedrock gives one answer to a request: drop the file as often as you want one",
        ),
        ("frequency_penalty", is_some_number(conversation.frequency_penalty), "Bedrock has no such setting: leave it out"),
        ("presence_penalty", is_some_number(conversation.presence_penalty), "Bedrock has no such setting: leave it out"),
        ("logprobs", conversation.logprobs == Some(true), "Bedrock tells no probabilities: leave it out"),
        (
            "logit_bias",
            conversation.logit_bias.as_ref().is_some_and(|biases| !biases.is_empty()),
            "Bedrock has no such setting: leave it out",
        ),
        (
            "modalities",
            conversation.modalities.iter().flatten().any(|modality| modality != "text"),
            "riverbed takes only text as an answer: write `[\"text\"]`, or leave it out",
        ),
        (
            "functions",
            conversation.functions.as_ref().is_some_and(|functions| !functions.is_empty()),
            "is long out of use: write `tools`",
        ),
        ("web_search_options", is_there(conversation.web_search_options.as_ref()), "Bedrock searches nothing: leave it out"),
    ] {
        if says_something {
            return Err(Refusal::new(field, help));
        }
    }
    let no_setting = "was left out: Bedrock has nothing like it";
    for (field, is_there, what) in [
        ("seed", is_there(conversation.seed.as_ref()), "was left out: Bedrock draws as it likes"),
        ("verbosity", is_there(conversation.verbosity.as_ref()), no_setting),
        ("prediction", is_there(conversation.prediction.as_ref()), no_setting),
        (
            "prompt_cache_key",
            is_there(conversation.prompt_cache_key.as_ref()),
            "was left out: Bedrock finds what is cached by itself",
        ),
        (
            "prompt_cache_retention",
            is_there(conversation.prompt_cache_retention.as_ref()),
            "was left out: `cache_control` says how long",
        ),
        ("stream_options", is_there(conversation.stream_options.as_ref()), "was left out: what was used is always said"),
        ("top_logprobs", is_there(conversation.top_logprobs.as_ref()), "was left out: Bedrock tells no probabilities"),
        ("store", conversation.store == Some(true), "was left out: Bedrock keeps no answers"),
    ] {
        if is_there {
            notes.add(field, what);
        }
    }
    Ok(())
}

fn is_there(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !value.is_null())
}

/// Translates what Converse itself has.
pub(super) fn inference(conversation: &Conversation, settings: &Settings, traits: &Traits) -> Result<Inference, Refusal> {
    let max_tokens = max_tokens(conversation, settings, traits)?;
    let temperature = between_0_and_1("temperature", conversation.temperature)?;
    let top_p = between_0_and_1("top_p", conversation.top_p)?;
    let (temperature, top_p) = match (traits.sampling, temperature, top_p) {
        (Sampling::OneOfTwo, Some(_), Some(_)) => {
            return Err(Refusal::new("top_p", "the model takes `temperature` or `top_p`, not both: leave one out"));
        }
        // 1 is what these models have and all that they take.
        #[expect(clippy::float_cmp, reason = "a number that was written as 1 is 1")]
        (Sampling::Fixed, temperature, None) if temperature.is_none_or(|temperature| temperature == 1.0) => (None, None),
        (Sampling::Fixed, Some(_), None) => {
            return Err(Refusal::new("temperature", "the model takes no sampling parameters: leave it out"));
        }
        (Sampling::Fixed, _, Some(_)) => {
            return Err(Refusal::new("top_p", "the model takes no sampling parameters: leave it out"));
        }
        (Sampling::Free | Sampling::OneOfTwo, temperature, top_p) => (temperature, top_p),
        (Sampling::Fixed, None, None) => (None, None),
    };
    Ok(Inference { max_tokens, temperature, top_p, stop_sequences: stop_sequences(conversation, traits)? })
}

fn max_tokens(conversation: &Conversation, settings: &Settings, traits: &Traits) -> Result<u32, Refusal> {
    let (field, max_tokens) = match (conversation.max_tokens, conversation.max_completion_tokens) {
        (Some(old), Some(new)) if old != new => {
            return Err(Refusal::new("max_completion_tokens", format!("is {new}, but `max_tokens` is {old}: leave one out")));
        }
        (_, Some(new)) => ("max_completion_tokens", new),
        (Some(old), None) => ("max_tokens", old),
        (None, None) => ("max_tokens", settings.max_tokens.get()),
    };
    let (least, most) = (traits.min_output, traits.max_output.min(MOST_TOKENS));
    if (least..=most).contains(&max_tokens) {
        Ok(max_tokens)
    } else {
        Err(Refusal::new(field, format!("is {max_tokens}; the model takes {least} to {most}")))
    }
}

fn between_0_and_1(field: &str, number: Option<f64>) -> Result<Option<f64>, Refusal> {
    match number {
        Some(number) if !(0.0..=1.0).contains(&number) => {
            Err(Refusal::new(field, format!("is {number}; Bedrock takes 0 to 1, also where OpenAI takes more")))
        }
        number => Ok(number),
    }
}

fn stop_sequences(conversation: &Conversation, traits: &Traits) -> Result<Vec<String>, Refusal> {
    // An empty one would end every answer before it begins, or, as OpenAI has it, none.
    let sequences: Vec<_> = conversation.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect();
    let most = traits.stop_sequences;
    if sequences.len() > most {
        let problem =
            if most == 0 { "the model takes none: leave it out".into() } else { format!("the model takes {most} at most") };
        return Err(Refusal::new("stop", problem));
    }
    if traits.dialect == Dialect::Claude
        && let Some(index) = conversation.stop.iter().position(|stop| !stop.is_empty() && super::is_blank(stop))
    {
        return Err(Refusal::new(format!("stop[{index}]"), "Claude takes no stop sequence of white space alone"));
    }
    Ok(sequences)
}

/// Translates what goes into the model's own fields.
pub(super) fn additional(
    conversation: &Conversation,
    effort: Option<&'static str>,
    thinking: Option<Value>,
    traits: &Traits,
) -> Result<Map<String, Value>, Refusal> {
    let mut fields = Map::new();
    if let Some(top_k) = conversation.top_k {
        if top_k == 0 {
            return Err(Refusal::new("top_k", "is 0; at least one token must be left to draw from"));
        }
        match traits.top_k {
            TopK::Field => fields.insert("top_k".into(), top_k.into()),
            // Amazon Nova user guide, complete request schema.
            TopK::Nova if top_k > 128 => return Err(Refusal::new("top_k", format!("is {top_k}; the model takes 1 to 128"))),
            TopK::Nova => fields.insert("inferenceConfig".into(), json!({"topK": top_k})),
            TopK::No => return Err(Refusal::new("top_k", "the model has no such parameter: leave it out")),
        };
    }
    match (effort, traits.effort) {
        (Some(effort), Effort::Field) => drop(fields.insert("reasoning_effort".into(), effort.into())),
        (Some(effort), Effort::ReasoningConfig) => {
            fields.insert("reasoningConfig".into(), json!({"type": "enabled", "maxReasoningEffort": effort}));
        }
        (None, _) | (_, Effort::OutputConfig | Effort::No) => {}
    }
    fields.extend(thinking.map(|thinking| ("thinking".to_owned(), thinking)));
    Ok(fields)
}

/// Words for effort, the least first: `none` and `minimal` are OpenAI's, and no model of Bedrock's takes them.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Returns the effort in the model's own words: the nearest that it has below what is asked for, else its least.
pub(super) fn effort(
    conversation: &Conversation,
    settings: &Settings,
    traits: &Traits,
    notes: &mut Notes,
) -> Result<Option<&'static str>, Refusal> {
    const FIELD: &str = "reasoning_effort";
    let Some(wish) = conversation.reasoning_effort.as_deref().or(settings.effort.map(EffortWish::as_str)) else {
        return Ok(None);
    };
    let Some(wanted) = EFFORTS.iter().position(|word| *word == wish) else {
        return Err(Refusal::new(FIELD, format!("is `{wish}`; there are {}", EFFORTS.join(", "))));
    };
    if traits.effort == Effort::No || wish == "none" {
        let why = if traits.effort == Effort::No { "the model has no such parameter" } else { "the model is not told not to" };
        notes.add(FIELD, format_args!("`{wish}` was left out: {why}"));
        return Ok(None);
    }
    let is_within = |word: &&&str| EFFORTS.iter().position(|known| known == *word).is_some_and(|at| at <= wanted);
    let taken = traits.efforts.iter().rfind(is_within).or(traits.efforts.first()).copied();
    if let Some(taken) = taken.filter(|taken| *taken != wish) {
        notes.add(FIELD, format_args!("is `{taken}` in place of `{wish}`: the model takes {}", traits.efforts.join(", ")));
    }
    Ok(taken)
}

/// Returns the field that turns thinking on or off.
pub(super) fn thinking(
    conversation: &Conversation,
    settings: &Settings,
    max_tokens: u32,
    traits: &Traits,
    notes: &mut Notes,
) -> Result<Option<Value>, Refusal> {
    const FIELD: &str = "thinking";
    let wish = match &conversation.thinking {
        Some(field) => Some(ThinkingWish::of(field).ok_or_else(|| {
            Refusal::new(
                FIELD,
                "is none of {\"type\":\"enabled\",\"budget_tokens\":…}, {\"type\":\"adaptive\"} and {\"type\":\"disabled\"}",
            )
        })?),
        None => settings.thinking,
    };
    let Some(wish) = wish else { return Ok(None) };
    match (wish.field(traits, max_tokens), traits.thinking) {
        (Ok(field), _) => Ok(field),
        // The model thinks so or not at all, whatever the request says.
        (Err(why), Thinking::No | Thinking::Always) if wish == ThinkingWish::Off || traits.thinking == Thinking::No => {
            notes.add(FIELD, format_args!("was left out: {why}"));
            Ok(None)
        }
        // As much as it finds good is what the newest models have in place of a number.
        (Err(why), Thinking::Adaptive | Thinking::Always) if matches!(wish, ThinkingWish::Tokens(_)) => {
            notes.add(FIELD, format_args!("is adaptive: {why}"));
            Ok(Some(json!({"type": "adaptive"})))
        }
        (Err(why), _) => Err(Refusal::new(FIELD, why)),
    }
}

/// Translates the form of the answer, and Claude's effort, which has its place beside it.
pub(super) fn output(
    conversation: &Conversation,
    effort: Option<&'static str>,
    traits: &Traits,
) -> Result<Option<OutputConfig>, Refusal> {
    let effort = effort.filter(|_| traits.effort == Effort::OutputConfig).map(ToOwned::to_owned);
    let text_format = conversation.response_format.as_ref().map(|format| text_format(format, traits)).transpose()?.flatten();
    let says_something = effort.is_some() || text_format.is_some();
    Ok(says_something.then_some(OutputConfig { text_format, effort }))
}

fn text_format(format: &ResponseFormat, traits: &Traits) -> Result<Option<TextFormat>, Refusal> {
    match (format.r#type, &format.json_schema) {
        (FormatType::Text, None) => Ok(None),
        (FormatType::JsonObject, _) => Err(Refusal::new(
            "response_format.type",
            "Bedrock knows no JSON without a schema: use `json_schema`, or ask for it in words",
        )),
        (FormatType::JsonSchema, Some(_)) if !traits.json_schema => Err(Refusal::new(
            "response_format",
            "the model does not hold answers to a schema: leave it out, or ask another model",
        )),
        (FormatType::JsonSchema, Some(schema)) => {
            let root = Value::Object(schema.schema.clone());
            check_closed(&root, "response_format.json_schema.schema")?;
            let (name, description) = (schema.name.clone(), schema.description.clone());
            let schema = root.to_string();
            Ok(Some(TextFormat {
                r#type: "json_schema",
                structure: Structure { json_schema: SchemaText { schema, name, description } },
            }))
        }
        (FormatType::JsonSchema, None) => Err(Refusal::new("response_format.json_schema", "is missing")),
        (FormatType::Text, Some(_)) => {
            Err(Refusal::new("response_format.json_schema", "does not belong to a format of the type `text`"))
        }
    }
}

/// Bedrock takes only schemas whose objects have no other fields than those that are named, as OpenAI's strict ones are. Only a
/// value in the place of a schema is one: values in `enum`, `const`, `default` and `examples` may look like schemas and are data.
fn check_closed(schema: &Value, at: &str) -> Result<(), Refusal> {
    let Value::Object(fields) = schema else { return Ok(()) };
    let is_object = match fields.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        Some(kind) => kind == "object",
        None => false,
    };
    if is_object && fields.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err(Refusal::new(at, "an object in the schema lacks `\"additionalProperties\": false`"));
    }
    fields.iter().try_for_each(|(name, inner)| match (name.as_str(), inner) {
        // By names that may be any words.
        ("properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions", Value::Object(named)) => {
            named.iter().try_for_each(|(key, inner)| check_closed(inner, &format!("{at}.{name}.{key}")))
        }
        ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(items)) => {
            items.iter().enumerate().try_for_each(|(index, inner)| check_closed(inner, &format!("{at}.{name}[{index}]")))
        }
        (
            "items"
            | "additionalItems"
            | "unevaluatedItems"
            | "contains"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "propertyNames"
            | "contentSchema"
            | "not"
            | "if"
            | "then"
            | "else",
            inner,
        ) => check_closed(inner, &format!("{at}.{name}")),
        _ => Ok(()),
    })
}

/// Translates the tier; `auto` is as good as absent, and so is `scale`, which is OpenAI's own.
pub(super) fn tier(conversation: &Conversation, settings: &Settings, notes: &mut Notes) -> Result<Option<ServiceTier>, Refusal> {
    let wish = match conversation.service_tier.as_deref() {
        Some(tier @ ("default" | "flex" | "priority" | "reserved")) => Some(tier),
        Some("scale") => {
            notes.add("service_tier", "`scale` was left out: it is OpenAI's own");
            None
        }
        None | Some("auto") => None,
        Some(other) => {
            let known = "Bedrock has `default`, `flex`, `priority` and `reserved`";
            return Err(Refusal::new("service_tier", format!("is `{other}`; {known}")));
        }
    };
    let tier = wish.or(settings.tier.map(TierWish::as_str));
    Ok(tier.map(|tier| ServiceTier { r#type: tier.to_owned() }))
}

/// Translates the labels: 16 at most, of 1 to 256 characters (service model).
///
/// The user's id is one of them, where Bedrock accepts it as a label; OpenAI has a field of its own for that.
pub(super) fn metadata(
    conversation: &Conversation,
    settings: &Settings,
    notes: &mut Notes,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut labels = settings.metadata.clone();
    labels.extend(conversation.metadata.clone().unwrap_or_default());
    for (field, user) in [("user", &conversation.user), ("safety_identifier", &conversation.safety_identifier)] {
        let Some(user) = user.as_ref().filter(|user| !user.is_empty()) else { continue };
        if labels.contains_key(field) || labels.len() >= 16 || !is_label(user) {
            notes.add(
                field,
                "was left out: Bedrock takes it as a label of up to 256 ASCII letters, digits and some marks, and of 16 at most",
            );
        } else {
            labels.insert(field.to_owned(), user.clone());
        }
    }
    if labels.len() > 16 {
        return Err(Refusal::new("metadata", format!("has {} entries; Bedrock takes 16 at most", labels.len())));
    }
    match labels.iter().find(|(name, value)| name.is_empty() || !is_label(name) || !is_label(value)) {
        Some((name, _)) => Err(Refusal::new(
            format!("metadata.{name}"),
            "Bedrock takes up to 256 ASCII letters, digits, spaces and `:_@$#=/+,-.` as name and value",
        )),
        None => Ok(labels),
    }
}

fn is_label(text: &str) -> bool {
    text.chars().count() <= 256
        && text.chars().all(|character| character.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(character))
}
