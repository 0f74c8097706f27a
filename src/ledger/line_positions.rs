//! The expected output, for comparing it with the files.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::segments::{Segment, SegmentId, all};
use super::{LedgerError, Reader};
use crate::domain::{LineId, Output};

/// A line as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub seq: u64,
    /// The segment that it belongs to.
    pub segment: SegmentId,
    /// Where in it, in bytes.
    pub position: u64,
    /// Its length with its newline.
    pub length: u64,
    /// CRC-32 of it.
    pub crc: u32,
}

/// The output at one moment.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Its segments, by output and number.
    pub segments: Vec<Segment>,
    /// The number of the last line of each output; 0 where there is none.
    pub last: BTreeMap<Output, u64>,
}

impl Reader {
    /// Looks through the whole ledger and returns what is damaged in it; nothing where all is well.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn check(&self) -> Result<Vec<String>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare("PRAGMA quick_check(10)")?;
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut found = match self.ask(query) {
            Err(LedgerError::Corrupt(error)) => vec![error.to_string()],
            found => found?,
        };
        found.retain(|finding| finding != "ok");
        Ok(found)
    }

    /// Returns how far the output is.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn extent(&self) -> Result<Extent, LedgerError> {
        let query = |connection: &Connection| {
            let moment = connection.unchecked_transaction()?;
            let mut last = BTreeMap::new();
            for output in Output::ALL {
                let newest = moment
                    .query_row(
                        "SELECT max(id) FROM lines WHERE id BETWEEN ?1 AND ?2",
                        [LineId { output, seq: 0 }.to_number(), LineId { output, seq: LAST }.to_number()],
                        |row| row.get::<_, Option<i64>>(0),
                    )?
                    .and_then(LineId::from_number);
                last.insert(output, newest.map_or(0, |line| line.seq));
            }
            Ok(Extent { segments: all(&moment)?, last })
        };
        self.ask(query)
    }

    /// Returns a line.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn line(&self, line: LineId) -> Result<Option<Placed>, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached("SELECT id, segment, position, length, crc FROM lines WHERE id = ?1")?
                .query_row([line.to_number()], placed)
                .optional()
        };
        self.ask(query)
    }

    /// Returns the first line of a segment after a number. Goes through the lines in between, which may be many.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn line_after(&self, segment: SegmentId, after: LineId) -> Result<Option<Placed>, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT id, segment, position, length, crc FROM lines WHERE id > ?1 AND id <= ?2 AND segment = ?3
                     ORDER BY id LIMIT 1",
                )?
                .query_row(params![after.to_number(), LineId { seq: LAST, ..after }.to_number(), segment.0], placed)
                .optional()
        };
        self.ask(query)
    }

    /// Returns lines of an output from one number to another, in order, at most `limit`.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn lines(&self, output: Output, from: u64, to: u64, limit: u32) -> Result<Vec<Placed>, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT id, segment, position, length, crc FROM lines WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
                )?
                .query_map(
                    params![LineId { output, seq: from }.to_number(), LineId { output, seq: to.min(LAST) }.to_number(), limit],
                    placed,
                )?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        self.ask(query)
    }

    /// Returns whether the ledger holds a line's bytes still, so that its file need not have it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn holds(&self, line: LineId) -> Result<bool, LedgerError> {
        let query = |connection: &Connection| {
            connection.prepare_cached("SELECT 1 FROM outbox WHERE line = ?1")?.exists([line.to_number()])
        };
        self.ask(query)
    }
}

/// The highest number that a line can have.
pub(super) const LAST: u64 = (1 << 56) - 1;

pub(super) fn placed(row: &Row<'_>) -> rusqlite::Result<Placed> {
    let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let id: i64 = row.get(0)?;
    let line = LineId::from_number(id).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, id))?;
    Ok(Placed { seq: line.seq, segment: SegmentId(row.get(1)?), position: unsigned(2)?, length: unsigned(3)?, crc: row.get(4)? })
}
