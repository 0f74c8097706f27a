//! Settling: decides when a file is quiet. A plain state machine: time and observations come from outside.
//!
//! ```text
//! touch, again ─▶ waiting ─▶ looking ─▶ ready ─▶ sent
//!                    ▲          │         ▲ │
//! sight, miss ───────┴── moved ─┘         │ ▼
//!                                         held
//! ```
//!
//! An event puts a file back to the start from wherever it is. The last look before a file is ready is a close one: at whether it
//! seems unfinished, by a writer that has it open or by an end that is missing. (Where a scan finds a file that lacks only this look,
//! it may look at once.) Then it is looked at less and less often for a
//! while, and taken all the same after that: a log that a program keeps open is a document too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

pub(super) use super::settle_delays::Waits;
use crate::domain::{Departure, DocumentPath, Observation, What};
use crate::folder::after;
use crate::folder::look::root::Extent;
use crate::folder::watch::event_queue::Signal;

/// The files that are not quiet yet, or are and wait for their turn.
#[derive(Debug)]
pub(in crate::folder) struct Settling {
    waits: Waits,
    files: HashMap<DocumentPath, File>,
    /// The files that wait for a look, by its time.
    waiting: BTreeSet<(Instant, DocumentPath)>,
    /// The files that are ready, in the order in which they became so.
    ready: BTreeMap<u64, DocumentPath>,
    next_turn: u64,
    /// Files that have kept changing for as long as an unfinished one is waited for, to be spoken of.
    restless: Vec<DocumentPath>,
}

#[derive(Debug)]
struct File {
    /// Since when it is waited for.
    since: Instant,
    /// Whether it has been spoken of as one that keeps changing.
    is_restless: bool,
    stage: SettleStage,
    /// What the last look showed, unless something happened since.
    seen: Option<What>,
    /// What the events said, or `None` where there was none.
    signal: Option<Signal>,
    /// How often it has been handed back in a row.
    attempt: u32,
    /// The end of its back-off.
    not_before: Instant,
    /// Until when it is waited for should it seem unfinished, if it stays as the last look showed it.
    until: Instant,
}

/// A look that a file wants.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::folder) struct Look {
    pub(in crate::folder) path: DocumentPath,
    /// What it would be ready with, if that is what it still shows and it does not seem unfinished.
    pub(in crate::folder) closely: Option<Observation>,
}

/// How a file was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum View {
    /// From outside.
    FromAfar,
    /// Closely, and why it seems unfinished, if it does.
    Close(Option<Unfinished>),
}

/// Why a file seems unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Unfinished {
    /// Somebody has it open for writing.
    Open,
    /// Its format has an end, which it lacks.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SettleStage {
    /// Wants a look at that time.
    Waiting(Instant),
    /// Is being looked at.
    Looking,
    /// Has been quiet for long enough; where it is in the queue.
    Ready(u64),
    /// Is ready, but an earlier change of it is in progress.
    Held,
}

/// A file that has been quiet, or gone, for long enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(in crate::folder) path: DocumentPath,
    pub(in crate::folder) what: What,
    pub(in crate::folder) attempt: u32,
}

impl Settling {
    /// Files kept. Who brings more waits until there is room.
    const CAPACITY: usize = 65_536;

    /// Waits until files have been quiet.
    pub(in crate::folder) fn new(settle: Duration) -> Self {
        Self {
            waits: Waits { settle, marked: false, unannounced: false },
            files: HashMap::new(),
            waiting: BTreeSet::new(),
            ready: BTreeMap::new(),
            next_turn: 0,
            restless: Vec::new(),
        }
    }

    /// Waits for nothing: the caller has seen the markers of the files. Those handed back still have their back-off.
    pub(in crate::folder) fn marked(settle: Duration) -> Self {
        Self { waits: Waits { settle, marked: true, unannounced: false }, ..Self::new(settle) }
    }

    /// Sets whether events may be missing: then a file without an event is quiet when two looks, further apart than
    /// else, show the same.
    pub(in crate::folder) fn set_unannounced(&mut self, unannounced: bool) {
        self.waits.unannounced = unannounced;
    }

    /// Returns how long files are waited for.
    pub(in crate::folder) fn waits(&self) -> Waits {
        self.waits
    }

    /// Returns whether a file is here.
    pub(in crate::folder) fn contains(&self, path: &DocumentPath) -> bool {
        self.files.contains_key(path)
    }

    /// Returns how many files are here.
    pub(in crate::folder) fn files(&self) -> usize {
        self.files.len()
    }

    /// Returns how many more files there is room for.
    pub(in crate::folder) fn room(&self) -> usize {
        Self::CAPACITY.saturating_sub(self.files.len())
    }

    /// Takes an event: the file is looked at, and its quiet time starts again.
    pub(in crate::folder) fn touch(&mut self, path: DocumentPath, signal: Signal, now: Instant) {
        let mut file = self.remove(&path).unwrap_or(File::new(now));
        file.signal = Some(file.signal.map_or(signal, |earlier| signal.after(earlier)));
        if !file.is_restless && now.saturating_duration_since(file.since) >= self.waits.unfinished() {
            file.is_restless = true;
            self.restless.push(path.clone());
        }
        self.start(path, file, now);
    }

    /// Takes a file that was handed back: it is looked at after a back-off that doubles from attempt to attempt.
    pub(in crate::folder) fn again(&mut self, path: DocumentPath, attempt: u32, now: Instant) {
        let mut file = self.remove(&path).unwrap_or(File::new(now));
        file.attempt = attempt;
        if attempt == Waits::RESTLESS {
            file.is_restless = true;
            self.restless.push(path.clone());
        }
        file.not_before = after(now, self.waits.back_off(attempt));
        self.start(path, file, now);
    }

    /// Takes a file that a scan found, last changed `age` ago. One that is here already is left as it is, unless it is here as a removed
    /// one: then it is inspected again.
    pub(in crate::folder) fn sight(
        &mut self,
        path: DocumentPath,
        seen: Observation,
        extent: Extent,
        age: Option<Duration>,
        view: View,
        now: Instant,
    ) {
        match self.files.get(&path) {
            None => {
                self.files.insert(path.clone(), File::new(now));
                self.looked(path, seen, extent, age, view, now);
            }
            Some(File { seen: Some(What::Gone(_)), stage, .. }) if *stage != SettleStage::Looking => self.revisit(path, now),
            Some(_) => {}
        }
    }

    /// Takes a file that is to be looked at as if it were new.
    pub(in crate::folder) fn revisit(&mut self, path: DocumentPath, now: Instant) {
        let file = self.remove(&path).unwrap_or(File::new(now));
        self.start(path, file, now);
    }

    /// Takes a known file that a scan did not find, and returns whether that is news: one that is here already is left as it
    /// is.
    pub(in crate::folder) fn miss(&mut self, path: DocumentPath, departure: Departure, now: Instant) -> bool {
        let is_news = !self.files.contains_key(&path);
        if is_news {
            self.files.insert(path.clone(), File::new(now));
            self.missed(path, departure, now);
        }
        is_news
    }

    /// Returns when some file next wants a look.
    pub(in crate::folder) fn next_look(&self) -> Option<Instant> {
        self.waiting.first().map(|(when, _)| *when)
    }

    /// Returns how many files wait for a look, now or later.
    pub(in crate::folder) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the looks that are due now, at most `max`. Each comes back through [`Self::looked`] or [`Self::finish`].
    pub(in crate::folder) fn take_due(&mut self, now: Instant, max: usize) -> Vec<Look> {
        let mut due = Vec::new();
        while due.len() < max
            && self.next_look().is_some_and(|when| when <= now)
            && let Some((_, path)) = self.waiting.pop_first()
        {
            let mut closely = None;
            if let Some(file) = self.files.get_mut(&path) {
                file.stage = SettleStage::Looking;
                closely = match file.seen {
                    Some(What::There(seen)) if !self.waits.marked && now < file.until => Some(seen),
                    Some(What::There(_) | What::Gone(_)) | None => None,
                };
            }
            due.push(Look { path, closely });
        }
        due
    }

    /// Takes what a look showed: a file last changed `age` ago.
    pub(in crate::folder) fn looked(
        &mut self,
        path: DocumentPath,
        seen: Observation,
        extent: Extent,
        age: Option<Duration>,
        view: View,
        now: Instant,
    ) {
        let signal = self.files.get(&path).and_then(|file| file.signal);
        let quiet = self.waits.quiet(signal, extent, seen.size);
        let Some(file) = self.files.get_mut(&path).filter(|file| file.stage == SettleStage::Looking) else {
            return; // touched meanwhile: it will be looked at again
        };
        let before = file.seen.replace(What::There(seen));
        let is_as_before = before == file.seen;
        // Where no event came for it, the time since it last changed has been quiet.
        let has_been_quiet = if before.is_none() && signal.is_none() { age.unwrap_or_default() } else { Duration::ZERO };
        let longest = self.waits.unfinished();
        if !is_as_before {
            file.until = after(now, longest.saturating_sub(has_been_quiet));
        }
        let left = file.until.saturating_duration_since(now);
        let Waits { settle, marked, .. } = self.waits;
        let wait = match view {
            _ if marked => Duration::ZERO,
            _ if !is_as_before => quiet.saturating_sub(has_been_quiet),
            // As long again as it has been quiet by now.
            View::Close(Some(_)) => longest.saturating_sub(left).max(settle).min(left),
            View::Close(None) | View::FromAfar => Duration::ZERO,
        };
        let wants_a_close_look = !marked && !is_as_before && !left.is_zero();
        match view {
            View::FromAfar if wants_a_close_look && wait.is_zero() => self.look_at(path, now),
            // This was that look.
            View::Close(_) if wants_a_close_look && wait.is_zero() => self.looked(path, seen, extent, age, view, now),
            View::FromAfar | View::Close(_) => self.wait(path, wait, now),
        }
    }

    /// Takes that a look found a known file gone. It is looked for once more, for editors replace files by moving them away first.
    pub(in crate::folder) fn missed(&mut self, path: DocumentPath, departure: Departure, now: Instant) {
        let Some(file) = self.files.get_mut(&path).filter(|file| file.stage == SettleStage::Looking) else { return };
        let before = file.seen.replace(What::Gone(departure));
        let wait = if matches!(before, Some(What::Gone(_))) { Duration::ZERO } else { self.waits.settle };
        self.wait(path, wait, now);
    }

    /// Drops a file that was being looked at: it makes no change. One that was touched meanwhile stays.
    pub(in crate::folder) fn finish(&mut self, path: &DocumentPath) {
        if self.files.get(path).is_some_and(|file| file.stage == SettleStage::Looking) {
            self.files.remove(path);
        }
    }

    /// Takes the files that have kept changing for so long that somebody should know.
    pub(in crate::folder) fn take_restless(&mut self) -> Vec<DocumentPath> {
        std::mem::take(&mut self.restless)
    }

    /// Returns whether some file is ready.
    pub(in crate::folder) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the file that has been ready for longest.
    pub(in crate::folder) fn pop_ready(&mut self) -> Option<Settled> {
        let (_, path) = self.ready.pop_first()?;
        let File { seen, attempt, .. } = self.files.remove(&path)?;
        Some(Settled { path, what: seen?, attempt })
    }

    /// Requeues a ready file, for an earlier change of it is in progress.
    pub(in crate::folder) fn hold(&mut self, settled: Settled, now: Instant) {
        let Settled { path, what, attempt } = settled;
        self.files.insert(path, File { stage: SettleStage::Held, seen: Some(what), attempt, ..File::new(now) });
    }

    /// Makes a held file ready: the change that it waited for is through.
    pub(in crate::folder) fn release(&mut self, path: &DocumentPath) {
        if let Some(file) = self.files.get_mut(path).filter(|file| file.stage == SettleStage::Held) {
            file.stage = SettleStage::Ready(self.next_turn);
            self.ready.insert(self.next_turn, path.clone());
            self.next_turn += 1;
        }
    }

    /// Has a file that was looked at wait for its next look, or makes it ready.
    fn wait(&mut self, path: DocumentPath, wait: Duration, now: Instant) {
        let Some(file) = self.files.get_mut(&path) else { return };
        let when = after(now, wait).max(file.not_before);
        if when > now {
            self.look_at(path, when);
        } else {
            file.stage = SettleStage::Ready(self.next_turn);
            self.ready.insert(self.next_turn, path);
            self.next_turn += 1;
        }
    }

    /// Has a file that was looked at looked at again at some time.
    fn look_at(&mut self, path: DocumentPath, when: Instant) {
        if let Some(file) = self.files.get_mut(&path) {
            let when = when.max(file.not_before);
            file.stage = SettleStage::Waiting(when);
            self.waiting.insert((when, path));
        }
    }

    /// Takes a file out of the middle of whatever it is in.
    fn remove(&mut self, path: &DocumentPath) -> Option<File> {
        let file = self.files.remove(path)?;
        match file.stage {
            SettleStage::Waiting(when) => drop(self.waiting.remove(&(when, path.clone()))),
            SettleStage::Ready(turn) => drop(self.ready.remove(&turn)),
            SettleStage::Looking | SettleStage::Held => {}
        }
        Some(file)
    }

    /// Has a file looked at, as if for the first time, as soon as its back-off allows.
    fn start(&mut self, path: DocumentPath, mut file: File, now: Instant) {
        let when = now.max(file.not_before);
        self.waiting.insert((when, path.clone()));
        file.stage = SettleStage::Waiting(when);
        file.seen = None;
        self.files.insert(path, file);
    }
}

impl File {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            is_restless: false,
            stage: SettleStage::Looking,
            seen: None,
            signal: None,
            attempt: 0,
            not_before: now,
            until: now,
        }
    }
}

#[cfg(test)]
mod tests;
