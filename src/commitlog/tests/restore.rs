//! A ledger that is older than its output, or missing.

use std::collections::BTreeMap;
use std::path::Path;

use super::disk::Crash;
use super::world::{Act, Do, Known, Model, World, copy_ledger, folder, lines, now, path, shape, text, upsert, vector_json};
use crate::commitlog::config::{Folder, read_line};
use crate::commitlog::verify::verify;
use crate::commitlog::{DeliverError, Entry};
use crate::domain::{Origin, Output};
use crate::ledger::Stored;

use Act::{Delete, Done, Upsert};

/// Commits one act at a time, and seals now and then.
fn small_commits(world: &mut World, count: u32) {
    for number in 0..count {
        let (document, text) = ((number % 17) as u8, (number / 3 % 200) as u8);
        let act = match number % 10 {
            7 => Delete(document, text),
            9 => Done(document),
            _ => Upsert(document, text),
        };
        world.commit(&[act]).unwrap();
        if number % 700 == 699 {
            world.does(&Do::Rotate(Output::Vectors)).unwrap();
        }
    }
}

/// Asserts that the ledger knows every line that was ever written, where it is, and what it says.
fn knows_all(world: &mut World, output: &Path) {
    let model = Model::of(&world.acts);
    let expected = model.vectors.len() as u64;
    assert_eq!(world.ledger().next_seq(Output::Vectors), expected + 1);
    let names: BTreeMap<_, _> =
        world.ledger().segments().unwrap().into_iter().map(|segment| (segment.id.to_number(), segment.name)).collect();
    let known = lines(world.ledger(), Output::Vectors);
    assert!(known.iter().map(|line| line.seq).eq(1..=expected));
    for line in &known {
        let read = read_line(output, &names[&line.segment], line.position, line.length, line.crc).unwrap();
        assert!(read.contains(&format!("\"seq\":{},", line.seq)));
    }
    let mut in_files = 0;
    for entry in std::fs::read_dir(output).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("vectors") {
            in_files += std::fs::read_to_string(output.join(name)).unwrap().lines().count() as u64;
        }
    }
    assert_eq!(in_files, expected, "nothing stands twice");
    let reader = world.reader();
    let mut standing = BTreeMap::new();
    for document in 0..20 {
        let Some(row) = reader.document(&path(document)).unwrap() else { continue };
        for chunk in reader.standing(row.id).unwrap().into_keys() {
            standing.insert((document, chunk), world.ledger().line_of(row.id, chunk).seq);
        }
    }
    assert_eq!(standing, model.standing);
}

/// Asserts that no text has to be asked for again.
fn finds_embeddings(world: &World, output: &Path) -> usize {
    let reader = world.reader();
    let mut read_back = 0;
    for number in (0..200).filter(|number| world.acts.iter().any(|act| matches!(act, Upsert(_, text) if text == number))) {
        let held = reader.embedding(&shape().key(&text(number))).unwrap().unwrap();
        match held.vector {
            Stored::Here(json) => assert_eq!(json, vector_json(number)),
            Stored::InLine { names: [name, _], position, length, crc } => {
                read_back += 1;
                let line = read_line(output, &name, position, length, crc).unwrap();
                assert!(line.contains(&format!("\"embedding\":{},", vector_json(number))));
            }
        }
    }
    read_back
}

fn open(world: &mut World, output: &Path, rebuild: bool) -> Result<u64, DeliverError> {
    world.delivery = None;
    world.committed = 0;
    let recovered = world.open_with(Box::new(Folder::new(output).unwrap()), rebuild)?;
    world.committed = world.acts.len();
    Ok(recovered.adopted)
}

#[test]
fn a_ledger_from_an_old_copy_takes_what_was_committed_since_and_duplicates_nothing() {
    let (output, copy) = (folder(), folder());
    let mut world = World::closed(300_000, 3000);
    open(&mut world, output.path(), false).unwrap();
    small_commits(&mut world, 50);
    let before = Model::of(&world.acts).vectors.len();
    world.ledger().connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    copy_ledger(world.folder.path(), copy.path());
    small_commits(&mut world, 5000);
    let since = Model::of(&world.acts).vectors.len() - before;
    world.delivery = None;
    copy_ledger(copy.path(), world.folder.path());
    assert_eq!(open(&mut world, output.path(), false).unwrap(), since as u64);
    knows_all(&mut world, output.path());
    assert!(finds_embeddings(&world, output.path()) > 50);
    world.commit(&[Upsert(3, 3), Delete(3, 3), Done(3)]).unwrap();
    knows_all(&mut world, output.path());
    assert_eq!(open(&mut world, output.path(), false).unwrap(), 0, "each is taken once");
}

#[test]
fn a_line_of_more_than_64_mib_is_written_adopted_rebuilt_and_verified_as_any_other() {
    let (output, copy) = (folder(), folder());
    let mut world = World::closed(1 << 30, 3000);
    open(&mut world, output.path(), false).unwrap();
    world.commit_one(Upsert(1, 2));
    world.ledger().connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    copy_ledger(world.folder.path(), copy.path());
    let Entry::Upsert(mut long) = upsert(2, 4, Origin::Call(None)) else { unreachable!("it is one") };
    long.planned.text = "otter ".repeat((65 << 20) / 6).into();
    let delivery = world.delivery.as_mut().unwrap();
    assert_eq!(delivery.commit(&[Entry::Upsert(long)], now()).unwrap(), 1);
    world.commit_one(Upsert(3, 6));
    let expected = lines(world.ledger(), Output::Vectors);
    assert!(expected[1].length > 64 << 20);
    let is_whole = |world: &mut World, adopted: u64| {
        let known = lines(world.ledger(), Output::Vectors);
        let places =
            |lines: &[Known]| lines.iter().map(|line| (line.seq, line.position, line.length, line.crc)).collect::<Vec<_>>();
        assert_eq!(places(&known), places(&expected), "{adopted} were adopted");
        let verified = verify(&world.reader(), output.path()).unwrap();
        assert!(verified.is_sound(), "{verified:?}");
    };
    is_whole(&mut world, 0);
    world.delivery = None;
    copy_ledger(copy.path(), world.folder.path());
    let adopted = open(&mut world, output.path(), false).unwrap();
    assert_eq!(adopted, 2, "an older ledger takes the long line and the one behind it");
    is_whole(&mut world, adopted);
    world.delivery = None;
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _none = std::fs::remove_file(world.folder.path().join(name));
    }
    let adopted = open(&mut world, output.path(), true).unwrap();
    assert_eq!(adopted, 3);
    is_whole(&mut world, adopted);
    let names = std::fs::read_dir(output.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let foreign: Vec<_> = names.filter(|name| name.contains("foreign")).collect();
    assert!(foreign.is_empty(), "its file is taken for another's: {foreign:?}");
}

#[test]
fn a_lost_ledger_is_refused_and_rebuilt_when_that_is_asked_for() {
    let output = folder();
    let mut world = World::closed(100_000, 3000);
    open(&mut world, output.path(), false).unwrap();
    let instance = world.ledger().instance().to_owned();
    assert!(matches!(open(&mut world, output.path(), true), Err(DeliverError::LedgerPresent)));
    open(&mut world, output.path(), false).unwrap();
    small_commits(&mut world, 800);
    world.delivery = None;
    std::fs::remove_file(world.folder.path().join("ledger.db")).unwrap();
    assert!(matches!(open(&mut world, output.path(), false), Err(DeliverError::LedgerLost { .. })));
    let lines = Model::of(&world.acts).vectors.len() as u64;
    assert_eq!(open(&mut world, output.path(), true).unwrap(), lines);
    assert_eq!(world.ledger().instance(), instance);
    knows_all(&mut world, output.path());
    finds_embeddings(&world, output.path());
    world.commit(&[Upsert(3, 3)]).unwrap();
    knows_all(&mut world, output.path());
}

#[test]
fn a_rebuild_continues_after_a_crash() {
    let mut first = World::new(10_000_000, 0);
    for text in 0..45 {
        let acts: Vec<_> = (0..20).map(|document| Upsert(document, text)).collect();
        first.commit(&acts).unwrap();
        if text == 3 {
            first.does(&Do::Rotate(Output::Vectors)).unwrap();
        }
    }
    let acts: Vec<_> = (0..20).flat_map(|document| (100..120).map(move |text| Upsert(document, text))).collect();
    first.commit(&acts).unwrap();
    first.does(&Do::Sync).unwrap();
    first.crash(Crash::Kill);
    std::fs::remove_file(first.folder.path().join("ledger.db")).unwrap();
    let mut points = 0;
    for changes in 0.. {
        let mut world = first.fork();
        (world.committed, world.delivery) = (0, None);
        world.disk.crash_after(changes);
        let disk = Box::new(world.disk.clone());
        let is_done = world.open_with(disk, true).is_ok() && !world.disk.has_crashed();
        if !is_done {
            points += 1;
            world.crash(Crash::Power(changes));
            let disk = Box::new(world.disk.clone());
            // As soon as something was taken there is a ledger.
            if let Err(error) = world.open_with(disk.clone(), false) {
                assert!(matches!(error, DeliverError::LedgerLost { .. }), "{error:?} after {changes}");
                world.open_with(disk, true).unwrap();
            }
        }
        let known = lines(world.ledger(), Output::Vectors);
        assert!(known.iter().map(|line| line.seq).eq(1..=1300), "{} lines are known after {changes}", known.len());
        assert!(world.standing_in_files(Output::Vectors).values().all(|count| *count == 1));
        if is_done {
            break;
        }
    }
    assert!(points > 8, "{points}");
}
