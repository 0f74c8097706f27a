//! When is a file quiet? A plain state machine: time and observations come from outside.
//!
//! ```text
//! touch, again ─▶ waiting ─▶ looking ─▶ ready ─▶ handed on
//!                    ▲          │         ▲ │
//! sight, miss ───────┴── moved ─┘         │ ▼
//!                                         held
//! ```
//!
//! An event puts a file back to the start from wherever it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::after;
use super::events::Signal;
use super::root::Extent;
use crate::model::{Departure, DocumentPath, Observation, What};

/// The files that are not quiet yet, or are and wait for their turn.
#[derive(Debug)]
pub(super) struct Settling {
    /// How long a file must be quiet that its writer has closed.
    settle: Duration,
    /// Whether only files come that their writers have marked as complete: then nothing is waited for.
    marked: bool,
    /// Whether it may be that events tell nothing.
    unannounced: bool,
    files: HashMap<DocumentPath, File>,
    /// The files that wait for a look, by its time.
    waiting: BTreeSet<(Instant, DocumentPath)>,
    /// The files that are ready, in the order in which they became so.
    ready: BTreeMap<u64, DocumentPath>,
    next_turn: u64,
}

#[derive(Debug)]
struct File {
    stage: Stage,
    /// What the last look showed, unless something happened since.
    seen: Option<What>,
    /// What the events said, or `None` where there was none.
    signal: Option<Signal>,
    /// How often it has been handed back in a row.
    attempt: u32,
    /// The end of its back-off.
    not_before: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Wants a look at that time.
    Waiting(Instant),
    /// Is being looked at.
    Looking,
    /// Has been quiet for long enough; where it stands in the queue.
    Ready(u64),
    /// Is ready, but an earlier change of it is under way.
    Held,
}

/// A file that has been quiet, or gone, for long enough.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) path: DocumentPath,
    pub(super) what: What,
    pub(super) attempt: u32,
}

impl Settling {
    /// Files kept. Who brings more waits until there is room.
    const CAPACITY: usize = 65_536;
    /// How much longer a file must be quiet whose writer has not said that it is done.
    const UNSIGNALLED: u32 = 10;
    /// How much longer a file must be quiet of which no event tells that it is written to.
    const UNANNOUNCED: u32 = 20;
    /// How much longer than that a file must be quiet that has holes: they are filled in an order that no event tells.
    const HOLES: u32 = 4;
    /// How much longer an empty file must be quiet: most are about to be written to.
    const EMPTY: u32 = 120;
    /// The first back-off and the longest, in settle times: 1 s and 60 s for 500 ms.
    const BACK_OFF: (u32, u32) = (2, 120);

    /// Waits until files have been quiet.
    pub(super) fn new(settle: Duration) -> Self {
        Self {
            settle,
            marked: false,
            unannounced: false,
            files: HashMap::new(),
            waiting: BTreeSet::new(),
            ready: BTreeMap::new(),
            next_turn: 0,
        }
    }

    /// Waits for nothing: whoever brings files has seen their markers. Those handed back still have their back-off.
    pub(super) fn marked(settle: Duration) -> Self {
        Self { marked: true, ..Self::new(settle) }
    }

    /// Says whether it may be that events tell nothing: then a file of which none told is quiet when two looks, further apart than
    /// else, show the same.
    pub(super) fn set_unannounced(&mut self, unannounced: bool) {
        self.unannounced = unannounced;
    }

    /// Returns whether a file is here.
    pub(super) fn contains(&self, path: &DocumentPath) -> bool {
        self.files.contains_key(path)
    }

    /// Returns how many more files there is room for.
    pub(super) fn room(&self) -> usize {
        Self::CAPACITY.saturating_sub(self.files.len())
    }

    /// Takes an event: the file is looked at, and its quiet time starts anew.
    pub(super) fn touch(&mut self, path: DocumentPath, signal: Signal, now: Instant) {
        let mut file = self.remove(&path).unwrap_or(File::new(now));
        file.signal = Some(file.signal.map_or(signal, |earlier| signal.after(earlier)));
        self.start(path, file, now);
    }

    /// Takes a file that was handed back: it is looked at after a back-off that doubles from attempt to attempt.
    pub(super) fn again(&mut self, path: DocumentPath, attempt: u32, now: Instant) {
        let (first, longest) = Self::BACK_OFF;
        let factor = first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(longest);
        let mut file = self.remove(&path).unwrap_or(File::new(now));
        file.attempt = attempt;
        file.not_before = after(now, self.settle.saturating_mul(factor));
        self.start(path, file, now);
    }

    /// Takes a file that a scan found, last changed `age` ago. One that is here already is left as it is.
    pub(super) fn sight(&mut self, path: DocumentPath, seen: Observation, extent: Extent, age: Option<Duration>, now: Instant) {
        if !self.files.contains_key(&path) {
            self.files.insert(path.clone(), File::new(now));
            self.looked(path, seen, extent, age, now);
        }
    }

    /// Takes a file that is to be looked at as if it were new.
    pub(super) fn revisit(&mut self, path: DocumentPath, now: Instant) {
        let file = self.remove(&path).unwrap_or(File::new(now));
        self.start(path, file, now);
    }

    /// Takes a known file that a scan looked for in vain, and returns whether that is news: one that is here already is left as it
    /// is.
    pub(super) fn miss(&mut self, path: DocumentPath, departure: Departure, now: Instant) -> bool {
        let is_news = !self.files.contains_key(&path);
        if is_news {
            self.files.insert(path.clone(), File::new(now));
            self.missed(path, departure, now);
        }
        is_news
    }

    /// Returns when some file next wants a look.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.waiting.first().map(|(when, _)| *when)
    }

    /// Takes the files that want a look now, at most `max`. Each comes back through [`Self::looked`] or [`Self::finish`].
    pub(super) fn take_due(&mut self, now: Instant, max: usize) -> Vec<DocumentPath> {
        let mut due = Vec::new();
        while due.len() < max
            && self.next_look().is_some_and(|when| when <= now)
            && let Some((_, path)) = self.waiting.pop_first()
        {
            if let Some(file) = self.files.get_mut(&path) {
                file.stage = Stage::Looking;
            }
            due.push(path);
        }
        due
    }

    /// Takes what a look showed: a file last changed `age` ago.
    pub(super) fn looked(&mut self, path: DocumentPath, seen: Observation, extent: Extent, age: Option<Duration>, now: Instant) {
        let Some(file) = self.files.get_mut(&path).filter(|file| file.stage == Stage::Looking) else {
            return; // touched meanwhile: it will be looked at again
        };
        let before = file.seen.replace(What::There(seen));
        let holes = match extent {
            Extent::Whole => 1,
            Extent::Holes => Self::HOLES,
        };
        let factor = match file.signal {
            _ if seen.size == 0 => Self::EMPTY,
            Some(Signal::Complete) => holes,
            None if self.unannounced => Self::UNANNOUNCED * holes,
            Some(Signal::Written | Signal::Left | Signal::Touched) | None => Self::UNSIGNALLED * holes,
        };
        let quiet = self.settle.saturating_mul(factor);
        let wait = match (before, file.signal) {
            _ if self.marked => Duration::ZERO,
            (Some(What::There(before)), _) if before == seen => Duration::ZERO,
            // Nothing was heard of it, so the time since it last changed has been quiet.
            (None, None) => quiet.saturating_sub(age.unwrap_or_default()),
            _ => quiet,
        };
        self.wait(path, wait, now);
    }

    /// Takes that a look found a known file gone. It is looked for once more, for editors replace files by moving them away first.
    pub(super) fn missed(&mut self, path: DocumentPath, departure: Departure, now: Instant) {
        let Some(file) = self.files.get_mut(&path).filter(|file| file.stage == Stage::Looking) else { return };
        let before = file.seen.replace(What::Gone(departure));
        let wait = if matches!(before, Some(What::Gone(_))) { Duration::ZERO } else { self.settle };
        self.wait(path, wait, now);
    }

    /// Drops a file that was being looked at: it makes no change. One that was touched meanwhile stays.
    pub(super) fn finish(&mut self, path: &DocumentPath) {
        if self.files.get(path).is_some_and(|file| file.stage == Stage::Looking) {
            self.files.remove(path);
        }
    }

    /// Returns whether some file is ready.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the file that has been ready for longest.
    pub(super) fn pop_ready(&mut self) -> Option<Settled> {
        let (_, path) = self.ready.pop_first()?;
        let File { seen, attempt, .. } = self.files.remove(&path)?;
        Some(Settled { path, what: seen?, attempt })
    }

    /// Takes a ready file back, for an earlier change of it is under way.
    pub(super) fn hold(&mut self, settled: Settled, now: Instant) {
        let Settled { path, what, attempt } = settled;
        self.files.insert(path, File { stage: Stage::Held, seen: Some(what), attempt, ..File::new(now) });
    }

    /// Makes a held file ready: the change that it waited for is through.
    pub(super) fn release(&mut self, path: &DocumentPath) {
        if let Some(file) = self.files.get_mut(path).filter(|file| file.stage == Stage::Held) {
            file.stage = Stage::Ready(self.next_turn);
            self.ready.insert(self.next_turn, path.clone());
            self.next_turn += 1;
        }
    }

    /// Has a file that was looked at wait for its next look, or makes it ready.
    fn wait(&mut self, path: DocumentPath, wait: Duration, now: Instant) {
        let Some(file) = self.files.get_mut(&path) else { return };
        let when = after(now, wait).max(file.not_before);
        if when > now {
            file.stage = Stage::Waiting(when);
            self.waiting.insert((when, path));
        } else {
            file.stage = Stage::Ready(self.next_turn);
            self.ready.insert(self.next_turn, path);
            self.next_turn += 1;
        }
    }

    /// Takes a file out of the middle of whatever it is in.
    fn remove(&mut self, path: &DocumentPath) -> Option<File> {
        let file = self.files.remove(path)?;
        match file.stage {
            Stage::Waiting(when) => drop(self.waiting.remove(&(when, path.clone()))),
            Stage::Ready(turn) => drop(self.ready.remove(&turn)),
            Stage::Looking | Stage::Held => {}
        }
        Some(file)
    }

    /// Has a file looked at, as if for the first time, as soon as its back-off allows.
    fn start(&mut self, path: DocumentPath, mut file: File, now: Instant) {
        let when = now.max(file.not_before);
        self.waiting.insert((when, path.clone()));
        file.stage = Stage::Waiting(when);
        file.seen = None;
        self.files.insert(path, file);
    }
}

impl File {
    fn new(now: Instant) -> Self {
        Self { stage: Stage::Looking, seen: None, signal: None, attempt: 0, not_before: now }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SETTLE: Duration = Duration::from_millis(500);

    /// A file that is written to while time goes on as the test wants it.
    struct Scene {
        settling: Settling,
        extent: Extent,
        now: Instant,
    }

    fn path() -> DocumentPath {
        DocumentPath::new(Path::new("a.md")).unwrap()
    }

    fn seen(size: u64) -> Observation {
        Observation { device: 1, inode: 2, size, modified: (3, 4), changed: (5, 6) }
    }

    impl Scene {
        fn new() -> Self {
            Self::of(Settling::new(SETTLE))
        }

        fn of(settling: Settling) -> Self {
            Self { settling, extent: Extent::Whole, now: Instant::now() }
        }

        fn touch(&mut self, signal: Signal) {
            self.settling.touch(path(), signal, self.now);
        }

        /// Lets time pass to each look until the file, which shows this size, is ready; returns how long that took.
        fn ready_after(&mut self, size: u64) -> Duration {
            let start = self.now;
            while !self.settling.has_ready() {
                self.now = self.now.max(self.settling.next_look().expect("a file that is not ready waits for a look"));
                self.look(size);
            }
            self.now - start
        }

        fn miss(&mut self, departure: Departure) {
            for path in self.settling.take_due(self.now, usize::MAX) {
                self.settling.missed(path, departure, self.now);
            }
        }

        fn look(&mut self, size: u64) {
            for path in self.settling.take_due(self.now, usize::MAX) {
                self.settling.looked(path, seen(size), self.extent, Some(Duration::ZERO), self.now);
            }
        }
    }

    #[test]
    fn a_closed_file_is_ready_after_the_settle_time() {
        let mut scene = Scene::new();
        scene.touch(Signal::Complete);
        assert_eq!(scene.ready_after(9), SETTLE);
        assert_eq!(scene.settling.pop_ready(), Some(Settled { path: path(), what: What::There(seen(9)), attempt: 0 }));
        assert_eq!(scene.settling.room(), Settling::CAPACITY);
    }

    #[test]
    fn an_open_file_takes_ten_times_as_long_one_with_holes_four_times_that_and_an_empty_one_a_minute() {
        for (signal, extent, size, expected) in [
            (Signal::Written, Extent::Whole, 9, 10 * SETTLE),
            (Signal::Touched, Extent::Whole, 9, 10 * SETTLE),
            (Signal::Complete, Extent::Holes, 9, 4 * SETTLE),
            (Signal::Written, Extent::Holes, 9, 40 * SETTLE),
            (Signal::Complete, Extent::Whole, 0, Duration::from_mins(1)),
            (Signal::Written, Extent::Whole, 0, Duration::from_mins(1)),
        ] {
            let mut scene = Scene { extent, ..Scene::new() };
            scene.touch(signal);
            assert_eq!(scene.ready_after(size), expected, "{signal:?} {extent:?} {size}");
        }
    }

    #[test]
    fn setting_the_times_of_a_closed_file_does_not_make_it_an_open_one() {
        let mut scene = Scene::new();
        scene.touch(Signal::Complete);
        scene.look(9);
        scene.touch(Signal::Touched);
        assert_eq!(scene.ready_after(9), SETTLE);
    }

    #[test]
    fn every_event_starts_the_quiet_time_anew() {
        let mut scene = Scene::new();
        for size in 1..100 {
            scene.touch(Signal::Complete);
            scene.look(size);
            scene.now += SETTLE * 9 / 10;
            scene.look(size);
            assert!(!scene.settling.has_ready());
        }
        scene.touch(Signal::Complete);
        assert_eq!(scene.ready_after(100), SETTLE);
    }

    #[test]
    fn a_change_that_no_event_told_starts_it_anew_too() {
        let mut scene = Scene::new();
        scene.touch(Signal::Complete);
        scene.look(1);
        scene.now += SETTLE;
        scene.look(2);
        assert!(!scene.settling.has_ready());
        assert_eq!(scene.ready_after(2), SETTLE);
    }

    #[test]
    fn an_event_on_a_ready_file_takes_it_back() {
        let mut scene = Scene::new();
        scene.touch(Signal::Complete);
        scene.ready_after(9);
        scene.touch(Signal::Written);
        assert!(!scene.settling.has_ready());
        assert_eq!(scene.ready_after(9), 10 * SETTLE);
    }

    #[test]
    fn an_event_during_a_look_outdates_it() {
        let mut scene = Scene::new();
        scene.touch(Signal::Complete);
        let due = scene.settling.take_due(scene.now, 1);
        scene.touch(Signal::Complete);
        scene.settling.looked(path(), seen(9), Extent::Whole, None, scene.now);
        scene.settling.finish(&path());
        assert_eq!((due, scene.settling.next_look()), (vec![path()], Some(scene.now)));
    }

    #[test]
    fn a_file_found_by_a_scan_waits_only_for_what_is_left() {
        for (age, left) in [(None, 10 * SETTLE), (Some(SETTLE), 9 * SETTLE), (Some(10 * SETTLE), Duration::ZERO)] {
            let mut scene = Scene::new();
            scene.settling.sight(path(), seen(9), Extent::Whole, age, scene.now);
            assert_eq!(scene.ready_after(9), left);
        }
    }

    #[test]
    fn where_nothing_is_announced_two_looks_are_compared_unless_an_event_came_all_the_same() {
        for (extent, expected) in [(Extent::Whole, 20 * SETTLE), (Extent::Holes, 80 * SETTLE)] {
            let mut scene = Scene { extent, ..Scene::new() };
            scene.settling.set_unannounced(true);
            scene.settling.sight(path(), seen(1), extent, None, scene.now);
            scene.now += expected;
            scene.look(2);
            assert!(!scene.settling.has_ready());
            assert_eq!(scene.ready_after(2), expected);
        }
        let mut scene = Scene::new();
        scene.settling.set_unannounced(true);
        scene.touch(Signal::Complete);
        assert_eq!(scene.ready_after(9), SETTLE);
    }

    #[test]
    fn a_scan_does_not_hurry_a_file_that_is_being_written() {
        let mut scene = Scene::new();
        scene.touch(Signal::Written);
        scene.settling.sight(path(), seen(9), Extent::Whole, Some(Duration::MAX), scene.now);
        assert_eq!(scene.ready_after(9), 10 * SETTLE);
    }

    #[test]
    fn a_file_handed_back_is_looked_at_later_and_later() {
        let factors = [1, 2, 3, 4, 5, 6, 7, 8, u32::MAX].map(|attempt| {
            let mut scene = Scene::new();
            scene.settling.again(path(), attempt, scene.now);
            scene.settling.next_look().unwrap() - scene.now
        });
        assert_eq!(factors.map(|wait| wait.as_secs()), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn an_event_does_not_cut_the_back_off_short() {
        let mut scene = Scene::new();
        scene.settling.again(path(), 3, scene.now);
        scene.touch(Signal::Complete);
        assert!(scene.ready_after(9) >= 8 * SETTLE);
        assert_eq!(scene.settling.pop_ready().unwrap().attempt, 3);
    }

    #[test]
    fn a_marked_file_waits_for_nothing_but_its_back_off() {
        for signal in [Signal::Complete, Signal::Written, Signal::Touched] {
            let mut scene = Scene::of(Settling::marked(SETTLE));
            scene.touch(signal);
            assert_eq!(scene.ready_after(0), Duration::ZERO);
        }
        let mut scene = Scene::of(Settling::marked(SETTLE));
        scene.settling.again(path(), 1, scene.now);
        assert_eq!(scene.ready_after(9), 2 * SETTLE);
    }

    #[test]
    fn a_held_file_is_ready_when_it_is_released() {
        let mut scene = Scene::new();
        scene.touch(Signal::Complete);
        scene.ready_after(9);
        let settled = scene.settling.pop_ready().unwrap();
        scene.settling.hold(settled, scene.now);
        assert!(!scene.settling.has_ready());
        scene.settling.release(&path());
        assert_eq!(scene.settling.pop_ready().unwrap().what, What::There(seen(9)));
        scene.settling.release(&path());
        assert!(!scene.settling.has_ready());
    }

    #[test]
    fn a_missing_file_is_gone_when_it_is_missing_a_settle_time_later_still() {
        for departure in [Departure::Removed, Departure::Hidden] {
            let mut scene = Scene::of(Settling::marked(SETTLE));
            scene.touch(Signal::Left);
            let begun = scene.now;
            while !scene.settling.has_ready() {
                scene.now = scene.now.max(scene.settling.next_look().unwrap());
                scene.miss(departure);
            }
            assert_eq!(scene.now - begun, SETTLE);
            assert_eq!(scene.settling.pop_ready().unwrap().what, What::Gone(departure));
        }
    }

    #[test]
    fn a_file_that_comes_back_before_the_second_look_was_never_gone() {
        let mut scene = Scene::new();
        assert!(scene.settling.miss(path(), Departure::Removed, scene.now));
        assert!(!scene.settling.miss(path(), Departure::Removed, scene.now), "that was said before");
        assert_eq!(scene.ready_after(9), SETTLE + 10 * SETTLE);
        assert_eq!(scene.settling.pop_ready().unwrap().what, What::There(seen(9)));
    }

    #[test]
    fn a_file_asked_for_again_is_looked_at_as_if_it_were_new() {
        let mut scene = Scene::new();
        scene.settling.revisit(path(), scene.now);
        scene.settling.take_due(scene.now, 1);
        scene.settling.looked(path(), seen(9), Extent::Whole, Some(Duration::MAX), scene.now);
        assert!(scene.settling.has_ready(), "it has lain still since long ago");
    }
}
