//! Marengo Embed 2.7, for texts: one short one a call.

use serde::Serialize;

use super::family::{Family, Parsed, Request, Unusable, json, one_text};
use super::{EmbeddingType, marengo};
use crate::domain::Limits;

#[derive(Debug)]
pub(super) struct Marengo2;

/// The request body (Bedrock user guide, "Marengo Embed 2.7"). `none` refuses what is too long.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Marengo2Body<'a> {
    input_type: &'static str,
    input_text: &'a str,
    text_truncate: &'static str,
}

impl Family for Marengo2 {
    fn name(&self) -> &'static str {
        "marengo-2.7"
    }

    /// Served through the profiles `us.` and `eu.` only.
    fn models(&self) -> &'static [&'static str] {
        &["twelvelabs.marengo-embed-2-7-v1:0"]
    }

    fn dimensions(&self) -> &'static [u32] {
        &[1024]
    }

    /// 77 tokens (user guide), which bind long before any number of characters.
    fn limits(&self) -> Limits {
        one_text(50_000, 77)
    }

    fn body(&self, request: &Request<'_>) -> Vec<u8> {
        json(&Marengo2Body { input_type: "text", input_text: request.text(), text_truncate: "none" })
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
    fn the_body_is_flat_and_forbids_cutting() {
        let request = Request {
            texts: &["an otter"],
            dimensions: 1024,
            embedding_type: EmbeddingType::Float,
            normalize: None,
            input_type: InputType::SearchDocument,
        };
        let expected = r#"{"inputType":"text","inputText":"an otter","textTruncate":"none"}"#;
        assert_eq!(String::from_utf8(Marengo2.body(&request)).unwrap(), expected);
    }
}
