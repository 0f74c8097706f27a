//! Planned chunks to calls: as many texts as a call takes, from as many documents as it takes.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::domain::{Limits, Planned, TokenCount};

/// A call that waits for what is coming looks no more often than this.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

/// Packs chunks into calls within `limits`, which may change between two calls, in the order in which they come.
///
/// A call is closed when the next text would not fit, or when no text has come for `wait` and no more is coming.
pub(super) fn calls(
    planned: mpsc::Receiver<Planned>,
    limits: impl Fn() -> Limits + Send + Sync,
    wait: Duration,
    more_is_coming: impl Fn() -> bool + Send + Sync,
) -> impl Stream<Item = Vec<Planned>> + Send {
    stream::unfold((planned, None, limits, more_is_coming), move |(mut planned, left_over, bounds, more_is_coming)| async move {
        let limits = bounds();
        let first = match left_over {
            Some(first) => first,
            None => planned.recv().await?,
        };
        let mut call = Call::new(first);
        let mut left_over = None;
        while call.texts.len() < limits.texts_per_call.get() {
            let next = match planned.try_recv() {
                Ok(next) => next,
                Err(_) => match timeout(wait.max(SHORTEST_LOOK), planned.recv()).await {
                    Ok(Some(next)) => next,
                    Err(_) if more_is_coming() => continue,
                    Ok(None) | Err(_) => break,
                },
            };
            if let Err(next) = call.push(next, &limits) {
                left_over = Some(next);
                break;
            }
        }
        Some((call.texts, (planned, left_over, bounds, more_is_coming)))
    })
    .fuse()
}

/// What a call holds so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    texts: usize,
    tokens: TokenCount,
    bytes: usize,
}

impl Load {
    /// Begins a call with a text, which goes into it whatever its size.
    pub(super) fn new(tokens: TokenCount, bytes: usize) -> Self {
        Self { texts: 1, tokens, bytes }
    }

    /// Adds a text, unless the call would grow over a limit. Returns whether it did.
    pub(super) fn add(&mut self, tokens: TokenCount, bytes: usize, limits: &Limits) -> bool {
        let with = Self { texts: self.texts + 1, tokens: self.tokens + tokens, bytes: self.bytes + bytes };
        let fits = with.texts <= limits.texts_per_call.get()
            && with.tokens <= limits.tokens_per_call
            && with.bytes <= limits.bytes_per_call.get();
        if fits {
            *self = with;
        }
        fits
    }
}

struct Call {
    texts: Vec<Planned>,
    load: Load,
}

impl Call {
    fn new(first: Planned) -> Self {
        Self { load: Load::new(first.tokens, first.input().len()), texts: vec![first] }
    }

    /// Takes a text, or gives it back where the call would grow over a limit.
    fn push(&mut self, next: Planned, limits: &Limits) -> Result<(), Planned> {
        if !self.load.add(next.tokens, next.input().len(), limits) {
            return Err(next);
        }
        self.texts.push(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::change::Claims;
    use crate::domain::{ChunkId, ContentHash, DocumentPath, EmbeddingKey, Fingerprint, Observation, Version};

    fn planned(index: usize, tokens: u64, bytes: usize) -> Planned {
        let path = DocumentPath::new(Path::new(&format!("{index}.txt"))).unwrap();
        let version = Version {
            hash: ContentHash::of(b""),
            media_type: "text/plain".into(),
            chunks: 1,
            lines: 1,
            seen: Observation { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) },
            retract: Vec::new(),
            asks: Vec::new(),
            claim: Claims::default().claim(&path).unwrap(),
            path,
        };
        Planned {
            id: ChunkId::of_vector(&version.path, "", 0),
            key: EmbeddingKey::of("", Fingerprint::of(&[])),
            version: Arc::new(version),
            index,
            span: 0..bytes,
            headings: Arc::default(),
            tokens: TokenCount::new(tokens),
            text: "x".repeat(bytes).into(),
            context: None,
        }
    }

    fn limits(texts: usize, tokens: u64, bytes: usize) -> Limits {
        Limits {
            texts_per_call: NonZeroUsize::new(texts).unwrap(),
            characters_per_text: NonZeroUsize::MAX,
            tokens_per_text: TokenCount::new(u64::MAX),
            tokens_per_call: TokenCount::new(tokens),
            bytes_per_call: NonZeroUsize::new(bytes).unwrap(),
        }
    }

    async fn pack(texts: Vec<(u64, usize)>, limits: Limits) -> Vec<Vec<Planned>> {
        let (sender, receiver) = mpsc::channel(texts.len().max(1));
        for (index, (tokens, bytes)) in texts.into_iter().enumerate() {
            sender.try_send(planned(index, tokens, bytes)).unwrap();
        }
        drop(sender);
        calls(receiver, move || limits, Duration::from_hours(1), || false).collect().await
    }

    #[tokio::test]
    async fn a_backlog_of_short_texts_makes_full_calls() {
        let calls = pack(vec![(1, 1); 200], limits(96, 1000, 1000)).await;
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [96, 96, 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_full_leaves_when_nothing_has_come_for_a_while() {
        let (sender, receiver) = mpsc::channel(4);
        let calls = calls(receiver, || limits(96, 1000, 1000), Duration::from_millis(50), || false);
        tokio::pin!(calls);
        sender.try_send(planned(0, 1, 1)).unwrap();
        sender.try_send(planned(1, 1, 1)).unwrap();
        assert_eq!(calls.next().await.unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_longer_while_more_is_coming() {
        let (sender, receiver) = mpsc::channel(4);
        let looks = std::sync::atomic::AtomicU32::new(0);
        // The second text comes with the tenth look, long after the wait is over.
        let more_is_coming = || {
            let look = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if look == 9 {
                sender.try_send(planned(1, 1, 1)).unwrap();
            }
            look <= 9
        };
        sender.try_send(planned(0, 1, 1)).unwrap();
        let calls = calls(receiver, || limits(96, 1000, 1000), Duration::from_millis(50), more_is_coming);
        tokio::pin!(calls);
        assert_eq!(calls.next().await.unwrap().len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_text_is_sent_once_in_order_and_no_call_is_over_a_limit_or_needlessly_short(
            texts in proptest::collection::vec((1..50_u64, 1..50_usize), 0..100),
        ) {
            let limits = limits(7, 120, 150);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let calls = runtime.block_on(pack(texts.clone(), limits));
            let indices: Vec<_> = calls.iter().flatten().map(|planned| planned.index).collect();
            prop_assert_eq!(indices, (0..texts.len()).collect::<Vec<_>>());
            let weight = |call: &[Planned]| {
                (call.iter().map(|text| text.tokens.get()).sum::<u64>(), call.iter().map(|text| text.text.len()).sum::<usize>())
            };
            for call in &calls {
                let (tokens, bytes) = weight(call);
                prop_assert!(call.len() <= 7 && tokens <= 120 && bytes <= 150);
            }
            for pair in calls.windows(2) {
                let (tokens, bytes) = weight(&pair[0]);
                let next = &pair[1][0];
                let fits = pair[0].len() < 7 && tokens + next.tokens.get() <= 120 && bytes + next.text.len() <= 150;
                prop_assert!(!fits, "the next text had room");
            }
        }
    }
}
