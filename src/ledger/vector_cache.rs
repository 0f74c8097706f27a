//! Answers by what was asked, so that a repeated text is not paid for again.

use bytesize::ByteSize;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::transaction::NewEmbedding;
use crate::domain::{LineId, Origin};

/// How much is kept and how much may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cache {
    limit: u64,
    /// Bytes of the vectors that are kept.
    held: u64,
    /// Counts uses: the higher, the later.
    clock: i64,
}

/// Vectors that leave in one go.
const LEAVE: u32 = 64;

impl Cache {
    pub(super) fn load(connection: &Connection, limit: ByteSize) -> rusqlite::Result<Self> {
        let held: i64 = connection.query_row(
            "SELECT coalesce(sum(bytes), 0) FROM embeddings INDEXED BY embeddings_by_use WHERE bytes > 0",
            [],
            |row| row.get(0),
        )?;
        let clock: Option<i64> =
            connection.query_row("SELECT max(used) FROM embeddings INDEXED BY embeddings_by_use WHERE bytes > 0", [], |row| {
                row.get(0)
            })?;
        Ok(Self { limit: limit.as_u64(), held: held.cast_unsigned(), clock: clock.unwrap_or_default() })
    }

    /// Returns the bytes of the vectors that are kept.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Notes which line has the embedding, and keeps its vector. Returns the id under which `vectors` has just this text, so that the
    /// outbox need not hold it again; `None` where it has not.
    pub(super) fn keep(
        &mut self,
        connection: &Connection,
        embedding: &NewEmbedding,
        line: LineId,
        json: &str,
    ) -> rusqlite::Result<Option<i64>> {
        self.clock += 1;
        let known = connection
            .prepare_cached("SELECT id, bytes FROM embeddings WHERE key = ?1")?
            .query_row([embedding.key.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let bytes = if self.limit == 0 { 0 } else { i64::try_from(json.len()).expect("a vector is small") };
        let id = if let Some((id, held)) = known {
            connection
                .prepare_cached("UPDATE embeddings SET line = ?2, used = ?3, bytes = max(bytes, ?4) WHERE id = ?1")?
                .execute(params![id, line.to_number(), self.clock, bytes])?;
            if held > 0 {
                // An answer that was paid for twice may differ; an outbox may still refer to the first.
                let is_same = embedding.origin == Origin::Cache && is_kept(connection, id, json)?;
                return Ok(is_same.then_some(id));
            }
            id
        } else {
            connection
                .prepare_cached(
                    "INSERT INTO embeddings (key, line, tokens, emulated, answered_at, used, bytes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    embedding.key.as_bytes(),
                    line.to_number(),
                    embedding.tokens.get().cast_signed(),
                    embedding.emulated,
                    embedding.answered_at,
                    self.clock,
                    bytes
                ])?;
            connection.last_insert_rowid()
        };
        if bytes == 0 {
            return Ok(None);
        }
        connection.prepare_cached("INSERT INTO vectors (id, json) VALUES (?1, ?2)")?.execute(params![id, json])?;
        self.held += bytes.cast_unsigned();
        Ok(Some(id))
    }

    /// Lets vectors leave until the rest is within the limit, the least recently used first. One that the outbox refers to stays.
    pub(super) fn shrink(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        while self.held > self.limit {
            let leaving = connection
                .prepare_cached(
                    "SELECT id, bytes FROM embeddings INDEXED BY embeddings_by_use WHERE bytes > 0
                     AND id NOT IN (SELECT vector FROM outbox WHERE vector IS NOT NULL) ORDER BY used LIMIT ?1",
                )?
                .query_map([LEAVE], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?
                .collect::<Result<Vec<_>, _>>()?;
            if leaving.is_empty() {
                return Ok(());
            }
            for (id, bytes) in leaving {
                if self.held <= self.limit {
                    break;
                }
                connection.prepare_cached("DELETE FROM vectors WHERE id = ?1")?.execute([id])?;
                connection.prepare_cached("UPDATE embeddings SET bytes = 0 WHERE id = ?1")?.execute([id])?;
                self.held -= bytes.cast_unsigned().min(self.held);
            }
        }
        Ok(())
    }
}

fn is_kept(connection: &Connection, id: i64, json: &str) -> rusqlite::Result<bool> {
    let same = connection
        .prepare_cached("SELECT json = ?2 FROM vectors WHERE id = ?1")?
        .query_row(params![id, json], |row| row.get(0))
        .optional()?;
    Ok(same.unwrap_or(false))
}
