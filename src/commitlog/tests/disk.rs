//! A disk in memory that loses power, runs full and fails, and that panics where a rule of writing is broken.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::commitlog::config::{Claim, Disk, DiskFile, Stat};

/// Numbers that are the same in every run.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below a bound (splitmix64).
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % (bound as u64)).unwrap()
    }
}

/// What ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process dies; what it wrote is there.
    Kill,
    /// The machine does; of what was not synced anything may be there.
    Power(u64),
}

/// A folder on the simulated disk. Clones show the same folder.
#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Names are on disk at once: making and renaming a file waits for that.
    names: BTreeMap<String, u64>,
    files: BTreeMap<u64, File>,
    /// Files that have their name in another folder.
    elsewhere: Vec<u64>,
    last_inode: u64,
    /// What the folder is marked with, and what was when the run began.
    marks: [Vec<u8>; 2],
    /// The run that has claimed the folder.
    claimed: Option<u64>,
    /// Descriptors of an earlier run are worth nothing.
    run: u64,
    /// Operations that change something, here or in the ledger.
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// Bytes by which files may grow.
    room: Option<usize>,
    /// There is no room for another file.
    no_names: bool,
    /// There is no room for another name of a file.
    no_renames: bool,
    /// Syncs that succeed before one fails.
    syncs_left: Option<u32>,
    /// Reads that succeed before all fail.
    reads_left: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    visible: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// A sync of it has failed: what it has behind its synced length is left to chance.
    is_suspect: bool,
    /// From here on a power loss has left anything.
    torn_from: Option<usize>,
}

/// Takes so much in one call, so that a crash can fall between two parts of a line.
const LARGEST_WRITE: usize = 400;

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a disk that is as this one is now and has a life of its own.
    pub(super) fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Counts a change; after the one at which the crash comes there is none.
    pub(super) fn changes(&self) -> bool {
        self.state().tick().is_ok()
    }

    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets this many changes happen and then crashes.
    pub(super) fn crash_after(&self, changes: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.operations + changes);
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Leaves what a crash leaves, and begins the next run.
    pub(super) fn crash(&self, crash: Crash) {
        let mut state = self.state();
        state.run += 1;
        (state.crashed, state.crash_at) = (false, None);
        state.claimed = None;
        if let Crash::Power(seed) = crash {
            // The mark is not synced: it may be as old as the run, or torn.
            state.marks[0] = match seed % 3 {
                0 => state.marks[0].clone(),
                1 => state.marks[1].clone(),
                _ => state.marks[0].iter().take(100).copied().collect(),
            };
            let mut random = Random::new(seed);
            state.files.values_mut().for_each(|file| file.lose_power(&mut random));
        }
        state.marks[1] = state.marks[0].clone();
    }

    /// Somebody puts a file there, which gets this number.
    pub(super) fn outside_place(&self, name: &str, inode: u64, bytes: &[u8]) {
        let mut state = self.state();
        assert_eq!(state.names.insert(name.to_owned(), inode), None);
        let file = File { durable: bytes.to_vec(), visible: bytes.to_vec(), ..File::default() };
        assert!(state.files.insert(inode, file).is_none());
        state.last_inode = state.last_inode.max(inode);
    }

    pub(super) fn mark(&self) -> Vec<u8> {
        self.state().marks[0].clone()
    }

    /// Somebody puts the mark of an output there.
    pub(super) fn outside_mark(&self, mark: &[u8]) {
        self.state().marks = [mark.to_vec(), mark.to_vec()];
    }

    /// Lets files grow by this much; `None` is without end.
    pub(super) fn set_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    /// Lets no file be made, or lets it again.
    pub(super) fn refuse_names(&self, refuse: bool) {
        self.state().no_names = refuse;
    }

    /// Lets no file be renamed, or lets it again.
    pub(super) fn refuse_renames(&self, refuse: bool) {
        self.state().no_renames = refuse;
    }

    /// Lets the sync after this many fail.
    pub(super) fn fail_sync_after(&self, syncs: u32) {
        self.state().syncs_left = Some(syncs);
    }

    /// Lets the reads after this many fail, as a bad disk does.
    pub(super) fn fail_reads_after(&self, reads: u32) {
        self.state().reads_left = Some(reads);
    }

    /// Lets no sync and no read fail any more.
    pub(super) fn mend(&self) {
        let mut state = self.state();
        (state.syncs_left, state.reads_left) = (None, None);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Returns a file's number and what a reader sees.
    pub(super) fn see(&self, name: &str) -> Option<(u64, Vec<u8>)> {
        let state = self.state();
        let inode = state.names.get(name)?;
        Some((*inode, state.files[inode].visible.clone()))
    }

    /// Returns every named file by its number, but those of which a sync has failed.
    pub(super) fn see_all(&self) -> BTreeMap<u64, Vec<u8>> {
        let state = self.state();
        let sound = state.names.values().filter(|inode| !state.files[inode].is_suspect);
        sound.map(|inode| (*inode, state.files[inode].visible.clone())).collect()
    }

    /// Somebody else renames a file.
    pub(super) fn outside_rename(&self, from: &str, to: &str) {
        let mut state = self.state();
        let inode = state.names.remove(from).unwrap();
        state.names.insert(to.to_owned(), inode);
    }

    /// Somebody else deletes a file.
    pub(super) fn outside_delete(&self, name: &str) {
        self.state().names.remove(name).unwrap();
    }

    /// Somebody else moves a file to another folder.
    pub(super) fn outside_move_out(&self, name: &str) {
        let mut state = self.state();
        let inode = state.names.remove(name).unwrap();
        state.elsewhere.push(inode);
    }

    /// Returns what of the files in another folder can be seen.
    pub(super) fn see_elsewhere(&self) -> Vec<Vec<u8>> {
        let state = self.state();
        state.elsewhere.iter().map(|inode| state.files[inode].visible.clone()).collect()
    }

    /// Somebody else makes a file.
    pub(super) fn outside_make(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.add();
        assert_eq!(state.names.insert(name.to_owned(), inode), None);
        let file = state.files.get_mut(&inode).unwrap();
        (file.durable, file.visible) = (bytes.to_vec(), bytes.to_vec());
    }

    /// Somebody else changes a file's bytes.
    pub(super) fn outside_edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[name];
        let file = state.files.get_mut(&inode).unwrap();
        edit(&mut file.visible);
        file.durable = file.visible.clone();
        file.unsynced.clear();
    }

    /// Somebody copies the folder to another disk: every file has another number.
    pub(super) fn renumber(&self) {
        let mut state = self.state();
        for inode in state.names.clone().values() {
            let file = state.files.remove(inode).unwrap();
            let other = state.add();
            state.files.insert(other, file);
            for number in state.names.values_mut().filter(|number| *number == inode) {
                *number = other;
            }
        }
    }
}

impl State {
    fn tick(&mut self) -> io::Result<()> {
        if self.crash_at == Some(self.operations) {
            self.crashed = true;
        }
        if self.crashed {
            return Err(io::Error::other("the crash"));
        }
        self.operations += 1;
        Ok(())
    }

    fn add(&mut self) -> u64 {
        self.last_inode += 1;
        self.files.insert(self.last_inode, File::default());
        self.last_inode
    }
}

impl File {
    fn write(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
        let end = (at + new.len()).max(bytes.len());
        bytes.resize(end, 0);
        bytes[at..at + new.len()].copy_from_slice(new);
    }

    /// Keeps any of what was not synced, whole, in part, as zeros or not at all.
    fn lose_power(&mut self, random: &mut Random) {
        for (at, bytes) in std::mem::take(&mut self.unsynced) {
            self.torn_from = Some(self.torn_from.map_or(at, |torn| torn.min(at)));
            match random.below(4) {
                0 => {}
                1 => Self::write(&mut self.durable, at, &bytes),
                2 => Self::write(&mut self.durable, at, &bytes[..random.below(bytes.len() + 1)]),
                _ => {
                    let end = at + random.below(bytes.len() + 1);
                    if end > self.durable.len() {
                        self.durable.resize(end, 0);
                    }
                }
            }
        }
        self.visible = self.durable.clone();
    }
}

/// A descriptor.
#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    inode: u64,
    run: u64,
    has_failed: bool,
}

impl Handle {
    fn boxed(disk: &SimDisk, inode: u64, run: u64) -> Box<dyn DiskFile> {
        Box::new(Self { disk: disk.clone(), inode, run, has_failed: false })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State, &mut File) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        assert_eq!(self.run, state.run, "a descriptor does not outlive its process");
        assert!(!self.has_failed, "a descriptor whose sync failed is not touched again");
        let mut file = std::mem::take(state.files.get_mut(&self.inode).unwrap());
        let result = work(&mut state, &mut file);
        state.files.insert(self.inode, file);
        result
    }
}

/// The claim to the folder.
#[derive(Debug)]
struct Held {
    disk: SimDisk,
    run: u64,
}

impl Claim for Held {
    fn holds(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        Ok(self.disk.state().marks[0].clone())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        assert_eq!(self.run, state.run, "a descriptor does not outlive its process");
        if state.crashed {
            return Err(io::Error::other("the crash"));
        }
        state.marks[0] = bytes.to_vec();
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.claimed == Some(self.run) {
            state.claimed = None;
        }
    }
}

impl DiskFile for Handle {
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.with(|state, file| {
            state.tick()?;
            let at = usize::try_from(position).unwrap();
            assert!(at <= file.visible.len(), "a hole: write at {at} of {}", file.visible.len());
            let room = state.room.map_or(usize::MAX, |room| file.visible.len() - at + room);
            let bytes = &bytes[..bytes.len().min(LARGEST_WRITE).min(room)];
            if bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let over = bytes.len().min(file.visible.len() - at);
            let sound = file.torn_from.map_or(over, |torn| torn.saturating_sub(at).min(over));
            assert_eq!(file.visible[at..at + sound], bytes[..sound], "what is visible stays as it is");
            state.room = state.room.map(|room| room - (bytes.len() - over));
            File::write(&mut file.visible, at, bytes);
            file.unsynced.push((at, bytes.to_vec()));
            Ok(bytes.len())
        })
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|state, file| {
            match &mut state.reads_left {
                Some(0) => return Err(io::Error::from_raw_os_error(5)),
                Some(left) => *left -= 1,
                None => {}
            }
            let rest = file.visible.get(usize::try_from(position).unwrap()..).unwrap_or_default();
            let read = rest.len().min(bytes.len());
            bytes[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = self.with(|state, file| {
            state.tick()?;
            match &mut state.syncs_left {
                Some(0) => {
                    state.syncs_left = None;
                    // What was to be written counts as written from now on, and is on disk or is not.
                    file.torn_from = file.unsynced.first().map(|(at, _)| *at);
                    file.unsynced.clear();
                    file.is_suspect = true;
                    return Err(io::Error::from_raw_os_error(5));
                }
                Some(left) => *left -= 1,
                None => {}
            }
            for (at, bytes) in std::mem::take(&mut file.unsynced) {
                File::write(&mut file.durable, at, &bytes);
            }
            file.torn_from = None;
            Ok(())
        });
        self.has_failed = synced.is_err();
        synced
    }

    fn stat(&self) -> io::Result<Stat> {
        self.with(|_, file| Ok(Stat { file: (7, self.inode), length: file.visible.len() as u64 }))
    }

    fn has_name(&self) -> io::Result<bool> {
        let inode = self.inode;
        self.with(|state, _| Ok(state.names.values().any(|named| *named == inode) || state.elsewhere.contains(&inode)))
    }
}

impl Disk for SimDisk {
    fn claim(&self) -> io::Result<Box<dyn Claim>> {
        let mut state = self.state();
        let run = state.run;
        if state.claimed.replace(run).is_some() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ok(Box::new(Held { disk: self.clone(), run }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.tick()?;
        if state.no_names || state.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.add();
        state.names.insert(name.to_owned(), inode);
        Ok(Handle::boxed(self, inode, state.run))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Handle::boxed(self, inode, state.run))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.open(name)
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        let state = self.state();
        Ok(state.names.get(name).map(|inode| Stat { file: (7, *inode), length: state.files[inode].visible.len() as u64 }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.tick()?;
        if state.no_renames {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }
}
