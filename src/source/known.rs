//! What is known of the files: those remembered from earlier runs, and those handed on in this one.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{DocumentPath, Observation, Remembered};

/// Knows files by hashes: 24 bytes each, 39 with the tree's free places, however long their paths are. The hashes are keyed, so
/// that nobody can make two paths that are one to it.
#[derive(Debug)]
pub(super) struct Known {
    key: [u8; 32],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A tree, which grows bit by bit: a table of a million files would be copied into one twice as large, with both in memory.
    files: BTreeMap<Mark, File>,
    /// The folders that the scans have come upon.
    folders: HashSet<Mark>,
    /// The devices that the files lie on, which are few.
    devices: Vec<u64>,
    /// Counts the scans of the whole folder. That it comes round does no harm: what was not seen for so long is looked for one
    /// scan later.
    scan: u16,
}

/// A path, hashed.
type Mark = [u8; 12];

#[derive(Debug, Clone, Copy)]
struct File {
    /// The observation that was handed on, hashed.
    sent: [u8; 8],
    /// Where its device stands in the list.
    device: u16,
    /// The scan that saw it last.
    scan: u16,
}

impl File {
    /// Stands for no observation: the file is to be taken again. That one hashes to it is as unlikely as that two are alike.
    const UNSENT: [u8; 8] = [0; 8];
    /// Its device is not known.
    const NOWHERE: u16 = u16::MAX;
}

impl Known {
    /// Takes a file from an earlier run, which no scan has seen yet.
    pub(super) fn remember(&self, path: &DocumentPath, remembered: &Remembered) {
        let sent = remembered.seen.map_or(File::UNSENT, |seen| self.mark_of_observation(&seen));
        let mut state = self.lock();
        let device = remembered.device.map_or(File::NOWHERE, |device| state.place_of(device));
        let scan = state.scan.wrapping_sub(1);
        state.files.insert(self.mark_of(path.as_path()), File { sent, device, scan });
    }

    /// Returns whether there is nothing that could be gone.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().files.is_empty()
    }

    /// Takes note that a file is there, and returns whether it has been handed on as it is now.
    pub(super) fn see(&self, path: &DocumentPath, seen: &Observation) -> bool {
        let (mark, sent) = (self.mark_of(path.as_path()), self.mark_of_observation(seen));
        let mut state = self.lock();
        let (scan, device) = (state.scan, state.place_of(seen.device));
        let Some(file) = state.files.get_mut(&mark) else { return false };
        (file.scan, file.device) = (scan, device);
        file.sent == sent
    }

    /// Takes note that a file is being handed on.
    pub(super) fn send(&self, path: &DocumentPath, seen: &Observation) {
        let (mark, sent) = (self.mark_of(path.as_path()), self.mark_of_observation(seen));
        let mut state = self.lock();
        let file = File { sent, scan: state.scan, device: state.place_of(seen.device) };
        state.files.insert(mark, file);
    }

    /// Has a file taken again, however it is found.
    pub(super) fn renew(&self, path: &DocumentPath) {
        let mut state = self.lock();
        let new = File { sent: File::UNSENT, scan: state.scan, device: File::NOWHERE };
        state.files.entry(self.mark_of(path.as_path())).or_insert(new).sent = File::UNSENT;
    }

    /// Forgets a file that is gone.
    pub(super) fn forget(&self, path: &DocumentPath) {
        self.lock().files.remove(&self.mark_of(path.as_path()));
    }

    /// Returns whether a file is known, as it is or as it was.
    pub(super) fn knows(&self, path: &DocumentPath) -> bool {
        self.lock().files.contains_key(&self.mark_of(path.as_path()))
    }

    /// Returns the device that a file was last seen on, if that is known.
    pub(super) fn device_of(&self, path: &DocumentPath) -> Option<u64> {
        let state = self.lock();
        let file = state.files.get(&self.mark_of(path.as_path()))?;
        state.devices.get(usize::from(file.device)).copied()
    }

    /// Takes note that one device is called by another number now.
    pub(super) fn rename_device(&self, old: u64, new: u64) {
        for device in &mut self.lock().devices {
            if *device == old {
                *device = new;
            }
        }
    }

    /// Takes note that a folder is there.
    pub(super) fn add_folder(&self, path: &Path) {
        self.lock().folders.insert(self.mark_of(path));
    }

    /// Returns whether a scan has come upon a folder there.
    pub(super) fn is_folder(&self, path: &DocumentPath) -> bool {
        self.lock().folders.contains(&self.mark_of(path.as_path()))
    }

    /// Begins a scan of the whole folder: no file has been seen by it.
    pub(super) fn begin_scan(&self) {
        let mut state = self.lock();
        state.scan = state.scan.wrapping_add(1);
        state.folders.clear();
    }

    /// Returns whether there are files that the scan has not seen.
    pub(super) fn has_unseen(&self) -> bool {
        let state = self.lock();
        state.files.values().any(|file| file.scan != state.scan)
    }

    /// Returns whether a file is known that the scan has not seen.
    pub(super) fn is_unseen(&self, path: &DocumentPath) -> bool {
        let mark = self.mark_of(path.as_path());
        let state = self.lock();
        state.files.get(&mark).is_some_and(|file| file.scan != state.scan)
    }

    /// Takes note that a file has been looked for: the scan is through with it, whatever that brought.
    pub(super) fn settle(&self, path: &DocumentPath) {
        let mut state = self.lock();
        let scan = state.scan;
        if let Some(file) = state.files.get_mut(&self.mark_of(path.as_path())) {
            file.scan = scan;
        }
    }

    /// Forgets the files that the scan has not seen, but for these.
    pub(super) fn forget_unseen_but(&self, kept: &[DocumentPath]) {
        let kept: HashSet<Mark> = kept.iter().map(|path| self.mark_of(path.as_path())).collect();
        let mut state = self.lock();
        let scan = state.scan;
        state.files.retain(|mark, file| file.scan == scan || kept.contains(mark));
    }

    fn mark_of(&self, path: &Path) -> Mark {
        first_of(&blake3::keyed_hash(&self.key, path.as_os_str().as_encoded_bytes()))
    }

    fn mark_of_observation(&self, seen: &Observation) -> [u8; 8] {
        let Observation { device, inode, size, modified, changed } = *seen;
        let mut bytes = [0; 56];
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::cast_unsigned);
        for (place, number) in bytes.chunks_exact_mut(8).zip([device, inode, size].into_iter().chain(times)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        first_of(&blake3::keyed_hash(&self.key, &bytes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place_of(&mut self, device: u64) -> u16 {
        let place = self.devices.iter().position(|known| *known == device).unwrap_or_else(|| {
            self.devices.push(device);
            self.devices.len() - 1
        });
        u16::try_from(place).unwrap_or(File::NOWHERE)
    }
}

impl Default for Known {
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
    fn a_file_is_known_only_as_it_was_sent() {
        let known = Known::default();
        assert!(!known.see(&path("a.md"), &SEEN) && !known.knows(&path("a.md")));
        known.send(&path("a.md"), &SEEN);
        assert!(known.see(&path("a.md"), &SEEN));
        for other in [
            Observation { device: 0, ..SEEN },
            Observation { inode: 0, ..SEEN },
            Observation { size: 0, ..SEEN },
            Observation { modified: (4, 0), ..SEEN },
            Observation { changed: (6, 0), ..SEEN },
        ] {
            assert!(!known.see(&path("a.md"), &other), "{other:?}");
        }
        known.renew(&path("a.md"));
        assert!(!known.see(&path("a.md"), &SEEN) && known.knows(&path("a.md")));
        known.forget(&path("a.md"));
        assert!(!known.knows(&path("a.md")));
    }

    #[test]
    fn a_file_from_an_earlier_run_is_known_as_it_was_then() {
        let known = Known::default();
        known.remember(&path("a.md"), &Remembered { seen: Some(SEEN), device: Some(1) });
        known.remember(&path("b.md"), &Remembered { seen: None, device: None });
        assert!(known.see(&path("a.md"), &SEEN) && !known.see(&path("b.md"), &SEEN));
    }

    #[test]
    fn what_a_scan_has_not_seen_is_told_until_it_is_settled_or_forgotten() {
        let known = Known::default();
        let [seen, gone, held] = ["seen", "gone", "held"].map(path);
        for path in [&seen, &gone, &held] {
            known.remember(path, &Remembered { seen: Some(SEEN), device: Some(1) });
        }
        known.begin_scan();
        known.see(&seen, &SEEN);
        assert!(known.has_unseen() && known.is_unseen(&gone) && !known.is_unseen(&seen) && !known.is_unseen(&path("other")));
        known.settle(&gone);
        assert!(known.has_unseen() && !known.is_unseen(&gone));
        known.forget_unseen_but(&[]);
        assert!(!known.has_unseen() && known.knows(&gone) && !known.knows(&held));
        known.begin_scan();
        known.forget_unseen_but(std::slice::from_ref(&gone));
        assert!(known.knows(&gone) && !known.knows(&seen));
    }

    #[test]
    fn the_device_is_that_of_the_last_sight_even_when_its_number_has_changed() {
        let known = Known::default();
        known.remember(&path("a.md"), &Remembered { seen: Some(SEEN), device: Some(1) });
        known.remember(&path("b.md"), &Remembered { seen: None, device: None });
        known.see(&path("a.md"), &Observation { device: 9, ..SEEN });
        assert_eq!((known.device_of(&path("a.md")), known.device_of(&path("b.md"))), (Some(9), None));
        known.rename_device(9, 10);
        assert_eq!(known.device_of(&path("a.md")), Some(10));
    }

    #[test]
    fn a_file_takes_no_more_room_than_is_said() {
        assert_eq!(size_of::<(Mark, File)>(), 24);
    }
}
