//! Reconciles the folder with the known files: one walk through both, side by side.
//!
//! Gone means looked for. A file that a scan has not come upon may be on its way from one name to another, in a folder that cannot
//! be read, or on a mount that is away; so each is asked for by its own name, and what is unknown is kept.

use std::mem;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::known_files_cursor::Merge;
use super::walk::{Sighting, walk};
use crate::domain::{DocumentPath, MemoryError, Observation};
use crate::folder::look::dir_cache::Near;
use crate::folder::look::file_filter::Taken;
use crate::folder::look::inspect::{Known, Looked, Survey};
use crate::folder::look::root::Extent;
use crate::folder::settle::settler::{Look, View};

/// How a scan treats a known file that it has not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::folder) enum Absent {
    /// It is kept.
    Kept,
    /// It is looked for.
    Sought,
    /// It is looked for, and after a pause once more: an editor may be at work.
    SoughtTwice(Duration),
}

/// What a walk came upon.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::folder) struct Walked {
    /// Whether it ended, and the first folder could be read.
    pub(in crate::folder) is_whole: bool,
    /// Whether it saw a document.
    pub(in crate::folder) has_files: bool,
    /// Documents that are as they are recorded, and are not shown.
    pub(super) unchanged: u64,
    /// For how long the document that has not changed for longest has been as it is.
    pub(super) oldest: Duration,
}

impl Survey {
    /// Reads the ignore file again, then walks through folders and beside it through what is recorded, and shows what is not known
    /// as it is; what of it `is_quiet` after a close look. Where one of the folders is the whole, known files that it has not come
    /// upon are dealt with as `absent` says, and of those it shows what has happened to them. Blocks.
    ///
    /// # Errors
    /// When the memory cannot be read. What has been shown until then is true.
    pub(in crate::folder) fn scan(
        &self,
        folders: Vec<PathBuf>,
        recursive: bool,
        absent: Absent,
        is_quiet: impl Fn(&Observation, Extent) -> bool,
        see: impl FnMut(Sighting) -> ControlFlow<()>,
    ) -> Result<Walked, MemoryError> {
        self.rules.refresh(&self.root);
        let mut scan = Scan {
            survey: self,
            merge: Merge::behind(&*self.memory, Vec::new()),
            near: Near::new(&self.root),
            absent: Absent::Kept,
            unseen: Vec::new(),
            walked: Walked::default(),
            begun: SystemTime::now(),
            is_quiet,
            see,
        };
        for folder in folders {
            match scan.through(folder, recursive, absent) {
                Ok(()) => {}
                Err(Stopped::Unheard) => {
                    scan.walked.is_whole = false;
                    break;
                }
                Err(Stopped::Memory(error)) => return Err(error),
            }
        }
        Ok(scan.walked)
    }
}

/// Why a scan ended before it was through.
enum Stopped {
    /// Nobody wants to see more.
    Unheard,
    Memory(MemoryError),
}

impl From<MemoryError> for Stopped {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

/// A scan in progress.
struct Scan<'a, Q, S> {
    survey: &'a Survey,
    merge: Merge<'a>,
    near: Near<'a>,
    absent: Absent,
    /// Known files that it has not come upon.
    unseen: Vec<DocumentPath>,
    walked: Walked,
    begun: SystemTime,
    is_quiet: Q,
    see: S,
}

impl<Q, S> Scan<'_, Q, S>
where
    Q: Fn(&Observation, Extent) -> bool,
    S: FnMut(Sighting) -> ControlFlow<()>,
{
    /// Files that it has not come upon are looked for when it is through, for a file's new name comes before its removal;
    /// or when they are so many, of some 100 bytes each.
    const UNSEEN: usize = 65_536;
    /// Files looked for between two looks at the folder itself.
    const AT_ONCE: usize = 1024;

    fn through(&mut self, folder: PathBuf, recursive: bool, absent: Absent) -> Result<(), Stopped> {
        let survey = self.survey;
        let is_whole = folder.as_os_str().is_empty();
        let mut behind = folder.as_os_str().as_encoded_bytes().to_vec();
        if is_whole {
            survey.lately.begin_scan();
            self.walked.is_whole = true;
            self.absent = absent;
        } else {
            behind.push(b'/');
            self.absent = Absent::Kept;
        }
        self.merge = Merge::behind(&*survey.memory, behind);
        let flow =
            walk(&survey.root, &survey.rules, &survey.pulse, folder, recursive, |sighting| match self.come_upon(sighting) {
                Ok(()) => ControlFlow::Continue(()),
                Err(stopped) => ControlFlow::Break(stopped),
            });
        if let ControlFlow::Break(stopped) = flow {
            return Err(stopped);
        }
        if self.absent != Absent::Kept && self.walked.is_whole {
            self.pass(None)?;
            self.seek()?;
        }
        Ok(())
    }

    fn come_upon(&mut self, mut sighting: Sighting) -> Result<(), Stopped> {
        self.survey.pulse.beat();
        match &mut sighting {
            Sighting::File { path, seen, extent, view, was_known } => {
                self.walked.has_files = true;
                self.walked.oldest = self.walked.oldest.max(seen.age(self.begun).unwrap_or_default());
                self.pass(Some(path))?;
                let met = self.merge.meet(path)?;
                match self.survey.known_as(path, seen, met)? {
                    Known::Now => {
                        self.walked.unchanged += 1;
                        return Ok(());
                    }
                    Known::Before => *was_known = true,
                    Known::Not => {}
                }
                if (self.is_quiet)(seen, *extent) {
                    *view = View::Close(self.near.unfinished(path, seen));
                }
            }
            Sighting::Folder(folder) => self.survey.lately.add_folder(folder),
            Sighting::Unreadable(path, _) if path.as_os_str().is_empty() => self.walked.is_whole = false,
            Sighting::Gone(..) | Sighting::Skipped(..) | Sighting::Unreadable(..) => {}
        }
        self.show(sighting)
    }

    /// Passes what is recorded before a path, or all that is left.
    fn pass(&mut self, before: Option<&DocumentPath>) -> Result<(), Stopped> {
        while let Some(unseen) = self.merge.pass(before)? {
            self.survey.pulse.beat();
            if self.absent == Absent::Kept {
                continue;
            }
            self.unseen.push(unseen);
            if self.unseen.len() >= Self::UNSEEN {
                self.seek()?;
            }
        }
        Ok(())
    }

    /// Looks for what the scan has not come upon.
    fn seek(&mut self) -> Result<(), Stopped> {
        let mut missing = Vec::new();
        for paths in mem::take(&mut self.unseen).chunks(Self::AT_ONCE) {
            for looked in self.survey.look(from_afar(paths)) {
                if looked.departure.is_some() && matches!(self.absent, Absent::SoughtTwice(_)) {
                    missing.push(looked.path);
                } else {
                    self.show_looked(looked)?;
                }
            }
        }
        if let Absent::SoughtTwice(pause) = self.absent
            && !missing.is_empty()
        {
            #[expect(
                clippy::disallowed_methods,
                reason = "no event tells that an editor is done, and this is a blocking thread"
            )]
            std::thread::sleep(pause);
            for looked in self.survey.look(from_afar(&missing)) {
                self.show_looked(looked)?;
            }
        }
        Ok(())
    }

    fn show_looked(&mut self, looked: Looked) -> Result<(), Stopped> {
        let Looked { path, taken, view, known, departure } = looked;
        let sighting = match (taken, departure) {
            (_, Some(departure)) => Sighting::Gone(path, departure),
            (Ok(Some(Taken::Document(seen, extent))), None) if known != Known::Now => {
                Sighting::File { path, seen, extent, view, was_known: known == Known::Before }
            }
            (Ok(Some(Taken::Nothing(why))), None) => Sighting::Skipped(path, why),
            (Ok(Some(Taken::Document(..) | Taken::Folder) | None), None) => return Ok(()),
            (Err(error), None) => Sighting::Unreadable(path.as_path().into(), error),
        };
        self.show(sighting)
    }

    fn show(&mut self, sighting: Sighting) -> Result<(), Stopped> {
        match (self.see)(sighting) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stopped::Unheard),
        }
    }
}

fn from_afar(paths: &[DocumentPath]) -> impl Iterator<Item = Look> {
    paths.iter().map(|path| Look { path: path.clone(), closely: None })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::domain::Remembered;
    use crate::folder::scan::fixture::{Scene, path};
    use crate::folder::settle::settler::Unfinished;

    impl Scene {
        /// Writes a file that is recorded as it is.
        fn remembered(&self, name: &str) {
            fs::write(self.at(name), name).unwrap();
            self.shelf.put(name, Remembered { seen: Some(self.seen(name)), device: None });
        }

        /// Scans a folder, and returns what was shown.
        fn scan(&self, folder: &str, absent: Absent) -> (Walked, Vec<String>) {
            let mut shown = Vec::new();
            let see = |sighting| {
                match sighting {
                    Sighting::File { path, was_known: false, .. } => shown.push(format!("{path} new")),
                    Sighting::File { path, .. } => shown.push(format!("{path} changed")),
                    Sighting::Gone(path, departure) => shown.push(format!("{path} {departure:?}")),
                    Sighting::Folder(_) => {}
                    other => panic!("{other:?}"),
                }
                ControlFlow::Continue(())
            };
            let walked = self.survey.scan(vec![folder.into()], true, absent, |_, _| false, see).unwrap();
            (walked, shown)
        }
    }

    #[test]
    fn a_scan_shows_new_files_then_removed_ones_and_no_unchanged_one() {
        let scene = Scene::new();
        for name in ["a.txt", "a/file", "a/other", "gone", "z"] {
            scene.remembered(name);
        }
        fs::remove_file(scene.at("gone")).unwrap();
        fs::write(scene.at("a/other"), "changed").unwrap();
        fs::write(scene.at("a/new"), "").unwrap();
        for (absent, gone) in [
            (Absent::Kept, None),
            (Absent::Sought, Some("gone Removed")),
            (Absent::SoughtTwice(Duration::ZERO), Some("gone Removed")),
        ] {
            let expected: Vec<_> = ["a/new new", "a/other changed"].into_iter().chain(gone).collect();
            assert_eq!(scene.scan("", absent).1, expected, "{absent:?}");
        }
        assert_eq!(scene.scan("a", Absent::Sought).1, ["a/new new", "a/other changed"], "elsewhere nothing has been walked");
    }

    #[test]
    fn what_was_recently_sent_is_not_shown_again_though_it_is_not_recorded() {
        let scene = Scene::new();
        fs::write(scene.at("a/file"), "").unwrap();
        assert_eq!(scene.scan("", Absent::Sought).1, ["a/file new"]);
        scene.survey.lately.send(&path("a/file"), &scene.seen("a/file"));
        assert_eq!(scene.scan("", Absent::Sought).1, [""; 0]);
    }

    #[test]
    fn files_of_a_removed_folder_are_removed_but_not_those_of_a_removed_source_folder() {
        let scene = Scene::new();
        for number in 0..3_000 {
            scene.remembered(&format!("a/{number}"));
        }
        scene.remembered("b");
        fs::rename(scene.at("a"), scene.folder.path().join("away")).unwrap();
        let (walked, shown) = scene.scan("", Absent::Sought);
        assert!(walked.is_whole);
        assert_eq!(shown.len(), 3_000);
        fs::remove_dir_all(scene.at("")).unwrap();
        let (walked, shown) = scene.scan("", Absent::Sought);
        assert!(
            walked.is_whole && !walked.has_files,
            "a folder that has been removed is empty; that it has been is seen by its place"
        );
        assert_eq!(shown, [""; 0]);
    }

    #[test]
    fn a_scan_says_whether_it_was_whole_and_whether_a_file_was_there() {
        let scene = Scene::new();
        assert!(!scene.scan("", Absent::Kept).0.has_files);
        scene.remembered("a/known");
        let (part, whole) = (scene.scan("a", Absent::Kept).0, scene.scan("", Absent::Kept).0);
        assert!(part.has_files && !part.is_whole && whole.has_files && whole.is_whole);
        let unheard = scene.survey.scan(vec![PathBuf::new()], true, Absent::Kept, |_, _| false, |_| ControlFlow::Break(()));
        assert!(!unheard.unwrap().is_whole);
    }

    #[test]
    fn a_scan_looks_closely_at_what_is_quiet_and_not_known() {
        let scene = Scene::new();
        for (name, text) in [("whole.json", "[]"), ("cut.json", "["), ("young.json", "["), ("known.json", "[")] {
            fs::write(scene.at(name), text).unwrap();
        }
        scene.survey.lately.send(&path("known.json"), &scene.seen("known.json"));
        let young = scene.seen("young.json");
        let mut views = Vec::new();
        let see = |sighting| {
            if let Sighting::File { path, view, .. } = sighting {
                views.push((path.to_string(), view));
            }
            ControlFlow::Continue(())
        };
        scene.survey.scan(vec![PathBuf::new()], true, Absent::Kept, |seen, _| *seen != young, see).unwrap();
        let expected =
            [("cut.json", View::Close(Some(Unfinished::Cut))), ("whole.json", View::Close(None)), ("young.json", View::FromAfar)];
        assert_eq!(views, expected.map(|(name, view)| (name.to_owned(), view)));
    }
}
