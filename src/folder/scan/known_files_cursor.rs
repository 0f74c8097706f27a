//! A cursor over known files beside a walk, both in the order of the paths' bytes, so that neither is ever held in memory.

use std::iter::Peekable;
use std::vec;

use crate::domain::{DocumentPath, Memory, MemoryError, Remembered};

/// Reads what is recorded, page by page, as far as the walk has come. Between two pages nothing is held of the memory, so that
/// its writer goes on; what it writes meanwhile may be missed.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    memory: &'a dyn Memory,
    page: Peekable<vec::IntoIter<(DocumentPath, Remembered)>>,
    /// Where the next page begins: behind this path.
    behind: Vec<u8>,
    size: usize,
    is_through: bool,
}

impl<'a> Merge<'a> {
    /// A small folder needs no more.
    const FIRST_PAGE: usize = 64;
    /// Some 200 bytes each.
    const PAGE: usize = 4096;

    /// Begins with the first path whose bytes come after these.
    pub(super) fn behind(memory: &'a dyn Memory, path: Vec<u8>) -> Self {
        Self { memory, page: Vec::new().into_iter().peekable(), behind: path, size: Self::FIRST_PAGE, is_through: false }
    }

    /// Passes one path, if there is one before this; or if there is any.
    pub(super) fn pass(&mut self, before: Option<&DocumentPath>) -> Result<Option<DocumentPath>, MemoryError> {
        let Some(ahead) = self.peek()? else { return Ok(None) };
        let is_passed = before.is_none_or(|before| ahead.as_bytes() < before.as_bytes());
        Ok(self.page.next_if(|_| is_passed).map(|(path, _)| path))
    }

    /// Returns what is recorded of a path, if that is the one ahead: all before it has been passed, and itself it has not.
    pub(super) fn meet(&mut self, path: &DocumentPath) -> Result<Option<Remembered>, MemoryError> {
        self.peek()?;
        Ok(self.page.next_if(|(ahead, _)| ahead == path).map(|(_, remembered)| remembered))
    }

    fn peek(&mut self) -> Result<Option<&DocumentPath>, MemoryError> {
        if self.page.peek().is_none() && !self.is_through {
            let page = self.memory.after(&self.behind, self.size)?;
            match page.last() {
                Some((last, _)) => self.behind = last.as_bytes().to_vec(),
                None => self.is_through = true,
            }
            self.size = (4 * self.size).min(Self::PAGE);
            self.page = page.into_iter().peekable();
        }
        Ok(self.page.peek().map(|(path, _)| path))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::folder::scan::fixture::Shelf;

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    fn shelf<'a>(names: impl IntoIterator<Item = &'a String>) -> Shelf {
        let shelf = Shelf::default();
        for name in names {
            shelf.put(name, Remembered { seen: None, device: None });
        }
        shelf
    }

    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        proptest::collection::btree_set("[a-c.-]([/a-c.-]{0,3}[a-c])?", 0..200).prop_map(|names| {
            names
                .into_iter()
                .filter(|name| !name.contains("//") && !name.split('/').any(|part| part == "." || part == ".."))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn each_recorded_path_is_met_or_passed_once_and_in_order(remembered in names(), walked in names()) {
            let shelf = shelf(&remembered);
            let mut merge = Merge::behind(&shelf, Vec::new());
            let (mut met, mut passed) = (BTreeSet::new(), Vec::new());
            for name in &walked {
                let path = path(name);
                while let Some(before) = merge.pass(Some(&path)).unwrap() {
                    prop_assert!(before < path || before.as_bytes() < path.as_bytes());
                    passed.push(before.to_string());
                }
                if merge.meet(&path).unwrap().is_some() {
                    met.insert(name.clone());
                }
            }
            while let Some(left) = merge.pass(None).unwrap() {
                passed.push(left.to_string());
            }
            prop_assert_eq!(&met, &remembered.intersection(&walked).cloned().collect::<BTreeSet<_>>());
            prop_assert_eq!(passed, remembered.difference(&walked).cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_begins_behind_a_folder_and_reads_page_by_page() {
        let many: Vec<_> = (0..3 * Merge::PAGE).map(|number| format!("b/{number:06}")).collect();
        let shelf = shelf(many.iter().chain(&["a/one".to_owned(), "b.txt".to_owned(), "c".to_owned()]));
        let mut merge = Merge::behind(&shelf, b"b/".to_vec());
        for name in &many {
            assert!(merge.meet(&path(name)).unwrap().is_some(), "{name}");
        }
        assert_eq!(merge.pass(None).unwrap(), Some(path("c")));
        assert_eq!(merge.pass(None).unwrap(), None);
    }

    #[test]
    fn it_does_not_go_back() {
        let shelf = shelf(&["a".to_owned(), "b".to_owned()]);
        let mut merge = Merge::behind(&shelf, Vec::new());
        assert_eq!(merge.pass(Some(&path("b"))).unwrap(), Some(path("a")));
        assert_eq!(merge.meet(&path("a")).unwrap(), None);
        assert!(merge.meet(&path("b")).unwrap().is_some());
    }
}
