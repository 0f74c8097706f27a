//! Content blocks: what a turn is made of.

use serde_json::Value;

use super::request_shape::{Members, Node, unknown_member};
use crate::emulator::response::Refusal;

/// One block of a turn or of the system prompt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Text(String),
    Image {
        size: usize,
    },
    Document(Document),
    Video,
    Audio,
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        id: String,
        texts: Vec<String>,
        images: usize,
        failed: bool,
    },
    Reasoning(String),
    CachePoint(Ttl),
    /// A text that a guardrail is to look at.
    Guarded(String),
    SearchResult(Vec<String>),
}

/// A document that a user attached.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub(super) name: String,
    /// What it says, where that can be read without a parser.
    pub(super) text: Option<String>,
    pub(super) size: usize,
}

/// How long a prefix stays in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    FiveMinutes,
    OneHour,
}

impl Ttl {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::OneHour => "1h",
        }
    }
}

impl Block {
    /// Returns the name of the block's field.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Image { .. } => "image",
            Self::Document(_) => "document",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::ToolUse { .. } => "toolUse",
            Self::ToolResult { .. } => "toolResult",
            Self::Reasoning(_) => "reasoningContent",
            Self::CachePoint(_) => "cachePoint",
            Self::Guarded(_) => "guardContent",
            Self::SearchResult(_) => "searchResult",
        }
    }
}

const FORMATS: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];

/// Reads a block of a turn.
pub(super) fn read(node: Node) -> Result<Block, Refusal> {
    let (key, node) = node.union()?;
    match key.as_str() {
        "text" => node.text().map(Block::Text),
        "image" => image(node),
        "document" => document(node).map(Block::Document),
        "video" => node.object().map(|_| Block::Video),
        "audio" => node.object().map(|_| Block::Audio),
        "toolUse" => tool_use(node),
        "toolResult" => tool_result(node),
        "reasoningContent" => reasoning(node),
        "cachePoint" => cache_point(node).map(Block::CachePoint),
        "guardContent" => guarded(node),
        "searchResult" => search_result(node).map(Block::SearchResult),
        "citationsContent" => citations(node),
        _ => Err(unknown_member(&node, &key)),
    }
}

/// Reads a block of the system prompt.
pub(super) fn system(node: Node) -> Result<Block, Refusal> {
    let (key, node) = node.union()?;
    match key.as_str() {
        "text" => node.text_of(1, usize::MAX).map(Block::Text),
        "cachePoint" => cache_point(node).map(Block::CachePoint),
        "guardContent" => guarded(node),
        _ => Err(unknown_member(&node, &key)),
    }
}

pub(super) fn cache_point(node: Node) -> Result<Ttl, Refusal> {
    let mut members = node.object()?;
    members.need("type")?.choice(&["default"])?;
    let ttl = members.take("ttl").map(|node| node.choice(&["5m", "1h"])).transpose()?;
    members.finish()?;
    Ok(if ttl == Some("1h") { Ttl::OneHour } else { Ttl::FiveMinutes })
}

fn image(node: Node) -> Result<Block, Refusal> {
    let mut members = node.object()?;
    members.need("format")?.choice(&["png", "jpeg", "gif", "webp"])?;
    let (key, source) = members.need("source")?.union()?;
    members.finish()?;
    match key.as_str() {
        "bytes" => Ok(Block::Image { size: source.bytes()?.len() }),
        "s3Location" => Err(no_s3()),
        _ => Err(unknown_member(&source, &key)),
    }
}

fn document(node: Node) -> Result<Document, Refusal> {
    let mut members = node.object()?;
    let name = members.need("name")?.text_of(1, 200)?;
    let format = members.take("format").map(|node| node.choice(&FORMATS)).transpose()?;
    members.take("context").map(Node::text).transpose()?;
    if let Some(node) = members.take("citations") {
        let mut citations = node.object()?;
        citations.need("enabled")?.flag()?;
        citations.finish()?;
    }
    let (key, source) = members.need("source")?.union()?;
    members.finish()?;
    match key.as_str() {
        "bytes" => {
            let bytes = source.bytes()?;
            let size = bytes.len();
            let plain = format.is_none_or(|format| ["csv", "html", "txt", "md"].contains(&format));
            Ok(Document { name, text: plain.then(|| String::from_utf8(bytes).ok()).flatten(), size })
        }
        "text" => {
            let text = source.text_of(1, usize::MAX)?;
            Ok(Document { name, size: text.len(), text: Some(text) })
        }
        "content" => {
            let parts = source.list()?.into_iter().map(only_text).collect::<Result<Vec<_>, _>>()?;
            let text = parts.join("\n");
            Ok(Document { name, size: text.len(), text: Some(text) })
        }
        "s3Location" => Err(no_s3()),
        _ => Err(unknown_member(&source, &key)),
    }
}

fn tool_use(node: Node) -> Result<Block, Refusal> {
    let mut members = node.object()?;
    let id = tool_use_id(&mut members)?;
    let name = members.need("name")?.name(64, "_-")?;
    let input = members.need("input")?.json();
    members.take("type").map(|node| node.choice(&["server_tool_use"])).transpose()?;
    members.finish()?;
    Ok(Block::ToolUse { id, name, input })
}

fn tool_result(node: Node) -> Result<Block, Refusal> {
    let mut members = node.object()?;
    let id = tool_use_id(&mut members)?;
    let (mut texts, mut images) = (Vec::new(), 0);
    for item in members.need("content")?.list()? {
        match item.union()? {
            (key, node) if key == "text" => texts.push(node.text()?),
            (key, node) if key == "json" => texts.push(node.json().to_string()),
            (key, node) if key == "image" => {
                image(node)?;
                images += 1;
            }
            (key, node) if key == "document" => texts.extend(document(node)?.text),
            (key, node) if key == "searchResult" => texts.append(&mut search_result(node)?),
            (key, node) if key == "video" => drop(node.object()?),
            (key, node) => return Err(unknown_member(&node, &key)),
        }
    }
    let status = members.take("status").map(|node| node.choice(&["success", "error"])).transpose()?;
    members.take("type").map(Node::text).transpose()?;
    members.finish()?;
    Ok(Block::ToolResult { id, texts, images, failed: status == Some("error") })
}

fn tool_use_id(members: &mut Members) -> Result<String, Refusal> {
    members.need("toolUseId")?.name(64, "_.:-")
}

fn reasoning(node: Node) -> Result<Block, Refusal> {
    let (key, node) = node.union()?;
    match key.as_str() {
        "reasoningText" => {
            let mut members = node.object()?;
            let text = members.need("text")?.text()?;
            members.take("signature").map(Node::text).transpose()?;
            members.finish()?;
            Ok(Block::Reasoning(text))
        }
        "redactedContent" => node.bytes().map(|_| Block::Reasoning(String::new())),
        _ => Err(unknown_member(&node, &key)),
    }
}

fn guarded(node: Node) -> Result<Block, Refusal> {
    let (key, node) = node.union()?;
    match key.as_str() {
        "text" => {
            let mut members = node.object()?;
            let text = members.need("text")?.text()?;
            let qualifiers = members.take("qualifiers").map_or_else(|| Ok(Vec::new()), Node::list)?;
            for qualifier in qualifiers {
                qualifier.choice(&["grounding_source", "query", "guard_content"])?;
            }
            members.finish()?;
            Ok(Block::Guarded(text))
        }
        "image" => image(node),
        _ => Err(unknown_member(&node, &key)),
    }
}

fn search_result(node: Node) -> Result<Vec<String>, Refusal> {
    let mut members = node.object()?;
    members.need("source")?.text()?;
    let title = members.need("title")?.text()?;
    let content = members.need("content")?.list()?.into_iter().map(only_text);
    let texts = std::iter::once(Ok(title)).chain(content).collect::<Result<_, _>>()?;
    members.take("citations").map(Node::object).transpose()?;
    members.finish()?;
    Ok(texts)
}

/// What an earlier answer cited: only its text matters to the next one.
fn citations(node: Node) -> Result<Block, Refusal> {
    let mut members = node.object()?;
    let content = members.take("content").map_or_else(|| Ok(Vec::new()), Node::list)?;
    let texts = content.into_iter().map(only_text).collect::<Result<Vec<_>, _>>()?;
    members.take("citations").map(Node::list).transpose()?;
    members.finish()?;
    Ok(Block::Text(texts.concat()))
}

fn only_text(node: Node) -> Result<String, Refusal> {
    match node.union()? {
        (key, node) if key == "text" => node.text(),
        (key, node) => Err(unknown_member(&node, &key)),
    }
}

fn no_s3() -> Refusal {
    Refusal::validation("this emulator has no S3: send the bytes themselves")
}
