//! `[embed]`, and its settings after validation against the model's family.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FAMILIES;
use super::family::{self, Family, Request};
use crate::bedrock::model_id::ModelId;
use crate::domain::{Limits, Number};
use crate::report::Invalid;

/// `[embed]`: which model makes the vectors, and of what kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EmbedConfig {
    /// Whether vectors are made. With `false` riverbed only runs chat prompts and deletes existing vectors. Chunks for prompts
    /// are still cut to fit `model`.
    pub enabled: bool,
    /// Embedding model: an id, with or without a region prefix, or an ARN. Changing it embeds all documents again.
    pub model: ModelId,
    /// Model family, only where the id does not tell it (application inference profile, provisioned throughput, custom model).
    pub family: Option<String>,
    /// Length of a vector. Absent: the model's default. Changing it embeds all documents again.
    pub dimensions: Option<u32>,
    /// Type of the numbers: `float`; `int8` or `uint8`, an integer per dimension (Cohere); `binary` or `ubinary`, a bit per
    /// dimension. Cohere packs eight bits to a signed or unsigned integer, Titan Text v2 (`binary`) writes 0 or 1. Changing it
    /// embeds all documents again.
    pub embedding_type: EmbeddingType,
    /// Whether vectors have length 1 (Titan Text v2 only). Absent: the model's default.
    pub normalize: Option<bool>,
    /// Purpose of the vectors (Cohere and Nova only). Absent: `search_document`.
    pub input_type: Option<InputType>,
    /// Name of a `[[chat]]` prompt with `per = "chunk"` whose answer is put in front of each chunk before embedding. The line
    /// carries it as `context`. Such a prompt writes no answers. Changing this key or the prompt embeds all documents again.
    pub context: Option<String>,
    /// How long a call that is not full waits for another text when no file is being read. Raise it to fill calls with texts that
    /// arrive slowly; it delays the last ones.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub batch_wait: Duration,
}

impl Default for EmbedConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            model: "amazon.titan-embed-text-v2:0".to_owned().try_into().expect("a model id"),
            family: None,
            dimensions: None,
            embedding_type: EmbeddingType::Float,
            normalize: None,
            input_type: None,
            context: None,
            batch_wait: Duration::from_millis(50),
        }
    }
}

/// What a vector is made of. Changes what it costs to keep, and how closely it can be compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingType {
    /// 32-bit numbers.
    #[default]
    Float,
    /// Integers from -128 to 127.
    Int8,
    /// Integers from 0 to 255.
    Uint8,
    /// Bits, packed into signed bytes where the model packs them.
    Binary,
    /// Bits, packed into unsigned bytes.
    Ubinary,
}

impl EmbeddingType {
    /// Returns the name that configuration and service use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Int8 => "int8",
            Self::Uint8 => "uint8",
            Self::Binary => "binary",
            Self::Ubinary => "ubinary",
        }
    }
}

/// What a vector is for: documents and questions are embedded differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    /// Documents that are searched.
    SearchDocument,
    /// Questions for them.
    SearchQuery,
    /// Texts for a classifier.
    Classification,
    /// Texts to be clustered.
    Clustering,
}

impl InputType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SearchDocument => "search_document",
            Self::SearchQuery => "search_query",
            Self::Classification => "classification",
            Self::Clustering => "clustering",
        }
    }
}

/// What makes the vectors: the model, its family, and the parameters that go with every call.
#[derive(Debug, Clone)]
pub struct Settings {
    model: ModelId,
    family: &'static dyn Family,
    dimensions: u32,
    embedding_type: EmbeddingType,
    normalize: Option<bool>,
    input_type: Option<InputType>,
}

impl Settings {
    /// Resolves the configuration to a family and checks it against what that family takes.
    ///
    /// # Errors
    /// When no family is known for the model, or the family lacks the dimensions or the parameter.
    pub fn resolve(config: &EmbedConfig) -> Result<Self, Invalid> {
        let family = family::resolve(&config.model, config.family.as_deref())?;
        let dimensions = match config.dimensions {
            None => family.dimensions()[0],
            Some(wanted) if family.dimensions().contains(&wanted) => wanted,
            Some(wanted) => {
                return Err(Invalid {
                    key: "embed.dimensions",
                    problem: format!("is {wanted}, which `{}` does not make", config.model),
                    help: format!(
                        "choose one of {}, or leave it out for {}",
                        listed(family.dimensions()),
                        family.dimensions()[0]
                    ),
                });
            }
        };
        let EmbedConfig { embedding_type, normalize, input_type, .. } = *config;
        if !family.embedding_types().contains(&embedding_type) {
            return Err(Invalid {
                key: "embed.embedding-type",
                problem: format!(
                    "is `{}`, which `{}` (family {}) does not make",
                    embedding_type.as_str(),
                    config.model,
                    family.name()
                ),
                help: match family.embedding_types() {
                    [only] => format!("leave it out: the model makes `{}` only", only.as_str()),
                    several => format!("choose one of {}", listed(several.iter().map(|known| known.as_str()))),
                },
            });
        }
        let meaningless = |key, takes: fn(&dyn Family) -> bool| Invalid {
            key,
            problem: format!("means nothing to `{}` (family {})", config.model, family.name()),
            help: format!(
                "leave it out: it is for models of {} only",
                listed(FAMILIES.iter().filter(|family| takes(**family)).map(|family| family.name()))
            ),
        };
        if normalize.is_some() && !family.takes_normalize() {
            return Err(meaningless("embed.normalize", |family| family.takes_normalize()));
        }
        if input_type.is_some() && !family.takes_input_type() {
            return Err(meaningless("embed.input-type", |family| family.takes_input_type()));
        }
        Ok(Self { model: config.model.clone(), family, dimensions, embedding_type, normalize, input_type })
    }

    /// Returns the model as configured.
    #[must_use]
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Returns the dimensions of a vector. It has as many numbers, unless its type packs eight bits into each.
    #[must_use]
    pub fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// Returns what a vector is made of.
    #[must_use]
    pub fn embedding_type(&self) -> EmbeddingType {
        self.embedding_type
    }

    /// Returns what one call takes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.family.limits()
    }

    pub(super) fn family(&self) -> &'static dyn Family {
        self.family
    }

    /// Returns how many numbers a vector has, and of what kind.
    #[must_use]
    pub fn elements(&self) -> (u32, Number) {
        self.family.elements(self.embedding_type, self.dimensions)
    }

    pub(super) fn request<'a>(&self, texts: &'a [&'a str]) -> Request<'a> {
        Request {
            texts,
            dimensions: self.dimensions,
            embedding_type: self.embedding_type,
            normalize: self.normalize,
            input_type: self.input_type.unwrap_or(InputType::SearchDocument),
        }
    }

    /// Returns what shapes a vector, as `(name, value)` in a fixed order, for the fingerprint of the configuration.
    #[must_use]
    pub fn shape(&self) -> Vec<(&'static str, String)> {
        vec![
            ("model", self.model.to_string()),
            ("dimensions", self.dimensions.to_string()),
            ("embedding-type", self.embedding_type.as_str().to_owned()),
            ("normalize", format!("{:?}", self.normalize)),
            ("input-type", self.input_type.map_or("", InputType::as_str).to_owned()),
        ]
    }
}

fn listed<T: ToString>(choices: impl IntoIterator<Item = T>) -> String {
    choices.into_iter().map(|choice| choice.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(model: &str, change: impl FnOnce(&mut EmbedConfig)) -> Result<Settings, Invalid> {
        let mut config = EmbedConfig { model: model.to_owned().try_into().unwrap(), ..EmbedConfig::default() };
        change(&mut config);
        Settings::resolve(&config)
    }

    const ALL: [EmbeddingType; 5] =
        [EmbeddingType::Float, EmbeddingType::Int8, EmbeddingType::Uint8, EmbeddingType::Binary, EmbeddingType::Ubinary];

    #[test]
    fn every_family_takes_its_own_dimensions_and_types_and_no_others() {
        for family in FAMILIES {
            let model = family.models()[0];
            assert_eq!(resolve(model, |_| ()).unwrap().dimensions(), family.dimensions()[0]);
            for dimensions in [256, 384, 512, 1024, 1536, 3072] {
                let resolved = resolve(model, |config| config.dimensions = Some(dimensions));
                match resolved {
                    Ok(settings) => assert!(family.dimensions().contains(&settings.dimensions())),
                    Err(invalid) => assert!(!family.dimensions().contains(&dimensions) && invalid.key == "embed.dimensions"),
                }
            }
            for embedding_type in ALL {
                let resolved = resolve(model, |config| config.embedding_type = embedding_type);
                assert_eq!(resolved.is_ok(), family.embedding_types().contains(&embedding_type), "{model} {embedding_type:?}");
            }
        }
    }

    #[test]
    fn a_type_that_the_model_does_not_make_is_refused_with_those_that_it_does() {
        let invalid =
            resolve("amazon.titan-embed-text-v2:0", |config| config.embedding_type = EmbeddingType::Ubinary).unwrap_err();
        assert_eq!(invalid.key, "embed.embedding-type");
        assert_eq!(invalid.problem, "is `ubinary`, which `amazon.titan-embed-text-v2:0` (family titan-text-v2) does not make");
        assert_eq!(invalid.help, "choose one of float, binary");
        let invalid = resolve("amazon.titan-embed-text-v1", |config| config.embedding_type = EmbeddingType::Int8).unwrap_err();
        assert_eq!(invalid.help, "leave it out: the model makes `float` only");
    }

    #[test]
    fn a_parameter_is_taken_only_by_the_families_that_send_it() {
        for family in FAMILIES {
            let told = resolve(family.models()[0], |config| config.normalize = Some(true));
            assert_eq!(told.is_ok(), family.takes_normalize(), "{}", family.name());
            let told = resolve(family.models()[0], |config| config.input_type = Some(InputType::SearchQuery));
            assert_eq!(told.is_ok(), family.takes_input_type(), "{}", family.name());
        }
        let invalid =
            resolve("amazon.titan-embed-image-v1", |config| config.input_type = Some(InputType::Clustering)).unwrap_err();
        assert_eq!(invalid.help, "leave it out: it is for models of nova-2, cohere-v3, cohere-v4 only");
    }

    #[test]
    fn packed_bits_take_an_eighth_of_the_numbers() {
        let elements =
            |model, embedding_type| resolve(model, |config| config.embedding_type = embedding_type).unwrap().elements();
        assert_eq!(elements("cohere.embed-v4:0", EmbeddingType::Binary), (192, Number::Int8));
        assert_eq!(elements("cohere.embed-v4:0", EmbeddingType::Ubinary), (192, Number::Uint8));
        assert_eq!(elements("cohere.embed-english-v3", EmbeddingType::Int8), (1024, Number::Int8));
        assert_eq!(elements("cohere.embed-english-v3", EmbeddingType::Uint8), (1024, Number::Uint8));
        assert_eq!(elements("amazon.titan-embed-text-v2:0", EmbeddingType::Binary), (1024, Number::Bit));
        assert_eq!(elements("amazon.nova-2-multimodal-embeddings-v1:0", EmbeddingType::Float), (3072, Number::Float));
    }

    #[test]
    fn what_shapes_a_vector_differs_where_vectors_cannot_be_compared() {
        let model = "cohere.embed-v4:0";
        let shapes = [
            resolve(model, |_| ()),
            resolve(model, |config| config.dimensions = Some(256)),
            resolve(model, |config| config.embedding_type = EmbeddingType::Int8),
            resolve(model, |config| config.embedding_type = EmbeddingType::Uint8),
            resolve(model, |config| config.input_type = Some(InputType::Clustering)),
            resolve("us.cohere.embed-v4:0", |_| ()),
        ]
        .map(|settings| settings.unwrap().shape());
        for (at, shape) in shapes.iter().enumerate() {
            assert!(!shapes[..at].contains(shape), "{shape:?}");
        }
    }
}
