//! A document's path below the source folder. Names are bytes.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use super::escape::plain;

/// A path below the source folder: relative, never empty, without `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentPath(Arc<Path>);

/// Says why a path is not that of a document.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not a path below the source folder", .0.escape_ascii())]
pub struct NotBelowTheRoot(Box<[u8]>);

impl DocumentPath {
    /// Takes a path relative to the source folder.
    ///
    /// # Errors
    /// When the path is empty, absolute, or has a component that is not a plain name.
    pub fn new(relative: &Path) -> Result<Self, NotBelowTheRoot> {
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if plain && relative.components().next().is_some() {
            Ok(Self(relative.into()))
        } else {
            Err(NotBelowTheRoot(relative.as_os_str().as_bytes().into()))
        }
    }

    /// Returns the path, relative to the source folder.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Returns the bytes of the path as the file system has them, `/` between the names.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }

    /// Returns whether the path is UTF-8, so that its display form says all there is to say.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.0.to_str().is_some()
    }
}

/// Writes the path as it is in a record: as it is where it is UTF-8, every other byte as `\xNN`.
impl fmt::Display for DocumentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

/// Returns any path as text, as that of a document is in a record.
#[must_use]
pub fn escaped(path: &Path) -> String {
    let mut text = String::new();
    write_escaped(path, &mut text).expect("writing to a string does not fail");
    text
}

fn write_escaped(path: &Path, to: &mut impl fmt::Write) -> fmt::Result {
    for part in path.as_os_str().as_bytes().utf8_chunks() {
        to.write_str(part.valid())?;
        for byte in part.invalid() {
            write!(to, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Writes a path for a terminal or a log: as [`DocumentPath`]'s display form, with what does not belong there escaped.
pub struct Sanitized<'a>(pub &'a DocumentPath);

impl fmt::Display for Sanitized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.0.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_name_that_is_not_utf8_is_escaped_byte_by_byte() {
        let path = DocumentPath::new(Path::new(OsStr::from_bytes(b"a/\xff\xfe.txt"))).unwrap();
        assert_eq!(path.to_string(), "a/\\xff\\xfe.txt");
        assert!(!path.is_utf8());
    }

    #[test]
    fn only_plain_names_below_the_root_are_paths_of_documents() {
        for bad in ["", "/etc/passwd", "../up", "a/../../b", "."] {
            assert!(DocumentPath::new(Path::new(bad)).is_err(), "{bad}");
        }
        assert!(DocumentPath::new(Path::new("-rf/..hidden")).is_ok());
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let path = DocumentPath::new(Path::new("a\x1b[2J\nb")).unwrap();
        assert_eq!(Sanitized(&path).to_string(), "a\\u{1b}[2J\\nb");
    }
}
