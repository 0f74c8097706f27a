//! Amazon Titan Text Embeddings V2: one text a call.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::EmbeddingType;
use super::family::{Family, Parsed, Request, Unusable, json, one_text};
use crate::domain::{Limits, Number, TokenCount};

#[derive(Debug)]
pub(super) struct TitanV2;

/// The request body (Bedrock user guide, "Amazon Titan Embeddings Text").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TitanV2Body<'a> {
    input_text: &'a str,
    dimensions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    normalize: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_types: Option<[&'static str; 1]>,
}

/// The response body when floats were asked for. The service sends the same numbers a second time in `embeddingsByType.float`,
/// which is ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Floats<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    input_text_token_count: u64,
}

/// The response body when another type was asked for. `embedding`, where it is sent, has floats.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByType<'a> {
    #[serde(borrow)]
    embeddings_by_type: BTreeMap<String, &'a RawValue>,
    input_text_token_count: u64,
}

impl Family for TitanV2 {
    fn name(&self) -> &'static str {
        "titan-text-v2"
    }

    fn models(&self) -> &'static [&'static str] {
        &["amazon.titan-embed-text-v2:0"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[1024, 512, 256]
    }

    fn embedding_types(&self) -> &'static [EmbeddingType] {
        &[EmbeddingType::Float, EmbeddingType::Binary]
    }

    /// A binary vector has a 0 or a 1 for each dimension, not packed.
    fn elements(&self, embedding_type: EmbeddingType, dimensions: u32) -> (u32, Number) {
        (dimensions, if embedding_type == EmbeddingType::Float { Number::Float } else { Number::Bit })
    }

    /// 8,192 tokens and 50,000 characters a text, one text a call (user guide; the service's own error messages).
    fn limits(&self) -> Limits {
        one_text(50_000, 8_192)
    }

    fn takes_normalize(&self) -> bool {
        true
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        let embedding_types = match request.embedding_type {
            // What is answered when no type is asked for.
            EmbeddingType::Float => None,
            other => Some([other.as_str()]),
        };
        let Request { dimensions, normalize, .. } = *request;
        json(&TitanV2Body { input_text: request.text(), dimensions, normalize, embedding_types })
    }

    fn parse<'body>(&self, body: &'body [u8], embedding_type: EmbeddingType) -> Result<Parsed<'body>, Unusable> {
        let (vector, tokens) = match embedding_type {
            EmbeddingType::Float => doubled(body).map_or_else(|| floats(body), Ok)?,
            other => of_type(body, other.as_str())?,
        };
        Ok(Parsed { vectors: vec![vector], tokens: Some(TokenCount::new(tokens)), texts: None })
    }
}

fn floats(body: &[u8]) -> Result<(&RawValue, u64), serde_json::Error> {
    let answer: Floats<'_> = serde_json::from_slice(body)?;
    Ok((answer.embedding, answer.input_text_token_count))
}

fn of_type<'body>(body: &'body [u8], name: &str) -> Result<(&'body RawValue, u64), serde_json::Error> {
    let answer: ByType<'_> = serde_json::from_slice(body)?;
    let vector = answer.embeddings_by_type.get(name).copied();
    let missing = || serde_json::Error::custom(format!("no vector of the type {name}"));
    Ok((vector.ok_or_else(missing)?, answer.input_text_token_count))
}

/// Reads an answer in the very form in which the service writes it, if it has that form. The second copy of the vector is then
/// not read but compared with the first, which halves the time that an answer of 1,024 numbers takes (23 µs instead of 51).
fn doubled(body: &[u8]) -> Option<(&RawValue, u64)> {
    let rest = body.strip_prefix(br#"{"embedding":"#)?;
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
    let vector = values.next()?.ok()?;
    let rest = rest[values.byte_offset()..].strip_prefix(br#","embeddingsByType":{"float":"#)?;
    let rest = rest.strip_prefix(vector.get().as_bytes())?.strip_prefix(br#"},"inputTextTokenCount":"#)?;
    Some((vector, serde_json::from_slice(rest.strip_suffix(b"}")?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::InputType;
    use super::*;

    fn body(normalize: Option<bool>, embedding_type: EmbeddingType) -> String {
        let request =
            Request { texts: &["Test \"n\""], dimensions: 512, embedding_type, normalize, input_type: InputType::SearchDocument };
        String::from_utf8(TitanV2.body(&request)).unwrap()
    }

    #[test]
    fn the_body_names_the_text_the_dimensions_and_what_else_is_set() {
        assert_eq!(body(None, EmbeddingType::Float), r#"{"inputText":"Test \"n\"","dimensions":512}"#);
        let raw = r#"{"inputText":"Test \"n\"","dimensions":512,"normalize":false}"#;
        assert_eq!(body(Some(false), EmbeddingType::Float), raw);
        let bits = r#"{"inputText":"Test \"n\"","dimensions":512,"embeddingTypes":["binary"]}"#;
        assert_eq!(body(None, EmbeddingType::Binary), bits);
    }

    #[test]
    fn the_vector_is_taken_once_from_an_answer_that_holds_it_twice() {
        let recorded = r#"{"embedding":[0.5,-1e-3],"embeddingsByType":{"float":[0.5,-1e-3]},"inputTextTokenCount":4}"#;
        assert!(doubled(recorded.as_bytes()).is_some());
        for answer in [
            recorded,
            r#"{"inputTextTokenCount":4,"embeddingsByType":{"float":[0.5,-1e-3]},"embedding":[0.5,-1e-3]}"#,
            r#"{ "embedding": [0.5,-1e-3], "embeddingsByType": {"float": [0.5, -0.001]}, "inputTextTokenCount": 4 }"#,
            r#"{"embedding":[0.5,-1e-3],"embeddingsByType":{"float":[0.5,-0.001]},"inputTextTokenCount":4}"#,
            r#"{"embedding":[0.5,-1e-3],"embeddingsByType":{"float":[0.5,-1e-3],"binary":[1,0]},"inputTextTokenCount":4}"#,
            r#"{"embedding":[0.5,-1e-3],"embeddingsByType":{"float":[0.5,-1e-3]},"inputTextTokenCount":4,"more":1}"#,
            r#"{"embedding":[0.5,-1e-3],"inputTextTokenCount":4}"#,
        ] {
            let parsed = TitanV2.parse(answer.as_bytes(), EmbeddingType::Float).unwrap();
            assert_eq!(parsed.vectors.len(), 1);
            assert_eq!(parsed.vectors[0].get(), "[0.5,-1e-3]", "{answer}");
            assert_eq!(parsed.tokens, Some(TokenCount::new(4)));
        }
    }

    #[test]
    fn an_answer_that_was_cut_does_not_parse_wherever_it_was_cut() {
        let whole = br#"{"embedding":[0.5,-1e-3],"embeddingsByType":{"float":[0.5,-1e-3]},"inputTextTokenCount":42}"#;
        for length in 0..whole.len() {
            assert!(TitanV2.parse(&whole[..length], EmbeddingType::Float).is_err(), "{length}");
        }
    }

    #[test]
    fn bits_are_read_with_and_without_floats_beside_them() {
        for answer in [
            r#"{"embeddingsByType":{"binary":[0,1]},"inputTextTokenCount":4}"#,
            r#"{"embedding":[0.5,-1e-3],"inputTextTokenCount":4,"embeddingsByType":{"float":[0.5,-1e-3],"binary":[0,1]}}"#,
        ] {
            let parsed = TitanV2.parse(answer.as_bytes(), EmbeddingType::Binary).unwrap();
            assert_eq!((parsed.vectors[0].get(), parsed.tokens), ("[0,1]", Some(TokenCount::new(4))));
        }
    }

    #[test]
    fn an_answer_without_a_vector_does_not_parse() {
        let floats = r#"{"embeddingsByType":{"float":[1]},"inputTextTokenCount":4}"#;
        assert!(TitanV2.parse(floats.as_bytes(), EmbeddingType::Binary).is_err());
        assert!(TitanV2.parse(br#"{"inputTextTokenCount":4}"#, EmbeddingType::Float).is_err());
        assert!(TitanV2.parse(b"<html>", EmbeddingType::Float).is_err());
    }
}
