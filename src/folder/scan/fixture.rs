//! Fixture for tests of scans: a source folder, and known files.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::domain::{DocumentPath, Memory, MemoryError, Observation, Remembered};
use crate::folder::look::file_filter::{Rules, Taken};
use crate::folder::look::inspect::{Looked, Survey};
use crate::folder::settle::settler::Look;
use crate::folder::{SourceConfig, Symlinks, look::root::Root};
use crate::telemetry::Pulse;

/// A source folder, and what is recorded of it.
pub(in crate::folder) struct Scene {
    pub(in crate::folder) folder: TempDir,
    pub(in crate::folder) shelf: Arc<Shelf>,
    pub(in crate::folder) survey: Survey,
}

pub(in crate::folder) fn path(name: &str) -> DocumentPath {
    DocumentPath::new(Path::new(name)).unwrap()
}

impl Scene {
    pub(in crate::folder) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("drop/a")).unwrap();
        let shelf = Arc::new(Shelf::default());
        let survey = Survey {
            root: Arc::new(Root::open(&folder.path().join("drop")).unwrap().with(Symlinks::Inside)),
            rules: Arc::new(Rules::new(&SourceConfig::default())),
            lately: Arc::default(),
            memory: Arc::<Shelf>::clone(&shelf),
            pulse: Pulse::default(),
        };
        Self { folder, shelf, survey }
    }

    pub(in crate::folder) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("drop").join(name)
    }

    pub(in crate::folder) fn look(&self, name: &str) -> Looked {
        self.survey.look([Look { path: path(name), closely: None }]).remove(0)
    }

    pub(in crate::folder) fn seen(&self, name: &str) -> Observation {
        let Ok(Some(Taken::Document(seen, _))) = self.look(name).taken else { panic!("{name} is a document") };
        seen
    }
}

#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<BTreeMap<Vec<u8>, Remembered>>);

impl Shelf {
    pub(in crate::folder) fn put(&self, path: &str, remembered: Remembered) {
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
