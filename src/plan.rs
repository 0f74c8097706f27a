//! What a new version of a document asks for, held against what is known of it. Pure: nothing is read and nothing is sent.

use std::collections::{HashMap, HashSet};

use crate::model::{Chunk, ChunkId, DocumentPath};

/// What to do with the chunks of one version.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Chunks that need a vector: index among the version's chunks, and id.
    pub embed: Vec<(usize, ChunkId)>,
    /// Chunks whose line stands already.
    pub keep: usize,
    /// Ids of lines that the version no longer has, in ascending order.
    pub retract: Vec<ChunkId>,
}

/// Compares the chunks of a version with the lines that stand for the document.
///
/// A chunk is the same when its text is, wherever it stands; of equal texts in one document each counts for itself.
#[must_use]
pub fn diff(path: &DocumentPath, text: &str, chunks: &[Chunk], known: &HashSet<ChunkId>) -> Plan {
    let mut occurrences: HashMap<&str, u64> = HashMap::with_capacity(chunks.len());
    let mut wanted = HashSet::with_capacity(if known.is_empty() { 0 } else { chunks.len() });
    let mut embed = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let text = &text[chunk.span.clone()];
        let occurrence = occurrences.entry(text).or_default();
        let id = ChunkId::of_vector(path, text, *occurrence);
        *occurrence += 1;
        if !known.contains(&id) {
            embed.push((index, id));
        }
        if !known.is_empty() {
            wanted.insert(id);
        }
    }
    let mut retract: Vec<_> = known.difference(&wanted).copied().collect();
    retract.sort_unstable();
    Plan { keep: chunks.len() - embed.len(), embed, retract }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::TokenCount;

    fn path() -> DocumentPath {
        DocumentPath::new(Path::new("a.md")).unwrap()
    }

    /// Makes a text of these words and a chunk of each.
    fn cut(words: &[String]) -> (String, Vec<Chunk>) {
        let mut text = String::new();
        let chunks = words.iter().map(|word| {
            let start = text.len();
            text.push_str(word);
            Chunk { span: start..text.len(), headings: Arc::default(), tokens: TokenCount::new(1) }
        });
        let chunks = chunks.collect();
        (text, chunks)
    }

    fn ids(words: &[String]) -> HashSet<ChunkId> {
        let (text, chunks) = cut(words);
        diff(&path(), &text, &chunks, &HashSet::new()).embed.into_iter().map(|(_, id)| id).collect()
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(ToOwned::to_owned).collect()
    }

    #[test]
    fn of_an_edited_document_only_what_is_new_is_embedded_and_only_what_is_gone_is_retracted() {
        let known = ids(&words("one two three two"));
        let (text, chunks) = cut(&words("zero one two three"));
        let plan = diff(&path(), &text, &chunks, &known);
        assert_eq!(plan.embed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0]);
        assert_eq!(plan.keep, 3);
        assert_eq!(plan.retract, [ChunkId::of_vector(&path(), "two", 1)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn applying_a_plan_to_what_stands_gives_what_the_new_version_has(
            old in proptest::collection::vec("[ab]{1,2}", 0..12),
            new in proptest::collection::vec("[ab]{1,2}", 0..12),
        ) {
            let mut standing = ids(&old);
            let (text, chunks) = cut(&new);
            let plan = diff(&path(), &text, &chunks, &standing);
            prop_assert_eq!(plan.keep + plan.embed.len(), new.len());
            for (_, id) in plan.embed {
                prop_assert!(standing.insert(id), "what stands is not embedded again");
            }
            for id in plan.retract {
                prop_assert!(standing.remove(&id), "what does not stand is not retracted");
            }
            prop_assert_eq!(standing, ids(&new));
        }
    }
}
