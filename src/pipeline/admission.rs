//! Turns for processing files: as many as have room for their texts, and one alone after a crash.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets files be worked on at the same time, as long as their bytes together stay within a bound. One that is larger is alone, and so is
/// one that may be what the last process died of: then it is known whose fault the next death is.
#[derive(Debug)]
pub(super) struct Turns {
    most: u64,
    state: Mutex<AdmissionState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AdmissionState {
    /// Files in progress.
    files: usize,
    /// Their bytes.
    bytes: u64,
    /// Whether the one in progress wants to be alone.
    is_alone: bool,
    /// Suspects that wait: nobody else begins before them.
    waiting: usize,
}

/// A file in progress, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    bytes: u64,
    is_alone: bool,
}

impl Turns {
    /// Bounds the bytes of the files in progress.
    pub(super) fn new(most: u64) -> Self {
        Self { most, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until a file of so many bytes may be worked on. Blocks.
    pub(super) fn take(&self, bytes: u64, is_suspect: bool) -> Turn<'_> {
        let mut state = self.lock();
        if is_suspect {
            state.waiting += 1;
        }
        let must_wait = |state: &AdmissionState| {
            let is_taken = state.files > 0 && (is_suspect || state.is_alone || state.bytes + bytes > self.most);
            is_taken || (!is_suspect && state.waiting > 0)
        };
        while must_wait(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if is_suspect {
            state.waiting -= 1;
        }
        state.files += 1;
        state.bytes += bytes;
        state.is_alone = is_suspect;
        Turn { turns: self, bytes, is_alone: is_suspect }
    }

    fn lock(&self) -> MutexGuard<'_, AdmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Says that the dangerous part is over: others may work on their files while this one's text is sent.
    pub(super) fn no_longer_alone(&mut self) {
        if std::mem::take(&mut self.is_alone) {
            self.turns.lock().is_alone = false;
            self.turns.changed.notify_all();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.files -= 1;
        state.bytes -= self.bytes;
        state.is_alone &= !self.is_alone;
        drop(state);
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Takes a turn on a thread of its own; the receiver gets it when it has come.
    fn take<'s>(scope: &'s thread::Scope<'s, '_>, turns: &'s Turns, bytes: u64, is_suspect: bool) -> mpsc::Receiver<Turn<'s>> {
        let (taken, hears) = mpsc::channel();
        scope.spawn(move || taken.send(turns.take(bytes, is_suspect)).unwrap());
        hears
    }

    /// Returns whether a turn comes that nobody gives way to. It is waited for where it must come.
    fn waits<'s>(turns: &'s Turns, hears: &mpsc::Receiver<Turn<'s>>, suspects: usize) -> bool {
        // A waiter has taken the lock and released it; a suspect is counted meanwhile.
        while turns.lock().waiting < suspects {
            thread::yield_now();
        }
        hears.try_recv().is_err()
    }

    #[test]
    fn files_are_worked_on_together_as_far_as_there_is_room() {
        let turns = Turns::new(100);
        let first = turns.take(60, false);
        let second = turns.take(40, false);
        thread::scope(|scope| {
            let third = take(scope, &turns, 1, false);
            assert!(waits(&turns, &third, 0));
            drop(first);
            drop(third.recv().unwrap());
            drop(second);
            drop(turns.take(1000, false));
        });
    }

    #[test]
    fn a_suspect_is_worked_on_alone_and_lets_others_begin_once_it_is_read() {
        let turns = Turns::new(100);
        let first = turns.take(1, false);
        thread::scope(|scope| {
            let suspect = take(scope, &turns, 1, true);
            assert!(waits(&turns, &suspect, 1));
            let other = take(scope, &turns, 1, false);
            drop(first);
            let mut suspect = suspect.recv().unwrap();
            assert!(other.try_recv().is_err(), "somebody works beside a suspect");
            suspect.no_longer_alone();
            drop(other.recv().unwrap());
        });
    }
}
