//! Inspects single files of the folder against the known files.

use std::io;
use std::sync::Arc;

use super::dir_cache::Near;
use super::file_filter::{Rules, Taken};
use super::root::Root;
use crate::domain::{Departure, DocumentPath, Memory, MemoryError, Observation, Remembered};
use crate::folder::scan::log_once::Skip;
use crate::folder::scan::recently_sent::{Lately, Sent};
use crate::folder::settle::settler::{Look, View};
use crate::telemetry::heartbeat::Pulse;

/// The folder, and what it is compared with.
#[derive(Debug, Clone)]
pub(in crate::folder) struct Survey {
    pub(in crate::folder) root: Arc<Root>,
    pub(in crate::folder) rules: Arc<Rules>,
    pub(in crate::folder) lately: Arc<Lately>,
    pub(in crate::folder) memory: Arc<dyn Memory>,
    /// The progress of the caller.
    pub(in crate::folder) pulse: Pulse,
}

/// What lies under a path, by a look of its own.
#[derive(Debug)]
pub(in crate::folder) struct Looked {
    pub(in crate::folder) path: DocumentPath,
    pub(in crate::folder) taken: io::Result<Option<Taken>>,
    pub(in crate::folder) view: View,
    /// As what the document is known that lies there.
    pub(in crate::folder) known: Known,
    /// How the file has left its place, if it was known and has left it.
    pub(in crate::folder) departure: Option<Departure>,
}

/// As what a file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Known {
    /// It is not.
    Not,
    /// As another than it is now.
    Before,
    /// As it is.
    Now,
}

impl Survey {
    /// Returns whether files missing in the folder were removed: it is the one that was accepted last, or the first. Blocks.
    pub(in crate::folder) fn is_accepted(&self) -> Result<bool, MemoryError> {
        let here = self.root.id()?;
        match self.memory.root()? {
            Some(accepted) => Ok(accepted == here),
            None if self.memory.after(b"", 1)?.is_empty() => self.memory.set_root(here).map(|()| true),
            None => Ok(false),
        }
    }

    /// Returns whether the folder shares its device or its inode with the one that was accepted last: it has been recreated in its
    /// place, or its device has another number now. A mount point without its mount shares neither. Blocks.
    pub(in crate::folder) fn resembles_the_accepted(&self) -> Result<bool, MemoryError> {
        let here = self.root.id()?;
        Ok(self.memory.root()?.is_none_or(|before| before.0 == here.0 || before.1 == here.1))
    }

    /// Accepts the folder in place of the one that was accepted last. Its device may be the old one under a new number, as after a
    /// restart of the machine, so what was last seen on that is looked for on this. Blocks.
    pub(in crate::folder) fn accept(&self) -> Result<(), MemoryError> {
        let before = self.memory.root()?;
        let here = self.root.id()?;
        self.memory.set_root(here)?;
        if let Some((device, _)) = before {
            self.lately.rename_device(device, here.0);
        }
        Ok(())
    }

    /// Returns as what a file is known; `met` is what a scan has met of it, which may be older than what is recorded by now.
    pub(in crate::folder) fn known_as(
        &self,
        path: &DocumentPath,
        seen: &Observation,
        met: Option<Remembered>,
    ) -> Result<Known, MemoryError> {
        if let Some(sent) = self.lately.sent(path) {
            return Ok(match sent {
                Sent::There { .. } if self.lately.has_sent(path, seen) => Known::Now,
                Sent::There { .. } | Sent::Again => Known::Before,
                Sent::Gone => Known::Not,
            });
        }
        let is_as_it_is = |remembered: &Remembered| remembered.seen == Some(*seen);
        if met.as_ref().is_some_and(is_as_it_is) {
            return Ok(Known::Now);
        }
        Ok(match self.memory.of(path)? {
            None => Known::Not,
            Some(remembered) if is_as_it_is(&remembered) => Known::Now,
            Some(_) => Known::Before,
        })
    }

    /// Looks at files, known or not. Blocks.
    pub(in crate::folder) fn look(&self, looks: impl IntoIterator<Item = Look>) -> Vec<Looked> {
        let mut near = Near::new(&self.root);
        let look = |Look { path, closely }: Look| {
            self.pulse.beat();
            let taken = near.look(&path).and_then(|found| self.rules.judge(&self.root, &path, found));
            let view = match (&taken, closely) {
                (Ok(Some(Taken::Document(seen, _))), Some(expected)) if *seen == expected => {
                    View::Close(near.unfinished(&path, seen))
                }
                _ => View::FromAfar,
            };
            let known = match &taken {
                Ok(Some(Taken::Document(seen, _))) => self.known_as(&path, seen, None),
                _ => Ok(Known::Not),
            };
            match known.and_then(|known| Ok((known, self.departure(&path, &taken)?))) {
                Ok((known, departure)) => Looked { path, taken, view, known, departure },
                // Nothing is said of it until that is known.
                Err(error) => Looked { path, taken: Err(io::Error::other(error)), view, known: Known::Not, departure: None },
            }
        };
        let mut looked: Vec<_> = looks.into_iter().map(look).collect();
        // In a folder that has itself been removed nothing is found any more.
        if looked.iter().any(|looked| looked.departure.is_some()) && !self.root.is_in_place() {
            for looked in &mut looked {
                looked.departure = None;
            }
        }
        looked
    }

    /// Returns how a file has left its place, if it is known and has left it.
    fn departure(&self, path: &DocumentPath, taken: &io::Result<Option<Taken>>) -> Result<Option<Departure>, MemoryError> {
        let (departure, has_to_be_mounted) = match taken {
            Ok(Some(Taken::Document(..))) | Err(_) => return Ok(None),
            Ok(None) => (Departure::Removed, true),
            // What the link leads to may be on a mount of its own.
            Ok(Some(Taken::Nothing(Skip::LinkNowhere))) => (Departure::Hidden, true),
            Ok(Some(Taken::Nothing(_) | Taken::Folder)) => (Departure::Hidden, false),
        };
        let device = match self.lately.sent(path) {
            Some(Sent::There { device, .. }) => Some(device),
            Some(Sent::Gone) => return Ok(None),
            sent @ (Some(Sent::Again) | None) => match self.memory.of(path)? {
                Some(remembered) => remembered.device,
                None if sent.is_none() => return Ok(None),
                None => None,
            },
        };
        Ok((!has_to_be_mounted || self.is_mounted(path, device)).then_some(departure))
    }

    /// Returns whether the file system on which a file was last seen is where it was then: a mount below the source folder that is
    /// away leaves a folder of the file system beneath. On an overlay whose layers lie on different file systems files have other
    /// devices than their folders; there nothing is ever held to be gone.
    fn is_mounted(&self, path: &DocumentPath, device: Option<u64>) -> bool {
        let device = device.map_or_else(|| self.root.id().map(|(device, _)| device), |then| Ok(self.lately.device_now(then)));
        matches!((device, self.root.device_above(path)), (Ok(then), Ok(now)) if then == now)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::folder::scan::fixture::{Scene, path};
    use crate::folder::settle::settler::Unfinished;

    impl Scene {
        /// Some files are recorded, though not how they looked.
        fn of(known: &[&str]) -> Self {
            let scene = Self::new();
            for name in known {
                scene.shelf.put(name, Remembered { seen: None, device: None });
            }
            scene
        }

        /// Has a known file last been seen on the device of the source folder, or on another.
        fn seen_on_another_device(&self, name: &str, is_another: bool) {
            let device = self.survey.root.id().unwrap().0 + u64::from(is_another);
            self.shelf.put(name, Remembered { seen: None, device: Some(device) });
        }

        fn departure(&self, name: &str) -> Option<Departure> {
            self.look(name).departure
        }
    }

    #[test]
    fn a_close_look_tells_an_open_file_and_a_cut_one_from_a_finished_one() {
        let scene = Scene::new();
        let look = |closely: bool| {
            let looks = |closely| scene.survey.look([Look { path: path("a/file.json"), closely }]);
            let seen = scene.seen("a/file.json");
            assert_eq!(looks(Some(Observation { size: 1, ..seen }))[0].view, View::FromAfar, "it has changed");
            looks(closely.then_some(seen))[0].view
        };
        fs::write(scene.at("a/file.json"), "[1, 2").unwrap();
        assert_eq!((look(false), look(true)), (View::FromAfar, View::Close(Some(Unfinished::Cut))));
        let writer = fs::File::options().append(true).open(scene.at("a/file.json")).unwrap();
        assert_eq!((look(false), look(true)), (View::FromAfar, View::Close(Some(Unfinished::Open))));
        std::io::Write::write_all(&mut &writer, b"]").unwrap();
        drop(writer);
        assert_eq!(look(true), View::Close(None));
    }

    #[test]
    fn a_file_is_known_as_it_was_recently_sent_or_is_recorded() {
        let scene = Scene::of(&["a/remembered"]);
        for name in ["a/new", "a/remembered", "a/sent", "a/returned"] {
            fs::write(scene.at(name), name).unwrap();
        }
        assert_eq!([scene.look("a/new").known, scene.look("a/remembered").known], [Known::Not, Known::Before]);
        let seen = scene.seen("a/remembered");
        scene.shelf.put("a/remembered", Remembered { seen: Some(seen), device: None });
        assert_eq!(scene.look("a/remembered").known, Known::Now);

        scene.survey.lately.send(&path("a/sent"), &scene.seen("a/sent"));
        assert_eq!(scene.look("a/sent").known, Known::Now);
        fs::write(scene.at("a/sent"), "changed since").unwrap();
        assert_eq!(scene.look("a/sent").known, Known::Before);

        // Its removal is being sent, which the ledger does not know yet.
        scene.shelf.put("a/returned", Remembered { seen: Some(scene.seen("a/returned")), device: None });
        scene.survey.lately.send_gone(&path("a/returned"));
        assert_eq!(scene.look("a/returned").known, Known::Not);
    }

    #[test]
    fn what_a_scan_has_met_may_be_older_than_what_is_recorded_by_now() {
        let scene = Scene::new();
        fs::write(scene.at("file"), "").unwrap();
        let seen = scene.seen("file");
        scene.shelf.put("file", Remembered { seen: Some(seen), device: None });
        for met in [None, Some(Remembered { seen: None, device: None })] {
            assert_eq!(scene.survey.known_as(&path("file"), &seen, met).unwrap(), Known::Now);
        }
    }

    #[test]
    fn only_what_is_known_can_be_gone_and_only_once() {
        let scene = Scene::of(&["a/known"]);
        assert_eq!(scene.departure("a/known"), Some(Departure::Removed));
        assert_eq!(scene.departure("a/other"), None);
        fs::write(scene.at("a/known"), "").unwrap();
        assert_eq!(scene.departure("a/known"), None);
        let seen = scene.seen("a/known");
        fs::remove_file(scene.at("a/known")).unwrap();
        scene.survey.lately.send_gone(&path("a/known"));
        assert_eq!(scene.departure("a/known"), None, "that is on its way");
        scene.survey.lately.send(&path("a/other"), &seen);
        assert_eq!(scene.departure("a/other"), Some(Departure::Removed), "it is not remembered yet");
    }

    #[test]
    fn a_file_on_another_device_than_its_folder_is_not_removed() {
        let scene = Scene::of(&["a/file", "a/b/c/file"]);
        for name in ["a/file", "a/b/c/file"] {
            for is_another in [true, false] {
                scene.seen_on_another_device(name, is_another);
                assert_eq!(scene.departure(name).is_none(), is_another, "{name}");
            }
        }
    }

    #[test]
    fn a_link_to_nothing_hides_only_what_was_seen_where_the_link_lies() {
        let scene = Scene::of(&["a/link"]);
        symlink("none", scene.at("a/link")).unwrap();
        scene.seen_on_another_device("a/link", true);
        assert_eq!(scene.departure("a/link"), None, "its target may be on a mount that is away");
        scene.seen_on_another_device("a/link", false);
        assert_eq!(scene.departure("a/link"), Some(Departure::Hidden));
    }

    #[test]
    fn no_file_is_removed_while_its_folder_is_not_in_place() {
        let scene = Scene::of(&["a/known"]);
        fs::rename(scene.at(""), scene.folder.path().join("away")).unwrap();
        assert_eq!(scene.departure("a/known"), None);
        fs::rename(scene.folder.path().join("away"), scene.at("")).unwrap();
        assert_eq!(scene.departure("a/known"), Some(Departure::Removed));
    }
}
