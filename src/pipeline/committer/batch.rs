//! Group commit, and the announcements and releases after it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info, warn};

use super::completed_files::{Try, reason};
use super::{LOOK, Writer, skipped_config};
use crate::commitlog::{DeliverError, Entry};
use crate::domain::path::Sanitized;
use crate::domain::{Claim, DocumentPath, Embedded, Failure, Inquiry, Observation, Origin, Planned, Retry, Skip, Version};
use crate::folder;
use crate::ledger::SkippedKind;
use crate::report::chain;

/// The try at a file that comes with the end of its document.
const FIRST: Try = Try::First { is_begun: true };

/// Kinds of skipped files that are reported at the start.
const KINDS: usize = 10;

/// The next commit, and what is announced and released after it.
#[derive(Default)]
pub(super) struct Group {
    pub(super) entries: Vec<Entry>,
    pub(super) ended: Vec<Said>,
    pub(super) claims: Vec<Claim>,
    pub(super) versions: Vec<Arc<Version>>,
    pub(super) inquiries: Vec<Arc<Inquiry>>,
    pub(super) retries: Vec<Retry>,
    /// What the source is to take again.
    pub(super) anew: Vec<DocumentPath>,
    /// Whether something newly waits to be asked.
    pub(super) is_asking: bool,
}

pub(super) enum Said {
    /// A version, and whether a prompt runs over it.
    Done(Arc<Version>, bool),
    /// With its file, where that is left as it should be left now.
    Failed(DocumentPath, Option<Observation>, Failure),
    Skipped(DocumentPath, Skip),
    Gone(DocumentPath, usize),
    Unchanged(DocumentPath, Observation, bool),
    /// With why it failed, and whether it is the first such of its document.
    Asked(Arc<Inquiry>, Option<Failure>, bool),
    Dispose(DocumentPath, Observation, Option<Failure>, Try),
}

impl Writer {
    /// Says which kinds of file are in the folder and not read, since an earlier run or this one.
    pub(super) fn warn_of_standing(&mut self) -> Result<(), DeliverError> {
        for SkippedKind { why, files, example } in self.ledger.skipped_kinds(Some(skipped_config()))?.iter().take(KINDS) {
            warn_of(&mut self.warned, why, example, Some(*files));
        }
        Ok(())
    }

    /// Commits the group. Only then is anything said to be done, and only then may a next version of it come.
    pub(super) fn commit(&mut self) -> Result<(), DeliverError> {
        while !self.group.entries.is_empty() {
            let mut taken = 0;
            let mut is_waiting = false;
            while taken < self.group.entries.len() {
                let begun = Instant::now();
                match self.stage.delivery.commit(&self.group.entries[taken..], SystemTime::now()) {
                    Ok(more) => {
                        taken += more;
                        self.commits += 1;
                        self.stage.counters.meters().committed(begun.elapsed());
                    }
                    Err(error) if error.is_passing() => {
                        if !std::mem::replace(&mut is_waiting, true) {
                            self.close_for_the_disk();
                            warn!(waiting = self.group.entries.len(), error = %chain(&error), "cannot commit; retrying");
                        }
                        self.wait_for_room(error)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            if is_waiting {
                info!("committed; resuming");
                self.open_for_the_disk();
                self.stage.delivery.ledger().keep_reserve();
            }
            self.publish()?;
        }
        Ok(())
    }

    /// Announces what was committed, and releases its claims. Chunks that joined a text meanwhile are the next group.
    fn publish(&mut self) -> Result<(), DeliverError> {
        let Group { entries, ended, claims, mut versions, inquiries, retries, anew, is_asking } = std::mem::take(&mut self.group);
        for end in ended {
            self.say(&end);
            match end {
                Said::Done(version, is_asked) => {
                    if !is_asked {
                        self.dispose(&version.path, &version.seen, folder::End::Done, FIRST);
                    }
                    versions.push(version);
                }
                Said::Asked(inquiry, failure, is_first) => self.say_asked(&inquiry, failure, is_first)?,
                Said::Unchanged(path, seen, true) => self.dispose(&path, &seen, folder::End::Done, FIRST),
                Said::Dispose(path, seen, None, which) => self.dispose(&path, &seen, folder::End::Done, which),
                Said::Failed(path, Some(seen), failure) => {
                    self.dispose(&path, &seen, folder::End::Failed { reason: &reason(&failure) }, FIRST);
                }
                Said::Dispose(path, seen, Some(failure), which) => {
                    self.dispose(&path, &seen, folder::End::Failed { reason: &reason(&failure) }, which);
                }
                Said::Unchanged(_, _, false) | Said::Failed(_, None, _) | Said::Skipped(..) | Said::Gone(..) => {}
            }
        }
        let mut late = Vec::new();
        for entry in entries {
            if let Entry::Upsert(embedded) = entry {
                for planned in self.stage.shared.end(&embedded.planned.key) {
                    late.push(follow(&embedded, planned));
                }
            }
        }
        // That a file was taken away is committed before the source may report it as removed.
        if !self.group.entries.is_empty() {
            self.group.claims.extend(claims);
            self.group.versions.extend(versions);
        }
        for path in &anew {
            self.stage.claims.retry(path);
        }
        for Retry { paths, done } in retries {
            info!(documents = paths.len(), "retrying failed documents on request");
            for path in &paths {
                self.stage.claims.retry(path);
            }
            // Who asked may have gone.
            let _unheard = done.send(());
        }
        for embedded in late {
            self.embedded(embedded);
        }
        for inquiry in inquiries {
            self.stage.asking.ended(&inquiry);
        }
        if is_asking {
            self.stage.asking.there_is_more();
        }
        Ok(())
    }

    fn say(&mut self, end: &Said) {
        let counters = &self.stage.counters;
        match end {
            Said::Done(version, _) => {
                let document = Sanitized(&version.path);
                debug!(%document, chunks = version.chunks, lines = version.lines, "done");
                counters.done();
                counters.meters().done(version.claim.since().elapsed());
            }
            Said::Failed(path, _, failure) => {
                let (document, stage) = (Sanitized(path), failure.stage.as_str());
                warn!(%document, stage, class = %failure.class, attempts = failure.attempts, error = %failure.message, "failed");
                counters.failed(path, failure);
            }
            Said::Skipped(path, why) => {
                info!(document = %Sanitized(path), %why, "skipped");
                counters.skipped(why);
                warn_of(&mut self.warned, why, path, None);
            }
            Said::Gone(path, lines) => {
                info!(document = %Sanitized(path), lines, "file removed; deleting its lines");
                counters.gone();
            }
            Said::Unchanged(..) => counters.unchanged(),
            Said::Asked(..) | Said::Dispose(..) => {}
        }
    }

    /// Waits a moment for the ledger's disk. After a stop, what was set aside for that is used, once; and the error stands when there is
    /// no time left.
    fn wait_for_room(&mut self, error: DeliverError) -> Result<(), DeliverError> {
        let is_hurried = self.stage.hurry.is_cancelled();
        if (is_hurried || self.stage.stop.is_cancelled()) && self.stage.delivery.ledger().use_reserve() {
            return Ok(());
        }
        if is_hurried {
            return Err(error);
        }
        wait(LOOK);
        Ok(())
    }
}

/// Says once of each kind of file that it is not read: nobody should have to look for what is missing.
fn warn_of(warned: &mut HashSet<String>, why: &Skip, example: &DocumentPath, files: Option<u64>) {
    let is_flaw = match why {
        Skip::Empty => false,
        Skip::Unsupported { .. } | Skip::NotUtf8 { .. } | Skip::Nul { .. } => true,
    };
    if is_flaw && warned.insert(why.kind()) {
        let (class, example, help) = (why.kind(), Sanitized(example), why.advice());
        warn!(%class, %example, files, help, "skipping files of an unsupported kind; `riverbed skipped` lists them");
    }
}

/// Gives a chunk the answer to the same text of another.
pub(super) fn follow(embedded: &Embedded, planned: Planned) -> Embedded {
    let Embedded { vector, tokens, emulated, at, .. } = embedded;
    Embedded { planned, vector: vector.clone(), tokens: *tokens, emulated: *emulated, at: *at, origin: Origin::Cache }
}

/// Waits, where no event tells that it is time.
pub(super) fn wait(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "no event tells that a disk has room, and this is a thread of its own")]
    std::thread::sleep(time);
}
