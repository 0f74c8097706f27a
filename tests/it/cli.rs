//! What the program says on a terminal.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use aws_sdk_bedrockruntime::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_bedrockruntime::primitives::Blob;
use insta::assert_snapshot;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::emulator::{SIGNED, exchange_with, post};
use crate::support::{Ended, Scene, ends, finish, riverbed, signal};

async fn run(arguments: &[&str]) -> Ended {
    finish(riverbed(Path::new("."), arguments)).await
}

#[tokio::test]
async fn help_shows_the_commands_and_examples() {
    let ended = run(&["--help"]).await;
    assert_eq!(ended.code, Some(0));
    assert_snapshot!(ended.stdout);
    assert_snapshot!(run(&["run", "--help"]).await.stdout);
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_64() {
    for arguments in [["fly"].as_slice(), &["run", "--twice"], &[], &["emulate", "--listen", "nowhere"]] {
        assert_eq!(run(arguments).await.code, Some(64), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_version_is_that_of_the_package() {
    assert_eq!(run(&["--version"]).await.stdout, concat!("riverbed ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_systemd_the_log_goes_to_the_journal_or_says_that_it_cannot() {
    use std::os::unix::fs::MetadataExt as _;
    let scene = Scene::cheap().await;
    scene.drop("b.png", b"\x89PNG\r\n\x1a\n....");
    let log = scene.path("log");
    let file = fs::File::create(&log).unwrap();
    let stream = file.metadata().map(|found| format!("{}:{}", found.dev(), found.ino())).unwrap();
    let mut command = scene.riverbed(&["run", "--once"]);
    command.env("JOURNAL_STREAM", stream).stdout(Stdio::null()).stderr(file);
    assert_eq!(ends(command.spawn().unwrap()).await, Some(0));
    let said = fs::read_to_string(&log).unwrap();
    if Path::new("/run/systemd/journal/socket").exists() {
        assert_eq!(said, "", "each event is in the journal");
    } else {
        assert!(said.contains("the journal cannot be written to") && said.contains("document=b.png"), "{said}");
    }
    // Another file is not the journal, whatever a parent's variable says.
    let ended = finish({
        let mut command = scene.riverbed(&["run", "--once"]);
        command.env("JOURNAL_STREAM", "1:2");
        command
    });
    assert!(ended.await.stderr.contains("started"));
}

#[tokio::test]
async fn completions_are_printed_for_a_shell() {
    let ended = run(&["completions", "bash"]).await;
    assert!(ended.stdout.contains("_riverbed()") && ended.stdout.contains("--once"), "{}", ended.stdout);
}

#[tokio::test]
async fn init_writes_a_file_for_aws_that_check_accepts_and_never_over_one_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let init = finish(riverbed(folder.path(), &["init", "etc/riverbed"])).await;
    assert_eq!(init.code, Some(0), "{init:?}");
    let written = fs::read_to_string(folder.path().join("etc/riverbed/pipeline.toml")).unwrap();
    assert!(!written.contains("\nendpoint"), "it is for AWS");
    fs::create_dir(folder.path().join("etc/riverbed/drop")).unwrap();
    let check =
        finish(riverbed(folder.path(), &["check", "-c", "etc/riverbed/pipeline.toml", "--set", "bedrock.region=eu-west-1"]))
            .await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert_snapshot!(check.stdout);
    let again = finish(riverbed(folder.path(), &["init", "etc/riverbed"])).await;
    assert_eq!(again.code, Some(74));
    assert_snapshot!(again.stderr);
    assert_eq!(fs::read_to_string(folder.path().join("etc/riverbed/pipeline.toml")).unwrap(), written);
}

#[tokio::test]
async fn every_key_that_is_commented_out_in_a_written_file_can_be_set_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    finish(riverbed(folder.path(), &["init"])).await;
    let path = folder.path().join("pipeline.toml");
    let text = fs::read_to_string(&path).unwrap();
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
    };
    let uncommented =
        text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest) || rest.starts_with("[[")).unwrap_or(line));
    // Titan takes no input type, a context is asked for by a prompt about chunks, and Nova is not told how to think: every other key goes
    // with every other.
    let goes = |line: &&str| !["input-type", "context", "effort", "thinking"].iter().any(|key| line.starts_with(key));
    let uncommented: Vec<_> = uncommented.filter(goes).collect();
    let uncommented = uncommented.join("\n");
    assert!(uncommented.matches(" = ").count() > 25);
    fs::write(&path, uncommented).unwrap();
    fs::create_dir(folder.path().join("drop")).unwrap();
    let check = finish(riverbed(folder.path(), &["check"])).await;
    assert_eq!(check.code, Some(0), "{check:?}");
}

#[tokio::test]
async fn schemas_are_json_schemas() {
    for of in ["config", "vectors", "answers", "failed"] {
        let schema: serde_json::Value = serde_json::from_str(&run(&["schema", of]).await.stdout).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "{of}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_says_what_was_done() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.drop("b.png", b"\x89PNG\r\n\x1a\n....");
    scene.drop("poison.txt", "POISON");
    scene.emulator.fault_where("POISON", riverbed::emulator::Fault::validation("no \u{1b}[2J"));
    let ended = scene.once().await;
    insta::with_settings!({filters => vec![
        (r"in \d+\.\d\d s \(.* documents/s\)", "in [time]"),
        (r"output     .*", "output     [path]"),
    ]}, { assert_snapshot!(ended.stdout) });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_emulator_alone_serves_any_client_and_stops_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = riverbed(folder.path(), &["emulate", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = said.next_line().await.unwrap().unwrap();
    let endpoint = first.strip_prefix("listening on ").unwrap();
    let config = aws_sdk_bedrockruntime::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("TEST", "test", None, None, "test"))
        .endpoint_url(endpoint);
    let client = aws_sdk_bedrockruntime::Client::from_conf(config.build());
    let call = client.invoke_model().model_id("amazon.titan-embed-text-v2:0").content_type("application/json");
    let answer = call.body(Blob::new(r#"{"inputText":"words"}"#)).send().await.unwrap();
    assert!(answer.body.as_ref().starts_with(b"{\"embedding\":["));
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_the_emulator_go_over_variables_and_need_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--requests", "1/min window", "--vectors", "cheap", "--set", "emulator.tokens=unlimited"];
    let mut command = riverbed(folder.path(), &[&["emulate", "--listen", "127.0.0.1:0"], &flags[..]].concat());
    command.env("RIVERBED_EMULATOR_REQUESTS", "unlimited").env("RIVERBED_EMULATOR_TOKENS", "0/s");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = said.next_line().await.unwrap().unwrap();
    assert_eq!(said.next_line().await.unwrap().as_deref(), Some("vectors are hashes without meaning"));
    let call = post("/model/amazon.titan-embed-text-v2%3A0/invoke", SIGNED, r#"{"inputText":"words"}"#);
    for status in ["200 OK", "429 Too Many Requests"] {
        let answer = exchange_with(first.strip_prefix("listening on http://").unwrap(), &call).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_emulators_help_tells_how_to_drive_it() {
    let ended = run(&["emulate", "--help"]).await;
    assert_eq!(ended.code, Some(0));
    for route in ["GET  /_riverbed ", "PUT  /_riverbed/settings ", "POST /_riverbed/script ", "POST /_riverbed/reset "] {
        assert!(ended.stdout.contains(&format!("\n  {route}")), "{route}: {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_of_the_emulator_that_cannot_be_says_how_to_write_it() {
    let folder = tempfile::tempdir().unwrap();
    let ended = finish(riverbed(folder.path(), &["emulate", "--faults", "418 1%"])).await;
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr.contains("there is no fault `418`, but there are 429, 500"), "{}", ended.stderr);
    let ended = finish(riverbed(folder.path(), &["emulate", "--set", "emulator.requests=20/h"])).await;
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("a rate is `/s` or `/min`"), "{}", ended.stderr);
}
