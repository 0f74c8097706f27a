//! First contact of a user and an operator: the same flags everywhere, the right output, and what a check finds.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use crate::support::{Ended, PATIENCE, Scene, ends, finish, paragraph, riverbed, signal};

/// A folder with documents in `a` and no configuration.
fn empty_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    for number in 0..3 {
        fs::write(folder.path().join(format!("a/{number}.md")), paragraph(number, 20)).unwrap();
    }
    folder
}

async fn run(folder: &Path, arguments: &[&str]) -> Ended {
    finish(riverbed(folder, arguments)).await
}

const FLAGS: [&str; 5] = ["--source", "a", "--output", "b", "--emulator"];

/// Follows a folder until it is asked to stop.
async fn follow(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = riverbed(folder, &[&["run", "--set", "status.listen=off"], arguments].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let follows = async {
        while !log.next_line().await.unwrap().expect("it ended before it followed its folder").contains("following the source") {}
    };
    timeout(PATIENCE, follows).await.expect("it never followed its folder");
    // Kept open, or the log would break; what comes after is not read.
    child.stderr = Some(log.into_inner().into_inner());
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_in_an_empty_folder_with_flags_alone() {
    let folder = empty_folder();
    let once = run(folder.path(), &[&["run", "--once"], &FLAGS[..]].concat()).await;
    assert_eq!(once.code, Some(0), "{once:?}");
    assert!(once.stdout.contains("3 done, 0 skipped, 0 failed of 3 found"), "{}", once.stdout);
    let again = run(folder.path(), &[&["run", "--once"], &FLAGS[..]].concat()).await;
    assert!(again.stdout.contains("0 done, 0 skipped, 0 failed, 3 unchanged of 3 found"), "{}", again.stdout);
    // Flags come before the command or behind it.
    for arguments in [&["status", "--output", "b"][..], &["--output", "b", "failed"], &["verify", "--output", "b"]] {
        let ended = run(folder.path(), arguments).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let first = ended.stdout.lines().next().unwrap();
        assert!(first.starts_with("output ") && first.ends_with('b'), "{arguments:?}: {}", ended.stdout);
    }
    for flags in [&["--output", "b"][..], &FLAGS] {
        let explained = run(folder.path(), &[&["explain", "a/0.md"], flags].concat()).await;
        assert_eq!(explained.code, Some(0), "{explained:?}");
        let is_told = explained.stdout.contains("in folder   unchanged");
        assert!(is_told && !explained.stdout.contains("differently"), "{flags:?}: {}", explained.stdout);
    }
    for command in ["plan", "check"] {
        let ended = run(folder.path(), &[&[command], &FLAGS[..]].concat()).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let asked = run(folder.path(), &["ask", "What is due?", "--emulator", "--model", "amazon.nova-micro-v1:0"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(!folder.path().join("pipeline.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_it_is_said_which_flags_do_instead_and_a_named_file_must_be_there() {
    let folder = empty_folder();
    for command in [&["run", "--source", "a"][..], &["plan", "--output", "b"], &["status"], &["ask", "x"]] {
        let ended = run(folder.path(), command).await;
        assert_eq!(ended.code, Some(78), "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("`--output DIR`"), "{}", ended.stderr);
    }
    let named = run(folder.path(), &[&["run", "--once", "-c", "other.toml"], &FLAGS[..]].concat()).await;
    assert_eq!(named.code, Some(78), "{named:?}");
    assert!(!folder.path().join("b").exists());
    // A unit needs a file, and what writes no output heeds none of the flags.
    for arguments in [&["schema", "config", "--output", "b"][..], &["service", "--source", "a"], &["emulate", "--emulator"]] {
        let ended = run(folder.path(), arguments).await;
        assert_eq!(ended.code, Some(64), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(" takes no `--"), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_for_another_output_is_named_with_the_command_that_speaks_of_it() {
    let (folder, elsewhere) = (empty_folder(), empty_folder());
    let child = follow(folder.path(), &FLAGS).await;
    let output = folder.path().join("b");
    let command = format!("`riverbed status --output {}`", output.display());
    // Where there is no configuration, and where there is another output.
    let lost = run(elsewhere.path(), &["status"]).await;
    assert_eq!(lost.code, Some(78), "{lost:?}");
    assert!(lost.stderr.contains("a daemon runs for ") && lost.stderr.contains(&command), "{}", lost.stderr);
    let lost = run(elsewhere.path(), &["verify", "--output", "c"]).await;
    assert!(lost.stderr.contains(&command.replace("status", "verify")), "{}", lost.stderr);
    run(elsewhere.path(), &[&["run", "--once"], &FLAGS[..]].concat()).await;
    let other = run(elsewhere.path(), &["status", "--output", "b"]).await;
    assert!(other.stdout.contains("no daemon runs") && other.stdout.contains(&command), "{}", other.stdout);
    let found = run(elsewhere.path(), &["status", "--output", output.to_str().unwrap()]).await;
    assert!(found.stdout.contains("following its folder") && !found.stdout.contains("a daemon runs"), "{}", found.stdout);
    let json = run(elsewhere.path(), &["status", "--json", "--output", output.to_str().unwrap()]).await;
    let status: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(status["folders"]["output"], output.to_str().unwrap());
    assert!(status["folders"]["source"].as_str().unwrap().ends_with("/a"), "{status}");
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_ledger_has_a_place_of_its_own_is_named_with_it() {
    let (folder, elsewhere) = (empty_folder(), empty_folder());
    let child = follow(folder.path(), &[&FLAGS[..], &["--set", "ledger.path=l/ledger.db"]].concat()).await;
    let [output, ledger] = ["b", "l/ledger.db"].map(|name| folder.path().join(name).display().to_string());
    let lost = run(elsewhere.path(), &["status"]).await;
    let command = format!("`riverbed status --output {output} --set ledger.path={ledger}`");
    assert!(lost.stderr.contains(&command), "{}", lost.stderr);
    let found = run(elsewhere.path(), &["status", "--output", &output, "--set", &format!("ledger.path={ledger}")]).await;
    assert!(found.stdout.contains("following its folder"), "{found:?}");
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_says_nothing_of_documents_that_a_prompt_is_not_meant_for() {
    let prompt = "name = \"title\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"A title:\\n{{text}}\"\ninclude = [\"*.md\"]";
    let scene = Scene::cheap().await.chat(prompt);
    scene.drop("a.md", paragraph(1, 30));
    scene.drop("b.txt", paragraph(2, 30));
    scene.drop("c.txt", paragraph(3, 30));
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(scene.answers().len(), 1);
    let again = scene.once().await;
    assert!(!again.stderr.contains("prompt is new or changed"), "{}", again.stderr);
    // Wider globs let documents in, and narrower ones take answers back.
    let scene = scene.chat_again(&prompt.replace("*.md", "*"));
    let wider = scene.once().await;
    assert!(wider.stderr.contains("prompt is new or changed") && wider.stderr.contains("documents=3"), "{}", wider.stderr);
    assert_eq!(scene.answers().len(), 3);
    let scene = scene.chat_again(prompt);
    let narrower = scene.once().await;
    assert!(narrower.stderr.contains("documents=1"), "{}", narrower.stderr);
    let lines = scene.answers();
    assert_eq!(lines.iter().filter(|line| line["op"] == "delete").count(), 2, "{lines:#?}");
    assert!(!scene.once().await.stderr.contains("prompt is new or changed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_a_run_would_refuse_and_ends_as_that_would() {
    let folder = empty_folder();
    let both = |arguments: Vec<String>| {
        let folder = folder.path().to_owned();
        async move {
            let with = |command: &[&str]| {
                command
                    .iter()
                    .map(|word| (*word).to_owned())
                    .chain(["--emulator".to_owned()])
                    .chain(arguments.clone())
                    .collect::<Vec<_>>()
            };
            let [check, once] = [with(&["check"]), with(&["run", "--once"])];
            let check = run(&folder, &check.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let once = run(&folder, &once.iter().map(String::as_str).collect::<Vec<_>>()).await;
            assert_eq!(check.code, once.code, "{check:?}\n{once:?}");
            check
        }
    };
    let flags = |source: &str, output: &str| ["--source", source, "--output", output].map(str::to_owned).to_vec();
    // Nobody may make a file there, root neither.
    let refused = both(flags("a", "/proc/self/out")).await;
    assert_eq!(refused.code, Some(74), "{refused:?}");
    assert!(refused.stderr.contains("`sink.path` is `/proc/self/out`") && refused.stderr.contains("at: --output"), "{refused:?}");
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(both(flags("a", "file")).await.stderr.contains("is no folder"));
    fs::create_dir_all(folder.path().join("taken/vectors.jsonl")).unwrap();
    assert!(both(flags("a", "taken")).await.stderr.contains("`vectors.jsonl`"));
    // A ledger of another output, one that is none, and one that was lost.
    assert_eq!(both(flags("a", "b")).await.code, Some(0));
    let placed = ["--set".to_owned(), format!("ledger.path={}", folder.path().join("b/.riverbed/ledger.db").display())];
    fs::create_dir(folder.path().join("c")).unwrap();
    let other = both([flags("a", "c"), placed.to_vec()].concat()).await;
    assert!(other.code == Some(65) && other.stderr.contains("belongs to the output in"), "{other:?}");
    fs::write(folder.path().join("text.db"), "this is some text, and it is long enough to be no header of a database at all")
        .unwrap();
    let text = both([flags("a", "d"), vec!["--set".into(), "ledger.path=text.db".into()]].concat()).await;
    assert!(text.code == Some(65) && text.stderr.contains("is no ledger of riverbed's"), "{text:?}");
    fs::remove_dir_all(folder.path().join("b/.riverbed")).unwrap();
    let lost = both(flags("a", "b")).await;
    assert!(lost.code == Some(65) && lost.stderr.contains("the ledger is new"), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_makes_nothing_and_warns_of_what_a_daemon_would_miss() {
    let folder = empty_folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("status.listen={}", taken.local_addr().unwrap());
    let check = run(folder.path(), &[&["check", "--set", &listen], &FLAGS[..]].concat()).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stdout.contains("warning        `status.listen` is 127.0.0.1:"), "{}", check.stdout);
    assert!(!folder.path().join("b").exists());
    let moves = ["--set", "source.on-done=move", "--set", "source.done-dir=/proc/self/done", "--set", "status.listen=off"];
    let check = run(folder.path(), &[&["check"], &moves[..], &FLAGS[..]].concat()).await;
    assert!(check.stdout.contains("warning        `source.done-dir` is `/proc/self/done`"), "{check:?}");
    let child = follow(folder.path(), &FLAGS).await;
    let check = run(folder.path(), &[&["check"], &FLAGS[..]].concat()).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stdout.contains("already runs for the output `b`"), "{}", check.stdout);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_folders_that_mean_in_the_file_what_they_meant_on_the_command_line() {
    let folder = empty_folder();
    let init = run(folder.path(), &["init", "etc", "--source", "a", "--output", "b"]).await;
    assert_eq!(init.code, Some(0), "{init:?}");
    let check = run(folder.path(), &["check", "-c", "etc/pipeline.toml", "--emulator"]).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    let [source, output] = ["a", "b"].map(|name| folder.path().join(name).display().to_string());
    assert!(init.stdout.contains(&format!("source.path = \"{source}\"")), "{}", init.stdout);
    assert!(check.stdout.contains(&source) && check.stdout.contains(&output), "{}", check.stdout);
    // In the same folder they mean the same, and the file may move with it.
    assert_eq!(run(folder.path(), &["init", "--source", "a", "--output", "b"]).await.code, Some(0));
    let written = fs::read_to_string(folder.path().join("pipeline.toml")).unwrap();
    assert!(written.contains("\npath = \"a\"\n") && written.contains("\npath = \"b\"\n"), "{written}");
    let emulator = run(folder.path(), &["init", "x", "--emulator"]).await;
    assert_eq!(emulator.code, Some(64), "{emulator:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulators_answers_cost_nothing_where_its_vectors_cost_nothing() {
    let prompt = "name = \"title\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"A title:\\n{{text}}\"";
    let scene = Scene::cheap().await.set("bedrock.endpoint", "\"emulator\"").chat(prompt);
    scene.drop("a.md", paragraph(1, 30));
    assert_eq!(scene.once().await.code, Some(0));
    let told = finish(scene.riverbed(&["explain", "a.md", "--json"])).await;
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&told["versions"][0]["usd"], &told["answers"][0]["usd"]), (&0.0.into(), &0.0.into()), "{told:#}");
    assert!(told["answers"][0]["output_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_which_two_questions_fail_is_one_document_that_failed() {
    let prompt = |name: &str| {
        format!("name = \"{name}\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Poisoned {name}:\\n{{{{text}}}}\"")
    };
    let scene = Scene::cheap().await.chat(&prompt("one")).chat(&prompt("two"));
    // In words that are about the input: what every input is refused for alike would be nobody's own fault.
    let refused = riverbed::emulator::Fault::validation("the request was blocked by the content filter");
    scene.emulator.fault_where("Poisoned", refused);
    scene.drop("a.md", paragraph(1, 30));
    scene.drop("b.txt", paragraph(2, 30));
    let once = scene.once().await;
    assert_eq!(once.code, Some(2), "{once:?}");
    assert!(once.stdout.contains("2 done, 0 skipped, 0 failed of 2 found"), "{}", once.stdout);
    assert!(once.stdout.contains("\n           2 documents failed when a chat model was asked\n"), "{}", once.stdout);
    assert!(once.stdout.contains("in all     0 done, 0 skipped, 2 failed"), "{}", once.stdout);
    assert!(!once.stdout.contains("in earlier runs"), "{}", once.stdout);
    assert_eq!(once.stdout.matches("\nfailed     ").count(), 4, "each question is named: {}", once.stdout);
    let again = scene.once().await;
    assert!(again.stdout.contains("failed     2 in earlier runs"), "{}", again.stdout);
}
