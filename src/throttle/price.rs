//! Prices: a built-in table with its date, overridden by the configuration.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::price_table::AS_OF;
use crate::bedrock::ModelId;
use crate::domain::{Rate, Tier, TokenCount, Usd};

/// What one model's calls cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub(super) input: Usd,
    pub(super) cache_read: Usd,
    pub(super) cache_write: Usd,
    /// For what is kept for an hour. `None` where no other price than for five minutes is known.
    pub(super) cache_write_hour: Option<Usd>,
    /// `None` where no price is known for it, which is not a price of nothing.
    pub(super) output: Option<Usd>,
    pub(super) request: Usd,
    /// What the other tiers cost in parts of the standard one; `None` where that is not known.
    pub(super) flex: Option<Share>,
    pub(super) priority: Option<Share>,
    /// What long prompts cost, where the model has a price of its own for them.
    pub(super) long: Option<Long>,
    pub(super) source: Source,
}

/// A part of a price, in ten-thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(u32);

/// Prompts of more than `from` tokens cost so many times as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Long {
    pub(super) from: u64,
    pub(super) input: Share,
    pub(super) output: Share,
}

impl Share {
    const WHOLE: Self = Self(10_000);

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is a small positive number; the cast saturates"
    )]
    pub(super) fn new(share: f64) -> Self {
        Self((share * 10_000.0).round() as u32)
    }

    fn of(self, usd: Usd) -> Usd {
        if self == Self::WHOLE {
            return usd;
        }
        let parts = u128::from(usd.parts()) * u128::from(self.0) / u128::from(Self::WHOLE.0);
        Usd::from_parts(u64::try_from(parts).unwrap_or(u64::MAX))
    }
}

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The built-in table, of [`AS_OF`].
    Table,
    /// `[budget] prices`.
    Configured,
}

impl Source {
    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Configured => "configured",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => write!(f, "built-in prices of {AS_OF}"),
            Self::Configured => f.write_str("prices from `[budget] prices`"),
        }
    }
}

/// What calls use up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// How many calls.
    pub calls: u64,
    /// Tokens that went in, those of the prompt cache included.
    pub input: TokenCount,
    /// Those of them that were read from the prompt cache.
    pub cache_read: TokenCount,
    /// Those of them that were written to it.
    pub cache_write: TokenCount,
    /// Those of these that are kept for an hour.
    pub cache_write_hour: TokenCount,
    /// Tokens that came out; none where vectors do.
    pub output: TokenCount,
    /// At which of the model's prices.
    pub rate: Rate,
}

impl Price {
    /// Returns what this costs. In a tier whose price is not known it counts as much as in the standard one; see [`knows`](Self::knows).
    #[must_use]
    pub fn of(&self, used: Used) -> Usd {
        let Used { calls, input, cache_read, cache_write, cache_write_hour, output, rate } = used;
        let (long_in, long_out) = match self.long {
            Some(Long { input, output, .. }) if rate.is_long => (input, output),
            _ => (Share::WHOLE, Share::WHOLE),
        };
        let output = self.output.map(|price| price.times(output.get())).unwrap_or_default();
        let plain = input.get().saturating_sub(cache_read.get()).saturating_sub(cache_write.get());
        let hour = cache_write_hour.get().min(cache_write.get());
        let written =
            self.cache_write.times(cache_write.get() - hour) + self.cache_write_hour.unwrap_or(self.cache_write).times(hour);
        let input = self.input.times(plain) + self.cache_read.times(cache_read.get()) + written;
        let tokens = long_in.of(input) + long_out.of(output);
        self.request.times(calls) + self.share(rate.tier).unwrap_or(Share::WHOLE).of(tokens)
    }

    /// Returns whether it is known what a tier costs.
    #[must_use]
    pub fn knows(&self, tier: Tier) -> bool {
        self.share(tier).is_some()
    }

    /// Returns what calls used with the rate that they are billed at: one call whose prompt is long may have its own.
    #[must_use]
    pub fn rated(&self, used: Used) -> Used {
        let is_long = used.calls == 1 && self.long.is_some_and(|long| used.input.get() > long.from);
        Used { rate: Rate { is_long: used.rate.is_long || is_long, ..used.rate }, ..used }
    }

    fn share(&self, tier: Tier) -> Option<Share> {
        match tier {
            Tier::Default => Some(Share::WHOLE),
            Tier::Flex => self.flex,
            Tier::Priority => self.priority,
            // What was bought beforehand has been paid otherwise.
            Tier::Reserved | Tier::Other => None,
        }
    }

    /// Returns the price of one token that goes in.
    #[must_use]
    pub fn input(&self) -> Usd {
        self.input
    }

    /// Returns the prices of one token that is read from the prompt cache, that is written to it, and that is kept there for an hour.
    #[must_use]
    pub fn cache(&self) -> (Usd, Usd, Option<Usd>) {
        (self.cache_read, self.cache_write, self.cache_write_hour)
    }

    /// Returns what a tier costs in parts of the standard one, where that is known.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> Option<f64> {
        self.share(tier).map(|share| f64::from(share.0) / f64::from(Share::WHOLE.0))
    }

    /// Returns beyond how many tokens a prompt has another price, and how many times as much goes in and out then.
    #[must_use]
    pub fn long(&self) -> Option<(u64, f64, f64)> {
        let number = |share: Share| f64::from(share.0) / f64::from(Share::WHOLE.0);
        self.long.map(|long| (long.from, number(long.input), number(long.output)))
    }

    /// Returns the price of one token that comes out, if one is known.
    #[must_use]
    pub fn output(&self) -> Option<Usd> {
        self.output
    }

    /// Returns the price of one call, whatever is in it.
    #[must_use]
    pub fn request(&self) -> Usd {
        self.request
    }

    /// Returns where the price comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }
}

/// As price lists have it, with all digits: `$0.135 per million tokens`.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |usd: Usd| format!("${}", usd.dollars());
        let million = |token: Usd| exact(token.times(1_000_000));
        let mut parts = Vec::new();
        match (self.input, self.output) {
            (Usd::ZERO, None) => {}
            (input, None) => parts.push(format!("{} per million tokens", million(input))),
            (input, Some(output)) => {
                parts.push(format!("{} per million tokens in, {} per million out", million(input), million(output)));
            }
        }
        if self.request != Usd::ZERO || parts.is_empty() {
            parts.push(format!("{} per call", exact(self.request)));
        }
        f.write_str(&parts.join(" and "))
    }
}

/// One model's price, as configured. It takes the place of the built-in one as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Row")]
pub struct Configured(Row);

/// USD for a million tokens that go in, for a million of them that are read from or written to the prompt cache (absent: as much as
/// others), or written to it for an hour (absent: as other writes), for a million that come out, and for a call. `flex` and `priority` say
/// how many times as much those tiers cost (absent: as the built-in table has it).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_hour: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flex: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<f64>,
}

/// The most that is taken for a price, in USD for a million tokens or for a call: beyond, it is a mistake.
const DEAREST: f64 = 100_000.0;

/// Says why numbers are no price.
#[derive(Debug, thiserror::Error)]
pub enum NotAPrice {
    /// Nothing is given.
    #[error("a price needs `input` or `output` (USD per million tokens) or `request` (USD per call)")]
    Empty,
    /// A number is out of range.
    #[error("{0} is no price: give USD, from 0 to {DEAREST}")]
    OutOfRange(f64),
}

impl TryFrom<Row> for Configured {
    type Error = NotAPrice;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        let given = [row.input, row.output, row.request].into_iter().flatten();
        if given.clone().next().is_none() {
            return Err(NotAPrice::Empty);
        }
        let others = [row.cache_read, row.cache_write, row.cache_write_hour, row.flex, row.priority].into_iter().flatten();
        match given.chain(others).find(|usd| !(0.0..=DEAREST).contains(usd)) {
            Some(usd) => Err(NotAPrice::OutOfRange(usd)),
            None => Ok(Self(row)),
        }
    }
}

/// `[budget] prices`: prices over the built-in ones, by the model's id.
pub type Overrides = BTreeMap<ModelId, Configured>;

/// All prices that are known.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    overrides: Overrides,
    region: Option<String>,
}

impl Prices {
    /// Lays prices over the built-in table. `region` is where the calls go, for the few prices that differ by region.
    #[must_use]
    pub fn new(overrides: Overrides, region: Option<String>) -> Self {
        Self { overrides, region }
    }

    /// Returns the price of a model's vectors, where one is known: as configured for this very id, or for the foundation model behind it; else that of
    /// the built-in table.
    #[must_use]
    pub fn of(&self, model: &ModelId) -> Option<Price> {
        let foundation_model = model.foundation_model();
        let configured = self.overrides.get(model).or_else(|| {
            let name = ModelId::try_from(foundation_model?.to_owned()).ok()?;
            self.overrides.get(&name)
        });
        match configured {
            // What goes in always costs something of its own, unless the call is paid as a whole.
            Some(Configured(Row { input: None, request: None, .. })) => None,
            Some(Configured(Row { input, cache_read, cache_write, cache_write_hour, output, request, flex, priority })) => {
                let token = |per_million: f64| Usd::new(per_million / 1e6);
                let input = token(input.unwrap_or_default());
                let built_in = super::price_table::find(model, self.region.as_deref());
                Some(Price {
                    input,
                    cache_read: cache_read.map_or(input, token),
                    cache_write: cache_write.map_or(input, token),
                    cache_write_hour: cache_write_hour.map(token),
                    output: output.map(token),
                    request: Usd::new(request.unwrap_or_default()),
                    flex: flex.map(Share::new).or(built_in.and_then(|price| price.flex)),
                    priority: priority.map(Share::new).or(built_in.and_then(|price| price.priority)),
                    long: None,
                    source: Source::Configured,
                })
            }
            None => super::price_table::find(model, self.region.as_deref()),
        }
    }

    /// Returns the price of a model's answers, where one is known: what comes out has a price too, or each call has.
    #[must_use]
    pub fn of_chat(&self, model: &ModelId) -> Option<Price> {
        self.of(model).filter(|price| price.output.is_some() || price.request != Usd::ZERO)
    }

    /// Returns what was billed for calls to a model, vectors or answers, and whether all of that is known. In a tier whose price is not
    /// known they count as much as in the standard one; without any price, nothing can be counted.
    #[must_use]
    pub fn bill(&self, model: &str, used: Used) -> (Usd, bool) {
        // Only chat models write.
        let of = if used.output.get() > 0 { Self::of_chat } else { Self::of };
        let price = ModelId::try_from(model.to_owned()).ok().and_then(|model| of(self, &model));
        price.map_or((Usd::ZERO, false), |price| (price.of(used), price.knows(used.rate.tier)))
    }
}

/// Returns the models of the built-in table, by their ids.
pub fn known_models() -> impl Iterator<Item = &'static str> {
    super::price_table::models()
}

/// Says what to write where no price is known.
#[must_use]
pub fn missing(model: &ModelId) -> String {
    format!("give it, in USD per million tokens: `[budget.prices.\"{model}\"]` with `input = …`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(model: &str) -> ModelId {
        model.to_owned().try_into().unwrap()
    }

    fn prices(toml: &str) -> Prices {
        Prices::new(toml::from_str(toml).unwrap(), None)
    }

    #[test]
    fn a_configured_price_overrides_the_built_in_one_and_that_of_the_very_id_over_that_of_the_model() {
        let prices = prices(
            "[\"cohere.embed-v4:0\"]\ninput = 0.5\n[\"eu.cohere.embed-v4:0\"]\ninput = 0.75\nrequest = 0.001\n\
             [\"arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc\"]\ninput = 0\n",
        );
        let cost = |model: &str| {
            let used = Used { calls: 10, input: TokenCount::new(2_000_000), ..Used::default() };
            prices.of(&id(model)).map(|price| (price.of(used).dollars(), price.source()))
        };
        assert_eq!(cost("us.cohere.embed-v4:0"), Some((1.0, Source::Configured)));
        assert_eq!(cost("eu.cohere.embed-v4:0"), Some((1.51, Source::Configured)));
        assert_eq!(cost("amazon.titan-embed-text-v2:0"), Some((0.04, Source::Table)));
        let provisioned = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc";
        assert_eq!(cost(provisioned), Some((0.0, Source::Configured)), "a price of nothing is a price");
        assert_eq!(cost("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/other"), None);
    }

    #[test]
    fn what_the_prompt_cache_reads_and_writes_has_prices_of_its_own_and_else_that_of_other_tokens() {
        let prices = prices("[a]\ninput = 1\noutput = 0\ncache-read = 0.1\ncache-write = 1.25\n[b]\ninput = 1\noutput = 0\n");
        let million = TokenCount::new(1_000_000);
        let read = Used { input: million + million, cache_read: million, ..Used::default() };
        let written = Used { input: million + million, cache_write: million, ..Used::default() };
        let cost = |model: &str, used| prices.of(&id(model)).unwrap().of(used).dollars();
        assert_eq!((cost("a", read), cost("a", written)), (1.1, 2.25));
        assert_eq!((cost("b", read), cost("b", written)), (2.0, 2.0));
        // As bedrock's own price list has it: Claude's writes cost a quarter more, and nobody's reads what other tokens cost.
        let (claude, nova) = ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "amazon.nova-micro-v1:0");
        assert_eq!((cost(claude, read), cost(claude, written)), (1.21, 2.475));
        assert_eq!((cost(nova, read), cost(nova, written)), (0.04375, 0.07));
    }

    #[test]
    fn what_is_kept_for_an_hour_costs_twice_as_much_as_other_tokens_of_claude() {
        let (plain, million) = (TokenCount::new(10), TokenCount::new(1_000_000));
        let used = Used { calls: 1, input: plain + million, cache_write: million, output: TokenCount::new(1), ..Used::default() };
        let hour = Used { cache_write_hour: million, ..used };
        let price = Prices::default().of_chat(&id("global.anthropic.claude-sonnet-4-6")).unwrap();
        assert_eq!((price.of(used).dollars(), price.of(hour).dollars()), (3.750_045, 6.000_045));
        // Where no other price is known it costs what other writes do; and a configured one applies.
        let own = prices("[a]\ninput = 1\noutput = 0\ncache-write = 2\n[b]\ninput = 1\noutput = 0\ncache-write-hour = 4\n");
        let cost = |model: &str| own.of(&id(model)).unwrap().of(Used { input: million, output: plain, ..hour }).dollars();
        assert_eq!((cost("a"), cost("b")), (2.0, 4.0));
    }

    #[test]
    fn a_tier_has_its_price_and_one_that_is_not_known_has_none() {
        let used = |tier: Tier| Used { calls: 1, input: TokenCount::new(1_000_000), rate: tier.into(), ..Used::default() };
        let gpt = Prices::default().of_chat(&id("openai.gpt-oss-120b-1:0")).unwrap();
        let cost = |tier| gpt.of(used(tier)).dollars();
        assert_eq!((cost(Tier::Flex), cost(Tier::Default), cost(Tier::Priority)), (0.075, 0.15, 0.2625));
        let claude = Prices::default().of_chat(&id("anthropic.claude-sonnet-4-6")).unwrap();
        assert!(
            claude.knows(Tier::Default) && !claude.knows(Tier::Flex) && !gpt.knows(Tier::Reserved) && !gpt.knows(Tier::Other)
        );
        let own = prices("[\"openai.gpt-oss-120b-1:0\"]\ninput = 1\noutput = 1\npriority = 2\n");
        let cost = |tier| own.of(&id("openai.gpt-oss-120b-1:0")).unwrap().of(used(tier)).dollars();
        assert_eq!((cost(Tier::Flex), cost(Tier::Priority)), (0.5, 2.0), "the table's share, and the configured one");
    }

    #[test]
    fn a_long_prompt_has_the_price_of_long_ones_alone_and_in_a_days_sum() {
        let price = Prices::default().of_chat(&id("global.openai.gpt-6-sol")).unwrap();
        let call = |input| {
            price.rated(Used { calls: 1, input: TokenCount::new(input), output: TokenCount::new(1000), ..Used::default() })
        };
        let (short, long) = (call(272_000), call(272_001));
        assert!(!short.rate.is_long && long.rate.is_long);
        assert_eq!((price.of(short).dollars(), price.of(long).dollars()), (0.554, 1.103_004));
        let day = Used { calls: 3, input: TokenCount::new(900_000), ..long };
        assert_eq!(Some(price.of(price.rated(day)).dollars()), Some(3.615));
        assert!(!price.rated(Used { rate: Rate::default(), ..day }).rate.is_long, "a sum of short ones is none");
    }

    #[test]
    fn what_is_no_price_is_refused_with_what_is_one() {
        let check = |row: &str, said: &str| {
            let error = toml::from_str::<Overrides>(&format!("[\"cohere.embed-v4:0\"]\n{row}")).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        };
        check("", "`request` (USD per call)");
        check("input = -1", "-1 is no price: give USD, from 0 to 100000");
        check("input = nan", "no price");
        check("input = 1\ncache-read = -1", "-1 is no price");
        check("tokens = 1", "unknown field `tokens`");
        let error = toml::from_str::<Overrides>("[\"cohere embed\"]\ninput = 1").unwrap_err().to_string();
        assert!(error.contains("is not a Bedrock model id"), "{error}");
    }

    #[test]
    fn a_price_reads_as_price_lists_have_it() {
        let check = |row: &str, shown: &str| {
            let price = prices(&format!("[m]\n{row}")).of(&id("m")).unwrap();
            assert_eq!(price.to_string(), shown);
        };
        check("input = 0.135", "$0.135 per million tokens");
        check("input = 3\noutput = 15", "$3 per million tokens in, $15 per million out");
        check("request = 0.00007", "$0.00007 per call");
        check("input = 0.1\nrequest = 0.01", "$0.1 per million tokens and $0.01 per call");
        check("input = 0", "$0 per call");
    }

    #[test]
    fn an_answer_has_no_price_while_what_comes_out_has_none() {
        let prices = prices("[a]\ninput = 1\n[b]\ninput = 1\noutput = 0\n[c]\nrequest = 1\n");
        let known = ["a", "b", "c", "amazon.nova-micro-v1:0", "x"].map(|model| prices.of_chat(&id(model)).is_some());
        assert_eq!(known, [false, true, true, true, false]);
    }

    #[test]
    fn what_was_written_is_not_billed_at_nothing_where_only_what_goes_in_has_a_price() {
        let prices = prices("[a]\ninput = 1\n[b]\ninput = 1\noutput = 4\n");
        let million = TokenCount::new(1_000_000);
        let read = Used { calls: 1, input: million, ..Used::default() };
        let written = Used { output: million, ..read };
        let bill = |model, used| {
            let (usd, is_known) = prices.bill(model, used);
            (usd.dollars(), is_known)
        };
        assert_eq!([bill("a", read), bill("b", read)], [(1.0, true); 2]);
        assert_eq!([bill("a", written), bill("b", written)], [(0.0, false), (5.0, true)]);
        assert_eq!([bill("x", read), bill("no model id", read)], [(0.0, false); 2]);
        let reserved = Used { rate: Tier::Reserved.into(), ..written };
        assert_eq!(bill("b", reserved), (5.0, false), "it counts as much as another, and it is said that this is a guess");
    }

    #[test]
    fn what_goes_in_has_no_price_where_only_what_comes_out_is_given_one() {
        let check = |row: &str, is_known| {
            let prices = prices(&format!("[\"amazon.nova-micro-v1:0\"]\n{row}"));
            let nova = id("amazon.nova-micro-v1:0");
            assert_eq!((prices.of(&nova).is_some(), prices.of_chat(&nova).is_some()), (is_known, is_known), "{row}");
        };
        check("output = 5", false);
        check("input = 0\noutput = 5", true);
        check("output = 5\nrequest = 0.01", true);
    }
}
