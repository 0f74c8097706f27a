//! Texts to vectors: what is the same for every model family.
//!
//! A new family is one new file, and its line in each of the two lists below.

mod family;
mod settings;

mod cohere;
mod cohere_v3;
mod cohere_v4;
mod marengo;
mod marengo_2;
mod marengo_3;
mod nova;
mod titan_multimodal;
mod titan_v1;
mod titan_v2;

use std::sync::Arc;

use super::client::Client;
use super::error::{CallError, Class};
use crate::model::{TokenCount, Vector};

use family::{Family, Unusable};
pub use settings::{Config, EmbeddingType, InputType, Settings};

/// Every family, in the order in which messages list them.
static FAMILIES: &[&dyn Family] = &[
    &titan_v1::TitanV1,
    &titan_v2::TitanV2,
    &titan_multimodal::TitanMultimodal,
    &nova::Nova,
    &cohere_v3::CohereV3,
    &cohere_v4::CohereV4,
    &marengo_2::Marengo2,
    &marengo_3::Marengo3,
];

/// Makes vectors through one model. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Embedder {
    client: Client,
    settings: Arc<Settings>,
}

/// One call's answer: a vector for each text, in the order of the texts.
#[derive(Debug)]
pub struct Embedded {
    /// `texts.len()` vectors of `dimensions` numbers, or an eighth of that where bits are packed.
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
    /// [`Limits::texts_per_call`]: crate::model::Limits::texts_per_call
    ///
    /// # Errors
    /// When the service refuses or fails, or its answer does not hold one sound vector for each text.
    pub async fn embed(&self, texts: &[&str]) -> Result<Embedded, CallError> {
        let settings = &*self.settings;
        let family = settings.family();
        let answer = self.client.invoke(settings.model(), family.body(&settings.request(texts))).await?;
        let failed = |class, problem: &dyn std::fmt::Display| CallError {
            class,
            status: Some(200),
            code: None,
            message: format!("the answer of `{}` is unusable: {problem}", settings.model()),
            request_id: answer.request_id.clone(),
            retry_after: None,
        };
        let parsed = family.parse(answer.body.as_ref(), settings.embedding_type()).map_err(|unusable| match unusable {
            Unusable::Shape(_) => failed(Class::BadAnswer, &unusable),
            Unusable::Refused(_) => failed(Class::Refused, &unusable),
        })?;
        if parsed.vectors.len() != texts.len() {
            let problem = format!("{} vectors for {} texts", parsed.vectors.len(), texts.len());
            return Err(failed(Class::BadAnswer, &problem));
        }
        let (length, number) = settings.elements();
        let vectors = parsed.vectors.into_iter().map(|vector| Vector::check(vector, length, number));
        Ok(Embedded {
            vectors: vectors.collect::<Result<_, _>>().map_err(|error| failed(Class::BadAnswer, &error))?,
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

/// Returns the ids of the embedding models that are known.
pub fn known_models() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.models()).copied()
}
