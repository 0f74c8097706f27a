//! Recovery at a start: brings files and ledger to one state after any crash, even where one of them is an older
//! copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::{error, info, warn};

use super::file_identity::{Fit, Survey, reading};
use super::line_reader::Lines;
use super::{CommitLogParts, DeliverError, Delivery, Unsynced};
use super::{
    config::{Files, Mark, SinkError},
    line,
};
use crate::domain::moment::milliseconds;
use crate::domain::{ChunkId, Context, Fingerprint, LineId, Output, Place, QuestionKey};
use crate::ledger::{Adopted, Ends, Lost, Says, Segment, SegmentId, SegmentState};

/// How ledger and output are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// As they are. Where lines are in neither, a person is asked.
    Plain,
    /// The ledger is new, and takes the lines of the output.
    Rebuild,
    /// A person has agreed that what cannot be put back is made again.
    Repair,
}

/// What a start found to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of committed lines that a file lacked, or that were not known to be on disk.
    pub written: u64,
    /// Lines of ours that the ledger did not know.
    pub adopted: u64,
    /// Files that had been cut, deleted or exchanged, or whose last sync had failed.
    pub damaged: u64,
    /// Lines that were on disk and that no file has any more: what they said is made again.
    pub lost: u64,
}

/// Lines that are adopted in one transaction.
const ADOPT: usize = 1000;

impl Delivery {
    /// Takes ledger and folder over and recovers what a crash left undone.
    ///
    /// Blocks: call it off the runtime.
    ///
    /// # Errors
    /// When ledger or output fail, one of the two is lost, or they are not of one output.
    pub fn open(parts: CommitLogParts, opening: Opening, now: SystemTime) -> Result<(Self, Recovered), DeliverError> {
        let path = parts.ledger.path().to_owned();
        Self::take_over(parts, opening, now).map_err(|error| match error {
            DeliverError::Ledger(error) => error.or_of_the_disk(&path).into(),
            error => error,
        })
    }

    fn take_over(parts: CommitLogParts, opening: Opening, now: SystemTime) -> Result<(Self, Recovered), DeliverError> {
        let CommitLogParts { ledger, disk, mut stamp, shape, config, steps } = parts;
        ledger.instance().clone_into(&mut stamp.instance);
        let unsynced = Unsynced::default();
        let files = Files::new(disk)?;
        let stamp = Arc::new(stamp);
        let mut delivery = Self { ledger, files, stamp, shape, config, steps, unsynced, stalled: false, is_cramped: false };
        let is_new = delivery.ledger.is_new();
        if opening == Opening::Rebuild && !is_new {
            return Err(DeliverError::LedgerPresent);
        }
        // A new ledger beside an old output: it was lost. Going on would give the numbers of old lines to new ones.
        if is_new && let Some((name, instance)) = delivery.last_instance()? {
            if opening != Opening::Rebuild {
                return Err(DeliverError::LedgerLost { name });
            }
            delivery.ledger.set_instance(instance.clone())?;
            Arc::make_mut(&mut delivery.stamp).instance = instance;
        }
        // Before anything is changed: a combination that a person must decide about is refused here.
        let sound = delivery.examine(opening != Opening::Plain)?;
        let given = delivery.files.mark().filter(|mark| mark.instance == delivery.stamp.instance).cloned();
        let mut recovered = Recovered::default();
        for output in Output::ALL {
            delivery.recover(output, now, &sound, &mut recovered)?;
            // No number is given twice, wherever the line of the first is.
            if let Some(last) = given.as_ref().map(|mark| mark.next(output) - 1)
                && last >= delivery.ledger.next_seq(output)
            {
                delivery.ledger.raise(output, last)?;
            }
        }
        delivery.mark();
        if recovered.adopted > 0
            && let Some(key) = delivery.shape.remembered_as()
        {
            // Whether a URL is an emulator's was lost with the ledger; the lines say it.
            delivery.ledger.set_meta(key, &delivery.shape.is_emulated().to_string())?;
        }
        if delivery.unsynced.since.is_some() {
            delivery.sync()?;
        }
        if recovered != Recovered::default() {
            let Recovered { written, adopted, damaged, lost } = recovered;
            info!(bytes = written, adopted, damaged, lost, "recovered");
        }
        Ok((delivery, recovered))
    }

    /// Marks the folder with whose it is, and how far.
    pub(super) fn mark(&mut self) {
        let mark = Mark::new(&self.stamp.instance, |output| self.ledger.next_seq(output));
        self.files.set_mark(mark);
    }

    fn recover(
        &mut self,
        output: Output,
        now: SystemTime,
        sound: &BTreeSet<SegmentId>,
        recovered: &mut Recovered,
    ) -> Result<(), DeliverError> {
        let before = recovered.lost;
        let survey = self.survey(output)?;
        let ends = self.ledger.ends(output)?;
        for segment in self.segments_of(output)? {
            let ends = ends.get(&segment.id);
            match segment.state {
                SegmentState::Sealing => match self.finish_seal(&segment) {
                    // The next commit meets it again, and waits.
                    Err(error) if error.is_passing() => self.stall(),
                    sealed => recovered.damaged += u64::from(!sealed?),
                },
                SegmentState::Open => match self.recover_open(&segment, recovered) {
                    Err(error) if error.is_passing() => self.stall(),
                    done => done?,
                },
                SegmentState::Suspect | SegmentState::Damaged
                    if segment.committed > segment.synced || segment.name == output.live_name() =>
                {
                    let name = self.locate(&segment, ends, &survey)?.map(|(name, _)| name);
                    self.recover_lost(&segment, segment.state, name, recovered)?;
                }
                SegmentState::Sealed if sound.contains(&segment.id) => {}
                SegmentState::Sealed => self.recover_sealed(&segment, ends, &survey, recovered)?,
                SegmentState::Suspect | SegmentState::Damaged => {
                    self.find_again(&segment, ends, &survey)?;
                }
            }
        }
        // After the known segments: what is in no segment by now was written after the ledger's copy was made.
        self.adopt_files(output, now, recovered)?;
        let has_lost = recovered.lost > before;
        if has_lost {
            self.see_what_stands(output)?;
        }
        if output == Output::Answers && self.segments_of(output)?.is_empty() {
            return Ok(()); // nobody was ever asked
        }
        match self.ensure_open(output, now) {
            Err(error) if error.is_passing() => self.stall(),
            opened => opened?,
        }
        if has_lost && output == Output::Failed {
            self.tell_again(now)?;
        }
        Ok(())
    }

    /// Brings the live file of the last run to what is committed.
    pub(super) fn recover_open(&mut self, segment: &Segment, recovered: &mut Recovered) -> Result<(), DeliverError> {
        let Segment { output, id, synced, committed, .. } = *segment;
        let live = output.live_name();
        let survey = self.survey(output)?;
        let ends = self.ledger.ends(output)?;
        let ends = ends.get(&id);
        let name = match self.locate(segment, ends, &survey)? {
            // Nothing of it was on disk, so nothing is missing.
            None if synced == 0 => {
                self.clear_the_way(output)?;
                let file = self.files.create(output)?;
                self.ledger.set_file(id, file)?;
                live.clone()
            }
            None => {
                error!(
                    file = %live, expected = synced,
                    "active file was deleted or replaced; its missing lines are lost (`riverbed verify --repair` rebuilds them); continuing \
                     in a new file",
                );
                return self.recover_lost(segment, SegmentState::Damaged, None, recovered);
            }
            Some((name, Fit::Older(end))) => {
                self.lose(segment, ends, &name, end, recovered)?;
                return self.recover_lost(segment, SegmentState::Damaged, Some(name), recovered);
            }
            Some((name, Fit::Spoiled(sound))) => {
                warn!(file = %name, "another program wrote to the active file; continuing in a new file");
                self.sync_file(&name)?;
                self.ledger.synced(id, sound)?;
                return self.recover_lost(segment, SegmentState::Damaged, Some(name), recovered);
            }
            Some((name, _)) => name,
        };
        let found = self.files.reopen(output, &name, synced)?;
        self.ledger.set_file(id, found.file)?;
        self.catch_up_or_stall(output)?;
        if self.files.written(output) < committed {
            return Ok(()); // there is no room for the rest
        }
        // Synced at once: the rest of the start relies on what is in this file.
        if committed > synced {
            recovered.written += committed - synced;
            self.sync_one(output)?;
        }
        let mut state = SegmentState::Sealed;
        if found.length > committed && self.adopt_lines(segment, &name, recovered)? < found.length {
            warn!(file = %name, "the file has lines that are not riverbed's; continuing in a new file");
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
    fn recover_lost(
        &mut self,
        segment: &Segment,
        state: SegmentState,
        name: Option<String>,
        recovered: &mut Recovered,
    ) -> Result<(), DeliverError> {
        recovered.damaged += 1;
        let now = self.segments_of(segment.output)?.into_iter().find(|now| now.id == segment.id);
        recovered.written += now.map_or(0, |now| now.committed - now.synced);
        self.set_aside(segment, name, state)
    }

    /// Forgets the lines of a segment that its file lacks, so that what they said is made again.
    pub(super) fn lose(
        &mut self,
        segment: &Segment,
        ends: Option<&Ends>,
        name: &str,
        end: u64,
        recovered: &mut Recovered,
    ) -> Result<(), DeliverError> {
        let Some(ends) = ends else { return Ok(()) };
        let last = self.ledger.line_before(segment.output, ends, end)?;
        let from = last.map_or(ends.first.seq, |last| last.seq + 1);
        let Lost { lines, documents } = self.ledger.lose(segment.output, from, ends.last.seq)?;
        self.ledger.shorten(segment.id, end)?;
        error!(
            file = %name, lines, documents,
            "the file was truncated or is an older copy; rebuilding its lost lines",
        );
        recovered.lost += lines;
        Ok(())
    }

    /// Looks at a file that takes no more lines. One that readers took away is not missed.
    fn recover_sealed(
        &mut self,
        segment: &Segment,
        ends: Option<&Ends>,
        survey: &Survey,
        recovered: &mut Recovered,
    ) -> Result<(), DeliverError> {
        let Some((name, fit)) = self.find_again(segment, ends, survey)? else { return Ok(()) };
        let segment = Segment { name, ..segment.clone() };
        if let Fit::Older(end) = fit {
            self.lose(&segment, ends, &segment.name, end, recovered)?;
            recovered.damaged += 1;
            return Ok(self.ledger.set_segment(segment.id, SegmentState::Damaged, &segment.name)?);
        }
        let length = self.stat(&segment.name)?.map_or(0, |found| found.length);
        // A crash came while they were taken, or the ledger is older.
        if length > segment.committed { self.adopt_sealed(&segment, length, recovered) } else { Ok(()) }
    }

    /// Looks for the file of a segment that takes no more lines, and notes its name. One that an earlier build moved aside, or that lies in
    /// the place of the live file, gets its own.
    fn find_again(
        &mut self,
        segment: &Segment,
        ends: Option<&Ends>,
        survey: &Survey,
    ) -> Result<Option<(String, Fit)>, DeliverError> {
        let Some((name, fit)) = self.locate(segment, ends, survey)? else { return Ok(None) };
        if name == segment.name {
            return Ok(Some((name, fit)));
        }
        let (live, sealed) = (segment.output.live_name(), segment.output.sealed_name(segment.number));
        let is_hidden = name == live || name.starts_with(&aside(segment.output));
        let name = if is_hidden && self.stat(&sealed)?.is_none() {
            info!(file = %name, name = %sealed, "found by its lines");
            self.files.rename(&name, &sealed)?;
            sealed
        } else {
            name
        };
        self.ledger.set_segment(segment.id, segment.state, &name)?;
        Ok(Some((name, fit)))
    }

    /// Takes files that the ledger does not know: an older ledger has not seen them.
    fn adopt_files(&mut self, output: Output, now: SystemTime, recovered: &mut Recovered) -> Result<(), DeliverError> {
        for mut name in self.newer(output)? {
            let Some(found) = self.stat(&name)? else { continue };
            if self.first_line(&name)?.is_none_or(|first| first.seq < self.ledger.next_seq(output)) {
                continue; // another copy was taken
            }
            let is_known = |number: &u64| self.segments_of(output).map(|known| known.iter().any(|known| known.number == *number));
            let number = match output.sealed_number(&name) {
                Some(number) if !is_known(&number)? => number,
                _ => self.next_number(output)?,
            };
            if name == output.live_name() || name.starts_with(&aside(output)) {
                let sealed = output.sealed_name(number);
                self.files.rename(&name, &sealed)?;
                name = sealed;
            }
            let at = milliseconds(now);
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
            warn!(file = %segment.name, "the file has lines that are not riverbed's");
            recovered.damaged += 1;
            self.ledger.set_segment(segment.id, SegmentState::Damaged, &segment.name)?;
        }
        Ok(())
    }

    pub(super) fn list(&self) -> Result<Vec<String>, DeliverError> {
        Ok(self.files.disk().list().map_err(|source| SinkError::Open { name: ".".into(), source })?)
    }

    /// Returns the newest file that has a line of riverbed's, with whose it is.
    fn last_instance(&self) -> Result<Option<(String, String)>, DeliverError> {
        let names = self.list()?;
        for output in Output::ALL {
            let number = |name: &String| if *name == output.live_name() { Some(u64::MAX) } else { output.sealed_number(name) };
            let mut ours: Vec<_> = names.iter().filter_map(|name| Some((number(name)?, name))).collect();
            ours.sort_unstable();
            for (_, name) in ours.into_iter().rev() {
                if let Some(first) = self.first_line(name)? {
                    return Ok(Some((name.clone(), first.instance)));
                }
            }
        }
        Ok(None)
    }

    /// Takes the lines of a file behind what is committed, and returns up to where all of it are riverbed's lines. What others wrote between
    /// them is passed over.
    fn adopt_lines(&mut self, segment: &Segment, name: &str, recovered: &mut Recovered) -> Result<u64, DeliverError> {
        let output = segment.output;
        self.files.close(output);
        // They count as being on disk from now on.
        self.sync_file(name)?;
        let file = self.read(name)?;
        let mut lines = Lines::new(&*file, segment.committed);
        let mut end = segment.committed;
        let mut batch = Vec::new();
        let mut next = self.ledger.next_seq(output);
        while let Some((position, bytes)) = lines.next().map_err(|source| reading(name, source))? {
            let Some(adopted) = self.read_back(output, position, &bytes).filter(|found| found.line.seq >= next) else { continue };
            next = adopted.line.seq + 1;
            if position == end {
                end = position + bytes.len() as u64;
            }
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

    /// Waits until a file that is not open is on disk.
    pub(super) fn sync_file(&self, name: &str) -> Result<(), DeliverError> {
        let mut file = self.read(name)?;
        Ok(file.sync().map_err(|source| SinkError::Sync { name: name.to_owned(), source })?)
    }

    /// Compares the current lines with those in the files: of a lost line nobody knows what it deleted. Reads all of them.
    pub(super) fn see_what_stands(&mut self, output: Output) -> Result<(), DeliverError> {
        let mut stood = BTreeSet::new();
        let ends: BTreeMap<SegmentId, Ends> = self.ledger.ends(output)?;
        let mut segments = self.segments_of(output)?;
        segments.retain(|segment| ends.contains_key(&segment.id));
        segments.sort_unstable_by_key(|segment| ends[&segment.id].first.seq);
        for segment in segments {
            if self.stat(&segment.name)?.is_none() {
                continue;
            }
            let file = self.read(&segment.name)?;
            let mut lines = Lines::new(&*file, 0);
            let mut batch = Vec::new();
            loop {
                let next = lines.next().map_err(|source| reading(&segment.name, source))?;
                let is_end = next.is_none();
                batch.extend(next.and_then(|(position, bytes)| self.read_back(output, position, &bytes)));
                if is_end || batch.len() == ADOPT {
                    self.ledger.see(&std::mem::take(&mut batch), &mut stood)?;
                }
                if is_end {
                    break;
                }
            }
        }
        self.ledger.take_again(&stood)?;
        Ok(())
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
                    answered_at: milliseconds(answered_at),
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

/// Returns what the names of files begin with that were moved out of the way.
pub(super) fn aside(output: Output) -> String {
    format!("{}-foreign-", output.stem())
}
