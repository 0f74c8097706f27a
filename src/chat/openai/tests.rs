//! Every special case as a line of a table.
#![expect(clippy::needless_pass_by_value, reason = "`json!` stands in the calls")]

mod property;
mod refused;
mod taken;
mod validator;

use serde_json::{Value, json};

use super::{
    Conversation, EffortWish, Guardrail, GuardrailTrace, Latency, Settings, ThinkingWish, TierWish, Traits, Ttl, translate,
};
use crate::bedrock::ModelId;

const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const CLAUDE_5: &str = "us.anthropic.claude-opus-5-5";
const NOVA: &str = "amazon.nova-lite-v1:0";
const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const MISTRAL: &str = "mistral.mistral-large-3-675b-instruct";
const MISTRAL_7B: &str = "mistral.mistral-7b-instruct-v0:2";
const TITAN: &str = "amazon.titan-text-lite-v1";
const GPT_OSS: &str = "openai.gpt-oss-120b-1:0";

/// The smallest image that there is: one transparent pixel.
const GIF: &str = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
const PDF: &str = "data:application/pdf;base64,JVBERi0xLjQ=";

/// Translates a request for a model, as if both had come out of files.
fn ask(model: &str, conversation: &Value, settings: &Settings) -> Result<Value, String> {
    let model = ModelId::try_from(model.to_owned()).unwrap();
    let traits = Traits::resolve(&model, None).unwrap();
    Conversation::parse(conversation.to_string().as_bytes())
        .and_then(|conversation| translate(&conversation, &model, traits, settings))
        .map(|request| serde_json::to_value(&request).unwrap())
        .map_err(|refusal| refusal.to_string())
}

fn guarded() -> Settings {
    let guardrail_version = "3".to_owned();
    let guardrail = Guardrail { guardrail_identifier: "gr1".into(), guardrail_version, trace: GuardrailTrace::Enabled };
    Settings { guardrail: Some(guardrail), ..Settings::default() }
}

/// Returns a request of these messages.
fn said(messages: Value) -> Value {
    json!({"messages": messages})
}

/// Returns a request of one question with more beside it.
fn with(fields: Value) -> Value {
    let mut conversation = said(json!([{"role": "user", "content": "Hello"}]));
    conversation.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    conversation
}

/// Returns a tool of OpenAI's shape.
fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

/// Returns an assistant's message of one call.
fn call(id: &str, arguments: &str) -> Value {
    json!({"role": "assistant", "content": null,
           "tool_calls": [{"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}]})
}

fn result(id: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}
