//! Processes the folder once.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::log_once::{Missing, Told};
use super::recently_sent::Lately;
use super::reconcile::Absent;
use super::walk::Sighting;
use crate::domain::path::Sanitized;
use crate::domain::shortage::is_shortage;
use crate::domain::{Change, Claim, Claims, DocumentPath, Memory, MemoryError, Observation, What};
use crate::folder::look::file_filter::Rules;
use crate::folder::look::inspect::Survey;
use crate::folder::look::root::{Entry, Root};
use crate::folder::{
    Found, QUEUE, SourceConfig, SourceError, joined,
    look::read::{Contents, ReadError, read},
};
use crate::telemetry::Pulse;

/// Sends every file that is in the folder now and not known as it is, once and without waiting for quiet, then what was removed,
/// and returns.
///
/// Files are sent as they are found: a slow receiver slows the scan. Ends early, and well, when `stop` is cancelled or the
/// receiver was dropped. A file that [`read`](crate::folder::read()) finds changing is the caller's to take again.
///
/// A folder that is another one than before counts as the same when it has the device or the inode of the one before and holds a
/// file that has not changed for one `rescan`: there is no time to wait for that.
///
/// # Errors
/// When the source folder is missing, or cannot be opened or listed, or when the memory cannot be read. A folder below it that
/// cannot be listed is only logged.
pub async fn scan_once(
    config: SourceConfig,
    memory: Arc<dyn Memory>,
    claims: Claims,
    changes: mpsc::Sender<Change>,
    stop: CancellationToken,
    found: &Found,
) -> Result<(), SourceError> {
    let (sender, sightings) = mpsc::channel(QUEUE);
    let lately = Arc::new(Lately::default());
    let scan = spawn_blocking({
        let (config, lately, found, stop) = (config.clone(), Arc::clone(&lately), found.clone(), stop.clone());
        move || scan_into(&config, lately, memory, &sender, &found, &stop)
    });

    let handed_on = stop.run_until_cancelled(hand_on(sightings, &lately, &claims, &changes, found)).await;
    // The receiver was dropped by now, so a scan that is not through ends at its next file.
    let scanned = joined(scan.await);

    let root = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SourceError::RootMissing { path: config.path.clone() },
        _ => SourceError::Root { path: config.path.clone(), source },
    };
    scanned.map_err(|error| match error {
        Stopped::Root(error) => root(error),
        Stopped::Memory(error) => SourceError::Memory(error),
    })?;
    handed_on.unwrap_or(Ok(())).map_err(root)
}

/// Why a scan ended before it was through.
enum Stopped {
    Root(io::Error),
    Memory(MemoryError),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Root(error)
    }
}

impl From<MemoryError> for Stopped {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

/// How often a file is opened again for which the system has no descriptor or memory. Each look waits for some seconds by itself.
const SHORT_LOOKS: u32 = 12;

/// A file that will not hold still is looked at this often, this far apart.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Reads like [`read`](crate::folder::read()), and looks again a few times at a file that is not as it was seen: a run that ends has no later. After
/// `stop` it looks no more.
///
/// Blocks: call it off the runtime.
///
/// # Errors
/// As [`read`](crate::folder::read()); a file that was changing or gone has been so at every look.
pub fn read_insisting(
    config: &SourceConfig,
    path: &DocumentPath,
    seen: &Observation,
    stop: &CancellationToken,
) -> Result<Contents, ReadError> {
    let mut seen = *seen;
    let (mut looks, mut short) = (1, 0);
    loop {
        let error = match read(config, path, &seen, stop) {
            ended if stop.is_cancelled() => return ended,
            Err(ReadError::Io(error)) if is_shortage(&error) && short < SHORT_LOOKS => {
                short += 1;
                warn!(document = %Sanitized(path), %error, "cannot open a file; retrying");
                continue;
            }
            Err(error @ (ReadError::Changing | ReadError::Gone)) if looks < LOOKS => error,
            ended => return ended,
        };
        debug!(document = %Sanitized(path), %error, looks, "file changed since the scan; checking again");
        #[expect(clippy::disallowed_methods, reason = "no event tells that a writer is done, and this is a blocking thread")]
        std::thread::sleep(BETWEEN_LOOKS);
        looks += 1;
        if let Some(Entry::File(now, _)) = Root::open_until(&config.path, stop)?.with(config.symlinks).look(path)? {
            seen = now;
        }
    }
}

fn scan_into(
    config: &SourceConfig,
    lately: Arc<Lately>,
    memory: Arc<dyn Memory>,
    sightings: &mpsc::Sender<Sighting>,
    found: &Found,
    stop: &CancellationToken,
) -> Result<(), Stopped> {
    let root = Arc::new(Root::open_until(&config.path, stop)?.with(config.symlinks));
    let survey = Survey { root, rules: Arc::new(Rules::new(config)), lately, memory, pulse: Pulse::default() };
    let is_accepted = survey.is_accepted()?;
    let mut see = |sighting| match sightings.blocking_send(sighting) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let twice = Absent::SoughtTwice(BETWEEN_LOOKS);
    let absent = if is_accepted { twice } else { Absent::Kept };
    let walked = survey.scan(vec![PathBuf::new()], config.recursive, absent, |_, _| false, &mut see)?;
    debug!(?walked, "scanned");
    found.add_unchanged(walked.unchanged);
    if is_accepted || !walked.is_whole {
        return Ok(());
    }
    if !(survey.resembles_the_accepted()? && walked.has_files && walked.oldest >= config.rescan) {
        warn!("source folder was replaced; missing files are not deleted");
        return Ok(());
    }
    survey.accept()?;
    // What is there has been seen.
    let see_gone = |sighting| match sighting {
        Sighting::Gone(..) => see(sighting),
        _ => ControlFlow::Continue(()),
    };
    survey.scan(vec![PathBuf::new()], config.recursive, twice, |_, _| false, see_gone)?;
    Ok(())
}

async fn hand_on(
    mut sightings: mpsc::Receiver<Sighting>,
    lately: &Lately,
    claims: &Claims,
    changes: &mpsc::Sender<Change>,
    found: &Found,
) -> io::Result<()> {
    let mut told = Told::default();
    let mut missing = Missing::default();
    while let Some(sighting) = sightings.recv().await {
        let (path, what) = match sighting {
            // A folder that changes while it is listed may show a file twice.
            Sighting::File { path, seen, .. } if lately.has_sent(&path, &seen) => continue,
            Sighting::File { path, seen, .. } => (path, What::There(seen)),
            Sighting::Gone(path, departure) => {
                missing.add(departure);
                (path, What::Gone(departure))
            }
            Sighting::Folder(_) => continue,
            Sighting::Skipped(path, why) => {
                told.skipped(&path, why);
                continue;
            }
            Sighting::Unreadable(path, error) if path.as_os_str().is_empty() => return Err(error),
            Sighting::Unreadable(path, error) => {
                told.unreadable(&path, &error);
                continue;
            }
        };
        let claim = claim(claims, &path).await;
        match what {
            What::There(seen) => lately.send(&path, &seen),
            What::Gone(_) => lately.send_gone(&path),
        }
        if changes.send(Change { path, what, claim }).await.is_err() {
            return Ok(());
        }
        match what {
            What::There(_) => found.add_file(),
            What::Gone(_) => found.add_gone(),
        }
    }
    missing.say();
    found.add_scan();
    Ok(())
}

/// Claims a document, once an earlier change of it is through.
async fn claim(claims: &Claims, path: &DocumentPath) -> Claim {
    loop {
        if let Some(claim) = claims.claim(path) {
            return claim;
        }
        claims.returned().await;
    }
}
