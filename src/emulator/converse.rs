//! `Converse` and `ConverseStream`: chat models that answer with sentences of what they were given.
//!
//! ```text
//! request ─▶ shape ─▶ rules ─▶ prompt ─▶ guardrail? obey? tool? else sentences ─▶ cut ─▶ reply ─▶ object or events
//! ```
//!
//! The answers mean something (a question gets the sentence that shares most words with it, a summary the leading and the
//! central ones) and cost what they would: usage comes from the texts, with cache reads and writes where there are cache points.

mod content;
mod extractive_answer;
mod models;
mod prompt_cache;
mod prompt_injection;
mod question;
mod request;
mod request_shape;
mod response;
mod rules;
mod token_count;
mod tools;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fault::Fault;
use super::response::Refusal;
use super::{Gullible, hash, tokens};
use models::Vendor;
use prompt_cache::Cache;
use question::Prompt;
use request::{Conversation, Guardrail};
use response::{AnswerBlock, Reply, Stream};

pub(super) use models::{MODELS, Traits};
pub(super) use response::{Chat, Usage};

/// What a guardrail says unless its owner wrote something else.
const BLOCKED: &str = "Sorry, the model cannot answer this question.";

/// All chat models together.
#[derive(Debug)]
pub(super) struct Chats {
    gullible: Gullible,
    /// Between two events of a stream.
    pause: Duration,
    cache: Mutex<Cache>,
}

/// A call that is to be answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model_id: String,
    pub(super) traits: &'static Traits,
    pub(super) streamed: bool,
    /// What the test asks of the answer.
    pub(super) fault: Fault,
}

impl Chats {
    pub(super) fn new(gullible: Gullible, pause: Duration) -> Self {
        Self { gullible, pause, cache: Mutex::default() }
    }

    /// Checks a request as the service does, and answers it.
    pub(super) fn answer(&self, request: Value, asked: &Asked) -> Result<Chat, Refusal> {
        let conversation = Conversation::read(request, asked.streamed)?;
        rules::check(&conversation, asked.traits)?;
        let total = token_count::of(&conversation).max(1);
        if total > asked.traits.context {
            return rules::model_refuses("Input is too long for requested model.");
        }
        let mut reply = match (&asked.fault, &conversation.guardrail) {
            (Fault::Guardrail { word }, Some(guardrail)) => blocked(Some((guardrail, word))),
            (Fault::Stop { reason }, guardrail) if reason == "guardrail_intervened" => {
                blocked(guardrail.as_ref().map(|guardrail| (guardrail, "")))
            }
            _ => self.reply(&conversation, asked, total),
        };
        reply.latency = conversation.latency;
        reply.tier = conversation.tier;
        let breaks = match &asked.fault {
            Fault::Stream { after, how } => Some((*after, how.clone())),
            _ => None,
        };
        let reserved = total + conversation.inference.max_tokens.unwrap_or(asked.traits.max_output);
        let usage = reply.usage.clone().unwrap_or_default();
        let spent = usage.input + usage.cached().1 + usage.output * asked.traits.burndown;
        Ok(Chat { reply, reserved, spent, stream: asked.streamed.then_some(Stream { pause: self.pause, breaks }) })
    }

    fn reply(&self, conversation: &Conversation, asked: &Asked, total: u64) -> Reply {
        let prompt = Prompt::of(conversation);
        let limit = conversation.inference.max_tokens.unwrap_or(asked.traits.max_output);
        let mut content = Vec::new();
        if asked.fault == Fault::Reasoning || (asked.traits.reasoning && is_to_think(conversation)) {
            content.push(thought(&prompt, asked.traits.vendor));
        }
        let spent: u64 = content.iter().map(cost).sum();
        let left = limit.saturating_sub(spent);
        let room = (asked.traits.context - total).saturating_sub(spent);
        let mut additional = None;

        let stop = if let Some(tool) = tools::pick(conversation, &prompt).filter(|_| left > 0) {
            let input = tools::fill(&tool.schema, &prompt);
            let id = format!("tooluse_{:016x}", hash::text(&format!("{} {}", prompt.question, tool.name)));
            content.push(AnswerBlock::ToolUse { id, name: tool.name.clone(), input });
            "tool_use"
        } else {
            let text = self.text(conversation, &prompt);
            let (text, stop, sequence) = cut(&text, &conversation.inference.stops, left, room);
            content.push(AnswerBlock::Text(text.to_owned()));
            let asked_for = conversation.response_paths.iter().any(|path| path == "/stop_sequence");
            additional = asked_for.then(|| json!({ "stop_sequence": sequence }));
            stop
        };
        let mut stop = stop.to_owned();
        if let Fault::Stop { reason } = &asked.fault {
            demanded(reason, &mut content);
            stop.clone_from(reason);
        }

        let points = prompt_cache::points(conversation);
        let cached = asked.traits.cache.filter(|_| !points.is_empty()).map(|least| {
            // A map is usable whatever a panicking thread left behind.
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.take(&asked.model_id, &points, least, Instant::now())
        });
        let (read, written) = cached.as_ref().map_or((0, 0), |cached| (cached.read, cached.written));
        let usage = Usage { input: total - read - written, output: content.iter().map(cost).sum(), cached };
        Reply { content, stop, usage: Some(usage), additional, ..Reply::default() }
    }

    fn text(&self, conversation: &Conversation, prompt: &Prompt) -> String {
        if let Some(obeyed) = prompt_injection::obey(prompt, self.gullible) {
            return obeyed;
        }
        match &conversation.schema {
            Some(schema) => tools::fill(schema, prompt).to_string(),
            None => extractive_answer::answer(&prompt.question, &prompt.data),
        }
    }
}

/// Returns the texts of a request, as far as it has any: it may still be refused.
pub(super) fn texts(request: &Value) -> Vec<&str> {
    fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    match member {
                        Value::String(text) if key == "text" => texts.push(text),
                        inner => collect(inner, texts),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut texts = Vec::new();
    for key in ["system", "messages"] {
        collect(&request[key], &mut texts);
    }
    texts
}

/// The answer of a guardrail, with its reasons where the request asks for them. A blocked request costs no tokens.
fn blocked(guardrail: Option<(&Guardrail, &str)>) -> Reply {
    let traced = guardrail.filter(|(guardrail, _)| guardrail.trace);
    let trace = traced.map(|(guardrail, word)| {
        let words = json!({"customWords": [{"match": word, "action": "BLOCKED", "detected": true}], "managedWordLists": []});
        json!({"guardrail": {
            "inputAssessment": {&guardrail.identifier: {"wordPolicy": words}},
            "actionReason": "Guardrail blocked.",
        }})
    });
    let content = vec![AnswerBlock::Text(BLOCKED.to_owned())];
    Reply { content, stop: "guardrail_intervened".to_owned(), usage: Some(Usage::default()), trace, ..Reply::default() }
}

/// Says whether the request switches thinking on, in the words of any vendor.
fn is_to_think(conversation: &Conversation) -> bool {
    let fields = &conversation.additional;
    let switched = ["thinking", "reasoningConfig"]
        .iter()
        .any(|key| fields.get(*key).is_some_and(|thinking| thinking["type"] == "enabled" || thinking["type"] == "adaptive"));
    switched || fields.contains_key("reasoning_effort")
}

fn thought(prompt: &Prompt, vendor: Vendor) -> AnswerBlock {
    let (texts, question) = (prompt.data.len(), prompt.question.lines().next().unwrap_or_default());
    let text = format!("There are {texts} texts to answer from. I am asked: {question}");
    let signature = format!("{:016x}", hash::text(&text));
    AnswerBlock::Reasoning { signature: (vendor == Vendor::Anthropic).then_some(signature), text }
}

/// Ends a text where a stop sequence begins or a limit is reached. Returns what is left, why it ends, and the sequence.
fn cut<'a>(text: &'a str, stops: &'a [String], limit: u64, room: u64) -> (&'a str, &'static str, Option<&'a str>) {
    let first = stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop.as_str()))).min();
    let spoken = first.map_or(text, |(at, _)| &text[..at]);
    if token_count::text(spoken) > limit.min(room) {
        let reason = if room < limit { "model_context_window_exceeded" } else { "max_tokens" };
        return (tokens::first(spoken, limit.min(room)).trim_end(), reason, None);
    }
    match first {
        Some((_, sequence)) => (spoken, "stop_sequence", Some(sequence)),
        None => (spoken, "end_turn", None),
    }
}

/// Makes an answer look like one that ended for this reason.
fn demanded(reason: &str, content: &mut Vec<AnswerBlock>) {
    match reason {
        "malformed_model_output" | "malformed_tool_use" => content.clear(),
        "content_filtered" | "max_tokens" | "model_context_window_exceeded" => {
            if let Some(AnswerBlock::Text(text)) = content.last_mut() {
                text.truncate(text.floor_char_boundary(text.len() / 2));
            }
        }
        _ => {}
    }
}

fn cost(said: &AnswerBlock) -> u64 {
    match said {
        AnswerBlock::Text(text) | AnswerBlock::Reasoning { text, .. } => token_count::text(text),
        AnswerBlock::ToolUse { name, input, .. } => token_count::text(name) + token_count::text(&input.to_string()),
    }
}
