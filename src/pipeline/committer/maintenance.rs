//! Upkeep between two commits: syncs, file checks, saving learned densities.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::batch::wait;
use super::{LOOK, Writer};
use crate::commitlog::DeliverError;
use crate::domain::moment::unix_seconds;
use crate::domain::shortage::lacking;
use crate::ledger::LedgerError;
use crate::throttle::Lane;
use crate::throttle::gate::{Probes, Reason};
use crate::throttle::limiter::Learned;

/// How often what calls are billed is kept. A crash forgets less than that, and estimates are all that suffer.
const KEEP: Duration = Duration::from_secs(10);

/// Commits after which the ledger's log is worked into its file while nobody waits: some thousand pages, a quarter of what makes a
/// commit do it.
const LOG_COMMITS: u32 = 32;

impl Writer {
    /// Works the ledger's log into its file, if that is long. For when nobody waits: it takes some milliseconds.
    pub(super) fn work_in_the_log(&mut self) {
        if self.commits >= LOG_COMMITS {
            self.commits = 0;
            self.stage.delivery.ledger().work_in_the_log();
        }
    }

    /// Syncs when that is due, and looks now and then whether the files are what they were and have room.
    pub(super) fn look_after_files(&mut self) -> Result<(), DeliverError> {
        let now = Instant::now();
        if self.stage.delivery.sync_due().is_some_and(|due| due <= now) {
            self.stage.delivery.sync()?;
        }
        if self.next_look <= now {
            self.next_look = now + LOOK;
            self.look()?;
        }
        if self.stage.delivery.is_stalled() || self.lacks_reserve() {
            self.close_for_the_disk();
        } else {
            self.open_for_the_disk();
        }
        // The ledger does not hold lines for the files without end. After a stop little comes, and the next start writes it.
        while self.stage.delivery.is_stalled() && !self.stage.delivery.has_room() {
            if self.stage.hurry.is_cancelled() || self.stage.stop.is_cancelled() {
                return Ok(());
            }
            wait(LOOK);
            self.look()?;
        }
        Ok(())
    }

    /// Returns whether the ledger's disk has no room for what comes in when calls are stopped.
    pub(super) fn lacks_reserve(&mut self) -> bool {
        let lacks = self.stage.delivery.ledger().lacks_reserve();
        if lacks != self.lacks_reserve {
            self.lacks_reserve = lacks;
            if lacks {
                let lacks = lacking(self.stage.delivery.ledger().path());
                warn!(lacks, "ledger disk is too full for a clean stop; calls wait for room");
            } else {
                info!("ledger disk has room again; resuming");
            }
        }
        lacks
    }

    /// Stops all calls: there is no room for what they would bring.
    pub(super) fn close_for_the_disk(&self) {
        for lane in self.lanes() {
            lane.gate.close(Reason::Disk, Probes::Never);
        }
    }

    /// Lets calls go on.
    pub(super) fn open_for_the_disk(&self) {
        for lane in self.lanes() {
            lane.gate.open(Reason::Disk);
        }
    }

    /// Returns the lanes of all calls, those of the embedding model first.
    pub(super) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.stage.lanes.all()
    }

    fn look(&mut self) -> Result<(), DeliverError> {
        let delivery = &mut self.stage.delivery;
        if delivery.is_stalled() {
            delivery.retry()?;
        }
        if delivery.ledger().lacks_reserve() {
            delivery.ledger().keep_reserve();
        }
        self.keep_what_was_learned()?;
        if self.next_keep <= Instant::now() {
            self.next_keep = Instant::now() + KEEP;
            self.keep_density()?;
        }
        let delivery = &mut self.stage.delivery;
        let now = SystemTime::now();
        for looked in [delivery.look_outside(now), delivery.rotate_old(now)] {
            match looked {
                Err(error) if error.is_passing() => {}
                looked => looked?,
            }
        }
        Ok(())
    }

    /// Keeps what the limiter has learned for the next start, if it has learned anything.
    pub(super) fn keep_what_was_learned(&mut self) -> Result<(), DeliverError> {
        let lanes = self.lanes();
        self.learned.resize(lanes.len().max(self.learned.len()), Learned::default());
        for (at, lane) in lanes.iter().enumerate() {
            let learned = lane.limiter.learned(unix_seconds(SystemTime::now()));
            if !learned.is_news_to(&self.learned[at]) {
                continue;
            }
            let json = serde_json::to_string(&learned).expect("a few numbers are JSON");
            match self.stage.delivery.ledger().set_meta(lane.limiter.name(), &json) {
                Err(LedgerError::Full | LedgerError::Busy) => {}
                kept => {
                    kept?;
                    self.learned[at] = learned;
                }
            }
        }
        Ok(())
    }

    /// Keeps what calls are billed for the next start, if there were any.
    pub(super) fn keep_density(&mut self) -> Result<(), DeliverError> {
        let density = &self.stage.embed.density;
        let calls = density.calls();
        if calls == self.learned_calls {
            return Ok(());
        }
        for emulated in [false, true] {
            let rates = density.rates(emulated);
            let learned = rates.learned().map(|(script, sum)| (script, sum.characters, sum.tokens));
            match self.stage.delivery.keep_density(emulated, learned) {
                Err(DeliverError::Ledger(LedgerError::Full | LedgerError::Busy)) => return Ok(()),
                kept => kept?,
            }
        }
        self.learned_calls = calls;
        Ok(())
    }
}
