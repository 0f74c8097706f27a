//! The state of the pipeline, in `SQLite`: documents and their versions, every line of the output, answers, failures, usage.
//!
//! The transaction is the commit point. A line is first committed here with its bytes, in the outbox, and then written to its file;
//! after a crash what the file lacks is written again from the outbox. One process holds the ledger; its one writer is [`Ledger`],
//! and any number of [`Reader`]s read it, from this process or another.

mod chat_answers;
mod chat_cache;
mod chat_stats;
mod crash_guard;
mod damage;
mod document;
mod error;
#[cfg(test)]
mod fault_injection;
mod history;
mod known_files;
mod line_positions;
mod lost_lines;
mod open;
mod reader;
mod rebuild;
mod resplits;
mod retry_failed;
mod schema;
mod segment_ends;
mod segments;
mod skipped_files;
mod summary;
mod transaction;
mod usage;
mod vector_cache;

use std::path::PathBuf;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use chat_answers::{AnswerLine, HeldTo, Prompt, Through, Waits};
pub use chat_stats::{Answers, AskedAbout};
pub use crash_guard::{Left, Working, is_given_up};
pub use damage::Damage;
pub use document::{DocumentRow, DocumentState, Outcome, Tally};
pub use error::LedgerError;
pub use history::{Ending, Story, Stretch};
pub use known_files::Terms;
pub use line_positions::{Extent, Placed};
pub use lost_lines::Lost;
pub use open::Ledger;
pub use reader::{Failed, Reader, Stored, StoredAnswer, Undisposed, Unfit};
pub use rebuild::{Adopted, Says};
pub use segment_ends::Ends;
pub use segments::{Open, PendingLine, Segment, SegmentId, SegmentState};
pub use skipped_files::{Skipped, SkippedKind};
pub use summary::{EndedDocument, Overview};
pub use transaction::{Commit, Committed, Encoded, LineRow, NewEmbedding, Run};
pub use usage::{Day, DayUsage};

/// `[ledger]`: the pipeline's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LedgerConfig {
    /// File of the ledger, an `SQLite` database; created with its folder. It must be on a local disk and belongs to one output.
    /// Absent: `.riverbed/ledger.db` in `sink.path`.
    pub path: Option<PathBuf>,
    /// Size of the vector cache, in bytes; the least recently used vectors leave first, and 0 disables it. A vector that has left
    /// is read back from the output while its line is there. After that it is paid for again.
    #[schemars(with = "String")]
    pub cache_size: ByteSize,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { path: None, cache_size: ByteSize::gib(1) }
    }
}
