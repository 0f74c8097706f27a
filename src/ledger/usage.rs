//! Usage of each model by day, and its learned token density.

use rusqlite::{Connection, Row, params};

use super::{Ledger, LedgerError, Reader};
use crate::domain::{Rate, Script, TokenCount};

/// Since this schema the ledger knows what was learned, and what came out of calls.
const SINCE: u32 = 2;

/// Since this schema it knows what of it the prompt cache had.
const CACHED_SINCE: u32 = 5;

/// Since this schema it knows at which rate.
const RATED_SINCE: u32 = 7;

/// What was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayUsage {
    /// Calls that were answered.
    pub calls: u64,
    /// Texts in them.
    pub texts: u64,
    /// Tokens that went in, as billed where the service says; else as estimated.
    pub tokens: TokenCount,
    /// Those of them that were read from the prompt cache.
    pub cache_read: TokenCount,
    /// Those of them that were written to it.
    pub cache_write: TokenCount,
    /// Those of these that are kept for an hour.
    pub cache_write_hour: TokenCount,
    /// Tokens that came out.
    pub output: TokenCount,
    /// At which of the model's prices.
    pub rate: Rate,
}

/// What was asked of one model on one day at one rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970, UTC.
    pub day: i64,
    /// The model's id, without the mark of an emulator.
    pub model: String,
    /// Whether an emulator answered in its place.
    pub emulated: bool,
    /// What was asked.
    pub usage: DayUsage,
}

/// Prefix of a model's name where an emulator answered.
const EMULATED: &str = "emulator/";

/// Returns the name under which a model's usage and rates are kept.
fn name(model: &str, emulated: bool) -> String {
    format!("{}{model}", if emulated { EMULATED } else { "" })
}

impl super::Commit<'_> {
    /// Commits what was asked of a model on a day (days since 1970, UTC).
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn used(&mut self, day: i64, model: &str, emulated: bool, usage: DayUsage) -> Result<(), LedgerError> {
        let DayUsage { calls, texts, tokens, cache_read, cache_write, cache_write_hour, output, rate } = usage;
        let tokens = [tokens, cache_read, cache_write, cache_write_hour, output].map(|tokens| tokens.get().cast_signed());
        let ([calls, texts], [tokens, cache_read, cache_write, hour, output]) = ([calls, texts].map(u64::cast_signed), tokens);
        let add = || {
            self.tx
                .prepare_cached(
                    "INSERT INTO usage (day, model, rate, calls, texts, tokens, output_tokens, cache_read_tokens,
                     cache_write_tokens, cache_write_hour_tokens)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                     ON CONFLICT (day, model, rate) DO UPDATE SET calls = calls + excluded.calls, texts = texts + excluded.texts,
                     tokens = tokens + excluded.tokens, output_tokens = output_tokens + excluded.output_tokens,
                     cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
                     cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
                     cache_write_hour_tokens = cache_write_hour_tokens + excluded.cache_write_hour_tokens",
                )?
                .execute(params![
                    day,
                    name(model, emulated),
                    rate.to_string(),
                    calls,
                    texts,
                    tokens,
                    output,
                    cache_read,
                    cache_write,
                    hour
                ])
        };
        add().map_err(LedgerError::write)?;
        Ok(())
    }
}

impl Ledger {
    /// Keeps what was learned of how a model bills: for each script characters and tokens.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn keep_density(
        &mut self,
        model: &str,
        emulated: bool,
        learned: impl IntoIterator<Item = (Script, f64, f64)>,
    ) -> Result<(), LedgerError> {
        let name = name(model, emulated);
        let keep = |connection: &mut rusqlite::Connection| {
            let tx = connection.transaction()?;
            for (script, characters, tokens) in learned {
                tx.prepare_cached(
                    "INSERT INTO density (model, script, characters, tokens) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (model, script)
                     DO UPDATE SET characters = excluded.characters, tokens = excluded.tokens",
                )?
                .execute(params![name, script.as_str(), characters, tokens])?;
            }
            tx.commit()
        };
        keep(&mut self.connection).map_err(LedgerError::write)
    }
}

impl Reader {
    /// Returns what was asked between two days, both included, in their order.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn usage(&self, from: i64, to: i64) -> Result<Vec<Day>, LedgerError> {
        let output = if self.schema() < SINCE { "0" } else { "output_tokens" };
        let cached = if self.schema() < CACHED_SINCE { "0, 0" } else { "cache_read_tokens, cache_write_tokens" };
        let rated = if self.schema() < RATED_SINCE { "0, 'default'" } else { "cache_write_hour_tokens, rate" };
        let query = format!(
            "SELECT day, model, calls, texts, tokens, {output}, {cached}, {rated} FROM usage WHERE day BETWEEN ?1 AND ?2
             ORDER BY 1, 2, 10"
        );
        let row = |row: &Row<'_>| {
            let model: String = row.get(1)?;
            let count = |at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.cast_unsigned());
            let usage = DayUsage {
                calls: count(2)?,
                texts: count(3)?,
                tokens: TokenCount::new(count(4)?),
                output: TokenCount::new(count(5)?),
                cache_read: TokenCount::new(count(6)?),
                cache_write: TokenCount::new(count(7)?),
                cache_write_hour: TokenCount::new(count(8)?),
                rate: Rate::of(&row.get::<_, String>(9)?),
            };
            let (model, emulated) = match model.strip_prefix(EMULATED) {
                Some(model) => (model.to_owned(), true),
                None => (model, false),
            };
            Ok(Day { day: row.get(0)?, model, emulated, usage })
        };
        self.ask(|connection| connection.prepare_cached(&query)?.query_map([from, to], row)?.collect::<Result<_, _>>())
    }

    /// Returns what was learned of how a model bills: for each script characters and tokens.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn density(&self, model: &str, emulated: bool) -> Result<Vec<(Script, f64, f64)>, LedgerError> {
        if self.schema() < SINCE {
            return Ok(Vec::new());
        }
        let read = |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT script, characters, tokens FROM density WHERE model = ?1")?;
            let mut rows = statement.query([name(model, emulated)])?;
            let mut learned = Vec::new();
            while let Some(row) = rows.next()? {
                let script = row.get_ref(0)?.as_str()?.to_owned();
                if let Some(script) = Script::ALL.into_iter().find(|known| known.as_str() == script) {
                    learned.push((script, row.get(1)?, row.get(2)?));
                }
            }
            Ok(learned)
        };
        self.ask(read)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytesize::ByteSize;

    use super::*;

    fn open(path: &Path) -> Ledger {
        Ledger::open(path, ByteSize::mib(1)).unwrap()
    }

    fn usage(calls: u64) -> DayUsage {
        let [tokens, cache_read, cache_write, output] = [100, 40, 20, 1].map(|each| TokenCount::new(each * calls));
        let cache_write_hour = TokenCount::new(7 * calls);
        DayUsage { calls, texts: 2 * calls, tokens, cache_read, cache_write, cache_write_hour, output, rate: Rate::default() }
    }

    #[test]
    fn usage_adds_up_by_day_model_and_who_answered_and_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut ledger = open(&path);
        for (day, emulated, calls) in [(7, false, 1), (7, false, 2), (7, true, 5), (8, false, 9), (9, false, 1)] {
            let mut commit = ledger.begin().unwrap();
            commit.used(day, "m", emulated, usage(calls)).unwrap();
            commit.commit().unwrap();
        }
        drop(ledger);
        let found = open(&path).reader().unwrap().usage(7, 8).unwrap();
        let expected = [(7, true, 5), (7, false, 3), (8, false, 9)];
        let expected = expected.map(|(day, emulated, calls)| Day { day, model: "m".into(), emulated, usage: usage(calls) });
        assert_eq!(found, expected);
    }

    #[test]
    fn each_rate_has_a_sum_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut ledger = open(&path);
        let flex = Rate { tier: crate::domain::Tier::Flex, is_long: true };
        for (rate, calls) in [(Rate::default(), 1), (flex, 2), (flex, 3)] {
            let mut commit = ledger.begin().unwrap();
            commit.used(7, "m", false, DayUsage { rate, ..usage(calls) }).unwrap();
            commit.commit().unwrap();
        }
        let found = ledger.reader().unwrap().usage(7, 7).unwrap();
        let found: Vec<_> = found.into_iter().map(|day| day.usage).collect();
        assert_eq!(found, [usage(1), DayUsage { rate: flex, ..usage(5) }]);
    }

    #[test]
    fn what_was_learned_is_kept_by_model_and_who_answered() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(&folder.path().join("ledger.db"));
        ledger.keep_density("m", false, [(Script::Latin, 10.0, 2.5), (Script::Cjk, 3.0, 3.5)]).unwrap();
        ledger.keep_density("m", false, [(Script::Latin, 20.0, 5.0)]).unwrap();
        ledger.keep_density("m", true, [(Script::Latin, 1.0, 1.0)]).unwrap();
        let reader = ledger.reader().unwrap();
        assert_eq!(reader.density("m", false).unwrap(), [(Script::Cjk, 3.0, 3.5), (Script::Latin, 20.0, 5.0)]);
        assert_eq!(reader.density("m", true).unwrap(), [(Script::Latin, 1.0, 1.0)]);
        assert_eq!(reader.density("n", false).unwrap(), []);
    }

    #[test]
    fn a_ledger_of_the_first_schema_can_be_looked_into_as_it_is_and_opening_it_keeps_its_usage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        super::super::schema::make_first(&path).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute("INSERT INTO usage VALUES (7, 'm', 1, 2, 100)", []).unwrap();
        drop(connection);
        let reader = Reader::open(&path).unwrap();
        let none = TokenCount::new(0);
        let expected = DayUsage { cache_read: none, cache_write: none, cache_write_hour: none, output: none, ..usage(1) };
        assert_eq!(reader.usage(7, 7).unwrap()[0].usage, expected);
        assert_eq!(reader.density("m", false).unwrap(), []);
        drop(reader);
        let mut ledger = open(&path);
        ledger.keep_density("m", false, [(Script::Latin, 1.0, 1.0)]).unwrap();
        let reader = ledger.reader().unwrap();
        assert_eq!((reader.usage(7, 7).unwrap()[0].usage, reader.density("m", false).unwrap().len()), (expected, 1));
    }
}
