//! Burndown: how many quota tokens one output token takes after the call.

use super::openai::Traits;
use crate::bedrock::ModelId;

/// Foundation models by the beginning of their ids, the longer before the shorter, with what each token that comes out counts for. For
/// all others it is one (user guide, quotas-token-burndown, November 2026).
const ROWS: [(&str, u64); 10] = [
    ("anthropic.claude-3", 5),
    ("anthropic.claude-opus-4-8", 15),
    ("anthropic.claude-opus-4", 5),
    ("anthropic.claude-sonnet-4", 5),
    ("anthropic.claude-haiku-4", 5),
    ("anthropic.claude-sonnet-5-5", 1),
    ("anthropic.claude-sonnet-5", 10),
    ("anthropic.claude-opus-5", 10),
    ("anthropic.claude-fable-5-1", 10),
    ("anthropic.claude-fable-5", 1),
];

/// Returns what each token of a model's answers counts for. An id that does not tell its model counts for the most of its family's.
pub(super) fn burndown(model: &ModelId, traits: &Traits) -> u64 {
    let of = |id: &str| ROWS.iter().find(|(beginning, _)| id.starts_with(beginning)).map_or(1, |(_, burndown)| *burndown);
    match model.foundation_model() {
        Some(id) => of(id),
        None => traits.ids.iter().map(|id| of(id)).max().unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_counts_as_the_user_guide_says() {
        let check = |id: &str, family: Option<&str>, expected: u64| {
            let model = ModelId::try_from(id.to_owned()).unwrap();
            assert_eq!(burndown(&model, Traits::resolve(&model, family).unwrap()), expected, "{id}");
        };
        for (id, expected) in [
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 5),
            ("anthropic.claude-3-haiku-20240307-v1:0", 5),
            ("global.anthropic.claude-sonnet-4-6", 5),
            ("anthropic.claude-opus-4-7", 5),
            ("anthropic.claude-opus-4-8", 15),
            ("anthropic.claude-sonnet-5", 10),
            ("anthropic.claude-sonnet-5-5", 1),
            ("anthropic.claude-opus-5", 10),
            ("us.anthropic.claude-opus-5-5", 10),
            ("anthropic.claude-fable-5", 1),
            ("anthropic.claude-fable-5-1", 10),
            ("anthropic.claude-haiku-5-5", 1),
            ("amazon.nova-micro-v1:0", 1),
            ("openai.gpt-oss-120b-1:0", 1),
        ] {
            check(id, None, expected);
        }
        let opaque = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
        check(opaque, Some("claude-5"), 10);
        check(opaque, Some("any"), 1);
    }
}
