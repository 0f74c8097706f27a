//! How much memory one document can make riverbed take: shapes that a document may have, each a file of its own, read by a process of its own.
//!
//! A run is ended once the file is cut and a few hundred calls have been answered: by then everything is as full as it gets. Each process
//! is held to its file's size and 200 MiB, or to 250 MiB where the file has no more than 60 MB. The shapes called `random` are drawn from a
//! seed, so that one that misses is the same again.
//!
//! ```text
//! cargo bench --bench memory                       all shapes at 60 MB, and some at the 250 MiB that a file may have
//! cargo bench --bench memory -- 8 brackets table   some of them, at 8 MB; `all` for all
//! cargo bench --bench memory -- limited 8 table    the same under the unit's `MemoryMax`
//! ```
//!
//! `limited` puts each process into a memory group of the kernel's, with the bound that the unit sets, so that the kernel ends one that takes
//! more. Where no such group can be made, the data of the process are bounded instead (`RLIMIT_DATA`), and the last line says so.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use riverbed::emulator::{self, Emulator, Vectors};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Name, the file's extension, and what writes about so many bytes of it.
type Shape = (&'static str, &'static str, fn(&mut Writer) -> Outcome<()>);

const SHAPES: &[Shape] = &[
    ("brackets", "md", |out| out.repeat("[")),
    ("links", "md", |out| out.repeat("[a](b) ")),
    ("images", "md", |out| out.repeat("![")),
    ("quotes", "md", |out| out.repeat("> ")),
    ("quoted-lines", "md", |out| out.repeat("> > > > words\n")),
    ("quoted-paragraphs", "md", |out| out.repeat("> words of a paragraph\n>\n")),
    ("stars", "md", |out| out.repeat("* ")),
    ("star-lines", "md", |out| out.repeat("* * * * words\n")),
    ("dashes", "md", |out| out.repeat("- \n")),
    ("list", "md", |out| out.numbered("- item with some words in it, number ")),
    ("nested-list", "md", |out| out.each(|number| format!("{}- item {number}\n", "  ".repeat(number % 40)))),
    ("table", "md", |out| {
        out.put("|a|b|\n|-|-|\n")?;
        out.each(|number| format!("|{number}|item with some words in it|\n"))
    }),
    ("wide-table", "md", |out| {
        out.put(&format!("{}|\n{}|\n", "|a".repeat(100_000), "|-".repeat(100_000)))?;
        out.repeat("|b\n")
    }),
    ("pipes", "md", |out| out.repeat("|")),
    ("pipe-lines", "md", |out| out.repeat("|\n")),
    ("definitions", "md", |out| out.each(|number| format!("[a{number}]: b\n"))),
    ("footnotes", "md", |out| out.each(|number| format!("[^{number}]: words\n"))),
    ("emphasis", "md", |out| out.repeat("*a **a ")),
    ("underscores", "md", |out| out.repeat("_a __a ")),
    ("backticks", "md", |out| out.each(|number| format!("{} ", "`".repeat(number % 300)))),
    ("fence", "md", |out| {
        out.put("```\n")?;
        out.repeat("# code\n\n")
    }),
    ("html", "md", |out| out.repeat("<div>\n")),
    ("html-line", "md", |out| out.repeat("<a href='b'>")),
    ("comment", "md", |out| {
        out.put("<!--\n")?;
        out.repeat("words\n")
    }),
    ("entities", "md", |out| out.repeat("&amp;")),
    ("escapes", "md", |out| out.repeat("\\*")),
    ("rules", "md", |out| out.repeat("---\n")),
    ("headings", "md", |out| {
        (1..=5).try_for_each(|depth| out.put(&format!("{} {}\n", "#".repeat(depth), "🦀".repeat(200))))?;
        out.each(|number| format!("###### {number:x}{}\n", ".".repeat(78)))
    }),
    ("front-matter", "md", |out| {
        out.put("---\n")?;
        out.repeat("key: value\n")
    }),
    ("dots", "txt", |out| out.repeat(".")),
    ("words", "txt", |out| out.numbered("a line with some words in it, number ")),
    ("one-paragraph", "md", |out| out.each(|number| format!("words of a paragraph {number} "))),
    ("equal", "txt", |out| out.repeat(&format!("{}.\n\n", "the same words again and again ".repeat(30)))),
    ("equal-and-short", "txt", |out| out.repeat(&format!("a{}\n\n", " ".repeat(360)))),
    ("json", "json", |out| {
        out.put("[")?;
        out.each(|number| format!("{{\"number\":{number},\"words\":\"a few of them\"}},"))
    }),
    ("csv", "csv", |out| out.each(|number| format!("{number},\"a few words\",3.5,,x\n"))),
    ("spaces", "txt", |out| {
        out.put("a")?;
        out.repeat(" ")?;
        out.put("b")
    }),
    ("newlines", "md", |out| {
        out.put("a")?;
        out.repeat("\n")?;
        out.put("b")
    }),
    ("crlf", "md", |out| out.repeat("a line\r\n")),
    ("families", "txt", |out| out.repeat("👩‍👩‍👧‍👦\u{200d}")),
    ("flags", "txt", |out| out.repeat("🇩🇪")),
    ("marks", "txt", |out| {
        out.put("a")?;
        out.repeat("\u{301}")
    }),
    ("letters", "txt", |out| out.repeat("a")),
    ("chinese", "txt", |out| out.repeat("天地玄黄宇宙洪荒")),
    ("random-1", "md", |out| out.random(1)),
    ("random-2", "md", |out| out.random(2)),
    ("random-3", "md", |out| out.random(3)),
    ("random-4", "md", |out| out.random(4)),
];

/// Those that are tried at the largest size too that a file may have.
const LARGEST: [&str; 5] = ["words", "table", "links", "headings", "equal"];

/// Calls that are answered before a run is ended.
const CALLS: u64 = 400;

/// How long a run may take.
const PATIENCE: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_limited = arguments.first().is_some_and(|first| first == "limited");
    if is_limited {
        arguments.remove(0);
    }
    let bound = match is_limited.then(Bound::of_unit).transpose() {
        Ok(bound) => bound,
        Err(error) => {
            println!("MISSED the bound: {error}");
            return ExitCode::FAILURE;
        }
    };
    let size = arguments.first().and_then(|size| size.parse::<u64>().ok());
    if size.is_some() {
        arguments.remove(0);
    }
    let is_wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|wanted| wanted == name || wanted == "all");
    let mut is_held = true;
    for (name, extension, write) in SHAPES.iter().filter(|(name, ..)| is_wanted(name)) {
        let mut sizes = vec![size.unwrap_or(60) * 1_000_000];
        if size.is_none() && LARGEST.contains(name) {
            sizes.push(250 << 20);
        }
        for size in sizes {
            is_held &= match measure(extension, size, *write, bound.as_ref()) {
                Ok(measured) => measured.hold(name),
                Err(error) => {
                    println!("MISSED {name}: {error}");
                    false
                }
            };
        }
    }
    if let Some(bound) = bound {
        println!("{bound}");
    }
    if is_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The most memory that the unit leaves to the service, as it is held here.
struct Bound {
    bytes: u64,
    /// A group of the kernel's with that bound.
    group: Option<PathBuf>,
}

impl Bound {
    /// Reads the bound in the unit that riverbed prints, and makes a group that has it.
    fn of_unit() -> Outcome<Self> {
        let scene = tempfile::tempdir()?;
        fs::create_dir(scene.path().join("drop"))?;
        fs::write(scene.path().join("pipeline.toml"), CONFIG)?;
        let unit = Command::new(env!("CARGO_BIN_EXE_riverbed")).arg("service").current_dir(scene.path()).output()?;
        let unit = String::from_utf8(unit.stdout)?;
        let most = unit.lines().find_map(|line| line.strip_prefix("MemoryMax=")).ok_or("the unit has no `MemoryMax`")?;
        let unit_of = |most: &str| match most.chars().last() {
            Some('G') => Some(30),
            Some('M') => Some(20),
            _ => None,
        };
        let (shift, number) = (unit_of(most).ok_or("a bound in other units")?, most.trim_end_matches(['M', 'G']));
        let bytes = number.parse::<u64>()? << shift;
        Ok(Self { bytes, group: group(bytes) })
    }

    /// Returns the program as it is started under this bound.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        let script = match &self.group {
            Some(group) => format!("echo $$ > '{}/cgroup.procs' && exec \"$0\" \"$@\"", group.display()),
            None => format!("ulimit -d {} && exec \"$0\" \"$@\"", self.bytes / 1024),
        };
        command.args(["-c", &script, env!("CARGO_BIN_EXE_riverbed")]);
        command
    }
}

/// Makes a group below that of this process, in either of the kernel's two ways, with a bound on memory.
fn group(bytes: u64) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let name = format!("riverbed-bench-{}", std::process::id());
    own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, bound) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = Path::new(root).join(path.trim_start_matches('/')).join(&name);
        fs::create_dir(&group).ok()?;
        if fs::write(group.join(bound), bytes.to_string()).is_ok() {
            return Some(group);
        }
        fs::remove_dir(group).ok()?;
        None
    })
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            let _is_gone = fs::remove_dir(group);
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes >> 20;
        match &self.group {
            Some(_) => write!(f, "each process had a memory group of its own with the unit's {mib} MiB"),
            None => write!(
                f,
                "no memory group can be made here: the data of each process were bounded to the unit's {mib} MiB instead"
            ),
        }
    }
}

const CONFIG: &str = "[source]\npath = \"drop\"\nmax-file-size = \"256MiB\"\n[sink]\npath = \"out\"\n[log]\nlevel = \"error\"\n[run]\ngrace = \"1s\"\n";

/// What one file took.
struct Measured {
    bytes: u64,
    peak_mib: u64,
    took: Duration,
    calls: u64,
}

impl Measured {
    fn hold(&self, name: &str) -> bool {
        let Self { bytes, peak_mib, took, calls } = self;
        let size = bytes.div_ceil(1 << 20);
        let most = if *bytes <= 61_000_000 { 250.min(size + 200) } else { size + 200 };
        let verdict = if *peak_mib <= most { "ok    " } else { "MISSED" };
        println!("{verdict} {name}, {size} MiB: {peak_mib} MiB (at most {most} MiB; {calls} calls, {:.0} s)", took.as_secs_f64());
        *peak_mib <= most
    }
}

/// Has riverbed read a file until everything is full, and returns the most memory that it took.
fn measure(extension: &str, size: u64, write: fn(&mut Writer) -> Outcome<()>, bound: Option<&Bound>) -> Outcome<Measured> {
    let scene = tempfile::tempdir()?;
    let bytes = Writer::write(&scene, extension, size, write)?;
    fs::write(scene.path().join("pipeline.toml"), CONFIG)?;
    let runtime = Runtime::new()?;
    let config = emulator::EmulatorConfig { vectors: Vectors::Cheap, ..emulator::EmulatorConfig::default() };
    let emulator = runtime.block_on(Emulator::start(([127, 0, 0, 1], 0).into(), config))?;
    let begun = Instant::now();
    let mut command = bound.map_or_else(|| Command::new(env!("CARGO_BIN_EXE_riverbed")), Bound::command);
    let mut child = command
        .args(["run", "--once", "--set", &format!("bedrock.endpoint={}", emulator.endpoint())])
        .current_dir(scene.path())
        .env("AWS_ACCESS_KEY_ID", "BENCH")
        .env("AWS_SECRET_ACCESS_KEY", "bench")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let (mut peak_mib, mut is_stopped) = (0, false);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak_mib = peak_mib.max(peak(&child));
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Err(format!("not through after {} s, {peak_mib} MiB", PATIENCE.as_secs()).into());
        }
        let called = runtime.block_on(async { timeout(Duration::from_millis(20), emulator.called(CALLS)).await.is_ok() });
        if called && !is_stopped {
            // What comes after the calls is to fill up too.
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(500)).await });
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)?;
            is_stopped = true;
        } else if called {
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        }
    };
    // A run that is stopped ends with 0.
    if !status.success() {
        return Err(format!("riverbed ended with {status}, after {peak_mib} MiB").into());
    }
    Ok(Measured { bytes, peak_mib, took: begun.elapsed(), calls: emulator.counts().calls })
}

/// Returns the most memory that a process has had at once, in MiB.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

/// Writes a document of about a given size.
struct Writer {
    file: BufWriter<File>,
    left: u64,
}

impl Writer {
    fn write(scene: &TempDir, extension: &str, size: u64, write: fn(&mut Self) -> Outcome<()>) -> Outcome<u64> {
        let folder = scene.path().join("drop");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("a.{extension}"));
        let mut writer = Self { file: BufWriter::new(File::create(&path)?), left: size };
        write(&mut writer)?;
        writer.file.flush()?;
        Ok(fs::metadata(&path)?.len())
    }

    fn put(&mut self, text: &str) -> Outcome<()> {
        self.file.write_all(text.as_bytes())?;
        self.left = self.left.saturating_sub(text.len() as u64);
        Ok(())
    }

    /// Writes the same until the document is long enough.
    fn repeat(&mut self, text: &str) -> Outcome<()> {
        while self.left > text.len() as u64 {
            self.put(text)?;
        }
        Ok(())
    }

    fn numbered(&mut self, text: &str) -> Outcome<()> {
        self.each(|number| format!("{text}{number}\n"))
    }

    fn each(&mut self, text: impl Fn(usize) -> String) -> Outcome<()> {
        let mut number = 0;
        while self.left > 100 {
            self.put(&text(number))?;
            number += 1;
        }
        Ok(())
    }

    /// Writes what Markdown is made of as it comes: runs of a few pieces, each a few or very many times.
    fn random(&mut self, seed: u64) -> Outcome<()> {
        const PIECES: [&str; 36] = [
            "[",
            "]",
            "](",
            ")",
            "![",
            "*",
            "**",
            "_",
            "`",
            "```\n",
            "~~~\n",
            "> ",
            "- ",
            "1. ",
            "# ",
            "\n",
            "\n\n",
            " ",
            "\t",
            "|",
            "|-",
            "<",
            "<div>\n",
            "<!--",
            "-->",
            "&amp;",
            "\\",
            "[a]: b\n",
            "[^1]",
            "word ",
            "a\u{301}",
            "👩‍👧",
            "===\n",
            "---\n",
            "    ",
            "\r\n",
        ];
        let mut state = seed;
        let mut dice = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap_or_default()
        };
        while self.left > 100 {
            let pieces: String = (0..=dice() % 4).map(|_| PIECES[dice() % PIECES.len()]).collect();
            let most = usize::try_from(self.left).unwrap_or(usize::MAX) / pieces.len().max(1);
            let times = match dice() % 8 {
                0 => 1 + dice() % 2_000_000,
                1 | 2 => 1 + dice() % 1000,
                _ => 1 + dice() % 5,
            };
            for _ in 0..times.min(most) {
                self.put(&pieces)?;
            }
        }
        Ok(())
    }
}
