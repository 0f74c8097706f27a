//! The file-system operations of the output, so that tests can simulate power loss.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _};
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
    /// Takes the folder for this process alone, until the claim is dropped.
    ///
    /// # Errors
    /// `NotFound` where the folder is not there; `ResourceBusy` where another process has it.
    fn claim(&self) -> io::Result<Box<dyn Claim>>;

    /// Makes a file that was not there, and waits until it and its name are on disk.
    ///
    /// # Errors
    /// `AlreadyExists` where it was.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, to write to it.
    ///
    /// # Errors
    /// `NotFound` where it is not.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there, to read and to sync it.
    ///
    /// # Errors
    /// `NotFound` where it is not.
    fn read(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

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

/// The right to write to a folder, and a few bytes that stay in it.
pub trait Claim: Debug + Send {
    /// Returns whether it holds still: neither the folder nor the lock file of the claim was deleted or exchanged.
    ///
    /// # Errors
    /// As the system says.
    fn holds(&self) -> io::Result<bool>;

    /// Returns the bytes that were left in the folder; none where it is new.
    ///
    /// # Errors
    /// As the system says.
    fn read(&self) -> io::Result<Vec<u8>>;

    /// Leaves bytes in the place of those before. They outlive the process, and a power loss only by chance.
    ///
    /// # Errors
    /// As the system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// An open file. Writes go where the caller says, whatever is there.
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

/// The lock file of the claim to an output folder: locked by the writer there, with a mark of whose output it is.
pub const CLAIM: &str = ".riverbed-output";

/// A real folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The folder as it was opened.
    opened: File,
}

impl Folder {
    /// Takes a folder, making it and its parents if need be: for their owner alone, as the documents' text is in there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned(), opened: File::open(path)? })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn open_with(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        // Not for appending: Linux appends whatever position a write names.
        // And not waiting for the writer of a pipe.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = options.read(true).mode(0o640).custom_flags(flags.bits().cast_signed()).open(self.path.join(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(file)
    }
}

/// The locked file of a claim, under its name.
#[derive(Debug)]
struct LockedFile {
    path: PathBuf,
    file: File,
}

impl Claim for LockedFile {
    fn holds(&self) -> io::Result<bool> {
        // The number of a file that is open is not given to another.
        let held = self.file.metadata()?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        const MOST: u64 = 4096;
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.seek(io::SeekFrom::Start(0))?;
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, 0)
    }
}

impl Disk for Folder {
    fn claim(&self) -> io::Result<Box<dyn Claim>> {
        // A disk that was unmounted leaves a folder of the same name.
        let (named, opened) = (std::fs::metadata(&self.path)?, self.opened.metadata()?);
        if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.open_with(CLAIM, OpenOptions::new().write(true).create(true).truncate(false))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(LockedFile { path: self.path.join(CLAIM), file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.open_with(name, OpenOptions::new().write(true).create_new(true))?;
        file.sync_all()?;
        self.sync()?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.open_with(name, OpenOptions::new().write(true))?))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
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
