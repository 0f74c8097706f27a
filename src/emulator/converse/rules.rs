//! Validation by the service and its models of a well-formed request, with their messages.
//!
//! Where a message is the emulator's own because the service's has not been seen, its line says so.

use std::collections::HashSet;

use super::content::Block;
use super::models::{Mixes, Sampling, Stops, ToolUse, Traits, Vendor};
use super::request::{Choice, Conversation, Message, Role};
use crate::emulator::response::Refusal;

const MAX_IMAGES: usize = 20;
const MAX_IMAGE: usize = 3_932_160;
const MAX_DOCUMENTS: usize = 5;
const MAX_DOCUMENT: usize = 4_718_592;
const MAX_CACHE_POINTS: usize = 4;
const MIN_THINKING: u64 = 1_024;

/// Checks a request as the service does.
pub(super) fn check(conversation: &Conversation, traits: &Traits) -> Result<(), Refusal> {
    system(conversation, traits)?;
    turns(&conversation.messages, traits)?;
    for (index, message) in conversation.messages.iter().enumerate() {
        blocks(index, message, traits)?;
    }
    attachments(&conversation.messages)?;
    tools(conversation, traits)?;
    tool_turns(&conversation.messages, traits)?;
    cache_points(conversation, traits)?;
    inference(conversation, traits)?;
    additional(conversation, traits)
}

fn system(conversation: &Conversation, traits: &Traits) -> Result<(), Refusal> {
    let in_turns = conversation.messages.iter().any(|message| message.role == Role::System);
    if in_turns || (!traits.system && !conversation.system.is_empty()) {
        return refuse(
            "This model doesn't support system messages. Try again without a system message or use a model that supports system \
             messages.",
        );
    }
    for (index, block) in conversation.system.iter().enumerate() {
        if matches!(block, Block::Text(text) if text.trim().is_empty()) {
            return refuse(format!(
                "The text field in the SystemContentBlock object at system.{index} is blank. Add text to the text field, and try \
                 again."
            ));
        }
    }
    Ok(())
}

fn turns(messages: &[Message], traits: &Traits) -> Result<(), Refusal> {
    if messages.first().is_none_or(|first| first.role != Role::User) {
        return refuse(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        );
    }
    if messages.windows(2).any(|pair| pair[0].role == pair[1].role) {
        return refuse(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user \
             and assistant roles and try again.",
        );
    }
    let last = messages.last().filter(|last| last.role == Role::Assistant);
    if last.is_some() && !traits.prefill {
        return model_refuses(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        );
    }
    let begun = last.and_then(|last| last.content.last());
    if let Some(Block::Text(begun)) = begun
        && traits.vendor == Vendor::Anthropic
        && begun.ends_with(char::is_whitespace)
        && !begun.trim().is_empty()
    {
        return model_refuses("messages: final assistant content cannot end with trailing whitespace");
    }
    Ok(())
}

fn blocks(index: usize, message: &Message, traits: &Traits) -> Result<(), Refusal> {
    if message.content.is_empty() {
        return refuse(format!(
            "The content field in the Message object at messages.{index} is empty. Add a ContentBlock object to the content field \
             and try again."
        ));
    }
    for (at, block) in message.content.iter().enumerate() {
        let of_user = message.role == Role::User;
        let supported = match block {
            Block::Text(text) if text.trim().is_empty() => {
                return refuse(format!(
                    "The text field in the ContentBlock object at messages.{index}.content.{at} is blank. Add text to the text \
                     field, and try again."
                ));
            }
            Block::Guarded(text) if text.trim().is_empty() => {
                return refuse(format!(
                    "The guard content field in the ContentBlock object at messages.{index}.content.{at} is blank"
                ));
            }
            Block::Text(_) | Block::Guarded(_) | Block::CachePoint(_) => true,
            Block::Image { .. } => of_user && traits.images,
            Block::Document(_) => of_user && traits.documents,
            Block::SearchResult(_) | Block::ToolResult { .. } => of_user,
            Block::ToolUse { .. } | Block::Reasoning(_) => !of_user,
            Block::Video | Block::Audio => false,
        };
        if !supported {
            let (field, role) = (block.field(), message.role.name());
            return refuse(format!(
                "This model doesn't support the {field} field for {role} messages. Remove {field} and try again."
            ));
        }
    }
    let documents = message.content.iter().any(|block| matches!(block, Block::Document(_)));
    if documents && !message.content.iter().any(|block| matches!(block, Block::Text(_) | Block::Guarded(_))) {
        return refuse("A text block must be included when using documents. Add a text block and retry your request.");
    }
    Ok(())
}

fn attachments(messages: &[Message]) -> Result<(), Refusal> {
    let (mut images, mut names, mut documents) = (0, HashSet::new(), 0);
    for block in messages.iter().flat_map(|message| &message.content) {
        match block {
            Block::Image { size } => {
                images += 1;
                if *size > MAX_IMAGE {
                    // Not the service's words.
                    return refuse(format!("The image has {size} bytes. The maximum size of an image is {MAX_IMAGE} bytes."));
                }
            }
            Block::Document(document) => {
                documents += 1;
                if !names.insert(&document.name) {
                    return refuse("Messages can not contain duplicate document names");
                }
                if !is_document_name(&document.name) {
                    return refuse(
                        "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, \
                         parentheses, and square brackets. The name can't contain more than one consecutive whitespace character.",
                    );
                }
                if document.size > MAX_DOCUMENT {
                    // Not the service's words.
                    let size = document.size;
                    return refuse(format!(
                        "The document has {size} bytes. The maximum size of a document is {MAX_DOCUMENT} bytes."
                    ));
                }
            }
            _ => {}
        }
    }
    // Not the service's words, either of them.
    if images > MAX_IMAGES {
        return refuse(format!("The messages contain {images} images. The maximum number of images is {MAX_IMAGES}."));
    }
    if documents > MAX_DOCUMENTS {
        return refuse(format!(
            "The messages contain {documents} documents. The maximum number of documents is {MAX_DOCUMENTS}."
        ));
    }
    Ok(())
}

fn is_document_name(name: &str) -> bool {
    let allowed = |character: char| character.is_alphanumeric() || character.is_whitespace() || "-()[]".contains(character);
    let spaces = name.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_whitespace));
    name.chars().all(allowed) && !spaces
}

fn tools(conversation: &Conversation, traits: &Traits) -> Result<(), Refusal> {
    let Some(tools) = &conversation.tools else {
        let uses = |block: &Block| matches!(block, Block::ToolUse { .. } | Block::ToolResult { .. });
        if conversation.messages.iter().flat_map(|message| &message.content).any(uses) {
            return refuse("The toolConfig field must be defined when using toolUse and toolResult content blocks.");
        }
        return Ok(());
    };
    if traits.tools == ToolUse::Refused {
        return refuse("This model doesn't support tool use.");
    }
    let mut names = HashSet::new();
    if !tools.specs.iter().all(|tool| names.insert(&tool.name)) {
        return model_refuses("tools: Tool names must be unique.");
    }
    let field = match &tools.choice {
        Choice::Auto => return Ok(()),
        Choice::Any => "toolConfig.toolChoice.any",
        Choice::Tool(_) => "toolConfig.toolChoice.tool",
    };
    if traits.tools != ToolUse::Forced {
        return refuse(format!("This model doesn't support the {field} field. Remove {field} and try again."));
    }
    if let Choice::Tool(name) = &tools.choice
        && !names.contains(name)
    {
        return model_refuses(format!("Tool '{name}' not found in provided tools"));
    }
    Ok(())
}

/// Every use has a result in the next turn, and every result a use in the one before.
fn tool_turns(messages: &[Message], traits: &Traits) -> Result<(), Refusal> {
    let mut asked: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let results: Vec<_> = message.content.iter().filter_map(result_id).collect();
        if results.len() > asked.len() {
            return refuse(format!(
                "The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of previous turn."
            ));
        }
        let missing: Vec<_> = asked.iter().filter(|id| !results.contains(*id)).copied().collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return refuse(format!("Expected toolResult blocks at messages.{index}.content for the following Ids: {missing}"));
        }
        for (at, block) in message.content.iter().enumerate() {
            if matches!(block, Block::ToolResult { texts, images: 0, failed: true, .. } if texts.is_empty()) {
                return refuse(format!(
                    "The content field at messages.{index}.content.{at}.toolResult cannot be empty when status value is error."
                ));
            }
        }
        asked = message.content.iter().filter_map(use_id).collect();
        let others = message.content.iter().any(|block| {
            use_id(block).is_none() && result_id(block).is_none() && !matches!(block, Block::CachePoint(_) | Block::Reasoning(_))
        });
        let (apart_from_uses, apart_from_results) = match traits.mixes {
            Mixes::Both => (false, false),
            Mixes::Results => (true, false),
            Mixes::Neither => (true, true),
        };
        let parted = if others && apart_from_uses && !asked.is_empty() {
            Some("use")
        } else if others && apart_from_results && !results.is_empty() {
            Some("result")
        } else {
            None
        };
        if let Some(parted) = parted {
            return refuse(format!(
                "messages.{index}.content: Conversation blocks and tool {parted} blocks cannot be provided in the same turn."
            ));
        }
    }
    Ok(())
}

fn use_id(block: &Block) -> Option<&str> {
    if let Block::ToolUse { id, .. } = block { Some(id) } else { None }
}

fn result_id(block: &Block) -> Option<&str> {
    if let Block::ToolResult { id, .. } = block { Some(id) } else { None }
}

fn cache_points(conversation: &Conversation, traits: &Traits) -> Result<(), Refusal> {
    let in_turns = conversation.messages.iter().flat_map(|message| &message.content);
    let in_blocks = conversation.system.iter().chain(in_turns).filter(|block| matches!(block, Block::CachePoint(_))).count();
    let count = in_blocks + usize::from(conversation.tools.as_ref().is_some_and(|tools| tools.cache_point.is_some()));
    if count > 0 && traits.cache.is_none() {
        return refuse(
            "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more information.",
        );
    }
    if count > MAX_CACHE_POINTS {
        return model_refuses(format!(
            "A maximum of {MAX_CACHE_POINTS} blocks with cache_control may be provided. Found {count}."
        ));
    }
    Ok(())
}

fn inference(conversation: &Conversation, traits: &Traits) -> Result<(), Refusal> {
    let inference = &conversation.inference;
    let limit = traits.max_output;
    match inference.max_tokens {
        Some(asked) if asked > limit => {
            return refuse(format!(
                "The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens value that is \
                 lower than {limit}."
            ));
        }
        Some(asked) if asked < traits.min_output => {
            return model_refuses(format!(
                "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {}, but got {asked} instead.",
                traits.min_output
            ));
        }
        _ => {}
    }
    match traits.sampling {
        Sampling::Fixed => {
            let temperature = inference.temperature.filter(|temperature| (temperature - 1.0).abs() > f64::EPSILON);
            let given = [("temperature", temperature.is_some()), ("top_p", inference.top_p.is_some())];
            if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
                return model_refuses(format!("`{name}` is deprecated for this model."));
            }
        }
        Sampling::OneOfThem if inference.temperature.is_some() && inference.top_p.is_some() => {
            return model_refuses("`temperature` and `top_p` cannot both be specified for this model. Please use only one.");
        }
        Sampling::OneOfThem | Sampling::Both => {}
    }
    match traits.stops {
        Stops::Refused if !inference.stops.is_empty() => {
            refuse("This model doesn't support the stopSequences field. Remove stopSequences and try again.")
        }
        Stops::AtMost(most) if inference.stops.len() > most => {
            // Not the service's words.
            let found = inference.stops.len();
            refuse(format!("The maximum number of stop sequences is {most}, but {found} were provided."))
        }
        Stops::Refused | Stops::AtMost(_) => Ok(()),
    }
}

/// The model's own fields, as far as the emulator knows them.
fn additional(conversation: &Conversation, traits: &Traits) -> Result<(), Refusal> {
    let known: &[&str] = match traits.vendor {
        Vendor::Anthropic => &["top_k", "thinking", "anthropic_beta", "tool_choice", "output_config"],
        Vendor::Amazon => &["inferenceConfig", "reasoningConfig"],
        Vendor::OpenAi | Vendor::DeepSeek => &["reasoning_effort"],
        Vendor::Mistral | Vendor::Qwen => &["top_k"],
        Vendor::Meta => &[],
    };
    if let Some(key) = conversation.additional.keys().find(|key| !known.contains(&key.as_str())) {
        return match traits.vendor {
            Vendor::Anthropic => model_refuses(format!("{key}: Extra inputs are not permitted")),
            _ => model_refuses(format!(
                "Malformed input request: #: extraneous key [{key}] is not permitted, please reformat your input and try again."
            )),
        };
    }
    if traits.sampling == Sampling::Fixed && conversation.additional.contains_key("top_k") {
        return model_refuses("`top_k` is deprecated for this model.");
    }
    match conversation.additional.get("thinking") {
        Some(thinking) if thinking["type"] == "enabled" => {
            self::thinking(conversation, traits, thinking["budget_tokens"].as_u64())
        }
        _ => Ok(()),
    }
}

fn thinking(conversation: &Conversation, traits: &Traits, budget: Option<u64>) -> Result<(), Refusal> {
    let Some(budget) = budget else { return model_refuses("thinking.enabled.budget_tokens: Field required") };
    if budget < MIN_THINKING {
        return model_refuses(format!("thinking.enabled.budget_tokens: Input should be greater than or equal to {MIN_THINKING}"));
    }
    if budget >= conversation.inference.max_tokens.unwrap_or(traits.max_output) {
        return model_refuses("`max_tokens` must be greater than `thinking.budget_tokens`.");
    }
    if conversation.inference.temperature.is_some_and(|temperature| (temperature - 1.0).abs() > f64::EPSILON) {
        return model_refuses("`temperature` may only be set to 1 when thinking is enabled.");
    }
    if conversation.tools.as_ref().is_some_and(|tools| tools.choice != Choice::Auto) {
        return model_refuses("Thinking may not be enabled when tool_choice forces tool use.");
    }
    Ok(())
}

fn refuse<T>(message: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Refusal> {
    Err(Refusal::validation(message))
}

/// A refusal of the model behind the service.
pub(super) fn model_refuses<T>(message: impl AsRef<str>) -> Result<T, Refusal> {
    Err(Refusal::validation(format!("The model returned the following errors: {}", message.as_ref())))
}
