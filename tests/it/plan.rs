//! The dry run, compared with the real one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Ended, Scene, ends, finish, paragraph, signal};

async fn plan(scene: &Scene) -> Value {
    let ended = finish(scene.riverbed(&["plan", "--json"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

async fn shown(scene: &Scene) -> String {
    let Ended { code, stdout, stderr } = finish(scene.riverbed(&["plan"])).await;
    assert_eq!((code, &*stderr), (Some(0), ""));
    stdout
}

/// A text of words of two letters, and one in ten of three: with the space behind it each is a token of the emulator, so that it bills
/// 3.1 characters a token.
fn dense(number: usize, words: usize) -> String {
    const WORDS: [&str; 10] = ["to", "be", "of", "an", "in", "it", "we", "us", "he", "the"];
    let mut text = String::new();
    for at in 0..words {
        // Another order in each text and each ten words of it, with the long word once among them.
        let mut mixed = number * 1_000_003 + at / 10;
        mixed = (mixed ^ (mixed >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = WORDS[(at + (mixed >> 40)) % 10];
        let _infallible = write!(text, "{word} ");
    }
    text
}

fn between(plan: &Value, what: &str, billed: u64) {
    let number = |bound: &str| plan[what][bound].as_u64().unwrap();
    assert!((number("low")..=number("high")).contains(&billed), "{billed} is not in {}", plan[what]);
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn within_a_tenth(planned: &Value, billed: u64) {
    let off = planned.as_f64().unwrap() / billed as f64 - 1.0;
    assert!(off.abs() <= 0.1, "{planned} were planned and {billed} billed");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_200_calls_the_plan_is_within_a_tenth_of_the_bill_and_before_the_first_it_is_a_range() {
    let scene = Scene::cheap().await.set("chunk.overlap-tokens", "0"); // each character is paid once
    for number in 0..200 {
        scene.drop(&format!("{number}.txt"), dense(number + 1, 150));
    }
    let first = plan(&scene).await;
    assert_eq!((&first["calls"], &first["tokens"]["learned"]), (&200.into(), &false.into()));
    assert_eq!(scene.once().await.code, Some(0));
    let counts = scene.emulator.counts();
    assert_eq!(counts.calls, 200);
    between(&first, "tokens", counts.tokens);
    assert!(first["tokens"]["high"].as_u64() > first["tokens"]["low"].as_u64().map(|low| low * 5 / 4), "{first}");

    let mut characters = 0;
    for number in 1000..1040 {
        let text = dense(number, 2_000);
        characters += text.trim().len() as u64;
        scene.drop(&format!("{number}.txt"), text);
    }
    let second = plan(&scene).await;
    assert_eq!(scene.emulator.counts().calls, 200, "a plan sends nothing");
    assert_eq!(scene.once().await.code, Some(0));
    let billed = scene.emulator.counts().tokens - counts.tokens;
    assert!(billed * 29 < characters * 11 && characters < billed * 33 / 10, "{characters} characters, {billed} tokens");
    assert_eq!(second["calls"], scene.emulator.counts().calls - 200);
    within_a_tenth(&second["tokens"]["expected"], billed);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let usd = billed as f64 * 0.02 / 1e6;
    let planned = second["cost"]["usd"]["expected"].as_f64().unwrap();
    assert!((planned / usd - 1.0).abs() <= 0.1, "{planned} was planned and {usd} billed");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_in_many_languages_are_learned_from_full_calls_too() {
    const RUSSIAN: &str = "Родители могут взять до двенадцати недель оплачиваемого отпуска в первый год. ";
    const CHINESE: &str = "父母在孩子出生后的第一年内最多可以享受十二周的带薪休假。";
    const NUMBERS: &str = "2024-11-26 17:03:22 | 4,091.50 | 0x1f9a | 1187; 22 / 7 = 3.142857\n";
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-multilingual-v3\"");
    let drop = |from: usize, to: usize, times: usize| {
        for number in from..to {
            let text = match number % 4 {
                0 => paragraph(number, 60 * times),
                1 => format!("{number} {}", RUSSIAN.repeat(3 * times)),
                2 => format!("{number} {}", CHINESE.repeat(4 * times)),
                _ => format!("{number} {}", NUMBERS.repeat(3 * times)),
            };
            scene.drop(&format!("{number}.txt"), text);
        }
    };
    drop(0, 2_000, 1);
    assert_eq!(scene.once().await.code, Some(0));
    let before = scene.emulator.counts().tokens;
    // Other proportions than before, and longer texts.
    drop(2_000, 2_400, 3);
    for number in (2_001..2_400).step_by(4) {
        fs::remove_file(scene.path(&format!("drop/{number}.txt"))).unwrap();
    }
    let plan = plan(&scene).await;
    assert_eq!(scene.once().await.code, Some(0));
    within_a_tenth(&plan["tokens"]["expected"], scene.emulator.counts().tokens - before);
}

/// Returns every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else if !path.to_string_lossy().ends_with("-shm") {
            // In that one SQLite notes who reads.
            files.insert(path.display().to_string(), fs::read(path).unwrap());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_matches_the_run_and_writes_or_sends_nothing() {
    let scene = Scene::cheap().await.set("source.max-file-size", "\"100KB\"").set("chunk.max-tokens", "128");
    let long: Vec<String> = (0..30).map(|number| paragraph(number, 40)).collect();
    for (name, text) in [("a.md", "Words."), ("b.md", "Other words."), ("c.md", "Yet others."), ("d.md", "Words.")] {
        scene.drop(name, text);
    }
    scene.drop("long.txt", long.join("\n\n"));
    scene.drop("logo.png", b"\x89PNG\r\n\x1a\n....");
    scene.drop("large.txt", "words ".repeat(20_000));
    let first = plan(&scene).await;
    assert!(!scene.path("out").exists(), "no output and no ledger is made");
    assert_eq!(scene.emulator.counts().calls, 0);
    scene.once().await;
    assert_eq!(first["calls"], scene.emulator.counts().calls);
    let documents = |plan: &Value, what: &str| plan["documents"][what].as_u64().unwrap();
    let counted = ["new", "skipped", "too_large"].map(|what| documents(&first, what));
    assert_eq!(counted, [5, 1, 1]);
    assert_eq!(first["chunks"]["repeated"], 1, "two documents share a text");

    // One is edited, one renamed, one gone, one is new and repeats what was answered.
    let mut edited = long.clone();
    edited[15] = paragraph(99, 40);
    scene.drop("long.txt", edited.join("\n\n"));
    fs::rename(scene.path("drop/b.md"), scene.path("drop/moved.md")).unwrap();
    fs::remove_file(scene.path("drop/c.md")).unwrap();
    scene.drop("e.md", "Words.");
    let before = contents(&scene.path("out"));
    let second = plan(&scene).await;
    assert_eq!(contents(&scene.path("out")), before, "a plan leaves everything as it is");
    let counted = ["new", "changed", "moved", "gone"].map(|what| documents(&second, what));
    assert_eq!(counted, [1, 1, 1, 1], "{second}");
    // What failed before the first answer told who gives them is taken again.
    assert_eq!(documents(&second, "unchanged") + documents(&second, "too_large"), 4, "{second}");
    let (calls, lines) = (scene.emulator.counts().calls, scene.vectors().len() as u64);
    scene.once().await;
    assert_eq!(second["calls"], scene.emulator.counts().calls - calls);
    let deletes = scene.vectors().iter().filter(|line| line["op"] == "delete").count();
    assert_eq!(second["chunks"]["retracted"], deletes);
    let written = scene.vectors().len() as u64 - lines - deletes as u64;
    let chunks = |what: &str| second["chunks"][what].as_u64().unwrap();
    assert!(chunks("kept") > 20 && chunks("embed") <= 3, "{second}");
    assert!(written >= chunks("embed") + chunks("repeated"), "{written} lines: {second}");

    let last = plan(&scene).await;
    assert_eq!((&last["calls"], documents(&last, "unchanged")), (&0.into(), 7), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_packed_as_a_run_packs_them() {
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"").set("embed.batch-wait", "\"1s\"");
    for number in 0..300 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 20));
    }
    let planned = plan(&scene).await;
    assert_eq!(planned["calls"], 4);
    scene.once().await;
    assert_eq!(scene.emulator.counts().calls, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_takes_everything_again() {
    let scene = Scene::cheap().await;
    scene.drop("a.md", "Words.");
    scene.once().await;
    let scene = scene.set("embed.dimensions", "256");
    let planned = plan(&scene).await;
    assert_eq!((&planned["documents"]["again"], &planned["calls"]), (&1.into(), &1.into()), "{planned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_can_be_made_beside_a_daemon() {
    let scene = Scene::cheap().await;
    scene.drop("a.md", "Words.");
    let child = scene.follow();
    scene.vectors_reach(1).await;
    scene.emulator.hold();
    scene.drop("b.md", "Other words.");
    scene.emulator.called(2).await;
    let planned = plan(&scene).await;
    assert_eq!((&planned["documents"]["new"], &planned["calls"]), (&1.into(), &1.into()), "{planned}");
    scene.emulator.release();
    scene.vectors_reach(2).await;
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_reads_well() {
    let scene = Scene::cheap().await.set("budget.max-usd-per-day", "0.0005").set("source.path", "\"drop\"");
    for number in 0..40 {
        scene.drop(&format!("{number}.md"), paragraph(number, 900));
    }
    scene.drop("logo.png", b"\x89PNG\r\n\x1a\n....");
    assert_snapshot!(shown(&scene).await);
    let scene = scene.set("budget.max-usd-per-day", "1").set("bedrock.requests-per-minute", "60000");
    scene.once().await;
    assert_snapshot!(shown(&scene).await);
    scene.drop("new.md", paragraph(77, 60));
    scene.drop("3.md", "Words.");
    assert_snapshot!(shown(&scene).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_not_known_is_said_in_the_plan() {
    let scene = Scene::cheap().await.set("embed.model", "\"amazon.nova-2-multimodal-embeddings-v1:0\"");
    let scene = scene.set("bedrock.region", "\"us-gov-east-1\"");
    scene.drop("a.md", "Words.");
    assert_snapshot!(shown(&scene).await);
    assert_eq!(plan(&scene).await["cost"]["price"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_is_an_error() {
    let scene = Scene::cheap().await.set("source.path", "\"nowhere\"");
    assert_eq!(finish(scene.riverbed(&["plan"])).await.code, Some(78));
}

const SUMMARY: &str =
    "name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nmax-tokens = 100\nprompt = \"Sum up {{document}}:\\n{{text}}\"\n";
const CLAIMS: &str = "name = \"claims\"\nmodel = \"us.anthropic.claude-haiku-4-5-20251001-v1:0\"\nper = \"chunk\"\nmax-tokens = 50\n\
    prompt = \"In:\\n{{document-text}}\\nWhat is claimed?\\n{{text}}\"\nexclude = [\"2.md\"]\n";

/// Returns how many chunks some of the documents have.
fn chunks_of(scene: &Scene, is_meant: impl Fn(&str) -> bool) -> u64 {
    let mut standing = std::collections::BTreeSet::new();
    for line in scene.vectors().iter().filter(|line| is_meant(line["document"].as_str().unwrap())) {
        match line["op"].as_str().unwrap() {
            "upsert" => standing.insert(line["id"].to_string()),
            _ => standing.remove(&line["id"].to_string()),
        };
    }
    standing.len() as u64
}

/// Plans, runs, and compares the questions that were asked with those that were planned. Returns what was planned.
async fn as_planned(scene: &Scene) -> Value {
    let planned = plan(scene).await;
    let asked: u64 = planned["questions"].as_array().unwrap().iter().map(|prompt| prompt["asked"].as_u64().unwrap()).sum();
    let before = scene.emulator.counts().chat.calls;
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(scene.emulator.counts().chat.calls - before, asked, "{planned}");
    planned["questions"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_counts_the_questions_that_a_run_would_put() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "120").set("chunk.overlap-tokens", "0");
    let scene = scene.chat(SUMMARY).chat(CLAIMS).set("messages.enabled", "true");
    let text = |number: usize, paragraphs: usize| {
        (0..paragraphs).map(|at| paragraph(100 * number + at, 16) + "\n\n").collect::<String>()
    };
    for number in 0..4 {
        scene.drop(&format!("{number}.md"), text(number, 9));
    }
    scene.drop("one.chat.json", "{\"messages\": [{\"role\": \"user\", \"content\": \"Otters swim.\"}]}");
    assert_snapshot!(shown(&scene).await);
    let planned = as_planned(&scene).await;
    let chunks = chunks_of(&scene, |document| document != "2.md");
    assert!(chunks > 6, "{chunks}");
    let asked: Vec<_> = planned.as_array().unwrap().iter().map(|prompt| prompt["asked"].as_u64().unwrap()).collect();
    assert_eq!(asked, [1, chunks, 4]);
    let of =
        |planned: &Value, prompt: &str| planned.as_array().unwrap().iter().find(|of| of["prompt"] == prompt).unwrap().clone();
    let summary = of(&planned, "summary");
    let lines = scene.answers();
    let billed = |prompt: &str, tokens: &str| -> u64 {
        let lines = lines.iter().filter(|line| line["prompt"] == prompt);
        lines.map(|line| line["usage"][tokens].as_u64().unwrap()).sum()
    };
    let (input, output) = (summary["tokens"]["input"].as_u64().unwrap(), summary["tokens"]["output_at_most"].as_u64().unwrap());
    assert!(billed("summary", "output_tokens") <= output && output == 400);
    assert!(input > billed("summary", "input_tokens") / 2 && input < 2 * billed("summary", "input_tokens"), "{input}");
    let usd: f64 = lines.iter().filter(|line| line["prompt"] == "summary").map(|line| line["usd"].as_f64().unwrap()).sum();
    assert!(summary["usd_at_most"].as_f64().unwrap() > usd && usd > 0.0);
    assert_eq!(as_planned(&scene).await, serde_json::json!([]));

    // A changed document, a changed prompt, and a document that is there twice.
    scene.drop("1.md", text(9, 9));
    as_planned(&scene).await;
    let scene = scene.chat_again(&CLAIMS.replace("What is claimed", "What is said"));
    let planned = of(&as_planned(&scene).await, "claims");
    assert_eq!(planned["asked"], chunks_of(&scene, |document| document != "2.md"));
    scene.drop("copy.md", text(9, 9));
    let planned = of(&as_planned(&scene).await, "claims");
    assert_eq!(planned["cached"], chunks_of(&scene, |document| document == "copy.md"));

    // As contexts they are asked for again, and not again for another embedding model.
    let scene = scene.set("embed.context", "\"claims\"");
    let whole = plan(&scene).await;
    assert_eq!((&whole["tokens"]["at_least"], &whole["chunks"]["at_least"]), (&true.into(), &false.into()));
    assert!(shown(&scene).await.contains("\n           at least that: "), "what the contexts will say is not known");
    let planned = of(&whole["questions"], "claims");
    // The copy's questions are those of the other: where both are asked at once, they are asked twice.
    let chunks = chunks_of(&scene, |document| document != "2.md");
    assert_eq!(planned["asked"], chunks);
    assert_eq!(scene.once().await.code, Some(0));
    let scene = scene.set("embed.dimensions", "256");
    let planned = of(&as_planned(&scene).await, "claims");
    assert_eq!((&planned["asked"], &planned["cached"]), (&0.into(), &chunks.into()));
}
