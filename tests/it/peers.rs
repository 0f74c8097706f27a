//! Hostile peers: bodies without end, forged text, impossible counts, and answers to another question.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::fake_service::StandIn;
use crate::support::{Ended, Scene, changes_until, ends, finish, signal};

/// What would be a line of its own, in red, with its end turned round.
const FORGED: &str = "no\n2026-01-01T00:00:00Z ERROR \u{1b}[31mpaid twice\r\u{9b}31m \u{202e}gnorw";

/// Answers every request with a head and then with the same bytes for ever. Returns its URL, and how many bytes were taken from it.
async fn endless(head: &'static str, bytes: &'static [u8]) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (mut serving, taken) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&taken);
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let taken = Arc::clone(&counted);
            connections.spawn(async move {
                let _heard = stream.read(&mut vec![0; 64 << 10]).await;
                if stream.write_all(head.as_bytes()).await.is_err() {
                    return;
                }
                let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
                while stream.write_all(&chunk).await.is_ok() {
                    taken.fetch_add(bytes.len(), SeqCst);
                }
            });
        }
    });
    (url, taken, serving)
}

fn said(status: u16, body: &Value) -> (u16, &'static str, String) {
    (status, "application/json", body.to_string())
}

async fn asks(scene: Scene, url: &str) -> (Scene, Ended) {
    let scene = scene.set("bedrock.endpoint", &format!("\"{url}\"")).set("retry.give-up-after", "\"1ms\"");
    scene.drop("a.txt", "words");
    let ended = scene.once().await;
    (scene, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_an_answer_that_is_none() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let (url, taken, _serving) = endless(head, &[b'['; 16 << 10]).await;
    let (scene, ended) = asks(Scene::cheap().await, &url).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let failed = scene.lines("failed.jsonl");
    assert_eq!(failed[0]["class"], "bad-answer", "{failed:?}");
    // The vectors of a call take 160 KiB at most; the rest is what the sockets hold.
    let attempts = failed[0]["attempts"].as_u64().unwrap();
    assert!(taken.load(SeqCst) as u64 <= attempts * (16 << 20), "{taken:?} bytes in {attempts} attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_end_is_told_by_its_status() {
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let (url, _, _serving) = endless(head, &[b'x'; 16 << 10]).await;
    let (scene, ended) = asks(Scene::cheap().await, &url).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(scene.lines("failed.jsonl")[0]["class"], "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_cut_before_anybody_keeps_it() {
    let service =
        StandIn::new(|_| said(400, &json!({"__type": "ValidationException", "message": "größer ".repeat(20_000)}))).await;
    let (scene, ended) = asks(Scene::cheap().await, &service.url).await;
    assert_eq!(ended.code, Some(2));
    let failed = scene.lines("failed.jsonl");
    let message = failed[0]["message"].as_str().unwrap();
    assert!(message.contains("… (cut, 180000 bytes)") && message.len() < 2200, "{message}");
    assert!(ended.stderr.len() + ended.stdout.len() < 16 << 10, "{}", ended.stderr.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_says_forges_no_line_and_colours_none() {
    let service = StandIn::new(|_| said(400, &json!({"__type": "ValidationException", "message": FORGED}))).await;
    for format in ["plain", "pretty"] {
        let scene = Scene::cheap().await.set("log.format", &format!("\"{format}\""));
        let (scene, ended) = asks(scene, &service.url).await;
        assert_eq!(ended.code, Some(2));
        let mut shown = vec![ended.stderr, ended.stdout];
        for arguments in [&["failed"][..], &["failed", "show", "a.txt"], &["status"], &["explain", "a.txt"]] {
            let ended = finish(scene.riverbed(arguments)).await;
            shown.extend([ended.stdout, ended.stderr]);
        }
        assert!(shown.iter().any(|text| text.contains("paid twice")));
        for text in shown {
            let forged = text.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z"));
            let acts = ["\u{1b}[31m", "\u{9b}", "\r", "\u{202e}"].iter().any(|hidden| text.contains(hidden));
            assert!(!forged && !acts, "{text:?}");
        }
        let json = finish(scene.riverbed(&["failed", "--json"])).await.stdout;
        assert!(!json.contains('\u{202e}') && json.lines().count() == 1, "{json:?}");
        let failed: Value = serde_json::from_str(&json).unwrap();
        assert!(failed.to_string().contains("\u{202e}gnorw"), "JSON holds the true text: {failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_tokens_that_cannot_be_is_not_believed() {
    let service = StandIn::new(|_| {
        let vector = vec![0.5; 1024];
        said(200, &json!({"embedding": vector, "inputTextTokenCount": u64::MAX, "embeddingsByType": {"float": vector}}))
    });
    let service = service.await;
    let (scene, ended) = asks(Scene::cheap().await, &service.url).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let tokens = scene.vectors()[0]["tokens"].as_u64().unwrap();
    assert!(tokens < 100, "{tokens}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_other_texts_than_were_sent_are_no_answer() {
    let service = StandIn::new(|_| {
        said(200, &json!({"embeddings": [vec![0.5; 1024]], "texts": ["another question"], "response_type": "embeddings_floats"}))
    });
    let service = service.await;
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"");
    let (scene, ended) = asks(scene, &service.url).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let failed = scene.lines("failed.jsonl");
    assert_eq!(failed[0]["class"], "bad-answer");
    assert!(failed[0]["message"].as_str().unwrap().contains("text 0 is not the one that was sent"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_url_is_an_error_that_does_not_repeat_it() {
    let check = async |scene: &Scene, arguments: &[&str], variable: Option<&str>| {
        let mut command = scene.riverbed(arguments);
        if let Some(name) = variable {
            command.env(name, "http://someone:hunter2@127.0.0.1:9");
        }
        let ended = finish(command).await;
        assert_eq!(ended.code, Some(78), "{arguments:?} {variable:?}: {ended:?}");
        assert!(!ended.stderr.contains("hunter2") && !ended.stdout.contains("hunter2"), "{ended:?}");
        assert!(ended.stderr.contains("holds a user name or a password"), "{ended:?}");
    };
    let plain = Scene::cheap().await;
    check(&plain, &["check", "--set", "bedrock.endpoint=\"http://someone:hunter2@127.0.0.1:9\""], None).await;
    check(&plain, &["check"], Some("RIVERBED_BEDROCK_ENDPOINT")).await;
    for url in ["http://someone:hunter2@127.0.0.1:9", "https://hunter2@example.com/path", "http://a:hunter2@b@c"] {
        check(&Scene::cheap().await.set("bedrock.endpoint", &format!("\"{url}\"")), &["check"], None).await;
    }
    let aws = Scene::cheap().await.unset("bedrock.endpoint");
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] {
        check(&aws, &["check", "--online"], Some(name)).await;
    }
}

/// Returns the most memory that a process has had at once, in MiB.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn many_long_answers_at_once_take_no_more_memory_than_a_few() {
    // As long as an answer may be, nearly.
    let text = "a long answer ".repeat((2 << 20) / 14);
    let answer = json!({
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10},
        "metrics": {"latencyMs": 5},
    });
    let answer = answer.to_string();
    let peer = StandIn::new(move |_| (200, "application/json", answer.clone())).await;
    let scene = Scene::cheap()
        .await
        .set("bedrock.endpoint", &format!("\"{}\"", peer.url))
        .set("bedrock.max-in-flight", "40")
        .set("embed.enabled", "false")
        .chat("name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Of what? {{text}}\"\nmax-tokens = 64");
    for number in 0..40 {
        scene.drop(&format!("{number}.txt"), format!("document {number}"));
    }
    let child = scene.follow();
    let written = || fs::metadata(scene.path("out/answers.jsonl")).map_or(0, |file| file.len());
    changes_until(&scene.path("out"), || written() >= 40 * ((2 << 20) - 14)).await;
    let peak = peak(&child);
    assert!(peak <= 250, "{peak} MiB, where all answers together are {} MiB", 40 * 2);
    signal(&child, Signal::TERM);
    assert_eq!((ends(child).await, scene.lines("failed.jsonl").len()), (Some(0), 0));
}
