//! The content of a message: a string, or parts.

use serde::{Deserialize, Deserializer};

use super::schema::{TextOr, text_or};

/// A string, or a list of parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// One text.
    Text(String),
    /// Texts, images and files, in order.
    Parts(Vec<Part>),
}

/// One part of a content.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Whether a cache point follows it.
    pub cache: Option<Cache>,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A text.
    Text(String),
    /// A text that the guardrail looks at, where others are ignored (`guarded_text`, as litellm has it).
    Guarded(String),
    /// What the assistant said when it would not answer.
    Refusal(String),
    /// An image, as a data URI.
    Image(Image),
    /// A document, as a data URI.
    File(File),
}

/// Says that the text before this point is worth caching in the model, in Anthropic's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Always `ephemeral`.
    #[serde(default)]
    pub r#type: Ephemeral,
    /// How long; absent: five minutes.
    #[serde(default)]
    pub ttl: Option<Ttl>,
}

/// The one type of cache that there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ephemeral {
    /// Forgotten after a while.
    #[default]
    Ephemeral,
}

/// How long a model's cache keeps what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, schemars::JsonSchema)]
pub enum Ttl {
    /// Five minutes, from its last use.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour.
    #[serde(rename = "1h")]
    OneHour,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// A data URI.
    pub url: String,
    /// `auto`, `low` or `high`; Bedrock has nothing like it.
    pub detail: Option<String>,
}

/// A document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// A data URI.
    pub file_data: Option<String>,
    /// Tells the format where the data URI does not.
    pub filename: Option<String>,
    /// A file that was uploaded to OpenAI; Bedrock knows none.
    pub file_id: Option<String>,
}

impl Part {
    /// Returns a text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Kind::Text(text.into()), cache: None }
    }

    /// Returns the part with a cache point after it.
    #[must_use]
    pub fn cached(self, ttl: Option<Ttl>) -> Self {
        Self { cache: Some(Cache { r#type: Ephemeral::Ephemeral, ttl }), ..self }
    }
}

/// A part as it is written. Its fields are side by side and not in an enum by `type`, so that serde keeps the path of an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    r#type: Type,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    image_url: Option<Image>,
    #[serde(default)]
    file: Option<File>,
    #[serde(default)]
    cache_control: Option<Cache>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Type {
    Text,
    GuardedText,
    Refusal,
    ImageUrl,
    File,
}

impl Type {
    fn field(self) -> &'static str {
        match self {
            Self::Text | Self::GuardedText => "text",
            Self::Refusal => "refusal",
            Self::ImageUrl => "image_url",
            Self::File => "file",
        }
    }
}

impl TryFrom<Raw> for Part {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let wanted = raw.r#type.field();
        let present = [
            ("text", raw.text.is_some()),
            ("refusal", raw.refusal.is_some()),
            ("image_url", raw.image_url.is_some()),
            ("file", raw.file.is_some()),
        ];
        if let Some((name, _)) = present.into_iter().find(|(name, is_there)| *is_there && *name != wanted) {
            return Err(format!("`{name}` does not belong to a part of this type, which has `{wanted}`"));
        }
        let missing = || format!("the part lacks its `{wanted}`");
        let kind = match raw.r#type {
            Type::Text => Kind::Text(raw.text.ok_or_else(missing)?),
            Type::GuardedText => Kind::Guarded(raw.text.ok_or_else(missing)?),
            Type::Refusal => Kind::Refusal(raw.refusal.ok_or_else(missing)?),
            Type::ImageUrl => Kind::Image(raw.image_url.ok_or_else(missing)?),
            Type::File => Kind::File(raw.file.ok_or_else(missing)?),
        };
        Ok(Self { kind, cache: raw.cache_control })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match text_or::<String, Vec<Part>, D>(deserializer, "a string or a list of parts")? {
            TextOr::Text(text) => Self::Text(text),
            TextOr::Other(parts) => Self::Parts(parts),
        })
    }
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Object {
            url: String,
            #[serde(default)]
            detail: Option<String>,
        }
        Ok(match text_or::<String, Object, D>(deserializer, "a data URI, or an object with one as its `url`")? {
            TextOr::Text(url) => Self { url, detail: None },
            TextOr::Other(object) => Self { url: object.url, detail: object.detail },
        })
    }
}
