//! What others do to the files.

use super::disk::Crash;
use super::world::{Act, Do, World};
use crate::ledger::SegmentState;
use crate::model::Output;

use Act::{Done, Upsert};

const LIVE: &str = "vectors.jsonl";

/// A world with three lines on disk and two that are not.
fn started() -> World {
    let mut world = World::new(100_000, 500);
    world.commit(&[Upsert(1, 1), Upsert(1, 2), Upsert(1, 3)]).unwrap();
    world.does(&Do::Sync).unwrap();
    world.commit(&[Upsert(1, 4), Upsert(1, 5)]).unwrap();
    world.check();
    world
}

/// Lets it be noticed, at run time or by the next start, and goes on.
fn notice(world: &mut World, down: Option<Crash>) {
    match down {
        None => world.does(&Do::Look).unwrap(),
        Some(_) => drop(world.open().unwrap()),
    }
    world.check();
    world.commit(&[Upsert(2, 6), Done(2)]).unwrap();
    world.does(&Do::Sync).unwrap();
    world.check();
}

/// Does something to the files while the delivery runs, and while it is down after a kill or a power loss.
fn each(outside: impl Fn(&mut World), mut then: impl FnMut(&mut World, Option<Crash>)) {
    for down in [None, Some(Crash::Kill), Some(Crash::Power(1)), Some(Crash::Power(5))] {
        let mut world = started();
        if let Some(crash) = down {
            world.crash(crash);
        }
        outside(&mut world);
        notice(&mut world, down);
        then(&mut world, down);
        // And all of it stands after another start.
        world.crash(Crash::Kill);
        world.open().unwrap();
        world.check();
    }
}

fn state_of(world: &mut World, number: u64) -> (SegmentState, String) {
    let segments = world.ledger().segments().unwrap();
    let found = segments.into_iter().find(|segment| segment.output == Output::Vectors && segment.number == number).unwrap();
    (found.state, found.name)
}

#[test]
fn a_file_that_was_renamed_is_finished_under_its_new_name() {
    each(
        |world| world.disk.outside_rename(LIVE, "vectors.jsonl.1"),
        |world, _| {
            assert_eq!(state_of(world, 1), (SegmentState::Sealed, "vectors.jsonl.1".to_owned()));
            world.check_once();
        },
    );
}

#[test]
fn a_file_that_was_renamed_and_followed_by_an_empty_one_is_finished_under_its_new_name() {
    each(
        |world| {
            world.disk.outside_rename(LIVE, "vectors.jsonl.1");
            world.disk.outside_make(LIVE, b"");
        },
        |world, _| {
            assert_eq!(state_of(world, 1), (SegmentState::Sealed, "vectors.jsonl.1".to_owned()));
            world.check_once();
        },
    );
}

#[test]
fn a_file_that_was_renamed_is_sealed_where_it_is() {
    for followed in [false, true] {
        let mut world = started();
        world.disk.outside_rename(LIVE, "vectors.jsonl.1");
        if followed {
            world.disk.outside_make(LIVE, b"");
        }
        world.does(&Do::Rotate(Output::Vectors)).unwrap();
        assert_eq!(state_of(&mut world, 1), (SegmentState::Sealed, "vectors.jsonl.1".to_owned()));
        world.commit(&[Upsert(2, 6), Done(2)]).unwrap();
        world.check();
        world.check_once();
    }
}

#[test]
fn a_file_that_was_moved_to_another_folder_has_all_its_lines_and_nothing_is_lost() {
    for noticed in [Do::Look, Do::Rotate(Output::Vectors)] {
        let mut world = started();
        let before = world.disk.see(LIVE).unwrap().1;
        world.disk.outside_move_out(LIVE);
        world.does(&noticed).unwrap();
        assert_eq!(state_of(&mut world, 1), (SegmentState::Sealed, "vectors-000001.jsonl".to_owned()));
        let moved = world.disk.see_elsewhere();
        assert!(moved.len() == 1 && moved[0].starts_with(&before) && moved[0].ends_with(b"\n"), "{moved:?}");
        world.commit(&[Upsert(2, 6), Done(2)]).unwrap();
        let there: Vec<_> = world.standing_in_files(Output::Vectors).into_keys().collect();
        assert_eq!(there, [6], "the new file begins with what is new");
        assert_eq!(world.disk.see_elsewhere(), moved, "and the old one has ended");
    }
}

#[test]
fn a_deleted_file_takes_no_line_with_it_that_was_not_on_disk() {
    each(
        |world| world.disk.outside_delete(LIVE),
        |world, down| {
            assert_eq!(state_of(world, 1).0, SegmentState::Damaged);
            let there: Vec<_> = world.standing_in_files(Output::Vectors).into_keys().collect();
            // At run time the lines were written to the file that is gone, for those who follow it.
            assert_eq!(there, if down.is_some() { vec![4, 5, 6] } else { vec![6] });
        },
    );
}

#[test]
fn a_file_in_the_place_of_the_output_is_moved_aside() {
    for foreign in [&b"something else\n"[..], &[0; 9000], br#"{"seq":1,"instance":"another","document":"a","config":"b"}"#] {
        each(
            |world| {
                world.disk.outside_delete(LIVE);
                world.disk.outside_make(LIVE, foreign);
            },
            |world, _| {
                assert_eq!(state_of(world, 1).0, SegmentState::Damaged);
                let aside: Vec<_> = world.disk.names().into_iter().filter(|name| name.contains("foreign")).collect();
                assert_eq!(aside.len(), 1, "{aside:?}");
                assert_eq!(world.disk.see(&aside[0]).unwrap().1, foreign, "and is as it was");
            },
        );
    }
}

#[test]
fn a_file_that_was_cut_before_its_synced_length_is_left_and_the_rest_goes_to_the_next() {
    for length in [0, 10, 600] {
        each(
            |world| {
                world.disk.outside_edit(LIVE, |bytes| bytes.truncate(length));
                world.forget_seen();
            },
            |world, _| {
                assert_eq!(state_of(world, 1), (SegmentState::Damaged, "vectors-000001.jsonl".to_owned()));
                let counts = world.standing_in_files(Output::Vectors);
                assert!((4..=6).all(|seq| counts.get(&seq) == Some(&1)), "what was not on disk is there once: {counts:?}");
                assert!(counts.values().all(|count| *count == 1), "{counts:?}");
            },
        );
    }
}

#[test]
fn what_was_cut_off_behind_the_synced_length_is_written_again() {
    each(
        |world| {
            let synced: usize =
                world.disk.see(LIVE).unwrap().1.split_inclusive(|byte| *byte == b'\n').take(3).map(<[u8]>::len).sum();
            world.disk.outside_edit(LIVE, |bytes| bytes.truncate(synced + 3));
            world.forget_seen();
        },
        |world, _| {
            assert_eq!(state_of(world, 1).0, SegmentState::Open);
            world.check_once();
        },
    );
}

#[test]
fn a_line_is_never_written_behind_the_hole_that_a_cut_left() {
    let mut world = started();
    world.disk.outside_edit(LIVE, Vec::clear);
    world.forget_seen();
    // Nobody looks before the next line comes.
    world.commit(&[Upsert(2, 6), Done(2)]).unwrap();
    world.check();
    assert_eq!(state_of(&mut world, 1).0, SegmentState::Damaged);
    assert_eq!(world.standing_in_files(Output::Vectors).into_iter().collect::<Vec<_>>(), [(4, 1), (5, 1), (6, 1)]);
}

#[test]
fn a_crash_while_a_damaged_file_is_left_loses_nothing() {
    let mut points = 0;
    for again in 0.. {
        let mut world = started();
        world.disk.outside_edit(LIVE, Vec::clear);
        world.forget_seen();
        world.disk.crash_after(again);
        let looked = world.does(&Do::Look);
        if looked.is_ok() && !world.disk.has_crashed() {
            break;
        }
        points += 1;
        world.crash(Crash::Power(again));
        world.open().unwrap();
        world.check();
        let counts: Vec<_> = world.standing_in_files(Output::Vectors).into_iter().collect();
        assert_eq!(counts, [(4, 1), (5, 1)], "after {again} changes");
    }
    assert!(points >= 5, "{points}");
}

#[test]
fn without_room_for_a_new_file_a_damaged_one_loses_nothing() {
    let mut world = started();
    world.disk.outside_edit(LIVE, Vec::clear);
    world.forget_seen();
    world.disk.set_room(Some(0));
    assert!(world.does(&Do::Look).unwrap_err().is_passing());
    assert!(world.commit(&[Upsert(2, 6)]).unwrap_err().is_passing());
    world.disk.set_room(None);
    world.commit(&[Done(2)]).unwrap();
    world.check();
    assert_eq!(world.standing_in_files(Output::Vectors).into_iter().collect::<Vec<_>>(), [(4, 1), (5, 1), (6, 1)]);
}

#[test]
fn a_sealed_file_may_be_taken_away() {
    let mut world = started();
    world.does(&Do::Rotate(Output::Vectors)).unwrap();
    world.commit(&[Upsert(2, 6), Done(2)]).unwrap();
    world.disk.outside_delete("vectors-000001.jsonl");
    world.does(&Do::Look).unwrap();
    world.crash(Crash::Kill);
    assert_eq!(world.open().unwrap().damaged, 0);
    world.commit(&[Upsert(2, 7)]).unwrap();
    assert_eq!(world.standing_in_files(Output::Vectors).into_keys().collect::<Vec<_>>(), [6, 7]);
}

#[test]
fn what_others_append_while_nobody_looks_is_left_and_ends_the_file() {
    for tail in [&b"not ours\n"[..], b"{\"op\":\"upsert\",\"seq\":6,", b"\n", &[0; 4096]] {
        for crash in [Crash::Kill, Crash::Power(2)] {
            let mut world = started();
            world.does(&Do::Sync).unwrap();
            world.crash(crash);
            world.disk.outside_edit(LIVE, |bytes| bytes.extend_from_slice(tail));
            notice(&mut world, Some(crash));
            let (state, name) = state_of(&mut world, 1);
            assert_eq!(state, SegmentState::Damaged);
            assert!(world.disk.see(&name).unwrap().1.ends_with(tail), "nothing is cut off");
            world.check_once();
        }
    }
}

#[test]
fn a_copy_of_the_folder_is_gone_on_with() {
    for sealing in [false, true] {
        for changes in if sealing { 0..8 } else { 0..1 } {
            let mut world = started();
            if sealing {
                world.disk.crash_after(changes);
                let _crashed = world.does(&Do::Rotate(Output::Vectors));
            }
            world.crash(Crash::Kill);
            world.disk.renumber();
            world.forget_seen();
            assert_eq!(world.open().unwrap().damaged, 0, "after {changes} changes");
            world.check();
            world.commit(&[Upsert(2, 6), Done(2)]).unwrap();
            world.check();
            world.check_once();
        }
    }
}

#[test]
fn another_file_that_got_the_number_of_a_deleted_one_is_not_written_to() {
    let mut world = started();
    world.crash(Crash::Kill);
    // The number is that of the live file, which was deleted; the bytes are a stranger's.
    world.disk.outside_rename(LIVE, "notes.txt");
    world.disk.outside_edit("notes.txt", |bytes| *bytes = b"x".repeat(9000));
    world.forget_seen();
    world.open().unwrap();
    world.check();
    assert_eq!(world.disk.see("notes.txt").unwrap().1, b"x".repeat(9000));
    assert_eq!(world.standing_in_files(Output::Vectors).into_keys().collect::<Vec<_>>(), [4, 5]);
}
