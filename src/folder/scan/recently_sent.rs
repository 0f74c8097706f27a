//! Recently sent changes: the ledger may not know them yet.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{DocumentPath, Observation};

/// Knows what was sent last, however many files there are, and in which folders there is something to see. Of each path it
/// keeps hashes, and those keyed, so that nobody can make two paths that are one to it.
///
/// What it forgets is either recorded by then or still claimed, so that it is not sent twice.
#[derive(Debug)]
pub(in crate::folder) struct Lately {
    key: [u8; 32],
    state: Mutex<RecentState>,
}

#[derive(Debug, Default)]
struct RecentState {
    young: HashMap<Mark, Sent>,
    old: HashMap<Mark, Sent>,
    /// The folders that the scans have come upon.
    folders: HashSet<Mark>,
    /// Devices that have another number than before.
    renamed: Vec<(u64, u64)>,
}

/// A path, hashed.
type Mark = [u8; 12];

/// What was sent of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Sent {
    /// A file.
    There {
        /// What it looked like, hashed.
        look: [u8; 8],
        device: u64,
    },
    /// That it was removed.
    Gone,
    /// Something that is to be sent again, however it is found.
    Again,
}

impl Lately {
    /// Changes in the younger half: past so many, it takes the place of the older.
    const HALF: usize = 1 << 15;

    /// Records that a file is being sent.
    pub(in crate::folder) fn send(&self, path: &DocumentPath, seen: &Observation) {
        self.note(path, Sent::There { look: self.look(seen), device: seen.device });
    }

    /// Records that the removal of a file is being sent.
    pub(in crate::folder) fn send_gone(&self, path: &DocumentPath) {
        self.note(path, Sent::Gone);
    }

    /// Has a file taken again, whatever was sent and is recorded of it.
    pub(in crate::folder) fn renew(&self, path: &DocumentPath) {
        self.note(path, Sent::Again);
    }

    /// Returns What was sent of a path last, if that was recently.
    pub(in crate::folder) fn sent(&self, path: &DocumentPath) -> Option<Sent> {
        let mark = self.mark(path.as_path());
        let state = self.lock();
        state.young.get(&mark).or_else(|| state.old.get(&mark)).copied()
    }

    /// Returns whether a file has recently been sent as it is now.
    pub(in crate::folder) fn has_sent(&self, path: &DocumentPath, seen: &Observation) -> bool {
        self.sent(path) == Some(Sent::There { look: self.look(seen), device: seen.device })
    }

    /// Records that one device is called by another number now.
    pub(in crate::folder) fn rename_device(&self, old: u64, new: u64) {
        if old != new {
            self.lock().renamed.push((old, new));
        }
    }

    /// Returns the number that a device has now.
    pub(in crate::folder) fn device_now(&self, then: u64) -> u64 {
        self.lock().renamed.iter().fold(then, |device, (old, new)| if device == *old { *new } else { device })
    }

    /// Begins a scan of the whole folder: none below it has been seen.
    pub(super) fn begin_scan(&self) {
        self.lock().folders.clear();
    }

    /// Records that a folder is there.
    pub(super) fn add_folder(&self, path: &Path) {
        let mark = self.mark(path);
        self.lock().folders.insert(mark);
    }

    /// Returns whether a scan has come upon a folder there.
    pub(in crate::folder) fn is_folder(&self, path: &DocumentPath) -> bool {
        let mark = self.mark(path.as_path());
        self.lock().folders.contains(&mark)
    }

    fn note(&self, path: &DocumentPath, sent: Sent) {
        let mark = self.mark(path.as_path());
        let mut state = self.lock();
        if state.young.len() >= Self::HALF {
            state.old = mem::take(&mut state.young);
        }
        state.young.insert(mark, sent);
    }

    fn mark(&self, path: &Path) -> Mark {
        first_of(&blake3::keyed_hash(&self.key, path.as_os_str().as_encoded_bytes()))
    }

    fn look(&self, seen: &Observation) -> [u8; 8] {
        let Observation { device, inode, size, modified, changed } = *seen;
        let mut bytes = [0; 56];
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::cast_unsigned);
        for (place, number) in bytes.chunks_exact_mut(8).zip([device, inode, size].into_iter().chain(times)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        first_of(&blake3::keyed_hash(&self.key, &bytes))
    }

    fn lock(&self) -> MutexGuard<'_, RecentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Lately {
    fn default() -> Self {
        let dice = RandomState::new();
        let mut key = [0; 32];
        for (number, place) in key.chunks_exact_mut(8).enumerate() {
            place.copy_from_slice(&dice.hash_one(number).to_le_bytes());
        }
        Self { key, state: Mutex::default() }
    }
}

fn first_of<const LENGTH: usize>(hash: &blake3::Hash) -> [u8; LENGTH] {
    let mut mark = [0; LENGTH];
    mark.copy_from_slice(&hash.as_bytes()[..LENGTH]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Observation = Observation { device: 1, inode: 2, size: 3, modified: (4, 5), changed: (6, 7) };

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    #[test]
    fn a_file_has_been_sent_only_as_it_was() {
        let lately = Lately::default();
        assert!(!lately.has_sent(&path("a.md"), &SEEN));
        lately.send(&path("a.md"), &SEEN);
        assert!(lately.has_sent(&path("a.md"), &SEEN) && !lately.has_sent(&path("b.md"), &SEEN));
        for other in [
            Observation { device: 0, ..SEEN },
            Observation { inode: 0, ..SEEN },
            Observation { size: 0, ..SEEN },
            Observation { modified: (4, 0), ..SEEN },
            Observation { changed: (6, 0), ..SEEN },
        ] {
            assert!(!lately.has_sent(&path("a.md"), &other), "{other:?}");
        }
        lately.send_gone(&path("a.md"));
        assert!(!lately.has_sent(&path("a.md"), &SEEN));
        assert_eq!(lately.sent(&path("a.md")), Some(Sent::Gone));
        lately.renew(&path("a.md"));
        assert_eq!(lately.sent(&path("a.md")), Some(Sent::Again));
    }

    #[test]
    fn the_latest_are_known_and_the_number_of_them_has_a_bound() {
        let lately = Lately::default();
        let name = |number: usize| path(&number.to_string());
        for number in 0..3 * Lately::HALF {
            lately.send(&name(number), &SEEN);
            if number >= Lately::HALF {
                assert!(lately.has_sent(&name(number - Lately::HALF + 1), &SEEN));
            }
        }
        let state = lately.lock();
        assert_eq!((state.young.len(), state.old.len()), (Lately::HALF, Lately::HALF));
    }

    #[test]
    fn what_was_sent_again_is_known_as_it_was_sent_last() {
        let lately = Lately::default();
        lately.send(&path("a.md"), &SEEN);
        for number in 0..Lately::HALF {
            lately.send(&path(&number.to_string()), &SEEN);
        }
        lately.send_gone(&path("a.md"));
        assert_eq!(lately.sent(&path("a.md")), Some(Sent::Gone));
    }

    #[test]
    fn a_device_is_called_by_the_number_that_it_has_now() {
        let lately = Lately::default();
        assert_eq!(lately.device_now(1), 1);
        lately.rename_device(1, 2);
        lately.rename_device(2, 3);
        assert_eq!([1, 2, 3, 4].map(|then| lately.device_now(then)), [3, 3, 3, 4]);
    }
}
