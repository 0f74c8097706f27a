//! A model's limits, for the stages that need them before a call.

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

/// Characters that a token has at most, as a rule: words of prose have five or six.
pub const CHARACTERS_PER_TOKEN: usize = 8;

impl Limits {
    /// Returns what is left of each text after so many tokens before it.
    #[must_use]
    pub fn beside(self, tokens: u32) -> Self {
        let characters = CHARACTERS_PER_TOKEN.saturating_mul(tokens as usize);
        let left = self.characters_per_text.get().saturating_sub(characters);
        Self {
            characters_per_text: NonZeroUsize::new(left).unwrap_or(NonZeroUsize::MIN),
            tokens_per_text: TokenCount::new(self.tokens_per_text.get().saturating_sub(tokens.into()).max(1)),
            ..self
        }
    }
}
