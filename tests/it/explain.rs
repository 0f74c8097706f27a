//! `riverbed explain`: the history of one document, whatever its outcome.

use std::fs;

use insta::{assert_snapshot, with_settings};
use riverbed::emulator::Fault;
use serde_json::{Value, json};

use crate::support::{Ended, Scene, finish, paragraph};

async fn explain(scene: &Scene, arguments: &[&str]) -> Ended {
    finish(scene.riverbed(&[&["explain"], arguments].concat())).await
}

async fn told(scene: &Scene, file: &str) -> Value {
    let ended = explain(scene, &[file, "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

async fn shown(scene: &Scene, file: &str) -> String {
    let ended = explain(scene, &[file]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
        (r"[0-9a-f]{64}", "[hash]"),
        (r"seq \d+ to \d+", "seq [first] to [last]"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_documents_versions_are_told_with_what_each_took() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "60").set("chunk.overlap-tokens", "0");
    let mut paragraphs: Vec<_> = (0..30).map(|number| paragraph(number, 20)).collect();
    scene.drop("a.md", paragraphs.join("\n\n"));
    scene.once().await;
    paragraphs[15] = paragraph(99, 20);
    scene.drop("a.md", paragraphs.join("\n\n"));
    scene.once().await;
    let shown = shown(&scene, "drop/a.md").await;
    with_settings!({filters => filters()}, { assert_snapshot!(shown) });
    let told = told(&scene, "a.md").await;
    let (state, fits, folder) = (&told["state"], &told["configured_as_now"], &told["in_folder"]);
    assert_eq!((state, fits, folder), (&json!("done"), &json!(true), &json!("unchanged")));
    let (latest, first) = (&told["versions"][0], &told["versions"][1]);
    assert_eq!(latest["version"], told["version"]);
    assert_eq!((&first["embedded"], &first["kept"]), (&first["chunks"], &json!(0)));
    let number = |key: &str| latest[key].as_u64().unwrap();
    assert_eq!(number("embedded") + number("cached") + number("kept"), number("chunks"));
    assert!((1..=3).contains(&number("embedded")) && number("kept") > 5 && number("retracted") > 0, "{latest}");
    let standing: u64 = told["standing"].as_array().unwrap().iter().map(|stretch| stretch["lines"].as_u64().unwrap()).sum();
    assert_eq!(standing, number("chunks"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_skipped_and_removed_documents_are_explained_with_reasons() {
    let scene = Scene::cheap().await;
    scene.drop("good.txt", "words");
    scene.once().await;
    scene.drop("poison.txt", "POISON");
    scene.drop("otter.png", b"\x89PNG\r\n\x1a\n....");
    scene.drop("leaving.txt", "leaving");
    scene.emulator.fault_where("POISON", Fault::validation("not \u{7}this"));
    scene.once().await;
    fs::remove_file(scene.path("drop/leaving.txt")).unwrap();
    scene.once().await;
    let mut all = String::new();
    for file in ["poison.txt", "otter.png", "leaving.txt"] {
        all += &shown(&scene, file).await;
        all.push('\n');
    }
    with_settings!({filters => filters()}, { assert_snapshot!(all) });
    let failed = told(&scene, "poison.txt").await;
    assert_eq!((&failed["failure"]["class"], &failed["failure"]["stage"]), (&json!("refused"), &json!("embed")));
    assert_eq!(told(&scene, "otter.png").await["skipped_because"], "unsupported (image/png)");
    assert_eq!(told(&scene, "leaving.txt").await["state"], "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_file_is_explained_by_the_rules() {
    // Without a time of quiet nothing is said of one, however soon after the change somebody asks.
    let scene = Scene::cheap().await.set("source.settle", "\"0s\"");
    let scene = scene.set("source.exclude", "[\"drafts/\"]").set("source.max-file-size", "\"1KB\"");
    scene.drop("known.txt", "words");
    scene.once().await;
    for file in ["drafts/a.md", "a.part", "new.md", "ignored.md"] {
        scene.drop(file, "words");
    }
    scene.drop("large.md", "words ".repeat(1000));
    scene.drop(".riverbedignore", "ignored.md");
    fs::create_dir(scene.path("drop/folder")).unwrap();
    std::os::unix::fs::symlink("known.txt", scene.path("drop/link.md")).unwrap();
    let mut all = String::new();
    for file in ["drop/drafts/a.md", "a.part", "drop/new.md", "large.md", "ignored.md", "folder", "link.md"] {
        all += &shown(&scene, file).await;
    }
    assert_snapshot!(all);
    assert_eq!(
        told(&scene, "new.md").await,
        json!({
            "output": "out",
            "document": "new.md", "in_folder": "new: the next scan reads it", "state": null,
        })
    );
    let (nothing, outside) = (explain(&scene, &["nothing.md"]).await, explain(&scene, &["/etc/passwd"]).await);
    assert_eq!((nothing.code, outside.code), (Some(64), Some(64)));
    with_settings!({filters => vec![(r"is `.*/drop`", "is `[folder]/drop`")]}, {
        assert_snapshot!(format!("{}\n{}", nothing.stderr, outside.stderr));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_when_a_document_will_be_taken_again() {
    // Without a time of quiet nothing is said of one, however soon after the change somebody asks.
    let scene = Scene::cheap().await.set("source.settle", "\"0s\"");
    scene.drop("a.txt", "words");
    scene.once().await;
    scene.drop("a.txt", "other words");
    assert!(shown(&scene, "a.txt").await.contains("changed since: the next scan reads it"));
    fs::remove_file(scene.path("drop/a.txt")).unwrap();
    assert!(shown(&scene, "a.txt").await.contains("missing: the next scan deletes its lines"));
    let scene = scene.set("chunk.max-tokens", "60").set("chunk.overlap-tokens", "0");
    assert!(shown(&scene, "a.txt").await.contains("differently: it will be processed again"));
    fs::remove_dir(scene.path("drop")).unwrap();
    assert!(shown(&scene, "a.txt").await.contains("cannot be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_answers_about_a_document_are_listed_by_prompt() {
    let prompt =
        |name: &str| format!("name = \"{name}\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"{name}:\\n{{{{text}}}}\"\n");
    let scene = Scene::cheap().await.chat(&prompt("Summary")).chat(&prompt("Title"));
    scene.emulator.fault_where("Title:", riverbed::emulator::Fault::validation("this model takes no titles"));
    scene.drop("a.md", paragraph(1, 20));
    scene.once().await;
    let answers = told(&scene, "a.md").await["answers"].clone();
    assert_eq!(
        (&answers[0]["prompt"], &answers[0]["state"], &answers[0]["answers"]),
        (&json!("Summary"), &json!("answered"), &json!(1))
    );
    assert_eq!(
        (&answers[1]["prompt"], &answers[1]["state"], &answers[1]["answers"]),
        (&json!("Title"), &json!("failed"), &json!(0))
    );
    let line = &scene.answers()[0];
    assert_eq!((&answers[0]["models"][0], &answers[0]["output_tokens"]), (&line["model"], &line["usage"]["output_tokens"]));
    assert_eq!(answers[0]["usd"], 0.0, "an emulator charges nothing");
    let status = finish(scene.riverbed(&["status", "--json"])).await.stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["answers"], json!({"done": 1, "waiting": 0, "failed": 1, "since_start": null}));
    let shown = shown(&scene, "drop/a.md").await;
    assert!(shown.contains("Summary") && shown.contains("answered") && shown.contains("NOT WHOLE"), "{shown}");

    // A prompt that is added waits once a run has noted it.
    let scene = scene.chat(&prompt("Claims"));
    assert_eq!(told(&scene, "a.md").await["answers"][0]["state"], "not asked");
}
