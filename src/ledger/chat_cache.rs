//! Answers without a line of their own: a chunk's context until its vector is there, and answers about parts of a long text.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::chat_answers::{AnswerLine, line_of};
use super::{Commit, LedgerError, Reader};
use crate::domain::{ChunkId, LineId, QuestionKey};

/// Since this schema the ledger keeps them.
const SINCE: u32 = 6;

impl Commit<'_> {
    /// Commits an answer without a line, as JSON; `now` is in milliseconds since 1970.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn keep(&mut self, question: QuestionKey, answer: &str, now: i64) -> Result<(), LedgerError> {
        let insert =
            || {
                self.tx
                    .prepare_cached("INSERT OR REPLACE INTO kept (question, answer, at) VALUES (?1, ?2, ?3)")?
                    .execute(params![question.as_bytes(), answer, now])
            };
        insert().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits that the answer to a question is in a line now, so that it need not be kept any more.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn said(&mut self, question: QuestionKey, line: LineId) -> Result<(), LedgerError> {
        let update = || {
            self.tx
                .prepare_cached("INSERT OR REPLACE INTO questions (question, line) VALUES (?1, ?2)")?
                .execute(params![question.as_bytes(), line.to_number()])?;
            self.tx.prepare_cached("DELETE FROM kept WHERE question = ?1")?.execute([question.as_bytes()])
        };
        update().map_err(LedgerError::write)?;
        Ok(())
    }
}

impl Reader {
    /// Returns an answer that is kept, as JSON.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn kept(&self, question: &QuestionKey) -> Result<Option<String>, LedgerError> {
        if self.schema() < SINCE {
            return Ok(None);
        }
        let query = |connection: &Connection| {
            connection
                .prepare_cached("SELECT answer FROM kept WHERE question = ?1")?
                .query_row([question.as_bytes()], |row| row.get(0))
                .optional()
        };
        self.ask(query)
    }

    /// Returns the current line of a chunk of a document.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn standing_line(&self, document: i64, chunk: ChunkId) -> Result<Option<AnswerLine>, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT l.id, s.name, s.number, l.position, l.length, l.crc FROM standing d
                     JOIN lines l ON l.id = d.line JOIN segments s ON s.id = l.segment WHERE d.document = ?1 AND d.chunk = ?2",
                )?
                .query_row(params![document, chunk.as_bytes()], line_of)
                .optional()
        };
        self.ask(query)
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;
    use crate::domain::{Fingerprint, Output};
    use crate::ledger::Ledger;

    #[test]
    fn an_answer_is_kept_until_a_line_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger.db"), ByteSize::mib(1)).unwrap();
        let question = QuestionKey::of(Fingerprint::of(&[]), b"what");
        let mut commit = ledger.begin().unwrap();
        commit.keep(question, "\"so\"", 1).unwrap();
        commit.commit().unwrap();
        let reader = ledger.reader().unwrap();
        assert_eq!(reader.kept(&question).unwrap().as_deref(), Some("\"so\""));
        let mut commit = ledger.begin().unwrap();
        commit.said(question, LineId { output: Output::Vectors, seq: 1 }).unwrap();
        commit.commit().unwrap();
        assert_eq!(reader.kept(&question).unwrap(), None);
    }
}
