//! riverbed beside a floor, each a process of its own, against the emulator in this process.
//!
//! The floor is the bare SDK client under `buffer_unordered`: the same files and the same requests, each answer's vector parsed to
//! `f32` and written as one JSON line, nothing else. CPU seconds are user and system time as `wait4` reports them when a process
//! has ended. Every figure has a mark; one that misses its mark makes the command fail.
//!
//! ```text
//! cargo bench --bench pipeline               all cases
//! cargo bench --bench pipeline -- cpu table  some of them: start, table, latency, cpu, files, large
//! ```
//!
//! Where the time goes: the first line builds the program with its names, the second notes what both cores do while a case runs (both
//! sides, the emulator's among them), the third sorts it; `-g` and `--children` tell who calls whom.
//!
//! ```text
//! cargo rustc --release --bin riverbed -- -C strip=none
//! perf record -a -F 499 -o target/perf.data -- cargo bench --bench pipeline -- cpu
//! perf report -i target/perf.data --comm tokio-rt-worker --sort dso,symbol --stdio
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_bedrockruntime::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_bedrockruntime::primitives::Blob;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use riverbed::emulator::{self, Emulator, Vectors};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Pairs of runs behind a ratio; the median is compared with the mark.
const PAIRS: usize = 5;

/// Measures something and holds it against its mark.
type Case = fn(&mut Figures) -> Outcome<()>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let ended = match arguments.first().map(String::as_str) {
        Some("floor") => floor(&arguments[1..]).map(|()| true),
        _ => bench(&arguments),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(wanted: &[String]) -> Outcome<bool> {
    let cases: [(&str, Case); 6] =
        [("start", start), ("table", table), ("latency", latency), ("cpu", cpu), ("files", files), ("large", large)];
    let mut figures = Figures::default();
    for (name, case) in cases {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            case(&mut figures)?;
        }
    }
    Ok(!figures.missed)
}

/// From the start of the process to the first call, on one small document.
fn start(figures: &mut Figures) -> Outcome<()> {
    let scene = Scene::new(1, Duration::ZERO)?;
    let mut waits = Vec::new();
    for _ in 0..=PAIRS {
        let emulator = scene.emulator()?;
        let begun = Instant::now();
        scene.riverbed(&emulator, 64)?;
        let first_call = emulator.counts().first_call.ok_or("no call came")?;
        waits.push((first_call - begun).as_secs_f64() * 1e3);
    }
    waits.remove(0);
    figures.at_most("start to first call", median(waits), 100.0, "ms");
    Ok(())
}

/// 1, 10 and 100 documents at 500 ms and 100 in flight, from first call to last line.
fn table(figures: &mut Figures) -> Outcome<()> {
    for documents in [1, 10, 100] {
        let scene = Scene::new(documents, Duration::from_millis(500))?;
        let mut spans = Vec::new();
        for _ in 0..3 {
            spans.push(scene.first_call_to_last_line(100)? * 1e3);
        }
        figures.at_most(&format!("{documents} documents at 500 ms"), median(spans), 550.0, "ms");
    }
    Ok(())
}

/// 5,000 documents at 100 ms and 200 in flight: 2.5 s would be ideal.
fn latency(figures: &mut Figures) -> Outcome<()> {
    let scene = Scene::new(5_000, Duration::from_millis(100))?;
    let mut spans = Vec::new();
    for _ in 0..3 {
        spans.push(scene.first_call_to_last_line(200)? / 2.5);
    }
    figures.at_most("5,000 documents at 100 ms, 200 in flight, over the ideal 2.5 s", median(spans), 1.15, "x");
    Ok(())
}

/// 5,000 documents without latency, 64 in flight: CPU beside the floor's, pair by pair.
fn cpu(figures: &mut Figures) -> Outcome<()> {
    let scene = Scene::new(5_000, Duration::ZERO)?;
    let (mut ratios, mut ours, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        let emulator = scene.emulator()?;
        let riverbed = scene.riverbed(&emulator, 64)?.cpu_secs;
        let floor = scene.floor(&emulator, 64)?.cpu_secs;
        // The first pair warms files and caches up.
        if pair > 0 {
            ratios.push(riverbed / floor);
            ours.push(riverbed / 5.0);
            floors.push(floor / 5.0);
        }
    }
    println!("  riverbed {:.3}, floor {:.3} CPU s per 1,000 texts", median(ours), median(floors));
    figures.at_most("CPU over the floor's, ledger and lines included", median(ratios), 1.5, "x");
    Ok(())
}

/// Peak memory over 50,000 small files.
fn files(figures: &mut Figures) -> Outcome<()> {
    let scene = Scene::new(50_000, Duration::ZERO)?;
    let run = scene.riverbed(&scene.emulator()?, 64)?;
    figures.at_most("peak memory, 50,000 small files", run.peak_mib, 100.0, "MiB");
    Ok(())
}

/// Peak memory over one text file of 60 MB.
fn large(figures: &mut Figures) -> Outcome<()> {
    let scene = Scene::new(0, Duration::ZERO)?;
    let mut file = BufWriter::new(File::create(scene.source().join("large.txt"))?);
    let mut words = Words(7);
    let mut written = 0;
    while written < 60_000_000 {
        let paragraph = format!("{}\n\n", words.take(80));
        file.write_all(paragraph.as_bytes())?;
        written += paragraph.len();
    }
    file.flush()?;
    let run = scene.riverbed(&scene.emulator()?, 64)?;
    figures.at_most("peak memory, one text of 60 MB", run.peak_mib, 250.0, "MiB");
    Ok(())
}

/// The figures so far, and whether one has missed its mark.
#[derive(Default)]
struct Figures {
    missed: bool,
}

impl Figures {
    fn at_most(&mut self, name: &str, figure: f64, mark: f64, unit: &str) {
        let verdict = if figure <= mark { "ok" } else { "MISSED" };
        self.missed |= figure > mark;
        println!("{verdict:6} {name}: {figure:.2} {unit} (at most {mark} {unit})");
    }
}

/// Documents in a folder, and an emulator's latency to work them off at.
struct Scene {
    folder: TempDir,
    runtime: Runtime,
    latency: Duration,
}

/// What a process used.
struct Used {
    cpu_secs: f64,
    peak_mib: f64,
}

impl Scene {
    fn new(documents: usize, latency: Duration) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let mut words = Words(1);
        for number in 0..documents {
            // A thousand files a folder, as people keep them; about 1,200 characters each, one chunk.
            let below = folder.path().join("drop").join(format!("{:03}", number / 1000));
            if number % 1000 == 0 {
                fs::create_dir_all(&below)?;
            }
            fs::write(below.join(format!("{number:05}.txt")), words.take(190))?;
        }
        fs::create_dir_all(folder.path().join("drop"))?;
        Ok(Self { folder, runtime: Runtime::new()?, latency })
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("drop")
    }

    fn emulator(&self) -> Outcome<Emulator> {
        let config =
            emulator::EmulatorConfig { latency: self.latency, vectors: Vectors::Cheap, ..emulator::EmulatorConfig::default() };
        Ok(self.runtime.block_on(Emulator::start(([127, 0, 0, 1], 0).into(), config))?)
    }

    fn riverbed(&self, emulator: &Emulator, in_flight: usize) -> Outcome<Used> {
        let out = self.folder.path().join("out");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        let config = self.folder.path().join("pipeline.toml");
        fs::write(&config, "[source]\npath = \"drop\"\n[sink]\npath = \"out\"\n[log]\nlevel = \"error\"\n")?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_riverbed"));
        command.args(["run", "--once", "--config"]).arg(&config);
        command.args(["--set", &format!("bedrock.endpoint={}", emulator.endpoint())]);
        command.args(["--set", &format!("bedrock.max-in-flight={in_flight}")]);
        used(command)
    }

    fn floor(&self, emulator: &Emulator, in_flight: usize) -> Outcome<Used> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", &emulator.endpoint()]).arg(self.source()).arg(self.folder.path().join("floor.jsonl"));
        command.arg(in_flight.to_string());
        used(command)
    }

    /// Returns the seconds from the first call's arrival to the moment in which the output was last written to.
    fn first_call_to_last_line(&self, in_flight: usize) -> Outcome<f64> {
        let emulator = self.emulator()?;
        let (now, clock) = (Instant::now(), SystemTime::now());
        self.riverbed(&emulator, in_flight)?;
        let first_call = emulator.counts().first_call.ok_or("no call came")?;
        let last_line = fs::metadata(self.folder.path().join("out/vectors.jsonl"))?.modified()?;
        Ok(last_line.duration_since(clock)?.as_secs_f64() - (first_call - now).as_secs_f64())
    }
}

/// Runs a command to its end and reads what it used.
fn used(mut command: Command) -> Outcome<Used> {
    command.stdout(Stdio::null()).stdin(Stdio::null());
    command.env("AWS_ACCESS_KEY_ID", "BENCH").env("AWS_SECRET_ACCESS_KEY", "bench").env("AWS_REGION", "us-east-1");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null");
    command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let child = command.spawn()?;
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // Zero is a valid value of every field of this plain structure of numbers.
    #[expect(unsafe_code, reason = "no safe wrapper gives a child's resource usage")]
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "no safe wrapper gives a child's resource usage")]
    // SAFETY: both pointers are to live values of the types that wait4 fills in.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid || status != 0 {
        return Err(format!("{command:?} ended with wait status {status}").into());
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds and mebibytes")]
    let secs = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    #[expect(clippy::cast_precision_loss, reason = "seconds and mebibytes")]
    let peak_mib = usage.ru_maxrss as f64 / 1024.0;
    Ok(Used { cpu_secs: secs(usage.ru_utime) + secs(usage.ru_stime), peak_mib })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    input_text: &'a str,
    dimensions: u32,
}

#[derive(Deserialize)]
struct Answer {
    embedding: Vec<f32>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: usize,
    embedding: &'a [f32],
}

/// The bare client: as little as can be done.
fn floor(arguments: &[String]) -> Outcome<()> {
    let [endpoint, folder, output, in_flight] = arguments else { return Err("floor ENDPOINT DIR FILE IN_FLIGHT".into()) };
    let in_flight: usize = in_flight.parse()?;
    Runtime::new()?.block_on(async {
        let config = aws_sdk_bedrockruntime::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("BENCH", "bench", None, None, "bench"))
            .endpoint_url(endpoint)
            .build();
        let client = aws_sdk_bedrockruntime::Client::from_conf(config);
        let mut output = BufWriter::new(File::create(output)?);
        let mut answers = stream::iter(texts(Path::new(folder))?.into_iter().enumerate())
            .map(|(id, text)| {
                let client = client.clone();
                async move {
                    let body = serde_json::to_vec(&Question { input_text: &text, dimensions: 1024 })?;
                    let call = client.invoke_model().model_id("amazon.titan-embed-text-v2:0");
                    let call = call.content_type("application/json").accept("application/json").body(Blob::new(body));
                    let answer: Answer = serde_json::from_slice(call.send().await?.body.as_ref())?;
                    Ok::<_, Box<dyn Error>>((id, answer.embedding))
                }
            })
            .buffer_unordered(in_flight);
        while let Some((id, embedding)) = answers.try_next().await? {
            serde_json::to_writer(&mut output, &Line { id, embedding: &embedding })?;
            output.write_all(b"\n")?;
        }
        Ok(output.flush()?)
    })
}

fn texts(folder: &Path) -> Outcome<Vec<String>> {
    let mut texts = Vec::new();
    for below in fs::read_dir(folder)? {
        for file in fs::read_dir(below?.path())? {
            texts.push(fs::read_to_string(file?.path())?);
        }
    }
    Ok(texts)
}

/// Words from a linear congruential generator: the same at every run.
struct Words(u64);

impl Words {
    fn take(&mut self, words: usize) -> String {
        const SYLLABLES: [&str; 16] =
            ["ra", "mo", "ti", "ver", "lun", "sa", "ke", "dor", "wim", "pa", "gre", "no", "bel", "ur", "fi", "sto"];
        let mut text = String::new();
        for word in 0..words {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let end = if word % 12 == 11 { ". " } else { " " };
            for syllable in 0..2 + (self.0 >> 60) % 3 {
                text.push_str(SYLLABLES[usize::try_from(self.0 >> (20 + 4 * syllable)).unwrap_or_default() % 16]);
            }
            text.push_str(end);
        }
        text
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
