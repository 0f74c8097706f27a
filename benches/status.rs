//! The cost of monitoring: the status server's share of a core while it is scraped and watched, how long `riverbed status` takes,
//! and what is left of the pipeline's rate beside a thousand connections that say nothing.
//!
//! ```text
//! cargo bench --bench status               all cases
//! cargo bench --bench status -- slow       one of: cost, command, slow
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use support::{PATIENCE, Scene, ends, finish, paragraph, signal};

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

/// How long a daemon is looked at, and how long it is let alone.
const WATCHED: Duration = Duration::from_secs(20);
const COMMANDS: usize = 20;
const SLOW: usize = 1_000;
const DOCUMENTS: usize = 4_000;
const PAIRS: usize = 5;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut is_held = true;
    let mut hold = |what: String, holds: bool| {
        println!("{} {what}", if holds { "ok    " } else { "MISSED" });
        is_held &= holds;
    };
    if is_wanted("cost") {
        let (idle, watched) = runtime.block_on(cost());
        let more = (watched - idle) * 100.0;
        let alone = idle * 100.0;
        hold(
            format!("scraped, watched and asked each second: {more:.2} % of a core over {alone:.2} % alone (at most 1 %)"),
            more <= 1.0,
        );
    }
    if is_wanted("command") {
        let took = runtime.block_on(command()).as_secs_f64() * 1e3;
        hold(format!("`riverbed status`: {took:.0} ms (at most 100 ms, median of {COMMANDS})"), took <= 100.0);
    }
    if is_wanted("slow") {
        let (alone, beside) = runtime.block_on(slow());
        let left = alone.as_secs_f64() / beside.as_secs_f64() * 100.0;
        hold(
            format!("beside {SLOW} slow connections the pipeline is at {left:.1} % (at least 95 %, median of {PAIRS} pairs)"),
            left >= 95.0,
        );
    }
    if is_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A daemon whose status is shown.
struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    async fn start(scene: Scene) -> (Scene, Self) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let scene = scene.set("status.listen", &format!("\"{address}\"")).set("log.level", "\"error\"");
        let child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let daemon = Self { child, address };
        let ready = async {
            while !daemon.get("/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("it is never ready");
        (scene, daemon)
    }

    /// Returns the whole answer; nothing where there is nobody yet.
    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// User and system time that it has taken, in seconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id().unwrap())).unwrap();
        // The name, in parentheses, may hold anything; proc(5) counts utime and stime as 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a hundred")]
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        ticks / per_second
    }

    async fn stop(self) {
        signal(&self.child, Signal::TERM);
        assert_eq!(ends(self.child).await, Some(0));
    }
}

/// Returns the share of a core that a daemon at rest takes alone, and while it is watched.
async fn cost() -> (f64, f64) {
    let scene = Scene::cheap().await;
    for number in 0..1_000 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let (scene, daemon) = Daemon::start(scene).await;
    written(&scene, 1_000).await;
    let share = |before: f64| (daemon.cpu() - before) / WATCHED.as_secs_f64();
    let before = daemon.cpu();
    sleep(WATCHED).await;
    let alone = share(before);

    // A page that stays open, as a browser's.
    let mut page = TcpStream::connect(&daemon.address).await.unwrap();
    page.write_all(format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", daemon.address).as_bytes()).await.unwrap();
    let mut events = JoinSet::new();
    events.spawn(async move {
        let mut heard = 0;
        let mut bytes = vec![0; 1 << 16];
        while let Ok(more @ 1..) = page.read(&mut bytes).await {
            heard += more;
        }
        heard
    });
    let (before, begun) = (daemon.cpu(), Instant::now());
    while begun.elapsed() < WATCHED {
        let next = sleep(Duration::from_secs(1));
        assert!(daemon.get("/metrics").await.unwrap().contains("riverbed_"));
        assert_eq!(finish(scene.riverbed(&["status", "--json"])).await.code, Some(0));
        next.await;
    }
    let watched = share(before);
    daemon.stop().await;
    assert!(events.join_next().await.unwrap().unwrap() > 0, "the page received something");
    (alone, watched)
}

/// Returns how long the command takes with a daemon that has something to tell.
async fn command() -> Duration {
    let scene = Scene::cheap().await;
    for number in 0..1_000 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let (scene, daemon) = Daemon::start(scene).await;
    written(&scene, 1_000).await;
    let mut times = Vec::new();
    for _ in 0..COMMANDS {
        let command = scene.riverbed(&["status"]);
        let begun = Instant::now();
        assert_eq!(finish(command).await.code, Some(0));
        times.push(begun.elapsed());
    }
    daemon.stop().await;
    median(times)
}

/// Returns how long the pipeline takes alone, and beside slow connections.
async fn slow() -> (Duration, Duration) {
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        alone.push(worked_off(0).await);
        beside.push(worked_off(SLOW).await);
    }
    (median(alone), median(beside))
}

/// Returns how long a folder takes that is moved in, while so many connections say a byte now and then.
async fn worked_off(connections: usize) -> Duration {
    let scene = Scene::cheap_after(Duration::from_millis(40)).await.set("bedrock.max-in-flight", "32");
    fs::create_dir(scene.path("ready")).unwrap();
    for number in 0..DOCUMENTS {
        fs::write(scene.path("ready").join(format!("{number}.txt")), paragraph(number, 8)).unwrap();
    }
    let (scene, daemon) = Daemon::start(scene).await;
    let mut idlers = JoinSet::new();
    for _ in 0..connections {
        let address = daemon.address.clone();
        idlers.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(&address).await {
                    let mut head = format!("GET /status.json HTTP/1.1\r\nhost: {address}\r\nx-slow: ").into_bytes();
                    while stream.write_all(&head).await.is_ok() {
                        head = b"a".to_vec();
                        sleep(Duration::from_secs(1)).await;
                    }
                }
                // One that is turned away retries.
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    let begun = Instant::now();
    fs::rename(scene.path("ready"), scene.path("drop/ready")).unwrap();
    written(&scene, DOCUMENTS).await;
    let took = begun.elapsed();
    idlers.shutdown().await;
    daemon.stop().await;
    took
}

/// Waits until so many lines are written, reading each byte once.
async fn written(scene: &Scene, lines: usize) {
    let wait = async {
        let mut file = None;
        let (mut bytes, mut found) = (vec![0; 1 << 20], 0);
        while found < lines {
            if file.is_none() {
                file = fs::File::open(scene.path("out/vectors.jsonl")).ok();
            }
            let read = file.as_mut().map_or(0, |file| file.read(&mut bytes).unwrap());
            found += String::from_utf8_lossy(&bytes[..read]).matches('\n').count();
            if read == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the lines never came");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
