//! Ledger and files, each as it is, from an older copy, another output's or missing, in every combination.
//!
//! The result of each is right, repaired, or an error that asks a person and changes nothing. In none is a line twice, hidden or lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::disk::{Crash, SimDisk};
use super::world::{Act, Do, Model, World, copy_ledger, folder, lines};
use crate::commitlog::{DeliverError, Opening};
use crate::domain::{LineId, Output};
use crate::ledger::DocumentState;

use Act::{Delete, Done, Fail, Upsert};

const LIVE: &str = "vectors.jsonl";
const SEALED: [&str; 2] = ["vectors-000001.jsonl", "vectors-000002.jsonl"];
const FAILED: &str = "failed.jsonl";

/// Where a thing comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Comes {
    Current,
    /// An older copy: of the ledger, or of the same file, in the midst of a line.
    Older,
    /// A copy of the live file from before it was sealed.
    Early,
    Other,
    Missing,
}

use Comes::{Current, Early, Missing, Older, Other};

/// Which numbers the files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Same,
    New,
    /// Each file has that of another, as after one was deleted and the next was made.
    Swapped,
}

/// An output with its ledger, as it was at some times.
struct Written {
    acts: Vec<Act>,
    /// Of these the older ledger knows.
    older_acts: usize,
    ledgers: BTreeMap<Comes, TempDir>,
    files: BTreeMap<&'static str, Vec<u8>>,
    numbers: BTreeMap<&'static str, u64>,
    /// The live file of before the last sealing.
    early: Vec<u8>,
    mark: Vec<u8>,
    instance: String,
    next: u64,
}

/// What comes of a combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All that was there stands, and more than that is not known to be missing.
    Opens,
    LedgerLost,
    OtherOutput,
    LinesTaken,
}

/// Makes an output of two sealed files, a live one, and one of failed documents; of the last two some lines are not synced.
fn output(document: u8) -> Written {
    let mut world = World::new(1 << 20, 400);
    let copy = |world: &World| {
        let copy = folder();
        copy_ledger(world.folder.path(), copy.path());
        copy
    };
    world.commit(&[Upsert(document, 1), Upsert(document, 2), Upsert(document, 3), Done(document), Fail(document + 1)]).unwrap();
    world.does(&Do::Rotate(Output::Vectors)).unwrap();
    world.commit(&[Upsert(document + 2, 4), Upsert(document + 2, 5), Fail(document + 3)]).unwrap();
    world.does(&Do::Sync).unwrap();
    let older_acts = world.acts.len();
    let early = world.disk.see(LIVE).unwrap().1;
    let older = copy(&world);
    world.commit(&[Delete(document, 2), Done(document), Upsert(document + 2, 6), Done(document + 2)]).unwrap();
    world.does(&Do::Rotate(Output::Vectors)).unwrap();
    world.commit(&[Upsert(document + 4, 7), Upsert(document + 4, 8), Fail(document + 5), Upsert(document + 4, 9)]).unwrap();
    world.does(&Do::Sync).unwrap();
    world.commit(&[Upsert(document + 4, 10), Fail(document + 6)]).unwrap();
    world.check();
    let instance = world.ledger().instance().to_owned();
    let next = world.ledger().next_seq(Output::Vectors);
    let mark = world.disk.mark();
    world.crash(Crash::Kill);
    let current = copy(&world);
    let names = [LIVE, SEALED[0], SEALED[1], FAILED];
    let seen: BTreeMap<_, _> = names.into_iter().map(|name| (name, world.disk.see(name).unwrap())).collect();
    Written {
        acts: world.acts.clone(),
        older_acts,
        ledgers: BTreeMap::from([(Current, current), (Older, older)]),
        files: seen.iter().map(|(name, (_, bytes))| (*name, bytes.clone())).collect(),
        numbers: seen.iter().map(|(name, (number, _))| (*name, *number)).collect(),
        early,
        mark,
        instance,
        next,
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    ledger: Comes,
    live: Comes,
    sealed: Comes,
    failed: Comes,
    numbers: Numbers,
    is_marked: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ledger in [Current, Older, Other, Missing] {
        for live in [Current, Older, Early, Other, Missing] {
            for sealed in [Current, Older, Other, Missing] {
                for failed in [Current, Older, Other, Missing] {
                    for (numbers, is_marked) in [
                        (Numbers::Same, true),
                        (Numbers::New, true),
                        (Numbers::Swapped, true),
                        (Numbers::Same, false),
                        (Numbers::Swapped, false),
                    ] {
                        cases.push(Case { ledger, live, sealed, failed, numbers, is_marked });
                    }
                }
            }
        }
    }
    cases
}

impl Case {
    /// Returns what should come of it.
    fn expected(self) -> Outcome {
        let files = [self.live, self.sealed, self.failed];
        let is_there = |from: Comes| from != Missing;
        match self.ledger {
            Missing if files.into_iter().any(is_there) => Outcome::LedgerLost,
            // The mark says whose folder it is; without one the files do.
            Other if self.is_marked => Outcome::OtherOutput,
            Other if files.into_iter().any(|from| is_there(from) && from != Other) => Outcome::OtherOutput,
            Other | Missing => Outcome::Opens,
            _ if files.contains(&Other) => Outcome::OtherOutput,
            Current | Early => Outcome::Opens,
            Older => self.expected_of_older(),
        }
    }

    /// The older ledger has seen the first two lines of the second sealed file, and the first two failures of four.
    fn expected_of_older(self) -> Outcome {
        let has_second = self.sealed == Current;
        let vectors = match self.live {
            Current => has_second,
            // What is not there is behind all else, so that only the mark can tell.
            Older => has_second && !self.is_marked,
            Early | Missing => !self.is_marked,
            Other => unreachable!("that is another's"),
        };
        let failed = self.failed == Current || !self.is_marked;
        if vectors && failed { Outcome::Opens } else { Outcome::LinesTaken }
    }
}

/// Cuts a file in the midst of a line: a sealed one of its last, another of its second, which is on disk.
fn older(name: &str, bytes: &[u8]) -> Vec<u8> {
    let is_end = |byte: &u8| *byte == b'\n';
    let end =
        if SEALED.contains(&name) { bytes[..bytes.len() - 1].iter().rposition(is_end) } else { bytes.iter().position(is_end) };
    bytes[..end.unwrap() + 31].to_vec()
}

struct Scene<'a> {
    ours: &'a Written,
    other: &'a Written,
}

impl Scene<'_> {
    fn lay_out(&self, case: Case) -> SimDisk {
        let disk = SimDisk::default();
        let names = [(LIVE, case.live), (SEALED[0], case.sealed), (SEALED[1], case.sealed), (FAILED, case.failed)];
        for (at, (name, from)) in names.into_iter().enumerate() {
            let whole = &self.ours.files[name];
            let bytes = match from {
                Current => whole.clone(),
                Older => older(name, whole),
                Early => self.ours.early.clone(),
                Other => self.other.files[name].clone(),
                Missing => continue,
            };
            let number = match case.numbers {
                Numbers::Same => self.ours.numbers[name],
                Numbers::New => 1000 + at as u64,
                Numbers::Swapped => self.ours.numbers[names[(at + 1) % names.len()].0],
            };
            disk.outside_place(name, number, &bytes);
        }
        if case.is_marked {
            disk.outside_mark(&self.ours.mark);
        }
        disk
    }

    fn ledger(&self, case: Case) -> Option<PathBuf> {
        let of = match case.ledger {
            Current | Early => &self.ours.ledgers[&Current],
            Older => &self.ours.ledgers[&Older],
            Other => &self.other.ledgers[&Current],
            Missing => return None,
        };
        Some(of.path().to_owned())
    }

    fn world(&self, case: Case) -> World {
        let mut world = World::closed(1 << 20, 400);
        world.disk = self.lay_out(case);
        if let Some(ledger) = self.ledger(case) {
            copy_ledger(&ledger, world.folder.path());
        }
        world
    }
}

/// Every file by name.
fn see(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    disk.names().into_iter().map(|name| (name.clone(), disk.see(&name).unwrap().1)).collect()
}

/// Returns the lines of the files that a reader of an output looks for, with their instances.
fn visible(files: &BTreeMap<String, Vec<u8>>, output: Output) -> Vec<(u64, String, Vec<u8>)> {
    let mut lines = Vec::new();
    for (name, bytes) in files {
        let is_read = *name == output.live_name() || output.sealed_number(name).is_some();
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|_| is_read) {
            if let Ok(read) = serde_json::from_slice::<Value>(line) {
                lines.push((read["seq"].as_u64().unwrap(), read["instance"].as_str().unwrap().to_owned(), line.to_vec()));
            }
        }
    }
    lines
}

fn outcome(opened: &Result<(), DeliverError>) -> Outcome {
    match opened {
        Ok(()) => Outcome::Opens,
        Err(DeliverError::LedgerLost { .. }) => Outcome::LedgerLost,
        Err(DeliverError::OtherOutput { .. }) => Outcome::OtherOutput,
        Err(DeliverError::LinesTaken { .. }) => Outcome::LinesTaken,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn every_combination_is_right_or_repaired_or_asks_a_person() {
    let (ours, other) = (output(1), output(1));
    let scene = Scene { ours: &ours, other: &other };
    let mut outcomes = BTreeMap::new();
    for case in cases() {
        let mut world = scene.world(case);
        let before = see(&world.disk);
        let opened = world.open_unknown(Opening::Plain);
        assert_eq!(outcome(&opened), case.expected(), "{case:?}: {opened:?}");
        *outcomes.entry(case.expected()).or_insert(0) += 1;
        if opened.is_err() {
            assert_eq!(see(&world.disk), before, "{case:?}: nothing was changed");
            continue;
        }
        holds(&mut world, case, &scene, &before);
    }
    // Of 1,600.
    assert_eq!(outcomes.values().sum::<u32>(), 1600);
    assert!(outcomes.values().all(|count| *count > 20), "{outcomes:?}");
}

/// Compares an opened output with its earlier content.
fn holds(world: &mut World, case: Case, scene: &Scene<'_>, before: &BTreeMap<String, Vec<u8>>) {
    let after = see(&world.disk);
    for (name, bytes) in before {
        assert!(after.values().any(|after| after.starts_with(bytes)), "{case:?}: what was in {name} is somewhere");
    }
    let instance = world.ledger().instance().to_owned();
    for output in [Output::Vectors, Output::Failed] {
        let (was, is) = (visible(before, output), visible(&after, output));
        let numbers: BTreeSet<_> = is.iter().map(|(seq, ..)| *seq).collect();
        assert_eq!(numbers.len(), is.len(), "{case:?}: no line of {output:?} is twice: {:?}", after.keys());
        assert!(is.iter().all(|(_, of, _)| *of == instance), "{case:?}: all are of one output");
        for (seq, _, line) in was {
            assert!(is.iter().any(|(_, _, other)| *other == line), "{case:?}: line {seq} of {output:?} is not hidden");
        }
        let next = world.ledger().next_seq(output);
        assert!(numbers.iter().all(|seq| *seq < next), "{case:?}: no number is given again");
        if case.is_marked && instance == scene.ours.instance && output == Output::Vectors {
            assert!(next >= scene.ours.next, "{case:?}: {next}");
        }
        are_where_the_ledger_says(world, case, output, &after);
    }
    made_again(world, case, scene, &after);
    // And that is how it stays.
    world.crash(Crash::Kill);
    let again = world.open_unknown(Opening::Plain);
    assert!(again.is_ok(), "{case:?}: {again:?}");
    assert_eq!(see(&world.disk), after, "{case:?}: it is done once");
    let next = world.ledger().next_seq(Output::Vectors);
    world.commit_one(Upsert(60, 60));
    let is = visible(&see(&world.disk), Output::Vectors);
    assert_eq!(is.iter().filter(|(seq, ..)| *seq == next).count(), 1, "{case:?}: work goes on");
}

/// Compares each line of the ledger with its file; one that a person took away has none.
fn are_where_the_ledger_says(world: &mut World, case: Case, output: Output, after: &BTreeMap<String, Vec<u8>>) {
    let segments = world.ledger().segments().unwrap();
    for line in lines(world.ledger(), output) {
        let segment = segments.iter().find(|segment| segment.id.to_number() == line.segment).unwrap();
        let Some(bytes) = after.get(&segment.name) else { continue };
        let range = usize::try_from(line.position).unwrap()..usize::try_from(line.position + line.length).unwrap();
        let is = bytes.get(range).is_some_and(|bytes| crc32fast::hash(bytes) == line.crc);
        assert!(is, "{case:?}: line {} of {output:?} is not in {}", line.seq, segment.name);
    }
}

/// Each chunk that stood has its line in a file, or in one that was taken away whole, or its document is taken again.
fn made_again(world: &mut World, case: Case, scene: &Scene<'_>, after: &BTreeMap<String, Vec<u8>>) {
    if world.ledger().instance() != scene.ours.instance {
        return;
    }
    let acts = if case.ledger == Older { &scene.ours.acts[..scene.ours.older_acts] } else { &scene.ours.acts[..] };
    let segments = world.ledger().segments().unwrap();
    let placed: BTreeMap<_, _> =
        lines(world.ledger(), Output::Vectors).into_iter().map(|line| (line.seq, line.segment)).collect();
    let reader = world.reader();
    if case.failed != Missing {
        let told: BTreeSet<_> = visible(after, Output::Failed)
            .into_iter()
            .map(|(_, _, line)| serde_json::from_slice::<Value>(&line).unwrap()["document"].to_string())
            .collect();
        for (document, _) in Model::of(acts).states.into_iter().filter(|(_, state)| *state == DocumentState::Failed) {
            let path = format!("\"{}\"", super::world::path(document));
            assert!(told.contains(&path), "{case:?}: that {path} failed is said");
        }
    }
    for (document, chunk) in Model::of(acts).standing.into_keys() {
        let known = reader.document(&super::world::path(document)).unwrap().unwrap();
        if known.state == DocumentState::UnderWay {
            continue;
        }
        assert!(
            reader.standing(known.id).unwrap().contains_key(&chunk),
            "{case:?}: a chunk of {document} is neither there nor made again"
        );
        let LineId { seq, .. } = world.ledger().line_of(known.id, chunk);
        let segment = segments.iter().find(|segment| Some(&segment.id.to_number()) == placed.get(&seq)).unwrap();
        let is_taken = !after.contains_key(&segment.name);
        let is_there = visible(after, Output::Vectors).iter().any(|(number, ..)| *number == seq);
        assert!(is_there || is_taken, "{case:?}: line {seq} of {document}");
    }
}

#[test]
fn a_person_may_agree_to_go_on_without_lines_that_are_in_no_file() {
    let (ours, other) = (output(1), output(1));
    let scene = Scene { ours: &ours, other: &other };
    let mut repaired = 0;
    for case in cases().into_iter().filter(|case| case.expected() == Outcome::LinesTaken) {
        let mut world = scene.world(case);
        let before = see(&world.disk);
        world.open_unknown(Opening::Repair).unwrap();
        holds(&mut world, case, &scene, &before);
        repaired += 1;
    }
    assert!(repaired > 20, "{repaired}");
}

#[test]
fn a_ledger_and_a_file_that_went_on_apart_from_each_other_ask_a_person() {
    for rotates in [false, true] {
        let mut first = World::new(1 << 20, 400);
        first.commit(&[Upsert(1, 1), Upsert(1, 2)]).unwrap();
        if rotates {
            first.does(&Do::Rotate(Output::Vectors)).unwrap();
        }
        first.crash(Crash::Kill);
        let mut second = first.fork();
        for (world, text) in [(&mut first, 3), (&mut second, 4)] {
            world.open().unwrap();
            world.commit(&[Upsert(1, text)]).unwrap();
            world.does(&Do::Sync).unwrap();
            world.crash(Crash::Kill);
        }
        first.disk = second.disk.fork();
        let before = see(&first.disk);
        let opened = first.open_unknown(Opening::Plain);
        assert!(matches!(opened, Err(DeliverError::Contradicts { seq: 3, .. })), "{opened:?}");
        assert_eq!(see(&first.disk), before);
    }
}
