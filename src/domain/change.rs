//! Changes that the source reports: a file to process, or one that was removed. And the files it knows from earlier runs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::fmt::Debug;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::DocumentPath;

/// A file that is new, changed or gone.
#[derive(Debug)]
pub struct Change {
    /// Where it lies, or lay.
    pub path: DocumentPath,
    /// What has happened to it.
    pub what: What,
    /// Keeps a second change of the same file back until this one is through.
    pub claim: Claim,
}

/// What has happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// It is there, new or changed, and looked like this.
    There(Observation),
    /// It was known, has been looked for, and is no document any more.
    Gone(Departure),
}

/// Why a file is no document any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Departure {
    /// It is not in its folder any more.
    Removed,
    /// It is ignored now: a rule leaves it out, its marker is away, or something else than a regular file lies in its place.
    Hidden,
}

/// A file as `lstat` shows it. Two equal observations with quiet time between them mean that nobody writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Observation {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of the contents: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// Time of the last change of contents or inode: seconds and nanoseconds since 1970.
    pub changed: (i64, i64),
}

impl Observation {
    /// Returns how long ago contents or inode last changed, by a clock that says `now`; `None` when that is yet to come.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let (seconds, nanoseconds) = self.changed;
        let changed = Duration::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?);
        now.duration_since(UNIX_EPOCH).ok()?.checked_sub(changed)
    }
}

/// The documents on their way through the pipeline.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    inner: Arc<ClaimsInner>,
}

#[derive(Debug, Default)]
struct ClaimsInner {
    state: Mutex<ClaimsState>,
    news: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct ClaimsState {
    held: HashMap<DocumentPath, Held>,
    returned: Vec<Returned>,
}

/// A document in progress.
#[derive(Debug)]
struct Held {
    since: Instant,
    /// Another change of it was turned away meanwhile.
    other_wanted: bool,
}

/// The documents that are in progress at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// How many.
    pub documents: usize,
    /// Those that have been so for longest, the oldest first, and since when.
    pub oldest: Vec<(DocumentPath, Instant)>,
}

/// The right to be the only change of a document in progress. Dropping it lets the next one through.
#[derive(Debug)]
pub struct Claim {
    path: DocumentPath,
    since: Instant,
    attempt: u32,
    again: bool,
    claims: Claims,
}

/// A document that the source has something to do about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// Where it lies.
    pub path: DocumentPath,
    /// What there is to do.
    pub why: Why,
}

/// Why a document came back to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It went through, but a later change was turned away meanwhile.
    Free,
    /// It has been handed back by [`Claim::again`], so often in a row.
    Again(u32),
    /// It is asked for by [`Claims::retry`].
    Retry,
}

/// What is recorded of files from earlier runs. The source compares what it sees with it.
pub trait Memory: Debug + Send + Sync {
    /// Returns the next recorded files, at most so many, whose paths' bytes come after these; in ascending order. None when
    /// there are no more. Blocks.
    ///
    /// # Errors
    /// When the memory cannot be read.
    fn after(&self, path: &[u8], most: usize) -> Result<Vec<(DocumentPath, Remembered)>, MemoryError>;

    /// Returns what is recorded of one file. Blocks.
    ///
    /// # Errors
    /// When the memory cannot be read.
    fn of(&self, path: &DocumentPath) -> Result<Option<Remembered>, MemoryError>;

    /// Returns the source folder as it was last accepted: device and inode. Blocks.
    ///
    /// # Errors
    /// When the memory cannot be read.
    fn root(&self) -> Result<Option<(u64, u64)>, MemoryError>;

    /// Accepts a source folder: files missing in it from now on are removed. Blocks.
    ///
    /// # Errors
    /// When the memory cannot be written.
    fn set_root(&self, root: (u64, u64)) -> Result<(), MemoryError>;
}

/// Why the memory failed.
pub type MemoryError = Box<dyn Error + Send + Sync>;

/// A file as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// What it looked like when it was last processed; `None` where it must be taken again although it has not changed.
    pub seen: Option<Observation>,
    /// The device that it was last seen on; where that is not known, it counts as that of the source folder.
    pub device: Option<u64>,
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMemory;

impl Memory for NoMemory {
    fn after(&self, _: &[u8], _: usize) -> Result<Vec<(DocumentPath, Remembered)>, MemoryError> {
        Ok(Vec::new())
    }

    fn of(&self, _: &DocumentPath) -> Result<Option<Remembered>, MemoryError> {
        Ok(None)
    }

    fn root(&self) -> Result<Option<(u64, u64)>, MemoryError> {
        Ok(None)
    }

    fn set_root(&self, _: (u64, u64)) -> Result<(), MemoryError> {
        Ok(())
    }
}

impl Claims {
    /// Claims a document, or returns `None` while an earlier change of it is in progress: [`Self::returned`] then reports its end.
    #[must_use]
    pub fn claim(&self, path: &DocumentPath) -> Option<Claim> {
        self.claim_again(path, 0)
    }

    /// Claims a document that has been handed back `attempt` times, so that the count goes on where it was.
    #[must_use]
    pub fn claim_again(&self, path: &DocumentPath, attempt: u32) -> Option<Claim> {
        match self.state().held.entry(path.clone()) {
            Entry::Occupied(mut held) => {
                held.get_mut().other_wanted = true;
                None
            }
            Entry::Vacant(free) => {
                let since = Instant::now();
                free.insert(Held { since, other_wanted: false });
                Some(Claim { path: path.clone(), since, attempt, again: false, claims: self.clone() })
            }
        }
    }

    /// Asks the source to look at a document again, as if it were new: a person wants it retried.
    pub fn retry(&self, path: &DocumentPath) {
        self.give_back(&mut self.state(), path.clone(), Why::Retry);
    }

    /// Returns the documents that are in progress.
    #[must_use]
    pub fn held(&self) -> Vec<DocumentPath> {
        self.state().held.keys().cloned().collect()
    }

    /// Returns how many documents are in progress, and the `most` oldest of them.
    #[must_use]
    pub fn under_way(&self, most: usize) -> UnderWay {
        let state = self.state();
        let mut oldest: Vec<_> = state.held.iter().map(|(path, held)| (held.since, path)).collect();
        oldest.sort_unstable();
        let oldest = oldest.into_iter().take(most).map(|(since, path)| (path.clone(), since)).collect();
        UnderWay { documents: state.held.len(), oldest }
    }

    /// Waits for documents that were handed back or are asked for, or whose claim was refused and is free now; each is reported once.
    /// Cancel safe, for one waiter.
    pub async fn returned(&self) -> Vec<Returned> {
        loop {
            let returned = mem::take(&mut self.state().returned);
            if !returned.is_empty() {
                return returned;
            }
            self.inner.news.notified().await;
        }
    }

    fn give_back(&self, state: &mut ClaimsState, path: DocumentPath, why: Why) {
        state.returned.push(Returned { path, why });
        self.inner.news.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, ClaimsState> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Returns since when the document has been in progress.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Gives the document back to the source, which looks at it once more after a while: it could not be read as it was seen.
    pub fn again(mut self) {
        self.again = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.claims.state();
        let other_wanted = state.held.remove(&self.path).is_some_and(|held| held.other_wanted);
        if self.again || other_wanted {
            let why = if self.again { Why::Again(self.attempt.saturating_add(1)) } else { Why::Free };
            self.claims.give_back(&mut state, self.path.clone(), why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::FutureExt as _;

    use super::*;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    #[test]
    fn the_age_of_a_file_is_that_of_its_last_change_of_any_kind() {
        let seen = Observation { device: 1, inode: 2, size: 3, modified: (1, 0), changed: (10, 500_000_000) };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(seen.age(at(12)), Some(Duration::from_millis(1500)));
        assert_eq!(seen.age(at(10)), None);
    }

    #[tokio::test]
    async fn a_document_is_claimed_once_until_its_claim_is_dropped() {
        let claims = Claims::default();
        let first = claims.claim(&path("a.md")).unwrap();
        assert!(claims.claim(&path("a.md")).is_none());
        drop(first);
        assert_eq!(claims.returned().await, [Returned { path: path("a.md"), why: Why::Free }]);
        assert!(claims.claim(&path("a.md")).is_some());
    }

    #[test]
    fn the_documents_that_wait_longest_are_listed_first() {
        let claims = Claims::default();
        let held: Vec<_> = ["c.md", "a.md", "b.md"].iter().map(|name| claims.claim(&path(name)).unwrap()).collect();
        let UnderWay { documents, oldest } = claims.under_way(2);
        let oldest: Vec<_> = oldest.into_iter().map(|(path, since)| (path.to_string(), since)).collect();
        assert_eq!((documents, oldest), (3, vec![("c.md".into(), held[0].since()), ("a.md".into(), held[1].since())]));
        drop(held);
        assert_eq!(claims.under_way(2), UnderWay { documents: 0, oldest: Vec::new() });
    }

    #[tokio::test]
    async fn a_document_handed_back_keeps_its_count() {
        let claims = Claims::default();
        for attempt in 0..3 {
            claims.claim_again(&path("a.md"), attempt).unwrap().again();
            assert_eq!(claims.returned().await, [Returned { path: path("a.md"), why: Why::Again(attempt + 1) }]);
        }
    }

    #[tokio::test]
    async fn a_document_that_simply_succeeded_is_not_returned() {
        let claims = Claims::default();
        drop(claims.claim(&path("a.md")));
        assert_eq!(claims.returned().now_or_never(), None);
    }
    #[tokio::test]
    async fn a_retry_is_requested_once_whether_or_not_the_document_is_in_progress() {
        let claims = Claims::default();
        let claim = claims.claim(&path("a.md"));
        claims.retry(&path("a.md"));
        assert_eq!(claims.returned().await, [Returned { path: path("a.md"), why: Why::Retry }]);
        assert_eq!(claims.held(), [path("a.md")]);
        drop(claim);
        assert_eq!((claims.returned().now_or_never(), claims.held()), (None, Vec::new()));
    }
}
