//! What has been handed on, so that it is not handed on twice.

use std::collections::HashMap;

use crate::model::{DocumentPath, Observation};

/// Remembers files by 128-bit hashes: 32 bytes each, however long their paths are.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Mark, Mark>);

/// The first half of a BLAKE3 hash.
type Mark = [u8; 16];

impl Known {
    /// Returns whether the file was handed on as it is now.
    pub(super) fn is_sent(&self, path: &DocumentPath, seen: &Observation) -> bool {
        self.0.get(&mark_of_path(path)) == Some(&mark_of_observation(seen))
    }

    pub(super) fn sent(&mut self, path: &DocumentPath, seen: &Observation) {
        self.0.insert(mark_of_path(path), mark_of_observation(seen));
    }

    /// Forgets a file that is gone, or that could not be read as it was handed on.
    pub(super) fn forget(&mut self, path: &DocumentPath) {
        self.0.remove(&mark_of_path(path));
    }
}

fn mark_of_path(path: &DocumentPath) -> Mark {
    first_half(&blake3::hash(path.as_bytes()))
}

fn mark_of_observation(seen: &Observation) -> Mark {
    let Observation { device, inode, size, modified, changed } = *seen;
    let mut hash = blake3::Hasher::new();
    for number in [device, inode, size] {
        hash.update(&number.to_le_bytes());
    }
    for number in [modified.0, modified.1, changed.0, changed.1] {
        hash.update(&number.to_le_bytes());
    }
    first_half(&hash.finalize())
}

fn first_half(hash: &blake3::Hash) -> Mark {
    let mut mark = Mark::default();
    mark.copy_from_slice(&hash.as_bytes()[..16]);
    mark
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_file_is_known_only_as_it_was_sent() {
        let mut known = Known::default();
        let path = DocumentPath::new(Path::new("a.md")).unwrap();
        let seen = Observation { device: 1, inode: 2, size: 3, modified: (4, 5), changed: (6, 7) };
        assert!(!known.is_sent(&path, &seen));
        known.sent(&path, &seen);
        assert!(known.is_sent(&path, &seen));
        for other in [
            Observation { device: 0, ..seen },
            Observation { inode: 0, ..seen },
            Observation { size: 0, ..seen },
            Observation { modified: (4, 0), ..seen },
            Observation { changed: (6, 0), ..seen },
        ] {
            assert!(!known.is_sent(&path, &other), "{other:?}");
        }
        known.forget(&path);
        assert!(!known.is_sent(&path, &seen));
    }
}
