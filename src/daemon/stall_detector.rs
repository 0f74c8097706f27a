//! Stall detection: whether every stage makes progress, or has a reason to wait.
//!
//! That a task can still send a message says nothing of the others, so each stage is held to what it leaves behind. A stage that has
//! something to do, does not make progress, and waits for nobody is stuck.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::folder::Found;
use crate::telemetry::{Counters, Steps};
use crate::throttle::Lane;
use crate::throttle::gate::Reason;

/// The longest wait before another attempt that is taken from the service.
const LONGEST_HINT: Duration = Duration::from_mins(1);

/// What the stages are seen by.
#[derive(Debug)]
pub struct DetectorParts {
    /// What is counted, and the queues.
    pub counters: Arc<Counters>,
    /// The same for the questions that are asked before a chunk can go on.
    pub contexts: Arc<Counters>,
    /// How the source is.
    pub found: Arc<Found>,
    /// What the calls of each model share.
    pub lanes: Vec<Arc<Lane>>,
    /// What the writer is at.
    pub steps: Arc<Steps>,
    /// How long a stage may take for one thing.
    pub patience: Duration,
    /// How long one attempt of a call may take.
    pub longest_attempt: Duration,
}

/// Watches over the stages.
#[derive(Debug)]
pub struct Vigil {
    parts: DetectorParts,
    stages: [Watched; 7],
}

#[derive(Debug)]
struct Watched {
    name: &'static str,
    /// What it had got done when it was last found to make progress, and when that was.
    progress: u64,
    well: Instant,
}

/// A stage at one moment.
struct Seen {
    /// A number that changes when it makes progress.
    progress: u64,
    /// Whether it has something to do and waits for nobody.
    is_at_work: bool,
    patience: Duration,
}

impl Vigil {
    /// Begins to watch.
    #[must_use]
    pub fn new(parts: DetectorParts) -> Self {
        let now = Instant::now();
        // The source works on several threads: what stops on one does not keep the others from getting on.
        let stages = ["source", "source", "source", "source", "prepare", "embed", "sink"].map(|name| Watched {
            name,
            progress: 0,
            well: now,
        });
        Self { parts, stages }
    }

    /// Looks at every stage and returns the one that is stuck, if one is. To be called often: what happens between two looks counts
    /// as getting on.
    pub fn look(&mut self) -> Option<&'static str> {
        let now = Instant::now();
        let seen = self.parts.see();
        let mut stuck = None;
        for (stage, seen) in self.stages.iter_mut().zip(seen) {
            if !seen.is_at_work || seen.progress != stage.progress {
                (stage.progress, stage.well) = (seen.progress, now);
            } else if now - stage.well > seen.patience {
                stuck = stuck.or(Some(stage.name));
            }
        }
        stuck
    }
}

impl DetectorParts {
    fn see(&self) -> [Seen; 7] {
        let Self { counters, contexts, found, lanes, steps, patience, longest_attempt } = self;
        // The service may ask for a longer wait before the next attempt than is configured.
        let waits = lanes.iter().map(|lane| lane.retry.get().max_interval).chain([LONGEST_HINT]);
        let longest_call = *longest_attempt + waits.max().unwrap_or_default();
        let (totals, contexts) = (counters.totals(), contexts.totals());
        let queues = counters.queues().look();
        let queue = |name: &str| queues.iter().find(|queue| queue.name == name);
        let is_full = |name| queue(name).is_some_and(|queue| queue.held >= queue.capacity);
        let holds = |name| queue(name).is_some_and(|queue| queue.held > 0);
        let is_held_back = lanes.iter().any(|lane| !lane.gate.reasons().is_empty() || lane.limiter.withholds());
        let disk_is_full = lanes.iter().any(|lane| lane.gate.reasons().contains(&Reason::Disk));
        let prepared = counters.files_prepared();
        let (step, is_writing) = steps.look();
        let [scan, look, root] =
            found.pulses().map(|pulse| Seen { progress: pulse.beats(), is_at_work: pulse.is_at_work(), patience: *patience });
        [
            Seen {
                // It looks after its folder once a second, whatever happens there.
                progress: found.beats(),
                is_at_work: found.is_watched() && found.trouble().is_none(),
                patience: *patience,
            },
            scan,
            look,
            root,
            Seen {
                progress: prepared + totals.planned + totals.kept + totals.ended() + totals.gone + contexts.calls,
                // It may wait for an answer to a text that another document asks for, or for contexts of earlier ones, too.
                is_at_work: found.files() > prepared
                    && !is_full("planned")
                    && !is_full("records")
                    && !is_held_back
                    && totals.in_flight == 0
                    && contexts.in_flight == 0,
                patience: *patience,
            },
            Seen {
                progress: totals.attempts + totals.calls + totals.retried,
                is_at_work: (totals.in_flight > 0 || holds("planned")) && !is_full("records") && !is_held_back,
                patience: *patience + longest_call,
            },
            Seen { progress: step, is_at_work: (is_writing || holds("records")) && !disk_is_full, patience: *patience },
        ]
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::advance;

    use super::*;
    use crate::telemetry::Step;
    use crate::throttle::gate::Probes;
    use crate::throttle::{limiter, retry};

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Scene {
        vigil: Vigil,
        found: Arc<Found>,
        counters: Arc<Counters>,
        steps: Arc<Steps>,
        lane: Arc<Lane>,
    }

    fn scene() -> Scene {
        let (counters, steps) = (Arc::<Counters>::default(), Arc::<Steps>::default());
        let found = Arc::<Found>::default();
        let lane = Arc::new(Lane::new(limiter::LimiterConfig::default(), retry::RetryConfig::default(), None));
        let vigil = Vigil::new(DetectorParts {
            counters: Arc::clone(&counters),
            contexts: Arc::default(),
            found: Arc::clone(&found),
            lanes: vec![Arc::clone(&lane)],
            steps: Arc::clone(&steps),
            patience: PATIENCE,
            longest_attempt: Duration::ZERO,
        });
        Scene { vigil, found, counters, steps, lane }
    }

    impl Scene {
        /// Looks once a second for so long, and returns what was stuck at the end and since when.
        async fn after(&mut self, time: Duration) -> Option<(&'static str, u64)> {
            let begun = Instant::now();
            let mut since = None;
            while begun.elapsed() < time {
                advance(Duration::from_secs(1)).await;
                match self.vigil.look() {
                    Some(stage) => since = since.or(Some((stage, begun.elapsed().as_secs()))),
                    None => since = None,
                }
            }
            since
        }
    }

    const HOURS: Duration = Duration::from_hours(2);

    #[tokio::test(start_paused = true)]
    async fn a_stage_without_work_may_idle_for_ever() {
        assert_eq!(scene().after(HOURS).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_into_the_file_system_that_does_not_come_back_is_stuck_though_others_come_and_go() {
        for at in 0..3 {
            let mut scene = scene();
            let pulse = scene.found.pulses()[at].clone();
            let (begun, has_begun) = std::sync::mpsc::channel();
            let (come_back, comes_back) = std::sync::mpsc::channel::<()>();
            let work = std::thread::spawn(move || pulse.work(|| begun.send(()).map(|()| comes_back.recv())));
            has_begun.recv().unwrap();
            let others = Arc::clone(&scene.found);
            for other in others.pulses().into_iter().enumerate().filter(|(other, _)| *other != at).map(|(_, pulse)| pulse) {
                other.work(|| ());
            }
            assert_eq!(scene.after(HOURS).await, Some(("source", 31)));
            drop(come_back);
            work.join().unwrap().unwrap().unwrap_err();
            assert_eq!(scene.after(HOURS).await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_that_waits_for_its_receiver_is_not() {
        let mut scene = scene();
        let pulse = scene.found.pulses()[0].clone();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (come_back, comes_back) = std::sync::mpsc::channel::<()>();
        let work = std::thread::spawn(move || pulse.work(|| pulse.wait(|| begun.send(()).map(|()| comes_back.recv()))));
        has_begun.recv().unwrap();
        assert_eq!(scene.after(HOURS).await, None);
        drop(come_back);
        work.join().unwrap().unwrap().unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_does_not_come_back_from_a_write_is_stuck() {
        let mut scene = scene();
        let _step = scene.steps.enter(Step::Write);
        assert_eq!(scene.after(HOURS).await, Some(("sink", 32)), "it was well at the first look");
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_goes_from_step_to_step_is_not() {
        let mut scene = scene();
        for _ in 0..100 {
            let steps = Arc::clone(&scene.steps);
            let _step = steps.enter(Step::Sync);
            assert_eq!(scene.after(Duration::from_secs(29)).await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_takes_nothing_out_of_its_queue_is_stuck_unless_the_disk_is_full() {
        let mut scene = scene();
        let (records, _queue) = mpsc::channel(8);
        scene.counters.queues().show("records", &records);
        records.try_send(()).unwrap();
        scene.lane.gate.close(Reason::Disk, Probes::Never);
        assert_eq!(scene.after(HOURS).await, None);
        scene.lane.gate.open(Reason::Disk);
        assert_eq!(scene.after(HOURS).await, Some(("sink", 31)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_has_no_end_is_stuck_once_it_should_have_timed_out() {
        let mut scene = scene();
        let counters = Arc::clone(&scene.counters);
        let call = counters.attempt();
        assert_eq!(scene.after(HOURS).await, Some(("embed", 92)));
        drop(call);
        assert_eq!(scene.after(HOURS).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_held_back_wait_as_long_as_it_takes() {
        let mut scene = scene();
        let (planned, _queue) = mpsc::channel(8);
        scene.counters.queues().show("planned", &planned);
        planned.try_send(()).unwrap();
        for reason in Reason::ALL {
            scene.lane.gate.close(reason, Probes::Never);
            assert_eq!(scene.after(HOURS).await, None, "{reason:?}");
            scene.lane.gate.open(reason);
        }
        assert_eq!(scene.after(HOURS).await, Some(("embed", 91)), "with an open gate it is stuck");
    }
}
