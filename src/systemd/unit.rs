//! The unit for systemd: as little of the machine as the daemon needs.
//!
//! Each line was tried with `systemd-analyze verify` and `security`. systemd knows no comments behind a value.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the daemon is started, and what it needs of the file system.
#[derive(Debug, Clone)]
pub struct Needs {
    /// The program.
    pub binary: PathBuf,
    /// The configuration, absolute.
    pub config: PathBuf,
    /// Folders that it reads.
    pub reads: Vec<PathBuf>,
    /// Folders that it writes to, made or not.
    pub writes: Vec<PathBuf>,
    /// How long a stop may take.
    pub grace: Duration,
    /// The largest file that it reads, in bytes.
    pub max_file_size: u64,
    /// A group that may read the source folder, where not everybody may.
    pub group: Option<String>,
    /// A file of AWS credentials, in the format of `~/.aws/credentials`.
    pub credentials: Option<PathBuf>,
    /// A file with the token of the status server.
    pub token: Option<PathBuf>,
}

impl Needs {
    /// Returns the same where `root` has become `/`. Which groups are there then is not known.
    #[must_use]
    pub fn below(self, root: &Path) -> Self {
        let moved = |path: PathBuf| path.strip_prefix(root).map_or(path.clone(), |below| Path::new("/").join(below));
        let all = |paths: Vec<PathBuf>| paths.into_iter().map(moved).collect();
        Self {
            binary: moved(self.binary),
            config: moved(self.config),
            reads: all(self.reads),
            writes: all(self.writes),
            credentials: self.credentials.map(moved),
            token: self.token.map(moved),
            group: None,
            ..self
        }
    }
}

impl Needs {
    /// Returns the first path that cannot be in a unit, which is lines of UTF-8.
    #[must_use]
    pub fn unwritable(&self) -> Option<&Path> {
        let optional = self.credentials.iter().chain(&self.token);
        let all = [&self.binary, &self.config].into_iter().chain(&self.reads).chain(&self.writes).chain(optional);
        let is_fit = |path: &Path| path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
        all.map(PathBuf::as_path).find(|path| !is_fit(path))
    }
}

/// Whose unit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// The machine's.
    System,
    /// A user's own, started at login.
    User,
}

/// The user that the machine's unit runs as.
pub const USER: &str = "riverbed";

/// How often the daemon has to show that it makes progress.
const WATCHDOG_SECS: u64 = 30;
/// Between the grace period and the end: what is committed is written and synced.
const AFTER_GRACE: Duration = Duration::from_secs(15);

/// What every unit has after its own lines. No JIT, no devices, no homes, no other processes, no rights to gain.
const SANDBOX: &str = "\
UMask=0027
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
DevicePolicy=closed
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
";

/// What a user's own manager can enforce without rights of its own.
const USER_SANDBOX: &str = "\
UMask=0077
NoNewPrivileges=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

/// What a runaway may take.
const BOUNDS: &str = "\
LimitNOFILE=65536
LimitCORE=0
TasksMax=512
";

/// Returns the unit.
#[must_use]
pub fn unit(needs: &Needs, manager: Manager) -> String {
    let writes = outermost(needs.writes.iter().map(|folder| above(folder)));
    let mounts = outermost(needs.reads.iter().chain(&needs.writes).cloned());
    let mut text = String::from(
        "# Printed by `riverbed service`. Install it as /etc/systemd/system/riverbed.service (a user's own one, printed with --user:\n\
         # ~/.config/systemd/user/riverbed.service), then `systemctl daemon-reload` and `systemctl enable --now riverbed`.\n",
    );
    let mut line = |said: String| {
        text.push_str(&said);
        text.push('\n');
    };
    line("[Unit]".into());
    line("Description=riverbed: embeddings of a folder's documents".into());
    if manager == Manager::System {
        line("Wants=network-online.target".into());
        line("After=network-online.target".into());
        line(format!("RequiresMountsFor={}", list(&mounts)));
    }
    line("StartLimitIntervalSec=300".into());
    line("StartLimitBurst=5".into());
    line(String::new());
    line("[Service]".into());
    line("Type=notify".into());
    line("NotifyAccess=main".into());
    line(format!("ExecStart={} run --config {}", command(&needs.binary), command(&needs.config)));
    line("ExecReload=/bin/kill -HUP $MAINPID".into());
    if manager == Manager::System {
        line(format!("User={USER}"));
        if let Some(group) = &needs.group {
            line(format!("SupplementaryGroups={group}"));
        }
    }
    line("Restart=on-failure".into());
    line("RestartSec=2s".into());
    // Not 71: a limit of threads or descriptors may be shared with others, and be free again with the next start.
    line("RestartPreventExitStatus=64 65 77 78".into());
    line(format!("WatchdogSec={WATCHDOG_SECS}s"));
    line("TimeoutStartSec=10min".into());
    line(format!("TimeoutStopSec={}s", needs.grace.saturating_add(AFTER_GRACE).as_secs()));
    line("KillMode=mixed".into());
    if manager == Manager::System {
        line("StateDirectory=riverbed".into());
        line("StateDirectoryMode=0700".into());
    }
    credentials(needs, &mut line);
    if manager == Manager::System {
        line(format!("ReadWritePaths={}", list(&writes)));
    }
    text.push_str(match manager {
        Manager::System => SANDBOX,
        Manager::User => USER_SANDBOX,
    });
    text.push_str(BOUNDS);
    // Two files are held at once, one to be embedded and one to be asked about; what is made of them is bounded whatever they hold.
    let most = (512 << 20) + needs.max_file_size.saturating_mul(2);
    let _infallible = write!(text, "MemoryHigh={}\nMemoryMax={}\nOOMPolicy=continue\n", memory(most / 4 * 3), memory(most));
    let target = match manager {
        Manager::System => "multi-user.target",
        Manager::User => "default.target",
    };
    let _infallible = write!(text, "\n[Install]\nWantedBy={target}\n");
    text
}

/// Returns bytes as systemd reads them, rounded up.
fn memory(bytes: u64) -> String {
    let mebibytes = bytes.div_ceil(1 << 20);
    if mebibytes.is_multiple_of(1024) { format!("{}G", mebibytes / 1024) } else { format!("{mebibytes}M") }
}

/// Hands secrets over in files of the service's own, readable by it alone.
fn credentials(needs: &Needs, line: &mut impl FnMut(String)) {
    if let Some(file) = &needs.credentials {
        line(format!("LoadCredential=aws:{}", specified(&file.to_string_lossy())));
        line("Environment=AWS_SHARED_CREDENTIALS_FILE=%d/aws".into());
    } else {
        line("# For AWS credentials out of a file that root alone may read: `riverbed service --credentials FILE` writes these lines.".into());
        line("#LoadCredential=aws:/etc/riverbed/credentials".into());
        line("#Environment=AWS_SHARED_CREDENTIALS_FILE=%d/aws".into());
    }
    if let Some(file) = &needs.token {
        line(format!("LoadCredential=status-token:{}", specified(&file.to_string_lossy())));
        line("Environment=RIVERBED_STATUS_TOKEN_FILE=%d/status-token".into());
    }
}

/// Returns the folder that has to be writable for one to be so for good: a mount on the folder itself is lost with it when the
/// folder is removed and recreated, and the new one would be read-only.
#[must_use]
pub fn above(folder: &Path) -> PathBuf {
    match folder.parent() {
        // The whole machine is not made writable for it.
        Some(above) if above != Path::new("/") && !above.as_os_str().is_empty() => above.to_owned(),
        Some(_) | None => folder.to_owned(),
    }
}

/// Returns folders without those that lie in another of them.
fn outermost(folders: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let folders: BTreeSet<_> = folders.collect();
    let is_inside = |folder: &PathBuf| folders.iter().any(|other| other != folder && folder.starts_with(other));
    folders.iter().filter(|folder| !is_inside(folder)).cloned().collect()
}

fn list(folders: &[PathBuf]) -> String {
    let quoted: Vec<_> = folders.iter().map(|folder| quoted(&specified(&folder.to_string_lossy()))).collect();
    quoted.join(" ")
}

/// Writes a word of a command line.
fn command(path: &Path) -> String {
    quoted(&specified(&path.to_string_lossy()).replace('$', "$$"))
}

/// Keeps systemd from reading its own specifiers into a path.
fn specified(text: &str) -> String {
    text.replace('%', "%%")
}

fn quoted(text: &str) -> String {
    let is_plain = |character: char| !character.is_whitespace() && !matches!(character, '"' | '\'' | '\\' | ';');
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        Needs {
            binary: "/usr/bin/riverbed".into(),
            config: "/etc/riverbed/pipeline.toml".into(),
            reads: vec!["/srv/documents/drop".into()],
            writes: vec!["/srv/documents/out".into(), "/srv/documents/out/.riverbed".into()],
            max_file_size: 256 << 20,
            grace: Duration::from_secs(30),
            group: Some("documents".into()),
            credentials: None,
            token: None,
        }
    }

    #[test]
    fn the_unit_says_what_the_daemon_needs_and_forbids_the_rest() {
        insta::assert_snapshot!(unit(&needs(), Manager::System));
        insta::assert_snapshot!(unit(&needs(), Manager::User));
    }

    #[test]
    fn a_stop_has_more_time_than_its_grace_period() {
        let needs = Needs { grace: Duration::from_mins(5), ..needs() };
        assert!(unit(&needs, Manager::System).contains("\nTimeoutStopSec=315s\n"));
    }

    #[test]
    fn paths_that_systemd_would_read_otherwise_are_written_so_that_it_does_not() {
        let needs = Needs { binary: "/opt/a b/$x/100%\"/riverbed".into(), writes: vec!["/srv/a b/out".into()], ..needs() };
        let text = unit(&needs, Manager::System);
        assert!(
            text.contains("ExecStart=\"/opt/a b/$$x/100%%\\\"/riverbed\" run --config /etc/riverbed/pipeline.toml\n"),
            "{text}"
        );
        assert!(text.contains("ReadWritePaths=\"/srv/a b\"\n"), "{text}");
    }

    #[test]
    fn secrets_are_handed_over_as_credentials() {
        let needs = Needs { credentials: Some("/etc/riverbed/aws".into()), token: Some("/etc/riverbed/token".into()), ..needs() };
        let text = unit(&needs, Manager::System);
        for line in [
            "LoadCredential=aws:/etc/riverbed/aws",
            "Environment=AWS_SHARED_CREDENTIALS_FILE=%d/aws",
            "LoadCredential=status-token:/etc/riverbed/token",
            "Environment=RIVERBED_STATUS_TOKEN_FILE=%d/status-token",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_unit_for_a_package_names_what_it_puts_in_place_as_it_will_be() {
        let staged = Needs {
            binary: "/build/root/usr/bin/riverbed".into(),
            config: "/build/root/etc/riverbed/pipeline.toml".into(),
            ..needs()
        };
        let installed = Needs { group: None, ..needs() };
        assert_eq!(unit(&staged.below(Path::new("/build/root")), Manager::System), unit(&installed, Manager::System));
    }

    #[test]
    fn a_folder_at_the_root_does_not_open_the_whole_machine() {
        assert_eq!(above(Path::new("/drop")), Path::new("/drop"));
        assert_eq!(above(Path::new("/srv/drop")), Path::new("/srv"));
        let folders = ["/srv/a", "/srv/a/b", "/srv/ab", "/srv/a"].map(PathBuf::from);
        assert_eq!(outermost(folders.into_iter()), ["/srv/a", "/srv/ab"].map(PathBuf::from));
    }
}
