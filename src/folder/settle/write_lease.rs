//! Whether a process writes to a file: the kernel knows, and refuses a lease on it. The one file of system calls.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use libc::{F_GETLEASE, F_RDLCK, F_SETLEASE, SIGURG, c_int};
use rustix::io::Errno;

/// `F_SETSIG` of fcntl(2), which the libc crate has for some machines only; the number is the same on all.
const F_SETSIG: c_int = 10;

/// Returns whether a process has a file open for writing, or mapped. `false` also where that is not known: on a file of another user,
/// without `CAP_LEASE`, and on a file system without leases.
///
/// A lease for reading is granted only while there is no writer, and is given back at once: it ends with the file, which is why that
/// is taken whole. A process that opens the file for writing in between waits for that, some microseconds.
pub(in crate::folder) fn has_writer(file: File) -> bool {
    Lease::take(file).is_none()
}

/// A file that nobody opens for writing: a process that tries waits until this is dropped. Where writers are not known it holds nobody up.
///
/// For some system calls at most: the kernel ends a lease by itself after 45 seconds, and a writer that does not wait is turned away.
#[derive(Debug)]
pub(in crate::folder) struct Lease {
    file: File,
    is_held: bool,
}

impl Lease {
    /// Takes a lease on a file, open for reading, or returns `None` where a process has it open for writing.
    pub(in crate::folder) fn take(file: File) -> Option<Self> {
        // For a writer that comes in between the kernel sends a signal: SIGIO, which ends the process, unless another is asked for.
        // This one is dropped wherever nobody waits for it, and is no reason for a system call to return early.
        let outcome = fcntl(&file, F_SETSIG, SIGURG).and_then(|_| fcntl(&file, F_SETLEASE, F_RDLCK));
        (outcome != Err(Errno::AGAIN)).then(|| Self { file, is_held: outcome.is_ok() })
    }

    /// Returns the file.
    pub(in crate::folder) fn file(&self) -> &File {
        &self.file
    }

    /// Returns whether somebody waits to open the file for writing, or has been turned away.
    pub(in crate::folder) fn is_wanted(&self) -> bool {
        self.is_held && fcntl(&self.file, F_GETLEASE, 0) != Ok(F_RDLCK)
    }
}

fn fcntl(file: &File, command: c_int, argument: c_int) -> Result<c_int, Errno> {
    #[expect(unsafe_code, reason = "no crate that is kept up has leases")]
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and both commands take a plain number.
    let outcome = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if outcome < 0 { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)) } else { Ok(outcome) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn a_file_has_a_writer_from_its_opening_to_its_closing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        let opened = || File::open(&path).unwrap();
        assert!(!has_writer(opened()));
        let writers = [File::options().append(true).open(&path).unwrap(), File::options().write(true).open(&path).unwrap()];
        for writer in writers {
            assert!(has_writer(opened()));
            drop(writer);
        }
        let _reader = File::open(&path).unwrap();
        assert!(!has_writer(opened()), "a second reader is none");
        assert!(!has_writer(File::open("/dev/null").unwrap()), "where there are no leases nobody can tell");
    }

    #[test]
    fn a_writer_that_comes_in_between_gets_in_and_harms_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        let opened = || File::open(&path).unwrap();
        let open = || File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        // Nobody waits, so the lease is met; with SIGIO this process would end here.
        let lease = Lease::take(opened()).unwrap();
        assert!(!lease.is_wanted());
        let met = open().err().and_then(|error| error.raw_os_error());
        assert_eq!((met, lease.is_wanted()), (Some(libc::EWOULDBLOCK), true));
        drop(lease);
        let _writer = open().unwrap();
        assert!(has_writer(opened()));
        // One that waits gets in when the lease is given back.
        let other = folder.path().join("other");
        fs::write(&other, "text").unwrap();
        let waiting = std::sync::mpsc::channel();
        std::thread::scope(|threads| {
            let lease = Lease::take(File::open(&other).unwrap()).unwrap();
            let (begun, other) = (waiting.0, &other);
            threads.spawn(move || {
                begun.send(()).unwrap();
                fs::write(other, "written").unwrap();
            });
            waiting.1.recv().unwrap();
            drop(lease);
        });
        assert_eq!(fs::read_to_string(other).unwrap(), "written");
    }
}
