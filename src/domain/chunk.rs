//! A piece of a document's text.

use std::ops::Range;
use std::sync::Arc;

use super::{Fingerprint, Place, TokenCount};

/// One piece of a document's text, as the chunker cut it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Byte range in the document's extracted text; both ends are on character borders.
    pub span: Range<usize>,
    /// The Markdown headings under which the piece begins, outermost first; empty for plain text.
    pub headings: Arc<[Box<str>]>,
    /// Estimated tokens of the piece.
    pub tokens: TokenCount,
    /// What it is a part of, where the service has found a longer piece too long.
    pub part: Option<Part>,
}

/// Which part of a piece that was cut again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Byte range of the whole piece.
    pub whole: Range<usize>,
    /// Which of its parts, from 0.
    pub at: usize,
}

impl Chunk {
    /// Returns where it is in its document.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::of(&self.span, None, &self.headings)
    }
}

/// The current line of a chunk in the output, as far as planning needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The configuration that shaped its vector.
    pub config: Fingerprint,
    /// Where the chunk is in its document, as the line says.
    pub place: Place,
}
