//! Options beside the words of a conversation: service tier, latency, reasoning effort.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::capabilities::{Thinking, Traits};
use crate::domain::Tier;

/// How urgent calls are: `default`; `flex`, which is cheaper and served when there is room; `priority`, dearer and served first;
/// `reserved`, what was bought beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TierWish {
    /// The standard one.
    Default,
    /// Cheaper, and served when there is room.
    Flex,
    /// Dearer, and served first.
    Priority,
    /// Bought beforehand.
    Reserved,
}

impl TierWish {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Default => Tier::Default,
            Self::Flex => Tier::Flex,
            Self::Priority => Tier::Priority,
            Self::Reserved => Tier::Reserved,
        }
        .as_str()
    }
}

/// Whether a call is served on what is made for speed, where the model has that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Latency {
    /// As usual.
    Standard,
    /// Faster.
    Optimized,
}

/// How hard a model thinks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is its word")]
pub enum EffortWish {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl EffortWish {
    /// Returns the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// Whether a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingWish {
    /// It does not.
    Off,
    /// As much as it finds good.
    Adaptive,
    /// In so many tokens at most, which are part of the answer's.
    Tokens(NonZeroU32),
}

/// The least that a model takes to think in (Anthropic's extended thinking).
const LEAST_TOKENS: u32 = 1_024;

impl ThinkingWish {
    /// Returns the field that says so to a model, in Anthropic's shape, which Bedrock passes on; or why there is none.
    pub(super) fn field(self, traits: &Traits, max_tokens: u32) -> Result<Option<Value>, String> {
        match (self, traits.thinking) {
            (Self::Off, Thinking::Always) => Err("the model always thinks: leave it out".into()),
            (Self::Off, Thinking::No) => Ok(None),
            (_, Thinking::No) => Err("the model is not told to think so: leave it out, or say how hard with the effort".into()),
            (Self::Off, _) => Ok(Some(json!({"type": "disabled"}))),
            (Self::Adaptive, Thinking::Budget) => Err("the model thinks in a number of tokens: give one, as 4096".into()),
            (Self::Adaptive, _) => Ok(Some(json!({"type": "adaptive"}))),
            (Self::Tokens(_), Thinking::Adaptive | Thinking::Always) => {
                Err("the model takes no number of tokens: write \"adaptive\", and say how hard with the effort".into())
            }
            (Self::Tokens(tokens), _) if !(LEAST_TOKENS..max_tokens).contains(&tokens.get()) => {
                Err(format!("is {tokens}; the model takes {LEAST_TOKENS} or more, and fewer than the {max_tokens} of the answer"))
            }
            (Self::Tokens(tokens), _) => Ok(Some(json!({"type": "enabled", "budget_tokens": tokens}))),
        }
    }

    /// Reads Anthropic's own shape, as it is in files.
    pub(super) fn of(field: &Map<String, Value>) -> Option<Self> {
        let tokens = field.get("budget_tokens").and_then(Value::as_u64);
        match (field.get("type")?.as_str()?, tokens) {
            ("disabled", _) => Some(Self::Off),
            ("adaptive", _) => Some(Self::Adaptive),
            ("enabled", Some(tokens)) => Some(Self::Tokens(NonZeroU32::new(u32::try_from(tokens).ok()?)?)),
            _ => None,
        }
    }
}

impl fmt::Display for ThinkingWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Adaptive => f.write_str("adaptive"),
            Self::Tokens(tokens) => tokens.fmt(f),
        }
    }
}

impl Serialize for ThinkingWish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tokens(tokens) => tokens.serialize(serializer),
            word => serializer.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for ThinkingWish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = ThinkingWish;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", \"adaptive\" or a number of tokens")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<ThinkingWish, E> {
                match word {
                    "off" => Ok(ThinkingWish::Off),
                    "adaptive" => Ok(ThinkingWish::Adaptive),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, tokens: i64) -> Result<ThinkingWish, E> {
                let number = u32::try_from(tokens).ok().and_then(NonZeroU32::new);
                number.map(ThinkingWish::Tokens).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(tokens), &self))
            }

            fn visit_u64<E: serde::de::Error>(self, tokens: u64) -> Result<ThinkingWish, E> {
                self.visit_i64(i64::try_from(tokens).map_err(|_| E::custom("is too many tokens"))?)
            }
        }

        deserializer.deserialize_any(Either).map_err(D::Error::custom)
    }
}

impl JsonSchema for ThinkingWish {
    fn schema_name() -> Cow<'static, str> {
        "Thinking".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"enum": ["off", "adaptive"]}, {"type": "integer", "minimum": 1}]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::ModelId;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        thinking: ThinkingWish,
    }

    #[test]
    fn thinking_is_a_word_or_a_number_and_is_written_as_it_was_read() {
        let tokens = |tokens| ThinkingWish::Tokens(NonZeroU32::new(tokens).unwrap());
        for (written, thinking) in
            [("\"off\"", ThinkingWish::Off), ("\"adaptive\"", ThinkingWish::Adaptive), ("4096", tokens(4096))]
        {
            let row: Row = toml::from_str(&format!("thinking = {written}")).unwrap();
            assert_eq!((&row, toml::to_string(&row).unwrap().trim()), (&Row { thinking }, &*format!("thinking = {written}")));
        }
        for wrong in ["\"on\"", "0", "-1", "true", "99999999999"] {
            let error = toml::from_str::<Row>(&format!("thinking = {wrong}")).unwrap_err().to_string();
            assert!(error.contains("\"off\", \"adaptive\" or a number of tokens"), "{error}");
        }
    }

    #[test]
    fn each_model_is_told_to_think_in_its_own_words_or_it_is_said_why_not() {
        let field = |model: &str, wish: ThinkingWish| {
            let model = ModelId::try_from(model.to_owned()).unwrap();
            wish.field(Traits::resolve(&model, None).unwrap(), 8_000)
        };
        let tokens = ThinkingWish::Tokens(NonZeroU32::new(4_096).unwrap());
        let enabled = || Ok(Some(json!({"type": "enabled", "budget_tokens": 4096})));
        let adaptive = || Ok(Some(json!({"type": "adaptive"})));
        let disabled = || Ok(Some(json!({"type": "disabled"})));
        let (haiku, sonnet, opus) =
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-sonnet-4-6", "anthropic.claude-opus-4-8");
        assert_eq!((field(haiku, tokens), field(sonnet, tokens)), (enabled(), enabled()));
        assert_eq!((field(sonnet, ThinkingWish::Adaptive), field(opus, ThinkingWish::Adaptive)), (adaptive(), adaptive()));
        assert_eq!((field(haiku, ThinkingWish::Off), field(opus, ThinkingWish::Off)), (disabled(), disabled()));
        assert_eq!(field("amazon.nova-micro-v1:0", ThinkingWish::Off), Ok(None));
        for (model, wish, words) in [
            (haiku, ThinkingWish::Adaptive, "a number of tokens"),
            (opus, tokens, "no number of tokens"),
            ("anthropic.claude-opus-5-5", ThinkingWish::Off, "always thinks"),
            ("amazon.nova-micro-v1:0", tokens, "not told to think"),
            (haiku, ThinkingWish::Tokens(NonZeroU32::new(1_023).unwrap()), "1024 or more"),
            (haiku, ThinkingWish::Tokens(NonZeroU32::new(8_000).unwrap()), "fewer than the 8000"),
        ] {
            assert!(field(model, wish).unwrap_err().contains(words), "{model}: {wish}");
        }
    }
}
