//! Token density: billed tokens per character of each script, learned from the calls themselves.
//!
//! Tokenizers are not published for most models, and what a call is billed depends on the language of its texts more than on anything
//! else. A call says one number for all its characters; it is shared out among their scripts in proportion to what each was expected to
//! cost, and each script's rate is the mean of its shares. So texts of one script teach its rate at once, and mixed ones bring the rates
//! to what explains them all (the multiplicative updates of Richardson and Lucy, which stay positive).
//!
//! Only estimates depend on this. Where a text is cut does not: it must be cut the same way again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{Mix, Script, TokenCount};

/// What is taken for a script's tokens a character before any call: the least, the usual, the most.
///
/// Amazon counts 4.7 characters of English to a token of Titan; the ranges hold the tokenizers of the embedding models that are known
/// (word pieces, and byte pairs with 30,000 to 256,000 entries).
struct Prior {
    least: f64,
    usual: f64,
    most: f64,
}

const fn prior(script: Script) -> Prior {
    let (least, usual, most) = match script {
        Script::Latin => (0.19, 0.23, 0.34),
        Script::Space => (0.0, 0.10, 0.34),
        Script::Digits => (0.30, 0.50, 1.0),
        Script::Marks => (0.30, 0.80, 1.0),
        Script::Cyrillic | Script::Greek => (0.20, 0.35, 0.60),
        Script::Semitic => (0.25, 0.45, 0.80),
        Script::Indic => (0.25, 0.60, 1.2),
        Script::Cjk => (0.45, 0.90, 1.5),
        Script::Emoji => (0.80, 2.0, 4.0),
        Script::Other => (0.25, 0.60, 2.0),
        // Measured with four tokenizers (src/chunk/token_estimate.rs): hex from 0.57 to 0.89, base64 from 0.68 to 0.75.
        Script::Dense => (0.50, 0.72, 1.0),
        Script::Begin => (0.0, 1.0, 3.0),
    };
    Prior { least, usual, most }
}

/// Characters after which a script's rate counts as known.
const KNOWN: f64 = 500.0;
/// The same for beginnings, which are texts.
const KNOWN_TEXTS: f64 = 16.0;
/// Characters for which the usual rate still speaks beside what was learned.
const DOUBT: f64 = 100.0;
/// Characters of a script that are remembered: beyond, old ones count half. Early calls were shared out by rates that were not known
/// yet, and a model's tokenizer may change.
const MEMORY: f64 = 200_000.0;

/// What was billed for a script so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    /// Characters.
    pub characters: f64,
    /// Tokens that were billed for them, as far as that is known.
    pub tokens: f64,
}

/// Tokens by script, as one model is billed for them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    sums: [Sum; Script::COUNT],
}

/// A number of tokens between two bounds; they are equal where it is known what the model is billed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// What is expected.
    pub expected: f64,
    /// The most.
    pub high: f64,
}

impl Rates {
    /// Takes what an earlier run has learned; what cannot be is left out.
    #[must_use]
    pub fn new(learned: impl IntoIterator<Item = (Script, Sum)>) -> Self {
        let mut rates = Self::default();
        let usable = |number: f64| number.is_finite() && number >= 0.0;
        for (script, sum) in learned.into_iter().filter(|(_, sum)| usable(sum.characters) && usable(sum.tokens)) {
            rates.sums[script.place()] = sum;
        }
        rates
    }

    /// Returns what was learned, script by script.
    pub fn learned(&self) -> impl Iterator<Item = (Script, Sum)> {
        Script::ALL.into_iter().zip(self.sums).filter(|(_, sum)| sum.characters > 0.0)
    }

    /// Returns whether any call has taught anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.learned().next().is_none()
    }

    /// Returns the tokens that texts of such a mix are expected to be billed at.
    #[must_use]
    pub fn expected(&self, mix: &Mix) -> f64 {
        parts(mix).map(|(script, characters)| characters * self.rate(script)).sum()
    }

    /// Returns between what bounds that lies: of scripts that no call has shown yet little is known.
    #[must_use]
    pub fn range(&self, mix: &Mix) -> Range {
        let mut range = Range::default();
        for (script, characters) in parts(mix) {
            let rate = self.rate(script);
            let Prior { least, most, .. } = prior(script);
            let (least, most) = if self.is_known(script) { (rate, rate) } else { (least.min(rate), most.max(rate)) };
            range.low += characters * least;
            range.expected += characters * rate;
            range.high += characters * most;
        }
        range
    }

    /// Records what texts were billed at.
    pub fn learn(&mut self, mix: &Mix, billed: TokenCount) {
        let expected = self.expected(mix);
        if expected <= 0.0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 tokens")]
        let factor = billed.get() as f64 / expected;
        let before = *self;
        for (script, characters) in parts(mix) {
            let sum = &mut self.sums[script.place()];
            sum.characters += characters;
            sum.tokens += characters * before.rate(script) * factor;
            if sum.characters > MEMORY {
                sum.characters /= 2.0;
                sum.tokens /= 2.0;
            }
        }
    }

    fn rate(&self, script: Script) -> f64 {
        let Sum { characters, tokens } = self.sums[script.place()];
        let doubt = if script == Script::Begin { 4.0 } else { DOUBT };
        (tokens + doubt * prior(script).usual) / (characters + doubt)
    }

    fn is_known(&self, script: Script) -> bool {
        let enough = if script == Script::Begin { KNOWN_TEXTS } else { KNOWN };
        self.sums[script.place()].characters >= enough
    }
}

/// Returns the scripts of a mix with their characters.
fn parts(mix: &Mix) -> impl Iterator<Item = (Script, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 characters")]
    let parts = mix.counts().filter(|(_, characters)| *characters > 0).map(|(script, characters)| (script, characters as f64));
    parts
}

/// What the calls of one model are billed, shared by all of them. An emulator counts in its own way, so the two are kept apart.
#[derive(Debug)]
pub struct Density {
    state: Mutex<DensityState>,
}

impl Default for Density {
    fn default() -> Self {
        Self::new([Rates::default(); 2], false)
    }
}

#[derive(Debug, Default)]
struct DensityState {
    rates: [Rates; 2],
    pub(super) emulated: bool,
    /// Calls that were learned from.
    calls: u64,
    /// How far the two estimates of a call's tokens were off recently, as the logarithm of the ratio.
    own: f64,
    given: f64,
    /// Tokens billed for each that the given estimate had.
    billed_per_given: f64,
}

/// Calls over which the two estimates are compared.
const COMPARED: f64 = 16.0;

impl Density {
    /// Begins at what earlier runs have learned, of a model and of an emulator; `emulated` says which of them answers, as far as is
    /// known.
    #[must_use]
    pub fn new(rates: [Rates; 2], emulated: bool) -> Self {
        // What earlier runs have learned is trusted before the first call of this one.
        let given = if rates.iter().all(Rates::is_empty) { 0.0 } else { 0.1 };
        Self { state: Mutex::new(DensityState { rates, emulated, given, billed_per_given: 1.0, ..DensityState::default() }) }
    }

    /// Returns how many tokens a call is expected to be billed at: by what was learned, unless `given`, another estimate, has been the
    /// better one recently.
    #[must_use]
    pub fn estimate(&self, mix: &Mix, given: TokenCount) -> TokenCount {
        let state = self.state();
        let rates = &state.rates[usize::from(state.emulated)];
        if rates.is_empty() || state.own >= state.given {
            return given;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive and the cast saturates")]
        TokenCount::new(rates.expected(mix).ceil() as u64)
    }

    /// Records what a call was billed at.
    pub fn learn(&self, mix: &Mix, given: TokenCount, billed: TokenCount, emulated: bool) {
        let mut state = self.state();
        state.emulated = emulated;
        if billed.get() == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 tokens")]
        let (billed_tokens, given) = (billed.get() as f64, given.get().max(1) as f64);
        let rates = state.rates[usize::from(emulated)];
        let off = |estimate: f64| (billed_tokens / estimate.max(1.0)).ln().abs();
        let (own, given_off) = (off(rates.expected(mix)), off(given * state.billed_per_given));
        if !rates.is_empty() {
            state.own += (own - state.own) / COMPARED;
            state.given += (given_off - state.given) / COMPARED;
        }
        state.billed_per_given += (billed_tokens / given - state.billed_per_given) / COMPARED;
        state.rates[usize::from(emulated)].learn(mix, billed);
        state.calls += 1;
    }

    /// Returns how many calls were learned from.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Returns what was learned of a model, or of an emulator.
    #[must_use]
    pub fn rates(&self, emulated: bool) -> Rates {
        self.state().rates[usize::from(emulated)]
    }

    fn state(&self) -> MutexGuard<'_, DensityState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
