//! Requests and answers that both versions of Cohere Embed share.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::EmbeddingType;
use super::family::{Parsed, Request, Unusable, json};

/// Texts in one call (user guide, both versions).
pub(super) const TEXTS_PER_CALL: NonZeroUsize = NonZeroUsize::new(96).expect("not zero");

pub(super) const EMBEDDING_TYPES: &[EmbeddingType] =
    &[EmbeddingType::Float, EmbeddingType::Int8, EmbeddingType::Uint8, EmbeddingType::Binary, EmbeddingType::Ubinary];

/// The request body. `truncate` is `NONE`: a text that is too long is refused, never cut without a word.
#[derive(Serialize)]
struct CohereBody<'a> {
    texts: &'a [&'a str],
    input_type: &'static str,
    truncate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_types: Option<[&'static str; 1]>,
}

#[derive(Deserialize)]
struct CohereResponse<'a> {
    #[serde(borrow)]
    embeddings: Embeddings<'a>,
    /// The texts that were sent; v4 may leave them out.
    #[serde(borrow, default)]
    texts: Option<&'a RawValue>,
}

/// `embeddings` as a list or as a map by type, whichever is there: v4 answers with the map where its pages promise the list.
enum Embeddings<'a> {
    List(Vec<&'a RawValue>),
    ByType(BTreeMap<String, Vec<&'a RawValue>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Embeddings<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EmbeddingsVisitor)
    }
}

struct EmbeddingsVisitor;

impl<'de> Visitor<'de> for EmbeddingsVisitor {
    type Value = Embeddings<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of vectors, or a map of such lists by type")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Embeddings::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, by_type: A) -> Result<Self::Value, A::Error> {
        BTreeMap::deserialize(MapAccessDeserializer::new(by_type)).map(Embeddings::ByType)
    }
}

pub(super) fn write(request: &Request<'_>, output_dimension: Option<u32>) -> Vec<u8> {
    let embedding_types = match request.embedding_type {
        // What is answered when no type is asked for.
        EmbeddingType::Float => None,
        other => Some([other.as_str()]),
    };
    let input_type = request.input_type.as_str();
    json(&CohereBody { texts: request.texts, input_type, truncate: "NONE", output_dimension, embedding_types })
}

/// Reads an answer of either version. The bodies count no tokens; the header does.
pub(super) fn read(body: &[u8], embedding_type: EmbeddingType) -> Result<Parsed<'_>, Unusable> {
    let CohereResponse { embeddings, texts } = serde_json::from_slice(body)?;
    // They only confirm: anything but a list of texts is ignored.
    let texts = texts.and_then(|texts| serde_json::from_str(texts.get()).ok());
    let vectors = match (embeddings, embedding_type) {
        (Embeddings::List(vectors), EmbeddingType::Float) => Some(vectors),
        (Embeddings::List(_), _) => None,
        (Embeddings::ByType(mut by_type), wanted) => by_type.remove(wanted.as_str()),
    };
    let missing = || serde_json::Error::custom(format!("no vectors of the type {}", embedding_type.as_str()));
    Ok(Parsed { vectors: vectors.ok_or_else(missing)?, tokens: None, texts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(answer: &str, embedding_type: EmbeddingType) -> Vec<&str> {
        read(answer.as_bytes(), embedding_type).unwrap().vectors.into_iter().map(RawValue::get).collect()
    }

    #[test]
    fn the_list_and_the_map_are_both_read() {
        for answer in [
            r#"{"id":"x","embeddings":[[1,2],[3,4]],"response_type":"embeddings_floats","texts":["a","b"]}"#,
            r#"{"embeddings":{"float":[[1,2],[3,4]]},"id":"x","response_type":"embeddings_by_type","texts":["a","b"]}"#,
            r#"{"embeddings":{"int8":[[5],[6]],"float":[[1,2],[3,4]]},"id":"x","response_type":"embeddings_by_type"}"#,
            // Decided by its content and not by its name.
            r#"{"response_type":"embeddings_floats","embeddings":{"float":[[1,2],[3,4]]}}"#,
        ] {
            assert_eq!(vectors(answer, EmbeddingType::Float), ["[1,2]", "[3,4]"], "{answer}");
        }
    }

    #[test]
    fn of_a_map_the_type_that_was_asked_for_is_read() {
        let answer = r#"{"embeddings":{"float":[[1.5]],"int8":[[-2]],"uint8":[[3]],"binary":[[-4]],"ubinary":[[5]]}}"#;
        let numbers = EMBEDDING_TYPES.iter().flat_map(|embedding_type| vectors(answer, *embedding_type));
        assert_eq!(numbers.collect::<Vec<_>>(), ["[1.5]", "[-2]", "[3]", "[-4]", "[5]"]);
    }

    #[test]
    fn the_texts_are_read_where_they_come_back() {
        let texts = |answer: &'static str| read(answer.as_bytes(), EmbeddingType::Float).unwrap().texts;
        assert_eq!(texts(r#"{"embeddings":[[1]],"texts":["a\u0062"]}"#).unwrap(), ["ab"]);
        assert_eq!(texts(r#"{"embeddings":[[1]],"texts":7}"#), None);
        assert_eq!(texts(r#"{"embeddings":[[1]]}"#), None);
    }

    #[test]
    fn an_answer_without_the_type_does_not_parse() {
        for answer in
            [r#"{"embeddings":[[1,2]]}"#, r#"{"embeddings":{"float":[[1,2]]}}"#, r#"{"embeddings":null}"#, "{}", "<html>"]
        {
            assert!(matches!(read(answer.as_bytes(), EmbeddingType::Int8), Err(Unusable::Shape(_))), "{answer}");
        }
    }
}
