//! Prompts and files of messages that come, change and go while the daemon runs.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use riverbed::emulator::Fault;
use serde_json::{Value, json};

use super::{Daemon, scene, told, until};
use crate::support::{Scene, changes_until, paragraph};

const SUMMARY: &str = "name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"\n";
const TITLE: &str = "name = \"title\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"A title for:\\n{{text}}\"\n";
/// Of a model that the others do not ask.
const TAGS: &str =
    "name = \"tags\"\nmodel = \"us.anthropic.claude-haiku-4-5-20251001-v1:0\"\nprompt = \"Tags for:\\n{{text}}\"\n";

fn better(prompt: &str) -> String {
    prompt.replace("A title", "A better title")
}

fn asked(scene: &Scene) -> u64 {
    scene.emulator.counts().chat.calls
}

/// Returns the current answers when the lines are applied in order: documents with their prompts.
fn standing(scene: &Scene) -> BTreeSet<(String, String)> {
    let mut standing = std::collections::BTreeMap::new();
    for line in scene.answers() {
        let id = line["id"].as_str().unwrap().to_owned();
        let of = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        match line["op"].as_str().unwrap() {
            "upsert" => drop(standing.insert(id, (of("document"), of("prompt")))),
            _ => assert!(standing.remove(&id).is_some(), "only current lines are deleted"),
        }
    }
    standing.into_values().collect()
}

fn pairs(documents: &[&str], prompts: &[&str]) -> BTreeSet<(String, String)> {
    documents.iter().flat_map(|document| prompts.iter().map(|prompt| ((*document).into(), (*prompt).into()))).collect()
}

pub(super) async fn a_changed_prompt_is_asked_again_and_no_other() {
    let scene = scene().await.chat(SUMMARY).chat(TITLE);
    scene.drop("a.md", paragraph(1, 30));
    scene.drop("b.md", paragraph(2, 30));
    let daemon = Daemon::follow(&scene).await;
    scene.answers_reach(4).await;
    let texts = scene.emulator.counts().texts;

    let scene = scene.chat_again(&better(TITLE));
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["chat.title"]));
    let lines = scene.answers_reach(6).await;
    assert!(lines[4..].iter().all(|line| line["prompt"] == "title"));
    assert_eq!((asked(&scene), standing(&scene)), (6, pairs(&["a.md", "b.md"], &["summary", "title"])));

    // The prompt runs over a document that comes now as over the others.
    scene.emulator.record(NonZeroUsize::new(2).unwrap());
    scene.drop("c.md", paragraph(3, 30));
    scene.answers_reach(8).await;
    let bodies: String = scene.emulator.requests().iter().map(|request| request.body.to_string()).collect();
    assert!(bodies.contains("A better title"), "{bodies}");

    // Which documents a prompt is for is no part of the question: what is left out is deleted.
    let scene = scene.chat_again(&format!("{}exclude = [\"c.md\"]\n", better(TITLE)));
    daemon.reload(&scene).await;
    scene.answers_reach(9).await;
    assert!(!standing(&scene).contains(&("c.md".into(), "title".into())));
    assert_eq!((asked(&scene), scene.emulator.counts().texts), (8, texts + 1));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_come_and_go_and_a_model_that_nobody_has_asked_is_asked() {
    let scene = scene().await;
    scene.drop("a.md", paragraph(1, 30));
    scene.drop("b.md", paragraph(2, 30));
    let daemon = Daemon::follow(&scene).await;
    scene.vectors_reach(2).await;
    assert_eq!(told(&scene).unwrap()["models"].as_array().unwrap().len(), 1);

    let scene = scene.chat(SUMMARY).chat(TAGS);
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["chat.summary", "chat.tags"]));
    scene.answers_reach(4).await;
    assert_eq!(standing(&scene), pairs(&["a.md", "b.md"], &["summary", "tags"]));
    let models = told(&scene).unwrap()["models"].clone();
    let names: BTreeSet<_> = models.as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert!(names.contains("chat amazon.nova-micro-v1:0") && names.len() == 3, "{names:?}");

    // Without one its answers are deleted, and with it again they are restored from the output.
    let scene = scene.chat_again(TITLE);
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["chat.tags", "chat.title"]));
    scene.answers_reach(8).await;
    assert_eq!((standing(&scene), asked(&scene)), (pairs(&["a.md", "b.md"], &["summary", "title"]), 6));
    let scene = scene.chat_again(TAGS);
    daemon.reload(&scene).await;
    scene.answers_reach(12).await;
    assert_eq!((standing(&scene), asked(&scene)), (pairs(&["a.md", "b.md"], &["summary", "tags"]), 6));
    assert_eq!(told(&scene).unwrap()["models"].as_array().unwrap().len(), 3, "a model that comes back has its lane still");
    assert_eq!(scene.emulator.counts().texts, 2);
    daemon.stop().await;

    // A start with it finds nothing to do.
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!((asked(&scene), scene.answers().len()), (6, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_changes_while_it_is_asked_is_asked_again_to_its_end() {
    const DOCUMENTS: u64 = 12;
    let scene = scene().await.chat(SUMMARY).chat(TITLE).set("bedrock.max-in-flight", "8");
    let daemon = Daemon::follow(&scene).await;
    scene.emulator.hold();
    for number in 0..DOCUMENTS {
        scene.drop(&format!("{number}.md"), paragraph(usize::try_from(number).unwrap(), 30));
    }
    // Vectors are held too: they come first.
    scene.emulator.called(8).await;
    scene.emulator.release();
    scene.vectors_reach(12).await;
    until(&scene, |status| status["documents"]["done"] == DOCUMENTS).await;
    scene.answers_reach(24).await;

    // Now the prompt runs over all again, and changes with eight questions in flight and the others waiting.
    let calls = scene.emulator.counts().calls;
    scene.emulator.hold();
    let scene = scene.chat_again(&better(TITLE));
    daemon.reload(&scene).await;
    scene.emulator.called(calls + 8).await;
    scene.emulator.record(NonZeroUsize::new(100).unwrap());
    let scene = scene.chat_again(&TITLE.replace("A title", "The best title"));
    daemon.reload(&scene).await;
    scene.emulator.release();
    let all_best = || {
        let requests = scene.emulator.requests();
        requests.iter().filter(|request| request.body.to_string().contains("The best title")).count() as u64 == DOCUMENTS
    };
    changes_until(&scene.path("out"), all_best).await;
    changes_until(&scene.path("out"), || scene.answers().len() as u64 >= 24 + 8 + DOCUMENTS).await;
    until(&scene, |status| status["calls"]["in_flight"] == 0).await;
    daemon.stop().await;
    // Those in flight were paid for and stand until they are replaced; of those that waited, none was asked the older way, but for the
    // few that were at the door.
    let again = asked(&scene) - 24;
    assert!((DOCUMENTS + 8..=2 * DOCUMENTS).contains(&again), "{again}");
    let run = scene.once().await;
    assert_eq!((run.code, asked(&scene)), (Some(0), 24 + again), "nothing was left: {}", run.stderr);
    assert_eq!(standing(&scene).len() as u64, 2 * DOCUMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_was_refused_is_asked_again_when_its_prompt_has_changed() {
    let scene = scene().await.chat(SUMMARY).chat(TITLE);
    scene.emulator.fault_where("A title for", Fault::validation("this model takes no titles"));
    scene.drop("a.md", paragraph(1, 30));
    let daemon = Daemon::follow(&scene).await;
    until(&scene, |status| status["documents"]["failed"] == 1).await;
    let scene = scene.chat_again(&better(TITLE));
    daemon.reload(&scene).await;
    let status = until(&scene, |status| status["documents"]["done"] == 1).await;
    assert_eq!(status["documents"]["failed"], 0);
    changes_until(&scene.path("out"), || standing(&scene) == pairs(&["a.md"], &["summary", "title"])).await;
    assert_eq!(scene.emulator.counts().texts, 1);
    daemon.stop().await;
}

pub(super) async fn files_of_messages_become_questions_and_documents_again() {
    let file = json!({"messages": [{"role": "user", "content": "Do otters swim?"}]}).to_string();
    let scene = scene().await.set("messages.models", "[\"amazon.nova-micro-v1:0\"]");
    scene.drop("a.chat.json", &file);
    scene.drop("b.md", "words");
    let daemon = Daemon::follow(&scene).await;
    scene.vectors_reach(2).await;
    let scene = scene.set("messages.enabled", "true");
    assert_eq!(daemon.reload(&scene).await["changed"], json!(["messages.enabled"]));
    scene.answers_reach(1).await;
    let of = |scene: &Scene, op: &str| {
        let lines = scene.vectors();
        lines.iter().filter(|line| line["op"] == op && line["document"] == "a.chat.json").count()
    };
    changes_until(&scene.path("out"), || of(&scene, "delete") == 1).await;
    assert_eq!(scene.answers()[0]["prompt"], Value::Null);

    let scene = scene.set("messages.enabled", "false");
    daemon.reload(&scene).await;
    scene.answers_reach(2).await;
    changes_until(&scene.path("out"), || of(&scene, "upsert") == 2).await;
    assert_eq!(scene.answers()[1]["op"], "delete");
    assert_eq!((asked(&scene), scene.emulator.counts().texts), (1, 2), "each was paid for once");
    daemon.stop().await;
}
