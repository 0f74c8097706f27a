//! `riverbed models`: the built-in tables of Bedrock's models, with their dates.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{Failure, print};
use crate::bedrock::ModelId;
use crate::chat::openai;
use crate::domain::{Tier, Usd};
use crate::embed;
use crate::report::Exit;
use crate::throttle::price::{self, Price, Prices};

#[derive(Debug, Args)]
pub(super) struct ModelsArguments {
    /// Lists only models whose id or family contains this word
    word: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// What is known.
#[derive(Serialize)]
struct Known {
    /// When the table of models and that of prices were last compared with their sources: year and month.
    models_as_of: &'static str,
    prices_as_of: &'static str,
    models: Vec<ModelRow>,
}

#[derive(Serialize)]
struct ModelRow {
    id: &'static str,
    family: &'static str,
    /// `embed` or `chat`.
    kind: &'static str,
    /// Sizes of vector, the default first; none of chat models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dimensions: Vec<u32>,
    /// Tokens of a text that is embedded, or of a question with its answer.
    context_tokens: u64,
    /// Texts in one call, of embedding models.
    #[serde(skip_serializing_if = "Option::is_none")]
    texts_per_call: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    /// Words for effort that the model takes.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    efforts: &'static [&'static str],
    /// Null where none is known.
    price: Option<PriceOf>,
}

/// USD for a million tokens, and for a call; `flex`, `priority` and `long_prompts` are times as much. Null where it is not known.
#[derive(Serialize)]
struct PriceOf {
    input: f64,
    output: Option<f64>,
    cache_read: f64,
    cache_write: f64,
    cache_write_hour: Option<f64>,
    request: f64,
    flex: Option<f64>,
    priority: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    long_prompts: Option<Long>,
    #[serde(skip)]
    said: String,
}

#[derive(Serialize)]
struct Long {
    more_than_tokens: u64,
    input: f64,
    output: f64,
}

pub(super) fn run(arguments: &ModelsArguments) -> Result<Exit, Failure> {
    let word = arguments.word.as_deref().unwrap_or_default().to_lowercase();
    let mut models = known();
    models.retain(|model| model.id.contains(&word) || model.family.contains(&word));
    let known = Known { models_as_of: openai::AS_OF, prices_as_of: price::AS_OF, models };
    if arguments.json {
        let json = serde_json::to_string_pretty(&known).expect("what is known is JSON");
        return print(&(json + "\n"));
    }
    print(&said(&known))
}

fn known() -> Vec<ModelRow> {
    let prices = Prices::default();
    let price_of = |id: &str| prices.of(&ModelId::try_from(id.to_owned()).ok()?).map(price);
    let embed = embed::known().map(|(id, family, dimensions, limits)| ModelRow {
        id,
        family,
        kind: "embed",
        dimensions: dimensions.to_vec(),
        context_tokens: limits.tokens_per_text.get(),
        texts_per_call: Some(limits.texts_per_call.get()),
        max_output_tokens: None,
        efforts: &[],
        price: price_of(id),
    });
    let chat = crate::chat::capabilities::known().map(|(id, traits)| ModelRow {
        id,
        family: traits.name,
        kind: "chat",
        dimensions: Vec::new(),
        context_tokens: traits.context.get(),
        texts_per_call: None,
        max_output_tokens: Some(traits.max_output),
        efforts: traits.efforts,
        price: price_of(id),
    });
    embed.chain(chat).collect()
}

fn price(price: Price) -> PriceOf {
    let million = |token: Usd| token.times(1_000_000).dollars();
    let (cache_read, cache_write, hour) = price.cache();
    PriceOf {
        input: million(price.input()),
        output: price.output().map(million),
        cache_read: million(cache_read),
        cache_write: million(cache_write),
        cache_write_hour: hour.map(million),
        request: price.request().dollars(),
        flex: price.tier(Tier::Flex),
        priority: price.tier(Tier::Priority),
        long_prompts: price.long().map(|(more_than_tokens, input, output)| Long { more_than_tokens, input, output }),
        said: price.to_string(),
    }
}

fn said(known: &Known) -> String {
    let mut text = format!(
        "models as of {}, on-demand prices as of {}; both are built in, and neither bounds what may be asked\n\n",
        known.models_as_of, known.prices_as_of
    );
    let width = |of: fn(&ModelRow) -> usize| known.models.iter().map(of).max().unwrap_or(0);
    let (ids, families) = (width(|model| model.id.len()), width(|model| model.family.len()));
    for model in &known.models {
        let ModelRow { id, family, kind, dimensions, context_tokens, .. } = model;
        let size = match kind {
            &"embed" => {
                let sizes: Vec<_> = dimensions.iter().map(ToString::to_string).collect();
                format!("{context_tokens} tokens, {} dimensions", sizes.join("|"))
            }
            _ => format!("{context_tokens} tokens, {} out", model.max_output_tokens.unwrap_or_default()),
        };
        let price = model.price.as_ref().map_or("price not known", |price| price.said.as_str());
        let _infallible = writeln!(text, "{id:ids$}  {family:families$}  {kind:5}  {size}; {price}");
    }
    text.push_str(
        "\nIds also work with a region prefix (`us.`, `eu.`, `global.` …), a version behind them, and in ARNs. A chat model that is not\n\
         listed is asked all the same: the service says what it takes. `[budget.prices]` says what one costs, `family` whose rules it follows.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_either_kind_is_listed_with_its_date() {
        let models = known();
        for family in embed::family_names().into_iter().chain(openai::family_names()).filter(|name| *name != "any") {
            assert!(models.iter().any(|model| model.family == family), "{family}");
        }
        let known = Known { models_as_of: openai::AS_OF, prices_as_of: price::AS_OF, models };
        let said = said(&known);
        assert!(said.starts_with("models as of 2026-") && said.contains("prices as of 2026-"), "{said}");
        let line =
            |id: &str| said.lines().find(|line| line.starts_with(id)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            line("amazon.titan-embed-text-v2:0"),
            "amazon.titan-embed-text-v2:0 titan-text-v2 embed 8192 tokens, 1024|512|256 dimensions; $0.02 per million tokens"
        );
        assert_eq!(
            line("xai.grok-4.7"),
            "xai.grok-4.7 grok-4 chat 500000 tokens, 500000 out; $2 per million tokens in, $6 per million out"
        );
        assert!(line("cohere.command-r-plus").ends_with("price not known"));
    }

    #[test]
    fn programs_get_the_prices_number_by_number() {
        let models = known();
        let fable = models.iter().find(|model| model.id == "anthropic.claude-fable-5-1").unwrap();
        let json = serde_json::to_value(fable).unwrap();
        assert_eq!(
            json["price"],
            serde_json::json!({"input": 10.0, "output": 50.0, "cache_read": 0.25, "cache_write": 12.5, "cache_write_hour": 20.0,
                               "request": 0.0, "flex": null, "priority": null})
        );
        assert_eq!(json["efforts"], serde_json::json!(["low", "medium", "high", "xhigh"]));
    }
}
