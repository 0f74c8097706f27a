//! Connections: how many there are, and a call whose connection a middlebox has dropped.

use std::num::NonZeroUsize;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fake_service::{StandIn, keys, role};
use crate::support::{Scene, ends, finish, paragraph, signal};

/// How a gateway loses a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Loss {
    /// It says so: the client sees the end before its next call.
    Closed,
    /// It says nothing, and resets the connection when the next call comes.
    Reset,
    /// It says nothing ever: what comes is thrown away.
    Silent,
}

/// Something between riverbed and the service that forgets idle connections.
struct Gateway {
    url: String,
    /// Counts how often all connections were forgotten.
    forgotten: watch::Sender<u32>,
    _serving: JoinSet<()>,
}

impl Gateway {
    async fn before(endpoint: &str, loss: Loss) -> Self {
        let service = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let forgotten = watch::Sender::new(0);
        let mut serving = JoinSet::new();
        let forget = forgotten.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let service = TcpStream::connect(&service).await.unwrap();
                // Subscribed before the first byte passes: a connection of later is not meant by an earlier call to forget.
                connections.spawn(carry(client, service, forget.subscribe(), loss));
            }
        });
        Self { url, forgotten, _serving: serving }
    }

    /// Forgets every connection there is.
    fn forget(&self) {
        self.forgotten.send_modify(|times| *times += 1);
    }
}

/// Carries bytes between the two until the connection is forgotten.
async fn carry(mut client: TcpStream, mut service: TcpStream, mut forgotten: watch::Receiver<u32>, loss: Loss) {
    tokio::select! {
        // Either side's end is the end of it.
        _ended = tokio::io::copy_bidirectional(&mut client, &mut service) => return,
        _forgotten = forgotten.changed() => {}
    }
    drop(service);
    let mut thrown_away = [0; 1024];
    match loss {
        Loss::Closed => drop(client.shutdown().await),
        Loss::Reset => {
            let _next_call = client.read(&mut thrown_away).await;
            client.set_zero_linger().unwrap();
        }
        Loss::Silent => while client.read(&mut thrown_away).await.is_ok_and(|read| read > 0) {},
    }
}

/// Returns what a daemon's `status --json` says.
async fn status(scene: &Scene) -> serde_json::Value {
    let ended = finish(scene.riverbed(&["status", "--json"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drops_idle_connections_costs_one_retry_at_most_and_fails_nothing() {
    for (loss, most_retries) in [(Loss::Closed, 0), (Loss::Reset, 1), (Loss::Silent, 1)] {
        let scene = Scene::cheap().await.set("bedrock.attempt-timeout", "\"2s\"").set("bedrock.max-in-flight", "1");
        let gateway = Gateway::before(&scene.emulator.endpoint(), loss).await;
        let scene = scene.set("bedrock.endpoint", &format!("\"{}\"", gateway.url));
        let child = scene.follow();
        for number in 0..3 {
            scene.drop(&format!("{number}.txt"), paragraph(number, 8));
            scene.vectors_reach(number + 1).await;
            gateway.forget();
        }
        let said = status(&scene).await;
        signal(&child, Signal::TERM);
        assert_eq!(ends(child).await, Some(0));
        // A call over a forgotten connection never reached the service, so none was paid for twice.
        assert_eq!((scene.emulator.counts().calls, scene.emulator.counts().texts), (3, 3), "{loss:?}");
        assert!(scene.lines("failed.jsonl").is_empty(), "{loss:?}");
        let retried = said["calls"]["retried"].as_u64().unwrap_or_else(|| panic!("{said}"));
        assert!(retried <= 2 * most_retries, "{loss:?}: {retried} retries for two forgotten connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_connections_than_calls_in_flight_and_they_are_used_again() {
    for in_flight in [1, 7, 40] {
        let scene = Scene::cheap_after(Duration::from_millis(5)).await.set("bedrock.max-in-flight", &in_flight.to_string());
        for number in 0..400 {
            scene.drop(&format!("{number}.txt"), paragraph(number, 8));
        }
        assert_eq!(scene.once().await.code, Some(0));
        let counts = scene.emulator.counts();
        assert!(counts.most_in_flight <= in_flight && counts.texts == 400, "{counts:?}");
        assert!(counts.connections <= in_flight, "{} connections for {in_flight} calls in flight", counts.connections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_client_are_set_up_once_in_the_life_of_the_process() {
    let later = "2035-01-01T00:00:00Z";
    let container = StandIn::new(move |_| (200, "application/json", keys("AKIABASE", later))).await;
    let sts = StandIn::new(move |heard| role(heard, "ASIAONCE", later)).await;
    let scene = Scene::cheap().await.set("bedrock.role-arn", "\"arn:aws:iam::123456789012:role/reader\"");
    let scene = scene.set("bedrock.max-in-flight", "8");
    scene.emulator.record(NonZeroUsize::new(100).unwrap());
    let mut command = scene.riverbed(&["run"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").stdout(Stdio::null());
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", container.url));
    command.env("AWS_ENDPOINT_URL_STS", &sts.url);
    let child = command.spawn().unwrap();
    let mut dropped = 0;
    for _ in 0..3 {
        for _ in 0..25 {
            scene.drop(&format!("{dropped}.txt"), paragraph(dropped, 8));
            dropped += 1;
        }
        scene.vectors_reach(dropped).await;
    }
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!((container.heard().len(), sts.heard().len()), (1, 1), "keys and role were asked for once, for 75 calls");
    assert!(scene.emulator.counts().connections <= 8, "{:?}", scene.emulator.counts());
    assert_eq!(scene.emulator.counts().texts, 75);
}

/// Returns the timers of this machine's connections to a port, as the kernel tells them: `02` is that of keepalive.
fn timers_to(port: u16) -> Vec<String> {
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = connections.lines().skip(1).map(|line| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields[3] == "01" && fields[2].ends_with(&format!(":{port:04X}")));
    ours.map(|fields| fields[5].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_an_answer_tells_gateways_that_it_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let scene = Scene::cheap().await.set("bedrock.endpoint", &format!("\"http://127.0.0.1:{port}\""));
    scene.drop("a.txt", paragraph(1, 8));
    let child = scene.riverbed(&["run"]).stdout(Stdio::null()).spawn().unwrap();
    let (mut call, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.windows(9).any(|part| part == b"inputText") {
        call.read_buf(&mut request).await.unwrap();
    }
    // Nothing is answered. Once the kernel has had the request acknowledged there is no timer left but that one.
    let kept = async {
        while !timers_to(port).iter().any(|timer| timer.starts_with("02")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, kept).await.expect("there is no keepalive on the connection");
    drop(call);
    drop(child);
}
