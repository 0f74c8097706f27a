//! JSON lines in segments that readers may follow: committed lines are written, visible lines stay.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Fingerprint;

pub use super::disk::{CLAIM, Claim, Disk, DiskFile, Folder, Stat};
pub use super::files::{Files, Outside, read_line};
pub use super::output_mark::Mark;

/// `[sink]`: where the lines go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SinkConfig {
    /// Output folder for `vectors.jsonl`, `answers.jsonl` and `failed.jsonl`; created with its parents.
    pub path: PathBuf,
    /// Size at which an output file is sealed. It becomes `vectors-000001.jsonl` and never changes again. Only a single longer
    /// line makes a larger file.
    #[schemars(with = "String")]
    pub rotate_size: ByteSize,
    /// Age at which an output file is sealed, whatever its size; `"0s"` means never. An empty file is never sealed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub rotate_every: Duration,
    /// Longest time between two syncs of the output files. The ledger keeps the lines that are not synced, so none can be lost.
    /// Raise it for fewer syncs and a larger ledger.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub sync_every: Duration,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            path: "out".into(),
            rotate_size: ByteSize::mib(256),
            rotate_every: Duration::ZERO,
            sync_every: Duration::from_secs(1),
        }
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
    /// The folder was deleted or exchanged while it was in use, or its disk was unmounted.
    #[error("the output folder was deleted or exchanged while it was in use")]
    FolderGone,
    /// A file could not be opened, made, looked at or renamed.
    #[error("cannot open `{name}` in the output folder")]
    Open {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read. What it holds is unknown, and nothing is done with it.
    #[error("cannot read `{name}` in the output folder")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("another riverbed writes to the output folder")]
    Taken,
    /// The disk is full. What was not written can be, later.
    #[error("the disk of the output is full, or has no inodes left")]
    Full,
    /// Writing failed.
    #[error("cannot write to `{name}` in the output folder")]
    Write {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Syncing failed: what of the file is on disk is unknown, and asking again would not tell.
    #[error("cannot sync `{name}` in the output folder")]
    Sync {
        /// The file.
        name: String,
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
    /// Names the output that the line belongs to.
    pub instance: String,
}

impl Stamp {
    /// Returns the fingerprint that lines carry whose vectors an emulator made, or did not.
    #[must_use]
    pub fn config(&self, emulated: bool) -> Fingerprint {
        if emulated { self.config_emulated } else { self.config }
    }
}
