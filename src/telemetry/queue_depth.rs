//! How full the queues between the stages are.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// The queues that are shown. Showing one does not keep it open.
#[derive(Default)]
pub struct Queues(Mutex<Vec<Shown>>);

struct Shown {
    name: &'static str,
    /// Returns how many it holds and how many it could; `None` where all its senders have gone.
    look: Box<dyn Fn() -> Option<(usize, usize)> + Send + Sync>,
}

/// A queue at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// What it holds.
    pub name: String,
    /// How many of them.
    pub held: usize,
    /// How many there is room for.
    pub capacity: usize,
}

impl Queues {
    /// Shows a queue under a name, in place of an earlier one of that name.
    pub fn show<T: Send + 'static>(&self, name: &'static str, queue: &mpsc::Sender<T>) {
        let queue = queue.downgrade();
        let look = move || {
            let queue = queue.upgrade()?;
            Some((queue.max_capacity() - queue.capacity(), queue.max_capacity()))
        };
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|shown| shown.name != name);
        shown.push(Shown { name, look: Box::new(look) });
    }

    /// Returns the queues that are open, in the order in which they were shown.
    #[must_use]
    pub fn look(&self) -> Vec<Queue> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let look = |Shown { name, look }: &Shown| {
            let (held, capacity) = look()?;
            Some(Queue { name: (*name).to_owned(), held, capacity })
        };
        shown.iter().filter_map(look).collect()
    }
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.look()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_is_shown_until_its_last_sender_goes_and_not_kept_open() {
        let (sender, mut queue) = mpsc::channel(3);
        let queues = Queues::default();
        queues.show("words", &sender);
        sender.try_send("a").unwrap();
        assert_eq!(queues.look(), [Queue { name: "words".into(), held: 1, capacity: 3 }]);
        assert_eq!(queue.recv().await, Some("a"));
        assert_eq!(queues.look()[0].held, 0);
        drop(sender);
        assert_eq!((queues.look(), queue.recv().await), (Vec::new(), None));
    }
}
