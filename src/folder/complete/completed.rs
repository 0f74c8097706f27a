//! Completion: keeps, moves or deletes a file after its document was processed.
//!
//! Only the very file that was read is touched. It is held open, so that no other can have its inode number, and is looked at again
//! once it has left its name: what slipped in between is put back. Nobody writes to it meanwhile: it waits for a process that has it open
//! for writing, and a process that opens it waits. Nothing is ever overwritten, on either side.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::destination::Target;
use super::take::{OpenedFile, Origin, PathState, Removed, Still};
use crate::domain::path::Sanitized;
use crate::domain::shortage::is_shortage;
use crate::domain::{ContentHash, DocumentPath, Observation};
use crate::folder::SourceConfig;
use crate::folder::look::root::{Root, is_gone};

/// How a file is treated whose document is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDone {
    /// It stays.
    #[default]
    Keep,
    /// It is moved to `done-dir`.
    Move,
    /// It is deleted.
    Delete,
}

/// How a file is treated whose document has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailed {
    /// It stays.
    #[default]
    Keep,
    /// It is moved to `failed-dir`.
    Move,
}

/// How a document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<'a> {
    /// All its lines are written.
    Done,
    /// It failed.
    Failed {
        /// Why, for the person who finds the file. A call that repeats another gives the same.
        reason: &'a str,
    },
}

/// What has happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposed {
    /// It stays, as configured or because it is a symbolic link.
    Kept,
    /// It lies here now.
    Moved(PathBuf),
    /// It has been deleted.
    Deleted,
    /// It stays, for it is not what was read: the source sends it again.
    Changed,
    /// It stays for now, for somebody has it open for writing.
    Open,
    /// It is not there: an earlier call or another program took it away.
    Gone,
}

/// Says why a file is still where it was.
#[derive(Debug, thiserror::Error)]
pub enum DisposeError {
    /// It cannot be removed from the source folder.
    #[error("cannot take the file out of the source folder")]
    Source(#[source] io::Error),
    /// The folder that it goes to does not take it.
    #[error("cannot move the file to `{}`", folder.display())]
    Target {
        /// As configured.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl DisposeError {
    /// Returns whether the system was short of something, so that a later try may take the file away.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        let (Self::Source(source) | Self::Target { source, .. }) = self;
        is_shortage(source)
    }
}

/// Does with a file what `on-done` or `on-failed` says, if it is still as it was `seen`. Its marker goes with it.
///
/// To be called once the end of the document is committed, and again where that may not have been followed by a call that returned:
/// what was left half done is then finished. Renaming and deleting are not waited for to be on the disk, copying is. Blocks, for as
/// long as it takes to copy the file where the folder is on another file system; but after `stop` for no descriptor that is not there.
///
/// # Errors
/// When the file cannot be moved or deleted or its new folder does not take it. It is where it was then.
pub fn dispose(
    config: &SourceConfig,
    path: &DocumentPath,
    seen: &Observation,
    end: End<'_>,
    stop: &CancellationToken,
) -> Result<Disposed, DisposeError> {
    let target = match (end, config.on_done, config.on_failed) {
        (End::Done, OnDone::Keep, _) | (End::Failed { .. }, _, OnFailed::Keep) => return Ok(Disposed::Kept),
        (End::Done, OnDone::Delete, _) => None,
        (End::Done, OnDone::Move, _) => Some((&config.done_dir, None)),
        (End::Failed { reason }, _, OnFailed::Move) => Some((&config.failed_dir, Some(reason))),
    };
    let root = Root::open_until(&config.path, stop).map_err(DisposeError::Source)?;
    let origin = match Origin::of(&root, path) {
        Ok(origin) => origin,
        Err(error) if is_gone(&error) => return Ok(Disposed::Gone),
        Err(error) => return Err(DisposeError::Source(error)),
    };
    // Held before the file goes: one that is put there afterwards is that of another file.
    let marker = config.marker.as_ref().map(|marker| marker.of(path));
    let marker = marker.as_ref().and_then(|marker| {
        let origin = Origin::of(&root, marker).ok()?;
        let Ok(PathState::Held(held)) = origin.look(None) else { return None };
        Some((origin, held))
    });
    let disposed = match target {
        None => delete(&origin, seen).map_err(DisposeError::Source)?,
        Some((folder, reason)) => {
            let folder = folder.as_ref().ok_or_else(|| DisposeError::Target {
                folder: PathBuf::new(),
                source: io::Error::new(io::ErrorKind::InvalidInput, "no such folder is configured"),
            })?;
            let reason = reason.map(|reason| note(path, reason));
            let target = Target::open(folder, &root, path, reason);
            let move_it = |target: Target<'_>| take(&origin, seen, &target);
            target.and_then(move_it).map_err(|source| DisposeError::Target { folder: folder.clone(), source })?
        }
    };
    if matches!(disposed, Disposed::Kept | Disposed::Changed | Disposed::Open) {
        return Ok(disposed);
    }
    if let Some((origin, held)) = marker
        && let Err(error) = origin.remove(&held)
    {
        warn!(document = %Sanitized(path), %error, "the marker stays; the next file of this name will not be waited for");
    }
    Ok(disposed)
}

/// Brings a file back that was moved to `failed-dir` for what was no fault of its own, if it lies there still with the bytes that its
/// document had, and nothing has come into its place since. Returns whether it did. Blocks.
///
/// # Errors
/// When it lies there and cannot be brought back.
pub fn put_back(config: &SourceConfig, path: &DocumentPath, version: &ContentHash) -> Result<bool, DisposeError> {
    let Some(folder) = config.failed_dir.as_ref().filter(|folder| folder.is_dir()) else { return Ok(false) };
    let root = Root::open(&config.path).map_err(DisposeError::Source)?;
    let origin = match Origin::of(&root, path) {
        Ok(origin) => origin,
        Err(error) if is_gone(&error) => return Ok(false),
        Err(error) => return Err(DisposeError::Source(error)),
    };
    if !origin.is_empty().map_err(DisposeError::Source)? {
        return Ok(false);
    }
    let target = Target::open(folder, &root, path, None);
    let give_back = |target: Target<'_>| target.give_back(&origin, version, config.max_file_size.as_u64());
    target.and_then(give_back).map_err(|source| DisposeError::Target { folder: folder.clone(), source })
}

fn delete(origin: &Origin<'_>, seen: &Observation) -> io::Result<Disposed> {
    origin.recover(seen)?;
    Ok(match origin.look(Some(seen))? {
        PathState::Link => Disposed::Kept,
        PathState::Other => Disposed::Changed,
        PathState::Nothing => Disposed::Gone,
        PathState::Held(held) => match origin.remove(&held)? {
            Removed::Yes => Disposed::Deleted,
            Removed::Changed => Disposed::Changed,
            Removed::Open => Disposed::Open,
            Removed::Gone => Disposed::Gone,
        },
    })
}

/// Takes a file from its place to another: at once, or where that is on another file system by a copy.
fn take(origin: &Origin<'_>, seen: &Observation, target: &Target<'_>) -> io::Result<Disposed> {
    origin.recover(seen)?;
    if let Some(name) = target.recover(origin, seen)? {
        return Ok(Disposed::Moved(target.path_of(&name)));
    }
    match origin.look(Some(seen))? {
        PathState::Link => Ok(Disposed::Kept),
        PathState::Other => Ok(Disposed::Changed),
        PathState::Nothing => Ok(Disposed::Gone),
        PathState::Held(held) => take_held(origin, &held, target),
    }
}

fn take_held(origin: &Origin<'_>, held: &OpenedFile, target: &Target<'_>) -> io::Result<Disposed> {
    match target.receive(origin, held)? {
        Some(disposed) => Ok(disposed),
        None => copy(origin, held, target),
    }
}

/// Takes a file to a folder on another file system.
fn copy(origin: &Origin<'_>, held: &OpenedFile, target: &Target<'_>) -> io::Result<Disposed> {
    match origin.still(held)? {
        Still::Held(_) => {}
        Still::Changed => return Ok(Disposed::Changed),
        Still::Open => return Ok(Disposed::Open),
    }
    let file = match origin.open(held) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(Disposed::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Disposed::Gone),
        Err(error) if is_gone(&error) => return Ok(Disposed::Changed),
        Err(error) => return Err(error),
    };
    let Some((name, copied)) = target.copy(&file, held.seen())? else { return Ok(Disposed::Changed) };
    // No writer is kept waiting for as long as the copy took: what was written meanwhile shows now.
    let removed = origin.remove(held)?;
    let stays = match removed {
        Removed::Yes | Removed::Gone => return Ok(Disposed::Moved(target.path_of(&name))),
        Removed::Changed => Disposed::Changed,
        Removed::Open => Disposed::Open,
    };
    target.forget(&name, Some(&copied))?;
    Ok(stays)
}

/// Returns the text of the file beside a failed one. The sender of a file chooses its name: so names are escaped.
fn note(path: &DocumentPath, reason: &str) -> String {
    let (path, reason) = (Sanitized(path), IndentedText(reason));
    format!(
        "riverbed could not process `{path}`:\n\n{reason}\n\
         The file lies beside this note. To retry it, fix the cause and move the file back into the source folder.\n"
    )
}

/// Text with each line moved in, and without control characters.
struct IndentedText<'a>(&'a str);

impl fmt::Display for IndentedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.lines() {
            let line: String = line.chars().filter(|character| !character.is_control()).collect();
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
