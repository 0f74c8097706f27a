//! A piece of a document's text.

use std::ops::Range;
use std::sync::Arc;

use super::TokenCount;

/// One piece of a document's text, as the chunker cut it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Byte range in the document's extracted text; both ends stand on character borders.
    pub span: Range<usize>,
    /// The Markdown headings under which the piece begins, outermost first; empty for plain text.
    pub headings: Arc<[Box<str>]>,
    /// Estimated tokens of the piece.
    pub tokens: TokenCount,
}
