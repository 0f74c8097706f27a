//! Names under which programs keep what is not finished.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Returns whether a file or folder of this name is none of ours: hidden, a lock, a backup, or on its way to its final name.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(b".") // hidden; editors' swap files; `.~lock.report.odt#`; rsync's `.name.XXXXXX`
        || name.starts_with(b"~$") // Word's and Excel's owner files
        || name.ends_with(b"~")
        || Path::new(OsStr::from_bytes(name)).extension().is_some_and(|extension| {
            ["tmp", "part", "partial", "crdownload", "filepart", "swp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        })
}

/// Returns whether some name on the way down a path is temporary.
pub(super) fn has_temporary(path: &Path) -> bool {
    path.iter().any(|name| is_temporary(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_hidden_and_locked_names_are_temporary() {
        for name in [
            ".hidden",
            ".~lock.report.odt#",
            "~$report.docx",
            "notes.md~",
            "a.tmp",
            "a.part",
            "film.partial",
            "setup.CRDOWNLOAD",
            "up.filepart",
            "a.swp",
        ] {
            assert!(is_temporary(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn ordinary_names_are_not() {
        for name in ["-rf", "a", "tmp", "part", "a~b.md", "report.tmp.md", "a\nb", "$~a", "partial.txt"] {
            assert!(!is_temporary(name.as_bytes()), "{name}");
        }
        assert!(!is_temporary(b"\xff\xfe.txt"));
    }

    #[test]
    fn a_file_in_a_temporary_folder_is_temporary() {
        assert!(has_temporary(Path::new(".git/config")));
        assert!(has_temporary(Path::new("a/upload.part/b.md")));
        assert!(!has_temporary(Path::new("a/b/c.md")));
    }
}
