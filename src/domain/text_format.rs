//! A file's text and its origin.

use super::{ContentHash, DocumentPath};

/// A file's extracted text.
pub struct Document {
    /// Where the file lies below the source folder.
    pub path: DocumentPath,
    /// Hash of the file's bytes, which names this version of the document.
    pub version: ContentHash,
    /// IANA media type of the file (`text/markdown`).
    pub media_type: String,
    /// How the text is to be read.
    pub format: Format,
    /// The text: the file's bytes without a byte order mark.
    pub text: String,
}

/// How a document's text is structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Paragraphs and lines.
    Text,
    /// Markdown (`CommonMark`): headings make sections.
    Markdown,
}
