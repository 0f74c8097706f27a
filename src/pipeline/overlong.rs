//! Chunks that the service finds too long, though the chunker has reckoned with the model's limits.
//!
//! Such a chunk is cut once, into as many parts as the refusal asks for, and its parts get lines of their own in its place. The ledger
//! remembers it before the first of them, so that the same text of the document is cut in the same way when it is looked at anew: after
//! a crash, an edit elsewhere, or for another reason. Under another configuration the whole is asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::chunk;
use crate::model::{Chunk, ChunkId, DocumentPath, EmbeddingKey, Fingerprint, Planned};

/// A text that would have to be cut into more parts than this is given up: the limits that the chunker goes by are another model's.
pub(super) const MOST_PARTS: usize = 8;

/// Cuts a chunk. Fewer than two parts come out of a text that cannot be cut.
pub(super) fn cut(whole: &Planned, parts: usize) -> Vec<Planned> {
    let pieces = chunk::pieces(&whole.text, parts);
    let path = &whole.version.path;
    // Which of the equal texts of its document the whole is: the parts of those before it come first.
    let before = (0..u64::MAX).find(|nth| ChunkId::of_vector(path, &whole.text, *nth) == whole.id).expect("its id was made so");
    let equal =
        |text: &str, until: usize| pieces[..until].iter().filter(|piece| &whole.text[(*piece).clone()] == text).count() as u64;
    let part = |(at, piece): (usize, &std::ops::Range<usize>)| {
        let text = &whole.text[piece.clone()];
        Planned {
            version: Arc::clone(&whole.version),
            id: ChunkId::of_vector(path, text, before * equal(text, pieces.len()) + equal(text, at)),
            // Parts are asked for by themselves: nobody else waits for their answers.
            key: EmbeddingKey::of(text, Fingerprint::of(&[("part of", &whole.key.to_string())])),
            index: whole.index,
            span: whole.span.start + piece.start..whole.span.start + piece.end,
            headings: Arc::clone(&whole.headings),
            tokens: chunk::tokens(text),
            text: text.into(),
        }
    };
    pieces.iter().enumerate().map(part).collect()
}

/// Puts the parts in the place of chunks whose text has been cut before: `cuts` says into how many, by the id that the text has where
/// it first stands.
pub(super) fn as_cut_before(path: &DocumentPath, text: &str, chunks: Vec<Chunk>, cuts: &HashMap<ChunkId, usize>) -> Vec<Chunk> {
    if cuts.is_empty() {
        return chunks;
    }
    let mut cut = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let whole = &text[chunk.span.clone()];
        let Some(parts) = cuts.get(&ChunkId::of_vector(path, whole, 0)) else {
            cut.push(chunk);
            continue;
        };
        cut.extend(chunk::pieces(whole, *parts).into_iter().map(|piece| {
            let span = chunk.span.start + piece.start..chunk.span.start + piece.end;
            Chunk { tokens: chunk::tokens(&text[span.clone()]), span, headings: Arc::clone(&chunk.headings) }
        }));
    }
    cut
}
