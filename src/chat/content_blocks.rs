//! Parses Converse's answer, whole or in stream events.

use std::collections::BTreeMap;

use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::types as sdk;
use serde_json::Value;

use super::guardrail::Trace;
use super::response::{Answer, Ending, Reasoning, ToolCall, Usage};
use super::smithy_json::to_value;
use crate::bedrock::error::{CallError, Class};
use crate::domain::{Held, TokenCount};
use crate::report::{LONGEST_MESSAGE, cut};

/// Reads a whole answer.
pub(super) fn read(output: ConverseOutput, request_id: Option<String>, emulated: bool) -> Result<Answer, CallError> {
    let Some(sdk::ConverseOutput::Message(message)) = output.output else {
        return Err(unusable("it holds no message", request_id));
    };
    let mut parts = Parts::default();
    for block in message.content {
        parts.take(block);
    }
    parts.stop_reason = Some(output.stop_reason);
    parts.usage = output.usage;
    parts.latency_ms = output.metrics.map(|metrics| metrics.latency_ms);
    parts.tier = output.service_tier;
    parts.trace = output.trace.and_then(|trace| trace.guardrail);
    parts.finish(request_id, emulated)
}

/// The answer so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    text: String,
    tool_calls: Vec<ToolCall>,
    reasoning: Vec<Reasoning>,
    left_out: Vec<&'static str>,
    pub(super) stop_reason: Option<sdk::StopReason>,
    pub(super) usage: Option<sdk::TokenUsage>,
    pub(super) latency_ms: Option<i64>,
    pub(super) tier: Option<sdk::ServiceTier>,
    pub(super) trace: Option<sdk::GuardrailTraceAssessment>,
    /// Blocks of a stream that have begun, by their index.
    open: BTreeMap<i32, OpenBlock>,
}

/// A block of a stream that may go on.
#[derive(Debug)]
enum OpenBlock {
    Call { id: String, name: String, arguments: String },
    Thought { text: String, signature: Option<String> },
    Redacted(Vec<u8>),
}

impl Parts {
    fn take(&mut self, block: sdk::ContentBlock) {
        use sdk::ContentBlock;
        match block {
            ContentBlock::Text(text) => self.text.push_str(&text),
            ContentBlock::CitationsContent(cited) => {
                for piece in cited.content.into_iter().flatten() {
                    match piece {
                        sdk::CitationGeneratedContent::Text(text) => self.text.push_str(&text),
                        _ => self.left_out.push("citation"),
                    }
                }
            }
            ContentBlock::ToolUse(call) => {
                self.tool_calls.push(ToolCall { id: call.tool_use_id, name: call.name, input: to_value(call.input) });
            }
            ContentBlock::ReasoningContent(sdk::ReasoningContentBlock::ReasoningText(thought)) => {
                self.reasoning.push(Reasoning::Text { text: thought.text, signature: thought.signature });
            }
            ContentBlock::ReasoningContent(sdk::ReasoningContentBlock::RedactedContent(bytes)) => {
                self.reasoning.push(Reasoning::Redacted(bytes.into_inner()));
            }
            ContentBlock::Image(_) => self.left_out.push("image"),
            ContentBlock::Video(_) => self.left_out.push("video"),
            ContentBlock::Audio(_) => self.left_out.push("audio"),
            _ => self.left_out.push("unknown"),
        }
    }

    /// Begins a block of a stream. Blocks of text may go without a beginning.
    pub(super) fn begin(&mut self, index: i32, start: Option<sdk::ContentBlockStart>) {
        match start {
            Some(sdk::ContentBlockStart::ToolUse(call)) => {
                let open = OpenBlock::Call { id: call.tool_use_id, name: call.name, arguments: String::new() };
                self.open.insert(index, open);
            }
            Some(sdk::ContentBlockStart::Image(_)) => self.left_out.push("image"),
            Some(_) => self.left_out.push("unknown"),
            None => {}
        }
    }

    /// Adds to a block of a stream; returns how many bytes that were, and the text of it, if it is one.
    pub(super) fn add(&mut self, index: i32, delta: sdk::ContentBlockDelta) -> (usize, Option<String>) {
        use sdk::{ContentBlockDelta, ReasoningContentBlockDelta};
        let thought = || OpenBlock::Thought { text: String::new(), signature: None };
        match delta {
            ContentBlockDelta::Text(text) => {
                self.text.push_str(&text);
                return (text.len(), Some(text));
            }
            ContentBlockDelta::ToolUse(delta) => {
                if let Some(OpenBlock::Call { arguments, .. }) = self.open.get_mut(&index) {
                    arguments.push_str(&delta.input);
                    return (delta.input.len(), None);
                }
                self.left_out.push("unknown");
            }
            ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Text(more)) => {
                if let OpenBlock::Thought { text, .. } = self.open.entry(index).or_insert_with(thought) {
                    text.push_str(&more);
                }
                return (more.len(), None);
            }
            ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Signature(more)) => {
                if let OpenBlock::Thought { signature, .. } = self.open.entry(index).or_insert_with(thought) {
                    signature.get_or_insert_default().push_str(&more);
                }
                return (more.len(), None);
            }
            ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::RedactedContent(more)) => {
                if let OpenBlock::Redacted(bytes) = self.open.entry(index).or_insert_with(|| OpenBlock::Redacted(Vec::new())) {
                    bytes.extend_from_slice(more.as_ref());
                }
                return (more.as_ref().len(), None);
            }
            // Where an answer quotes, whose text comes as text; or what was counted where it began.
            _ => {}
        }
        (0, None)
    }

    /// Makes an answer of it. A block of a stream that was never closed is as good as closed: the stop reason says how it ended.
    pub(super) fn finish(mut self, request_id: Option<String>, emulated: bool) -> Result<Answer, CallError> {
        for (_, open) in std::mem::take(&mut self.open) {
            match open {
                OpenBlock::Call { id, name, arguments } => {
                    let input = if arguments.is_empty() {
                        Ok(Value::Object(serde_json::Map::new()))
                    } else {
                        serde_json::from_str(&arguments)
                    };
                    let input = input.unwrap_or(Value::String(arguments));
                    self.tool_calls.push(ToolCall { id, name, input });
                }
                OpenBlock::Thought { text, signature } => self.reasoning.push(Reasoning::Text { text, signature }),
                OpenBlock::Redacted(bytes) => self.reasoning.push(Reasoning::Redacted(bytes)),
            }
        }
        let Some(stop_reason) = self.stop_reason else {
            return Err(unusable("it does not say how it ended", request_id));
        };
        self.left_out.sort_unstable();
        self.left_out.dedup();
        let ending = Ending::of(stop_reason.as_str());
        let is_empty = self.text.is_empty() && self.tool_calls.is_empty() && self.reasoning.is_empty();
        // The SDK has 0 for a number that an answer lacks. Every prompt has tokens, and so has what was written, unless the total says
        // that there were none; only where a guardrail stepped in may no model have been asked, and the text is the guardrail's own.
        let total = self.usage.as_ref().map(|usage| i64::from(usage.total_tokens));
        let input = self.usage.as_ref().map(|usage| i64::from(usage.input_tokens));
        let is_count = |usage: &Usage| {
            let is_output = is_empty || usage.output_tokens.get() > 0 || total == input;
            (usage.prompt_tokens().get() > 0 && is_output) || ending == Ending::GuardrailIntervened
        };
        Ok(Answer {
            ending,
            stop_reason: cut(stop_reason.as_str(), 256).into_owned(),
            usage: self.usage.as_ref().and_then(usage).filter(is_count),
            text: self.text,
            service_tier: self.tier.map(|tier| tier.r#type.as_str().to_owned()),
            latency_ms: self.latency_ms.and_then(|millis| millis.try_into().ok()),
            tool_calls: self.tool_calls,
            reasoning: self.reasoning,
            guardrail: self.trace.map(Trace::of),
            left_out: self.left_out,
            request_id,
            emulated,
            held: Held::default(),
        })
    }
}

/// Returns what the service counted; `None` where a number is less than none.
fn usage(usage: &sdk::TokenUsage) -> Option<Usage> {
    let count = |tokens: i32| u64::try_from(tokens).ok().map(TokenCount::new);
    // An answer that names no cache has used none.
    let cached = |tokens: Option<i32>| count(tokens.unwrap_or(0));
    let details = || usage.cache_details.iter().flatten();
    let of_an_hour = details().filter(|detail| detail.ttl == sdk::CacheTtl::OneHour);
    let hour = of_an_hour.map(|detail| count(detail.input_tokens)).sum::<Option<TokenCount>>()?;
    let detailed = details().map(|detail| count(detail.input_tokens)).sum::<Option<TokenCount>>()?;
    Some(Usage {
        input_tokens: count(usage.input_tokens)?,
        output_tokens: count(usage.output_tokens)?,
        cache_read_tokens: cached(usage.cache_read_input_tokens)?,
        // The details are parts of it; a sum that is less than its parts is none.
        cache_write_tokens: cached(usage.cache_write_input_tokens)?.max(detailed),
        cache_write_hour_tokens: hour,
    })
}

/// Says that a success holds no answer.
pub(super) fn unusable(problem: &str, request_id: Option<String>) -> CallError {
    CallError {
        class: Class::BadAnswer,
        status: Some(200),
        code: None,
        message: cut(&format!("the answer is unusable: {problem}"), LONGEST_MESSAGE).into_owned(),
        request_id,
        retry_after: None,
    }
}
