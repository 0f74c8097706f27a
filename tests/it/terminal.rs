//! A daemon outlives its terminal, and distinguishes that from a reload request.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use crate::support::{Scene, changes_until, ends, finish, riverbed, signal};

/// A window: what its programs write is read away until it is closed.
struct Window(Receiver);

impl Window {
    /// Opens one, with the terminal in it.
    fn open() -> (Self, File) {
        let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&window).unwrap();
        unlockpt(&window).unwrap();
        let name = ptsname(&window, Vec::new()).unwrap().into_string().unwrap();
        let flags = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        let mut options = OpenOptions::new();
        let terminal = std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true).write(true), flags).open(name).unwrap();
        rustix::io::ioctl_fionbio(&window, true).unwrap();
        (Self(Receiver::from_file_unchecked(window.into()).unwrap()), terminal)
    }

    /// Reads until something else has happened, and returns what was read.
    async fn shows_until<T>(&mut self, other: impl Future<Output = T>) -> (String, T) {
        let mut shown = Vec::new();
        let read = async {
            loop {
                let mut bytes = [0; 4096];
                match self.0.read(&mut bytes).await {
                    Ok(read) if read > 0 => shown.extend_from_slice(&bytes[..read]),
                    // Nobody has the terminal open any more.
                    Ok(_) | Err(_) => std::future::pending().await,
                }
            }
        };
        let other = tokio::select! {
            () = read => unreachable!("it reads for ever"),
            other = other => other,
        };
        (String::from_utf8_lossy(&shown).into_owned(), other)
    }

    /// Reads what is left once no program has the terminal open any more.
    async fn rest(&mut self) -> String {
        let mut shown = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = self.0.read(&mut bytes).await {
            shown.extend_from_slice(&bytes[..read]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_window_is_closed_goes_on_with_its_work() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    let (mut window, terminal) = Window::open();
    let mut command = scene.riverbed(&["run"]);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let child = command.spawn().unwrap();
    drop(command);
    let (shown, _) = window.shows_until(scene.vectors_reach(1)).await;
    assert!(shown.contains("started"), "{shown:?}");
    drop(window);
    // A file that is skipped, and one that is embedded, are lines of the log.
    scene.drop("picture.png", b"\x89PNG\r\n\x1a\n....");
    scene.drop("b.txt", "other words");
    assert_eq!(scene.vectors_reach(2).await.len(), 2);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_window_is_closed_ends_as_if_it_were_seen() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let (mut window, terminal) = Window::open();
    let mut command = scene.riverbed(&["run", "--once"]);
    command.env("TERM", "xterm").stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let child = command.spawn().unwrap();
    drop(command);
    window.shows_until(scene.emulator.called(1)).await;
    drop(window);
    scene.emulator.release();
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(scene.vectors().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hangup_of_a_window_is_no_reload_and_a_later_one_is() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    fs::create_dir(scene.path("log")).unwrap();
    let log = scene.path("log/log");
    let (mut window, terminal) = Window::open();
    let mut of_scene = scene.riverbed(&["run"]);
    // It leads a session, and the window's terminal controls that.
    let mut command = tokio::process::Command::new("setsid");
    command.arg("--ctty").arg(env!("CARGO_BIN_EXE_riverbed")).arg("run").current_dir(scene.path("")).kill_on_drop(true);
    for (name, value) in of_scene.as_std_mut().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(terminal).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let child = command.spawn().unwrap();
    drop(command);
    let says = |what: &'static str| {
        let log = log.clone();
        let path = scene.path("log");
        async move { changes_until(&path, || fs::read_to_string(&log).unwrap().contains(what)).await }
    };
    window.shows_until(scene.vectors_reach(1)).await;
    drop(window);
    says("terminal closed; continuing without it").await;
    assert!(!fs::read_to_string(&log).unwrap().contains("configuration reloaded"));
    signal(&child, Signal::HUP);
    says("configuration reloaded").await;
    scene.drop("b.txt", "other words");
    assert_eq!(scene.vectors_reach(2).await.len(), 2);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_say_what_it_did_has_done_it() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    let mut command = scene.riverbed(&["run", "--once"]);
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = command.stdout(full()).stderr(full()).spawn().unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(scene.vectors().len(), 1);
    // A command whose only work is to say something has not done it.
    let mut command = scene.riverbed(&["status"]);
    let mut child = command.stdout(full()).stderr(full()).spawn().unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(74));
    assert_eq!(finish(scene.riverbed(&["status"])).await.code, Some(0));
}

/// Prints a chapter to a terminal, with a pager; returns how that ended and what the terminal showed.
async fn chapter(folder: &Path, pager: &str, path: &Path) -> (Option<i32>, String) {
    let (mut window, terminal) = Window::open();
    let mut command = riverbed(folder, &["docs", "failures"]);
    command.env("PAGER", pager).env("PATH", path).env("TERM", "xterm");
    let child = command.stdout(terminal.try_clone().unwrap()).stderr(terminal).spawn().unwrap();
    drop(command);
    let (shown, code) = window.shows_until(ends(child)).await;
    (code, shown + &window.rest().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chapter_goes_through_the_pager_of_the_terminals_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let ended = chapter(folder.path(), "cat > paged", Path::new(&path)).await;
    assert_eq!(ended, (Some(0), String::new()));
    let text = include_str!("../../src/docs/failures.md");
    assert_eq!(fs::read_to_string(folder.path().join("paged")).unwrap(), text);
    // One that is quit at once has shown what was wanted.
    assert_eq!(chapter(folder.path(), "true", Path::new(&path)).await, (Some(0), String::new()));
    // A pipe is no terminal.
    let mut command = riverbed(folder.path(), &["docs", "failures"]);
    command.env("PAGER", "false");
    assert_eq!(finish(command).await.stdout, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_pager_a_chapter_is_printed_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    symlink("/bin/sh", folder.path().join("sh")).unwrap();
    let (code, shown) = chapter(folder.path(), "no-such-pager", folder.path()).await;
    assert_eq!(code, Some(0));
    let text = include_str!("../../src/docs/failures.md").replace('\n', "\r\n");
    assert!(shown.ends_with(&text), "{shown}");
}
