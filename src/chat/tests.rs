//! The real SDK against a server on loopback that answers as scripted.

mod canned;
mod frames;
mod streamed;
mod whole;

use std::time::Duration;

use serde_json::{Value, json};

use super::openai::{Conversation, Guardrail, GuardrailTrace, Settings, Traits, translate};
use super::{Answer, Chat, Prepared};
use crate::bedrock::client::Emulated;
use crate::bedrock::{BedrockConfig, CallError, Client, ModelId};
use crate::domain::{Held, TokenCount};

use canned::Canned;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

const MODEL: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

async fn chat(server: &Canned, attempt_timeout: Duration) -> Chat {
    let emulated = Emulated { url: server.url.clone() };
    Chat::new(Client::connect(&BedrockConfig::default(), Some(&emulated)).await.unwrap(), attempt_timeout)
}

fn prepare(conversation: &Value, settings: &Settings) -> (Prepared, Value) {
    let model = ModelId::try_from(MODEL.to_owned()).unwrap();
    let conversation = Conversation::parse(conversation.to_string().as_bytes()).unwrap();
    let request = translate(&conversation, &model, Traits::resolve(&model, None).unwrap(), settings).unwrap();
    let expected = serde_json::to_value(&request).unwrap();
    (Prepared::new(request, |text| TokenCount::new(text.len() as u64)), expected)
}

fn question() -> Prepared {
    prepare(&json!({"messages": [{"role": "user", "content": "Hello"}]}), &Settings::default()).0
}

/// Asks once; the server says this.
async fn ask(response: Vec<u8>) -> Result<Answer, CallError> {
    let server = Canned::start(vec![response]).await;
    chat(&server, PATIENCE).await.ask(&question()).await
}

/// Returns a request that has something of everything.
fn everything() -> (Value, Settings) {
    let gif = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
    let conversation = json!({
        "system": "Be brief.", "max_tokens": 300, "temperature": 0.5, "top_k": 7, "stop": "END",
        "metadata": {"team": "search"}, "service_tier": "flex",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d",
            "schema": {"type": "object", "additionalProperties": false}}},
        "tools": [{"function": {"name": "look", "description": "Looks.", "strict": true, "parameters": {"type": "object",
            "properties": {"at": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1.5}}}}}}],
        "tool_choice": "required",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Look.", "cache_control": {"ttl": "1h"}},
                {"type": "guarded_text", "text": "Here."},
                {"type": "image_url", "image_url": gif},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,aGVsbG8="}}
            ]},
            {"role": "assistant", "content": "I look.",
             "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                                 {"type": "redacted_thinking", "data": "AAEC"}],
             "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": "{\"at\":[1,-2,0.5,null,true,{}]}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "Seen."},
                                                               {"type": "image_url", "image_url": gif}]}
        ]
    });
    let guardrail =
        Guardrail { guardrail_identifier: "gr1".into(), guardrail_version: "DRAFT".into(), trace: GuardrailTrace::EnabledFull };
    (conversation, Settings { cache_system: true, guardrail: Some(guardrail), ..Settings::default() })
}
