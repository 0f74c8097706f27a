//! Limits on a whole request.

use super::converse::{Block, Request, ResultBlock, System, ToolEntry};
use super::refusal::Refusal;

/// Images in one request (user guide, Converse).
const IMAGES: usize = 20;

/// Documents in one request (same page).
const DOCUMENTS: usize = 5;

/// Cache points in one request (user guide, prompt caching).
const CACHE_POINTS: usize = 4;

/// Checks the bounds that concern the whole request.
pub(super) fn check(request: &Request) -> Result<(), Refusal> {
    let (mut images, mut documents, mut points) = (0, 0, 0);
    let tools = request.tool_config.iter().flat_map(|config| &config.tools);
    points += tools.filter(|entry| matches!(entry, ToolEntry::CachePoint(_))).count();
    points += request.system.iter().filter(|block| matches!(block, System::CachePoint(_))).count();
    for block in request.messages.iter().flat_map(|turn| &turn.content) {
        match block {
            Block::Image(_) => images += 1,
            Block::Document(_) => documents += 1,
            Block::CachePoint(_) => points += 1,
            Block::ToolResult(result) => {
                images += result.content.iter().filter(|part| matches!(part, ResultBlock::Image(_))).count();
            }
            Block::Text(_) | Block::ToolUse(_) | Block::ReasoningContent(_) | Block::GuardContent(_) => {}
        }
    }
    for (name, number, most) in
        [("images", images, IMAGES), ("documents", documents, DOCUMENTS), ("cache points", points, CACHE_POINTS)]
    {
        if number > most {
            return Err(Refusal::new("messages", format!("hold {number} {name}; Bedrock takes {most} at most")));
        }
    }
    Ok(())
}
