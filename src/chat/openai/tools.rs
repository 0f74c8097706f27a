//! Tools, calls of them, and the results.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema::{Arguments, Conversation, Tool, ToolCall, ToolChoice};
use super::turns::cache_point;
use crate::chat::capabilities::{Dialect, Tools, Traits};
use crate::chat::converse::{Choice, InputSchema, ToolConfig, ToolEntry, ToolSpec, ToolUse};
use crate::chat::refusal::{Notes, Refusal};

/// What a conversation says of tools: Converse's own part, and the model's.
#[derive(Debug, Default)]
pub(super) struct Translated {
    pub(super) config: Option<ToolConfig>,
    pub(super) additional: Map<String, Value>,
}

/// Translates tools and the choice among them. `is_used` says whether calls or results are in the conversation.
pub(super) fn translate(
    conversation: &Conversation,
    is_used: bool,
    traits: &Traits,
    notes: &mut Notes,
) -> Result<Translated, Refusal> {
    let tools = conversation.tools.as_deref().unwrap_or_default();
    if tools.is_empty() {
        if is_used {
            return Err(Refusal::new(
                "tools",
                "is missing, though there are calls of tools: Bedrock wants the tools with every request",
            ));
        }
        if let Some(ToolChoice::Required | ToolChoice::Function(_)) = conversation.tool_choice {
            return Err(Refusal::new("tool_choice", "asks for a call, but there are no `tools`"));
        }
        return Ok(Translated::default());
    }
    if traits.tools == Tools::No {
        return Err(Refusal::new("tools", "the model takes no tools"));
    }
    let mut specs = Vec::new();
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let spec = spec(tool, index, traits, notes)?;
        if !names.insert(spec.name.clone()) {
            return Err(Refusal::new(format!("tools[{index}].function.name"), "is the name of another tool too"));
        }
        specs.push(ToolEntry::ToolSpec(spec));
        if let Some(cache) = tool.cache_control.or(tool.function.cache_control) {
            let point = cache_point(cache, traits, &format!("tools[{index}].cache_control"), notes);
            specs.extend(point.map(ToolEntry::CachePoint));
        }
    }
    let tool_choice = match &conversation.tool_choice {
        None | Some(ToolChoice::Auto) => None,
        // Bedrock has no word for it. A model that knows of no tools calls none; one that has called some must know them.
        Some(ToolChoice::None) if is_used => {
            return Err(Refusal::new(
                "tool_choice",
                "cannot be `none` where there are calls of tools already: Bedrock has no such setting",
            ));
        }
        Some(ToolChoice::None) => return Ok(Translated::default()),
        Some(ToolChoice::Required) if traits.tools >= Tools::Any => Some(Choice::Any {}),
        Some(ToolChoice::Function(name)) if traits.tools >= Tools::Named => {
            if !names.contains(name) {
                return Err(Refusal::new("tool_choice.function.name", format!("`{name}` is none of the `tools`")));
            }
            Some(Choice::Tool { name: name.clone() })
        }
        Some(ToolChoice::Required | ToolChoice::Function(_)) => {
            return Err(Refusal::new("tool_choice", "the model cannot be made to call this: leave it out"));
        }
    };
    let mut additional = Map::new();
    let mut tool_choice = tool_choice;
    match (conversation.parallel_tool_calls, traits.dialect) {
        (None | Some(true), _) => {}
        // Claude has this inside its own `tool_choice`, which then is in place of Converse's.
        (Some(false), Dialect::Claude) => {
            let mut choice = match tool_choice.take() {
                None => json!({"type": "auto"}),
                Some(Choice::Any {}) => json!({"type": "any"}),
                Some(Choice::Tool { name }) => json!({"type": "tool", "name": name}),
            };
            choice["disable_parallel_tool_use"] = Value::Bool(true);
            additional.insert("tool_choice".into(), choice);
        }
        (Some(false), _) => {
            notes.add("parallel_tool_calls", "was left out: the model cannot be kept from several calls at once");
        }
    }
    Ok(Translated { config: Some(ToolConfig { tools: specs, tool_choice }), additional })
}

fn spec(tool: &Tool, index: usize, traits: &Traits, notes: &mut Notes) -> Result<ToolSpec, Refusal> {
    let at = |field: &str| format!("tools[{index}].function.{field}");
    let function = &tool.function;
    check_name(&function.name).map_err(|problem| Refusal::new(at("name"), problem))?;
    let mut schema = function.parameters.clone().unwrap_or_default();
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => {}
        // Arguments are an object in any case.
        None => {
            schema.insert("type".into(), "object".into());
            schema.entry("properties").or_insert_with(|| json!({}));
        }
        Some(other) => {
            return Err(Refusal::new(at("parameters.type"), format!("is {other}; Bedrock takes only schemas of an `object`")));
        }
    }
    let mut strict = function.strict.filter(|strict| *strict);
    if strict.is_some() && !traits.strict_tools {
        notes.add("tools.function.strict", "was left out: the model is shown the schema, and not held to it");
        strict = None;
    }
    // A description of nothing says nothing.
    let description = function.description.clone().filter(|text| !super::is_blank(text));
    let input_schema = InputSchema { json: schema };
    Ok(ToolSpec { name: function.name.clone(), description, input_schema, strict })
}

/// Translates a call that the assistant made.
pub(super) fn call(call: &ToolCall, field: &str) -> Result<ToolUse, Refusal> {
    let name = call.function.name.clone();
    check_name(&name).map_err(|problem| Refusal::new(format!("{field}.function.name"), problem))?;
    let input = match &call.function.arguments {
        None => Map::new(),
        Some(Arguments::Object(object)) => object.clone(),
        // How OpenAI's models and clients write that there are none.
        Some(Arguments::Text(text)) if matches!(text.trim(), "" | "null") => Map::new(),
        Some(Arguments::Text(text)) => serde_json::from_str(text.trim())
            .map_err(|error| Refusal::new(format!("{field}.function.arguments"), format!("is not one JSON object: {error}")))?,
    };
    Ok(ToolUse { tool_use_id: id(&call.id, &format!("{field}.id"))?, name, input })
}

/// Returns the id of a call as Bedrock takes it. Ids only pair calls and results, so one of other characters, or a longer one,
/// is replaced by its hash, on both sides alike.
pub(super) fn id(id: &str, field: &str) -> Result<String, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    match id.len() {
        0 => Err(Refusal::new(field, "is empty")),
        1..=64 if id.bytes().all(plain) => Ok(id.to_owned()),
        _ => Ok(format!("call-{}", &blake3::hash(id.as_bytes()).to_hex()[..32])),
    }
}

/// Names go to the model and come back in its calls, so they are not changed on the way.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        Ok(())
    } else {
        Err("Bedrock takes 1 to 64 letters, digits, `_` and `-` as the name of a tool".into())
    }
}
