//! Follows the folder: one loop that owns all there is to know, and asks the file system from other threads only.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::OptionFuture;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::events::Events;
use super::known::Known;
use super::root::Root;
use super::rules::{Rules, Taken};
use super::scan::Sighting;
use super::scope::Scope;
use super::settle::Settling;
use super::told::Told;
use super::watch::Watch;
use super::work::{Done, Work};
use super::{Config, Found, QUEUE, after, jittered, joined};
use crate::model::{Change, Claims, DocumentPath, Returned};

/// How often a missing folder is looked for, and a present one is looked at for still being the same.
const PROBE: Duration = Duration::from_secs(1);
/// How long events gather before they are looked into: a file written in a thousand pieces is not looked at a thousand times.
const GATHER: Duration = Duration::from_millis(10);
/// Files looked at in one go.
const LOOKS: usize = 1024;
/// The next scan by the timer comes after this many times the last one's length at the earliest.
const SCAN_SHARE: u32 = 200;

/// Hands on every file that is in the folder, and each again whenever it has changed and been quiet, until `stop` is cancelled or
/// the receiver is gone.
///
/// Never fails: a missing folder is waited for, and where watching fails, scans find what changes. What is handed back by
/// [`Claim::again`](crate::model::Claim::again) is looked at again after a back-off. A slow receiver slows this down and loses
/// nothing; memory is bounded, but for 32 bytes of every file.
pub async fn follow(config: Config, claims: Claims, changes: mpsc::Sender<Change>, stop: CancellationToken, found: &Found) {
    let mut memory = Memory::default();
    let mut end = pin!(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = changes.closed() => {}
        }
    });
    while let Some(root) = wait_for(&config.path, end.as_mut()).await {
        let root = root.with(config.symlinks);
        let follower = Follower::new(&config, root, &claims, &changes, found, &mut memory);
        match follower.run(end.as_mut()).await {
            Outcome::Ended => return,
            Outcome::Lost => {}
        }
        // Never in a tight circle, should it be lost again and again.
        tokio::select! {
            () = end.as_mut() => return,
            () = sleep(PROBE) => {}
        }
    }
}

/// Opens the folder as soon as it is there. Says so when it is not, once.
async fn wait_for(path: &Path, mut end: Pin<&mut impl Future<Output = ()>>) -> Option<Root> {
    let mut is_waiting = false;
    loop {
        let configured = path.to_owned();
        match joined(spawn_blocking(move || Root::open(&configured)).await) {
            Ok(root) => {
                info!(path = %root.path().display(), "following the source folder");
                return Some(root);
            }
            Err(error) if !mem::replace(&mut is_waiting, true) => {
                warn!(path = %path.display(), %error, "the source folder cannot be opened, waiting for it");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = end.as_mut() => return None,
            () = sleep(PROBE) => {}
        }
    }
}

/// What outlives a folder that goes away and comes back.
#[derive(Debug, Default)]
struct Memory {
    known: Known,
    told: Told,
    /// That there is no watcher has been said.
    is_blind: bool,
}

/// Why following one folder came to an end.
enum Outcome {
    /// It is to stop.
    Ended,
    /// The folder is not in its place any more, or its watcher is dead.
    Lost,
}

/// Follows one folder for as long as that folder is in its place.
struct Follower<'a> {
    config: &'a Config,
    claims: &'a Claims,
    changes: &'a mpsc::Sender<Change>,
    found: &'a Found,
    memory: &'a mut Memory,
    events: Arc<Events>,
    watch: Option<Arc<Watch>>,
    settling: Settling,
    /// What the next scan has to read.
    scope: Scope,
    /// Sightings of the scan under way.
    scan: Option<mpsc::Receiver<Sighting>>,
    /// Whether that scan is of the whole folder.
    scan_is_whole: bool,
    rules: Arc<Rules>,
    work: Work,
    /// Rolls another series of numbers in each process.
    dice: RandomState,
    next_scan: Instant,
    next_probe: Instant,
    /// When the events that came have gathered for long enough.
    gathered: Option<Instant>,
}

impl<'a> Follower<'a> {
    fn new(
        config: &'a Config,
        root: Root,
        claims: &'a Claims,
        changes: &'a mpsc::Sender<Change>,
        found: &'a Found,
        memory: &'a mut Memory,
    ) -> Self {
        let now = Instant::now();
        let mut scope = Scope::default();
        scope.add_whole();
        let rules = Arc::new(Rules::new(config));
        let settling = match rules.marker() {
            Some(_) => Settling::marked(config.settle),
            None => Settling::new(config.settle),
        };
        Self {
            config,
            claims,
            changes,
            found,
            memory,
            events: Arc::new(Events::new(root.path())),
            watch: None,
            settling,
            scope,
            scan: None,
            scan_is_whole: false,
            work: Work::new(root, Arc::clone(&rules)),
            rules,
            dice: RandomState::new(),
            next_scan: now,
            next_probe: now + PROBE,
            gathered: None,
        }
    }

    async fn run(mut self, mut end: Pin<&mut impl Future<Output = ()>>) -> Outcome {
        let outcome = loop {
            if let ControlFlow::Break(outcome) = self.step(end.as_mut()).await {
                break outcome;
            }
        };
        self.scan = None; // a scan under way ends at its next file
        while self.work.next().await.is_some() {}
        outcome
    }

    /// Starts what can be started, then does the first thing that there is to do.
    async fn step(&mut self, end: Pin<&mut impl Future<Output = ()>>) -> ControlFlow<Outcome> {
        self.start_scan();
        if !self.work.is_looking {
            self.work.look(self.settling.take_due(Instant::now(), LOOKS));
        }
        let room = self.settling.room();
        let mut sightings = Vec::new();
        // Every branch may be dropped at any time and loses nothing. Sightings and events stay where they are, both bounded, while
        // there is no room. A scan that brings nothing more (0) is at its end, and the work says so next.
        tokio::select! {
            () = end => return ControlFlow::Break(Outcome::Ended),
            Some(done) = self.work.next() => return self.finish(done),
            Some(1..) = OptionFuture::from(self.scan.as_mut().map(|scan| scan.recv_many(&mut sightings, room.min(QUEUE)))),
                if room > 0 => self.sight(sightings),
            Ok(permit) = self.changes.reserve(), if self.settling.has_ready() => self.hand_on(permit),
            returned = self.claims.returned() => self.take_back(returned),
            () = self.events.news(), if self.gathered.is_none() => self.gathered = Some(Instant::now() + GATHER),
            Some(()) = OptionFuture::from(self.gathered.map(sleep_until)), if room > 0 => return self.take_events(room),
            Some(()) = OptionFuture::from(self.settling.next_look().map(sleep_until)), if !self.work.is_looking => {}
            () = sleep_until(self.next_scan), if self.scan.is_none() => self.scope.add_whole(),
            () = sleep_until(self.next_probe), if !self.work.is_probing => self.work.probe(),
        }
        ControlFlow::Continue(())
    }

    fn start_scan(&mut self) {
        if self.scan.is_some() {
            return;
        }
        let whole = self.scope.is_whole();
        let Some(folders) = self.scope.take() else { return };
        if self.watch.is_none() {
            self.watch = self.start_watching();
        }
        debug!(whole, folders = folders.len(), "scanning");
        self.scan_is_whole = whole;
        self.scan = Some(self.work.scan(folders, self.config.recursive, self.watch.clone()));
    }

    fn start_watching(&mut self) -> Option<Arc<Watch>> {
        match Watch::start(&self.events) {
            Ok(watch) => {
                self.memory.is_blind = false;
                Some(Arc::new(watch))
            }
            Err(error) => {
                if !mem::replace(&mut self.memory.is_blind, true) {
                    warn!(%error, "cannot watch the source folder; only the rescan finds what changes");
                }
                None
            }
        }
    }

    fn finish(&mut self, done: Done) -> ControlFlow<Outcome> {
        match done {
            Done::Scanned { took } => {
                // What it saw last may still be on its way.
                if let Some(mut rest) = self.scan.take() {
                    self.sight(std::iter::from_fn(|| rest.try_recv().ok()));
                }
                if self.scan_is_whole {
                    let roll = self.dice.hash_one(self.found.scans());
                    self.next_scan =
                        after(Instant::now(), jittered(self.config.rescan, roll).max(took.saturating_mul(SCAN_SHARE)));
                    self.found.add_scan();
                }
            }
            Done::Looked(looks) => {
                for (path, taken) in looks {
                    self.looked(path, taken);
                }
            }
            Done::Probed(true) => self.next_probe = Instant::now() + PROBE,
            Done::Probed(false) => {
                warn!(path = %self.config.path.display(), "the source folder has been moved, removed or replaced");
                return ControlFlow::Break(Outcome::Lost);
            }
        }
        ControlFlow::Continue(())
    }

    fn sight(&mut self, sightings: impl IntoIterator<Item = Sighting>) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        for sighting in sightings {
            match sighting {
                Sighting::File(path, seen, _) if self.memory.known.is_sent(&path, &seen) => {}
                Sighting::File(path, seen, extent) => self.settling.sight(path, seen, extent, seen.age(wall), now),
                Sighting::Folder(_) => {}
                Sighting::Skipped(path, why) => self.memory.told.skipped(&path, why),
                Sighting::Unreadable(path, error) => self.memory.told.unreadable(&path, &error),
            }
        }
    }

    fn looked(&mut self, path: DocumentPath, taken: io::Result<Option<Taken>>) {
        match taken {
            Ok(Some(Taken::Document(seen, extent))) if !self.memory.known.is_sent(&path, &seen) => {
                self.settling.looked(path, seen, extent, seen.age(SystemTime::now()), Instant::now());
                return;
            }
            Ok(Some(Taken::Folder)) if self.config.recursive => self.scope.add(path.as_path().into()),
            Ok(Some(Taken::Document(..) | Taken::Folder)) => {}
            Ok(Some(Taken::Nothing(why))) => self.memory.told.skipped(&path, why),
            Ok(None) => self.memory.known.forget(&path),
            Err(error) => self.memory.told.unreadable(path.as_path(), &error),
        }
        self.settling.finish(&path);
    }

    fn hand_on(&mut self, permit: mpsc::Permit<'_, Change>) {
        let Some(settled) = self.settling.pop_ready() else { return };
        let Some(claim) = self.claims.claim_again(&settled.path, settled.attempt) else {
            self.settling.hold(settled, Instant::now());
            return;
        };
        self.memory.known.sent(&settled.path, &settled.seen);
        self.found.add_file();
        permit.send(Change { path: settled.path, seen: settled.seen, claim });
    }

    fn take_back(&mut self, returned: Vec<Returned>) {
        for Returned { path, attempt } in returned {
            if attempt == 0 {
                self.settling.release(&path);
            } else {
                self.memory.known.forget(&path);
                self.settling.again(path, attempt, Instant::now());
            }
        }
    }

    fn take_events(&mut self, room: usize) -> ControlFlow<Outcome> {
        self.gathered = None;
        let pending = self.events.take(room.div_ceil(2)); // a marker's event is of two paths
        if pending.dead {
            warn!("the watcher has ended, starting it anew");
            return ControlFlow::Break(Outcome::Lost);
        }
        if pending.dirty {
            self.scope.add_whole();
            self.next_probe = Instant::now();
        }
        let now = Instant::now();
        for (path, signal) in pending.touched {
            if let Some(file) = self.rules.marker().and_then(|marker| marker.marked_by(path.as_path())) {
                self.settling.touch(file, signal, now);
            }
            // A folder may have the name of a marker.
            self.settling.touch(path, signal, now);
        }
        ControlFlow::Continue(())
    }
}
