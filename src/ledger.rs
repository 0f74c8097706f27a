//! The state of the pipeline, in `SQLite`: documents and their versions, every line of the output, answers, failures, usage.
//!
//! The transaction is the commit point. A line is first committed here with its bytes, in the outbox, and then written to its file;
//! after a crash what the file lacks is written again from the outbox. One process holds the ledger; its one writer is [`Ledger`],
//! and any number of [`Reader`]s read it, from this process or another.

mod adopt;
mod answers;
mod asking;
mod cache;
mod commit;
mod cuts;
mod damage;
mod document;
mod ends;
mod error;
mod explain;
mod kept;
mod known;
mod lose;
mod money;
mod open;
mod overview;
#[cfg(test)]
mod probe;
mod read;
mod retry;
mod schema;
mod segments;
mod skipped;
mod verify;
mod working;

use std::path::PathBuf;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adopt::{Adopted, Says};
pub use answers::{AnswerLine, HeldTo, Prompt, Through, Waits};
pub use asking::{Answers, AskedAbout};
pub use commit::{Commit, Committed, Encoded, Line, NewEmbedding, Run};
pub use damage::Damage;
pub use document::{Document, Outcome, State, Tally};
pub use ends::Ends;
pub use error::LedgerError;
pub use explain::{Ending, Story, Stretch};
pub use known::Terms;
pub use lose::Lost;
pub use money::{Day, Usage};
pub use open::Ledger;
pub use overview::{Ended, Overview};
pub use read::{Failed, Held, Reader, Stored, Undisposed, Unfit};
pub use segments::{Open, Segment, SegmentId, SegmentState, Waiting};
pub use skipped::{Skipped, SkippedKind};
pub use verify::{Extent, Placed};
pub use working::{Left, Working, is_given_up};

/// `[ledger]`: the pipeline's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// File of the ledger, an `SQLite` database; created with its folder. It must be on a local disk and belongs to one output.
    /// Absent: `.riverbed/ledger.db` in `sink.path`.
    pub path: Option<PathBuf>,
    /// Size of the vector cache, in bytes; the least recently used vectors leave first, and 0 disables it. A vector that has left
    /// is read back from the output while its line is there. After that it is paid for again.
    #[schemars(with = "String")]
    pub cache_size: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: None, cache_size: ByteSize::gib(1) }
    }
}
