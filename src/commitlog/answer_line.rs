//! The lines of `answers.jsonl`.

use schemars::JsonSchema;
use serde::Serialize;

use super::config::Stamp;
use super::line::{Bytes, bytes, encode};
use crate::domain::{Body, ChunkId, ContentHash, DocumentPath, Fingerprint, Question, QuestionKey};

/// A line of `answers.jsonl`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "op", rename_all = "lowercase")]
#[schemars(rename = "Answers")]
pub enum AnswerLine<'a> {
    /// What a chat model answered; takes the place of an earlier line with the same id.
    Upsert(Answer<'a>),
    /// Deletes the line with this id.
    Delete(TakenBack<'a>),
}

/// What a chat model answered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Answer<'a> {
    /// Number of the line; only grows.
    seq: u64,
    /// Stable id of the answer: document, prompt, and the chunk's text where it is about one.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    id: ChunkId,
    /// Path of the file below the source folder, `/` between names; bytes that are not UTF-8 as `\xNN`.
    document: String,
    /// The path's bytes in base64, only where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_bytes: Option<String>,
    /// BLAKE3 of the file's bytes.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    version: String,
    /// The prompt's name; null where the file itself holds the messages.
    prompt: Option<&'a str>,
    /// The chunk's place in the version, from 0; null where the prompt runs over the whole document.
    chunk: Option<usize>,
    /// The answer.
    #[serde(flatten)]
    pub(crate) body: &'a Body,
    /// Names what was asked; equal where the same was.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    question: QuestionKey,
    /// Names the output that the line belongs to.
    instance: &'a str,
    /// Fingerprint of the prompt's configuration.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$"))]
    config: Fingerprint,
}

/// Deletes an earlier line.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TakenBack<'a> {
    /// Number of the line; only grows.
    seq: u64,
    /// The id that is no longer current.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    id: ChunkId,
    /// Path of the file below the source folder, `/` between names; bytes that are not UTF-8 as `\xNN`.
    document: String,
    /// The path's bytes in base64, only where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_bytes: Option<String>,
    /// The version that no longer has it; the last one, where the document was removed.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    version: String,
    /// Names the output that the line belongs to.
    instance: &'a str,
}

/// Returns the line of an answer.
#[must_use]
pub fn answer(seq: u64, question: &Question, body: &Body, key: QuestionKey, stamp: &Stamp) -> Bytes {
    let inquiry = &*question.inquiry;
    let line = AnswerLine::Upsert(Answer {
        seq,
        id: question.id,
        document: inquiry.path.to_string(),
        document_bytes: bytes(&inquiry.path),
        version: inquiry.version.to_string(),
        prompt: inquiry.prompt.as_deref(),
        chunk: question.chunk,
        body,
        question: key,
        instance: &stamp.instance,
        config: inquiry.config,
    });
    Bytes { bytes: encode(&line), vector: None }
}

/// Returns the line that deletes an answer.
#[must_use]
pub fn take_back(seq: u64, id: ChunkId, path: &DocumentPath, version: &ContentHash, stamp: &Stamp) -> Bytes {
    let line = AnswerLine::Delete(TakenBack {
        seq,
        id,
        document: path.to_string(),
        document_bytes: bytes(path),
        version: version.to_string(),
        instance: &stamp.instance,
    });
    Bytes { bytes: encode(&line), vector: None }
}
