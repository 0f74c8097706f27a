//! Full and failing disks.

use super::disk::Crash;
use super::world::{Act, Do, World, is_ledger_full};
use crate::commitlog::DeliverError;
use crate::commitlog::config::SinkError;
use crate::domain::Output;
use crate::ledger::SegmentState;

use Act::{Delete, Done, Fail, Upsert};

#[test]
fn while_the_outputs_disk_is_full_commits_go_on_and_what_waits_is_written_later() {
    for room in [0, 1, 150, 401, 1000] {
        let mut world = World::new(5000, 500);
        world.commit(&[Upsert(1, 1), Done(1)]).unwrap();
        world.disk.set_room(Some(room));
        for text in 2..14 {
            world.commit(&[Upsert(1, text), Fail(text)]).unwrap();
            world.check();
        }
        let delivery = world.delivery.as_mut().unwrap();
        assert!(delivery.is_stalled());
        assert_eq!(delivery.sync_due(), None, "nothing is to be synced while there is no room");
        assert!(!delivery.retry().unwrap());
        world.disk.set_room(Some(300));
        assert!(!world.delivery.as_mut().unwrap().retry().unwrap());
        world.check();
        world.disk.set_room(None);
        assert!(world.delivery.as_mut().unwrap().retry().unwrap());
        world.check();
        world.check_once();
        world.commit(&[Delete(1, 3), Upsert(2, 9), Done(2)]).unwrap();
        assert!(!world.delivery.as_ref().unwrap().is_stalled());
        world.check();
        world.check_once();
    }
}

#[test]
fn lines_that_wait_for_room_survive_a_crash_and_wait_on() {
    for crash in [Crash::Kill, Crash::Power(7), Crash::Power(8)] {
        let mut world = World::new(5000, 500);
        world.commit(&[Upsert(1, 1), Done(1)]).unwrap();
        world.disk.set_room(Some(500));
        for text in 2..9 {
            world.commit(&[Upsert(1, text), Fail(text)]).unwrap();
        }
        world.crash(crash);
        world.open().unwrap();
        assert!(world.delivery.as_ref().unwrap().is_stalled());
        world.check();
        world.commit(&[Upsert(2, 1)]).unwrap();
        world.disk.set_room(None);
        assert!(world.delivery.as_mut().unwrap().retry().unwrap());
        world.check();
        world.check_once();
    }
}

#[test]
fn without_room_for_the_next_file_the_one_that_is_open_goes_on() {
    let mut world = World::new(1200, 500);
    world.commit(&[Upsert(1, 1)]).unwrap();
    world.disk.refuse_names(true);
    for text in 3..9 {
        world.commit(&[Upsert(1, text)]).expect("what was answered is kept");
        world.check();
        if text == 5 {
            world.does(&Do::Look).unwrap();
        }
    }
    assert!(world.disk.see("vectors.jsonl").unwrap().1.len() > 2400, "no file could be made");
    world.disk.refuse_names(false);
    world.does(&Do::Look).unwrap();
    world.commit(&[Upsert(1, 9), Done(1)]).unwrap();
    world.check();
    world.check_once();
    assert!(world.disk.names().contains(&"vectors-000001.jsonl".to_owned()), "as soon as one can, it is sealed");
}

#[test]
fn without_room_for_the_final_name_a_file_waits_for_it_through_crashes_too() {
    for crash in [None, Some(Crash::Kill), Some(Crash::Power(3)), Some(Crash::Power(4))] {
        let mut world = World::new(1200, 500);
        world.commit(&[Upsert(1, 1)]).unwrap();
        world.disk.refuse_renames(true);
        world.acts.extend([Upsert(1, 3), Upsert(1, 4), Upsert(1, 5), Upsert(1, 6)]);
        let mut refused = 0;
        for _ in 0..6 {
            refused += u32::from(matches!(world.commit_rest(1), Err(DeliverError::Sink(SinkError::Full))));
        }
        assert!(refused > 0, "a file was to be sealed");
        let is_sealing = |segment: &crate::ledger::Segment| segment.state == SegmentState::Sealing;
        assert!(world.ledger().segments().unwrap().iter().any(is_sealing));
        if let Some(crash) = crash {
            world.crash(crash);
            world.open().expect("a start waits for room too");
            assert!(matches!(world.commit_rest(1), Err(DeliverError::Sink(SinkError::Full))));
        }
        world.disk.refuse_renames(false);
        assert!(world.delivery.as_mut().unwrap().retry().unwrap());
        world.commit(&[Done(1)]).unwrap();
        world.check();
        world.check_once();
        assert!(!world.ledger().segments().unwrap().iter().any(is_sealing));
    }
}

#[test]
fn while_the_ledgers_disk_is_full_nothing_is_taken_and_nothing_is_committed_twice() {
    let mut world = World::new(3000, 500);
    world.commit(&[Upsert(1, 1), Done(1)]).unwrap();
    world.fill_ledger(true);
    let mut refused = 0;
    for text in 2..200 {
        world.acts.push(Upsert(1, text));
        match world.commit_rest(1) {
            Err(error) if is_ledger_full(&error) => refused += 1,
            taken => taken.unwrap(),
        }
        if text % 10 == 0 {
            world.delivery.as_mut().unwrap().sync().unwrap();
            if let Err(error) = world.does(&Do::Rotate(Output::Vectors)) {
                assert!(is_ledger_full(&error), "{error:?}");
            }
        }
    }
    assert!(refused > 10, "the ledger ran full: {refused}");
    world.fill_ledger(false);
    world.commit(&[Done(1)]).unwrap();
    world.check();
    world.check_once();
}

#[test]
fn after_a_failed_sync_the_next_start_goes_on_in_a_new_file() {
    for syncs in 0..4 {
        for crash in [Crash::Kill, Crash::Power(1), Crash::Power(2), Crash::Power(3)] {
            let mut world = World::new(2500, 500);
            world.disk.fail_sync_after(syncs);
            let failed = (1..40).find_map(|text| {
                let tried = world.commit(&[Upsert(1, text), Fail(text)]);
                tried.and_then(|()| world.delivery.as_mut().unwrap().sync()).err()
            });
            assert!(matches!(failed, Some(DeliverError::Sink(SinkError::Sync { .. }))), "{failed:?}");
            let segments = world.ledger().segments().unwrap();
            let suspect = segments.iter().find(|segment| segment.state == SegmentState::Suspect).unwrap().clone();
            world.crash(crash);
            let recovered = world.open().unwrap();
            assert_eq!((recovered.damaged, recovered.written > 0), (1, true));
            world.check();
            // Duplicates are the lines behind the synced length of the suspect file.
            let twice = world.standing_in_files(suspect.output).into_iter().filter(|(_, count)| *count > 1).count();
            if crash == Crash::Kill {
                assert!(twice > 0);
            }
            let lengths = suspect.committed - suspect.synced;
            assert_eq!(recovered.written - unsynced_of_the_others(&segments, &suspect), lengths);
            assert!(world.standing_in_files(suspect.output).keys().copied().eq(1..world.ledger().next_seq(suspect.output)));
            world.commit(&[Upsert(1, 50), Done(1)]).unwrap();
            world.delivery = None;
            world.disk.crash(Crash::Kill);
            let again = world.open().unwrap();
            assert_eq!(again.damaged, 0, "that is recovered from once");
            world.check();
        }
    }
}

#[test]
fn a_failed_sync_of_a_file_that_was_on_disk_is_recovered_from() {
    let mut world = World::new(100_000, 500);
    world.commit(&[Upsert(1, 1), Done(1)]).unwrap();
    world.does(&Do::Sync).unwrap();
    world.disk.fail_sync_after(0);
    assert!(world.does(&Do::Rotate(Output::Vectors)).is_err());
    world.crash(Crash::Kill);
    world.open().unwrap();
    world.commit(&[Upsert(1, 2)]).unwrap();
    world.check();
    world.check_once();
}

fn unsynced_of_the_others(segments: &[crate::ledger::Segment], suspect: &crate::ledger::Segment) -> u64 {
    let others = segments.iter().filter(|segment| segment.id != suspect.id && segment.state == SegmentState::Open);
    others.map(|segment| segment.committed - segment.synced).sum()
}
