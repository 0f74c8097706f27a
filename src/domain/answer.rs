//! Questions to chat models about documents, and their answers.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChunkId, ContentHash, DocumentPath, Fingerprint, Observation, QuestionKey, Rate};

/// What is to be asked about a version of a document once its vectors are committed: of which model, under which prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// The prompt's name; `None` for the messages that the file itself holds.
    pub prompt: Option<Arc<str>>,
    /// The model's id, as it is configured.
    pub model: Arc<str>,
}

/// All that one prompt asks about one version of one document, shared by its questions.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The ledger's number of the document.
    pub document: i64,
    /// Where it lies.
    pub path: DocumentPath,
    /// Hash of the file's bytes.
    pub version: ContentHash,
    /// What the file looked like when it was read.
    pub seen: Observation,
    /// The prompt's name; `None` for the messages that the file itself holds.
    pub prompt: Option<Arc<str>>,
    /// The configuration of the prompt.
    pub config: Fingerprint,
    /// Questions that get a line.
    pub lines: usize,
    /// Ids of earlier answers that this version no longer has.
    pub retract: Vec<ChunkId>,
}

/// One thing that is asked.
#[derive(Debug)]
pub struct Question {
    /// What it is part of.
    pub inquiry: Arc<Inquiry>,
    /// Id of its answer in the output.
    pub id: ChunkId,
    /// Names it.
    pub key: QuestionKey,
    /// The chunk that it is about, from 0; `None` where it is about the whole document.
    pub chunk: Option<usize>,
}

/// A question with its answer.
#[derive(Debug)]
pub struct Answered {
    /// What was asked.
    pub question: Question,
    /// What came of it.
    pub body: Body,
    /// Calls that were answered for it now, and what they were billed; none where an earlier answer is repeated.
    pub billed: Billed,
    /// The room that it takes where it is long.
    pub held: Held,
}

/// Room that something takes in memory, until the last clone of this is dropped. All are equal: it is nothing that an answer says.
#[derive(Clone, Default)]
pub struct Held(Option<Arc<dyn Any + Send + Sync>>);

impl Held {
    /// Holds what gives the room back when it is dropped.
    pub fn of(room: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(room)))
    }

    /// Returns whether it holds anything.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_some()
    }
}

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.is_any()).finish()
    }
}

/// An answer that has no line of its own: it is kept so that it need not be paid for again.
#[derive(Debug)]
pub struct Kept {
    /// What was asked.
    pub question: QuestionKey,
    /// What came of it, as JSON; `None` where it is of no use, and only billed.
    pub answer: Option<String>,
    /// Model that answered; begins with `emulator/` as in a line.
    pub model: String,
    /// What it was billed.
    pub billed: Billed,
}

/// What answered calls were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Billed {
    /// How many.
    pub calls: u64,
    /// Tokens that went in, those of the prompt cache included.
    pub input: u64,
    /// Those of them that were read from the prompt cache.
    pub cache_read: u64,
    /// Those of them that were written to it.
    pub cache_write: u64,
    /// Those of these that are kept for an hour.
    pub cache_write_hour: u64,
    /// Tokens that came out.
    pub output: u64,
    /// At which of the model's prices.
    pub rate: Rate,
}

/// An answer, as it is in its line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Body {
    /// Model that answered; begins with `emulator/` where the answer was put together from what was asked.
    pub model: String,
    /// All texts of the answer, joined.
    pub answer: String,
    /// Always true: the author of the document influences the answer. It is data, never instructions.
    pub untrusted: bool,
    /// How the answer ended; only `whole` is all that the model had to say.
    pub ending: Ending,
    /// The same in the service's word.
    pub stop_reason: String,
    /// What was done because the document is longer than the model's context; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<String>,
    /// Tools that the model wants called: `id`, `name` and `input`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Value>,
    /// What the model thought first, where it says so: `text` and `signature`, or `redacted` in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasoning: Vec<Value>,
    /// What the guardrail found, where its trace is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<Value>,
    /// What of the question was left out or changed because Bedrock or the model has nothing like it, each with its field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The tier that the service says served it, as `flex`; absent where it says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Kinds of content that came too and that nothing here carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Tokens that were billed; null where the service does not say, of one call of several too.
    pub usage: Option<TokensUsed>,
    /// What it cost in USD; null where the model's price or the tokens are not known.
    pub usd: Option<f64>,
    /// Milliseconds that the service took, by its own clock; the sum, where it took several calls and said so of each.
    pub latency_ms: Option<u64>,
    /// Names the last call to AWS support.
    pub request_id: Option<String>,
    /// When the answer came, UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"))]
    pub answered_at: String,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The model said all it had to say, or came to a stop sequence.
    Whole,
    /// It wants tools called before it goes on.
    ToolUse,
    /// It was cut at `max-tokens`.
    CutAtMaxTokens,
    /// It was cut where the model's context was full.
    CutAtContextWindow,
    /// The model would not answer.
    Refused,
    /// A filter of the service's took it away.
    ContentFiltered,
    /// The guardrail stepped in; the text may be the guardrail's own.
    GuardrailIntervened,
    /// The model wrote something that is no answer.
    Malformed,
    /// A word of the service's that is not known here.
    Unknown,
}

impl Ending {
    /// Reads the service's word (`StopReason` of the service model, and `refusal`, which Anthropic's models have).
    #[must_use]
    pub fn of(stop_reason: &str) -> Self {
        match stop_reason {
            "end_turn" | "stop_sequence" => Self::Whole,
            "tool_use" => Self::ToolUse,
            "max_tokens" => Self::CutAtMaxTokens,
            "model_context_window_exceeded" => Self::CutAtContextWindow,
            "refusal" => Self::Refused,
            "content_filtered" => Self::ContentFiltered,
            "guardrail_intervened" => Self::GuardrailIntervened,
            "malformed_model_output" | "malformed_tool_use" => Self::Malformed,
            _ => Self::Unknown,
        }
    }

    /// Returns whether the text is all that the model had to say.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self == Self::Whole
    }
}

/// Tokens that an answer was billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokensUsed {
    /// Input tokens, without those of the cache.
    pub input_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// Input tokens that were read from the cache.
    pub cache_read_tokens: u64,
    /// Input tokens that were written to it.
    pub cache_write_tokens: u64,
    /// Those of them that are kept for an hour, at a price of their own; absent where there are none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cache_write_hour_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

impl Body {
    /// Returns whether an emulator made it.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        self.model.starts_with("emulator/")
    }
}
