//! `amazon.titan-embed-text-v1`: one text a call, and no parameters.

use serde_json::Value;

use super::json_members::Members;
use super::response::{Embedded, Refusal};
use super::titan_v2;
use super::vector_kind::Space;

const MAX_CHARACTERS: usize = 50_000;
const MAX_TOKENS: u64 = 8_192;
const DIMENSIONS: usize = 1536;

/// Answers a request with `{"embedding":[…],"inputTextTokenCount":4}`.
pub(super) fn embed(request: Value, space: &Space) -> Result<Embedded, Refusal> {
    let mut members = Members::of(request)?;
    members.expect(&["inputText"], &[]);
    let text = members.text("inputText", MAX_CHARACTERS);
    members.finish()?;

    let tokens = titan_v2::count(&text, MAX_TOKENS)?;
    let mut body = Vec::with_capacity(DIMENSIONS * 14);
    body.extend_from_slice(br#"{"embedding":"#);
    space.write(&text, DIMENSIONS, &mut body);
    body.extend_from_slice(format!(r#","inputTextTokenCount":{tokens}}}"#).as_bytes());
    Ok(Embedded { body, texts: 1, tokens })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn embed(request: Value) -> Result<Value, String> {
        match super::embed(request, &Space::Lexical) {
            Ok(embedded) => Ok(serde_json::from_slice(&embedded.body).unwrap()),
            Err(refusal) => Err(refusal.message.into_owned()),
        }
    }

    #[test]
    fn the_vector_is_sent_once_with_the_token_count() {
        let answer = embed(json!({"inputText": "Test normalization disabled"})).unwrap();
        assert_eq!(answer["embedding"].as_array().unwrap().len(), 1536);
        assert_eq!(answer["inputTextTokenCount"], 4);
        assert_eq!(answer.as_object().unwrap().len(), 2);
    }

    #[test]
    fn every_parameter_is_refused() {
        for key in ["dimensions", "normalize", "embeddingTypes"] {
            let message = embed(json!({"inputText": "a", key: 1})).unwrap_err();
            let expected = format!(
                "Malformed input request: #: extraneous key [{key}] is not permitted, please reformat your input and try again."
            );
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn texts_are_bounded_like_those_of_the_next_version() {
        assert!(embed(json!({"inputText": ""})).unwrap_err().contains("expected minLength: 1, actual: 0"));
        let message = embed(json!({"inputText": "x".repeat(50_001)})).unwrap_err();
        assert!(message.contains("expected maxLength: 50000, actual: 50001"), "{message}");
        let message = embed(json!({"inputText": "word ".repeat(8193)})).unwrap_err();
        assert!(message.ends_with("Max input tokens: 8192, request input token count: 8193"), "{message}");
    }
}
