//! Which vectors are cached.

use super::disk::Crash;
use super::world::{Act, Do, World, now, shape, text, upsert, vector, vector_json};
use crate::commitlog::Entry;
use crate::domain::Origin;
use crate::ledger::Stored;

use Act::Upsert;

/// Commits a text's line, from a call or from the cache, and lets its file follow.
fn commit(world: &mut World, document: u8, number: u8, origin: Origin) {
    let delivery = world.delivery.as_mut().unwrap();
    assert_eq!(delivery.commit(&[upsert(document, number, origin)], now()).unwrap(), 1);
    delivery.sync().unwrap();
}

/// Returns which of these texts' vectors are in the cache; the others are in their lines.
fn kept(world: &World, texts: &[u8]) -> Vec<u8> {
    let reader = world.reader();
    let is_kept = |number: &u8| match reader.embedding(&shape().key(&text(*number))).unwrap().unwrap().vector {
        Stored::Here(json) => {
            assert_eq!(json, vector_json(*number));
            true
        }
        Stored::InLine { .. } => false,
    };
    texts.iter().copied().filter(is_kept).collect()
}

#[test]
fn the_least_recently_used_vector_leaves_first_and_the_size_is_kept_to() {
    let size = vector_json(10).len() as u64;
    let mut world = World::new(100_000, 3 * size);
    for number in 10..13 {
        commit(&mut world, 1, number, Origin::Call(None));
    }
    assert_eq!(kept(&world, &[10, 11, 12]), [10, 11, 12]);
    commit(&mut world, 2, 10, Origin::Cache);
    commit(&mut world, 2, 13, Origin::Call(None));
    assert_eq!(kept(&world, &[10, 11, 12, 13]), [10, 12, 13]);
    assert_eq!(world.ledger().cached_bytes(), 3 * size);
    // The order of use outlives the process.
    world.crash(Crash::Kill);
    world.open().unwrap();
    commit(&mut world, 2, 14, Origin::Call(None));
    assert_eq!(kept(&world, &[10, 11, 12, 13, 14]), [10, 13, 14]);
    assert_eq!(world.ledger().cached_bytes(), 3 * size);
    // One that left comes back by its line's reader, and is kept again.
    commit(&mut world, 3, 11, Origin::Cache);
    assert_eq!(kept(&world, &[10, 11, 12, 13, 14]), [11, 13, 14]);
}

#[test]
fn a_smaller_cache_lets_go_of_what_is_over_it() {
    let size = vector_json(10).len() as u64;
    let mut world = World::new(100_000, 3 * size);
    for number in 10..13 {
        commit(&mut world, 1, number, Origin::Call(None));
    }
    world.crash(Crash::Kill);
    world.cache_size = size;
    world.open().unwrap();
    commit(&mut world, 1, 13, Origin::Call(None));
    assert_eq!(kept(&world, &[10, 11, 12, 13]), [13]);
    assert_eq!(world.ledger().cached_bytes(), size);
}

#[test]
fn a_vector_stays_while_a_line_that_is_not_on_disk_needs_it() {
    let size = vector_json(10).len() as u64;
    let mut world = World::new(100_000, size);
    world.disk.set_room(Some(0));
    let acts: Vec<_> = (10..20).map(|number| Upsert(1, number)).collect();
    world.commit(&acts).unwrap();
    let waits: i64 = world
        .ledger()
        .connection()
        .query_row("SELECT count(*) FROM outbox WHERE vector IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(waits, 10, "no vector is stored twice");
    assert_eq!(world.ledger().cached_bytes(), 10 * size);
    world.crash(Crash::Kill);
    world.open().unwrap();
    world.disk.set_room(None);
    world.does(&Do::Retry).unwrap();
    // Each line is put together from the part before its vector, the vector, and the part behind it.
    world.check();
    world.check_once();
    world.commit(&[Upsert(1, 20)]).unwrap();
    world.does(&Do::Sync).unwrap();
    world.commit(&[Upsert(1, 21)]).unwrap();
    assert_eq!(world.ledger().cached_bytes(), size);
}

#[test]
fn of_two_answers_to_one_text_each_line_keeps_its_own() {
    let mut world = World::new(100_000, 10_000);
    world.disk.set_room(Some(0));
    let Entry::Upsert(mut second) = upsert(2, 10, Origin::Call(None)) else { unreachable!("a chunk's line was asked for") };
    second.vector = vector(11);
    let entries = [upsert(1, 10, Origin::Call(None)), Entry::Upsert(second), upsert(3, 10, Origin::Cache)];
    assert_eq!(world.delivery.as_mut().unwrap().commit(&entries, now()).unwrap(), 3);
    world.crash(Crash::Kill);
    world.disk.set_room(None);
    world.open().unwrap();
    let (_, bytes) = world.disk.see("vectors.jsonl").unwrap();
    let read = String::from_utf8(bytes).unwrap();
    for (line, number) in read.lines().zip([10, 11, 10]) {
        assert!(line.contains(&vector_json(number)), "{line}");
    }
    assert_eq!(read.lines().count(), 3);
}

#[test]
fn a_cache_of_no_size_keeps_nothing_and_lines_are_read_back() {
    let mut world = World::new(100_000, 0);
    world.disk.set_room(Some(0));
    world.commit(&[Upsert(1, 10), Upsert(1, 11)]).unwrap();
    assert_eq!(world.ledger().cached_bytes(), 0);
    assert!(kept(&world, &[10, 11]).is_empty());
    world.crash(Crash::Kill);
    world.disk.set_room(None);
    world.open().unwrap();
    world.check();
    world.check_once();
}
