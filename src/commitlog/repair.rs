//! Repair: restores lines that the ledger has, and requeues documents for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::file_identity::reading;
use super::line_reader::{Lines, fill};
use super::{DeliverError, Delivery, Entry};
use super::{config::SinkError, line};
use crate::domain::{LineId, Output};
use crate::ledger::{Failed, Lost, Placed, SegmentState};

/// What a repair has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Lines that are in their files again, byte by byte.
    pub put_back: u64,
    /// Lines that no file and no ledger has: the next run makes again what they said.
    pub lost: u64,
    /// Documents that the next run takes again for that.
    pub documents: u64,
}

impl Delivery {
    /// Puts lines back that are not as they were committed, by ranges of their numbers, and has made again what cannot be put back.
    ///
    /// # Errors
    /// When ledger or output fail.
    pub fn repair(&mut self, lacking: &BTreeMap<Output, Vec<(u64, u64)>>, now: SystemTime) -> Result<Repaired, DeliverError> {
        let mut repaired = Repaired::default();
        for (output, ranges) in lacking {
            let before = repaired.lost;
            for (from, to) in ranges {
                let mut lost: Option<(u64, u64)> = None;
                for seq in *from..=*to {
                    let Some(placed) = self.ledger.line(LineId { output: *output, seq })? else { continue };
                    if self.put_back(*output, &placed)? {
                        repaired.put_back += 1;
                        self.forget(*output, lost.take(), &mut repaired)?;
                    } else {
                        lost = Some((lost.map_or(seq, |(first, _)| first), seq));
                    }
                }
                self.forget(*output, lost, &mut repaired)?;
            }
            if repaired.lost > before {
                self.see_what_stands(*output)?;
                self.end_where_files_end(*output)?;
                if *output == Output::Failed {
                    self.tell_again(now)?;
                }
            }
        }
        if self.unsynced.since.is_some() {
            self.sync()?;
        }
        Ok(repaired)
    }

    fn forget(&mut self, output: Output, lost: Option<(u64, u64)>, repaired: &mut Repaired) -> Result<(), DeliverError> {
        let Some((from, to)) = lost else { return Ok(()) };
        let Lost { lines, documents } = self.ledger.lose(output, from, to)?;
        repaired.lost += lines;
        repaired.documents += documents;
        Ok(())
    }

    /// Puts a line back whose vector alone is damaged, if the cache has it. Returns whether the file has the line again.
    fn put_back(&mut self, output: Output, placed: &Placed) -> Result<bool, DeliverError> {
        let line = LineId { output, seq: placed.seq };
        let Some(json) = self.ledger.cached_vector(line)? else { return Ok(false) };
        let segment = self.segments_of(output)?.into_iter().find(|segment| segment.id == placed.segment);
        let Some(name) = segment.map(|segment| segment.name) else { return Ok(false) };
        if self.stat(&name)?.is_none_or(|found| found.length < placed.position + placed.length) {
            return Ok(false);
        }
        let file = self.read(&name)?;
        let mut bytes = vec![0; usize::try_from(placed.length).unwrap_or_default()];
        if fill(&*file, &mut bytes, placed.position).map_err(|source| reading(&name, source))? < bytes.len() {
            return Ok(false);
        }
        let Some(range) = line::vector_of(&bytes, json.len()) else { return Ok(false) };
        bytes[range].copy_from_slice(json.as_bytes());
        if crc32fast::hash(&bytes) != placed.crc {
            return Ok(false);
        }
        let mut file = self.files.disk().open(&name).map_err(|source| SinkError::Open { name: name.clone(), source })?;
        let mut written = 0;
        while written < bytes.len() {
            let more = file.write_at(&bytes[written..], placed.position + written as u64);
            written += more.map_err(|source| SinkError::Write { name: name.clone(), source })?;
        }
        file.sync().map_err(|source| SinkError::Sync { name, source })?;
        Ok(true)
    }

    /// Notes where files end that are shorter than they were: what they lack is forgotten by then.
    fn end_where_files_end(&mut self, output: Output) -> Result<(), DeliverError> {
        let ends = self.ledger.ends(output)?;
        for segment in self.segments_of(output)?.iter().filter(|segment| segment.state != SegmentState::Open) {
            if self.stat(&segment.name)?.is_some_and(|found| found.length < segment.synced) {
                let end = ends.get(&segment.id).map_or(0, |ends| ends.last.position + ends.last.length);
                self.ledger.shorten(segment.id, end)?;
                self.ledger.set_segment(segment.id, SegmentState::Damaged, &segment.name)?;
            }
        }
        Ok(())
    }

    /// Says again of documents why they are failed where the line that said it is lost.
    pub(super) fn tell_again(&mut self, now: SystemTime) -> Result<(), DeliverError> {
        let mut told = BTreeSet::new();
        for segment in self.segments_of(Output::Failed)? {
            if self.stat(&segment.name)?.is_none() {
                continue;
            }
            let file = self.read(&segment.name)?;
            let mut lines = Lines::new(&*file, 0);
            while let Some((_, bytes)) = lines.next().map_err(|source| reading(&segment.name, source))? {
                let read = serde_json::from_slice::<line::Read<'_>>(&bytes).ok();
                told.extend(read.filter(|read| read.instance == self.stamp.instance).and_then(|read| read.path_bytes()));
            }
        }
        let failed = self.ledger.reader()?.failed()?;
        let entries: Vec<_> = failed
            .into_iter()
            .filter(|failed| !failed.retried && !told.contains(failed.path.as_bytes()))
            .map(|Failed { path, version, failure, at, .. }| Entry::FailedAgain { path, version, failure, at })
            .collect();
        let mut taken = 0;
        while taken < entries.len() {
            match self.commit(&entries[taken..], now) {
                // The next repair says it.
                Err(error) if error.is_passing() => return Ok(()),
                more => taken += more?,
            }
        }
        Ok(())
    }
}
