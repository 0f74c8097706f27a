//! Known files in memory, in place of the ledger.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use riverbed::domain::{DocumentPath, Memory, MemoryError, Observation, Remembered};

#[derive(Debug, Default)]
pub struct Remembering {
    files: Mutex<BTreeMap<Box<[u8]>, Remembered>>,
    root: Mutex<Option<(u64, u64)>>,
    readings: AtomicU64,
    questions: AtomicU64,
    is_broken: AtomicBool,
}

impl Remembering {
    pub fn remember(&self, path: &DocumentPath, seen: Option<Observation>, device: Option<u64>) {
        self.files.lock().unwrap().insert(path.as_bytes().into(), Remembered { seen, device });
    }

    pub fn forget(&self, path: &DocumentPath) {
        self.files.lock().unwrap().remove(path.as_bytes());
    }

    /// Changes what is recorded of every file.
    pub fn change(&self, change: impl Fn(&mut Remembered)) {
        self.files.lock().unwrap().values_mut().for_each(change);
    }

    /// Sets the folder that was accepted last, and returns the one before.
    pub fn accept(&self, root: Option<(u64, u64)>) -> Option<(u64, u64)> {
        std::mem::replace(&mut *self.root.lock().unwrap(), root)
    }

    /// Returns how often single files have been asked for.
    pub fn questions(&self) -> u64 {
        self.questions.load(SeqCst)
    }

    /// Returns how often all files have been read.
    pub fn readings(&self) -> u64 {
        self.readings.load(SeqCst)
    }

    pub fn set_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, SeqCst);
    }

    fn check(&self) -> Result<(), MemoryError> {
        if self.is_broken.load(SeqCst) { Err("it is broken".into()) } else { Ok(()) }
    }
}

impl Memory for Remembering {
    fn after(&self, path: &[u8], most: usize) -> Result<Vec<(DocumentPath, Remembered)>, MemoryError> {
        self.readings.fetch_add(u64::from(path.is_empty() && most > 1), SeqCst);
        self.check()?;
        let files = self.files.lock().unwrap();
        let behind = files.range::<[u8], _>((Bound::Excluded(path), Bound::Unbounded));
        behind
            .take(most)
            .map(|(path, remembered)| Ok((DocumentPath::new(Path::new(OsStr::from_bytes(path)))?, *remembered)))
            .collect()
    }

    fn of(&self, path: &DocumentPath) -> Result<Option<Remembered>, MemoryError> {
        self.questions.fetch_add(1, SeqCst);
        self.check()?;
        Ok(self.files.lock().unwrap().get(path.as_bytes()).copied())
    }

    fn root(&self) -> Result<Option<(u64, u64)>, MemoryError> {
        self.check()?;
        Ok(*self.root.lock().unwrap())
    }

    fn set_root(&self, root: (u64, u64)) -> Result<(), MemoryError> {
        self.check()?;
        self.accept(Some(root));
        Ok(())
    }
}
