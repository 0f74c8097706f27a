//! Bytes to text, by media type: UTF-8 text and Markdown.

use std::path::Path;

use infer::MatcherType;

use crate::model::{DocumentPath, Format, Skip};

/// Names what is read and how; changes when a file may be read that was skipped before.
pub const VERSION: &str = "text-1";

/// A file's text and what kind of file it came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Extracted {
    /// IANA media type.
    pub media_type: String,
    /// How the text is to be read.
    pub format: Format,
    /// The text: the file's bytes without a byte order mark.
    pub text: String,
}

/// Kinds of file, by the beginning of their media type, whose bytes are no text to embed even where they happen to be UTF-8: they
/// are markup, another format's container, or no words at all.
const OTHER_KINDS: [&str; 22] = [
    "image/",
    "audio/",
    "video/",
    "font/",
    "model/",
    "text/html",
    "text/xml",
    "text/rtf",
    "text/vcard",
    "application/xml",
    "application/xhtml",
    "application/rtf",
    "application/pdf",
    "application/postscript",
    "application/epub",
    "application/msword",
    "application/vnd.ms-",
    "application/vnd.openxmlformats",
    "application/vnd.oasis",
    "application/zip",
    "application/wasm",
    "application/x-x509",
];

/// Media types outside `text/` that tell more of a text than `text/plain` would.
const TELLING: [&str; 7] = [
    "application/json",
    "application/x-ndjson",
    "application/toml",
    "application/yaml",
    "application/javascript",
    "application/sql",
    "application/x-sh",
];

/// Reads a file's text. Takes the bytes, so that a large text is not held twice.
///
/// # Errors
/// When the file holds no text that is read here: another kind of file, other bytes than UTF-8, or nothing but white space.
pub fn text(path: &DocumentPath, bytes: Vec<u8>) -> Result<Extracted, Skip> {
    if bytes.is_empty() {
        return Err(Skip::Empty);
    }
    let by_name = media_type(path.as_path());
    let unsupported = |media_type: &str| Err(Skip::Unsupported { media_type: media_type.to_owned() });
    if let Some(media_type) = by_name.as_deref().filter(|media_type| is_other_kind(media_type)) {
        return unsupported(media_type);
    }
    let telling = |media_type: &str| media_type.starts_with("text/") || TELLING.contains(&media_type);
    match infer::get(&bytes) {
        // First bytes that are themselves text decide nothing against a name: many a README begins with a `<div>`.
        Some(kind) if kind.matcher_type() == MatcherType::Text && (by_name.is_some() || !is_other_kind(kind.mime_type())) => {}
        Some(kind) => return unsupported(kind.mime_type()),
        None if is_binary(&bytes) => {
            let named = by_name.as_deref().filter(|media_type| !telling(media_type));
            return unsupported(named.unwrap_or("application/octet-stream"));
        }
        None => {}
    }
    let media_type = by_name.filter(|media_type| telling(media_type)).unwrap_or_else(|| "text/plain".into());
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(Skip::NotUtf8 { media_type, offset: error.utf8_error().valid_up_to() }),
    };
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if text.trim().is_empty() {
        return Err(Skip::Empty);
    }
    let format = if media_type == "text/markdown" { Format::Markdown } else { Format::Text };
    Ok(Extracted { media_type, format, text })
}

/// Returns what a file's name says of its kind.
fn media_type(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    // The table knows `.ts` as video and has no word for these.
    match extension.as_str() {
        "md" | "markdown" | "mdown" | "mkd" => Some("text/markdown".into()),
        "txt" | "text" | "log" | "rst" | "adoc" | "asciidoc" | "org" => Some("text/plain".into()),
        "ts" | "mts" | "cts" | "tsx" => Some("text/x-typescript".into()),
        _ => mime_guess::from_ext(&extension).first_raw().map(ToOwned::to_owned),
    }
}

fn is_other_kind(media_type: &str) -> bool {
    OTHER_KINDS.iter().any(|kind| media_type.starts_with(kind)) || media_type.ends_with("+xml")
}

/// Returns whether the first bytes hold a NUL, which no text in UTF-8 has. (UTF-16 does: it is not read here.)
fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(8192)].contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, bytes: &[u8]) -> Result<(String, Format), String> {
        let path = DocumentPath::new(Path::new(name)).unwrap();
        let extracted = text(&path, bytes.to_vec()).map_err(|skip| skip.to_string())?;
        Ok((extracted.media_type, extracted.format))
    }

    fn is(media_type: &str, format: Format) -> (String, Format) {
        (media_type.to_owned(), format)
    }

    #[test]
    fn text_and_markdown_are_read_whatever_their_name() {
        assert_eq!(check("README.MD", b"# A"), Ok(is("text/markdown", Format::Markdown)));
        assert_eq!(check("LICENSE", b"Permission"), Ok(is("text/plain", Format::Text)));
        assert_eq!(check("notes.unheard-of", b"words"), Ok(is("text/plain", Format::Text)));
        assert_eq!(check("a.rs", b"fn main() {}"), Ok(is("text/x-rust", Format::Text)));
        assert_eq!(check("a.json", b"{}"), Ok(is("application/json", Format::Text)));
        assert_eq!(check("run", b"#!/bin/sh\necho"), Ok(is("text/plain", Format::Text)));
    }

    #[test]
    fn other_kinds_are_skipped_by_name_and_by_their_first_bytes() {
        assert_eq!(check("logo.png", b"\x89PNG\r\n\x1a\n...."), Err("unsupported (image/png)".into()));
        assert_eq!(check("really.txt", b"\x89PNG\r\n\x1a\n...."), Err("unsupported (image/png)".into()));
        assert_eq!(check("page.html", b"<p>words"), Err("unsupported (text/html)".into()));
        assert_eq!(check("drawing.svg", b"<svg/>"), Err("unsupported (image/svg+xml)".into()));
        assert_eq!(check("paper.pdf", b"%PDF-1.7"), Err("unsupported (application/pdf)".into()));
        assert_eq!(check("blob", b"ab\0cd"), Err("unsupported (application/octet-stream)".into()));
        assert_eq!(check("blob.txt", b"ab\0cd"), Err("unsupported (application/octet-stream)".into()));
    }

    #[test]
    fn first_bytes_that_look_like_markup_decide_nothing_against_a_name() {
        assert_eq!(check("README.md", b"<div align=\"center\">words</div>"), Ok(is("text/markdown", Format::Markdown)));
        assert_eq!(check("untold", b"<!DOCTYPE html><p>words"), Err("unsupported (text/html)".into()));
    }

    #[test]
    fn a_name_that_few_know_does_not_hide_a_text() {
        assert_eq!(check("build.pl", b"print 1;"), Ok(is("text/plain", Format::Text)));
        assert_eq!(check("page.tpl", b"{{words}}"), Ok(is("text/plain", Format::Text)));
    }

    #[test]
    fn a_text_that_is_not_utf8_says_where() {
        assert_eq!(check("old.txt", b"caf\xe9"), Err("unsupported (text/plain, but not UTF-8 at byte 3)".into()));
    }

    #[test]
    fn nothing_but_white_space_is_empty() {
        assert_eq!(check("a.txt", b""), Err("empty".into()));
        assert_eq!(check("a.md", b"\xef\xbb\xbf \n\t"), Err("empty".into()));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let path = DocumentPath::new(Path::new("a.txt")).unwrap();
        assert_eq!(text(&path, b"\xef\xbb\xbfwords".to_vec()).unwrap().text, "words");
    }
}
