//! `riverbed ask`: one answer, and a prompt tried out.

use super::*;

#[tokio::test]
async fn a_question_is_answered_as_it_is_written_and_nothing_is_written_down() {
    let scene = Scene::cheap().await.chat(SUMMARY);
    scene.drop("a.md", "Otters hold hands while they sleep. Lunch is served at noon.");
    let asked = finish(scene.riverbed(&["ask", "What do otters do?", "--file", "drop/a.md"])).await;
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    assert!(asked.stdout.contains("Otters hold hands while they sleep."), "{}", asked.stdout);
    assert!(
        asked.stderr.contains("amazon.nova-micro-v1:0: end_turn, ") && asked.stderr.contains("an emulator answered"),
        "{}",
        asked.stderr
    );
    assert_eq!((scene.emulator.counts().chat.calls, scene.emulator.counts().chat.streams), (1, 1));
    assert!(!scene.path("out").exists());
}

#[tokio::test]
async fn a_prompt_that_is_tried_prints_what_a_run_would_write() {
    let scene = Scene::cheap().await.chat(TITLE).chat(CLAIMS);
    scene.drop("a.md", paragraph(1, 30));
    let tried = finish(scene.riverbed(&["ask", "--prompt", "title", "--file", "drop/a.md"])).await;
    assert_eq!(tried.code, Some(0), "{}", tried.stderr);
    let tried: Value = serde_json::from_str(&tried.stdout).unwrap();
    scene.once().await;
    let lines = scene.answers();
    let written = lines.iter().find(|line| line["prompt"] == "title").unwrap();
    for key in ["document", "version", "prompt", "chunk", "model", "answer", "ending", "usage", "usd"] {
        assert_eq!(tried[key], written[key], "{key}");
    }
    let chunks = finish(scene.riverbed(&["ask", "--prompt", "claims", "--file", "drop/a.md"])).await.stdout;
    assert_eq!(chunks.lines().count(), lines.iter().filter(|line| line["prompt"] == "claims").count());
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_with_what_to_do() {
    let scene = Scene::cheap().await;
    scene.drop("a.md", "words");
    fs::write(scene.path("b.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let mut said = String::new();
    for arguments in [
        &["ask", "Why?"][..],
        &["ask", "Why?", "--model", "amazon.titan-embed-text-v2:0"],
        &["ask", "--prompt", "title", "--file", "drop/a.md"],
        &["ask", "Why?", "--model", "amazon.nova-micro-v1:0", "--file", "c.md"],
        &["ask", "Why?", "--model", "amazon.nova-micro-v1:0", "--file", "b.png"],
    ] {
        let ended = finish(scene.riverbed(arguments)).await;
        assert_eq!((ended.stdout.as_str(), scene.emulator.counts().calls), ("", 0));
        said = said + &ended.stderr + "\n";
    }
    insta::assert_snapshot!(said, @r"
    error: no chat model is configured
      help: name one with `--model`, as `--model amazon.nova-micro-v1:0`; or configure a `[[chat]]` prompt

    error: `amazon.titan-embed-text-v2:0` is no chat model: it makes vectors or ranks texts, and writes none
      help: name a model of a family that is known, or configure a `[[chat]]` prompt with its `family`

    error: there is no prompt `title`
      help: configure one under `[[chat]]`

    error: cannot read `c.md`: No such file or directory (os error 2)

    error: cannot read `b.png`: unsupported (image/png)
    ");
}
