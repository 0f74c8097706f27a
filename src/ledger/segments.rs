//! Segments of the output in the ledger, and the lines that are not synced yet.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Ledger, LedgerError};
use crate::domain::{LineId, Output};

/// Names a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub(super) i64);

/// One file of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its name in the ledger.
    pub id: SegmentId,
    /// Which output it belongs to.
    pub output: Output,
    /// Its place among the segments of that output, from 1.
    pub number: u64,
    /// How far it is.
    pub state: SegmentState,
    /// The file's name in the output folder.
    pub name: String,
    /// The file's device and inode number.
    pub file: (u64, u64),
    /// Bytes of lines that are committed.
    pub committed: u64,
    /// Bytes of lines that are on disk.
    pub synced: u64,
    /// When it was begun, in milliseconds since 1970.
    pub opened_at: i64,
}

/// How far a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentState {
    /// Lines are written to it.
    Open,
    /// It is synced and about to be renamed.
    Sealing,
    /// It is complete and has its final name.
    Sealed,
    /// Syncing it failed: what it holds beyond the synced length is in a later segment too.
    Suspect,
    /// Somebody took bytes away from it, or the whole of it.
    Damaged,
}

impl SegmentState {
    fn to_number(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Sealing => 1,
            Self::Sealed => 2,
            Self::Suspect => 3,
            Self::Damaged => 4,
        }
    }

    fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Open,
            1 => Self::Sealing,
            2 => Self::Sealed,
            3 => Self::Suspect,
            _ => Self::Damaged,
        }
    }
}

/// Where the next line of each output goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tails(BTreeMap<Output, Tail>);

#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    /// The number of the last line.
    seq: u64,
    open: Option<Open>,
}

/// A segment that lines are appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Its name in the ledger.
    pub segment: SegmentId,
    /// Bytes committed to it.
    pub committed: u64,
}

// The outbox is short and `lines` has every line there ever was: a cross join is made in the order in which it is written
// (<https://sqlite.org/optoverview.html#crossjoin>), where the planner, which knows neither's length, went through all lines at each sync.

/// Drops what a segment has on disk up to a length.
const LET_GO: &str = "DELETE FROM outbox WHERE line IN (SELECT o.line FROM outbox o CROSS JOIN lines l ON l.id = o.line
    WHERE l.segment = ?1 AND l.position + l.length <= ?2)";

/// What a segment lacks behind a position.
const WAITING: &str = "SELECT o.line, l.position, l.crc, o.head, v.json, o.tail
    FROM outbox o CROSS JOIN lines l ON l.id = o.line LEFT JOIN vectors v ON v.id = o.vector
    WHERE l.segment = ?1 AND l.position + l.length > ?2 ORDER BY o.line";

/// Lines of segments of an output, in two states, that the outbox still holds.
const LEFT: &str =
    "SELECT l.id, l.length FROM outbox o CROSS JOIN lines l ON l.id = o.line CROSS JOIN segments s ON s.id = l.segment
    WHERE s.output = ?1 AND s.state IN (?2, ?3) ORDER BY l.id";

impl Tails {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut tails = Self::default();
        for output in Output::ALL {
            let after = LineId { output, seq: (1 << 56) - 1 }.to_number();
            let last: Option<i64> = connection.query_row(
                "SELECT max(id) FROM lines WHERE id BETWEEN ?1 AND ?2",
                params![LineId { output, seq: 0 }.to_number(), after],
                |row| row.get(0),
            )?;
            let last = last.and_then(LineId::from_number).map_or(0, |line| line.seq);
            tails.tail(output).seq = last.max(floor(connection, output)?);
        }
        for segment in all(connection)? {
            if segment.state == SegmentState::Open {
                tails.set_open(segment.output, Some(Open { segment: segment.id, committed: segment.committed }));
            }
        }
        Ok(tails)
    }

    fn tail(&mut self, output: Output) -> &mut Tail {
        self.0.entry(output).or_default()
    }

    pub(super) fn get(&self, output: Output) -> Option<Open> {
        self.0.get(&output).and_then(|tail| tail.open)
    }

    pub(super) fn next_seq(&self, output: Output) -> u64 {
        self.0.get(&output).map_or(0, |tail| tail.seq) + 1
    }

    pub(super) fn set_open(&mut self, output: Output, open: Option<Open>) {
        self.tail(output).open = open;
    }

    /// Takes the place of a line of this many bytes.
    pub(super) fn append(&mut self, output: Output, length: u64) -> (LineId, SegmentId, u64) {
        let tail = self.tail(output);
        let open = tail.open.as_mut().expect("a segment is opened before lines are committed to it");
        tail.seq += 1;
        let position = open.committed;
        open.committed += length;
        (LineId { output, seq: tail.seq }, open.segment, position)
    }

    /// Notes how long a segment is, if it is the one that lines are appended to.
    pub(super) fn grown(&mut self, output: Output, segment: SegmentId, length: u64) {
        if let Some(open) = self.tail(output).open.as_mut().filter(|open| open.segment == segment) {
            open.committed = length;
        }
    }

    /// Notes that numbers up to one are given.
    pub(super) fn raise(&mut self, output: Output, seq: u64) {
        let tail = self.tail(output);
        tail.seq = tail.seq.max(seq);
    }

    /// Notes that a line stands that came from a file.
    pub(super) fn adopted(&mut self, line: LineId) {
        let tail = self.tail(line.output);
        tail.seq = tail.seq.max(line.seq);
    }
}

/// A committed line that its file may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingLine {
    /// The line.
    pub line: LineId,
    /// Where it goes in its segment.
    pub position: u64,
    /// Its bytes, with the newline.
    pub bytes: Vec<u8>,
}

impl Ledger {
    /// Returns every segment, by output and number.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn segments(&self) -> Result<Vec<Segment>, LedgerError> {
        all(&self.connection).map_err(LedgerError::read)
    }

    /// Returns the segment that lines of an output are appended to.
    #[must_use]
    pub fn open_segment(&self, output: Output) -> Option<Open> {
        self.tails.get(output)
    }

    /// Returns the number that the next line of an output gets.
    #[must_use]
    pub fn next_seq(&self, output: Output) -> u64 {
        self.tails.next_seq(output)
    }

    /// Has the next line of an output get a number above this one: lower ones are given, though the ledger has no line of the last.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn raise(&mut self, output: Output, seq: u64) -> Result<(), LedgerError> {
        set_floor(&self.connection, output, seq).map_err(LedgerError::write)?;
        self.tails.raise(output, seq);
        Ok(())
    }

    /// Begins a segment: its file is there under the live name, empty, and on disk. Lines that wait for segments that take no more,
    /// suspect or damaged ones, go to this one, in order; they keep their numbers. `now` in milliseconds since 1970.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn begin_segment(&mut self, output: Output, number: u64, file: (u64, u64), now: i64) -> Result<SegmentId, LedgerError> {
        let apply = |ledger: &mut Self| {
            let tx = ledger.connection.transaction()?;
            let id = insert(&tx, output, number, &output.live_name(), file, SegmentState::Open, now)?;
            let mut open = Open { segment: id, committed: 0 };
            let left = [SegmentState::Suspect, SegmentState::Damaged].map(SegmentState::to_number);
            let lines = {
                let mut statement = tx.prepare_cached(LEFT)?;
                let rows = statement.query_map(params![output.to_number(), left[0], left[1]], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
                })?;
                rows.collect::<Result<Vec<_>, _>>()?
            };
            for (line, length) in lines {
                tx.prepare_cached("UPDATE lines SET segment = ?2, position = ?3 WHERE id = ?1")?.execute(params![
                    line,
                    id.0,
                    open.committed.cast_signed()
                ])?;
                open.committed += length;
            }
            tx.execute(
                "UPDATE segments SET committed = synced WHERE output = ?1 AND state IN (?2, ?3)",
                params![output.to_number(), left[0], left[1]],
            )?;
            tx.execute("UPDATE segments SET committed = ?2 WHERE id = ?1", params![id.0, open.committed.cast_signed()])?;
            tx.commit()?;
            Ok(open)
        };
        let open = apply(self).map_err(LedgerError::write)?;
        self.tails.set_open(output, Some(open));
        Ok(open.segment)
    }

    /// Adds a segment in any state, with nothing committed to it.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn add_segment(
        &mut self,
        output: Output,
        number: u64,
        name: &str,
        file: (u64, u64),
        state: SegmentState,
        now: i64,
    ) -> Result<SegmentId, LedgerError> {
        insert(&self.connection, output, number, name, file, state, now).map_err(LedgerError::write)
    }

    /// Notes how far a segment is, and under which name its file lies. Lines are appended to open segments only.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn set_segment(&mut self, id: SegmentId, state: SegmentState, name: &str) -> Result<(), LedgerError> {
        let update = "UPDATE segments SET state = ?2, name = ?3 WHERE id = ?1";
        self.connection.execute(update, params![id.0, state.to_number(), name]).map_err(LedgerError::write)?;
        for output in Output::ALL {
            if state != SegmentState::Open && self.tails.get(output).is_some_and(|open| open.segment == id) {
                self.tails.set_open(output, None);
            }
        }
        Ok(())
    }

    /// Notes that a segment's file has another device or inode number: it was copied, or the disk was renumbered.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn set_file(&mut self, id: SegmentId, file: (u64, u64)) -> Result<(), LedgerError> {
        let update = "UPDATE segments SET device = ?2, inode = ?3 WHERE id = ?1";
        let values = params![id.0, file.0.cast_signed(), file.1.cast_signed()];
        self.connection.execute(update, values).map_err(LedgerError::write)?;
        Ok(())
    }

    /// Notes that a segment is on disk up to a length, and drops the bytes of its lines before that.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn synced(&mut self, id: SegmentId, length: u64) -> Result<(), LedgerError> {
        let apply = |ledger: &mut Self| {
            let tx = ledger.connection.transaction()?;
            tx.prepare_cached("UPDATE segments SET synced = max(synced, ?2) WHERE id = ?1")?
                .execute(params![id.0, length.cast_signed()])?;
            tx.prepare_cached(LET_GO)?.execute(params![id.0, length.cast_signed()])?;
            tx.commit()
        };
        apply(self).map_err(LedgerError::write)
    }

    /// Returns the committed lines of a segment that end behind a position, in order, at most `max_bytes` of them but at least one.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a line cannot be put together as it was.
    pub fn waiting(&self, id: SegmentId, from: u64, max_bytes: usize) -> Result<Vec<PendingLine>, LedgerError> {
        let query = || {
            let mut statement = self.connection.prepare_cached(WAITING)?;
            let mut rows = statement.query(params![id.0, from.cast_signed()])?;
            let mut waiting = Vec::new();
            let mut bytes = 0;
            while bytes < max_bytes
                && let Some(row) = rows.next()?
            {
                let (entry, is_sound) = waiting_of(row)?;
                if !is_sound {
                    return Ok(Err(entry.line));
                }
                bytes += entry.bytes.len();
                waiting.push(entry);
            }
            Ok(Ok(waiting))
        };
        query().map_err(LedgerError::read)?.map_err(|line| LedgerError::Damaged {
            path: self.path().to_owned(),
            finding: format!("line {line:?} is not as it was committed"),
        })
    }
}

/// Under this name the ledger remembers that an output's numbers up to one are given, though no line of it has the last.
fn floor_name(output: Output) -> String {
    format!("numbers of {} given", output.stem())
}

fn floor(connection: &Connection, output: Output) -> rusqlite::Result<u64> {
    let find = "SELECT value FROM meta WHERE key = ?1";
    let given: Option<i64> = connection.query_row(find, [floor_name(output)], |row| row.get(0)).optional()?;
    Ok(given.map_or(0, i64::cast_unsigned))
}

/// Remembers that the numbers of an output up to one are given.
pub(super) fn set_floor(connection: &Connection, output: Output, seq: u64) -> rusqlite::Result<()> {
    let set = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)";
    connection.execute(set, params![floor_name(output), seq.cast_signed()])?;
    Ok(())
}

fn insert(
    connection: &Connection,
    output: Output,
    number: u64,
    name: &str,
    (device, inode): (u64, u64),
    state: SegmentState,
    now: i64,
) -> rusqlite::Result<SegmentId> {
    let insert = "INSERT INTO segments (output, number, state, name, device, inode, committed, synced, opened_at)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7)";
    let values = params![
        output.to_number(),
        number.cast_signed(),
        state.to_number(),
        name,
        device.cast_signed(),
        inode.cast_signed(),
        now
    ];
    connection.execute(insert, values)?;
    Ok(SegmentId(connection.last_insert_rowid()))
}

fn waiting_of(row: &Row<'_>) -> rusqlite::Result<(PendingLine, bool)> {
    let line = LineId::from_number(row.get(0)?).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, row.get(0)?))?;
    let crc: u32 = row.get(2)?;
    let mut bytes: Vec<u8> = row.get(3)?;
    if let Some(vector) = row.get_ref(4)?.as_str_or_null()? {
        bytes.extend_from_slice(vector.as_bytes());
    }
    bytes.extend_from_slice(row.get_ref(5)?.as_blob()?);
    let is_sound = crc32fast::hash(&bytes) == crc;
    Ok((PendingLine { line, position: row.get::<_, i64>(1)?.cast_unsigned(), bytes }, is_sound))
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Segment>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, output, number, state, name, device, inode, committed, synced, opened_at FROM segments ORDER BY output, number",
    )?;
    let segments = statement.query_map([], |row| {
        let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        Ok(Segment {
            id: SegmentId(row.get(0)?),
            output: Output::from_number(row.get(1)?).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, row.get(1)?))?,
            number: unsigned(2)?,
            state: SegmentState::from_number(row.get(3)?),
            name: row.get(4)?,
            file: (unsigned(5)?, unsigned(6)?),
            committed: unsigned(7)?,
            synced: unsigned(8)?,
            opened_at: row.get(9)?,
        })
    })?;
    segments.collect()
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    #[test]
    fn waiting_lines_are_found_in_the_outbox_and_not_among_all_lines() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db"), ByteSize::mib(1)).unwrap();
        for sql in [LET_GO, WAITING, LEFT] {
            let mut explained = ledger.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nothing = vec![0; explained.parameter_count()];
            let steps = explained.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<_> = steps.map(Result::unwrap).collect();
            assert!(steps.iter().any(|step| step == "SEARCH l USING INTEGER PRIMARY KEY (rowid=?)"), "{steps:?}");
            assert!(steps.iter().all(|step| !step.starts_with("SCAN l")), "{steps:?}");
        }
    }
}
