//! `amazon.titan-embed-image-v1`, Titan Multimodal G1: one text a call; its images are not embedded here.

use serde_json::Value;

use super::json_members::Members;
use super::response::{Embedded, Refusal};
use super::titan_v2;
use super::vector_kind::Space;

/// No bound on characters is documented; Titan Text's applies here, far beyond what the tokens allow.
const MAX_CHARACTERS: usize = 50_000;
/// Sources say 128 and 256; the lesser holds clients to what works either way.
const MAX_TOKENS: u64 = 128;
/// The default first.
const LENGTHS: [usize; 3] = [1024, 384, 256];

/// Answers a request with `{"embedding":[…],"inputTextTokenCount":4,"message":null}`.
pub(super) fn embed(request: Value, space: &Space) -> Result<Embedded, Refusal> {
    let mut members = Members::of(request)?;
    let brings_image = members.has("inputImage");
    if !brings_image {
        members.demand("inputText");
    }
    members.expect(&[], &["inputText", "inputImage", "embeddingConfig"]);
    let text = members.text("inputText", MAX_CHARACTERS);
    let length = members.object("embeddingConfig", |config| {
        config.expect(&[], &["outputEmbeddingLength"]);
        config.number("outputEmbeddingLength", &LENGTHS)
    });
    members.finish()?;
    if brings_image {
        return Err(Refusal::validation("this emulator embeds `inputText` only, no `inputImage`"));
    }

    let tokens = titan_v2::count(&text, MAX_TOKENS)?;
    let length = length.unwrap_or(LENGTHS[0]);
    let mut body = Vec::with_capacity(length * 14);
    body.extend_from_slice(br#"{"embedding":"#);
    space.write(&text, length, &mut body);
    body.extend_from_slice(format!(r#","inputTextTokenCount":{tokens},"message":null}}"#).as_bytes());
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

    fn check_refused(request: Value, violations: &str) {
        let expected = format!("Malformed input request: {violations}, please reformat your input and try again.");
        assert_eq!(embed(request).unwrap_err(), expected);
    }

    #[test]
    fn a_vector_has_the_length_that_was_asked_for() {
        let length = |request| embed(request).unwrap()["embedding"].as_array().unwrap().len();
        assert_eq!(length(json!({"inputText": "a"})), 1024);
        assert_eq!(length(json!({"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}})), 384);
    }

    #[test]
    fn an_answer_has_an_empty_message() {
        let answer = embed(json!({"inputText": "Test normalization disabled"})).unwrap();
        assert_eq!((&answer["inputTextTokenCount"], answer.get("message")), (&json!(4), Some(&Value::Null)));
    }

    #[test]
    fn what_the_schema_forbids_is_refused_in_its_words() {
        check_refused(json!({}), "#: required key [inputText] not found");
        check_refused(json!({"inputText": "a", "dimensions": 256}), "#: extraneous key [dimensions] is not permitted");
        check_refused(
            json!({"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 512}}),
            "#/embeddingConfig/outputEmbeddingLength: 512 is not a valid enum value",
        );
    }

    #[test]
    fn a_text_of_more_than_128_tokens_is_refused_with_both_numbers() {
        assert!(embed(json!({"inputText": "word ".repeat(128)})).is_ok());
        let message = embed(json!({"inputText": "word ".repeat(129)})).unwrap_err();
        assert_eq!(message, "400 Bad Request: Too many input tokens. Max input tokens: 128, request input token count: 129");
    }

    #[test]
    fn images_are_refused_in_plain_words() {
        assert!(embed(json!({"inputImage": "AA=="})).unwrap_err().contains("`inputText` only"));
    }
}
