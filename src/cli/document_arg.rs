//! Finds documents by the names that people give them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::config::Loaded;
use crate::daemon::startup::ledger_failure;
use crate::domain::DocumentPath;
use crate::domain::path::Sanitized;
use crate::ledger::{DocumentState, Reader};
use crate::report::Exit;

/// Finds a document that the ledger knows: by its name as the output has it, by that name as it is shown, or by its file's path.
pub(super) fn find(loaded: &Loaded, reader: &Reader, name: &OsStr) -> Result<Option<(DocumentPath, DocumentState)>, Failure> {
    if let Some(found) = reader.find(name).map_err(ledger_failure)? {
        return Ok(Some(found));
    }
    match below(&loaded.config.source.path, Path::new(name)) {
        Some(path) => reader.find(path.as_path().as_os_str()).map_err(ledger_failure),
        None => Ok(None),
    }
}

/// Finds failed documents.
pub(super) fn find_failed(loaded: &Loaded, reader: &Reader, names: &[OsString]) -> Result<Vec<DocumentPath>, Failure> {
    let find = |name: &OsString| {
        let shown = super::format::plain(&name.to_string_lossy());
        match find(loaded, reader, name)? {
            Some((path, DocumentState::Failed)) => Ok(path),
            Some((path, state)) => {
                let said = format!("`{}` is {}, not failed", Sanitized(&path), state.as_str());
                Err(Failure::new(said, Exit::Usage).help(format!("`riverbed explain '{shown}'` shows its history")))
            }
            None => Err(Failure::new(format!("`{shown}` is not a known document"), Exit::Usage)
                .help("`riverbed failed` lists those that failed; give a path as it stands there, or that of the file")),
        }
    };
    names.iter().map(find).collect()
}

/// Returns where a file lies below the source folder, if it does; it need not be there.
pub(super) fn below(source: &Path, file: &Path) -> Option<DocumentPath> {
    let written = |path: &Path| std::path::absolute(path).ok();
    // Its folder may be reached over links; the file may be one, or gone.
    let resolved = |path: &Path| -> Option<PathBuf> {
        let path = written(path)?;
        Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
    };
    let is_below = |file: Option<PathBuf>, source: Option<PathBuf>| DocumentPath::new(file?.strip_prefix(source?).ok()?).ok();
    is_below(written(file), written(source)).or_else(|| is_below(resolved(file), source.canonicalize().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_any_way_that_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("drop");
        std::fs::create_dir_all(source.join("a")).unwrap();
        std::os::unix::fs::symlink(&source, folder.path().join("link")).unwrap();
        let expected = DocumentPath::new(Path::new("a/b.md")).unwrap();
        for way in ["drop/a/b.md", "link/a/b.md", "drop/../drop/a/b.md"] {
            assert_eq!(below(&source, &folder.path().join(way)).as_ref(), Some(&expected), "{way}");
        }
        for other in ["drop", "b.md", "drop/../b.md"] {
            assert_eq!(below(&source, &folder.path().join(other)), None, "{other}");
        }
    }
}
