//! One output's files against its lines in the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use serde::Deserialize;

use super::read_lines::{Found, Lines};
use super::seq_set::SeqSet;
use super::{Off, Verified, VerifyError};
use crate::commitlog::config;
use crate::domain::{LineId, Output};
use crate::ledger::{Placed, Reader, Segment, SegmentId, SegmentState};

/// Broken lines that are kept until it is known what they were; of more than that, each is one the ledger does not know.
const MOST_BROKEN: usize = 100_000;
/// Lines that are looked for in one go.
const PAGE: u32 = 1000;

pub(super) struct Comparison<'a> {
    reader: &'a Reader,
    folder: &'a Path,
    output: Output,
    verified: &'a mut Verified,
    seen: SeqSet,
    /// What may be left of lines, by their numbers: unless the line itself turns up later.
    broken: BTreeMap<u64, Broken>,
    /// The number before the one that should come next.
    cursor: u64,
    /// The line of a segment that comes after a number, as it was last looked up.
    next: Option<(SegmentId, u64, Option<Placed>)>,
    names: BTreeMap<SegmentId, String>,
    gone: BTreeSet<SegmentId>,
}

/// What may be left of a line.
struct Broken {
    file: String,
    off: Off,
    bytes: u64,
}

/// A file that is being read.
struct Current<'a> {
    name: &'a str,
    segment: Option<&'a Segment>,
    /// The highest number so far.
    highest: u64,
}

/// All that is read of a line to know which it should be.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(reader: &'a Reader, folder: &'a Path, output: Output, verified: &'a mut Verified) -> Self {
        let (seen, broken, names, gone) = (SeqSet::default(), BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { reader, folder, output, verified, seen, broken, cursor: 0, next: None, names, gone }
    }

    /// Records that a segment's file is not there.
    pub(super) fn gone(&mut self, segment: &Segment) {
        self.names.insert(segment.id, segment.name.clone());
        self.gone.insert(segment.id);
    }

    /// Reads a file; one that the ledger does not know has no segment.
    pub(super) fn file(&mut self, name: &str, file: File, segment: Option<&Segment>) -> Result<(), VerifyError> {
        let failed = |source| VerifyError::Read { name: name.to_owned(), source };
        let mut current = Current { name, segment, highest: 0 };
        if let Some(segment) = segment {
            self.names.insert(segment.id, name.to_owned());
        }
        self.verified.files += 1;
        let mut lines = Lines::new(file);
        let mut line = Vec::new();
        while let Some(found) = lines.next(&mut line).map_err(failed)? {
            self.verified.bytes += found.length;
            // What a failed sync has left behind the synced length may be anything.
            if segment.is_some_and(|segment| segment.state == SegmentState::Suspect && found.position >= segment.committed) {
                *self.verified.tails.entry(name.to_owned()).or_default() += found.length;
            } else {
                self.line(&mut current, found, &line)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, current: &mut Current<'_>, found: Found, line: &[u8]) -> Result<(), VerifyError> {
        let crc = if found.is_whole { crc32fast::hash(line) } else { 0 };
        let is = |placed: &Placed| found.is_whole && placed.length == found.length && placed.crc == crc;
        let id = current.segment.map(|segment| segment.id);
        let expected = self.known(self.cursor + 1)?;
        if let Some(placed) = expected.filter(|placed| is(placed) && Some(placed.segment) == id) {
            self.stands(current, &placed);
            return Ok(());
        }
        let number = serde_json::from_slice::<Numbered>(line).ok().map(|numbered| numbered.seq);
        let known = match number {
            Some(number) => self.known(number)?,
            None => None,
        };
        match known {
            Some(placed) if is(&placed) => {
                let is_tail = |segment: &Segment| {
                    matches!(segment.state, SegmentState::Suspect | SegmentState::Damaged) && found.position >= segment.committed
                };
                if Some(placed.segment) != id && current.segment.is_some_and(is_tail) {
                    *self.verified.tails.entry(current.name.to_owned()).or_default() += found.length;
                } else {
                    self.stands(current, &placed);
                }
            }
            Some(placed) if found.is_whole && Some(placed.segment) == id && !self.seen.contains(placed.seq) => {
                self.broken(current, found, placed.seq, Off::WrongChecksum);
            }
            _ => match self.expected(current)? {
                Some(placed) if placed.length == found.length => self.broken(current, found, placed.seq, Off::WrongChecksum),
                Some(placed) if number.is_none() => self.broken(current, found, placed.seq, Off::Torn),
                Some(_) | None => {
                    self.verified.add(current.name, Off::Extra, None, found.length);
                }
            },
        }
        Ok(())
    }

    /// Takes a line that is as it was committed.
    fn stands(&mut self, current: &mut Current<'_>, placed: &Placed) {
        let Placed { seq, segment, length, .. } = *placed;
        if self.seen.contains(seq) {
            self.verified.add(current.name, Off::Duplicated, Some(seq), length);
            return;
        }
        if let Some(Broken { file, bytes, .. }) = self.broken.remove(&seq) {
            self.verified.add(&file, Off::Extra, None, bytes);
        }
        if seq < current.highest || current.segment.is_none_or(|current| current.id != segment) {
            self.verified.add(current.name, Off::OutOfOrder, Some(seq), length);
        } else {
            self.verified.lines += 1;
        }
        self.seen.insert(seq);
        current.highest = current.highest.max(seq);
        self.cursor = seq;
    }

    /// Takes what may be left of a line.
    fn broken(&mut self, current: &Current<'_>, found: Found, seq: u64, off: Off) {
        self.cursor = seq;
        if self.broken.contains_key(&seq) || self.broken.len() >= MOST_BROKEN {
            self.verified.add(current.name, Off::Extra, None, found.length);
        } else {
            self.broken.insert(seq, Broken { file: current.name.to_owned(), off, bytes: found.length });
        }
    }

    /// Returns the line that should come next in a file.
    fn expected(&mut self, current: &Current<'_>) -> Result<Option<Placed>, VerifyError> {
        let Some(id) = current.segment.map(|segment| segment.id) else { return Ok(None) };
        if let Some((_, _, next)) = self.next.filter(|(segment, after, _)| (*segment, *after) == (id, self.cursor)) {
            return Ok(next);
        }
        let next = self.reader.line_after(id, LineId { output: self.output, seq: self.cursor })?;
        let next = next.filter(|placed| !self.seen.contains(placed.seq));
        self.next = Some((id, self.cursor, next));
        Ok(next)
    }

    fn known(&self, seq: u64) -> Result<Option<Placed>, VerifyError> {
        // A number that is none of ours may be any.
        if seq >= 1 << 56 {
            return Ok(None);
        }
        Ok(self.reader.line(LineId { output: self.output, seq })?)
    }

    /// Looks for the lines up to a number that no file has shown, and says what became of those that were broken.
    pub(super) fn reconcile(mut self, last: u64) -> Result<(), VerifyError> {
        for (mut from, to) in self.seen.gaps(last) {
            loop {
                let page = self.reader.lines(self.output, from, to, PAGE)?;
                let Some(newest) = page.last() else { break };
                from = newest.seq + 1;
                for placed in page {
                    self.absent(&placed)?;
                }
            }
        }
        // Of lines that were committed after it was asked which the last is.
        for (seq, broken) in std::mem::take(&mut self.broken) {
            match self.known(seq)? {
                Some(placed) => {
                    self.broken.insert(seq, broken);
                    self.absent(&placed)?;
                }
                None => {
                    self.verified.add(&broken.file, broken.off, Some(seq), broken.bytes);
                }
            }
        }
        Ok(())
    }

    /// Returns the name of a file that was live when it was read and is not any more.
    fn sealed_since(&self, segment: SegmentId, name: &str) -> Result<Option<String>, VerifyError> {
        if name != self.output.live_name() {
            return Ok(None);
        }
        let now = self.reader.extent()?.segments.into_iter().find(|now| now.id == segment).map(|now| now.name);
        Ok(now.filter(|now| now != name))
    }

    fn absent(&mut self, placed: &Placed) -> Result<(), VerifyError> {
        let Placed { seq, segment, position, length, crc } = *placed;
        let broken = self.broken.remove(&seq);
        if self.reader.holds(LineId { output: self.output, seq })? {
            self.verified.waiting += 1;
            return Ok(());
        }
        let name = self.names.get(&segment).map_or("?", String::as_str);
        let is_gone = self.gone.contains(&segment);
        let stands_in = |name: &str| config::read_line(self.folder, name, position, length, crc).is_some();
        if !is_gone && (stands_in(name) || self.sealed_since(segment, name)?.is_some_and(|name| stands_in(&name))) {
            self.verified.lines += 1;
            return Ok(());
        }
        self.verified.lacks(self.output, seq);
        match broken {
            Some(Broken { file, off, bytes }) => self.verified.add(&file, off, Some(seq), bytes),
            None => self.verified.add(name, Off::Missing, Some(seq), length),
        }
        .is_gone = is_gone;
        Ok(())
    }
}
