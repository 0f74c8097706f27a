//! Reload of a daemon's configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::failure::Failure;
use super::process_limits;
use super::startup::{self, chat_timeout};
use super::{serve, sighup::Hangups, spending};
use crate::bedrock::Client;
use crate::config::{Loaded, Override, Renewed};
use crate::folder::{Filter, Found};
use crate::ledger::Reader;
use crate::pipeline::Controls;
use crate::pipeline::chat::Asker;
use crate::status::View;
use crate::telemetry::Log;
use crate::throttle::{Lanes, budget::Purpose};

/// Where the configuration is.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// `None` where there was none at the start.
    pub(crate) file: Option<PathBuf>,
    /// What lies over it: variables and flags, which stay as they were at the start.
    pub(crate) overrides: Vec<Override>,
}

/// Everything that a configuration may change in a daemon that runs.
pub(crate) struct Reloading {
    pub(crate) written: Written,
    /// What is in effect.
    pub(crate) running: Loaded,
    /// Looks into the ledger.
    pub(crate) ledger: Reader,
    /// Asks models that nobody has asked yet.
    pub(crate) client: Client,
    /// The models that are asked, whether or not a prompt asks them still.
    pub(crate) askers: Vec<Asker>,
    pub(crate) lanes: Lanes,
    pub(crate) controls: Controls,
    pub(crate) found: Arc<Found>,
    pub(crate) log: Log,
    pub(crate) progress_every: watch::Sender<Duration>,
    /// Ask for it.
    pub(crate) hangups: Hangups,
}

/// A configuration with all that is needed to put it into effect, so that nothing can go wrong half-way.
struct Prepared {
    renewed: Renewed,
    /// Models that nobody has asked yet.
    newcomers: Vec<Asker>,
    /// What was spent at the prices of before, and at those of now, where they have changed.
    spent: Option<[spending::Spent; 2]>,
}

impl Reloading {
    /// Reads the configuration again and puts into effect what needs no restart; or, where it cannot be used, leaves all as it was.
    /// The source folder is looked through in either case. Returns what came of it, in a line for people.
    pub(super) async fn reload(&mut self, view: &View) -> String {
        let said = match self.prepare().await {
            Ok(prepared) => self.apply(prepared, view).await,
            Err(failure) => {
                let report = failure.report().to_string();
                warn!(error = %report, "the configuration is invalid; nothing was changed");
                view.reloads().failed(report);
                format!("the configuration is invalid, nothing was changed: {}", failure.error)
            }
        };
        self.found.rescan();
        said
    }

    /// Reads and checks, off the runtime: files may be slow.
    async fn prepare(&self) -> Result<Prepared, Failure> {
        let (written, running) = (self.written.clone(), self.running.clone());
        let read = move || -> Result<Renewed, Failure> {
            let mut new = Loaded::read(written.file.as_deref(), &written.overrides)?;
            process_limits::fit(&mut new);
            serve::guard(&new)?;
            Ok(running.renewed(new)?)
        };
        let renewed = spawn_blocking(read).await.map_err(|error| Failure::new(error, crate::report::Exit::Bug))??;
        tokio::task::block_in_place(|| self.look_up(renewed))
    }

    /// Looks up what the ledger knows.
    fn look_up(&self, renewed: Renewed) -> Result<Prepared, Failure> {
        let new = &renewed.loaded;
        let mut newcomers = Vec::new();
        for (name, (model, max_tokens)) in new.prompts.models() {
            if self.askers.iter().all(|asker| asker.model != name) {
                let budget = self.lanes.all().iter().find_map(|lane| lane.account.budget().cloned());
                newcomers.push(startup::asker(new, Some(&self.ledger), budget, self.client.clone(), &model, max_tokens)?);
            }
        }
        let prices_changed = renewed.changed.iter().any(|key| key == "budget.prices");
        let spent = if prices_changed {
            Some([spending::spent(&self.running, &self.ledger)?, spending::spent(new, &self.ledger)?])
        } else {
            None
        };
        Ok(Prepared { renewed, newcomers, spent })
    }

    /// Puts it into effect. Calls in flight go on as they began.
    async fn apply(&mut self, prepared: Prepared, view: &View) -> String {
        let Prepared { renewed: Renewed { loaded, changed, needs_restart }, newcomers, spent } = prepared;
        let config = &loaded.config;
        self.log.set_level(config.log.level);
        self.progress_every.send_replace(config.run.progress_every);
        self.found.filter_by(Filter { include: config.source.include.clone(), exclude: config.source.exclude.clone() });
        self.controls.set_max_in_flight(config.bedrock.max_in_flight);
        let lanes = self.lanes.all();
        for lane in &lanes {
            lane.retry_as(&config.retry);
        }
        if let Some(embed) = lanes.first() {
            embed.limiter.set_caps(config.bedrock.requests_per_minute, config.bedrock.tokens_per_minute);
            embed.account.set_price(loaded.prices.of(loaded.settings.model()));
            if let Some(budget) = embed.account.budget() {
                if let Some([before, now]) = &spent {
                    budget.revalue(Purpose::Embed, &before.all, &now.all);
                    budget.revalue(Purpose::Chat, &before.chat, &now.chat);
                    budget.set_unpriced(now.unpriced.iter().copied());
                }
                let (max, for_chat) = spending::bounds(&config.budget);
                budget.set_max(max, for_chat);
            }
        }
        for (name, (model, max_tokens)) in loaded.prompts.models() {
            if let Some(asker) = self.askers.iter().find(|asker| asker.model == name) {
                asker.chat.set_attempt_timeout(chat_timeout(&loaded, max_tokens));
                asker.lane.account.set_price(loaded.prices.of_chat(&model));
            }
        }
        view.set_prices(loaded.prices.clone());
        if changed.iter().any(|key| key.starts_with("chat.") || key.starts_with("messages.")) {
            self.ask(&loaded, newcomers).await;
        }
        startup::bound_connections(&self.client, &loaded, self.askers.len());
        self.running = loaded;
        let (took_effect, waits) = (listed(&changed), listed(&needs_restart));
        info!(changed = took_effect, "configuration reloaded");
        if !needs_restart.is_empty() {
            warn!(keys = waits, "changed keys take effect after a restart");
        }
        let mut said = match changed.len() {
            0 => "configuration reloaded: nothing has changed".to_owned(),
            _ => format!("configuration reloaded: {took_effect} took effect"),
        };
        if !needs_restart.is_empty() {
            said.push_str("; with a restart: ");
            said.push_str(&waits);
        }
        view.reloads().used(changed, needs_restart);
        said
    }

    /// Has other prompts asked, of models that nobody has asked yet too.
    async fn ask(&mut self, loaded: &Loaded, newcomers: Vec<Asker>) {
        for newcomer in &newcomers {
            self.lanes.add(Arc::clone(&newcomer.lane));
        }
        self.askers.extend(newcomers.iter().cloned());
        if !self.controls.ask(Arc::clone(&loaded.prompts), newcomers).await {
            warn!("the ledger cannot be written; the prompts run once it can");
        }
    }
}

fn listed(keys: &[String]) -> String {
    keys.join(", ")
}
