//! Texts that are in flight: another chunk with the same text waits for that answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::domain::{EmbeddingKey, Planned};

/// The texts in flight, each with the chunks that wait for it beside the one that is asked for.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<FlightState>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct FlightState {
    asked: HashMap<EmbeddingKey, Vec<Planned>>,
    /// Bytes of the chunks that wait.
    bytes: usize,
    closed: bool,
}

/// Returns what a chunk takes in memory. Its headings count as if nobody shared them.
fn size(planned: &Planned) -> usize {
    let headings: usize = planned.headings.iter().map(|heading| size_of_val(heading) + heading.len()).sum();
    let context = planned.context.as_ref().map_or(0, |context| size_of_val(&**context) + context.input().len());
    size_of_val(planned) + planned.text.len() + headings + context
}

impl Shared {
    /// Bytes of chunks that wait at most; who brings more waits itself. As many may be on their way into the ledger meanwhile.
    const LARGEST: usize = 16 << 20;

    /// Returns the chunk to the caller that is to ask for its text, or keeps it until the answer in flight arrives.
    ///
    /// Blocks while too many wait.
    pub(super) fn join(&self, planned: Planned) -> Option<Planned> {
        let mut state = self.lock();
        loop {
            let is_full = state.bytes >= Self::LARGEST && !state.closed;
            match state.asked.entry(planned.key) {
                Entry::Vacant(free) => {
                    free.insert(Vec::new());
                    return Some(planned);
                }
                Entry::Occupied(mut waiting) if !is_full => {
                    let bytes = size(&planned);
                    waiting.get_mut().push(planned);
                    state.bytes += bytes;
                    return None;
                }
                Entry::Occupied(_) => state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Returns whether someone waits for room: then a call that is not full must not wait for more texts.
    pub(super) fn is_full(&self) -> bool {
        self.lock().bytes >= Self::LARGEST
    }

    /// Takes the chunks that wait for an answer that is there; more may join until [`Self::end`].
    pub(super) fn followers(&self, key: &EmbeddingKey) -> Vec<Planned> {
        let mut state = self.lock();
        let waiting = state.asked.get_mut(key).map(std::mem::take).unwrap_or_default();
        self.let_go(&mut state, waiting)
    }

    /// Ends a text: the next chunk with it finds the answer in the ledger, or asks. Returns the chunks that have joined meanwhile.
    pub(super) fn end(&self, key: &EmbeddingKey) -> Vec<Planned> {
        let mut state = self.lock();
        let waiting = state.asked.remove(key).unwrap_or_default();
        self.let_go(&mut state, waiting)
    }

    /// Keeps nobody waiting any more: the pipeline is ending.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }

    fn let_go(&self, state: &mut FlightState, waiting: Vec<Planned>) -> Vec<Planned> {
        state.bytes -= waiting.iter().map(size).sum::<usize>();
        if !waiting.is_empty() {
            self.room.notify_all();
        }
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, FlightState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
