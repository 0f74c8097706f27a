//! What calls cost: a built-in table with its date, and what the configuration says over it.

mod table;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelId;
use crate::model::{TokenCount, Usd};
pub use table::AS_OF;

/// What one model's calls cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    input: Usd,
    cache_read: Usd,
    cache_write: Usd,
    /// `None` where no price is known for it, which is not a price of nothing.
    output: Option<Usd>,
    request: Usd,
    source: Source,
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
    /// Tokens that came out; none where vectors do.
    pub output: TokenCount,
}

impl Price {
    /// Returns what this costs.
    #[must_use]
    pub fn of(&self, used: Used) -> Usd {
        let Used { calls, input, cache_read, cache_write, output } = used;
        let output = self.output.map(|price| price.times(output.get())).unwrap_or_default();
        let plain = input.get().saturating_sub(cache_read.get()).saturating_sub(cache_write.get());
        let cached = self.cache_read.times(cache_read.get()) + self.cache_write.times(cache_write.get());
        self.request.times(calls) + self.input.times(plain) + cached + output
    }

    /// Returns the price of one token that goes in.
    #[must_use]
    pub fn input(&self) -> Usd {
        self.input
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
/// others), for a million that come out, and for a call.
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
    output: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<f64>,
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
        match given.chain(row.cache_read).chain(row.cache_write).find(|usd| !(0.0..=DEAREST).contains(usd)) {
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
            Some(Configured(Row { input, cache_read, cache_write, output, request })) => {
                let token = |per_million: f64| Usd::new(per_million / 1e6);
                let input = token(input.unwrap_or_default());
                Some(Price {
                    input,
                    cache_read: cache_read.map_or(input, token),
                    cache_write: cache_write.map_or(input, token),
                    output: output.map(token),
                    request: Usd::new(request.unwrap_or_default()),
                    source: Source::Configured,
                })
            }
            None => table::find(model, self.region.as_deref()),
        }
    }

    /// Returns the price of a model's answers, where one is known: what comes out has a price too, or each call has.
    #[must_use]
    pub fn of_chat(&self, model: &ModelId) -> Option<Price> {
        self.of(model).filter(|price| price.output.is_some() || price.request != Usd::ZERO)
    }
}

/// Returns the models of the built-in table, by their ids.
pub fn known_models() -> impl Iterator<Item = &'static str> {
    table::models()
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
    fn a_configured_price_stands_over_the_built_in_one_and_that_of_the_very_id_over_that_of_the_model() {
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
}
