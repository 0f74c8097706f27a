//! The vector of a text, as numbers and as the JSON of an answer.

use std::io::Write;

use super::fast_vectors::Cheap;
use super::{Vectors, hash, lexical_vectors};

/// Puts texts into a vector space.
#[derive(Debug)]
pub(super) enum Space {
    Lexical,
    Cheap(Box<Cheap>),
}

impl Space {
    pub(super) fn new(vectors: Vectors) -> Self {
        match vectors {
            Vectors::Lexical => Self::Lexical,
            Vectors::Cheap => Self::Cheap(Box::default()),
        }
    }

    /// Returns the vector of a text, of unit length.
    pub(super) fn vector(&self, text: &str, dimensions: usize) -> Vec<f32> {
        match self {
            Self::Lexical => lexical_vectors::vector(text, dimensions),
            Self::Cheap(cheap) => cheap.vector(text, dimensions),
        }
    }

    /// Writes the vector of a text as a JSON array, every number as the shortest decimal that gives back the same `f32`.
    pub(super) fn write(&self, text: &str, dimensions: usize, out: &mut Vec<u8>) {
        match self {
            Self::Lexical => write_list(&lexical_vectors::vector(text, dimensions), out),
            Self::Cheap(cheap) => cheap.write(text, dimensions, out),
        }
    }

    /// Writes the vector of a text before it was normalised: the same direction, some length of its own from 8 to 16.
    pub(super) fn write_unnormalised(&self, text: &str, dimensions: usize, out: &mut Vec<u8>) {
        #[expect(clippy::cast_precision_loss, reason = "it is below 1,024")]
        let length = 8.0 + hash::place(hash::text(text), 1024) as f32 / 128.0;
        let vector: Vec<f32> = self.vector(text, dimensions).into_iter().map(|number| number * length).collect();
        write_list(&vector, out);
    }
}

/// Writes numbers as a JSON array.
pub(super) fn write_list<T: serde::Serialize>(numbers: &[T], out: &mut Vec<u8>) {
    serde_json::to_writer(out.by_ref(), numbers).expect("numbers print, and a Vec takes any number of bytes");
}
