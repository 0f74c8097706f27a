//! The tests control the time.

use std::path::Path;

use super::*;

const SETTLE: Duration = Duration::from_millis(500);

/// A file that is written to while time goes on as the test wants it.
struct Scene {
    settling: Settling,
    extent: Extent,
    unfinished: Option<Unfinished>,
    now: Instant,
}

fn path() -> DocumentPath {
    DocumentPath::new(Path::new("a.md")).unwrap()
}

fn seen(size: u64) -> Observation {
    Observation { device: 1, inode: 2, size, modified: (3, 4), changed: (5, 6) }
}

impl Scene {
    fn new() -> Self {
        Self::of(Settling::new(SETTLE))
    }

    fn of(settling: Settling) -> Self {
        Self { settling, extent: Extent::Whole, unfinished: None, now: Instant::now() }
    }

    fn touch(&mut self, signal: Signal) {
        self.settling.touch(path(), signal, self.now);
    }

    /// Lets time pass to each look until the file, which shows this size, is ready; returns how long that took.
    fn ready_after(&mut self, size: u64) -> Duration {
        let start = self.now;
        while !self.settling.has_ready() {
            self.now = self.now.max(self.settling.next_look().expect("a file that is not ready waits for a look"));
            self.look(size);
        }
        self.now - start
    }

    fn miss(&mut self, departure: Departure) {
        for Look { path, .. } in self.settling.take_due(self.now, usize::MAX) {
            self.settling.missed(path, departure, self.now);
        }
    }

    fn look(&mut self, size: u64) {
        for Look { path, closely } in self.settling.take_due(self.now, usize::MAX) {
            let is_close = closely == Some(seen(size));
            let view = if is_close { View::Close(self.unfinished) } else { View::FromAfar };
            self.settling.looked(path, seen(size), self.extent, Some(Duration::ZERO), view, self.now);
        }
    }
}

#[test]
fn a_closed_file_is_ready_after_the_settle_time() {
    let mut scene = Scene::new();
    scene.touch(Signal::Complete);
    assert_eq!(scene.ready_after(9), SETTLE);
    assert_eq!(scene.settling.pop_ready(), Some(Settled { path: path(), what: What::There(seen(9)), attempt: 0 }));
    assert_eq!(scene.settling.room(), Settling::CAPACITY);
}

#[test]
fn an_open_file_takes_ten_times_as_long_one_with_holes_four_times_that_and_an_empty_one_a_minute() {
    for (signal, extent, size, expected) in [
        (Signal::Written, Extent::Whole, 9, 10 * SETTLE),
        (Signal::Touched, Extent::Whole, 9, 10 * SETTLE),
        (Signal::Complete, Extent::Holes, 9, 4 * SETTLE),
        (Signal::Written, Extent::Holes, 9, 40 * SETTLE),
        (Signal::Complete, Extent::Whole, 0, Duration::from_mins(1)),
        (Signal::Written, Extent::Whole, 0, Duration::from_mins(1)),
    ] {
        let mut scene = Scene { extent, ..Scene::new() };
        scene.touch(signal);
        assert_eq!(scene.ready_after(size), expected, "{signal:?} {extent:?} {size}");
    }
}

#[test]
fn setting_the_times_of_a_closed_file_does_not_make_it_an_open_one() {
    let mut scene = Scene::new();
    scene.touch(Signal::Complete);
    scene.look(9);
    scene.touch(Signal::Touched);
    assert_eq!(scene.ready_after(9), SETTLE);
}

#[test]
fn every_event_starts_the_quiet_time_again() {
    let mut scene = Scene::new();
    for size in 1..100 {
        scene.touch(Signal::Complete);
        scene.look(size);
        scene.now += SETTLE * 9 / 10;
        scene.look(size);
        assert!(!scene.settling.has_ready());
    }
    scene.touch(Signal::Complete);
    assert_eq!(scene.ready_after(100), SETTLE);
}

#[test]
fn a_change_without_an_event_starts_it_again_too() {
    let mut scene = Scene::new();
    scene.touch(Signal::Complete);
    scene.look(1);
    scene.now += SETTLE;
    scene.look(2);
    assert!(!scene.settling.has_ready());
    assert_eq!(scene.ready_after(2), SETTLE);
}

#[test]
fn an_event_on_a_ready_file_takes_it_back() {
    let mut scene = Scene::new();
    scene.touch(Signal::Complete);
    scene.ready_after(9);
    scene.touch(Signal::Written);
    assert!(!scene.settling.has_ready());
    assert_eq!(scene.ready_after(9), 10 * SETTLE);
}

#[test]
fn an_event_during_a_look_outdates_it() {
    let mut scene = Scene::new();
    scene.touch(Signal::Complete);
    let due = scene.settling.take_due(scene.now, 1);
    scene.touch(Signal::Complete);
    scene.settling.looked(path(), seen(9), Extent::Whole, None, View::FromAfar, scene.now);
    scene.settling.finish(&path());
    let look = Look { path: path(), closely: None };
    assert_eq!((due, scene.settling.next_look()), (vec![look], Some(scene.now)));
}

#[test]
fn a_file_found_by_a_scan_waits_only_for_what_is_left() {
    for (age, left) in [(None, 10 * SETTLE), (Some(SETTLE), 9 * SETTLE), (Some(10 * SETTLE), Duration::ZERO)] {
        let mut scene = Scene::new();
        scene.settling.sight(path(), seen(9), Extent::Whole, age, View::FromAfar, scene.now);
        assert_eq!(scene.ready_after(9), left);
    }
}

#[test]
fn where_nothing_is_announced_two_looks_are_compared_unless_an_event_came_all_the_same() {
    for (extent, expected) in [(Extent::Whole, 20 * SETTLE), (Extent::Holes, 80 * SETTLE)] {
        let mut scene = Scene { extent, ..Scene::new() };
        scene.settling.set_unannounced(true);
        scene.settling.sight(path(), seen(1), extent, None, View::FromAfar, scene.now);
        scene.now += expected;
        scene.look(2);
        assert!(!scene.settling.has_ready());
        assert_eq!(scene.ready_after(2), expected);
    }
    let mut scene = Scene::new();
    scene.settling.set_unannounced(true);
    scene.touch(Signal::Complete);
    assert_eq!(scene.ready_after(9), SETTLE);
}

#[test]
fn a_file_that_seems_unfinished_is_waited_for_and_looked_at_less_and_less_often() {
    for unfinished in [Unfinished::Open, Unfinished::Cut] {
        let mut scene = Scene { unfinished: Some(unfinished), ..Scene::new() };
        scene.touch(Signal::Complete);
        scene.look(9);
        let begun = scene.now;
        let mut looks = Vec::new();
        while !scene.settling.has_ready() {
            scene.now = scene.settling.next_look().unwrap();
            looks.push((scene.now - begun).as_millis() / SETTLE.as_millis());
            scene.look(9);
        }
        assert_eq!(looks, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
    }
}

#[test]
fn a_file_that_no_longer_seems_unfinished_is_ready_at_the_next_look() {
    let mut scene = Scene { unfinished: Some(Unfinished::Open), ..Scene::new() };
    scene.touch(Signal::Written);
    scene.look(9);
    for _ in 0..2 {
        scene.now = scene.settling.next_look().unwrap();
        scene.look(9);
    }
    assert!(!scene.settling.has_ready());
    // Its writer closes it, which is an event.
    scene.unfinished = None;
    scene.touch(Signal::Complete);
    assert_eq!(scene.ready_after(9), SETTLE);
}

#[test]
fn what_was_quiet_before_it_was_found_counts_for_a_file_that_seems_unfinished_too() {
    for (age, left) in [(10, 590), (300, 300), (599, 1), (600, 0)] {
        let mut scene = Scene { unfinished: Some(Unfinished::Cut), ..Scene::new() };
        scene.settling.sight(path(), seen(9), Extent::Whole, Some(age * SETTLE), View::FromAfar, scene.now);
        assert_eq!(scene.ready_after(9), left * SETTLE, "{age}");
    }
}

#[test]
fn a_change_starts_the_wait_for_a_file_that_seems_unfinished_again() {
    let mut scene = Scene { unfinished: Some(Unfinished::Cut), ..Scene::new() };
    scene.touch(Signal::Complete);
    scene.look(1);
    scene.now += 500 * SETTLE;
    scene.look(2);
    assert_eq!(scene.ready_after(2), 600 * SETTLE);
}

#[test]
fn a_scan_does_not_hurry_a_file_that_is_being_written() {
    let mut scene = Scene::new();
    scene.touch(Signal::Written);
    scene.settling.sight(path(), seen(9), Extent::Whole, Some(Duration::MAX), View::FromAfar, scene.now);
    assert_eq!(scene.ready_after(9), 10 * SETTLE);
}

#[test]
fn a_file_handed_back_is_looked_at_later_and_later() {
    let factors = [1, 2, 3, 4, 5, 6, 7, 8, u32::MAX].map(|attempt| {
        let mut scene = Scene::new();
        scene.settling.again(path(), attempt, scene.now);
        scene.settling.next_look().unwrap() - scene.now
    });
    assert_eq!(factors.map(|wait| wait.as_secs()), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn an_event_does_not_cut_the_back_off_short() {
    let mut scene = Scene::new();
    scene.settling.again(path(), 3, scene.now);
    scene.touch(Signal::Complete);
    assert!(scene.ready_after(9) >= 8 * SETTLE);
    assert_eq!(scene.settling.pop_ready().unwrap().attempt, 3);
}

#[test]
fn a_marked_file_waits_for_nothing_but_its_back_off() {
    for signal in [Signal::Complete, Signal::Written, Signal::Touched] {
        let mut scene = Scene::of(Settling::marked(SETTLE));
        scene.touch(signal);
        assert_eq!(scene.ready_after(0), Duration::ZERO);
    }
    let mut scene = Scene::of(Settling::marked(SETTLE));
    scene.settling.again(path(), 1, scene.now);
    assert_eq!(scene.ready_after(9), 2 * SETTLE);
}

#[test]
fn a_held_file_is_ready_when_it_is_released() {
    let mut scene = Scene::new();
    scene.touch(Signal::Complete);
    scene.ready_after(9);
    let settled = scene.settling.pop_ready().unwrap();
    scene.settling.hold(settled, scene.now);
    assert!(!scene.settling.has_ready());
    scene.settling.release(&path());
    assert_eq!(scene.settling.pop_ready().unwrap().what, What::There(seen(9)));
    scene.settling.release(&path());
    assert!(!scene.settling.has_ready());
}

#[test]
fn a_file_is_removed_when_it_is_still_missing_a_settle_time_later() {
    for departure in [Departure::Removed, Departure::Hidden] {
        let mut scene = Scene::of(Settling::marked(SETTLE));
        scene.touch(Signal::Left);
        let begun = scene.now;
        while !scene.settling.has_ready() {
            scene.now = scene.now.max(scene.settling.next_look().unwrap());
            scene.miss(departure);
        }
        assert_eq!(scene.now - begun, SETTLE);
        assert_eq!(scene.settling.pop_ready().unwrap().what, What::Gone(departure));
    }
}

#[test]
fn a_file_that_a_scan_sees_is_not_gone_whatever_was_found_before() {
    for is_held in [false, true] {
        let mut scene = Scene::new();
        scene.touch(Signal::Left);
        scene.miss(Departure::Removed);
        scene.now += SETTLE;
        scene.miss(Departure::Removed);
        assert!(scene.settling.has_ready());
        if is_held {
            let settled = scene.settling.pop_ready().unwrap();
            assert_eq!(settled.what, What::Gone(Departure::Removed));
            scene.settling.hold(settled, scene.now);
        }
        scene.settling.sight(path(), seen(1), Extent::Whole, None, View::FromAfar, scene.now);
        scene.settling.release(&path());
        scene.ready_after(1);
        assert_eq!(scene.settling.pop_ready().unwrap().what, What::There(seen(1)));
    }
}

#[test]
fn a_file_that_comes_back_before_the_second_look_was_never_gone() {
    let mut scene = Scene::new();
    assert!(scene.settling.miss(path(), Departure::Removed, scene.now));
    assert!(!scene.settling.miss(path(), Departure::Removed, scene.now), "that was said before");
    assert_eq!(scene.ready_after(9), SETTLE + 10 * SETTLE);
    assert_eq!(scene.settling.pop_ready().unwrap().what, What::There(seen(9)));
}

#[test]
fn a_file_asked_for_again_is_looked_at_as_if_it_were_new() {
    let mut scene = Scene::new();
    scene.settling.revisit(path(), scene.now);
    scene.settling.take_due(scene.now, 1);
    scene.settling.looked(path(), seen(9), Extent::Whole, Some(Duration::MAX), View::FromAfar, scene.now);
    assert!(scene.settling.has_ready(), "it has lain still since long ago");
}

#[test]
fn a_scan_that_has_looked_closely_spares_the_look_and_changes_no_wait() {
    for age in [0, 1, 9, 10, 40, 41, 300, 599, 600, 700] {
        for extent in [Extent::Whole, Extent::Holes] {
            for unfinished in [None, Some(Unfinished::Open), Some(Unfinished::Cut)] {
                let sighted = |view| {
                    let mut scene = Scene { extent, unfinished, ..Scene::new() };
                    let age = Some(age * SETTLE);
                    let is_left = scene.settling.waits().leave_a_close_look(extent, 9, age);
                    scene.settling.sight(path(), seen(9), extent, age, view, scene.now);
                    let is_spared = scene.settling.next_look() != Some(scene.now);
                    (scene.ready_after(9), is_left, is_spared)
                };
                let (from_afar, is_left, is_spared) = sighted(View::FromAfar);
                let closely = sighted(View::Close(unfinished));
                assert_eq!(closely, (from_afar, is_left, true), "{age} {extent:?} {unfinished:?}");
                assert_eq!(is_spared, !is_left, "a look is left exactly where one is due at once: {age} {extent:?}");
            }
        }
    }
}

#[test]
fn a_close_look_spares_no_back_off() {
    let mut scene = Scene::new();
    scene.settling.again(path(), 1, scene.now);
    scene.settling.sight(path(), seen(9), Extent::Whole, Some(20 * SETTLE), View::Close(None), scene.now);
    assert_eq!(scene.ready_after(9), 2 * SETTLE + 10 * SETTLE);
}

#[test]
fn a_marked_file_is_never_looked_at_closely() {
    let waits = Settling::marked(SETTLE).waits();
    assert!(!waits.leave_a_close_look(Extent::Whole, 9, Some(20 * SETTLE)));
}

#[test]
fn a_file_that_keeps_changing_is_spoken_of_once_when_it_has_done_so_for_long() {
    let mut scene = Scene::new();
    let begun = scene.now;
    let mut spoken_of = Vec::new();
    for size in 0..2400 {
        scene.touch(Signal::Complete);
        scene.look(size);
        assert!(!scene.settling.has_ready(), "it is never quiet");
        for path in scene.settling.take_restless() {
            spoken_of.push((path, scene.now - begun));
        }
        scene.now += SETTLE / 2;
    }
    assert_eq!(spoken_of, [(path(), 600 * SETTLE)]);
    // One that is read and found changing again and again is as bad.
    let mut scene = Scene::new();
    for attempt in 1..=Waits::RESTLESS {
        assert_eq!(scene.settling.take_restless(), []);
        scene.settling.again(path(), attempt, scene.now);
    }
    assert_eq!(scene.settling.take_restless(), [path()]);
}
