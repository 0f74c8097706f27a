//! Changes that other programs make to the files.

use super::disk::Crash;
use super::world::{Act, Do, World};
use crate::commitlog::config::SinkError;
use crate::commitlog::{DeliverError, Recovered};
use crate::domain::Output;
use crate::ledger::{DocumentState, SegmentState};

use Act::{Delete, Done, Upsert};

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
        // And all of it is there after another start.
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
            // At run time the lines were written to the deleted file, for those who follow it.
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
    for length in [0, 10] {
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
fn lines_cut_off_an_open_file_are_lost_and_the_rest_goes_to_the_next() {
    let mut world = started();
    world.disk.outside_edit(LIVE, |bytes| bytes.truncate(600));
    world.forget_seen();
    notice(&mut world, None);
    assert_eq!(state_of(&mut world, 1), (SegmentState::Damaged, "vectors-000001.jsonl".to_owned()));
    assert_eq!(world.standing_in_files(Output::Vectors).into_iter().collect::<Vec<_>>(), [(1, 1), (4, 1), (5, 1), (6, 1)]);
}

#[test]
fn an_older_copy_keeps_its_lines_and_what_it_lacks_is_made_again() {
    for (torn, down) in [0, 20].into_iter().zip([Crash::Kill, Crash::Power(1)]) {
        let mut world = started();
        world.crash(down);
        let first = world.disk.see(LIVE).unwrap().1.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        world.disk.outside_edit(LIVE, |bytes| bytes.truncate(first + torn));
        world.disk.renumber();
        world.forget_seen();
        let recovered = world.open().unwrap();
        assert_eq!((recovered.damaged, recovered.lost), (1, 2));
        assert_eq!(state_of(&mut world, 1), (SegmentState::Damaged, "vectors-000001.jsonl".to_owned()));
        assert_eq!(world.standing_in_files(Output::Vectors).into_iter().collect::<Vec<_>>(), [(1, 1), (4, 1), (5, 1)]);
        assert_eq!(world.stands(), [(1, 1), (1, 4), (1, 5)], "by document and number: what is lost stands no more");
        assert_eq!(world.state(1), DocumentState::UnderWay, "its document is taken again");
        assert_eq!(world.ledger().next_seq(Output::Vectors), 6, "no number is given again");
        world.crash(Crash::Kill);
        assert_eq!(world.open().unwrap(), Recovered::default(), "that is done once");
        assert_eq!(world.ledger().next_seq(Output::Vectors), 6);
        world.commit(&[Upsert(1, 2), Upsert(1, 3)]).unwrap();
        assert_eq!(world.stands(), [(1, 1), (1, 4), (1, 5), (1, 6), (1, 7)]);
        assert!(world.disk.names().iter().all(|name| !name.contains("foreign") && !name.contains("copy")), "nothing is hidden");
    }
}

#[test]
fn a_deletion_whose_line_was_lost_is_written_again() {
    let mut world = World::new(100_000, 500);
    world.commit(&[Upsert(1, 1), Upsert(1, 2), Done(1)]).unwrap();
    world.does(&Do::Rotate(Output::Vectors)).unwrap();
    world.commit(&[Upsert(2, 3), Delete(1, 2), Upsert(2, 4), Done(2)]).unwrap();
    world.does(&Do::Sync).unwrap();
    assert_eq!(world.stands(), [(1, 1), (2, 3), (2, 5)]);
    world.crash(Crash::Kill);
    let first = world.disk.see(LIVE).unwrap().1.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    world.disk.outside_edit(LIVE, |bytes| bytes.truncate(first));
    world.forget_seen();
    assert_eq!(world.open().unwrap().lost, 2);
    // A reader of the files sees the deleted line: so it is current again, and its document, which has it no more, is processed again.
    assert_eq!(world.stands(), [(1, 1), (1, 2), (2, 3)]);
    assert_eq!([world.state(1), world.state(2)], [DocumentState::UnderWay; 2]);
}

#[test]
fn bytes_appended_by_others_stay_and_lines_go_on_in_a_new_file() {
    for tail in [&b"not ours\n"[..], b"half a line"] {
        for looks in [false, true] {
            let mut world = started();
            world.disk.outside_edit(LIVE, |bytes| bytes.extend_from_slice(tail));
            if looks {
                world.does(&Do::Look).unwrap();
            }
            world.commit(&[Upsert(2, 6), Done(2)]).unwrap();
            world.check();
            world.check_once();
            let (state, name) = state_of(&mut world, 1);
            assert_eq!((state, &*name), (SegmentState::Damaged, "vectors-000001.jsonl"));
            assert!(world.disk.see(&name).unwrap().1.ends_with(tail), "nobody's bytes are written over");
        }
    }
}

#[test]
fn bytes_of_other_programs_are_not_overwritten() {
    let mut world = started();
    world.disk.set_room(Some(0));
    world.commit(&[Upsert(1, 6), Upsert(1, 7)]).unwrap();
    world.crash(Crash::Kill);
    world.disk.set_room(None);
    world.disk.outside_edit(LIVE, |bytes| bytes.extend_from_slice(b"another's\n"));
    world.open().unwrap();
    world.check();
    world.check_once();
    assert!(world.disk.see("vectors-000001.jsonl").unwrap().1.ends_with(b"another's\n"));
}

#[test]
fn lines_cut_off_behind_the_synced_length_are_written_again() {
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
fn a_sealed_file_may_be_moved_away() {
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
fn bytes_appended_between_runs_stay_and_end_the_file() {
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
fn a_run_continues_with_a_copy_of_the_folder() {
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

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_one_that_was_cut() {
    for rotates in [false, true] {
        let mut failed = 0;
        for reads in 0.. {
            let mut world = started();
            if rotates {
                world.does(&Do::Rotate(Output::Vectors)).unwrap();
                world.commit(&[Upsert(2, 6)]).unwrap();
            }
            world.crash(Crash::Kill);
            let before: Vec<_> = world.disk.names().into_iter().map(|name| (world.disk.see(&name), name)).collect();
            world.disk.fail_reads_after(reads);
            let opened = world.open();
            world.disk.mend();
            if opened.is_ok() {
                break;
            }
            failed += 1;
            assert!(matches!(opened, Err(DeliverError::Sink(SinkError::Read { .. }))), "{opened:?} after {reads} reads");
            for (seen, name) in before {
                let (number, bytes) = seen.unwrap();
                let now = world.disk.see(&name).unwrap();
                assert!(now.0 == number && now.1.starts_with(&bytes), "{name} is left alone after {reads} reads");
            }
            world.crash(Crash::Kill);
            world.open().unwrap();
            world.check();
            world.check_once();
        }
        assert!(failed > 2, "{failed}");
    }
}
