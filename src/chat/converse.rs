//! A Converse request. Serialised as JSON it is the body of that call.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

pub use super::openai::parts::Ttl;
pub use super::request_options::Latency;
use crate::bedrock::ModelId;

/// A Converse request: what `bedrock::chat` sends, once or often.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Whom to ask. Stands in the path of the call and not in its body.
    #[serde(skip)]
    pub model: ModelId,
    /// What each token of the answer counts for in the quota. Stands nowhere in the call.
    #[serde(skip)]
    pub burndown: u64,
    /// What was left out or changed because Bedrock or the model has nothing like it. Stands nowhere in the call.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// Whether the model goes on from the beginning of its answer, and only text is wanted. Stands nowhere in the call.
    #[serde(skip)]
    pub goes_on: bool,
    /// Turns of user and assistant by turns; the first is the user's.
    pub messages: Vec<Turn>,
    /// Instructions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<System>,
    /// Inference parameters that all models have.
    pub inference_config: Inference,
    /// Tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig>,
    /// The guardrail that watches over question and answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guardrail_config: Option<Guardrail>,
    /// The model's own parameters.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub additional_model_request_fields: Map<String, Value>,
    /// Labels for the invocation log.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_metadata: BTreeMap<String, String>,
    /// How urgent it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    /// Whether it is served on what is made for speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance_config: Option<PerformanceConfig>,
    /// The form of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig>,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    /// Whose it is.
    pub role: TurnRole,
    /// Never empty.
    pub content: Vec<Block>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnRole {
    /// The user; results of tools come with them.
    User,
    /// The model.
    Assistant,
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Block {
    /// Never blank.
    Text(String),
    /// An image.
    Image(ImageBlock),
    /// A document.
    Document(DocumentBlock),
    /// A call of a tool.
    ToolUse(ToolUse),
    /// Its result.
    ToolResult(ToolResult),
    /// Signed reasoning of an earlier answer.
    ReasoningContent(Reasoning),
    /// A text for the guardrail to look at.
    GuardContent(Guarded),
    /// The text before this point is worth caching in the model.
    CachePoint(CachePoint),
}

/// A piece of the instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum System {
    /// Never blank.
    Text(String),
    /// A text for the guardrail to look at.
    GuardContent(Guarded),
    /// The text before this point is worth caching in the model.
    CachePoint(CachePoint),
}

/// An image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageBlock {
    /// `png`, `jpeg`, `gif` or `webp`.
    pub format: &'static str,
    /// The file.
    pub source: Source,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DocumentBlock {
    /// `pdf`, `csv`, `doc`, `docx`, `xls`, `xlsx`, `html`, `txt` or `md`.
    pub format: &'static str,
    /// What the model reads as its name.
    pub name: String,
    /// The file.
    pub source: Source,
}

/// A file's content.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// Base64 in JSON.
    #[serde(serialize_with = "base64")]
    pub bytes: Vec<u8>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUse {
    /// Names the call: `[a-zA-Z0-9_.:-]{1,64}`.
    pub tool_use_id: String,
    /// The tool: `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// Its arguments.
    pub input: Map<String, Value>,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// Names the call.
    pub tool_use_id: String,
    /// Empty where the tool has nothing to say, which the service takes.
    pub content: Vec<ResultBlock>,
}

/// A piece of a result.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ResultBlock {
    /// Never blank.
    Text(String),
    /// An image.
    Image(ImageBlock),
}

/// Reasoning of an earlier answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reasoning {
    /// In plain text.
    ReasoningText {
        /// The text.
        text: String,
        /// What the model knows it by.
        signature: String,
    },
    /// Encrypted.
    RedactedContent(#[serde(serialize_with = "base64")] Vec<u8>),
}

/// A text for the guardrail to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guarded {
    /// The text.
    pub text: GuardedText,
}

/// The text of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuardedText {
    /// The text.
    pub text: String,
}

/// A cache point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CachePoint {
    /// Always `default`.
    pub r#type: &'static str,
    /// How long; absent: five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
}

/// Inference parameters that all models have; absent ones are the model's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inference {
    /// Always there: without it the service reserves the model's maximum of the quota.
    pub max_tokens: u32,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Texts at which the answer ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
}

/// Tools.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolConfig {
    /// Never empty.
    pub tools: Vec<ToolEntry>,
    /// Absent: as the model thinks best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Choice>,
}

/// A tool in its wrapping.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolEntry {
    /// The tool.
    ToolSpec(ToolSpec),
    /// The tools before it are worth keeping in the model's cache.
    CachePoint(CachePoint),
}

/// A tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpec {
    /// `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it takes.
    pub input_schema: InputSchema,
    /// Whether arguments must keep to the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// What a tool takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputSchema {
    /// JSON Schema of an object.
    pub json: Map<String, Value>,
}

/// Which tool is to be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// Some tool.
    Any {},
    /// This one.
    Tool {
        /// Its name.
        name: String,
    },
}

/// The guardrail that watches over question and answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guardrail {
    /// Its id or ARN.
    pub guardrail_identifier: String,
    /// A number, or `DRAFT`.
    pub guardrail_version: String,
    /// How much its trace reports.
    pub trace: GuardrailTrace,
}

/// How much a guardrail's trace reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailTrace {
    /// Nothing.
    #[default]
    Disabled,
    /// What it found.
    Enabled,
    /// Also what it looked for and did not find.
    EnabledFull,
}

/// How urgent a request is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceTier {
    /// `default`, `flex`, `priority` or `reserved`.
    pub r#type: String,
}

/// Whether a call is served on what is made for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PerformanceConfig {
    /// `standard` or `optimized`.
    pub latency: Latency,
}

/// The form of the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputConfig {
    /// The schema that it keeps to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_format: Option<TextFormat>,
    /// How long the model may think first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
}

/// A schema in its wrapping.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextFormat {
    /// Always `json_schema`.
    pub r#type: &'static str,
    /// The schema.
    pub structure: Structure,
}

/// A schema in its wrapping.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Structure {
    /// The schema.
    pub json_schema: SchemaText,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SchemaText {
    /// JSON, as text.
    pub schema: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl CachePoint {
    /// Returns one that lasts so long.
    #[must_use]
    pub fn lasting(ttl: Option<Ttl>) -> Self {
        Self { r#type: "default", ttl }
    }
}

impl Guarded {
    /// Returns a text for the guardrail to look at.
    #[must_use]
    pub fn text(text: String) -> Self {
        Self { text: GuardedText { text } }
    }
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}
