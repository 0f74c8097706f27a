//! A request in the format of OpenAI's chat completions, as a file holds it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::parts::{Cache, Content, Part};
use crate::bedrock::ModelId;
use crate::chat::refusal::Refusal;

/// A chat completions request, plus `system` and `top_k`, which OpenAI has not.
///
/// `null` is as good as absent, as clients write it. A field that is not here is refused by its name: the client that wrote it meant
/// something by it. Fields that change nothing in the answer are taken, and left out with a note; others that Bedrock has nothing like
/// are taken where they say nothing (`n` is 1).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conversation {
    /// The turns so far, oldest first.
    pub messages: Vec<Message>,
    /// The model to ask; the caller has one in its place.
    pub model: Option<ModelId>,
    /// A system text before those among the messages.
    pub system: Option<Content>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// The same, by its newer name.
    pub max_completion_tokens: Option<u32>,
    /// 0 to 1. OpenAI's goes to 2; Bedrock's does not.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// From how many of the likeliest tokens each next one is drawn.
    pub top_k: Option<u32>,
    /// Texts at which the answer ends: one, or a list.
    #[serde(deserialize_with = "one_or_many")]
    pub stop: Vec<String>,
    /// Functions that the model may call.
    pub tools: Option<Vec<Tool>>,
    /// Whether it may, must, or must not.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; `true` is how models are anyway.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// How long the model may think first.
    pub reasoning_effort: Option<String>,
    /// Labels for the invocation log.
    pub metadata: Option<BTreeMap<String, String>>,
    /// `auto`, `default`, `flex` or `priority`.
    pub service_tier: Option<String>,
    /// Whether the model thinks first, in Anthropic's shape.
    pub thinking: Option<Map<String, Value>>,
    /// A cache point behind the instructions.
    pub cache_control: Option<Cache>,
    /// How the answer travels, which changes nothing in it.
    pub stream: Option<bool>,
    /// The same.
    pub stream_options: Option<Value>,
    /// The user's id; goes to the labels.
    pub user: Option<String>,
    /// The same, by its newer name.
    pub safety_identifier: Option<String>,
    /// What OpenAI finds its prompt cache by.
    pub prompt_cache_key: Option<Value>,
    /// How long OpenAI keeps it.
    pub prompt_cache_retention: Option<Value>,
    /// Bedrock draws as it likes.
    pub seed: Option<Value>,
    /// How wordy the answer is; Bedrock has nothing like it.
    pub verbosity: Option<Value>,
    /// What the answer may repeat, to be faster.
    pub prediction: Option<Value>,
    /// Must be `["text"]`.
    pub modalities: Option<Vec<String>>,
    /// Must be empty.
    pub logit_bias: Option<Map<String, Value>>,
    /// Means something only with `logprobs`.
    pub top_logprobs: Option<Value>,
    /// Must be empty: it is `tools` now.
    pub functions: Option<Vec<Value>>,
    /// Means something only with `functions`.
    pub function_call: Option<Value>,
    /// Must be absent: Bedrock searches nothing.
    pub web_search_options: Option<Value>,
    /// Must be 1.
    pub n: Option<u32>,
    /// Must be 0.
    pub frequency_penalty: Option<f64>,
    /// Must be 0.
    pub presence_penalty: Option<f64>,
    /// Must be false.
    pub logprobs: Option<bool>,
    /// Whether OpenAI keeps the answer; Bedrock keeps none.
    pub store: Option<bool>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What they say.
    #[serde(default)]
    pub content: Option<Content>,
    /// The assistant's calls of tools.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Which call a tool answers.
    #[serde(default)]
    pub tool_call_id: Option<String>,
    /// The name of the tool that answers.
    #[serde(default)]
    pub name: Option<String>,
    /// What the assistant said when it would not answer.
    #[serde(default)]
    pub refusal: Option<String>,
    /// The assistant's reasoning, as the model signed it.
    #[serde(default)]
    pub thinking_blocks: Option<Vec<Thinking>>,
    /// Stands empty in answers of OpenAI that are put back into a conversation, as do the two below.
    #[serde(default)]
    pub annotations: Option<Vec<Value>>,
    #[serde(default)]
    #[doc(hidden)]
    pub audio: Option<Value>,
    #[serde(default)]
    #[doc(hidden)]
    pub function_call: Option<Value>,
    /// What other models thought, as their servers write it; without a signature no model accepts it.
    #[serde(default)]
    pub reasoning_content: Option<Value>,
    /// Whether a cache point follows the message.
    #[serde(default)]
    pub cache_control: Option<Cache>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The newer name of the same.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a call.
    Tool,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Names the call; its result bears the same.
    pub id: String,
    /// Always a function.
    #[serde(default)]
    pub r#type: FunctionOnly,
    /// What is called.
    pub function: Called,
    /// The place of a streamed fragment; means nothing here.
    #[serde(default)]
    pub index: Option<u32>,
    /// Whether a cache point follows it.
    #[serde(default)]
    pub cache_control: Option<Cache>,
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Called {
    /// The function's name.
    pub name: String,
    /// A JSON object, as text or as it is; empty or `null` where there are none.
    #[serde(default)]
    pub arguments: Option<Arguments>,
}

/// The arguments of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Arguments {
    /// As OpenAI writes them.
    Text(String),
    /// As some servers do.
    Object(Map<String, Value>),
}

/// Reasoning that a model has signed, in Anthropic's shape.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Thinking {
    /// In plain text.
    Thinking {
        /// The text.
        thinking: String,
        /// What the model knows it by.
        signature: String,
    },
    /// Encrypted.
    RedactedThinking {
        /// Base64.
        data: String,
    },
}

/// A tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Always a function.
    #[serde(default)]
    pub r#type: FunctionOnly,
    /// The function.
    pub function: Function,
    /// Whether a cache point follows the tool.
    #[serde(default)]
    pub cache_control: Option<Cache>,
}

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// JSON Schema of its arguments; absent: it takes none.
    #[serde(default)]
    pub parameters: Option<Map<String, Value>>,
    /// Whether arguments must keep to the schema.
    #[serde(default)]
    pub strict: Option<bool>,
    /// Whether a cache point follows the tool.
    #[serde(default)]
    pub cache_control: Option<Cache>,
}

/// The one type of tool that there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionOnly {
    /// A function.
    #[default]
    Function,
}

/// Whether tools are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model thinks best.
    Auto,
    /// At least one.
    Required,
    /// None.
    None,
    /// This one.
    Function(String),
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponseFormat {
    /// `text` or `json_schema`; `json_object` is refused.
    pub r#type: FormatType,
    /// The schema, with its name.
    #[serde(default)]
    pub json_schema: Option<JsonSchema>,
}

/// A kind of form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatType {
    /// Any text.
    Text,
    /// Some JSON.
    JsonObject,
    /// JSON that keeps to a schema.
    JsonSchema,
}

/// A schema of answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonSchema {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The schema.
    pub schema: Map<String, Value>,
    /// Whether answers must keep to it. Bedrock's always do.
    #[serde(default)]
    pub strict: Option<bool>,
}

/// Values that a file of messages holds at most. Each takes some forty bytes in memory, or two in the file; what Bedrock takes has a few
/// hundred.
const MOST_VALUES: usize = 1_000_000;

/// Counts the values between brackets, braces, commas and colons of a JSON text, strings left out. Of what is no JSON it counts something.
fn values(json: &[u8]) -> usize {
    let (mut is_string, mut is_escaped, mut values) = (false, false, 0);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'[' | b'{' | b',' | b':' if !is_string => values += 1,
            _ => {}
        }
    }
    values
}

impl Conversation {
    /// Reads a request from JSON.
    ///
    /// # Errors
    /// When it is no JSON, or a field is unknown or not of its type; the error names it.
    pub fn parse(json: &[u8]) -> Result<Self, Refusal> {
        let json = as_utf8(json);
        let values = values(&json);
        if values > MOST_VALUES {
            return Err(Refusal::new("the file", format!("holds {values} values, more than the {MOST_VALUES} that are read")));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(&json);
        let conversation: Self = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let field = match error.path().to_string() {
                _ if !error.inner().is_data() => "the file".to_owned(),
                path if path == "." => "the request".to_owned(),
                path => path,
            };
            Refusal::new(field, error.into_inner().to_string())
        })?;
        deserializer.end().map_err(|error| Refusal::new("the file", error.to_string()))?;
        Ok(conversation)
    }

    /// Returns the simplest one: a question, and instructions where there are some.
    #[must_use]
    pub fn ask(system: Option<String>, question: impl Into<String>) -> Self {
        Self { messages: vec![Message::user(question)], system: system.map(Content::Text), ..Self::default() }
    }
}

impl Message {
    /// Returns a user's message of one text.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, Content::Text(text.into()))
    }

    /// Returns a user's message of several parts.
    #[must_use]
    pub fn user_parts(parts: Vec<Part>) -> Self {
        Self::new(Role::User, Content::Parts(parts))
    }

    /// Returns a message that has only content.
    #[must_use]
    pub fn new(role: Role, content: Content) -> Self {
        Self {
            role,
            content: Some(content),
            tool_calls: None,
            tool_call_id: None,
            name: None,
            refusal: None,
            thinking_blocks: None,
            annotations: None,
            audio: None,
            function_call: None,
            reasoning_content: None,
            cache_control: None,
        }
    }
}

/// Takes off the byte order mark that editors of Windows put before a text, in whichever Unicode they write.
fn as_utf8(json: &[u8]) -> Cow<'_, [u8]> {
    let units = |rest: &[u8], read: fn([u8; 2]) -> u16| {
        let units: Vec<_> = rest.chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
        // What is no UTF-16 is no JSON either, and is said to be none below.
        Cow::Owned(String::from_utf16_lossy(&units).into_bytes())
    };
    match json {
        [0xef, 0xbb, 0xbf, rest @ ..] => Cow::Borrowed(rest),
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        _ => Cow::Borrowed(json),
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match text_or::<String, Map<String, Value>, D>(deserializer, "a JSON object, as text or as it is")? {
            TextOr::Text(text) => Self::Text(text),
            TextOr::Other(object) => Self::Object(object),
        })
    }
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Auto,
            Required,
            None,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            #[serde(default, rename = "type")]
            _type: FunctionOnly,
            function: Name,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Name {
            name: String,
        }
        Ok(match text_or::<Word, Named, D>(deserializer, "`auto`, `required`, `none`, or a function by its name")? {
            TextOr::Text(Word::Auto) => Self::Auto,
            TextOr::Text(Word::Required) => Self::Required,
            TextOr::Text(Word::None) => Self::None,
            TextOr::Other(named) => Self::Function(named.function.name),
        })
    }
}

/// What may stand as a string in place of something larger.
pub(super) enum TextOr<T, O> {
    Text(T),
    Other(O),
}

/// Reads a string, a list or an object by its first character, so that an error inside keeps its path: serde's own untagged enums
/// lose it.
pub(super) fn text_or<'de, T, O, D>(deserializer: D, expecting: &'static str) -> Result<TextOr<T, O>, D::Error>
where
    T: Deserialize<'de>,
    O: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct ByShape<T, O>(&'static str, PhantomData<(T, O)>);

    impl<'de, T: Deserialize<'de>, O: Deserialize<'de>> Visitor<'de> for ByShape<T, O> {
        type Value = TextOr<T, O>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            T::deserialize(serde::de::value::StrDeserializer::new(text)).map(TextOr::Text)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            O::deserialize(SeqAccessDeserializer::new(list)).map(TextOr::Other)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            O::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Other)
        }
    }

    deserializer.deserialize_any(ByShape(expecting, PhantomData))
}

/// Reads a string as a list of one; `null` as none.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Either(Vec<String>);

    impl<'de> Deserialize<'de> for Either {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(match text_or::<String, Vec<String>, D>(deserializer, "a string or a list of strings")? {
                TextOr::Text(one) => vec![one],
                TextOr::Other(many) => many,
            }))
        }
    }

    Ok(Option::<Either>::deserialize(deserializer)?.map_or_else(Vec::new, |either| either.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_more_values_than_anybody_means_is_not_taken_apart() {
        assert_eq!(values(br#"{"a": ["[,,:{", "\\", "\",,", 1], "b": {}}"#), 9);
        let json = format!("{{\"messages\": [{}0]}}", "0,".repeat(MOST_VALUES));
        assert!(Conversation::parse(json.as_bytes()).unwrap_err().to_string().contains("values"));
    }
}
