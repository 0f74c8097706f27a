//! Ensures that no change goes unnoticed: by a watcher where it gets all events, and by scans elsewhere.

use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

use super::event_loop::{Follower, Outcome};
use crate::domain::{DocumentPath, Observation};
use crate::folder::look::root::RootState;
use crate::folder::scan::follow::PROBE;
use crate::folder::{Silence, Symlinks, Watching};

/// After so many watchers in a row that missed changes, none is relied on any more.
const DEAF: u32 = 2;

impl Follower<'_> {
    pub(super) fn start_watching(&mut self) {
        match (self.means.watch)(&self.events) {
            Ok(watch) => self.watch = Some(Arc::new(watch)),
            Err(error) => self.shortage = Some(Silence::of_error(&error)),
        }
    }

    /// Records the outcome of setting watches when a scan has set them.
    pub(super) fn take_gap(&mut self, is_whole: bool) {
        let Some(watch) = &self.watch else { return };
        let gap = watch.take_gap();
        if is_whole || gap.is_some() {
            self.hearing.end(gap.is_none());
        }
        if is_whole {
            self.shortage = None;
        }
        match gap {
            // It concerns single folders, most likely those that may not be read either.
            Some(Silence::Refused(why)) => {
                let is_told = mem::replace(&mut self.lasting.is_gap_told, true);
                if !is_told {
                    warn!(%why, "some folders cannot be watched; only scans detect changes there");
                }
            }
            Some(limit) => self.shortage = Some(limit),
            None => {}
        }
        if is_whole || self.shortage.is_some() {
            self.set_watching();
        }
    }

    pub(super) fn why_scans(&self) -> Option<Silence> {
        let unheard = || (self.lasting.deaf >= DEAF).then_some(Silence::Unheard);
        self.silence.clone().or_else(|| self.shortage.clone()).or_else(unheard)
    }

    /// Decides how changes are noticed, and says so once.
    pub(super) fn set_watching(&mut self) {
        self.watching = self.why_scans().map_or(Watching::Events, |reason| Watching::Scans { reason });
        self.settling.set_unannounced(self.watching != Watching::Events);
        if !self.found.set_watching(self.watching.clone()) {
            return;
        }
        match &self.watching {
            Watching::Events => info!("inotify reports all changes again"),
            Watching::Scans { reason } => {
                let every = humantime::format_duration(self.watching.pause(self.config.rescan, Duration::ZERO));
                let help = reason.help();
                warn!(%reason, %every, help, "falling back to scans to detect changes");
            }
        }
    }

    /// Returns whether the watcher has missed a change that a scan has found.
    pub(super) fn is_unheard(&self, path: &DocumentPath, seen: &Observation, was_known: bool, wall: SystemTime) -> bool {
        if !self.hearing.expects(seen, was_known, wall, self.means.patience) {
            return false;
        }
        // Events of a link's target name the target's own path; a mount in the folder may give none.
        let is_elsewhere = self.survey.root.id().map_or(true, |(device, _)| device != seen.device);
        if is_elsewhere || (was_known && self.config.symlinks == Symlinks::Inside) {
            return false;
        }
        let mut way = path.as_path().ancestors().filter_map(|above| DocumentPath::new(above).ok());
        let is_told = self.scope.covers(path.as_path())
            || way.any(|above| self.settling.contains(&above) || self.events.may_tell_of(&above));
        !is_told
    }

    pub(super) fn probed(&mut self, standing: RootState) -> ControlFlow<Outcome> {
        const LOST: &str = "the source folder has been moved, removed or replaced";
        const CLOSED: &str = "the source folder may not be read";
        self.next_probe = Instant::now() + PROBE;
        let was_closed = mem::replace(&mut self.is_closed, standing == RootState::Closed);
        let path = self.config.path.display();
        match standing {
            RootState::Open if was_closed => {
                info!(%path, "source folder is readable again");
                self.found.set_trouble(None);
                self.scope.add_whole();
            }
            RootState::Open => {}
            RootState::Closed => {
                if self.found.set_trouble(Some(CLOSED.to_owned())) {
                    warn!(%path, "{CLOSED}; waiting for permission");
                }
            }
            RootState::Lost => {
                self.found.set_trouble(Some(LOST.to_owned()));
                warn!(%path, "{LOST}");
                return ControlFlow::Break(Outcome::Lost);
            }
        }
        ControlFlow::Continue(())
    }
}
