//! Blocking file-system jobs of the follower, on threads that may wait.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::inotify::Watch;
use crate::domain::{MemoryError, Observation};
use crate::folder::look::inspect::{Looked, Survey};
use crate::folder::look::root::{Extent, RootState};
use crate::folder::scan::walk::Sighting;
use crate::folder::settle::settler::Look;
use crate::folder::source_status::Pulses;
use crate::folder::{
    QUEUE, joined,
    scan::reconcile::{Absent, Walked},
};
use crate::report::chain;
use crate::telemetry::Pulse;

/// The work in progress: at most one of each kind.
#[derive(Debug)]
pub(super) struct Work {
    survey: Survey,
    pulses: Pulses,
    jobs: JoinSet<Done>,
    pub(super) is_looking: bool,
    pub(super) is_probing: bool,
}

/// What has been done.
#[derive(Debug)]
pub(super) enum Done {
    /// The last sightings may still be in their channel.
    Scanned {
        /// Without the time in which nobody took what was seen.
        took: Duration,
        /// What it came upon; `None` where it could not read what is recorded.
        walked: Option<Walked>,
    },
    /// With what lies under each path.
    Looked(Vec<Looked>),
    /// The state of the source folder.
    Probed(RootState),
    /// The folder is the one from which files can be gone, unless that could not be recorded.
    Accepted(Result<(), MemoryError>),
}

impl Work {
    pub(super) fn new(survey: Survey, pulses: Pulses) -> Self {
        Self { survey, pulses, jobs: JoinSet::new(), is_looking: false, is_probing: false }
    }

    /// Waits for something to be done, or returns `None` while nothing is in progress. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let done = joined(self.jobs.join_next().await?);
        match done {
            Done::Scanned { .. } | Done::Accepted(_) => {}
            Done::Looked(_) => self.is_looking = false,
            Done::Probed(_) => self.is_probing = false,
        }
        Some(done)
    }

    /// Scans folders and what is below them, watching each before it is read. Where that is the whole folder, known files that it
    /// has not come upon are dealt with as `absent` says. What `is_quiet` and not known is looked at closely, while its folder is open.
    /// Ends early when nobody listens any more.
    pub(super) fn scan(
        &mut self,
        folders: Vec<PathBuf>,
        recursive: bool,
        absent: Absent,
        watch: Option<Arc<Watch>>,
        is_quiet: impl Fn(&Observation, Extent) -> bool + Send + 'static,
    ) -> mpsc::Receiver<Sighting> {
        let (sender, sightings) = mpsc::channel(QUEUE);
        let survey = self.survey_by(&self.pulses.scan);
        let pulse = survey.pulse.clone();
        let scan = move || {
            let start = Instant::now();
            let mut waited = Duration::ZERO;
            let mut see = |sighting| {
                if let (Sighting::Folder(folder), Some(watch)) = (&sighting, &watch) {
                    watch.add(&survey.root.path().join(folder));
                }
                let before = Instant::now();
                let sent = survey.pulse.wait(|| sender.blocking_send(sighting));
                waited += before.elapsed();
                if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let walked = survey.scan(folders, recursive, absent, is_quiet, &mut see);
            let walked = walked.inspect_err(|error| {
                warn!(error = %chain(&**error), "cannot read the known files of the source folder; the next scan retries");
            });
            let walked = walked.ok();
            let took = start.elapsed().saturating_sub(waited);
            debug!(elapsed_ms = took.as_millis(), ?walked, "scanned");
            Done::Scanned { took, walked }
        };
        self.jobs.spawn_blocking(move || pulse.work(scan));
        sightings
    }

    /// Looks at files, if there are any.
    pub(super) fn look(&mut self, looks: Vec<Look>) {
        if looks.is_empty() {
            return;
        }
        self.is_looking = true;
        let survey = self.survey_by(&self.pulses.look);
        self.jobs.spawn_blocking(move || survey.pulse.work(|| Done::Looked(survey.look(looks))));
    }

    /// Accepts the source folder.
    pub(super) fn accept(&mut self) {
        // It waits for the ledger's writer, which has a heartbeat of its own.
        let survey = self.survey.clone();
        self.jobs.spawn_blocking(move || Done::Accepted(survey.accept()));
    }

    /// Looks whether the source folder is still in its place.
    pub(super) fn probe(&mut self) {
        self.is_probing = true;
        let (root, pulse) = (Arc::clone(&self.survey.root), self.pulses.root.clone());
        self.jobs.spawn_blocking(move || pulse.work(|| Done::Probed(root.standing())));
    }

    fn survey_by(&self, pulse: &Pulse) -> Survey {
        Survey { pulse: pulse.clone(), ..self.survey.clone() }
    }
}
