//! Inference parameters, each to its place.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Settings;
use super::converse::{Inference, OutputConfig, SchemaText, ServiceTier, Structure, TextFormat};
use super::openai::{Conversation, FormatType, ResponseFormat};
use super::refusal::Refusal;
use super::traits::{Dialect, Effort, Sampling, TopK, Traits};

/// The largest number of tokens that the API can carry.
const MOST_TOKENS: u32 = i32::MAX.unsigned_abs();

/// Refuses what Bedrock has nothing like, unless it says nothing.
pub(super) fn check_neutral(conversation: &Conversation) -> Result<(), Refusal> {
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
        ("store", conversation.store == Some(true), "Bedrock stores no answers: leave it out"),
    ] {
        if says_something {
            return Err(Refusal::new(field, help));
        }
    }
    Ok(())
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
pub(super) fn additional(conversation: &Conversation, traits: &Traits) -> Result<Map<String, Value>, Refusal> {
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
    if let Some(effort) = &conversation.reasoning_effort {
        match traits.effort {
            Effort::Field => {
                fields.insert("reasoning_effort".into(), one_of(effort, &["low", "medium", "high"])?.into());
            }
            // At `high` the model takes no maxTokens, which is always sent.
            Effort::ReasoningConfig => {
                let effort = one_of(effort, &["low", "medium"])?;
                fields.insert("reasoningConfig".into(), json!({"type": "enabled", "maxReasoningEffort": effort}));
            }
            Effort::OutputConfig => {}
            Effort::No => return Err(Refusal::new("reasoning_effort", "the model has no such parameter: leave it out")),
        }
    }
    Ok(fields)
}

fn one_of<'a>(effort: &'a str, known: &[&str]) -> Result<&'a str, Refusal> {
    if known.contains(&effort) {
        Ok(effort)
    } else {
        Err(Refusal::new("reasoning_effort", format!("is `{effort}`; the model takes {}", known.join(", "))))
    }
}

/// Translates the form of the answer, and Claude's effort, which has its place beside it.
pub(super) fn output(conversation: &Conversation, traits: &Traits) -> Result<Option<OutputConfig>, Refusal> {
    let effort = match (&conversation.reasoning_effort, traits.effort) {
        (Some(effort), Effort::OutputConfig) => Some(one_of(effort, &["low", "medium", "high"])?.to_owned()),
        _ => None,
    };
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

/// Bedrock takes only schemas whose objects have no other fields than those that are named, as OpenAI's strict ones are.
fn check_closed(schema: &Value, at: &str) -> Result<(), Refusal> {
    match schema {
        Value::Object(fields) => {
            let is_object = fields.get("type").is_some_and(|kind| kind == "object");
            if is_object && fields.get("additionalProperties") != Some(&Value::Bool(false)) {
                return Err(Refusal::new(at, "an object in the schema lacks `\"additionalProperties\": false`"));
            }
            fields.iter().try_for_each(|(name, inner)| check_closed(inner, &format!("{at}.{name}")))
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, inner)| check_closed(inner, &format!("{at}[{index}]")))
        }
        _ => Ok(()),
    }
}

/// Translates the tier; `auto` is as good as absent.
pub(super) fn tier(conversation: &Conversation) -> Result<Option<ServiceTier>, Refusal> {
    match conversation.service_tier.as_deref() {
        None | Some("auto") => Ok(None),
        Some(tier @ ("default" | "flex" | "priority")) => Ok(Some(ServiceTier { r#type: tier.to_owned() })),
        Some(other) => Err(Refusal::new("service_tier", format!("is `{other}`; Bedrock has `default`, `flex` and `priority`"))),
    }
}

/// Translates the labels: 16 at most, of 1 to 256 characters (service model).
pub(super) fn metadata(conversation: &Conversation) -> Result<BTreeMap<String, String>, Refusal> {
    let labels = conversation.metadata.clone().unwrap_or_default();
    if labels.len() > 16 {
        return Err(Refusal::new("metadata", format!("has {} entries; Bedrock takes 16 at most", labels.len())));
    }
    let plain = |text: &str| {
        text.chars().count() <= 256
            && text.chars().all(|character| character.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(character))
    };
    match labels.iter().find(|(name, value)| name.is_empty() || !plain(name) || !plain(value)) {
        Some((name, _)) => Err(Refusal::new(
            format!("metadata.{name}"),
            "Bedrock takes up to 256 ASCII letters, digits, spaces and `:_@$#=/+,-.` as name and value",
        )),
        None => Ok(labels),
    }
}
