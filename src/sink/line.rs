//! The lines of the output, in the order of their keys. `riverbed schema` prints their schemas from these types.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Stamp;
use crate::model::{ChunkId, DocumentPath, Embedded, Failure, Fingerprint, Version};

/// A line of `vectors.jsonl`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "op", rename_all = "lowercase")]
#[schemars(deny_unknown_fields)]
pub enum Vectors<'a> {
    /// A chunk with its vector; takes the place of an earlier line with the same id.
    Upsert(Upsert<'a>),
    /// Takes back the line with this id.
    Delete(Delete<'a>),
}

/// A chunk with its vector.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Upsert<'a> {
    /// Number of the line; only grows.
    seq: u64,
    /// Stable id of the chunk: document, text, and which of the equal texts of the document it is.
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
    /// The chunk's place in the version, from 0.
    chunk: usize,
    /// Chunks in the version.
    chunks: usize,
    /// The text that was embedded.
    text: &'a str,
    /// Byte range of the text in the document's extracted text.
    span: [usize; 2],
    /// Headings under which the chunk begins, outermost first.
    headings: &'a [Box<str>],
    /// Page on which the chunk begins, from 1; null where the format has none.
    page: Option<u32>,
    /// Tokens of the text: as billed where the service counts each text, else as estimated.
    tokens: u64,
    /// IANA media type of the file.
    media_type: &'a str,
    /// Model that made the vector; begins with `emulator/` where it is a lexical stand-in and not a model's.
    model: String,
    /// Numbers in the vector.
    dimensions: u32,
    /// The vector, as the service sent it.
    #[schemars(with = "Vec<f64>")]
    embedding: &'a RawValue,
    /// When the answer came, UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"))]
    embedded_at: String,
    /// Names the output that the line belongs to.
    instance: &'a str,
    /// Fingerprint of the configuration that shapes vectors; equal where vectors are comparable.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$"))]
    config: Fingerprint,
}

/// Takes back an earlier line.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Delete<'a> {
    /// Number of the line; only grows.
    seq: u64,
    /// The id that stands no more.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))]
    id: ChunkId,
    /// Path of the file below the source folder, `/` between names; bytes that are not UTF-8 as `\xNN`.
    document: String,
    /// The path's bytes in base64, only where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_bytes: Option<String>,
    /// The version that no longer has the chunk.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    version: String,
    /// Names the output that the line belongs to.
    instance: &'a str,
    /// Fingerprint of the configuration that shapes vectors.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$"))]
    config: Fingerprint,
}

/// A line of `failed.jsonl`: a document that was given up.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Failed<'a> {
    /// Path of the file below the source folder, `/` between names; bytes that are not UTF-8 as `\xNN`.
    document: String,
    /// The path's bytes in base64, only where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_bytes: Option<String>,
    /// BLAKE3 of the file's bytes; null where it could not be read.
    version: Option<String>,
    /// Where on its way: `read` or `embed`.
    stage: &'a str,
    /// The kind of failure in one word.
    class: &'a str,
    /// What happened.
    message: &'a str,
    /// Times it was tried.
    attempts: u32,
    /// Names the last call to AWS support.
    request_id: Option<&'a str>,
    /// When it was given up, UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"))]
    failed_at: String,
    /// What to do.
    advice: &'a str,
    /// Names the output that the line belongs to.
    instance: &'a str,
    /// Fingerprint of the configuration that shapes vectors.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$"))]
    config: Fingerprint,
}

/// What is read back from the last line: where to go on.
#[derive(Debug, Deserialize)]
pub(super) struct Position {
    pub(super) seq: u64,
    pub(super) instance: String,
}

impl<'a> Vectors<'a> {
    pub(super) fn upsert(seq: u64, embedded: &'a Embedded, stamp: &Stamp, instance: &'a str) -> Self {
        let Embedded { planned, vector, tokens, emulated, at } = embedded;
        let version = &*planned.version;
        Self::Upsert(Upsert {
            seq,
            id: planned.id,
            document: version.path.to_string(),
            document_bytes: bytes(&version.path),
            version: version.hash.to_string(),
            chunk: planned.index,
            chunks: version.chunks,
            text: &planned.text,
            span: [planned.span.start, planned.span.end],
            headings: &planned.headings,
            page: None,
            tokens: tokens.get(),
            media_type: &version.media_type,
            model: if *emulated { format!("emulator/{}", stamp.model) } else { stamp.model.clone() },
            dimensions: stamp.dimensions,
            embedding: vector.as_raw(),
            embedded_at: humantime::format_rfc3339_millis(*at).to_string(),
            instance,
            config: if *emulated { stamp.config_emulated } else { stamp.config },
        })
    }

    pub(super) fn delete(seq: u64, id: ChunkId, version: &Version, stamp: &Stamp, instance: &'a str) -> Self {
        Self::Delete(Delete {
            seq,
            id,
            document: version.path.to_string(),
            document_bytes: bytes(&version.path),
            version: version.hash.to_string(),
            instance,
            config: stamp.config,
        })
    }
}

impl<'a> Failed<'a> {
    pub(super) fn new(
        path: &DocumentPath,
        version: Option<&Version>,
        failure: &'a Failure,
        at: SystemTime,
        stamp: &Stamp,
        instance: &'a str,
    ) -> Self {
        Self {
            document: path.to_string(),
            document_bytes: bytes(path),
            version: version.map(|version| version.hash.to_string()),
            stage: failure.stage.as_str(),
            class: failure.class,
            message: &failure.message,
            attempts: failure.attempts,
            request_id: failure.request_id.as_deref(),
            failed_at: humantime::format_rfc3339_millis(at).to_string(),
            advice: &failure.advice,
            instance,
            config: stamp.config,
        }
    }
}

fn bytes(path: &DocumentPath) -> Option<String> {
    (!path.is_utf8()).then(|| STANDARD.encode(path.as_bytes()))
}
