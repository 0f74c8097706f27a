//! Where watchers get no events, or too few. Nothing sleeps: every test waits for the change or the scan that it is about.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::domain::{Departure, NoMemory, What};
use crate::folder::watch::event_queue::Recorder;
use crate::folder::{ReadError, Watching, read};

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A source folder that is followed by other means.
struct Scene {
    temporary: TempDir,
    config: SourceConfig,
    found: Found,
    changes: mpsc::Receiver<Change>,
    _follower: JoinSet<()>,
}

impl Scene {
    fn start(means: Means, rescan: Duration) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let config = SourceConfig {
            path: temporary.path().join("drop"),
            settle: Duration::from_millis(1),
            rescan,
            ..SourceConfig::default()
        };
        fs::create_dir(&config.path).unwrap();
        let (found, (sender, changes)) = (Found::default(), mpsc::channel(4));
        let mut follower = JoinSet::new();
        let parts = (config.clone(), found.clone());
        follower.spawn(async move {
            let (config, found) = parts;
            let stop = CancellationToken::new();
            follow_by(&means, config, Arc::new(NoMemory), Claims::default(), sender, stop, &found).await;
        });
        Self { temporary, config, found, changes, _follower: follower }
    }

    async fn until(&self, holds: impl Fn(&Found) -> bool) {
        timeout(PATIENCE, self.found.wait_until(holds)).await.expect("it comes to that");
    }

    async fn next_scan(&self) {
        let scans = self.found.scans() + 1;
        self.until(|found| found.scans() >= scans).await;
    }

    fn write(&self, name: &str) {
        fs::write(self.config.path.join(name), name).unwrap();
    }

    /// Waits for a file, which comes whole.
    async fn expect(&mut self, name: &str) {
        loop {
            let change = timeout(PATIENCE, self.changes.recv()).await.expect("a change comes").expect("the source goes on");
            let What::There(seen) = change.what else { panic!("{} was removed", change.path) };
            match read(&self.config, &change.path, &seen, &CancellationToken::new()) {
                Ok(contents) if change.path.as_path() == Path::new(name) => return assert_eq!(contents.bytes, name.as_bytes()),
                Ok(_) => {}
                Err(_) => change.claim.again(),
            }
        }
    }

    fn scans(&self) -> Option<Silence> {
        match self.found.watching() {
            Watching::Events => None,
            Watching::Scans { reason } => Some(reason),
        }
    }
}

/// The usual means on an ordinary disk, wherever the tests run.
fn means() -> Means {
    Means { silence: |_| None, ..Means::default() }
}

/// A watcher that tells somebody else.
fn deaf(root: &Path) -> notify::Result<Watch> {
    Watch::start(&Arc::new(Events::new(root)))
}

/// A watcher that does not start; as notify does, it lets go of what it would have told.
fn refused(events: &Arc<Events>, errno: Errno) -> notify::Result<Watch> {
    drop(Recorder(Arc::clone(events)));
    Err(notify::Error::io(errno.into()))
}

const OFTEN: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_hours(24 * 365);

#[tokio::test]
async fn where_no_watcher_starts_scans_find_what_changes() {
    let refuse = |errno: Errno| Box::new(move |events: &Arc<Events>| refused(events, errno));
    for (errno, reason) in [(Errno::MFILE, Silence::Instances), (Errno::NOSYS, Silence::Unsupported)] {
        let mut scene = Scene::start(Means { watch: refuse(errno), ..means() }, OFTEN);
        for name in ["one", "two"] {
            scene.next_scan().await;
            scene.write(name);
            scene.expect(name).await;
        }
        assert_eq!((scene.scans(), scene.found.watchers_replaced()), (Some(reason), 0));
    }
}

#[tokio::test]
async fn on_a_network_scans_are_relied_on_and_what_is_announced_all_the_same_is_welcome() {
    let mut scene = Scene::start(Means { silence: |_| Some(Silence::Network("NFS")), ..means() }, NEVER);
    scene.next_scan().await;
    assert_eq!(scene.scans(), Some(Silence::Network("NFS")));
    scene.write("one");
    scene.expect("one").await;
    assert_eq!(scene.found.scans(), 1);
}

#[tokio::test]
async fn a_watcher_that_starts_when_the_limit_is_raised_is_taken() {
    let starts = AtomicU32::new(0);
    let watch = move |events: &Arc<Events>| match starts.fetch_add(1, SeqCst) {
        0..3 => refused(events, Errno::MFILE),
        _ => Watch::start(events),
    };
    let scene = Scene::start(Means { watch: Box::new(watch), ..means() }, OFTEN);
    scene.until(|found| found.watching() == Watching::Scans { reason: Silence::Instances }).await;
    scene.until(|found| found.watching() == Watching::Events).await;
    let mut scene = scene;
    scene.write("announced");
    scene.expect("announced").await;
    assert_eq!(scene.found.watchers_replaced(), 0);
}

#[tokio::test]
async fn scans_come_in_where_watches_run_out_and_leave_when_there_are_enough() {
    let watch = |events: &Arc<Events>| {
        let watch = Watch::start(events)?;
        watch.fell_short(Silence::Watches);
        watch.fell_short(Silence::Refused("of one folder".into()));
        Ok(watch)
    };
    let scene = Scene::start(Means { watch: Box::new(watch), ..means() }, NEVER);
    scene.next_scan().await;
    assert_eq!(scene.scans(), Some(Silence::Watches));
    scene.found.rescan();
    scene.next_scan().await;
    assert_eq!(scene.scans(), None);
}

#[tokio::test]
async fn a_watcher_that_reports_nothing_is_replaced() {
    let starts = AtomicU32::new(0);
    let watch = move |events: &Arc<Events>| match starts.fetch_add(1, SeqCst) {
        0 => deaf(Path::new("/nowhere")),
        _ => Watch::start(events),
    };
    let mut scene = Scene::start(Means { watch: Box::new(watch), patience: Duration::ZERO, ..means() }, NEVER);
    scene.next_scan().await;
    // The clock of the file system is a few milliseconds behind, so the first may seem older than the watch.
    for number in 0.. {
        scene.write(&number.to_string());
        scene.found.rescan();
        scene.next_scan().await;
        if scene.found.watchers_replaced() > 0 {
            break;
        }
    }
    scene.next_scan().await;
    assert_eq!((scene.found.watchers_replaced(), scene.scans()), (1, None));
    scene.write("later");
    scene.expect("later").await;
}

#[tokio::test]
async fn a_file_deleted_without_an_event_while_in_progress_is_removed_afterwards() {
    // Nothing is recorded of it yet, so the scan that makes up for lost events does not miss it.
    let mut scene = Scene::start(Means { watch: Box::new(|_| deaf(Path::new("/nowhere"))), ..means() }, NEVER);
    scene.next_scan().await;
    for name in ["one", "two"] {
        scene.write(name);
    }
    scene.found.rescan();
    let mut under_way = Vec::new();
    for _ in 0..2 {
        under_way.push(timeout(PATIENCE, scene.changes.recv()).await.unwrap().unwrap());
    }
    fs::remove_file(scene.config.path.join("one")).unwrap();
    scene.write("three");
    scene.found.rescan();
    scene.expect("three").await;
    drop(under_way);
    let change = timeout(PATIENCE, scene.changes.recv()).await.expect("a change comes").unwrap();
    assert_eq!((change.path.as_path(), change.what), (Path::new("one"), What::Gone(Departure::Removed)));
}

#[tokio::test]
async fn when_no_watcher_reports_anything_scans_are_relied_on() {
    let watch = |_: &Arc<Events>| deaf(Path::new("/nowhere"));
    let mut scene = Scene::start(Means { watch: Box::new(watch), patience: Duration::ZERO, ..means() }, OFTEN);
    for number in 0.. {
        scene.next_scan().await;
        if scene.scans().is_some() {
            break;
        }
        scene.write(&number.to_string());
        scene.expect(&number.to_string()).await;
    }
    assert_eq!((scene.found.watchers_replaced(), scene.scans()), (2, Some(Silence::Unheard)));
    scene.write("later");
    scene.expect("later").await;
}

#[tokio::test]
async fn a_watcher_that_reports_everything_is_kept() {
    let mut scene = Scene::start(Means { patience: Duration::ZERO, ..means() }, NEVER);
    scene.next_scan().await;
    for number in 0..100 {
        fs::create_dir(scene.config.path.join(number.to_string())).unwrap();
        let name = format!("{number}/file");
        scene.write(&name);
        if number % 10 == 0 {
            scene.expect(&name).await;
            scene.found.rescan();
            scene.next_scan().await;
        }
    }
    assert_eq!((scene.found.watchers_replaced(), scene.scans()), (0, None));
}

#[tokio::test]
async fn a_scan_comes_when_it_is_asked_for() {
    let scene = Scene::start(means(), NEVER);
    for scans in 1..5 {
        scene.until(|found| found.scans() == scans).await;
        scene.found.rescan();
    }
}

#[tokio::test]
async fn a_folder_that_is_away_is_said_to_be_until_it_is_back() {
    let mut scene = Scene::start(means(), NEVER);
    scene.next_scan().await;
    assert_eq!(scene.found.trouble(), None);
    let away = scene.temporary.path().join("away");
    fs::rename(&scene.config.path, &away).unwrap();
    let says = |text: &'static str| move |found: &Found| found.trouble().is_some_and(|trouble| trouble.contains(text));
    scene.until(says("No such file")).await;
    fs::write(&scene.config.path, "").unwrap();
    scene.until(says("Not a directory")).await;
    fs::remove_file(&scene.config.path).unwrap();
    fs::rename(&away, &scene.config.path).unwrap();
    scene.write("back");
    scene.expect("back").await;
    assert_eq!(scene.found.trouble(), None);
}

#[test]
fn a_folder_that_may_not_be_read_is_said_to_be_closed_until_it_is_open() {
    // Root may read everything: this thread, and those that it starts, may not.
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    let test = async |means| {
        let mut scene = Scene::start(means, NEVER);
        scene.next_scan().await;
        let path = scene.config.path.clone();
        let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for name in ["one", "two"] {
            scene.write(name);
            set_mode(0o000);
            scene.until(|found| found.trouble().is_some_and(|trouble| trouble.contains("may not be read"))).await;
            set_mode(0o700);
            scene.until(|found| found.trouble().is_none()).await;
        }
        for name in ["one", "two"] {
            scene.expect(name).await;
        }
        // What was taken just before is read later: that it cannot be now is not its fault.
        scene.write("three");
        scene.found.rescan(); // where no event tells of it
        let change = timeout(PATIENCE, scene.changes.recv()).await.unwrap().unwrap();
        let What::There(seen) = change.what else { panic!("{} was removed", change.path) };
        set_mode(0o000);
        let error = read(&scene.config, &change.path, &seen, &CancellationToken::new()).unwrap_err();
        assert!(matches!(error, ReadError::Closed) && error.is_passing());
        set_mode(0o700);
    };
    let run = move || {
        rustix::thread::set_capabilities(None, none).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(means()));
        // A folder that was closed from the start is not watched, so no event tells that it has been opened.
        runtime.block_on(test(Means { watch: Box::new(|_| deaf(Path::new("/nowhere"))), ..means() }));
    };
    std::thread::spawn(run).join().unwrap();
}
