//! Cohere Embed v4: up to 96 texts a call.

use std::num::NonZeroUsize;

use super::family::{Family, Parsed, Request, Unusable};
use super::{EmbeddingType, cohere};
use crate::domain::{Limits, TokenCount};

#[derive(Debug)]
pub(super) struct CohereV4;

impl Family for CohereV4 {
    fn name(&self) -> &'static str {
        "cohere-v4"
    }

    fn models(&self) -> &'static [&'static str] {
        &["cohere.embed-v4:0"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[1536, 1024, 512, 256]
    }

    fn embedding_types(&self) -> &'static [EmbeddingType] {
        cohere::EMBEDDING_TYPES
    }

    /// About 128,000 tokens and 20 MB a call (user guide).
    fn limits(&self) -> Limits {
        Limits {
            texts_per_call: cohere::TEXTS_PER_CALL,
            characters_per_text: NonZeroUsize::new(512_000).expect("not zero"),
            tokens_per_text: TokenCount::new(128_000),
            tokens_per_call: TokenCount::new(128_000),
            bytes_per_call: NonZeroUsize::new(5_000_000).expect("not zero"),
        }
    }

    fn takes_input_type(&self) -> bool {
        true
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        cohere::write(request, Some(request.dimensions))
    }

    fn parse<'body>(&self, body: &'body [u8], embedding_type: EmbeddingType) -> Result<Parsed<'body>, Unusable> {
        cohere::read(body, embedding_type)
    }
}

#[cfg(test)]
mod tests {
    use super::super::InputType;
    use super::*;

    fn body(embedding_type: EmbeddingType, input_type: InputType) -> String {
        let request = Request { texts: &["a", "b"], dimensions: 256, embedding_type, normalize: None, input_type };
        String::from_utf8(CohereV4.body(&request)).unwrap()
    }

    #[test]
    fn the_body_names_the_dimensions_and_a_type_only_when_it_is_not_float() {
        let float = r#"{"texts":["a","b"],"input_type":"clustering","truncate":"NONE","output_dimension":256}"#;
        assert_eq!(body(EmbeddingType::Float, InputType::Clustering), float);
        let int8 = concat!(
            r#"{"texts":["a","b"],"input_type":"classification","truncate":"NONE","output_dimension":256,"#,
            r#""embedding_types":["int8"]}"#
        );
        assert_eq!(body(EmbeddingType::Int8, InputType::Classification), int8);
    }
}
