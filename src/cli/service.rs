//! `riverbed service`: prints the unit for systemd, the dashboard for Grafana and the alert rules for Prometheus.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf, absolute};

use clap::{Args, ValueHint};

use super::format::plain;
use super::{Failure, Global, print};
use crate::config::Loaded;
use crate::domain::path::escaped;
use crate::folder::{OnDone, OnFailed};
use crate::report::Exit;
use crate::status::grafana::{ALERTS, dashboard};
use crate::systemd::sandbox_check::{Bite, Machine, bites};
use crate::systemd::unit::{Manager, Needs, unit};

const EXAMPLES: &str = "\
Examples:
  riverbed service -c /etc/riverbed/pipeline.toml > /etc/systemd/system/riverbed.service
  riverbed service --credentials /etc/riverbed/credentials   pass AWS keys as a systemd credential
  riverbed service --user > ~/.config/systemd/user/riverbed.service
  riverbed service --grafana > riverbed.json                  a dashboard to import
  riverbed service --alerts > /etc/prometheus/riverbed.yml    alert rules
  riverbed check --service                                    what its sandbox would deny";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServiceArguments {
    /// Prints a unit for a user's own service manager, which has a smaller sandbox
    #[arg(long, conflicts_with_all = ["grafana", "alerts"])]
    user: bool,
    /// AWS credentials that systemd passes to the service alone, in the format of ~/.aws/credentials
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["grafana", "alerts"])]
    credentials: Option<PathBuf>,
    /// Folder that will be `/` on the target machine, for packages
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["grafana", "alerts"])]
    root: Option<PathBuf>,
    /// Prints a Grafana dashboard instead, as JSON to import
    #[arg(long, conflicts_with = "alerts")]
    grafana: bool,
    /// Prints Prometheus alert rules instead, as YAML
    #[arg(long)]
    alerts: bool,
}

pub(super) fn run(arguments: &ServiceArguments, global: &Global) -> Result<Exit, Failure> {
    if arguments.grafana {
        return print(&dashboard());
    }
    if arguments.alerts {
        return print(ALERTS);
    }
    let loaded = global.load(Vec::new())?;
    let needs = Needs { credentials: arguments.credentials.as_deref().map(whole), ..needs(&loaded, &file(global)?) };
    let needs = match &arguments.root {
        Some(root) => needs.below(&whole(root)),
        None => needs,
    };
    if let Some(path) = needs.unwritable() {
        let said =
            format!("a unit cannot name `{}`: it is not UTF-8, or a control character stands in it", plain(&escaped(path)));
        return Err(Failure::new(said, Exit::Config).help("rename it, or reach it by a link that has a plain name"));
    }
    let manager = if arguments.user { Manager::User } else { Manager::System };
    // Another machine's users and folders are not here to be looked at.
    if manager == Manager::System && arguments.root.is_none() {
        for bite in bites(&needs, &Machine::this()) {
            // The unit is printed whatever may bite; where standard error is closed nobody wants to know.
            let _unheard = writeln!(io::stderr(), "warning: {}\n  help: {}", bite.problem, bite.help);
        }
    }
    print(&unit(&needs, manager))
}

/// Says what would bite, for `check --service`.
pub(super) fn check(loaded: &Loaded, global: &Global) -> Result<Exit, Failure> {
    let bites = bites(&needs(loaded, &file(global)?), &Machine::this());
    let said = |said: String, bite: &Bite| said + &format!("service        {}\n  help: {}\n", bite.problem, bite.help);
    let said = bites.iter().fold(String::new(), said);
    if bites.is_empty() {
        return print("service        nothing of the unit's sandbox bites\n");
    }
    print(&said)?;
    Ok(Exit::Config)
}

/// Returns the configuration file: a unit names one.
fn file(global: &Global) -> Result<PathBuf, Failure> {
    let overrides = global.overrides(Vec::new());
    global.file(super::Needs::Folders, &overrides).ok_or_else(|| {
        Failure::new("a unit needs a configuration file, and there is none here", Exit::Usage)
            .help("`riverbed init` writes one, `--config FILE` names another")
    })
}

/// Returns what a configuration needs of the machine.
fn needs(loaded: &Loaded, config: &Path) -> Needs {
    let (source, sink) = (&loaded.config.source, &loaded.config.sink);
    let ledger = loaded.ledger_path();
    let takes_away = source.on_done != OnDone::Keep || source.on_failed != OnFailed::Keep;
    let writes = [Some(sink.path.as_path()), ledger.parent(), source.done_dir.as_deref(), source.failed_dir.as_deref()];
    let writes = writes.into_iter().flatten().chain(takes_away.then_some(source.path.as_path()));
    Needs {
        max_file_size: source.max_file_size.as_u64(),
        binary: std::env::current_exe().unwrap_or_else(|_| "/usr/bin/riverbed".into()),
        config: whole(config),
        reads: vec![whole(&source.path)],
        writes: writes.map(whole).collect(),
        grace: loaded.config.run.grace,
        group: Machine::this().group_of(&source.path),
        credentials: None,
        token: loaded.config.status.token_file.as_deref().map(whole),
    }
}

/// Returns a path that does not depend on where the command runs, without the detours of how it was written.
fn whole(path: &Path) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir if path.exists() => return path.canonicalize().unwrap_or(path),
            part => plain.push(part),
        }
    }
    plain
}
