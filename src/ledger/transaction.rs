//! The commit: lines with their bytes, and their effect on documents, in one transaction.

use std::ops::Range;

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::document::{Outcome, to_bytes};
use super::segments::{Open, Tails};
use super::vector_cache::Cache;
use super::{DocumentState, Ledger, LedgerError, SegmentId};
use crate::domain::{ChunkId, DocumentPath, EmbeddingKey, Fingerprint, LineId, Origin, Output, Place, TokenCount};

/// A line as its bytes, with the newline.
#[derive(Debug)]
pub struct Encoded {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where the vector is in them, if there is one.
    pub vector: Option<Range<usize>>,
}

/// What a chunk's line says, as far as the ledger knows it.
#[derive(Debug, Clone, Copy)]
pub struct LineRow {
    /// The chunk.
    pub chunk: ChunkId,
    /// The configuration that shaped its vector.
    pub config: Fingerprint,
    /// Where it is in its document.
    pub place: Place,
    /// Its tokens, as the line has them.
    pub tokens: TokenCount,
}

/// The answer that a line carries.
#[derive(Debug, Clone, Copy)]
pub struct NewEmbedding {
    /// What was asked.
    pub key: EmbeddingKey,
    /// Tokens of the text.
    pub tokens: TokenCount,
    /// Whether an emulator answered.
    pub emulated: bool,
    /// When the answer came, in milliseconds since 1970.
    pub answered_at: i64,
    /// Whether it was asked for now.
    pub origin: Origin,
}

/// Proof that these bytes are in the ledger for these places: only a commit makes one, and the sink writes nothing else. So no
/// line that a reader sees can be rolled back.
#[derive(Debug, Default)]
pub struct Committed {
    runs: Vec<Run>,
}

/// Bytes that belong together in a segment.
#[derive(Debug)]
pub struct Run {
    /// Which output.
    pub output: Output,
    /// The segment.
    pub segment: SegmentId,
    /// Where in it, in bytes.
    pub position: u64,
    /// The lines.
    pub bytes: Vec<u8>,
}

impl Committed {
    /// Returns the runs, at most one for each output.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }
}

impl Ledger {
    /// Begins a commit. Nothing of it is committed before [`Commit::commit`].
    ///
    /// # Errors
    /// When the ledger cannot be written, or its file was deleted or exchanged.
    pub fn begin(&mut self) -> Result<Commit<'_>, LedgerError> {
        self.stands()?;
        let Self { connection, tails, cache, .. } = self;
        let tx = Transaction::new(connection, TransactionBehavior::Immediate).map_err(LedgerError::write)?;
        Ok(Commit { tx, next_tails: tails.clone(), next_cache: *cache, tails, cache, runs: Vec::new() })
    }

    /// Returns the bytes of the vectors that the cache keeps.
    #[must_use]
    pub fn cached_bytes(&self) -> u64 {
        self.cache.held()
    }
}

/// An open transaction. Dropping it rolls everything back.
#[derive(Debug)]
pub struct Commit<'a> {
    pub(super) tx: Transaction<'a>,
    tails: &'a mut Tails,
    cache: &'a mut Cache,
    next_tails: Tails,
    next_cache: Cache,
    runs: Vec<Run>,
}

impl Commit<'_> {
    /// Returns the segment that the next line of an output goes to, with its length so far.
    #[must_use]
    pub fn open_segment(&self, output: Output) -> Option<Open> {
        self.next_tails.get(output)
    }

    /// Returns the number that the next line of an output gets.
    #[must_use]
    pub fn next_seq(&self, output: Output) -> u64 {
        self.next_tails.next_seq(output)
    }

    /// Returns a document's row, making one if there is none.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn document(&mut self, path: &DocumentPath) -> Result<i64, LedgerError> {
        let find = || {
            let known = self
                .tx
                .prepare_cached("SELECT id FROM documents WHERE path = ?1")?
                .query_row([path.as_bytes()], |row| row.get(0))
                .optional()?;
            if let Some(id) = known {
                return Ok(id);
            }
            self.tx
                .prepare_cached("INSERT INTO documents (path, state) VALUES (?1, ?2)")?
                .execute(params![path.as_bytes(), DocumentState::UnderWay.to_number()])?;
            Ok(self.tx.last_insert_rowid())
        };
        find().map_err(LedgerError::write)
    }

    /// Commits a chunk's line, encoded with [`Self::next_seq`]: it is current from now on, in the place of an earlier one.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn upsert(
        &mut self,
        document: i64,
        line: &LineRow,
        embedding: &NewEmbedding,
        encoded: Encoded,
    ) -> Result<LineId, LedgerError> {
        let (id, position) = self.append(Output::Vectors, &encoded)?;
        let mut apply = || {
            let Encoded { bytes, vector } = &encoded;
            let json = vector.clone().and_then(|vector| std::str::from_utf8(&bytes[vector]).ok());
            let kept = match json {
                Some(json) => self.next_cache.keep(&self.tx, embedding, id, json)?,
                None => None,
            };
            self.tx
                .prepare_cached(
                    "INSERT OR REPLACE INTO standing (line, document, chunk, config, place, tokens) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    id.to_number(),
                    document,
                    line.chunk.as_bytes(),
                    line.config.as_bytes(),
                    line.place.as_bytes(),
                    line.tokens.get().cast_signed()
                ])?;
            // Where the cache keeps the vector, the outbox row has only the bytes around it and refers to the cache.
            let split = vector.clone().filter(|_| kept.is_some()).unwrap_or(bytes.len()..bytes.len());
            self.tx.prepare_cached("INSERT INTO outbox (line, head, vector, tail) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                id.to_number(),
                &bytes[..split.start],
                kept,
                &bytes[split.end..]
            ])?;
            Ok(())
        };
        apply().map_err(LedgerError::write)?;
        self.extend(Output::Vectors, position, encoded.bytes);
        Ok(id)
    }

    /// Commits the line that deletes a chunk's line.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn delete(&mut self, document: i64, chunk: ChunkId, encoded: Encoded) -> Result<(), LedgerError> {
        self.plain(Output::Vectors, encoded)?;
        let delete = || {
            self.tx
                .prepare_cached("DELETE FROM standing WHERE document = ?1 AND chunk = ?2")?
                .execute(params![document, chunk.as_bytes()])
        };
        delete().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits a line that says no more than its bytes do.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn plain(&mut self, output: Output, encoded: Encoded) -> Result<LineId, LedgerError> {
        let (id, position) = self.append(output, &encoded)?;
        let insert =
            || {
                let empty: &[u8] = &[];
                self.tx
                    .prepare_cached("INSERT INTO outbox (line, head, vector, tail) VALUES (?1, ?2, NULL, ?3)")?
                    .execute(params![id.to_number(), encoded.bytes, empty])
            };
        insert().map_err(LedgerError::write)?;
        self.extend(output, position, encoded.bytes);
        Ok(id)
    }

    /// Commits the end of a version.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn end(&mut self, document: i64, outcome: &Outcome<'_>, now: i64) -> Result<(), LedgerError> {
        /// Ends that are kept of each document.
        const KEPT: i64 = 10;
        let Outcome { state, version, config, seen, media_type, chunks, failure, skip, tally } = outcome;
        let chunks = i64::try_from(*chunks).unwrap_or(i64::MAX);
        let failure = failure.map(|failure| serde_json::to_string(failure).expect("a failure is JSON"));
        let version = version.as_ref().map(|version| version.as_bytes().to_vec());
        let apply = || {
            // A file that could not be read has no hash and keeps its last version. It has ended, so it is no suspect (`starts`) and may
            // be moved once more (`disposed`).
            self.tx
                .prepare_cached(
                    "UPDATE documents SET state = ?2, version = coalesce(?3, version), config = ?4, observation = ?5, device = ?6,
                     size = ?7, media_type = ?8, chunks = ?9, starts = 0, disposed = 0, reason = ?10, ended_at = ?11 WHERE id = ?1",
                )?
                .execute(params![
                    document,
                    state.to_number(),
                    version,
                    config.as_bytes(),
                    seen.as_ref().map(|seen| to_bytes(seen).to_vec()),
                    seen.as_ref().map(|seen| seen.device.cast_signed()),
                    seen.as_ref().map(|seen| seen.size.cast_signed()),
                    media_type,
                    chunks,
                    failure.as_ref().or(skip.as_ref()),
                    now
                ])?;
            self.tx
                .prepare_cached(
                    "INSERT INTO versions (document, version, state, chunks, embedded, cached, retracted, tokens, ended_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    document,
                    version,
                    state.to_number(),
                    chunks,
                    tally.embedded.cast_signed(),
                    tally.cached.cast_signed(),
                    tally.retracted.cast_signed(),
                    tally.tokens.cast_signed(),
                    now
                ])?;
            // A document that changes all the time must not make the ledger grow.
            self.tx
                .prepare_cached(
                    "DELETE FROM versions WHERE document = ?1 AND id <=
                     (SELECT id FROM versions WHERE document = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![document, KEPT])?;
            Ok(())
        };
        apply().map_err(LedgerError::write)
    }

    /// Commits that a file looks different though its bytes are those of the current version.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn touched(&mut self, path: &DocumentPath, seen: &crate::domain::Observation) -> Result<(), LedgerError> {
        let update = || {
            self.tx
                .prepare_cached(
                    "UPDATE documents SET observation = ?2, device = ?3, size = ?4, starts = 0, disposed = 0 WHERE path = ?1",
                )?
                .execute(params![path.as_bytes(), to_bytes(seen), seen.device.cast_signed(), seen.size.cast_signed()])
        };
        update().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits that a document's file was taken out of the source folder by riverbed itself.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn disposed(&mut self, path: &DocumentPath) -> Result<(), LedgerError> {
        let update = || self.tx.prepare_cached("UPDATE documents SET disposed = 1 WHERE path = ?1")?.execute([path.as_bytes()]);
        update().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits that riverbed is about to take a document's file out of the source folder: from now on its absence says nothing.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn disposing(&mut self, path: &DocumentPath) -> Result<(), LedgerError> {
        let update = || self.tx.prepare_cached("UPDATE documents SET disposed = 2 WHERE path = ?1")?.execute([path.as_bytes()]);
        update().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits that the file stays after all.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn kept(&mut self, path: &DocumentPath) -> Result<(), LedgerError> {
        let update = || {
            self.tx
                .prepare_cached("UPDATE documents SET disposed = 0 WHERE path = ?1 AND disposed = 2")?
                .execute([path.as_bytes()])
        };
        update().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits that a document that had crashed the process was processed.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn got_over(&mut self, path: &DocumentPath) -> Result<(), LedgerError> {
        let update = || self.tx.execute("UPDATE documents SET starts = 0 WHERE path = ?1", [path.as_bytes()]);
        update().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits a value under a name, for [`Ledger::meta`].
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn note(&mut self, key: &str, value: &str) -> Result<(), LedgerError> {
        let update = || {
            self.tx.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key, value],
            )
        };
        update().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits it all. This is the commit point: what it returns is written, now or by the next start.
    ///
    /// # Errors
    /// When the disk is full, and nothing was kept; or when writing failed, and whether it was kept is unknown.
    pub fn commit(mut self) -> Result<Committed, LedgerError> {
        let mut finish = || {
            for run in &self.runs {
                let end = run.position + run.bytes.len() as u64;
                self.tx
                    .prepare_cached("UPDATE segments SET committed = ?2 WHERE id = ?1")?
                    .execute(params![run.segment.0, end.cast_signed()])?;
            }
            self.next_cache.shrink(&self.tx)
        };
        finish().map_err(LedgerError::write)?;
        self.tx.commit().map_err(LedgerError::write)?;
        *self.tails = self.next_tails;
        *self.cache = self.next_cache;
        Ok(Committed { runs: self.runs })
    }

    fn append(&mut self, output: Output, encoded: &Encoded) -> Result<(LineId, (SegmentId, u64)), LedgerError> {
        let length = encoded.bytes.len() as u64;
        let (id, segment, position) = self.next_tails.append(output, length);
        let insert = || {
            self.tx.prepare_cached("INSERT INTO lines (id, segment, position, length, crc) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
                params![id.to_number(), segment.0, position.cast_signed(), length.cast_signed(), crc32fast::hash(&encoded.bytes)],
            )
        };
        insert().map_err(LedgerError::write)?;
        Ok((id, (segment, position)))
    }

    fn extend(&mut self, output: Output, (segment, position): (SegmentId, u64), bytes: Vec<u8>) {
        match self.runs.iter_mut().find(|run| run.segment == segment) {
            Some(run) => run.bytes.extend_from_slice(&bytes),
            None => self.runs.push(Run { output, segment, position, bytes }),
        }
    }
}
