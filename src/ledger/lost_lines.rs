//! Lost lines: they were on disk and are in no file any more; their content is rebuilt.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::segments::set_floor;
use super::{Adopted, DocumentState, Ledger, LedgerError, Says, SegmentId};
use crate::domain::{LineId, Output};

/// What was lost with lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// The lines.
    pub lines: u64,
    /// Documents that are taken again for it.
    pub documents: u64,
}

impl Ledger {
    /// Forgets lines of an output from one number to another that are in no file: what stood by them stands no more, and their documents
    /// are taken again. Their numbers are not given again. Lines whose bytes the ledger still holds stay.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn lose(&mut self, output: Output, from: u64, to: u64) -> Result<Lost, LedgerError> {
        let apply = |ledger: &mut Self| {
            let given = ledger.tails.next_seq(output) - 1;
            let tx = ledger.connection.transaction()?;
            let [from, to] = [from, to].map(|seq| LineId { output, seq }.to_number());
            let documents = again(&tx, from, to)?;
            let range = "BETWEEN ?1 AND ?2 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.line =";
            for delete in [
                format!("DELETE FROM standing WHERE line {range} standing.line)"),
                format!("DELETE FROM answers WHERE line {range} answers.line)"),
                format!("DELETE FROM questions WHERE line {range} questions.line)"),
            ] {
                tx.execute(&delete, [from, to])?;
            }
            let lines = tx.execute(&format!("DELETE FROM lines WHERE id {range} lines.id)"), [from, to])?;
            set_floor(&tx, output, given)?;
            tx.commit()?;
            Ok(Lost { lines: lines as u64, documents })
        };
        apply(self).map_err(LedgerError::write)
    }

    /// Returns the vector of a line, as its JSON, if the cache has it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn cached_vector(&self, line: LineId) -> Result<Option<String>, LedgerError> {
        let find = "SELECT v.json FROM embeddings e JOIN vectors v ON v.id = e.id WHERE e.line = ?1";
        self.connection.query_row(find, [line.to_number()], |row| row.get(0)).optional().map_err(LedgerError::read)
    }

    /// Notes that a segment's file ends at a position: what came behind it is lost, or waits for another segment.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn shorten(&mut self, id: SegmentId, end: u64) -> Result<(), LedgerError> {
        let update = "UPDATE segments SET synced = min(synced, ?2),
            committed = CASE WHEN state = 0 THEN committed ELSE min(committed, ?2) END WHERE id = ?1";
        self.connection.execute(update, params![id.0, end.cast_signed()]).map_err(LedgerError::write)?;
        Ok(())
    }

    /// Compares the current lines with those in the files, in the order of their numbers: where the line is lost that deleted another, the
    /// other is what a reader sees. `stood` collects the lines that are current again.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn see(&mut self, lines: &[Adopted], stood: &mut BTreeSet<LineId>) -> Result<(), LedgerError> {
        let mut apply = || {
            let tx = self.connection.transaction()?;
            for found in lines {
                see(&tx, found, stood)?;
            }
            tx.commit()
        };
        apply().map_err(LedgerError::write)
    }

    /// Requeues the documents of lines that are current again. Returns how many lines that are.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn take_again(&mut self, stood: &BTreeSet<LineId>) -> Result<u64, LedgerError> {
        let apply = |ledger: &mut Self| {
            let tx = ledger.connection.transaction()?;
            for line in stood {
                let id = line.to_number();
                again(&tx, id, id)?;
            }
            tx.commit()
        };
        apply(self).map_err(LedgerError::write)?;
        Ok(stood.len() as u64)
    }
}

/// Has the documents be taken again, and asked about, for which lines are current. Returns how many there are.
fn again(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<u64> {
    let of = "SELECT document FROM standing WHERE line BETWEEN ?1 AND ?2 UNION SELECT document FROM answers WHERE line BETWEEN ?1 AND ?2";
    connection.execute(&format!("DELETE FROM asked WHERE document IN ({of})"), [from, to])?;
    let update = format!("UPDATE documents SET state = ?3, observation = NULL WHERE id IN ({of})");
    Ok(connection.execute(&update, params![from, to, DocumentState::UnderWay.to_number()])? as u64)
}

/// Compares the current state with one line.
fn see(tx: &Transaction<'_>, found: &Adopted, stood: &mut BTreeSet<LineId>) -> rusqlite::Result<()> {
    let (table, key, id) = match &found.says {
        Says::Upsert { chunk, .. } | Says::Delete { chunk } => ("standing", "chunk", chunk),
        Says::Answer { answer, .. } | Says::TakeBack { answer } => ("answers", "answer", answer),
        Says::Nothing => return Ok(()),
    };
    let line = found.line.to_number();
    if !tx.prepare_cached("SELECT 1 FROM lines WHERE id = ?1")?.exists([line])? {
        return Ok(());
    }
    let document: Option<i64> =
        tx.prepare_cached("SELECT id FROM documents WHERE path = ?1")?.query_row([&found.path], |row| row.get(0)).optional()?;
    let Some(document) = document else { return Ok(()) };
    let stands: Option<i64> = tx
        .prepare_cached(&format!("SELECT line FROM {table} WHERE document = ?1 AND {key} = ?2"))?
        .query_row(params![document, id.as_bytes()], |row| row.get(0))
        .optional()?;
    match &found.says {
        Says::Upsert { config, place, tokens, .. } if stands.is_none() => {
            let insert = "INSERT INTO standing (line, document, chunk, config, place, tokens) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let values = params![line, document, id.as_bytes(), config.as_bytes(), place.as_bytes(), tokens.cast_signed()];
            tx.prepare_cached(insert)?.execute(values)?;
            stood.insert(found.line);
        }
        Says::Answer { prompt, question, .. } if stands.is_none() => {
            super::chat_answers::stand(tx, line, document, prompt.as_deref().unwrap_or_default(), *id, *question)?;
            stood.insert(found.line);
        }
        Says::Delete { .. } | Says::TakeBack { .. } => {
            if let Some(earlier) = stands.and_then(LineId::from_number).filter(|earlier| *earlier < found.line) {
                tx.prepare_cached(&format!("DELETE FROM {table} WHERE document = ?1 AND {key} = ?2"))?
                    .execute(params![document, id.as_bytes()])?;
                stood.remove(&earlier);
            }
        }
        Says::Upsert { .. } | Says::Answer { .. } | Says::Nothing => {}
    }
    Ok(())
}
