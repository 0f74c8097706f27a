//! Plans a new version of a document against its known lines: which chunks are unchanged, which have moved, which need a vector, and
//! which lines to delete. Pure: nothing is read and nothing is sent.

use std::collections::HashMap;

use crate::domain::{Chunk, ChunkId, ContentHash, DocumentPath, Fingerprint, Standing};

/// What to do with a chunk of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Its line is current already.
    Nothing,
    /// It gets a line.
    Line,
    /// It gets its line again: its vector is as it should be, and it is elsewhere in its document.
    Place,
}

/// What to do with the chunks of one version.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What each chunk wants, in order. No more than that is kept of a chunk: a document may have millions.
    pub wants: Vec<Want>,
    /// Chunks that get a line.
    pub lines: usize,
    /// The longest of them, the last where several are: its index, and its id.
    pub longest: Option<(usize, ChunkId, Chunk)>,
    /// Ids of lines that the version no longer has, in ascending order.
    pub retract: Vec<ChunkId>,
}

impl Plan {
    /// Returns how many chunks have their line already.
    #[must_use]
    pub fn keep(&self) -> usize {
        self.wants.len() - self.lines
    }
}

/// Compares the chunks of a version with the document's current lines, one after the other.
///
/// A chunk is the same when its text is, wherever it is; of equal texts in one document each counts for itself. Its line is kept
/// where its vector was shaped by `config` and it is in its place; else it is written again.
#[derive(Debug)]
pub struct Diff<'a> {
    names: Names<'a>,
    /// Lines that no chunk has claimed so far.
    left: HashMap<ChunkId, Standing>,
    config: Fingerprint,
    plan: Plan,
}

impl<'a> Diff<'a> {
    /// Begins with the document's current lines.
    #[must_use]
    pub fn new(path: &'a DocumentPath, text: &'a str, known: HashMap<ChunkId, Standing>, config: Fingerprint) -> Self {
        Self { names: Names::new(path, text), left: known, config, plan: Plan::default() }
    }

    /// Takes the next chunk.
    pub fn take(&mut self, chunk: &Chunk) {
        let Self { names, left, config, plan } = self;
        let id = names.next(chunk);
        let want = match left.remove(&id) {
            Some(line) if line.config == *config && line.place == chunk.place() => Want::Nothing,
            Some(line) if line.config == *config => Want::Place,
            _ => Want::Line,
        };
        if want != Want::Nothing {
            plan.lines += 1;
            if plan.longest.as_ref().is_none_or(|(_, _, longest)| longest.span.len() <= chunk.span.len()) {
                plan.longest = Some((plan.wants.len(), id, chunk.clone()));
            }
        }
        plan.wants.push(want);
    }

    /// Passes over the next chunk: it is wanted to have no line.
    pub fn pass(&mut self) {
        self.plan.wants.push(Want::Nothing);
    }

    /// Ends the version.
    #[must_use]
    pub fn finish(self) -> Plan {
        let mut retract: Vec<_> = self.left.into_keys().collect();
        retract.sort_unstable();
        Plan { retract, ..self.plan }
    }
}

/// Names the chunks of a text, one after the other: their ids.
#[derive(Debug)]
pub struct Names<'a> {
    path: &'a DocumentPath,
    text: &'a str,
    /// How often each text has come, by eight bytes of its hash. Should two texts share them, each has an id of its own all the same.
    occurrences: HashMap<u64, u32>,
}

impl<'a> Names<'a> {
    /// Begins with a text's first chunk.
    #[must_use]
    pub fn new(path: &'a DocumentPath, text: &'a str) -> Self {
        Self { path, text, occurrences: HashMap::new() }
    }

    /// Returns the id of the next chunk.
    pub fn next(&mut self, chunk: &Chunk) -> ChunkId {
        let whole = &self.text[chunk.part.as_ref().map_or(&chunk.span, |part| &part.whole).clone()];
        let hash = ContentHash::of(whole.as_bytes());
        let short = hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
        let occurrence = self.occurrences.entry(short).or_default();
        // The first part of a whole counts it.
        *occurrence += u32::from(chunk.part.as_ref().is_none_or(|part| part.at == 0));
        let id = ChunkId::of_vector(self.path, whole, u64::from(occurrence.saturating_sub(1)));
        chunk.part.as_ref().map_or(id, |part| ChunkId::of_part(id, part.at, &self.text[chunk.span.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Part, TokenCount};

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

    /// A plan, and the chunks among these that get a line: index, and id.
    struct Planned {
        plan: Plan,
        lines: Vec<(usize, ChunkId)>,
    }

    fn diff(text: &str, chunks: &[Chunk], known: &HashMap<ChunkId, Standing>, config: Fingerprint) -> Planned {
        let path = path();
        let mut diff = Diff::new(&path, text, known.clone(), config);
        for chunk in chunks {
            diff.take(chunk);
        }
        let (plan, mut names) = (diff.finish(), Names::new(&path, text));
        let ids = chunks.iter().map(|chunk| names.next(chunk)).enumerate().collect::<Vec<_>>();
        let lines: Vec<_> = ids.into_iter().filter(|(index, _)| plan.wants[*index] != Want::Nothing).collect();
        assert_eq!(plan.lines, lines.len());
        Planned { plan, lines }
    }

    /// Returns the current lines when all chunks of a version have theirs.
    fn standing(words: &[String]) -> HashMap<ChunkId, Standing> {
        let (text, chunks) = cut(words);
        let plan = diff(&text, &chunks, &HashMap::new(), config());
        let line = |(index, id): (usize, ChunkId)| (id, Standing { config: config(), place: chunks[index].place() });
        plan.lines.into_iter().map(line).collect()
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(ToOwned::to_owned).collect()
    }

    #[test]
    fn of_an_edited_document_only_new_chunks_get_a_line_and_only_removed_ones_are_deleted() {
        let known = standing(&words("one two six two"));
        let (text, chunks) = cut(&words("ten two six"));
        let plan = diff(&text, &chunks, &known, config());
        assert_eq!(plan.lines, [(0, ChunkId::of_vector(&path(), "ten", 0))]);
        assert_eq!(plan.plan.keep(), 2);
        let mut gone = [ChunkId::of_vector(&path(), "two", 1), ChunkId::of_vector(&path(), "one", 0)];
        gone.sort_unstable();
        assert_eq!(plan.plan.retract, gone);
    }

    #[test]
    fn a_chunk_that_has_moved_or_whose_vector_was_shaped_otherwise_gets_its_line_again() {
        let known = standing(&words("one two"));
        let (text, chunks) = cut(&words("zero one two"));
        assert_eq!(diff(&text, &chunks, &known, config()).lines.len(), 3);
        let (text, chunks) = cut(&words("one two"));
        assert_eq!(diff(&text, &chunks, &known, config()).lines.len(), 0);
        let plan = diff(&text, &chunks, &known, Fingerprint::of(&[("model", "another")]));
        assert_eq!((plan.lines.len(), plan.plan.retract.len()), (2, 0));
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
        let plan = diff(text, &chunks, &HashMap::new(), config());
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
        fn applying_a_plan_to_the_current_lines_gives_those_of_the_new_version(
            old in proptest::collection::vec("[ab]{1,2}", 0..12),
            new in proptest::collection::vec("[ab]{1,2}", 0..12),
        ) {
            let mut known = standing(&old);
            let (text, chunks) = cut(&new);
            let plan = diff(&text, &chunks, &known, config());
            prop_assert_eq!(plan.plan.keep() + plan.lines.len(), new.len());
            for (index, id) in plan.lines {
                let line = Standing { config: config(), place: chunks[index].place() };
                prop_assert!(known.insert(id, line) != Some(line), "a current line is not written again");
            }
            for id in plan.plan.retract {
                prop_assert!(known.remove(&id).is_some(), "what does not stand is not retracted");
            }
            prop_assert_eq!(known, standing(&new));
        }
    }
}
