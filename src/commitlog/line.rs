//! The lines of the output, in the order of their keys. `riverbed schema` prints their schemas from these types.

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;
use serde_json::value::RawValue;

use super::config::Stamp;
use crate::domain::moment::exact_rfc3339;
use crate::domain::{ChunkId, ContentHash, DocumentPath, Embedded, Failure, Fingerprint};

pub use super::answer_line::{Answer, AnswerLine, TakenBack, answer, take_back};

/// A line of `vectors.jsonl`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "op", rename_all = "lowercase")]
#[schemars(deny_unknown_fields)]
pub enum Vectors<'a> {
    /// A chunk with its vector; takes the place of an earlier line with the same id.
    Upsert(Upsert<'a>),
    /// Deletes the line with this id.
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
    /// The chunk's place in the version, from 0. The parts of a chunk that the service found too long share its place.
    chunk: usize,
    /// Chunks in the version.
    chunks: usize,
    /// The text that was embedded.
    text: &'a str,
    /// What a chat model said of the chunk: it came before the text, with an empty line between, where that was embedded. Absent where
    /// nothing is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    /// True where the context was cut at the prompt's `max-tokens`; absent else.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_cut: Option<bool>,
    /// Byte range of the text in the document's extracted text.
    span: [usize; 2],
    /// Headings under which the chunk begins, outermost first.
    headings: &'a [Box<str>],
    /// Page on which the chunk begins, from 1; null where the format has none.
    page: Option<u32>,
    /// Tokens of the text, with its context: as billed where the service counts each text, else as estimated.
    tokens: u64,
    /// IANA media type of the file.
    media_type: &'a str,
    /// Model that made the vector; begins with `emulator/` where it is a lexical stand-in and not a model's.
    model: String,
    /// Dimensions of the vector: as many numbers as `embedding` has, and eight times as many where each packs eight bits.
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

/// Deletes an earlier line.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Delete<'a> {
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
    /// The version that no longer has the chunk; the last one, where the document was removed.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    version: String,
    /// Names the output that the line belongs to.
    instance: &'a str,
    /// Fingerprint of the configuration that shapes vectors.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$"))]
    config: Fingerprint,
}

/// A line of `failed.jsonl`: a failed document.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Failed<'a> {
    /// Number of the line; only grows.
    seq: u64,
    /// Path of the file below the source folder, `/` between names; bytes that are not UTF-8 as `\xNN`.
    document: String,
    /// The path's bytes in base64, only where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    document_bytes: Option<String>,
    /// BLAKE3 of the file's bytes; null where it could not be read.
    version: Option<String>,
    /// Where on its way: `read`, `extract`, `context`, `embed` or `chat`.
    stage: &'a str,
    /// The kind of failure in one word.
    class: &'a str,
    /// What happened.
    message: &'a str,
    /// Times it was tried.
    attempts: u32,
    /// Names the last call to AWS support.
    request_id: Option<&'a str>,
    /// When it failed, UTC.
    #[schemars(regex(pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"))]
    failed_at: String,
    /// What to do.
    advice: &'a str,
    /// What a chat model had written when its answer broke off; absent where it wrote nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'a str>,
    /// Names the output that the line belongs to.
    instance: &'a str,
    /// Fingerprint of the configuration that shapes vectors.
    #[schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$"))]
    config: Fingerprint,
}

/// A line as its bytes, with the newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the vector is in them, if there is one.
    pub vector: Option<Range<usize>>,
}

const KEY: &[u8] = b"\"embedding\":";

/// Returns the line of a chunk.
#[must_use]
pub fn upsert(seq: u64, embedded: &Embedded, stamp: &Stamp) -> Bytes {
    let Embedded { planned, vector, tokens, emulated, at, .. } = embedded;
    let version = &*planned.version;
    let said = planned.context.as_ref().map(|context| &context.said);
    let line = Vectors::Upsert(Upsert {
        seq,
        id: planned.id,
        document: version.path.to_string(),
        document_bytes: bytes(&version.path),
        version: version.hash.to_string(),
        chunk: planned.index,
        chunks: version.chunks,
        text: &planned.text,
        context: said.map(|said| said.context.as_str()),
        context_cut: said.and_then(|said| said.context_cut.then_some(true)),
        span: [planned.span.start, planned.span.end],
        headings: &planned.headings,
        page: None,
        tokens: tokens.get(),
        media_type: &version.media_type,
        model: if *emulated { format!("emulator/{}", stamp.model) } else { stamp.model.clone() },
        dimensions: stamp.dimensions,
        embedding: vector.as_raw(),
        embedded_at: exact_rfc3339(*at),
        instance: &stamp.instance,
        config: stamp.config(*emulated),
    });
    let bytes = encode(&line);
    // Inside a text the quotes of the key would be escaped, so the first is the key.
    let start = bytes.windows(KEY.len()).position(|window| window == KEY).expect("the line has a vector") + KEY.len();
    Bytes { vector: Some(start..start + vector.as_raw().get().len()), bytes }
}

/// Returns where the vector of a chunk's line stands, as many bytes of JSON, whatever they are.
#[must_use]
pub fn vector_of(line: &[u8], length: usize) -> Option<Range<usize>> {
    let start = line.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    (start + length < line.len()).then_some(start..start + length)
}

/// Returns the line that deletes a chunk's line.
#[must_use]
pub fn delete(seq: u64, id: ChunkId, path: &DocumentPath, version: &ContentHash, config: Fingerprint, stamp: &Stamp) -> Bytes {
    let line = Vectors::Delete(Delete {
        seq,
        id,
        document: path.to_string(),
        document_bytes: bytes(path),
        version: version.to_string(),
        instance: &stamp.instance,
        config,
    });
    Bytes { bytes: encode(&line), vector: None }
}

/// Returns the line of a failed document.
#[must_use]
pub fn failed(
    seq: u64,
    path: &DocumentPath,
    version: Option<&ContentHash>,
    failure: &Failure,
    at: SystemTime,
    stamp: &Stamp,
) -> Bytes {
    let line = Failed {
        seq,
        document: path.to_string(),
        document_bytes: bytes(path),
        version: version.map(ToString::to_string),
        stage: failure.stage.as_str(),
        class: &failure.class,
        message: &failure.message,
        attempts: failure.attempts,
        request_id: failure.request_id.as_deref(),
        failed_at: exact_rfc3339(at),
        advice: &failure.advice,
        written: failure.written.as_deref(),
        instance: &stamp.instance,
        config: stamp.config,
    };
    Bytes { bytes: encode(&line), vector: None }
}

pub(super) fn encode(line: &impl Serialize) -> Vec<u8> {
    // A vector of 1,024 numbers and its text.
    let mut bytes = Vec::with_capacity(24 << 10);
    let mut json = serde_json::Serializer::with_formatter(&mut bytes, OneLine);
    line.serialize(&mut json).expect("a line is JSON, and memory takes every byte");
    bytes.push(b'\n');
    bytes
}

/// What is read back from a line of either file.
#[derive(Debug, Clone, Deserialize)]
pub struct Read<'a> {
    /// `upsert` or `delete`; failed documents have none.
    pub op: Option<String>,
    /// Number of the line.
    pub seq: u64,
    /// Names the output that the line belongs to.
    pub instance: String,
    /// Id of the chunk.
    pub id: Option<String>,
    /// Path of the document, as it is shown.
    pub document: String,
    /// The path's bytes in base64, where they are not UTF-8.
    pub document_bytes: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// What came before the text.
    #[serde(default)]
    pub context: Option<String>,
    /// Byte range of the text.
    pub span: Option<[usize; 2]>,
    /// Headings.
    pub headings: Option<Vec<String>>,
    /// Page.
    pub page: Option<u32>,
    /// Tokens of the text.
    pub tokens: Option<u64>,
    /// Model, with its mark.
    pub model: Option<String>,
    /// The vector.
    #[serde(borrow)]
    pub embedding: Option<&'a RawValue>,
    /// When the answer came.
    pub embedded_at: Option<String>,
    /// Fingerprint of the configuration; lines that take an answer back have none.
    #[serde(default)]
    pub config: String,
    /// The prompt that was asked.
    pub prompt: Option<String>,
    /// What was asked, by its name.
    pub question: Option<String>,
}

impl Read<'_> {
    /// Returns the path of the document as bytes.
    #[must_use]
    pub fn path_bytes(&self) -> Option<Vec<u8>> {
        match &self.document_bytes {
            Some(bytes) => STANDARD.decode(bytes).ok(),
            None => Some(self.document.clone().into_bytes()),
        }
    }
}

/// Compact JSON that no reader takes for two lines: the line ends of Unicode are escaped like those of ASCII.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['\u{85}', '\u{2028}', '\u{2029}']) {
            let (before, after) = rest.split_at(at);
            let line_end = after.chars().next().expect("found there");
            writer.write_all(before.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(line_end))?;
            rest = &after[line_end.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

pub(super) fn bytes(path: &DocumentPath) -> Option<String> {
    (!path.is_utf8()).then(|| STANDARD.encode(path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_end_of_any_kind_is_inside_a_line() {
        let text = "a\nb\rc\u{85}d\u{2028}e\u{2029}f\u{b}g\u{c}h";
        let written = String::from_utf8(encode(&text)).unwrap();
        assert_eq!(written, "\"a\\nb\\rc\\u0085d\\u2028e\\u2029f\\u000bg\\fh\"\n");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
