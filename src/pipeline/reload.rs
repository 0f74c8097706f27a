//! Settings that can be changed in a running pipeline.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::chat::{Asker, Prompts};

/// Models that come at once, at most; more wait.
const NEWCOMERS: usize = 8;

/// How long it is waited for the ledger to take other prompts; it may be busy, or its disk full.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one end: changes it. Dropped, all stays as it is.
#[derive(Debug)]
pub struct Controls {
    max_in_flight: watch::Sender<NonZeroUsize>,
    prompts: watch::Sender<Arc<Prompts>>,
    in_effect: watch::Receiver<Arc<Prompts>>,
    askers: mpsc::Sender<Asker>,
}

/// The other end: what the stages receive settings by.
#[derive(Debug)]
pub struct Controlled {
    /// Calls in flight at once.
    pub(super) max_in_flight: watch::Receiver<NonZeroUsize>,
    pub(super) prompts: Wanted,
    /// Models that are asked from now on.
    pub(super) askers: mpsc::Receiver<Asker>,
}

/// The prompts that are wanted, and those that the ledger has been held to.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) wanted: watch::Receiver<Arc<Prompts>>,
    pub(super) in_effect: watch::Sender<Arc<Prompts>>,
}

/// Makes both ends, with what is in effect at the start.
#[must_use]
pub fn controls(max_in_flight: NonZeroUsize, prompts: &Arc<Prompts>) -> (Controls, Controlled) {
    let (in_flight_tx, in_flight) = watch::channel(max_in_flight);
    let (wanted_tx, wanted) = watch::channel(Arc::clone(prompts));
    let (effect_tx, in_effect) = watch::channel(Arc::clone(prompts));
    let (askers, newcomers) = mpsc::channel(NEWCOMERS);
    let controls = Controls { max_in_flight: in_flight_tx, prompts: wanted_tx, in_effect, askers };
    let prompts = Wanted { wanted, in_effect: effect_tx };
    (controls, Controlled { max_in_flight: in_flight, prompts, askers: newcomers })
}

impl Controls {
    /// Sets how many calls are in flight at once. Where more are, none is made until enough have ended.
    pub fn set_max_in_flight(&self, most: NonZeroUsize) {
        self.max_in_flight.send_replace(most);
    }

    /// Has other prompts asked, also of models that nobody has asked yet: new and changed prompts run over all existing documents, and
    /// answers of removed prompts are deleted. Returns whether that has come to pass; if not, it will, once the ledger can
    /// be written.
    pub async fn ask(&mut self, prompts: Arc<Prompts>, newcomers: Vec<Asker>) -> bool {
        for asker in newcomers {
            // Where nobody takes them any more, the pipeline is at its end.
            let _ended = self.askers.send(asker).await;
        }
        self.prompts.send_replace(Arc::clone(&prompts));
        let held = self.in_effect.wait_for(|in_effect| Arc::ptr_eq(in_effect, &prompts));
        matches!(timeout(PATIENCE, held).await, Ok(Ok(_)))
    }
}
