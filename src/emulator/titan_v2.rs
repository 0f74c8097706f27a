//! `amazon.titan-embed-text-v2:0`: one text a call, the vector sent twice.

use serde_json::Value;

use super::json_members::Members;
use super::response::{Embedded, Refusal};
use super::tokens;
use super::vector_kind::{Space, write_list};

const MAX_CHARACTERS: usize = 50_000;
const MAX_TOKENS: u64 = 8_192;
/// The default first.
const DIMENSIONS: [usize; 3] = [1024, 512, 256];

#[derive(Clone, Copy, PartialEq)]
enum TitanV2Kind {
    Float,
    Binary,
}

/// Returns the text of a request to any Titan model, if it has one.
pub(super) fn texts(request: &Value) -> Vec<&str> {
    request["inputText"].as_str().into_iter().collect()
}

/// Answers a request.
pub(super) fn embed(request: Value, space: &Space) -> Result<Embedded, Refusal> {
    let mut members = Members::of(request)?;
    members.expect(&["inputText"], &["dimensions", "normalize", "embeddingTypes"]);
    let text = members.text("inputText", MAX_CHARACTERS);
    let dimensions = members.number("dimensions", &DIMENSIONS);
    let normalize = members.flag("normalize", true);
    let kinds = members.choices("embeddingTypes", &[("float", TitanV2Kind::Float), ("binary", TitanV2Kind::Binary)]);
    members.finish()?;

    let tokens = count(&text, MAX_TOKENS)?;
    let kinds = kinds.unwrap_or_else(|| vec![TitanV2Kind::Float]);
    Ok(Embedded { body: answer(&text, dimensions, normalize, &kinds, tokens, space), texts: 1, tokens })
}

/// Counts a text's tokens, and refuses more than `max` in the words of every Titan model.
pub(super) fn count(text: &str, max: u64) -> Result<u64, Refusal> {
    match tokens::count(text) {
        tokens if tokens > max => Err(Refusal::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {max}, request input token count: {tokens}"
        ))),
        tokens => Ok(tokens),
    }
}

/// `{"embedding":[…],"embeddingsByType":{"float":[…],"binary":[0,1,…]},"inputTextTokenCount":4}`. Without `float` among
/// the types there is no `embedding` either.
fn answer(text: &str, dimensions: usize, normalize: bool, kinds: &[TitanV2Kind], tokens: u64, space: &Space) -> Vec<u8> {
    let mut out = Vec::with_capacity(kinds.len() * dimensions * 26 + 80);
    out.push(b'{');
    let mut floats = 0..0;
    if kinds.contains(&TitanV2Kind::Float) {
        out.extend_from_slice(br#""embedding":"#);
        let start = out.len();
        if normalize {
            space.write(text, dimensions, &mut out);
        } else {
            space.write_unnormalised(text, dimensions, &mut out);
        }
        floats = start..out.len();
        out.push(b',');
    }
    out.extend_from_slice(br#""embeddingsByType":{"#);
    for (index, kind) in kinds.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match kind {
            TitanV2Kind::Float => {
                out.extend_from_slice(br#""float":"#);
                out.extend_from_within(floats.clone());
            }
            TitanV2Kind::Binary => {
                out.extend_from_slice(br#""binary":"#);
                let bits: Vec<u8> = space.vector(text, dimensions).into_iter().map(|number| u8::from(number > 0.0)).collect();
                write_list(&bits, &mut out);
            }
        }
    }
    out.extend_from_slice(format!(r#"}},"inputTextTokenCount":{tokens}}}"#).as_bytes());
    out
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

    fn length(vector: &Value) -> f64 {
        vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap().powi(2)).sum::<f64>().sqrt()
    }

    fn check_refused(request: Value, violations: &str) {
        let expected = format!("Malformed input request: {violations}, please reformat your input and try again.");
        assert_eq!(embed(request).unwrap_err(), expected);
    }

    #[test]
    fn the_vector_is_sent_twice_with_the_token_count() {
        let answer = embed(json!({"inputText": "Test normalization disabled"})).unwrap();
        assert_eq!(answer["embedding"], answer["embeddingsByType"]["float"]);
        assert_eq!(answer["embedding"].as_array().unwrap().len(), 1024);
        assert_eq!(answer["inputTextTokenCount"], 4);
        assert_eq!(
            answer.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["embedding", "embeddingsByType", "inputTextTokenCount"]
        );
    }

    #[test]
    fn a_vector_has_unit_length_unless_asked_otherwise() {
        let normalised = embed(json!({"inputText": "espresso", "dimensions": 256})).unwrap();
        assert!((length(&normalised["embedding"]) - 1.0).abs() < 1e-5);
        let raw = embed(json!({"inputText": "espresso", "dimensions": 256, "normalize": false})).unwrap();
        assert!(length(&raw["embedding"]) > 2.0);
    }

    #[test]
    fn a_binary_vector_has_one_bit_a_number_and_no_plain_embedding() {
        let answer = embed(json!({"inputText": "espresso", "embeddingTypes": ["binary"]})).unwrap();
        let bits = answer["embeddingsByType"]["binary"].as_array().unwrap();
        assert_eq!(bits.len(), 1024);
        assert!(bits.iter().all(|bit| *bit == 0 || *bit == 1));
        assert!(answer.get("embedding").is_none());
        assert!(answer["embeddingsByType"].get("float").is_none());
    }

    #[test]
    fn what_the_schema_forbids_is_refused_in_its_words() {
        check_refused(json!({"x": 1}), "#: required key [inputText] not found#: extraneous key [x] is not permitted");
        check_refused(json!({"inputText": ""}), "expected minLength: 1, actual: 0");
        check_refused(json!({"inputText": "x".repeat(52_611)}), "expected maxLength: 50000, actual: 52611");
        check_refused(json!({"inputText": ["a"]}), "#/inputText: expected type: String, found: JSONArray");
        check_refused(json!({"inputText": "a", "dimensions": 1536}), "#/dimensions: 1536 is not a valid enum value");
        check_refused(
            json!({"inputText": "a", "embeddingTypes": ["int8"]}),
            "#/embeddingTypes/0: int8 is not a valid enum value",
        );
    }

    #[test]
    fn a_text_of_more_than_8192_tokens_is_refused_with_both_numbers() {
        let message = embed(json!({"inputText": "word ".repeat(8193)})).unwrap_err();
        let expected = "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 8193";
        assert_eq!(message, expected);
        assert!(embed(json!({"inputText": "word ".repeat(8192)})).is_ok());
    }

    #[test]
    fn a_text_of_50000_characters_is_accepted() {
        assert!(embed(json!({"inputText": "extraordinarily ".repeat(3125)})).is_ok());
    }
}
