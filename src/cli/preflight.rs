//! Checks what would stop a run, without changing anything.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, access};
use rustix::io::Errno;

use super::Failure;
use super::running_instances;
use crate::commitlog::DeliverError;
use crate::config::Loaded;
use crate::daemon::startup::{self, ledger_failure};
use crate::domain::Output;
use crate::folder::{OnDone, OnFailed};
use crate::ledger::{Ledger, LedgerError, Reader};
use crate::report::{Exit, Invalid};
use crate::status::Listen;

/// What would not keep it from running, but from something else.
pub(super) struct Warning {
    pub(super) problem: String,
    pub(super) help: String,
}

/// Looks at folders, ledger and port as a run does. Returns what a run would only warn of.
///
/// # Errors
/// With what a run would end with.
pub(super) fn look(loaded: &Loaded) -> Result<Vec<Warning>, Failure> {
    source(loaded)?;
    output(loaded)?;
    ledger(loaded)?;
    let is_running = running_instances::holds(&loaded.ledger_path());
    let mut warnings = moves(loaded);
    if is_running {
        warnings.push(Warning {
            problem: format!("a riverbed already runs for the output `{}`", shown(&loaded.config.sink.path)),
            help: "another one would end with 75; `riverbed status` shows the state of that one".into(),
        });
    } else if let Listen::At(address) = loaded.config.status.listen
        && let Err(error) = TcpListener::bind(address)
    {
        warnings.push(Warning {
            problem: format!(
                "`status.listen` is {address}, which is not available ({error}): the status would not be shown over HTTP"
            ),
            help: "name another address, or \"off\"; `riverbed status` works all the same".into(),
        });
    }
    Ok(warnings)
}

fn shown(path: &Path) -> String {
    super::format::plain(&path.display().to_string())
}

/// Says that a key's path cannot be used, as a run would end that could not read or write.
fn unusable(loaded: &Loaded, key: &'static str, problem: String, help: &str) -> Failure {
    let failure = Failure::from(loaded.invalid(Invalid { key, problem, help: help.into() }));
    Failure { exit: Exit::Io, ..failure }
}

/// The source folder must be readable; whether it is there has been looked at.
fn source(loaded: &Loaded) -> Result<(), Failure> {
    let path = &loaded.config.source.path;
    let read = fs::read_dir(path).map(drop).and_then(|()| Ok(access(path, Access::READ_OK | Access::EXEC_OK)?));
    read.map_err(|error| {
        let problem = format!("is `{}`, which cannot be read ({error})", shown(path));
        unusable(loaded, "source.path", problem, "let the user of riverbed read it (`r` and `x` of the folder)")
    })
}

/// The output folder must be there or can be made, and its files must be ours to write.
fn output(loaded: &Loaded) -> Result<(), Failure> {
    let path = &loaded.config.sink.path;
    let refused = |problem: String| {
        unusable(loaded, "sink.path", problem, "give the user of riverbed write access, or name another folder")
    };
    writable(path).map_err(|error| refused(format!("is `{}`, which cannot be written to ({error})", shown(path))))?;
    for output in Output::ALL {
        let file = path.join(output.live_name());
        let problem = match file.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => error.to_string(),
            Ok(found) if !found.is_file() => "it is no regular file".to_owned(),
            Ok(_) => match access(&file, Access::READ_OK | Access::WRITE_OK) {
                Ok(()) => continue,
                Err(error) => error.to_string(),
            },
        };
        return Err(refused(format!("is `{}`, whose `{}` cannot be written ({problem})", shown(path), output.live_name())));
    }
    Ok(())
}

/// The ledger must be one, of this riverbed's kind and of this output.
fn ledger(loaded: &Loaded) -> Result<(), Failure> {
    let path = loaded.ledger_path();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ledger::place(&path).map_err(ledger_failure)?;
    writable(folder).map_err(|source| ledger_failure(LedgerError::Make { path: folder.to_owned(), source }))?;
    let known = match Reader::open(&path) {
        Ok(reader) => {
            access(&path, Access::READ_OK | Access::WRITE_OK)
                .map_err(|error| ledger_failure(LedgerError::Make { path: path.clone(), source: error.into() }))?;
            let segments = reader.overview(0).map_err(ledger_failure)?.segments;
            if let Ok(output) = loaded.config.sink.path.canonicalize() {
                let known = reader.meta(startup::OUTPUT).map_err(ledger_failure)?;
                startup::same_output(known, &segments, &path, &output)?;
            }
            !segments.is_empty()
        }
        Err(LedgerError::Missing { .. }) => false,
        Err(error) => return Err(ledger_failure(error)),
    };
    match lines(&loaded.config.sink.path) {
        Some(name) if !known => Err(startup::failure(DeliverError::LedgerLost { name })),
        _ => Ok(()),
    }
}

/// Returns a file of the output that has lines, if one does.
fn lines(output: &Path) -> Option<String> {
    let names = fs::read_dir(output).ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let is_ours = Output::ALL.iter().any(|kind| name == kind.live_name() || kind.sealed_number(&name).is_some());
        let has_lines = || entry.metadata().is_ok_and(|found| found.is_file() && found.len() > 0);
        (is_ours && has_lines()).then_some(name)
    });
    names.min()
}

/// Files that are moved or deleted once they are done ask for more than reading.
fn moves(loaded: &Loaded) -> Vec<Warning> {
    let source = &loaded.config.source;
    let takes = [
        ("source.on-done", source.on_done != OnDone::Keep, "source.done-dir", source.done_dir.as_ref()),
        ("source.on-failed", source.on_failed != OnFailed::Keep, "source.failed-dir", source.failed_dir.as_ref()),
    ];
    let mut warnings = Vec::new();
    for (key, _, to, folder) in takes.into_iter().filter(|(_, takes, ..)| *takes) {
        if let Err(error) = access(&source.path, Access::WRITE_OK) {
            warnings.push(Warning {
                problem: format!("`{key}` takes files out of `{}`, which cannot be written to ({error})", shown(&source.path)),
                help: "give the user of riverbed write access: until then files stay where they are".into(),
            });
        }
        if let Some((folder, error)) = folder.and_then(|folder| Some((folder, writable(folder).err()?))) {
            warnings.push(Warning {
                problem: format!("`{to}` is `{}`, which cannot be written to ({error})", shown(folder)),
                help: "give the user of riverbed write access, or name another folder".into(),
            });
        }
    }
    warnings
}

/// Says why files cannot be made in a folder, which may have to be made itself: in the lowest one above it that is there.
fn writable(folder: &Path) -> io::Result<()> {
    let whole = std::path::absolute(folder)?;
    let there: Option<(PathBuf, fs::Metadata)> = whole
        .ancestors()
        .find_map(|above| match fs::metadata(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && above.symlink_metadata().is_err() => None,
            Err(error) => Some(Err(error)),
            Ok(found) => Some(Ok((above.to_owned(), found))),
        })
        .transpose()?;
    match there {
        Some((above, found)) if !found.is_dir() => Err(io::Error::other(format!("`{}` is no folder", shown(&above)))),
        Some((above, _)) => takes_files(&above),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Says why files cannot be made in a folder. One without a name, which ends with its descriptor, proves that they can.
fn takes_files(folder: &Path) -> io::Result<()> {
    /// File systems of the kernel's own (statfs(2)): proc, sysfs, cgroup and cgroup2.
    const OF_THE_KERNEL: [u32; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
    match rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        // A full disk is waited for.
        Ok(_) | Err(Errno::NOSPC | Errno::DQUOT) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
            access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the kernel's numbers have 32 bits")]
            let kind = rustix::fs::statfs(folder)?.f_type as u32;
            if OF_THE_KERNEL.contains(&kind) { Err(io::Error::other("no file can be made there")) } else { Ok(()) }
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_as_writable_as_the_one_that_it_is_made_in() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b/c");
        writable(&below).unwrap();
        assert!(!folder.path().join("a").exists(), "nothing is made");
        fs::write(folder.path().join("a"), "").unwrap();
        let said = writable(&below).unwrap_err().to_string();
        assert!(said.contains("Not a directory") || said.contains("is no folder"), "{said}");
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        assert!(writable(&folder.path().join("link")).is_err(), "a link that leads nowhere is no folder");
        // A file system on which nobody writes, root neither.
        assert!(writable(Path::new("/proc/self/fdinfo/a")).is_err());
    }
}
