//! Is somebody writing to a file? The kernel knows, and says so to whoever asks for a lease. The one file of system calls.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use libc::{F_RDLCK, F_SETLEASE, SIGURG, c_int};
use rustix::io::Errno;

/// `F_SETSIG` of fcntl(2), which the libc crate has for some machines only; the number is the same on all.
const F_SETSIG: c_int = 10;

/// Returns whether a process has a file open for writing, or mapped. `false` also where nobody can tell: on a file of another user,
/// without `CAP_LEASE`, and on a file system without leases.
///
/// A lease for reading is granted only while there is no writer, and is given back at once: it ends with the file, which is why that
/// is taken whole. Whoever opens the file for writing in between waits for that, some microseconds.
pub(super) fn has_writer(file: File) -> bool {
    has_writer_between(file, || ())
}

/// Calls `midway` while the lease is held, where a test can interfere.
fn has_writer_between(file: File, midway: impl FnOnce()) -> bool {
    // For a writer that comes in between the kernel sends a signal: SIGIO, which ends the process, unless another is asked for.
    // This one is dropped wherever nobody waits for it, and is no reason for a system call to return early.
    let outcome = fcntl(&file, F_SETSIG, SIGURG).and_then(|()| fcntl(&file, F_SETLEASE, F_RDLCK));
    if outcome.is_ok() {
        midway();
    }
    drop(file);
    outcome == Err(Errno::AGAIN)
}

fn fcntl(file: &File, command: c_int, argument: c_int) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "no crate that is kept up has leases")]
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and both commands take a plain number.
    let outcome = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if outcome < 0 { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)) } else { Ok(()) }
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
        let mut met = None;
        // Nobody waits, so the lease is met; with SIGIO this process would end here.
        assert!(!has_writer_between(opened(), || met = open().err().and_then(|error| error.raw_os_error())));
        assert_eq!(met, Some(libc::EWOULDBLOCK));
        let _writer = open().unwrap();
        assert!(has_writer(opened()));
        // One that waits gets in when the lease is given back.
        let other = folder.path().join("other");
        fs::write(&other, "text").unwrap();
        let waiting = std::sync::mpsc::channel();
        std::thread::scope(|threads| {
            assert!(!has_writer_between(File::open(&other).unwrap(), || {
                let (begun, other) = (waiting.0, &other);
                threads.spawn(move || {
                    begun.send(()).unwrap();
                    fs::write(other, "written").unwrap();
                });
                waiting.1.recv().unwrap();
            }));
        });
        assert_eq!(fs::read_to_string(other).unwrap(), "written");
    }
}
