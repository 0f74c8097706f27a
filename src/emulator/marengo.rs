//! Marengo Embed 2.7 and 3.0: one text a call; pictures, sounds and films are not embedded here.

use serde_json::Value;

use super::json_members::Members;
use super::response::{Embedded, Refusal};
use super::tokens;
use super::vector_kind::Space;

/// No bound on characters is documented, and tokens bind long before this one.
const MAX_CHARACTERS: usize = 50_000;

/// What differs between the two versions.
pub(super) struct Version {
    dimensions: usize,
    max_tokens: u64,
    input_types: &'static [(&'static str, Input)],
    body: Form,
}

/// How a request holds its text.
#[derive(Clone, Copy)]
enum Form {
    /// `inputText` beside `inputType`, and `textTruncate`.
    Flat,
    /// `inputText` within `text`.
    Nested,
}

#[derive(Clone, Copy, PartialEq)]
enum Input {
    Text,
    Other,
}

pub(super) const V2: Version = Version {
    dimensions: 1024,
    max_tokens: 77,
    input_types: &[("text", Input::Text), ("image", Input::Other), ("video", Input::Other), ("audio", Input::Other)],
    body: Form::Flat,
};

pub(super) const V3: Version = Version {
    dimensions: 512,
    max_tokens: 500,
    input_types: &[
        ("text", Input::Text),
        ("image", Input::Other),
        ("text_image", Input::Other),
        ("audio", Input::Other),
        ("video", Input::Other),
        ("multi_input", Input::Other),
    ],
    body: Form::Nested,
};

const FLAT: [&str; 8] =
    ["inputText", "textTruncate", "mediaSource", "startSec", "lengthSec", "useFixedLengthSec", "minClipSec", "embeddingOption"];
const NESTED: [&str; 6] = ["text", "image", "text_image", "audio", "video", "multi_input"];

/// Returns the text of a request, if it has one.
pub(super) fn texts<'a>(version: &Version, request: &'a Value) -> Vec<&'a str> {
    let text = match version.body {
        Form::Flat => &request["inputText"],
        Form::Nested => &request["text"]["inputText"],
    };
    text.as_str().into_iter().collect()
}

/// Answers a request: 2.7 with `{"data":[{"embedding":[…]}]}`, 3.0 with `{"data":{"embedding":[…]}}`. Both have been seen.
pub(super) fn embed(version: &Version, request: Value, space: &Space) -> Result<Embedded, Refusal> {
    let mut members = Members::of(request)?;
    let optional: &[&str] = match version.body {
        Form::Flat => &FLAT,
        Form::Nested => &NESTED,
    };
    members.expect(&["inputType"], optional);
    let input = members.choice("inputType", version.input_types);
    let mut cuts = false;
    let mut text = String::new();
    if input == Input::Text {
        match version.body {
            Form::Flat => {
                members.demand("inputText");
                text = members.text("inputText", MAX_CHARACTERS);
                cuts = members.choice("textTruncate", &[("end", true), ("none", false)]);
            }
            Form::Nested => {
                members.demand("text");
                let read = |text: &mut Members| {
                    text.expect(&["inputText"], &[]);
                    text.text("inputText", MAX_CHARACTERS)
                };
                text = members.object("text", read).unwrap_or_default();
            }
        }
    }
    members.finish()?;
    if input != Input::Text {
        return Err(Refusal::validation("this emulator embeds texts only"));
    }

    let found = tokens::count(&text);
    let kept = if found <= version.max_tokens {
        text.as_str()
    } else if cuts {
        tokens::first(&text, version.max_tokens)
    } else {
        // The service's own words have not been seen.
        let max = version.max_tokens;
        return Err(Refusal::validation(format!("The input text has {found} tokens, more than the maximum of {max} tokens.")));
    };
    let mut body = Vec::with_capacity(version.dimensions * 14);
    let (before, after) = match version.body {
        Form::Flat => (r#"{"data":[{"embedding":"#, "}]}"),
        Form::Nested => (r#"{"data":{"embedding":"#, "}}"),
    };
    body.extend_from_slice(before.as_bytes());
    space.write(kept, version.dimensions, &mut body);
    body.extend_from_slice(after.as_bytes());
    Ok(Embedded { body, texts: 1, tokens: tokens::count(kept) })
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

    fn check_refused(version: &Version, request: Value, violations: &str) {
        let expected = format!("Malformed input request: {violations}, please reformat your input and try again.");
        assert_eq!(embed(version, request).unwrap_err(), expected);
    }

    #[test]
    fn one_version_answers_with_a_list_and_the_other_without() {
        let flat = embed(&V2, json!({"inputType": "text", "inputText": "an otter"})).unwrap();
        assert_eq!(flat["data"][0]["embedding"].as_array().unwrap().len(), 1024);
        let nested = embed(&V3, json!({"inputType": "text", "text": {"inputText": "an otter"}})).unwrap();
        assert_eq!(nested["data"]["embedding"].as_array().unwrap().len(), 512);
    }

    #[test]
    fn the_text_is_found_where_each_version_has_it() {
        assert_eq!(texts(&V2, &json!({"inputText": "a"})), ["a"]);
        assert_eq!(texts(&V3, &json!({"text": {"inputText": "a"}})), ["a"]);
        assert!(texts(&V3, &json!({"inputText": "a"})).is_empty());
    }

    #[test]
    fn what_the_schema_forbids_is_refused() {
        check_refused(&V2, json!({"inputText": "a"}), "#: required key [inputType] not found");
        check_refused(&V2, json!({"inputType": "smell", "inputText": "a"}), "#/inputType: smell is not a valid enum value");
        check_refused(&V2, json!({"inputType": "text"}), "#: required key [inputText] not found");
        check_refused(
            &V2,
            json!({"inputType": "text", "inputText": "a", "textTruncate": "start"}),
            "#/textTruncate: start is not a valid enum value",
        );
        check_refused(
            &V3,
            json!({"inputType": "text", "inputText": "a"}),
            "#: extraneous key [inputText] is not permitted#: required key [text] not found",
        );
        check_refused(&V3, json!({"inputType": "text", "text": {}}), "#/text: required key [inputText] not found");
        check_refused(&V3, json!({"inputType": "text", "text": {"inputText": ""}}), "expected minLength: 1, actual: 0");
    }

    #[test]
    fn a_text_of_too_many_tokens_is_cut_only_where_that_was_allowed() {
        let text = "word ".repeat(78);
        let request = |truncate: &str| json!({"inputType": "text", "inputText": text, "textTruncate": truncate});
        assert_eq!(super::embed(&V2, request("end"), &Space::Lexical).unwrap().tokens, 77);
        assert!(embed(&V2, request("none")).unwrap_err().contains("has 78 tokens, more than the maximum of 77"));
        let request = |words| json!({"inputType": "text", "text": {"inputText": "word ".repeat(words)}});
        assert!(embed(&V3, request(500)).is_ok());
        assert!(embed(&V3, request(501)).unwrap_err().contains("has 501 tokens, more than the maximum of 500"));
    }

    #[test]
    fn other_media_are_refused_in_plain_words() {
        assert!(embed(&V3, json!({"inputType": "image", "image": {}})).unwrap_err().contains("texts only"));
    }
}
