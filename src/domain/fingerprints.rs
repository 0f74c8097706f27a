//! Fingerprints of the settings that shape a vector.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{EmbeddingKey, Fingerprint};

/// The fingerprints under which lines and answers are known. There are two of each, for an emulator's vectors and for a model's: which
/// of the two a URL gives is seen from its answers only, and remembered.
#[derive(Debug)]
pub struct Fingerprints {
    configs: [Fingerprint; 2],
    vectors: [Fingerprint; 2],
    emulated: AtomicBool,
    remembered_as: Option<String>,
    has_vectors: bool,
}

impl Fingerprints {
    /// Takes the fingerprints of all that shapes a line's vector and of what shapes a text's, each for a model and for an emulator,
    /// and which of the two is expected; `remembered_as` is the name under which the ledger remembers what the answers say.
    #[must_use]
    pub fn new(configs: [Fingerprint; 2], vectors: [Fingerprint; 2], emulated: bool, remembered_as: Option<String>) -> Self {
        Self { configs, vectors, emulated: AtomicBool::new(emulated), remembered_as, has_vectors: true }
    }

    /// The same where no vectors are made: documents are only asked about.
    #[must_use]
    pub fn without_vectors(self) -> Self {
        Self { has_vectors: false, ..self }
    }

    /// Returns whether vectors are made.
    #[must_use]
    pub fn has_vectors(&self) -> bool {
        self.has_vectors
    }

    /// Returns the name under which the ledger remembers who makes the vectors, where only the answers say that.
    pub(crate) fn remembered_as(&self) -> Option<&str> {
        self.remembered_as.as_deref()
    }

    /// Returns the fingerprint that a line has whose vector is as it is made now.
    #[must_use]
    pub fn config(&self) -> Fingerprint {
        self.configs[usize::from(self.is_emulated())]
    }

    /// Returns the fingerprint of a line by who made its vector.
    #[must_use]
    pub fn config_of(&self, emulated: bool) -> Fingerprint {
        self.configs[usize::from(emulated)]
    }

    /// Returns the key for re-split records. The emulator shares the model's key because limits are the model's.
    #[must_use]
    pub(crate) fn limits(&self) -> Fingerprint {
        self.config_of(false)
    }

    /// Returns what a text's vector, as it is made now, is known by.
    #[must_use]
    pub fn key(&self, text: &str) -> EmbeddingKey {
        self.key_of(text, self.is_emulated())
    }

    /// Returns what a text's vector is known by, by who made it.
    #[must_use]
    pub fn key_of(&self, text: &str, emulated: bool) -> EmbeddingKey {
        EmbeddingKey::of(text, self.vectors[usize::from(emulated)])
    }

    /// Returns whether an emulator's vectors are expected.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        self.emulated.load(Relaxed)
    }

    /// Records whether an emulator answers; returns whether that was news.
    pub(crate) fn answered(&self, emulated: bool) -> bool {
        self.emulated.swap(emulated, Relaxed) != emulated
    }
}
