//! Rotation of segments: at a size, at an age, on demand, and when another program changed a file.

use std::time::{Instant, SystemTime};

use tracing::{error, info, warn};

use super::config::{self, Outside, SinkError};
use super::file_identity::Fit;
use super::recover::{Recovered, aside};
use super::{DeliverError, Delivery};
use crate::domain::Output;
use crate::domain::moment::milliseconds;
use crate::ledger::{Segment, SegmentState};
use crate::telemetry::Step;

impl Delivery {
    /// Seals an output's live file and begins the next.
    ///
    /// # Errors
    /// When ledger or output fail.
    pub fn rotate(&mut self, output: Output, now: SystemTime) -> Result<(), DeliverError> {
        // One that is in another folder has its end already.
        if self.files.outside(output)? == Some(Outside::MovedOut) {
            self.look_outside(now)?;
        }
        let Some(open) = self.ledger.open_segment(output).filter(|open| open.committed > 0) else { return Ok(()) };
        if self.stalled {
            return Ok(());
        }
        let _step = self.steps.enter(Step::Seal);
        // Before anything else: without room for the next file this one goes on, however long it gets.
        match self.files.prepare(output) {
            Err(SinkError::Full) => {
                if !std::mem::replace(&mut self.is_cramped, true) {
                    warn!(file = %output.live_name(), "cannot create a file in the output folder; continuing in this one");
                }
                return Ok(());
            }
            prepared => prepared?,
        }
        self.sync_one(output)?;
        self.ledger.set_segment(open.segment, SegmentState::Sealing, &output.live_name())?;
        self.ensure_open(output, now)
    }

    /// Seals the files that are older than they may get.
    ///
    /// # Errors
    /// When ledger or output fail.
    pub fn rotate_old(&mut self, now: SystemTime) -> Result<(), DeliverError> {
        let longest = i64::try_from(self.config.rotate_every.as_millis()).unwrap_or(i64::MAX);
        if longest == 0 {
            return Ok(());
        }
        for segment in self.ledger.segments()? {
            if segment.state == SegmentState::Open && is_old(segment.opened_at, milliseconds(now), longest) {
                self.rotate(segment.output, now)?;
            }
        }
        Ok(())
    }

    /// Looks whether somebody renamed, moved, deleted or cut a live file, and if so goes on in a new one.
    ///
    /// # Errors
    /// When ledger or output fail.
    pub fn look_outside(&mut self, now: SystemTime) -> Result<(), DeliverError> {
        self.holds_both()?;
        self.is_cramped = false;
        for output in Output::ALL {
            let Some(outside) = self.files.outside(output)? else { continue };
            let Some(open) = self.ledger.open_segment(output) else { continue };
            let Some(segment) = self.segments_of(output)?.into_iter().find(|segment| segment.id == open.segment) else {
                continue;
            };
            let _step = self.steps.enter(Step::Seal);
            match outside {
                Outside::Cut { length } => self.mend(&segment, length, now)?,
                Outside::Grown { length } => self.part(&segment, length, now)?,
                left => self.leave(&segment, left, now)?,
            }
        }
        Ok(())
    }

    /// Sees to it that ledger and folder are this process' still: what is committed or written to files that were deleted no reader finds.
    ///
    /// # Errors
    /// When one of them was deleted or exchanged.
    pub(super) fn holds_both(&mut self) -> Result<(), DeliverError> {
        self.ledger.stands()?;
        self.files.hold()?;
        match self.files.mark() {
            Some(mark) if mark.instance == self.stamp.instance => Ok(()),
            Some(mark) => Err(DeliverError::OtherOutput {
                name: config::CLAIM.to_owned(),
                theirs: mark.instance.clone(),
                ours: self.stamp.instance.clone(),
            }),
            None => {
                self.mark();
                Ok(())
            }
        }
    }

    /// Leaves a file to which another program appends: its bytes stay as they are, and lines go on in a new one.
    fn part(&mut self, segment: &Segment, length: u64, now: SystemTime) -> Result<(), DeliverError> {
        let output = segment.output;
        let (file, expected) = (output.live_name(), self.files.written(output));
        error!(%file, bytes = length, expected, "another program writes to the file; continuing in a new one");
        // What of it is written stays where it is.
        self.sync_one(output)?;
        self.files.close(output);
        self.set_aside(segment, Some(file), SegmentState::Damaged)?;
        self.ensure_open(output, now)
    }

    /// Goes on in a new file. Readers that follow the old one read on in it, so what is committed to it is finished there.
    fn leave(&mut self, segment: &Segment, left: Outside, now: SystemTime) -> Result<(), DeliverError> {
        let output = segment.output;
        let live = output.live_name();
        match self.catch_up(output) {
            Err(error) if error.is_passing() => return Ok(()),
            caught_up => caught_up?,
        }
        self.sync_one(output)?;
        let sealed = output.sealed_name(segment.number);
        let (state, name) = match left {
            Outside::Renamed(name) => {
                info!(file = %live, %name, "renamed by another program; continuing in a new file");
                (SegmentState::Sealed, name)
            }
            Outside::MovedOut => {
                info!(file = %live, "moved out of the output folder by another program; continuing in a new file");
                (SegmentState::Sealed, sealed)
            }
            Outside::Deleted | Outside::Cut { .. } | Outside::Grown { .. } => {
                error!(file = %live, "deleted by another program; its lines are lost; continuing in a new file");
                (SegmentState::Damaged, sealed)
            }
        };
        self.ledger.set_segment(segment.id, state, &name)?;
        self.ensure_open(output, now)
    }

    /// Writes again what somebody cut off, if the ledger has it all. If it has not, the file is left as it is under its final name,
    /// and what of it is not known to be on disk goes to a new one.
    fn mend(&mut self, segment: &Segment, length: u64, now: SystemTime) -> Result<(), DeliverError> {
        let output = segment.output;
        let (file, expected) = (output.live_name(), self.files.written(output));
        if length >= segment.synced {
            error!(%file, bytes = length, expected, "truncated by another program; rewriting the lost lines");
            self.files.reopen(output, &file, segment.synced)?;
            return self.catch_up_or_stall(output);
        }
        error!(
            %file, bytes = length, expected,
            "truncated by another program; the cut lines are lost; rotate by renaming, or by `sink.rotate-size`",
        );
        self.files.close(output);
        self.set_aside(segment, Some(file), SegmentState::Damaged)?;
        self.ensure_open(output, now)
    }

    /// Leaves a file that takes no more lines, if it is there, under its final name. Those of its lines that are not known to be on disk
    /// wait for the next segment.
    pub(super) fn set_aside(&mut self, segment: &Segment, name: Option<String>, state: SegmentState) -> Result<(), DeliverError> {
        let (live, sealed) = (segment.output.live_name(), segment.output.sealed_name(segment.number));
        let name = match name {
            Some(name) if name == live => {
                self.files.rename(&live, &sealed)?;
                sealed
            }
            Some(name) => name,
            None => sealed,
        };
        Ok(self.ledger.set_segment(segment.id, state, &name)?)
    }

    /// Gives a file that is on disk its final name. Returns whether it is there.
    pub(super) fn finish_seal(&mut self, segment: &Segment) -> Result<bool, DeliverError> {
        let (live, sealed) = (segment.output.live_name(), segment.output.sealed_name(segment.number));
        let (survey, ends) = (self.survey(segment.output)?, self.ledger.ends(segment.output)?);
        let found = self.locate(segment, ends.get(&segment.id), &survey)?;
        let name = match found {
            Some((name, Fit::Older(end))) => {
                let mut recovered = Recovered::default();
                self.lose(segment, ends.get(&segment.id), &name, end, &mut recovered)?;
                self.set_aside(segment, Some(name), SegmentState::Damaged)?;
                return Ok(false);
            }
            Some((name, _)) if name == live => {
                self.files.rename(&live, &sealed)?;
                sealed
            }
            // Somebody was faster, or a crash came after the renaming.
            Some((name, _)) => name,
            None => {
                error!(file = %sealed, "the file to be sealed is missing");
                self.ledger.set_segment(segment.id, SegmentState::Damaged, &sealed)?;
                return Ok(false);
            }
        };
        self.ledger.set_segment(segment.id, SegmentState::Sealed, &name)?;
        info!(file = %name, bytes = segment.committed, "sealed");
        Ok(true)
    }

    /// Sees to it that an output has a segment that lines can be committed to, and that its file is open. A new one takes over what
    /// waits for files that take no more.
    pub(super) fn ensure_open(&mut self, output: Output, now: SystemTime) -> Result<(), DeliverError> {
        if let Some(open) = self.ledger.open_segment(output) {
            if self.files.is_open(output) {
                return Ok(());
            }
            // The ledger had no room to note that the file was set aside.
            for segment in self.segments_of(output)?.iter().filter(|segment| segment.id == open.segment) {
                self.recover_open(segment, &mut Recovered::default())?;
            }
            if self.ledger.open_segment(output).is_some() {
                return Ok(());
            }
        }
        self.files.close(output);
        for segment in self.segments_of(output)?.iter().filter(|segment| segment.state == SegmentState::Sealing) {
            self.finish_seal(segment)?;
        }
        self.clear_the_way(output)?;
        let number = self.next_number(output)?;
        let file = self.files.create(output)?;
        self.ledger.begin_segment(output, number, file, milliseconds(now))?;
        if self.ledger.open_segment(output).is_some_and(|open| open.committed > 0) {
            self.unsynced.since.get_or_insert_with(Instant::now);
            self.catch_up_or_stall(output)?;
        }
        Ok(())
    }

    /// Moves a file that is none of ours, or a copy of lines that have their file, out of the place of the live one.
    pub(super) fn clear_the_way(&self, output: Output) -> Result<(), DeliverError> {
        let live = output.live_name();
        if self.stat(&live)?.is_some_and(|found| found.length > 0) {
            let unique = uuid::Uuid::new_v4().simple();
            let aside = if self.is_copy(output, &live)? {
                // No name that a reader of lines looks for.
                let aside = format!("{live}.copy-{unique}");
                warn!(file = %live, %aside, "moving aside a copy of other lines, found in place of the output");
                aside
            } else {
                let aside = format!("{}{unique}.jsonl", aside(output));
                warn!(file = %live, %aside, "moving aside a foreign file, found in place of the output");
                aside
            };
            self.files.rename(&live, &aside)?;
        }
        Ok(())
    }

    pub(super) fn segments_of(&self, output: Output) -> Result<Vec<Segment>, DeliverError> {
        Ok(self.ledger.segments()?.into_iter().filter(|segment| segment.output == output).collect())
    }

    /// Returns a number that no segment of an output has, neither in the ledger nor in the folder.
    pub(super) fn next_number(&self, output: Output) -> Result<u64, DeliverError> {
        let known = self.segments_of(output)?.into_iter().map(|segment| segment.number);
        let names = self.files.disk().list().map_err(|source| SinkError::Open { name: ".".into(), source })?;
        let there = names.iter().filter_map(|name| output.sealed_number(name));
        Ok(known.chain(there).max().unwrap_or(0) + 1)
    }

    pub(super) fn stat(&self, name: &str) -> Result<Option<config::Stat>, DeliverError> {
        Ok(self.files.disk().stat(name).map_err(|source| SinkError::Open { name: name.to_owned(), source })?)
    }
}

/// Returns whether a file that was opened then has been open for so long, in milliseconds. One that was opened when the clock was wrong
/// has an age that is not known: it is closed too, since it would stay open until the clock gets there.
fn is_old(opened_at: i64, now: i64, longest: i64) -> bool {
    now.saturating_sub(opened_at).saturating_abs() >= longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_opened_when_the_clock_was_wrong_is_closed_as_an_old_one_is() {
        const HOUR: i64 = 3_600_000;
        const NOW: i64 = 1_780_000_000_000;
        let is_old = |opened_at| is_old(opened_at, NOW, HOUR);
        assert_eq!([NOW - HOUR, NOW - HOUR + 1].map(is_old), [true, false]);
        assert!(!is_old(NOW + 1_000), "a clock that was set by a second");
        let years = 10 * 365 * 24 * HOUR;
        assert_eq!([NOW + years, 0, -years, i64::MIN, i64::MAX].map(is_old), [true; 5]);
    }
}
