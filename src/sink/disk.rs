//! What the output asks of a file system, so that one that loses power can stand in for a real one.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

/// A file as `stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode number.
    pub file: (u64, u64),
    /// Length in bytes.
    pub length: u64,
}

/// The folder of the output.
pub trait Disk: Debug + Send {
    /// Makes a file that was not there, and waits until it and its name are on disk.
    ///
    /// # Errors
    /// `AlreadyExists` where it was; `ResourceBusy` where another process holds it.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, for this process alone.
    ///
    /// # Errors
    /// `NotFound` where it is not; `ResourceBusy` where another process holds it.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Looks at a file; `None` where there is none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn stat(&self, name: &str) -> io::Result<Option<Stat>>;

    /// Returns the names of the files that are there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Renames a file, never over another, and waits until that is on disk.
    ///
    /// # Errors
    /// `AlreadyExists` where there is another of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
}

/// An open file. Writes go where they are told, whatever is there.
pub trait DiskFile: Debug + Send {
    /// Writes some of the bytes at a position and returns how many.
    ///
    /// # Errors
    /// As the system says.
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Reads some bytes from a position and returns how many; 0 at the end.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<usize>;

    /// Waits until what was written is on disk.
    ///
    /// # Errors
    /// As the system says; what is on disk is unknown then.
    fn sync(&mut self) -> io::Result<()>;

    /// Looks at the file, under whatever name it is now.
    ///
    /// # Errors
    /// As the system says.
    fn stat(&self) -> io::Result<Stat>;

    /// Returns whether the file has a name anywhere on its disk: one without has been deleted.
    ///
    /// # Errors
    /// As the system says.
    fn has_name(&self) -> io::Result<bool>;
}

/// A real folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Takes a folder, making it and its parents if need be: for their owner alone, as the documents' text is in there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned() })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn open_with(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        // Not for appending: Linux appends whatever position a write names.
        let options = options.read(true).write(true).mode(0o640).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(self.path.join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for Folder {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.open_with(name, OpenOptions::new().create_new(true))?;
        file.sync_all()?;
        self.sync()?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.open_with(name, &mut OpenOptions::new())?))
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match std::fs::symlink_metadata(self.path.join(name)) {
            Ok(found) => Ok(Some(Stat { file: (found.dev(), found.ino()), length: found.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // A name of ours is UTF-8.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::renameat_with(CWD, self.path.join(from), CWD, self.path.join(to), RenameFlags::NOREPLACE)?;
        self.sync()
    }
}

impl DiskFile for File {
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, position)
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, position)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn stat(&self) -> io::Result<Stat> {
        let found = self.metadata()?;
        Ok(Stat { file: (found.dev(), found.ino()), length: found.len() })
    }

    fn has_name(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }
}
