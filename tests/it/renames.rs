//! Many files of one folder, renamed while a daemon follows it: within the folder, in and out, over each other, and the folder itself.
//! The output is compared with the folder at the end.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags};
use rustix::process::Signal;
use serde::Deserialize;
use tokio::process::Child;
use tokio::time::timeout;

use crate::support::{Scene, changes_within, ends, signal};

/// Calls in flight when the daemon is killed, and the texts of one commit: so many may be paid again after a kill.
const AT_RISK: u64 = 8 + 256;

/// What a storm came to.
#[derive(Debug)]
pub struct Report {
    pub files: usize,
    pub renames: u64,
    pub lines: usize,
    /// Texts that were paid for, and how many different ones they were.
    pub texts: u64,
    pub distinct: u64,
    /// Kills, after which some texts may be paid again.
    pub kills: u64,
}

impl Report {
    /// Returns whether renames cost calls beyond those that a kill may cost.
    pub fn is_paid_once(&self) -> bool {
        self.texts <= self.distinct + self.kills * AT_RISK
    }
}

/// Returns the scene of a storm: one short text a file, and vectors of few bytes.
pub async fn scene() -> Scene {
    let scene = Scene::cheap().await;
    scene.emulator.tell_apart();
    let scene = scene.set("embed.dimensions", "256").set("embed.embedding-type", "\"binary\"");
    let scene = scene.set("bedrock.max-in-flight", "8").set("log.level", "\"error\"");
    // The output stays one file, which is read as it grows.
    scene.set("sink.rotate-size", "\"10GiB\"")
}

/// Renames files while the daemon takes them in the first time, while it does not run, while it does not read its events, and across a
/// stop and a kill. Waits each time until the output is what the folder is, at most for `patience`. `watched` sees the process before
/// it is stopped.
pub async fn run(scene: &Scene, files: usize, patience: Duration, mut watched: impl FnMut(&str, &Child)) -> Report {
    let mut storm = Storm::new(scene, files);
    let output = RefCell::new(Output::new(scene.path("out/vectors.jsonl")));
    let standing = async |storm: &Storm<'_>, when: &str| {
        let is_right = || output.borrow_mut().is(&storm.documents);
        let came = changes_within(patience, &scene.path("out"), is_right).await;
        assert!(came, "{when}: {}", output.borrow().difference(&storm.documents));
    };

    let child = follow(scene);
    storm.blow(files / 2);
    standing(&storm, "renamed while they are taken in").await;
    watched("taken in under renames", &child);

    // The kernel's queue of events runs over.
    signal(&child, Signal::STOP);
    storm.blow(files.max(9_000));
    signal(&child, Signal::CONT);
    standing(&storm, "renamed while nobody read the events").await;
    watched("renamed while it was stopped", &child);

    storm.blow(files / 4);
    signal(&child, Signal::TERM);
    storm.blow(files / 4);
    assert_eq!(ends(child).await, Some(0));
    storm.blow(files / 4);
    let child = follow(scene);
    storm.blow(files / 4);
    standing(&storm, "renamed across a stop").await;
    watched("renamed across a stop", &child);

    // Where the lines of what has just been renamed are being written.
    let before = output.borrow().lines;
    storm.blow(files / 4);
    let goes_on = || {
        output.borrow_mut().read();
        output.borrow().lines > before + files / 16
    };
    assert!(changes_within(patience, &scene.path("out"), goes_on).await, "lines are written");
    signal(&child, Signal::KILL);
    assert_eq!(ends(child).await, None);
    storm.blow(files / 4);
    let child = follow(scene);
    standing(&storm, "renamed across a kill").await;

    for _ in 0..5 {
        storm.turn_folder();
    }
    standing(&storm, "the folder renamed to and fro").await;
    watched("the folder renamed to and fro", &child);
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));

    let (lines, texts) = (output.borrow().lines, scene.emulator.counts().texts);
    let again = timeout(patience, scene.riverbed(&["run", "--once"]).output()).await.expect("it ends").unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(output.borrow_mut().is(&storm.documents), "a run over an unchanged folder changes nothing");
    assert_eq!((output.borrow().lines, scene.emulator.counts().texts), (lines, texts), "nothing was left to do");
    assert!(scene.lines("failed.jsonl").is_empty());
    let counts = scene.emulator.counts();
    Report {
        files: storm.documents.len(),
        renames: storm.renames,
        lines,
        texts: counts.texts,
        distinct: counts.distinct,
        kills: 1,
    }
}

fn follow(scene: &Scene) -> Child {
    let log = File::options().create(true).append(true).open(scene.path("log")).unwrap();
    scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Files that are renamed.
struct Storm<'a> {
    scene: &'a Scene,
    random: u64,
    /// The names that the folder has by turns.
    folders: [&'static str; 2],
    names: Vec<String>,
    /// What lies below the source folder, by its path.
    documents: BTreeMap<String, String>,
    /// What lies beside it.
    outside: Vec<(String, String)>,
    renames: u64,
}

impl<'a> Storm<'a> {
    fn new(scene: &'a Scene, files: usize) -> Self {
        let folders = ["all", "other"];
        fs::create_dir_all(scene.path("drop").join(folders[0])).unwrap();
        fs::create_dir_all(scene.path("outside")).unwrap();
        let (names, documents) = (Vec::with_capacity(files), BTreeMap::new());
        let mut storm = Self { scene, random: 1, folders, names, documents, outside: Vec::new(), renames: 0 };
        for number in 0..files {
            let (name, text) = (storm.new_name(), format!("File {number}."));
            fs::write(storm.path(&name), &text).unwrap();
            storm.put(name, text);
        }
        storm
    }

    fn blow(&mut self, renames: usize) {
        for _ in 0..renames {
            self.rename();
            if self.below(renames as u64) < 2 {
                self.turn_folder();
            }
        }
    }

    fn rename(&mut self) {
        self.renames += 1;
        match self.below(20) {
            0..4 if !self.outside.is_empty() => {
                let at = self.at_most(self.outside.len() - 1);
                let ((from, text), to) = (self.outside.swap_remove(at), self.new_name());
                fs::rename(self.scene.path("outside").join(from), self.path(&to)).unwrap();
                self.put(to, text);
            }
            0..4 => {
                let (from, to) = (self.any(), self.new_name());
                let text = self.take(&from);
                fs::rename(self.path(&from), self.scene.path("outside").join(&to)).unwrap();
                self.outside.push((to, text));
            }
            4 => {
                let (over, from) = (self.any(), self.any());
                if from != over {
                    let text = self.take(&from);
                    fs::rename(self.path(&from), self.path(&over)).unwrap();
                    self.documents.insert(self.document(&over), text);
                }
            }
            5..8 => {
                let (one, other) = (self.any(), self.any());
                let paths = [self.path(&one), self.path(&other)];
                rustix::fs::renameat_with(CWD, &paths[0], CWD, &paths[1], RenameFlags::EXCHANGE).unwrap();
                let (first, second) = (self.document(&one), self.document(&other));
                let texts = [self.documents[&first].clone(), self.documents[&second].clone()];
                let [text_of_one, text_of_other] = texts;
                self.documents.insert(first, text_of_other);
                self.documents.insert(second, text_of_one);
            }
            _ => {
                let (from, to) = (self.any(), self.new_name());
                let text = self.take(&from);
                fs::rename(self.path(&from), self.path(&to)).unwrap();
                self.put(to, text);
            }
        }
    }

    /// Gives the folder its other name.
    fn turn_folder(&mut self) {
        let [name, other] = self.folders;
        fs::rename(self.scene.path("drop").join(name), self.scene.path("drop").join(other)).unwrap();
        self.folders = [other, name];
        let moved = std::mem::take(&mut self.documents).into_iter().map(|(path, text)| {
            let (_, file) = path.split_once('/').unwrap();
            (format!("{other}/{file}"), text)
        });
        self.documents = moved.collect();
    }

    fn put(&mut self, name: String, text: String) {
        self.documents.insert(self.document(&name), text);
        self.names.push(name);
    }

    fn take(&mut self, name: &str) -> String {
        let at = self.names.iter().rposition(|known| known == name).unwrap();
        self.names.swap_remove(at);
        self.documents.remove(&self.document(name)).unwrap()
    }

    fn any(&mut self) -> String {
        let at = self.at_most(self.names.len() - 1);
        // Where it is found at once.
        let last = self.names.len() - 1;
        self.names.swap(at, last);
        self.names[last].clone()
    }

    /// Returns a name that is anywhere in the order of names.
    fn new_name(&mut self) -> String {
        let (first, second) = (self.below(1 << 32), self.below(1 << 32));
        format!("{first:08x}{second:08x}.txt")
    }

    fn document(&self, name: &str) -> String {
        format!("{}/{name}", self.folders[0])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.path("drop").join(self.document(name))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut hash = self.random;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (hash ^ (hash >> 31)) % end
    }

    fn at_most(&mut self, most: usize) -> usize {
        usize::try_from(self.below(most as u64 + 1)).unwrap()
    }
}

/// The lines of an output, read as they come, and what they come to when they are applied in order.
struct Output {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
    /// By id: the document and its text.
    standing: HashMap<String, (String, String)>,
    lines: usize,
    last: u64,
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

impl Output {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0, rest: Vec::new(), standing: HashMap::new(), lines: 0, last: 0 }
    }

    /// Takes the lines that have come, and holds each to those before it.
    fn read(&mut self) {
        // Opening it is an event too, which would wake the waiting test.
        if fs::metadata(&self.path).map_or(0, |found| found.len()) == self.read {
            return;
        }
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        self.read += file.read_to_end(&mut self.rest).unwrap() as u64;
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line: Line = serde_json::from_slice(line).unwrap();
            assert_eq!(line.seq, self.last + 1, "a number is missing or comes twice");
            self.last = line.seq;
            self.lines += 1;
            if line.op == "delete" {
                let before = self.standing.remove(&line.id);
                assert!(before.is_some(), "what does not stand is deleted: {} of {}", line.id, line.document);
                continue;
            }
            let before = self.standing.insert(line.id.clone(), (line.document.clone(), line.text.clone()));
            assert!(before.is_none(), "a line comes twice: {} of {}", line.text, line.document);
        }
    }

    /// Returns whether exactly these documents stand, each with its text.
    fn is(&mut self, documents: &BTreeMap<String, String>) -> bool {
        self.read();
        self.standing.len() == documents.len()
            && self.standing.values().all(|(document, text)| documents.get(document) == Some(text))
    }

    fn difference(&self, documents: &BTreeMap<String, String>) -> String {
        let mut standing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (document, text) in self.standing.values() {
            standing.entry(document).or_default().push(text);
        }
        let missing: Vec<_> = documents.iter().filter(|(path, text)| standing.get(path.as_str()) != Some(&vec![text])).collect();
        let surplus: Vec<_> = standing.keys().filter(|path| !documents.contains_key(**path)).collect();
        format!(
            "of {} documents {} are missing or wrong, {} others stand: {:?} {:?}",
            documents.len(),
            missing.len(),
            surplus.len(),
            missing.first().map(|(path, text)| (path, text, standing.get(path.as_str()))),
            surplus.first()
        )
    }
}
