//! Ends questions: each with its line or its reason, and their prompt run with the last of them.

use std::sync::Arc;

use tracing::{debug, info, warn};

use super::Writer;
use super::batch::Said;
use super::completed_files::Try;
use crate::commitlog::{DeliverError, Entry};
use crate::domain::path::Sanitized;
use crate::domain::{Answered, ContentHash, DocumentPath, Failure, Inquiry, Observation, Question};
use crate::folder;
use crate::ledger::{DocumentState, LedgerError, Through};
use crate::pipeline::chat::Prompts;

/// Names an inquiry in progress. One each of prompt and document: the ledger sees to that.
pub(super) type Name = (i64, Option<Arc<str>>, ContentHash);

/// An inquiry some of whose questions are still in progress.
pub(super) struct OpenInquiry {
    left: usize,
    failure: Option<Failure>,
    /// Failed questions.
    rejected: u64,
    /// Some question is left for another run.
    is_left: bool,
    /// Whether an emulator gave some of the answers, where any were given by now.
    emulated: Option<bool>,
}

fn name_of(inquiry: &Inquiry) -> Name {
    (inquiry.document, inquiry.prompt.clone(), inquiry.version)
}

impl Writer {
    pub(super) fn answered(&mut self, answered: Answered) -> Result<(), LedgerError> {
        let counters = &self.stage.answers;
        let emulated = answered.body.is_emulated();
        counters.embedded(emulated);
        if answered.billed.calls == 0 {
            counters.cached();
        } else if !self.stage.shape.has_vectors() {
            // Else the vectors say it, which come first.
            self.learn_who_answers(emulated);
        }
        let inquiry = Arc::clone(&answered.question.inquiry);
        self.group.entries.push(Entry::Answer(Box::new(answered)));
        let open = self.open_inquiry(&inquiry);
        open.emulated = Some(emulated || open.emulated == Some(true));
        self.settle_question(inquiry, None, false)
    }

    pub(super) fn unanswered(&mut self, question: Question, failure: Failure) -> Result<(), LedgerError> {
        self.settle_question(question.inquiry, Some(failure), false)
    }

    /// Leaves a question, and with it its inquiry, to another run.
    pub(super) fn left_unasked(&mut self, question: Question) -> Result<(), LedgerError> {
        self.settle_question(question.inquiry, None, true)
    }

    /// Has other prompts asked from now on: what waits in the ledger is held to them. Returns `false` where the ledger cannot be
    /// written now; all is as it was then.
    pub(super) fn ask_anew(&mut self, prompts: Arc<Prompts>) -> Result<bool, DeliverError> {
        // First the prompts: the chat stage needs them for the new questions.
        let before = self.stage.prompts.get();
        self.stage.prompts.set(Arc::clone(&prompts));
        let anew = match prompts.hold(self.stage.delivery.ledger(), self.stage.shape.is_emulated()) {
            Err(LedgerError::Full | LedgerError::Busy) => {
                self.stage.prompts.set(before);
                return Ok(false);
            }
            held => held?,
        };
        self.take_back_unasked()?;
        for path in &anew {
            self.stage.claims.retry(path);
        }
        self.stage.asking.there_is_more();
        self.stage.wanted.in_effect.send_replace(prompts);
        Ok(true)
    }

    /// Deletes the answers of removed prompts.
    pub(super) fn take_back_unasked(&mut self) -> Result<(), DeliverError> {
        let prompts = self.stage.prompts.get();
        let mut names: Vec<&str> = prompts.answered().map(|prompt| &*prompt.name).collect();
        names.extend(prompts.messages().map(|_| ""));
        let beside = self.ledger.answers_beside(&names)?;
        if !beside.is_empty() {
            info!(answers = beside.len(), "deleting answers of removed prompts");
        }
        for (path, version, answer) in beside {
            self.stage.answers.retracted();
            self.group.entries.push(Entry::TakeBack { path, version, answer, of: None });
        }
        self.commit()
    }

    fn open_inquiry(&mut self, inquiry: &Inquiry) -> &mut OpenInquiry {
        let new = || OpenInquiry { left: inquiry.lines, failure: None, rejected: 0, is_left: false, emulated: None };
        self.inquiries.entry(name_of(inquiry)).or_insert_with(new)
    }

    fn settle_question(&mut self, inquiry: Arc<Inquiry>, failure: Option<Failure>, is_left: bool) -> Result<(), LedgerError> {
        let open = self.open_inquiry(&inquiry);
        open.left -= 1;
        open.rejected += u64::from(failure.is_some());
        open.failure = open.failure.take().or(failure);
        open.is_left |= is_left;
        if open.left > 0 {
            return Ok(());
        }
        match self.inquiries.remove(&name_of(&inquiry)) {
            Some(OpenInquiry { is_left: true, .. }) => {
                debug!(document = %Sanitized(&inquiry.path), "question deferred");
                self.stage.answers.left();
                self.let_go(inquiry);
            }
            Some(OpenInquiry { failure, rejected, emulated, .. }) => self.end_inquiry(inquiry, emulated, failure, rejected)?,
            None => {}
        }
        Ok(())
    }

    /// Returns an inquiry as one of those who gave its answers: it may have begun when that was not known yet.
    fn as_answered(&self, inquiry: Arc<Inquiry>, emulated: Option<bool>) -> Arc<Inquiry> {
        let prompts = self.stage.prompts.get();
        let prompt = inquiry.prompt.as_deref().and_then(|name| prompts.find(name));
        let (Some(prompt), Some(emulated)) = (prompt, emulated) else { return inquiry };
        let config = prompts.fingerprint(prompt, emulated);
        if config == inquiry.config { inquiry } else { Arc::new(Inquiry { config, ..(*inquiry).clone() }) }
    }

    /// Ends an inquiry: its new answers are current, so the answers that they replaced are deleted; not where some question failed. Of one whose
    /// document has changed meanwhile nothing is committed, and nothing said. `emulated`: whether an emulator gave some of the answers, if
    /// there are any.
    pub(super) fn end_inquiry(
        &mut self,
        inquiry: Arc<Inquiry>,
        emulated: Option<bool>,
        failure: Option<Failure>,
        rejected: u64,
    ) -> Result<(), LedgerError> {
        if !self.still_waits(&inquiry)? {
            debug!(document = %Sanitized(&inquiry.path), "document changed meanwhile; discarding its answer");
            self.stage.asking.ended(&inquiry);
            return Ok(());
        }
        if !self.stage.prompts.get().still_ask(inquiry.prompt.as_deref(), inquiry.config) {
            debug!(document = %Sanitized(&inquiry.path), "prompt changed meanwhile; the new prompt runs next");
            self.let_go(inquiry);
            return Ok(());
        }
        let inquiry = self.as_answered(inquiry, emulated);
        for _ in 0..rejected {
            self.stage.answers.rejected();
        }
        if failure.is_none() {
            for answer in &inquiry.retract {
                self.stage.answers.retracted();
                let (path, version) = (inquiry.path.clone(), inquiry.version);
                let of = Some(Arc::clone(&inquiry));
                self.group.entries.push(Entry::TakeBack { path, version, answer: *answer, of });
            }
        }
        let is_first = failure.is_some() && self.is_first_failure(&inquiry)?;
        self.group.entries.push(Entry::Asked(Arc::clone(&inquiry), failure.clone().map(Box::new)));
        self.group.ended.push(Said::Asked(Arc::clone(&inquiry), failure, is_first));
        self.group.inquiries.push(inquiry);
        Ok(())
    }

    /// Returns whether no other question about the document has failed: then a document fails, and not only a question.
    fn is_first_failure(&self, inquiry: &Inquiry) -> Result<bool, LedgerError> {
        let is_about_it = |entry: &Entry| matches!(entry, Entry::Asked(other, Some(_)) if other.document == inquiry.document);
        if self.group.entries.iter().any(is_about_it) {
            return Ok(false);
        }
        let ends = |entry: &Entry| matches!(entry, Entry::End(end) if end.path == inquiry.path);
        let is_failed = self.ledger.document(&inquiry.path)?.is_some_and(|known| known.state == DocumentState::Failed);
        Ok(!is_failed || self.group.entries.iter().any(ends))
    }

    /// Releases a prompt run that goes on waiting. It may be begun again once its answers are committed.
    fn let_go(&mut self, inquiry: Arc<Inquiry>) {
        if self.group.entries.is_empty() {
            self.stage.asking.ended(&inquiry);
        } else {
            self.group.inquiries.push(inquiry);
        }
    }

    /// Returns whether an inquiry is still waited for, with what is about to be committed before its end.
    fn still_waits(&self, inquiry: &Inquiry) -> Result<bool, LedgerError> {
        let Inquiry { document, path, version, prompt, .. } = inquiry;
        let last = self.group.entries.iter().rev().find_map(|entry| match entry {
            Entry::End(end) if end.path == *path => Some(end),
            _ => None,
        });
        match last {
            Some(end) => Ok(end.version == Some(*version) && end.asks.iter().any(|asks| asks.prompt == *prompt)),
            None => self.ledger.waits(*document, prompt.as_deref(), version),
        }
    }

    /// Says how an inquiry ended, and sees to the file of a document about which nothing is left to ask.
    pub(super) fn say_asked(&mut self, inquiry: &Inquiry, failure: Option<Failure>, is_first: bool) -> Result<(), LedgerError> {
        let Inquiry { document, path, seen, prompt, .. } = inquiry;
        let shown = Sanitized(path);
        let prompt = prompt.as_deref().unwrap_or("messages");
        if let Some(failure) = failure {
            warn!(document = %shown, prompt, class = %failure.class, attempts = failure.attempts, error = %failure.message, "failed");
            self.stage.counters.failed_asking(path, &failure, is_first);
        } else {
            debug!(document = %shown, prompt, lines = inquiry.lines, "asked");
            self.stage.answers.done();
        }
        self.dispose_when_through(*document, path, seen, Try::First { is_begun: true })
    }

    /// Takes a document's file away, where that is configured, once nothing is left to ask about it: as that of one that is done, or
    /// that has failed.
    pub(super) fn dispose_when_through(
        &mut self,
        document: i64,
        path: &DocumentPath,
        seen: &Observation,
        which: Try,
    ) -> Result<(), LedgerError> {
        let folder::SourceConfig { on_done, on_failed, .. } = &self.stage.source;
        if *on_done == folder::OnDone::Keep && *on_failed == folder::OnFailed::Keep {
            return Ok(());
        }
        let failure = match self.ledger.through(document)? {
            Some(Through::Done) if *on_done != folder::OnDone::Keep => None,
            Some(Through::Failed(failure)) if *on_failed != folder::OnFailed::Keep => Some(failure),
            Some(Through::Done | Through::Failed(_)) | None => return Ok(()),
        };
        self.group.entries.push(Entry::Disposing(path.clone()));
        self.group.ended.push(Said::Dispose(path.clone(), *seen, failure, which));
        Ok(())
    }

    /// Returns whether something is still to be asked about a document.
    pub(super) fn is_asked_about(&self, path: &DocumentPath) -> Result<bool, LedgerError> {
        match self.ledger.document(path)? {
            Some(document) => Ok(self.ledger.through(document.id)? != Some(Through::Done)),
            None => Ok(false),
        }
    }
}
