//! The path of a socket, however long it is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Longest path that the system takes for a socket: `sun_path` in unix(7) has 108 bytes, the last of them zero.
const LONGEST_PATH: usize = 107;

/// A path of a socket that the system takes, for as long as this is kept.
pub(super) struct Place {
    path: PathBuf,
    _folder: Option<File>,
}

impl Place {
    /// Returns the path as it is, or, where it is too long, through a descriptor of its folder.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() <= LONGEST_PATH {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        let folder = File::open(above)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
