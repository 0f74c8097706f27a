//! Compares the folder with what is known: what is new or changed is handed on, and what is known and was not seen is looked for.
//!
//! Gone means looked for. A file that a scan has not seen may be on its way from one name to another, in a folder that cannot be
//! read, or on a mount that is away; so each is asked for by its own name, and what cannot be told is kept.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::known::Known;
use super::near::Near;
use super::pulse::Pulse;
use super::root::{Extent, Root};
use super::rules::{Rules, Taken};
use super::scan::{Sighting, walk};
use super::settle::{Look, View};
use super::told::Skip;
use crate::model::{Claims, Departure, DocumentPath, Memory, MemoryError, Observation};

/// The folder, and what it is compared with.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub(super) root: Arc<Root>,
    pub(super) rules: Arc<Rules>,
    pub(super) known: Arc<Known>,
    pub(super) memory: Arc<dyn Memory>,
    pub(super) claims: Claims,
    /// How whoever uses this gets on.
    pub(super) pulse: Pulse,
}

/// What lies under a path, by a look of its own.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) path: DocumentPath,
    pub(super) taken: io::Result<Option<Taken>>,
    pub(super) view: View,
    /// How the file has left its place, if it was known and has left it.
    pub(super) departure: Option<Departure>,
}

/// What a walk came upon.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Walked {
    /// Whether it came to its end, and the first folder could be read.
    pub(super) is_whole: bool,
    /// Whether it saw a document.
    pub(super) has_files: bool,
    /// For how long the document that has not changed for longest has been as it is.
    pub(super) oldest: Duration,
}

impl Survey {
    /// Files looked for between two readings of the memory: a bound on what is held of it.
    const BATCH: usize = 65_536;
    /// Files looked for between two looks at the folder itself.
    const AT_ONCE: usize = 1024;

    /// Fills what is known from the memory. Blocks.
    pub(super) fn remember(known: &Known, memory: &dyn Memory) -> Result<(), MemoryError> {
        memory.each(&mut |path, remembered| {
            known.remember(&path, &remembered);
            ControlFlow::Continue(())
        })
    }

    /// Returns whether what is missing in the folder is gone: it is the one that was accepted last, or the first. Blocks.
    pub(super) fn is_accepted(&self) -> Result<bool, MemoryError> {
        let here = self.root.id()?;
        match self.memory.root()? {
            Some(accepted) => Ok(accepted == here),
            None if self.known.is_empty() => self.memory.set_root(here).map(|()| true),
            None => Ok(false),
        }
    }

    /// Returns whether the folder shares its device or its inode with the one that was accepted last: it has been made anew in its
    /// place, or its device has another number now. A mount point without its mount shares neither. Blocks.
    pub(super) fn resembles_the_accepted(&self) -> Result<bool, MemoryError> {
        let here = self.root.id()?;
        Ok(self.memory.root()?.is_none_or(|before| before.0 == here.0 || before.1 == here.1))
    }

    /// Accepts the folder in place of the one that was accepted last. Its device may be the old one under a new number, as after a
    /// restart of the machine, so what was last seen on that is looked for on this. Blocks.
    pub(super) fn accept(&self) -> Result<(), MemoryError> {
        let before = self.memory.root()?;
        let here = self.root.id()?;
        self.memory.set_root(here)?;
        if let Some((device, _)) = before {
            self.known.rename_device(device, here.0);
        }
        Ok(())
    }

    /// Reads the ignore file anew, then walks through folders, and shows what is not known as it is; what of it `is_quiet` after a
    /// close look. Blocks.
    pub(super) fn walk(
        &self,
        folders: Vec<PathBuf>,
        recursive: bool,
        is_quiet: impl Fn(&Observation, Extent) -> bool,
        mut see: impl FnMut(Sighting) -> ControlFlow<()>,
    ) -> Walked {
        self.rules.refresh(&self.root);
        let is_whole = folders.iter().any(|folder| folder.as_os_str().is_empty());
        if is_whole {
            self.known.begin_scan();
        }
        let now = SystemTime::now();
        let mut walked = Walked { is_whole, ..Walked::default() };
        let mut near = Near::new(&self.root);
        let flow = walk(&self.root, &self.rules, folders, recursive, |mut sighting| {
            self.pulse.beat();
            match &mut sighting {
                Sighting::File(path, seen, extent, view) => {
                    walked.has_files = true;
                    walked.oldest = walked.oldest.max(seen.age(now).unwrap_or_default());
                    if self.known.see(path, seen) {
                        return ControlFlow::Continue(());
                    }
                    if is_quiet(seen, *extent) {
                        *view = View::Close(near.unfinished(path, seen));
                    }
                }
                Sighting::Folder(folder) => self.known.add_folder(folder),
                Sighting::Unreadable(path, _) if path.as_os_str().is_empty() => walked.is_whole = false,
                Sighting::Gone(..) | Sighting::Skipped(..) | Sighting::Unreadable(..) => {}
            }
            see(sighting)
        });
        walked.is_whole &= flow.is_continue();
        walked
    }

    /// Looks for what the walk before has not seen, and shows what it finds and what is gone. With a `pause`, what is missing is
    /// looked for once more after it: an editor may be at work. Blocks.
    pub(super) fn sweep(
        &self,
        pause: Option<Duration>,
        mut see: impl FnMut(Sighting) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, MemoryError> {
        if !self.known.has_unseen() {
            return Ok(ControlFlow::Continue(()));
        }
        // What is under way now may be remembered only when it is through; what is not, is remembered already or never will be.
        let held = self.claims.held();
        loop {
            let unseen = self.unseen()?;
            let is_last = unseen.len() < Self::BATCH;
            let mut missing = Vec::new();
            for paths in unseen.chunks(Self::AT_ONCE) {
                for looked in self.look(from_afar(paths.to_vec())) {
                    self.known.settle(&looked.path);
                    if looked.departure.is_some() && pause.is_some() {
                        missing.push(looked.path);
                    } else if self.show(looked, &mut see).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            if let Some(pause) = pause.filter(|_| !missing.is_empty()) {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "no event tells that an editor is done, and this is a blocking thread"
                )]
                std::thread::sleep(pause);
                if self.look(from_afar(missing)).into_iter().try_for_each(|looked| self.show(looked, &mut see)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if is_last {
                if self.root.is_in_place() {
                    self.known.forget_unseen_but(&held);
                }
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    /// Reads from the memory what the scan has not seen. Nothing is waited for meanwhile: whoever writes to it goes on.
    fn unseen(&self) -> Result<Vec<DocumentPath>, MemoryError> {
        let mut unseen = Vec::new();
        self.memory.each(&mut |path, _| {
            self.pulse.beat();
            if self.known.is_unseen(&path) {
                unseen.push(path);
            }
            if unseen.len() < Self::BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(unseen)
    }

    /// Looks at files, known or not. Blocks.
    pub(super) fn look(&self, looks: impl IntoIterator<Item = Look>) -> Vec<Looked> {
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
            let departure = if self.known.knows(&path) { self.departure(&path, &taken) } else { None };
            Looked { path, taken, view, departure }
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

    fn departure(&self, path: &DocumentPath, taken: &io::Result<Option<Taken>>) -> Option<Departure> {
        match taken {
            Ok(Some(Taken::Document(..))) | Err(_) => None,
            Ok(None) => self.is_mounted(path).then_some(Departure::Removed),
            // What the link leads to may be on a mount of its own.
            Ok(Some(Taken::Nothing(Skip::LinkNowhere))) => self.is_mounted(path).then_some(Departure::Hidden),
            Ok(Some(Taken::Nothing(_) | Taken::Folder)) => Some(Departure::Hidden),
        }
    }

    /// Returns whether the file system on which a file was last seen is where it was then: a mount below the source folder that is
    /// away leaves a folder of the file system beneath. On an overlay whose layers lie on different file systems files have other
    /// devices than their folders; there nothing is ever held to be gone.
    fn is_mounted(&self, path: &DocumentPath) -> bool {
        let device = self.known.device_of(path).map_or_else(|| self.root.id().map(|(device, _)| device), Ok);
        matches!((device, self.root.device_above(path)), (Ok(then), Ok(now)) if then == now)
    }

    fn show(&self, looked: Looked, see: &mut impl FnMut(Sighting) -> ControlFlow<()>) -> ControlFlow<()> {
        let Looked { path, taken, departure, view } = looked;
        match (taken, departure) {
            (_, Some(departure)) => see(Sighting::Gone(path, departure)),
            (Ok(Some(Taken::Document(seen, extent))), None) if !self.known.see(&path, &seen) => {
                see(Sighting::File(path, seen, extent, view))
            }
            (Ok(Some(Taken::Nothing(why))), None) => see(Sighting::Skipped(path, why)),
            (Ok(Some(Taken::Document(..) | Taken::Folder) | None), None) => ControlFlow::Continue(()),
            (Err(error), None) => see(Sighting::Unreadable(path.as_path().into(), error)),
        }
    }
}

fn from_afar(paths: Vec<DocumentPath>) -> impl Iterator<Item = Look> {
    paths.into_iter().map(|path| Look { path, closely: None })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::model::{NoMemory, Remembered};
    use crate::source::root::Entry;
    use crate::source::settle::Unfinished;
    use crate::source::{Config, Symlinks};

    /// A source folder of which some files are known.
    struct Scene {
        folder: TempDir,
        survey: Survey,
    }

    fn path(name: &str) -> DocumentPath {
        DocumentPath::new(Path::new(name)).unwrap()
    }

    impl Scene {
        fn new(known: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("drop/a")).unwrap();
            let root = Root::open(&folder.path().join("drop")).unwrap().with(Symlinks::Inside);
            let survey = Survey {
                root: Arc::new(root),
                rules: Arc::new(Rules::new(&Config::default())),
                known: Arc::default(),
                memory: Arc::new(NoMemory),
                claims: Claims::default(),
                pulse: Pulse::default(),
            };
            for name in known {
                survey.known.remember(&path(name), &Remembered { seen: None, device: None });
            }
            Self { folder, survey }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join("drop").join(name)
        }

        /// Has a known file last been seen on the device of the source folder, or on another.
        fn seen_on_another_device(&self, name: &str, is_another: bool) {
            let device = self.survey.root.id().unwrap().0 + u64::from(is_another);
            let seen = Observation { device, inode: 1, size: 2, modified: (3, 4), changed: (5, 6) };
            self.survey.known.send(&path(name), &seen);
        }

        fn departure(&self, name: &str) -> Option<Departure> {
            let looked = self.survey.look(from_afar(vec![path(name)]));
            looked[0].departure
        }
    }

    #[test]
    fn a_close_look_tells_an_open_file_and_a_cut_one_from_a_finished_one() {
        let scene = Scene::new(&[]);
        let look = |closely: bool| {
            let looks = |closely| scene.survey.look([Look { path: path("a/file.json"), closely }]);
            let from_afar = looks(None);
            let Ok(Some(Taken::Document(seen, _))) = from_afar[0].taken else { panic!("it is a document") };
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
    fn a_walk_looks_closely_at_what_is_quiet_and_not_known() {
        let scene = Scene::new(&[]);
        for (name, text) in [("whole.json", "[]"), ("cut.json", "["), ("young.json", "["), ("known.json", "[")] {
            fs::write(scene.at(name), text).unwrap();
        }
        let Ok(Some(Entry::File(seen, _))) = scene.survey.root.look(&path("known.json")) else { panic!("it is there") };
        scene.survey.known.send(&path("known.json"), &seen);
        let Ok(Some(Entry::File(young, _))) = scene.survey.root.look(&path("young.json")) else { panic!("it is there") };
        let mut views = Vec::new();
        scene.survey.walk(
            vec![PathBuf::new()],
            true,
            |seen, _| *seen != young,
            |sighting| {
                if let Sighting::File(path, .., view) = sighting {
                    views.push((path.to_string(), view));
                }
                ControlFlow::Continue(())
            },
        );
        views.sort_by(|one, other| one.0.cmp(&other.0));
        let expected =
            [("cut.json", View::Close(Some(Unfinished::Cut))), ("whole.json", View::Close(None)), ("young.json", View::FromAfar)];
        assert_eq!(views, expected.map(|(name, view)| (name.to_owned(), view)));
    }

    #[test]
    fn only_what_is_known_can_be_gone() {
        let scene = Scene::new(&["a/known"]);
        assert_eq!(scene.departure("a/known"), Some(Departure::Removed));
        assert_eq!(scene.departure("a/other"), None);
        fs::write(scene.at("a/known"), "").unwrap();
        assert_eq!(scene.departure("a/known"), None);
    }

    #[test]
    fn what_was_seen_on_another_device_than_that_of_the_folder_above_is_not_gone() {
        let scene = Scene::new(&["a/file", "a/b/c/file"]);
        for name in ["a/file", "a/b/c/file"] {
            for is_another in [true, false] {
                scene.seen_on_another_device(name, is_another);
                assert_eq!(scene.departure(name).is_none(), is_another, "{name}");
            }
        }
    }

    #[test]
    fn a_link_to_nothing_hides_only_what_was_seen_where_the_link_lies() {
        let scene = Scene::new(&["a/link"]);
        symlink("none", scene.at("a/link")).unwrap();
        scene.seen_on_another_device("a/link", true);
        assert_eq!(scene.departure("a/link"), None, "its target may be on a mount that is away");
        scene.seen_on_another_device("a/link", false);
        assert_eq!(scene.departure("a/link"), Some(Departure::Hidden));
    }

    #[test]
    fn nothing_is_gone_from_a_folder_that_is_not_in_its_place() {
        let scene = Scene::new(&["a/known"]);
        fs::rename(scene.at(""), scene.folder.path().join("away")).unwrap();
        assert_eq!(scene.departure("a/known"), None);
        fs::rename(scene.folder.path().join("away"), scene.at("")).unwrap();
        assert_eq!(scene.departure("a/known"), Some(Departure::Removed));
    }

    #[test]
    fn a_walk_says_whether_it_was_whole_and_what_it_is_through_with_is_not_shown_again() {
        let scene = Scene::new(&["a/known"]);
        fs::write(scene.at("a/known"), "").unwrap();
        let walk = |folder: &str| {
            let mut shown = Vec::new();
            let walked = scene.survey.walk(
                vec![folder.into()],
                true,
                |_, _| false,
                |sighting| {
                    if let Sighting::File(path, seen, ..) = sighting {
                        scene.survey.known.send(&path, &seen);
                        shown.push(path.to_string());
                    }
                    ControlFlow::Continue(())
                },
            );
            (walked.is_whole, walked.has_files, shown.len())
        };
        assert_eq!(walk("a"), (false, true, 1));
        assert_eq!(walk(""), (true, true, 0));
        fs::remove_dir_all(scene.at("")).unwrap();
        assert!(scene.survey.known.is_folder(&path("a")));
        assert_eq!(walk(""), (true, false, 0), "a folder that has been removed is empty; that it has been is seen by its place");
        assert!(!scene.survey.known.is_folder(&path("a")) && scene.survey.known.is_unseen(&path("a/known")));
    }
}
