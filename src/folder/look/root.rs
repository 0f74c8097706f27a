//! The source folder, opened. Nothing outside it is ever reached: no symbolic link is followed on the way to a file, even if somebody puts
//! one there and whenever; and where the operator lets links be documents, the kernel holds the last step inside the folder.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;
use tokio_util::sync::CancellationToken;

use crate::domain::shortage::patiently;
use crate::domain::{DocumentPath, Observation};
use crate::folder::Symlinks;
use crate::folder::scan::log_once::Skip;
use crate::folder::watch::watch_mode::Silence;

/// The folder as it was when it was opened. It stays that folder when its path leads elsewhere.
#[derive(Debug)]
pub(in crate::folder) struct Root {
    configured: PathBuf,
    resolved: PathBuf,
    descriptor: OwnedFd,
    symlinks: Symlinks,
    /// After which nobody waits for a descriptor.
    stop: CancellationToken,
}

/// The state of the source folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum RootState {
    /// It is where it was.
    Open,
    /// It is where it was, but may not be read.
    Closed,
    /// It is not there any more, or another one is.
    Lost,
}

/// What lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Entry {
    /// A regular file.
    File(Observation, Extent),
    /// A folder.
    Folder,
    /// None of ours, and why.
    Other(Skip),
}

/// How much of a file lies on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Extent {
    /// As much as its size says.
    Whole,
    /// Less: it has holes, as where a download is filled in from several ends. A file system that compresses shows the same.
    Holes,
}

impl Root {
    /// Opens the folder. Its own path may lead over symbolic links, for it comes from the operator.
    pub(in crate::folder) fn open(configured: &Path) -> io::Result<Self> {
        Self::open_until(configured, &CancellationToken::new())
    }

    /// Opens the folder, in which nothing that the system is short of is waited for after `stop`.
    pub(in crate::folder) fn open_until(configured: &Path, stop: &CancellationToken) -> io::Result<Self> {
        let resolved = fs::canonicalize(configured)?;
        let descriptor = patiently(stop, || rustix::fs::openat(CWD, &resolved, FOLDER, Mode::empty()))?;
        Ok(Self { configured: configured.into(), resolved, descriptor, symlinks: Symlinks::Ignore, stop: stop.clone() })
    }

    /// Returns whether what the system is short of is waited for once more.
    pub(in crate::folder) fn waits(&self) -> bool {
        !self.stop.is_cancelled()
    }

    /// Sets how symbolic links in the folder are treated. Without this they are ignored.
    pub(in crate::folder) fn with(self, symlinks: Symlinks) -> Self {
        Self { symlinks, ..self }
    }

    /// Returns the folder's absolute path without symbolic links, as it was when it was opened.
    pub(in crate::folder) fn path(&self) -> &Path {
        &self.resolved
    }

    /// Returns whether the configured path still leads to this folder.
    pub(in crate::folder) fn is_in_place(&self) -> bool {
        let (Ok(there), Ok(here)) = (rustix::fs::stat(&self.configured), self.id()) else { return false };
        (there.st_dev, there.st_ino) == here
    }

    /// Returns the state of this folder. Opens nothing, for that would be an event.
    pub(in crate::folder) fn standing(&self) -> RootState {
        if !self.is_in_place() {
            return RootState::Lost;
        }
        let access = Access::READ_OK | Access::EXEC_OK;
        match rustix::fs::accessat(&self.descriptor, ".", access, AtFlags::EACCESS) {
            Err(Errno::ACCESS) => RootState::Closed,
            Ok(()) | Err(_) => RootState::Open, // the reader sees what else is wrong
        }
    }

    /// Returns why changes in this folder are not announced, if its file system is one on which they are not.
    pub(in crate::folder) fn silence(&self) -> Option<Silence> {
        let magic = rustix::fs::fstatfs(&self.descriptor).ok()?.f_type;
        // On some machines the number is signed and half as long.
        Silence::of_file_system(u32::try_from(magic & 0xffff_ffff).ok()?)
    }

    /// Returns the numbers that identify this folder: device and inode.
    pub(in crate::folder) fn id(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.descriptor)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Returns the device of the nearest folder above a path that is there.
    pub(super) fn device_above(&self, path: &DocumentPath) -> io::Result<u64> {
        for above in path.as_path().ancestors().skip(1) {
            match self.folder(above) {
                Ok(folder) => return Ok(rustix::fs::fstat(folder)?.st_dev),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.id()?.0)
    }

    /// Opens a folder below this one, or with an empty path this one, and starts to list it.
    pub(in crate::folder) fn list(&self, path: &Path) -> io::Result<(OwnedFd, Dir)> {
        let folder = self.folder(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listing = patiently(&self.stop, || rustix::fs::openat(&folder, ".", flags, Mode::empty()))?;
        Ok((folder, Dir::new(listing)?))
    }

    /// Opens a folder below this one, or with an empty path this one, to look at what lies in it.
    pub(super) fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(resolve(&self.descriptor, path, &self.stop)?)
    }

    /// Returns what lies under a path, or `None` when nothing does. A symbolic link on the way is an error: it may lead anywhere.
    pub(in crate::folder) fn look(&self, path: &DocumentPath) -> io::Result<Option<Entry>> {
        match self.parent_of(path).and_then(|(parent, name)| self.look_in(&parent, name, path)) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what lies under a name in an open folder; `path` is where that is.
    pub(super) fn look_in(&self, folder: impl AsFd, name: impl Arg, path: &DocumentPath) -> io::Result<Entry> {
        let entry = Entry::from(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?);
        match (entry, self.symlinks) {
            (Entry::Other(Skip::Link), Symlinks::Inside) => self.look_through(path),
            (entry, _) => Ok(entry),
        }
    }

    /// Returns the regular file that a symbolic link leads to, or why it leads to none.
    fn look_through(&self, link: &DocumentPath) -> io::Result<Entry> {
        let skip = match self.follow(link, OFlags::PATH) {
            Ok(target) => match Entry::from(rustix::fs::fstat(target)?) {
                Entry::Folder => Skip::LinkToFolder,
                other => return Ok(other),
            },
            Err(Errno::XDEV) => Skip::LinkOutside,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Skip::LinkNowhere,
            // As below: nothing else can hold it inside.
            Err(Errno::NOSYS | Errno::PERM) => Skip::Link,
            Err(error) => return Err(error.into()),
        };
        Ok(Entry::Other(skip))
    }

    /// Opens what a symbolic link leads to, should that be below the folder on every step.
    fn follow(&self, link: &DocumentPath, how: OFlags) -> Result<OwnedFd, Errno> {
        const TRIES: u32 = 32;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let how = how | OFlags::CLOEXEC;
        let open = || {
            let open = || rustix::fs::openat2(&self.descriptor, link.as_path(), how, Mode::empty(), beneath);
            patiently(&self.stop, open)
        };
        // A rename anywhere on the machine, while the kernel goes up by `..`, asks for another try: openat2(2), `EAGAIN`.
        (1..TRIES).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::AGAIN))).unwrap_or_else(open)
    }

    /// Opens a file for reading. Never blocks, and fails on a symbolic link unless links may be documents and it leads inside.
    pub(super) fn file(&self, path: &DocumentPath) -> io::Result<File> {
        let (parent, name) = self.parent_of(path)?;
        self.file_in(parent, name, path, OFlags::empty())
    }

    /// Opens a file by its name in an open folder, with more flags; `path` is where that is.
    pub(super) fn file_in(&self, folder: impl AsFd, name: &Path, path: &DocumentPath, more: OFlags) -> io::Result<File> {
        let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | more;
        let how = reading | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match (patiently(&self.stop, || rustix::fs::openat(&folder, name, how, Mode::empty())), self.symlinks) {
            (Err(Errno::LOOP), Symlinks::Inside) => Ok(self.follow(path, reading)?.into()),
            (opened, _) => Ok(opened?.into()),
        }
    }

    /// Opens the folder in which a path lies, and returns the path's last name.
    pub(in crate::folder) fn parent_of<'a>(&self, path: &'a DocumentPath) -> io::Result<(OwnedFd, &'a Path)> {
        let (parent, name) = split(path);
        Ok((self.folder(parent)?, name))
    }
}

/// Returns the folder in which a path lies, empty for the source folder, and the path's last name.
pub(super) fn split(path: &DocumentPath) -> (&Path, &Path) {
    let path = path.as_path();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        unreachable!("a document's path ends in a plain name")
    };
    (parent, Path::new(name))
}

/// Returns what an open file is now.
pub(in crate::folder) fn fstat(file: &File) -> io::Result<Entry> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// Returns whether an error says that nothing lies under a path, symbolic links not counting.
pub(in crate::folder) fn is_gone(error: &io::Error) -> bool {
    is_missing(error) || Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Returns whether an error says that nothing lies under a path, not even a symbolic link on the way.
fn is_missing(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
}

impl From<Stat> for Entry {
    fn from(stat: Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                // `stat` counts in units of 512 bytes, whatever the file system's own are.
                let extent = if stat.st_blocks.saturating_mul(512) < stat.st_size { Extent::Holes } else { Extent::Whole };
                let seen = Observation {
                    device: stat.st_dev,
                    inode: stat.st_ino,
                    size: stat.st_size.cast_unsigned(),
                    modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
                    changed: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
                };
                Self::File(seen, extent)
            }
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Other(Skip::Link),
            _ => Self::Other(Skip::NotRegular),
        }
    }
}

/// `O_PATH`: opening announces nothing to watchers and needs no right to list.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder below another without following a symbolic link on any step.
///
/// Mount points are crossed: binding a second volume into the source folder is the operator's doing, no dropper can.
fn resolve(root: &OwnedFd, path: &Path, stop: &CancellationToken) -> Result<OwnedFd, Errno> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match patiently(stop, || rustix::fs::openat2(root, path, FOLDER, Mode::empty(), beneath)) {
        // Linux before 5.6, or a seccomp filter that does not know it. And where the last name is that of a link it says the same
        // as of a file.
        Err(Errno::NOSYS | Errno::PERM | Errno::NOTDIR) => resolve_by_steps(root, path, stop),
        outcome => outcome,
    }
}

/// Does the same with a call for each name. `O_NOFOLLOW` is about the last name of a path, so every name must be the last.
fn resolve_by_steps(root: &OwnedFd, path: &Path, stop: &CancellationToken) -> Result<OwnedFd, Errno> {
    let mut folder = patiently(stop, || rustix::fs::openat(root, ".", FOLDER, Mode::empty()))?;
    for name in path {
        folder = match patiently(stop, || rustix::fs::openat(&folder, name, FOLDER, Mode::empty())) {
            Err(Errno::NOTDIR) if is_link(&folder, name) => return Err(Errno::LOOP),
            opened => opened?,
        };
    }
    Ok(folder)
}

fn is_link(folder: &OwnedFd, name: impl Arg) -> bool {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    #[test]
    fn folders_are_found_the_same_way_in_one_call_and_by_steps() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/file"), "").unwrap();
        symlink("/etc", folder.path().join("out")).unwrap();
        symlink("a", folder.path().join("in")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for resolve in [resolve, resolve_by_steps] {
            for good in [".", "a", "a/b"] {
                assert!(resolve(&root.descriptor, Path::new(good), &root.stop).is_ok(), "{good}");
            }
            let links = ["out", "out/ssl", "in", "in/b"];
            for bad in links.into_iter().chain(["a/file", "a/file/b", "none"]) {
                let error = resolve(&root.descriptor, Path::new(bad), &root.stop).unwrap_err().into();
                assert!(is_gone(&error), "{bad}: {error}");
                assert_eq!(is_missing(&error), !links.contains(&bad), "{bad}: {error}");
            }
        }
    }

    #[test]
    fn a_look_tells_files_folders_and_the_rest_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/file"), "four").unwrap();
        symlink("file", folder.path().join("a/link")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert!(matches!(root.look(&path("a/file")).unwrap(), Some(Entry::File(Observation { size: 4, .. }, _))));
        assert_eq!(root.look(&path("a")).unwrap(), Some(Entry::Folder));
        assert_eq!(root.look(&path("a/link")).unwrap(), Some(Entry::Other(Skip::Link)));
        assert_eq!(root.look(&path("a/none")).unwrap(), None);
        assert_eq!(root.look(&path("a/file/below")).unwrap(), None);
        assert!(root.look(&path("a/link/below")).is_err(), "it may be anywhere");
    }

    #[test]
    fn the_nearest_folder_above_a_path_tells_the_device() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/file"), "").unwrap();
        symlink("a", folder.path().join("link")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for name in ["none", "a/file", "a/none", "a/none/none", "a/file/below", "none/none/none"] {
            assert_eq!(root.device_above(&path(name)).unwrap(), root.id().unwrap().0, "{name}");
        }
        assert!(root.device_above(&path("link/none")).is_err());
    }

    #[test]
    fn a_link_leads_to_a_file_inside_and_nowhere_else() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("drop");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/file"), "inside").unwrap();
        fs::write(temporary.path().join("secret"), "secret").unwrap();
        let absolute = folder.join("a/file");
        let links = [
            ("up", "../a/file", None),
            ("twice", "up", None),
            ("over-and-back", "../../drop/a/file", Some(Skip::LinkOutside)),
            ("absolute", absolute.to_str().unwrap(), Some(Skip::LinkOutside)),
            ("outside", "../../secret", Some(Skip::LinkOutside)),
            ("folder", "b", Some(Skip::LinkToFolder)),
            ("nowhere", "none", Some(Skip::LinkNowhere)),
            ("circle", "circle", Some(Skip::LinkNowhere)),
            ("magic", "/proc/self/exe", Some(Skip::LinkOutside)),
        ];
        let root = Root::open(&folder).unwrap();
        for (name, target, _) in links {
            symlink(target, folder.join("a").join(name)).unwrap();
            assert_eq!(root.look(&path(&format!("a/{name}"))).unwrap(), Some(Entry::Other(Skip::Link)), "{name}");
        }
        let root = root.with(Symlinks::Inside);
        let file = root.look(&path("a/file")).unwrap();
        for (name, _, skip) in links {
            let link = path(&format!("a/{name}"));
            assert_eq!(root.look(&link).unwrap(), skip.map_or(file, |skip| Some(Entry::Other(skip))), "{name}");
            if let Ok(opened) = root.file(&link) {
                assert_ne!(skip, Some(Skip::LinkOutside), "{name} was opened");
                assert!(skip.is_some() || io::read_to_string(opened).unwrap() == "inside");
            }
        }
    }

    #[test]
    fn a_file_with_holes_is_distinguished_from_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let extent = || match root.look(&path("file")).unwrap() {
            Some(Entry::File(_, extent)) => extent,
            other => panic!("a file, and not {other:?}"),
        };
        // Bytes that do not compress.
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        fs::write(folder.path().join("file"), noise).unwrap();
        assert_eq!(extent(), Extent::Whole);
        File::options().write(true).open(folder.path().join("file")).unwrap().set_len(8 << 20).unwrap();
        assert_eq!(extent(), Extent::Holes);
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(extent(), Extent::Whole);
    }

    #[test]
    fn a_recreated_folder_is_another_one() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("drop");
        fs::create_dir(&folder).unwrap();
        let root = Root::open(&folder).unwrap();
        assert!(root.is_in_place());
        fs::remove_dir(&folder).unwrap();
        assert!(!root.is_in_place());
        fs::create_dir(&folder).unwrap();
        assert!(!root.is_in_place());
    }
}
