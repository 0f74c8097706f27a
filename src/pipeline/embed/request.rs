//! Texts of one call.

use crate::bedrock::CallError;
use crate::domain::{ContentHash, Limits, Mix, TokenCount};
use crate::embed::{self, Embedder};
use crate::pipeline::call::{Bill, Call, Weight};
use crate::throttle::gate::Input;
use crate::throttle::price::Used;
use crate::throttle::{Lane, budget::Estimate};

/// Carries texts to a model and vectors back, in one attempt. A test puts another in the place of the network.
pub(in crate::pipeline) trait Transport: Send + Sync + 'static {
    /// Returns what one call takes.
    fn limits(&self) -> Limits;

    /// Embeds texts in one attempt.
    fn embed(&self, texts: &[&str]) -> impl Future<Output = Result<embed::Embedded, CallError>> + Send;
}

impl Transport for Embedder {
    fn limits(&self) -> Limits {
        self.settings().limits()
    }

    fn embed(&self, texts: &[&str]) -> impl Future<Output = Result<embed::Embedded, CallError>> + Send {
        self.embed(texts)
    }
}

/// What a call asks for.
pub(super) struct Asked<'a, T> {
    transport: &'a T,
    texts: &'a [&'a str],
    /// The sum of what their chunks were estimated at.
    estimated: TokenCount,
    mix: Mix,
}

impl<'a, T> Asked<'a, T> {
    pub(super) fn new(transport: &'a T, texts: &'a [&'a str], estimated: TokenCount) -> Self {
        Self { transport, texts, estimated, mix: texts.iter().map(|text| Mix::of(text)).sum() }
    }
}

impl<T: Transport> Call for Asked<'_, T> {
    type Answer = embed::Embedded;

    fn weigh(&self, lane: &Lane) -> Weight {
        let learned = lane.density.estimate(&self.mix, self.estimated);
        let most = Estimate { input: learned.max(self.estimated), ..Estimate::default() };
        Weight { quota: learned, most }
    }

    fn attempt(&self) -> impl Future<Output = Result<embed::Embedded, CallError>> + Send {
        self.transport.embed(self.texts)
    }

    fn input(&self) -> Option<Input> {
        match self.texts {
            [text] => Some(Input::configured(ContentHash::of(text.as_bytes()))),
            _ => None,
        }
    }

    fn bill(&self, lane: &Lane, answer: &embed::Embedded) -> Bill {
        if let Some(billed) = answer.tokens {
            lane.density.learn(&self.mix, self.estimated, billed, answer.emulated);
        }
        let used = Used { calls: 1, input: answer.tokens.unwrap_or(self.estimated), ..Used::default() };
        Bill { quota: answer.tokens, used, emulated: answer.emulated, texts: self.texts.len() as u64 }
    }
}
