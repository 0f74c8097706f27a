//! The status: over HTTP, over the socket, and out of the ledger.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use riverbed::emulator::Fault;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{PATIENCE, Scene, ends, finish, paragraph, signal};

/// A daemon whose status is shown over HTTP.
pub struct Shown {
    pub child: Child,
    /// Address and port.
    pub address: String,
    /// Kept open: a daemon that writes to a closed pipe loses its log.
    log: BufReader<tokio::process::ChildStderr>,
    /// What of it has been read.
    said: String,
}

/// What was answered; the status is 0 where nothing was.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Shown {
    /// Follows the scene's folder, with its status on a free port of loopback unless the scene says otherwise.
    pub async fn follow(scene: &Scene, arguments: &[&str]) -> Self {
        Self::start(scene.riverbed(&[&["run"], arguments].concat())).await
    }

    /// Starts a daemon that shows its status.
    pub async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let begin = said.len();
            let read = timeout(PATIENCE, log.read_line(&mut said)).await.expect("it never showed its status").unwrap();
            assert!(read > 0, "it ended before it showed its status");
            if said[begin..].contains("shown over HTTP") {
                let address = said[begin..].split_once("address").expect("its address is logged").1;
                break address.trim_matches(|mark: char| !mark.is_ascii_digit()).to_owned();
            }
        };
        // The JSON format has more behind it.
        let address = address.split('"').next().unwrap().to_owned();
        Self { child, address, log, said }
    }

    /// Sends a request as it is written and reads the answer to its end.
    pub async fn send(&self, request: &str) -> Answer {
        exchange(&self.address, request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address)).await
    }

    pub async fn json(&self) -> Value {
        let answer = self.get("/status.json").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Asks over and over until something holds of the status, which is the only way to learn of it.
    pub async fn until(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let status = self.json().await;
                if holds(&status) {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the status never came to what was waited for")
    }

    pub async fn stop(self) -> Option<i32> {
        self.stop_and_tell().await.0
    }

    /// Stops it. Returns its log, too.
    pub async fn stop_and_tell(self) -> (Option<i32>, String) {
        signal(&self.child, Signal::TERM);
        let Self { child, mut log, mut said, .. } = self;
        let rest = async {
            log.read_to_string(&mut said).await.unwrap();
        };
        let (code, ()) = tokio::join!(ends(child), rest);
        (code, said)
    }
}

async fn exchange(address: &str, request: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // One that is turned away is cut off while it asks, so that there is no answer, or half of one.
        let _cut_off = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _cut_off = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    };
    timeout(PATIENCE, exchange).await.expect("no answer came to its end")
}

async fn scene() -> Scene {
    Scene::cheap().await.set("status.listen", "\"127.0.0.1:0\"")
}

async fn status(scene: &Scene) -> Value {
    let ended = finish(scene.riverbed(&["status", "--json"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Returns the value of a metric: of its one sample, or of the one with these labels.
fn metric(text: &str, sample: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("there is no {sample} in\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn done_failed_and_pending_documents_are_shown_the_same_everywhere() {
    let scene = scene().await;
    for number in 0..5 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.drop("poison.txt", "POISON");
    scene.drop("picture.png", b"\x89PNG\r\n\x1a\n....");
    scene.emulator.fault_where("POISON", Fault::validation("not this"));
    let shown = Shown::follow(&scene, &[]).await;
    scene.vectors_reach(5).await;
    let at_rest = |status: &Value| {
        let documents = &status["documents"];
        documents["done"] == 5 && documents["failed"] == 1 && documents["skipped"] == 1 && documents["waiting"] == 0
    };
    let told = shown.until(at_rest).await;
    assert_eq!(told["state"], "following");
    assert_eq!(told["daemon"]["pid"], json!(shown.child.id()));
    assert_eq!(told["daemon"]["url"], json!(format!("http://{}", shown.address)));
    assert_eq!((&told["calls"]["answered"], &told["calls"]["in_flight"]), (&json!(5), &json!(0)));
    assert_eq!(told["questions"]["attempts"], 0, "nothing is asked");
    assert_eq!(told["failed"][0]["document"], "poison.txt");
    assert!(told["failed"][0]["message"].as_str().unwrap().contains("not this"));
    assert_eq!(told["ended"].as_array().unwrap().len(), 7);
    assert_eq!((&told["skipped"][0]["files"], &told["skipped"][0]["example"]), (&json!(1), &json!("picture.png")));
    assert_eq!(told["source"]["trouble"], Value::Null);
    let written = fs::metadata(scene.path("out/vectors.jsonl")).unwrap().len();
    assert_eq!(told["storage"]["outputs"][0]["bytes"], json!(written));

    // The command asks the daemon over its socket.
    let asked = status(&scene).await;
    for key in ["state", "documents", "chunks", "models", "failed", "skipped", "ended"] {
        assert_eq!(asked[key], told[key], "{key}");
    }
    let text = finish(scene.riverbed(&["status"])).await.stdout;
    assert!(text.contains("following its folder") && text.contains("5 done, 1 failed, 1 skipped"), "{text}");
    assert!(text.contains("poison.txt"), "{text}");

    let metrics = shown.get("/metrics").await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    let model = "operation=\"embed\",model=\"amazon.titan-embed-text-v2:0\"";
    for (sample, expected) in [
        ("riverbed_documents_standing{state=\"done\"}", 5.0),
        ("riverbed_documents_standing{state=\"failed\"}", 1.0),
        ("riverbed_documents_skipped{media_type=\"image/png\",reason=\"unsupported\"}", 1.0),
        ("riverbed_documents_ended_total{outcome=\"done\"}", 5.0),
        ("riverbed_chunks_total{outcome=\"embedded\"}", 5.0),
        (&format!("riverbed_calls_total{{{model},outcome=\"served\"}}"), 5.0),
        (&format!("riverbed_calls_total{{{model},outcome=\"refused\"}}"), 1.0),
        (&format!("riverbed_call_seconds_count{{{model}}}"), 5.0),
        (&format!("riverbed_call_wait_seconds_count{{{model}}}"), 6.0),
        ("riverbed_call_texts_count", 5.0),
        ("riverbed_document_seconds_count", 5.0),
        ("riverbed_calls_in_flight{operation=\"embed\"}", 0.0),
        ("riverbed_calls_in_flight{operation=\"chat\"}", 0.0),
        ("riverbed_retries_total{operation=\"embed\"}", 0.0),
        ("riverbed_ready", 1.0),
        ("riverbed_source_trouble", 0.0),
        ("riverbed_source_watched_by{by=\"events\"}", 1.0),
        ("riverbed_queue_held{queue=\"changes\"}", 0.0),
        ("riverbed_gate_closed{lane=\"embed amazon.titan-embed-text-v2:0\",reason=\"outage\"}", 0.0),
    ] {
        #[expect(clippy::float_cmp, reason = "they are counts")]
        let is_as_expected = metric(&metrics.body, sample) == expected;
        assert!(is_as_expected, "{sample} is not {expected} in\n{}", metrics.body);
    }
    assert!(metric(&metrics.body, "riverbed_ledger_bytes") > 4096.0);
    assert!(metrics.body.contains("riverbed_build_info{version="));
    // Each kind of reader gets the format that it knows, with the same samples.
    assert!(!metrics.body.contains("# EOF") && !metrics.body.contains("# UNIT"), "{}", metrics.body);
    assert!(metrics.body.contains("# TYPE riverbed_retries_total counter\n"), "{}", metrics.body);
    let accept = "accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let open = shown.send(&format!("GET /metrics HTTP/1.1\r\nhost: {}\r\n{accept}\r\n\r\n", shown.address)).await;
    assert!(open.head.contains("content-type: application/openmetrics-text"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE riverbed_retries counter\n"), "{}", open.body);
    let names = |body: &str| {
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&open.body), names(&metrics.body));
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("riverbed_"), "{line}");
    }
    assert_eq!(shown.stop().await, Some(0));

    // And without the daemon the ledger says it.
    let rest = status(&scene).await;
    assert_eq!((&rest["state"], &rest["daemon"], &rest["calls"]), (&json!("stopped"), &Value::Null, &Value::Null));
    for key in ["done", "failed", "skipped", "waiting"] {
        assert_eq!(rest["documents"][key], told["documents"][key], "{key}");
    }
    assert_eq!((&rest["failed"], &rest["ended"]), (&told["failed"], &told["ended"]));
    let text = finish(scene.riverbed(&["status"])).await.stdout;
    assert!(text.contains("no daemon runs") && text.contains("5 done, 1 failed, 1 skipped"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_chat_models_are_counted_measured_and_priced_beside_those_for_vectors() {
    const PLACE: &str =
        "name = \"place\"\nmodel = \"amazon.nova-lite-v1:0\"\nper = \"chunk\"\nmax-tokens = 50\nprompt = \"Where?\\n{{text}}\"";
    let scene = scene().await.set("run.progress-every", "\"10ms\"").set("embed.context", "\"place\"").chat(PLACE);
    let scene = scene.chat("name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"");
    for number in 0..3 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.emulator.script([Fault::internal()]);
    let shown = Shown::follow(&scene, &[]).await;
    let told = shown.until(|status| status["answers"]["done"] == 3 && status["documents"]["waiting"] == 0).await;
    let (calls, questions) = (&told["calls"], &told["questions"]);
    assert_eq!((&calls["answered"], &questions["answered"]), (&json!(3), &json!(6)), "a context and an answer each");
    assert_eq!((&calls["retried"], &questions["retried"]), (&json!(0), &json!(1)));
    assert_eq!((&questions["in_flight"], &told["answers"]["since_start"]), (&json!(0), &json!(3)));
    let [vectors, chat] = [calls, questions].map(|calls| calls["usd"].as_f64().unwrap());
    assert!(vectors > 0.0 && chat > vectors, "{vectors} {chat}");
    let all = told["money"]["since_start_usd"].as_f64().unwrap();
    assert!((all - vectors - chat).abs() < 1e-9, "{all} is not {vectors} and {chat}");
    assert!(told["money"]["today_emulated_usd"].as_f64().unwrap() > 0.0);

    let metrics = shown.get("/metrics").await.body;
    let of = |model: &str, outcome: &str| {
        metric(
            &metrics,
            &format!("riverbed_calls_total{{operation=\"chat\",model=\"amazon.{model}-v1:0\",outcome=\"{outcome}\"}}"),
        )
    };
    let seen = [of("nova-lite", "served"), of("nova-lite", "unavailable"), of("nova-micro", "served")];
    let seconds = "riverbed_call_seconds_count{operation=\"chat\",model=\"amazon.nova-micro-v1:0\"}";
    let others =
        [seconds, "riverbed_call_texts_count", "riverbed_answers{state=\"standing\"}"].map(|name| metric(&metrics, name));
    assert_eq!((seen, others), ([3.0, 1.0, 3.0], [3.0, 3.0, 3.0]), "{metrics}");
    assert!(metric(&metrics, "riverbed_cost_usd_total{operation=\"chat\"}") > 0.0);
    assert!(metric(&metrics, "riverbed_tokens_total{operation=\"chat\"}") > 0.0);

    let text = finish(scene.riverbed(&["status"])).await.stdout;
    assert!(text.contains("questions  0 in flight, 6 answered"), "{text}");
    let (code, log) = shown.stop_and_tell().await;
    assert_eq!(code, Some(0));
    assert!(log.contains("answers=3"), "progress tells of answers: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_shown_with_how_long_and_why() {
    let scene = scene().await.set("retry.max-interval", "\"1h\"").set("retry.initial", "\"1h\"").set("run.grace", "\"20ms\"");
    scene.emulator.fault_where("", Fault::error(403, "AccessDeniedException", "no"));
    scene.drop("a.txt", "words");
    let shown = Shown::follow(&scene, &[]).await;
    let held_back = |status: &Value| status["models"][0]["closed"][0]["reason"] == "refused";
    let told = shown.until(held_back).await;
    assert_eq!((&told["documents"]["waiting"], &told["waiting"][0]["document"]), (&json!(1), &json!("a.txt")));
    assert!(told["documents"]["oldest_waiting_seconds"].as_f64().unwrap() > 0.0);
    assert!(told["models"][0]["closed"][0]["help"].as_str().unwrap().len() > 10);
    let metrics = shown.get("/metrics").await.body;
    let closed = "riverbed_gate_closed{lane=\"embed amazon.titan-embed-text-v2:0\",reason=\"refused\"}";
    assert!(metric(&metrics, closed) > 0.0 && metric(&metrics, "riverbed_oldest_waiting_seconds") > 0.0, "{metrics}");
    let text = finish(scene.riverbed(&["status"])).await.stdout;
    assert!(text.contains("held back  refused") && text.contains("help: "), "{text}");
    assert_eq!(shown.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_while_it_follows_its_folder() {
    let scene = scene().await;
    fs::remove_dir(scene.path("drop")).unwrap();
    let shown = Shown::follow(&scene, &[]).await;
    shown.until(|status| status["state"] == "waiting").await;
    let ready = shown.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "waiting for the source folder\n"));
    assert_eq!(shown.get("/healthz").await.status, 200, "it lives, and waits");
    fs::create_dir(scene.path("drop")).unwrap();
    shown.until(|status| status["state"] == "following").await;
    assert_eq!(shown.get("/readyz").await.status, 200);
    assert_eq!(shown.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_here_and_by_get_is_answered() {
    let scene = scene().await;
    let shown = Shown::follow(&scene, &[]).await;
    let address = &shown.address;
    let asked = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nhost: {address}\r\n{more}\r\n");
    for (request, status) in [
        (asked("GET /status.json", ""), 200),
        (asked("GET /status.json?x=1", ""), 200),
        (asked("GET /nowhere", ""), 404),
        (asked("GET /../status.json", ""), 404),
        (asked("POST /status.json", "content-length: 0\r\n"), 405),
        (asked("HEAD /status.json", ""), 405),
        (asked("GET /status.json", "content-length: 3\r\n") + "abc", 400),
        (asked("GET /status.json", "transfer-encoding: chunked\r\n") + "0\r\n\r\n", 400),
        ("GET /status.json HTTP/1.1\r\nhost: evil.com\r\n\r\n".to_owned(), 403),
        (format!("GET /status.json HTTP/1.1\r\nhost: {address}.evil.com\r\n\r\n"), 403),
        ("GET /status.json HTTP/1.1\r\n\r\n".to_owned(), 403),
        (format!("GET http://evil.com/status.json HTTP/1.1\r\nhost: {address}\r\n\r\n"), 403),
        (asked("GET /status.json", &format!("x: {}\r\n", "x".repeat(20_000))), 431),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let answer = shown.send(&request).await;
        assert_eq!(answer.status, status, "{} gave {answer:?}", request.get(..80).unwrap_or(&request));
        if status == 200 {
            assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
            assert!(!answer.head.contains("access-control"), "{}", answer.head);
        }
    }
    assert_eq!(shown.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_connections_hold_up_neither_the_pipeline_nor_for_long_the_status() {
    let scene = scene().await;
    let shown = Shown::follow(&scene, &[]).await;
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(&shown.address).await.unwrap();
        // One that was turned away may be closed already.
        let _closed = stream.write_all(b"GET /status.json HTTP/1.1\r\nx: ").await;
        slow.push(stream);
    }
    for number in 0..50 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    assert_eq!(scene.vectors_reach(50).await.len(), 50);
    assert_eq!(status(&scene).await["calls"]["answered"], 50, "the socket is another way");
    // None of them gets further, so each times out, and then there is room.
    let wait = async {
        while shown.get("/healthz").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the status was held up for good");
    drop(slow);
    assert_eq!(shown.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_goes_on_until_nobody_reads() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.once().await;
    let mut child = scene.riverbed(&["status", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it stopped watching").unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["documents"]["done"], 1);
    }
    drop(lines);
    assert_eq!(ends(child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_has_run_the_status_says_what_to_do() {
    let scene = Scene::cheap().await;
    let ended = finish(scene.riverbed(&["status"])).await;
    assert_eq!(ended.code, Some(74));
    assert!(
        ended.stderr.contains("help: nothing has run for the output `out` yet: `riverbed run` makes the ledger"),
        "{}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_a_warning() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("\"{}\"", taken.local_addr().unwrap());
    let scene = Scene::cheap().await.set("status.listen", &address);
    scene.drop("a.txt", "words");
    let mut child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    scene.vectors_reach(1).await;
    signal(&child, Signal::TERM);
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert_eq!(ends(child).await, Some(0));
    assert!(log.contains("the status is not shown over HTTP"), "{log}");
}

/// What shows that `status.listen` takes effect.
pub async fn listen_key() {
    let scene = scene().await;
    let shown = Shown::follow(&scene, &[]).await;
    assert_eq!(shown.get("/healthz").await.body, "ok\n");
    assert_eq!(shown.stop().await, Some(0));
}

/// What shows that `status.allow-remote` and `status.token-file` do: one without the other is refused, both together let in who has
/// the token, and tell no names.
pub async fn remote_keys() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let scene = Scene::cheap().await.set("status.listen", "\"0.0.0.0:0\"");
    let refused = finish(scene.riverbed(&["check"])).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("`status.listen` is `0.0.0.0:0`, which other machines can reach"), "{refused:?}");
    let scene = scene.set("status.allow-remote", "true");
    let refused = finish(scene.riverbed(&["check"])).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("name a file with one in `status.token-file`"), "{refused:?}");
    let scene = scene.set("status.token-file", "\"token\"");
    let refused = finish(scene.riverbed(&["check"])).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("token`, which cannot be read"), "{refused:?}");

    fs::write(scene.path("token"), TOKEN).unwrap();
    scene.drop("named.txt", "words");
    let shown = Shown::follow(&scene, &[]).await;
    scene.vectors_reach(1).await;
    let port = shown.address.rsplit_once(':').unwrap().1.to_owned();
    // From the machine itself nothing is different.
    let local = Shown { address: format!("127.0.0.1:{port}"), ..shown };
    let told = local.until(|status| status["documents"]["done"] == 1).await;
    assert_eq!(told["ended"][0]["document"], "named.txt");
    // Another address of this machine is what other machines see.
    if let Some(elsewhere) = other_address() {
        let address = format!("{elsewhere}:{port}");
        let ask = |header: String| {
            let address = address.clone();
            async move { exchange(&address, &format!("GET /status.json HTTP/1.1\r\nhost: {address}\r\n{header}\r\n")).await }
        };
        assert_eq!(ask(String::new()).await.status, 401);
        assert_eq!(ask("authorization: Bearer wrong\r\n".to_owned()).await.status, 401);
        let answer = ask(format!("authorization: Bearer {TOKEN}\r\n")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("\"done\":1") && !answer.body.contains("named.txt"), "{}", answer.body);
        let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
        assert_eq!(exchange(&address, &request).await.status, 403, "the page tells names");
    }
    assert_eq!(local.stop().await, Some(0));
}

/// Returns an address of this machine other than loopback, if it has one. Nothing is sent.
fn other_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address for documentation, RFC 5737: connecting a datagram socket only looks up the way there.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_answered_at_once_though_nothing_moves() {
    let scene = scene().await;
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let shown = Shown::follow(&scene, &[]).await;
    scene.emulator.called(1).await;
    let told = shown.json().await;
    assert_eq!((&told["calls"]["in_flight"], &told["documents"]["waiting"]), (&json!(1), &json!(1)));
    let answered = timeout(Duration::from_secs(30), status(&scene)).await.expect("the socket is held up");
    assert_eq!(answered["calls"]["in_flight"], 1);
    scene.emulator.release();
    scene.vectors_reach(1).await;
    assert_eq!(shown.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_whole_and_gets_events() {
    let scene = scene().await;
    let shown = Shown::follow(&scene, &[]).await;
    let page = shown.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'sha256-"), "{}", page.head);
    assert!(page.body.starts_with("<!doctype html>") && page.body.contains("new EventSource(\"events\")"));

    let mut stream = BufReader::new(TcpStream::connect(&shown.address).await.unwrap());
    let request = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", shown.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut events = stream.lines();
    // Events are in chunks of their own, whose lengths are passed over.
    let mut next = async |name: &str| -> Value {
        let wait = async {
            let mut is_it = false;
            loop {
                let line = events.next_line().await.unwrap().expect("the stream goes on");
                match line.split_once(": ") {
                    Some(("event", event)) => is_it = event == name,
                    Some(("data", data)) if is_it => return serde_json::from_str(data).unwrap(),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the event never came")
    };
    assert_eq!(next("history").await, json!([]));
    assert_eq!(next("status").await["documents"]["done"], 0);
    scene.drop("a.txt", "words");
    while next("status").await["documents"]["done"] != 1 {}
    assert_eq!(next("status").await["ended"][0]["document"], "a.txt");
    assert_eq!(shown.stop().await, Some(0), "who listens does not keep it from stopping");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_listen_leave_room_for_those_who_ask() {
    let scene = scene().await;
    let shown = Shown::follow(&scene, &[]).await;
    let mut listening = Vec::new();
    let request = format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", shown.address);
    for number in 0..10 {
        let mut stream = BufReader::new(TcpStream::connect(&shown.address).await.unwrap());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = String::new();
        timeout(PATIENCE, stream.read_line(&mut line)).await.expect("no answer").unwrap();
        assert_eq!(line.contains(" 200 "), number < 8, "listener {number}: {line}");
        listening.push(stream);
    }
    assert_eq!(shown.get("/metrics").await.status, 200);
    drop(listening);
    assert_eq!(shown.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let scene = scene().await.set("budget.max-usd-per-day", "5.0");
    scene.drop("a.txt", "words");
    let shown = Shown::follow(&scene, &[]).await;
    shown.until(|status| status["documents"]["done"] == 1).await;
    let metrics = shown.get("/metrics").await.body;
    let families: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let grafana = finish(scene.riverbed(&["service", "--grafana"])).await;
    let alerts = finish(scene.riverbed(&["service", "--alerts"])).await;
    assert_eq!((grafana.code, alerts.code), (Some(0), Some(0)));
    let dashboard: Value = serde_json::from_str(&grafana.stdout).unwrap();
    assert_eq!(dashboard["panels"].as_array().unwrap().len(), 15);
    let mut asked = 0;
    for text in [&grafana.stdout, &alerts.stdout] {
        let is_name = |character: char| character.is_ascii_lowercase() || character == '_';
        for name in text.split(|character| !is_name(character)).filter(|word| word.starts_with("riverbed_")) {
            let family = ["_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(families.contains(&family), "`{name}` is asked for, and there are {families:?}");
            asked += 1;
        }
    }
    assert!(asked > 20, "only {asked} names were found: does the test still read them?");
    assert_eq!(shown.stop().await, Some(0));
}
