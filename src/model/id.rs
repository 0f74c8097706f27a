//! Names that stay the same over runs and machines: BLAKE3 over length-prefixed fields.

use std::fmt;

use super::DocumentPath;

/// BLAKE3 of a file's bytes; names a version of a document. Shown as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

/// The stable id of a chunk in the output. Shown as 32 hexadecimal digits.
///
/// It names document, text, and which of the equal texts of that document it is: an edit elsewhere in the document, another
/// model or another run leave it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId([u8; 16]);

/// The configuration that shapes vectors, in 16 hexadecimal digits. Lines with equal fingerprints are comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

impl ContentHash {
    /// Returns the hash of a file's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl ChunkId {
    /// Returns the id of a vector's line. `occurrence` counts from 0 the equal texts of one document, in their order.
    #[must_use]
    pub fn of_vector(document: &DocumentPath, text: &str, occurrence: u64) -> Self {
        let hash =
            Fields::new("riverbed vectors 1").field(document.as_bytes()).field(text.as_bytes()).field(&occurrence.to_le_bytes());
        Self(hash.first())
    }
}

impl Fingerprint {
    /// Returns the fingerprint of settings given as `(name, value)` in a fixed order.
    #[must_use]
    pub fn of(settings: &[(&str, &str)]) -> Self {
        let mut hash = Fields::new("riverbed fingerprint 1");
        for (name, value) in settings {
            hash = hash.field(name.as_bytes()).field(value.as_bytes());
        }
        Self(hash.first())
    }
}

/// Hashes fields with their lengths before them, so that `("ab", "c")` and `("a", "bc")` differ.
struct Fields(blake3::Hasher);

impl Fields {
    fn new(purpose: &str) -> Self {
        Self(blake3::Hasher::new()).field(purpose.as_bytes())
    }

    fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        self
    }

    fn first<const N: usize>(&self) -> [u8; N] {
        *self.0.finalize().as_bytes().first_chunk().expect("no name is longer than the hash")
    }
}

macro_rules! shown_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

shown_as_hex!(ContentHash, ChunkId, Fingerprint);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    #[test]
    fn an_id_names_document_text_and_occurrence() {
        let id = ChunkId::of_vector(&path("a.md"), "text", 0);
        assert_eq!(id, ChunkId::of_vector(&path("a.md"), "text", 0));
        assert_ne!(id, ChunkId::of_vector(&path("b.md"), "text", 0));
        assert_ne!(id, ChunkId::of_vector(&path("a.md"), "text!", 0));
        assert_ne!(id, ChunkId::of_vector(&path("a.md"), "text", 1));
        assert_ne!(id, ChunkId::of_vector(&path("a.mdt"), "ext", 0));
    }

    #[test]
    fn ids_on_disk_do_not_move_between_builds() {
        insta::assert_snapshot!(ChunkId::of_vector(&path("a.md"), "text", 0), @"5c2f59633e41a00bfb608dbe8c515e88");
        insta::assert_snapshot!(Fingerprint::of(&[("model", "m")]), @"3f707fa072712915");
    }
}
