//! Names for files that are moved or deleted. A name has 255 bytes at most, whatever is added to it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

const LONGEST: usize = 255;

/// Returns the name that the `number`th file of one name gets: `a.md`, `a-2.md`, `a-3.md`.
pub(super) fn numbered(name: &OsStr, number: u32) -> OsString {
    // Longer endings say nothing of what is in the file.
    const LONGEST_EXTENSION: usize = 16;
    if number < 2 {
        return name.into();
    }
    let name = name.as_bytes();
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0 && name.len() - dot <= LONGEST_EXTENSION);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    join(stem, &[format!("-{number}").as_bytes(), extension].concat())
}

/// Returns the name of the file that says why another failed.
pub(super) fn reason_of(name: &OsStr) -> OsString {
    join(name.as_bytes(), b".reason.txt")
}

/// Returns the name under which a file lies for the moment between leaving its own and being deleted, or being whole. It is hidden, so
/// that it is none of the documents, and always the same, so that it is found again after a crash.
pub(super) fn aside(name: &OsStr) -> OsString {
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!(".riverbed-{}", &hash[..16]).into()
}

/// Returns the name under which a file lies in its new folder until it is sure that it is the one that was meant. Hidden and always the
/// same, as that of [`aside`], and another: what lies there may be the only one of its kind.
pub(super) fn arriving(name: &OsStr) -> OsString {
    let mut arriving = aside(name);
    arriving.push("-in");
    arriving
}

/// Adds an ending to as much of a name as there is room for.
fn join(name: &[u8], ending: &[u8]) -> OsString {
    let mut length = name.len().min(LONGEST - ending.len());
    while length < name.len() && length > 0 && name[length] & 0b1100_0000 == 0b1000_0000 {
        length -= 1; // never within a character
    }
    OsString::from_vec([&name[..length], ending].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_before_the_extension() {
        let numbered = |name: &str, number| numbered(OsStr::new(name), number).into_string().unwrap();
        assert_eq!(numbered("a.md", 1), "a.md");
        assert_eq!(numbered("a.md", 2), "a-2.md");
        assert_eq!(numbered("a.tar.gz", 10), "a.tar-10.gz");
        assert_eq!(numbered("a", 2), "a-2");
        assert_eq!(numbered("a.no extension at all", 2), "a.no extension at all-2");
    }

    #[test]
    fn long_names_are_cut_between_characters_and_keep_their_ending() {
        let name = format!("{}.md", "ü".repeat(126));
        assert_eq!(name.len(), LONGEST);
        let longer = numbered(OsStr::new(&name), 12).into_string().unwrap();
        assert_eq!(longer, format!("{}-12.md", "ü".repeat(124)));
        let reason = reason_of(OsStr::new(&name)).into_string().unwrap();
        assert_eq!(reason, format!("{}.reason.txt", "ü".repeat(122)));
        assert!(numbered(OsStr::from_bytes(&[b'\x80'; LONGEST]), 2).len() <= LONGEST, "it need not be UTF-8");
    }
}
