//! Estimate of a request's tokens.

use super::converse::{Block, ImageBlock, Reasoning, Request, ResultBlock, System, ToolEntry};
use crate::domain::TokenCount;

/// Tokens of one image: what Claude counts for the largest that it does not make smaller (1,568 pixels on the longer side).
const IMAGE: u64 = 1_600;

/// Bytes of a PDF or an Office file for one token: most of them are not text.
const PACKED_BYTES: u64 = 20;

impl Request {
    /// Returns an estimate of the input tokens, where `of_text` estimates a text's.
    ///
    /// Texts are most of it and as good as `of_text` is. For an image it is a fixed number, and for a document that is not plain text
    /// one by its size: what these really are, the service alone knows.
    #[must_use]
    pub fn input_tokens(&self, of_text: impl Fn(&str) -> TokenCount) -> TokenCount {
        let system = self.system.iter().map(|block| match block {
            System::Text(text) => of_text(text),
            System::GuardContent(guarded) => of_text(&guarded.text.text),
            System::CachePoint(_) => TokenCount::default(),
        });
        let blocks = self.messages.iter().flat_map(|turn| &turn.content).map(|block| self::block(block, &of_text));
        let tools = self.tool_config.iter().flat_map(|config| &config.tools).map(|entry| {
            let ToolEntry::ToolSpec(spec) = entry else { return TokenCount::default() };
            let schema = serde_json::to_string(&spec.input_schema.json).unwrap_or_default();
            of_text(&spec.name) + spec.description.as_deref().map(&of_text).unwrap_or_default() + of_text(&schema)
        });
        let format = self.output_config.iter().filter_map(|config| config.text_format.as_ref());
        let format = format.map(|format| of_text(&format.structure.json_schema.schema));
        system.chain(blocks).chain(tools).chain(format).sum()
    }
}

fn block(block: &Block, of_text: &impl Fn(&str) -> TokenCount) -> TokenCount {
    let image = |_: &ImageBlock| TokenCount::new(IMAGE);
    match block {
        Block::Text(text) | Block::ReasoningContent(Reasoning::ReasoningText { text, .. }) => of_text(text),
        Block::Image(block) => image(block),
        Block::Document(document) => match std::str::from_utf8(&document.source.bytes) {
            Ok(text) if !matches!(document.format, "pdf" | "doc" | "docx" | "xls" | "xlsx") => of_text(text),
            _ => TokenCount::new((document.source.bytes.len() as u64).div_ceil(PACKED_BYTES)),
        },
        Block::ToolUse(call) => of_text(&call.name) + of_text(&serde_json::to_string(&call.input).unwrap_or_default()),
        Block::ToolResult(result) => result
            .content
            .iter()
            .map(|part| match part {
                ResultBlock::Text(text) => of_text(text),
                ResultBlock::Image(block) => image(block),
            })
            .sum(),
        Block::ReasoningContent(Reasoning::RedactedContent(bytes)) => TokenCount::new((bytes.len() as u64).div_ceil(4)),
        Block::GuardContent(guarded) => of_text(&guarded.text.text),
        Block::CachePoint(_) => TokenCount::default(),
    }
}
