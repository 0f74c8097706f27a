//! A cause that rejects every call is no document's fault: none fails, none is moved, and work resumes once it is fixed.

use std::collections::BTreeSet;
use std::fs;

use riverbed::emulator::Fault;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Scene, changes_until, ends, finish, paragraph, signal};

/// Words that nobody has listed.
const WORDS: &str = "the moon is in the wrong house";
const SUMMARY: &str = "name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"\n";

/// Refused documents would be moved away. Probes come quickly, and one in doubt waits long for others.
async fn scene() -> Scene {
    let scene = Scene::cheap().await.set("retry.multiplier", "1.0").set("retry.max-interval", "\"30s\"");
    scene.set("source.on-failed", "\"move\"").set("source.failed-dir", "\"failed\"")
}

fn drop_some(scene: &Scene, documents: usize) {
    for number in 0..documents {
        scene.drop(&format!("{number:02}.md"), paragraph(number, 20));
    }
}

fn names(lines: &[Value]) -> BTreeSet<String> {
    lines.iter().map(|line| line["document"].as_str().unwrap().to_owned()).collect()
}

/// Nothing is failed, and every file lies where it lay.
fn assert_untouched(scene: &Scene, documents: usize) {
    assert!(scene.lines("failed.jsonl").is_empty(), "{:?}", scene.lines("failed.jsonl"));
    assert_eq!(fs::read_dir(scene.path("drop")).unwrap().count(), documents);
    assert!(!scene.path("failed").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_every_text_is_refused_alike_ends_with_78_and_the_next_one_does_its_work() {
    for (model, in_flight) in
        [("amazon.titan-embed-text-v2:0", "4"), ("amazon.titan-embed-text-v2:0", "1"), ("cohere.embed-english-v3", "1")]
    {
        for documents in [2, 30] {
            let scene = scene().await.set("embed.model", &format!("\"{model}\"")).set("bedrock.max-in-flight", in_flight);
            drop_some(&scene, documents);
            scene.emulator.fault_where("", Fault::validation(WORDS));
            let ended = scene.once().await;
            assert_eq!(ended.code, Some(78), "{model}, {in_flight} in flight: {ended:?}");
            assert!(
                ended.stderr.contains("different inputs are rejected alike") && ended.stderr.contains(WORDS),
                "{}",
                ended.stderr
            );
            assert_untouched(&scene, documents);
            scene.emulator.clear_faults();
            assert_eq!(scene.once().await.code, Some(0));
            assert_eq!(names(&scene.vectors()).len(), documents);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_fails_nothing_while_every_text_is_refused_alike_and_goes_on_when_that_ends() {
    let scene = scene().await;
    scene.drop("before.md", "served before");
    let child = scene.follow();
    scene.vectors_reach(1).await;
    scene.emulator.fault_where("", Fault::validation(WORDS));
    let calls = scene.emulator.counts().calls;
    drop_some(&scene, 30);
    scene.emulator.called(calls + 40).await;
    assert_untouched(&scene, 31);
    let status = finish(scene.riverbed(&["status", "--json"])).await.stdout;
    let closed = &serde_json::from_str::<Value>(&status).unwrap()["models"][0]["closed"][0];
    assert_eq!(closed["reason"], "refused", "{status}");
    scene.emulator.clear_faults();
    scene.vectors_reach(31).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_untouched(&scene, 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_texts_are_failed_once_a_good_one_is_served() {
    let scene = scene().await.set("bedrock.max-in-flight", "1");
    scene.emulator.fault_where("POISON", Fault::validation(WORDS));
    for number in 0..5 {
        scene.drop(&format!("{number}.txt"), format!("POISON {number}"));
    }
    let child = scene.follow();
    scene.emulator.called(8).await;
    assert_untouched(&scene, 5);
    scene.drop("good.txt", "words");
    scene.vectors_reach(1).await;
    changes_until(&scene.path("out"), || scene.lines("failed.jsonl").len() == 5).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    let failed = scene.lines("failed.jsonl");
    assert!(failed.iter().all(|line| line["class"] == "refused" && line["document"] != "good.txt"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_was_refused_alone_is_retried_when_another_is_served() {
    let scene = Scene::cheap().await;
    scene.emulator.fault_where("", Fault::validation(WORDS));
    scene.drop("first.txt", "first");
    let child = scene.follow();
    changes_until(&scene.path("out"), || scene.lines("failed.jsonl").len() == 1).await;
    scene.emulator.clear_faults();
    scene.drop("second.txt", "second");
    let lines = scene.vectors_reach(2).await;
    assert_eq!(names(&lines).len(), 2);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    let failed = finish(scene.riverbed(&["failed"])).await.stdout;
    assert!(failed.ends_with("no document has failed\n"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_and_contexts_that_are_all_refused_alike_fail_no_document() {
    let context = SUMMARY.replace("name =", "per = \"chunk\"\nname =");
    for is_context in [false, true] {
        for words in [
            WORDS,
            "The guardrail identifier or version provided in the request does not exist.",
            "This model doesn't support the stopSequences field.",
            "The provided model identifier is invalid.",
        ] {
            let scene = scene().await.chat(if is_context { &context } else { SUMMARY });
            let scene = if is_context { scene.set("embed.context", "\"summary\"") } else { scene };
            drop_some(&scene, 12);
            scene.emulator.fault_where("Sum up", Fault::validation(words));
            let ended = scene.once().await;
            assert_eq!(ended.code, Some(78), "{words}: {ended:?}");
            assert!(ended.stderr.contains(words), "{}", ended.stderr);
            assert!(!ended.stderr.contains("embed.model"), "it is the chat model that is refused: {}", ended.stderr);
            assert_untouched(&scene, 12);
            assert_eq!(scene.vectors().len(), if is_context { 0 } else { 12 });
            scene.emulator.clear_faults();
            assert_eq!(scene.once().await.code, Some(0));
            assert_eq!(scene.vectors().len(), 12);
            assert_eq!(names(&scene.answers()).len(), if is_context { 0 } else { 12 });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_messages_that_asks_for_too_much_fails_alone() {
    let scene = Scene::cheap().await.set("embed.enabled", "false").set("messages.enabled", "true");
    let scene = scene.set("messages.models", "[\"amazon.nova-micro-v1:0\"]");
    scene.emulator.fault_where("weirs", Fault::validation("This model doesn't support the stopSequences field."));
    for (name, about) in [("bad.chat.json", "weirs"), ("good.chat.json", "otters")] {
        scene.drop(name, json!({"messages": [{"role": "user", "content": about}], "stop": ["END"]}).to_string());
    }
    assert_eq!(scene.once().await.code, Some(2));
    let failed = scene.lines("failed.jsonl");
    assert_eq!((names(&failed), names(&scene.answers())), (["bad.chat.json".into()].into(), ["good.chat.json".into()].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_use_bedrock_fails_no_document_not_even_one() {
    for words in ["Operation not allowed", "Invocation in the region us-west-2 of an ARN of another region is not possible"] {
        let scene = scene().await;
        drop_some(&scene, 1);
        scene.emulator.fault_where("", Fault::validation(words));
        let ended = scene.once().await;
        assert!(matches!(ended.code, Some(77 | 78)), "{ended:?}");
        assert_untouched(&scene, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finishes_though_a_part_of_its_calls_is_denied() {
    for served in [1, 3] {
        let scene = scene().await.set("bedrock.max-in-flight", "4");
        drop_some(&scene, 40);
        let denied = Fault::error(403, "AccessDeniedException", "not authorized to perform: bedrock:InvokeModel in us-east-2");
        // Of four calls to a profile for several regions some go to one that is closed to the account.
        let turn = [(4 - served, denied), (served, Fault::None)];
        let turns = (0..60).flat_map(|_| turn.iter().flat_map(|(times, fault)| vec![fault.clone(); *times]));
        scene.emulator.script(turns.collect::<Vec<_>>());
        let ended = scene.once().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(names(&scene.vectors()).len(), 40);
        assert_untouched(&scene, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_soon_where_every_call_is_denied() {
    let scene = scene().await;
    drop_some(&scene, 40);
    scene.emulator.fault_where("", Fault::error(403, "AccessDeniedException", "not authorized"));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(scene.emulator.counts().calls <= 40 + 12, "{} calls", scene.emulator.counts().calls);
    assert_untouched(&scene, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_cannot_be_one_is_an_error_that_says_who_names_it() {
    let scene = Scene::cheap().await.unset("bedrock.region");
    scene.drop("a.txt", "words");
    let run = async |command: &[&str], variables: &[(&str, &str)]| {
        let mut command = scene.riverbed(command);
        command.envs(variables.iter().copied());
        finish(command).await
    };
    for (variables, says) in [
        (&[("AWS_REGION", "us_east_1")][..], "AWS_REGION"),
        (&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "us-east-1/")], "AWS_DEFAULT_REGION"),
        (&[("AWS_REGION", "us-east-1 # mine")], "AWS_REGION"),
    ] {
        for command in [&["check"][..], &["run", "--once"]] {
            let ended = run(command, variables).await;
            assert_eq!(ended.code, Some(78), "{variables:?}: {ended:?}");
            assert!(ended.stderr.contains(&format!("the AWS region in {says} is not valid")), "{}", ended.stderr);
        }
    }
    assert!(scene.lines("failed.jsonl").is_empty());
    fs::write(scene.path("aws"), "[default]\nregion = us_west\n").unwrap();
    let ended = run(&["check"], &[("AWS_CONFIG_FILE", scene.path("aws").to_str().unwrap())]).await;
    assert!(ended.code == Some(78) && ended.stderr.contains("the AWS region in the AWS profile is not valid"), "{ended:?}");

    for region in ["\"\"", "\"us_east_1\"", "\"us-east-1/\"", "\"us east\""] {
        let set = format!("bedrock.region={region}");
        let ended = run(&["check", "--set", &set], &[]).await;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains("bedrock.region") && ended.stderr.contains("is no AWS region"), "{}", ended.stderr);
    }
    let spaces = [("AWS_REGION", "  "), ("AWS_DEFAULT_REGION", " us-east-1 \n")];
    assert_eq!(run(&["run", "--once"], &spaces).await.code, Some(0));
    assert_eq!(scene.vectors().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_build_failed_and_moved_for_a_condition_is_taken_again_and_nothing_else_is() {
    let scene = Scene::cheap().await.set("source.on-failed", "\"move\"").set("source.failed-dir", "\"failed\"");
    scene.drop("good.md", "words");
    for number in 0..6 {
        scene.drop(&format!("notes/{number}.md"), format!("POISON {number}"));
    }
    scene.emulator.fault_where("POISON", Fault::validation("not this"));
    assert_eq!(scene.once().await.code, Some(2));
    scene.emulator.clear_faults();
    let calls = scene.emulator.counts().calls;
    // As earlier builds have noted it, for all but one.
    let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
    for (number, class, message) in [
        (0, "refused", "ValidationException: Operation not allowed (HTTP 400)"),
        (
            1,
            "refused",
            "ValidationException: The guardrail identifier or version provided in the request does not exist. (HTTP 400)",
        ),
        (2, "request", "failed to construct request: invalid uri character"),
        (3, "connection", "io error: Too many open files (os error 24)"),
        (4, "refused", "ValidationException: This model doesn't support the stopSequences field. (HTTP 400)"),
    ] {
        let changed = ledger.execute(
            "UPDATE documents SET reason = json_set(reason, '$.class', ?2, '$.message', ?3) WHERE path = CAST(?1 AS BLOB)",
            rusqlite::params![format!("notes/{number}.md"), class, message],
        );
        assert_eq!(changed.unwrap(), 1);
    }
    drop(ledger);
    // What has come into the place of a moved file since is the document now.
    scene.drop("notes/4.md", "another otter");
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let all: BTreeSet<_> =
        ["good.md", "notes/0.md", "notes/1.md", "notes/2.md", "notes/3.md", "notes/4.md"].map(String::from).into();
    assert_eq!((names(&scene.vectors()), scene.emulator.counts().calls - calls), (all, 5));
    let left: BTreeSet<_> = fs::read_dir(scene.path("failed/notes")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["4.md", "4.md.reason.txt", "5.md", "5.md.reason.txt"].map(Into::into).into());
    let failed = finish(scene.riverbed(&["failed"])).await.stdout;
    assert!(failed.contains("notes/5.md") && failed.contains("1 failed"), "{failed}");
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(scene.emulator.counts().calls - calls, 5, "what was taken again is done, and is not taken once more");
}
