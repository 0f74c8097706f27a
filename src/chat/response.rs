//! What a model answered.

use serde_json::Value;

use super::guardrail::Trace;
use crate::domain::{Held, Tier, TokenCount};
use crate::throttle::price::Used;

pub use crate::domain::Ending;

/// An answer. How it ended says whether it is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// All texts, joined. Empty where the model only calls tools or says nothing.
    pub text: String,
    /// How it ended.
    pub ending: Ending,
    /// The same in the service's word.
    pub stop_reason: String,
    /// What it counts, where the service says.
    pub usage: Option<Usage>,
    /// The tier that served it in the service's word, where the service says.
    pub service_tier: Option<String>,
    /// Milliseconds that the service took, by its own clock.
    pub latency_ms: Option<u64>,
    /// Tools that the model wants called.
    pub tool_calls: Vec<ToolCall>,
    /// What the model thought first.
    pub reasoning: Vec<Reasoning>,
    /// What the guardrail found, where its trace is on.
    pub guardrail: Option<Trace>,
    /// Kinds of content that came too and that nothing here carries, as `image`.
    pub left_out: Vec<&'static str>,
    /// Names the call to AWS support.
    pub request_id: Option<String>,
    /// Whether the answer bears the emulator's mark: it was put together, not thought.
    pub emulated: bool,
    /// The room that it takes where it is long.
    pub held: Held,
}

/// What an answer counts. The prompt is `input_tokens` and both numbers of the cache together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, without those of the cache.
    pub input_tokens: TokenCount,
    /// Output tokens, reasoning included.
    pub output_tokens: TokenCount,
    /// Input tokens that were read from the cache, at a fraction of the price.
    pub cache_read_tokens: TokenCount,
    /// Input tokens that were written to it, above the price.
    pub cache_write_tokens: TokenCount,
    /// Those of them that are kept for an hour, which costs more again.
    pub cache_write_hour_tokens: TokenCount,
}

/// The most tokens that a call can have been billed: what is above is no count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Believable {
    /// Going in, from the cache or not.
    pub(super) input: u64,
    /// Coming out.
    pub(super) output: u64,
}

impl Believable {
    /// Returns what an answer counts, if it can be.
    pub(super) fn check(self, usage: Option<Usage>) -> Option<Usage> {
        usage.filter(|usage| {
            let input = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
            input.get() <= self.input && usage.output_tokens.get() <= self.output
        })
    }
}

/// A tool that the model wants called.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Names the call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments; a string where they were cut and are no JSON.
    pub input: Value,
}

/// What a model thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reasoning {
    /// In plain text.
    Text {
        /// The text.
        text: String,
        /// What the model knows it by.
        signature: Option<String>,
    },
    /// Encrypted.
    Redacted(Vec<u8>),
}

impl Usage {
    /// Returns all tokens of the prompt, those of the cache included.
    #[must_use]
    pub fn prompt_tokens(self) -> TokenCount {
        self.input_tokens + self.cache_read_tokens + self.cache_write_tokens
    }

    /// Returns what one call with this answer used, served in this tier.
    #[must_use]
    pub fn used(self, tier: Tier) -> Used {
        Used {
            calls: 1,
            input: self.prompt_tokens(),
            cache_read: self.cache_read_tokens,
            cache_write: self.cache_write_tokens,
            cache_write_hour: self.cache_write_hour_tokens,
            output: self.output_tokens,
            rate: tier.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_be_is_none() {
        let believable = Believable { input: 100, output: 10 };
        let usage = |input, output, cache| Usage {
            input_tokens: TokenCount::new(input),
            output_tokens: TokenCount::new(output),
            cache_read_tokens: TokenCount::new(cache),
            ..Usage::default()
        };
        assert_eq!(believable.check(Some(usage(60, 10, 40))), Some(usage(60, 10, 40)));
        for absurd in [usage(60, 10, 41), usage(u64::MAX, 0, u64::MAX), usage(0, 11, 0)] {
            assert_eq!(believable.check(Some(absurd)), None);
        }
    }
}
