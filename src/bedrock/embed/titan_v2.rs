//! Amazon Titan Text Embeddings V2: one text a call.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::family::{Family, Parsed, Request};
use crate::model::{Limits, TokenCount};

#[derive(Debug)]
pub(super) struct TitanV2;

/// The request body (Bedrock user guide, "Amazon Titan Text Embeddings").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    input_text: &'a str,
    dimensions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    normalize: Option<bool>,
}

/// The response body. The service sends the same numbers a second time in `embeddingsByType.float`, which is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
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

    /// 8,192 tokens and 50,000 characters a text, one text a call (user guide; the service's own error messages).
    fn limits(&self) -> Limits {
        Limits {
            texts_per_call: NonZeroUsize::MIN,
            characters_per_text: NonZeroUsize::new(50_000).expect("not zero"),
            tokens_per_text: TokenCount::new(8_192),
            tokens_per_call: TokenCount::new(8_192),
            bytes_per_call: NonZeroUsize::new(200_000).expect("not zero"),
        }
    }

    fn takes_normalize(&self) -> bool {
        true
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        let [input_text] = request.texts else { unreachable!("the limits say one text a call") };
        let body = Body { input_text, dimensions: request.dimensions, normalize: request.normalize };
        serde_json::to_vec(&body).expect("a text and two settings are JSON")
    }

    fn parse<'body>(&self, body: &'body [u8]) -> Result<Parsed<'body>, serde_json::Error> {
        let answer: Answer<'_> = serde_json::from_slice(body)?;
        Ok(Parsed { vectors: vec![answer.embedding], tokens: Some(TokenCount::new(answer.input_text_token_count)) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::InputType;
    use super::*;

    fn body(normalize: Option<bool>) -> String {
        let request = Request { texts: &["Test \"n\""], dimensions: 512, normalize, input_type: InputType::SearchDocument };
        String::from_utf8(TitanV2.body(&request)).unwrap()
    }

    #[test]
    fn the_body_names_the_text_the_dimensions_and_normalize_only_when_it_is_set() {
        assert_eq!(body(None), r#"{"inputText":"Test \"n\"","dimensions":512}"#);
        assert_eq!(body(Some(false)), r#"{"inputText":"Test \"n\"","dimensions":512,"normalize":false}"#);
    }

    #[test]
    fn the_vector_is_taken_once_from_an_answer_that_holds_it_twice() {
        let answer = br#"{"embedding":[0.5,-1e-3],"embeddingsByType":{"float":[0.5,-1e-3]},"inputTextTokenCount":4}"#;
        let parsed = TitanV2.parse(answer).unwrap();
        assert_eq!(parsed.vectors[0].get(), "[0.5,-1e-3]");
        assert_eq!(parsed.tokens, Some(TokenCount::new(4)));
    }

    #[test]
    fn an_answer_without_a_vector_does_not_parse() {
        assert!(TitanV2.parse(br#"{"inputTextTokenCount":4}"#).is_err());
        assert!(TitanV2.parse(b"<html>").is_err());
    }
}
