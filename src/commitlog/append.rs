//! The entries of one commit as lines of the output and rows of the ledger.

use std::time::SystemTime;

use super::config::Stamp;
use super::line::{self, Bytes};
use super::{Entry, VersionEnd};
use crate::domain::Fingerprints;
use crate::domain::moment::{milliseconds, moment};
use crate::domain::{Answered, Billed, Embedded, Failure, Inquiry, Kept, Origin, Output, Planned, TokenCount, Usage};
use crate::ledger::{self, Encoded, LedgerError, NewEmbedding, Outcome};
use crate::throttle::budget::day_of;

/// An open commit.
pub(super) struct Group<'a> {
    pub(super) commit: ledger::Commit<'a>,
    pub(super) stamp: &'a Stamp,
    pub(super) shape: &'a Fingerprints,
    pub(super) rotate_size: u64,
    pub(super) bytes: usize,
    pub(super) now: SystemTime,
}

impl Group<'_> {
    /// Takes an entry, or says which output's file is too full for it.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<Result<(), Output>, LedgerError> {
        // In each arm: encode with the next number, check that the segment has room, and only then write to the ledger. An entry
        // that does not fit has changed nothing, and is taken by the next commit.
        match entry {
            Entry::Upsert(embedded) => {
                let bytes = line::upsert(self.commit.next_seq(Output::Vectors), embedded, self.stamp);
                if !self.fits(Output::Vectors, &bytes) {
                    return Ok(Err(Output::Vectors));
                }
                self.upsert(embedded, bytes)?;
            }
            Entry::Delete { path, version, chunk } => {
                let seq = self.commit.next_seq(Output::Vectors);
                let bytes = line::delete(seq, *chunk, path, version, self.shape.config(), self.stamp);
                if !self.fits(Output::Vectors, &bytes) {
                    return Ok(Err(Output::Vectors));
                }
                let document = self.commit.document(path)?;
                self.commit.delete(document, *chunk, encoded(bytes))?;
            }
            Entry::End(end) => {
                if let Some(failure) = &end.failure {
                    let seq = self.commit.next_seq(Output::Failed);
                    let bytes = line::failed(seq, &end.path, end.version.as_ref(), failure, self.now, self.stamp);
                    if !self.fits(Output::Failed, &bytes) {
                        return Ok(Err(Output::Failed));
                    }
                    self.commit.plain(Output::Failed, encoded(bytes))?;
                }
                self.end(end)?;
            }
            Entry::Keep(kept) => {
                let Kept { question, answer, model, billed } = &**kept;
                if let Some(answer) = answer {
                    self.commit.keep(*question, answer, milliseconds(self.now))?;
                    self.bytes += answer.len();
                }
                self.billed(model, *billed)?;
            }
            Entry::Answer(answered) => {
                let inquiry = &*answered.question.inquiry;
                if !self.commit.waits(inquiry.document, inquiry.prompt.as_deref(), &inquiry.version)? {
                    // What was billed is billed all the same.
                    self.billed(&answered.body.model, answered.billed)?;
                    return Ok(Ok(()));
                }
                let Answered { question, body, billed, .. } = &**answered;
                let bytes = line::answer(self.commit.next_seq(Output::Answers), question, body, question.key, self.stamp);
                if !self.fits(Output::Answers, &bytes) {
                    return Ok(Err(Output::Answers));
                }
                let prompt = inquiry.prompt.as_deref();
                self.commit.answer(inquiry.document, prompt, question.id, question.key, encoded(bytes))?;
                self.billed(&body.model, *billed)?;
            }
            Entry::Asked(inquiry, failure) => return self.asked(inquiry, failure.as_deref()),
            Entry::TakeBack { path, version, answer, of } => {
                // Prompt or document has changed meanwhile: the run that comes next decides what is deleted.
                if let Some(inquiry) = of
                    && !self.commit.waits(inquiry.document, inquiry.prompt.as_deref(), &inquiry.version)?
                {
                    return Ok(Ok(()));
                }
                let bytes = line::take_back(self.commit.next_seq(Output::Answers), *answer, path, version, self.stamp);
                if !self.fits(Output::Answers, &bytes) {
                    return Ok(Err(Output::Answers));
                }
                let document = self.commit.document(path)?;
                self.commit.take_back(document, *answer, encoded(bytes))?;
            }
            Entry::Cut(path, cut) => self.commit.cut(path, *cut, self.shape.limits())?,
            Entry::FailedAgain { path, version, failure, at } => {
                let at = moment(*at);
                let seq = self.commit.next_seq(Output::Failed);
                let bytes = line::failed(seq, path, version.as_ref(), failure, at, self.stamp);
                if !self.fits(Output::Failed, &bytes) {
                    return Ok(Err(Output::Failed));
                }
                self.commit.plain(Output::Failed, encoded(bytes))?;
            }
            Entry::Touched(path, seen) => self.commit.touched(path, seen)?,
            Entry::Disposing(path) => self.commit.disposing(path)?,
            Entry::Disposed(path) => self.commit.disposed(path)?,
            Entry::Kept(path) => self.commit.kept(path)?,
            Entry::GotOver(path) => self.commit.got_over(path)?,
            Entry::Retry(path) => self.commit.retry(path)?,
            Entry::Note(key, value) => self.commit.note(key, value)?,
        }
        Ok(Ok(()))
    }

    /// Takes the room of a line, unless its segment has lines already and would grow too large.
    fn fits(&mut self, output: Output, line: &Bytes) -> bool {
        let committed = self.commit.open_segment(output).map_or(0, |open| open.committed);
        let fits = committed == 0 || committed + line.bytes.len() as u64 <= self.rotate_size;
        if fits {
            self.bytes += line.bytes.len();
        }
        fits
    }

    fn upsert(&mut self, embedded: &Embedded, bytes: Bytes) -> Result<(), LedgerError> {
        let Embedded { planned, tokens, emulated, at, origin, .. } = embedded;
        let Planned { version, id, headings, span, context, .. } = planned;
        let document = self.commit.document(&version.path)?;
        let line = ledger::LineRow {
            chunk: *id,
            config: self.shape.config_of(*emulated),
            place: crate::domain::Place::of(span, None, headings),
            tokens: *tokens,
        };
        let embedding = NewEmbedding {
            key: self.shape.key_of(planned.input(), *emulated),
            tokens: *tokens,
            emulated: *emulated,
            answered_at: milliseconds(*at),
            origin: *origin,
        };
        let line = self.commit.upsert(document, &line, &embedding, encoded(bytes))?;
        if let Some(context) = context {
            self.commit.said(context.question, line)?;
        }
        if let Origin::Call(Some(Usage { texts, tokens })) = origin {
            let usage = ledger::DayUsage { calls: 1, texts: *texts, tokens: *tokens, ..ledger::DayUsage::default() };
            self.commit.used(day_of(*at), &self.stamp.model, *emulated, usage)?;
        }
        Ok(())
    }

    /// Ends an inquiry. Its answers that are left over come as entries of their own before.
    fn asked(&mut self, inquiry: &Inquiry, failure: Option<&Failure>) -> Result<Result<(), Output>, LedgerError> {
        let Inquiry { document, path, version, prompt, config, .. } = inquiry;
        if !self.commit.waits(*document, prompt.as_deref(), version)? {
            return Ok(Ok(()));
        }
        if let Some(failure) = failure {
            let seq = self.commit.next_seq(Output::Failed);
            let bytes = line::failed(seq, path, Some(version), failure, self.now, self.stamp);
            if !self.fits(Output::Failed, &bytes) {
                return Ok(Err(Output::Failed));
            }
            self.commit.plain(Output::Failed, encoded(bytes))?;
            self.commit.fail(*document, failure, milliseconds(self.now))?;
        }
        self.commit.asked(*document, prompt.as_deref(), *config)?;
        Ok(Ok(()))
    }

    fn billed(&mut self, model: &str, billed: Billed) -> Result<(), LedgerError> {
        let Billed { calls, input, cache_read, cache_write, cache_write_hour, output, rate } = billed;
        if calls == 0 {
            return Ok(());
        }
        let (model, is_emulated) = model.strip_prefix("emulator/").map_or((model, false), |model| (model, true));
        let tokens = [input, cache_read, cache_write, cache_write_hour, output].map(TokenCount::new);
        let [tokens, cache_read, cache_write, cache_write_hour, output] = tokens;
        let usage = ledger::DayUsage { calls, texts: 0, tokens, cache_read, cache_write, cache_write_hour, output, rate };
        self.commit.used(day_of(self.now), model, is_emulated, usage)
    }

    fn end(&mut self, end: &VersionEnd) -> Result<(), LedgerError> {
        let document = self.commit.document(&end.path)?;
        let outcome = Outcome {
            state: end.state,
            version: end.version,
            config: end.config,
            seen: end.seen,
            media_type: end.media_type.as_deref(),
            chunks: end.chunks,
            failure: end.failure.as_ref(),
            skip: end.skip.clone(),
            tally: end.tally,
        };
        self.commit.end(document, &outcome, milliseconds(self.now))?;
        match end.version {
            // Where vectors are not to be had, answers may be: one is not the other's fault.
            Some(version) => self.commit.ask(document, &version, &end.asks),
            None => self.commit.ask_no_more(document),
        }
    }
}

fn encoded(Bytes { bytes, vector }: Bytes) -> Encoded {
    Encoded { bytes, vector }
}
