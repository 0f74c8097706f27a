//! The scope of the next scan. All requests are merged into one scan.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders to be read with all that is below them.
#[derive(Debug, Default)]
pub(in crate::folder) struct Scope {
    whole: bool,
    /// Whether something has happened that asks for it.
    is_for_news: bool,
    folders: BTreeSet<PathBuf>,
}

impl Scope {
    /// Folders asked for singly. Past this many the whole tree is read.
    const CAPACITY: usize = 1000;

    /// Asks for the whole tree, for something has happened in it.
    pub(in crate::folder) fn add_whole(&mut self) {
        self.is_for_news = true;
        self.add_rescan();
    }

    /// Asks for the whole tree although nothing is known to have happened.
    pub(in crate::folder) fn add_rescan(&mut self) {
        self.whole = true;
        self.folders.clear();
    }

    /// Asks for a folder.
    pub(in crate::folder) fn add(&mut self, folder: PathBuf) {
        self.is_for_news = true;
        if !self.whole {
            self.folders.insert(folder);
        }
        if self.folders.len() > Self::CAPACITY {
            self.add_whole();
        }
    }

    /// Returns whether the whole tree is asked for.
    pub(in crate::folder) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Returns whether a path is to be read.
    pub(in crate::folder) fn covers(&self, path: &Path) -> bool {
        self.whole || path.ancestors().any(|above| self.folders.contains(above))
    }

    /// Returns whether something has happened that asks for a scan.
    pub(in crate::folder) fn is_for_news(&self) -> bool {
        self.is_for_news
    }

    /// Takes the folders to start at, each without those that lie below another, or `None` when there is nothing to do.
    pub(in crate::folder) fn take(&mut self) -> Option<Vec<PathBuf>> {
        let Self { whole, folders, is_for_news: _ } = std::mem::take(self);
        if whole {
            return Some(vec![PathBuf::new()]);
        }
        let mut starts: Vec<PathBuf> = Vec::new();
        // Paths are ordered name by name: what is below a folder follows it at once.
        for folder in folders {
            if starts.last().is_none_or(|above| !folder.starts_with(above)) {
                starts.push(folder);
            }
        }
        (!starts.is_empty()).then_some(starts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folders: &[&str]) -> Option<Vec<PathBuf>> {
        let mut scope = Scope::default();
        for folder in folders {
            scope.add(folder.into());
        }
        scope.take()
    }

    #[test]
    fn a_folder_below_another_is_not_read_twice() {
        let starts = take(&["a/b", "a", "a-b", "a/b/c", "c/d", "b"]).unwrap();
        assert_eq!(starts, ["a", "a-b", "b", "c/d"].map(PathBuf::from));
        assert_eq!(take(&[]), None);
    }

    #[test]
    fn the_whole_tree_swallows_its_folders() {
        let mut scope = Scope::default();
        scope.add("a".into());
        scope.add_whole();
        scope.add("b".into());
        assert_eq!(scope.take(), Some(vec![PathBuf::new()]));
        assert_eq!(scope.take(), None);
    }

    #[test]
    fn a_scan_that_only_the_timer_asks_for_is_distinguished_from_others() {
        let mut scope = Scope::default();
        scope.add_rescan();
        assert!(!scope.is_for_news());
        scope.add("a".into());
        assert!(scope.is_for_news() && scope.is_whole() && scope.covers(Path::new("b")));
        assert_eq!(scope.take(), Some(vec![PathBuf::new()]));
        assert!(!scope.is_for_news());
        scope.add("a".into());
        assert!(scope.covers(Path::new("a/b/c")) && !scope.covers(Path::new("b/c")));
    }

    #[test]
    fn too_many_folders_are_the_whole_tree() {
        let mut scope = Scope::default();
        for number in 0..=Scope::CAPACITY {
            scope.add(number.to_string().into());
        }
        assert!(scope.is_whole());
        assert_eq!(scope.take(), Some(vec![PathBuf::new()]));
    }
}
