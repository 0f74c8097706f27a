//! What following a folder asks of the file system, on threads that may wait for it.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use super::root::Root;
use super::rules::{Rules, Taken};
use super::scan::{Sighting, walk};
use super::watch::Watch;
use super::{QUEUE, joined};
use crate::model::DocumentPath;

/// The work under way: at most one of each kind.
#[derive(Debug)]
pub(super) struct Work {
    root: Arc<Root>,
    rules: Arc<Rules>,
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
    },
    /// With what lies under each path.
    Looked(Vec<(DocumentPath, io::Result<Option<Taken>>)>),
    /// Whether the source folder is still in its place.
    Probed(bool),
}

impl Work {
    pub(super) fn new(root: Root, rules: Arc<Rules>) -> Self {
        Self { root: Arc::new(root), rules, jobs: JoinSet::new(), is_looking: false, is_probing: false }
    }

    /// Waits for something to be done, or returns `None` while nothing is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let done = joined(self.jobs.join_next().await?);
        match done {
            Done::Scanned { .. } => {}
            Done::Looked(_) => self.is_looking = false,
            Done::Probed(_) => self.is_probing = false,
        }
        Some(done)
    }

    /// Reads the ignore file anew, then scans folders and what is below them, watching each before it is read. Ends early when nobody listens any more.
    pub(super) fn scan(&mut self, folders: Vec<PathBuf>, recursive: bool, watch: Option<Arc<Watch>>) -> mpsc::Receiver<Sighting> {
        let (sender, sightings) = mpsc::channel(QUEUE);
        let (root, rules) = (Arc::clone(&self.root), Arc::clone(&self.rules));
        self.jobs.spawn_blocking(move || {
            rules.refresh(&root);
            let start = Instant::now();
            let mut waited = Duration::ZERO;
            let flow = walk(&root, &rules, folders, recursive, |sighting| {
                if let (Sighting::Folder(folder), Some(watch)) = (&sighting, &watch) {
                    watch.add(&root.path().join(folder));
                }
                let before = Instant::now();
                let sent = sender.blocking_send(sighting);
                waited += before.elapsed();
                if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let took = start.elapsed().saturating_sub(waited);
            debug!(elapsed_ms = took.as_millis(), complete = flow.is_continue(), "scanned");
            Done::Scanned { took }
        });
        sightings
    }

    /// Looks at files, if there are any.
    pub(super) fn look(&mut self, paths: Vec<DocumentPath>) {
        if paths.is_empty() {
            return;
        }
        self.is_looking = true;
        let (root, rules) = (Arc::clone(&self.root), Arc::clone(&self.rules));
        self.jobs.spawn_blocking(move || {
            let look = |path: DocumentPath| {
                let entry = root.look(&path);
                let taken = entry.and_then(|entry| entry.map(|entry| rules.take(&root, &path, entry)).transpose());
                (path, taken)
            };
            Done::Looked(paths.into_iter().map(look).collect())
        });
    }

    /// Looks whether the source folder is still in its place.
    pub(super) fn probe(&mut self) {
        self.is_probing = true;
        let root = Arc::clone(&self.root);
        self.jobs.spawn_blocking(move || Done::Probed(root.is_in_place()));
    }
}
