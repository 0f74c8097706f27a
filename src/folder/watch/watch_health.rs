//! Watch health: changes that a scan finds in watched folders must have had an event.

use std::time::{Duration, SystemTime};

use crate::domain::{DocumentPath, Observation};

/// What has been found out about one watcher.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Since when every folder has been watched.
    since: Option<SystemTime>,
    /// Whether the scan in progress was asked for by no event, so that it has to find nothing new.
    is_judging: bool,
    /// What it found all the same.
    pub(super) unheard: Option<DocumentPath>,
}

impl Hearing {
    /// Begins a scan. One that events, or the want of them, have asked for may well find changes without an event.
    pub(super) fn begin(&mut self, is_judging: bool) {
        *self = Self { is_judging, unheard: None, ..*self };
    }

    /// Records that a scan has ended with every folder watched, or not.
    pub(super) fn end(&mut self, is_complete: bool) {
        self.since = if is_complete { self.since.or_else(|| Some(SystemTime::now())) } else { None };
    }

    /// Returns whether a change that the scan has found must have had an event, more than `patience` ago.
    ///
    /// A new name always has an event. A file that is known may have been given another link, which is not, so its contents must have
    /// changed. What is set to a time of long ago is let pass.
    pub(super) fn expects(&self, seen: &Observation, is_known: bool, now: SystemTime, patience: Duration) -> bool {
        let Some(since) = self.since.filter(|_| self.is_judging && self.unheard.is_none()) else { return false };
        let is_between = |seen: &Observation| seen.age(since).is_none() && seen.age(now).is_some_and(|age| age >= patience);
        is_between(seen) && (!is_known || is_between(&Observation { changed: seen.modified, ..*seen }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_watched_folders_must_have_had_an_event() {
        let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let patience = Duration::from_secs(5);
        let mut hearing = Hearing { since: Some(at(100)), is_judging: true, unheard: None };
        let seen =
            |modified, changed| Observation { device: 1, inode: 2, size: 3, modified: (modified, 0), changed: (changed, 0) };
        for (modified, changed, is_new_told, is_known_told) in [
            (150, 150, true, true),
            (99, 150, true, false), // moved in, or linked elsewhere
            (150, 196, false, false),
            (150, 200, false, false),
            (99, 99, false, false),
            (150, 300, false, false),
        ] {
            let told = |is_known| hearing.expects(&seen(modified, changed), is_known, at(200), patience);
            assert_eq!((told(false), told(true)), (is_new_told, is_known_told), "{modified} {changed}");
        }
        let told = |hearing: &Hearing| hearing.expects(&seen(150, 150), false, at(200), patience);
        assert!(told(&hearing));
        hearing.begin(false);
        assert!(!told(&hearing), "an event has asked for this scan");
        hearing.begin(true);
        assert!(told(&hearing));
        hearing.end(false);
        assert!(!told(&hearing), "some folder was not watched");
    }
}
