//! The tables, and the migrations of older ledgers.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::LedgerError;

/// Marks the file as a ledger: "rvbd".
const APPLICATION_ID: i32 = 0x7276_6264;

/// The steps from one schema to the next; the first makes an empty file a ledger. A step that has shipped is never changed.
const STEPS: [&str; 7] = [FIRST, MONEY, CUTS, ANSWERS, PROMPT_CACHE, KEPT, RATES];

/// Blobs are raw bytes: paths, BLAKE3 hashes, ids. Times are milliseconds since 1970. Since a later build `documents.disposed` is 2 where
/// the file is about to be taken out of the folder, and may have been.
const FIRST: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;

    -- Every file that was ever taken, as it was last seen. state: 0 under way, 1 done, 2 failed, 3 skipped, 4 gone.
    -- The observation is NULL where the file must be taken again although it has not changed. disposed: riverbed itself took the
    -- file out of the folder, so that its absence means nothing.
    CREATE TABLE documents (
        id INTEGER PRIMARY KEY,
        path BLOB NOT NULL UNIQUE,
        state INTEGER NOT NULL,
        version BLOB,
        config BLOB,
        observation BLOB,
        device INTEGER,
        size INTEGER,
        media_type TEXT,
        chunks INTEGER,
        starts INTEGER NOT NULL DEFAULT 0,
        disposed INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        ended_at INTEGER
    ) STRICT;
    CREATE INDEX documents_by_state ON documents (state);

    -- The latest ends of each document, for `riverbed explain`.
    CREATE TABLE versions (
        id INTEGER PRIMARY KEY,
        document INTEGER NOT NULL,
        version BLOB,
        state INTEGER NOT NULL,
        chunks INTEGER NOT NULL,
        embedded INTEGER NOT NULL,
        cached INTEGER NOT NULL,
        retracted INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        ended_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX versions_of_document ON versions (document);

    -- The files of the output. state: 0 open, 1 sealing, 2 sealed, 3 suspect, 4 damaged. Lengths are in bytes:
    -- committed ones stand in `lines`, synced ones are on disk, and the outbox holds what lies between.
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY,
        output INTEGER NOT NULL,
        number INTEGER NOT NULL,
        state INTEGER NOT NULL,
        name TEXT NOT NULL,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        committed INTEGER NOT NULL,
        synced INTEGER NOT NULL,
        opened_at INTEGER NOT NULL,
        UNIQUE (output, number)
    ) STRICT;

    -- Every line of the output. id: output << 56 | seq. crc: CRC-32 of the line with its newline.
    CREATE TABLE lines (
        id INTEGER PRIMARY KEY,
        segment INTEGER NOT NULL,
        position INTEGER NOT NULL,
        length INTEGER NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT;

    -- Which line is current for which chunk of which document.
    CREATE TABLE standing (
        line INTEGER PRIMARY KEY,
        document INTEGER NOT NULL,
        chunk BLOB NOT NULL,
        config BLOB NOT NULL,
        place BLOB NOT NULL,
        tokens INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX standing_of_document ON standing (document, chunk);

    -- Lines that are committed and may not be on disk yet: head, the vector of that id, tail.
    CREATE TABLE outbox (
        line INTEGER PRIMARY KEY,
        head BLOB NOT NULL,
        vector INTEGER,
        tail BLOB NOT NULL
    ) STRICT;

    -- Every answer. bytes: size of its vector in `vectors`, 0 where that has left; the line that it is in has it still.
    CREATE TABLE embeddings (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        line INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        emulated INTEGER NOT NULL,
        answered_at INTEGER NOT NULL,
        used INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX embeddings_by_use ON embeddings (used) WHERE bytes > 0;
    CREATE TABLE vectors (id INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;

    -- What was asked of each model, by day (days since 1970, UTC).
    CREATE TABLE usage (
        day INTEGER NOT NULL,
        model TEXT NOT NULL,
        calls INTEGER NOT NULL,
        texts INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        PRIMARY KEY (day, model)
    ) STRICT, WITHOUT ROWID;
";

/// What answers cost beside what was asked, and what models are billed for texts.
const MONEY: &str = "
    ALTER TABLE usage ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0;

    -- Tokens that a model was billed for characters of a script, as far as that can be told; old ones count less and less.
    CREATE TABLE density (
        model TEXT NOT NULL,
        script TEXT NOT NULL,
        characters REAL NOT NULL,
        tokens REAL NOT NULL,
        PRIMARY KEY (model, script)
    ) STRICT, WITHOUT ROWID;
";

/// Texts that the service found too long, each under the id that it has where it first occurs in its document.
const CUTS: &str = "
    CREATE TABLE cuts (
        document INTEGER NOT NULL,
        chunk BLOB NOT NULL,
        config BLOB NOT NULL,
        parts INTEGER NOT NULL,
        PRIMARY KEY (document, chunk)
    ) STRICT, WITHOUT ROWID;
";

/// What is asked of chat models, and which answers are current.
const ANSWERS: &str = "
    -- What is still to be asked about a version of a document. prompt: '' for the messages that the file itself holds.
    CREATE TABLE asks (
        document INTEGER NOT NULL,
        prompt TEXT NOT NULL,
        model TEXT NOT NULL,
        version BLOB NOT NULL,
        PRIMARY KEY (document, prompt)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX asks_of_model ON asks (model, document, prompt);

    -- The configuration under which a prompt was last asked about a document, to its end.
    CREATE TABLE asked (
        document INTEGER NOT NULL,
        prompt TEXT NOT NULL,
        config BLOB NOT NULL,
        PRIMARY KEY (document, prompt)
    ) STRICT, WITHOUT ROWID;

    -- Which line of `answers.jsonl` stands for which question about which document.
    CREATE TABLE answers (
        line INTEGER PRIMARY KEY,
        document INTEGER NOT NULL,
        answer BLOB NOT NULL,
        prompt TEXT NOT NULL,
        question BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX answers_of_document ON answers (document, answer);

    -- The line that has the answer to a question, whether it stands or not.
    CREATE TABLE questions (question BLOB PRIMARY KEY, line INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Tokens of the prompt cache, which have prices of their own; they are part of `tokens`.
const PROMPT_CACHE: &str = "
    ALTER TABLE usage ADD COLUMN cache_read_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE usage ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
";

/// Answers that have no line of their own. Since this schema `questions` names lines of `vectors.jsonl` too: those with the context.
const KEPT: &str = "
    CREATE TABLE kept (
        question BLOB PRIMARY KEY,
        answer TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Usage by the rate that it is billed at: tiers and long prompts have prices of their own, and so have writes that are kept for an hour.
const RATES: &str = "
    CREATE TABLE usage_by_rate (
        day INTEGER NOT NULL,
        model TEXT NOT NULL,
        rate TEXT NOT NULL,
        calls INTEGER NOT NULL,
        texts INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cache_read_tokens INTEGER NOT NULL,
        cache_write_tokens INTEGER NOT NULL,
        cache_write_hour_tokens INTEGER NOT NULL,
        PRIMARY KEY (day, model, rate)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO usage_by_rate
        SELECT day, model, 'default', calls, texts, tokens, output_tokens, cache_read_tokens, cache_write_tokens, 0 FROM usage;
    DROP TABLE usage;
    ALTER TABLE usage_by_rate RENAME TO usage;
";

/// Returns the schema that this build writes.
pub(super) fn known() -> u32 {
    u32::try_from(STEPS.len()).expect("there are few steps")
}

/// Brings a ledger to today's schema, step by step, each whole or not at all.
pub(super) fn migrate(connection: &mut Connection, path: &std::path::Path) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::open(path, error);
    let number = |connection: &Connection, pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map_err(failed)
    };
    let (application, found) = (number(connection, "application_id")?, number(connection, "user_version")?);
    let is_empty = connection
        .query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get::<_, bool>(0))
        .map_err(failed)?;
    if application != APPLICATION_ID && !is_empty {
        return Err(LedgerError::NotALedger { path: path.to_owned() });
    }
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > known() {
        return Err(LedgerError::Newer { path: path.to_owned(), found, known: known() });
    }
    take(connection, found as usize..STEPS.len()).map_err(failed)
}

fn take(connection: &mut Connection, steps: std::ops::Range<usize>) -> rusqlite::Result<()> {
    for at in steps {
        let step = STEPS[at];
        let apply = |connection: &mut Connection| {
            let tx = Transaction::new(connection, TransactionBehavior::Immediate)?;
            tx.execute_batch(step)?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", u32::try_from(at + 1).expect("there are few steps"))?;
            tx.commit()
        };
        apply(connection)?;
    }
    Ok(())
}

/// Makes a ledger as the first build made it.
#[cfg(test)]
pub(super) fn make_first(path: &std::path::Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    take(&mut connection, 0..1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytesize::ByteSize;
    use rusqlite::Batch;
    use rusqlite::fallible_iterator::FallibleIterator as _;

    use super::*;
    use crate::ledger::Ledger;

    /// Makes a ledger of an older build, with something in it.
    fn make(path: &Path, schema: usize) -> Connection {
        let mut connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        take(&mut connection, 0..schema).unwrap();
        connection.execute("INSERT INTO meta (key, value) VALUES ('instance', 'as it was')", []).unwrap();
        connection
    }

    /// Leaves what a kill leaves of a ledger that is open.
    fn kill(path: &Path, left: &Path) {
        for beside in ["", "-wal"] {
            let name = |path: &Path| format!("{}{beside}", path.display());
            if std::fs::copy(name(path), name(left)).is_err() {
                assert!(!Path::new(&name(path)).exists());
            }
        }
    }

    #[test]
    fn a_kill_at_any_statement_of_a_step_leaves_a_ledger_that_opens() {
        let mut kills = 0;
        for (schema, step) in STEPS.iter().enumerate().skip(1) {
            for commits in [false, true] {
                let mut statements = 0;
                loop {
                    let folder = tempfile::tempdir().unwrap();
                    let (path, left) = (folder.path().join("ledger.db"), folder.path().join("left.db"));
                    let connection = make(&path, schema);
                    // What a page cache holds may be in the log before its commit.
                    connection.pragma_update(None, "cache_spill", 1).unwrap();
                    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                    let mut batch = Batch::new(&connection, step);
                    let mut done = 0;
                    let is_through = loop {
                        if done == statements {
                            break false;
                        }
                        let Some(mut statement) = batch.next().unwrap() else { break true };
                        statement.execute([]).unwrap();
                        done += 1;
                    };
                    if is_through {
                        connection.pragma_update(None, "user_version", u32::try_from(schema + 1).unwrap()).unwrap();
                        if commits {
                            connection.execute_batch("COMMIT").unwrap();
                        }
                    }
                    kill(&path, &left);
                    drop(connection);
                    kills += 1;
                    let ledger = Ledger::open(&left, ByteSize::mib(1)).unwrap();
                    assert_eq!(ledger.instance(), "as it was", "{done} statements of step {schema}");
                    let now: u32 = ledger.connection().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
                    assert_eq!(now, known());
                    let check: String = ledger.connection().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
                    assert_eq!(check, "ok");
                    if is_through {
                        break;
                    }
                    statements += 1;
                }
            }
        }
        assert!(kills > 20, "{kills}");
    }

    #[test]
    fn a_ledger_of_a_newer_build_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        make(&path, STEPS.len()).pragma_update(None, "user_version", known() + 1).unwrap();
        let before = std::fs::read(&path).unwrap();
        let opened = Ledger::open(&path, ByteSize::mib(1));
        assert!(matches!(opened, Err(LedgerError::Newer { found, .. }) if found == known() + 1), "{opened:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
