//! Which files are documents, and which folders are walked: the keys of the operator, and `.riverbedignore` in the source folder.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::str;
use std::sync::{Arc, PoisonError, RwLock};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use tracing::{debug, warn};

use super::done_marker::Marker;
use super::globs::{Globs, InVain, in_vain, match_from_above, without_the_glob};
use super::read::{ReadError, read_between};
use super::root::{Entry, Extent, Root};
use super::temp_names::{has_temporary, is_leftover};
use crate::domain::{DocumentPath, Observation};
use crate::folder::SourceConfig;
use crate::folder::scan::log_once::Skip;
use crate::report::chain;

/// The file of rules in the source folder.
pub(in crate::folder) const IGNORE_FILE: &str = ".riverbedignore";

/// What the source is asked to take and to leave.
#[derive(Debug)]
pub(in crate::folder) struct Rules {
    filter: RwLock<Arc<Filter>>,
    marker: Option<Marker>,
    recursive: bool,
    file: RwLock<IgnoreFile>,
}

/// Which files are documents, by the operator's globs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// These and no others; empty: all.
    pub include: Globs,
    /// But for these.
    pub exclude: Globs,
}

/// What lies under a path, as the source takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Taken {
    /// A document.
    Document(Observation, Extent),
    /// A folder in which documents may lie.
    Folder,
    /// None of ours.
    Nothing(Skip),
}

/// `.riverbedignore` as it was last read.
#[derive(Debug)]
struct IgnoreFile {
    /// What lay there then, whether or not it could be used: nothing is read, or complained of, twice.
    seen: Option<Entry>,
    rules: Gitignore,
}

impl Rules {
    /// Longest ignore file, in bytes; half of a longer one's rules might be worse than none. Anyone who may drop files may
    /// drop this one: the worst that was found takes 0.2 s and 65 MB to compile. Of 1 MiB it would be 1.7 s and 690 MB.
    const MAX_SIZE: u64 = 64 << 10;

    /// Takes the operator's keys. The ignore file is not read yet.
    pub(in crate::folder) fn new(config: &SourceConfig) -> Self {
        let SourceConfig { include, exclude, marker, recursive, .. } = config.clone();
        let filter = RwLock::new(Arc::new(Filter { include, exclude }));
        Self { filter, marker, recursive, file: RwLock::new(IgnoreFile { seen: None, rules: Gitignore::empty() }) }
    }

    /// Returns whether these are the globs that hold.
    pub(in crate::folder) fn has(&self, filter: &Filter) -> bool {
        *self.filter() == *filter
    }

    /// Takes other globs.
    pub(in crate::folder) fn set(&self, filter: Arc<Filter>) {
        *self.filter.write().unwrap_or_else(PoisonError::into_inner) = filter;
    }

    fn filter(&self) -> Arc<Filter> {
        Arc::clone(&self.filter.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the marker that files wait for, if they do.
    pub(in crate::folder) fn marker(&self) -> Option<&Marker> {
        self.marker.as_ref()
    }

    /// Reads the ignore file, if it is not as it was. While it cannot be read, what it said last holds.
    pub(in crate::folder) fn refresh(&self, root: &Root) {
        let path = DocumentPath::new(Path::new(IGNORE_FILE)).expect("it is a plain name");
        let seen = match root.look(&path) {
            Ok(seen) => seen,
            Err(error) => return debug!(%error, "cannot find out whether there is a {IGNORE_FILE}"),
        };
        if self.file.read().unwrap_or_else(PoisonError::into_inner).seen == seen {
            return;
        }
        let rules = match seen {
            None => Ok(Gitignore::empty()),
            Some(Entry::File(seen, _)) => {
                read_between(root, &path, &seen, Self::MAX_SIZE, || ()).and_then(|contents| parse(&contents.bytes))
            }
            Some(Entry::Folder | Entry::Other(_)) => Err(ReadError::NotRegular),
        };
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        match rules {
            Ok(rules) => {
                debug!(rules = rules.len(), "read {IGNORE_FILE}");
                *file = IgnoreFile { seen, rules };
            }
            // Its writer's last word is an event that asks for another scan.
            Err(error @ (ReadError::Changing | ReadError::Gone)) => debug!(%error, "{IGNORE_FILE} is read by the next scan"),
            Err(error) => {
                warn!(error = %chain(&error), "cannot use {IGNORE_FILE}; its previous content applies");
                file.seen = seen;
            }
        }
    }

    /// Looks for a file by its path, as it came from anywhere, and returns what the source makes of what lies there.
    ///
    /// # Errors
    /// When that is not known.
    pub(super) fn seek(&self, root: &Root, path: &DocumentPath) -> io::Result<Option<Taken>> {
        self.judge(root, path, root.look(path)?)
    }

    /// Returns what the source makes of what has been found under a path, as it came from anywhere.
    ///
    /// # Errors
    /// When that is not known.
    pub(super) fn judge(&self, root: &Root, path: &DocumentPath, found: Option<Entry>) -> io::Result<Option<Taken>> {
        let Some(entry) = found else { return Ok(None) };
        let is_below = path.as_path().iter().count() > 1;
        Ok(Some(match () {
            () if has_temporary(path.as_path()) => Taken::Nothing(Skip::Temporary),
            () if is_below && !self.recursive => Taken::Nothing(Skip::Below),
            () => self.take(root, path, entry)?,
        }))
    }

    /// Returns what the source makes of what a walk came upon. A file that needs a marker has it looked for.
    ///
    /// # Errors
    /// When the marker cannot be looked for.
    pub(in crate::folder) fn take(&self, root: &Root, path: &DocumentPath, entry: Entry) -> io::Result<Taken> {
        Ok(match entry {
            Entry::Other(why) => Taken::Nothing(why),
            Entry::Folder if self.exclude(path.as_path(), true) => Taken::Nothing(Skip::Excluded),
            Entry::Folder => Taken::Folder,
            Entry::File(..) if path.as_path().file_name().is_some_and(|name| is_leftover(name.as_bytes())) => {
                Taken::Nothing(Skip::Temporary)
            }
            Entry::File(..) if self.marker.as_ref().is_some_and(|marker| marker.marked_by(path.as_path()).is_some()) => {
                Taken::Nothing(Skip::Marker)
            }
            Entry::File(..) if self.exclude(path.as_path(), false) || !self.include(path.as_path()) => {
                Taken::Nothing(Skip::Excluded)
            }
            Entry::File(..) if !self.is_marked(root, path)? => Taken::Nothing(Skip::Unmarked),
            Entry::File(seen, extent) => Taken::Document(seen, extent),
        })
    }

    fn include(&self, file: &Path) -> bool {
        let Filter { include, .. } = &*self.filter();
        include.is_empty() || include.match_file(file)
    }

    fn exclude(&self, path: &Path, is_folder: bool) -> bool {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        self.filter().exclude.match_from_above(path, is_folder) || match_from_above(&file.rules, path, is_folder)
    }

    fn is_marked(&self, root: &Root, file: &DocumentPath) -> io::Result<bool> {
        let Some(marker) = &self.marker else { return Ok(true) };
        Ok(matches!(root.look(&marker.of(file))?, Some(Entry::File(..))))
    }
}

/// Reads the lines that are rules, and says once how many are none.
///
/// # Errors
/// When all of them together are more than the matcher can hold.
fn parse(bytes: &[u8]) -> Result<Gitignore, ReadError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut builder = GitignoreBuilder::new("");
    let mut first_bad = None;
    let mut bad_lines = 0_u32;
    for (number, line) in (1_u32..).zip(bytes.split(|byte| *byte == b'\n')) {
        let mut bad = |error: String| {
            bad_lines += 1;
            first_bad.get_or_insert((number, error));
        };
        let line = match str::from_utf8(line) {
            Ok(line) => line,
            Err(error) => {
                bad(error.to_string());
                continue;
            }
        };
        // What is left out by it must not be sent for the sake of a sign too many.
        let vain = if line.starts_with('#') { None } else { in_vain(line) };
        let meant = vain.as_ref().filter(|vain| vain.is_sure).and_then(|vain| vain.forms.first().cloned());
        if let Some(InVain { why, forms, .. }) = vain {
            let form = forms.first().map_or_else(String::new, |form| format!("; {form:?} would"));
            let read = if meant.is_some() { ", and it is read so" } else { "" };
            bad(format!("{:?} matches nothing: {why}{form}{read}", line.trim_end()));
        }
        if let Err(error) = builder.add_line(None, meant.as_deref().unwrap_or(line)) {
            bad(without_the_glob(error));
        }
    }
    if let Some((line, error)) = first_bad {
        warn!(line, %error, bad_lines, "{IGNORE_FILE} has lines that are no globs or match nothing; the others apply");
    }
    builder.build().map_err(|error| ReadError::Io(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A source folder with rules of its own.
    struct Scene {
        pub(super) folder: TempDir,
        rules: Rules,
    }

    impl Scene {
        fn new(config: &SourceConfig) -> Self {
            Self { folder: tempfile::tempdir().unwrap(), rules: Rules::new(config) }
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Writes the ignore file in one piece and has it read.
        fn ignore(&self, text: impl AsRef<[u8]>) {
            self.write("new", text);
            fs::rename(self.folder.path().join("new"), self.folder.path().join(IGNORE_FILE)).unwrap();
            self.refresh();
        }

        fn refresh(&self) {
            self.rules.refresh(&Root::open(self.folder.path()).unwrap());
        }

        fn take(&self, name: &str) -> Taken {
            let (root, path) = (Root::open(self.folder.path()).unwrap(), DocumentPath::new(Path::new(name)).unwrap());
            let entry = root.look(&path).unwrap().expect("it is there");
            self.rules.take(&root, &path, entry).unwrap()
        }

        /// Returns those of the names that are documents.
        fn documents<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
            for name in names {
                self.write(name, "");
            }
            names.iter().copied().filter(|name| matches!(self.take(name), Taken::Document(..))).collect()
        }
    }

    fn globs(written: &[&str]) -> Globs {
        Globs::new(written.iter().map(ToString::to_string).collect()).unwrap()
    }

    #[test]
    fn exclude_goes_over_include_and_folders_are_walked_to_what_is_included() {
        let scene =
            Scene::new(&SourceConfig { include: globs(&["*.md"]), exclude: globs(&["drafts/"]), ..SourceConfig::default() });
        assert_eq!(scene.documents(&["a.md", "b.txt", "a/b/c.md", "a/drafts/d.md"]), ["a.md", "a/b/c.md"]);
        assert_eq!(scene.take("a"), Taken::Folder);
        assert_eq!(scene.take("a/drafts"), Taken::Nothing(Skip::Excluded));
    }

    #[test]
    fn a_path_from_anywhere_is_held_to_what_a_walk_never_comes_to() {
        let scene = Scene::new(&SourceConfig { recursive: false, exclude: globs(&["c/"]), ..SourceConfig::default() });
        let seek = |name: &str| {
            scene.write(name, "");
            scene.rules.seek(&Root::open(scene.folder.path()).unwrap(), &DocumentPath::new(Path::new(name)).unwrap()).unwrap()
        };
        assert!(matches!(seek("a.md"), Some(Taken::Document(..))));
        assert_eq!(seek("b/a.md"), Some(Taken::Nothing(Skip::Below)));
        assert_eq!(seek(".git/config"), Some(Taken::Nothing(Skip::Temporary)));
        let all = Scene::new(&SourceConfig { exclude: globs(&["c/"]), ..SourceConfig::default() });
        all.write("c/d/a.md", "");
        assert_eq!(all.take("c/d/a.md"), Taken::Nothing(Skip::Excluded));
    }

    #[test]
    fn a_name_that_an_editor_gives_a_file_is_a_folders_like_any_other() {
        let scene = Scene::new(&SourceConfig::default());
        assert_eq!(scene.documents(&["4913", "#notes.md#", "a/4913/b.md", "a/#b#/c.md"]), ["a/4913/b.md", "a/#b#/c.md"]);
        assert_eq!(scene.take("4913"), Taken::Nothing(Skip::Temporary));
    }

    #[test]
    fn the_ignore_file_excludes_and_is_read_again_when_it_changes() {
        let scene = Scene::new(&SourceConfig::default());
        let names = ["a.md", "b.txt"];
        assert_eq!(scene.documents(&names), names);
        scene.ignore("\u{feff}# not these\n\n*.md\r\n");
        assert_eq!(scene.documents(&names), ["b.txt"]);
        scene.ignore("*.txt");
        assert_eq!(scene.documents(&names), ["a.md"]);
        fs::remove_file(scene.folder.path().join(IGNORE_FILE)).unwrap();
        scene.refresh();
        assert_eq!(scene.documents(&names), names);
    }

    #[test]
    fn lines_that_are_no_globs_do_not_take_the_others_with_them() {
        let scene = Scene::new(&SourceConfig::default());
        scene.ignore(b"{a\n\xff\xfe\n*.md");
        assert_eq!(scene.documents(&["a.md", "b.txt"]), ["b.txt"]);
    }

    #[test]
    fn a_line_with_a_sign_too_many_leaves_out_what_it_means() {
        let scene = Scene::new(&SourceConfig::default());
        let names = ["private/a.md", "old/b.md", "c.txt", "d.md"];
        scene.ignore("# ./*.md\n./private/\nold//\n\u{200b}*.txt\n");
        assert_eq!(scene.documents(&names), ["d.md"]);
        scene.ignore("../drop/private/\n.md\nold/\n");
        assert_eq!(scene.documents(&names), ["private/a.md", "c.txt", "d.md"], "what is not sure is only said");
    }

    #[test]
    fn an_ignore_file_that_cannot_be_used_leaves_the_rules_as_they_were() {
        let scene = Scene::new(&SourceConfig::default());
        scene.ignore("*.md");
        scene.ignore(vec![b'\n'; usize::try_from(Rules::MAX_SIZE).unwrap() + 1]);
        assert_eq!(scene.documents(&["a.md", "b.txt"]), ["b.txt"]);
        fs::remove_file(scene.folder.path().join(IGNORE_FILE)).unwrap();
        scene.write("elsewhere", "*.txt");
        symlink("elsewhere", scene.folder.path().join(IGNORE_FILE)).unwrap();
        scene.refresh();
        assert_eq!(scene.documents(&["a.md", "b.txt"]), ["b.txt"]);
    }

    #[test]
    fn only_a_marked_file_is_a_document_and_a_marker_never() {
        let marker = Some(Marker::try_from(".done".to_owned()).unwrap());
        let scene = Scene::new(&SourceConfig { marker, ..SourceConfig::default() });
        fs::create_dir(scene.folder.path().join("b.md.done")).unwrap();
        assert_eq!(scene.documents(&["a.md", "a.md.done", "b.md", "b.md.done/c", "d.done.done"]), ["a.md"]);
        assert_eq!(scene.take("a.md.done"), Taken::Nothing(Skip::Marker));
        assert_eq!(scene.take("b.md"), Taken::Nothing(Skip::Unmarked), "a folder marks nothing");
        assert_eq!(scene.take("b.md.done"), Taken::Folder);
    }
}
