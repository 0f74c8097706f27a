//! Temporary shortage of descriptors or memory. It is the process' trouble and never a document's, so that a caller that
//! meets it waits.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

/// How long one call is retried. Who asked for it may wait longer, and can be stopped between.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first wait, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Returns whether an error of the system says that it is short of something: of descriptors, in the process or on the machine, or of
/// memory.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_short)
}

fn is_short(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
}

/// Returns whether an error's text, with its causes, says the same, or that there was no process or thread to be had. Libraries keep their
/// causes as text now and then.
#[must_use]
pub fn tells_of_shortage(text: &str) -> bool {
    const FRAGMENTS: [&str; 5] = ["(os error 24)", "(os error 23)", "(os error 12)", "(os error 11)", "(os error 105)"];
    FRAGMENTS.iter().any(|fragment| text.contains(fragment))
}

/// Returns what a disk that is full lacks, as one that has a file or folder, to be put beside the message that says so.
#[must_use]
pub fn lacking(path: &Path) -> &'static str {
    match rustix::fs::statvfs(path) {
        // Some file systems count no inodes.
        Ok(found) if found.f_files > 0 && found.f_favail == 0 => "inodes",
        Ok(_) | Err(_) => "room",
    }
}

/// Makes a call, and again as long as the system is short of something, for some seconds; after a stop not once more.
///
/// Blocks: call it off the runtime.
///
/// # Errors
/// As the call; with the shortage where it lasts.
pub fn patiently<T>(stop: &CancellationToken, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let begun = Instant::now();
    let mut wait = WAITS.0;
    loop {
        match call() {
            Err(error) if is_short(error) && begun.elapsed() < PATIENCE && !stop.is_cancelled() => {}
            ended => return ended,
        }
        #[expect(clippy::disallowed_methods, reason = "no event tells that a descriptor is free, and this is a blocking thread")]
        sleep(wait);
        wait = (wait * 2).min(WAITS.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_lack_system_resources_are_retried() {
        for short in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            let mut calls = 0;
            let call = || {
                calls += 1;
                if calls < 3 { Err(short) } else { Ok(calls) }
            };
            assert_eq!(patiently(&CancellationToken::new(), call), Ok(3));
            let error = io::Error::from(short);
            assert!(is_shortage(&error) && tells_of_shortage(&error.to_string()), "{error}");
        }
        let mut calls = 0;
        let refused: Result<(), _> = patiently(&CancellationToken::new(), || {
            calls += 1;
            Err(Errno::ACCESS)
        });
        assert_eq!((refused, calls), (Err(Errno::ACCESS), 1));
        let stop = CancellationToken::new();
        let mut calls = 0;
        let stopped: Result<(), _> = patiently(&stop, || {
            calls += 1;
            if calls == 3 {
                stop.cancel();
            }
            Err(Errno::MFILE)
        });
        assert_eq!((stopped, calls), (Err(Errno::MFILE), 3), "a stop ends the wait");
        assert!(!is_shortage(&Errno::ACCESS.into()) && !tells_of_shortage("Permission denied (os error 13)"));
    }
}
