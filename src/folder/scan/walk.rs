//! Walks a tree of folders. It reads by descriptor, so that no link leads out of the source folder.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::vec;

use rustix::fs::{AtFlags, DirEntry, FileType};

use super::log_once::Skip;
use crate::domain::shortage::is_shortage;
use crate::domain::{Departure, DocumentPath, Observation};
use crate::folder::look::dir_cache::Near;
use crate::folder::look::file_filter::{Rules, Taken};
use crate::folder::look::root::{Extent, Root, is_gone};
use crate::folder::look::temp_names::is_temporary;
use crate::folder::settle::settler::View;
use crate::telemetry::heartbeat::Pulse;

/// How often a folder is opened again for which the system has no descriptor or memory. Each try waits for some seconds by itself.
const SHORT_LOOKS: u32 = 12;

/// What a scan comes upon.
#[derive(Debug)]
pub(in crate::folder) enum Sighting {
    /// A folder is about to be read. A watcher set now misses nothing.
    Folder(PathBuf),
    /// A regular file. A walk sees it from afar.
    File {
        path: DocumentPath,
        seen: Observation,
        extent: Extent,
        view: View,
        /// Whether it is known as it was before.
        was_known: bool,
    },
    /// A known file has left its place. No walk says so: it has been looked for.
    Gone(DocumentPath, Departure),
    /// Something that makes no document.
    Skipped(DocumentPath, Skip),
    /// A folder, or something in it, cannot be looked at. The source folder itself has an empty path.
    Unreadable(PathBuf, io::Error),
}

/// Reads a folder and all that is below it, and says what it sees as it sees it: files in the order of their paths' bytes, but for
/// what changes meanwhile. Stops when `see` breaks.
///
/// Memory holds names of the folders on the way down only, and at most [`NAMES`] of each: where there are more, the folder is listed
/// again for the next of them.
pub(super) fn walk<B>(
    root: &Root,
    rules: &Rules,
    pulse: &Pulse,
    folder: PathBuf,
    recursive: bool,
    mut see: impl FnMut(Sighting) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut near = Near::new(root);
    let mut way = Vec::new();
    way.extend(Level::enter(root, pulse, folder, &mut see)?);
    while let Some(level) = way.last_mut() {
        let Some(name) = level.next(root, pulse, &mut see)? else {
            way.pop();
            continue;
        };
        match look_at(&mut near, root, rules, level.folder.join(OsStr::from_bytes(name.plain()))) {
            Some(Sighting::Folder(below)) if recursive => way.extend(Level::enter(root, pulse, below, &mut see)?),
            Some(Sighting::Folder(_)) | None => {}
            Some(other) => see(other)?,
        }
    }
    ControlFlow::Continue(())
}

/// Names of one folder that are held at a time, some 60 bytes each.
const NAMES: usize = if cfg!(test) { 3 } else { 1 << 17 };

/// A folder on the way down, and what of it is still to be looked at.
struct Level {
    folder: PathBuf,
    names: vec::IntoIter<Name>,
    /// The last of the names, if the folder may hold more beyond it.
    beyond: Option<Name>,
}

impl Level {
    /// Says that a folder is about to be read, and lists it. `None` where that cannot be done.
    fn enter<B>(
        root: &Root,
        pulse: &Pulse,
        folder: PathBuf,
        see: &mut impl FnMut(Sighting) -> ControlFlow<B>,
    ) -> ControlFlow<B, Option<Self>> {
        see(Sighting::Folder(folder.clone()))?;
        let mut level = Self { folder, names: Vec::new().into_iter(), beyond: None };
        let is_listed = level.list(root, pulse, None, see)?;
        ControlFlow::Continue(is_listed.then_some(level))
    }

    /// Returns the next name, in the order in which paths through it stand.
    fn next<B>(
        &mut self,
        root: &Root,
        pulse: &Pulse,
        see: &mut impl FnMut(Sighting) -> ControlFlow<B>,
    ) -> ControlFlow<B, Option<Name>> {
        if self.names.len() == 0
            && let Some(last) = self.beyond.take()
        {
            self.list(root, pulse, Some(&last), see)?;
        }
        ControlFlow::Continue(self.names.next())
    }

    /// Reads the names that come after one, as many as may be held. Returns whether the folder could be opened.
    fn list<B>(
        &mut self,
        root: &Root,
        pulse: &Pulse,
        after: Option<&Name>,
        see: &mut impl FnMut(Sighting) -> ControlFlow<B>,
    ) -> ControlFlow<B, bool> {
        let mut short = 0;
        let opened = loop {
            match root.list(&self.folder) {
                // A folder has no part in what the process is short of, and what lies in it must not be passed over for that.
                Err(error) if is_shortage(&error) && short < SHORT_LOOKS && root.waits() => short += 1,
                opened => break opened,
            }
            pulse.beat();
        };
        let (folder, listing) = match opened {
            Ok(listing) => listing,
            Err(error) => {
                see(Sighting::Unreadable(self.folder.clone(), error))?;
                return ControlFlow::Continue(false);
            }
        };
        let mut first = First::new(NAMES);
        for entry in listing {
            pulse.beat();
            match entry {
                Ok(entry) if [c".", c".."].contains(&entry.file_name()) => {}
                Ok(entry) => first.offer(Name::of(&folder, &entry), after),
                Err(error) => see(Sighting::Unreadable(self.folder.clone(), error.into()))?, // the iterator ends after it
            }
        }
        let (names, is_all) = first.sorted();
        self.beyond = if is_all { None } else { names.last().cloned() };
        self.names = names.into_iter();
        ControlFlow::Continue(true)
    }
}

/// An entry's name; that of a folder with a slash at its end, so that the order of names is that of the paths through them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name(Box<[u8]>);

impl Name {
    fn of(folder: &OwnedFd, entry: &DirEntry) -> Self {
        let name = entry.file_name();
        let is_folder = match entry.file_type() {
            FileType::Directory => true,
            // Some file systems do not say.
            FileType::Unknown => rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory),
            _ => false,
        };
        Self([name.to_bytes(), if is_folder { b"/" } else { b"" }].concat().into())
    }

    fn plain(&self) -> &[u8] {
        self.0.strip_suffix(b"/").unwrap_or(&self.0)
    }
}

/// The first of many names, in little more memory than they take.
struct First {
    most: usize,
    names: Vec<Name>,
    is_all: bool,
}

impl First {
    fn new(most: usize) -> Self {
        Self { most, names: Vec::new(), is_all: true }
    }

    fn offer(&mut self, name: Name, after: Option<&Name>) {
        if after.is_some_and(|after| name <= *after) {
            return;
        }
        self.names.push(name);
        if self.names.len() == 2 * self.most {
            self.names.select_nth_unstable(self.most - 1);
            self.names.truncate(self.most);
            self.is_all = false;
        }
    }

    /// Returns them, and whether there were no others.
    fn sorted(mut self) -> (Vec<Name>, bool) {
        self.names.sort_unstable();
        // One that came or went meanwhile may have been listed twice.
        self.names.dedup();
        let is_all = self.is_all && self.names.len() <= self.most;
        self.names.truncate(self.most);
        (self.names, is_all)
    }
}

fn look_at(near: &mut Near<'_>, root: &Root, rules: &Rules, path: PathBuf) -> Option<Sighting> {
    let document = DocumentPath::new(&path).expect("a folder's entry has a plain name");
    if is_temporary(path.file_name()?.as_bytes()) {
        return Some(Sighting::Skipped(document, Skip::Temporary));
    }
    match near.look(&document).and_then(|entry| entry.map(|entry| rules.take(root, &document, entry)).transpose()) {
        Ok(Some(Taken::Document(seen, extent))) => {
            Some(Sighting::File { path: document, seen, extent, view: View::FromAfar, was_known: false })
        }
        Ok(Some(Taken::Folder)) => Some(Sighting::Folder(path)),
        Ok(Some(Taken::Nothing(why))) => Some(Sighting::Skipped(document, why)),
        Ok(None) => None,
        Err(error) if is_gone(&error) => None,
        Err(error) => Some(Sighting::Unreadable(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::folder::{Globs, SourceConfig};

    fn walk_all(root: &Path, folder: &str, recursive: bool) -> Vec<String> {
        walk_by(&Rules::new(&SourceConfig::default()), root, folder, recursive)
    }

    fn walk_by(rules: &Rules, root: &Path, folder: &str, recursive: bool) -> Vec<String> {
        let mut seen = Vec::new();
        let flow = walk::<()>(&Root::open(root).unwrap(), rules, &Pulse::default(), folder.into(), recursive, |sighting| {
            seen.push(match sighting {
                Sighting::Folder(path) => format!("{}/", path.display()),
                Sighting::File { path, .. } => path.to_string(),
                Sighting::Gone(path, ..) => panic!("{path} was looked for"),
                Sighting::Skipped(path, why) => format!("{path} {why:?}"),
                Sighting::Unreadable(path, error) => format!("{} {error}", path.display()),
            });
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
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
            walk_all(tree().path(), "", true),
            ["/", ".git Temporary", "a/", "a/b/", "a/b/-rf\n", "a/b/three", "a/etc Link", "a/two", "a/up.part Temporary", "one"]
        );
    }

    #[test]
    fn a_part_of_the_tree_can_be_walked_alone() {
        assert_eq!(walk_all(tree().path(), "a/b", true), ["a/b/", "a/b/-rf\n", "a/b/three"]);
        assert_eq!(walk_all(tree().path(), "a/none", true), ["a/none/", "a/none No such file or directory (os error 2)"]);
    }

    #[test]
    fn folders_below_are_left_out_when_asked() {
        assert_eq!(walk_all(tree().path(), "", false), ["/", ".git Temporary", "one"]);
    }

    #[test]
    fn an_excluded_folder_is_not_read() {
        let exclude = Globs::new(vec!["a/b".into()]).unwrap();
        let rules = Rules::new(&SourceConfig { exclude, ..SourceConfig::default() });
        let seen = walk_by(&rules, tree().path(), "", true);
        assert_eq!(seen, ["/", ".git Temporary", "a/", "a/b Excluded", "a/etc Link", "a/two", "a/up.part Temporary", "one"]);
    }

    #[test]
    fn a_walk_stops_when_told() {
        let mut seen = 0;
        let flow = walk(
            &Root::open(tree().path()).unwrap(),
            &Rules::new(&SourceConfig::default()),
            &Pulse::default(),
            PathBuf::new(),
            true,
            |_| {
                seen += 1;
                if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert!(flow.is_break());
        assert_eq!(seen, 3);
    }

    #[test]
    fn files_come_in_the_order_of_the_bytes_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a/b", "a.txt", "a-b/c", "b", "a0", "a/b.txt", "B", "\u{e9}", "a/b-c/d", "a/c/e"] {
            let at = folder.path().join(file);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, "").unwrap();
        }
        let mut files = walk_all(folder.path(), "", true);
        files.retain(|seen| !seen.ends_with('/'));
        assert_eq!(files, ["B", "a-b/c", "a.txt", "a/b", "a/b-c/d", "a/b.txt", "a/c/e", "a0", "b", "\u{e9}"]);
    }

    #[test]
    fn of_many_names_the_first_are_taken_then_the_next_until_there_are_none() {
        let names: Vec<_> = (0..100).map(|number: u32| Name(Box::new((number * 37 % 101).to_be_bytes()))).collect();
        for most in [1, 2, 7, 50, 99, 100, 101] {
            let (mut all, mut after, mut listings) = (Vec::new(), None, 0);
            loop {
                let mut first = First::new(most);
                for name in &names {
                    first.offer(name.clone(), after.as_ref());
                }
                assert!(first.names.capacity() <= 4 * most.max(4), "{most}");
                let (taken, is_all) = first.sorted();
                listings += 1;
                all.extend(taken.iter().cloned());
                after = taken.last().cloned();
                if is_all {
                    break;
                }
                assert_eq!(taken.len(), most);
            }
            let mut expected = names.clone();
            expected.sort();
            assert_eq!((all, listings), (expected, names.len().div_ceil(most)), "{most}");
        }
    }
}
