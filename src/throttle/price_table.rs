//! The built-in on-demand prices, from public price lists.

use super::price::{Long, Price, Share, Source};
use crate::bedrock::ModelId;
use crate::bedrock::model_id::is_version;
use crate::domain::Usd;

/// When the table was last compared with public price lists (litellm 1.109.1).
pub const AS_OF: &str = "2026-11";

/// USD for a million tokens that go in and for a million that come out, USD for a call, and what parts of that other kinds of tokens and
/// other tiers cost.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// A model's name without version, or `prefix.name` where a profile has prices of its own, or `region/name`.
    model: &'static str,
    input: f64,
    output: f64,
    request: f64,
    /// Tokens that are read from the prompt cache, that are written to it for five minutes, and for an hour.
    read: f64,
    write: f64,
    hour: Option<f64>,
    flex: Option<f64>,
    priority: Option<f64>,
    /// Profiles of one part of the world.
    geographic: f64,
    /// The government's regions, where their prices are listed.
    government: Option<f64>,
    /// Prompts of more tokens than that cost so many times as much in and out.
    long: Option<(u64, f64, f64)>,
}

/// No other price is listed than that of plain tokens.
const PLAIN: Row = Row {
    model: "",
    input: 0.0,
    output: 0.0,
    request: 0.0,
    read: 1.0,
    write: 1.0,
    hour: None,
    flex: None,
    priority: None,
    geographic: 1.0,
    government: None,
    long: None,
};

const fn vectors(model: &'static str, input: f64) -> Row {
    Row { model, input, ..PLAIN }
}

const fn per_call(model: &'static str, request: f64) -> Row {
    Row { model, request, ..PLAIN }
}

const fn chat(model: &'static str, input: f64, output: f64) -> Row {
    Row { model, input, output, ..PLAIN }
}

/// A model that is served in all tiers.
const fn tiered(model: &'static str, input: f64, output: f64) -> Row {
    Row { flex: Some(0.5), priority: Some(1.75), ..chat(model, input, output) }
}

/// One whose prices in the other tiers are rounded.
const fn in_tiers(flex: Option<f64>, priority: Option<f64>, row: Row) -> Row {
    Row { flex, priority, ..row }
}

/// Claude: a tenth to read from the prompt cache, five quarters to write to it.
const fn claude(model: &'static str, input: f64, output: f64) -> Row {
    Row { read: 0.1, write: 1.25, ..chat(model, input, output) }
}

/// Claude that keeps its cache for an hour at twice the price, and whose profiles of one part of the world cost a tenth more.
const fn newer(model: &'static str, input: f64, output: f64) -> Row {
    Row { hour: Some(2.0), geographic: 1.1, ..claude(model, input, output) }
}

/// One that the government's regions have, at a fifth more.
const fn government(row: Row) -> Row {
    Row { government: Some(1.2), ..row }
}

/// One whose prompt cache is cheaper to read.
const fn reads_at(read: f64, row: Row) -> Row {
    Row { read, ..row }
}

const fn long(from: u64, input: f64, output: f64, row: Row) -> Row {
    Row { long: Some((from, input, output)), ..row }
}

/// Nova: a quarter to read from the prompt cache; no other price is listed for writes, though the user guide has them dearer for some
/// models.
const fn nova(model: &'static str, input: f64, output: f64) -> Row {
    Row { read: 0.25, ..chat(model, input, output) }
}

/// GPT, which has a price of its own for prompts beyond 272,000 tokens.
const fn gpt(model: &'static str, input: f64, output: f64) -> Row {
    long(272_000, 2.0, 1.5, Row { read: 0.1, write: 1.25, geographic: 1.1, ..chat(model, input, output) })
}

const PRIORITY: Option<f64> = Some(1.75);

const ROWS: &[Row] = &[
    vectors("amazon.titan-embed-text-v1", 0.10),
    vectors("amazon.titan-embed-g1-text-02", 0.10),
    vectors("amazon.titan-embed-text-v2", 0.02),
    vectors("amazon.titan-embed-image-v1", 0.80),
    vectors("amazon.nova-2-multimodal-embeddings", 0.135),
    vectors("cohere.embed-english-v3", 0.10),
    vectors("cohere.embed-multilingual-v3", 0.10),
    vectors("cohere.embed-v4", 0.12),
    per_call("twelvelabs.marengo-embed-2-7", 0.000_07),
    per_call("twelvelabs.marengo-embed-3-0", 0.000_07),
    claude("anthropic.claude-3-opus", 15.0, 75.0),
    claude("anthropic.claude-3-5-haiku", 0.80, 4.0),
    claude("anthropic.claude-3-5-sonnet", 3.0, 15.0),
    claude("anthropic.claude-3-7-sonnet", 3.0, 15.0),
    long(200_000, 2.0, 1.5, claude("anthropic.claude-sonnet-4", 3.0, 15.0)),
    claude("anthropic.claude-opus-4", 15.0, 75.0),
    claude("anthropic.claude-opus-4-1", 15.0, 75.0),
    newer("anthropic.claude-haiku-4-5", 1.0, 5.0),
    government(long(100_000, 5.0, 5.0, newer("anthropic.claude-haiku-5-5", 0.10, 0.50))),
    government(long(200_000, 2.0, 1.5, newer("anthropic.claude-sonnet-4-5", 3.0, 15.0))),
    newer("anthropic.claude-sonnet-4-6", 3.0, 15.0),
    government(newer("anthropic.claude-sonnet-5", 2.0, 10.0)),
    government(reads_at(0.05, newer("anthropic.claude-sonnet-5-5", 2.0, 10.0))),
    newer("anthropic.claude-opus-4-5", 5.0, 25.0),
    newer("anthropic.claude-opus-4-6", 5.0, 25.0),
    newer("anthropic.claude-opus-4-7", 5.0, 25.0),
    government(newer("anthropic.claude-opus-4-8", 5.0, 25.0)),
    government(newer("anthropic.claude-opus-5", 5.0, 25.0)),
    government(reads_at(0.05, newer("anthropic.claude-opus-5-5", 4.0, 20.0))),
    newer("anthropic.claude-fable-5", 10.0, 50.0),
    government(reads_at(0.025, newer("anthropic.claude-fable-5-1", 10.0, 50.0))),
    Row { hour: Some(2.0), ..claude("us.anthropic.claude-mythos-5", 11.0, 55.0) },
    reads_at(0.025, newer("anthropic.claude-mythos-5-1", 10.0, 50.0)),
    nova("amazon.nova-micro", 0.035, 0.14),
    nova("apac.amazon.nova-micro", 0.037, 0.148),
    nova("eu.amazon.nova-micro", 0.046, 0.184),
    nova("amazon.nova-lite", 0.06, 0.24),
    nova("apac.amazon.nova-lite", 0.063, 0.252),
    nova("eu.amazon.nova-lite", 0.078, 0.312),
    in_tiers(Some(0.5), PRIORITY, nova("amazon.nova-pro", 0.80, 3.20)),
    in_tiers(Some(0.5), None, nova("apac.amazon.nova-pro", 0.84, 3.36)),
    nova("eu.amazon.nova-pro", 1.05, 4.20),
    in_tiers(None, PRIORITY, nova("amazon.nova-premier", 2.50, 12.50)),
    Row { geographic: 1.1, ..in_tiers(None, PRIORITY, nova("amazon.nova-2-lite", 0.30, 2.50)) },
    nova("apac.amazon.nova-2-lite", 0.396, 3.311),
    nova("jp.amazon.nova-2-lite", 0.396, 3.311),
    nova("eu.amazon.nova-2-lite", 0.429, 3.597),
    Row { geographic: 1.1, ..in_tiers(None, PRIORITY, nova("amazon.nova-2-pro", 1.25, 10.0)) },
    chat("amazon.titan-text-lite", 0.15, 0.20),
    chat("amazon.titan-text-express", 0.20, 0.60),
    chat("amazon.titan-text-premier", 0.50, 1.50),
    chat("ai21.jamba-instruct", 0.50, 0.70),
    chat("ai21.jamba-1-5-mini", 0.20, 0.40),
    chat("ai21.jamba-1-5-large", 2.0, 8.0),
    chat("meta.llama3-8b-instruct", 0.30, 0.60),
    chat("meta.llama3-70b-instruct", 2.65, 3.50),
    chat("meta.llama3-1-8b-instruct", 0.22, 0.22),
    chat("meta.llama3-1-70b-instruct", 0.72, 0.72),
    chat("meta.llama3-1-405b-instruct", 2.40, 2.40),
    chat("meta.llama3-2-1b-instruct", 0.10, 0.10),
    chat("eu.meta.llama3-2-1b-instruct", 0.13, 0.13),
    chat("meta.llama3-2-3b-instruct", 0.15, 0.15),
    chat("eu.meta.llama3-2-3b-instruct", 0.19, 0.19),
    chat("meta.llama3-2-11b-instruct", 0.16, 0.16),
    chat("meta.llama3-2-90b-instruct", 0.72, 0.72),
    chat("meta.llama3-3-70b-instruct", 0.72, 0.72),
    chat("meta.llama4-scout-17b-instruct", 0.17, 0.66),
    chat("meta.llama4-maverick-17b-instruct", 0.24, 0.97),
    chat("mistral.mistral-7b-instruct", 0.15, 0.20),
    chat("mistral.mixtral-8x7b-instruct", 0.45, 0.70),
    chat("mistral.mistral-small-2402", 1.0, 3.0),
    chat("mistral.mistral-large-2402", 4.0, 12.0),
    chat("mistral.mistral-large-2407", 2.0, 6.0),
    chat("mistral.pixtral-large-2502", 2.0, 6.0),
    in_tiers(Some(0.5), Some(1.76), chat("mistral.mistral-large-3-675b-instruct", 0.50, 1.50)),
    in_tiers(Some(0.5), Some(1.7), chat("mistral.ministral-3-3b-instruct", 0.10, 0.10)),
    in_tiers(Some(0.4667), Some(1.7333), chat("mistral.ministral-3-8b-instruct", 0.15, 0.15)),
    tiered("mistral.ministral-3-14b-instruct", 0.20, 0.20),
    in_tiers(Some(0.5), Some(1.76), chat("mistral.magistral-small-2509", 0.50, 1.50)),
    tiered("mistral.devstral-2-123b", 0.40, 2.0),
    tiered("mistral.voxtral-mini-3b-2507", 0.04, 0.04),
    in_tiers(Some(0.5), Some(1.7), chat("mistral.voxtral-small-24b-2507", 0.10, 0.30)),
    government(tiered("openai.gpt-oss-20b", 0.07, 0.30)),
    government(tiered("openai.gpt-oss-120b", 0.15, 0.60)),
    in_tiers(Some(0.4286), Some(1.7143), chat("openai.gpt-oss-safeguard-20b", 0.07, 0.20)),
    in_tiers(Some(0.4667), Some(1.7333), chat("openai.gpt-oss-safeguard-120b", 0.15, 0.60)),
    gpt("openai.gpt-5.4", 2.50, 15.0),
    gpt("openai.gpt-5.5", 5.0, 30.0),
    gpt("openai.gpt-5.6-luna", 0.20, 1.20),
    gpt("openai.gpt-5.6-sol", 4.0, 20.0),
    gpt("openai.gpt-5.6-terra", 2.0, 12.0),
    gpt("openai.gpt-6-luna", 0.10, 0.50),
    gpt("openai.gpt-6-sol", 2.0, 10.0),
    gpt("openai.gpt-6-astra", 10.0, 50.0),
    reads_at(0.05, gpt("openai.gpt-6.1-sol", 2.0, 10.0)),
    reads_at(0.05, gpt("openai.gpt-6.1-terra", 1.0, 5.0)),
    Row { read: 0.25, geographic: 1.1, government: Some(1.32), ..tiered("xai.grok-4.6", 2.0, 6.0) },
    Row { read: 0.25, geographic: 1.1, ..tiered("xai.grok-4.7", 2.0, 6.0) },
    chat("deepseek.r1", 1.35, 5.40),
    chat("deepseek.v3", 0.58, 1.68),
    tiered("deepseek.v3.2", 0.62, 1.85),
    tiered("eu.deepseek.v3.2", 0.74, 2.22),
    tiered("qwen.qwen3-32b", 0.15, 0.60),
    in_tiers(Some(0.5), None, chat("qwen.qwen3-235b-a22b-2507", 0.22, 0.88)),
    in_tiers(None, PRIORITY, chat("qwen.qwen3-coder-30b-a3b", 0.15, 0.60)),
    chat("qwen.qwen3-coder-480b-a35b", 0.45, 1.80),
    tiered("qwen.qwen3-coder-next", 0.50, 1.20),
    in_tiers(Some(0.4667), Some(1.7333), chat("qwen.qwen3-next-80b-a3b", 0.15, 1.20)),
    in_tiers(None, Some(1.7547), chat("qwen.qwen3-vl-235b-a22b", 0.53, 2.66)),
    tiered("google.gemma-3-4b-it", 0.04, 0.08),
    in_tiers(Some(0.5556), Some(1.7778), chat("google.gemma-3-12b-it", 0.09, 0.29)),
    in_tiers(Some(0.5217), Some(1.7391), chat("google.gemma-3-27b-it", 0.23, 0.38)),
    in_tiers(None, PRIORITY, chat("moonshot.kimi-k2-thinking", 0.60, 2.50)),
    in_tiers(Some(0.5), None, chat("moonshotai.kimi-k2-thinking", 0.60, 2.50)),
    tiered("moonshotai.kimi-k2.5", 0.60, 3.0),
    // Without a profile it costs what the geographic ones do.
    Row { read: 0.1, write: 1.25, ..tiered("moonshotai.kimi-k3", 3.30, 16.50) },
    Row { read: 0.1, write: 1.25, ..tiered("global.moonshotai.kimi-k3", 3.0, 15.0) },
    in_tiers(Some(0.5), Some(1.7333), chat("minimax.minimax-m2", 0.30, 1.20)),
    tiered("minimax.minimax-m2.1", 0.30, 1.20),
    tiered("minimax.minimax-m2.5", 0.30, 1.20),
    tiered("zai.glm-4.7", 0.60, 2.20),
    tiered("zai.glm-4.7-flash", 0.07, 0.40),
    tiered("zai.glm-5", 1.0, 3.20),
    Row { read: 0.1857, write: 1.25, geographic: 1.1, ..tiered("zai.glm-5.3", 1.68, 5.28) },
    government(in_tiers(Some(0.5), Some(1.8333), chat("nvidia.nemotron-nano-9b-v2", 0.06, 0.23))),
    government(tiered("nvidia.nemotron-nano-12b-v2", 0.20, 0.60)),
    government(in_tiers(Some(0.5), Some(1.8333), chat("nvidia.nemotron-nano-3-30b", 0.06, 0.24))),
    government(tiered("nvidia.nemotron-super-3-120b", 0.15, 0.65)),
    chat("writer.palmyra-x4", 2.50, 10.0),
    chat("writer.palmyra-x5", 0.60, 6.0),
    tiered("writer.palmyra-vision-7b", 0.15, 0.60),
    chat("cohere.command-light-text", 0.30, 0.60),
    chat("cohere.command-text", 1.0, 2.0),
    // Where calls of the government's regions cost something else; of models without a row or a share their prices are not known.
    vectors("us-gov-west-1/amazon.titan-embed-text-v2", 0.11),
    vectors("us-gov-east-1/amazon.titan-embed-text-v2", 0.20),
    vectors("us-gov-west-1/amazon.nova-2-multimodal-embeddings", 0.162),
];

/// Returns the names of its models, those of profiles and regions left out.
pub(super) fn models() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.model).filter(|model| !model.contains('/'))
}

/// Returns the price that the table has for a model, if it has one.
pub(super) fn find(model: &ModelId, region: Option<&str>) -> Option<Price> {
    let foundation_model = model.foundation_model()?;
    // An ARN names its region itself: `arn:aws:bedrock:us-gov-west-1:…`.
    let named = model.as_str().strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)).filter(|region| !region.is_empty());
    let region = named.or(region);
    let prefix = model.region_prefix();
    let is_government = region.is_some_and(|region| region.starts_with("us-gov-")) || prefix == Some("us-gov");
    let of = |place: &str, separator: char| {
        let is_row = |row: &&Row| {
            let rest = row.model.strip_prefix(place).and_then(|rest| rest.strip_prefix(separator));
            rest.is_some_and(|name| is_version(name, foundation_model))
        };
        ROWS.iter().find(is_row)
    };
    let plain = || ROWS.iter().find(|row| is_version(row.model, foundation_model));
    let (row, factor) = if is_government {
        match region.and_then(|region| of(region, '/')) {
            Some(row) => (row, 1.0),
            None => plain().and_then(|row| Some((row, row.government?)))?,
        }
    } else if let Some(row) = prefix.and_then(|prefix| of(prefix, '.')) {
        (row, 1.0)
    } else {
        let row = plain()?;
        (row, if prefix.is_some_and(|prefix| prefix != "global") { row.geographic } else { 1.0 })
    };
    let token = |per_million: f64| Usd::new(per_million * factor / 1e6);
    Some(Price {
        input: token(row.input),
        cache_read: token(row.input * row.read),
        cache_write: token(row.input * row.write),
        cache_write_hour: row.hour.map(|hour| token(row.input * hour)),
        output: (row.output > 0.0).then(|| token(row.output)),
        request: Usd::new(row.request),
        flex: row.flex.map(Share::new),
        priority: row.priority.map(Share::new),
        long: row.long.map(|(from, input, output)| Long { from, input: Share::new(input), output: Share::new(output) }),
        source: Source::Table,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TokenCount;
    use crate::throttle::price::Used;

    /// Returns what ten million tokens in and one million out cost, in ten calls.
    fn usd_in(region: Option<&str>, model: &str) -> Option<f64> {
        let used = Used { calls: 10, input: TokenCount::new(10_000_000), output: TokenCount::new(1_000_000), ..Used::default() };
        Some(find(&model.to_owned().try_into().unwrap(), region)?.of(used).dollars())
    }

    fn usd(model: &str) -> Option<f64> {
        usd_in(None, model)
    }

    #[test]
    fn a_model_has_its_price_under_every_name_that_names_it() {
        assert_eq!(usd("amazon.titan-embed-text-v2:0"), Some(0.2));
        assert_eq!(usd("amazon.titan-embed-text-v2:0:8k"), Some(0.2));
        assert_eq!(usd("amazon.titan-embed-image-v1:0"), Some(8.0));
        assert_eq!(usd("us.cohere.embed-v4:0"), Some(1.2));
        assert_eq!(usd("arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-english-v3"), Some(1.0));
        assert_eq!(usd("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"), None);
        assert_eq!(usd("amazon.titan-embed-text-v9:0"), None);
    }

    #[test]
    fn models_without_tokens_cost_by_the_call() {
        assert_eq!(usd("us.twelvelabs.marengo-embed-3-0-v1:0"), Some(0.0007));
    }

    #[test]
    fn input_and_output_have_their_own_prices() {
        assert_eq!(usd("anthropic.claude-haiku-4-5-20251001-v1:0"), Some(15.0));
        assert_eq!(usd("amazon.nova-micro-v1:0"), Some(0.49));
        assert_eq!(usd("mistral.mixtral-8x7b-instruct-v0:1"), Some(5.2));
        assert_eq!(usd("openai.gpt-oss-120b-1:0"), Some(2.1));
        assert_eq!(usd("openai.gpt-oss-120b"), Some(2.1));
        assert_eq!(usd("amazon.nova-lite-v1:0:300k"), Some(0.84));
    }

    #[test]
    fn a_version_is_not_taken_for_another_that_begins_like_it() {
        assert_eq!((usd("anthropic.claude-opus-5"), usd("anthropic.claude-opus-5-5")), (Some(75.0), Some(60.0)));
        assert_eq!(usd("anthropic.claude-opus-5-7"), None);
        assert_eq!((usd("anthropic.claude-sonnet-4-20250514-v1:0"), usd("anthropic.claude-sonnet-4-7")), (Some(45.0), None));
        assert_eq!(usd("cohere.embed-v40:0"), None);
        assert_eq!(usd("cohere.command-r-plus-v1:0"), None, "no price of it is listed");
    }

    #[test]
    fn a_profile_of_one_part_of_the_world_costs_a_tenth_more_for_newer_models_and_the_global_one_does_not() {
        assert_eq!(usd("global.anthropic.claude-sonnet-4-6"), Some(45.0));
        assert_eq!(usd("eu.anthropic.claude-sonnet-4-6"), Some(49.5));
        let profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6";
        assert_eq!(usd(profile), Some(49.5));
        assert_eq!(usd("us.amazon.nova-lite-v1:0"), usd("amazon.nova-lite-v1:0"));
        assert_eq!(usd("us.anthropic.claude-sonnet-4-20250514-v1:0"), usd("anthropic.claude-sonnet-4-20250514-v1:0"));
    }

    #[test]
    fn a_profile_that_has_prices_of_its_own_has_those() {
        assert_eq!((usd("eu.amazon.nova-lite-v1:0"), usd("apac.amazon.nova-pro-v1:0")), (Some(1.092), Some(11.76)));
        assert_eq!((usd("us.moonshotai.kimi-k3"), usd("global.moonshotai.kimi-k3")), (Some(49.5), Some(45.0)));
        assert_eq!((usd("us.anthropic.claude-mythos-5"), usd("anthropic.claude-mythos-5")), (Some(165.0), None));
    }

    #[test]
    fn the_newest_models_are_known_with_their_own_shares_for_the_prompt_cache() {
        assert_eq!((usd("global.xai.grok-4.6"), usd("us.xai.grok-4.7")), (Some(26.0), Some(28.6)));
        assert_eq!((usd("global.openai.gpt-5.6-sol"), usd("global.openai.gpt-6-astra")), (Some(60.0), Some(150.0)));
        assert_eq!((usd("global.zai.glm-5.3"), usd("zai.glm-5")), (Some(22.08), Some(13.2)));
        let read = |model: &str| {
            let price = find(&model.to_owned().try_into().unwrap(), None).unwrap();
            let million = TokenCount::new(1_000_000);
            price.of(Used { calls: 2, input: million, cache_read: million, ..Used::default() }).dollars()
        };
        assert_eq!((read("anthropic.claude-fable-5"), read("anthropic.claude-fable-5-1")), (1.0, 0.25));
        assert_eq!((read("anthropic.claude-opus-5"), read("anthropic.claude-opus-5-5")), (0.5, 0.2));
        assert_eq!((read("anthropic.claude-sonnet-5"), read("anthropic.claude-sonnet-5-5")), (0.2, 0.1));
        assert_eq!(Some(read("anthropic.claude-haiku-5-5")), Some(0.01));
    }

    #[test]
    fn the_governments_regions_have_prices_of_their_own_or_none_that_is_known() {
        let titan = "amazon.titan-embed-text-v2:0";
        assert_eq!(usd_in(Some("us-gov-west-1"), titan), Some(1.1));
        assert_eq!(usd_in(Some("us-gov-east-1"), titan), Some(2.0));
        assert_eq!(usd_in(Some("eu-west-1"), titan), Some(0.2));
        let arn = "arn:aws-us-gov:bedrock:us-gov-east-1::foundation-model/amazon.titan-embed-text-v2:0";
        assert_eq!(usd_in(Some("us-east-1"), arn), Some(2.0), "the ARN's own region counts");
        assert_eq!(usd_in(Some("us-gov-west-1"), "amazon.nova-2-multimodal-embeddings-v1:0"), Some(1.62));
        assert_eq!(usd_in(Some("us-gov-east-1"), "amazon.nova-2-multimodal-embeddings-v1:0"), None);
        assert_eq!(usd_in(Some("us-gov-west-1"), "us-gov.anthropic.claude-sonnet-4-6"), None);
        assert_eq!(usd_in(Some("us-gov-west-1"), "us-gov.anthropic.claude-sonnet-5"), Some(36.0));
    }

    #[test]
    fn every_row_can_be_found_and_no_model_is_there_twice() {
        for row in ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.model == row.model).count(), 1, "{}", row.model);
            assert!(row.input + row.output + row.request > 0.0);
        }
        for name in ROWS.iter().map(|row| row.model).filter(|name| !name.contains('/')) {
            let model = ModelId::try_from(name.to_owned()).unwrap();
            assert!(find(&model, None).is_some(), "{name}");
            let name = model.foundation_model().unwrap();
            assert!(ROWS.iter().filter(|other| is_version(other.model, name)).count() <= 1, "{name}");
        }
    }
}
