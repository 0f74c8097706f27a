//! What anyone who may drop files can do to the folder: names that are no words, things that are no files, and links that lead out.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::Scene;

/// Must never be seen anywhere.
pub const CANARY: &str = "canary-7d1f0c";

/// Returns 200 names, each of which has tripped up some program.
pub fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    // Every byte that a name can have, at its end.
    names.extend((1..=u8::MAX).filter(|byte| !b"/~".contains(byte)).step_by(3).map(|byte| [&b"byte "[..], &[byte]].concat()));
    let words = [
        "-rf",
        "--",
        "-",
        "--help",
        " ",
        "  two  spaces  ",
        "\n",
        "line\nbreak",
        "\r\n",
        "\t",
        "trailing ",
        "trailing.",
        "a\\b",
        "\\",
        "\\n",
        "'",
        "\"",
        "\"}\n{\"op\":\"delete\"}",
        "$(reboot)",
        "`reboot`",
        "; reboot",
        "| cat",
        "&",
        "%s%n",
        "%00",
        "%2e%2e",
        "*",
        "?",
        "[a-z]",
        "{a,b}",
        "!",
        "#",
        "a:b",
        "C:\\a",
        "con",
        "nul",
        "a.txt.txt",
        "a..",
        "größe",
        "gro\u{308}ße",
        "\u{e9}",
        "e\u{301}",
        "\u{2028}",
        "\u{2029}",
        "\u{feff}bom",
        "\u{202e}txt.md",
        "\u{200b}",
        "日本語",
        "😀",
        "İ",
        "ß",
        "ﬀ",
        "null",
        "true",
        "0",
        "1e9",
        "undefined",
        "<script>",
        "<!--",
        "]]>",
        "=1+1",
        "@a",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
    ];
    names.extend(words.iter().map(|word| word.as_bytes().to_vec()));
    let bytes: [&[u8]; 6] = [b"\xff\xfe", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"latin gr\xf6\xdfe"];
    names.extend(bytes.map(<[u8]>::to_vec));
    names.extend([vec![b'x'; 255], vec![0xff; 255], "ä".repeat(127).into_bytes(), [b"a".repeat(251), b".txt".to_vec()].concat()]);
    names.sort();
    names.dedup();
    for number in names.len()..200 {
        names.push(format!("filler {number}").into_bytes());
    }
    names.truncate(200);
    names
}

/// Returns the path of a name in a folder.
pub fn at(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// Puts things into the drop folder that are no files or not its own, and a canary beside it. What is returned must be kept.
pub fn set_traps(scene: &Scene) -> UnixListener {
    let (drop, outside) = (scene.path("drop"), scene.path("outside"));
    fs::create_dir_all(outside.join("folder")).unwrap();
    for name in ["secret.txt", "folder/race.txt"] {
        fs::write(outside.join(name), format!("The {CANARY} sings.")).unwrap();
    }
    mknodat(CWD, drop.join("pipe.txt"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink(outside.join("secret.txt"), drop.join("absolute.txt")).unwrap();
    symlink("../outside/secret.txt", drop.join("relative.txt")).unwrap();
    symlink("../outside/folder", drop.join("folder-link")).unwrap();
    symlink("/proc/self/environ", drop.join("magic.txt")).unwrap();
    symlink("/dev/zero", drop.join("endless.txt")).unwrap();
    symlink("loop.txt", drop.join("loop.txt")).unwrap();
    UnixListener::bind(drop.join("socket.txt")).unwrap()
}

/// Swaps files for links to the canary and back, by renames as fast as they go, and leaves the files. `between` is called after
/// each swap, and has the daemon look in the middle of them.
pub fn race(scene: &Scene, swaps: usize, between: impl Fn(usize)) {
    let (drop, stage) = (scene.path("drop"), scene.path("stage"));
    fs::create_dir_all(&stage).unwrap();
    fs::create_dir_all(drop.join("real")).unwrap();
    let put = |name: &str, number: usize| {
        fs::write(stage.join("file"), format!("Harmless words, number {number}.")).unwrap();
        fs::rename(stage.join("file"), drop.join(name)).unwrap();
    };
    put("real/race.txt", 0);
    for number in 0..swaps {
        match number % 4 {
            // The file itself.
            0 => {
                symlink("../outside/secret.txt", stage.join("link")).unwrap();
                fs::rename(stage.join("link"), drop.join("race.txt")).unwrap();
            }
            1 => put("race.txt", number),
            // The folder in which it lies.
            2 => {
                fs::rename(drop.join("real"), stage.join("real")).unwrap();
                symlink("../outside/folder", drop.join("real")).unwrap();
            }
            _ => {
                fs::remove_file(drop.join("real")).unwrap();
                fs::rename(stage.join("real"), drop.join("real")).unwrap();
                put("real/race.txt", number);
            }
        }
        between(number);
    }
    put("race.txt", swaps);
    if !drop.join("real/race.txt").exists() || drop.join("real").is_symlink() {
        fs::remove_file(drop.join("real")).unwrap();
        fs::rename(stage.join("real"), drop.join("real")).unwrap();
    }
    put("real/race.txt", swaps + 1);
}

/// Returns the files below a folder that have the canary in them.
pub fn canaries(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(canaries(&path));
        } else if File::open(&path).is_ok() && fs::read(&path).is_ok_and(|bytes| has_canary(&bytes)) {
            found.push(path);
        }
    }
    found
}

/// Returns whether the canary is among the bytes.
pub fn has_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}
