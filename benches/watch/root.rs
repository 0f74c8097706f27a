//! The source folder comes and goes: recreated, missing, closed, unmounted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::figures::Figures;
use crate::source::Following;
use crate::support::{PATIENCE, Scene, changes_until, ends, signal};

/// So soon must all be back, in seconds.
const BACK_SECS: f64 = 5.0;
const SETTLE: Duration = Duration::from_millis(50);
const FILES: usize = 20;

/// Deleted and recreated 50 times.
pub async fn made_anew(figures: &mut Figures) {
    const TIMES: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("drop");
    fs::create_dir(&drop).unwrap();
    let mut following = Following::start(&drop, SETTLE);
    following.found.scanned(1).await;
    let (mut slowest, mut missed) = (0.0_f64, 0);
    for time in 0..TIMES {
        fs::remove_dir_all(&drop).unwrap();
        // At once, after a moment, and after it has been noticed.
        sleep([Duration::ZERO, SETTLE, Duration::from_millis(1500)][time % 3]).await;
        let (took, left) = fill_and_expect(&mut following, &drop, &format!("{time}")).await;
        slowest = slowest.max(took);
        missed += left;
    }
    figures.at_most("source folder deleted and recreated 50 times, slowest return", slowest, BACK_SECS, "s");
    figures.exactly("files missed", missed, 0);
}

/// Not there at the start.
pub async fn absent(figures: &mut Figures) {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("drop");
    let mut following = Following::start(&drop, SETTLE);
    let is_waiting = timeout(PATIENCE, following.found.wait_until(|found| found.trouble().is_some())).await;
    is_waiting.expect("it says that the folder is missing");
    let (took, left) = fill_and_expect(&mut following, &drop, "first").await;
    figures.at_most("source folder that was not there at the start, from its making to its files", took, BACK_SECS, "s");
    figures.exactly("files missed", left, 0);
}

/// Makes a folder with files in it, and returns how long it took until all had come, and how many did not.
async fn fill_and_expect(following: &mut Following, drop: &Path, name: &str) -> (f64, usize) {
    fs::create_dir_all(drop.join("below")).unwrap();
    let mut missing: BTreeSet<String> = (0..FILES).map(|number| format!("below/{name}-{number}")).collect();
    for name in &missing {
        fs::write(drop.join(name), name).unwrap();
    }
    let begun = Instant::now();
    let come = async {
        while !missing.is_empty() {
            let (name, contents) = following.next().await;
            assert_eq!(contents.bytes, name.as_bytes());
            missing.remove(&name);
        }
    };
    let _missed = timeout(PATIENCE / 4, come).await;
    (begun.elapsed().as_secs_f64(), missing.len())
}

/// Of mode 000 at the start, and again later, for a daemon without privileges.
pub async fn closed(figures: &mut Figures) {
    let scene = Scene::cheap().await.set("log.level", "\"debug\"");
    let set_mode = |mode| fs::set_permissions(scene.path("drop"), fs::Permissions::from_mode(mode)).unwrap();
    let mut lines = 0;
    let mut child = None;
    for (time, name) in ["at the start", "later", "once more"].into_iter().enumerate() {
        scene.drop(&format!("{name}.txt"), name);
        // What lands at once is in; from then on it is closed.
        if time > 0 {
            lines += 1;
            scene.vectors_reach(lines).await;
            scene.drop(&format!("{name}, just before.txt"), format!("{name}, just before"));
        }
        set_mode(0o000);
        let child = child.get_or_insert_with(|| unprivileged(&scene));
        says(&scene, "the source folder may not be read", time + 1).await;
        assert_eq!(child.try_wait().unwrap(), None, "it goes on");
        let begun = Instant::now();
        set_mode(0o700);
        lines += 1;
        scene.vectors_reach(lines).await;
        figures.at_most(
            &format!("source folder of mode 000 {name}, from its opening to its line"),
            begun.elapsed().as_secs_f64(),
            BACK_SECS,
            "s",
        );
    }
    end(&scene, child.unwrap()).await;
    no_line_was_deleted(figures, &scene);
}

/// Runs what needs mounts as a process that may mount.
pub async fn in_a_namespace(figures: &mut Figures) {
    let mut command = Command::new("unshare");
    let status = command.arg("-rm").arg(std::env::current_exe().unwrap()).arg("mounted").status().await;
    figures.add(status.is_ok_and(|status| status.success()));
}

/// A source folder that is a mount, with a mount in it; both go and come back. And devices in it.
pub async fn mounted(figures: &mut Figures) {
    let scene = Scene::cheap().await.set("log.level", "\"debug\"");
    for folder in ["store", "store/below", "store-below"] {
        fs::create_dir(scene.path(folder)).unwrap();
    }
    mount(&["-t", "tmpfs", "tmpfs"], &scene.path("store"));
    mount(&["-t", "tmpfs", "tmpfs"], &scene.path("store-below"));
    fs::create_dir(scene.path("store/below")).unwrap();
    fs::write(scene.path("store/above.txt"), "above").unwrap();
    fs::write(scene.path("store-below/below.txt"), "below").unwrap();
    let (store, store_below) = (scene.path("store"), scene.path("store-below"));
    let mount_both = || {
        mount(&["--bind", store.to_str().unwrap()], &scene.path("drop"));
        mount(&["--bind", store_below.to_str().unwrap()], &scene.path("drop/below"));
    };
    mount_both();
    for device in ["null", "zero"] {
        let name = scene.path("drop").join(format!("{device}.txt"));
        File::create(&name).unwrap();
        mount(&["--bind", &format!("/dev/{device}")], &name);
    }
    let child = spawn(scene.riverbed(&["run"]), &scene);
    scene.vectors_reach(2).await;

    unmount(&scene.path("drop/below"));
    signal(&child, Signal::HUP);
    says(&scene, "scanned", 2).await;
    mount(&["--bind", store_below.to_str().unwrap()], &scene.path("drop/below"));

    unmount(&scene.path("drop"));
    says(&scene, "source folder was replaced", 1).await;
    says(&scene, "scanned", 3).await;
    fs::write(scene.path("store/meanwhile.txt"), "meanwhile").unwrap();
    let begun = Instant::now();
    mount_both();
    scene.vectors_reach(3).await;
    figures.at_most(
        "source folder unmounted and mounted again, until a new file is out",
        begun.elapsed().as_secs_f64(),
        BACK_SECS,
        "s",
    );
    signal(&child, Signal::HUP);
    sleep(Duration::from_secs(2)).await; // whatever might be deleted now
    end(&scene, child).await;
    figures.exactly("lines, with devices in the folder and mounts that went away", scene.vectors().len(), 3);
    no_line_was_deleted(figures, &scene);
    for folder in ["drop", "store-below", "store"] {
        unmount(&scene.path(folder));
    }
}

fn no_line_was_deleted(figures: &mut Figures, scene: &Scene) {
    let taken_back = scene.vectors().iter().filter(|line| line["op"] == "delete").count();
    figures.exactly("lines deleted", taken_back, 0);
}

fn mount(how: &[&str], at: &Path) {
    let status = std::process::Command::new("mount").args(how).arg(at).status();
    assert!(status.unwrap().success(), "nothing can be mounted here");
}

fn unmount(at: &Path) {
    let status = std::process::Command::new("umount").arg("-lR").arg(at).status();
    assert!(status.unwrap().success());
}

/// Starts the daemon as a user whom nothing but ownership gives rights: in a namespace in which it is nobody.
fn unprivileged(scene: &Scene) -> Child {
    let plain = scene.riverbed(&["run"]);
    let plain = plain.as_std();
    let mut command = Command::new("unshare");
    command.arg("-U").arg(plain.get_program()).args(plain.get_args()).current_dir(scene.path("."));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.kill_on_drop(true);
    spawn(command, scene)
}

fn spawn(mut command: Command, scene: &Scene) -> Child {
    command.stdout(Stdio::null()).stderr(File::create(scene.path("out-log")).unwrap()).spawn().unwrap()
}

async fn says(scene: &Scene, words: &str, times: usize) {
    let log = || fs::read_to_string(scene.path("out-log")).unwrap();
    let said = async {
        while log().matches(words).count() < times {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, said).await.is_ok(), "it did not say `{words}` {times} times: {}", log());
}

async fn end(scene: &Scene, child: Child) {
    changes_until(&scene.path("out"), || true).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}
