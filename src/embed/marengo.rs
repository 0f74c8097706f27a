//! Answers that both versions of Marengo Embed share.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::family::{Parsed, Unusable};

#[derive(Deserialize)]
struct MarengoResponse<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

/// A list of embeddings, or the only one by itself: both have been seen.
struct Data<'a>(Vec<Embedding<'a>>);

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor).map(Self)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Vec<Embedding<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an embedding or a list of embeddings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, embedding: A) -> Result<Self::Value, A::Error> {
        Ok(vec![Embedding::deserialize(MapAccessDeserializer::new(embedding))?])
    }
}

/// Reads an answer of either version. Marengo bills by the request, and counts no tokens.
pub(super) fn read(body: &[u8]) -> Result<Parsed<'_>, Unusable> {
    let Data(embeddings) = serde_json::from_slice::<MarengoResponse<'_>>(body)?.data;
    Ok(Parsed { vectors: embeddings.into_iter().map(|embedding| embedding.embedding).collect(), tokens: None, texts: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_a_single_embedding_are_both_read() {
        for answer in [
            r#"{"data":[{"embedding":[0.5,1],"embeddingOption":"visual-text","startSec":0.0,"endSec":0.0}]}"#,
            r#"{"data":{"embeddingOption":null,"embedding":[0.5,1]}}"#,
        ] {
            let parsed = read(answer.as_bytes()).unwrap();
            let vectors: Vec<_> = parsed.vectors.into_iter().map(RawValue::get).collect();
            assert_eq!((vectors, parsed.tokens), (vec!["[0.5,1]"], None), "{answer}");
        }
    }

    #[test]
    fn what_holds_no_embedding_does_not_parse() {
        for answer in [r#"{"data":[{}]}"#, r#"{"data":{}}"#, r#"{"data":"none"}"#, "{}", "<html>"] {
            assert!(matches!(read(answer.as_bytes()), Err(Unusable::Shape(_))), "{answer}");
        }
    }
}
