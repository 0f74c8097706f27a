//! What flows through the pipeline, and the units it is measured in.
//!
//! `Change → Document → Chunk → Planned → Record`: each stage takes one of these and makes the next.

pub mod answer;
pub mod blank;
pub mod change;
pub mod chunk;
pub mod context;
pub mod escape;
pub mod fingerprints;
pub mod id;
pub mod model_limits;
pub mod moment;
pub mod path;
pub mod rate;
pub mod record;
pub mod reloadable;
pub mod script;
pub mod shortage;
pub mod stream;
pub mod text_format;
pub mod units;
pub mod vector;

pub use answer::{Answered, Asks, Billed, Body, Ending, Held, Inquiry, Kept, Question, TokensUsed};
pub use blank::{is_blank, is_invisible};
pub use change::{
    Change, Claim, Claims, Departure, Memory, MemoryError, NoMemory, Observation, Remembered, Returned, UnderWay, What, Why,
};
pub use chunk::{Chunk, Part, Standing};
pub use context::{Context, Said};
pub use fingerprints::Fingerprints;
pub use id::{ChunkId, ContentHash, EmbeddingKey, Fingerprint, Place, QuestionKey};
pub use model_limits::Limits;
pub use path::DocumentPath;
pub use rate::{Rate, Tier};
pub use record::{Cut, Embedded, Ended, Failure, Origin, Planned, Record, Retry, Skip, Stage, Usage, Version};
pub use reloadable::Setting;
pub use script::{Mix, Script};
pub use stream::{LineId, Output};
pub use text_format::{Document, Format};
pub use units::{TokenCount, Usd};
pub use vector::{BadVector, Number, Vector};
