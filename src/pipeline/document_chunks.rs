//! The chunks of one document's text, computed on demand, without ever holding all of a long text's.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::ControlFlow;

use super::resplit;
use crate::chunk;
use crate::domain::{Chunk, ChunkId, DocumentPath, Fingerprint, Limits, Standing};
use crate::extract::Extracted;
use crate::plan::{Diff, Plan};

/// Up to this length of a text, in bytes, its chunks are kept; the chunks of a longer one are cut again each time. A chunk takes about a
/// hundred bytes beside its headings, and it is the document that decides how many it has.
const KEPT: usize = 1 << 20;

/// A text with what is needed to cut it.
pub(super) struct Cutting<'a> {
    pub(super) path: &'a DocumentPath,
    pub(super) extracted: &'a Extracted,
    config: &'a chunk::ChunkConfig,
    limits: &'a Limits,
    /// Into how many parts texts of the document were cut that the service had found too long.
    cuts: HashMap<ChunkId, usize>,
    kept: Option<Vec<Chunk>>,
}

impl<'a> Cutting<'a> {
    /// Prepares to cut a document's text.
    pub(super) fn new(
        path: &'a DocumentPath,
        extracted: &'a Extracted,
        config: &'a chunk::ChunkConfig,
        limits: &'a Limits,
        cuts: HashMap<ChunkId, usize>,
    ) -> Self {
        let mut cutting = Self { path, extracted, config, limits, cuts, kept: None };
        if extracted.text.len() <= KEPT {
            let mut kept = Vec::new();
            let _whole = cutting.cut(|chunk| {
                kept.push(chunk);
                ControlFlow::Continue(())
            });
            cutting.kept = Some(kept);
        }
        cutting
    }

    /// Sends each chunk, in order, until one is refused.
    pub(super) fn each<E>(&self, mut take: impl FnMut(&Chunk) -> Result<(), E>) -> Result<(), E> {
        if let Some(kept) = &self.kept {
            return kept.iter().try_for_each(take);
        }
        let mut taken = Ok(());
        let _ended = self.cut(|chunk| {
            taken = take(&chunk);
            if taken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        taken
    }

    /// Returns what the chunks ask for, whose lines were shaped by `config`; nothing where no vectors are made.
    pub(super) fn plan(&self, has_vectors: bool, known: HashMap<ChunkId, Standing>, config: Fingerprint) -> Plan {
        let mut diff = Diff::new(self.path, &self.extracted.text, known, config);
        let Ok(()) = self.each::<Infallible>(|chunk| {
            if has_vectors {
                diff.take(chunk);
            } else {
                diff.pass();
            }
            Ok(())
        });
        diff.finish()
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> usize {
        if let Some(kept) = &self.kept {
            return kept.len();
        }
        let mut count = 0;
        let _whole = self.cut(|_| {
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }

    fn cut(&self, mut take: impl FnMut(Chunk) -> ControlFlow<()>) -> ControlFlow<()> {
        let Extracted { text, format, .. } = self.extracted;
        chunk::each(text, *format, self.config, self.limits, |chunk| {
            resplit::as_cut_before(self.path, text, chunk, &self.cuts, &mut take)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;

    use super::*;
    use crate::domain::TokenCount;
    use crate::extract;

    #[test]
    fn a_long_text_falls_into_the_same_chunks_each_time_and_ends_where_one_is_refused() {
        let path = DocumentPath::new(Path::new("a.md")).unwrap();
        let text = "# Leave\n\nEverybody has 30 days. Ask early if it is August.\n\n".repeat(KEPT / 50);
        let extracted = extract::text(&path, text.into_bytes()).unwrap();
        let config = chunk::ChunkConfig::default();
        let limits = Limits {
            texts_per_call: NonZeroUsize::MIN,
            characters_per_text: NonZeroUsize::new(50_000).unwrap(),
            tokens_per_text: TokenCount::new(8192),
            tokens_per_call: TokenCount::new(8192),
            bytes_per_call: NonZeroUsize::MAX,
        };
        let cutting = Cutting::new(&path, &extracted, &config, &limits, HashMap::new());
        assert!(cutting.kept.is_none());
        let expected = chunk::split(&extracted.text, extracted.format, &config, &limits);
        for _ in 0..2 {
            let mut expected = expected.iter();
            cutting.each(|chunk| expected.next().filter(|other| *other == chunk).map(|_| ()).ok_or(())).unwrap();
            assert_eq!(expected.len(), 0);
        }
        let mut taken = 0;
        let refused = cutting.each(|_| {
            taken += 1;
            if taken < 5 { Ok(()) } else { Err("enough") }
        });
        assert_eq!((refused, taken), (Err("enough"), 5));
    }
}
