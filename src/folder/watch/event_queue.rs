//! Watcher events, merged into paths to check. Bounded, and never blocks the watcher.

use std::collections::HashMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use tokio::sync::Notify;
use tracing::debug;

use crate::domain::DocumentPath;
use crate::folder::look::file_filter::IGNORE_FILE;
use crate::folder::look::temp_names::has_temporary;

/// What an event lets one expect of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Signal {
    /// Its writer has closed it, or moved it in whole.
    Complete,
    /// It was created or written to, perhaps not for the last time.
    Written,
    /// It was moved away.
    Left,
    /// Something else happened: its mode, its times or its links changed, or it was removed.
    Touched,
}

impl Signal {
    /// Returns the merged event when this comes after `earlier`: `tar` closes a file and then sets its times, and it is still complete.
    pub(in crate::folder) fn after(self, earlier: Self) -> Self {
        match self {
            Self::Touched => earlier,
            Self::Complete | Self::Written | Self::Left => self,
        }
    }
}

/// The events that have not been looked into yet. The watcher's thread fills it, the source empties it.
#[derive(Debug)]
pub(in crate::folder) struct Events {
    root: PathBuf,
    pending: Mutex<Pending>,
    news: Notify,
}

/// What has come together since the last look.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The paths that something happened to.
    pub(super) touched: HashMap<DocumentPath, Signal>,
    /// Something happened without a path: only a scan finds it.
    pub(super) dirty: bool,
    /// There is no watcher any more.
    pub(super) dead: bool,
}

impl Events {
    /// Paths kept, each with its last signal. Of more than these only the fact is kept.
    const CAPACITY: usize = 65_536;

    /// Starts empty. `root` is the path of the folder as the watcher knows it.
    pub(in crate::folder) fn new(root: &Path) -> Self {
        Self { root: root.into(), pending: Mutex::default(), news: Notify::new() }
    }

    /// Waits until something has come since the last wait. Cancel safe, for one waiter.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes what has come, of the paths at most `room`. Announces again what stays behind.
    pub(super) fn take(&self, room: usize) -> Pending {
        let mut pending = self.lock();
        let touched = pending.touched.extract_if(|_, _| true).take(room).collect();
        if !pending.touched.is_empty() {
            self.news.notify_one();
        }
        Pending { touched, dirty: mem::take(&mut pending.dirty), dead: pending.dead }
    }

    /// Returns whether something that has not been taken yet may be about this path.
    pub(super) fn may_tell_of(&self, path: &DocumentPath) -> bool {
        let pending = self.lock();
        pending.dirty || pending.touched.contains_key(path)
    }

    /// Records that a watcher is about to start, whatever became of the one before: one that cannot start ends as well.
    pub(super) fn expect_watcher(&self) {
        self.lock().dead = false;
    }

    /// Returns whether the watcher has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    fn record(&self, event: notify::Result<notify::Event>) {
        let event = match event {
            Ok(event) if event.need_rescan() || event.paths.is_empty() => {
                debug!("events were lost");
                return self.update(Pending::set_dirty);
            }
            Ok(event) => event,
            Err(error) => {
                debug!(%error, "the watcher reports an error");
                return self.update(Pending::set_dirty);
            }
        };
        let signal = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                Signal::Complete
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Signal::Left,
            // Opened or read, by ourselves for one; and the second telling of a `From` and a `To`.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Signal::Written,
            EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => Signal::Touched,
        };
        for path in &event.paths {
            let Ok(below) = path.strip_prefix(&self.root) else { continue };
            match DocumentPath::new(below) {
                Ok(_) if below == IGNORE_FILE => self.update(Pending::set_dirty), // all that is there is judged anew
                Ok(_) if has_temporary(below) => {}
                Ok(path) => self.update(|pending| pending.touch(path, signal, Self::CAPACITY)),
                Err(_) => self.update(Pending::set_dirty), // the source folder itself
            }
        }
    }

    fn update(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.lock());
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn touch(&mut self, path: DocumentPath, signal: Signal, capacity: usize) {
        if let Some(earlier) = self.touched.get_mut(&path) {
            *earlier = signal.after(*earlier);
        } else if self.touched.len() < capacity {
            self.touched.insert(path, signal);
        } else {
            self.dirty = true;
        }
    }

    fn set_dirty(&mut self) {
        self.dirty = true;
    }
}

/// The watcher's callback. The watcher drops it when its thread ends, for whatever reason: it has no other way to report it.
pub(in crate::folder) struct Recorder(pub(in crate::folder) Arc<Events>);

impl notify::EventHandler for Recorder {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        self.0.record(event);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.0.update(|pending| pending.dead = true);
    }
}

#[cfg(test)]
mod tests {
    use notify::Event;
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    use super::*;

    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    fn record(events: impl IntoIterator<Item = (EventKind, &'static str)>) -> Pending {
        let recorded = Events::new(Path::new("/drop"));
        for (kind, path) in events {
            recorded.record(Ok(Event::new(kind).add_path(path.into())));
        }
        recorded.take(usize::MAX)
    }

    #[test]
    fn opening_and_reading_is_no_event() {
        for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Read, AccessKind::Close(AccessMode::Read)] {
            let pending = record([(EventKind::Access(kind), "/drop/a")]);
            assert!(pending.touched.is_empty() && !pending.dirty);
        }
    }

    #[test]
    fn the_last_signal_counts_unless_it_says_nothing_of_the_contents() {
        let set_times = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        let create = EventKind::Create(CreateKind::File);
        let moved_away = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        for (kinds, expected) in [
            (&[create, WRITTEN][..], Signal::Written),
            (&[create, WRITTEN, CLOSED], Signal::Complete),
            (&[CLOSED, WRITTEN], Signal::Written),
            (&[CLOSED, set_times], Signal::Complete),
            (&[set_times], Signal::Touched),
            (&[EventKind::Remove(RemoveKind::File)], Signal::Touched),
            (&[CLOSED, moved_away], Signal::Left),
            (&[moved_away, create], Signal::Written),
        ] {
            let pending = record(kinds.iter().map(|kind| (*kind, "/drop/a/b")));
            assert_eq!(pending.touched, HashMap::from([(path("a/b"), expected)]), "{kinds:?}");
        }
    }

    #[test]
    fn temporary_names_and_other_folders_are_left_out() {
        let pending = record([(CLOSED, "/drop/a.part"), (CLOSED, "/drop/.git/config"), (CLOSED, "/elsewhere/a")]);
        assert!(pending.touched.is_empty() && !pending.dirty);
    }

    #[test]
    fn an_event_without_a_path_asks_for_a_scan() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        let flagged = Event::new(CLOSED).set_flag(Flag::Rescan).add_path("/drop/a".into());
        let root = Event::new(EventKind::Remove(RemoveKind::Folder)).add_path("/drop".into());
        let rules = Event::new(CLOSED).add_path("/drop/.riverbedignore".into());
        for event in [
            Ok(overflow),
            Ok(flagged),
            Ok(root),
            Ok(rules),
            Ok(Event::new(EventKind::Any)),
            Err(notify::Error::generic("broken")),
        ] {
            let events = Events::new(Path::new("/drop"));
            events.record(event);
            assert!(events.take(0).dirty);
            assert!(!events.take(0).dirty, "it is asked for once");
        }
    }

    #[test]
    fn past_the_bound_only_the_fact_is_kept() {
        let mut pending = Pending::default();
        pending.touch(path("a"), Signal::Written, 2);
        pending.touch(path("b"), Signal::Written, 2);
        pending.touch(path("a"), Signal::Complete, 2);
        assert!(!pending.dirty);
        pending.touch(path("c"), Signal::Complete, 2);
        assert!(pending.dirty);
        assert_eq!(pending.touched, HashMap::from([(path("a"), Signal::Complete), (path("b"), Signal::Written)]));
    }

    #[tokio::test]
    async fn events_without_room_are_announced_again() {
        let events = Events::new(Path::new("/drop"));
        for name in ["/drop/a", "/drop/b", "/drop/c"] {
            events.record(Ok(Event::new(CLOSED).add_path(name.into())));
        }
        let mut taken = 0;
        while taken < 3 {
            events.news().await;
            taken += events.take(1).touched.len();
        }
    }

    #[tokio::test]
    async fn a_watcher_that_ends_says_so() {
        let events = Arc::new(Events::new(Path::new("/drop")));
        drop(Recorder(Arc::clone(&events)));
        events.news().await;
        assert!(events.take(0).dead);
    }
}
