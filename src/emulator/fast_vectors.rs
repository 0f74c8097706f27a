//! Vectors for benches: as good as free, so that what is measured is the client.
//!
//! A vector is put together from blocks of 64 numbers out of a table that is made and printed once. A text's hash picks
//! the blocks. All blocks have the same length, so whatever is picked comes out at unit length, and an answer of 1,024
//! numbers costs 16 copies instead of 1,024 conversions to decimal.

use std::ops::Range;
use std::sync::OnceLock;

use super::{hash, vector_kind};

const BLOCK: usize = 64;
const VARIANTS: usize = 256;

/// The dimensions that models are asked for; others are computed without a table.
const DIMENSIONS: [usize; 6] = [256, 384, 512, 1024, 1536, 3072];

/// One table for each number of dimensions, made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Cheap {
    tables: [OnceLock<Table>; DIMENSIONS.len()],
}

impl Cheap {
    /// Returns the vector of a text, of unit length.
    pub(super) fn vector(&self, text: &str, dimensions: usize) -> Vec<f32> {
        if let Some(table) = self.table(dimensions) {
            return variants(text, dimensions).flat_map(|variant| &table.blocks[variant].numbers).copied().collect();
        }
        let mut numbers: Vec<f32> = hash::sequence(hash::text(text)).take(dimensions).map(signed_unit).collect();
        scale_to(1.0, &mut numbers);
        numbers
    }

    /// Writes the vector of a text as a JSON array.
    pub(super) fn write(&self, text: &str, dimensions: usize, out: &mut Vec<u8>) {
        let Some(table) = self.table(dimensions) else {
            return vector_kind::write_list(&self.vector(text, dimensions), out);
        };
        out.push(b'[');
        for variant in variants(text, dimensions) {
            out.extend_from_slice(&table.printed[table.blocks[variant].printed.clone()]);
        }
        // Every block ends in a comma; the last one is the end of the array.
        if let Some(last) = out.last_mut() {
            *last = b']';
        }
    }

    fn table(&self, dimensions: usize) -> Option<&Table> {
        let index = DIMENSIONS.iter().position(|&known| known == dimensions)?;
        Some(self.tables[index].get_or_init(|| Table::new(dimensions)))
    }
}

/// Which block is in each place of a text's vector.
fn variants(text: &str, dimensions: usize) -> impl Iterator<Item = usize> {
    hash::sequence(hash::text(text)).take(dimensions / BLOCK).map(|hash| hash::place(hash, VARIANTS))
}

#[derive(Debug)]
struct Table {
    blocks: Vec<Block>,
    /// All blocks as JSON, each number with a comma after it.
    printed: Vec<u8>,
}

#[derive(Debug)]
struct Block {
    numbers: [f32; BLOCK],
    printed: Range<usize>,
}

impl Table {
    fn new(dimensions: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "both are small")]
        let length = (BLOCK as f32 / dimensions as f32).sqrt();
        let mut source = hash::sequence(dimensions as u64).map(signed_unit);
        let mut printed = Vec::new();
        let blocks = (0..VARIANTS).map(|_| {
            let mut numbers = [0.0; BLOCK];
            numbers.fill_with(|| source.next().expect("the sequence has no end"));
            scale_to(length, &mut numbers);
            let start = printed.len();
            for number in &numbers {
                serde_json::to_writer(&mut printed, number).expect("numbers print, and a Vec takes any number of bytes");
                printed.push(b',');
            }
            Block { numbers, printed: start..printed.len() }
        });
        Self { blocks: blocks.collect(), printed }
    }
}

/// A number from -1 to 1 out of a hash's upper 24 bits, which an `f32` holds exactly.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
fn signed_unit(hash: u64) -> f32 {
    (hash >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

fn scale_to(length: f32, numbers: &mut [f32]) {
    let factor = length / numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    for number in numbers {
        *number *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dimensions: usize) {
        let cheap = Cheap::default();
        let vector = cheap.vector("a text", dimensions);
        assert_eq!(vector.len(), dimensions);
        assert!((vector.iter().map(|number| number * number).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(vector, Cheap::default().vector("a text", dimensions));
        assert_ne!(vector, cheap.vector("another text", dimensions));

        let mut printed = Vec::new();
        cheap.write("a text", dimensions, &mut printed);
        assert_eq!(serde_json::from_slice::<Vec<f32>>(&printed).unwrap(), vector);
    }

    #[test]
    fn vectors_have_unit_length_and_print_as_they_are() {
        DIMENSIONS.into_iter().for_each(check);
        check(300);
    }
}
