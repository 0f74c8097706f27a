//! Prompts without vectors: `embed.enabled` is false.

use super::*;

/// The text of a document of many chunks, with an edit in one of its paragraphs.
fn text(edit: &str) -> String {
    (0..24).map(|at| paragraph(at, 16) + if at == 6 { edit } else { "" } + "\n\n").collect()
}

fn alone(scene: Scene) -> Scene {
    scene.set("chunk.max-tokens", "120").set("chunk.overlap-tokens", "0").set("embed.enabled", "false")
}

/// Counts the lines that put something in place, and those that take something back.
fn operations(lines: &[Value]) -> (usize, usize) {
    let count = |op: &str| lines.iter().filter(|line| line["op"] == op).count();
    (count("upsert"), count("delete"))
}

#[tokio::test]
async fn prompts_run_over_documents_and_no_vector_is_made() {
    let scene = alone(Scene::cheap().await).chat(SUMMARY).chat(CLAIMS);
    scene.drop("a.md", text(""));
    scene.drop("b.txt", paragraph(30, 16));
    scene.drop("otter.png", b"\x89PNG\r\n\x1a\n\0\0");
    let run = scene.once().await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let lines = scene.answers();
    let all = pairs(&[("a.md", "claims"), ("a.md", "summary"), ("b.txt", "claims"), ("b.txt", "summary")]);
    assert_eq!((standing(&lines), asked(&scene)), (all, lines.len() as u64));
    assert!(lines.len() > 12, "{}", lines.len());
    assert_eq!((scene.vectors().len(), scene.emulator.counts().texts), (0, 0));
    let filters = [(r"in [\d.]+ s \([\d.]+", "in [time] s ([n]"), (r"[\d,]+ tokens asked, \$[\d.]+", "[n] tokens asked, [sum]")];
    insta::with_settings!({ filters => filters }, { insta::assert_snapshot!(run.stdout, @"
    documents  2 done, 1 skipped, 0 failed of 3 found, in [time] s ([n] documents/s)
    answers    27 from 27 calls (0 retried, 0 throttled), 0 from earlier answers, 0 deleted, 0 failed
               [n] tokens asked, [sum]; an emulator charges nothing
    skipped    1 unsupported (image/png)
               help: `riverbed skipped` lists them, and what to do
    note       these answers come from an emulator: stand-ins, not a model's
               `riverbed init` writes a configuration for AWS; `riverbed run` follows the folder
    output     out/answers.jsonl
    "); });

    // A current answer is not asked again: whether an emulator answers is learned from the answers.
    let again = scene.once().await;
    assert!(!again.stderr.contains("changed"), "{}", again.stderr);
    assert_eq!(asked(&scene), lines.len() as u64);
    scene.drop("a.md", text(" An edit."));
    scene.once().await;
    let anew = asked(&scene) - lines.len() as u64;
    assert!((2..=4).contains(&anew), "the summary and up to three chunks, not {anew}");
    assert_eq!(scene.emulator.counts().texts, 0);
}

#[tokio::test]
async fn vectors_are_deleted_when_switched_off_and_restored_without_a_call() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "120").set("chunk.overlap-tokens", "0").chat(SUMMARY);
    scene.drop("a.md", text(""));
    scene.once().await;
    let (chunks, texts) = (scene.vectors().len(), scene.emulator.counts().texts);
    assert!(chunks >= 12, "{chunks}");

    let scene = alone(scene);
    let run = scene.once().await;
    assert!(run.stderr.contains("deleting the vectors of these documents"), "{}", run.stderr);
    assert!(run.stdout.contains(&format!("chunks     {chunks} deleted")), "{}", run.stdout);
    assert_eq!((operations(&scene.vectors()), scene.answers().len(), asked(&scene)), ((chunks, chunks), 1, 1));
    let verified = finish(scene.riverbed(&["verify"])).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");

    let scene = scene.set("embed.enabled", "true");
    let run = scene.once().await;
    assert!(run.stderr.contains("and more for those without vectors (1): `riverbed plan` says how much"), "{}", run.stderr);
    assert_eq!((operations(&scene.vectors()), scene.emulator.counts().texts), ((2 * chunks, chunks), texts));
    assert_eq!((scene.answers().len(), asked(&scene)), (1, 1));
}

#[tokio::test]
async fn a_plan_says_that_nothing_is_embedded_and_how_much_is_asked() {
    let scene = alone(Scene::cheap().await).chat(CLAIMS).set("budget.max-usd-per-day", "5.00");
    scene.drop("a.md", text(""));
    let planned = finish(scene.riverbed(&["plan"])).await.stdout;
    assert!(planned.contains("chunks     none to embed, 0 deleted: `embed.enabled` is false\n"), "{planned}");
    assert!(planned.contains("budget     $5.00 of $5.00 left today (UTC): enough\n"), "{planned}");
    let planned: Value = serde_json::from_str(&finish(scene.riverbed(&["plan", "--json"])).await.stdout).unwrap();
    assert_eq!((&planned["model"], &planned["calls"], &planned["chunks"]["embed"]), (&Value::Null, &json!(0), &json!(0)));
    scene.once().await;
    assert_eq!(planned["questions"][0]["asked"], asked(&scene));
}

#[tokio::test]
async fn a_daemon_shows_the_models_that_it_asks_and_takes_files_away_that_were_answered() {
    let scene = alone(Scene::cheap().await).chat(SUMMARY).set("source.on-done", "\"move\"").set("source.done-dir", "\"done\"");
    fs::create_dir(scene.path("done")).unwrap();
    let daemon = scene.follow();
    scene.drop("a.md", text(""));
    scene.answers_reach(1).await;
    crate::support::changes_until(&scene.path("done"), || scene.path("done/a.md").exists()).await;
    let told: Value = serde_json::from_str(&finish(scene.riverbed(&["status", "--json"])).await.stdout).unwrap();
    let models: Vec<_> = told["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!((models, &told["documents"]["done"]), (vec!["chat amazon.nova-micro-v1:0"], &json!(1)));
    signal(&daemon, Signal::TERM);
    assert_eq!(ends(daemon).await, Some(0));
    assert_eq!((scene.answers().len(), scene.emulator.counts().texts), (1, 0));
}

#[tokio::test]
async fn only_the_models_that_are_asked_are_checked() {
    let scene = alone(Scene::cheap().await).chat(SUMMARY);
    let checked = finish(scene.riverbed(&["check", "--online"])).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("embed          off: only prompts run over documents\n"), "{}", checked.stdout);
    assert_eq!((asked(&scene), scene.emulator.counts().calls), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_lose_no_answer_and_double_none_where_nothing_is_embedded() {
    println!("{}", driver::run(200, 3, "429 5%, 5xx 3%", false).await);
}
