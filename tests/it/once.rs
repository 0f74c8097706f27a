//! `run --once`: a folder in, vectors out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Scene, copy_folder, ends, finish, paragraph, standstill};

/// Copies the sample documents into the drop folder.
fn drop_samples(scene: &Scene) {
    copy_folder(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples")), &scene.path("drop"));
}

async fn schema(scene: &Scene, of: &str) -> jsonschema::Validator {
    let printed = finish(scene.riverbed(&["schema", of])).await.stdout;
    jsonschema::validator_for(&serde_json::from_str(&printed).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_comes_out_as_lines_that_obey_the_schema() {
    let scene = Scene::new().await;
    drop_samples(&scene);
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let schema = schema(&scene, "vectors").await;
    let lines = scene.vectors();
    let mut documents = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (number, line) in lines.iter().enumerate() {
        if let Err(error) = schema.validate(line) {
            panic!("line {number} does not obey the schema: {error}");
        }
        assert_eq!(line["seq"], number + 1);
        assert!(ids.insert(line["id"].as_str().unwrap()), "an id stands twice");
        assert_eq!(line["model"], "emulator/amazon.titan-embed-text-v2:0");
        let vector: Vec<f64> = line["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
        assert_eq!((vector.len(), &line["dimensions"]), (1024, &json!(1024)));
        let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-3, "a normalised vector has length 1, not {length}");
        // Samples have no byte order mark, so the extracted text is the file.
        let document = line["document"].as_str().unwrap();
        let file = fs::read_to_string(scene.path("drop").join(document)).unwrap();
        let at = |end: usize| usize::try_from(line["span"][end].as_u64().unwrap()).unwrap();
        assert_eq!(&file[at(0)..at(1)], line["text"].as_str().unwrap());
        documents.insert(document);
    }
    let expected = [
        "handbook/expenses.md",
        "handbook/leave.md",
        "howto/certificates.md",
        "howto/espresso.md",
        "nature/glaciers.txt",
        "nature/otters.txt",
    ];
    assert_eq!(documents, BTreeSet::from(expected));
    assert!(ended.stdout.contains("6 done, 1 skipped, 0 failed of 7 found"), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 unsupported (image/png)"), "{}", ended.stdout);
    assert!(ended.stderr.contains("nature/otter.png"), "a skipped file is named: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_into_fresh_outputs_give_the_same_ids_and_vectors() {
    let scene = Scene::new().await.set("chunk.max-tokens", "128");
    drop_samples(&scene);
    let mut runs = Vec::new();
    for output in ["one", "two"] {
        let ended = finish(scene.riverbed(&["run", "--once", "--output", output])).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let text = fs::read_to_string(scene.path(output).join("vectors.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines =
            lines.map(|line| (line["id"].as_str().unwrap().to_owned(), (line["embedding"].clone(), line["config"].clone())));
        runs.push(lines.collect::<BTreeMap<_, _>>());
    }
    assert!(runs[0].len() > 12, "most samples are several chunks");
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_into_an_output_that_is_there_goes_on_with_its_numbers_and_its_instance() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.once().await;
    scene.drop("b.txt", "others");
    scene.once().await;
    let lines = scene.vectors();
    assert_eq!((&lines[0]["seq"], &lines[1]["seq"]), (&json!(1), &json!(2)));
    assert_eq!(lines[0]["instance"], lines[1]["instance"]);
    assert_eq!((lines.len(), scene.emulator.counts().calls), (2, 2), "what was done is not done again");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_accounted_for_and_the_summary_adds_up() {
    let scene = Scene::cheap().await.set("source.max-file-size", "\"10KB\"");
    scene.drop("good.md", "# Title\n\nWords.");
    scene.drop("empty.txt", "");
    scene.drop("blank.txt", " \n\t");
    scene.drop("latin-1.txt", b"caf\xe9");
    scene.drop("logo.png", b"\x89PNG\r\n\x1a\n....");
    scene.drop("page.html", "<p>words</p>");
    scene.drop("blob", b"a\0b");
    scene.drop("large.txt", "words ".repeat(2_000));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(2), "a failed document makes the exit code 2: {ended:?}");
    assert!(ended.stdout.contains("1 done, 6 skipped, 1 failed of 8 found"), "{}", ended.stdout);
    let failed = scene.lines("failed.jsonl");
    assert_eq!(failed.len(), 1);
    assert_eq!((&failed[0]["document"], &failed[0]["class"]), (&json!("large.txt"), &json!("too-large")));
    let schema = schema(&scene, "failed").await;
    assert!(schema.validate(&failed[0]).is_ok());
    for name in ["empty.txt", "blank.txt", "latin-1.txt", "logo.png", "page.html", "blob", "large.txt"] {
        assert!(ended.stderr.contains(name), "`{name}` is named with its reason: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_utf8_comes_back_whole() {
    let scene = Scene::cheap().await;
    let name = b"caf\xe9\n-\xe2\x98\x95.txt";
    fs::write(scene.path("drop").join(OsStr::from_bytes(name)), "words").unwrap();
    assert_eq!(scene.once().await.code, Some(0));
    let line = &scene.vectors()[0];
    assert_eq!(line["document"], "caf\\xe9\n-\u{2615}.txt");
    assert_eq!(line["document_bytes"], "Y2Fm6Qot4piVLnR4dA==");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_texts_of_many_documents_share_cohere_calls() {
    // No waiting for its own sake: what is on its way is waited for.
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-multilingual-v3\"").set("embed.batch-wait", "\"0s\"");
    for number in 0..200 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(scene.vectors().len(), 200);
    assert_eq!(scene.emulator.counts().calls, 3, "ceil(200 / 96): {ended:?}");
    assert!(ended.stdout.contains("3 (66.7 texts per call)"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn cohere_v4_makes_vectors_of_the_length_that_was_asked_for() {
    let scene = Scene::new().await.set("embed.model", "\"us.cohere.embed-v4:0\"").set("embed.dimensions", "256");
    scene.drop("a.txt", "words");
    assert_eq!(scene.once().await.code, Some(0));
    let line = &scene.vectors()[0];
    assert_eq!(line["embedding"].as_array().unwrap().len(), 256);
    assert_eq!(line["model"], "emulator/us.cohere.embed-v4:0");
}

/// Puts 300 small documents into a scene whose queues have four places.
async fn crowded() -> Scene {
    let scene =
        Scene::cheap().await.set("run.queue", "4").set("bedrock.max-in-flight", "2").set("run.progress-every", "\"10ms\"");
    for number in 0..300 {
        scene.drop(&format!("{number:03}.txt"), paragraph(number, 8));
    }
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_model_slows_the_reading() {
    let scene = crowded().await;
    scene.emulator.hold();
    let mut child = scene.riverbed(&["run", "--once"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    scene.emulator.called(2).await;
    let taken = standstill(&mut child).await;
    // Two calls in flight, queues of four, and two groups of files in the readers' hands, each with what was ready.
    assert!(taken < 40, "{taken} of 300 files were taken in while the model answered none");
    assert_eq!(scene.emulator.counts().most_in_flight, 2);
    scene.emulator.release();
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(scene.vectors().len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sink_slows_the_reading() {
    let scene = crowded().await;
    scene.emulator.hold();
    let mut child = scene.riverbed(&["run", "--once"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    scene.emulator.called(1).await;
    // A foreign program that holds the ledger's lock makes a sink that takes nothing.
    let foreign = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    scene.emulator.release();
    let taken = standstill(&mut child).await;
    assert!(taken < 60, "{taken} of 300 files were taken in while nothing could be written");
    assert!(scene.emulator.counts().texts < 60, "and no more was paid for");
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_was_found_is_told_with_the_progress() {
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", "8").set("run.progress-every", "\"20ms\"");
    scene.emulator.set_quotas("50/s burst 5".parse().unwrap(), "unlimited".parse().unwrap());
    for number in 0..60 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let ended = scene.once().await;
    assert_eq!((ended.code, scene.vectors().len()), (Some(0), 60));
    for field in ["requests_per_second=", "requests_ceiling=", "throttled_share=0."] {
        assert!(ended.stderr.contains(field), "{field} is missing: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("tokens_ceiling="), "nothing was found of tokens");
}
