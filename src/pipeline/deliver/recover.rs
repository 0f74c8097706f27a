//! What a start does before anything else: brings files and ledger to one state, whatever cut the last run off.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::{error, info, warn};

use super::{DeliverError, Delivery, Parts, Unsynced};
use crate::ledger::{Adopted, LedgerError, Says, Segment, SegmentState};
use crate::model::{ChunkId, Fingerprint, LineId, Output, Place};
use crate::sink::disk::DiskFile;
use crate::sink::{self, Files, SinkError, line};

/// What a start found to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of committed lines that a file lacked, or that were not known to be on disk.
    pub written: u64,
    /// Lines of ours that the ledger did not know.
    pub adopted: u64,
    /// Files that had been cut, deleted or exchanged, or whose last sync had failed.
    pub damaged: u64,
}

/// What is read of a file at once.
const READ: usize = 1 << 20;
/// Lines that are adopted in one transaction.
const ADOPT: usize = 1000;
/// No line is longer: a vector of 3,072 numbers, and its text.
const LONGEST_LINE: usize = 64 << 20;

impl Delivery {
    /// Takes ledger and folder over and recovers what a crash left undone. `rebuild` takes the lines of the output into a new ledger.
    ///
    /// Blocks: call it off the runtime.
    ///
    /// # Errors
    /// When ledger or output fail, or one of the two is lost.
    pub fn open(parts: Parts, rebuild: bool, now: SystemTime) -> Result<(Self, Recovered), DeliverError> {
        let Parts { ledger, disk, mut stamp, shape, config, steps } = parts;
        ledger.instance().clone_into(&mut stamp.instance);
        let unsynced = Unsynced::default();
        let files = Files::new(disk);
        let mut delivery = Self { ledger, files, stamp: Arc::new(stamp), shape, config, steps, unsynced, stalled: false };
        let is_new = delivery.ledger.is_new();
        if rebuild && !is_new {
            return Err(DeliverError::LedgerPresent);
        }
        if is_new && let Some((name, instance)) = delivery.last_instance()? {
            if !rebuild {
                return Err(DeliverError::LedgerLost { name });
            }
            delivery.ledger.set_instance(instance.clone())?;
            Arc::make_mut(&mut delivery.stamp).instance = instance;
        }
        let mut recovered = Recovered::default();
        for output in Output::ALL {
            delivery.recover(output, now, &mut recovered)?;
        }
        if recovered.adopted > 0
            && let Some(key) = delivery.shape.remembered_as()
        {
            // Who answers at a URL is as lost as the rest; the lines say it.
            delivery.ledger.set_meta(key, &delivery.shape.is_emulated().to_string())?;
        }
        if recovered != Recovered::default() {
            let Recovered { written, adopted, damaged } = recovered;
            info!(bytes = written, adopted, damaged, "recovered");
        }
        Ok((delivery, recovered))
    }

    fn recover(&mut self, output: Output, now: SystemTime, recovered: &mut Recovered) -> Result<(), DeliverError> {
        for segment in self.segments_of(output)? {
            match segment.state {
                SegmentState::Sealing => self.recover_sealing(&segment, recovered)?,
                SegmentState::Open => self.recover_open(&segment, now, recovered)?,
                SegmentState::Suspect => self.recover_lost(&segment, SegmentState::Suspect, now, recovered)?,
                SegmentState::Sealed | SegmentState::Damaged => {}
            }
        }
        self.adopt_files(output, now, recovered)?;
        self.ensure_open(output, now)
    }

    fn segments_of(&self, output: Output) -> Result<Vec<Segment>, DeliverError> {
        Ok(self.ledger.segments()?.into_iter().filter(|segment| segment.output == output).collect())
    }

    /// Finishes a seal: all of the file is on disk, its name may not be.
    fn recover_sealing(&mut self, segment: &Segment, recovered: &mut Recovered) -> Result<(), DeliverError> {
        let sealed = segment.output.sealed_name(segment.number);
        match self.files.name_of(segment.file)? {
            Some(name) if name == segment.output.live_name() => {
                self.files.rename(&name, &sealed)?;
                self.ledger.set_segment(segment.id, SegmentState::Sealed, &sealed)?;
            }
            Some(name) => self.ledger.set_segment(segment.id, SegmentState::Sealed, &name)?,
            None if self.stat(&sealed)?.is_some_and(|found| found.length == segment.committed) => {
                self.ledger.set_segment(segment.id, SegmentState::Sealed, &sealed)?;
            }
            None => {
                error!(file = %sealed, "a sealed file is gone");
                recovered.damaged += 1;
                self.ledger.set_segment(segment.id, SegmentState::Damaged, &sealed)?;
            }
        }
        Ok(())
    }

    /// Brings the live file of the last run to what is committed.
    fn recover_open(&mut self, segment: &Segment, now: SystemTime, recovered: &mut Recovered) -> Result<(), DeliverError> {
        let Segment { output, id, synced, committed, .. } = *segment;
        let live = output.live_name();
        let name = match self.files.name_of(segment.file)? {
            Some(name) => Some(name),
            // A copy of the folder has other inode numbers: then its bytes tell.
            None if self.holds(segment, &live)? => Some(live.clone()),
            None => None,
        };
        let length = match &name {
            Some(name) => self.stat(name)?.map(|found| found.length),
            None => None,
        };
        let (Some(name), Some(length)) = (name, length.filter(|length| *length >= synced)) else {
            error!(
                file = %live, expected = synced, found = length,
                "the live file was cut, deleted or exchanged: what is missing is gone; going on in a new file",
            );
            return self.recover_lost(segment, SegmentState::Damaged, now, recovered);
        };
        let found = self.files.reopen(output, &name, synced)?;
        self.ledger.set_file(id, found.file)?;
        match self.catch_up(output) {
            Err(error) if error.is_passing() => {
                self.stall();
                return Ok(());
            }
            caught_up => caught_up?,
        }
        if committed > synced {
            recovered.written += committed - synced;
            self.sync_one(output)?;
        }
        let mut state = SegmentState::Sealed;
        if length > committed {
            let end = self.adopt_lines(output, segment, &name, length, recovered)?;
            if end < length {
                warn!(file = %name, bytes = length - end, "the end of the file is none of riverbed's lines, going on in a new file");
                recovered.damaged += 1;
                state = SegmentState::Damaged;
            }
        }
        if name == live && state == SegmentState::Sealed {
            let written = self.ledger.open_segment(output).map_or(0, |open| open.committed);
            self.files.reopen(output, &name, written)?;
            return Ok(());
        }
        self.files.close(output);
        if name == live {
            let aside = output.sealed_name(segment.number);
            self.files.rename(&live, &aside)?;
            self.ledger.set_segment(id, state, &aside)?;
        } else {
            self.ledger.set_segment(id, state, &name)?;
        }
        self.ensure_open(output, now)
    }

    /// Leaves a file as it is and writes what of it is not known to be on disk to a new one.
    fn recover_lost(
        &mut self,
        segment: &Segment,
        state: SegmentState,
        now: SystemTime,
        recovered: &mut Recovered,
    ) -> Result<(), DeliverError> {
        let Segment { output, synced, committed, .. } = *segment;
        if state == SegmentState::Suspect && committed == synced {
            return Ok(()); // done by an earlier start
        }
        recovered.damaged += 1;
        recovered.written += committed - synced;
        self.set_aside(segment, state)?;
        self.ensure_open(output, now)?;
        self.ledger.move_waiting(segment)?;
        match self.catch_up(output) {
            Err(error) if error.is_passing() => {
                self.stall();
                Ok(())
            }
            caught_up => {
                caught_up?;
                self.sync_one(output)
            }
        }
    }

    /// Returns whether a file holds the lines of a segment that are on disk, as far as its last one tells.
    fn holds(&self, segment: &Segment, name: &str) -> Result<bool, DeliverError> {
        let Some(found) = self.stat(name)? else { return Ok(false) };
        let Some((position, length, crc)) = self.ledger.last_line(segment.id, segment.synced)? else {
            return Ok(found.length == 0 && segment.synced == 0);
        };
        let file = self.files.disk().open(name).map_err(|source| SinkError::Open { name: name.to_owned(), source })?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(LONGEST_LINE)];
        Ok(fill(&*file, &mut bytes, position).is_ok_and(|filled| filled == bytes.len()) && crc32fast::hash(&bytes) == crc)
    }

    fn stat(&self, name: &str) -> Result<Option<sink::Stat>, DeliverError> {
        Ok(self.files.disk().stat(name).map_err(|source| SinkError::Open { name: name.to_owned(), source })?)
    }

    /// Takes files that the ledger does not know: an older ledger has not seen them.
    fn adopt_files(&mut self, output: Output, now: SystemTime, recovered: &mut Recovered) -> Result<(), DeliverError> {
        let known = self.segments_of(output)?;
        let names = self.files.disk().list().map_err(|source| SinkError::Open { name: ".".into(), source })?;
        let number = |name: &str| if name == output.live_name() { Some(u64::MAX) } else { output.sealed_number(name) };
        let mut unknown: Vec<_> = names.into_iter().filter_map(|name| Some((number(&name)?, name))).collect();
        unknown.retain(|(_, name)| !known.iter().any(|segment| segment.name == *name));
        unknown.sort_unstable();
        for (number, name) in unknown {
            let Some(found) = self.stat(&name)? else { continue };
            let is_live = number == u64::MAX;
            if found.length == 0 {
                continue;
            }
            if !self.has_lines_to_adopt(output, &name)? {
                if is_live {
                    let aside = format!("{}-foreign-{}.jsonl", output.stem(), uuid::Uuid::new_v4().simple());
                    warn!(file = %name, %aside, "a file that is none of riverbed's stood in the place of the output, moving it aside");
                    self.files.rename(&name, &aside)?;
                }
                continue;
            }
            let number = if is_live { self.next_number(output)? } else { number };
            let id =
                self.ledger.add_segment(output, number, &name, found.file, SegmentState::Sealed, super::milliseconds(now))?;
            let Some(segment) = self.segments_of(output)?.into_iter().find(|segment| segment.id == id) else { continue };
            let end = self.adopt_lines(output, &segment, &name, found.length, recovered)?;
            let state = if end < found.length { SegmentState::Damaged } else { SegmentState::Sealed };
            let mut final_name = name.clone();
            if is_live {
                final_name = output.sealed_name(number);
                self.files.rename(&name, &final_name)?;
            }
            self.ledger.set_segment(id, state, &final_name)?;
        }
        Ok(())
    }

    fn has_lines_to_adopt(&self, output: Output, name: &str) -> Result<bool, DeliverError> {
        let next = self.ledger.next_seq(output);
        let found = self.first_line(name)?;
        Ok(found.is_some_and(|(seq, instance)| seq >= next && instance == self.stamp.instance))
    }

    /// Returns number and instance of a file's first line, if it is one of ours.
    fn first_line(&self, name: &str) -> Result<Option<(u64, String)>, DeliverError> {
        let opening = |source| SinkError::Open { name: name.to_owned(), source };
        let file = self.files.disk().open(name).map_err(opening)?;
        let mut lines = Lines::new(&*file, 0);
        let first = lines.next().map_err(opening)?;
        Ok(first.and_then(|(_, bytes)| {
            let read: line::Read<'_> = serde_json::from_slice(&bytes).ok()?;
            Some((read.seq, read.instance))
        }))
    }

    /// Returns the newest file that has a line of riverbed's, with whose it is.
    fn last_instance(&self) -> Result<Option<(String, String)>, DeliverError> {
        let names = self.files.disk().list().map_err(|source| SinkError::Open { name: ".".into(), source })?;
        for output in Output::ALL {
            let number = |name: &String| if *name == output.live_name() { Some(u64::MAX) } else { output.sealed_number(name) };
            let mut ours: Vec<_> = names.iter().filter_map(|name| Some((number(name)?, name))).collect();
            ours.sort_unstable();
            for (_, name) in ours.into_iter().rev() {
                if let Some((_, instance)) = self.first_line(name)? {
                    return Ok(Some((name.clone(), instance)));
                }
            }
        }
        Ok(None)
    }

    /// Takes the lines of a file behind what is committed, and returns where they end.
    fn adopt_lines(
        &mut self,
        output: Output,
        segment: &Segment,
        name: &str,
        length: u64,
        recovered: &mut Recovered,
    ) -> Result<u64, DeliverError> {
        let opening = |source| SinkError::Open { name: name.to_owned(), source };
        // The file may be open already, and locked by us; the lock is the descriptor's, so it is let go first.
        self.files.close(output);
        let file = self.files.disk().open(name).map_err(opening)?;
        let mut lines = Lines::new(&*file, segment.committed);
        let mut end = segment.committed;
        let mut batch = Vec::new();
        let mut next = self.ledger.next_seq(output);
        while let Some((position, bytes)) = lines.next().map_err(opening)? {
            let Some(adopted) = self.read_back(output, position, &bytes).filter(|found| found.line.seq >= next) else { break };
            next = adopted.line.seq + 1;
            end = position + bytes.len() as u64;
            batch.push(adopted);
            if batch.len() == ADOPT {
                recovered.adopted += batch.len() as u64;
                self.ledger.adopt(segment.id, &std::mem::take(&mut batch))?;
            }
        }
        recovered.adopted += batch.len() as u64;
        self.ledger.adopt(segment.id, &batch)?;
        debug_assert!(end <= length, "no more is read than is there");
        Ok(end)
    }

    /// Reads a line of ours back into what the ledger knows of it.
    fn read_back(&self, output: Output, position: u64, bytes: &[u8]) -> Option<Adopted> {
        let read: line::Read<'_> = serde_json::from_slice(bytes).ok()?;
        if read.instance != self.stamp.instance {
            return None;
        }
        let chunk = || read.id.as_deref().and_then(ChunkId::from_hex);
        let says = match (output, read.op.as_deref()) {
            (Output::Vectors, Some("upsert")) => {
                let [start, end] = read.span?;
                let config = Fingerprint::from_hex(&read.config)?;
                let emulated = read.model.as_deref()?.starts_with("emulator/");
                let answered_at = humantime::parse_rfc3339(read.embedded_at.as_deref()?).ok()?;
                // Only under today's configuration is it known what was asked beside the text.
                let is_current = config == self.shape.config_of(emulated);
                if is_current && self.shape.remembered_as().is_some() {
                    self.shape.answered(emulated);
                }
                Says::Upsert {
                    chunk: chunk()?,
                    config,
                    place: Place::of(&(start..end), read.page, read.headings.as_deref().unwrap_or_default()),
                    tokens: read.tokens?,
                    key: is_current.then(|| self.shape.key_of(read.text.as_deref().unwrap_or_default(), emulated)),
                    emulated,
                    answered_at: super::milliseconds(answered_at),
                }
            }
            (Output::Vectors, Some("delete")) => Says::Delete { chunk: chunk()? },
            (Output::Failed, None) => Says::Nothing,
            _ => return None,
        };
        let line = LineId { output, seq: read.seq };
        let (length, crc) = (bytes.len() as u64, crc32fast::hash(bytes));
        Some(Adopted { line, position, length, crc, path: read.path_bytes()?, says })
    }
}

/// The lines of a file from a position on, each with its newline and where it stands.
struct Lines<'a> {
    file: &'a dyn DiskFile,
    /// Where `held` stands in the file.
    position: u64,
    held: Vec<u8>,
    /// Bytes of `held` that have been handed out.
    used: usize,
}

impl<'a> Lines<'a> {
    fn new(file: &'a dyn DiskFile, position: u64) -> Self {
        Self { file, position, held: Vec::new(), used: 0 }
    }

    /// Returns the next whole line; `None` at the end, or where a line is longer than any of ours.
    fn next(&mut self) -> std::io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            if let Some(length) = self.held[self.used..].iter().position(|byte| *byte == b'\n') {
                let line = self.held[self.used..=self.used + length].to_vec();
                let position = self.position + self.used as u64;
                self.used += line.len();
                return Ok(Some((position, line)));
            }
            self.held.drain(..self.used);
            self.position += self.used as u64;
            self.used = 0;
            let filled = self.held.len();
            if filled > LONGEST_LINE {
                return Ok(None);
            }
            self.held.resize(filled + READ, 0);
            let read = fill(self.file, &mut self.held[filled..], self.position + filled as u64)?;
            self.held.truncate(filled + read);
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

/// Reads until the buffer is full or the file ends, and returns how much that was.
fn fill(file: &dyn DiskFile, bytes: &mut [u8], position: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl From<LedgerError> for super::super::PipelineError {
    fn from(error: LedgerError) -> Self {
        Self::Deliver(error.into())
    }
}
