//! JSON lines, appended.

pub mod line;
mod live;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ChunkId, DocumentPath, Embedded, Failure, Fingerprint, Version};
use live::Live;

/// `[sink]`: where the lines go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Folder for `vectors.jsonl` and `failed.jsonl`; made, with its parents, if it is not there.
    pub path: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: "out".into() }
    }
}

/// Says why lines could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The folder could not be made.
    #[error("cannot make the output folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be opened.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("another riverbed writes to `{}`", path.display())]
    Taken {
        /// The file that it holds.
        path: PathBuf,
    },
    /// Writing failed.
    #[error("cannot write to `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What every line carries.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The model, as configured.
    pub model: String,
    /// Numbers in a vector.
    pub dimensions: u32,
    /// Fingerprint of the configuration that shapes vectors.
    pub config: Fingerprint,
    /// The same for a vector whose answer bears an emulator's mark, wherever that emulator stands.
    pub config_emulated: Fingerprint,
}

/// The files that lines are appended to. One process at a time holds them.
#[derive(Debug)]
pub struct Sink {
    vectors: Live,
    failed: Live,
    stamp: Stamp,
    instance: String,
    seq: u64,
}

impl Sink {
    /// Opens the files, making them and the folder if need be, and finds where the last run stopped.
    ///
    /// # Errors
    /// When that cannot be done, or another process holds the files.
    pub fn open(config: &Config, stamp: Stamp) -> Result<Self, SinkError> {
        std::fs::create_dir_all(&config.path).map_err(|source| SinkError::Folder { path: config.path.clone(), source })?;
        let vectors = Live::open(config.path.join("vectors.jsonl"))?;
        let failed = Live::open(config.path.join("failed.jsonl"))?;
        let last = vectors.last::<line::Position>();
        let seq = last.as_ref().map_or(0, |last| last.seq);
        let instance = last.map_or_else(|| uuid::Uuid::new_v4().to_string(), |last| last.instance);
        Ok(Self { vectors, failed, stamp, instance, seq })
    }

    /// Appends a chunk's line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn upsert(&mut self, embedded: &Embedded) -> Result<(), SinkError> {
        self.seq += 1;
        let line = line::Vectors::upsert(self.seq, embedded, &self.stamp, &self.instance);
        self.vectors.append(&line)
    }

    /// Appends the line that takes a chunk's line back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn delete(&mut self, id: ChunkId, version: &Version) -> Result<(), SinkError> {
        self.seq += 1;
        let line = line::Vectors::delete(self.seq, id, version, &self.stamp, &self.instance);
        self.vectors.append(&line)
    }

    /// Appends the line of a document that was given up.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn fail(
        &mut self,
        path: &DocumentPath,
        version: Option<&Version>,
        failure: &Failure,
        at: SystemTime,
    ) -> Result<(), SinkError> {
        let line = line::Failed::new(path, version, failure, at, &self.stamp, &self.instance);
        self.failed.append(&line)
    }

    /// Writes what has been appended, so that readers see it.
    ///
    /// # Errors
    /// When a file cannot be written; what part of it was is unknown then.
    pub fn flush(&mut self) -> Result<(), SinkError> {
        self.vectors.flush()?;
        self.failed.flush()
    }

    /// Writes what has been appended and waits until it is on disk.
    ///
    /// # Errors
    /// When a file cannot be written or synced.
    pub fn sync(&mut self) -> Result<(), SinkError> {
        self.flush()?;
        self.vectors.sync()?;
        self.failed.sync()
    }

    /// Returns the file of the vectors.
    #[must_use]
    pub fn vectors_path(&self) -> &Path {
        self.vectors.path()
    }
}
