//! A memory for tests: what is put on it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::model::{DocumentPath, Memory, MemoryError, Remembered};

#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<BTreeMap<Vec<u8>, Remembered>>);

impl Shelf {
    pub(super) fn put(&self, path: &str, remembered: Remembered) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.as_bytes().to_vec(), remembered);
    }
}

impl Memory for Shelf {
    fn after(&self, path: &[u8], most: usize) -> Result<Vec<(DocumentPath, Remembered)>, MemoryError> {
        use std::os::unix::ffi::OsStrExt as _;

        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = files.range::<[u8], _>((Bound::Excluded(path), Bound::Unbounded));
        let file = |(path, remembered): (&Vec<u8>, &Remembered)| {
            Ok((DocumentPath::new(Path::new(std::ffi::OsStr::from_bytes(path)))?, *remembered))
        };
        behind.take(most).map(file).collect()
    }

    fn of(&self, path: &DocumentPath) -> Result<Option<Remembered>, MemoryError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path.as_bytes()).copied())
    }

    fn root(&self) -> Result<Option<(u64, u64)>, MemoryError> {
        Ok(None)
    }

    fn set_root(&self, _: (u64, u64)) -> Result<(), MemoryError> {
        Ok(())
    }
}
