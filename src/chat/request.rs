//! A request in the SDK's types, built once and sent for each attempt.

use std::collections::HashMap;

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::operation::converse::builders::ConverseFluentBuilder;
use aws_sdk_bedrockruntime::operation::converse_stream::builders::ConverseStreamFluentBuilder;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types as sdk;
use aws_smithy_types::Document;

use super::converse as ours;
use super::openai::Request;
use super::response::{Believable, Usage};
use super::smithy_json::of_object;
use crate::bedrock::ModelId;
use crate::domain::{Tier, TokenCount};

/// An answer of more tokens may take longer than three minutes, at the 20 a second of the slower models: gateways forget connections that
/// are silent for 240 s (Azure) to 350 s (AWS).
const LONG_ANSWER: u32 = 4_096;

/// Characters of an answer to a token: fewer than there are, so that the rest is not given more tokens than were left.
const CHARACTERS_PER_TOKEN: usize = 3;

/// Fewer tokens are not worth another call, and no model wants more than 16.
const LEAST_LEFT: u32 = 16;

const SET: &str = "every required field is set";

/// A request that can be sent, and sent again. Its texts are copied for each attempt, its images and documents are not.
#[derive(Debug, Clone)]
pub struct Prepared {
    model: ModelId,
    estimated: TokenCount,
    max_tokens: u32,
    burndown: u64,
    asked_tier: Tier,
    /// Whether the model goes on from the beginning of an answer, and nothing but text is wanted of it.
    goes_on: bool,
    notes: Vec<String>,
    messages: Vec<sdk::Message>,
    system: Vec<sdk::SystemContentBlock>,
    inference: sdk::InferenceConfiguration,
    tools: Option<sdk::ToolConfiguration>,
    guardrail: Option<ours::Guardrail>,
    additional: Option<Document>,
    metadata: Option<HashMap<String, String>>,
    tier: Option<sdk::ServiceTier>,
    performance: Option<sdk::PerformanceConfiguration>,
    output: Option<sdk::OutputConfig>,
}

impl Prepared {
    /// Prepares a request; `of_text` estimates the tokens of a text.
    #[must_use]
    pub fn new(request: Request, of_text: impl Fn(&str) -> TokenCount) -> Self {
        let estimated = request.input_tokens(of_text);
        let max_tokens = request.inference_config.max_tokens;
        let additional = &request.additional_model_request_fields;
        Self {
            estimated,
            max_tokens,
            burndown: request.burndown,
            asked_tier: request.service_tier.as_ref().map(|tier| Tier::of(&tier.r#type)).unwrap_or_default(),
            notes: request.notes,
            goes_on: request.goes_on,
            additional: (!additional.is_empty()).then(|| of_object(additional)),
            model: request.model,
            messages: request.messages.into_iter().map(turn).collect(),
            system: request.system.into_iter().map(system).collect(),
            inference: inference(request.inference_config),
            tools: request.tool_config.map(tools),
            guardrail: request.guardrail_config,
            metadata: (!request.request_metadata.is_empty()).then(|| request.request_metadata.into_iter().collect()),
            tier: request
                .service_tier
                .map(|tier| sdk::ServiceTier::builder().r#type(tier.r#type.as_str().into()).build().expect(SET)),
            performance: request.performance_config.map(|performance| {
                let latency = match performance.latency {
                    ours::Latency::Standard => sdk::PerformanceConfigLatency::Standard,
                    ours::Latency::Optimized => sdk::PerformanceConfigLatency::Optimized,
                };
                sdk::PerformanceConfiguration::builder().latency(latency).build()
            }),
            output: request.output_config.map(output),
        }
    }

    /// Returns the model that is asked.
    #[must_use]
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Returns the estimated number of input tokens.
    #[must_use]
    pub fn estimated_input(&self) -> TokenCount {
        self.estimated
    }

    /// Returns whether the answer may take minutes to write.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.max_tokens > LONG_ANSWER
    }

    /// Returns a request to go on from the beginning of an answer, with that beginning as the model takes it; `None` where the model does
    /// not, or more than plain text is wanted.
    pub(super) fn going_on_from(&self, written: &str) -> Option<(String, Self)> {
        // Claude does not go on from white space.
        let begun = written.trim_end();
        let spent = u32::try_from(begun.len() / CHARACTERS_PER_TOKEN).ok()?;
        let left = self.max_tokens.checked_sub(spent).filter(|left| *left >= LEAST_LEFT)?;
        if !self.goes_on || begun.is_empty() {
            return None;
        }
        let turn = sdk::Message::builder()
            .role(sdk::ConversationRole::Assistant)
            .content(sdk::ContentBlock::Text(begun.to_owned()))
            .build()
            .expect(SET);
        let mut rest = self.clone();
        rest.messages.push(turn);
        rest.max_tokens = left;
        rest.inference.max_tokens = i32::try_from(left).ok();
        Some((begun.to_owned(), rest))
    }

    /// Returns the tier that is asked for.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.asked_tier
    }

    /// Returns what was left out or changed because Bedrock or the model has nothing like it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the most tokens that the answer may have.
    #[must_use]
    pub fn longest_answer(&self) -> TokenCount {
        TokenCount::new(self.max_tokens.into())
    }

    /// Returns what an answer to this can have been billed.
    pub(super) fn believable(&self) -> Believable {
        /// No model's context holds more; what a picture, a tool or a cached prompt comes to is not known here.
        const LARGEST_CONTEXT: u64 = 2_000_000;
        // The estimate has a quarter of a token for a letter, and no tokenizer has more than one for a byte.
        let input = self.estimated.get().saturating_mul(16).max(LARGEST_CONTEXT);
        let output = self.longest_answer().get().saturating_mul(4).saturating_add(4096);
        Believable { input, output }
    }

    /// Returns what the service takes from the quota when the call begins: input and `max_tokens` (user guide, token burndown).
    #[must_use]
    pub fn reserved(&self) -> TokenCount {
        self.estimated + self.longest_answer()
    }

    /// Returns what the service has taken from the quota once the call has ended: what was read from the prompt cache is free, and a
    /// token of the answer counts for several of some models (user guide, token burndown).
    #[must_use]
    pub fn taken(&self, usage: Usage) -> TokenCount {
        let Usage { input_tokens, cache_write_tokens, output_tokens, .. } = usage;
        input_tokens + cache_write_tokens + TokenCount::new(output_tokens.get().saturating_mul(self.burndown))
    }

    pub(super) fn converse(&self, client: &Client) -> ConverseFluentBuilder {
        let guardrail = self.guardrail.clone().map(|guardrail| {
            sdk::GuardrailConfiguration::builder()
                .guardrail_identifier(guardrail.guardrail_identifier)
                .guardrail_version(guardrail.guardrail_version)
                .trace(trace(guardrail.trace))
                .build()
        });
        client
            .converse()
            .model_id(self.model.as_str())
            .set_messages(Some(self.messages.clone()))
            .set_system((!self.system.is_empty()).then(|| self.system.clone()))
            .inference_config(self.inference.clone())
            .set_tool_config(self.tools.clone())
            .set_guardrail_config(guardrail)
            .set_additional_model_request_fields(self.additional.clone())
            .set_request_metadata(self.metadata.clone())
            .set_service_tier(self.tier.clone())
            .set_performance_config(self.performance.clone())
            .set_output_config(self.output.clone())
    }

    /// The same for a stream. The guardrail looks at the text before it is passed on: what has been shown cannot be withdrawn.
    pub(super) fn converse_stream(&self, client: &Client) -> ConverseStreamFluentBuilder {
        let guardrail = self.guardrail.clone().map(|guardrail| {
            sdk::GuardrailStreamConfiguration::builder()
                .guardrail_identifier(guardrail.guardrail_identifier)
                .guardrail_version(guardrail.guardrail_version)
                .trace(trace(guardrail.trace))
                .stream_processing_mode(sdk::GuardrailStreamProcessingMode::Sync)
                .build()
        });
        client
            .converse_stream()
            .model_id(self.model.as_str())
            .set_messages(Some(self.messages.clone()))
            .set_system((!self.system.is_empty()).then(|| self.system.clone()))
            .inference_config(self.inference.clone())
            .set_tool_config(self.tools.clone())
            .set_guardrail_config(guardrail)
            .set_additional_model_request_fields(self.additional.clone())
            .set_request_metadata(self.metadata.clone())
            .set_service_tier(self.tier.clone())
            .set_performance_config(self.performance.clone())
            .set_output_config(self.output.clone())
    }
}

fn turn(turn: ours::Turn) -> sdk::Message {
    let role = match turn.role {
        ours::TurnRole::User => sdk::ConversationRole::User,
        ours::TurnRole::Assistant => sdk::ConversationRole::Assistant,
    };
    let content = turn.content.into_iter().map(block).collect();
    sdk::Message::builder().role(role).set_content(Some(content)).build().expect(SET)
}

fn block(block: ours::Block) -> sdk::ContentBlock {
    use ours::Block;
    use sdk::ContentBlock;
    match block {
        Block::Text(text) => ContentBlock::Text(text),
        Block::Image(block) => ContentBlock::Image(image(block)),
        Block::Document(document) => ContentBlock::Document(
            sdk::DocumentBlock::builder()
                .format(document.format.into())
                .name(document.name)
                .source(sdk::DocumentSource::Bytes(Blob::new(document.source.bytes)))
                .build()
                .expect(SET),
        ),
        Block::ToolUse(call) => ContentBlock::ToolUse(
            sdk::ToolUseBlock::builder()
                .tool_use_id(call.tool_use_id)
                .name(call.name)
                .input(of_object(&call.input))
                .build()
                .expect(SET),
        ),
        Block::ToolResult(result) => {
            let content = result.content.into_iter().map(|part| match part {
                ours::ResultBlock::Text(text) => sdk::ToolResultContentBlock::Text(text),
                ours::ResultBlock::Image(block) => sdk::ToolResultContentBlock::Image(image(block)),
            });
            let result = sdk::ToolResultBlock::builder().tool_use_id(result.tool_use_id).set_content(Some(content.collect()));
            ContentBlock::ToolResult(result.build().expect(SET))
        }
        Block::ReasoningContent(ours::Reasoning::ReasoningText { text, signature }) => {
            let text = sdk::ReasoningTextBlock::builder().text(text).signature(signature).build().expect(SET);
            ContentBlock::ReasoningContent(sdk::ReasoningContentBlock::ReasoningText(text))
        }
        Block::ReasoningContent(ours::Reasoning::RedactedContent(bytes)) => {
            ContentBlock::ReasoningContent(sdk::ReasoningContentBlock::RedactedContent(Blob::new(bytes)))
        }
        Block::GuardContent(text) => ContentBlock::GuardContent(guarded(text)),
        Block::CachePoint(point) => ContentBlock::CachePoint(cache_point(point)),
    }
}

fn system(block: ours::System) -> sdk::SystemContentBlock {
    match block {
        ours::System::Text(text) => sdk::SystemContentBlock::Text(text),
        ours::System::GuardContent(text) => sdk::SystemContentBlock::GuardContent(guarded(text)),
        ours::System::CachePoint(point) => sdk::SystemContentBlock::CachePoint(cache_point(point)),
    }
}

fn image(image: ours::ImageBlock) -> sdk::ImageBlock {
    let source = sdk::ImageSource::Bytes(Blob::new(image.source.bytes));
    sdk::ImageBlock::builder().format(image.format.into()).source(source).build().expect(SET)
}

fn guarded(guarded: ours::Guarded) -> sdk::GuardrailConverseContentBlock {
    let text = sdk::GuardrailConverseTextBlock::builder().text(guarded.text.text).build().expect(SET);
    sdk::GuardrailConverseContentBlock::Text(text)
}

fn cache_point(point: ours::CachePoint) -> sdk::CachePointBlock {
    let ttl = point.ttl.map(|ttl| match ttl {
        ours::Ttl::FiveMinutes => sdk::CacheTtl::FiveMinutes,
        ours::Ttl::OneHour => sdk::CacheTtl::OneHour,
    });
    sdk::CachePointBlock::builder().r#type(point.r#type.into()).set_ttl(ttl).build().expect(SET)
}

fn inference(inference: ours::Inference) -> sdk::InferenceConfiguration {
    // The API has them in single precision.
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
    let single = |number: f64| number as f32;
    sdk::InferenceConfiguration::builder()
        .max_tokens(i32::try_from(inference.max_tokens).expect("the translator takes no more"))
        .set_temperature(inference.temperature.map(single))
        .set_top_p(inference.top_p.map(single))
        .set_stop_sequences((!inference.stop_sequences.is_empty()).then_some(inference.stop_sequences))
        .build()
}

fn tools(config: ours::ToolConfig) -> sdk::ToolConfiguration {
    let tools = config.tools.into_iter().map(|entry| {
        let spec = match entry {
            ours::ToolEntry::ToolSpec(spec) => spec,
            ours::ToolEntry::CachePoint(point) => return sdk::Tool::CachePoint(cache_point(point)),
        };
        let schema = sdk::ToolInputSchema::Json(of_object(&spec.input_schema.json));
        let tool = sdk::ToolSpecification::builder().name(spec.name).set_description(spec.description).input_schema(schema);
        sdk::Tool::ToolSpec(tool.set_strict(spec.strict).build().expect(SET))
    });
    let choice = config.tool_choice.map(|choice| match choice {
        ours::Choice::Any {} => sdk::ToolChoice::Any(sdk::AnyToolChoice::builder().build()),
        ours::Choice::Tool { name } => sdk::ToolChoice::Tool(sdk::SpecificToolChoice::builder().name(name).build().expect(SET)),
    });
    sdk::ToolConfiguration::builder().set_tools(Some(tools.collect())).set_tool_choice(choice).build().expect(SET)
}

fn trace(trace: ours::GuardrailTrace) -> sdk::GuardrailTrace {
    match trace {
        ours::GuardrailTrace::Disabled => sdk::GuardrailTrace::Disabled,
        ours::GuardrailTrace::Enabled => sdk::GuardrailTrace::Enabled,
        ours::GuardrailTrace::EnabledFull => sdk::GuardrailTrace::EnabledFull,
    }
}

fn output(config: ours::OutputConfig) -> sdk::OutputConfig {
    let format = config.text_format.map(|format| {
        let schema = format.structure.json_schema;
        let schema = sdk::JsonSchemaDefinition::builder()
            .schema(schema.schema)
            .set_name(schema.name)
            .set_description(schema.description)
            .build()
            .expect(SET);
        sdk::OutputFormat::builder()
            .r#type(format.r#type.into())
            .structure(sdk::OutputFormatStructure::JsonSchema(schema))
            .build()
            .expect(SET)
    });
    sdk::OutputConfig::builder().set_text_format(format).set_effort(config.effort).build()
}
