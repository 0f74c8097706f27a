//! The number of tokens of a request.

use super::super::tokens;
use super::content::Block;
use super::request::{Conversation, Tool};

/// Of an image, whatever it shows: some 1.2 megapixels at 750 pixels a token.
const IMAGE: u64 = 1_600;
/// Bytes a token of a document that the emulator cannot read.
const BYTES_A_TOKEN: u64 = 6;

/// Returns the tokens of all that a request brings.
pub(super) fn of(conversation: &Conversation) -> u64 {
    let tools = conversation.tools.iter().flat_map(|tools| &tools.specs).map(tool).sum::<u64>();
    let turns = conversation.messages.iter().flat_map(|message| &message.content);
    tools + conversation.system.iter().chain(turns).map(block).sum::<u64>()
}

pub(super) fn tool(tool: &Tool) -> u64 {
    tokens::count(&tool.name) + text(&tool.description) + tokens::count(&tool.schema.to_string())
}

pub(super) fn block(block: &Block) -> u64 {
    match block {
        Block::Text(said) | Block::Guarded(said) | Block::Reasoning(said) => text(said),
        Block::Image { .. } => IMAGE,
        Block::Document(document) => match &document.text {
            Some(said) => text(&document.name) + text(said),
            None => text(&document.name) + document.size as u64 / BYTES_A_TOKEN,
        },
        Block::ToolUse { name, input, .. } => tokens::count(name) + tokens::count(&input.to_string()),
        Block::ToolResult { texts, images, .. } => texts.iter().map(|said| text(said)).sum::<u64>() + *images as u64 * IMAGE,
        Block::SearchResult(texts) => texts.iter().map(|said| text(said)).sum(),
        Block::Video | Block::Audio | Block::CachePoint(_) => 0,
    }
}

/// Unlike a call, a part of one may have no tokens at all.
pub(super) fn text(text: &str) -> u64 {
    if text.is_empty() { 0 } else { tokens::count(text) }
}
