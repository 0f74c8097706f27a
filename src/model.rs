//! What flows through the pipeline, and the units it is measured in.
//!
//! `Change → Document → Chunk → Planned → Record`: each stage takes one of these and makes the next.

pub mod change;
pub mod chunk;
pub mod document;
pub mod id;
pub mod limits;
pub mod path;
pub mod record;
pub mod units;
pub mod vector;

pub use change::{Change, Claim, Claims, Observation, Returned};
pub use chunk::Chunk;
pub use document::{Document, Format};
pub use id::{ChunkId, ContentHash, Fingerprint};
pub use limits::Limits;
pub use path::DocumentPath;
pub use record::{Embedded, Failure, Planned, Record, Skip, Stage, Version};
pub use units::TokenCount;
pub use vector::{BadVector, Vector};
