//! Cohere Embed v3 and v4: up to 96 texts a call. One file, because they answer in the same shapes.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::family::{Family, Parsed, Request};
use crate::model::{Limits, TokenCount};

/// Texts in one call (user guide, both versions).
const TEXTS_PER_CALL: NonZeroUsize = NonZeroUsize::new(96).expect("not zero");

#[derive(Debug)]
pub(super) struct CohereV3;

#[derive(Debug)]
pub(super) struct CohereV4;

/// The request body. `truncate` is `NONE`: a text that is too long is refused, never cut without a word.
#[derive(Serialize)]
struct Body<'a> {
    texts: &'a [&'a str],
    input_type: &'static str,
    truncate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    embeddings: &'a RawValue,
}

/// `embeddings` when the answer is by type.
#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    float: Vec<&'a RawValue>,
}

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

    /// 512 tokens and 2,048 characters a text; the characters are checked before anything is cut (the service's own messages).
    fn limits(&self) -> Limits {
        Limits {
            texts_per_call: TEXTS_PER_CALL,
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
        write(request, None)
    }

    fn parse<'body>(&self, body: &'body [u8]) -> Result<Parsed<'body>, serde_json::Error> {
        read(body)
    }
}

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

    /// About 128,000 tokens and 20 MB a call (user guide).
    fn limits(&self) -> Limits {
        Limits {
            texts_per_call: TEXTS_PER_CALL,
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
        write(request, Some(request.dimensions))
    }

    fn parse<'body>(&self, body: &'body [u8]) -> Result<Parsed<'body>, serde_json::Error> {
        read(body)
    }
}

fn write(request: &Request<'_>, output_dimension: Option<u32>) -> Vec<u8> {
    let body = Body { texts: request.texts, input_type: request.input_type.as_str(), truncate: "NONE", output_dimension };
    serde_json::to_vec(&body).expect("texts and settings are JSON")
}

/// Reads `embeddings` as a list or as a map by type, whichever stands there: v4 answers with the map where its pages promise
/// the list. The bodies count no tokens; the header does.
fn read(body: &[u8]) -> Result<Parsed<'_>, serde_json::Error> {
    let embeddings = serde_json::from_slice::<Answer<'_>>(body)?.embeddings.get();
    let vectors = if embeddings.starts_with('{') {
        serde_json::from_str::<ByType<'_>>(embeddings)?.float
    } else {
        serde_json::from_str(embeddings)?
    };
    Ok(Parsed { vectors, tokens: None })
}

#[cfg(test)]
mod tests {
    use super::super::InputType;
    use super::*;

    const REQUEST: Request<'_> =
        Request { texts: &["a", "b"], dimensions: 256, normalize: None, input_type: InputType::SearchQuery };

    fn texts(answer: &[u8]) -> Vec<&str> {
        read(answer).unwrap().vectors.into_iter().map(RawValue::get).collect()
    }

    #[test]
    fn v3_gets_no_dimensions_and_v4_does() {
        let v3 = r#"{"texts":["a","b"],"input_type":"search_query","truncate":"NONE"}"#;
        assert_eq!(String::from_utf8(CohereV3.body(&REQUEST)).unwrap(), v3);
        let v4 = r#"{"texts":["a","b"],"input_type":"search_query","truncate":"NONE","output_dimension":256}"#;
        assert_eq!(String::from_utf8(CohereV4.body(&REQUEST)).unwrap(), v4);
    }

    #[test]
    fn the_list_and_the_map_are_both_read() {
        let list = br#"{"id":"x","embeddings":[[1,2],[3,4]],"response_type":"embeddings_floats","texts":["a","b"]}"#;
        assert_eq!(texts(list), ["[1,2]", "[3,4]"]);
        let map = br#"{"embeddings":{"float":[[1,2],[3,4]]},"id":"x","response_type":"embeddings_by_type","texts":["a","b"]}"#;
        assert_eq!(texts(map), ["[1,2]", "[3,4]"]);
    }
}
