//! Lists of globs, with gitignore's rules.

use std::path::Path;

use ignore::Error;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

/// Globs as they stand in `.gitignore`, relative to the source folder; the last that matches decides, `!` turns one around.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Globs {
    written: Vec<String>,
    matcher: Gitignore,
}

/// Says why a glob matches nothing.
#[derive(Debug, thiserror::Error)]
#[error("`{glob}` is not a glob: {why} (examples: \"*.md\", \"/reports/**/*.pdf\", \"drafts/\")")]
pub struct NotAGlob {
    glob: String,
    why: String,
}

impl Globs {
    /// Takes globs, each of which must match something. `#` begins no comment here.
    ///
    /// # Errors
    /// When one is no glob, or is empty.
    pub fn new(written: Vec<String>) -> Result<Self, NotAGlob> {
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        for glob in &written {
            if glob.trim_matches(['!', '/', ' ']).is_empty() {
                return Err(NotAGlob { glob: glob.clone(), why: "it is empty".into() });
            }
            let escape = if glob.starts_with('#') { "\\" } else { "" };
            builder
                .add_line(None, &format!("{escape}{glob}"))
                .map_err(|error| NotAGlob { glob: glob.clone(), why: without_the_glob(error) })?;
        }
        let matcher = builder.build().map_err(|error| NotAGlob { glob: written.join(", "), why: without_the_glob(error) })?;
        Ok(Self { written, matcher })
    }

    /// Returns whether there are no globs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Returns whether a file or a folder above it matches; what stands nearest to the file decides.
    #[must_use]
    pub fn match_file(&self, file: &Path) -> bool {
        self.matcher.matched_path_or_any_parents(file, false).is_ignore()
    }

    /// Returns whether a path, or a folder above it, matches: below a folder that does, nothing can be turned around.
    pub(super) fn match_from_above(&self, path: &Path, is_folder: bool) -> bool {
        match_from_above(&self.matcher, path, is_folder)
    }
}

/// Goes down a path as a walk does, which never comes below a folder that matches.
pub(super) fn match_from_above(matcher: &Gitignore, path: &Path, is_folder: bool) -> bool {
    let mut ways = path.ancestors().take_while(|above| !above.as_os_str().is_empty()).enumerate();
    !matcher.is_empty() && ways.any(|(up, path)| matcher.matched(path, is_folder || up > 0).is_ignore())
}

/// Returns what is wrong with a glob that is named beside it.
pub(super) fn without_the_glob(error: Error) -> String {
    match error {
        Error::Glob { err, .. } => err,
        other => other.to_string(),
    }
}

impl Default for Globs {
    fn default() -> Self {
        Self { written: Vec::new(), matcher: Gitignore::empty() }
    }
}

/// What is written makes the matcher.
impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl TryFrom<Vec<String>> for Globs {
    type Error = NotAGlob;

    fn try_from(written: Vec<String>) -> Result<Self, Self::Error> {
        Self::new(written)
    }
}

impl From<Globs> for Vec<String> {
    fn from(globs: Globs) -> Self {
        globs.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(written: &[&str]) -> Globs {
        Globs::new(written.iter().map(ToString::to_string).collect()).unwrap()
    }

    #[test]
    fn a_glob_without_a_slash_matches_at_any_depth_and_one_with_a_slash_from_the_root() {
        let names = globs(&["*.md", "#*#"]);
        assert!(["a.md", "a/b/c.md", "a/#b#"].iter().all(|file| names.match_file(Path::new(file))));
        assert!(["a.txt", "a.md.txt"].iter().all(|file| !names.match_file(Path::new(file))));
        let paths = globs(&["/a.md", "docs/*.md", "deep/**/c.md"]);
        assert!(["a.md", "docs/a.md", "deep/c.md", "deep/a/b/c.md"].iter().all(|file| paths.match_file(Path::new(file))));
        assert!(["b/a.md", "docs/a/b.md", "b/docs/a.md"].iter().all(|file| !paths.match_file(Path::new(file))));
    }

    #[test]
    fn a_folder_stands_for_all_that_is_below_it() {
        let folder = globs(&["drafts/"]);
        assert!(folder.match_file(Path::new("a/drafts/b/c.md")) && folder.match_from_above(Path::new("drafts/c.md"), false));
        assert!(folder.match_from_above(Path::new("a/drafts"), true));
        assert!(!folder.match_from_above(Path::new("a/drafts"), false), "that is a file");
    }

    #[test]
    fn what_is_turned_around_stays_so_only_where_a_walk_comes() {
        let some = globs(&["*.md", "!keep.md"]);
        assert!(some.match_from_above(Path::new("a.md"), false) && !some.match_from_above(Path::new("keep.md"), false));
        let below = globs(&["drafts/", "!keep.md"]);
        assert!(below.match_from_above(Path::new("drafts/keep.md"), false));
        assert!(!below.match_file(Path::new("drafts/keep.md")));
    }

    #[test]
    fn a_glob_that_matches_nothing_is_refused_by_its_name() {
        for bad in ["{a", "a[", "[z-a]", "", " ", "/", "!"] {
            let error = Globs::new(vec!["*.md".into(), bad.into()]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{bad}` is not a glob: ")), "{error}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_too() {
        use std::os::unix::ffi::OsStrExt as _;
        assert!(globs(&["*.md"]).match_file(Path::new(std::ffi::OsStr::from_bytes(b"\xff\xfe.md"))));
    }
}
