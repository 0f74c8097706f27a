//! Cache of the open folder: consecutive files of one folder share its descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::root::{Entry, Root, fstat, split};
use crate::domain::{DocumentPath, Observation};
use crate::folder::settle::settler::Unfinished;
use crate::folder::settle::{truncated, write_lease};

/// Looks at one file after the other. For a batch, and not for longer: what the folder that was opened last is called, others may
/// have changed by now. What is not found in it is looked for again by its whole path.
#[derive(Debug)]
pub(in crate::folder) struct Near<'a> {
    root: &'a Root,
    /// The folder that was opened last, and where it lay.
    folder: Option<(PathBuf, OwnedFd)>,
    /// `O_NOATIME`, for a glance is no access: marking each file as read costs more than the glance. Only the owner of a file may ask
    /// for it, so that it is asked for until it is refused.
    quietly: OFlags,
}

impl<'a> Near<'a> {
    pub(in crate::folder) fn new(root: &'a Root) -> Self {
        Self { root, folder: None, quietly: OFlags::NOATIME }
    }

    /// Returns the same as [`Root::look`].
    pub(in crate::folder) fn look(&mut self, path: &DocumentPath) -> io::Result<Option<Entry>> {
        let root = self.root;
        if let Ok(entry) = self.folder_of(path).and_then(|(folder, name)| root.look_in(folder, name, path)) {
            return Ok(Some(entry));
        }
        self.folder = None;
        root.look(path)
    }

    /// Returns why a file seems unfinished. Where that is not known it does not: reading it brings the rest to light.
    pub(in crate::folder) fn unfinished(&mut self, path: &DocumentPath, seen: &Observation) -> Option<Unfinished> {
        let file = self.file(path).ok()?;
        if !matches!(fstat(&file), Ok(Entry::File(now, _)) if now == *seen) {
            return None;
        }
        let is_cut = truncated::is_missing(&file, path.as_path(), seen.size).unwrap_or(false);
        if write_lease::has_writer(file) {
            return Some(Unfinished::Open);
        }
        is_cut.then_some(Unfinished::Cut)
    }

    /// Opens the same as [`Root::file`], for a glance.
    fn file(&mut self, path: &DocumentPath) -> io::Result<File> {
        let (root, quietly) = (self.root, self.quietly);
        match self.folder_of(path).and_then(|(folder, name)| root.file_in(folder, name, path, quietly)) {
            Ok(file) => Ok(file),
            Err(error) => {
                if Errno::from_io_error(&error) == Some(Errno::PERM) {
                    self.quietly = OFlags::empty();
                }
                self.folder = None;
                root.file(path)
            }
        }
    }

    /// Returns the folder in which a path lies, opened now or before, and the path's last name.
    fn folder_of<'b>(&mut self, path: &'b DocumentPath) -> io::Result<(BorrowedFd<'_>, &'b Path)> {
        let (above, name) = split(path);
        let (_, folder): &(_, OwnedFd) = match self.folder.take() {
            Some(opened) if opened.0 == above => self.folder.insert(opened),
            Some(_) | None => self.folder.insert((above.into(), self.root.folder(above)?)),
        };
        Ok((folder.as_fd(), name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::time::{Duration, SystemTime};

    use tempfile::TempDir;

    use rustix::process::Uid;
    use rustix::thread::{CapabilitySet, CapabilitySets};

    use super::*;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    fn tree() -> (TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("drop/a")).unwrap();
        fs::create_dir(folder.path().join("outside")).unwrap();
        for file in ["drop/one", "drop/a/two", "drop/a/three", "outside/two"] {
            fs::write(folder.path().join(file), file).unwrap();
        }
        let root = Root::open(&folder.path().join("drop")).unwrap();
        (folder, root)
    }

    #[test]
    fn it_sees_and_opens_what_a_look_of_its_own_would() {
        let (_folder, root) = tree();
        let mut near = Near::new(&root);
        for name in ["one", "a/two", "a/three", "a/none", "a", "a/two/below", "none/none", "a/two", "one"] {
            let path = path(name);
            assert_eq!(near.look(&path).unwrap(), root.look(&path).unwrap(), "{name}");
            let text = |file: io::Result<File>| file.and_then(io::read_to_string).map_err(|error| error.kind());
            assert_eq!(text(near.file(&path)), text(root.file(&path)), "{name}");
        }
    }

    #[test]
    fn a_folder_that_has_been_moved_away_meanwhile_is_found_again() {
        let (folder, root) = tree();
        let mut near = Near::new(&root);
        assert!(near.look(&path("a/two")).unwrap().is_some());
        fs::rename(folder.path().join("drop/a"), folder.path().join("away")).unwrap();
        fs::create_dir(folder.path().join("drop/a")).unwrap();
        fs::write(folder.path().join("drop/a/four"), "four").unwrap();
        assert!(near.look(&path("a/four")).unwrap().is_some(), "the folder that was opened before has no such file");
        assert_eq!(near.look(&path("a/two")).unwrap(), None);
        assert!(near.file(&path("a/two")).is_err());
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_not_followed() {
        let (folder, root) = tree();
        let mut near = Near::new(&root);
        assert!(near.look(&path("one")).unwrap().is_some());
        fs::rename(folder.path().join("drop/a"), folder.path().join("away")).unwrap();
        symlink(folder.path().join("outside"), folder.path().join("drop/a")).unwrap();
        assert!(near.look(&path("a/two")).is_err() && near.file(&path("a/two")).is_err());
    }

    #[test]
    fn a_glance_is_no_access() {
        let (folder, root) = tree();
        let file = folder.path().join("drop/one");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::open(&file).unwrap().set_times(fs::FileTimes::new().set_accessed(long_ago)).unwrap();
        let text = io::read_to_string(Near::new(&root).file(&path("one")).unwrap()).unwrap();
        assert_eq!((text.as_str(), fs::metadata(file).unwrap().atime()), ("drop/one", 1));
    }

    #[test]
    fn a_file_of_somebody_else_is_looked_at_all_the_same() {
        let (folder, here) = tree();
        // Only root can give a file away; anybody else finds one of root's.
        let is_given = rustix::fs::chown(folder.path().join("drop/one"), Some(Uid::from_raw(65534)), None).is_ok();
        let (root, file) = if is_given { (here, "one") } else { (Root::open(Path::new("/etc")).unwrap(), "passwd") };
        let none = CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        let look = move || {
            // With these, root owns every file.
            rustix::thread::set_capabilities(None, none).unwrap();
            let mut near = Near::new(&root);
            let text = io::read_to_string(near.file(&path(file)).unwrap()).unwrap();
            (text.is_empty(), near.quietly)
        };
        assert_eq!(std::thread::spawn(look).join().unwrap(), (false, OFlags::empty()), "it is not asked for again");
    }
}
