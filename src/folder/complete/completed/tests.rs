//! On real folders; where two file systems are needed, on shared memory, which every Linux has beside its disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use std::os::unix::fs::OpenOptionsExt as _;

use super::*;
use crate::folder::complete::names::{arriving, aside};
use crate::folder::complete::take::Still;
use crate::folder::look::root::Entry;
use crate::folder::{Marker, Symlinks};

/// A source folder with the file `a/file.md` in it, and folders beside it.
struct Scene {
    temporary: TempDir,
    /// On another file system.
    distant: TempDir,
    config: SourceConfig,
    path: DocumentPath,
    seen: Observation,
}

const FAILED: End<'_> = End::Failed { reason: "no text\u{1b}[2J\nin it" };

impl Scene {
    fn new(bytes: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let distant = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = temporary.path().join("drop");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/file.md"), bytes).unwrap();
        let config = SourceConfig {
            path: root,
            on_done: OnDone::Move,
            done_dir: Some(temporary.path().join("done")),
            on_failed: OnFailed::Move,
            failed_dir: Some(temporary.path().join("failed")),
            ..SourceConfig::default()
        };
        let path = DocumentPath::new(Path::new("a/file.md")).unwrap();
        let seen = look(&config, &path);
        Self { temporary, distant, config, path, seen }
    }

    /// The same with the folders that files are moved to on another file system.
    fn apart(bytes: &str) -> Self {
        let mut scene = Self::new(bytes);
        assert_ne!(
            fs::metadata(scene.distant.path()).unwrap().dev(),
            fs::metadata(scene.temporary.path()).unwrap().dev(),
            "there is only one file system here"
        );
        scene.config.done_dir = Some(scene.distant.path().join("done"));
        scene.config.failed_dir = Some(scene.distant.path().join("failed"));
        scene
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.config.path.join(path)
    }

    fn done(&self, name: &str) -> PathBuf {
        self.config.done_dir.as_ref().unwrap().join(name)
    }

    fn failed(&self, name: &str) -> PathBuf {
        self.config.failed_dir.as_ref().unwrap().join(name)
    }

    fn dispose(&self, end: End<'_>) -> Result<Disposed, DisposeError> {
        dispose(&self.config, &self.path, &self.seen, end, &CancellationToken::new())
    }

    /// Puts another file into the place of the first.
    fn drop_again(&mut self, bytes: &str) {
        fs::write(self.at("a/file.md"), bytes).unwrap();
        self.seen = look(&self.config, &self.path);
    }

    /// Goes from the look to the disposal as a call does, with something happening in between.
    fn take_after(&self, meanwhile: impl FnOnce(&Self)) -> Disposed {
        self.try_take_after(meanwhile).unwrap()
    }

    fn try_take_after(&self, meanwhile: impl FnOnce(&Self)) -> io::Result<Disposed> {
        let root = Root::open(&self.config.path).unwrap();
        let origin = Origin::of(&root, &self.path).unwrap();
        let PathState::Held(held) = origin.look(Some(&self.seen)).unwrap() else { panic!("the file is there") };
        let target = Target::open(self.config.done_dir.as_ref().unwrap(), &root, &self.path, None).unwrap();
        meanwhile(self);
        take_held(&origin, &held, &target)
    }

    /// The same at the last moment: writers are kept away already.
    fn take_still_after(&self, meanwhile: impl FnOnce(&Self)) -> Disposed {
        let root = Root::open(&self.config.path).unwrap();
        let origin = Origin::of(&root, &self.path).unwrap();
        let PathState::Held(held) = origin.look(Some(&self.seen)).unwrap() else { panic!("the file is there") };
        let Still::Held(lease) = origin.still(&held).unwrap() else { panic!("it holds still") };
        if self.config.on_done == OnDone::Delete {
            meanwhile(self);
            return match origin.remove_still(&held, lease.as_ref()).unwrap() {
                Removed::Yes => Disposed::Deleted,
                Removed::Changed => Disposed::Changed,
                Removed::Open => Disposed::Open,
                Removed::Gone => Disposed::Gone,
            };
        }
        let target = Target::open(self.config.done_dir.as_ref().unwrap(), &root, &self.path, None).unwrap();
        meanwhile(self);
        target.receive_still(&origin, &held, lease.as_ref()).unwrap().expect("it is one file system")
    }

    /// Where a file can go: to another folder, to another file system, and away.
    fn ways(bytes: &str) -> [Self; 3] {
        let mut deleting = Self::new(bytes);
        deleting.config.on_done = OnDone::Delete;
        [Self::new(bytes), Self::apart(bytes), deleting]
    }

    fn nothing_was_taken(&self) {
        assert_eq!(names(self.at("a")), ["file.md"]);
        assert!(names(self.done("a")).is_empty(), "{:?}", names(self.done("a")));
    }

    fn remove_after(&self, meanwhile: impl FnOnce(&Self)) -> Removed {
        let root = Root::open(&self.config.path).unwrap();
        let origin = Origin::of(&root, &self.path).unwrap();
        let PathState::Held(held) = origin.look(Some(&self.seen)).unwrap() else { panic!("the file is there") };
        meanwhile(self);
        origin.remove(&held).unwrap()
    }
}

fn look(config: &SourceConfig, path: &DocumentPath) -> Observation {
    match Root::open(&config.path).unwrap().look(path).unwrap() {
        Some(Entry::File(seen, _)) => seen,
        other => panic!("a file, and not {other:?}"),
    }
}

/// Returns the names in a folder, hidden ones too.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Ways in which a file becomes another one.
fn changes() -> [fn(&Scene); 5] {
    [
        |scene| File::options().append(true).open(scene.at("a/file.md")).unwrap().write_all(b"more").unwrap(),
        |scene| {
            fs::write(scene.at("new"), "TEXT").unwrap();
            File::options().write(true).open(scene.at("new")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            fs::rename(scene.at("new"), scene.at("a/file.md")).unwrap();
        },
        |scene| {
            let file = File::options().write(true).open(scene.at("a/file.md")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        },
        |scene| {
            fs::remove_file(scene.at("a/file.md")).unwrap();
            fs::create_dir(scene.at("a/file.md")).unwrap();
        },
        |scene| {
            fs::remove_file(scene.at("a/file.md")).unwrap();
            symlink("/etc/passwd", scene.at("a/file.md")).unwrap();
        },
    ]
}

#[test]
fn a_file_stays_unless_it_is_configured_otherwise() {
    let mut scene = Scene::new("text");
    (scene.config.on_done, scene.config.on_failed) = (OnDone::default(), OnFailed::default());
    for end in [End::Done, FAILED] {
        assert_eq!(scene.dispose(end).unwrap(), Disposed::Kept);
    }
    assert_eq!((names(scene.at("a")), names(scene.temporary.path())), (vec!["file.md".to_owned()], vec!["drop".to_owned()]));
}

#[test]
fn a_done_file_is_moved_with_its_path_and_a_second_call_finds_it_gone() {
    for scene in [Scene::new("text"), Scene::apart("text")] {
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Moved(scene.done("a/file.md")));
        assert_eq!(read(scene.done("a/file.md")), "text");
        assert!(names(scene.at("a")).is_empty());
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Gone);
        assert_eq!(names(scene.done("a")), ["file.md"]);
    }
}

#[test]
fn a_copy_has_the_mode_and_the_time_of_the_file() {
    let mut scene = Scene::apart("text");
    let file = File::options().write(true).open(scene.at("a/file.md")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1, 2)).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    drop(file);
    scene.seen = look(&scene.config, &scene.path);
    scene.dispose(End::Done).unwrap();
    let copy = fs::metadata(scene.done("a/file.md")).unwrap();
    assert_eq!((copy.mtime(), copy.mtime_nsec(), copy.mode() & 0o777), (1, 2, 0o640));
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_nothing_is_overwritten() {
    for mut scene in [Scene::new("1"), Scene::apart("1")] {
        for number in 1..=4 {
            let name = if number == 1 { "a/file.md".to_owned() } else { format!("a/file-{number}.md") };
            assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Moved(scene.done(&name)));
            scene.drop_again(&(number + 1).to_string());
        }
        assert_eq!(
            ["a/file.md", "a/file-2.md", "a/file-3.md", "a/file-4.md"].map(|name| read(scene.done(name))).concat(),
            "1234"
        );
    }
}

#[test]
fn a_failed_file_has_its_reason_beside_it() {
    for mut scene in [Scene::new("text"), Scene::apart("text")] {
        assert_eq!(scene.dispose(FAILED).unwrap(), Disposed::Moved(scene.failed("a/file.md")));
        assert_eq!(names(scene.failed("a")), ["file.md", "file.md.reason.txt"]);
        insta::allow_duplicates!(insta::assert_snapshot!(read(scene.failed("a/file.md.reason.txt")), @r"
        riverbed could not process `a/file.md`:

            no text[2J
            in it

        The file lies beside this note. To retry it, fix the cause and move the file back into the source folder.
        "));
        scene.drop_again("other text");
        assert_eq!(scene.dispose(FAILED).unwrap(), Disposed::Moved(scene.failed("a/file-2.md")));
        assert_eq!(names(scene.failed("a")), ["file-2.md", "file-2.md.reason.txt", "file.md", "file.md.reason.txt"]);
    }
}

#[test]
fn a_reason_that_was_written_before_a_crash_is_not_written_twice_and_one_of_another_file_stays() {
    let scene = Scene::new("text");
    fs::create_dir_all(scene.failed("a")).unwrap();
    fs::write(scene.failed("a/file.md.reason.txt"), "of another").unwrap();
    fs::write(scene.failed("a/file-2.md.reason.txt"), note(&scene.path, "no text\u{1b}[2J\nin it")).unwrap();
    assert_eq!(scene.dispose(FAILED).unwrap(), Disposed::Moved(scene.failed("a/file-2.md")));
    assert_eq!(names(scene.failed("a")), ["file-2.md", "file-2.md.reason.txt", "file.md.reason.txt"]);
    assert_eq!(read(scene.failed("a/file.md.reason.txt")), "of another");
}

#[test]
fn a_done_file_is_deleted_where_that_is_asked_for() {
    let mut scene = Scene::new("text");
    scene.config.on_done = OnDone::Delete;
    assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Deleted);
    assert!(names(scene.at("a")).is_empty());
    assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Gone);
    assert_eq!(names(scene.temporary.path()), ["drop"]);
}

#[test]
fn a_file_that_is_not_as_it_was_seen_stays() {
    for change in changes() {
        for mut scene in [Scene::new("text"), Scene::apart("text")] {
            change(&scene);
            for on_done in [OnDone::Move, OnDone::Delete] {
                scene.config.on_done = on_done;
                let disposed = scene.dispose(End::Done).unwrap();
                assert!(matches!(disposed, Disposed::Changed | Disposed::Kept), "{disposed:?}");
            }
            assert_eq!(names(scene.at("a")), ["file.md"]);
            assert!(names(scene.done("a")).is_empty());
        }
    }
}

#[test]
fn a_file_that_changes_between_the_look_and_the_move_is_put_back() {
    for change in changes() {
        for scene in [Scene::new("text"), Scene::apart("text")] {
            assert_eq!(scene.take_after(change), Disposed::Changed);
            assert_eq!(names(scene.at("a")), ["file.md"]);
            assert!(names(scene.done("a")).is_empty());
        }
        let scene = Scene::new("text");
        assert_eq!(scene.remove_after(change), Removed::Changed);
        assert_eq!(names(scene.at("a")), ["file.md"]);
    }
}

#[test]
fn a_file_that_is_open_for_writing_stays_until_it_is_closed() {
    for scene in Scene::ways("text") {
        let writer = File::options().append(true).open(scene.at("a/file.md")).unwrap();
        for _ in 0..2 {
            assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Open);
            scene.nothing_was_taken();
            assert_eq!(scene.dispose(FAILED).unwrap(), Disposed::Open);
            assert!(names(scene.failed("a")).is_empty(), "no reason is left beside nothing");
        }
        assert_eq!(look(&scene.config, &scene.path), scene.seen, "it was not touched");
        drop(writer);
        let disposed = scene.dispose(End::Done).unwrap();
        assert!(matches!(disposed, Disposed::Moved(_) | Disposed::Deleted), "{disposed:?}");
        assert!(names(scene.at("a")).is_empty());
    }
}

#[test]
fn a_file_that_is_written_over_in_the_same_size_and_with_the_same_time_stays() {
    let write_over = |scene: &Scene| {
        let mut file = File::options().write(true).open(scene.at("a/file.md")).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all(b"TEXT").unwrap();
        file.set_modified(modified).unwrap();
    };
    for scene in [Scene::new("text"), Scene::apart("text")] {
        assert_eq!(scene.take_after(write_over), Disposed::Changed);
        scene.nothing_was_taken();
        assert_eq!(read(scene.at("a/file.md")), "TEXT");
    }
    let scene = Scene::new("text");
    assert_eq!(scene.remove_after(write_over), Removed::Changed);
    assert_eq!(read(scene.at("a/file.md")), "TEXT");
}

#[test]
fn a_file_that_somebody_opens_to_write_while_it_is_taken_comes_back() {
    for on_done in [OnDone::Move, OnDone::Delete] {
        // A writer that does not wait is turned away, and may retry.
        let mut scene = Scene::new("text");
        scene.config.on_done = on_done;
        let turn_away = |scene: &Scene| {
            let tried = File::options().append(true).custom_flags(libc::O_NONBLOCK).open(scene.at("a/file.md"));
            assert_eq!(tried.unwrap_err().raw_os_error(), Some(libc::EWOULDBLOCK));
        };
        assert_eq!(scene.take_still_after(turn_away), Disposed::Changed);
        scene.nothing_was_taken();

        // One that waits gets the file that it has asked for, where it was.
        let path = scene.at("a/file.md");
        scene.seen = look(&scene.config, &scene.path);
        std::thread::scope(|threads| {
            let begin = |scene: &Scene| {
                let writer = path.clone();
                threads.spawn(move || File::options().append(true).open(writer).unwrap().write_all(b" and more").unwrap());
                let is_wanted = || {
                    let tried = File::options().append(true).custom_flags(libc::O_NONBLOCK).open(scene.at("a/file.md"));
                    tried.is_err()
                };
                while !is_wanted() {
                    std::thread::yield_now();
                }
            };
            assert_eq!(scene.take_still_after(begin), Disposed::Changed);
        });
        scene.nothing_was_taken();
        assert_eq!(read(&path), "text and more");
    }
}

#[test]
fn what_takes_the_place_of_a_file_at_the_last_moment_is_put_back() {
    let replace: [fn(&Scene); 3] = [
        |scene| {
            fs::write(scene.at("new"), "other").unwrap();
            fs::rename(scene.at("new"), scene.at("a/file.md")).unwrap();
        },
        |scene| {
            fs::remove_file(scene.at("a/file.md")).unwrap();
            fs::create_dir(scene.at("a/file.md")).unwrap();
        },
        |scene| {
            fs::remove_file(scene.at("a/file.md")).unwrap();
            symlink("/etc/passwd", scene.at("a/file.md")).unwrap();
        },
    ];
    for on_done in [OnDone::Move, OnDone::Delete] {
        for replace in replace {
            let mut scene = Scene::new("text");
            scene.config.on_done = on_done;
            assert_eq!(scene.take_still_after(replace), Disposed::Changed);
            scene.nothing_was_taken();
        }
        let mut scene = Scene::new("text");
        scene.config.on_done = on_done;
        let go = |scene: &Scene| fs::rename(scene.at("a/file.md"), scene.temporary.path().join("kept")).unwrap();
        assert_eq!(scene.take_still_after(go), Disposed::Gone);
        assert_eq!(read(scene.temporary.path().join("kept")), "text");
    }
}

#[test]
fn a_folder_that_is_moved_out_while_its_file_is_taken_keeps_it() {
    for on_done in [OnDone::Move, OnDone::Delete] {
        let mut scene = Scene::new("text");
        scene.config.on_done = on_done;
        let outside = scene.temporary.path().join("outside");
        // And a link in its place, over which somebody would like to have the file back.
        let move_out = |scene: &Scene| {
            fs::rename(scene.at("a"), &outside).unwrap();
            symlink(&outside, scene.at("a")).unwrap();
        };
        assert_eq!(scene.take_still_after(move_out), Disposed::Changed);
        assert_eq!((names(&outside), names(scene.done("a"))), (vec!["file.md".to_owned()], Vec::new()));

        let mut scene = Scene::new("text");
        scene.config.on_done = on_done;
        let outside = scene.temporary.path().join("outside");
        let move_all_out = |scene: &Scene| {
            fs::rename(scene.at(""), &outside).unwrap();
            fs::create_dir_all(scene.at("a")).unwrap();
        };
        assert_eq!(scene.take_still_after(move_all_out), Disposed::Changed);
        assert_eq!((names(outside.join("a")), names(scene.done("a"))), (vec!["file.md".to_owned()], Vec::new()));
    }
}

#[test]
fn another_name_of_a_file_keeps_it_and_who_writes_by_that_name_is_a_writer() {
    for mut scene in Scene::ways("text") {
        let other = scene.temporary.path().join("other");
        fs::hard_link(scene.at("a/file.md"), &other).unwrap();
        scene.seen = look(&scene.config, &scene.path);
        let writer = File::options().append(true).open(&other).unwrap();
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Open);
        drop(writer);
        fs::write(&other, "other").unwrap();
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Changed);
        scene.nothing_was_taken();
        scene.seen = look(&scene.config, &scene.path);
        let disposed = scene.dispose(End::Done).unwrap();
        assert!(matches!(disposed, Disposed::Moved(_) | Disposed::Deleted), "{disposed:?}");
        assert_eq!((names(scene.at("a")), read(&other)), (Vec::new(), "other".to_owned()));
    }
}

#[test]
fn a_file_that_gets_the_name_at_the_last_moment_keeps_it() {
    for scene in [Scene::new("text"), Scene::apart("text")] {
        let put = |scene: &Scene| fs::write(scene.done("a/file.md"), "of somebody else").unwrap();
        assert_eq!(scene.take_after(put), Disposed::Moved(scene.done("a/file-2.md")));
        let there = [read(scene.done("a/file.md")), read(scene.done("a/file-2.md"))];
        assert_eq!(there, ["of somebody else", "text"]);
    }
}

#[test]
fn a_folder_for_done_files_that_is_moved_or_deleted_at_the_last_moment_loses_no_file() {
    for scene in [Scene::new("text"), Scene::apart("text")] {
        let (done, away) = (scene.done(""), scene.done("").with_extension("away"));
        scene.take_after(|_| fs::rename(&done, &away).unwrap());
        assert_eq!((names(scene.at("a")), read(away.join("a/file.md"))), (Vec::new(), "text".to_owned()));
    }
    for scene in [Scene::new("text"), Scene::apart("text")] {
        let delete = |scene: &Scene| fs::remove_dir_all(scene.done("")).unwrap();
        assert_eq!(scene.try_take_after(delete).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(look(&scene.config, &scene.path), scene.seen, "it was not touched");
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Moved(scene.done("a/file.md")));
    }
}

#[test]
fn a_file_deleted_between_the_check_and_the_move_counts_as_removed() {
    let go = |scene: &Scene| fs::remove_file(scene.at("a/file.md")).unwrap();
    for scene in [Scene::new("text"), Scene::apart("text")] {
        assert_eq!(scene.take_after(go), Disposed::Gone);
        assert!(names(scene.done("a")).is_empty());
    }
    assert_eq!(Scene::new("text").remove_after(go), Removed::Gone);
}

#[test]
fn what_a_crash_left_aside_is_deleted_if_it_is_done_and_comes_back_if_it_is_not() {
    let aside = Path::new("a").join(aside("file.md".as_ref()));
    for on_done in [OnDone::Move, OnDone::Delete] {
        let mut scene = Scene::new("text");
        scene.config.on_done = on_done;
        fs::rename(scene.at("a/file.md"), scene.at(&aside)).unwrap();
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Gone);
        assert!(names(scene.at("a")).is_empty());
        // Another file had come in between.
        fs::write(scene.at(&aside), "other").unwrap();
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Changed);
        assert_eq!((names(scene.at("a")), read(scene.at("a/file.md"))), (vec!["file.md".to_owned()], "other".to_owned()));
        // And a third one since.
        fs::write(scene.at(&aside), "third").unwrap();
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Changed);
        assert_eq!(names(scene.at("a")), ["file-2.md", "file.md"]);
        assert_eq!((read(scene.at("a/file.md")), read(scene.at("a/file-2.md"))), ("other".to_owned(), "third".to_owned()));
    }
}

#[test]
fn what_a_crash_left_on_its_way_gets_its_name_if_it_is_done_and_comes_back_if_it_is_not() {
    for end in [End::Done, FAILED] {
        let scene = Scene::new("text");
        let at = |name: &str| if end == End::Done { scene.done(name) } else { scene.failed(name) };
        fs::create_dir_all(at("a")).unwrap();
        fs::write(at("a/file.md"), "of another time").unwrap();
        let arriving = at("a").join(arriving("file.md".as_ref()));
        fs::rename(scene.at("a/file.md"), &arriving).unwrap();
        assert_eq!(scene.dispose(end).unwrap(), Disposed::Moved(at("a/file-2.md")));
        assert_eq!((read(at("a/file-2.md")), read(at("a/file.md"))), ("text".to_owned(), "of another time".to_owned()));
        assert!(names(scene.at("a")).is_empty());
        let moved = names(at("a"));
        // Another file had come in between the look and the move.
        fs::write(&arriving, "other").unwrap();
        assert_eq!(scene.dispose(end).unwrap(), Disposed::Changed);
        assert_eq!((names(scene.at("a")), read(scene.at("a/file.md"))), (vec!["file.md".to_owned()], "other".to_owned()));
        assert_eq!(names(at("a")), moved);
    }
}

#[test]
fn a_move_that_fails_leaves_the_file_untouched() {
    // To and fro would look like a change, which is read again and moved again, without end.
    let scene = Scene::new("text");
    let arriving = Path::new("a").join(arriving("file.md".as_ref()));
    let moved = scene.try_take_after(|scene| fs::write(scene.done(arriving.to_str().unwrap()), "another's").unwrap());
    assert_eq!(moved.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(look(&scene.config, &scene.path), scene.seen);
    assert_eq!(read(scene.done(arriving.to_str().unwrap())), "another's");
}

#[test]
fn a_copy_that_a_crash_left_is_not_made_twice_and_half_a_one_is_made_again() {
    for end in [End::Done, FAILED] {
        let scene = Scene::apart("text");
        let folder = if end == End::Done { scene.done("a") } else { scene.failed("a") };
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(aside("file.md".as_ref())), "te").unwrap();
        // The copy is there, but the file is too.
        fs::hard_link(scene.at("a/file.md"), scene.temporary.path().join("kept")).unwrap();
        let mut scene = Scene { seen: look(&scene.config, &scene.path), ..scene };
        scene.dispose(end).unwrap();
        let expected = names(&folder);
        assert_eq!(expected.len(), if end == End::Done { 1 } else { 2 }, "{expected:?}");
        fs::rename(scene.temporary.path().join("kept"), scene.at("a/file.md")).unwrap();
        scene.seen = look(&scene.config, &scene.path);
        assert_eq!(scene.dispose(end).unwrap(), Disposed::Moved(folder.join("file.md")));
        assert_eq!(names(&folder), expected);
        assert!(names(scene.at("a")).is_empty());
    }
}

#[test]
fn a_marker_goes_with_its_file_and_only_with_it() {
    for on_done in [OnDone::Move, OnDone::Delete] {
        let mut scene = Scene::new("text");
        scene.config.on_done = on_done;
        scene.config.marker = Some(Marker::try_from(".done".to_owned()).unwrap());
        fs::write(scene.at("a/file.md.done"), "").unwrap();
        let first = scene.seen;
        scene.drop_again("changed");
        let second = std::mem::replace(&mut scene.seen, first);
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Changed);
        assert_eq!(names(scene.at("a")), ["file.md", "file.md.done"]);
        scene.seen = second;
        scene.dispose(End::Done).unwrap();
        assert!(names(scene.at("a")).is_empty());
        // A crash came before the marker had gone.
        fs::write(scene.at("a/file.md.done"), "").unwrap();
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Gone);
        assert!(names(scene.at("a")).is_empty());
    }
}

#[test]
fn a_link_stays_and_so_does_what_it_leads_to() {
    let mut scene = Scene::new("text");
    scene.config.symlinks = Symlinks::Inside;
    symlink("file.md", scene.at("a/link.md")).unwrap();
    scene.path = DocumentPath::new(Path::new("a/link.md")).unwrap();
    for on_done in [OnDone::Move, OnDone::Delete] {
        scene.config.on_done = on_done;
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Kept);
        assert_eq!(names(scene.at("a")), ["file.md", "link.md"]);
    }
}

#[test]
fn a_folder_that_is_swapped_for_a_link_leads_to_nothing() {
    let mut scene = Scene::new("text");
    let outside = scene.temporary.path().join("outside");
    fs::rename(scene.at("a"), &outside).unwrap();
    symlink(&outside, scene.at("a")).unwrap();
    for on_done in [OnDone::Move, OnDone::Delete] {
        scene.config.on_done = on_done;
        assert_eq!(scene.dispose(End::Done).unwrap(), Disposed::Gone);
        assert_eq!(names(&outside), ["file.md"]);
    }
}

#[test]
fn a_link_below_the_folder_for_done_files_leads_nowhere() {
    let scene = Scene::new("text");
    let outside = scene.temporary.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(scene.config.done_dir.as_ref().unwrap()).unwrap();
    symlink(&outside, scene.done("a")).unwrap();
    assert!(matches!(scene.dispose(End::Done), Err(DisposeError::Target { .. })));
    assert!(names(&outside).is_empty());
    assert_eq!(names(scene.at("a")), ["file.md"]);
}

#[test]
fn a_folder_that_leads_into_the_source_folder_is_refused_at_the_last_moment_too() {
    let mut scene = Scene::new("text");
    fs::create_dir(scene.at("in")).unwrap();
    symlink(scene.at("in"), scene.config.done_dir.as_ref().unwrap()).unwrap();
    let error = scene.dispose(End::Done).unwrap_err();
    assert!(matches!(error, DisposeError::Target { .. }));
    scene.config.done_dir = Some(scene.temporary.path().to_owned());
    assert!(matches!(scene.dispose(End::Done), Err(DisposeError::Target { .. })));
    assert_eq!(names(scene.at("a")), ["file.md"]);
}

#[test]
fn a_source_folder_that_is_away_is_an_error_and_no_word_of_the_file() {
    let scene = Scene::new("text");
    fs::rename(scene.at(""), scene.temporary.path().join("away")).unwrap();
    assert!(matches!(scene.dispose(End::Done), Err(DisposeError::Source(_))));
}

#[test]
fn of_files_that_are_replaced_all_the_time_none_is_lost() {
    const VERSIONS: usize = 1000;
    for on_done in [OnDone::Move, OnDone::Delete] {
        let mut scene = Scene::new("0");
        scene.config.on_done = on_done;
        let mut disposed = 0;
        let mut dispose_of_what_is_there = || {
            let there = Root::open(&scene.config.path).unwrap().look(&scene.path).unwrap();
            let Some(Entry::File(seen, _)) = there else { return };
            match dispose(&scene.config, &scene.path, &seen, End::Done, &CancellationToken::new()).unwrap() {
                Disposed::Moved(_) | Disposed::Deleted => disposed += 1,
                Disposed::Changed | Disposed::Open | Disposed::Gone => {}
                Disposed::Kept => panic!("nothing is kept"),
            }
        };
        std::thread::scope(|scope| {
            let replace = scope.spawn(|| {
                for version in 1..VERSIONS {
                    fs::write(scene.at("new.part"), version.to_string()).unwrap();
                    fs::rename(scene.at("new.part"), scene.at("a/file.md")).unwrap();
                }
            });
            while !replace.is_finished() {
                dispose_of_what_is_there();
            }
        });
        dispose_of_what_is_there();
        assert!(disposed > 0);
        // What was taken by mistake has come back, if need be beside the next one; nothing lies aside.
        let left = names(scene.at("a"));
        assert!(left.iter().all(|name| name.starts_with("file-")), "{left:?}");
        if on_done == OnDone::Move {
            let done = names(scene.done("a"));
            assert_eq!(done.len(), disposed);
            let last = (VERSIONS - 1).to_string();
            let is_last = |folder: &Path| names(folder).iter().any(|name| read(folder.join(name)) == last);
            assert!(is_last(&scene.done("a")) || is_last(&scene.at("a")));
        }
    }
}
