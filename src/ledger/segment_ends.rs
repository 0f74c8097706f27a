//! The first and last lines of a segment: they identify its file, whatever its name.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::line_positions::{LAST, Placed, placed};
use super::segments::SegmentId;
use super::{Ledger, LedgerError, Reader};
use crate::domain::{LineId, Output};

/// The first and the last line of a segment, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The first; it is at the beginning of the file.
    pub first: Placed,
    /// The last.
    pub last: Placed,
}

const COLUMNS: &str = "SELECT id, segment, position, length, crc FROM lines";

impl Ledger {
    /// Returns the ends of the segments of an output that have lines.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn ends(&self, output: Output) -> Result<BTreeMap<SegmentId, Ends>, LedgerError> {
        ends(&self.connection, output).map_err(LedgerError::read)
    }

    /// Returns a line.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn line(&self, line: LineId) -> Result<Option<Placed>, LedgerError> {
        let query = self.connection.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"));
        query.and_then(|mut query| query.query_row([line.to_number()], placed).optional()).map_err(LedgerError::read)
    }

    /// Returns the last line between two ends of a segment that ends at or before a position.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn line_before(&self, output: Output, ends: &Ends, position: u64) -> Result<Option<Placed>, LedgerError> {
        let id = |seq| LineId { output, seq }.to_number();
        let find = format!("{COLUMNS} WHERE id BETWEEN ?1 AND ?2 AND position + length <= ?3 ORDER BY id DESC LIMIT 1");
        let values = params![id(ends.first.seq), id(ends.last.seq), position.cast_signed()];
        self.connection.query_row(&find, values, placed).optional().map_err(LedgerError::read)
    }

    /// Returns lines between two ends of a segment after a number, in order, at most `limit`.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn lines_after(&self, output: Output, ends: &Ends, after: u64, limit: u32) -> Result<Vec<Placed>, LedgerError> {
        let id = |seq| LineId { output, seq }.to_number();
        let query = || {
            let mut statement =
                self.connection.prepare_cached(&format!("{COLUMNS} WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3"))?;
            let values = params![id(after.max(ends.first.seq.saturating_sub(1))), id(ends.last.seq), limit];
            statement.query_map(values, placed)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(LedgerError::read)
    }
}

impl Reader {
    /// Returns the ends of the segments of an output that have lines.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn ends(&self, output: Output) -> Result<BTreeMap<SegmentId, Ends>, LedgerError> {
        self.ask(|connection| ends(connection, output))
    }
}

/// Finds where one segment's lines end and another's begin. The lines of a segment follow each other in number, so a stretch between two
/// lines of one segment is all its own, and a few looks find each border among any number of lines.
fn ends(connection: &Connection, output: Output) -> rusqlite::Result<BTreeMap<SegmentId, Ends>> {
    let id = |seq| LineId { output, seq }.to_number();
    let one = |sql: &str, values: [i64; 2]| connection.prepare_cached(sql)?.query_row(values, placed).optional();
    let up = format!("{COLUMNS} WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1");
    let down = format!("{COLUMNS} WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1");
    let first_from = |from, to| one(&up, [id(from), id(to)]);
    let last_to = |from, to| one(&down, [id(from), id(to)]);

    let mut found: BTreeMap<SegmentId, Ends> = BTreeMap::new();
    let (Some(first), Some(last)) = (first_from(0, LAST)?, last_to(0, LAST)?) else { return Ok(found) };
    let mut stretches = vec![(first, last)];
    while let Some((first, last)) = stretches.pop() {
        if first.segment == last.segment {
            let ends = found.entry(first.segment).or_insert(Ends { first, last });
            if first.seq < ends.first.seq {
                ends.first = first;
            }
            if last.seq > ends.last.seq {
                ends.last = last;
            }
            continue;
        }
        let middle = first.seq + (last.seq - first.seq) / 2;
        // Between two numbers there may be none: then a half is its one end.
        if let Some(before) = last_to(first.seq, middle)? {
            stretches.push((first, before));
        }
        if let Some(after) = first_from(middle + 1, last.seq)? {
            stretches.push((after, last));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_ends_of_all_segments_are_found_among_numbers_with_gaps(runs in prop::collection::vec((1..6_u64, 0..4_u64), 0..9)) {
            let folder = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(&folder.path().join("ledger.db"), ByteSize::mib(1)).unwrap();
            let (mut seq, mut expected) = (0, BTreeMap::new());
            for (segment, (lines, gap)) in runs.into_iter().enumerate() {
                let segment = i64::try_from(segment).unwrap() + 1;
                let first = seq + gap + 1;
                for line in first..first + lines {
                    let insert = "INSERT INTO lines (id, segment, position, length, crc) VALUES (?1, ?2, 0, 1, 0)";
                    let id = LineId { output: Output::Failed, seq: line }.to_number();
                    ledger.connection.execute(insert, [id, segment]).unwrap();
                }
                seq = first + lines - 1;
                expected.insert(SegmentId(segment), (first, seq));
            }
            let found = ledger.ends(Output::Failed).unwrap();
            let found: BTreeMap<_, _> = found.into_iter().map(|(id, ends)| (id, (ends.first.seq, ends.last.seq))).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(ledger.ends(Output::Vectors).unwrap().is_empty());
        }
    }
}
