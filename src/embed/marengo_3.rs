//! Marengo Embed 3.0, for texts: one a call.

use serde::Serialize;

use super::family::{Family, Parsed, Request, Unusable, json, one_text};
use super::{EmbeddingType, marengo};
use crate::domain::Limits;

#[derive(Debug)]
pub(super) struct Marengo3;

/// The request body (Bedrock user guide, "Marengo Embed 3.0"). It has nothing that lets the model cut a text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Marengo3Body<'a> {
    input_type: &'static str,
    text: Text<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    input_text: &'a str,
}

impl Family for Marengo3 {
    fn name(&self) -> &'static str {
        "marengo-3.0"
    }

    fn models(&self) -> &'static [&'static str] {
        &["twelvelabs.marengo-embed-3-0-v1:0"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[512]
    }

    /// 500 tokens (user guide), which bind long before any number of characters.
    fn limits(&self) -> Limits {
        one_text(50_000, 500)
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        json(&Marengo3Body { input_type: "text", text: Text { input_text: request.text() } })
    }

    fn parse<'body>(&self, body: &'body [u8], _: EmbeddingType) -> Result<Parsed<'body>, Unusable> {
        marengo::read(body)
    }
}

#[cfg(test)]
mod tests {
    use super::super::InputType;
    use super::*;

    #[test]
    fn the_text_is_in_a_part_of_its_own() {
        let request = Request {
            texts: &["an otter"],
            dimensions: 512,
            embedding_type: EmbeddingType::Float,
            normalize: None,
            input_type: InputType::SearchDocument,
        };
        let expected = r#"{"inputType":"text","text":{"inputText":"an otter"}}"#;
        assert_eq!(String::from_utf8(Marengo3.body(&request)).unwrap(), expected);
    }
}
