//! What a new version of a document asks for, held against what is known of it. Pure: nothing is read and nothing is sent.

use std::collections::{HashMap, HashSet};

use crate::model::{Chunk, ChunkId, DocumentPath, Fingerprint, Standing};

/// What to do with the chunks of one version.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Chunks that get a line: index among the version's chunks, and id.
    pub lines: Vec<(usize, ChunkId)>,
    /// Chunks whose line stands already, as it should.
    pub keep: usize,
    /// Ids of lines that the version no longer has, in ascending order.
    pub retract: Vec<ChunkId>,
}

impl Plan {
    /// What there is to do where no vectors are made: what stands is taken back.
    #[must_use]
    pub fn without_lines(known: &HashMap<ChunkId, Standing>) -> Self {
        let mut retract: Vec<_> = known.keys().copied().collect();
        retract.sort_unstable();
        Self { lines: Vec::new(), keep: 0, retract }
    }
}

/// Compares the chunks of a version with the lines that stand for the document.
///
/// A chunk is the same when its text is, wherever it stands; of equal texts in one document each counts for itself. Its line is kept
/// where its vector was shaped by `config` and it stands in its place; else it is written again.
#[must_use]
pub fn diff(path: &DocumentPath, text: &str, chunks: &[Chunk], known: &HashMap<ChunkId, Standing>, config: Fingerprint) -> Plan {
    let mut occurrences: HashMap<&str, u64> = HashMap::with_capacity(chunks.len());
    let mut wanted = HashSet::with_capacity(if known.is_empty() { 0 } else { chunks.len() });
    let mut lines = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let whole = &text[chunk.part.as_ref().map_or(&chunk.span, |part| &part.whole).clone()];
        let occurrence = occurrences.entry(whole).or_default();
        // The first part of a whole counts it.
        *occurrence += u64::from(chunk.part.as_ref().is_none_or(|part| part.at == 0));
        let id = ChunkId::of_vector(path, whole, occurrence.saturating_sub(1));
        let id = chunk.part.as_ref().map_or(id, |part| ChunkId::of_part(id, part.at, &text[chunk.span.clone()]));
        if known.get(&id).is_none_or(|line| line.config != config || line.place != chunk.place()) {
            lines.push((index, id));
        }
        if !known.is_empty() {
            wanted.insert(id);
        }
    }
    let mut retract: Vec<_> = known.keys().filter(|id| !wanted.contains(*id)).copied().collect();
    retract.sort_unstable();
    Plan { keep: chunks.len() - lines.len(), lines, retract }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Part, TokenCount};

    fn path() -> DocumentPath {
        DocumentPath::new(Path::new("a.md")).unwrap()
    }

    /// Makes a text of these words and a chunk of each.
    fn cut(words: &[String]) -> (String, Vec<Chunk>) {
        let mut text = String::new();
        let chunks = words.iter().map(|word| {
            let start = text.len();
            text.push_str(word);
            Chunk { span: start..text.len(), headings: Arc::default(), tokens: TokenCount::new(1), part: None }
        });
        let chunks = chunks.collect();
        (text, chunks)
    }

    fn config() -> Fingerprint {
        Fingerprint::of(&[])
    }

    /// Returns the lines that stand when all chunks of a version have theirs.
    fn standing(words: &[String]) -> HashMap<ChunkId, Standing> {
        let (text, chunks) = cut(words);
        let plan = diff(&path(), &text, &chunks, &HashMap::new(), config());
        let line = |(index, id): (usize, ChunkId)| (id, Standing { config: config(), place: chunks[index].place() });
        plan.lines.into_iter().map(line).collect()
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(ToOwned::to_owned).collect()
    }

    #[test]
    fn of_an_edited_document_only_what_is_new_gets_a_line_and_only_what_is_gone_is_retracted() {
        let known = standing(&words("one two six two"));
        let (text, chunks) = cut(&words("ten two six"));
        let plan = diff(&path(), &text, &chunks, &known, config());
        assert_eq!(plan.lines, [(0, ChunkId::of_vector(&path(), "ten", 0))]);
        assert_eq!(plan.keep, 2);
        let mut gone = [ChunkId::of_vector(&path(), "two", 1), ChunkId::of_vector(&path(), "one", 0)];
        gone.sort_unstable();
        assert_eq!(plan.retract, gone);
    }

    #[test]
    fn a_chunk_that_has_moved_or_whose_vector_was_shaped_otherwise_gets_its_line_again() {
        let known = standing(&words("one two"));
        let (text, chunks) = cut(&words("zero one two"));
        assert_eq!(diff(&path(), &text, &chunks, &known, config()).lines.len(), 3);
        let (text, chunks) = cut(&words("one two"));
        assert_eq!(diff(&path(), &text, &chunks, &known, config()).lines.len(), 0);
        let plan = diff(&path(), &text, &chunks, &known, Fingerprint::of(&[("model", "another")]));
        assert_eq!((plan.lines.len(), plan.retract.len()), (2, 0));
    }

    #[test]
    fn parts_of_a_text_share_their_ids_with_no_other_text() {
        // `one two` twice, each in two parts, between texts that are equal to a part.
        let text = "one two one one two two";
        let chunk = |span: std::ops::Range<usize>, part: Option<(usize, usize, usize)>| Chunk {
            span,
            headings: Arc::default(),
            tokens: TokenCount::new(1),
            part: part.map(|(start, end, at)| Part { whole: start..end, at }),
        };
        let chunks = [
            chunk(0..3, Some((0, 7, 0))),
            chunk(4..7, Some((0, 7, 1))),
            chunk(8..11, None),
            chunk(12..15, Some((12, 19, 0))),
            chunk(16..19, Some((12, 19, 1))),
            chunk(20..23, None),
        ];
        let plan = diff(&path(), text, &chunks, &HashMap::new(), config());
        let ids: Vec<_> = plan.lines.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 6);
        let whole = |nth| ChunkId::of_vector(&path(), "one two", nth);
        let part = |nth, at, text| ChunkId::of_part(whole(nth), at, text);
        let alone = |text| ChunkId::of_vector(&path(), text, 0);
        let expected = [part(0, 0, "one"), part(0, 1, "two"), alone("one"), part(1, 0, "one"), part(1, 1, "two"), alone("two")];
        assert_eq!(ids, expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn applying_a_plan_to_what_stands_gives_what_the_new_version_has(
            old in proptest::collection::vec("[ab]{1,2}", 0..12),
            new in proptest::collection::vec("[ab]{1,2}", 0..12),
        ) {
            let mut known = standing(&old);
            let (text, chunks) = cut(&new);
            let plan = diff(&path(), &text, &chunks, &known, config());
            prop_assert_eq!(plan.keep + plan.lines.len(), new.len());
            for (index, id) in plan.lines {
                let line = Standing { config: config(), place: chunks[index].place() };
                prop_assert!(known.insert(id, line) != Some(line), "what stands as it should is not written again");
            }
            for id in plan.retract {
                prop_assert!(known.remove(&id).is_some(), "what does not stand is not retracted");
            }
            prop_assert_eq!(known, standing(&new));
        }
    }
}
