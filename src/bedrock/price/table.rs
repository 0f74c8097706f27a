//! The built-in prices: on demand, standard tier, as public price lists had them.

use super::{Price, Source};
use crate::bedrock::ModelId;
use crate::model::Usd;

/// When the table was last held against public price lists (litellm 1.109.1).
pub const AS_OF: &str = "2026-11";

/// USD for a million tokens that go in, for a million that come out, and for a call.
#[derive(Debug, Clone, Copy)]
struct Row {
    model: &'static str,
    input: f64,
    output: f64,
    request: f64,
    /// Whether a profile of one part of the world costs a tenth more.
    is_dearer_by_profile: bool,
}

const fn vectors(model: &'static str, input: f64) -> Row {
    Row { model, input, output: 0.0, request: 0.0, is_dearer_by_profile: false }
}

const fn per_call(model: &'static str, request: f64) -> Row {
    Row { model, input: 0.0, output: 0.0, request, is_dearer_by_profile: false }
}

const fn chat(model: &'static str, input: f64, output: f64) -> Row {
    Row { model, input, output, request: 0.0, is_dearer_by_profile: false }
}

/// A chat model since the time when profiles of one part of the world began to cost more than the global ones.
const fn newer(model: &'static str, input: f64, output: f64) -> Row {
    Row { is_dearer_by_profile: true, ..chat(model, input, output) }
}

const ROWS: [Row; 44] = [
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
    newer("anthropic.claude-haiku-4-5", 1.0, 5.0),
    newer("anthropic.claude-haiku-5-5", 0.10, 0.50),
    newer("anthropic.claude-sonnet-4-5", 3.0, 15.0),
    newer("anthropic.claude-sonnet-4-6", 3.0, 15.0),
    newer("anthropic.claude-sonnet-5", 2.0, 10.0),
    newer("anthropic.claude-sonnet-5-5", 2.0, 10.0),
    newer("anthropic.claude-opus-4-5", 5.0, 25.0),
    newer("anthropic.claude-opus-4-6", 5.0, 25.0),
    newer("anthropic.claude-opus-4-7", 5.0, 25.0),
    newer("anthropic.claude-opus-4-8", 5.0, 25.0),
    newer("anthropic.claude-opus-5", 5.0, 25.0),
    newer("anthropic.claude-opus-5-5", 4.0, 20.0),
    newer("anthropic.claude-fable-5", 10.0, 50.0),
    newer("anthropic.claude-fable-5-1", 10.0, 50.0),
    chat("amazon.nova-micro", 0.035, 0.14),
    chat("amazon.nova-lite", 0.06, 0.24),
    chat("amazon.nova-pro", 0.80, 3.20),
    chat("amazon.nova-premier", 2.50, 12.50),
    newer("amazon.nova-2-lite", 0.30, 2.50),
    chat("meta.llama3-1-8b-instruct", 0.22, 0.22),
    chat("meta.llama3-3-70b-instruct", 0.72, 0.72),
    chat("meta.llama4-scout-17b-instruct", 0.17, 0.66),
    chat("meta.llama4-maverick-17b-instruct", 0.24, 0.97),
    chat("mistral.mistral-large-3-675b-instruct", 0.50, 1.50),
    chat("mistral.ministral-3-8b-instruct", 0.15, 0.15),
    chat("mistral.mixtral-8x7b-instruct", 0.45, 0.70),
    chat("mistral.mistral-7b-instruct", 0.15, 0.20),
    chat("openai.gpt-oss-120b", 0.15, 0.60),
    chat("openai.gpt-oss-20b", 0.07, 0.30),
    chat("deepseek.v3.2", 0.62, 1.85),
    chat("qwen.qwen3-32b", 0.15, 0.60),
    // Where calls of the government's regions cost something else; of the other models their prices are not known.
    vectors("us-gov-west-1/amazon.titan-embed-text-v2", 0.11),
    vectors("us-gov-east-1/amazon.titan-embed-text-v2", 0.20),
    vectors("us-gov-west-1/amazon.nova-2-multimodal-embeddings", 0.162),
];

/// What tokens of the prompt cache cost in parts of what others do: those that are read from it, and those that are written to it for
/// five minutes. Claude's are a tenth and five quarters, Nova's a quarter and, since no other price is listed for them, the whole (the
/// same lists; the user guide's page on prompt caching says that writes are dearer for some models only). No other model here has one.
fn cache(model: &str) -> (f64, f64) {
    match () {
        () if model.starts_with("anthropic.") => (0.1, 1.25),
        () if model.starts_with("amazon.nova") => (0.25, 1.0),
        () => (1.0, 1.0),
    }
}

/// Prefixes of profiles that keep to one part of the world. `global.` costs what the model costs.
const GEOGRAPHIC: [&str; 8] = ["us.", "eu.", "apac.", "jp.", "au.", "in.", "ca.", "us-gov."];

/// Returns the ids of its models.
pub(super) fn models() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.model)
}

/// Returns the price that the table has for a model, if it has one.
pub(super) fn find(model: &ModelId, region: Option<&str>) -> Option<Price> {
    let foundation_model = model.foundation_model()?;
    // An ARN names its region itself: `arn:aws:bedrock:us-gov-west-1:…`.
    let named = model.as_str().strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)).filter(|region| !region.is_empty());
    let region = named.or(region);
    let id = model.as_str().rsplit('/').next().unwrap_or_default();
    let is_government = region.is_some_and(|region| region.starts_with("us-gov-")) || id.starts_with("us-gov.");
    let is_row = |row: &&Row| match (row.model.split_once('/'), is_government) {
        (Some((row_region, name)), true) => Some(row_region) == region && names(name, foundation_model),
        (None, false) => names(row.model, foundation_model),
        _ => false,
    };
    let row = ROWS.iter().find(is_row)?;
    let is_geographic = GEOGRAPHIC.iter().any(|prefix| id.starts_with(prefix));
    let factor = if row.is_dearer_by_profile && is_geographic { 1.1 } else { 1.0 };
    let token = |per_million: f64| Usd::new(per_million * factor / 1e6);
    let (read, write) = cache(row.model);
    Some(Price {
        input: token(row.input),
        cache_read: token(row.input * read),
        cache_write: token(row.input * write),
        output: (row.output > 0.0).then(|| token(row.output)),
        request: Usd::new(row.request),
        source: Source::Table,
    })
}

/// Returns whether an id is that of a model: its name, and behind it nothing but date, version and context size, as in
/// `anthropic.claude-haiku-4-5-20251001-v1:0`. So `claude-opus-5` is not taken for `claude-opus-5-5`.
fn names(name: &str, id: &str) -> bool {
    let Some(rest) = id.strip_prefix(name) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, _context) = rest.split_once(':').map_or((rest, None), |(rest, context)| (rest, Some(context)));
    let is_last = |part: &str| digits(part.strip_prefix('v').unwrap_or_default());
    let mut parts = rest.split('-');
    parts.next() == Some("")
        && parts.all(|part| is_last(part) || (part.len() == 8 && digits(part)) || (part == "1" && id.starts_with("openai.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::price::Used;
    use crate::model::TokenCount;

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
        assert_eq!(usd("amazon.nova-lite-v1:0:300k"), Some(0.84));
    }

    #[test]
    fn a_version_is_not_taken_for_another_that_begins_like_it() {
        assert_eq!((usd("anthropic.claude-opus-5"), usd("anthropic.claude-opus-5-5")), (Some(75.0), Some(60.0)));
        assert_eq!(usd("anthropic.claude-opus-5-7"), None);
        assert_eq!(usd("anthropic.claude-sonnet-4-20250514-v1:0"), None);
        assert_eq!(usd("cohere.embed-v40:0"), None);
    }

    #[test]
    fn a_profile_of_one_part_of_the_world_costs_a_tenth_more_for_newer_models_and_the_global_one_does_not() {
        assert_eq!(usd("global.anthropic.claude-sonnet-4-6"), Some(45.0));
        assert_eq!(usd("eu.anthropic.claude-sonnet-4-6"), Some(49.5));
        let profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6";
        assert_eq!(usd(profile), Some(49.5));
        assert_eq!(usd("us.amazon.nova-lite-v1:0"), usd("amazon.nova-lite-v1:0"));
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
    }

    #[test]
    fn every_row_can_be_found_and_no_model_stands_twice() {
        for row in ROWS.iter().filter(|row| !row.model.contains('/')) {
            let matching = ROWS.iter().filter(|other| names(other.model, row.model)).count();
            assert_eq!(matching, 1, "{}", row.model);
            assert!(row.input + row.output + row.request > 0.0);
        }
    }
}
