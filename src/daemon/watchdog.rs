//! Sends status and watchdog notifications to the service manager.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info};

use super::Vigil;
use crate::status::schema::State;
use crate::status::{Status, View};
use crate::systemd::sd_notify::{Notice, Notifier};

/// How often it is checked whether there is something to report.
const LOOK: Duration = Duration::from_secs(1);
/// The same during a start, which others wait for.
const LOOK_AT_START: Duration = Duration::from_millis(50);
/// How often the status line is sent again.
const STATUS: Duration = Duration::from_secs(5);

/// Status line while the configuration is invalid.
const UNUSABLE: &str = "the configuration has become invalid: see `riverbed status`";

/// What is reported, and to whom.
#[derive(Debug)]
pub struct Supervised {
    /// The way to the manager.
    pub notifier: Arc<Notifier>,
    /// How often it expects watchdog notifications.
    pub watchdog: Option<Duration>,
    /// How the daemon is doing.
    pub view: Arc<View>,
    /// Whether its stages make progress.
    pub vigil: Vigil,
}

impl Supervised {
    /// Tells until it is dropped. Never waits for the manager.
    pub async fn run(mut self) -> Infallible {
        if !self.notifier.is_heard() {
            return std::future::pending().await;
        }
        let look = self.watchdog.map_or(LOOK, |watchdog| (watchdog / 3).min(LOOK));
        let mut told = State::Starting;
        while told == State::Starting {
            tokio::time::sleep(LOOK_AT_START.min(look)).await;
            told = self.tell_state(told).await;
        }
        let mut looks = interval(look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_status = Instant::now() + STATUS;
        let mut stuck = None;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.view.stopping(), if told != State::Stopping => {}
            }
            told = self.tell_state(told).await;
            if next_status <= Instant::now() {
                next_status = Instant::now() + STATUS;
                self.tell_status().await;
            }
            // A stop has its own timeout, which the manager keeps by itself.
            let now = self.vigil.look();
            if now != stuck {
                if let Some(stage) = now {
                    error!(stage, "a stage is stalled; no more watchdog notifications");
                } else {
                    info!("all stages make progress again");
                }
                stuck = now;
            }
            if self.watchdog.is_some() && (now.is_none() || told == State::Stopping) {
                let _told_again_next_time = self.notifier.tell(&[Notice::Watchdog]);
            }
        }
    }

    /// Sends the state if it has changed, and returns what the manager knows then.
    async fn tell_state(&self, told: State) -> State {
        let state = self.view.state();
        let is_told = match (told, state) {
            (told, state) if told == state => true,
            (_, State::Starting | State::Stopped) => return told,
            // A daemon whose folder is missing is up: it waits for it.
            (State::Starting, State::Following | State::Waiting) => {
                self.notifier.tell(&[Notice::Ready, Notice::Status(&self.line().await)])
            }
            (_, State::Stopping) => self.notifier.tell(&[Notice::Stopping, Notice::Status(&self.line().await)]),
            (_, State::Following | State::Waiting) => self.notifier.tell(&[Notice::Status(&self.line().await)]),
        };
        if is_told { state } else { told }
    }

    async fn tell_status(&self) {
        let _told_again_next_time = self.notifier.tell(&[Notice::Status(&self.line().await)]);
    }

    async fn line(&self) -> String {
        match self.view.status().await {
            Ok(status) => line(&status),
            Err(error) => error,
        }
    }
}

/// Says in one line how it is, for `systemctl status`.
fn line(status: &Status) -> String {
    let documents = &status.documents;
    let mut counts = format!("{} done, {} failed, {} waiting", documents.done, documents.failed, documents.waiting);
    if status.answers.waiting > 0 {
        let _infallible = write!(counts, ", {} prompts to be asked", status.answers.waiting);
    }
    let trouble = status.source.as_ref().and_then(|source| source.trouble.clone());
    let closed = status.models.iter().flat_map(|model| &model.closed).map(|closed| closed.reason.as_str());
    let closed: Vec<_> = closed.collect();
    let is_unusable = status.configuration.as_ref().is_some_and(|of| of.error.is_some());
    let counts = if is_unusable { format!("{counts}; {UNUSABLE}") } else { counts };
    match status.state {
        State::Stopping => {
            let in_flight: u64 = [status.calls, status.questions].iter().flatten().map(|calls| calls.in_flight).sum();
            format!("stopping: {in_flight} calls are in flight; {counts}")
        }
        State::Waiting => format!("{}; {counts}", trouble.unwrap_or_default()),
        State::Starting | State::Stopped | State::Following if closed.is_empty() => format!("following: {counts}"),
        State::Starting | State::Stopped | State::Following => {
            format!("following, calls are held back ({}): {counts}", closed.join(", "))
        }
    }
}
