//! A long stretch of days in one command: documents come, change and go at a steady rate while calls fail by chance, the configuration is
//! read again and the daemon is killed; in the end every document has one current version, and nothing has grown.
//!
//! ```text
//! cargo bench --bench soak                        60 minutes at 100 documents a second
//! cargo bench --profile dev --bench soak -- 30s 40   or another time, and another rate
//! ```
//!
//! The first quarter has the kills. What lives then is measured after a warm-up of an eighth of the time: memory, descriptors and threads of the
//! process, and the 99th percentile of its commits in the first and in the last third of what is left. That one needs commits enough to be
//! a percentile: it is held to its mark from ten minutes on, and shown before. Beside it stands what the same disk needed in the same
//! minutes for a page of somebody else's, so that a slower disk can be distinguished from a slower daemon.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use support::{PATIENCE, Scene, ends, signal};

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

const HOUR: Duration = Duration::from_hours(1);
const DOCUMENTS_PER_SECOND: u32 = 100;
/// Names that documents have: each is written again and again, and now and then removed.
const NAMES: u32 = 5_000;
const KILLS: u32 = 6;
/// Calls at once, as many as that rate needs; the configuration that is read again has one or two more. Each may leave a connection.
const CALLS: u32 = 4;
const FAULTS: &str = "429 1%, 5xx 1%, cut 0.5%, reset 0.5%";
const RELOADS_EVERY: Duration = Duration::from_secs(2);
/// How often a page is written beside the daemon's.
const PAGE_EVERY: Duration = Duration::from_millis(250);
/// From when on a percentile of commits is held to its mark.
const LONG: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let time =
        arguments.first().map_or(HOUR, |time| humantime::parse_duration(time).expect("the first argument is a time, as 30s"));
    let rate = arguments.get(1).map_or(DOCUMENTS_PER_SECOND, |rate| rate.parse().expect("the second is documents a second"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    if runtime.block_on(soak(time, rate)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a process holds, as the kernel counts it.
#[derive(Debug, Clone, Copy)]
struct Held {
    memory_mib: f64,
    descriptors: usize,
    threads: usize,
}

impl Held {
    fn by(child: &Child) -> Self {
        let of = format!("/proc/{}", child.id().expect("it runs"));
        let status = fs::read_to_string(format!("{of}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        let count = |folder: &str| fs::read_dir(format!("{of}/{folder}")).unwrap().count();
        Self { memory_mib: kib / 1024.0, descriptors: count("fd"), threads: count("task") }
    }

    /// The most of a few moments, but the fewest descriptors: a scan opens folders for some milliseconds, and what is lost stays open.
    async fn standing(child: &Child) -> Self {
        let mut held = Self::by(child);
        for _ in 1..5 {
            sleep(Duration::from_millis(20)).await;
            let Self { memory_mib, descriptors, threads } = Self::by(child);
            held = Self {
                memory_mib: memory_mib.max(held.memory_mib),
                descriptors: descriptors.min(held.descriptors),
                threads: threads.max(held.threads),
            };
        }
        held
    }

    fn descriptors(&self) -> usize {
        self.descriptors
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

/// The documents as they should be, each with the number that its text ends with.
#[derive(Default)]
struct Folder {
    standing: BTreeMap<String, u64>,
    written: u64,
}

impl Folder {
    /// Writes the next document, or removes one of twenty.
    fn change(&mut self, scene: &Scene) {
        self.written += 1;
        let number = self.written;
        // Coprime to the number of names, so that each comes round.
        let name = format!("{:02}/{}.txt", number % 50, (number * 1_237) % u64::from(NAMES));
        if number.is_multiple_of(20) && self.standing.remove(&name).is_some() {
            fs::remove_file(scene.path("drop").join(&name)).unwrap();
            return;
        }
        scene.drop(&name, format!("The otter of the day swims in the river, and the day is number {number}"));
        self.standing.insert(name, number);
    }
}

async fn soak(time: Duration, rate: u32) -> bool {
    // A port that is free now, and at each start again.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let scene = Scene::cheap_after(Duration::from_millis(20)).await;
    let scene = scene
        .set("status.listen", &format!("\"{address}\""))
        .set("bedrock.max-in-flight", &CALLS.to_string())
        .set("embed.dimensions", "256")
        .set("sink.rotate-size", "\"16MiB\"")
        .set("ledger.cache-size", "\"32MiB\"")
        .set("source.rescan", "\"30s\"")
        .set("log.level", "\"error\"");
    scene.emulator.set_faults(FAULTS.parse().unwrap());
    let mut child = start(&scene, &address).await;
    let (begun, kills_end, warm) = (Instant::now(), time / 4, time / 4 + time / 8);
    let third = time.saturating_sub(warm) / 3;
    let mut folder = Folder::default();
    let mut changes = interval(Duration::from_secs(1) / rate);
    changes.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut kills, mut reloads) = (0, 0);
    let mut looks: Vec<Held> = Vec::new();
    let mut next_look = warm;
    let disk = Disk::watched(scene.path("page"));
    let mut windows: Vec<(Commits, Instant)> = Vec::new();
    while begun.elapsed() < time {
        changes.tick().await;
        folder.change(&scene);
        let now = begun.elapsed();
        if kills < KILLS && now > kills_end * (kills + 1) / KILLS {
            child.kill().await.unwrap();
            child = start(&scene, &address).await;
            kills += 1;
        }
        assert_eq!(child.try_wait().unwrap(), None, "it has ended by itself");
        if now > RELOADS_EVERY * (reloads + 1) {
            reloads += 1;
            reload(&scene, &child, reloads);
        }
        if now > next_look {
            next_look = now + time / 200;
            looks.push(Held::standing(&child).await);
        }
        // At the warm-up's end, a third later, two thirds later; the end comes below.
        let due = u32::try_from(windows.len()).unwrap();
        if due < 3 && now > warm + third * due {
            windows.push((Commits::of(&address).await, Instant::now()));
        }
    }
    windows.push((Commits::of(&address).await, Instant::now()));
    let pages = disk.pages();
    scene.emulator.clear_faults();
    let found = settled(&scene, &folder).await;
    signal(&child, Signal::TERM);
    let code = ends(child).await;

    println!("{} changes, {kills} kills, {reloads} reloads in {}", folder.written, humantime::format_duration(time));
    println!("{} calls for {} current documents", scene.emulator.counts().calls, folder.standing.len());
    let mut is_held = true;
    let mut hold = |what: &str, holds: bool| {
        println!("{} {what}", if holds { "ok    " } else { "MISSED" });
        is_held &= holds;
    };
    hold(&format!("stopped with {code:?}"), code == Some(0));
    hold(&format!("lost {} (at most 0)", found.lost), found.lost == 0);
    hold(&format!("duplicated {} (at most 0)", found.duplicated), found.duplicated == 0);
    let first = looks[0].memory_mib;
    let grown = looks.iter().map(|look| look.memory_mib - first).fold(0.0, f64::max);
    hold(&format!("memory grew by {grown:.1} MiB from {first:.1} MiB (at most 8 MiB)"), grown <= 8.0);
    // One look meets a reload or a scan as it may: the middle of a third of them does not.
    let early = &looks[..looks.len().div_ceil(3)];
    for (what, of, at_most) in [("descriptors", Held::descriptors as fn(&Held) -> usize, 5), ("threads", Held::threads, 2)] {
        let base = median(early.iter().map(of).collect());
        let (least, most) = (looks.iter().map(of).min().unwrap(), looks.iter().map(of).max().unwrap());
        let holds = base.abs_diff(least).max(base.abs_diff(most)) <= at_most;
        hold(&format!("{base} {what}, never fewer than {least} nor more than {most} (at most {at_most} off)"), holds);
    }
    let drift = |of: &dyn Fn(usize) -> f64| {
        let (early, late) = (of(0), of(2));
        (
            (late / early - 1.0) * 100.0,
            format!("from {:.1} ms to {:.1} ms: {:+.0} %", early * 1e3, late * 1e3, (late / early - 1.0) * 100.0),
        )
    };
    let page = |at: usize, share: f64| Disk::percentile(&pages, windows[at].1..windows[at + 1].1, share);
    let commit = |at: usize, share: f64| windows[at + 1].0.since(&windows[at].0).percentile(share);
    println!("       the middle commit went {}", drift(&|at| commit(at, 0.5)).1);
    println!("       the middle page on this disk went {}", drift(&|at| page(at, 0.5)).1);
    println!("       p99 of a page on this disk went {}", drift(&|at| page(at, 0.99)).1);
    let (drift, what) = drift(&|at| commit(at, 0.99));
    let what = format!("p99 of a commit went {what} (at most 20 %)");
    if time >= LONG {
        hold(&what, drift <= 20.0);
    } else {
        println!("       {what}, from ten minutes on");
    }
    is_held
}

fn median(mut of: Vec<usize>) -> usize {
    of.sort_unstable();
    of[of.len() / 2]
}

/// What the disk needs for a page of its own, written and flushed now and again beside the daemon's.
struct Disk {
    until: Sender<()>,
    writer: JoinHandle<Vec<(Instant, f64)>>,
}

impl Disk {
    fn watched(path: PathBuf) -> Self {
        let (until, ends) = mpsc::channel();
        let writer = thread::spawn(move || {
            let mut file = fs::File::create(path).unwrap();
            let mut pages = Vec::new();
            while ends.recv_timeout(PAGE_EVERY) == Err(RecvTimeoutError::Timeout) {
                let begun = Instant::now();
                file.seek(SeekFrom::Start(0)).unwrap();
                file.write_all(&[0; 4096]).unwrap();
                file.sync_data().unwrap();
                pages.push((begun, begun.elapsed().as_secs_f64()));
            }
            pages
        });
        Self { until, writer }
    }

    /// Ends it. Returns when each page was written, and how many seconds it took.
    fn pages(self) -> Vec<(Instant, f64)> {
        drop(self.until);
        self.writer.join().unwrap()
    }

    fn percentile(pages: &[(Instant, f64)], within: Range<Instant>, share: f64) -> f64 {
        let mut took: Vec<f64> = pages.iter().filter(|(at, _)| within.contains(at)).map(|(_, took)| *took).collect();
        took.sort_unstable_by(f64::total_cmp);
        let rank = u32::try_from(took.len()).unwrap() - 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among them")]
        let rank = (f64::from(rank) * share) as usize;
        took[rank]
    }
}

/// Has the configuration read again: every third time one that cannot be used.
fn reload(scene: &Scene, child: &Child, time: u32) {
    let written = if time.is_multiple_of(3) { "nonsense".to_owned() } else { text(scene, CALLS + time % 3) };
    fs::write(scene.path("next.toml"), written).unwrap();
    fs::rename(scene.path("next.toml"), scene.path("pipeline.toml")).unwrap();
    signal(child, Signal::HUP);
}

/// Returns the configuration with so many calls in flight.
fn text(scene: &Scene, in_flight: u32) -> String {
    let _writes_it = scene.riverbed(&[]);
    let whole = fs::read_to_string(scene.path("pipeline.toml")).unwrap();
    whole.replace(&format!("max-in-flight = {CALLS}"), &format!("max-in-flight = {in_flight}"))
}

/// Starts it and waits until it is up: before its first instruction a hangup ends it as any program.
async fn start(scene: &Scene, address: &str) -> Child {
    let child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
    let is_up = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, is_up).await.expect("it comes up");
    child
}

/// What the output lacks or has twice.
struct Found {
    lost: usize,
    duplicated: usize,
}

/// Waits until the output has what it should, and says what is off if it never does.
async fn settled(scene: &Scene, folder: &Folder) -> Found {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let (standing, duplicated) = read(scene);
        let lost = folder.standing.iter().filter(|(name, number)| standing.get(*name) != Some(number)).count();
        let lost = lost + standing.keys().filter(|name| !folder.standing.contains_key(*name)).count();
        if lost == 0 || Instant::now() > deadline {
            return Found { lost, duplicated };
        }
        // The whole output is read at each look.
        sleep(Duration::from_millis(500)).await;
    }
}

/// Applies the lines in their order. Returns the number of current lines of each document, and how many lines came twice: a text is written
/// once, so that its chunk is, too.
fn read(scene: &Scene) -> (HashMap<String, u64>, usize) {
    let mut segments: Vec<_> = fs::read_dir(scene.path("out")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("vectors"));
    // `vectors-000001.jsonl` goes before `vectors.jsonl`, the live one.
    segments.sort();
    let (mut standing, mut written, mut seqs, mut duplicated) = (HashMap::new(), HashSet::new(), HashSet::new(), 0);
    for segment in segments {
        let text = fs::read_to_string(segment).unwrap();
        // What is being written has no end yet.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let Line { op, seq, id, document, text } = serde_json::from_str(line).unwrap();
            duplicated += usize::from(!seqs.insert(seq));
            if op == "delete" {
                // The new line of a document comes before the one that deletes the old one.
                if standing.get(&document).is_some_and(|(stands, _)| *stands == id) {
                    standing.remove(&document);
                }
                continue;
            }
            duplicated += usize::from(!written.insert(id.clone()));
            let number = text.rsplit(' ').next().unwrap().parse().unwrap();
            standing.insert(document, (id, number));
        }
    }
    (standing.into_iter().map(|(document, (_, number))| (document, number)).collect(), duplicated)
}

#[derive(Deserialize)]
struct Line {
    op: String,
    seq: u64,
    id: String,
    document: String,
    #[serde(default)]
    text: String,
}

/// How long commits took: how many took at most so many seconds, by the bounds of the metric's buckets.
struct Commits(Vec<(f64, f64)>);

impl Commits {
    async fn of(address: &str) -> Self {
        let asked = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = timeout(PATIENCE, asked).await.expect("the metrics are shown");
        let buckets = answer.lines().filter_map(|line| line.strip_prefix("riverbed_commit_seconds_bucket{le=\""));
        let buckets = buckets.map(|bucket| {
            let (bound, count) = bucket.split_once("\"} ").unwrap();
            let count = count.split(' ').next().unwrap();
            (bound.replace("+Inf", "inf").parse().unwrap(), count.parse().unwrap())
        });
        let buckets: Vec<_> = buckets.collect();
        assert!(!buckets.is_empty(), "commits are not measured: {answer}");
        Self(buckets)
    }

    fn since(&self, earlier: &Self) -> Self {
        Self(self.0.iter().zip(&earlier.0).map(|((bound, now), (_, then))| (*bound, now - then)).collect())
    }

    /// Returns a percentile in seconds, as Prometheus reckons it: straight between the bounds of its bucket.
    fn percentile(&self, share: f64) -> f64 {
        let wanted = self.0.last().unwrap().1 * share;
        let (mut below, mut counted) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted {
                return if bound.is_finite() { below + (bound - below) * (wanted - counted) / (count - counted) } else { below };
            }
            (below, counted) = (*bound, *count);
        }
        below
    }
}
