//! Works off what is there.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::read::{Contents, ReadError, read_as};
use super::root::{Entry, Root};
use super::rules::Rules;
use super::scan::{Sighting, walk};
use super::told::Told;
use super::{Config, Found, QUEUE, SourceError, joined};
use crate::model::path::Sanitized;
use crate::model::{Change, Claim, Claims, DocumentPath};

/// Hands on every file that is in the folder now, once and without waiting for quiet, and returns.
///
/// Files are handed on as they are found: a slow receiver slows the scan. Ends early, and well, when `stop` is cancelled or the
/// receiver is gone. A file that [`read`](super::read()) finds changing is the caller's to take again.
///
/// # Errors
/// When the source folder is missing, or cannot be opened or listed. A folder below it that cannot be listed is only logged.
pub async fn scan_once(
    config: Config,
    claims: Claims,
    changes: mpsc::Sender<Change>,
    stop: CancellationToken,
    found: &Found,
) -> Result<(), SourceError> {
    let (sender, sightings) = mpsc::channel(QUEUE);
    let scan = spawn_blocking({
        let config = config.clone();
        move || scan_into(&config, &sender)
    });

    let handed_on = stop.run_until_cancelled(hand_on(sightings, &claims, &changes, found)).await;
    // The receiver is gone by now, so a scan that is not through ends at its next file.
    let scanned = joined(scan.await);

    let root = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SourceError::RootMissing { path: config.path.clone() },
        _ => SourceError::Root { path: config.path.clone(), source },
    };
    scanned.and(handed_on.unwrap_or(Ok(()))).map_err(root)
}

/// A file that will not hold still is looked at this often, this far apart.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Reads like [`read`](super::read()), and looks again a few times at a file that is not as it was seen: a run that ends has no later.
///
/// Blocks: call it off the runtime.
///
/// # Errors
/// As [`read`](super::read()); a file that was changing or gone has been so at every look.
pub fn read_insisting(config: &Config, change: &Change) -> Result<Contents, ReadError> {
    let mut seen = change.seen;
    let mut looks = 1;
    loop {
        let error = match read_as(config, &change.path, &seen) {
            Err(error @ (ReadError::Changing | ReadError::Gone)) if looks < LOOKS => error,
            ended => return ended,
        };
        debug!(document = %Sanitized(&change.path), %error, looks, "not as it was seen, looking again");
        #[expect(clippy::disallowed_methods, reason = "no event tells that a writer is done, and this is a blocking thread")]
        std::thread::sleep(BETWEEN_LOOKS);
        looks += 1;
        if let Some(Entry::File(now, _)) = Root::open(&config.path)?.with(config.symlinks).look(&change.path)? {
            seen = now;
        }
    }
}

fn scan_into(config: &Config, sightings: &mpsc::Sender<Sighting>) -> io::Result<()> {
    let root = Root::open(&config.path)?.with(config.symlinks);
    let rules = Rules::new(config);
    rules.refresh(&root);
    let flow = walk(&root, &rules, vec![PathBuf::new()], config.recursive, |sighting| match sightings.blocking_send(sighting) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    debug!(complete = flow.is_continue(), "scanned");
    Ok(())
}

async fn hand_on(
    mut sightings: mpsc::Receiver<Sighting>,
    claims: &Claims,
    changes: &mpsc::Sender<Change>,
    found: &Found,
) -> io::Result<()> {
    let mut told = Told::default();
    while let Some(sighting) = sightings.recv().await {
        match sighting {
            Sighting::File(path, seen, _) => {
                let claim = claim(claims, &path).await;
                if changes.send(Change { path, seen, claim }).await.is_err() {
                    return Ok(());
                }
                found.add_file();
            }
            Sighting::Folder(_) => {}
            Sighting::Skipped(path, why) => told.skipped(&path, why),
            Sighting::Unreadable(path, error) if path.as_os_str().is_empty() => return Err(error),
            Sighting::Unreadable(path, error) => told.unreadable(&path, &error),
        }
    }
    found.add_scan();
    Ok(())
}

/// A folder that changes while it is listed may show a file twice: then the second waits for the first.
async fn claim(claims: &Claims, path: &DocumentPath) -> Claim {
    loop {
        if let Some(claim) = claims.claim(path) {
            return claim;
        }
        claims.returned().await;
    }
}
