//! Texts that the service finds too long although they keep the model's limits, as far as those are known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use riverbed::emulator::Fault;
use serde_json::Value;

use crate::support::{Scene, paragraph};

const TOO_LONG: &str = "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9875";

fn too_long() -> Fault {
    Fault::validation(TOO_LONG)
}

/// One call at a time, so that a script says which of them goes wrong.
async fn scene() -> Scene {
    one_at_a_time(Scene::cheap().await)
}

fn one_at_a_time(scene: Scene) -> Scene {
    scene.set("bedrock.max-in-flight", "1").set("chunk.max-tokens", "60").set("chunk.overlap-tokens", "0")
}

/// Returns the current lines, by id.
fn standing(scene: &Scene) -> BTreeMap<String, Value> {
    let mut standing = BTreeMap::new();
    for line in scene.vectors() {
        let id = line["id"].as_str().unwrap().to_owned();
        if line["op"] == "upsert" {
            standing.insert(id, line)
        } else {
            standing.remove(&id)
        };
    }
    standing
}

/// Compares every current line with its span, and all of them with the whole of the text.
fn assert_whole(scene: &Scene, text: &str) -> BTreeMap<String, Value> {
    let standing = standing(scene);
    let mut spans = BTreeSet::new();
    for line in standing.values() {
        let at = |end: usize| usize::try_from(line["span"][end].as_u64().unwrap()).unwrap();
        assert_eq!(&text[at(0)..at(1)], line["text"].as_str().unwrap());
        assert!(spans.insert((at(0), at(1))), "two current lines for one place");
    }
    let mut end = 0;
    for (from, to) in spans {
        assert!(text[end..from].trim().is_empty(), "{} is in no line", &text[end..from]);
        end = to;
    }
    assert!(text[end..].trim().is_empty());
    standing
}

/// Returns how many different texts lines have: equal ones are asked for once.
fn texts<'a>(lines: impl Iterator<Item = &'a Value>) -> u64 {
    lines.map(|line| line["text"].as_str().unwrap()).collect::<BTreeSet<_>>().len() as u64
}

fn paragraphs(count: usize) -> String {
    (0..count).map(|number| paragraph(number, 30)).collect::<Vec<_>>().join("\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_refused_for_its_length_is_cut_once_and_kept_so() {
    let scene = scene().await;
    let text = paragraphs(4);
    scene.drop("a.txt", &text);
    scene.emulator.script([Fault::None, too_long()]);
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let calls = scene.emulator.counts().calls;
    let first = assert_whole(&scene, &text);
    assert_eq!(calls, texts(first.values()) + 1, "one call was refused, and nothing was asked for twice");
    assert!(scene.lines("failed.jsonl").is_empty());

    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(scene.emulator.counts().calls, calls, "an unchanged document makes no call");

    let text = format!("{text}\n\n{}", paragraph(9, 30));
    scene.drop("a.txt", &text);
    assert_eq!(scene.once().await.code, Some(0));
    let second = assert_whole(&scene, &text);
    let kept = first.keys().filter(|id| second.contains_key(*id)).count();
    assert!(kept + 3 >= first.len(), "of {} lines {kept} were kept", first.len());
    let all = texts(first.values().chain(second.values()));
    assert_eq!(scene.emulator.counts().calls, all + 1, "the parts were neither refused nor paid again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_the_models_own_is_reckoned_with_too() {
    // The estimate takes two digits for a token, this model each word of one: a full chunk of them is a third too long.
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"").set("chunk.overlap-tokens", "0");
    let text = (0..1000).map(|number| (number % 10).to_string()).collect::<Vec<_>>().join(" ");
    scene.drop("a.txt", &text);
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_whole(&scene, &text);
    assert!(scene.emulator.counts().answered[&400] > 0, "nothing was refused: the test shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_too_long_even_when_split_fails_with_the_reason() {
    let scene = scene().await;
    scene.drop("a.txt", "LONG words that are LONG");
    scene.drop("b.txt", "good words");
    scene.emulator.fault_where("LONG", too_long());
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(scene.emulator.counts().answered[&400], 3, "the whole, and each of its parts once");
    let failed = &scene.lines("failed.jsonl")[0];
    assert_eq!(failed["message"], format!("ValidationException: {TOO_LONG} (HTTP 400)"));
    assert_eq!(standing(&scene).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_share_a_text_share_its_parts() {
    // The call for the first is in flight until the others wait for it.
    let scene = one_at_a_time(Scene::cheap_after(Duration::from_millis(500)).await);
    let text = paragraph(1, 20);
    for name in ["a.txt", "b.txt", "c.txt"] {
        scene.drop(name, &text);
    }
    scene.emulator.script([too_long()]);
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(standing(&scene).len(), 6);
    assert!(scene.emulator.counts().calls <= 5, "{}", scene.emulator.counts().calls);
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(standing(&scene).len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_two_parts_loses_none_and_pays_none_twice() {
    let scene = scene().await;
    let text = paragraph(1, 20);
    scene.drop("a.txt", &text);
    scene.emulator.script([too_long(), Fault::None, Fault::Hang]);
    let mut child = scene.follow();
    scene.vectors_reach(1).await;
    scene.emulator.called(3).await;
    child.kill().await.unwrap();
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(assert_whole(&scene, &text).len(), 2);
    assert_eq!(scene.emulator.counts().calls, 4, "the part that stood was not asked for again, nor the whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_became_too_long_for_another_model_leaves_no_line_of_its_own() {
    let scene = scene().await;
    let text = paragraph(1, 20);
    scene.drop("a.txt", &text);
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(standing(&scene).len(), 1);
    let scene = scene.set("embed.dimensions", "256");
    scene.emulator.script([too_long()]);
    assert_eq!(scene.once().await.code, Some(0));
    let lines = assert_whole(&scene, &text);
    assert!(lines.len() == 2 && lines.values().all(|line| line["dimensions"] == 256));
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_is_never_sent() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "16").set("chunk.overlap-tokens", "4");
    scene.emulator.record(std::num::NonZeroUsize::new(1000).unwrap());
    let blank = " \n\t\r\n\u{3000}\u{a0}\u{2003}".repeat(200);
    scene.drop("blank.txt", &blank);
    scene.drop("empty.txt", "");
    scene.drop("holes.txt", format!("{blank}one{blank}two\n\n{blank}\n\nthree{blank}"));
    scene.drop("holes.md", format!("#\n\n{blank}\n\n## \n\n```\n{blank}\n```\n\nwords{blank}"));
    assert_eq!(scene.once().await.code, Some(0));
    let texts: Vec<String> = scene.emulator.requests().into_iter().flat_map(|request| request.texts).collect();
    assert!(texts.len() >= 2 && texts.iter().all(|text| !text.trim().is_empty()), "{texts:?}");
}
