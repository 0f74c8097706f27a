//! Ledgers and output that earlier builds wrote, opened by this one.
//!
//! Each folder of `tests/upgrade` holds a configuration, its drop folder, and the ledger and output that the build of that day left. The
//! copies have other inodes and times than the originals, so every file is read again: what must not happen is a call or a line.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::support::{copy_folder, finish, riverbed};

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade");
    let mut fixtures: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    fixtures.sort();
    assert!(!fixtures.is_empty());
    fixtures
}

/// Returns the lines of vectors and answers, by file.
fn lines(output: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension() == Some(OsStr::new("jsonl")) && !path.ends_with("failed.jsonl"));
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_builds_wrote_opens_without_a_call_and_without_a_line() {
    for fixture in fixtures() {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&fixture, folder.path());
        // Its name is no UTF-8, which not every checkout can hold.
        fs::write(folder.path().join("drop").join(OsStr::from_bytes(b"caf\xe9.txt")), "A name that is not UTF-8.\n").unwrap();
        let before = lines(&folder.path().join("out"));
        assert!(before.values().map(|text| text.lines().count()).sum::<usize>() > 100, "the fixture has lines");

        let ended = finish(riverbed(folder.path(), &["run", "--once"])).await;
        // Its one bad document is still bad: exit code 2.
        assert_eq!(ended.code, Some(2), "{}: {ended:?}", fixture.display());
        assert!(ended.stdout.contains("\ncalls      0 "), "{}: {}", fixture.display(), ended.stdout);
        assert!(!ended.stdout.contains("\nanswers "), "{}: {}", fixture.display(), ended.stdout);
        assert_eq!(lines(&folder.path().join("out")), before, "{}", fixture.display());

        let verified = finish(riverbed(folder.path(), &["verify"])).await;
        assert_eq!(verified.code, Some(0), "{}: {verified:?}", fixture.display());
    }
}
