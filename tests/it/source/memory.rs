//! What a pipeline would remember, in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use riverbed::model::{DocumentPath, Memory, MemoryError, Observation, Remembered};

#[derive(Debug, Default)]
pub(super) struct Remembering {
    files: Mutex<BTreeMap<Vec<u8>, (DocumentPath, Remembered)>>,
    root: Mutex<Option<(u64, u64)>>,
    readings: AtomicU64,
    is_broken: AtomicBool,
}

impl Remembering {
    pub(super) fn remember(&self, path: &DocumentPath, seen: Option<Observation>, device: Option<u64>) {
        self.files.lock().unwrap().insert(path.as_bytes().to_vec(), (path.clone(), Remembered { seen, device }));
    }

    pub(super) fn forget(&self, path: &DocumentPath) {
        self.files.lock().unwrap().remove(path.as_bytes());
    }

    /// Changes what is remembered of every file.
    pub(super) fn change(&self, change: impl Fn(&mut Remembered)) {
        self.files.lock().unwrap().values_mut().for_each(|(_, remembered)| change(remembered));
    }

    /// Sets the folder that was accepted last, and returns the one before.
    pub(super) fn accept(&self, root: Option<(u64, u64)>) -> Option<(u64, u64)> {
        std::mem::replace(&mut *self.root.lock().unwrap(), root)
    }

    /// Returns how often the files have been read.
    pub(super) fn readings(&self) -> u64 {
        self.readings.load(SeqCst)
    }

    pub(super) fn set_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, SeqCst);
    }

    fn check(&self) -> Result<(), MemoryError> {
        if self.is_broken.load(SeqCst) { Err("it is broken".into()) } else { Ok(()) }
    }
}

impl Memory for Remembering {
    fn each(&self, see: &mut dyn FnMut(DocumentPath, Remembered) -> ControlFlow<()>) -> Result<(), MemoryError> {
        self.readings.fetch_add(1, SeqCst);
        self.check()?;
        let files: Vec<_> = self.files.lock().unwrap().values().cloned().collect();
        let _broken = files.into_iter().try_for_each(|(path, remembered)| see(path, remembered));
        Ok(())
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
