//! Amazon Titan Text Embeddings G1: one text a call, and nothing to choose.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::EmbeddingType;
use super::family::{Family, Parsed, Request, Unusable, json, one_text};
use crate::domain::{Limits, TokenCount};

#[derive(Debug)]
pub(super) struct TitanV1;

/// The request body (Bedrock user guide, "Amazon Titan Embeddings Text"). Any other key is refused.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TitanV1Body<'a> {
    input_text: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TitanV1Response<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    input_text_token_count: u64,
}

impl Family for TitanV1 {
    fn name(&self) -> &'static str {
        "titan-text-v1"
    }

    /// The second is an older name of the first.
    fn models(&self) -> &'static [&'static str] {
        &["amazon.titan-embed-text-v1", "amazon.titan-embed-g1-text-02"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[1536]
    }

    /// 8,192 tokens (user guide). It gives no bound on characters; 50,000 is that of the next version.
    fn limits(&self) -> Limits {
        one_text(50_000, 8_192)
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        json(&TitanV1Body { input_text: request.text() })
    }

    fn parse<'body>(&self, body: &'body [u8], _: EmbeddingType) -> Result<Parsed<'body>, Unusable> {
        let answer: TitanV1Response<'_> = serde_json::from_slice(body)?;
        Ok(Parsed { vectors: vec![answer.embedding], tokens: Some(TokenCount::new(answer.input_text_token_count)), texts: None })
    }
}

#[cfg(test)]
mod tests {
    use super::super::InputType;
    use super::*;

    #[test]
    fn the_body_holds_the_text_and_nothing_else() {
        let request = Request {
            texts: &["Test \"n\""],
            dimensions: 1536,
            embedding_type: EmbeddingType::Float,
            normalize: None,
            input_type: InputType::SearchDocument,
        };
        assert_eq!(String::from_utf8(TitanV1.body(&request)).unwrap(), r#"{"inputText":"Test \"n\""}"#);
    }

    #[test]
    fn the_vector_and_its_tokens_are_read() {
        let parsed = TitanV1.parse(br#"{"embedding":[0.5,-1e-3],"inputTextTokenCount":4}"#, EmbeddingType::Float).unwrap();
        assert_eq!(parsed.vectors[0].get(), "[0.5,-1e-3]");
        assert_eq!(parsed.tokens, Some(TokenCount::new(4)));
        assert!(TitanV1.parse(br#"{"inputTextTokenCount":4}"#, EmbeddingType::Float).is_err());
    }
}
