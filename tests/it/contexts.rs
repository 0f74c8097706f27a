//! Chunks that are embedded with a context from a chat model: asked once, kept across kills, and apart from the text in the line.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use riverbed::emulator::{Fault, Received};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Scene, ends, finish, paragraph, signal};

const CONTEXT: &str = "name = \"place\"\nmodel = \"amazon.nova-micro-v1:0\"\nper = \"chunk\"\nmax-tokens = 100\n\
    prompt = \"The document:\\n{{document-text}}\\nWhere in it stands this?\\n{{text}}\"\n";

async fn scene() -> Scene {
    scene_after(Duration::ZERO).await
}

async fn scene_after(latency: Duration) -> Scene {
    let scene = Scene::cheap_after(latency).await.set("chunk.max-tokens", "120").set("chunk.overlap-tokens", "0");
    scene.chat(CONTEXT).set("embed.context", "\"place\"")
}

/// A document of so many chunks, with an edit in the sixth.
fn text(chunks: usize, edit: &str) -> String {
    (0..chunks).map(|at| paragraph(at, 16) + if at == 5 { edit } else { "" } + "\n\n").collect()
}

fn asked(scene: &Scene) -> u64 {
    scene.emulator.counts().chat.calls
}

fn contexts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["context"].as_str().unwrap_or_else(|| panic!("no context: {}", line["id"]))).collect()
}

async fn schema(scene: &Scene) -> jsonschema::Validator {
    let printed = finish(scene.riverbed(&["schema", "vectors"])).await.stdout;
    jsonschema::validator_for(&serde_json::from_str(&printed).unwrap()).unwrap()
}

/// What calls of today took, by the ledger: calls, and tokens that went in, were read from the prompt cache and written to it.
fn usage(scene: &Scene, model: &str) -> (u64, u64, u64, u64) {
    let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
    let query = "SELECT sum(calls), sum(tokens), sum(cache_read_tokens), sum(cache_write_tokens) FROM usage WHERE model = ?1";
    let row = |row: &rusqlite::Row<'_>| {
        let count = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        Ok((count(0)?, count(1)?, count(2)?, count(3)?))
    };
    ledger.query_row(query, [model], row).unwrap()
}

#[tokio::test]
async fn a_chunk_is_embedded_after_its_context_and_its_line_keeps_the_two_apart() {
    let scene = scene().await;
    scene.emulator.record(NonZeroUsize::new(100).unwrap());
    scene.drop("a.md", text(6, ""));
    let run = scene.once().await;
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let lines = scene.vectors();
    assert_eq!((asked(&scene), scene.answers().len()), (lines.len() as u64, 0));
    let is_embed = |request: &Received| request.body.get("inputText").is_some();
    let requests = scene.emulator.requests();
    let embedded: Vec<&str> =
        requests.iter().filter(|request| is_embed(request)).map(|request| request.body["inputText"].as_str().unwrap()).collect();
    let schema = schema(&scene).await;
    for (line, context) in lines.iter().zip(contexts(&lines)) {
        assert!(schema.is_valid(line), "{}", line["id"]);
        let text = line["text"].as_str().unwrap();
        assert!(!context.is_empty() && embedded.contains(&format!("{context}\n\n{text}").as_str()), "{context}: {text}");
    }
    // Nothing is asked again, and without contexts the chunks have the same ids, and vectors of their texts alone.
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!((scene.vectors().len(), asked(&scene)), (lines.len(), lines.len() as u64));
    let scene = scene
        .unset("embed.context")
        .chat_again("name = \"x\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"{{text}}\"\nexclude = [\"*\"]");
    let run = scene.once().await;
    assert!(run.stderr.contains("embedding these documents again"), "{}", run.stderr);
    let again = scene.vectors().split_off(lines.len());
    let ids = |lines: &[Value]| lines.iter().map(|line| line["id"].to_string()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids(&again), ids(&lines));
    assert!(
        again
            .iter()
            .all(|line| line.get("context").is_none() && lines.iter().all(|other| other["embedding"] != line["embedding"]))
    );
}

#[tokio::test]
async fn a_document_is_put_into_the_prompt_cache_once_and_read_from_there() {
    let scene = scene().await.set("bedrock.max-in-flight", "8");
    scene.emulator.record(NonZeroUsize::new(300).unwrap());
    scene.drop("a.md", text(70, ""));
    assert_eq!(scene.once().await.code, Some(0));
    let chunks = scene.vectors().len() as u64;
    let (calls, tokens, read, written) = usage(&scene, "emulator/amazon.nova-micro-v1:0");
    assert_eq!((calls, asked(&scene)), (chunks, chunks));
    assert!(chunks == 70 && written > 1_000, "{written}");
    assert_eq!(read, written * (chunks - 1), "one call writes, and all others read");
    assert!(tokens - read - written < read / 5, "what is not kept is little: {tokens}, {read}, {written}");
    let requests = scene.emulator.requests();
    let of_chat = requests.iter().filter_map(|request| request.body.get("messages"));
    assert!(of_chat.map(|messages| &messages[0]["content"]).all(|content| content[1]["cachePoint"]["type"] == "default"));
}

#[tokio::test]
async fn only_changed_chunks_get_new_contexts_and_moved_ones_keep_theirs() {
    let scene = scene().await;
    scene.drop("a.md", text(12, ""));
    assert_eq!(scene.once().await.code, Some(0));
    let (before, calls) = (scene.vectors(), scene.emulator.counts().calls);
    scene.drop("a.md", text(12, " An edit."));
    assert_eq!(scene.once().await.code, Some(0));
    let lines = scene.vectors().split_off(before.len());
    let known: BTreeMap<_, _> = before.iter().map(|line| (line["id"].as_str().unwrap(), &line["context"])).collect();
    let upserts: Vec<_> = lines.iter().filter(|line| line["op"] == "upsert").collect();
    let (moved, new): (Vec<&Value>, Vec<&Value>) =
        upserts.into_iter().partition(|line| known.contains_key(line["id"].as_str().unwrap()));
    assert!(moved.len() > 3 && (1..=3).contains(&new.len()), "{} and {}", moved.len(), new.len());
    assert!(moved.iter().all(|line| *known[line["id"].as_str().unwrap()] == line["context"]));
    assert_eq!(scene.emulator.counts().calls - calls, 2 * new.len() as u64, "a question and a vector for each new chunk");
}

#[tokio::test]
async fn a_changed_prompt_embeds_everything_again_and_a_changed_model_asks_nothing_again() {
    let scene = scene().await;
    scene.drop("a.md", text(6, ""));
    scene.once().await;
    let lines = scene.vectors().len() as u64;
    let scene = scene.set("embed.dimensions", "256");
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!((asked(&scene), scene.vectors().len() as u64), (lines, 2 * lines));
    let all = scene.vectors();
    let by_id = |lines: &[Value]| {
        let context = |line: &Value| (line["id"].to_string(), line["context"].to_string());
        lines.iter().map(context).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(by_id(&all[..6]), by_id(&all[6..12]));

    let scene = scene.chat_again(&CONTEXT.replace("Where in it", "Where exactly"));
    let run = scene.once().await;
    assert!(run.stderr.contains("questions=6"), "{}", run.stderr);
    assert_eq!((asked(&scene), scene.vectors().len() as u64), (2 * lines, 3 * lines));
}

#[tokio::test]
async fn a_context_that_is_refused_or_is_none_fails_the_document_and_what_stood_stays() {
    for fault in [Fault::validation("this model takes no otters"), Fault::Stop { reason: "content_filtered".into() }] {
        let scene = scene().await;
        scene.drop("a.md", text(6, ""));
        scene.once().await;
        let before = scene.vectors().len();
        scene.emulator.fault_where("An edit", fault);
        scene.drop("a.md", text(6, " An edit."));
        let run = scene.once().await;
        assert_eq!(run.code, Some(2), "{}", run.stdout);
        let failed = &scene.lines("failed.jsonl")[0];
        assert_eq!(failed["stage"], "context", "{failed}");
        assert!(failed["message"].as_str().unwrap().starts_with("`place`: "), "{failed}");
        assert!(scene.vectors()[before..].iter().all(|line| line["op"] == "upsert"), "nothing is deleted");
        scene.emulator.clear_faults();
        assert_eq!(finish(scene.riverbed(&["failed", "retry", "--all"])).await.code, Some(0));
        assert_eq!(scene.once().await.code, Some(0));
        assert!(scene.vectors()[before..].iter().any(|line| line["op"] == "delete"));
    }
}

#[tokio::test]
async fn a_context_that_was_cut_says_so_and_documents_that_are_left_out_have_none() {
    let scene = scene().await.chat_again(&format!("{CONTEXT}exclude = [\"b.md\"]"));
    scene.emulator.fault_where("Number 1:", Fault::Stop { reason: "max_tokens".into() });
    scene.drop("a.md", paragraph(1, 16));
    scene.drop("b.md", paragraph(2, 16));
    assert_eq!(scene.once().await.code, Some(0));
    let (lines, schema) = (scene.vectors(), schema(&scene).await);
    let (cut, without): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["document"] == "a.md");
    assert_eq!((cut.len(), without.len(), asked(&scene)), (1, 1, 1));
    assert_eq!((&cut[0]["context_cut"], without[0].get("context")), (&Value::Bool(true), None));
    assert!(lines.iter().all(|line| schema.is_valid(line)));
}

#[tokio::test]
async fn while_the_chat_model_is_down_documents_wait_for_their_contexts() {
    let scene = scene().await;
    scene.emulator.fault_where("Where in it", Fault::unavailable());
    scene.drop("a.md", text(6, ""));
    let daemon = scene.follow();
    scene.emulator.called(6).await;
    assert_eq!((scene.vectors().len(), scene.lines("failed.jsonl").len()), (0, 0));
    scene.emulator.clear_faults();
    assert_eq!(contexts(&scene.vectors_reach(6).await).len(), 6);
    signal(&daemon, Signal::TERM);
    assert_eq!(ends(daemon).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_context_and_pay_for_none_twice_that_was_committed() {
    const KILLS: usize = 3;
    const IN_FLIGHT: u64 = 4;
    const DOCUMENTS: usize = 40;
    let scene = scene_after(Duration::from_millis(25)).await.set("bedrock.max-in-flight", &IN_FLIGHT.to_string());
    for number in 0..DOCUMENTS {
        let paragraphs = (0..6).map(|at| paragraph(100 * number + at, 16) + "\n\n");
        scene.drop(&format!("{number}.md"), paragraphs.collect::<String>());
    }
    for kill in 1..=KILLS {
        let mut daemon = scene.follow();
        scene.vectors_reach(6 * DOCUMENTS * kill / (KILLS + 1)).await;
        daemon.kill().await.unwrap();
        assert!(scene.vectors().len() < 6 * DOCUMENTS, "kill {kill} came too late to show anything");
    }
    let run = scene.once().await;
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let lines = scene.vectors();
    let ids: std::collections::BTreeSet<_> = lines.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!((lines.len(), ids.len(), contexts(&lines).len()), (6 * DOCUMENTS, 6 * DOCUMENTS, 6 * DOCUMENTS));
    // Calls that were in flight, or whose answer had come and was not committed yet.
    let most = (6 * DOCUMENTS + KILLS * (3 * usize::try_from(IN_FLIGHT).unwrap() + 16)) as u64;
    assert!(asked(&scene) <= most, "{} calls, at most {most}", asked(&scene));
    let verified = finish(scene.riverbed(&["verify"])).await;
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);

    // A lost ledger is restored from the lines, and nothing is asked or embedded again.
    let calls = scene.emulator.counts().calls;
    fs::remove_dir_all(scene.path("out/.riverbed")).unwrap();
    assert_eq!(finish(scene.riverbed(&["run", "--once", "--rebuild-ledger"])).await.code, Some(0));
    assert_eq!(scene.emulator.counts().calls, calls);
}

#[tokio::test]
async fn what_cannot_be_a_context_is_said_before_anything_is_asked() {
    let check = async |prompt: &str, set: &[(&str, &str)], said: &str| {
        let mut scene = scene().await.chat_again(prompt);
        for (key, value) in set {
            scene = scene.set(key, value);
        }
        let run = finish(scene.riverbed(&["check"])).await;
        assert!(run.code == Some(78) && run.stderr.contains(said), "{}", run.stderr);
    };
    check(CONTEXT, &[("embed.context", "\"palce\"")], "there are `place`").await;
    check(&CONTEXT.replace("per = \"chunk\"", ""), &[], "runs once for each document").await;
    check(&format!("{CONTEXT}long = \"map-reduce\""), &[], "asks about long texts in parts").await;
    check(&CONTEXT.replace("prompt = \"", "prompt = \"{{headings}}"), &[], "follows text that differs").await;
    let cohere = [("embed.model", "\"cohere.embed-english-v3\"")];
    check(&CONTEXT.replace("max-tokens = 100", "max-tokens = 1000"), &cohere, "would have too little room").await;
}
