//! Texts to vectors: the parts that all model families share.
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

use std::borrow::Cow;
use std::sync::Arc;

use crate::bedrock::client::Client;
use crate::bedrock::error::{CallError, Class};
use crate::domain::{Limits, TokenCount, Vector};
use crate::report::{LONGEST_MESSAGE, cut};

use family::{Family, Unusable};
pub use settings::{EmbedConfig, EmbeddingType, InputType, Settings};

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
        client.expect_vectors(settings.limits().texts_per_call.get(), settings.dimensions());
        Self { client, settings: Arc::new(settings) }
    }

    /// Returns what makes the vectors.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Embeds 1 to [`Limits::texts_per_call`] texts in one attempt. Cancel safe, though a call that has been sent is billed.
    ///
    /// [`Limits::texts_per_call`]: crate::domain::Limits::texts_per_call
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
            message: cut(&format!("the answer of `{}` is unusable: {problem}", settings.model()), LONGEST_MESSAGE).into_owned(),
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
        if let Some(at) = parsed.texts.as_deref().and_then(|said| misunderstood(said, texts)) {
            let problem = format!("text {at} is not the one that was sent");
            return Err(failed(Class::BadAnswer, &problem));
        }
        let (length, number) = settings.elements();
        let vectors = parsed.vectors.into_iter().map(|vector| Vector::check(vector, length, number));
        Ok(Embedded {
            vectors: vectors.collect::<Result<_, _>>().map_err(|error| failed(Class::BadAnswer, &error))?,
            tokens: [parsed.tokens, answer.input_tokens].into_iter().flatten().find(|billed| is_believed(*billed, texts)),
            emulated: answer.emulated,
        })
    }
}

/// Returns every model that is known: id, family, sizes of vector with the default first, and the bounds of a call.
pub fn known() -> impl Iterator<Item = (&'static str, &'static str, &'static [u32], Limits)> {
    FAMILIES
        .iter()
        .flat_map(|family| family.models().iter().map(move |id| (*id, family.name(), family.dimensions(), family.limits())))
}

/// Returns whether texts can come to so many tokens: to one at least. A token has a byte at least; a model puts a few of its own around
/// each text.
fn is_believed(billed: TokenCount, texts: &[&str]) -> bool {
    const AROUND: u64 = 64;
    let most = texts.iter().map(|text| text.len() as u64 + AROUND).sum();
    (1..=most).contains(&billed.get())
}

/// Returns the first of the texts in an answer that is another than what was sent. A model may fold white space and case; the letters and
/// digits must be there. What is no list of texts of this length says nothing.
fn misunderstood(said: &[Cow<'_, str>], texts: &[&str]) -> Option<usize> {
    if said.len() != texts.len() {
        return None;
    }
    let letters = |text: &str| {
        text.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>()
    };
    said.iter().zip(texts).position(|(said, text)| said != text && letters(said) != letters(text))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tokens_are_not_believed_nor_more_than_a_text_has_bytes() {
        let believed = |billed, texts: &[&str]| is_believed(TokenCount::new(billed), texts);
        assert!(believed(70, &["漢字"]) && believed(1, &["words"]));
        assert!(!believed(0, &["words"]) && !believed(0, &["words", "words"]));
        assert!(!believed(71, &["漢字"]));
        assert!(!believed(u64::MAX, &["words", "words"]));
    }

    #[test]
    fn texts_that_come_back_are_those_that_were_sent() {
        let said = |said: &[&'static str], texts: &[&str]| {
            misunderstood(&said.iter().map(|text| Cow::Borrowed(*text)).collect::<Vec<_>>(), texts)
        };
        assert_eq!(said(&["one", "two"], &["one", "two"]), None);
        assert_eq!(said(&["the words", "größe"], &["The  words\n", "GRÖSSE".to_lowercase().replace("ss", "ß").as_str()]), None);
        assert_eq!(said(&["two", "one"], &["one", "two"]), Some(0));
        assert_eq!(said(&["one", "tw"], &["one", "two"]), Some(1));
        assert_eq!(said(&[], &["one"]), None);
    }
}
