//! Identifies the file of each segment by its lines, whatever its name or inode number.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::disk::DiskFile;
use super::line_reader::{Lines, checksum, fill, last_line};
use super::{DeliverError, Delivery, LARGEST_COMMIT};
use super::{config::SinkError, line};
use crate::domain::{LineId, Output};
use crate::ledger::{Ends, Placed, Segment, SegmentId, SegmentState};

/// What a file is to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// None of its lines are in it.
    Not,
    /// All of its lines that were on disk are.
    Whole,
    /// So are they, but of what was to be written behind them the file has something else. The lines up to here are sound.
    Spoiled(u64),
    /// Its first lines are, up to here: it was cut, or is an older copy.
    Older(u64),
    /// It may be what a power loss has left of it: it has nothing, or zeros.
    Blank,
}

/// A file by its first line.
#[derive(Debug, Clone)]
pub(super) struct First {
    pub(super) name: String,
    /// The line's number.
    pub(super) seq: u64,
    /// Whose output it is of.
    pub(super) instance: String,
    length: u64,
    crc: u32,
}

/// The files that bear names of an output, as they were when it was looked.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Those that begin with a line of riverbed's, and are no segment's by name; the live file among them.
    firsts: Vec<First>,
    /// All others that are no segment's by name.
    others: Vec<String>,
}

/// Numbers of lines that the ledger does not know.
type Newer = BTreeMap<u64, u64>;

impl Delivery {
    /// Looks through the folder for the files of an output.
    pub(super) fn survey(&self, output: Output) -> Result<Survey, DeliverError> {
        let known: BTreeSet<_> = self.segments_of(output)?.into_iter().map(|segment| segment.name).collect();
        let mut survey = Survey::default();
        let mut names = self.list()?;
        names.sort_unstable();
        // A person who renames a file keeps the beginning of its name.
        names.retain(|name| name.starts_with(output.stem()) && (*name == output.live_name() || !known.contains(name)));
        for name in names {
            match self.first_line(&name)? {
                Some(first) => survey.firsts.push(first),
                None => survey.others.push(name),
            }
        }
        Ok(survey)
    }

    /// Compares ledger and folder, before anything is done: both are this output's, and between them no line is missing that
    /// either knows of. `is_agreed`: a person has agreed to go on without such lines.
    ///
    /// Returns the segments that take no more lines and whose files are as they should be: nobody need look at them again.
    pub(super) fn examine(&mut self, is_agreed: bool) -> Result<BTreeSet<SegmentId>, DeliverError> {
        let mark = self.files.mark().filter(|mark| mark.instance == self.stamp.instance).cloned();
        if let Some(other) = self.files.mark().filter(|mark| mark.instance != self.stamp.instance)
            && !self.ledger.is_new()
        {
            return Err(self.other_output(super::config::CLAIM, &other.instance));
        }
        let surveys = Output::ALL.into_iter().map(|output| Ok((output, self.survey(output)?)));
        let surveys: Vec<_> = surveys.collect::<Result<_, DeliverError>>()?;
        // Whose files these are comes before how far they are.
        let mut sound = BTreeSet::new();
        for (output, survey) in &surveys {
            let ends = self.ledger.ends(*output)?;
            for segment in self.segments_of(*output)?.iter().filter(|segment| segment.name != output.live_name()) {
                let Some(found) = self.stat(&segment.name)? else { continue };
                let is_sealed = segment.state == SegmentState::Sealed && found.length == segment.committed;
                if is_sealed && self.fit(segment, ends.get(&segment.id), &segment.name)? == Fit::Whole {
                    sound.insert(segment.id);
                } else if let Some(first) = self.first_line(&segment.name)? {
                    self.is_ours(&first)?;
                }
            }
            for first in survey.firsts.iter().filter(|first| is_read(*output, &first.name)) {
                self.is_ours(first)?;
                self.agrees(*output, first)?;
            }
        }
        for (output, survey) in &surveys {
            let mut newer = Newer::new();
            for first in &survey.firsts {
                if first.instance == self.stamp.instance && first.seq >= self.ledger.next_seq(*output) {
                    let last = self.last_number(&first.name)?.unwrap_or(first.seq);
                    let known = newer.entry(first.seq).or_insert(last);
                    *known = last.max(*known);
                }
            }
            self.ends_of_known_files(*output, survey, &sound, &mut newer)?;
            let given = mark.as_ref().map_or(0, |mark| mark.next(*output).saturating_sub(1));
            // Lines that neither ledger nor files have are lost: only a person may decide to go on without them.
            self.no_gap(*output, &newer, given, is_agreed)?;
        }
        Ok(sound)
    }

    fn is_ours(&self, first: &First) -> Result<(), DeliverError> {
        if first.instance == self.stamp.instance { Ok(()) } else { Err(self.other_output(&first.name, &first.instance)) }
    }

    fn other_output(&self, name: &str, theirs: &str) -> DeliverError {
        DeliverError::OtherOutput { name: name.to_owned(), theirs: theirs.to_owned(), ours: self.stamp.instance.clone() }
    }

    /// Compares the first line of a file with the line that the ledger has under its number.
    fn agrees(&self, output: Output, first: &First) -> Result<(), DeliverError> {
        let known = self.ledger.line(LineId { output, seq: first.seq })?;
        match known {
            Some(known) if known.length != first.length || known.crc != first.crc => {
                Err(DeliverError::Contradicts { name: first.name.clone(), seq: first.seq })
            }
            _ => Ok(()),
        }
    }

    /// Looks which lines follow those that the ledger knows of its files.
    fn ends_of_known_files(
        &self,
        output: Output,
        survey: &Survey,
        sound: &BTreeSet<SegmentId>,
        newer: &mut Newer,
    ) -> Result<(), DeliverError> {
        let ends = self.ledger.ends(output)?;
        for segment in self.segments_of(output)?.iter().filter(|segment| !sound.contains(&segment.id)) {
            let name = match self.locate(segment, ends.get(&segment.id), survey)? {
                Some((name, Fit::Whole)) => name,
                Some((name, Fit::Older(end))) => {
                    self.goes_no_other_way(output, &name, end)?;
                    continue;
                }
                _ => continue,
            };
            let Some(found) = self.stat(&name)?.filter(|found| found.length > segment.committed) else { continue };
            let file = self.read(&name)?;
            let next = Lines::new(&*file, segment.committed).next().map_err(|source| reading(&name, source))?;
            let next = next.and_then(|(_, bytes)| numbered(&bytes)).filter(|(_, instance)| *instance == self.stamp.instance);
            if let Some((first, _)) = next.filter(|(seq, _)| *seq >= self.ledger.next_seq(output)) {
                let last = last_line(&*file, found.length).map_err(|source| reading(&name, source))?;
                let last = last.and_then(|bytes| numbered(&bytes)).map_or(first, |(seq, _)| seq.max(first));
                newer.entry(first).and_modify(|known| *known = last.max(*known)).or_insert(last);
            }
        }
        Ok(())
    }

    /// Holds the line behind those that a file shares with the ledger to the one that the ledger has under its number: where both went on
    /// apart from each other, each has lines that the other has not. A line that is damaged keeps its length.
    fn goes_no_other_way(&self, output: Output, name: &str, end: u64) -> Result<(), DeliverError> {
        let file = self.read(name)?;
        let next = Lines::new(&*file, end).next().map_err(|source| reading(name, source))?;
        let Some((_, bytes)) = next else { return Ok(()) };
        let Some((seq, _)) = numbered(&bytes).filter(|(_, instance)| *instance == self.stamp.instance) else { return Ok(()) };
        match self.ledger.line(LineId { output, seq })? {
            Some(known) if known.length != bytes.len() as u64 => Err(DeliverError::Contradicts { name: name.to_owned(), seq }),
            _ => Ok(()),
        }
    }

    /// Sees to it that the numbers which ledger and files have follow each other, up to the last that was ever given.
    fn no_gap(&mut self, output: Output, newer: &Newer, given: u64, is_agreed: bool) -> Result<(), DeliverError> {
        let mut next = self.ledger.next_seq(output);
        let mut gap = None;
        for (first, last) in newer {
            if *first > next {
                gap.get_or_insert((next, first - 1));
            }
            next = next.max(last + 1);
        }
        if given >= next {
            gap.get_or_insert((next, given));
        }
        match gap {
            Some((from, to)) if !is_agreed => Err(DeliverError::LinesTaken { output, from, to }),
            _ => Ok(()),
        }
    }

    /// Returns the name under which the file of a segment lies, and what it holds of it; `None` where no file has any of its lines.
    pub(super) fn locate(
        &self,
        segment: &Segment,
        ends: Option<&Ends>,
        survey: &Survey,
    ) -> Result<Option<(String, Fit)>, DeliverError> {
        let (live, sealed) = (segment.output.live_name(), segment.output.sealed_name(segment.number));
        let mut names = match segment.state {
            SegmentState::Open | SegmentState::Sealing => vec![live, sealed, segment.name.clone()],
            SegmentState::Sealed | SegmentState::Suspect | SegmentState::Damaged => vec![segment.name.clone(), sealed],
        };
        let begins = |first: &&First| ends.is_some_and(|ends| ends.first.seq == first.seq);
        names.extend(survey.firsts.iter().filter(begins).map(|first| first.name.clone()));
        if segment.synced == 0 {
            // A power loss may have left it without a first line.
            names.extend(survey.others.iter().cloned());
        }
        let mut whole: Option<(String, u64)> = None;
        let mut older: Option<(String, u64)> = None;
        let mut blank: Option<(String, bool)> = None;
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name.clone()) {
                continue;
            }
            if whole.is_some() && !is_read(segment.output, &name) {
                break;
            }
            match self.fit(segment, ends, &name)? {
                Fit::Blank => {
                    // Nothing else distinguishes them: where lines come to be written over it, no line is.
                    let is_its = self.stat(&name)?.is_some_and(|found| found.file == segment.file);
                    let is_better = is_its || blank.is_none() && name == segment.output.live_name();
                    if is_better && blank.as_ref().is_none_or(|(_, is_its)| !is_its) {
                        blank = Some((name, is_its));
                    }
                }
                Fit::Older(end) => {
                    // Of two copies the newer one.
                    if older.as_ref().is_none_or(|(_, other)| *other < end) {
                        older = Some((name, end));
                    }
                }
                Fit::Whole => {
                    // Of two that have all of it, the one that has more: an older ledger has not seen the rest.
                    let length = self.stat(&name)?.map_or(0, |found| found.length);
                    if whole.as_ref().is_none_or(|(_, other)| *other < length) {
                        whole = Some((name, length));
                    }
                }
                Fit::Spoiled(sound) if whole.is_none() => return Ok(Some((name, Fit::Spoiled(sound)))),
                Fit::Not | Fit::Spoiled(_) => {}
            }
        }
        if let Some((name, _)) = whole {
            return Ok(Some((name, Fit::Whole)));
        }
        let older = older.map(|(name, end)| (name, Fit::Older(end)));
        Ok(older.or_else(|| blank.map(|(name, _)| (name, Fit::Whole))))
    }

    /// Returns what a file is to a segment. Of what is on disk the first and the last line tell; only where they do not agree is the rest
    /// looked at.
    fn fit(&self, segment: &Segment, ends: Option<&Ends>, name: &str) -> Result<Fit, DeliverError> {
        let Some(found) = self.stat(name)? else { return Ok(Fit::Not) };
        let file = match self.files.disk().read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Fit::Not),
            opened => opened.map_err(|source| SinkError::Open { name: name.to_owned(), source })?,
        };
        let Some(ends) = ends else { return self.fit_empty(segment, &*file, name) };
        let output = segment.output;
        let is_at = |placed: &Placed| is_at(&*file, placed).map_err(|source| reading(name, source));
        let first_end = ends.first.position + ends.first.length;
        if segment.synced < first_end {
            // Nothing of it need be on disk.
            let agreement = self.agreement(segment, &*file, found.length, name)?;
            return Ok(match agreement {
                Agreement { is_whole: true, says_something: true, .. } => Fit::Whole,
                Agreement { is_whole: true, says_something: false, .. } => Fit::Blank,
                Agreement { sound: 0, .. } => Fit::Not,
                Agreement { sound, .. } => Fit::Spoiled(sound),
            });
        }
        if found.length < first_end || !is_at(&ends.first)? {
            return Ok(Fit::Not);
        }
        let last = self.ledger.line_before(output, ends, segment.synced)?;
        let is_whole = match &last {
            Some(last) => found.length >= segment.synced && is_at(last)?,
            None => true,
        };
        if !is_whole {
            return Ok(Fit::Older(self.sound_length(output, ends, segment.synced, &*file, name)?));
        }
        if segment.state != SegmentState::Open && segment.state != SegmentState::Sealing {
            return Ok(Fit::Whole);
        }
        let agreement = self.agreement(segment, &*file, found.length, name)?;
        Ok(if agreement.is_whole { Fit::Whole } else { Fit::Spoiled(agreement.sound) })
    }

    /// Returns whether a file is that of a segment without lines: it is empty, or has lines that only an older ledger does not know, or one
    /// that was about to take them.
    fn fit_empty(&self, segment: &Segment, file: &dyn DiskFile, name: &str) -> Result<Fit, DeliverError> {
        let length = file.stat().map_err(|source| reading(name, source))?.length;
        if length == 0 {
            return Ok(if segment.state == SegmentState::Open { Fit::Blank } else { Fit::Not });
        }
        if name != segment.name {
            return Ok(Fit::Not);
        }
        let first = Lines::new(file, 0).next().map_err(|source| reading(name, source))?.and_then(|(_, bytes)| numbered(&bytes));
        let is_next =
            first.is_some_and(|(seq, instance)| instance == self.stamp.instance && seq >= self.ledger.next_seq(segment.output));
        Ok(if is_next { Fit::Whole } else { Fit::Not })
    }

    /// Returns where the lines of a segment that a file begins with end. Reads all of them.
    fn sound_length(
        &self,
        output: Output,
        ends: &Ends,
        synced: u64,
        file: &dyn DiskFile,
        name: &str,
    ) -> Result<u64, DeliverError> {
        const PAGE: u32 = 1000;
        let (mut after, mut end) = (0, ends.first.position);
        loop {
            let page = self.ledger.lines_after(output, ends, after, PAGE)?;
            let Some(newest) = page.last() else { return Ok(end) };
            after = newest.seq;
            for placed in page {
                let is_on_disk = placed.position + placed.length <= synced;
                if !is_on_disk || !is_at(file, &placed).map_err(|source| reading(name, source))? {
                    return Ok(end);
                }
                end = placed.position + placed.length;
            }
        }
    }

    /// Holds what a file has behind its synced length to what was to be written there: each byte is as it should be, or the zero that a
    /// power loss leaves.
    fn agreement(&self, segment: &Segment, file: &dyn DiskFile, length: u64, name: &str) -> Result<Agreement, DeliverError> {
        let mut agreement = Agreement { sound: segment.synced, is_whole: true, says_something: false };
        let end = length.min(segment.committed);
        let mut is_exact = true;
        let mut position = segment.synced;
        while position < end {
            let waiting = self.ledger.waiting(segment.id, position, LARGEST_COMMIT)?;
            if waiting.is_empty() {
                break;
            }
            for line in waiting {
                position = line.position + line.bytes.len() as u64;
                let there = usize::try_from(end.saturating_sub(line.position)).unwrap_or(usize::MAX).min(line.bytes.len());
                let mut bytes = vec![0; there];
                let filled = fill(file, &mut bytes, line.position).map_err(|source| reading(name, source))?;
                bytes.truncate(filled);
                for (found, expected) in bytes.iter().zip(&line.bytes) {
                    agreement.says_something |= found == expected;
                    if found != expected {
                        is_exact = false;
                        if *found != 0 {
                            agreement.is_whole = false;
                            return Ok(agreement);
                        }
                    }
                }
                if is_exact && bytes.len() == line.bytes.len() {
                    agreement.sound = position;
                }
            }
        }
        Ok(agreement)
    }

    /// Returns a file's first line, if it is one of riverbed's.
    pub(super) fn first_line(&self, name: &str) -> Result<Option<First>, DeliverError> {
        if !self.is_file(name)? {
            return Ok(None);
        }
        let file = self.read(name)?;
        let mut lines = Lines::new(&*file, 0);
        let first = lines.next().map_err(|source| reading(name, source))?;
        Ok(first.and_then(|(_, bytes)| {
            let (seq, instance) = numbered(&bytes)?;
            Some(First { name: name.to_owned(), seq, instance, length: bytes.len() as u64, crc: crc32fast::hash(&bytes) })
        }))
    }

    fn last_number(&self, name: &str) -> Result<Option<u64>, DeliverError> {
        let Some(found) = self.stat(name)? else { return Ok(None) };
        let last = last_line(&*self.read(name)?, found.length).map_err(|source| reading(name, source))?;
        Ok(last.and_then(|bytes| numbered(&bytes)).map(|(seq, _)| seq))
    }

    /// Returns the files that begin with lines which the ledger does not know, the oldest first; of two copies the longer one.
    pub(super) fn newer(&self, output: Output) -> Result<Vec<String>, DeliverError> {
        let mut newer = Vec::new();
        for first in self.survey(output)?.firsts {
            if first.instance == self.stamp.instance && first.seq >= self.ledger.next_seq(output) {
                let length = self.stat(&first.name)?.map_or(0, |found| found.length);
                newer.push((first.seq, std::cmp::Reverse(length), first.name));
            }
        }
        newer.sort_unstable();
        Ok(newer.into_iter().map(|(_, _, name)| name).collect())
    }

    /// Returns whether every line of a file is one that the ledger knows: it is a copy of lines that are, or were, elsewhere.
    pub(super) fn is_copy(&self, output: Output, name: &str) -> Result<bool, DeliverError> {
        let file = self.read(name)?;
        let mut lines = Lines::new(&*file, 0);
        let mut is_copy = false;
        while let Some((_, bytes)) = lines.next().map_err(|source| reading(name, source))? {
            let Some((seq, _)) = numbered(&bytes) else { return Ok(false) };
            let known = self.ledger.line(LineId { output, seq })?;
            let is_known = known.is_some_and(|known| known.length == bytes.len() as u64 && known.crc == crc32fast::hash(&bytes));
            if !is_known {
                return Ok(false);
            }
            is_copy = true;
        }
        Ok(is_copy)
    }

    pub(super) fn read(&self, name: &str) -> Result<Box<dyn DiskFile>, DeliverError> {
        Ok(self.files.disk().read(name).map_err(|source| SinkError::Open { name: name.to_owned(), source })?)
    }

    fn is_file(&self, name: &str) -> Result<bool, DeliverError> {
        Ok(self.stat(name)?.is_some_and(|found| found.length > 0))
    }
}

/// How the unsynced end of a file stands to what was to be written there.
struct Agreement {
    /// Up to here every byte is as it should be, in whole lines.
    sound: u64,
    /// No byte is another's.
    is_whole: bool,
    /// Some byte is there at all.
    says_something: bool,
}

fn is_at(file: &dyn DiskFile, placed: &Placed) -> io::Result<bool> {
    Ok(checksum(file, placed.position, placed.length)? == Some(placed.crc))
}

/// Returns whether a name is one that readers of an output look for.
fn is_read(output: Output, name: &str) -> bool {
    name == output.live_name() || output.sealed_number(name).is_some()
}

/// Returns number and instance of a line of ours.
pub(super) fn numbered(bytes: &[u8]) -> Option<(u64, String)> {
    let read: line::Read<'_> = serde_json::from_slice(bytes).ok()?;
    Some((read.seq, read.instance))
}

pub(super) fn reading(name: &str, source: io::Error) -> SinkError {
    SinkError::Read { name: name.to_owned(), source }
}
