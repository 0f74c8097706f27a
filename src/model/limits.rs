//! What a model takes, for the stages that must know it beforehand.

use std::num::NonZeroUsize;

use super::TokenCount;

/// The bounds of one embedding call. What the chunker and the packer keep to, so that nothing is refused or cut for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Texts in one call.
    pub texts_per_call: NonZeroUsize,
    /// Unicode characters in one text.
    pub characters_per_text: NonZeroUsize,
    /// Model tokens in one text.
    pub tokens_per_text: TokenCount,
    /// Model tokens in one call, over all its texts.
    pub tokens_per_call: TokenCount,
    /// Bytes of text in one call, before JSON escapes.
    pub bytes_per_call: NonZeroUsize,
}
