//! Files that are questions themselves.

use super::*;

fn messages(scene: Scene) -> Scene {
    scene.set("messages.enabled", "true").set("messages.models", "[\"amazon.nova-micro-v1:0\"]")
}

#[tokio::test]
async fn a_file_of_messages_is_asked_and_neither_embedded_nor_put_to_prompts() {
    let scene = messages(Scene::cheap().await).chat(SUMMARY);
    scene.drop(
        "question.chat.json",
        json!({"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Otters swim. What do otters do?"}]})
            .to_string(),
    );
    scene.drop("a.md", paragraph(1, 30));
    let run = scene.once().await;
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    let lines = scene.answers();
    assert_eq!(standing(&lines), pairs(&[("a.md", "summary"), ("question.chat.json", "messages")]));
    let line = lines.iter().find(|line| line["document"] == "question.chat.json").unwrap();
    assert_eq!((&line["prompt"], &line["chunk"]), (&Value::Null, &Value::Null));
    assert!(line["answer"].as_str().unwrap().contains("Otters"), "{line}");
    assert!(scene.vectors().iter().all(|line| line["document"] == "a.md"));
    assert_eq!(asked(&scene), 2);
    let again = scene.once().await;
    assert_eq!((scene.answers().len(), asked(&scene)), (2, 2));
    assert!(!again.stderr.contains("has changed"), "{}", again.stderr);
    let told = finish(scene.riverbed(&["explain", "question.chat.json", "--json"])).await.stdout;
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["configured_as_now"], true, "{told}");
}

#[tokio::test]
async fn what_a_file_may_not_ask_for_is_said_with_its_field() {
    let scene = messages(Scene::cheap().await).set("messages.max-tokens", "100");
    let hello = json!([{"role": "user", "content": "Hello."}]);
    scene.drop("model.chat.json", json!({"messages": hello, "model": "us.anthropic.claude-opus-5"}).to_string());
    scene.drop("tokens.chat.json", json!({"messages": hello, "max_tokens": 5000}).to_string());
    scene.drop("assistant.chat.json", json!({"messages": [{"role": "assistant", "content": "Hi."}]}).to_string());
    scene.drop("broken.chat.json", "{");
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(asked(&scene), 0, "nothing was sent");
    let mut failed: Vec<_> = scene
        .lines("failed.jsonl")
        .iter()
        .map(|line| format!("{} {} {}: {}", line["document"], line["stage"], line["class"], line["message"].as_str().unwrap()))
        .collect();
    failed.sort();
    insta::assert_snapshot!(failed.join("\n"), @r#"
    "assistant.chat.json" "chat" "messages": messages[0].role: the assistant speaks first; Bedrock takes only conversations that the user begins
    "broken.chat.json" "chat" "messages": the file: EOF while parsing an object at line 1 column 1
    "model.chat.json" "chat" "messages": model: is `us.anthropic.claude-opus-5`, which is not in `messages.models`: `amazon.nova-micro-v1:0`
    "tokens.chat.json" "chat" "messages": max_tokens: is 5000; `messages.max-tokens` allows 100
    "#);
    // A file that is fixed is asked.
    scene.drop("broken.chat.json", json!({"messages": hello}).to_string());
    scene.once().await;
    assert_eq!(standing(&scene.answers()), pairs(&[("broken.chat.json", "messages")]));
}

#[tokio::test]
async fn switched_on_later_files_of_messages_are_documents_no_more() {
    let scene = Scene::cheap().await;
    scene.drop("a.chat.json", json!({"messages": [{"role": "user", "content": "Hello otters."}]}).to_string());
    scene.once().await;
    let embedded = scene.vectors().len();
    assert_eq!((embedded, asked(&scene)), (1, 0));
    let scene = messages(scene);
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!((scene.vectors()[embedded]["op"].as_str(), asked(&scene)), (Some("delete"), 1));
    assert_eq!(standing(&scene.answers()), pairs(&[("a.chat.json", "messages")]));
}
