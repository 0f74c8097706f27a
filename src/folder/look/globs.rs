//! Lists of globs, with gitignore's rules.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ignore::Error;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

use crate::domain::is_invisible;

/// Globs as they are in `.gitignore`, relative to the source folder; the last that matches decides, `!` turns one around.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Globs {
    written: Vec<String>,
    matcher: Gitignore,
}

/// Says why a glob matches nothing, or not what its writer means.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {why} ({})", shown(glob), instead(forms))]
pub struct NotAGlob {
    glob: String,
    why: String,
    /// What would match what is meant, where that is known.
    forms: Vec<String>,
}

/// Returns a glob as it can be seen.
fn shown(glob: &str) -> Cow<'_, str> {
    if glob.chars().any(|character| character != ' ' && is_invisible(character)) {
        glob.escape_debug().to_string().into()
    } else {
        glob.into()
    }
}

fn instead(forms: &[String]) -> String {
    if forms.is_empty() {
        return "examples: \"*.md\", \"/reports/**/*.pdf\", \"drafts/\"".to_owned();
    }
    format!("write {}", forms.iter().map(|form| format!("{form:?}")).collect::<Vec<_>>().join(", "))
}

impl Globs {
    /// Takes globs, each of which must match something. `#` begins no comment here.
    ///
    /// # Errors
    /// When one is no glob, is empty, or could match nothing.
    pub fn new(written: Vec<String>) -> Result<Self, NotAGlob> {
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        let mut is_first = true;
        for glob in &written {
            let not_a_glob =
                |why: String| NotAGlob { glob: glob.clone(), why: format!("is not a glob: {why}"), forms: Vec::new() };
            if glob.trim_matches(['!', '/', ' ']).is_empty() {
                return Err(not_a_glob("it is empty".into()));
            }
            if let Some(InVain { why, forms, .. }) = in_vain(glob) {
                return Err(NotAGlob { glob: glob.clone(), why: format!("matches nothing: {why}"), forms });
            }
            if std::mem::take(&mut is_first) && glob.starts_with('!') {
                let why = "matches nothing: `!` excludes from what an earlier glob matched, and it is the first".to_owned();
                return Err(NotAGlob { glob: glob.clone(), why, forms: vec!["*".to_owned(), glob.clone()] });
            }
            let escape = if glob.starts_with('#') { "\\" } else { "" };
            builder.add_line(None, &format!("{escape}{glob}")).map_err(|error| not_a_glob(without_the_glob(error)))?;
        }
        let matcher = builder.build().map_err(|error| NotAGlob {
            glob: written.join(", "),
            why: format!("is not a glob: {}", without_the_glob(error)),
            forms: Vec::new(),
        })?;
        Ok(Self { written, matcher })
    }

    /// Checks that no glob begins with the path of the source folder, from which on globs are read: as that of a folder inside it,
    /// it would match nothing. One that lies there, as `docs/docs` may, is meant. Blocks.
    ///
    /// # Errors
    /// When one does.
    pub fn check_within(&self, source: &Path) -> Result<(), NotAGlob> {
        let written = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
        let real = source.canonicalize().unwrap_or_else(|_| written.clone());
        for glob in &self.written {
            let found = [&written, &real].into_iter().find_map(|folder| from_outside(glob, folder, source));
            if let Some(form) = found {
                let why = format!("matches nothing: globs begin inside the source folder `{}`", source.display());
                return Err(NotAGlob { glob: glob.clone(), why, forms: vec![form] });
            }
        }
        Ok(())
    }

    /// Returns whether there are no globs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Returns whether a file or a folder above it matches; the match nearest to the file decides.
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

/// Why no path can match a glob, or none that is meant by it.
#[derive(Debug)]
pub(super) struct InVain {
    pub(super) why: String,
    /// What would match what is meant, where it is known.
    pub(super) forms: Vec<String>,
    /// Whether they can mean nothing else.
    pub(super) is_sure: bool,
}

/// Returns why a glob matches nothing, if so.
pub(super) fn in_vain(glob: &str) -> Option<InVain> {
    let (not, glob) = glob.strip_prefix('!').map_or(("", glob), |rest| ("!", rest));
    // The matcher leaves white space at the end out.
    let glob = if glob.ends_with("\\ ") { glob } else { glob.trim_end() };
    let vain = |why: &str, form: Option<String>, is_sure| {
        let form = form.filter(|form| !form.trim_matches('/').is_empty());
        Some(InVain { why: why.to_owned(), forms: form.map(|form| format!("{not}{form}")).into_iter().collect(), is_sure })
    };
    let list = |why: &str, globs: Vec<&str>| {
        let forms = globs.into_iter().map(|glob| glob.trim().to_owned()).filter(|glob| !glob.is_empty()).collect();
        Some(InVain { why: why.to_owned(), forms, is_sure: false })
    };
    if glob.contains(['\n', '\r']) {
        return list("it is more than one line, and each glob is a text of its own", glob.lines().collect());
    }
    // The wide space of Chinese and Japanese does occur in names.
    if let Some(hidden) = glob.chars().find(|character| is_invisible(*character) && !matches!(character, ' ' | '\u{3000}')) {
        let plain = glob.chars().filter(|character| *character != hidden).collect();
        return vain(&format!("it holds the invisible character U+{:04X}", u32::from(hidden)), Some(plain), true);
    }
    if glob.starts_with(' ') {
        return vain("it begins with a space", Some(glob.trim_start().to_owned()), true);
    }
    if let Some(globs) = parted(glob) {
        return list("a comma separates no globs, and each is a text of its own", globs);
    }
    let names: Vec<&str> = glob.split('/').collect();
    if names[0].starts_with("${") || names[0].starts_with("$HOME") || names[0] == "~" {
        let why = format!("`{}` is not expanded, and globs begin inside the source folder", names[0]);
        return vain(&why, below(&names), false);
    }
    if glob.contains("\\.") {
        let plain = glob.trim_matches(['^', '$']).replace(".*", "*").replace("\\.", ".");
        return vain("it is a regular expression, and not a glob", Some(plain), false);
    }
    let escapes = glob.bytes().zip(glob.bytes().skip(1)).any(|(one, next)| one == b'\\' && next.is_ascii_alphanumeric());
    if escapes || glob.ends_with('\\') {
        return vain("`\\` separates no folders, as `/` does", Some(glob.replace('\\', "/")), false);
    }
    if names.iter().any(|name| matches!(*name, "." | "..")) {
        return vain("no file is called `.` or `..`", below(&names), !names.contains(&".."));
    }
    if glob.contains("//") {
        let mut plain = glob.to_owned();
        while plain.contains("//") {
            plain = plain.replace("//", "/");
        }
        return vain("no name is empty, as one between two `/` would be", Some(plain), true);
    }
    // Hidden files are no documents. A hidden name that people do leave out is none of a kind of file.
    let kind =
        glob.strip_prefix('.').filter(|kind| *kind != "config" && kind.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    mime_guess::from_ext(kind).first_raw()?;
    vain("it is the name of a hidden file, and not an ending", Some(format!("*{glob}")), false)
}

/// Returns the globs of a list that is written as one: parted by commas, each but the first with a sign that no name begins with.
fn parted(glob: &str) -> Option<Vec<&str>> {
    let mut depth = 0_u32;
    let parts: Vec<&str> = glob
        .split(|character| {
            match character {
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        })
        .collect();
    let is_glob = |part: &&str| part.trim_start().starts_with(['*', '/', '!']) || part.trim_end().ends_with('/');
    (parts.len() > 1 && parts[1..].iter().all(is_glob)).then_some(parts)
}

/// Returns what is left of the names of a path below the source folder when it is walked: up from the folder leads to its own name.
fn below(names: &[&str]) -> Option<String> {
    let mut rest: Vec<&str> = Vec::new();
    let mut is_outside = names[0] == "~" || names[0].starts_with("$HOME");
    for name in names.iter().skip(usize::from(is_outside || names[0].starts_with('$'))) {
        match *name {
            ".." if rest.pop().is_none() => is_outside = true,
            "" | "." | ".." => {}
            _ if std::mem::take(&mut is_outside) => {}
            name => rest.push(name),
        }
    }
    let end = if names.last().is_some_and(|last| last.is_empty() || *last == ".") { "/" } else { "" };
    (!rest.is_empty()).then(|| format!("/{}{end}", rest.join("/")))
}

/// Returns what a glob that begins with the path of the source folder is without it. `folder` is that path in full.
fn from_outside(glob: &str, folder: &Path, source: &Path) -> Option<String> {
    let (not, glob) = glob.strip_prefix('!').map_or(("", glob), |rest| ("!", rest));
    let names: Vec<&str> = glob.split('/').filter(|name| !name.is_empty()).collect();
    let folder: Vec<&str> = folder.iter().filter_map(|name| name.to_str()).filter(|name| *name != "/").collect();
    let plain = names.iter().take_while(|name| !name.contains(['*', '?', '[', '{', '\\'])).count();
    let is_there = |names: &[&str]| source.join(names.iter().collect::<PathBuf>()).symlink_metadata().is_ok();
    let end = if glob.ends_with('/') { "/" } else { "" };
    let without = |count: usize| match names[count..].join("/") {
        rest if rest.is_empty() => format!("{not}*"),
        rest => format!("{not}/{rest}{end}"),
    };
    if glob.starts_with('/') {
        // A folder of the root's own, as `/docs`, may be meant to be one in the source folder.
        let depth = folder.len().min(plain);
        let leads_there = depth > 1 && names[..depth] == folder[..depth] || depth == 1 && names.len() > 1 && folder == names[..1];
        return (leads_there && !is_there(&names[..depth])).then(|| without(depth));
    }
    // As it is written from the folder in which the source folder lies, or from one above.
    let count = (1..=plain.min(names.len().saturating_sub(1))).rev().find(|count| folder.ends_with(&names[..*count]))?;
    (!is_there(&names[..count])).then(|| without(count))
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
    fn a_folder_covers_all_that_is_below_it() {
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
    fn a_glob_that_could_match_nothing_is_refused_with_the_one_that_would() {
        for (bad, form) in [
            ("./private/", "\"/private/\""),
            ("./private/**", "\"/private/**\""),
            ("!./private/", "\"!/private/\""),
            ("./*.md", "\"/*.md\""),
            ("private/./", "\"/private/\""),
            ("private/.", "\"/private/\""),
            ("a/./b", "\"/a/b\""),
            ("../drop/private/", "\"/private/\""),
            ("../../in/drop.d/../drop/private/", "\"/drop/private/\""),
            ("a/../private/", "\"/private/\""),
            ("private//", "\"private/\""),
            ("//private/", "\"/private/\""),
            ("a///b", "\"a/b\""),
            ("~/drop/private/", "\"/private/\""),
            ("$HOME/drop/private/", "\"/private/\""),
            ("${DROP}/private/", "\"/private/\""),
            ("private\\notes", "\"private/notes\""),
            ("private\\", "\"private/\""),
            (".*\\.pdf", "\"*.pdf\""),
            ("^.*\\.pdf$", "\"*.pdf\""),
            (".pdf", "\"*.pdf\""),
            (" private/", "\"private/\""),
            ("private/\u{200b}", "\"private/\""),
            ("\u{feff}*.md", "\"*.md\""),
            ("*.md,*.txt", "\"*.md\", \"*.txt\""),
            ("drafts/, private/", "\"drafts/\", \"private/\""),
            ("*.md\n*.txt", "\"*.md\", \"*.txt\""),
        ] {
            let error = Globs::new(vec!["*.md".into(), bad.into()]).unwrap_err().to_string();
            assert!(error.contains("matches nothing: ") && error.ends_with(&format!(" (write {form})")), "{bad}: {error}");
        }
        let error = Globs::new(vec!["!keep.md".into()]).unwrap_err().to_string();
        assert!(error.ends_with("(write \"*\", \"!keep.md\")"), "{error}");
    }

    #[test]
    fn a_glob_that_looks_odd_and_matches_is_taken() {
        for glob in [
            ".git/",
            ".env",
            ".config",
            "~$*",
            "*~",
            "a b.md",
            "Smith, John*",
            "{a,b}/",
            "*.{md,txt}",
            "[,]*",
            "\\!a",
            "\\#a",
            "\\*",
            "a\\ ",
            "**",
            "/**",
            "a/**/b",
            "...",
            "..a",
            "a..b/",
            "$RECYCLE.BIN/",
            "\u{3000}a",
            "private/ ",
        ] {
            assert!(Globs::new(vec!["a".into(), glob.into()]).is_ok(), "{glob}: {:?}", in_vain(glob));
        }
    }

    #[test]
    fn a_glob_that_begins_with_the_source_folders_path_is_refused_unless_such_a_folder_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("in/drop");
        std::fs::create_dir_all(source.join("private")).unwrap();
        std::os::unix::fs::symlink(root.path().join("in"), root.path().join("link")).unwrap();
        let at = root.path().to_str().unwrap();
        let check = |glob: &str, source: &Path| globs(&["a", glob]).check_within(source).map_err(|error| error.to_string());
        for (bad, form) in [
            (format!("{at}/in/drop/private/"), "\"/private/\""),
            (format!("!{at}/in/drop/private/*.md"), "\"!/private/*.md\""),
            (format!("{at}/in/drop"), "\"*\""),
            ("drop/private/".to_owned(), "\"/private/\""),
            ("in/drop/private/**".to_owned(), "\"/private/**\""),
            ("drop/*.md".to_owned(), "\"/*.md\""),
        ] {
            let error = check(&bad, &source).unwrap_err();
            assert!(error.ends_with(&format!("(write {form})")), "{bad}: {error}");
        }
        let link = root.path().join("link/drop");
        assert!(
            check(&format!("{at}/link/drop/private/"), &link).is_err()
                && check(&format!("{at}/in/drop/private/"), &link).is_err()
        );
        for good in ["private/", "/private/", "/drop/private/", "drop/", "in/other/", "/tmp/", "**/drop/a.md"] {
            assert!(check(good, &source).is_ok(), "{good}");
        }
        assert!(check("/docs/", Path::new("/docs")).is_ok() && check("/docs/a.md", Path::new("/docs")).is_err());
        std::fs::create_dir(source.join("drop")).unwrap();
        assert!(check("drop/private/", &source).is_ok(), "there is such a folder in it");
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_too() {
        use std::os::unix::ffi::OsStrExt as _;
        assert!(globs(&["*.md"]).match_file(Path::new(std::ffi::OsStr::from_bytes(b"\xff\xfe.md"))));
    }
}
