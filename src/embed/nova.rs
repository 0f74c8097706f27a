//! Amazon Nova Multimodal Embeddings, for texts: one a call.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::family::{Family, Parsed, Request, Unusable, json, one_text};
use super::{EmbeddingType, InputType};
use crate::domain::Limits;

#[derive(Debug)]
pub(super) struct Nova;

/// The request body (Amazon Nova user guide, "Complete embeddings request and response schema").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NovaBody<'a> {
    schema_version: &'static str,
    task_type: &'static str,
    single_embedding_params: Params<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    embedding_purpose: &'static str,
    embedding_dimension: u32,
    text: Text<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    truncation_mode: &'static str,
    value: &'a str,
}

#[derive(Deserialize)]
struct NovaResponse<'a> {
    #[serde(borrow)]
    embeddings: Vec<Embedding<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Embedding<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    /// Stands there only where the model cut the text.
    truncated_char_length: Option<u64>,
}

impl Family for Nova {
    fn name(&self) -> &'static str {
        "nova-2"
    }

    fn models(&self) -> &'static [&'static str] {
        &["amazon.nova-2-multimodal-embeddings-v1:0"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[3072, 1024, 384, 256]
    }

    /// 8,192 characters within the request (user guide), though the service has been seen to take 50,000; 8,172 tokens (the
    /// table of litellm; the user guide says 8K).
    fn limits(&self) -> Limits {
        one_text(8_192, 8_172)
    }

    fn takes_input_type(&self) -> bool {
        true
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        let embedding_purpose = match request.input_type {
            InputType::SearchDocument => "GENERIC_INDEX",
            // The index holds texts only, which is what this purpose is for.
            InputType::SearchQuery => "TEXT_RETRIEVAL",
            InputType::Classification => "CLASSIFICATION",
            InputType::Clustering => "CLUSTERING",
        };
        json(&NovaBody {
            schema_version: "nova-multimodal-embed-v1",
            task_type: "SINGLE_EMBEDDING",
            single_embedding_params: Params {
                embedding_purpose,
                embedding_dimension: request.dimensions,
                text: Text { truncation_mode: "NONE", value: request.text() },
            },
        })
    }

    /// The body counts no tokens. The header does, with those of instructions around the text.
    fn parse<'body>(&self, body: &'body [u8], _: EmbeddingType) -> Result<Parsed<'body>, Unusable> {
        let answer: NovaResponse<'_> = serde_json::from_slice(body)?;
        if let Some(length) = answer.embeddings.iter().find_map(|embedding| embedding.truncated_char_length) {
            return Err(Unusable::Refused(format!("the model cut the text (`truncatedCharLength` is {length})")));
        }
        Ok(Parsed {
            vectors: answer.embeddings.into_iter().map(|embedding| embedding.embedding).collect(),
            tokens: None,
            texts: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(input_type: InputType) -> String {
        let embedding_type = EmbeddingType::Float;
        let request = Request { texts: &["an otter"], dimensions: 1024, embedding_type, normalize: None, input_type };
        String::from_utf8(Nova.body(&request)).unwrap()
    }

    fn parse(body: &str) -> Result<Parsed<'_>, Unusable> {
        Nova.parse(body.as_bytes(), EmbeddingType::Float)
    }

    #[test]
    fn the_body_asks_for_one_embedding_of_the_whole_text() {
        let expected = concat!(
            r#"{"schemaVersion":"nova-multimodal-embed-v1","taskType":"SINGLE_EMBEDDING","#,
            r#""singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","embeddingDimension":1024,"#,
            r#""text":{"truncationMode":"NONE","value":"an otter"}}}"#
        );
        assert_eq!(body(InputType::SearchDocument), expected);
    }

    #[test]
    fn the_purpose_follows_from_what_the_vectors_are_for() {
        for (input_type, purpose) in [
            (InputType::SearchQuery, "TEXT_RETRIEVAL"),
            (InputType::Classification, "CLASSIFICATION"),
            (InputType::Clustering, "CLUSTERING"),
        ] {
            assert!(body(input_type).contains(&format!(r#""embeddingPurpose":"{purpose}""#)));
        }
    }

    #[test]
    fn the_vector_is_read_and_no_tokens() {
        let parsed = parse(r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[0.5,-1e-3]}]}"#).unwrap();
        assert_eq!((parsed.vectors[0].get(), parsed.tokens), ("[0.5,-1e-3]", None));
        assert!(matches!(parse(r#"{"embeddings":[{"embeddingType":"TEXT"}]}"#), Err(Unusable::Shape(_))));
    }

    #[test]
    fn a_text_that_was_cut_is_a_refusal() {
        let refused =
            parse(r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[0.5],"truncatedCharLength":8000}]}"#).unwrap_err();
        assert!(matches!(&refused, Unusable::Refused(why) if why.contains("8000")), "{refused:?}");
    }
}
