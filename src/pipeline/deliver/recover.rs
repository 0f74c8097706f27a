//! What a start does before anything else: brings files and ledger to one state, whatever cut the last run off.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::{error, info, warn};

use super::{DeliverError, Delivery, Parts, Unsynced};
use crate::ledger::{Adopted, LedgerError, Says, Segment, SegmentState};
use crate::model::{ChunkId, Context, Fingerprint, LineId, Output, Place, QuestionKey};
use crate::sink::disk::DiskFile;
use crate::sink::{Files, SinkError, line};

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
        if delivery.unsynced.since.is_some() {
            delivery.sync()?;
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
                SegmentState::Sealing => match self.finish_seal(&segment) {
                    // The next commit meets it again, and waits.
                    Err(error) if error.is_passing() => self.stall(),
                    sealed => recovered.damaged += u64::from(!sealed?),
                },
                SegmentState::Open => self.recover_open(&segment, recovered)?,
                SegmentState::Suspect | SegmentState::Damaged
                    if segment.committed > segment.synced || segment.name == output.live_name() =>
                {
                    self.recover_lost(&segment, segment.state, recovered)?;
                }
                SegmentState::Sealed => self.recover_sealed(&segment, recovered)?,
                SegmentState::Suspect | SegmentState::Damaged => {}
            }
        }
        self.adopt_files(output, now, recovered)?;
        if output == Output::Answers && self.segments_of(output)?.is_empty() {
            return Ok(()); // nobody was ever asked
        }
        match self.ensure_open(output, now) {
            Err(error) if error.is_passing() => {
                self.stall();
                Ok(())
            }
            opened => opened,
        }
    }

    /// Brings the live file of the last run to what is committed.
    pub(super) fn recover_open(&mut self, segment: &Segment, recovered: &mut Recovered) -> Result<(), DeliverError> {
        let Segment { output, id, synced, committed, .. } = *segment;
        let live = output.live_name();
        let Some(name) = self.find(segment)? else {
            error!(
                file = %live, expected = synced,
                "the live file was cut, deleted or exchanged: what is missing is gone; going on in a new file",
            );
            return self.recover_lost(segment, SegmentState::Damaged, recovered);
        };
        let found = self.files.reopen(output, &name, synced)?;
        self.ledger.set_file(id, found.file)?;
        self.catch_up_or_stall(output)?;
        if self.files.written(output) < committed {
            return Ok(()); // there is no room for the rest
        }
        if committed > synced {
            recovered.written += committed - synced;
            self.sync_one(output)?;
        }
        let mut state = SegmentState::Sealed;
        if found.length > committed && self.adopt_lines(segment, &name, recovered)? < found.length {
            warn!(file = %name, "the end of the file is none of riverbed's lines, going on in a new file");
            recovered.damaged += 1;
            state = SegmentState::Damaged;
        }
        if name == live && state == SegmentState::Sealed {
            let written = self.ledger.open_segment(output).map_or(0, |open| open.committed);
            self.files.reopen(output, &name, written)?;
            return Ok(());
        }
        self.files.close(output);
        let mut final_name = name;
        if final_name == live {
            final_name = output.sealed_name(segment.number);
            self.files.rename(&live, &final_name)?;
        }
        Ok(self.ledger.set_segment(id, state, &final_name)?)
    }

    /// Leaves a file as it is. What of it is not known to be on disk waits for the next segment.
    fn recover_lost(&mut self, segment: &Segment, state: SegmentState, recovered: &mut Recovered) -> Result<(), DeliverError> {
        recovered.damaged += 1;
        recovered.written += segment.committed - segment.synced;
        self.set_aside(segment, state)
    }

    /// Goes on taking the lines of a file, where a crash came in the midst of that.
    fn recover_sealed(&mut self, segment: &Segment, recovered: &mut Recovered) -> Result<(), DeliverError> {
        let found = self.stat(&segment.name)?.filter(|found| found.file == segment.file);
        let Some(length) = found.map(|found| found.length).filter(|length| *length > segment.committed) else { return Ok(()) };
        self.adopt_sealed(segment, length, recovered)
    }

    /// Returns whether a file holds the lines of a segment that are on disk, as far as its last one tells.
    pub(super) fn holds(&self, segment: &Segment, name: &str) -> Result<bool, DeliverError> {
        let Some(found) = self.stat(name)? else { return Ok(false) };
        let Some((position, length, crc)) = self.ledger.last_line(segment.id, segment.synced)? else {
            return Ok(segment.synced == 0 && (found.file == segment.file || found.length == 0));
        };
        let file = self.files.disk().open(name).map_err(|source| SinkError::Open { name: name.to_owned(), source })?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(LONGEST_LINE)];
        Ok(fill(&*file, &mut bytes, position).is_ok_and(|filled| filled == bytes.len()) && crc32fast::hash(&bytes) == crc)
    }

    /// Takes files that the ledger does not know: an older ledger has not seen them.
    fn adopt_files(&mut self, output: Output, now: SystemTime, recovered: &mut Recovered) -> Result<(), DeliverError> {
        let known = self.segments_of(output)?;
        let mut unknown = Vec::new();
        // Whoever renames a file lets its name begin as it was.
        for name in self.list()?.into_iter().filter(|name| name.starts_with(output.stem())) {
            let Some(found) = self.stat(&name)? else { continue };
            if known.iter().all(|segment| segment.name != name && segment.file != found.file)
                && let Some((seq, instance)) = self.first_line(&name)?
                && instance == self.stamp.instance
                && seq >= self.ledger.next_seq(output)
            {
                unknown.push((seq, name));
            }
        }
        unknown.sort_unstable();
        for (_, mut name) in unknown {
            let Some(found) = self.stat(&name)? else { continue };
            let number = match output.sealed_number(&name) {
                Some(number) => number,
                None => self.next_number(output)?,
            };
            if name == output.live_name() {
                let sealed = output.sealed_name(number);
                self.files.rename(&name, &sealed)?;
                name = sealed;
            }
            let at = super::milliseconds(now);
            let id = self.ledger.add_segment(output, number, &name, found.file, SegmentState::Sealed, at)?;
            for segment in self.segments_of(output)?.iter().filter(|segment| segment.id == id) {
                self.adopt_sealed(segment, found.length, recovered)?;
            }
        }
        Ok(())
    }

    /// Takes what of a file that takes no more lines is not known yet.
    fn adopt_sealed(&mut self, segment: &Segment, length: u64, recovered: &mut Recovered) -> Result<(), DeliverError> {
        if self.adopt_lines(segment, &segment.name, recovered)? < length {
            warn!(file = %segment.name, "the end of the file is none of riverbed's lines");
            recovered.damaged += 1;
            self.ledger.set_segment(segment.id, SegmentState::Damaged, &segment.name)?;
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, DeliverError> {
        Ok(self.files.disk().list().map_err(|source| SinkError::Open { name: ".".into(), source })?)
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
        let names = self.list()?;
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
    fn adopt_lines(&mut self, segment: &Segment, name: &str, recovered: &mut Recovered) -> Result<u64, DeliverError> {
        let output = segment.output;
        let opening = |source| SinkError::Open { name: name.to_owned(), source };
        // The file may be open already, and locked by us; the lock is the descriptor's, so it is let go first.
        self.files.close(output);
        let mut file = self.files.disk().open(name).map_err(opening)?;
        // They count as being on disk from now on.
        file.sync().map_err(|source| SinkError::Sync { name: name.to_owned(), source })?;
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
                    key: is_current.then(|| {
                        let text = read.text.as_deref().unwrap_or_default();
                        self.shape.key_of(&Context::before(read.context.as_deref(), text), emulated)
                    }),
                    emulated,
                    answered_at: super::milliseconds(answered_at),
                }
            }
            (Output::Vectors, Some("delete")) => Says::Delete { chunk: chunk()? },
            (Output::Answers, Some("upsert")) => Says::Answer {
                answer: chunk()?,
                prompt: read.prompt.clone(),
                question: read.question.as_deref().and_then(QuestionKey::from_hex)?,
            },
            (Output::Answers, Some("delete")) => Says::TakeBack { answer: chunk()? },
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
