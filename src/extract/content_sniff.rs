//! Media type by a file's bytes, whatever its name says. First letters alone show nothing: a text may begin with any.

use infer::MatcherType;

/// What bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// A text in UTF-8.
    Text,
    /// A text in UTF-8 but for U+0000, which is first at this byte.
    Nul(usize),
    /// A text of another charset; the byte at this offset fits no character of UTF-8.
    Charset(usize),
    /// No text: of this media type, where it is known.
    Other(Option<&'static str>),
}

/// Judges bytes, all of them: what is wrong with a text may be anywhere in it.
pub(super) fn judge(bytes: &[u8]) -> Shown {
    let first_nul = bytes.iter().position(|byte| *byte == 0);
    let controls = bytes.iter().filter(|byte| is_control(**byte)).count();
    let is_clean = controls * 32 <= bytes.len();
    // A signature in letters may be a word, where what follows could be a text.
    let signature = || signature(bytes).filter(|_| !(is_clean && begins_in_letters(bytes)));
    match (std::str::from_utf8(bytes), first_nul) {
        // What separates columns, or underlines on a terminal, is a control character too, and is beside what it separates.
        (Ok(_), None) if controls * 2 <= bytes.len() => Shown::Text,
        (Ok(_), Some(offset)) if controls * 2 <= bytes.len() && signature().is_none() => Shown::Nul(offset),
        (Err(_), _) if is_utf16(bytes) => Shown::Charset(0),
        (Err(error), None) if is_clean && signature().is_none() => Shown::Charset(error.valid_up_to()),
        _ => Shown::Other(signature()),
    }
}

/// Returns what a text is the source of, where its beginning and its end both show that: no prose has the two.
pub(super) fn document(text: &[u8]) -> Option<&'static str> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii();
    let lines_end = |end: &[u8]| text.ends_with(end);
    if begins(text, b"{\\rtf") && lines_end(b"}") {
        return Some("application/rtf");
    }
    if begins(text, b"%PDF-") && lines_end(b"%%EOF") {
        return Some("application/pdf");
    }
    if begins(text, b"%!PS") && lines_end(b"%%EOF") {
        return Some("application/postscript");
    }
    if !lines_end(b">") {
        return None;
    }
    if begins(text, b"<!doctype html") || begins(text, b"<html") {
        return Some("text/html");
    }
    begins(text, b"<?xml").then_some("text/xml")
}

/// Returns whether a text is what its name says it is: the name of another kind that is itself written in letters.
pub(super) fn bears_out(media_type: &str, text: &[u8]) -> bool {
    let begin = &text[..text.len().min(1024)];
    match media_type {
        "application/rtf" | "text/rtf" => begins(text.trim_ascii_start(), b"{\\rtf"),
        "application/pdf" => has(begin, b"%PDF-"),
        "application/postscript" => begins(text.trim_ascii_start(), b"%!") || has(begin, b"%PDF-"),
        "text/vcard" => begins(text.trim_ascii_start(), b"BEGIN:VCARD"),
        "text/html" | "text/xml" | "application/xml" => has_tag(text),
        _ if media_type.ends_with("+xml") => has_tag(text),
        // Office programs open a page or an RTF under their own files' names, and some programs export such.
        _ if media_type.starts_with("application/vnd.ms-") || media_type == "application/msword" => {
            let text = text.trim_ascii();
            text.starts_with(b"<") && text.ends_with(b">") && has_tag(text) || is_numbers(media_type, text)
        }
        _ => is_numbers(media_type, text),
    }
}

/// Returns whether a text is a key or a certificate and nothing else: lines of base64 between two borders, for which nobody asks, and
/// which should not leave the machine.
pub(super) fn is_armoured(text: &[u8]) -> bool {
    let is_border = |line: &[u8], word: &[u8]| line.starts_with(word) && line.ends_with(b"-----");
    let is_base64 = |line: &[u8]| line.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
    let mut is_inside = false;
    let mut blocks = 0_u32;
    for line in text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        match is_inside {
            false if line.is_empty() => {}
            false if is_border(line, b"-----BEGIN ") => is_inside = true,
            true if is_border(line, b"-----END ") => (is_inside, blocks) = (false, blocks + 1),
            // `Proc-Type: 4,ENCRYPTED` and its like.
            true if is_base64(line) || line.contains(&b':') && !line.contains(&b'.') => {}
            _ => return false,
        }
    }
    blocks > 0 && !is_inside
}

/// Returns whether what a name calls a picture, a sound or a shape is written in numbers: meshes and bitmaps in ASCII are.
fn is_numbers(media_type: &str, text: &[u8]) -> bool {
    const SHAPES: [&str; 6] = ["image/", "audio/", "video/", "font/", "model/", "application/vnd.ms-pki.stl"];
    let count = |is: fn(&u8) -> bool| text.iter().filter(|byte| is(byte)).count();
    SHAPES.iter().any(|shape| media_type.starts_with(shape))
        && count(u8::is_ascii_digit) > count(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii())
}

/// Returns whether there is a tag, a comment or a declaration of markup.
fn has_tag(text: &[u8]) -> bool {
    let last = text.iter().rposition(|byte| *byte == b'>').unwrap_or(0);
    text[..last].windows(2).any(|pair| pair[0] == b'<' && (pair[1].is_ascii_alphabetic() || b"/!?".contains(&pair[1])))
}

/// Returns what the first bytes say, where they are those of no text.
fn signature(bytes: &[u8]) -> Option<&'static str> {
    infer::get(bytes).filter(|kind| kind.matcher_type() != MatcherType::Text).map(|kind| kind.mime_type())
}

/// Returns whether the first bytes are letters, so that a signature in them may be a word.
fn begins_in_letters(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(4)].iter().all(|byte| (b' '..=b'~').contains(byte) || byte.is_ascii_whitespace())
}

/// Returns whether all of the bytes are UTF-16 with its mark, and hold no U+0000.
fn is_utf16(bytes: &[u8]) -> bool {
    let units: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return false,
    };
    let (pairs, rest) = bytes.as_chunks::<2>();
    rest.is_empty() && char::decode_utf16(pairs.iter().map(|pair| units(*pair))).all(|read| read.is_ok_and(|read| read != '\0'))
}

/// Returns whether a byte is a control character that no printer and no terminal takes.
fn is_control(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0x08 | 0x1b)
}

fn begins(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
}

fn has(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|here| here == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_text_whatever_it_begins_with() {
        for text in [
            "BM25 ranks",
            "GIF or PNG?",
            "GIF89a",
            "SQLite format 3",
            "MZ is short",
            "%PDF-1.7",
            "7z",
            "Rar!",
            "PK",
            "RIFF....WEBP",
            "....ftypisom",
            "....moov",
            "BC is a province",
            "ID3 tags",
            "OggS",
            "fLaC",
            "wOFF",
            "OTTO",
            "ttcf",
            "FWS",
            "CWS",
            "BZh9",
            "xar!",
            "8BPS",
            "II* or MM",
            "AC1015",
            "!<arch>",
            "070707",
            "FLV",
            "MThd",
            "#!AMR",
            "Cr24",
            "{\\rtf",
            "<?xml",
            "\u{7f}ELF",
            "\u{1b}[31mred\u{1b}[0m",
            "N\u{8}NA\u{8}A",
            "a\u{1}b\u{1}cc\u{1}d",
            "page\u{c}two",
            "café",
        ] {
            for all in [text.to_owned(), format!("{text} and more words than fit into a first line of anything.\n").repeat(40)] {
                assert_eq!(judge(all.as_bytes()), Shown::Text, "{all}");
            }
        }
        let late = format!("# How to tell files apart\n\n{}A PDF begins with %PDF-1.7\n", "x ".repeat(300));
        assert_eq!(judge(late.as_bytes()), Shown::Text);
    }

    #[test]
    fn a_nul_anywhere_is_found_and_told_with_its_place() {
        assert_eq!(judge(b"ab\0cd"), Shown::Nul(2));
        let mut late = "words ".repeat(100_000).into_bytes();
        late.extend_from_slice(b"\0\0\n");
        assert_eq!(judge(&late), Shown::Nul(600_000));
        assert_eq!(judge(&[0; 100]), Shown::Other(None), "nothing but that is no text at all");
    }

    #[test]
    fn bytes_that_are_no_text_are_known_by_their_signature() {
        assert_eq!(judge(b"\x89PNG\r\n\x1a\n...."), Shown::Other(Some("image/png")));
        assert_eq!(judge(b"SQLite format 3\0\x10\0\x01\x01"), Shown::Other(Some("application/vnd.sqlite3")));
        let mut bitmap = b"BM\x36\0\x0c\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bitmap.extend_from_slice(&[0; 100]);
        assert_eq!(judge(&bitmap), Shown::Other(Some("image/bmp")));
        assert_eq!(judge(&(0..=255).collect::<Vec<u8>>()), Shown::Other(None));
    }

    #[test]
    fn a_text_of_another_charset_is_one_whatever_it_begins_with() {
        assert_eq!(judge(b"caf\xe9"), Shown::Charset(3));
        assert_eq!(judge(b"BM25 est cit\xe9 souvent"), Shown::Charset(12));
        assert_eq!(judge(b"\xff\xfew\0o\0r\0d\0s\0"), Shown::Charset(0));
        assert_eq!(judge(b"\xfe\xff\0w\0o\0r\0d\0s"), Shown::Charset(0));
        assert_eq!(judge(b"\xff\xfe\0\0w\0\0\0"), Shown::Other(None), "UTF-32, or anything");
    }

    #[test]
    fn markup_without_a_name_is_known_by_both_its_ends() {
        assert_eq!(document(b"\xef\xbb\xbf <!DOCTYPE html><p>words</p>\n"), Some("text/html"));
        assert_eq!(document(b"<?xml version=\"1.0\"?><a/>"), Some("text/xml"));
        assert_eq!(document(b"{\\rtf1\\ansi words}"), Some("application/rtf"));
        assert_eq!(document(b"%PDF-1.4\n1 0 obj<<>>endobj\n%%EOF\n"), Some("application/pdf"));
        for prose in ["<html> is the root of a page", "%PDF-1.7 is a version", "{\\rtf1 begins a document", "<div>words</div>"] {
            assert_eq!(document(prose.as_bytes()), None, "{prose}");
        }
    }

    #[test]
    fn a_key_is_known_by_all_of_its_lines() {
        assert!(is_armoured(b"-----BEGIN CERTIFICATE-----\nMIIB+/=\nAAAA\n-----END CERTIFICATE-----\n"));
        assert!(is_armoured(
            b"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\nMIIB\r\n-----END RSA PRIVATE KEY-----"
        ));
        assert!(!is_armoured(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n\nThis is the key of the door."));
        assert!(!is_armoured(b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nThe words that I sign.\n-----BEGIN PGP SIGNATURE-----\nAA\n-----END PGP SIGNATURE-----"));
        assert!(!is_armoured(b"-----BEGIN with a line\n"));
    }
}
