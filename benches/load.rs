//! riverbed under load, in real time: quotas, faults and many calls at once, against the emulator in this process.
//!
//! Every figure has a mark; one that misses its mark makes the command fail. The same things in virtual time, where they are tests,
//! are beside the embedding stage (`src/pipeline/embed/tests/`); small and counted, they are `tests/it/load.rs`.
//!
//! ```text
//! cargo bench --bench load                  all cases
//! cargo bench --bench load -- quota cohere  some of them: quota, faults, cohere, in_flight, reloads, stops, intake
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use riverbed::emulator::{self, Counts, Emulator, Fault, Vectors};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Measures something and holds it against its marks.
type Case = fn(&mut Figures) -> Outcome<()>;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let cases: [(&str, Case); 7] = [
        ("quota", quota),
        ("faults", faults),
        ("cohere", cohere),
        ("in_flight", in_flight),
        ("reloads", reloads),
        ("stops", stops),
        ("intake", intake),
    ];
    let mut figures = Figures::default();
    for (name, case) in cases {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("{name}");
        if let Err(error) = case(&mut figures) {
            println!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    if figures.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// 4,000 texts under an unknown quota: 200 a second, 20 at once, 50 ms an answer.
fn quota(figures: &mut Figures) -> Outcome<()> {
    const TEXTS: usize = 4_000;
    let scene = Scene::new(TEXTS, 30)?;
    let config = emulator::EmulatorConfig {
        latency: Duration::from_millis(50),
        requests: "200/s burst 20".parse()?,
        ..emulator::EmulatorConfig::default()
    };
    let ended = scene.run(config, &["bedrock.max-in-flight=64"], |_| ())?;
    figures.at_least("of the quota was used", 100.0 * count(TEXTS) / 200.0 / ended.secs, 95.0, "%");
    figures.at_most("of the calls were throttled", 100.0 * ended.throttled() / ended.calls(), 3.0, "%");
    figures.at_most("texts lost", count(TEXTS.saturating_sub(ended.lines)), 0.0, "");
    Ok(())
}

/// 20,000 documents while calls are throttled, fail, are reset, hang and are cut.
fn faults(figures: &mut Figures) -> Outcome<()> {
    const DOCUMENTS: usize = 20_000;
    const CUT: f64 = 0.005;
    let scene = Scene::new(DOCUMENTS, 30)?;
    let config = emulator::EmulatorConfig {
        faults: "429 10%, 5xx 5%, reset 2%, hang 1%, cut 0.5%".parse()?,
        latency: Duration::from_millis(20),
        seed: 1,
        ..emulator::EmulatorConfig::default()
    };
    let ended = scene.run(config, &["bedrock.attempt-timeout=1s", "bedrock.max-in-flight=64"], |_| ())?;
    println!("  in {:.0} s", ended.secs);
    figures.at_most("documents lost", count(DOCUMENTS.saturating_sub(ended.ids)), 0.0, "");
    figures.at_most("duplicate current lines", count(ended.lines - ended.ids), 0.0, "");
    figures.at_most("documents failed", count(ended.failed), 0.0, "");
    figures.at_most("attempts a text", ended.calls() / count(DOCUMENTS), 1.35, "");
    // Of these faults only a cut body comes after the text was billed. How many were cut is a matter of chance: its mean and four times
    // its spread.
    let cut = CUT * ended.calls();
    let twice = ended.counts.texts.saturating_sub(DOCUMENTS as u64);
    figures.at_most("texts paid twice", count(usize::try_from(twice)?), (cut + 4.0 * cut.sqrt()).floor(), "");
    Ok(())
}

/// Short texts on Cohere, 96 a call.
fn cohere(figures: &mut Figures) -> Outcome<()> {
    const MODEL: &str = "embed.model=cohere.embed-english-v3";
    let ended = Scene::new(20_000, 8)?.run(emulator::EmulatorConfig::default(), &[MODEL], |_| ())?;
    figures.exactly("calls for 20,000 texts", ended.calls(), 209.0);
    figures.exactly("lines", count(ended.lines), 20_000.0);
    let ended = Scene::new(64, 8)?.run(emulator::EmulatorConfig::default(), &[MODEL], |_| ())?;
    figures.exactly("calls for 64 texts", ended.calls(), 1.0);
    let refuse = |emulator: &Emulator| emulator.fault_where("Number 47:", Fault::validation("not this one"));
    let ended = Scene::new(96, 8)?.run(emulator::EmulatorConfig::default(), &[MODEL], refuse)?;
    figures.exactly("lines where one text of 96 is refused", count(ended.lines), 95.0);
    figures.exactly("documents failed", count(ended.failed), 1.0);
    figures.exactly("texts billed", count(usize::try_from(ended.counts.texts)?), 95.0);
    Ok(())
}

/// 1,000 calls in flight at 500 ms: 2,000 texts a second would be ideal, over the run with its beginning and end and while all of them are.
fn in_flight(figures: &mut Figures) -> Outcome<()> {
    const TEXTS: usize = 30_000;
    const FULL: Range<u64> = 5_000..25_000;
    let scene = Scene::new(TEXTS, 30)?;
    let config = emulator::EmulatorConfig { latency: Duration::from_millis(500), ..emulator::EmulatorConfig::default() };
    // 400 MB of lines in one file, since they are counted in one.
    let settings = ["bedrock.max-in-flight=1000", "run.queue=1000", "sink.rotate-size=4GiB"];
    let ended = scene.run_past(&[FULL.start, FULL.end], config, &settings, |_| ())?;
    let [start, end] = ended.passed[..] else { return Err("it has ended too soon".into()) };
    figures.at_least("texts a second from the first call to the last write", count(TEXTS) / ended.secs, 1_900.0, "");
    let texts = count(usize::try_from(FULL.end - FULL.start)?);
    figures.at_least("texts a second with 1,000 in flight at 500 ms", texts / (end - start).as_secs_f64(), 1_900.0, "");
    figures.at_most("connections", count(usize::try_from(ended.counts.connections)?), 1_000.0, "");
    figures.exactly("lines", count(ended.lines), count(TEXTS));
    Ok(())
}

/// A daemon with 64 calls of 100 ms in flight: undisturbed, and asked ten times a second to read its configuration again, which every
/// other time cannot be used.
fn reloads(figures: &mut Figures) -> Outcome<()> {
    const TEXTS: usize = 6_000;
    let config = || emulator::EmulatorConfig { latency: Duration::from_millis(100), ..emulator::EmulatorConfig::default() };
    let calm = Scene::new(TEXTS, 30)?.follow(config(), TEXTS, None)?;
    let shaken = Scene::new(TEXTS, 30)?.follow(config(), TEXTS, Some(Duration::from_millis(100)))?;
    println!("  {:.0} texts a second, {:.0} with {} reloads", count(TEXTS) / calm.0, count(TEXTS) / shaken.0, shaken.1);
    figures.at_least("reloads a second", count(shaken.1) / shaken.0, 5.0, "");
    figures.at_most("of the throughput lost to them", 100.0 * (1.0 - calm.0 / shaken.0), 10.0, "%");
    Ok(())
}

/// A hundred stops of a daemon with 64 calls in flight and others waiting for theirs.
fn stops(figures: &mut Figures) -> Outcome<()> {
    const STOPS: usize = 100;
    const CALLS: usize = 64;
    // What waits in queues of 16 is left to the next run; more always waits than one stop lets through.
    const DOCUMENTS: usize = STOPS * CALLS + 1_000;
    let scene = Scene::new(DOCUMENTS, 30)?;
    let emulator = scene.emulate(emulator::EmulatorConfig::default())?;
    let (mut slowest, mut after) = (Duration::ZERO, 0);
    for _ in 0..STOPS {
        emulator.hold();
        let calls = emulator.counts().calls;
        let in_flight = format!("bedrock.max-in-flight={CALLS}");
        let settings = ["--set", &in_flight, "--set", "run.queue=16", "--set", "log.level=\"info\""];
        let mut daemon = scene.command("run", &emulator)?.args(settings).stderr(Stdio::piped()).spawn()?;
        let log = daemon.stderr.take().ok_or("the log cannot be read")?;
        let called = emulator.called(calls + CALLS as u64);
        scene.runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), called).await })?;
        let mut log = BufReader::new(log).lines();
        kill_process(Pid::from_child(&daemon), Signal::TERM)?;
        // The answers come at once, when the daemon has received the signal.
        if !log.by_ref().map_while(Result::ok).any(|line| line.contains("calls in flight")) {
            return Err("riverbed does not say what it waits for".into());
        }
        let answered = Instant::now();
        emulator.release();
        let status = daemon.wait()?;
        if !status.success() {
            return Err(format!("riverbed ended with {status}").into());
        }
        slowest = slowest.max(answered.elapsed());
        after += emulator.counts().calls - calls - CALLS as u64;
    }
    figures.exactly("calls that began after the signal", count(usize::try_from(after)?), 0.0);
    let stopped = scene.lines()?;
    figures.at_least("lines for each stop", count(stopped.0) / count(STOPS), count(CALLS), "");
    figures.exactly("calls without a line", count(usize::try_from(emulator.counts().calls)? - stopped.0), 0.0);
    figures.at_most("from the last answer to the end of the process", slowest.as_secs_f64(), 2.0, " s");
    let status = scene.command("run", &emulator)?.arg("--once").status()?;
    if !status.success() {
        return Err(format!("riverbed ended with {status}").into());
    }
    let (lines, ids) = scene.lines()?;
    figures.exactly("current documents at the end", count(ids), count(DOCUMENTS));
    figures.exactly("duplicate current lines", count(lines - ids), 0.0);
    figures.exactly("texts paid twice", count(usize::try_from(emulator.counts().texts)? - ids), 0.0);
    Ok(())
}

/// Twenty stops of a daemon into whose folder a file comes each five milliseconds: how long after the stop a file is still taken. What is not,
/// waits for the next run.
fn intake(figures: &mut Figures) -> Outcome<()> {
    const STOPS: usize = 20;
    // Ten times `source.settle`: so long a fresh file must be quiet, and no sooner is it taken.
    const QUIET: Duration = Duration::from_millis(10);
    // The lines are counted in one file, so that it must not be sealed.
    const SETTINGS: [&str; 4] = ["--set", "embed.dimensions=256", "--set", "sink.rotate-size=4GiB"];
    let scene = Scene::new(0, 0)?;
    let folder = scene.folder.path().join("drop");
    fs::create_dir(&folder)?;
    let emulator = scene.emulate(emulator::EmulatorConfig::default())?;
    let (mut latest, mut written) = (Duration::ZERO, 0);
    for stop in 0..STOPS {
        let mut daemon = scene.command("run", &emulator)?.args(SETTINGS).spawn()?;
        let (until, ends) = mpsc::channel::<()>();
        let (status, stopped, times) = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let ends = ends;
                let mut times = Vec::new();
                while ends.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
                    let (name, text) = (format!("{stop}-{}.txt", times.len()), format!("Otter {} of day {stop}", times.len()));
                    fs::write(folder.join(name), text)?;
                    times.push(Instant::now());
                }
                Ok::<_, std::io::Error>(times)
            });
            // Each file is one call: so many are of files that came after all that earlier stops have left.
            let called = emulator.called(written as u64 + 100);
            let flows = scene.runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), called).await });
            let stopped = Instant::now();
            kill_process(Pid::from_child(&daemon), Signal::TERM)?;
            let status = daemon.wait()?;
            drop(until);
            let times = writer.join().map_err(|_| "the writer panicked")??;
            flows?;
            Ok::<_, Box<dyn Error>>((status, stopped, times))
        })?;
        if !status.success() {
            return Err(format!("riverbed ended with {status}").into());
        }
        let of_this = |document: &str| document.strip_suffix(".txt")?.strip_prefix(&format!("{stop}-"))?.parse::<usize>().ok();
        let newest = scene.documents()?.iter().filter_map(|document| of_this(document)).max().ok_or("nothing was taken")?;
        latest = latest.max((times[newest] + QUIET).saturating_duration_since(stopped));
        written += times.len();
    }
    figures.at_most("after the stop the last file was taken", latest.as_secs_f64() * 1e3, 100.0, " ms");
    let status = scene.command("run", &emulator)?.arg("--once").args(SETTINGS).status()?;
    if !status.success() {
        return Err(format!("riverbed ended with {status}").into());
    }
    let (lines, ids) = scene.lines()?;
    figures.exactly("files without a line in the end", count(written) - count(ids), 0.0);
    figures.exactly("duplicate current lines", count(lines - ids), 0.0);
    figures.exactly("texts paid twice", count(usize::try_from(emulator.counts().texts)? - ids), 0.0);
    Ok(())
}

/// The figures so far, and whether one has missed its mark.
#[derive(Default)]
struct Figures {
    missed: bool,
}

impl Figures {
    fn at_least(&mut self, name: &str, figure: f64, mark: f64, unit: &str) {
        self.hold(figure >= mark, name, figure, &format!("at least {mark}{unit}"), unit);
    }

    fn at_most(&mut self, name: &str, figure: f64, mark: f64, unit: &str) {
        self.hold(figure <= mark, name, figure, &format!("at most {mark}{unit}"), unit);
    }

    fn exactly(&mut self, name: &str, figure: f64, mark: f64) {
        self.hold((figure - mark).abs() < 0.5, name, figure, &format!("{mark}"), "");
    }

    fn hold(&mut self, is_held: bool, name: &str, figure: f64, mark: &str, unit: &str) {
        self.missed |= !is_held;
        println!("{:4} {figure:.2}{unit} {name} ({mark})", if is_held { "ok" } else { "MISS" });
    }
}

/// Documents of one chunk in a folder.
struct Scene {
    folder: TempDir,
    runtime: Runtime,
}

/// What came of a run.
struct Ended {
    /// From the first call's arrival to the last write to the output.
    secs: f64,
    /// When the calls had come that were waited for.
    passed: Vec<Instant>,
    counts: Counts,
    lines: usize,
    ids: usize,
    failed: usize,
}

impl Ended {
    fn calls(&self) -> f64 {
        count(usize::try_from(self.counts.calls).unwrap_or(usize::MAX))
    }

    fn throttled(&self) -> f64 {
        let throttled = self.counts.answered.get(&429).copied().unwrap_or_default();
        count(usize::try_from(throttled).unwrap_or(usize::MAX))
    }
}

impl Scene {
    fn new(documents: usize, words: usize) -> Outcome<Self> {
        const WORDS: [&str; 9] = ["otter", "glacier", "weir", "alder", "kiln", "ledger", "harbour", "lantern", "meadow"];
        let folder = tempfile::tempdir()?;
        for number in 0..documents {
            let below = folder.path().join("drop").join(format!("{:03}", number / 1000));
            if number % 1000 == 0 {
                fs::create_dir_all(&below)?;
            }
            let words: Vec<_> = (0..words).map(|at| WORDS[(number / [1, 9, 81, 729, 6_561][at % 5] + at) % 9]).collect();
            fs::write(below.join(format!("{number:05}.txt")), format!("Number {number}: {}.", words.join(" ")))?;
        }
        Ok(Self { folder, runtime: Runtime::new()? })
    }

    fn emulate(&self, config: emulator::EmulatorConfig) -> Outcome<Emulator> {
        let config = emulator::EmulatorConfig { vectors: Vectors::Cheap, ..config };
        Ok(self.runtime.block_on(Emulator::start(([127, 0, 0, 1], 0).into(), config))?)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pipeline.toml")
    }

    /// Returns the real program with a configuration for this folder, which asks an emulator and nothing else.
    fn command(&self, what: &str, emulator: &Emulator) -> Outcome<Command> {
        fs::write(self.config(), self.toml(emulator))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_riverbed"));
        command.arg(what).arg("--config").arg(self.config());
        command.stdout(Stdio::null()).stdin(Stdio::null());
        command.env("AWS_ACCESS_KEY_ID", "BENCH").env("AWS_SECRET_ACCESS_KEY", "bench").env("AWS_REGION", "us-east-1");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null");
        command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        Ok(command)
    }

    fn toml(&self, emulator: &Emulator) -> String {
        let folder = self.folder.path().display();
        format!(
            "[source]\npath = \"{folder}/drop\"\nsettle = \"1ms\"\n[sink]\npath = \"{folder}/out\"\n[log]\nlevel = \"error\"\n\
             [status]\nlisten = \"off\"\n[bedrock]\nendpoint = \"{}\"\n",
            emulator.endpoint()
        )
    }

    /// Follows the folder with the real program until so many calls have been made, and asks it each time `every` has passed to read its
    /// configuration again. Returns how long the calls took, in seconds, and how often it was asked.
    fn follow(&self, config: emulator::EmulatorConfig, calls: usize, every: Option<Duration>) -> Outcome<(f64, usize)> {
        let emulator = self.emulate(config)?;
        // What is written in the end must be there as a whole.
        let write = |text: &str| {
            fs::write(self.config().with_extension("new"), text)?;
            fs::rename(self.config().with_extension("new"), self.config())
        };
        let mut daemon = self.command("run", &emulator)?.stderr(Stdio::null()).spawn()?;
        let pid = Pid::from_child(&daemon);
        let mut reloads = 0;
        self.runtime.block_on(async {
            // Before its first call it may not react yet.
            emulator.called(1).await;
            let all = emulator.called(calls as u64);
            tokio::pin!(all);
            loop {
                let shake = async {
                    match every {
                        Some(every) => tokio::time::sleep(every).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = &mut all => return Ok::<_, Box<dyn Error>>(()),
                    () = shake => {}
                }
                reloads += 1;
                let other = format!(
                    "{}max-in-flight = {}\n[retry]\ninitial = \"{reloads}ms\"\n",
                    self.toml(&emulator),
                    if reloads % 2 == 0 { 64 } else { 0 }
                );
                write(&other)?;
                kill_process(pid, Signal::HUP)?;
            }
        })?;
        let ended = Instant::now();
        let begun = emulator.counts().first_call.ok_or("no call came")?;
        kill_process(pid, Signal::TERM)?;
        let status = daemon.wait()?;
        if !status.success() {
            return Err(format!("riverbed ended with {status}").into());
        }
        Ok(((ended - begun).as_secs_f64(), reloads))
    }

    /// Works the folder off with the real program, ledger included.
    fn run(&self, config: emulator::EmulatorConfig, settings: &[&str], prepare: fn(&Emulator)) -> Outcome<Ended> {
        self.run_past(&[], config, settings, prepare)
    }

    /// Does the same, and records when so many calls had come.
    fn run_past(
        &self,
        calls: &[u64],
        config: emulator::EmulatorConfig,
        settings: &[&str],
        prepare: fn(&Emulator),
    ) -> Outcome<Ended> {
        let emulator = self.emulate(config)?;
        prepare(&emulator);
        let mut command = self.command("run", &emulator)?;
        command.arg("--once");
        for setting in settings {
            command.args(["--set", setting]);
        }
        let (now, clock) = (Instant::now(), SystemTime::now());
        let mut child = command.spawn()?;
        let mut passed = Vec::new();
        let status = self.runtime.block_on(async {
            let mut ended = tokio::task::spawn_blocking(move || child.wait());
            for calls in calls {
                tokio::select! {
                    () = emulator.called(*calls) => passed.push(Instant::now()),
                    status = &mut ended => return status,
                }
            }
            ended.await
        })??;
        // 2 is the code of a run with failed documents.
        if !matches!(status.code(), Some(0 | 2)) {
            return Err(format!("riverbed ended with {status}").into());
        }
        let counts = emulator.counts();
        let first_call = counts.first_call.ok_or("no call came")? - now;
        let vectors = self.folder.path().join("out/vectors.jsonl");
        let last_line = fs::metadata(&vectors)?.modified()?.duration_since(clock)?;
        let (lines, ids) = self.lines()?;
        let failed = fs::read_to_string(self.folder.path().join("out/failed.jsonl")).unwrap_or_default().lines().count();
        let secs = (last_line.saturating_sub(first_call)).as_secs_f64();
        Ok(Ended { secs, passed, counts, lines, ids, failed })
    }

    /// Returns how many lines there are, and how many ids they have.
    fn lines(&self) -> Outcome<(usize, usize)> {
        let ids = self.each("id")?;
        Ok((ids.len(), ids.iter().collect::<HashSet<_>>().len()))
    }

    /// Returns the document of each line.
    fn documents(&self) -> Outcome<Vec<String>> {
        self.each("document")
    }

    fn each(&self, key: &str) -> Outcome<Vec<String>> {
        let text = fs::read_to_string(self.folder.path().join("out/vectors.jsonl"))?;
        let of = |line: &str| {
            let line: Value = serde_json::from_str(line)?;
            Ok(line[key].as_str().ok_or("a line without its key")?.to_owned())
        };
        text.lines().map(of).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}
