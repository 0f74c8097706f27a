//! The partial answer of a stream that breaks off.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of it that are kept.
const MOST: usize = 256 << 10;

/// The longest beginning of an answer that has come so far, over all attempts at it.
#[derive(Debug, Default)]
pub struct Draft(Mutex<String>);

impl Draft {
    /// Returns what has been written; `None` where nothing has.
    #[must_use]
    pub fn written(&self) -> Option<String> {
        Some(self.text().clone()).filter(|text| !text.trim().is_empty())
    }

    /// Keeps a beginning, if it is longer than what is kept.
    pub(super) fn keep(&self, text: &str) {
        let mut kept = self.text();
        if text.len() > kept.len() {
            text[..text.floor_char_boundary(MOST)].clone_into(&mut kept);
        }
    }

    /// Begins again.
    pub(super) fn clear(&self) {
        self.text().clear();
    }

    fn text(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
