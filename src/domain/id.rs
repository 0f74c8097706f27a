//! Ids that are the same on every run and machine: BLAKE3 over length-prefixed fields.

use std::fmt;
use std::ops::Range;

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

/// Names a question: what is asked of which model in which way, whatever document it is about. Shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuestionKey([u8; 16]);

/// The configuration that shapes vectors, in 16 hexadecimal digits. Lines with equal fingerprints are comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

/// Names the embedding of a text by one model with one set of parameters, whatever document the text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EmbeddingKey([u8; 16]);

/// Where a chunk is in its document: span, page and headings. Two lines of one chunk with the same place differ in nothing that
/// a reader would want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place([u8; 8]);

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

    /// Returns the id of the line of a part of a text that was too long as a whole; `at` counts the parts from 0. No other text of the
    /// document shares it, be it the same: a part is identified by its whole.
    #[must_use]
    pub fn of_part(whole: Self, at: usize, text: &str) -> Self {
        let hash = Fields::new("riverbed part 1").field(&whole.0).field(&(at as u64).to_le_bytes()).field(text.as_bytes());
        Self(hash.first())
    }
}

impl ChunkId {
    /// Returns the id of an answer's line: what a prompt says of a document, or of a chunk of it. Messages in a file have no prompt.
    #[must_use]
    pub fn of_answer(document: &DocumentPath, prompt: Option<&str>, chunk: Option<Self>) -> Self {
        let hash = Fields::new("riverbed answers 1").field(document.as_bytes());
        let hash = hash.optional(prompt.map(str::as_bytes)).optional(chunk.as_ref().map(|chunk| chunk.0.as_slice()));
        Self(hash.first())
    }
}

impl QuestionKey {
    /// Returns the key of a text that is put under settings, by their fingerprint.
    #[must_use]
    pub fn of(settings: Fingerprint, text: &[u8]) -> Self {
        Self(Fields::new("riverbed question 1").field(&settings.0).field(text).first())
    }

    /// Returns the same key of a text that is written piece by piece, each time the same: it may be too long to be held.
    #[must_use]
    pub fn of_written(settings: Fingerprint, write: impl Fn(&mut dyn fmt::Write) -> fmt::Result) -> Self {
        let mut length = Length(0);
        let _infallible = write(&mut length);
        let mut fields = Fields::new("riverbed question 1").field(&settings.0);
        fields.0.update(&length.0.to_le_bytes());
        let _infallible = write(&mut fields);
        Self(fields.first())
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

impl EmbeddingKey {
    /// Returns the key of a text under the settings that shape a vector, by their fingerprint.
    #[must_use]
    pub fn of(text: &str, vectors: Fingerprint) -> Self {
        Self(Fields::new("riverbed embedding 1").field(&vectors.0).field(text.as_bytes()).first())
    }
}

impl Place {
    /// Returns where a chunk is: byte range in the extracted text, page, headings from the outermost.
    #[must_use]
    pub fn of<H: AsRef<str>>(span: &Range<usize>, page: Option<u32>, headings: &[H]) -> Self {
        let number = |number: usize| (number as u64).to_le_bytes();
        let mut hash = Fields::new("riverbed place 1").field(&number(span.start)).field(&number(span.end));
        hash = hash.field(&page.map_or_else(Vec::new, |page| page.to_le_bytes().to_vec()));
        for heading in headings {
            hash = hash.field(heading.as_ref().as_bytes());
        }
        Self(hash.first())
    }
}

/// Hashes fields with their lengths before them, so that `("ab", "c")` and `("a", "bc")` differ.
struct Fields(blake3::Hasher);

/// Counts the bytes of a text.
struct Length(u64);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len() as u64;
        Ok(())
    }
}

impl fmt::Write for Fields {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

impl Fields {
    fn new(purpose: &str) -> Self {
        Self(blake3::Hasher::new()).field(purpose.as_bytes())
    }

    fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        self
    }

    /// Hashes what may be missing, so that nothing and an empty field differ.
    fn optional(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.field(&[1]).field(bytes),
            None => self.field(&[0]),
        }
    }

    fn first<const N: usize>(&self) -> [u8; N] {
        *self.0.finalize().as_bytes().first_chunk().expect("no name is longer than the hash")
    }
}

macro_rules! bytes_shown_as_hex {
    ($($name:ident: $length:literal),*) => {$(
        impl $name {
            /// Returns the bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Reads the bytes back, `None` where they are not as many as there must be.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Reads the hexadecimal digits back.
            #[must_use]
            pub fn from_hex(digits: &str) -> Option<Self> {
                let mut bytes = [0; $length];
                if digits.len() != 2 * $length || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
                }
                Some(Self(bytes))
            }
        }

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

bytes_shown_as_hex!(ContentHash: 32, ChunkId: 16, Fingerprint: 8, EmbeddingKey: 16, Place: 8, QuestionKey: 16);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    #[test]
    fn a_question_has_the_same_key_whether_its_text_is_held_or_written() {
        let settings = Fingerprint::of(&[("model", "m")]);
        let written =
            |pieces: &[&str]| QuestionKey::of_written(settings, |out| pieces.iter().try_for_each(|piece| out.write_str(piece)));
        assert_eq!(written(&["größe ", "", "zählt"]), QuestionKey::of(settings, "größe zählt".as_bytes()));
        assert_eq!(written(&[]), QuestionKey::of(settings, b""));
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
    fn an_answer_is_that_of_a_prompt_to_a_document_or_to_a_chunk_of_it() {
        let chunk = Some(ChunkId::of_vector(&path("a.md"), "text", 0));
        let ids = [(Some("p"), None), (Some("p"), chunk), (Some("q"), None), (Some(""), None), (None, None)];
        let ids = ids.map(|(prompt, chunk)| ChunkId::of_answer(&path("a.md"), prompt, chunk));
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn a_place_is_span_page_and_headings() {
        let place = Place::of(&(1..2), None, &["a"]);
        assert_eq!(place, Place::of(&(1..2), None, &["a".to_owned()]));
        for other in [Place::of(&(1..3), None, &["a"]), Place::of(&(1..2), Some(0), &["a"]), Place::of(&(1..2), None, &["a", ""])]
        {
            assert_ne!(place, other);
        }
    }

    #[test]
    fn hexadecimal_digits_read_back() {
        let id = ChunkId::of_vector(&path("a.md"), "text", 0);
        assert_eq!(ChunkId::from_hex(&id.to_string()), Some(id));
        assert_eq!(ChunkId::from_bytes(id.as_bytes()), Some(id));
        for bad in ["", "5c2f", "+c2f59633e41a00bfb608dbe8c515e88", "5c2f59633e41a00bfb608dbe8c515e8é"] {
            assert_eq!(ChunkId::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_on_disk_do_not_move_between_builds() {
        insta::assert_snapshot!(ChunkId::of_vector(&path("a.md"), "text", 0), @"5c2f59633e41a00bfb608dbe8c515e88");
        insta::assert_snapshot!(Fingerprint::of(&[("model", "m")]), @"3f707fa072712915");
        insta::assert_snapshot!(EmbeddingKey::of("text", Fingerprint::of(&[])), @"4673f83e8047f368d33ea5184384355a");
        insta::assert_snapshot!(ChunkId::of_answer(&path("a.md"), Some("p"), None), @"960af2cc751f162961fa5a175374e88f");
        insta::assert_snapshot!(QuestionKey::of(Fingerprint::of(&[]), b"text"), @"1182008c63355c4319c0364ba089e00b");
        insta::assert_snapshot!(Place::of(&(1..2), Some(3), &["a"]), @"56b2032ad4e0bec3");
    }
}
