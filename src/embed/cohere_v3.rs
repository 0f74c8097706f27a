//! Cohere Embed v3: up to 96 texts a call.

use std::num::NonZeroUsize;

use super::family::{Family, Parsed, Request, Unusable};
use super::{EmbeddingType, cohere};
use crate::domain::{Limits, TokenCount};

#[derive(Debug)]
pub(super) struct CohereV3;

impl Family for CohereV3 {
    fn name(&self) -> &'static str {
        "cohere-v3"
    }

    fn models(&self) -> &'static [&'static str] {
        &["cohere.embed-english-v3", "cohere.embed-multilingual-v3"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[1024]
    }

    fn embedding_types(&self) -> &'static [EmbeddingType] {
        cohere::EMBEDDING_TYPES
    }

    /// 512 tokens and 2,048 characters a text; the characters are checked before anything is cut (the service's own messages).
    fn limits(&self) -> Limits {
        Limits {
            texts_per_call: cohere::TEXTS_PER_CALL,
            characters_per_text: NonZeroUsize::new(2_048).expect("not zero"),
            tokens_per_text: TokenCount::new(512),
            tokens_per_call: TokenCount::new(96 * 512),
            bytes_per_call: NonZeroUsize::new(1_000_000).expect("not zero"),
        }
    }

    fn takes_input_type(&self) -> bool {
        true
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        cohere::write(request, None)
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
        String::from_utf8(CohereV3.body(&request)).unwrap()
    }

    #[test]
    fn the_body_names_no_dimensions_and_a_type_only_when_it_is_not_float() {
        let float = r#"{"texts":["a","b"],"input_type":"search_document","truncate":"NONE"}"#;
        assert_eq!(body(EmbeddingType::Float, InputType::SearchDocument), float);
        let packed = r#"{"texts":["a","b"],"input_type":"search_query","truncate":"NONE","embedding_types":["ubinary"]}"#;
        assert_eq!(body(EmbeddingType::Ubinary, InputType::SearchQuery), packed);
    }
}
