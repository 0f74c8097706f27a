//! A crash at every point.

use super::disk::Crash;
use super::world::{Act, Do, World};
use crate::domain::Output;

/// Few bytes, so that a few lines fill a file.
const ROTATE: u64 = 2500;
const CACHE: u64 = 300;

/// Everything that is done with files and ledger, in some forty changes of either.
fn scenario() -> Vec<Do> {
    use Act::{Delete, Done, Fail, Touch, Upsert};
    vec![
        Do::Commit(vec![Upsert(1, 1), Upsert(1, 2), Done(1)]),
        Do::Commit(vec![Upsert(2, 3), Fail(2)]),
        Do::Sync,
        Do::Commit(vec![Upsert(3, 1), Delete(1, 2), Touch(1)]),
        Do::Commit(vec![Upsert(3, 4), Upsert(3, 9), Upsert(3, 2), Done(3)]),
        Do::Rotate(Output::Failed),
        Do::Commit(vec![Fail(4), Upsert(1, 2), Upsert(2, 3)]),
        Do::Look,
        Do::Rotate(Output::Vectors),
        Do::Commit(vec![Delete(3, 9), Done(3), Upsert(5, 5)]),
        Do::Sync,
    ]
}

/// What may be left by a crash.
const CRASHES: [Crash; 4] = [Crash::Kill, Crash::Power(1), Crash::Power(2), Crash::Power(3)];

fn changes_of_a_run() -> u64 {
    let mut world = World::closed(ROTATE, CACHE);
    world.open().unwrap();
    assert!(world.goes_on(&scenario()));
    world.check();
    world.check_once();
    world.disk.operations()
}

/// Runs the scenario until a change and leaves it there.
fn run_until(change: u64) -> World {
    let mut world = World::closed(ROTATE, CACHE);
    world.disk.crash_after(change);
    if world.open().is_ok() {
        assert!(!world.goes_on(&scenario()), "the crash is noticed");
    }
    world.delivery = None;
    world
}

#[test]
fn after_a_crash_at_any_point_nothing_is_lost_and_nothing_is_there_twice() {
    let changes = changes_of_a_run();
    for change in 0..changes {
        let left = run_until(change);
        for crash in CRASHES {
            let mut world = left.fork();
            world.crash(crash);
            if crash == Crash::Kill {
                world.check_prefixes();
            }
            world.open().unwrap_or_else(|error| panic!("after {crash:?} at change {change}: {error:?}"));
            world.check();
            world.check_once();
            assert!(world.goes_on(&scenario()), "after {crash:?} at change {change}");
            world.check();
            world.check_once();
        }
    }
    println!("{changes} points, {} crashes", changes * CRASHES.len() as u64);
    assert!(changes > 60, "only {changes} points: is everything still done?");
}

#[test]
fn a_crash_at_any_point_of_recovery_is_recovered_from() {
    let mut crashes = 0;
    for change in 0..changes_of_a_run() {
        let left = run_until(change);
        for first in [Crash::Kill, Crash::Power(change)] {
            let mut crashed = left.fork();
            crashed.crash(first);
            for again in 0.. {
                let mut world = crashed.fork();
                world.disk.crash_after(again);
                if world.open().is_ok() && !world.disk.has_crashed() {
                    break;
                }
                crashes += 1;
                world.crash(if again % 2 == 0 { Crash::Kill } else { Crash::Power(again) });
                world.open().unwrap_or_else(|error| panic!("{first:?} at change {change}, again at {again}: {error:?}"));
                world.check();
                world.check_once();
            }
        }
    }
    println!("{crashes} crashes of recoveries");
    assert!(crashes > 200, "only {crashes} crashes");
}
