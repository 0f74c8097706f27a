//! Amazon Titan Multimodal Embeddings G1, for texts: one a call.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::EmbeddingType;
use super::family::{Family, Parsed, Request, Unusable, json, one_text};
use crate::domain::{Limits, TokenCount};

#[derive(Debug)]
pub(super) struct TitanMultimodal;

/// The request body (Bedrock user guide, "Amazon Titan Multimodal Embeddings G1").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TitanMultimodalBody<'a> {
    input_text: &'a str,
    embedding_config: EmbeddingConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmbeddingConfig {
    output_embedding_length: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TitanMultimodalResponse<'a> {
    /// Missing or null where `message` says why.
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    input_text_token_count: Option<u64>,
    message: Option<String>,
}

impl Family for TitanMultimodal {
    fn name(&self) -> &'static str {
        "titan-multimodal-g1"
    }

    fn models(&self) -> &'static [&'static str] {
        &["amazon.titan-embed-image-v1"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[1024, 384, 256]
    }

    /// The user guide says 256 tokens, other sources 128: the lesser is safe. It binds long before any number of characters,
    /// for which the bound of Titan Text applies.
    fn limits(&self) -> Limits {
        one_text(50_000, 128)
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        let embedding_config = EmbeddingConfig { output_embedding_length: request.dimensions };
        json(&TitanMultimodalBody { input_text: request.text(), embedding_config })
    }

    fn parse<'body>(&self, body: &'body [u8], _: EmbeddingType) -> Result<Parsed<'body>, Unusable> {
        let answer: TitanMultimodalResponse<'_> = serde_json::from_slice(body)?;
        if let Some(message) = answer.message {
            return Err(Unusable::Refused(format!("the model says: {message}")));
        }
        Ok(Parsed {
            vectors: answer.embedding.into_iter().collect(),
            tokens: answer.input_text_token_count.map(TokenCount::new),
            texts: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::InputType;
    use super::*;

    fn parse(body: &str) -> Result<Parsed<'_>, Unusable> {
        TitanMultimodal.parse(body.as_bytes(), EmbeddingType::Float)
    }

    #[test]
    fn the_body_names_the_text_and_the_length_of_the_vector() {
        let request = Request {
            texts: &["an otter"],
            dimensions: 384,
            embedding_type: EmbeddingType::Float,
            normalize: None,
            input_type: InputType::SearchDocument,
        };
        let expected = r#"{"inputText":"an otter","embeddingConfig":{"outputEmbeddingLength":384}}"#;
        assert_eq!(String::from_utf8(TitanMultimodal.body(&request)).unwrap(), expected);
    }

    #[test]
    fn the_vector_and_its_tokens_are_read() {
        for answer in
            [r#"{"embedding":[0.5],"inputTextTokenCount":4,"message":null}"#, r#"{"embedding":[0.5],"inputTextTokenCount":4}"#]
        {
            let parsed = parse(answer).unwrap();
            assert_eq!((parsed.vectors[0].get(), parsed.tokens), ("[0.5]", Some(TokenCount::new(4))));
        }
    }

    #[test]
    fn a_message_in_a_success_is_a_refusal_in_its_words() {
        let refused = parse(r#"{"embedding":null,"inputTextTokenCount":0,"message":"no, thank you"}"#).unwrap_err();
        assert!(matches!(&refused, Unusable::Refused(why) if why.contains("no, thank you")), "{refused:?}");
        assert!(parse(r#"{"inputTextTokenCount":0}"#).unwrap().vectors.is_empty(), "which is one too few for the text");
        assert!(matches!(parse("<html>"), Err(Unusable::Shape(_))));
    }
}
