//! The source stage on real folders. Nothing sleeps: every test waits for the change or the scan it is about.

mod folders;
mod gone;
mod links;
mod memory;
mod once;
mod replaced;
mod unfinished;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use riverbed::domain::{Change, Claims, Departure, DocumentPath, Memory, NoMemory, What};
use riverbed::folder::{Contents, Found, Globs, Marker, ReadError, SourceConfig, SourceError, follow, read, scan_once};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use memory::Remembering;

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A source folder that is being followed.
struct Scene {
    temporary: TempDir,
    config: SourceConfig,
    memory: Arc<Remembering>,
    claims: Claims,
    found: Found,
    changes: mpsc::Receiver<Change>,
    /// What has been said to be gone, and nobody has expected yet.
    gone: BTreeMap<String, Departure>,
    stop: CancellationToken,
    follower: JoinSet<()>,
}

impl Scene {
    /// Follows an empty folder, and waits until it is watched.
    async fn start() -> Self {
        let scene = Self::start_with(|_| (), |_| ());
        timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
        scene
    }

    /// Follows a folder that `prepare` has filled (or removed).
    fn start_with(prepare: impl FnOnce(&Path), configure: impl FnOnce(&mut SourceConfig)) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("drop");
        fs::create_dir(&path).unwrap();
        fs::create_dir(temporary.path().join("elsewhere")).unwrap();
        prepare(&path);
        let mut config = SourceConfig { path, settle: Duration::from_millis(20), ..SourceConfig::default() };
        configure(&mut config);
        Self::resume(temporary, config, Arc::default())
    }

    fn resume(temporary: TempDir, config: SourceConfig, memory: Arc<Remembering>) -> Self {
        let (claims, found, stop) = (Claims::default(), Found::default(), CancellationToken::new());
        let (sender, changes) = mpsc::channel(4);
        let mut follower = JoinSet::new();
        let parts = (config.clone(), Arc::clone(&memory) as Arc<dyn Memory>, claims.clone(), stop.clone(), found.clone());
        follower.spawn(async move {
            let (config, memory, claims, stop, found) = parts;
            follow(config, memory, claims, sender, stop, &found).await;
        });
        Self { temporary, config, memory, claims, found, changes, gone: BTreeMap::new(), stop, follower }
    }

    /// Stops, lets something happen to the folder that nobody sees, and follows it again with what was recorded.
    async fn restart(mut self, meanwhile: impl FnOnce(&Self), configure: impl FnOnce(&mut SourceConfig)) -> Self {
        self.end().await;
        meanwhile(&self);
        let Self { temporary, mut config, memory, .. } = self;
        configure(&mut config);
        Self::resume(temporary, config, memory)
    }

    /// A path in the folder.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.config.path.join(path)
    }

    /// A path beside the folder, on the same file system.
    fn elsewhere(&self, path: &str) -> PathBuf {
        self.temporary.path().join("elsewhere").join(path)
    }

    /// Waits for the next file that is new or has changed, and records the removed ones.
    async fn next(&mut self) -> Change {
        loop {
            let change = self.next_of_any_kind().await;
            match change.what {
                What::There(_) => return change,
                What::Gone(departure) => self.note_gone(&change, departure),
            }
        }
    }

    async fn next_of_any_kind(&mut self) -> Change {
        timeout(PATIENCE, self.changes.recv()).await.expect("a change comes").expect("the source goes on")
    }

    fn note_gone(&mut self, change: &Change, departure: Departure) {
        self.memory.forget(&change.path);
        let said_before = self.gone.insert(change.path.to_string(), departure);
        assert_eq!(said_before, None, "{} was said to be gone twice", change.path);
    }

    fn read(&self, change: &Change) -> Result<Contents, ReadError> {
        let What::There(seen) = &change.what else { panic!("{} was removed", change.path) };
        let contents = read(&self.config, &change.path, seen, &CancellationToken::new())?;
        self.memory.remember(&change.path, Some(*seen), Some(seen.device));
        Ok(contents)
    }

    /// Takes changes as the pipeline does until each of these files has come with these bytes, and nothing else.
    async fn expect(&mut self, files: &[(&str, &str)]) {
        let mut missing: BTreeMap<&str, &str> = files.iter().copied().collect();
        while !missing.is_empty() {
            let change = self.next().await;
            let name = change.path.to_string();
            match self.read(&change) {
                Ok(contents) => {
                    let expected = missing.remove(&*name).unwrap_or_else(|| panic!("nobody expects {name}"));
                    assert_eq!(String::from_utf8_lossy(&contents.bytes), expected, "{name}");
                }
                Err(error) if error.is_passing() => change.claim.again(),
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }

    /// Waits until each of these files has been said to be gone, while no other comes.
    async fn expect_gone(&mut self, files: &[(&str, Departure)]) {
        while self.gone.len() < files.len() {
            let change = self.next_of_any_kind().await;
            let What::Gone(departure) = change.what else { panic!("nobody expects {}", change.path) };
            self.note_gone(&change, departure);
        }
        let expected = files.iter().map(|(name, departure)| ((*name).to_owned(), *departure));
        assert_eq!(std::mem::take(&mut self.gone), expected.collect());
    }

    /// Holds that nothing is on its way any more, and that the source ends when asked to.
    async fn expect_no_more(mut self) -> TempDir {
        // A file that is linked in takes the longest to settle (but for empty and unfinished ones): what was noticed before it comes
        // before it.
        fs::write(self.elsewhere("sentinel"), "linked").unwrap();
        fs::hard_link(self.elsewhere("sentinel"), self.at("sentinel")).unwrap();
        let change = self.next().await;
        assert_eq!(change.path, path("sentinel"), "nobody expects it");
        self.end().await;
        assert_eq!(self.gone, BTreeMap::new(), "nobody expects them to be gone");
        self.temporary
    }

    async fn end(&mut self) {
        self.stop.cancel();
        assert!(timeout(PATIENCE, self.changes.recv()).await.expect("the source ends").is_none());
        timeout(PATIENCE, self.follower.join_next()).await.expect("the source ends").unwrap().unwrap();
    }

    /// Waits for one more scan of the whole folder.
    async fn rescan(&self) {
        timeout(PATIENCE, self.found.scanned(self.found.scans() + 2)).await.expect("scans go on");
    }
}

fn path(name: &str) -> DocumentPath {
    DocumentPath::new(Path::new(name)).unwrap()
}

fn write_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    for file in ["one", "a/two", "a/b/three"] {
        fs::write(root.join(file), file).unwrap();
    }
}

fn globs(written: &[&str]) -> Globs {
    Globs::new(written.iter().map(ToString::to_string).collect()).unwrap()
}

const TREE: [(&str, &str); 3] = [("one", "one"), ("a/two", "a/two"), ("a/b/three", "a/b/three")];

/// Works a folder off once, and returns the names of what came.
async fn once(config: SourceConfig) -> Result<Vec<String>, SourceError> {
    once_with(config, Arc::new(NoMemory)).await
}

/// Works a folder off once, compared with the known files, and returns the names of what came and of what was removed.
async fn once_with(config: SourceConfig, memory: Arc<dyn Memory>) -> Result<Vec<String>, SourceError> {
    let (sender, mut changes) = mpsc::channel::<Change>(1);
    let (found, claims) = (Found::default(), Claims::default());
    let take = async {
        let mut names = Vec::new();
        while let Some(change) = changes.recv().await {
            names.push(match change.what {
                What::There(_) => change.path.to_string(),
                What::Gone(departure) => format!("{} {departure:?}", change.path),
            });
        }
        names.sort();
        names
    };
    let scan = scan_once(config, memory, claims, sender, CancellationToken::new(), &found);
    let (outcome, names) = timeout(PATIENCE, async { tokio::join!(scan, take) }).await.unwrap();
    assert!(outcome.is_err() || found.files() + found.gone() == names.len() as u64);
    outcome.map(|()| names)
}

#[tokio::test]
async fn every_file_that_is_there_comes_once() {
    let mut scene = Scene::start_with(write_tree, |_| ());
    scene.expect(&TREE).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_file_written_later_comes_whole() {
    let mut scene = Scene::start().await;
    fs::write(scene.at("a.md"), "first").unwrap();
    scene.expect(&[("a.md", "first")]).await;
    fs::write(scene.at("a.md"), "second").unwrap();
    scene.expect(&[("a.md", "second")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_file_written_in_pieces_comes_once() {
    let mut scene = Scene::start_with(|_| (), |config| config.settle = Duration::from_millis(500));
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    let mut file = File::create(scene.at("a.md")).unwrap();
    for _ in 0..500 {
        file.write_all(b"piece ").unwrap();
        tokio::task::yield_now().await;
    }
    drop(file);
    scene.expect(&[("a.md", &"piece ".repeat(500))]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn an_empty_file_and_a_linked_one_come_too() {
    let mut scene = Scene::start().await;
    File::create(scene.at("empty")).unwrap();
    fs::write(scene.elsewhere("linked"), "linked").unwrap();
    fs::hard_link(scene.elsewhere("linked"), scene.at("linked")).unwrap();
    scene.expect(&[("empty", ""), ("linked", "linked")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_renamed_file_comes_under_its_new_name() {
    let mut scene = Scene::start().await;
    fs::write(scene.at("upload.part"), "text").unwrap();
    fs::rename(scene.at("upload.part"), scene.at("a.md")).unwrap();
    scene.expect(&[("a.md", "text")]).await;
    fs::rename(scene.at("a.md"), scene.at("b.md")).unwrap();
    scene.expect(&[("b.md", "text")]).await;
    scene.expect_gone(&[("a.md", Departure::Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_rescan_does_not_send_what_has_not_changed() {
    let mut scene = Scene::start_with(write_tree, |config| config.rescan = Duration::from_millis(1));
    scene.expect(&TREE).await;
    scene.rescan().await;
    assert_eq!(scene.found.files(), 3);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_rescan_finds_changes_without_an_event() {
    let mut scene = Scene::start_with(|_| (), |config| config.rescan = Duration::from_millis(1));
    fs::write(scene.at("a.md"), "first").unwrap();
    fs::hard_link(scene.at("a.md"), scene.elsewhere("link")).unwrap();
    scene.expect(&[("a.md", "first")]).await;
    // inotify tells only of what is done through the name that is watched.
    fs::write(scene.elsewhere("link"), "second").unwrap();
    scene.expect(&[("a.md", "second")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn excluded_files_are_never_sent() {
    let exclude = |config: &mut SourceConfig| config.exclude = globs(&["*.log", "build/"]);
    let mut scene = Scene::start_with(
        |root| {
            write_tree(root);
            fs::write(root.join("a/old.log"), "log").unwrap();
        },
        exclude,
    );
    scene.expect(&TREE).await;
    fs::create_dir_all(scene.at("a/build/deep")).unwrap();
    fs::write(scene.at("a/build/deep/out.md"), "out").unwrap();
    fs::write(scene.at("new.log"), "log").unwrap();
    fs::write(scene.at("new.md"), "new").unwrap();
    scene.expect(&[("new.md", "new")]).await;
    assert_eq!(scene.found.files(), 4);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_change_of_the_ignore_file_holds_at_once() {
    let mut scene = Scene::start_with(
        |root| {
            fs::write(root.join(".riverbedignore"), "/a/\n").unwrap();
            write_tree(root);
        },
        |_| (),
    );
    scene.expect(&[("one", "one")]).await;
    // What was excluded comes, without a restart and long before the rescan, and is watched from then on.
    fs::remove_file(scene.at(".riverbedignore")).unwrap();
    scene.expect(&TREE[1..]).await;
    fs::write(scene.at("a/b/four"), "four").unwrap();
    scene.expect(&[("a/b/four", "four")]).await;
    let scans = scene.found.scans();
    fs::write(scene.elsewhere("rules"), "*.log\n").unwrap();
    fs::rename(scene.elsewhere("rules"), scene.at(".riverbedignore")).unwrap();
    timeout(PATIENCE, scene.found.scanned(scans + 1)).await.unwrap();
    fs::write(scene.at("new.log"), "log").unwrap();
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_file_is_taken_when_its_marker_arrives() {
    let mut scene = Scene::start_with(
        |root| {
            for name in ["a.md", "a.md.done", "b.md"] {
                fs::write(root.join(name), name).unwrap();
            }
        },
        |config| {
            config.settle = Duration::from_hours(24); // nothing waits for it
            config.marker = Some(Marker::try_from(".done".to_owned()).unwrap());
        },
    );
    scene.expect(&[("a.md", "a.md")]).await;
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    fs::write(scene.at("c.md"), "c.md").unwrap();
    fs::write(scene.at("b.md.done"), "").unwrap();
    scene.expect(&[("b.md", "b.md")]).await;
    // A folder may be called like a marker.
    fs::create_dir(scene.at("folder.done")).unwrap();
    fs::write(scene.at("folder.done/d.md"), "d.md").unwrap();
    fs::write(scene.at("folder.done/d.md.done"), "").unwrap();
    scene.expect(&[("folder.done/d.md", "d.md")]).await;
    fs::hard_link(scene.at("a.md.done"), scene.at("c.md.done")).unwrap();
    scene.expect(&[("c.md", "c.md")]).await;
    assert_eq!(scene.found.files(), 4);
}

#[tokio::test]
async fn reading_causes_no_change() {
    let mut scene = Scene::start().await;
    fs::write(scene.at("a.md"), "text").unwrap();
    let change = scene.next().await;
    for _ in 0..100 {
        scene.read(&change).unwrap();
    }
    drop(change);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn names_are_bytes() {
    let names: [&[u8]; 5] = [b"\xff\xfe.md", b"new\nline.md", b"-rf.md", b" ", "größe.md".as_bytes()];
    let mut scene = Scene::start().await;
    for name in names {
        fs::write(scene.at(OsStr::from_bytes(name)), "text").unwrap();
    }
    let mut came = Vec::new();
    for _ in names {
        let change = scene.next().await;
        assert_eq!(scene.read(&change).unwrap().bytes, b"text");
        came.push(change.path.as_bytes().to_vec());
    }
    came.sort();
    let mut names = names.map(<[u8]>::to_vec);
    names.sort();
    assert_eq!(came, names);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_missing_folder_is_waited_for() {
    let mut scene = Scene::start_with(|root| fs::remove_dir(root).unwrap(), |_| ());
    write_tree(&scene.elsewhere("drop"));
    fs::rename(scene.elsewhere("drop"), scene.at("")).unwrap();
    scene.expect(&TREE).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_folder_that_is_removed_and_recreated_is_followed_again() {
    let mut scene = Scene::start_with(write_tree, |_| ());
    scene.expect(&TREE).await;
    for time in 0..5 {
        fs::remove_dir_all(scene.at("")).unwrap();
        fs::create_dir_all(scene.at("sub")).unwrap();
        let names = ["new", "newer"].map(|name| format!("sub/{name} {time}"));
        for name in &names {
            fs::write(scene.at(name), name).unwrap();
            scene.expect(&[(name, name)]).await;
        }
        scene.gone.clear(); // a file that went long enough before its folder was removed
    }
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_folder_that_comes_back_as_it_was_brings_nothing_twice() {
    let mut scene = Scene::start_with(write_tree, |_| ());
    scene.expect(&TREE).await;
    let scans = scene.found.scans();
    fs::rename(scene.at(""), scene.elsewhere("away")).unwrap();
    fs::create_dir(scene.at("")).unwrap();
    timeout(PATIENCE, scene.found.scanned(scans + 1)).await.unwrap();
    let scans = scene.found.scans();
    fs::remove_dir(scene.at("")).unwrap();
    fs::rename(scene.elsewhere("away"), scene.at("")).unwrap();
    timeout(PATIENCE, scene.found.scanned(scans + 1)).await.unwrap();
    fs::write(scene.at("new"), "new").unwrap();
    scene.expect(&[("new", "new")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_second_change_waits_until_the_first_is_through() {
    let mut scene = Scene::start().await;
    fs::write(scene.at("a.md"), "first").unwrap();
    let first = scene.next().await;
    fs::write(scene.at("a.md"), "second").unwrap();
    fs::write(scene.at("b.md"), "other").unwrap();
    scene.expect(&[("b.md", "other")]).await;
    assert!(scene.claims.claim(&path("a.md")).is_none());
    drop(first);
    scene.expect(&[("a.md", "second")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_change_that_is_handed_back_is_sent_again() {
    let mut scene = Scene::start().await;
    fs::write(scene.at("a.md"), "text").unwrap();
    for _ in 0..3 {
        scene.next().await.claim.again();
    }
    scene.expect(&[("a.md", "text")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_slow_receiver_loses_nothing() {
    let mut scene = Scene::start().await;
    let names: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    for name in &names {
        fs::write(scene.at(name), "text").unwrap();
        tokio::task::yield_now().await;
    }
    let expected: Vec<_> = names.iter().map(|name| (name.as_str(), "text")).collect();
    scene.expect(&expected).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_receiver_that_goes_away_ends_it() {
    let Scene { mut follower, changes, temporary, .. } = Scene::start_with(write_tree, |_| ());
    drop(changes);
    timeout(PATIENCE, follower.join_next()).await.unwrap().unwrap().unwrap();
    drop(temporary);
}
