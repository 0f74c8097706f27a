//! Lists a tree of folders. What is read by descriptor cannot be led out of the source folder.

use std::ffi::{CStr, OsStr};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::names::is_temporary;
use super::root::{Extent, Root, is_gone};
use super::rules::{Rules, Taken};
use super::settle::View;
use super::told::Skip;
use crate::model::{Departure, DocumentPath, Observation};

/// What a scan comes upon.
#[derive(Debug)]
pub(super) enum Sighting {
    /// A folder is about to be read. Whoever watches it now misses nothing.
    Folder(PathBuf),
    /// A regular file. A walk sees it from afar.
    File(DocumentPath, Observation, Extent, View),
    /// A known file has left its place. No walk says so: it has been looked for.
    Gone(DocumentPath, Departure),
    /// Something that makes no document.
    Skipped(DocumentPath, Skip),
    /// A folder, or something in it, cannot be looked at. The source folder itself has an empty path.
    Unreadable(PathBuf, io::Error),
}

/// Reads folders and all that is below them, and says what it sees as it sees it. Stops when `see` breaks.
///
/// Only the names of folders still to be read are kept in memory, however many files there are.
pub(super) fn walk(
    root: &Root,
    rules: &Rules,
    mut folders: Vec<PathBuf>,
    recursive: bool,
    mut see: impl FnMut(Sighting) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some(folder) = folders.pop() {
        see(Sighting::Folder(folder.clone()))?;
        let (open, entries) = match root.list(&folder) {
            Ok(listing) => listing,
            Err(error) => {
                see(Sighting::Unreadable(folder, error))?;
                continue;
            }
        };
        for entry in entries {
            let sighting = match entry {
                Ok(entry) => look_at(root, rules, &open, &folder, entry.file_name()),
                Err(error) => Some(Sighting::Unreadable(folder.clone(), error.into())), // the iterator ends after it
            };
            match sighting {
                Some(Sighting::Folder(below)) if recursive => folders.push(below),
                Some(Sighting::Folder(_)) | None => {}
                Some(other) => see(other)?,
            }
        }
    }
    ControlFlow::Continue(())
}

fn look_at(root: &Root, rules: &Rules, open: &OwnedFd, folder: &Path, name: &CStr) -> Option<Sighting> {
    if [c".", c".."].contains(&name) {
        return None;
    }
    let path = folder.join(OsStr::from_bytes(name.to_bytes()));
    let document = DocumentPath::new(&path).expect("a folder's entry has a plain name");
    if is_temporary(name.to_bytes()) {
        return Some(Sighting::Skipped(document, Skip::Temporary));
    }
    match root.look_in(open, name, &document).and_then(|entry| rules.take(root, &document, entry)) {
        Ok(Taken::Document(seen, extent)) => Some(Sighting::File(document, seen, extent, View::FromAfar)),
        Ok(Taken::Folder) => Some(Sighting::Folder(path)),
        Ok(Taken::Nothing(why)) => Some(Sighting::Skipped(document, why)),
        Err(error) if is_gone(&error) => None,
        Err(error) => Some(Sighting::Unreadable(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::source::{Config, Globs};

    fn walk_all(root: &Path, folders: Vec<PathBuf>, recursive: bool) -> Vec<String> {
        walk_by(&Rules::new(&Config::default()), root, folders, recursive)
    }

    fn walk_by(rules: &Rules, root: &Path, folders: Vec<PathBuf>, recursive: bool) -> Vec<String> {
        let mut seen = Vec::new();
        let flow = walk(&Root::open(root).unwrap(), rules, folders, recursive, |sighting| {
            seen.push(match sighting {
                Sighting::Folder(path) => format!("{}/", path.display()),
                Sighting::File(path, ..) => path.to_string(),
                Sighting::Gone(path, ..) => panic!("{path} was looked for"),
                Sighting::Skipped(path, why) => format!("{path} {why:?}"),
                Sighting::Unreadable(path, error) => format!("{} {error}", path.display()),
            });
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        seen.sort();
        seen
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::create_dir_all(folder.path().join(".git/objects")).unwrap();
        for file in ["one", "a/two", "a/b/three", "a/b/-rf\n", ".git/config", "a/up.part"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        symlink("/etc", folder.path().join("a/etc")).unwrap();
        folder
    }

    #[test]
    fn every_file_is_seen_and_links_are_not_followed() {
        assert_eq!(
            walk_all(tree().path(), vec![PathBuf::new()], true),
            [".git Temporary", "/", "a/", "a/b/", "a/b/-rf\n", "a/b/three", "a/etc Link", "a/two", "a/up.part Temporary", "one"]
        );
    }

    #[test]
    fn a_part_of_the_tree_can_be_walked_alone() {
        assert_eq!(walk_all(tree().path(), vec!["a/b".into()], true), ["a/b/", "a/b/-rf\n", "a/b/three"]);
        assert_eq!(
            walk_all(tree().path(), vec!["a/none".into()], true),
            ["a/none No such file or directory (os error 2)", "a/none/"]
        );
    }

    #[test]
    fn folders_below_are_left_out_when_asked() {
        assert_eq!(walk_all(tree().path(), vec![PathBuf::new()], false), [".git Temporary", "/", "one"]);
    }

    #[test]
    fn an_excluded_folder_is_not_read() {
        let exclude = Globs::new(vec!["a/b".into()]).unwrap();
        let rules = Rules::new(&Config { exclude, ..Config::default() });
        let seen = walk_by(&rules, tree().path(), vec![PathBuf::new()], true);
        assert_eq!(seen, [".git Temporary", "/", "a/", "a/b Excluded", "a/etc Link", "a/two", "a/up.part Temporary", "one"]);
    }

    #[test]
    fn a_walk_stops_when_told() {
        let mut seen = 0;
        let flow = walk(&Root::open(tree().path()).unwrap(), &Rules::new(&Config::default()), vec![PathBuf::new()], true, |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(flow.is_break());
        assert_eq!(seen, 3);
    }
}
