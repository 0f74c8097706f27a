//! The rules of Converse, read once more from the service model, the user guide and the service's own refusals, and checked against
//! the JSON that would be sent. Shares nothing with the translator.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

/// What one of the models in the tests refuses.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a refusal of its own")]
pub(super) struct Refuses {
    pub(super) system: bool,
    pub(super) images: bool,
    pub(super) documents: bool,
    pub(super) tools: bool,
    pub(super) forced_tools: bool,
    pub(super) text_beside_results: bool,
    pub(super) prefill: bool,
    pub(super) prefill_ending_in_white_space: bool,
    pub(super) cache_points: bool,
    pub(super) sampling: bool,
    pub(super) temperature_with_top_p: bool,
    pub(super) top_k: bool,
    pub(super) more_stop_sequences_than: Option<usize>,
}

/// Says which rule a request breaks.
pub(super) fn validate(request: &Value, refuses: &Refuses) -> Result<(), String> {
    let known = [
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "guardrailConfig",
        "additionalModelRequestFields",
        "requestMetadata",
        "serviceTier",
        "performanceConfig",
        "outputConfig",
    ];
    keys(request, &known)?;
    let turns = list(request, "messages")?;
    let system = request.get("system").map_or(&[][..], |system| system.as_array().unwrap());
    rule(system.is_empty() || !refuses.system, "this model takes no system messages")?;
    for block in system {
        match only(block)? {
            ("text", text) => not_blank(text)?,
            ("guardContent", guarded) => not_blank(&guarded["text"]["text"])?,
            ("cachePoint", point) => cache_point(point, refuses)?,
            (other, _) => return Err(format!("{other} in system")),
        }
    }
    rule(!matches!(turns.first().map(|turn| &turn["role"]), Some(role) if role != "user"), "the user begins")?;
    let mut open: BTreeSet<&str> = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut names = BTreeSet::new();
    let (mut images, mut uses_tools) = (0, false);
    for (place, turn) in turns.iter().enumerate() {
        keys(turn, &["role", "content"])?;
        rule(turn["role"] == ["user", "assistant"][place % 2], "roles alternate")?;
        let blocks = list(turn, "content")?;
        let kinds: Vec<_> = blocks.iter().map(|block| only(block).map(|(kind, _)| kind)).collect::<Result<_, _>>()?;
        let has = |kind| kinds.contains(&kind);
        rule(!has("document") || has("text"), "a text block must be included when using documents")?;
        rule(kinds.is_sorted_by_key(|kind| order(kind)), "results first; reasoning, text, calls")?;
        rule(
            !refuses.text_beside_results || !has("toolResult") || kinds.iter().all(|kind| *kind == "toolResult"),
            "no text beside results",
        )?;
        let mut answered = BTreeSet::new();
        for block in blocks {
            let (kind, inner) = only(block)?;
            match (kind, place % 2 == 0) {
                ("text", _) => not_blank(inner)?,
                ("guardContent", true) => not_blank(&inner["text"]["text"])?,
                ("cachePoint", _) => cache_point(inner, refuses)?,
                ("image", true) => {
                    images += 1;
                    image(inner, refuses)?;
                }
                ("document", true) => {
                    rule(!refuses.documents, "this model takes no documents")?;
                    rule(names.insert(inner["name"].as_str().unwrap()), "duplicate document names")?;
                    document(inner)?;
                }
                ("toolResult", true) => {
                    let id = inner["toolUseId"].as_str().unwrap();
                    rule(answered.insert(id), "two results of one call")?;
                    // An empty list is what a tool has to say that says nothing (measured).
                    for part in inner["content"].as_array().ok_or("content is no list")? {
                        match only(part)? {
                            ("text", text) => not_blank(text)?,
                            ("image", inner) => {
                                images += 1;
                                image(inner, refuses)?;
                            }
                            (other, _) => return Err(format!("{other} in a result")),
                        }
                    }
                }
                ("toolUse", false) => {
                    uses_tools = true;
                    keys(inner, &["toolUseId", "name", "input"])?;
                    let id = inner["toolUseId"].as_str().unwrap();
                    rule(matches(id, "_.:-", 64) && matches(inner["name"].as_str().unwrap(), "_-", 64), "names and ids")?;
                    rule(inner["input"].is_object(), "arguments are an object")?;
                    rule(ids.insert(id), "ids of calls are unique")?;
                }
                ("reasoningContent", false) => {}
                (other, _) => return Err(format!("{other} in a turn of {}", turn["role"])),
            }
        }
        rule(answered == open, "expected toolResult blocks for the calls of the turn before, and for no others")?;
        open = blocks.iter().filter_map(|block| block["toolUse"]["toolUseId"].as_str()).collect();
    }
    rule(open.is_empty(), "calls without results at the end")?;
    rule(images <= 20 && names.len() <= 5, "20 images and 5 documents")?;
    if let Some(last) = turns.last().filter(|last| last["role"] == "assistant") {
        rule(!refuses.prefill, "this model does not support assistant message prefill")?;
        let end = last["content"].as_array().unwrap().last().unwrap()["text"].as_str();
        rule(end.is_some(), "the assistant's last words are a text")?;
        rule(!refuses.prefill_ending_in_white_space || !end.unwrap().ends_with(char::is_whitespace), "trailing white space")?;
    }
    let text = request.to_string();
    rule(text.matches("{\"cachePoint\":").count() <= 4, "4 cache points")?;
    tools(request, uses_tools, refuses)?;
    inference(request, refuses)
}

fn tools(request: &Value, uses_tools: bool, refuses: &Refuses) -> Result<(), String> {
    let Some(config) = request.get("toolConfig") else {
        return rule(!uses_tools, "the toolConfig field must be defined when using toolUse and toolResult content blocks");
    };
    rule(!refuses.tools, "this model doesn't support tool use")?;
    keys(config, &["tools", "toolChoice"])?;
    let mut names = BTreeSet::new();
    for tool in list(config, "tools")? {
        let (_, spec) = only(tool)?;
        keys(spec, &["name", "description", "inputSchema", "strict"])?;
        let name = spec["name"].as_str().unwrap();
        rule(matches(name, "_-", 64) && names.insert(name), "names of tools")?;
        rule(spec.get("description").is_none_or(|text| not_blank(text).is_ok()), "a description has a character")?;
        rule(spec["inputSchema"]["json"]["type"] == "object", "a tool takes an object")?;
    }
    match config.get("toolChoice").map(only).transpose()? {
        None => Ok(()),
        Some(("any", _)) => rule(!refuses.forced_tools, "forced tools"),
        Some(("tool", tool)) => rule(!refuses.forced_tools && names.contains(tool["name"].as_str().unwrap()), "forced tools"),
        Some((other, _)) => Err(other.to_owned()),
    }
}

fn inference(request: &Value, refuses: &Refuses) -> Result<(), String> {
    let inference = &request["inferenceConfig"];
    keys(inference, &["maxTokens", "temperature", "topP", "stopSequences"])?;
    rule(inference["maxTokens"].as_u64().is_some_and(|tokens| (1..=i32::MAX as u64).contains(&tokens)), "maxTokens")?;
    let number = |name: &str| inference.get(name).map(|number| number.as_f64().unwrap());
    let (temperature, top_p) = (number("temperature"), number("topP"));
    rule([temperature, top_p].iter().flatten().all(|number| (0.0..=1.0).contains(number)), "0 to 1")?;
    rule(!refuses.sampling || temperature.or(top_p).is_none(), "sampling is deprecated for this model")?;
    rule(!refuses.temperature_with_top_p || temperature.and(top_p).is_none(), "temperature and top_p")?;
    let additional = request.get("additionalModelRequestFields");
    rule(!refuses.top_k || additional.is_none_or(|fields| !fields.to_string().to_lowercase().contains("topk")), "topK")?;
    rule(!refuses.top_k || additional.is_none_or(|fields| fields.get("top_k").is_none()), "top_k")?;
    let stops = inference.get("stopSequences").map_or(&[][..], |stops| stops.as_array().unwrap());
    rule(stops.iter().all(|stop| !stop.as_str().unwrap().is_empty()), "empty stop sequence")?;
    rule(stops.len() <= refuses.more_stop_sequences_than.unwrap_or(2500), "too many stop sequences")
}

fn image(image: &Value, refuses: &Refuses) -> Result<(), String> {
    rule(!refuses.images, "this model doesn't support the image field")?;
    rule(["png", "jpeg", "gif", "webp"].contains(&image["format"].as_str().unwrap()), "format of an image")?;
    bytes(image, 3_932_160)
}

fn document(document: &Value) -> Result<(), String> {
    let formats = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
    rule(formats.contains(&document["format"].as_str().unwrap()), "format of a document")?;
    let name = document["name"].as_str().unwrap();
    let plain = |character: char| character.is_ascii_alphanumeric() || " -()[]".contains(character);
    rule((1..=200).contains(&name.len()) && name.chars().all(plain) && !name.contains("  "), "name of a document")?;
    bytes(document, 4_718_592)
}

fn bytes(block: &Value, most: usize) -> Result<(), String> {
    let bytes = BASE64_STANDARD.decode(block["source"]["bytes"].as_str().unwrap()).map_err(|error| error.to_string())?;
    rule((1..=most).contains(&bytes.len()), "size of a file")
}

fn cache_point(point: &Value, refuses: &Refuses) -> Result<(), String> {
    rule(!refuses.cache_points, "this model doesn't support the cachePoint field")?;
    rule(point["type"] == "default" && point.get("ttl").is_none_or(|ttl| ttl == "5m" || ttl == "1h"), "cache point")
}

/// Returns where a block is in its turn; what may be anywhere comes with the text.
fn order(kind: &str) -> u8 {
    match kind {
        "toolResult" | "reasoningContent" => 0,
        "toolUse" => 2,
        _ => 1,
    }
}

fn matches(text: &str, marks: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || marks.contains(character))
}

fn not_blank(text: &Value) -> Result<(), String> {
    rule(text.as_str().is_some_and(|text| !text.trim().is_empty()), "the text field in the ContentBlock object is blank")
}

/// Returns the one member of a union.
fn only(block: &Value) -> Result<(&str, &Value), String> {
    let members = block.as_object().ok_or("no object")?;
    rule(members.len() == 1, "a union has one member")?;
    Ok(members.iter().next().map(|(name, value)| (name.as_str(), value)).unwrap())
}

fn keys(object: &Value, known: &[&str]) -> Result<(), String> {
    let stray = object.as_object().ok_or("no object")?.keys().find(|key| !known.contains(&key.as_str()));
    stray.map_or(Ok(()), |key| Err(format!("extraneous key [{key}]")))
}

fn list<'a>(object: &'a Value, name: &str) -> Result<&'a [Value], String> {
    let list = object.get(name).and_then(Value::as_array).ok_or_else(|| format!("{name} is no list"))?;
    rule(!list.is_empty(), &format!("{name} is empty"))?;
    Ok(list)
}

fn rule(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}
