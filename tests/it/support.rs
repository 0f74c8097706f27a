//! A folder, an emulator and the real program between them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use riverbed::emulator::{Emulator, EmulatorConfig, Vectors};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Far more than anything here takes; what is still waiting then never ends.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A drop folder with an output folder beside it, and an emulator.
pub struct Scene {
    folder: TempDir,
    pub emulator: Emulator,
    settings: BTreeMap<String, String>,
    prompts: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(Vectors::Lexical, Duration::ZERO).await
    }

    /// For tests that count and do not look at vectors.
    pub async fn cheap() -> Self {
        Self::with(Vectors::Cheap, Duration::ZERO).await
    }

    /// The same where calls are to be in flight for a while.
    pub async fn cheap_after(latency: Duration) -> Self {
        Self::with(Vectors::Cheap, latency).await
    }

    async fn with(vectors: Vectors, latency: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("drop")).unwrap();
        let config = EmulatorConfig { latency, vectors, ..EmulatorConfig::default() };
        let emulator = Emulator::start(([127, 0, 0, 1], 0).into(), config).await.unwrap();
        let scene = Self { folder, emulator, settings: BTreeMap::new(), prompts: Vec::new() };
        let endpoint = format!("\"{}\"", scene.emulator.endpoint());
        scene
            .set("bedrock.endpoint", &endpoint)
            .set("bedrock.region", "\"us-east-1\"")
            .set("source.path", "\"drop\"")
            .set("sink.path", "\"out\"")
            // Short waits: the tests are about what is done again, not about how long it takes.
            .set("retry.initial", "\"1ms\"")
            .set("retry.max-interval", "\"5ms\"")
            .set("source.settle", "\"10ms\"")
            .set("status.listen", "\"off\"")
    }

    /// Sets a key in the scene's pipeline.toml; the value is TOML.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a `[[chat]]` with these lines of TOML.
    pub fn chat(mut self, prompt: &str) -> Self {
        self.prompts.push(prompt.to_owned());
        self
    }

    /// Changes the last `[[chat]]`.
    pub fn chat_again(mut self, prompt: &str) -> Self {
        self.prompts.pop();
        self.chat(prompt)
    }

    /// Leaves a key out of it.
    pub fn unset(mut self, key: &str) -> Self {
        self.settings.remove(key);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a document into the drop folder, in one piece.
    pub fn drop(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path("drop").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let elsewhere = self.path(&format!("elsewhere-{}", name.replace('/', "-")));
        fs::write(&elsewhere, text).unwrap();
        fs::rename(elsewhere, path).unwrap();
    }

    /// Writes the scene's pipeline.toml as it is now, in one piece.
    pub fn write(&self) {
        let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (key, value) in &self.settings {
            let (section, key) = key.split_once('.').unwrap();
            sections.entry(section).or_default().push(format!("{key} = {value}"));
        }
        let sections = sections.into_iter().map(|(name, keys)| format!("[{name}]\n{}\n", keys.join("\n")));
        let prompts = self.prompts.iter().map(|prompt| format!("[[chat]]\n{prompt}\n"));
        self.write_as(&sections.chain(prompts).collect::<String>());
    }

    /// Writes something else in its place.
    pub fn write_as(&self, text: &str) {
        fs::write(self.path("pipeline.new"), text).unwrap();
        fs::rename(self.path("pipeline.new"), self.path("pipeline.toml")).unwrap();
    }

    /// Returns the program with this scene's configuration, and with nothing of the machine's AWS set-up.
    pub fn riverbed(&self, arguments: &[&str]) -> Command {
        self.write();
        riverbed(self.folder.path(), arguments)
    }

    /// Works the folder off.
    pub async fn once(&self) -> Ended {
        finish(self.riverbed(&["run", "--once"])).await
    }

    /// Follows the folder until the child is asked to stop.
    pub fn follow(&self) -> Child {
        self.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
    }

    /// Returns the lines of an output file.
    pub fn lines(&self, name: &str) -> Vec<Value> {
        whole_lines(&self.written(name)).map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn written(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("out").join(name)).unwrap_or_default()
    }

    pub fn vectors(&self) -> Vec<Value> {
        self.lines("vectors.jsonl")
    }

    pub fn answers(&self) -> Vec<Value> {
        self.lines("answers.jsonl")
    }

    /// Waits until `answers.jsonl` has this many lines.
    pub async fn answers_reach(&self, lines: usize) -> Vec<Value> {
        self.reaches("answers.jsonl", lines).await
    }

    /// Waits until `vectors.jsonl` has this many lines.
    pub async fn vectors_reach(&self, lines: usize) -> Vec<Value> {
        self.reaches("vectors.jsonl", lines).await
    }

    /// Waits until `failed.jsonl` has this many lines.
    pub async fn failed_reach(&self, lines: usize) -> Vec<Value> {
        self.reaches("failed.jsonl", lines).await
    }

    /// Waits until an output file has this many lines: each write to it is an event of the folder.
    async fn reaches(&self, name: &str, lines: usize) -> Vec<Value> {
        changes_until(&self.path("out"), || whole_lines(&self.written(name)).count() >= lines).await;
        self.lines(name)
    }
}

/// Returns the lines of an output: what has no end yet is one that is being written, and none for any reader.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"))
}

/// Waits for changes below a folder until a condition holds.
pub async fn changes_until(folder: &Path, holds: impl Fn() -> bool) {
    let came = changes_within(PATIENCE, folder, holds).await;
    assert!(came, "the folder never came to the state that was waited for");
}

/// Waits for changes below a folder until a condition holds, and returns whether it came to hold in that time.
pub async fn changes_within(patience: Duration, folder: &Path, holds: impl Fn() -> bool) -> bool {
    use notify::{RecursiveMode, Watcher as _};
    fs::create_dir_all(folder).unwrap();
    let (sender, mut changes) = tokio::sync::mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |_| {
        // A full channel holds the news already.
        let _full = sender.try_send(());
    })
    .unwrap();
    watcher.watch(folder, RecursiveMode::Recursive).unwrap();
    let wait = async {
        while !holds() {
            changes.recv().await.unwrap();
        }
    };
    timeout(patience, wait).await.is_ok()
}

/// Returns the program in a working directory, with nothing of the machine's AWS set-up and proxies.
pub fn riverbed(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_riverbed"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_proxy = name.to_lowercase().ends_with("_proxy");
        if is_proxy || name.starts_with("AWS_") || name.starts_with("RIVERBED_") {
            command.env_remove(&*name);
        }
    }
    command.args(arguments).current_dir(folder).kill_on_drop(true).stdin(Stdio::null());
    command.env("AWS_ACCESS_KEY_ID", "TEST").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null").env("NO_COLOR", "1");
    command
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Runs a command to its end.
pub async fn finish(mut command: Command) -> Ended {
    let output = timeout(PATIENCE, command.output()).await.expect("riverbed never ended").unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Tells a child to stop, as systemd and a terminal do.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id().expect("it runs")).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Waits for a child's end.
pub async fn ends(mut child: Child) -> Option<i32> {
    timeout(PATIENCE, child.wait()).await.expect("riverbed never ended").unwrap().code()
}

/// Returns a paragraph of about `words` words that says something else for each number.
pub fn paragraph(number: usize, words: usize) -> String {
    const NOUNS: [&str; 9] = ["otter", "glacier", "weir", "alder", "kiln", "ledger", "harbour", "lantern", "meadow"];
    const VERBS: [&str; 7] = ["watches", "follows", "mends", "forgets", "carries", "paints", "crosses"];
    let word = |at: usize| if at.is_multiple_of(2) { NOUNS[(number * 7 + at * 5) % 9] } else { VERBS[(number * 3 + at) % 7] };
    let words: Vec<_> = (0..words).map(word).collect();
    format!("Number {number}: {}.", words.join(" "))
}

/// Returns how many files a run has taken in when nothing moves any more: it reported the same number ten times in a row.
pub async fn standstill(child: &mut Child) -> usize {
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut last, mut times) = (0, 0);
    while times < 10 {
        let line = timeout(PATIENCE, log.next_line()).await.expect("it never stood still").unwrap().expect("it goes on");
        let Some((_, rest)) = line.split_once("found=") else { continue };
        let found = rest.split_once(' ').unwrap().0.parse().unwrap();
        times = if found == last && found > 0 { times + 1 } else { 0 };
        last = found;
    }
    last
}
