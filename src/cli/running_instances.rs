//! Running daemons on this machine, and the command for each.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Failure;
use super::format::plain;
use crate::config::Loaded;
use crate::status::{CommandReply, Connection, Request};

/// More are not named: a user who runs so many knows where.
const MOST: usize = 8;
/// What the lock's file is called behind the ledger's name. It is open for as long as a process holds the ledger.
const LOCK: &[u8] = b"-lock";
/// Where the ledger lies in its output, unless it has a place of its own.
const IN_OUTPUT: &str = ".riverbed/ledger.db";

/// A riverbed that holds a ledger.
#[derive(Debug, PartialEq, Eq)]
struct Running {
    pid: u32,
    ledger: PathBuf,
    /// Unknown where the ledger has a place of its own and nobody answers.
    output: Option<PathBuf>,
    /// Whether it takes commands: a run that ends does not.
    is_daemon: bool,
}

/// Says which others run than the one for this ledger, a line each; nothing where none does. `sought` is the configuration that was
/// looked at, if one could be.
pub(super) fn others(command: &str, ledger: Option<&Path>, sought: Option<&Loaded>) -> Vec<String> {
    let is_other = |running: &&Running| ledger.is_none_or(|ledger| !is_same(&running.ledger, ledger));
    // A file that gives the ledger a place of its own gives it to every output that is named over it.
    let is_placed = sought.is_some_and(|loaded| loaded.config.ledger.path.is_some());
    let (running, hidden) = running(Path::new("/proc"));
    let known = running.iter().filter(is_other).map(|running| running.said(command, is_placed));
    let hidden = hidden.iter().map(|(pid, line)| {
        format!("a riverbed of another user runs (process {pid}, `{}`): ask as that user, or as root", plain(line))
    });
    known.chain(hidden).take(MOST).collect()
}

/// Returns whether a process holds this ledger.
pub(super) fn holds(ledger: &Path) -> bool {
    let mut lock = ledger.as_os_str().to_owned();
    lock.push(OsStr::from_bytes(LOCK));
    let inode = fs::metadata(lock).map(|found| found.ino().to_string());
    // Taking the lock to see whether it is free could keep a riverbed from starting just then.
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let is_held = |inode: &str| {
        let mut held = locks.lines().filter(|line| line.contains(" FLOCK ") && line.contains(" WRITE "));
        held.any(|line| line.split(' ').any(|word| word.rsplit_once(':').is_some_and(|(_, of)| of == inode)))
    };
    inode.is_ok_and(|inode| is_held(&inode)) || Connection::open(ledger).is_ok_and(|daemon| daemon.is_some())
}

/// Adds to what can be done about a failure to find an output which others there are.
pub(super) fn named_in(failure: Failure, command: &str, sought: Option<&Loaded>) -> Failure {
    let ledger = sought.map(Loaded::ledger_path);
    let others = others(command, ledger.as_deref(), sought);
    let help: Vec<_> = failure.help.iter().cloned().chain(others).collect();
    if help.is_empty() { failure } else { failure.help(help.join("\n")) }
}

impl Running {
    fn said(&self, command: &str, is_placed: bool) -> String {
        let Self { pid, ledger, output, is_daemon } = self;
        let what = if *is_daemon { "a daemon runs" } else { "a `run --once` is at work" };
        let placed = format!(" --set ledger.path={}", quoted(ledger));
        let is_default = output.as_ref().is_some_and(|output| *ledger == output.join(IN_OUTPUT));
        let placed = if is_default && !is_placed { "" } else { &placed };
        match output {
            Some(output) => {
                let output = quoted(output);
                format!("{what} for {output} (process {pid}): `riverbed {command} --output {output}{placed}`")
            }
            None => format!("{what} with the ledger {} (process {pid})", quoted(ledger)),
        }
    }
}

/// Finds the processes that hold a ledger, by the lock that they have open; and those whose files another user may not see, each with
/// its command line.
fn running(processes: &Path) -> (Vec<Running>, BTreeMap<u32, String>) {
    let (mut found, mut hidden) = (BTreeMap::new(), BTreeMap::new());
    let entries = fs::read_dir(processes).into_iter().flatten().flatten();
    for (pid, process) in entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()))) {
        match ledgers(&process) {
            Ok(ledgers) => found.extend(ledgers.into_iter().map(|ledger| (ledger, pid))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                hidden.extend(command_line(&process).map(|line| (pid, line)));
            }
            // It has ended since.
            Err(_) => {}
        }
    }
    let found = found.into_iter().take(MOST).map(|(ledger, pid)| {
        let mut daemon = Connection::open(&ledger).ok().flatten();
        let is_daemon = daemon.is_some();
        let output = ledger.ends_with(IN_OUTPUT).then(|| ledger.ancestors().nth(2).map(Path::to_owned)).flatten();
        let output = output.or_else(|| match daemon.as_mut()?.ask(&Request::Status) {
            Ok(CommandReply::Status(status)) => Some(status.folders?.output.into()),
            Ok(_) | Err(_) => None,
        });
        Running { pid, ledger, output, is_daemon }
    });
    (found.collect(), hidden)
}

/// Returns the ledgers whose lock a process has open.
fn ledgers(process: &Path) -> io::Result<Vec<PathBuf>> {
    let mut ledgers = Vec::new();
    for open in fs::read_dir(process.join("fd"))?.flatten() {
        let Ok(target) = fs::read_link(open.path()) else { continue };
        let Some(ledger) = target.as_os_str().as_bytes().strip_suffix(LOCK) else { continue };
        let ledger = PathBuf::from(OsStr::from_bytes(ledger));
        // Other programs have locks too; a ledger has a log of its own beside it, or the file that names what is being processed.
        let beside = |name: &str| {
            let mut beside = ledger.clone().into_os_string();
            beside.push(name);
            Path::new(&beside).exists()
        };
        if ledger.is_absolute() && ledger.is_file() && beside("-working") {
            ledgers.push(ledger);
        }
    }
    Ok(ledgers)
}

/// Returns the command line of a process that is called as this program and runs, if it is one.
fn command_line(process: &Path) -> Option<String> {
    let line = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    let is_riverbed = Path::new(&**words.first()?).file_name()? == "riverbed";
    (is_riverbed && words.iter().any(|word| word == "run")).then(|| words.join(" "))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Returns a path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = plain(&path.to_string_lossy());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%=,".contains(&byte);
    if path.bytes().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Makes a process with open files in a folder that replaces `/proc`.
    fn process(processes: &Path, pid: &str, open: &[&Path]) {
        let folder = processes.join(pid).join("fd");
        fs::create_dir_all(&folder).unwrap();
        for (at, target) in open.iter().enumerate() {
            symlink(target, folder.join(at.to_string())).unwrap();
        }
    }

    #[test]
    fn a_process_is_found_by_the_lock_of_its_ledger_and_no_other_by_its_locks() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("an output");
        fs::create_dir_all(output.join(".riverbed")).unwrap();
        let ledger = output.join(IN_OUTPUT);
        let [lock, working] = ["-lock", "-working"].map(|name| PathBuf::from(format!("{}{name}", ledger.display())));
        for file in [&ledger, &lock, &working] {
            fs::write(file, "").unwrap();
        }
        let other = folder.path().join("other-lock");
        fs::write(&other, "").unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        let processes = folder.path().join("proc");
        process(&processes, "7", &[Path::new("/dev/null"), &lock, &ledger]);
        process(&processes, "8", &[&other, Path::new("socket:[12345]"), Path::new("/gone-lock")]);
        process(&processes, "self", &[&lock]);
        let (found, hidden) = running(&processes);
        let expected = Running { pid: 7, ledger: ledger.clone(), output: Some(output), is_daemon: false };
        assert_eq!((found.as_slice(), hidden.len()), ([expected].as_slice(), 0));
        let shown = folder.path().display();
        let said = format!(
            "a `run --once` is at work for '{shown}/an output' (process 7): `riverbed status --output '{shown}/an output'`"
        );
        assert_eq!(found[0].said("status", false), said);
        let placed = format!(" --set ledger.path='{}'`", ledger.display());
        assert!(found[0].said("status", true).ends_with(&placed), "{}", found[0].said("status", true));
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted(Path::new("/tmp/out-1")), "/tmp/out-1");
        assert_eq!(quoted(Path::new("/tmp/it's $here")), r"'/tmp/it'\''s $here'");
    }
}
