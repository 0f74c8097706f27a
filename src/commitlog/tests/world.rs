//! A ledger and a folder under delivery, and what must be true of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytesize::ByteSize;
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;

use super::disk::{Crash, SimDisk};
use crate::commitlog::config::{Disk, SinkConfig, Stamp};
use crate::commitlog::{CommitLogParts, DeliverError, Delivery, Entry, Opening, Recovered, VersionEnd};
use crate::domain::Fingerprints;
use crate::domain::{
    ChunkId, Claims, ContentHash, DocumentPath, Embedded, Failure, Fingerprint, LineId, Observation, Origin, Output, Planned,
    Stage, TokenCount, Vector, Version,
};
use crate::ledger::{DocumentState, Ledger, LedgerError, Reader, Segment, SegmentState, Tally};

/// Something that a document's way asks to be committed; documents and texts go by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A chunk's line; one of the same document and text is written again.
    Upsert(u8, u8),
    Delete(u8, u8),
    Done(u8),
    Fail(u8),
    Touch(u8),
}

/// What is done with a delivery, one thing after the other.
#[derive(Debug, Clone)]
pub(super) enum Do {
    Commit(Vec<Act>),
    Sync,
    Rotate(Output),
    Look,
    Retry,
}

/// What a line should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    op: Option<&'static str>,
    id: Option<String>,
    document: String,
}

/// What some acts come to.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) vectors: Vec<Said>,
    pub(super) failed: Vec<Said>,
    /// Which line is current for which chunk of which document.
    pub(super) standing: BTreeMap<(u8, ChunkId), u64>,
    pub(super) states: BTreeMap<u8, DocumentState>,
}

impl Model {
    pub(super) fn of(acts: &[Act]) -> Self {
        let mut model = Self::default();
        for act in acts {
            match *act {
                Act::Upsert(document, text) => {
                    model.says("upsert", document, text);
                    model.standing.insert((document, chunk(document, text)), model.vectors.len() as u64);
                    model.states.entry(document).or_insert(DocumentState::UnderWay);
                }
                Act::Delete(document, text) => {
                    model.says("delete", document, text);
                    model.standing.remove(&(document, chunk(document, text)));
                    model.states.entry(document).or_insert(DocumentState::UnderWay);
                }
                Act::Done(document) => {
                    model.states.insert(document, DocumentState::Done);
                }
                Act::Fail(document) => {
                    model.failed.push(Said { op: None, id: None, document: path(document).to_string() });
                    model.states.insert(document, DocumentState::Failed);
                }
                Act::Touch(_) => {}
            }
        }
        model
    }

    fn says(&mut self, op: &'static str, document: u8, text: u8) {
        let id = Some(chunk(document, text).to_string());
        self.vectors.push(Said { op: Some(op), id, document: path(document).to_string() });
    }
}

pub(super) fn path(document: u8) -> DocumentPath {
    DocumentPath::new(Path::new(&format!("folder/{document}.md"))).unwrap()
}

pub(super) fn text(text: u8) -> String {
    format!("Text number {text}, ").repeat(1 + usize::from(text % 5))
}

fn chunk(document: u8, number: u8) -> ChunkId {
    ChunkId::of_vector(&path(document), &text(number), 0)
}

pub(super) fn shape() -> Arc<Fingerprints> {
    let fingerprint = |name| Fingerprint::of(&[(name, "")]);
    Arc::new(Fingerprints::new([fingerprint("a"), fingerprint("b")], [fingerprint("c"), fingerprint("d")], false, None))
}

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

pub(super) fn vector(number: u8) -> Vector {
    let numbers: Vec<_> = (0..8).map(|at| format!("0.{number}{at}1")).collect();
    let json = RawValue::from_string(format!("[{}]", numbers.join(","))).unwrap();
    Vector::check(&json, 8, crate::domain::Number::Float).unwrap()
}

/// Returns the bytes of a text's vector as JSON.
pub(super) fn vector_json(number: u8) -> String {
    vector(number).as_raw().get().to_owned()
}

pub(super) fn upsert(document: u8, number: u8, origin: Origin) -> Entry {
    let path = path(document);
    let claim = Claims::default().claim(&path).unwrap();
    let version = Version {
        seen: seen(0),
        hash: ContentHash::of(&[document]),
        media_type: "text/markdown".to_owned(),
        chunks: 1,
        lines: 1,
        retract: Vec::new(),
        asks: Vec::new(),
        claim,
        path,
    };
    let text = text(number);
    let planned = Planned {
        version: Arc::new(version),
        id: chunk(document, number),
        key: shape().key(&text),
        index: 0,
        span: 0..text.len(),
        headings: Arc::default(),
        tokens: TokenCount::new(7),
        text: text.into(),
        context: None,
    };
    let (vector, tokens) = (vector(number), TokenCount::new(7));
    Entry::Upsert(Box::new(Embedded { planned, vector, tokens, emulated: false, at: now(), origin }))
}

fn seen(size: u64) -> Observation {
    Observation { device: 1, inode: 2, size, modified: (3, 4), changed: (5, 6) }
}

fn end(document: u8, failure: Option<Failure>) -> Entry {
    Entry::End(Box::new(VersionEnd {
        path: path(document),
        state: if failure.is_some() { DocumentState::Failed } else { DocumentState::Done },
        version: Some(ContentHash::of(&[document])),
        config: shape().config(),
        seen: Some(seen(1)),
        media_type: None,
        chunks: 1,
        failure,
        skip: None,
        tally: Tally::default(),
        asks: Vec::new(),
    }))
}

fn entry(act: Act) -> Entry {
    match act {
        Act::Upsert(document, text) => {
            let origin = if text.is_multiple_of(2) { Origin::Call(None) } else { Origin::Cache };
            upsert(document, text, origin)
        }
        Act::Delete(document, text) => {
            Entry::Delete { path: path(document), version: ContentHash::of(&[]), chunk: chunk(document, text) }
        }
        Act::Done(document) => end(document, None),
        Act::Fail(document) => {
            let failure = Failure {
                stage: Stage::Embed,
                class: "refused".into(),
                message: "it was refused".to_owned(),
                attempts: 1,
                request_id: None,
                advice: "look at it".to_owned(),
                written: None,
            };
            end(document, Some(failure))
        }
        Act::Touch(document) => Entry::Touched(path(document), seen(9)),
    }
}

/// The name under which the ledger has how many acts are committed.
const STEP: &str = "step";

/// A delivery, and what was asked of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) disk: SimDisk,
    pub(super) delivery: Option<Delivery>,
    pub(super) cache_size: u64,
    pub(super) rotate_size: u64,
    /// All acts that were asked for, in order; the first ones are committed.
    pub(super) acts: Vec<Act>,
    /// How many of them are.
    pub(super) committed: usize,
    /// What readers saw of each file.
    seen: BTreeMap<u64, Vec<u8>>,
}

/// Returns a folder in memory, where there is one: a sync of the ledger's there costs nothing.
pub(super) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl World {
    pub(super) fn new(rotate_size: u64, cache_size: u64) -> Self {
        let mut world = Self::closed(rotate_size, cache_size);
        world.open().unwrap();
        world
    }

    /// Returns a world whose delivery has yet to be opened.
    pub(super) fn closed(rotate_size: u64, cache_size: u64) -> Self {
        Self {
            folder: folder(),
            disk: SimDisk::default(),
            delivery: None,
            cache_size,
            rotate_size,
            acts: Vec::new(),
            committed: 0,
            seen: BTreeMap::new(),
        }
    }

    /// Returns a world that is as this one is, closed, and has a life of its own.
    pub(super) fn fork(&self) -> Self {
        assert!(self.delivery.is_none(), "a ledger is copied while nobody has it");
        let fork = Self {
            disk: self.disk.fork(),
            acts: self.acts.clone(),
            committed: self.committed,
            seen: self.seen.clone(),
            ..Self::closed(self.rotate_size, self.cache_size)
        };
        copy_ledger(self.folder.path(), fork.folder.path());
        fork
    }

    pub(super) fn open(&mut self) -> Result<Recovered, DeliverError> {
        self.open_with(Box::new(self.disk.clone()), false)
    }

    pub(super) fn open_with(&mut self, disk: Box<dyn Disk>, rebuild: bool) -> Result<Recovered, DeliverError> {
        let recovered = self.deliver(disk, if rebuild { Opening::Rebuild } else { Opening::Plain })?;
        let known: Option<String> = self.ledger().meta(STEP)?;
        let known = known.map_or(0, |step| step.parse().unwrap());
        assert!(known >= self.committed, "{} acts were committed, and the ledger knows of {known}", self.committed);
        self.committed = known;
        Ok(recovered)
    }

    /// Opens whatever lies there.
    pub(super) fn open_unknown(&mut self, opening: Opening) -> Result<(), DeliverError> {
        self.deliver(Box::new(self.disk.clone()), opening).map(drop)
    }

    /// Commits one act, whatever was committed before.
    pub(super) fn commit_one(&mut self, act: Act) {
        assert_eq!(self.delivery.as_mut().unwrap().commit(&[entry(act)], now()).unwrap(), 1);
    }

    fn deliver(&mut self, disk: Box<dyn Disk>, opening: Opening) -> Result<Recovered, DeliverError> {
        let mut ledger = Ledger::open(&self.folder.path().join("ledger.db"), ByteSize(self.cache_size))?;
        let counter = self.disk.clone();
        ledger.on_commit(move || counter.changes());
        let fingerprint = Fingerprint::of(&[("a", "")]);
        let stamp = Stamp {
            model: "a-model".to_owned(),
            dimensions: 8,
            config: fingerprint,
            config_emulated: Fingerprint::of(&[("b", "")]),
            instance: String::new(),
        };
        let config = SinkConfig { rotate_size: ByteSize(self.rotate_size), ..SinkConfig::default() };
        let parts = CommitLogParts { ledger, disk, stamp, shape: shape(), config, steps: Arc::default() };
        let (delivery, recovered) = Delivery::open(parts, opening, now())?;
        self.delivery = Some(delivery);
        Ok(recovered)
    }

    /// Ends the run and leaves what the crash leaves.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.delivery = None;
        self.disk.crash(crash);
    }

    pub(super) fn ledger(&mut self) -> &mut Ledger {
        self.delivery.as_mut().unwrap().ledger()
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::open(&self.folder.path().join("ledger.db")).unwrap()
    }

    /// Asks for acts and commits what is not committed yet, as the writer does: what is passing is retried, so often.
    pub(super) fn commit(&mut self, acts: &[Act]) -> Result<(), DeliverError> {
        self.acts.extend_from_slice(acts);
        self.commit_rest(acts.len() + 10)
    }

    pub(super) fn commit_rest(&mut self, tries: usize) -> Result<(), DeliverError> {
        let first = self.committed;
        let mut entries = Vec::new();
        for (at, act) in self.acts.iter().enumerate().skip(first) {
            entries.push(entry(*act));
            entries.push(Entry::Note(STEP.to_owned(), (at + 1).to_string()));
        }
        let mut taken = 0;
        for _ in 0..tries {
            if taken == entries.len() {
                break;
            }
            let more = self.delivery.as_mut().unwrap().commit(&entries[taken..], now())?;
            taken += more;
            self.committed = first + taken / 2;
        }
        // A group may end between an act and its note: then the note comes with the next.
        assert!(taken == entries.len() || tries < entries.len(), "{taken} of {} were taken", entries.len());
        Ok(())
    }

    pub(super) fn does(&mut self, what: &Do) -> Result<(), DeliverError> {
        let delivery = self.delivery.as_mut().unwrap();
        match what {
            Do::Commit(acts) => self.commit(acts),
            Do::Sync => delivery.sync(),
            Do::Rotate(output) => delivery.rotate(*output, now()),
            Do::Look => delivery.look_outside(now()),
            Do::Retry => delivery.retry().map(drop),
        }
    }

    /// Does a scenario from where the ledger says it is, and returns whether it ended.
    pub(super) fn goes_on(&mut self, scenario: &[Do]) -> bool {
        let mut asked = 0;
        for what in scenario {
            if let Do::Commit(acts) = what {
                asked += acts.len();
                if asked <= self.committed {
                    continue;
                }
                // What is committed of it need not be asked for again.
                let from = asked - acts.len();
                self.acts.truncate(from.max(self.committed));
                let rest = &acts[self.committed.saturating_sub(from)..];
                if self.commit(rest).is_err() {
                    return false;
                }
            } else if asked >= self.committed && self.does(what).is_err() {
                return false;
            }
            if self.disk.has_crashed() {
                return false;
            }
        }
        true
    }

    /// Holds the invariants. Lines of damaged segments need not be there.
    pub(super) fn check(&mut self) {
        let model = Model::of(&self.acts[..self.committed]);
        let stalled = self.delivery.as_ref().unwrap().is_stalled();
        let segments = self.ledger().segments().unwrap();
        for (output, expected) in [(Output::Vectors, &model.vectors), (Output::Failed, &model.failed)] {
            self.check_output(output, expected, &segments, stalled);
        }
        self.check_memory(&model);
        // What a power loss took comes back when there is room for it.
        if !stalled {
            self.check_prefixes();
        }
    }

    fn check_output(&mut self, output: Output, expected: &[Said], segments: &[Segment], stalled: bool) {
        let lines = lines(self.ledger(), output);
        let seqs: Vec<_> = lines.iter().map(|line| line.seq).collect();
        assert_eq!(seqs, (1..=expected.len() as u64).collect::<Vec<_>>(), "seq has no gaps");
        let segments: Vec<_> = segments.iter().filter(|segment| segment.output == output).collect();
        assert!(segments.iter().filter(|segment| segment.state == SegmentState::Open).count() <= 1);
        assert!(segments.iter().all(|segment| segment.state != SegmentState::Sealing), "no seal is left undone: {segments:?}");
        let mut numbers = Vec::new();
        let mut at = 0;
        for segment in &segments {
            let within: Vec<_> = lines.iter().filter(|line| line.segment == segment.id.to_number()).collect();
            numbers.extend(within.iter().map(|line| line.seq));
            let mut position = 0;
            for line in &within {
                assert_eq!(line.position, position, "lines of a segment follow each other");
                position += line.length;
            }
            assert_eq!(position, segment.committed, "{segment:?} has what is committed");
            assert!(segment.synced <= segment.committed);
            let waiting: Vec<_> = within.iter().filter(|line| line.position + line.length > segment.synced).collect();
            assert!(waiting.iter().all(|line| line.waits), "the outbox covers what is not synced of {segment:?}");
            assert!(within.iter().filter(|line| line.waits).count() == waiting.len(), "and no more");
            let bytes = self.disk.see(&segment.name).map(|(_, bytes)| bytes);
            let readable = match (segment.state, bytes) {
                (SegmentState::Open, Some(bytes)) => {
                    let committed = usize::try_from(segment.committed).unwrap();
                    assert!(bytes.len() <= committed, "nothing is visible that was not committed: {segment:?}");
                    assert!(stalled || bytes.len() == committed, "all is written: {} of {segment:?}", bytes.len());
                    bytes
                }
                (SegmentState::Sealed, bytes) => {
                    let bytes = bytes.unwrap_or_else(|| panic!("{segment:?} is there"));
                    assert_eq!(bytes.len() as u64, segment.committed, "{segment:?} is sealed");
                    bytes
                }
                (SegmentState::Suspect, bytes) => bytes.unwrap_or_else(|| panic!("{segment:?} is there")),
                (_, None) => {
                    at += within.len();
                    continue;
                }
                (SegmentState::Damaged, Some(bytes)) => bytes,
                (state, bytes) => panic!("{state:?}, {bytes:?}"),
            };
            for line in within {
                let said = &expected[at];
                at += 1;
                let range = usize::try_from(line.position).unwrap()..usize::try_from(line.position + line.length).unwrap();
                let Some(bytes) = readable.get(range) else {
                    assert!(stalled || segment.state == SegmentState::Damaged, "line {} of {segment:?} is there", line.seq);
                    continue;
                };
                assert_eq!(crc32fast::hash(bytes), line.crc, "line {} of {segment:?} is as it was committed", line.seq);
                let read: Value = serde_json::from_slice(bytes).unwrap();
                assert_eq!(read["seq"], line.seq);
                assert_eq!(read["document"], *said.document);
                assert_eq!(read["op"].as_str(), said.op);
                assert_eq!(read["id"].as_str(), said.id.as_deref());
            }
        }
        assert!(numbers.is_sorted(), "the order of the files is that of the lines: {numbers:?}");
        assert_eq!(numbers.len(), expected.len(), "each line has its segment");
    }

    fn check_memory(&mut self, model: &Model) {
        let mut standing = BTreeMap::new();
        let mut states = BTreeMap::new();
        let reader = self.reader();
        for document in 0..=u8::MAX {
            let Some(known) = reader.document(&path(document)).unwrap() else { continue };
            states.insert(document, known.state);
            for chunk in reader.standing(known.id).unwrap().into_keys() {
                let line = self.ledger().line_of(known.id, chunk);
                standing.insert((document, chunk), line.seq);
            }
            if document > 20 {
                break;
            }
        }
        assert_eq!(standing, model.standing);
        assert_eq!(states, model.states);
    }

    /// Returns which lines are current, by document and number.
    pub(super) fn stands(&mut self) -> Vec<(u8, u64)> {
        let reader = self.reader();
        let mut stands = Vec::new();
        for document in 0..20 {
            let Some(known) = reader.document(&path(document)).unwrap() else { continue };
            for chunk in reader.standing(known.id).unwrap().into_keys() {
                stands.push((document, self.ledger().line_of(known.id, chunk).seq));
            }
        }
        stands.sort_unstable();
        stands
    }

    /// Returns how far a document is.
    pub(super) fn state(&self, document: u8) -> DocumentState {
        self.reader().document(&path(document)).unwrap().unwrap().state
    }

    /// What a reader saw of a file is how the file begins, ever after.
    pub(super) fn check_prefixes(&mut self) {
        let now = self.disk.see_all();
        for (inode, before) in &self.seen {
            if let Some(now) = now.get(inode) {
                assert!(now.starts_with(before), "file {inode} begins as it did: {} bytes, {} before", now.len(), before.len());
            }
        }
        self.seen = now;
    }

    /// Forgets what readers saw: somebody else has changed it.
    pub(super) fn forget_seen(&mut self) {
        self.seen.clear();
    }

    /// Counts how often each line of an output is in the files that bear one of its names.
    pub(super) fn standing_in_files(&self, output: Output) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for name in self.disk.names().into_iter().filter(|name| name.starts_with(output.stem())) {
            let (_, bytes) = self.disk.see(&name).unwrap();
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                if let Ok(read) = serde_json::from_slice::<Value>(line)
                    && let Some(seq) = read["seq"].as_u64()
                {
                    *counts.entry(seq).or_default() += 1;
                }
            }
        }
        counts
    }

    /// Asserts that the files have each committed line once.
    pub(super) fn check_once(&self) {
        let model = Model::of(&self.acts[..self.committed]);
        for (output, expected) in [(Output::Vectors, model.vectors.len()), (Output::Failed, model.failed.len())] {
            let counts = self.standing_in_files(output);
            assert_eq!(counts, (1..=expected as u64).map(|seq| (seq, 1)).collect(), "{output:?}");
        }
    }

    /// Lets the ledger grow no more, or again.
    pub(super) fn fill_ledger(&mut self, full: bool) {
        self.ledger().fill(full);
    }
}

/// A line as the ledger knows it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) seq: u64,
    pub(super) segment: i64,
    pub(super) position: u64,
    pub(super) length: u64,
    pub(super) crc: u32,
    pub(super) waits: bool,
}

pub(super) fn lines(ledger: &Ledger, output: Output) -> Vec<Known> {
    let found = ledger.connection();
    let mut statement = found
        .prepare("SELECT l.id, segment, position, length, crc, o.line IS NOT NULL FROM lines l LEFT JOIN outbox o ON o.line = l.id ORDER BY l.id")
        .unwrap();
    let lines = statement.query_map([], |row| {
        let id = LineId::from_number(row.get(0)?).unwrap();
        let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let known = Known {
            seq: id.seq,
            segment: row.get(1)?,
            position: unsigned(2)?,
            length: unsigned(3)?,
            crc: row.get(4)?,
            waits: row.get(5)?,
        };
        Ok((id.output, known))
    });
    lines.unwrap().map(Result::unwrap).filter(|(of, _)| *of == output).map(|(_, known)| known).collect()
}

/// Copies the files of a ledger that is closed, or that has no open transaction.
pub(super) fn copy_ledger(from: &Path, to: &Path) {
    for name in ["ledger.db", "ledger.db-wal"] {
        if std::fs::copy(from.join(name), to.join(name)).is_err() {
            drop(std::fs::remove_file(to.join(name)));
        }
    }
    drop(std::fs::remove_file(to.join("ledger.db-shm")));
}

/// Returns whether an error says that the ledger is full.
pub(super) fn is_ledger_full(error: &DeliverError) -> bool {
    matches!(error, DeliverError::Ledger(LedgerError::Full))
}
