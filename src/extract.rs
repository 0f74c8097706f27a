//! Bytes to text, by media type: UTF-8 text and Markdown.

use std::path::Path;

use crate::model::{DocumentPath, Format, Skip};

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

/// Media types whose text is mostly markup or encoding, so that their bytes are no text to embed.
const MARKUP: [&str; 6] = ["text/html", "text/rtf", "application/rtf", "text/xml", "text/vcard", "application/postscript"];

/// Media types outside `text/` whose files are plain text all the same.
const TEXTUAL: [&str; 15] = [
    "application/json",
    "application/json5",
    "application/x-ndjson",
    "application/toml",
    "application/x-toml",
    "application/yaml",
    "application/x-yaml",
    "application/javascript",
    "application/ecmascript",
    "application/x-sh",
    "application/x-csh",
    "application/sql",
    "application/x-sql",
    "application/x-tex",
    "application/x-latex",
];

/// Reads a file's text. Takes the bytes, so that a large text is not held twice.
///
/// # Errors
/// When the file holds no text that is read here: another kind of file, other bytes than UTF-8, or nothing but white space.
pub fn text(path: &DocumentPath, bytes: Vec<u8>) -> Result<Extracted, Skip> {
    if bytes.is_empty() {
        return Err(Skip::Empty);
    }
    if let Some(kind) = infer::get(&bytes) {
        // Magic numbers of text formats (a shebang, `<?xml`, `<html`) name the kind as well as an extension does.
        let media_type = kind.mime_type();
        if !is_text(media_type) {
            return Err(Skip::Unsupported { media_type: media_type.to_owned() });
        }
    }
    let by_name = media_type(path.as_path());
    if let Some(media_type) = by_name.as_deref().filter(|media_type| !is_text(media_type)) {
        return Err(Skip::Unsupported { media_type: media_type.to_owned() });
    }
    if is_binary(&bytes) {
        return Err(Skip::Unsupported { media_type: "application/octet-stream".into() });
    }
    let media_type = by_name.unwrap_or_else(|| "text/plain".into());
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

fn is_text(media_type: &str) -> bool {
    let markup = MARKUP.contains(&media_type) || media_type.ends_with("+xml") || media_type.ends_with("/xml");
    !markup && (media_type.starts_with("text/") || media_type.ends_with("+json") || TEXTUAL.contains(&media_type))
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
