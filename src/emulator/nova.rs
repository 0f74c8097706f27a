//! `amazon.nova-2-multimodal-embeddings-v1:0`: one text a call; its pictures, sounds and films are not embedded here.

use serde_json::Value;

use super::json_members::Members;
use super::response::{Embedded, Refusal};
use super::tokens;
use super::vector_kind::Space;

/// The user guide says 8,192 characters within a request; the service's schema takes this many.
const MAX_CHARACTERS: usize = 50_000;
const MAX_TOKENS: u64 = 8_172;
/// The instructions around a text are billed with it: a text of four tokens was counted as 18.
const INSTRUCTIONS: u64 = 14;
/// The default first.
const DIMENSIONS: [usize; 4] = [3072, 1024, 384, 256];
const PURPOSES: [(&str, ()); 9] = [
    ("GENERIC_INDEX", ()),
    ("GENERIC_RETRIEVAL", ()),
    ("TEXT_RETRIEVAL", ()),
    ("IMAGE_RETRIEVAL", ()),
    ("VIDEO_RETRIEVAL", ()),
    ("DOCUMENT_RETRIEVAL", ()),
    ("AUDIO_RETRIEVAL", ()),
    ("CLASSIFICATION", ()),
    ("CLUSTERING", ()),
];
const MEDIA: [&str; 3] = ["image", "audio", "video"];

/// What to do with a text of too many tokens.
#[derive(Debug, Clone, Copy, Default)]
enum Truncate {
    Start,
    End,
    #[default]
    Refuse,
}

/// What a request asks for.
#[derive(Default)]
struct Asked {
    text: String,
    truncate: Truncate,
    dimensions: usize,
    brings_media: bool,
}

/// Returns the text of a request, if it has one.
pub(super) fn texts(request: &Value) -> Vec<&str> {
    request["singleEmbeddingParams"]["text"]["value"].as_str().into_iter().collect()
}

/// Answers a request with `{"embeddings":[{"embeddingType":"TEXT","embedding":[…]}]}`. The tokens are in the header only.
pub(super) fn embed(request: Value, space: &Space) -> Result<Embedded, Refusal> {
    let mut members = Members::of(request)?;
    members.expect(&["taskType", "singleEmbeddingParams"], &["schemaVersion"]);
    members.choice("schemaVersion", &[("nova-multimodal-embed-v1", ())]);
    members.choice("taskType", &[("SINGLE_EMBEDDING", ())]);
    let asked = members.object("singleEmbeddingParams", read).unwrap_or_default();
    members.finish()?;
    if asked.brings_media {
        return Err(Refusal::validation("this emulator embeds `text` with a `value` only"));
    }

    let kept = shorten(&asked.text, asked.truncate)?;
    let tokens = tokens::count(kept) + INSTRUCTIONS;
    let mut body = Vec::with_capacity(asked.dimensions * 14);
    body.extend_from_slice(br#"{"embeddings":[{"embeddingType":"TEXT","embedding":"#);
    space.write(kept, asked.dimensions, &mut body);
    if kept.len() < asked.text.len() {
        body.extend_from_slice(format!(r#","truncatedCharLength":{}"#, kept.chars().count()).as_bytes());
    }
    body.extend_from_slice(b"}]}");
    Ok(Embedded { body, texts: 1, tokens })
}

fn read(params: &mut Members) -> Asked {
    let brings_media = MEDIA.iter().any(|key| params.has(key));
    let required: &[&str] = if brings_media { &["embeddingPurpose"] } else { &["embeddingPurpose", "text"] };
    params.expect(required, &["embeddingDimension", "text", "image", "audio", "video"]);
    params.choice("embeddingPurpose", &PURPOSES);
    let dimensions = params.number("embeddingDimension", &DIMENSIONS);
    let text = params.object("text", |text| {
        let brings_source = text.has("source");
        let required: &[&str] = if brings_source { &["truncationMode"] } else { &["truncationMode", "value"] };
        text.expect(required, &["value", "source"]);
        let truncate =
            text.choice("truncationMode", &[("NONE", Truncate::Refuse), ("END", Truncate::End), ("START", Truncate::Start)]);
        (text.text("value", MAX_CHARACTERS), truncate, brings_source)
    });
    let (text, truncate, brings_source) = text.unwrap_or_default();
    Asked { text, truncate, dimensions, brings_media: brings_media || brings_source }
}

/// The words of the refusal have not been seen; they are those of Amazon's other models.
fn shorten(text: &str, truncate: Truncate) -> Result<&str, Refusal> {
    let found = tokens::count(text);
    match truncate {
        _ if found <= MAX_TOKENS => Ok(text),
        Truncate::End => Ok(tokens::first(text, MAX_TOKENS)),
        Truncate::Start => Ok(tokens::last(text, MAX_TOKENS)),
        Truncate::Refuse => Err(Refusal::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {MAX_TOKENS}, request input token count: {found}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(text: &str, truncation_mode: &str) -> Value {
        json!({
            "schemaVersion": "nova-multimodal-embed-v1",
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "GENERIC_INDEX",
                "embeddingDimension": 256,
                "text": {"truncationMode": truncation_mode, "value": text}
            }
        })
    }

    fn embed(request: Value) -> Result<Value, String> {
        match super::embed(request, &Space::Lexical) {
            Ok(embedded) => Ok(serde_json::from_slice(&embedded.body).unwrap()),
            Err(refusal) => Err(refusal.message.into_owned()),
        }
    }

    fn check_refused(change: impl FnOnce(&mut Value), violations: &str) {
        let mut request = request("a", "NONE");
        change(&mut request);
        let expected = format!("Malformed input request: {violations}, please reformat your input and try again.");
        assert_eq!(embed(request).unwrap_err(), expected);
    }

    #[test]
    fn a_text_has_one_vector_of_3072_numbers_unless_fewer_are_asked_for() {
        let mut request = request("an otter", "END");
        let answer = embed(request.clone()).unwrap();
        assert_eq!(answer["embeddings"][0]["embedding"].as_array().unwrap().len(), 256);
        assert_eq!(answer["embeddings"][0]["embeddingType"], "TEXT");
        assert!(answer["embeddings"][0].get("truncatedCharLength").is_none());
        request["singleEmbeddingParams"].as_object_mut().unwrap().remove("embeddingDimension");
        request.as_object_mut().unwrap().remove("schemaVersion");
        assert_eq!(embed(request).unwrap()["embeddings"][0]["embedding"].as_array().unwrap().len(), 3072);
    }

    #[test]
    fn the_instructions_are_billed_with_the_text() {
        let embedded = super::embed(request("Test normalization disabled", "NONE"), &Space::Lexical).unwrap();
        assert_eq!(embedded.tokens, 18);
    }

    #[test]
    fn what_the_schema_forbids_is_refused_in_its_words() {
        let params = "singleEmbeddingParams";
        check_refused(
            |request| *request = json!({"inputText": "a"}),
            "#: required key [taskType] not found#: required key [singleEmbeddingParams] not found\
             #: extraneous key [inputText] is not permitted",
        );
        check_refused(
            |request| request["taskType"] = json!("SEGMENTED_EMBEDDING"),
            "#/taskType: SEGMENTED_EMBEDDING is not a valid enum value",
        );
        check_refused(
            |request| request[params]["embeddingDimension"] = json!(512),
            "#/singleEmbeddingParams/embeddingDimension: 512 is not a valid enum value",
        );
        check_refused(
            |request| request[params]["embeddingPurpose"] = json!("search_document"),
            "#/singleEmbeddingParams/embeddingPurpose: search_document is not a valid enum value",
        );
        check_refused(
            |request| request[params]["text"] = json!({"value": "a"}),
            "#/singleEmbeddingParams/text: required key [truncationMode] not found",
        );
        check_refused(
            |request| drop(request[params].as_object_mut().unwrap().remove("text")),
            "#/singleEmbeddingParams: required key [text] not found",
        );
        check_refused(|request| request[params]["text"]["value"] = json!(""), "expected minLength: 1, actual: 0");
        let long = json!("x".repeat(50_001));
        check_refused(|request| request[params]["text"]["value"] = long, "expected maxLength: 50000, actual: 50001");
    }

    #[test]
    fn a_text_of_too_many_tokens_is_cut_or_refused_as_asked() {
        let text = "a 7".repeat(6_000);
        for mode in ["END", "START"] {
            let answer = embed(request(&text, mode)).unwrap();
            assert!(answer["embeddings"][0]["truncatedCharLength"].as_u64().unwrap() < 18_000);
        }
        let message = embed(request(&text, "NONE")).unwrap_err();
        assert!(message.contains("Too many input tokens. Max input tokens: 8172"), "{message}");
    }

    #[test]
    fn other_media_are_refused_in_plain_words() {
        let mut request = request("a", "END");
        request["singleEmbeddingParams"] =
            json!({"embeddingPurpose": "GENERIC_INDEX", "image": {"format": "png", "source": {"bytes": "AA=="}}});
        assert!(embed(request).unwrap_err().contains("`text` with a `value` only"));
    }
}
