//! Names of unfinished or temporary files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Endings of files that somebody still writes, or that lock another: of browsers, download managers, copiers, synchronisers,
/// editors, office and drawing programs. None of them is the ending of a document.
const ENDINGS: [&str; 40] = [
    "!bt",
    "!qb",
    "!sync",
    "!ut",
    "aria2",
    "autosave",
    "bc!",
    "bts",
    "crdownload",
    "crswap",
    "cyberducktransfer",
    "dctmp",
    "download",
    "downloading",
    "driveupload",
    "drivedownload",
    "duckpart",
    "dwl",
    "dwl2",
    "fdmdownload",
    "filepart",
    "gstmp",
    "idlk",
    "jc!",
    "kate-swp",
    "laccdb",
    "lck",
    "lftp-pget-status",
    "opdownload",
    "part",
    "partial",
    "swm",
    "swn",
    "swo",
    "swp",
    "swx",
    "temp",
    "tmp",
    "xltd",
    "ytdl",
];

/// Names that systems give to what they keep for themselves, of files and of folders.
const SYSTEM: [&str; 20] = [
    "desktop.ini",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "icon\r",
    "__macosx",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "network trash folder",
    "temporary items",
    "lost+found",
    "@eadir",
    "@tmp",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "~snapshot",
    "thevolumesettingsfolder",
];

/// What follows a colon in the name of a stream that Windows keeps beside a file, and that some copies turn into a file of its own.
const STREAMS: [&str; 9] = [
    "zone.identifier",
    "smartscreen",
    "encryptable",
    "favicon",
    "afp_afpinfo",
    "afp_resource",
    "oecustomproperty",
    "com.dropbox.attrs",
    "com.dropbox.attributes",
];

/// Returns whether a file or folder of this name is none of ours: hidden, a lock, a backup, a system's own, or on its way to its
/// final name.
pub(in crate::folder) fn is_temporary(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    name.starts_with(b".") // hidden; editors' swap files; `.#lock`; `.~lock.report.odt#`; rsync's and Syncthing's `.name.XXXXXX`
        || name.starts_with(b"~$") // Word's and Excel's owner files
        || name.starts_with(b"~syncthing~")
        || name.ends_with(b"~")
        || name.ends_with(b"___jb_tmp___") // JetBrains' safe write
        || name.ends_with(b"___jb_old___")
        || SYSTEM.iter().any(|known| is(known))
        || is_stream(name)
        || extension(name).is_some_and(|extension| {
            extension.starts_with(b"~") // Visio's `~$$plan.~vsdx`
                || is_frag(extension)
                || is_sandbox(extension)
                || ENDINGS.iter().any(|known| extension.eq_ignore_ascii_case(known.as_bytes()))
        })
}

/// Returns whether a file of this name, that as a folder's would be as good as any, is none of ours: what Emacs saves by itself
/// (`#notes.md#`), and the file by which Vim finds out whether it may write.
pub(super) fn is_leftover(name: &[u8]) -> bool {
    name == b"4913" || name.len() > 2 && name.starts_with(b"#") && name.ends_with(b"#")
}

/// Returns whether some name on the way down a path is temporary.
pub(in crate::folder) fn has_temporary(path: &Path) -> bool {
    path.iter().any(|name| is_temporary(name.as_bytes()))
}

fn extension(name: &[u8]) -> Option<&[u8]> {
    Path::new(OsStr::from_bytes(name)).extension().map(OsStrExt::as_bytes)
}

/// `film.part-Frag12` of yt-dlp, and `part-0`, `part1` of others, are recognised by the word; `part1.rar` has another ending.
fn is_frag(extension: &[u8]) -> bool {
    extension.len() > 9 && extension[..9].eq_ignore_ascii_case(b"part-frag") && extension[9..].iter().all(u8::is_ascii_digit)
}

/// `letter.docx.sb-1a2b3c4d-AbCdEf`, as macOS names what it is about to replace a file with.
fn is_sandbox(extension: &[u8]) -> bool {
    let Some(rest) = extension.strip_prefix(b"sb-") else { return false };
    rest.len() == 15
        && rest[8] == b'-'
        && rest[..8].iter().all(u8::is_ascii_hexdigit)
        && rest[9..].iter().all(u8::is_ascii_alphanumeric)
}

fn is_stream(name: &[u8]) -> bool {
    // Some file systems that have no colon in names put U+F03A, or U+F022, in its place.
    let colons: [&[u8]; 3] = [b":", "\u{f03a}".as_bytes(), "\u{f022}".as_bytes()];
    let name = name.strip_suffix(b":$DATA").unwrap_or(name);
    STREAMS.iter().any(|stream| {
        let Some((before, end)) = name.len().checked_sub(stream.len()).map(|at| name.split_at(at)) else { return false };
        end.eq_ignore_ascii_case(stream.as_bytes()) && colons.iter().any(|colon| before.ends_with(colon))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_hidden_and_locked_names_are_temporary() {
        for name in [
            ".hidden",
            ".~lock.report.odt#",
            ".#lock",
            "._a.md",
            ".DS_Store",
            ".syncthing.a.md.tmp",
            ".a.md.Xb3k9Q",
            ".a.md.kate-swp",
            "~$report.docx",
            "~$x.docx",
            "~WRL0001.tmp",
            "~syncthing~a.md.tmp",
            "notes.md~",
            "notes.bak~",
            "a.tmp",
            "a.TEMP",
            "a.part",
            "film.partial",
            "film.part-Frag12",
            "setup.CRDOWNLOAD",
            "a.md.crswap",
            "page.download",
            "up.filepart",
            "a.swp",
            "a.md.kate-swp",
            "a.md___jb_tmp___",
            "plan.~vsdx",
            "letter.docx.sb-1a2b3c4d-AbCdEf",
            "film.mkv.!qB",
            "big.iso.aria2",
        ] {
            assert!(is_temporary(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_systems_keep_for_themselves_is_temporary() {
        for name in [
            "desktop.ini",
            "Desktop.ini",
            "Thumbs.db",
            "Icon\r",
            "__MACOSX",
            "$RECYCLE.BIN",
            "System Volume Information",
            "lost+found",
            "@eaDir",
            "#recycle",
            "a.pdf:Zone.Identifier",
            "a.pdf:Zone.Identifier:$DATA",
            "a.pdf\u{f03a}Zone.Identifier",
            "a.pdf:com.dropbox.attrs",
        ] {
            assert!(is_temporary(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn ordinary_names_are_not() {
        for name in [
            "-rf",
            "a",
            "tmp",
            "part",
            "a~b.md",
            "report.tmp.md",
            "a\nb",
            "$~a",
            "partial.txt",
            "~a.md",
            "desktop.md",
            "Thumbs",
            "Zone.Identifier",
            "a: b.md",
            "a.part1",
            "a.part1.rar",
            "a.sb-1",
            "a.bak",
            "a.orig",
            "Cargo.lock",
            "a.ini",
            "#channel.md",
            "C#",
            "49130",
        ] {
            assert!(!is_temporary(name.as_bytes()) && !is_leftover(name.as_bytes()), "{name}");
        }
        assert!(!is_temporary(b"\xff\xfe.txt"));
    }

    #[test]
    fn what_an_editor_leaves_is_known_among_files_only() {
        for name in ["#notes.md#", "4913"] {
            assert!(is_leftover(name.as_bytes()) && !is_temporary(name.as_bytes()), "{name}");
        }
        assert!(!is_leftover(b"##") && !is_leftover(b"#"));
    }

    #[test]
    fn a_file_in_a_temporary_folder_is_temporary() {
        assert!(has_temporary(Path::new(".git/config")));
        assert!(has_temporary(Path::new("a/upload.part/b.md")));
        assert!(has_temporary(Path::new("a/__MACOSX/b.md")));
        assert!(!has_temporary(Path::new("a/b/c.md")));
        assert!(!has_temporary(Path::new("4913/#a#/c.md")));
    }
}
