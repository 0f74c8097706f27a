//! A daemon's services beside its pipeline: commands, status, service manager, and `SIGHUP`.

use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::failure::Failure;
use super::startup::Store;
use super::{Supervised, Vigil, reload::Reloading, stall_detector};
use crate::config::Loaded;
use crate::domain::{Claims, Retry, Setting};
use crate::folder::Found;
use crate::status::{self, Desk, Guard, Server, Socket, View};
use crate::status::{
    Listen,
    schema::{Folders, State},
};
use crate::systemd::{
    Notifier,
    sd_notify::{self, Notice},
};
use crate::telemetry::Counters;
use crate::throttle::Lanes;

/// How soon a service manager that takes no message is notified again.
const TELL_AGAIN: Duration = Duration::from_millis(50);

/// What is seen of a pipeline.
pub(crate) struct Seen {
    pub(crate) counters: Arc<Counters>,
    /// The same of questions and answers.
    pub(crate) answers: Arc<Counters>,
    /// The same of the questions for contexts.
    pub(crate) contexts: Arc<Counters>,
    pub(crate) found: Arc<Found>,
    pub(crate) claims: Claims,
    /// What the calls of each model share; the embedding model's comes first.
    pub(crate) lanes: Lanes,
    pub(crate) stop: CancellationToken,
}

/// What runs beside the pipeline, ready to.
pub(crate) struct Daemon {
    desk: Desk,
    ledger: PathBuf,
    server: Option<Server>,
    supervised: Supervised,
    notifier: Arc<Notifier>,
    view: Arc<View>,
    reloading: Reloading,
}

impl Daemon {
    /// Takes what it needs, before the pipeline starts. Returns what commands ask of the pipeline, too.
    pub(crate) async fn prepare(
        loaded: &Loaded,
        store: &Store,
        seen: Seen,
        reloading: Reloading,
        notifier: Notifier,
    ) -> Result<(Self, mpsc::Receiver<Retry>), Failure> {
        let context = loaded.prompts.context().map(|prompt| format!("chat {}", prompt.model));
        let Seen { counters, answers, contexts, found, claims, lanes, stop } = seen;
        let vigil = Vigil::new(stall_detector::DetectorParts {
            counters: Arc::clone(&counters),
            found: Arc::clone(&found),
            contexts: Arc::clone(&contexts),
            // Questions wait in the ledger and hold up no stage, so their models' lanes say nothing of one; but those for contexts do.
            lanes: (lanes.all().into_iter().enumerate())
                .filter(|(at, lane)| *at == 0 || Some(lane.limiter.name()) == context.as_deref())
                .map(|(_, lane)| lane)
                .collect(),
            steps: Arc::clone(store.delivery.steps()),
            patience: sd_notify::watchdog().unwrap_or(Duration::from_secs(30)),
            longest_attempt: loaded.config.bedrock.connect_timeout + loaded.config.bedrock.attempt_timeout,
        });
        let reader = store.look_on()?;
        let prices = Setting::new(loaded.prices.clone());
        let has_vectors = loaded.config.embed.enabled;
        let parts = status::Parts { reader, counters, answers, contexts, found, claims, lanes, has_vectors, prices, stop };
        let (view, notifier) = (Arc::new(View::new(parts)), Arc::new(notifier));
        view.set_folders(Folders::of(&loaded.config.source.path, &loaded.config.sink.path, &loaded.ledger_path()));
        let (retries, asked) = mpsc::channel(status::CONNECTIONS);
        let daemon = Self {
            desk: Desk { view: Arc::clone(&view), retries },
            ledger: loaded.ledger_path(),
            server: server(loaded).await?,
            supervised: Supervised {
                notifier: Arc::clone(&notifier),
                watchdog: sd_notify::watchdog(),
                view: Arc::clone(&view),
                vigil,
            },
            notifier,
            view,
            reloading,
        };
        Ok((daemon, asked))
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(self) -> Infallible {
        let Self { desk, ledger, server, supervised, notifier, view, reloading } = self;
        let shown = Arc::clone(&view);
        tokio::select! {
            never = take_commands(ledger, desk) => never,
            never = show(server, shown) => never,
            never = supervised.run() => never,
            never = reload_when_asked(reloading, &view, &notifier) => never,
        }
    }
}

/// Returns the access rules of the status server.
pub(crate) fn guard(loaded: &Loaded) -> Result<Guard, Failure> {
    Ok(Guard::new(&loaded.config.status).map_err(|invalid| loaded.invalid(invalid))?)
}

/// Takes the address of the status server, if there is to be one. A daemon that cannot is still a daemon.
async fn server(loaded: &Loaded) -> Result<Option<Server>, Failure> {
    let guard = guard(loaded)?;
    let Listen::At(address) = loaded.config.status.listen else { return Ok(None) };
    match Server::bind(address, guard).await {
        Ok(server) => {
            info!(address = %server.address(), "the status is shown over HTTP");
            Ok(Some(server))
        }
        Err(error) => {
            let help = "`riverbed status` works all the same; `status.listen` names another address, or \"off\"";
            warn!(%address, %error, help, "the status is not shown over HTTP");
            Ok(None)
        }
    }
}

/// Shows the status until it is dropped.
async fn show(server: Option<Server>, view: Arc<View>) -> Infallible {
    match server {
        Some(server) => server.serve(view).await,
        None => pending().await,
    }
}

/// Takes the commands of other processes until it is dropped. A daemon that cannot is still a daemon.
async fn take_commands(ledger: PathBuf, desk: Desk) -> Infallible {
    match Socket::open(&ledger) {
        Ok(socket) => socket.serve(desk).await,
        Err(error) => {
            let socket = status::socket_of(&ledger);
            warn!(socket = %socket.display(), %error, "cannot take commands; use `riverbed failed retry` once this daemon has stopped");
            pending().await
        }
    }
}

/// Reads the configuration again and asks for a scan at each `SIGHUP`. The service manager is notified of it once it has been notified that
/// the start is over, and waits for the end of each reload that it was notified of.
async fn reload_when_asked(mut reloading: Reloading, view: &View, notifier: &Notifier) -> Infallible {
    while reloading.hangups.next().await.is_some() {
        if view.state() == State::Stopping {
            continue;
        }
        let is_told = notifier.is_ready() && notifier.tell(&[Notice::Reloading]);
        let said = reloading.reload(view).await;
        while is_told && !notifier.tell(&[Notice::Ready, Notice::Status(&said)]) {
            tokio::time::sleep(TELL_AGAIN).await;
        }
    }
    pending().await
}
