//! Follows one folder: an event loop that makes all decisions, and uses the file system from other threads only.

use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::OptionFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::blocking_jobs::{Done, Work};
use super::event_queue::{Events, Signal};
use super::inotify::Watch;
use super::watch_health::Hearing;
use crate::domain::path::Sanitized;
use crate::domain::shortage::is_shortage;
use crate::domain::{Change, Claims, Observation, Returned, What, Why};
use crate::folder::look::file_filter::Taken;
use crate::folder::look::inspect::{Known, Looked, Survey};
use crate::folder::scan::follow::{Lasting, Means, PROBE};
use crate::folder::scan::log_once::Missing;
use crate::folder::scan::reconcile::{Absent, Walked};
use crate::folder::scan::scan_scope::Scope;
use crate::folder::scan::walk::Sighting;
use crate::folder::settle::settler::{Settling, View};
use crate::folder::{Found, QUEUE, Silence, SourceConfig, Watching, after, jittered};
use crate::report::chain;

/// How long events gather before they are looked into: a file written in a thousand pieces is not looked at a thousand times.
const GATHER: Duration = Duration::from_millis(10);
/// Files looked at in one go.
const LOOKS: usize = 1024;

/// Why following one folder ended.
pub(in crate::folder) enum Outcome {
    /// It is to stop.
    Ended,
    /// The folder is not in its place any more, or its watcher is dead.
    Lost,
}

/// Where goes what is found.
#[derive(Debug, Clone, Copy)]
pub(in crate::folder) struct Outlet<'a> {
    pub(in crate::folder) changes: &'a mpsc::Sender<Change>,
    pub(in crate::folder) claims: &'a Claims,
    pub(in crate::folder) found: &'a Found,
}

/// Follows one folder for as long as that folder is in its place.
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
pub(in crate::folder) struct Follower<'a> {
    pub(super) means: &'a Means,
    pub(super) config: &'a SourceConfig,
    pub(super) survey: Survey,
    claims: &'a Claims,
    /// Whether files missing in the folder were removed.
    is_accepted: bool,
    changes: &'a mpsc::Sender<Change>,
    pub(super) found: &'a Found,
    pub(super) lasting: &'a mut Lasting,
    pub(super) events: Arc<Events>,
    pub(super) watch: Option<Arc<Watch>>,
    pub(super) watching: Watching,
    /// What the folder's file system has against events.
    pub(super) silence: Option<Silence>,
    /// Why the last try at a watcher, or some folder's watch, came to nothing.
    pub(super) shortage: Option<Silence>,
    pub(super) hearing: Hearing,
    /// Whether the folder may not be read at the moment.
    pub(super) is_closed: bool,
    pub(super) settling: Settling,
    /// What the next scan has to read.
    pub(super) scope: Scope,
    /// Sightings of the scan in progress.
    scan: Option<mpsc::Receiver<Sighting>>,
    /// Whether that scan is of the whole folder.
    scan_is_whole: bool,
    /// Whether there was no descriptor or memory for something that it came upon.
    is_short: bool,
    /// Files that it did not find.
    missing: Missing,
    work: Work,
    /// Files that wait for a look: past a batch of them a scan in progress looks at what is quiet itself.
    backlog: Arc<AtomicUsize>,
    /// Rolls another series of numbers in each process.
    dice: RandomState,
    next_scan: Instant,
    pub(super) next_probe: Instant,
    /// When the events that came have gathered for long enough.
    gathered: Option<Instant>,
}

impl<'a> Follower<'a> {
    pub(in crate::folder) fn new(
        means: &'a Means,
        config: &'a SourceConfig,
        survey: Survey,
        is_accepted: bool,
        outlet: Outlet<'a>,
        lasting: &'a mut Lasting,
    ) -> Self {
        let Outlet { changes, claims, found } = outlet;
        let now = Instant::now();
        let mut scope = Scope::default();
        scope.add_whole();
        let settling = match survey.rules.marker() {
            Some(_) => Settling::marked(config.settle),
            None => Settling::new(config.settle),
        };
        Self {
            means,
            config,
            watching: found.watching(),
            silence: (means.silence)(&survey.root),
            shortage: None,
            hearing: Hearing::default(),
            is_closed: false,
            is_accepted,
            changes,
            found,
            lasting,
            events: Arc::new(Events::new(survey.root.path())),
            watch: None,
            settling,
            scope,
            scan: None,
            scan_is_whole: false,
            is_short: false,
            missing: Missing::default(),
            work: Work::new(survey.clone(), found.work().clone()),
            survey,
            claims,
            backlog: Arc::default(),
            dice: RandomState::new(),
            next_scan: now,
            next_probe: now,
            gathered: None,
        }
    }

    pub(in crate::folder) async fn run(mut self, mut end: Pin<&mut impl Future<Output = ()>>) -> Outcome {
        let outcome = loop {
            if let ControlFlow::Break(outcome) = self.step(end.as_mut()).await {
                break outcome;
            }
        };
        self.scan = None; // a scan in progress ends at its next file
        while self.work.next().await.is_some() {}
        outcome
    }

    /// Starts what can be started, then does the first thing that there is to do.
    async fn step(&mut self, end: Pin<&mut impl Future<Output = ()>>) -> ControlFlow<Outcome> {
        self.start_scan();
        if !self.work.is_looking {
            self.work.look(self.settling.take_due(Instant::now(), LOOKS));
        }
        self.backlog.store(self.settling.waiting(), Ordering::Relaxed);
        let room = self.settling.room();
        self.found.beat(self.settling.files());
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
            () = sleep_until(self.next_scan), if self.scan.is_none() => self.scope.add_rescan(),
            () = self.found.rescan_wanted() => {
                match self.found.filter() {
                    // What other globs let in is new, though it has no event.
                    Some(filter) if !self.survey.rules.has(&filter) => self.scope.add_whole(),
                    Some(_) | None => self.scope.add_rescan(),
                }
                self.next_probe = Instant::now();
            }
            () = sleep_until(self.next_probe), if !self.work.is_probing => self.work.probe(),
        }
        ControlFlow::Continue(())
    }

    fn start_scan(&mut self) {
        if self.scan.is_some() {
            return;
        }
        let (whole, is_for_news) = (self.scope.is_whole(), self.scope.is_for_news());
        let Some(folders) = self.scope.take() else { return };
        // A scan goes by the same globs from its beginning to its end.
        if let Some(filter) = self.found.filter() {
            self.survey.rules.set(filter);
        }
        if self.watch.is_none() {
            self.start_watching();
            self.found.set_watched(true);
        }
        if self.why_scans().is_some() {
            self.set_watching();
        }
        self.hearing.begin(whole && !is_for_news && self.watching == Watching::Events);
        debug!(whole, folders = folders.len(), "scanning");
        self.scan_is_whole = whole;
        if whole {
            // A document in progress is not recorded yet, so that no scan misses it, and the event of its removal may be lost.
            for path in self.claims.held() {
                self.settling.revisit(path, Instant::now());
            }
        }
        let (waits, watching, backlog) = (self.settling.waits(), self.watching.clone(), Arc::clone(&self.backlog));
        let is_quiet = move |seen: &Observation, extent| {
            // Where the looks keep up with the scan, two threads share the work.
            backlog.load(Ordering::Relaxed) >= LOOKS
                && waits.leave_a_close_look(extent, seen.size, watching.age(seen.age(SystemTime::now())))
        };
        let absent = if self.is_accepted { Absent::Sought } else { Absent::Kept };
        self.scan = Some(self.work.scan(folders, self.config.recursive, absent, self.watch.clone(), is_quiet));
    }

    fn finish(&mut self, done: Done) -> ControlFlow<Outcome> {
        match done {
            Done::Scanned { took, walked } => {
                // What it saw last may still be on its way.
                if let Some(mut rest) = self.scan.take() {
                    self.sight(std::iter::from_fn(|| rest.try_recv().ok()));
                }
                self.take_gap(self.scan_is_whole && walked.is_some_and(|walked| walked.is_whole));
                if let Some(walked) = walked
                    && self.scan_is_whole
                {
                    let roll = self.dice.hash_one(self.found.scans());
                    let pause = self.watching.pause(jittered(self.config.rescan, roll), took);
                    self.next_scan = after(Instant::now(), pause);
                    self.found.add_scan();
                    mem::take(&mut self.missing).say();
                    self.consider(walked);
                }
                if walked.is_none() {
                    self.next_scan = after(Instant::now(), PROBE);
                }
                // No event tells that there are descriptors again.
                if mem::take(&mut self.is_short) {
                    self.next_scan = self.next_scan.min(after(Instant::now(), PROBE));
                }
                if let Some(path) = self.hearing.unheard.take() {
                    warn!(path = %Sanitized(&path), "watcher missed a change; restarting it");
                    self.lasting.deaf += 1;
                    self.found.add_watcher_replaced();
                    return ControlFlow::Break(Outcome::Lost);
                }
            }
            Done::Looked(looks) => looks.into_iter().for_each(|looked| self.looked(looked)),
            Done::Accepted(Ok(())) => {
                info!("source folder has held files for a while; missing files are deleted from now on");
                self.is_accepted = true;
                self.scope.add_whole();
            }
            Done::Accepted(Err(error)) => warn!(error = %chain(&*error), "cannot record the source folder; retrying"),
            Done::Probed(standing) => return self.probed(standing),
        }
        ControlFlow::Continue(())
    }

    /// Accepts the folder once it has held files for one rescan, in which no scan saw it without.
    fn consider(&mut self, walked: Walked) {
        if self.is_accepted || !walked.is_whole {
            return;
        }
        let (Ok(id), now) = (self.survey.root.id(), Instant::now()) else { return };
        if !walked.has_files {
            self.lasting.held = None;
            return;
        }
        let since = self.lasting.held.filter(|(folder, _)| *folder == id).map_or(now, |(_, since)| since);
        self.lasting.held = Some((id, since));
        if now.duration_since(since) >= self.config.rescan {
            self.work.accept();
        } else {
            // Or an early scan would find that the time is not quite over.
            self.next_scan = self.next_scan.max(after(since, self.config.rescan));
        }
    }

    fn sight(&mut self, sightings: impl IntoIterator<Item = Sighting>) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        for sighting in sightings {
            match sighting {
                // It may have been sent since, for an event.
                Sighting::File { path, seen, .. } if self.survey.lately.has_sent(&path, &seen) => {}
                Sighting::File { path, seen, extent, view, was_known } => {
                    if self.is_unheard(&path, &seen, was_known, wall) {
                        self.hearing.unheard = Some(path.clone());
                    }
                    if let View::Close(Some(why)) = view {
                        self.lasting.told.unfinished(&path, why);
                    }
                    self.settling.sight(path, seen, extent, self.watching.age(seen.age(wall)), view, now);
                }
                Sighting::Gone(path, departure) => {
                    if self.settling.miss(path, departure, now) {
                        self.missing.add(departure);
                    }
                }
                Sighting::Folder(_) => {}
                Sighting::Skipped(path, why) => self.lasting.told.skipped(&path, why),
                Sighting::Unreadable(path, error) => {
                    self.is_short |= is_shortage(&error);
                    self.lasting.told.unreadable(&path, &error);
                }
            }
        }
    }

    fn looked(&mut self, looked: Looked) {
        let Looked { path, taken, view, known, departure } = looked;
        let now = Instant::now();
        match taken {
            // It may have been sent since.
            Ok(Some(Taken::Document(seen, extent))) if known != Known::Now && !self.survey.lately.has_sent(&path, &seen) => {
                let age = self.watching.age(seen.age(SystemTime::now()));
                if let View::Close(Some(why)) = view {
                    self.lasting.told.unfinished(&path, why);
                }
                return self.settling.looked(path, seen, extent, age, view, now);
            }
            Ok(Some(Taken::Folder)) if self.config.recursive => self.scope.add(path.as_path().into()),
            Ok(Some(Taken::Document(..) | Taken::Folder) | None) => {}
            Ok(Some(Taken::Nothing(why))) => self.lasting.told.skipped(&path, why),
            // It says nothing of the file, and no event would bring it back.
            Err(error) if is_shortage(&error) => {
                self.lasting.told.unreadable(path.as_path(), &error);
                return self.settling.again(path, 1, now);
            }
            Err(error) => self.lasting.told.unreadable(path.as_path(), &error),
        }
        match departure {
            Some(departure) if self.is_accepted => self.settling.missed(path, departure, now),
            Some(_) | None => self.settling.finish(&path),
        }
    }

    /// Sends what is ready, as far as there is room for it: waking the receiver for each file costs more than the file.
    fn hand_on(&mut self, permit: mpsc::Permit<'_, Change>) {
        let changes = self.changes;
        self.hand_on_one(permit);
        for _ in 1..QUEUE {
            if !self.settling.has_ready() {
                return;
            }
            let Ok(permit) = changes.try_reserve() else { return };
            self.hand_on_one(permit);
        }
    }

    fn hand_on_one(&mut self, permit: mpsc::Permit<'_, Change>) {
        let Some(settled) = self.settling.pop_ready() else { return };
        let Some(claim) = self.claims.claim_again(&settled.path, settled.attempt) else {
            self.settling.hold(settled, Instant::now());
            return;
        };
        match settled.what {
            What::There(seen) => {
                self.survey.lately.send(&settled.path, &seen);
                self.found.add_file();
            }
            What::Gone(_) => {
                self.survey.lately.send_gone(&settled.path);
                self.found.add_gone();
            }
        }
        permit.send(Change { path: settled.path, what: settled.what, claim });
    }

    fn take_back(&mut self, returned: Vec<Returned>) {
        let now = Instant::now();
        for Returned { path, why } in returned {
            if why != Why::Free {
                self.survey.lately.renew(&path);
            }
            match why {
                Why::Free => self.settling.release(&path),
                Why::Again(attempt) => {
                    self.found.add_again();
                    self.settling.again(path, attempt, now);
                }
                Why::Retry => self.settling.revisit(path, now),
            }
        }
        self.speak_of_the_restless();
    }

    fn speak_of_the_restless(&mut self) {
        for path in self.settling.take_restless() {
            self.lasting.told.restless(&path);
        }
    }

    fn take_events(&mut self, room: usize) -> ControlFlow<Outcome> {
        self.gathered = None;
        let pending = self.events.take(room.div_ceil(2)); // a marker's event is of two paths
        // One that could not even start is retried by the next scan.
        if pending.dead && self.watch.is_some() {
            warn!("watcher ended; restarting it");
            self.found.add_watcher_replaced();
            return ControlFlow::Break(Outcome::Lost);
        }
        if pending.dirty {
            self.scope.add_whole();
            self.next_probe = Instant::now();
        }
        if !pending.touched.is_empty() {
            self.lasting.deaf = 0;
        }
        let now = Instant::now();
        for (path, signal) in pending.touched {
            // What lay in it went with it, and no event says so.
            if signal == Signal::Left && self.survey.lately.is_folder(&path) {
                self.scope.add_whole();
            }
            if let Some(file) = self.survey.rules.marker().and_then(|marker| marker.marked_by(path.as_path())) {
                self.settling.touch(file, signal, now);
            }
            // A folder may have the name of a marker.
            self.settling.touch(path, signal, now);
        }
        self.speak_of_the_restless();
        ControlFlow::Continue(())
    }
}
