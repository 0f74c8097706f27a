//! Kills the daemon at chosen steps while documents change under it, and compares the output with the expected one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::AccessKind;
use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::process::Child;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, Scene, changes_until, ends, finish, paragraph, signal};

/// The steps that kills are aimed at, with what the writer says at each. Idle counts as `call` where calls are in flight.
pub const STEPS: [(&str, u8); 6] =
    [("call", b'-'), ("commit", b'c'), ("write", b'w'), ("sync", b's'), ("seal", b'r'), ("move", b'm')];
/// Content of the step file before the writer has said anything.
const UNTOLD: u8 = b'?';

/// Calls in flight at once.
const IN_FLIGHT: u64 = 16;
/// Records that are committed together at most, each of a text.
const COMMIT_GROUP: u64 = 256;
/// Paragraphs that texts are made of: few enough for some to be in several documents.
const PARAGRAPHS: u64 = 60_000;
/// Documents at once, about.
const DOCUMENTS: usize = 24;
/// A kill that waited this long for its step is made wherever it falls.
const LONGEST_AIM: Duration = Duration::from_secs(1);

/// How a file is treated whose document is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// It stays, and is renamed and deleted under the daemon.
    Stay,
    /// The daemon moves it away, and another of its name is put in its place.
    Move,
}

/// What a run of kills came to.
pub struct Report {
    pub files: Files,
    pub kills: u32,
    /// How many kills fell in each step.
    pub fell: BTreeMap<&'static str, u32>,
    pub texts_paid: u64,
    pub texts_needed: u64,
    pub changes: u32,
    pub documents: usize,
    /// How many failed after a third death, and were retried on request.
    pub given_up: usize,
    pub chunks: usize,
    pub lines: usize,
    pub segments: usize,
    /// How often the reader looked at a file.
    pub samples: u64,
    /// From the last start to its recovery's end.
    pub recovery: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fell: Vec<_> = self.fell.iter().map(|(step, count)| format!("{step} {count}")).collect();
        let files = match self.files {
            Files::Stay => "that stay",
            Files::Move => "that are moved away",
        };
        writeln!(f, "{} kills over files {files}: {}", self.kills, fell.join(", "))?;
        writeln!(f, "{} changes of files; at the end {} documents of {} chunks", self.changes, self.documents, self.chunks)?;
        writeln!(f, "{} lines in {} segments, {} samples by the reader", self.lines, self.segments, self.samples)?;
        writeln!(f, "lost 0, duplicated 0, torn 0, vectors equal bit for bit")?;
        if self.given_up > 0 {
            writeln!(f, "{} failed after three deaths, and done when they were retried", self.given_up)?;
        }
        let again = self.texts_paid - self.texts_needed;
        writeln!(f, "{} texts paid, {} needed: {again} paid again", self.texts_paid, self.texts_needed)?;
        write!(f, "last recovery: {} ms from the start of the process", self.recovery.as_millis())
    }
}

/// Kills the daemon that often, lets it finish, and compares its output with a clean run's. The same seed makes the same changes and
/// delays; what they meet is up to the machine.
pub async fn run(files: Files, kills: u32, seed: u64) -> Report {
    let scene = Scene::cheap_after(Duration::from_millis(4)).await;
    let scene = scene
        .set("embed.dimensions", "256")
        .set("bedrock.max-in-flight", &IN_FLIGHT.to_string())
        .set("chunk.max-tokens", "32")
        .set("chunk.overlap-tokens", "0")
        .set("run.queue", "16")
        .set("sink.rotate-size", "\"192KiB\"")
        .set("sink.sync-every", "\"30ms\"");
    let scene = match files {
        Files::Stay => scene,
        Files::Move => scene.set("source.on-done", "\"move\"").set("source.done-dir", "\"done\""),
    };
    scene.emulator.tell_apart();
    let mut daemon = Daemon::new(&scene);
    let mut folder = Folder::new(&scene, files, seed);
    for _ in 0..DOCUMENTS / 2 {
        folder.change();
    }

    let over = CancellationToken::new();
    let mut reader = JoinSet::new();
    reader.spawn(follow(scene.path("out"), over.clone()));
    let mut fell: BTreeMap<&'static str, u32> = BTreeMap::new();
    for kill in 0..kills {
        // One in six falls anywhere from the start of the process on, which hits recovery, the others where they are aimed.
        let steps = match files {
            Files::Stay => &STEPS[..STEPS.len() - 1],
            Files::Move => &STEPS[..],
        };
        let aim = steps.get(kill as usize % (steps.len() + 1)).map(|(_, step)| *step);
        *fell.entry(daemon.live_and_die(aim, &mut folder).await).or_default() += 1;
    }

    let paid_before = scene.emulator.counts().texts;
    folder.put_all_into(&scene.path("last"));
    let clean = ["run", "--once", "--source", "last", "--output", "clean", "--set", "source.on-done=keep"];
    let clean = finish(scene.riverbed(&clean)).await;
    assert_eq!(clean.code, Some(0), "{clean:?}");
    let expected = Output::read(&scene.path("clean")).standing;
    let paid_by_clean = scene.emulator.counts().texts - paid_before;

    let begun = Instant::now();
    let child = daemon.start();
    daemon.says("started").await;
    let recovery = begun.elapsed();
    // A document that the process died over three times fails, as it should, until somebody retries it.
    let mut given_up = 0;
    let finished = async {
        let is_over = || Output::read(&scene.path("out")).standing == expected && folder.is_as_it_should_be();
        while !is_over() {
            let has_failed = || scene.lines("failed.jsonl").len() > given_up;
            changes_until(&scene.path(""), || has_failed() || is_over()).await;
            let failed = scene.lines("failed.jsonl");
            if failed.len() > given_up {
                assert!(failed.iter().all(|line| line["class"] == "crash"), "{failed:#?}");
                given_up = failed.len();
                let retried = finish(scene.riverbed(&["failed", "retry", "--all"])).await;
                assert_eq!(retried.code, Some(0), "{retried:?}");
            }
        }
    };
    if tokio::time::timeout(PATIENCE, finished).await.is_err() {
        let found = Output::read(&scene.path("out")).standing;
        panic!("{}\n{}", difference(&found, &expected), daemon.last_words());
    }
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "{}", daemon.last_words());
    over.cancel();
    let samples = reader.join_next().await.expect("it was spawned").expect("a sample was no prefix of the next");

    let output = Output::read(&scene.path("out"));
    assert!(output.is_whole, "the last line is whole once the daemon has stopped");
    assert!(output.standing == expected, "{}", difference(&output.standing, &expected));
    assert_eq!(scene.lines("failed.jsonl").len(), given_up, "nothing else failed");

    if files == Files::Move {
        folder.assert_nothing_was_lost(&scene.path("done"));
    }

    let texts_needed = scene.emulator.counts().distinct;
    let texts_paid = scene.emulator.counts().texts - paid_by_clean;
    assert!(texts_paid >= texts_needed, "each text was paid for by the daemon too: {texts_paid} of {texts_needed}");
    let most = texts_needed + u64::from(kills) * (IN_FLIGHT + COMMIT_GROUP);
    assert!(texts_paid <= most, "{texts_paid} texts were paid, {texts_needed} needed, after {kills} kills {most} allowed");
    let documents = output.standing.values().map(|chunk| &chunk.document).collect::<BTreeSet<_>>().len();
    Report {
        files,
        kills,
        fell,
        texts_paid,
        texts_needed,
        changes: folder.changes,
        documents,
        given_up,
        chunks: output.standing.len(),
        lines: output.lines,
        segments: output.segments,
        samples,
        recovery,
    }
}

/// The daemon, life after life.
struct Daemon<'a> {
    scene: &'a Scene,
    /// Its first byte is the step that the writer is at.
    steps: File,
    log: PathBuf,
}

impl<'a> Daemon<'a> {
    fn new(scene: &'a Scene) -> Self {
        fs::write(scene.path("steps"), [UNTOLD]).unwrap();
        let steps = File::options().read(true).write(true).open(scene.path("steps")).unwrap();
        Self { scene, steps, log: scene.path("log") }
    }

    fn start(&self) -> Child {
        self.steps.write_all_at(&[UNTOLD], 0).unwrap();
        let mut command = self.scene.riverbed(&["run"]);
        command.env("RIVERBED_STEPS", self.scene.path("steps"));
        command.stdout(Stdio::null()).stderr(File::create(&self.log).unwrap()).spawn().unwrap()
    }

    fn step(&self) -> u8 {
        let mut step = [UNTOLD];
        self.steps.read_exact_at(&mut step, 0).unwrap();
        step[0]
    }

    fn last_words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn says(&self, word: &str) {
        let said = async {
            while !self.last_words().contains(word) {
                yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, said).await.is_ok(), "it never said `{word}`: {}", self.last_words());
    }

    /// Starts it, changes files under it, and kills it in the step that was aimed at, or anywhere. Returns where the kill fell.
    async fn live_and_die(&mut self, aim: Option<u8>, folder: &mut Folder<'_>) -> &'static str {
        for _ in 0..folder.random.below(3) {
            folder.change();
        }
        let begun = Instant::now();
        let mut child = self.start();
        // A few calls and commits pass by before the one that is aimed at.
        let earliest = begun + Duration::from_micros(folder.random.below(150_000));
        let late = Duration::from_micros(if folder.random.below(2) == 0 { 0 } else { folder.random.below(600) });
        let mut next_change = begun;
        loop {
            let now = Instant::now();
            if now >= next_change {
                folder.change();
                next_change = now + Duration::from_micros(5_000 + folder.random.below(30_000));
                assert_eq!(child.try_wait().unwrap(), None, "it ended by itself: {}", self.last_words());
            }
            let is_there = match aim {
                None => true,
                Some(b'-') => self.step() == b'-' && self.scene.emulator.counts().in_flight > 0,
                // A write is over in microseconds: a look now and then would not find it.
                Some(step) => (0..100).any(|_| self.step() == step),
            };
            if now >= earliest && (is_there || now >= earliest + LONGEST_AIM) {
                break;
            }
            yield_now().await;
        }
        let seen = Instant::now();
        while seen.elapsed() < late {
            yield_now().await;
        }
        let has_calls = self.scene.emulator.counts().in_flight > 0;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        // What the dead process has left there is where it died.
        match self.step() {
            UNTOLD => "start",
            b'-' if !has_calls => "idle",
            told => STEPS.iter().find(|(_, step)| *step == told).expect("the writer tells steps that are known").0,
        }
    }
}

/// Documents that change.
struct Folder<'a> {
    scene: &'a Scene,
    files: Files,
    random: Random,
    /// What each consists of, by paragraph.
    documents: BTreeMap<String, Vec<u64>>,
    named: u32,
    changes: u32,
}

impl<'a> Folder<'a> {
    fn new(scene: &'a Scene, files: Files, seed: u64) -> Self {
        Self { scene, files, random: Random(seed), documents: BTreeMap::new(), named: 0, changes: 0 }
    }

    /// Adds, edits, renames, copies or deletes a document.
    fn change(&mut self) {
        self.changes += 1;
        let kind = self.random.below(20);
        if self.documents.len() < 4 || (kind < 4 && self.documents.len() < DOCUMENTS) {
            let (name, paragraphs) = (self.new_name(), self.paragraphs());
            return self.put(name, paragraphs);
        }
        let at = self.random.at_most(self.documents.len() - 1);
        let name = self.documents.keys().nth(at).unwrap().clone();
        match kind {
            // What is moved away can only be put there again.
            8.. if self.files == Files::Move => {
                let paragraphs = self.paragraphs();
                self.put(name, paragraphs);
            }
            0..8 => {
                let mut paragraphs = self.documents[&name].clone();
                let (at, new) = (self.random.at_most(paragraphs.len() - 1), self.random.below(PARAGRAPHS));
                match self.random.below(3) {
                    0 => paragraphs[at] = new,
                    1 => paragraphs.insert(at, new),
                    _ if paragraphs.len() > 1 => drop(paragraphs.remove(at)),
                    _ => paragraphs.push(new),
                }
                self.put(name, paragraphs);
            }
            8..10 => {
                let new = self.new_name();
                fs::rename(self.path(&name), self.path(&new)).unwrap();
                let paragraphs = self.documents.remove(&name).unwrap();
                self.documents.insert(new, paragraphs);
            }
            10..13 if self.documents.len() < DOCUMENTS => {
                let (new, paragraphs) = (self.new_name(), self.documents[&name].clone());
                self.put(new, paragraphs);
            }
            13..17 => {
                let paragraphs = self.paragraphs();
                self.put(name, paragraphs);
            }
            _ => {
                fs::remove_file(self.path(&name)).unwrap();
                self.documents.remove(&name);
            }
        }
    }

    fn put(&mut self, name: String, paragraphs: Vec<u64>) {
        let text = text(&paragraphs);
        // Into its place at once, or written where it is, if it is quiet.
        if self.random.below(2) == 0 || self.files == Files::Move {
            self.scene.drop(&name, text);
        } else {
            fs::write(self.path(&name), text).unwrap();
        }
        self.documents.insert(name, paragraphs);
    }

    /// Writes the documents as they should be into another folder.
    fn put_all_into(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for (name, paragraphs) in &self.documents {
            fs::write(folder.join(name), text(paragraphs)).unwrap();
        }
    }

    /// Returns whether the files are where they should be in the end.
    fn is_as_it_should_be(&self) -> bool {
        let left = fs::read_dir(self.scene.path("drop")).unwrap().count();
        left == if self.files == Files::Stay { self.documents.len() } else { 0 }
    }

    /// Holds the files that were moved away to what was put there: the last of each document once, as it was, and nothing that
    /// was moved over.
    fn assert_nothing_was_lost(&self, done: &Path) {
        let moved = fs::read_dir(done).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        let mut moved: Vec<_> = moved.collect();
        for (name, paragraphs) in &self.documents {
            let text = text(paragraphs);
            let at = moved.iter().position(|moved| *moved == text);
            moved.swap_remove(at.unwrap_or_else(|| panic!("the last {name} is not among the {} that were moved", moved.len())));
        }
    }

    /// Most documents are short, and some are long.
    fn paragraphs(&mut self) -> Vec<u64> {
        let most = [5, 5, 5, 5, 40, 40, 300][self.random.at_most(6)];
        (0..=self.random.below(most - 1)).map(|_| self.random.below(PARAGRAPHS)).collect()
    }

    fn new_name(&mut self) -> String {
        self.named += 1;
        format!("{}.txt", self.named)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.path("drop").join(name)
    }
}

fn text(paragraphs: &[u64]) -> String {
    let text: Vec<_> = paragraphs.iter().map(|number| paragraph(usize::try_from(*number).unwrap(), 14)).collect();
    text.join("\n\n")
}

/// Numbers that follow from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut hash = self.0;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (hash ^ (hash >> 31)) % end
    }

    fn at_most(&mut self, most: usize) -> usize {
        usize::try_from(self.below(most as u64 + 1)).unwrap()
    }
}

/// What the lines come to when they are applied in order.
struct Output {
    standing: HashMap<String, Chunk>,
    lines: usize,
    segments: usize,
    /// Whether the last line has its end.
    is_whole: bool,
}

/// A chunk, with its vector as it was written.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    document: String,
    text: String,
    span: [usize; 2],
    embedding: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    op: &'a str,
    seq: usize,
    id: &'a str,
    document: &'a str,
    text: Option<String>,
    span: Option<[usize; 2]>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}

impl Output {
    /// Reads all segments and holds them to the rules that hold at any moment. Only the live file's last line may be on its way.
    fn read(folder: &Path) -> Self {
        let mut standing: HashMap<String, Chunk> = HashMap::new();
        let (mut lines, mut segments, mut is_whole) = (0, 0, true);
        for (path, bytes) in segments_in_order(folder) {
            segments += 1;
            assert!(is_whole, "a line is torn before {}", path.display());
            for bytes in bytes.split_inclusive(|byte| *byte == b'\n') {
                let Some(line) = bytes.strip_suffix(b"\n") else {
                    is_whole = false;
                    break;
                };
                let line: Line<'_> = serde_json::from_slice(line)
                    .unwrap_or_else(|error| panic!("{error} in {}: {}", path.display(), String::from_utf8_lossy(line)));
                lines += 1;
                assert_eq!(line.seq, lines, "numbers follow one another, over all segments ({})", path.display());
                if line.op == "delete" {
                    let taken_back = standing.remove(line.id);
                    assert!(taken_back.is_some(), "line {lines} deletes what is not current");
                    continue;
                }
                assert_eq!(line.op, "upsert");
                let chunk = Chunk {
                    document: line.document.to_owned(),
                    text: line.text.unwrap(),
                    span: line.span.unwrap(),
                    embedding: line.embedding.unwrap().get().to_owned(),
                };
                if let Some(before) = standing.insert(line.id.to_owned(), chunk) {
                    assert!(before != standing[line.id], "line {lines} repeats what is current: {before:?}");
                }
            }
        }
        Self { standing, lines, segments, is_whole }
    }
}

/// Returns the segments with what is in them, the sealed ones by number, then the live file.
fn segments_in_order(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let live = folder.join("vectors.jsonl");
    let live_now = || fs::metadata(&live).map(|found| found.ino()).ok();
    loop {
        let before = live_now();
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_sealed = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("vectors-");
        let mut paths: Vec<_> = names.filter(is_sealed).collect();
        paths.sort();
        paths.extend(before.map(|_| live.clone()));
        let read = |path: PathBuf| fs::read(&path).ok().map(|bytes| (path, bytes));
        let segments: Option<Vec<_>> = paths.into_iter().map(read).collect();
        // Where the live file was sealed meanwhile, one may be missing or be there twice.
        if let Some(segments) = segments.filter(|_| before == live_now()) {
            return segments;
        }
    }
}

/// Says what is missing, too much or other than it should be.
fn difference(found: &HashMap<String, Chunk>, expected: &HashMap<String, Chunk>) -> String {
    let brief = |chunk: &Chunk| format!("{} {:?} {:?}", chunk.document, chunk.span, chunk.text);
    let missing = expected.iter().filter(|(id, _)| !found.contains_key(*id)).map(|(_, chunk)| ("missing", chunk));
    let more = found.iter().filter(|(id, _)| !expected.contains_key(*id)).map(|(_, chunk)| ("too much", chunk));
    let other = found.iter().filter(|(id, chunk)| expected.get(*id).is_some_and(|expected| expected != *chunk));
    let all: Vec<_> = missing.chain(more).chain(other.map(|(_, chunk)| ("other", chunk))).collect();
    let first: Vec<_> = all.iter().take(20).map(|(what, chunk)| format!("{what}: {}", brief(chunk))).collect();
    format!("{} of {} chunks are not as they should be\n{}", all.len(), expected.len(), first.join("\n"))
}

/// Reads the files each time one of them changes, as one who follows them, and holds each sample to the one before: nothing that was seen
/// may change. Returns how many samples it took.
async fn follow(folder: PathBuf, over: CancellationToken) -> u64 {
    let news = Arc::new(Notify::new());
    let told = Arc::clone(&news);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Its own reading opens files, too.
        if !matches!(event, Ok(Event { kind: EventKind::Access(AccessKind::Open(_)), .. })) {
            told.notify_one();
        }
    })
    .unwrap();
    fs::create_dir_all(&folder).unwrap();
    watcher.watch(&folder, RecursiveMode::NonRecursive).unwrap();
    let mut seen: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut sealed = BTreeMap::new();
    let mut samples = 0;
    loop {
        let is_last = over.is_cancelled();
        let names = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        for path in names.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")) {
            let is_sealed = path.file_name().unwrap().to_str().unwrap().contains('-');
            if is_sealed && sealed.contains_key(&path) && !is_last {
                continue;
            }
            // It may have got its final name since.
            let Ok(mut file) = File::open(&path) else { continue };
            let inode = file.metadata().unwrap().ino();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            samples += 1;
            if is_sealed {
                // Kept as a hash: they are many.
                let hash = blake3::hash(&bytes);
                let before = sealed.insert(path.clone(), hash);
                assert!(before.is_none_or(|before| before == hash), "the sealed {} has changed", path.display());
            }
            let before = seen.insert(inode, bytes).unwrap_or_default();
            assert!(
                seen[&inode].starts_with(&before) || is_last && is_sealed,
                "{} lost lines that a reader had seen",
                path.display()
            );
            if is_sealed {
                seen.insert(inode, Vec::new());
            }
        }
        if is_last {
            return samples;
        }
        tokio::select! {
            () = news.notified() => {}
            () = over.cancelled() => {}
        }
    }
}
