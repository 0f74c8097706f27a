//! What tokens cost.

use super::ModelId;

/// When the table was last held against public price lists; on-demand prices in `us-east-1`, USD for a million input tokens.
pub const AS_OF: &str = "2026-11";

const EMBEDDING: [(&str, f64); 8] = [
    ("amazon.titan-embed-text-v1", 0.10),
    ("amazon.titan-embed-g1-text-02", 0.10),
    ("amazon.titan-embed-text-v2", 0.02),
    ("amazon.titan-embed-image-v1", 0.80),
    ("amazon.nova-2-multimodal-embeddings-v1", 0.135),
    ("cohere.embed-english-v3", 0.10),
    ("cohere.embed-multilingual-v3", 0.10),
    ("cohere.embed-v4", 0.12),
];

/// A price of input tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    usd_per_million: f64,
}

impl Price {
    /// Returns the price of a model's input tokens, where one is known.
    #[must_use]
    pub fn of_input(model: &ModelId) -> Option<Self> {
        let id = model.foundation_model()?;
        let (_, usd_per_million) = EMBEDDING.into_iter().find(|(name, _)| id.starts_with(name))?;
        Some(Self { usd_per_million })
    }

    /// Returns what this many tokens cost, in USD.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate in cents")]
    pub fn usd_for(self, tokens: u64) -> f64 {
        self.usd_per_million * tokens as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(model: &str) -> Option<f64> {
        Price::of_input(&model.to_owned().try_into().unwrap()).map(|price| price.usd_for(10_000_000))
    }

    #[test]
    fn a_model_has_its_price_under_every_name_that_names_it() {
        assert_eq!(usd("amazon.titan-embed-text-v2:0"), Some(0.2));
        assert_eq!(usd("us.cohere.embed-v4:0"), Some(1.2));
        assert_eq!(usd("arn:aws:bedrock:us-east-1::foundation-model/cohere.embed-english-v3"), Some(1.0));
        assert_eq!(usd("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"), None);
    }
}
