//! Bytes to text, by media type: UTF-8 text and Markdown.
//!
//! The bytes decide what a document is; its name only helps. A file that is no text is skipped with its kind, and is nobody's failure.
//! Nothing here reads a file: the source hands over its bytes.

mod content_sniff;
mod file_name;

use crate::domain::{DocumentPath, Format, Skip, is_blank};

use content_sniff::Shown;
use file_name::Named;

/// Names what is read and how; changes when a file may be read that was skipped before.
pub const VERSION: &str = "text-2";

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

/// Reads a file's text. Takes the bytes, so that a large text is not held twice.
///
/// The bytes decide. A name, or the first letters, can call bytes another kind only where they are no text, or are that kind's own
/// source, as HTML is.
///
/// # Errors
/// When the file holds no text that is read here: another kind of file, another charset than UTF-8, a U+0000, or nothing that can be
/// seen.
pub fn text(path: &DocumentPath, bytes: Vec<u8>) -> Result<Extracted, Skip> {
    if bytes.is_empty() {
        return Err(Skip::Empty);
    }
    let named = Named::of(path.as_path());
    let shown = content_sniff::judge(&bytes);
    let unsupported = |media_type: &str| Err(Skip::Unsupported { media_type: media_type.to_owned() });
    match shown {
        Shown::Other(Some(media_type)) => return unsupported(media_type),
        Shown::Other(None) => return unsupported(&named.of_bytes()),
        Shown::Text | Shown::Nul(_) | Shown::Charset(_) => {}
    }
    if content_sniff::is_armoured(&bytes) {
        return unsupported("application/x-x509-ca-cert");
    }
    match &named {
        Named::Other(media_type) if content_sniff::bears_out(media_type, &bytes) => return unsupported(media_type),
        Named::Other(_) | Named::Unknown(_) => {
            if let Some(media_type) = content_sniff::document(&bytes) {
                return unsupported(media_type);
            }
        }
        Named::Text(_) => {}
    }
    let media_type = named.of_text();
    let mut text = match (shown, String::from_utf8(bytes)) {
        (Shown::Nul(offset), _) => return Err(Skip::Nul { media_type, offset }),
        (Shown::Charset(offset), _) => return Err(Skip::NotUtf8 { media_type, offset }),
        (_, Ok(text)) => text,
        (_, Err(error)) => return Err(Skip::NotUtf8 { media_type, offset: error.utf8_error().valid_up_to() }),
    };
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if is_blank(&text) {
        return Err(Skip::Empty);
    }
    let format = if media_type == "text/markdown" { Format::Markdown } else { Format::Text };
    Ok(Extracted { media_type, format, text })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
    fn other_kinds_are_skipped_by_their_bytes_and_by_a_name_that_these_bear_out() {
        assert_eq!(check("logo.png", b"\x89PNG\r\n\x1a\n...."), Err("unsupported (image/png)".into()));
        assert_eq!(check("really.txt", b"\x89PNG\r\n\x1a\n...."), Err("unsupported (image/png)".into()));
        assert_eq!(check("page.html", b"<p>words"), Err("unsupported (text/html)".into()));
        assert_eq!(check("page.html", b"{% block %}\n<b>caf\xe9</b>"), Err("unsupported (text/html)".into()));
        assert_eq!(check("drawing.svg", b"<svg/>"), Err("unsupported (image/svg+xml)".into()));
        assert_eq!(check("paper.pdf", b"%PDF-1.7"), Err("unsupported (application/pdf)".into()));
        assert_eq!(check("figure.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n"), Err("unsupported (application/postscript)".into()));
        assert_eq!(check("old.doc", b"{\\rtf1 words}"), Err("unsupported (application/rtf)".into()));
        assert_eq!(
            check("report.xls", b"<table><tr><td>1</td></tr></table>"),
            Err("unsupported (application/vnd.ms-excel)".into())
        );
        assert_eq!(
            check("mesh.stl", b"solid a\nvertex 0.123456 1.234567 2.345678\nendsolid"),
            Err("unsupported (application/vnd.ms-pki.stl)".into())
        );
        assert_eq!(check("blob", b"\x01\x02\0\0\x03"), Err("unsupported (application/octet-stream)".into()));
        assert_eq!(check("blob.txt", b"\x01\x02\0\0\x03"), Err("unsupported (application/octet-stream)".into()));
        let key = b"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";
        for name in ["server.pem", "server.key", "id_rsa", "key.txt"] {
            assert_eq!(check(name, key), Err("unsupported (application/x-x509-ca-cert)".into()), "{name}");
        }
    }

    #[test]
    fn a_text_is_read_whatever_its_name_and_its_first_letters_promise() {
        let text = is("text/plain", Format::Text);
        for name in [
            "graph.dot",
            "de.pot",
            "letter.doc",
            "table.xls",
            "talk.ppt",
            "list.m3u",
            "page.html",
            "a.svg",
            "a.pdf",
            "a.docx",
            "a.eps",
            "a.zip",
        ] {
            assert_eq!(check(name, b"digraph { a -> b } and some words"), Ok(text.clone()), "{name}");
        }
        for words in
            ["BM25 ranks", "GIF or PNG?", "SQLite keeps", "MZ is", "%PDF is how", "<html> is", "{\\rtf1 is", "PK", "<?xml is"]
        {
            for name in ["a.txt", "a", "a.unheard-of", "a.dot"] {
                assert_eq!(check(name, words.as_bytes()), Ok(text.clone()), "{name}: {words}");
            }
        }
    }

    #[test]
    fn a_text_with_a_nul_says_where_wherever_it_is() {
        assert_eq!(check("blob", b"ab\0cd"), Err("unsupported (text/plain, but U+0000 at byte 2)".into()));
        let mut log = "an event of the day\n".repeat(5_000);
        log.push_str("\0\0\0\0\n");
        assert_eq!(check("app.md", log.as_bytes()), Err("unsupported (text/markdown, but U+0000 at byte 100000)".into()));
    }

    #[test]
    fn first_bytes_that_look_like_markup_decide_nothing_against_a_name() {
        assert_eq!(check("README.md", b"<div align=\"center\">words</div>"), Ok(is("text/markdown", Format::Markdown)));
        assert_eq!(check("README", b"<div align=\"center\">words</div>"), Ok(is("text/plain", Format::Text)));
        assert_eq!(check("untold", b"<!DOCTYPE html><p>words</p>"), Err("unsupported (text/html)".into()));
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
    fn nothing_that_can_be_seen_is_empty() {
        assert_eq!(check("a.txt", b""), Err("empty".into()));
        assert_eq!(check("a.txt", "\u{200b}\u{200b}\n\u{feff}\u{2060}\n".as_bytes()), Err("empty".into()));
        assert_eq!(check("a.txt", "\u{feff}\u{feff}\n".as_bytes()), Err("empty".into()));
        assert_eq!(check("a.html", "\u{ad}\u{fe0f}\u{3000}".as_bytes()), Err("empty".into()));
        assert_eq!(check("a.md", b"\xef\xbb\xbf \n\t"), Err("empty".into()));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let path = DocumentPath::new(Path::new("a.txt")).unwrap();
        assert_eq!(text(&path, b"\xef\xbb\xbfwords".to_vec()).unwrap().text, "words");
    }
}
