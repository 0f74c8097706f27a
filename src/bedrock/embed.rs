//! Texts to vectors: what is the same for every model family.

mod cohere;
mod family;
mod titan_v2;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::error::{CallError, Class};
use super::model_id::ModelId;
use crate::model::{Limits, TokenCount, Vector};
use crate::report::Invalid;

use family::{FAMILIES, Family, Request};

/// `[embed]`: which model makes the vectors, and of what kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Embedding model, as Bedrock names it: an id, with or without a region prefix, or an ARN. Changing it re-embeds every document.
    pub model: ModelId,
    /// The model's family, only where its id does not tell (application inference profile, provisioned throughput, custom model).
    pub family: Option<String>,
    /// Numbers in a vector; absent: the model's own default. Changing it re-embeds every document.
    pub dimensions: Option<u32>,
    /// Whether vectors have length 1 (Titan only); absent: the model's own default.
    pub normalize: Option<bool>,
    /// What the vectors are for (Cohere only); absent: `search_document`.
    pub input_type: Option<InputType>,
    /// How long a call that is not full waits for another text once no file is on its way any more. Turning it up fills calls of texts
    /// that trickle in, and delays the last ones.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub batch_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model: "amazon.titan-embed-text-v2:0".to_owned().try_into().expect("a model id"),
            family: None,
            dimensions: None,
            normalize: None,
            input_type: None,
            batch_wait: Duration::from_millis(50),
        }
    }
}

/// What a Cohere vector is for: documents and questions are embedded differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    /// Documents that are searched.
    SearchDocument,
    /// Questions put to them.
    SearchQuery,
    /// Texts for a classifier.
    Classification,
    /// Texts to be clustered.
    Clustering,
}

impl InputType {
    fn as_str(self) -> &'static str {
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
    normalize: Option<bool>,
    input_type: Option<InputType>,
}

impl Settings {
    /// Resolves the configuration to a family and checks it against what that family takes.
    ///
    /// # Errors
    /// When no family is known for the model, or the family lacks the dimensions or the parameter.
    pub fn resolve(config: &Config) -> Result<Self, Invalid> {
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
        let unknown_to_family = |key, others| Invalid {
            key,
            problem: format!("means nothing to `{}` (family {})", config.model, family.name()),
            help: format!("leave it out; only {others} models take it"),
        };
        if config.normalize.is_some() && !family.takes_normalize() {
            return Err(unknown_to_family("embed.normalize", "Titan Text v2"));
        }
        if config.input_type.is_some() && !family.takes_input_type() {
            return Err(unknown_to_family("embed.input-type", "Cohere"));
        }
        Ok(Self { model: config.model.clone(), family, dimensions, normalize: config.normalize, input_type: config.input_type })
    }

    /// Returns the model as configured.
    #[must_use]
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Returns the numbers in a vector.
    #[must_use]
    pub fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// Returns what one call takes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.family.limits()
    }

    /// Returns what shapes a vector, as `(name, value)` in a fixed order, for the fingerprint of the configuration.
    #[must_use]
    pub fn shape(&self) -> Vec<(&'static str, String)> {
        vec![
            ("model", self.model.to_string()),
            ("dimensions", self.dimensions.to_string()),
            ("normalize", format!("{:?}", self.normalize)),
            ("input-type", self.input_type.map_or("", InputType::as_str).to_owned()),
        ]
    }
}

fn listed(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Makes vectors through one model. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Embedder {
    client: Client,
    settings: Arc<Settings>,
}

/// One call's answer: a vector for each text, in the order of the texts.
#[derive(Debug)]
pub struct Embedded {
    /// `texts.len()` vectors of `dimensions` numbers.
    pub vectors: Vec<Vector>,
    /// Input tokens billed for the call, where the service says.
    pub tokens: Option<TokenCount>,
    /// Whether the answer bears the emulator's mark: its vectors are lexical stand-ins, not a model's.
    pub emulated: bool,
}

impl Embedder {
    /// Makes vectors with these settings through this client.
    #[must_use]
    pub fn new(client: Client, settings: Settings) -> Self {
        Self { client, settings: Arc::new(settings) }
    }

    /// Returns what makes the vectors.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Embeds 1 to [`Limits::texts_per_call`] texts in one attempt. Cancel safe, though a call that has been sent is billed.
    ///
    /// # Errors
    /// When the service refuses or fails, or its answer does not hold one sound vector for each text.
    pub async fn embed(&self, texts: &[&str]) -> Result<Embedded, CallError> {
        let settings = &*self.settings;
        let request = Request {
            texts,
            dimensions: settings.dimensions,
            normalize: settings.normalize,
            input_type: settings.input_type.unwrap_or(InputType::SearchDocument),
        };
        let answer = self.client.invoke(&settings.model, settings.family.body(&request)).await?;
        let read = |problem: String| CallError {
            class: Class::BadAnswer,
            status: Some(200),
            code: None,
            message: format!("the answer of `{}` is unusable: {problem}", settings.model),
            request_id: answer.request_id.clone(),
            retry_after: None,
        };
        let parsed = settings.family.parse(answer.body.as_ref()).map_err(|error| read(format!("it does not parse: {error}")))?;
        if parsed.vectors.len() != texts.len() {
            return Err(read(format!("{} vectors for {} texts", parsed.vectors.len(), texts.len())));
        }
        let vectors = parsed.vectors.into_iter().map(|numbers| Vector::check(numbers, settings.dimensions));
        Ok(Embedded {
            vectors: vectors.collect::<Result<_, _>>().map_err(|error| read(error.to_string()))?,
            tokens: parsed.tokens.or(answer.input_tokens),
            emulated: answer.emulated,
        })
    }
}

/// Returns the names of the families, for messages.
#[must_use]
pub fn family_names() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.name()).collect()
}
