//! Failing calls, and their consequences.

use riverbed::emulator::Fault;
use serde_json::json;

use crate::support::{Scene, ends, finish, paragraph, signal};

#[tokio::test(flavor = "multi_thread")]
async fn transient_faults_are_retried_and_each_text_is_written_once() {
    let faults = [
        Fault::Throttle,
        Fault::internal(),
        Fault::error(503, "ServiceUnavailableException", "busy"),
        Fault::error(408, "ModelTimeoutException", "slow"),
        Fault::error(424, "ModelErrorException", "broken"),
        Fault::error(429, "ModelNotReadyException", "cold"),
        Fault::Gateway { status: 502 },
        Fault::Gateway { status: 529 },
        Fault::Reset,
        Fault::CutBody,
        Fault::NotJson,
        Fault::WrongDimensions,
        Fault::MissingVector,
        Fault::NotFinite,
    ];
    let scene = Scene::cheap().await;
    for number in 0..20 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let faulty = faults.len() as u64;
    // Good answers between them: eight failures in succession are an outage, in which calls wait for each other.
    scene.emulator.script(faults.into_iter().flat_map(|fault| [fault, Fault::None]));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut documents: Vec<_> = scene.vectors().iter().map(|line| line["document"].as_str().unwrap().to_owned()).collect();
    documents.sort();
    documents.dedup();
    assert_eq!((documents.len(), scene.vectors().len()), (20, 20));
    assert_eq!(scene.emulator.counts().calls, 20 + faulty);
    assert!(ended.stdout.contains(&format!("20 (1.0 texts per call), {faulty} retried, 2 throttled")), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_sleeps_longer_than_a_call_is_tried_fails_no_document() {
    let scene = Scene::cheap().await.set("retry.give-up-after", "\"1ms\"").set("bedrock.max-in-flight", "1");
    for number in 0..3 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let asleep =
        Fault::error(429, "ModelNotReadyException", "Model is not ready for inference. Wait and try your request again.");
    scene.emulator.script(vec![asleep; 6]);
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((scene.vectors().len(), scene.emulator.counts().calls), (3, 3 + 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_is_cut_off_and_made_again() {
    let scene = Scene::cheap().await.set("bedrock.attempt-timeout", "\"300ms\"");
    scene.drop("a.txt", "words");
    scene.emulator.script([Fault::Hang]);
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(scene.emulator.counts().calls, 2);
    assert_eq!(scene.vectors().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_the_service_refuses_fails_its_document_and_no_other() {
    let scene = Scene::cheap().await;
    scene.drop("good.txt", "words");
    scene.drop("poison.txt", "POISON");
    scene.emulator.fault_where("POISON", Fault::validation("this text is not for me"));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(scene.emulator.counts().calls, 2, "a refusal is not asked again");
    assert_eq!(scene.vectors().len(), 1);
    let failed = &scene.lines("failed.jsonl")[0];
    assert_eq!(
        (&failed["document"], &failed["stage"], &failed["class"]),
        (&json!("poison.txt"), &json!("embed"), &json!("refused"))
    );
    assert_eq!(failed["message"], "ValidationException: this text is not for me (HTTP 400)");
    assert_eq!(failed["attempts"], 1);
    assert!(failed["request_id"].is_string());
    assert!(ended.stdout.contains("poison.txt: ValidationException: this text is not for me"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_text_among_ninety_six_fails_alone() {
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"").set("embed.batch-wait", "\"30s\"");
    for number in 0..95 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.drop("poison.txt", "POISON");
    scene.emulator.fault_where("POISON", Fault::validation("no"));
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(scene.vectors().len(), 95);
    assert_eq!(scene.lines("failed.jsonl").len(), 1);
    assert_eq!(scene.emulator.counts().texts, 95, "no text was paid twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_succeeds_fails_and_the_rest_goes_on() {
    let scene = Scene::cheap().await.set("retry.give-up-after", "\"1s\"");
    scene.drop("good.txt", "words");
    scene.drop("broken.txt", "BROKEN");
    scene.emulator.fault_where("BROKEN", Fault::internal());
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(scene.vectors().len(), 1);
    let failed = &scene.lines("failed.jsonl")[0];
    assert_eq!((&failed["document"], &failed["class"]), (&json!("broken.txt"), &json!("unavailable")));
    assert!(failed["attempts"].as_u64().unwrap() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_good_chunks_stay_current_though_another_chunk_failed() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "40").set("chunk.overlap-tokens", "0");
    let paragraphs: Vec<_> = (0..6).map(|number| paragraph(number, 20)).collect();
    scene.drop("a.txt", format!("{}\n\nPOISON {}", paragraphs.join("\n\n"), paragraph(7, 20)));
    scene.emulator.fault_where("POISON", Fault::validation("no"));
    assert_eq!(scene.once().await.code, Some(2));
    let lines = scene.vectors();
    assert_eq!(lines.len() as u64 + 1, lines[0]["chunks"].as_u64().unwrap());
    assert_eq!(scene.lines("failed.jsonl").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_end_a_run_with_77_and_fail_no_document() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.emulator.fault_where("words", Fault::error(403, "ExpiredTokenException", "The security token is expired"));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.stderr.contains("The security token is expired"), "{}", ended.stderr);
    assert!(ended.stderr.contains("help: get fresh credentials"), "{}", ended.stderr);
    assert!(scene.lines("failed.jsonl").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_end_a_run_with_77_and_say_so() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    let mut command = scene.riverbed(&["run", "--once"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", scene.path("nowhere"));
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.stderr.contains("credential"), "{}", ended.stderr);
    assert_eq!(scene.emulator.counts().calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_there_ends_a_run_and_fails_no_document() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.emulator.fault_where("words", Fault::validation("The provided model identifier is invalid."));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("help: check the spelling of `embed.model`"), "{}", ended.stderr);
    assert!(scene.lines("failed.jsonl").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_another_run_holds_is_left_alone() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let first = scene.follow();
    scene.emulator.called(1).await;
    let second = scene.once().await;
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.stderr.contains("another riverbed holds the ledger"), "{}", second.stderr);
    assert!(scene.vectors().is_empty());
    scene.emulator.release();
    scene.vectors_reach(1).await;
    signal(&first, rustix::process::Signal::TERM);
    assert_eq!(ends(first).await, Some(0));
}
