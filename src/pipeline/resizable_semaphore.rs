//! A semaphore whose size may change while it is in use.

use std::num::NonZeroUsize;

use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::watch;

/// Places. One waiter at a time takes them.
#[derive(Debug)]
pub(super) struct Slots {
    most: watch::Receiver<NonZeroUsize>,
    taken: watch::Sender<usize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Slot(watch::Sender<usize>);

impl Slots {
    /// Makes as many places as is said at any time. Where fewer are said than are taken, none is given until enough are free again.
    pub(super) fn new(most: watch::Receiver<NonZeroUsize>) -> Self {
        Self { most, taken: watch::Sender::new(0) }
    }

    /// Waits for a place. Cancel safe.
    pub(super) async fn take(&mut self) -> Slot {
        let mut freed = self.taken.subscribe();
        loop {
            if *freed.borrow_and_update() < self.most.borrow_and_update().get() {
                self.taken.send_modify(|taken| *taken += 1);
                return Slot(self.taken.clone());
            }
            tokio::select! {
                changed = freed.changed() => changed.expect("the sender is `self`"),
                // Where nobody can change their number any more, the branch is none.
                Ok(()) = self.most.changed() => {}
            }
        }
    }

    /// Takes a place for each item before it takes the item: what has no place yet stays where it is.
    pub(super) fn give<T: Send>(self, items: impl Stream<Item = T> + Send) -> impl Stream<Item = (Slot, T)> + Send {
        stream::unfold((self, Box::pin(items)), |(mut slots, mut items)| async move {
            let slot = slots.take().await;
            let item = items.next().await?;
            Some(((slot, item), (slots, items)))
        })
        .fuse()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.send_modify(|taken| *taken -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn number(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    #[tokio::test]
    async fn there_are_as_many_places_as_is_said_last() {
        let most = watch::Sender::new(number(2));
        let mut slots = Slots::new(most.subscribe());
        let mut held = vec![slots.take().await, slots.take().await];
        assert!(slots.take().now_or_never().is_none());
        most.send_replace(number(3));
        held.push(slots.take().await);
        most.send_replace(number(1));
        for _ in 0..2 {
            held.pop();
            assert!(slots.take().now_or_never().is_none(), "{} are still held", held.len());
        }
        held.pop();
        held.push(slots.take().await);
        drop(most);
        assert!(slots.take().now_or_never().is_none());
        drop(held);
        assert!(slots.take().now_or_never().is_some());
    }

    #[tokio::test]
    async fn an_item_without_a_place_stays_where_it_is() {
        let most = watch::Sender::new(number(1));
        let (items, queue) = tokio::sync::mpsc::channel(2);
        for item in 0..2 {
            items.try_send(item).unwrap();
        }
        let mut given = Box::pin(Slots::new(most.subscribe()).give(tokio_stream::wrappers::ReceiverStream::new(queue)));
        let first = given.next().await.unwrap();
        assert!(given.next().now_or_never().is_none());
        assert_eq!((first.1, items.capacity()), (0, 1), "the second has not been taken out of the queue");
        drop((first, items));
        assert_eq!(given.next().await.map(|(_, item)| item), Some(1));
        assert!(given.next().await.is_none());
    }
}
