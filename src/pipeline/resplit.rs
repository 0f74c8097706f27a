//! Oversize chunks: the service finds them too long, though the chunker has kept the model's limits.
//!
//! Such a chunk is cut once, into as many parts as the refusal asks for, and its parts get lines of their own in its place. The ledger
//! remembers it before the first of them, so that the same text of the document is cut in the same way when it is looked at again: after
//! a crash, an edit elsewhere, or for another reason. Under another configuration the whole is asked for again.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::chunk;
use crate::domain::{Chunk, ChunkId, DocumentPath, EmbeddingKey, Fingerprint, Part, Planned};

/// A text that would have to be split into more parts than this fails: the limits that the chunker goes by are another model's.
pub(super) const MOST_PARTS: usize = 8;

/// Cuts a chunk. Fewer than two parts come out of a text that cannot be cut.
pub(super) fn cut(whole: &Planned, parts: usize) -> Vec<Planned> {
    let pieces = chunk::pieces(&whole.text, parts);
    let part = |(at, piece): (usize, &std::ops::Range<usize>)| {
        let text = &whole.text[piece.clone()];
        let context = whole.context.as_ref().map(|context| Box::new(context.of_part(text)));
        Planned {
            version: Arc::clone(&whole.version),
            id: ChunkId::of_part(whole.id, at, text),
            // Parts are asked for by themselves: nobody else waits for their answers.
            key: EmbeddingKey::of(text, Fingerprint::of(&[("part of", &whole.key.to_string())])),
            index: whole.index,
            span: whole.span.start + piece.start..whole.span.start + piece.end,
            headings: Arc::clone(&whole.headings),
            tokens: chunk::tokens(context.as_ref().map_or(text, |context| context.input())),
            text: text.into(),
            context,
        }
    };
    pieces.iter().enumerate().map(part).collect()
}

/// Sends a chunk, or in its place its parts where its text has been cut before: `cuts` says into how many, by the id that the text has
/// where it first occurs.
pub(super) fn as_cut_before(
    path: &DocumentPath,
    text: &str,
    chunk: Chunk,
    cuts: &HashMap<ChunkId, usize>,
    mut take: impl FnMut(Chunk) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if cuts.is_empty() {
        return take(chunk);
    }
    let whole = &text[chunk.span.clone()];
    let Some(parts) = cuts.get(&ChunkId::of_vector(path, whole, 0)) else { return take(chunk) };
    chunk::pieces(whole, *parts).into_iter().enumerate().try_for_each(|(at, piece)| {
        let span = chunk.span.start + piece.start..chunk.span.start + piece.end;
        let part = Some(Part { whole: chunk.span.clone(), at });
        take(Chunk { tokens: chunk::tokens(&text[span.clone()]), span, headings: Arc::clone(&chunk.headings), part })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;
    use crate::domain::change::Claims;
    use crate::domain::{ContentHash, Observation, TokenCount, Version};
    use crate::plan;

    #[test]
    fn parts_that_are_equal_to_other_chunks_have_ids_of_their_own_the_same_when_they_are_looked_at_again() {
        // The first chunk is too long, and its parts stand as chunks before and behind it, as does the whole once more.
        let (whole, text) = ("one two", "one\none two\ntwo\none two\none");
        let path = DocumentPath::new(Path::new("a.txt")).unwrap();
        let chunk =
            |span: std::ops::Range<usize>| Chunk { span, headings: Arc::default(), tokens: TokenCount::new(1), part: None };
        let chunks: Vec<_> = [0..3, 4..11, 12..15, 16..23, 24..27].map(chunk).into();
        let config = Fingerprint::of(&[]);
        let named = |chunks: &[Chunk]| {
            let mut names = plan::Names::new(&path, text);
            chunks.iter().map(|chunk| names.next(chunk)).collect::<Vec<_>>()
        };
        let before = named(&chunks);
        let version = Arc::new(Version {
            hash: ContentHash::of(b""),
            media_type: "text/plain".into(),
            chunks: 5,
            lines: 5,
            seen: Observation { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) },
            retract: Vec::new(),
            asks: Vec::new(),
            claim: Claims::default().claim(&path).unwrap(),
            path: path.clone(),
        });
        let parts_of = |index: usize| {
            let planned = Planned {
                version: Arc::clone(&version),
                id: before[index],
                key: EmbeddingKey::of(whole, config),
                index,
                span: chunks[index].span.clone(),
                headings: Arc::default(),
                tokens: TokenCount::new(2),
                text: whole.into(),
                context: None,
            };
            cut(&planned, 2)
        };
        let (first, second) = (parts_of(1), parts_of(3));
        assert_eq!(first.iter().map(|part| &*part.text).collect::<Vec<_>>(), ["one", "two"]);
        let mut ids: Vec<_> = [0, 2, 4].map(|index: usize| before[index]).into();
        ids.extend(first.iter().chain(&second).map(|part| part.id));
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 7, "two lines share an id");

        let cuts = HashMap::from([(ChunkId::of_vector(&path, whole, 0), 2)]);
        let mut anew = Vec::new();
        for chunk in chunks.clone() {
            let _whole = as_cut_before(&path, text, chunk, &cuts, |chunk| {
                anew.push(chunk);
                ControlFlow::Continue(())
            });
        }
        assert_eq!(named(&anew).into_iter().collect::<HashSet<_>>(), ids.into_iter().collect());
    }
}
