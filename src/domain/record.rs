//! Records that the stages send to the writer: vectors, failures, and the outcome of each document.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    Answered, Asks, ChunkId, Claim, ContentHash, Context, DocumentPath, EmbeddingKey, Inquiry, Kept, Observation, Question,
    TokenCount, Vector,
};

/// One version of one document on its way through the pipeline, shared by its chunks.
#[derive(Debug)]
pub struct Version {
    /// Where the document lies.
    pub path: DocumentPath,
    /// What the file looked like when it was read.
    pub seen: Observation,
    /// Hash of the file's bytes.
    pub hash: ContentHash,
    /// IANA media type of the file.
    pub media_type: String,
    /// Chunks that the text was cut into.
    pub chunks: usize,
    /// Chunks among them that get a line.
    pub lines: usize,
    /// Ids of an earlier version that this one no longer has.
    pub retract: Vec<ChunkId>,
    /// What it asks itself, where it holds messages. What prompts ask about it is seen to when it has ended: they may change until then.
    pub asks: Vec<Asks>,
    /// Keeps the next change of the document back until this version is written.
    pub claim: Claim,
}

/// A chunk that gets a line. Holds its own text, so that the document's text need not stay in memory.
#[derive(Debug)]
pub struct Planned {
    /// The document that it belongs to.
    pub version: Arc<Version>,
    /// Its id in the output.
    pub id: ChunkId,
    /// Names its embedding.
    pub key: EmbeddingKey,
    /// Its place among the document's chunks, from 0.
    pub index: usize,
    /// Its byte range in the extracted text.
    pub span: Range<usize>,
    /// The headings under which it begins.
    pub headings: Arc<[Box<str>]>,
    /// The tokens of what is embedded, as estimated.
    pub tokens: TokenCount,
    /// Its text.
    pub text: Box<str>,
    /// The context before the text where it is embedded; `None` too where that is yet to be asked for.
    pub context: Option<Box<Context>>,
}

impl Planned {
    /// Returns what is embedded: the text, after its context where it has one.
    #[must_use]
    pub fn input(&self) -> &str {
        self.context.as_ref().map_or(&self.text, |context| context.input())
    }
}

/// What comes to the writer, in any order.
#[derive(Debug)]
pub enum Record {
    /// A chunk has its vector.
    Embedded(Embedded),
    /// A chunk failed.
    Rejected(Planned, Failure),
    /// A chunk is left for another time: the day's budget is spent, or too many are refused alike.
    Left(Planned),
    /// A chunk was too long for the service: its parts come in its place.
    Cut {
        /// The version.
        version: Arc<Version>,
        /// The chunk.
        whole: ChunkId,
        /// How its text is cut, wherever it is in the document.
        cut: Cut,
        /// Its parts.
        parts: Vec<ChunkId>,
    },
    /// A question without a line of its own has its answer.
    Kept(Kept),
    /// A question has its answer.
    Answered(Box<Answered>),
    /// A question failed.
    Unanswered(Question, Failure),
    /// A question is left for another time: the day's budget is spent, or too many are refused alike.
    LeftUnasked(Question),
    /// An inquiry has no question that gets a line.
    NothingToAsk(Inquiry),
    /// A version has no chunk that gets a line.
    Unchanged(Arc<Version>),
    /// A file as it was before: its bytes are those of the current version.
    Touched(Claim, DocumentPath, Observation),
    /// A document that had crashed the process was processed.
    GotOver(DocumentPath),
    /// A person wants documents retried.
    Retry(Retry),
    /// The source folder, as it was accepted: its device and inode number.
    Root((u64, u64)),
    /// A file that holds no document.
    Skipped(Ended, Skip),
    /// A file that could not be read.
    Failed(Ended, Failure),
    /// A document that is not there any more.
    Gone(Ended),
}

/// How a text of a document is cut that the service found too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The id that the text has where it first is in the document.
    pub text: ChunkId,
    /// Into how many parts, at most.
    pub parts: usize,
}

/// Failed documents that a person wants retried.
#[derive(Debug)]
pub struct Retry {
    /// Where they lie.
    pub paths: Vec<DocumentPath>,
    /// Told once that is in the ledger; dropped where it cannot be any more.
    pub done: oneshot::Sender<()>,
}

/// A file that ended before it had chunks.
#[derive(Debug)]
pub struct Ended {
    /// Where it lies, or lay.
    pub path: DocumentPath,
    /// What it looked like; `None` where it was removed.
    pub seen: Option<Observation>,
    /// Hash of its bytes, where they were read.
    pub hash: Option<ContentHash>,
    /// Ids that are no longer current.
    pub retract: Vec<ChunkId>,
    /// Ids of answers that are no longer current.
    pub retract_answers: Vec<ChunkId>,
    /// Keeps its next change back until this is written.
    pub claim: Claim,
}

/// A chunk with its vector.
#[derive(Debug)]
pub struct Embedded {
    /// The chunk.
    pub planned: Planned,
    /// Its vector.
    pub vector: Vector,
    /// Its tokens: as billed where the service counts each text, else as estimated.
    pub tokens: TokenCount,
    /// Whether an emulator made the vector.
    pub emulated: bool,
    /// When the answer came.
    pub at: SystemTime,
    /// Where the vector comes from.
    pub origin: Origin,
}

/// Where a vector comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the service. The first text of a call carries what the call was.
    Call(Option<Usage>),
    /// From an earlier answer.
    Cache,
}

/// What one answered call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Texts in it.
    pub texts: u64,
    /// Tokens billed, as far as the service says; else as estimated.
    pub tokens: TokenCount,
}

/// Why a file holds no document. Nothing is wrong with it.
///
/// The ledger keeps what is displayed, and it is read back from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// Nothing that can be seen.
    #[error("empty")]
    Empty,
    /// Not a kind of file that is read.
    #[error("unsupported ({media_type})")]
    Unsupported {
        /// What kind it is, as far as its bytes and its name tell.
        media_type: String,
    },
    /// A text whose bytes are not UTF-8.
    #[error("unsupported ({media_type}, but not UTF-8 at byte {offset})")]
    NotUtf8 {
        /// What its name says.
        media_type: String,
        /// The first byte that fits no character.
        offset: usize,
    },
    /// A text with a U+0000 in it, which databases refuse.
    #[error("unsupported ({media_type}, but U+0000 at byte {offset})")]
    Nul {
        /// What its name says.
        media_type: String,
        /// Where the first stands.
        offset: usize,
    },
}

impl Skip {
    /// Reads a reason back from its text; `None` where it is none that this build gives.
    #[must_use]
    pub fn parse(reason: &str) -> Option<Self> {
        if reason == "empty" {
            return Some(Self::Empty);
        }
        let inside = reason.strip_prefix("unsupported (")?.strip_suffix(')')?;
        let Some((media_type, flaw)) = inside.split_once(", but ") else {
            return Some(Self::Unsupported { media_type: inside.to_owned() });
        };
        let (media_type, (flaw, offset)) = (media_type.to_owned(), flaw.split_once(" at byte ")?);
        let offset = offset.parse().ok()?;
        match flaw {
            "not UTF-8" => Some(Self::NotUtf8 { media_type, offset }),
            "U+0000" => Some(Self::Nul { media_type, offset }),
            _ => None,
        }
    }

    /// Returns the reason without what belongs to this one file, for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Empty | Self::Unsupported { .. } => self.to_string(),
            Self::NotUtf8 { media_type, .. } => format!("unsupported ({media_type}, but not UTF-8)"),
            Self::Nul { media_type, .. } => format!("unsupported ({media_type}, but U+0000 in it)"),
        }
    }

    /// Returns the reason in one word, for programs.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unsupported { .. } => "unsupported",
            Self::NotUtf8 { .. } => "not-utf-8",
            Self::Nul { .. } => "nul",
        }
    }

    /// Returns what kind of file it is, where that is known.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        match self {
            Self::Empty => None,
            Self::Unsupported { media_type } | Self::NotUtf8 { media_type, .. } | Self::Nul { media_type, .. } => {
                Some(media_type)
            }
        }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Empty => "nothing: it is read once there is text in it",
            Self::Unsupported { .. } => {
                "put its text beside it as UTF-8 or Markdown; a glob in `source.exclude` leaves files of this kind out"
            }
            Self::NotUtf8 { .. } => "save it as UTF-8, as `iconv -f LATIN1 -t UTF-8` does for western European texts",
            Self::Nul { .. } => "remove the U+0000, as `tr -d '\\0'` does, or replace the file if a disk has damaged it",
        }
    }
}

/// Why a document, or one of its chunks, failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where on its way.
    pub stage: Stage,
    /// What kind of failure, in one word.
    pub class: Cow<'static, str>,
    /// What happened.
    pub message: String,
    /// Times it was tried.
    pub attempts: u32,
    /// Names the last call to AWS support.
    pub request_id: Option<String>,
    /// What to do about it.
    pub advice: String,
    /// What a chat model had written when its answer broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Box<str>>,
}

/// The stages at which a document can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Opening and reading the file.
    Read,
    /// Taking out its text and cutting it.
    Extract,
    /// Asking a chat model what a chunk is about.
    Context,
    /// Making vectors.
    Embed,
    /// Asking a chat model.
    Chat,
}

impl Stage {
    /// Returns the name that records use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Extract => "extract",
            Self::Context => "context",
            Self::Embed => "embed",
            Self::Chat => "chat",
        }
    }
}
