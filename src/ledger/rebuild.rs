//! Rebuilds ledger rows from output lines, where the ledger was lost or is an old copy.

use rusqlite::params;

use super::chat_answers::stand;
use super::{DocumentState, Ledger, LedgerError, SegmentId};
use crate::domain::{ChunkId, EmbeddingKey, Fingerprint, LineId, Place, QuestionKey};

/// A line of ours that was found in a segment.
#[derive(Debug)]
pub struct Adopted {
    /// The line.
    pub line: LineId,
    /// Its position, in bytes.
    pub position: u64,
    /// Its length with its newline.
    pub length: u64,
    /// CRC-32 of it.
    pub crc: u32,
    /// The bytes of its document's path.
    pub path: Vec<u8>,
    /// What it says.
    pub says: Says,
}

/// What a found line says.
#[derive(Debug)]
pub enum Says {
    /// A chunk's line.
    Upsert {
        /// The chunk.
        chunk: ChunkId,
        /// What shaped its vector.
        config: Fingerprint,
        /// Where it is.
        place: Place,
        /// Its tokens.
        tokens: u64,
        /// What was asked, where that is known.
        key: Option<EmbeddingKey>,
        /// Whether an emulator answered.
        emulated: bool,
        /// When the answer came, in milliseconds since 1970.
        answered_at: i64,
    },
    /// A chunk's line is deleted.
    Delete {
        /// The chunk.
        chunk: ChunkId,
    },
    /// A chat model's answer.
    Answer {
        /// Its id.
        answer: ChunkId,
        /// The prompt; `None` for messages in a file.
        prompt: Option<String>,
        /// What was asked.
        question: QuestionKey,
    },
    /// An answer is deleted.
    TakeBack {
        /// Its id.
        answer: ChunkId,
    },
    /// Nothing that the ledger must know.
    Nothing,
}

impl Ledger {
    /// Takes lines of one segment, in order, as committed and on disk. Their documents will be taken again: whether they were done is
    /// not known, and what of them stands is.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn adopt(&mut self, segment: SegmentId, lines: &[Adopted]) -> Result<(), LedgerError> {
        let apply = |ledger: &mut Self| {
            let tx = ledger.connection.transaction()?;
            for found in lines {
                let id = found.line.to_number();
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO lines (id, segment, position, length, crc) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    id,
                    segment.0,
                    found.position.cast_signed(),
                    found.length.cast_signed(),
                    found.crc
                ])?;
                if matches!(found.says, Says::Nothing) {
                    continue;
                }
                // `observation = NULL` has the next scan send the file again: the lines do not say whether its version was whole.
                let document: i64 = tx
                    .prepare_cached(
                        "INSERT INTO documents (path, state) VALUES (?1, ?2)
                         ON CONFLICT (path) DO UPDATE SET state = excluded.state, observation = NULL RETURNING id",
                    )?
                    .query_row(params![found.path, DocumentState::UnderWay.to_number()], |row| row.get(0))?;
                match &found.says {
                    Says::Upsert { chunk, config, place, tokens, key, emulated, answered_at } => {
                        tx.prepare_cached(
                            "INSERT OR REPLACE INTO standing (line, document, chunk, config, place, tokens)
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        )?
                        .execute(params![
                            id,
                            document,
                            chunk.as_bytes(),
                            config.as_bytes(),
                            place.as_bytes(),
                            tokens.cast_signed()
                        ])?;
                        if let Some(key) = key {
                            tx.prepare_cached(
                                "INSERT INTO embeddings (key, line, tokens, emulated, answered_at, used, bytes)
                                 VALUES (?1, ?2, ?3, ?4, ?5, 0, 0) ON CONFLICT (key) DO UPDATE SET line = excluded.line",
                            )?
                            .execute(params![
                                key.as_bytes(),
                                id,
                                tokens.cast_signed(),
                                emulated,
                                answered_at
                            ])?;
                        }
                    }
                    Says::Delete { chunk } => {
                        tx.prepare_cached("DELETE FROM standing WHERE document = ?1 AND chunk = ?2")?
                            .execute(params![document, chunk.as_bytes()])?;
                    }
                    Says::Answer { answer, prompt, question } => {
                        stand(&tx, id, document, prompt.as_deref().unwrap_or_default(), *answer, *question)?;
                    }
                    Says::TakeBack { answer } => {
                        tx.prepare_cached("DELETE FROM answers WHERE document = ?1 AND answer = ?2")?
                            .execute(params![document, answer.as_bytes()])?;
                    }
                    Says::Nothing => {}
                }
            }
            if let Some(last) = lines.last() {
                tx.execute(
                    "UPDATE segments SET committed = ?2, synced = ?2 WHERE id = ?1",
                    params![segment.0, (last.position + last.length).cast_signed()],
                )?;
            }
            tx.commit()
        };
        apply(self).map_err(LedgerError::write)?;
        for found in lines {
            self.tails.adopted(found.line);
        }
        if let Some(last) = lines.last() {
            self.tails.grown(last.line.output, segment, last.position + last.length);
        }
        Ok(())
    }
}
