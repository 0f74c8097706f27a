//! Markers: the writer's own word that a file is complete.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::temp_names::is_temporary;
use crate::domain::DocumentPath;

/// What is added to a file's name to name its marker, as `.done`: a dot and something, and not the ending of a temporary name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Marker(String);

/// Says why an ending cannot mark files.
#[derive(Debug, thiserror::Error)]
#[error("`{ending}` cannot mark files: {why} (example: \".done\")")]
pub struct NotAMarker {
    ending: String,
    why: &'static str,
}

impl Marker {
    /// Returns the file that a path marks, if the path is that of a marker.
    pub(in crate::folder) fn marked_by(&self, path: &Path) -> Option<DocumentPath> {
        let name = path.file_name()?.as_bytes().strip_suffix(self.0.as_bytes())?;
        (!name.is_empty() && !is_temporary(name))
            .then(|| DocumentPath::new(&path.with_file_name(OsStr::from_bytes(name))).ok())?
    }

    /// Returns where the marker of a file lies.
    pub(in crate::folder) fn of(&self, file: &DocumentPath) -> DocumentPath {
        let mut path = file.as_bytes().to_vec();
        path.extend_from_slice(self.0.as_bytes());
        DocumentPath::new(&PathBuf::from(OsString::from_vec(path))).expect("a plain name that got longer is a plain name")
    }
}

impl TryFrom<String> for Marker {
    type Error = NotAMarker;

    fn try_from(ending: String) -> Result<Self, Self::Error> {
        let why = if !ending.starts_with('.') || ending.len() < 2 {
            "it must be a dot and something"
        } else if ending.contains(['/', '\0']) {
            "no name contains that"
        } else if is_temporary(format!("name{ending}").as_bytes()) {
            "files that end so are not looked at, for programs keep there what is not finished"
        } else {
            return Ok(Self(ending));
        };
        Err(NotAMarker { ending, why })
    }
}

impl From<Marker> for String {
    fn from(marker: Marker) -> Self {
        marker.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    #[test]
    fn a_marker_and_its_file_lie_side_by_side() {
        let marker = Marker::try_from(".done".to_owned()).unwrap();
        assert_eq!(marker.of(&path("a/b.md")), path("a/b.md.done"));
        assert_eq!(marker.marked_by(Path::new("a/b.md.done")), Some(path("a/b.md")));
        for other in ["a/b.md", ".done", "a/.done", "a/bdone"] {
            assert_eq!(marker.marked_by(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn an_ending_that_could_mark_nothing_is_refused() {
        for bad in ["", ".", "done", "./done", ".part", ".TMP", ".done~"] {
            assert!(Marker::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
