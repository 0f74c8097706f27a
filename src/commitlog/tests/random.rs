//! Anything in any order. The long form is `PROPTEST_CASES=10000 cargo nextest run --release -E 'test(whatever_happens)'`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::disk::Crash;
use super::world::{Act, Do, World};
use crate::domain::Output;

#[derive(Debug, Clone)]
enum Action {
    Do(Do),
    /// Somebody renames the live file, and may leave an empty one in its place.
    Rename(Output, bool),
    /// The disk of the output has room for so much more.
    Room(Option<usize>),
    LedgerFull(bool),
    FailSync(u32),
    /// So many changes from here.
    Crash(u64, Crash),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let (document, text) = (0..6_u8, 0..12_u8);
    prop_oneof![
        8 => (document.clone(), text.clone()).prop_map(|(document, text)| Act::Upsert(document, text)),
        3 => (document.clone(), text).prop_map(|(document, text)| Act::Delete(document, text)),
        2 => document.clone().prop_map(Act::Done),
        1 => document.clone().prop_map(Act::Fail),
        1 => document.prop_map(Act::Touch),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![4 => Just(Output::Vectors), 1 => Just(Output::Failed)]
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![Just(Crash::Kill), any::<u64>().prop_map(Crash::Power)]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => vec(act(), 1..6).prop_map(|acts| Action::Do(Do::Commit(acts))),
        2 => Just(Action::Do(Do::Sync)),
        2 => output().prop_map(|output| Action::Do(Do::Rotate(output))),
        2 => Just(Action::Do(Do::Look)),
        2 => Just(Action::Do(Do::Retry)),
        2 => (output(), any::<bool>()).prop_map(|(output, followed)| Action::Rename(output, followed)),
        2 => prop_oneof![Just(None), (0..2000_usize).prop_map(Some)].prop_map(Action::Room),
        1 => any::<bool>().prop_map(Action::LedgerFull),
        1 => (0..4_u32).prop_map(Action::FailSync),
        4 => (0..40_u64, crash()).prop_map(|(changes, crash)| Action::Crash(changes, crash)),
        1 => Just(Action::Reopen),
    ]
}

/// A run of actions, with what has to be known of those before.
struct Run {
    world: World,
    /// What the next crash leaves.
    crash: Crash,
    /// A sync has failed: what was not on disk then may be there twice.
    failed_sync: bool,
    renamed: u32,
}

impl Run {
    fn takes(&mut self, action: &Action) {
        let world = &mut self.world;
        let done = match action {
            Action::Do(what) => world.does(what),
            Action::Rename(output, followed) => {
                let live = output.live_name();
                if world.disk.names().contains(&live) {
                    self.renamed += 1;
                    world.disk.outside_rename(&live, &format!("{live}.{}", self.renamed));
                    if *followed {
                        world.disk.outside_make(&live, b"");
                    }
                }
                Ok(())
            }
            Action::Room(room) => {
                world.disk.set_room(*room);
                Ok(())
            }
            Action::LedgerFull(full) => {
                world.fill_ledger(*full);
                Ok(())
            }
            Action::FailSync(after) => {
                self.failed_sync = true;
                world.disk.fail_sync_after(*after);
                Ok(())
            }
            Action::Crash(after, crash) => {
                self.crash = *crash;
                world.disk.crash_after(*after);
                Ok(())
            }
            Action::Reopen => {
                self.reopen();
                Ok(())
            }
        };
        match done {
            Err(error) if !error.is_passing() => {
                assert!(self.world.disk.has_crashed() || self.failed_sync, "nothing else ends it: {error:?}");
                self.reopen();
            }
            _ if self.world.disk.has_crashed() => self.reopen(),
            _ => {}
        }
    }

    /// Starts until a start ends.
    fn reopen(&mut self) {
        for _ in 0..20 {
            self.world.crash(self.crash);
            match self.world.open() {
                Ok(_) if !self.world.disk.has_crashed() => return self.check(),
                Err(error) if error.is_passing() => self.world.disk.set_room(None),
                Ok(_) => {}
                Err(error) => assert!(self.world.disk.has_crashed() || self.failed_sync, "it opens: {error:?}"),
            }
        }
        panic!("it does not come up again");
    }

    fn check(&mut self) {
        self.world.check();
        if !self.failed_sync && !self.world.delivery.as_ref().unwrap().is_stalled() {
            self.world.check_once();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_ledger_and_files_are_what_was_committed(
        actions in vec(action(), 1..40),
        rotate_size in 600..6000_u64,
        cache_size in 0..600_u64,
    ) {
        let world = World::new(rotate_size, cache_size);
        let mut run = Run { world, crash: Crash::Kill, failed_sync: false, renamed: 0 };
        for action in &actions {
            run.takes(action);
        }
        run.world.disk.set_room(None);
        run.world.disk.mend();
        run.world.fill_ledger(false);
        run.reopen();
        run.world.commit_rest(1000).unwrap();
        run.world.does(&Do::Look).unwrap();
        run.check();
    }
}
