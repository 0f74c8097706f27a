//! A configuration that cannot work is rejected before anything starts, with the place and the fix.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use insta::assert_snapshot;

use crate::support::{Ended, finish, riverbed};

/// Runs `check` on a configuration in an empty folder that has a drop folder, with further arguments and variables.
async fn check_with(toml: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("drop")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), toml).unwrap();
    let mut command = riverbed(folder.path(), &[&["check"], arguments].concat());
    command.envs(variables.iter().copied()).env("AWS_REGION", "us-east-1");
    finish(command).await
}

async fn refused(toml: &str) -> String {
    let ended = check_with(toml, &[], &[]).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert_eq!(ended.stdout, "");
    ended.stderr
}

#[tokio::test]
async fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
    assert_snapshot!(refused("[bedrock]\nregion = \"us-east-1\"\nmax-in-flght = 8\n").await);
}

#[tokio::test]
async fn an_unknown_section_is_named() {
    assert_snapshot!(refused("[bedrok]\n").await);
}

#[tokio::test]
async fn a_wrong_type_is_named_with_what_is_expected() {
    assert_snapshot!(refused("[bedrock]\nmax-in-flight = \"many\"\n").await);
}

#[tokio::test]
async fn zero_where_zero_cannot_work_is_refused() {
    assert_snapshot!(refused("[bedrock]\nmax-in-flight = 0\n").await);
    for key in ["run.queue", "chunk.max-tokens", "embed.dimensions"] {
        let (section, key) = key.split_once('.').unwrap();
        assert!(refused(&format!("[{section}]\n{key} = 0\n")).await.contains(key));
    }
    for key in ["source.rescan", "bedrock.connect-timeout", "bedrock.attempt-timeout", "retry.initial", "run.progress-every"] {
        let (section, name) = key.split_once('.').unwrap();
        let said = refused(&format!("[{section}]\n{name} = \"0s\"\n")).await;
        assert!(said.contains(&format!("`{key}` is zero")) && said.contains("pipeline.toml:2"), "{said}");
    }
    assert!(refused("[source]\nmax-file-size = 0\n").await.contains("`source.max-file-size` is zero"));
}

#[tokio::test]
async fn a_glob_that_is_none_is_refused_with_its_key_and_its_line() {
    assert_snapshot!(refused("[source]\nexclude = [\n    \"*.log\",\n    \"{a\",\n]\n").await);
    let flag = check_with("", &["--set", "source.include=[\"a[\"]"], &[]).await;
    assert_eq!(flag.code, Some(78));
    assert_snapshot!(flag.stderr);
}

#[tokio::test]
async fn a_marker_that_could_mark_nothing_is_refused() {
    assert_snapshot!(refused("[source]\nmarker = \"\"\n").await);
}

#[tokio::test]
async fn toml_that_is_none_is_shown_with_its_line() {
    assert_snapshot!(refused("[source\npath = 1\n").await);
}

#[tokio::test]
async fn an_unknown_model_is_refused_with_those_that_are_known() {
    assert_snapshot!(refused("[embed]\n\nmodel = \"amazon.titan-embed-text-v9:0\"\n").await);
}

#[tokio::test]
async fn an_opaque_arn_asks_for_its_family() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
    assert_snapshot!(refused(&format!("[embed]\nmodel = \"{arn}\"\n")).await);
    let told = check_with(&format!("[embed]\nmodel = \"{arn}\"\nfamily = \"cohere-v3\"\n"), &[], &[]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
}

#[tokio::test]
async fn dimensions_that_the_model_does_not_make_are_refused_with_those_that_it_does() {
    assert_snapshot!(refused("[embed]\ndimensions = 1536\n").await);
}

#[tokio::test]
async fn a_type_that_the_model_does_not_make_is_refused_with_those_that_it_does() {
    assert_snapshot!(refused("[embed]\nembedding-type = \"int8\"\n").await);
}

#[tokio::test]
async fn a_parameter_that_means_nothing_to_the_model_is_refused() {
    assert_snapshot!(refused("[embed]\nmodel = \"cohere.embed-v4:0\"\nnormalize = true\n").await);
    assert_snapshot!(refused("[embed]\ninput-type = \"search_query\"\n").await);
}

#[tokio::test]
async fn without_vectors_there_must_be_something_to_ask_and_nothing_has_a_context() {
    assert_snapshot!(refused("[embed]\nenabled = false\n").await);
    let prompt = "[[chat]]\nname = \"place\"\nmodel = \"amazon.nova-micro-v1:0\"\nper = \"chunk\"\nprompt = \"{{text}}\"\nmax-tokens = 50\n";
    assert_snapshot!(refused(&format!("[embed]\nenabled = false\ncontext = \"place\"\n{prompt}")).await);
}

#[tokio::test]
async fn more_overlap_than_half_a_chunk_is_refused() {
    assert_snapshot!(refused("[chunk]\nmax-tokens = 100\noverlap-tokens = 51\n").await);
}

#[tokio::test]
async fn a_secret_in_the_file_is_refused_with_where_it_belongs_and_is_not_repeated() {
    let said = refused("[bedrock]\naws-secret-access-key = \"wJalrXUtnFEMI\"\n").await;
    assert!(!said.contains("wJalr"), "{said}");
    assert_snapshot!(said);
}

#[tokio::test]
async fn an_output_inside_the_source_folder_is_refused() {
    assert_snapshot!(normal(&refused("[sink]\npath = \"drop/out\"\n").await));
}

#[tokio::test]
async fn files_are_moved_out_of_the_source_folder_or_not_at_all() {
    assert_snapshot!(refused("[source]\non-done = \"move\"\n").await);
    assert!(refused("[source]\non-failed = \"move\"\n").await.contains("`source.failed-dir` is not set"));
    assert_snapshot!(normal(&refused("[source]\ndone-dir = \"drop/done\"\n").await));
    for inside in ["drop", ".", "drop/../drop/a", "out"] {
        let said = refused(&format!("[source]\non-failed = \"move\"\nfailed-dir = \"{inside}\"\n")).await;
        assert!(said.contains("`source.failed-dir` is ") && said.contains("pipeline.toml:3"), "{said}");
    }
    let beside = "[source]\non-done = \"move\"\ndone-dir = \"drop-done\"\non-failed = \"move\"\nfailed-dir = \"failed\"\n";
    let ended = check_with(beside, &[], &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_folder_inside_the_source_folder_is_found_out_whatever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("drop")).unwrap();
    symlink("real", folder.path().join("other")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), "[source]\ndone-dir = \"other/not/there/yet\"\n").unwrap();
    let ended = finish(riverbed(folder.path(), &["check"])).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("inside the source folder"), "{ended:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_refused() {
    assert_snapshot!(refused("[bedrock]\nendpoint = \"bedrock.example\"\n").await);
}

#[tokio::test]
async fn a_missing_folder_is_refused_by_check_and_by_a_run_that_ends() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), "[source]\npath = \"nowhere\"\n[bedrock]\nendpoint = \"emulator\"\n").unwrap();
    for arguments in [["check"].as_slice(), &["run", "--once"]] {
        let ended = finish(riverbed(folder.path(), arguments)).await;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert_snapshot!("missing_folder", normal(&ended.stderr));
    }
    assert!(!folder.path().join("out").exists(), "nothing is made before everything is known to work");
}

#[tokio::test]
async fn a_missing_file_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let ended = finish(riverbed(folder.path(), &["check"])).await;
    assert_eq!(ended.code, Some(78));
    assert_snapshot!(ended.stderr);
}

#[tokio::test]
async fn a_missing_region_says_where_to_set_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("drop")).unwrap();
    fs::write(folder.path().join("pipeline.toml"), "").unwrap();
    let ended = finish(riverbed(folder.path(), &["check"])).await;
    assert_eq!(ended.code, Some(78));
    assert_snapshot!(ended.stderr);
}

#[tokio::test]
async fn flags_go_over_variables_over_the_file_over_defaults() {
    let at_most = |ended: &Ended| {
        let (_, rest) = ended.stdout.split_once("at most ").unwrap();
        rest.split_once(' ').unwrap().0.parse::<u32>().unwrap()
    };
    let file = "[bedrock]\nmax-in-flight = 7\n";
    let variable = [("RIVERBED_BEDROCK_MAX_IN_FLIGHT", "8")];
    assert_eq!(at_most(&check_with("", &[], &[]).await), 64);
    assert_eq!(at_most(&check_with(file, &[], &[]).await), 7);
    assert_eq!(at_most(&check_with(file, &[], &variable).await), 8);
    assert_eq!(at_most(&check_with(file, &["--set", "bedrock.max-in-flight=9"], &variable).await), 9);
}

#[tokio::test]
async fn a_flag_or_a_variable_that_does_not_fit_is_named() {
    let flag = check_with("", &["--set", "bedrock.max-in-flight=0"], &[]).await;
    assert_eq!(flag.code, Some(78));
    assert_snapshot!(flag.stderr);
    let variable = check_with("", &[], &[("RIVERBED_BEDROCK_MAX_FLIGHT", "8")]).await;
    assert_eq!(variable.code, Some(78));
    assert_snapshot!(variable.stderr);
    let late = check_with("", &["--set", "embed.dimensions=3"], &[]).await;
    assert!(late.stderr.contains("at: --set embed.dimensions"), "{}", late.stderr);
    assert_eq!(check_with("", &["--set", "dimensions=3"], &[]).await.code, Some(64));
}

#[tokio::test]
async fn paths_in_the_file_are_relative_to_its_folder_and_flags_to_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("etc/drop")).unwrap();
    fs::create_dir_all(folder.path().join("here")).unwrap();
    fs::write(folder.path().join("etc/pipeline.toml"), "[bedrock]\nendpoint = \"emulator\"\n").unwrap();
    fs::write(folder.path().join("etc/drop/a.txt"), "words").unwrap();
    fs::write(folder.path().join("here/b.txt"), "words").unwrap();
    let run = ["run", "--once", "-c", "etc/pipeline.toml"];
    assert_eq!(finish(riverbed(folder.path(), &run)).await.code, Some(0));
    assert!(has(&folder.path().join("etc/out/vectors.jsonl"), "\"a.txt\""));
    let ended = finish(riverbed(folder.path(), &[&run[..], &["--source", "here", "--output", "there"]].concat())).await;
    assert_eq!(ended.code, Some(0));
    assert!(has(&folder.path().join("there/vectors.jsonl"), "\"b.txt\""));
}

fn has(file: &Path, text: &str) -> bool {
    fs::read_to_string(file).unwrap().contains(text)
}

/// Takes the temporary folder out of a message.
fn normal(said: &str) -> String {
    let temporary = std::env::temp_dir();
    let lines = said.lines().map(|line| line.split(&*temporary.to_string_lossy()).next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}
