//! Few descriptors and few threads: slow, or an error with the limit's name; never a failed document, a panic or a hang.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tokio::process::Command;

use crate::support::{Scene, finish, paragraph};

/// Returns the program with this scene's configuration, below limits that a shell sets.
fn limited(scene: &Scene, limits: &str, arguments: &[&str]) -> Command {
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
