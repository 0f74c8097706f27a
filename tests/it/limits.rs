//! Few descriptors and few threads: slow, or an error with the limit's name; never a failed document, a panic or a hang.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{PATIENCE, Scene, changes_until, ends, finish, paragraph, signal};

/// Returns the program with this scene's configuration, below limits that a shell sets.
pub fn limited(scene: &Scene, limits: &str, arguments: &[&str]) -> Command {
    let mut of_scene = scene.riverbed(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_riverbed")]).args(arguments);
    command.current_dir(scene.path("")).kill_on_drop(true);
    for (name, value) in of_scene.as_std_mut().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_descriptors_fewer_calls_are_in_flight_and_no_document_fails() {
    let scene = Scene::cheap_after(std::time::Duration::from_millis(20)).await.set("bedrock.max-in-flight", "200");
    for number in 0..200 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let ended = finish(limited(&scene, "ulimit -n 80", &["run", "--once"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("too few descriptors; fewer calls"), "{ended:?}");
    assert!(ended.stderr.contains("LimitNOFILE=264"), "{ended:?}");
    assert_eq!((scene.vectors().len(), scene.lines("failed.jsonl").len()), (200, 0));
    assert_eq!((scene.emulator.counts().calls, scene.emulator.counts().texts), (200, 200), "each was called for once");
}

/// Bounds the descriptors of a process that runs so that it can open so many more, and returns what the bound was.
fn leave_descriptors(child: &Child, more: usize) -> Rlimit {
    let pid = child.id().unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().to_str().unwrap().parse::<u64>().unwrap();
    let open: BTreeSet<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| name(entry.unwrap())).collect();
    // The bound is on their numbers, and the lowest that is free is taken first.
    let bound = (0..).filter(|number| !open.contains(number)).nth(more).unwrap();
    let hard = hard_limit(pid);
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current: Some(bound), maximum: hard }).unwrap()
}

/// Returns what a process may raise its bound to. It stays, so that the bound can be put back.
fn hard_limit(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().ok()
}

fn put_back(child: &Child, limit: Rlimit) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    rustix::process::prlimit(pid, Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_descriptors_fails_no_document_and_embeds_each_once_there_are_some_again() {
    let scene = Scene::cheap_after(Duration::from_millis(20)).await.set("bedrock.max-in-flight", "32");
    scene.drop("first.txt", "first");
    let log = scene.path("log");
    let child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    scene.vectors_reach(1).await;
    // Some files can be read and not all calls be made; then nothing can be opened at all, not even to look at a file.
    for (more, first, short) in [(6, 100, "the call waits"), (0, 1, "cannot read this path")] {
        let (texts, lines) = (scene.emulator.counts().texts, scene.vectors().len());
        let before = leave_descriptors(&child, more);
        let drop = |numbers: Range<usize>| {
            numbers.for_each(|number| scene.drop(&format!("{more}-{number}.txt"), format!("{more}: {}", paragraph(number, 8))));
        };
        drop(0..first);
        changes_until(&scene.path(""), || fs::read_to_string(&log).unwrap().contains(short)).await;
        drop(first..100);
        put_back(&child, before);
        let vectors = scene.vectors_reach(lines + 100).await;
        assert_eq!((vectors.len(), scene.lines("failed.jsonl").len()), (lines + 100, 0), "with {more} more descriptors");
        assert_eq!(scene.emulator.counts().texts, texts + 100, "each was called for once");
    }
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_wait_for_a_descriptor() {
    let scene = Scene::cheap().await.set("run.grace", "\"1h\"");
    scene.drop("first.txt", "first");
    let child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    scene.vectors_reach(1).await;
    leave_descriptors(&child, 0);
    for number in 0..100 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    signal(&child, Signal::TERM);
    let (code, said) = finish_reading(child).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("after the grace period"), "{said}");
    assert_eq!(scene.lines("failed.jsonl").len(), 0);
    // What was waited for is done by the next run.
    assert_eq!((scene.once().await.code, scene.vectors().len()), (Some(0), 101));
}

/// Reads what a process says to its end, and returns how it ended.
async fn finish_reading(child: Child) -> (Option<i32>, String) {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("riverbed never ended").unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_holds_the_calls_in_flight_against_the_descriptors() {
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", "1000");
    let ended = finish(limited(&scene, "ulimit -n 512", &["check"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = "descriptors    512 allowed, 1064 needed for `bedrock.max-in-flight` = 1000";
    assert!(ended.stdout.contains(said) && ended.stdout.contains("`ulimit -n 1064`"), "{ended:?}");
    // What may be raised is raised.
    let scene = scene.set("bedrock.max-in-flight", "200");
    let ended = finish(limited(&scene, "ulimit -S -n 100", &["check"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains("descriptors"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_too_low_to_begin_is_named() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    for arguments in [&["run", "--once"][..], &["run"], &["check"]] {
        let ended = finish(limited(&scene, "ulimit -n 24", arguments)).await;
        assert_eq!(ended.code, Some(71), "{ended:?}");
        assert!(ended.stderr.contains("the limit is 24 (RLIMIT_NOFILE)"), "{ended:?}");
        assert!(ended.stderr.contains("LimitNOFILE="), "{ended:?}");
    }
    assert!(scene.vectors().is_empty() && scene.emulator.counts().calls == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_threads_are_named_and_with_just_enough_the_work_is_done() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    // Root has as many as it wants: another user is it then, who has none yet.
    let is_root = rustix::process::geteuid().is_root();
    let ours = if is_root { "setpriv --reuid=54399 --regid=54399 --clear-groups " } else { "" };
    let program = scene.path("riverbed");
    if is_root {
        fs::copy(env!("CARGO_BIN_EXE_riverbed"), &program).unwrap();
        for open in ["", "drop"] {
            fs::set_permissions(scene.path(open), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir(scene.path("out")).unwrap();
        fs::set_permissions(scene.path("out"), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let with = |threads: usize| {
        let mut of_scene = scene.riverbed(&[]);
        let program = if is_root { program.display().to_string() } else { env!("CARGO_BIN_EXE_riverbed").to_owned() };
        let script = format!("exec {ours}prlimit --nproc={threads} \"{program}\" run --once");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(scene.path("")).kill_on_drop(true);
        for (name, value) in of_scene.as_std_mut().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    };
    for threads in if is_root { 1..=7 } else { 1..=1 } {
        let ended = finish(with(threads)).await;
        assert_eq!(ended.code, Some(71), "{threads}: {ended:?}");
        assert!(ended.stderr.contains("too few threads") && ended.stderr.contains("RLIMIT_NPROC"), "{threads}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{threads}: {ended:?}");
    }
    if is_root {
        let ended = finish(with(8)).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(scene.vectors().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_variable_says_of_threads_is_not_asked_for() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    for value in ["many", "0", "99999999999999999999"] {
        let mut command = scene.riverbed(&["run", "--once"]);
        command.env("TOKIO_WORKER_THREADS", value);
        let ended = finish(command).await;
        assert_eq!(ended.code, Some(0), "{value}: {ended:?}");
    }
}
