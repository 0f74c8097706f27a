//! Life under systemd: the unit, and notifications of the service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use riverbed::emulator::Fault;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::timeout;

use crate::support::{PATIENCE, Scene, ends, finish, signal};

/// A service manager that listens.
pub struct Manager(tokio::net::UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(tokio::net::UnixDatagram::from_std(socket).unwrap())
    }

    /// Returns the next message, as it came.
    pub async fn next(&self) -> String {
        let mut message = vec![0; 4096];
        let length = timeout(PATIENCE, self.0.recv(&mut message)).await.expect("nothing more is sent").unwrap();
        message.truncate(length);
        String::from_utf8(message).unwrap()
    }

    /// Returns the next message that is neither a sign of life nor only a line for people.
    pub async fn next_turn(&self) -> String {
        loop {
            let message = self.next().await;
            if message != "WATCHDOG=1\n" && !message.starts_with("STATUS=") {
                return message;
            }
        }
    }

    /// Returns whether nothing more has been told but signs of life and lines for people.
    pub fn is_silent(&self) -> bool {
        let mut message = [0; 4096];
        while let Ok(length) = self.0.try_recv(&mut message) {
            let message = String::from_utf8_lossy(&message[..length]);
            if message != "WATCHDOG=1\n" && !message.starts_with("STATUS=") {
                return false;
            }
        }
        true
    }

    /// Waits until so many signs of life have come.
    async fn hears_life(&self, times: usize) {
        let mut heard = 0;
        while heard < times {
            heard += usize::from(self.next().await == "WATCHDOG=1\n");
        }
    }
}

/// Follows the scene's folder as systemd would have it.
pub fn start(scene: &Scene, watchdog: Duration) -> (Child, Manager) {
    let path = scene.path("notify");
    let manager = Manager::listen(&path);
    let mut command = scene.riverbed(&["run"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    (command.stdout(Stdio::null()).spawn().unwrap(), manager)
}

async fn status(scene: &Scene) -> serde_json::Value {
    serde_json::from_str(&finish(scene.riverbed(&["status", "--json"])).await.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_is_told_each_turn_and_in_the_order_of_the_protocol() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    let (child, manager) = start(&scene, Duration::from_millis(300));
    let ready = manager.next_turn().await;
    assert!(ready.starts_with("READY=1\nSTATUS=following: "), "{ready}");
    assert_eq!(status(&scene).await["state"], "following", "what was asked for it when it was ready");
    manager.hears_life(3).await;

    signal(&child, Signal::HUP);
    let reloading = manager.next_turn().await;
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{reloading}");
    let ready = manager.next_turn().await;
    assert!(ready.starts_with("READY=1\n"), "{ready}");

    signal(&child, Signal::TERM);
    let stopping = manager.next_turn().await;
    assert!(stopping.starts_with("STOPPING=1\nSTATUS=stopping: "), "{stopping}");
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_while_it_starts_ends_no_daemon() {
    let scene = Scene::cheap().await;
    let (child, manager) = start(&scene, Duration::from_millis(300));
    let first = manager.next().await;
    assert!(first.starts_with("STATUS=recovering what the last run"), "{first}");
    signal(&child, Signal::HUP);
    let ready = manager.next_turn().await;
    assert!(ready.starts_with("READY=1\nSTATUS=following: "), "{ready}");
    // What was asked for is done.
    let read = async { while status(&scene).await["configuration"]["reloads"] == 0 {} };
    timeout(PATIENCE, read).await.expect("the configuration is never read again");
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_waits_for_its_folder_is_ready_and_says_what_it_waits_for() {
    let scene = Scene::cheap().await;
    fs::remove_dir(scene.path("drop")).unwrap();
    let (child, manager) = start(&scene, Duration::from_millis(300));
    let ready = manager.next_turn().await;
    assert!(ready.starts_with("READY=1\nSTATUS=the source folder cannot be opened"), "{ready}");
    manager.hears_life(3).await;
    fs::create_dir(scene.path("drop")).unwrap();
    let following = async { while !manager.next().await.starts_with("STATUS=following") {} };
    timeout(PATIENCE, following).await.expect("it never said that it follows its folder");
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_while_nothing_can_be_done() {
    // Held back by the service, and with nothing to do at all: ten times as long as a stage may take for one thing.
    let scene =
        Scene::cheap().await.set("retry.initial", "\"1h\"").set("retry.max-interval", "\"1h\"").set("run.grace", "\"20ms\"");
    scene.emulator.fault_where("", Fault::error(403, "AccessDeniedException", "no"));
    let (child, manager) = start(&scene, Duration::from_millis(30));
    manager.hears_life(30).await;
    scene.drop("a.txt", "words");
    scene.emulator.called(1).await;
    manager.hears_life(30).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unit_is_printed_whatever_may_bite_and_check_tells_what_would() {
    let scene = Scene::cheap().await;
    let printed = finish(scene.riverbed(&["service"])).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    // The scene lies in a folder for temporary files.
    assert!(printed.stderr.contains("warning: the source folder, `"), "{}", printed.stderr);
    let above = scene.path("");
    let above = above.to_str().unwrap().trim_end_matches('/');
    for line in ["Type=notify", "WatchdogSec=30s", "User=riverbed", &format!("ReadWritePaths={above}")] {
        assert!(printed.stdout.lines().any(|found| found == line), "{line} is not in\n{}", printed.stdout);
    }
    let user = finish(scene.riverbed(&["service", "--user"])).await;
    assert_eq!((user.code, user.stderr.as_str()), (Some(0), ""), "a user's own unit hides nothing");
    assert!(user.stdout.contains("WantedBy=default.target") && !user.stdout.contains("\nUser="), "{}", user.stdout);
    let check = finish(scene.riverbed(&["check", "--service"])).await;
    assert_eq!(check.code, Some(78), "{check:?}");
    assert!(check.stdout.contains("`PrivateTmp` hides /tmp") || check.stdout.contains("hides "), "{}", check.stdout);
}
