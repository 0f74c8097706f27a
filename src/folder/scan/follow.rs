//! Follows the configured folder, also when it is replaced.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::log_once::Told;
use super::recently_sent::Lately;
use crate::domain::{Change, Claims, Memory};
use crate::folder::look::file_filter::Rules;
use crate::folder::look::inspect::Survey;
use crate::folder::look::root::Root;
use crate::folder::watch::event_loop::{Follower, Outcome, Outlet};
use crate::folder::watch::inotify::Watch;
use crate::folder::{Found, Silence, SourceConfig, joined, watch::event_queue::Events};
use crate::report::chain;
use crate::telemetry::Pulse;

/// How often a missing folder is looked for, and a present one is looked at for still being the same.
pub(in crate::folder) const PROBE: Duration = Duration::from_secs(1);

/// Sends every file that is in the folder and not recorded as it is, and each again whenever it has changed and been quiet, or
/// was removed, until `stop` is cancelled or the receiver was dropped.
///
/// Never fails: a missing folder and a memory that cannot be read are waited for, and where watching fails, scans find what
/// changes. What is handed back by [`Claim::again`](crate::domain::Claim::again) is looked at again after a back-off. A slow receiver
/// slows this down and loses nothing; memory is bounded, but for what every folder takes.
pub async fn follow(
    config: SourceConfig,
    memory: Arc<dyn Memory>,
    claims: Claims,
    changes: mpsc::Sender<Change>,
    stop: CancellationToken,
    found: &Found,
) {
    follow_by(&Means::default(), config, memory, claims, changes, stop, found).await;
}

type StartWatch = dyn Fn(&Arc<Events>) -> notify::Result<Watch> + Send + Sync;

/// What the source learns of changes by.
pub(in crate::folder) struct Means {
    /// Starts a watcher.
    pub(in crate::folder) watch: Box<StartWatch>,
    /// Says why changes in a folder are not announced, should that be so of its file system.
    pub(in crate::folder) silence: fn(&Root) -> Option<Silence>,
    /// The event of a change arrives within this time, or not at all.
    pub(in crate::folder) patience: Duration,
}

impl Default for Means {
    fn default() -> Self {
        Self { watch: Box::new(Watch::start), silence: Root::silence, patience: Duration::from_secs(5) }
    }
}

/// Follows by means that a test may choose.
pub(super) async fn follow_by(
    means: &Means,
    config: SourceConfig,
    memory: Arc<dyn Memory>,
    claims: Claims,
    changes: mpsc::Sender<Change>,
    stop: CancellationToken,
    found: &Found,
) {
    let mut end = pin!(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = changes.closed() => {}
        }
    });
    let lately = Arc::new(Lately::default());
    let path = config.path.display().to_string();
    let waits = |what: &'static str| {
        let path = &path;
        move |error: String| {
            if found.set_trouble(Some(format!("{what}: {error}"))) {
                warn!(%path, %error, "{what}; trying again");
            }
        }
    };
    let no_memory = waits("cannot read the known files of the source folder");
    let no_root = waits("the source folder cannot be opened");
    // The task that records files waits for the writer, which has a heartbeat of its own.
    let unwatched = &Pulse::default();
    let mut lasting = Lasting::default();
    let outlet = Outlet { changes: &changes, claims: &claims, found };
    let pulse = &found.work().root;
    loop {
        let open = {
            let (path, symlinks, stop) = (config.path.clone(), config.symlinks, stop.clone());
            move || Root::open_until(&path, &stop).map(|root| root.with(symlinks))
        };
        let Some(root) = insist(pulse, open, |error| no_root(error.to_string()), end.as_mut()).await else { return };
        info!(path = %root.path().display(), "following the source folder");
        let survey = Survey {
            root: Arc::new(root),
            rules: Arc::new(Rules::new(&config)),
            lately: Arc::clone(&lately),
            memory: Arc::clone(&memory),
            pulse: Pulse::default(),
        };
        let standing = {
            let survey = survey.clone();
            move || survey.is_accepted()
        };
        let Some(is_accepted) = insist(unwatched, standing, |error| no_memory(chain(&**error)), end.as_mut()).await else {
            return;
        };
        found.set_trouble(None);
        if !is_accepted {
            let wait = humantime::format_duration(config.rescan);
            warn!(%wait, "source folder was replaced; missing files are not deleted until it has held files for a while");
        }
        match Follower::new(means, &config, survey, is_accepted, outlet, &mut lasting).run(end.as_mut()).await {
            Outcome::Ended => return,
            Outcome::Lost => found.set_watched(false),
        }
        // Never in a tight circle, should it be lost again and again.
        tokio::select! {
            () = end.as_mut() => return,
            () = sleep(PROBE) => {}
        }
    }
}

/// What outlives a folder that goes away and comes back.
#[derive(Debug, Default)]
pub(in crate::folder) struct Lasting {
    pub(in crate::folder) told: Told,
    /// How many watchers in a row have missed changes.
    pub(in crate::folder) deaf: u32,
    /// That some folder cannot be watched has been said.
    pub(in crate::folder) is_gap_told: bool,
    /// The folder that is not accepted yet, and since when each scan of it has seen files.
    pub(in crate::folder) held: Option<((u64, u64), Instant)>,
}

/// Does what blocks, again and again until it succeeds, and says each time why it does not. `None` when it is to end.
async fn insist<T: Send + 'static, E: fmt::Debug + Send + 'static>(
    pulse: &Pulse,
    attempt: impl Fn() -> Result<T, E> + Clone + Send + 'static,
    say: impl Fn(&E),
    mut end: Pin<&mut impl Future<Output = ()>>,
) -> Option<T> {
    loop {
        let (pulse, attempt) = (pulse.clone(), attempt.clone());
        match joined(spawn_blocking(move || pulse.work(attempt)).await) {
            Ok(done) => return Some(done),
            Err(error) => say(&error),
        }
        tokio::select! {
            () = end.as_mut() => return None,
            () = sleep(PROBE) => {}
        }
    }
}

#[cfg(test)]
mod tests;
