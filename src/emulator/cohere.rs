//! Cohere Embed v3 and v4: up to 96 texts a call, five types of numbers.

use serde_json::Value;
use uuid::Uuid;

use super::json_members::Members;
use super::response::{Embedded, Refusal};
use super::tokens;
use super::vector_kind::{Space, write_list};

const MAX_TEXTS: usize = 96;

/// What differs between the two versions. Defaults come first.
pub(super) struct Version {
    dimensions: &'static [usize],
    max_characters: usize,
    max_tokens: u64,
    input_types: &'static [(&'static str, ())],
    truncate: &'static [(&'static str, Truncate)],
    optional: &'static [&'static str],
    /// What the schema says is missing when there is nothing to embed: it has one alternative for images and four for texts.
    nothing_to_embed: &'static str,
    /// Members that bring images; the emulator embeds texts only.
    images: &'static [&'static str],
    /// Whether vectors come as a map by type even when no type was asked for.
    always_by_type: bool,
}

pub(super) const V3: Version = Version {
    dimensions: &[1024],
    max_characters: 2_048,
    max_tokens: 512,
    input_types: &[("search_document", ()), ("search_query", ()), ("classification", ()), ("clustering", ()), ("image", ())],
    truncate: &[("END", Truncate::End), ("START", Truncate::Start), ("NONE", Truncate::Refuse)],
    optional: &["texts", "images", "truncate", "embedding_types"],
    nothing_to_embed: "#: required key [images] not found#: required key [texts] not found#: required key [texts] not found\
                       #: required key [texts] not found#: required key [texts] not found",
    images: &["images"],
    always_by_type: false,
};

pub(super) const V4: Version = Version {
    dimensions: &[1536, 1024, 512, 256],
    max_characters: usize::MAX,
    max_tokens: 128_000,
    input_types: &[("search_document", ()), ("search_query", ()), ("classification", ()), ("clustering", ())],
    truncate: &[
        ("RIGHT", Truncate::End),
        ("LEFT", Truncate::Start),
        ("NONE", Truncate::Refuse),
        // Not in the documentation, but accepted.
        ("END", Truncate::End),
        ("START", Truncate::Start),
    ],
    optional: &["texts", "images", "inputs", "output_dimension", "max_tokens", "truncate", "embedding_types"],
    nothing_to_embed: "#: required key [texts] not found",
    images: &["images", "inputs"],
    // The documentation shows the plain list; recorded answers have the map.
    always_by_type: true,
};

/// What to do with a text of too many tokens.
#[derive(Clone, Copy)]
enum Truncate {
    Refuse,
    Start,
    End,
}

#[derive(Clone, Copy, PartialEq)]
enum CohereKind {
    Float,
    Int8,
    Uint8,
    Binary,
    Ubinary,
}

const KINDS: [(&str, CohereKind); 5] = [
    ("float", CohereKind::Float),
    ("int8", CohereKind::Int8),
    ("uint8", CohereKind::Uint8),
    ("binary", CohereKind::Binary),
    ("ubinary", CohereKind::Ubinary),
];

/// Returns the texts of a request, as far as it has any.
pub(super) fn texts(request: &Value) -> Vec<&str> {
    request["texts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Answers a request. One bad text fails the whole call, as it does at the service.
pub(super) fn embed(version: &Version, request: Value, space: &Space) -> Result<Embedded, Refusal> {
    let mut members = Members::of(request)?;
    let brings_images = version.images.iter().any(|key| members.has(key));
    if !members.has("texts") && !brings_images {
        members.note(version.nothing_to_embed);
    }
    members.expect(&["input_type"], version.optional);
    let texts = members.texts("texts", MAX_TEXTS, version.max_characters);
    members.choice("input_type", version.input_types);
    let truncate = members.choice("truncate", version.truncate);
    let kinds = members.choices("embedding_types", &KINDS);
    let dimensions = members.number("output_dimension", version.dimensions);
    let max_tokens = members.at_least_one("max_tokens");
    members.finish()?;
    if brings_images {
        return Err(Refusal::validation("this emulator embeds `texts` only, no `images` and no `inputs`"));
    }

    let kept = texts.iter().map(|text| {
        // `max_tokens` shortens each text before `truncate` has its say.
        let text = max_tokens.map_or(text.as_str(), |max| tokens::first(text, max));
        shorten(text, truncate, version.max_tokens)
    });
    let kept: Vec<&str> = kept.collect::<Result<_, _>>()?;
    Ok(Embedded {
        body: answer(version, &texts, &kept, dimensions, kinds.as_deref(), space),
        texts: texts.len() as u64,
        tokens: kept.iter().map(|text| tokens::count(text)).sum(),
    })
}

fn shorten(text: &str, truncate: Truncate, max: u64) -> Result<&str, Refusal> {
    // No token is shorter than a byte.
    if text.len() as u64 <= max {
        return Ok(text);
    }
    match truncate {
        Truncate::End => Ok(tokens::first(text, max)),
        Truncate::Start => Ok(tokens::last(text, max)),
        Truncate::Refuse => match tokens::count(text) {
            found if found > max => Err(Refusal::validation(format!(
                "too many tokens: total number of tokens in the prompt cannot exceed {max} - received {found}. \
                 Try using a shorter prompt, or enabling prompt truncating."
            ))),
            _ => Ok(text),
        },
    }
}

/// `{"embeddings":…,"id":"…","response_type":"…","texts":[…]}`, with the texts as they were sent.
fn answer(
    version: &Version,
    sent: &[String],
    kept: &[&str],
    dimensions: usize,
    kinds: Option<&[CohereKind]>,
    space: &Space,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(kept.len() * dimensions * 14);
    out.extend_from_slice(br#"{"embeddings":"#);
    let by_type = kinds.is_some() || version.always_by_type;
    if by_type {
        write_by_type(kinds.unwrap_or(&[CohereKind::Float]), kept, dimensions, space, &mut out);
    } else {
        write_vectors(CohereKind::Float, kept, dimensions, space, &mut out);
    }
    let response_type = if by_type { "embeddings_by_type" } else { "embeddings_floats" };
    out.extend_from_slice(format!(r#","id":"{}","response_type":"{response_type}","texts":"#, Uuid::new_v4()).as_bytes());
    write_list(sent, &mut out);
    out.push(b'}');
    out
}

fn write_by_type(kinds: &[CohereKind], texts: &[&str], dimensions: usize, space: &Space, out: &mut Vec<u8>) {
    for (index, kind) in kinds.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        let name = KINDS.iter().find_map(|(name, known)| (known == kind).then_some(name)).expect("every kind has a name");
        out.extend_from_slice(format!(r#""{name}":"#).as_bytes());
        write_vectors(*kind, texts, dimensions, space, out);
    }
    out.push(b'}');
}

fn write_vectors(kind: CohereKind, texts: &[&str], dimensions: usize, space: &Space, out: &mut Vec<u8>) {
    for (index, text) in texts.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        match kind {
            CohereKind::Float => space.write(text, dimensions, out),
            CohereKind::Int8 => write_list(&bytes(&space.vector(text, dimensions)), out),
            CohereKind::Uint8 => write_list(&shifted(bytes(&space.vector(text, dimensions))), out),
            CohereKind::Binary => write_list(&shifted_back(packed(&space.vector(text, dimensions))), out),
            CohereKind::Ubinary => write_list(&packed(&space.vector(text, dimensions)), out),
        }
    }
    out.push(b']');
}

/// Scales so that the largest number of the vector becomes 127.
#[expect(clippy::cast_possible_truncation, reason = "the largest is 127, and a cast from float saturates")]
fn bytes(vector: &[f32]) -> Vec<i8> {
    let largest = vector.iter().fold(f32::MIN_POSITIVE, |largest, number| largest.max(number.abs()));
    vector.iter().map(|number| (number / largest * 127.0).round() as i8).collect()
}

/// The unsigned types are the signed ones plus 128.
fn shifted(signed: Vec<i8>) -> Vec<u8> {
    signed.into_iter().map(|byte| byte.wrapping_sub(i8::MIN).cast_unsigned()).collect()
}

fn shifted_back(unsigned: Vec<u8>) -> Vec<i8> {
    unsigned.into_iter().map(|byte| byte.wrapping_sub(128).cast_signed()).collect()
}

/// One bit a number, set where it is above zero, eight to a byte, the first in the highest bit.
fn packed(vector: &[f32]) -> Vec<u8> {
    vector
        .chunks(8)
        .map(|eight| eight.iter().enumerate().fold(0, |byte, (bit, number)| byte | (u8::from(*number > 0.0) << (7 - bit))))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn embed(version: &Version, request: Value) -> Result<Value, String> {
        match super::embed(version, request, &Space::Lexical) {
            Ok(embedded) => Ok(serde_json::from_slice(&embedded.body).unwrap()),
            Err(refusal) => Err(refusal.message.into_owned()),
        }
    }

    fn documents(texts: &[&str]) -> Value {
        json!({"texts": texts, "input_type": "search_document"})
    }

    fn check_refused(version: &Version, request: Value, violations: &str) {
        let expected = format!("Malformed input request: {violations}, please reformat your input and try again.");
        assert_eq!(embed(version, request).unwrap_err(), expected);
    }

    #[test]
    fn v3_answers_with_a_list_unless_types_are_asked_for() {
        let answer = embed(&V3, documents(&["one", "two"])).unwrap();
        assert_eq!(answer["response_type"], "embeddings_floats");
        assert_eq!(answer["embeddings"].as_array().unwrap().len(), 2);
        assert_eq!(answer["embeddings"][1].as_array().unwrap().len(), 1024);
        assert_eq!(answer["texts"], json!(["one", "two"]));

        let mut request = documents(&["one", "two"]);
        request["embedding_types"] = json!(["float"]);
        let by_type = embed(&V3, request).unwrap();
        assert_eq!(by_type["response_type"], "embeddings_by_type");
        assert_eq!(by_type["embeddings"]["float"], answer["embeddings"]);
    }

    #[test]
    fn v4_always_answers_with_a_map() {
        let answer = embed(&V4, documents(&["one"])).unwrap();
        assert_eq!(answer["response_type"], "embeddings_by_type");
        assert_eq!(answer["embeddings"]["float"][0].as_array().unwrap().len(), 1536);
    }

    #[test]
    fn all_five_types_agree_on_the_sign_of_every_number() {
        let request = json!({"texts": ["one"], "input_type": "clustering", "output_dimension": 256,
            "embedding_types": ["float", "int8", "uint8", "binary", "ubinary"]});
        let answer = embed(&V4, request).unwrap();
        let list = |kind: &str| answer["embeddings"][kind][0].as_array().unwrap().clone();
        let whole = |kind: &str| list(kind).iter().map(|number| number.as_i64().unwrap()).collect::<Vec<_>>();
        let positive: Vec<bool> = list("float").iter().map(|number| number.as_f64().unwrap() > 0.0).collect();
        assert_eq!(positive.len(), 256);
        assert!(whole("int8").iter().zip(&positive).all(|(byte, positive)| *byte == 0 || (*byte > 0) == *positive));
        assert_eq!(whole("uint8"), whole("int8").iter().map(|byte| byte + 128).collect::<Vec<_>>());
        let bits: Vec<bool> =
            whole("ubinary").iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
        assert_eq!(bits, positive);
        assert_eq!(whole("ubinary"), whole("binary").iter().map(|byte| byte + 128).collect::<Vec<_>>());
    }

    #[test]
    fn a_text_of_2049_characters_is_refused_by_cohere_v3() {
        let request = documents(&["fine", &"é".repeat(2049)]);
        check_refused(&V3, request.clone(), "#/texts/1: expected maxLength: 2048, actual: 2049");
        assert!(embed(&V4, request).is_ok());
        assert!(embed(&V3, documents(&[&"é".repeat(2048)])).is_ok());
    }

    #[test]
    fn ninety_seven_texts_are_one_too_many() {
        check_refused(&V3, documents(&["x"; 97]), "#/texts: expected maximum item count: 96, found: 97");
        assert!(embed(&V3, documents(&["x"; 96])).is_ok());
    }

    #[test]
    fn an_empty_list_and_an_empty_text_are_refused() {
        check_refused(&V3, documents(&[]), "#/texts: expected minimum item count: 1, found: 0");
        check_refused(&V4, documents(&["a", ""]), "#/texts/1: expected minLength: 1, actual: 0");
    }

    #[test]
    fn a_titan_request_is_refused_as_the_service_does() {
        check_refused(
            &V3,
            json!({"inputText": "a"}),
            "#: required key [images] not found#: required key [texts] not found#: required key [texts] not found\
             #: required key [texts] not found#: required key [texts] not found#: required key [input_type] not found\
             #: extraneous key [inputText] is not permitted",
        );
    }

    #[test]
    fn parameters_of_the_other_version_are_refused() {
        let mut request = documents(&["a"]);
        request["output_dimension"] = json!(1024);
        check_refused(&V3, request, "#: extraneous key [output_dimension] is not permitted");
        let mut request = documents(&["a"]);
        request["input_type"] = json!("image");
        check_refused(&V4, request, "#/input_type: image is not a valid enum value");
    }

    #[test]
    fn a_text_of_too_many_tokens_is_cut_or_refused_as_asked() {
        let text = format!("first {} last", "7 ".repeat(600));
        let mut request = documents(&[&text]);
        let end = super::embed(&V3, request.clone(), &Space::Lexical).unwrap();
        assert_eq!(end.tokens, 512);
        request["truncate"] = json!("START");
        let start = super::embed(&V3, request.clone(), &Space::Lexical).unwrap();
        assert_ne!(start.body, end.body);
        request["truncate"] = json!("NONE");
        assert!(embed(&V3, request).unwrap_err().contains("cannot exceed 512 - received 602"));
    }

    #[test]
    fn max_tokens_cuts_before_truncate_refuses() {
        let mut request = documents(&[&"word ".repeat(300)]);
        request["max_tokens"] = json!(256);
        request["truncate"] = json!("NONE");
        assert_eq!(super::embed(&V4, request, &Space::Lexical).unwrap().tokens, 256);
    }

    #[test]
    fn images_are_refused_in_plain_words() {
        let request = json!({"images": ["data:image/png;base64,AA"], "input_type": "image"});
        assert!(embed(&V3, request).unwrap_err().contains("`texts` only"));
    }
}
