//! Chat questions: pending ones, and their answers.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, Transaction, TransactionBehavior, params};

use super::document::from_bytes;
use super::reader::{optional, path_of};
use super::{Commit, DocumentState, Encoded, Ledger, LedgerError, Reader};
use crate::domain::{Asks, ChunkId, ContentHash, DocumentPath, Failure, Fingerprint, LineId, Observation, Output, QuestionKey};

/// Something that waits to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The document.
    pub document: i64,
    /// Where it lies.
    pub path: DocumentPath,
    /// The version that the prompt runs over.
    pub version: ContentHash,
    /// The prompt's name; `None` for the messages that the file itself holds.
    pub prompt: Option<String>,
}

/// How a document ended about which nothing waits to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Through {
    /// All its answers are current.
    Done,
    /// It failed, for this reason.
    Failed(Failure),
}

/// A line that has an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerLine {
    /// The file's names in the output folder: as it was, and as it will be when it has been sealed.
    pub names: [String; 2],
    /// Where in it, in bytes.
    pub position: u64,
    /// The line's length with its newline.
    pub length: u64,
    /// CRC-32 of the line.
    pub crc: u32,
}

/// A prompt as the ledger asks for it.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// Its name.
    pub name: &'a str,
    /// The model's id.
    pub model: &'a str,
    /// Its configuration.
    pub config: Fingerprint,
    /// Whether it is meant for a document.
    pub is_for: &'a dyn Fn(&DocumentPath) -> bool,
}

/// Consequences of changed prompts for documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldTo {
    /// How many documents each prompt newly waits for.
    pub waiting: Vec<u64>,
    /// Documents that the source has to take again, for they are to be taken for something else, or had failed.
    pub anew: Vec<DocumentPath>,
}

fn name(prompt: Option<&str>) -> &str {
    prompt.unwrap_or_default()
}

/// Reads a line's place: its id, then name and number of its file, position, length and checksum.
pub(super) fn line_of(row: &Row<'_>) -> rusqlite::Result<AnswerLine> {
    let output = LineId::from_number(row.get(0)?).map_or(Output::Answers, |line| line.output);
    Ok(AnswerLine {
        names: [row.get(1)?, output.sealed_name(row.get::<_, i64>(2)?.cast_unsigned())],
        position: row.get::<_, i64>(3)?.cast_unsigned(),
        length: row.get::<_, i64>(4)?.cast_unsigned(),
        crc: row.get(5)?,
    })
}

fn waits(connection: &Connection, document: i64, prompt: Option<&str>, version: &ContentHash) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM asks WHERE document = ?1 AND prompt = ?2 AND version = ?3)")?
        .query_row(params![document, name(prompt), version.as_bytes()], |row| row.get(0))
}

impl Commit<'_> {
    /// Commits what is to be asked about a version of a document; of an earlier version nothing is asked any more.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn ask(&mut self, document: i64, version: &ContentHash, asks: &[Asks]) -> Result<(), LedgerError> {
        self.ask_no_more(document)?;
        let insert = || {
            let mut insert = self
                .tx
                .prepare_cached("INSERT OR REPLACE INTO asks (document, prompt, model, version) VALUES (?1, ?2, ?3, ?4)")?;
            for Asks { prompt, model } in asks {
                insert.execute(params![document, name(prompt.as_deref()), model, version.as_bytes()])?;
            }
            Ok(())
        };
        insert().map_err(LedgerError::write)
    }

    /// Commits that no prompt runs over a document any more.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn ask_no_more(&mut self, document: i64) -> Result<(), LedgerError> {
        let delete = || self.tx.prepare_cached("DELETE FROM asks WHERE document = ?1")?.execute([document]);
        delete().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Returns whether this still waits to be asked: not where the document has changed meanwhile, or has gone.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waits(&self, document: i64, prompt: Option<&str>, version: &ContentHash) -> Result<bool, LedgerError> {
        waits(&self.tx, document, prompt, version).map_err(LedgerError::read)
    }

    /// Commits an answer's line: it is current from now on, in the place of an earlier one.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn answer(
        &mut self,
        document: i64,
        prompt: Option<&str>,
        answer: ChunkId,
        question: QuestionKey,
        encoded: Encoded,
    ) -> Result<(), LedgerError> {
        let line = self.plain(Output::Answers, encoded)?.to_number();
        let insert = || stand(&self.tx, line, document, name(prompt), answer, question);
        insert().map_err(LedgerError::write)
    }

    /// Commits the line that deletes an answer.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn take_back(&mut self, document: i64, answer: ChunkId, encoded: Encoded) -> Result<(), LedgerError> {
        self.plain(Output::Answers, encoded)?;
        let delete = || {
            self.tx
                .prepare_cached("DELETE FROM answers WHERE document = ?1 AND answer = ?2")?
                .execute(params![document, answer.as_bytes()])
        };
        delete().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits that a prompt was asked to its end under a configuration, whatever came of it.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn asked(&mut self, document: i64, prompt: Option<&str>, config: Fingerprint) -> Result<(), LedgerError> {
        let update = || {
            self.tx
                .prepare_cached("DELETE FROM asks WHERE document = ?1 AND prompt = ?2")?
                .execute(params![document, name(prompt)])?;
            self.tx
                .prepare_cached("INSERT OR REPLACE INTO asked (document, prompt, config) VALUES (?1, ?2, ?3)")?
                .execute(params![document, name(prompt), config.as_bytes()])
        };
        update().map_err(LedgerError::write)?;
        Ok(())
    }

    /// Commits that a document whose vectors stand is failed all the same.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn fail(&mut self, document: i64, failure: &Failure, now: i64) -> Result<(), LedgerError> {
        let reason = serde_json::to_string(failure).expect("a failure is JSON");
        let update =
            || {
                self.tx
                    .prepare_cached("UPDATE documents SET state = ?2, reason = ?3, ended_at = ?4 WHERE id = ?1")?
                    .execute(params![document, DocumentState::Failed.to_number(), reason, now])
            };
        update().map_err(LedgerError::write)?;
        Ok(())
    }
}

/// Makes a line the current one of an answer.
pub(super) fn stand(
    tx: &Transaction<'_>,
    line: i64,
    document: i64,
    prompt: &str,
    answer: ChunkId,
    question: QuestionKey,
) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO answers (line, document, answer, prompt, question) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![line, document, answer.as_bytes(), prompt, question.as_bytes()])?;
    tx.prepare_cached("INSERT OR REPLACE INTO questions (question, line) VALUES (?1, ?2)")?
        .execute(params![question.as_bytes(), line])?;
    Ok(())
}

impl Ledger {
    /// Holds what waits to be asked to the configured prompts: what one that is new or has changed asks about documents that are done
    /// waits from now on, and a question of a removed prompt does not any more. `messages` says whether files that hold messages are asked,
    /// which then have their own configuration.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn hold_asks_to(
        &mut self,
        prompts: &[Prompt<'_>],
        messages: bool,
        messages_config: Fingerprint,
    ) -> Result<HeldTo, LedgerError> {
        let apply = |connection: &mut Connection| {
            let tx = Transaction::new(connection, TransactionBehavior::Immediate)?;
            let names: Vec<&str> = prompts.iter().map(|prompt| prompt.name).collect();
            let names = serde_json::to_string(&names).expect("names are JSON");
            tx.execute(
                "DELETE FROM asks WHERE CASE prompt WHEN '' THEN NOT ?2 ELSE prompt NOT IN (SELECT value FROM json_each(?1)) END",
                params![names, messages],
            )?;
            tx.execute("DELETE FROM asked WHERE prompt <> '' AND prompt NOT IN (SELECT value FROM json_each(?1))", [&names])?;
            // Files that were taken for documents are questions now, or the other way round.
            let mut anew = paths(
                &tx,
                "UPDATE documents SET observation = NULL WHERE substr(path, -10) = CAST('.chat.json' AS BLOB) AND state <> ?1
                 AND (config IS ?2) <> ?3 RETURNING path",
                params![DocumentState::Gone.to_number(), messages_config.as_bytes(), messages],
            )?;
            let (mut waiting, failed) = (Vec::new(), DocumentState::Failed.to_number());
            for Prompt { name, model, config, is_for } in prompts {
                tx.execute("UPDATE asks SET model = ?2 WHERE prompt = ?1 AND model <> ?2", [name, model])?;
                // A failed question is asked again when it has changed, with the others about its document.
                anew.extend(each(
                    &tx,
                    r#"SELECT d.id, d.path, 0 FROM documents d
                     WHERE d.id > ?1 AND d.state = ?4 AND d.reason LIKE '%"stage":"chat"%'
                     AND NOT EXISTS (SELECT 1 FROM asked a WHERE a.document = d.id AND a.prompt = ?2 AND a.config = ?3)
                     ORDER BY d.id LIMIT ?5"#,
                    &[name, &config.as_bytes(), &failed],
                    |id, path, _| {
                        let is_asked = is_for(path);
                        if is_asked {
                            tx.prepare_cached("UPDATE documents SET observation = NULL WHERE id = ?1")?.execute([id])?;
                        }
                        Ok(is_asked)
                    },
                )?);
                // Documents that it is not meant for wait only where they have an answer, which is deleted.
                let mut added = 0;
                each(
                    &tx,
                    r#"SELECT d.id, d.path, EXISTS (SELECT 1 FROM answers a WHERE a.document = d.id AND a.prompt = ?2) FROM documents d
                     WHERE d.id > ?1 AND (d.state = ?4 OR d.state = ?6 AND (d.reason LIKE '%"stage":"embed"%' OR d.reason LIKE '%"stage":"context"%'))
                     AND d.disposed <> 1 AND d.version IS NOT NULL AND d.config IS NOT ?5
                     AND NOT EXISTS (SELECT 1 FROM asked a WHERE a.document = d.id AND a.prompt = ?2 AND a.config = ?3)
                     ORDER BY d.id LIMIT ?7"#,
                    &[name, &config.as_bytes(), &DocumentState::Done.to_number(), &messages_config.as_bytes(), &failed],
                    |id, path, has_answer| {
                        let is_asked = is_for(path);
                        if is_asked || has_answer {
                            let insert = "INSERT OR IGNORE INTO asks (document, prompt, model, version)
                                          SELECT id, ?2, ?3, version FROM documents WHERE id = ?1";
                            let new = tx.prepare_cached(insert)?.execute(params![id, name, model])?;
                            added += if is_asked { new as u64 } else { 0 };
                        }
                        Ok(false)
                    },
                )?;
                waiting.push(added);
            }
            tx.commit()?;
            Ok(HeldTo { waiting, anew })
        };
        apply(&mut self.connection).map_err(LedgerError::write)
    }
}

/// Documents that are held in memory at a time.
const AT_ONCE: i64 = if cfg!(test) { 2 } else { 4096 };

/// Passes the documents that a query finds, some at a time: the query takes the last one's number as its first value, and how many it
/// may find as its last. Returns those that were chosen.
fn each(
    tx: &Transaction<'_>,
    select: &str,
    values: &[&dyn ToSql],
    mut is_chosen: impl FnMut(i64, &DocumentPath, bool) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Vec<DocumentPath>> {
    let (mut chosen, mut last) = (Vec::new(), i64::MIN);
    loop {
        let found: Vec<(i64, Option<DocumentPath>, bool)> = {
            let mut statement = tx.prepare_cached(select)?;
            let values: Vec<&dyn ToSql> =
                [&last as &dyn ToSql].into_iter().chain(values.iter().copied()).chain([&AT_ONCE as _]).collect();
            let rows =
                statement.query_map(&*values, |row| Ok((row.get(0)?, path_of(row.get_ref(1)?.as_blob()?), row.get(2)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let Some((id, ..)) = found.last() else { return Ok(chosen) };
        last = *id;
        for (id, path, has_answer) in found {
            if let Some(path) = path
                && is_chosen(id, &path, has_answer)?
            {
                chosen.push(path);
            }
        }
    }
}

/// Changes documents and returns where those lie that were changed.
fn paths(tx: &Transaction<'_>, update: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<DocumentPath>> {
    let mut statement = tx.prepare(update)?;
    let mut rows = statement.query(values)?;
    let mut paths = Vec::new();
    while let Some(row) = rows.next()? {
        paths.extend(path_of(row.get_ref(0)?.as_blob()?));
    }
    Ok(paths)
}

impl Reader {
    /// Returns what waits to be asked of a model, in the order of documents and prompts, after one of them.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waiting(&self, model: &str, after: Option<(i64, &str)>, most: usize) -> Result<Vec<Waits>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT a.document, d.path, a.version, a.prompt FROM asks a JOIN documents d ON d.id = a.document
                 WHERE a.model = ?1 AND (a.document, a.prompt) > (?2, ?3) ORDER BY a.document, a.prompt LIMIT ?4",
            )?;
            let (document, prompt) = after.unwrap_or((i64::MIN, ""));
            let mut rows = statement.query(params![model, document, prompt, i64::try_from(most).unwrap_or(i64::MAX)])?;
            let mut waiting = Vec::new();
            while let Some(row) = rows.next()? {
                let path = path_of(row.get_ref(1)?.as_blob()?);
                let version = ContentHash::from_bytes(row.get_ref(2)?.as_blob()?);
                if let (Some(path), Some(version)) = (path, version) {
                    let prompt = Some(row.get::<_, String>(3)?).filter(|prompt| !prompt.is_empty());
                    waiting.push(Waits { document: row.get(0)?, path, version, prompt });
                }
            }
            Ok(waiting)
        };
        self.ask(query)
    }

    /// Returns what a document's file looked like when it was last processed; `None` where it is to be taken again.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn observation(&self, document: i64) -> Result<Option<Observation>, LedgerError> {
        let query = |connection: &Connection| {
            connection
                .prepare_cached("SELECT observation FROM documents WHERE id = ?1")?
                .query_row([document], |row| Ok(optional(row, 0)?.and_then(from_bytes)))
                .optional()
        };
        self.ask(query).map(Option::flatten)
    }

    /// Returns how much waits to be asked, of all models.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn asks(&self) -> Result<u64, LedgerError> {
        if self.schema() < 4 {
            return Ok(0);
        }
        let query = |connection: &Connection| connection.query_row("SELECT count(*) FROM asks", [], |row| row.get::<_, i64>(0));
        self.ask(query).map(i64::cast_unsigned)
    }

    /// Returns how a document ended; `None` where it has not, or where something waits to be asked about it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn through(&self, document: i64) -> Result<Option<Through>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT state, reason FROM documents WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM asks WHERE document = ?1)",
            )?;
            let mut rows = statement.query([document])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(match DocumentState::from_number(row.get(0)?) {
                DocumentState::Done => Some(Through::Done),
                DocumentState::Failed => {
                    let failure = row.get_ref(1)?.as_str_or_null()?.and_then(|json| serde_json::from_str(json).ok());
                    failure.map(Through::Failed)
                }
                DocumentState::UnderWay | DocumentState::Skipped | DocumentState::Gone => None,
            })
        };
        self.ask(query)
    }

    /// Returns whether this still waits to be asked.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn waits(&self, document: i64, prompt: Option<&str>, version: &ContentHash) -> Result<bool, LedgerError> {
        self.ask(|connection| waits(connection, document, prompt, version))
    }

    /// Returns the current answers of a document, with the questions that they answer: those of one prompt, or all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn answers(&self, document: i64, prompt: Option<Option<&str>>) -> Result<HashMap<ChunkId, QuestionKey>, LedgerError> {
        let query = |connection: &Connection| {
            let mut statement = connection
                .prepare_cached("SELECT answer, question FROM answers WHERE document = ?1 AND (?2 IS NULL OR prompt = ?2)")?;
            let mut rows = statement.query(params![document, prompt.map(name)])?;
            let mut answers = HashMap::new();
            while let Some(row) = rows.next()? {
                let answer = ChunkId::from_bytes(row.get_ref(0)?.as_blob()?);
                let question = QuestionKey::from_bytes(row.get_ref(1)?.as_blob()?);
                answers.extend(answer.zip(question));
            }
            Ok(answers)
        };
        self.ask(query)
    }

    /// Returns the current answers under other prompts than these: document, its version, and the answer.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn answers_beside(&self, prompts: &[&str]) -> Result<Vec<(DocumentPath, ContentHash, ChunkId)>, LedgerError> {
        let prompts = serde_json::to_string(prompts).expect("names are JSON");
        let query = |connection: &Connection| {
            let mut statement = connection.prepare(
                "SELECT d.path, d.version, a.answer FROM answers a JOIN documents d ON d.id = a.document
                 WHERE a.prompt NOT IN (SELECT value FROM json_each(?1)) ORDER BY a.line",
            )?;
            let mut rows = statement.query([prompts])?;
            let mut beside = Vec::new();
            while let Some(row) = rows.next()? {
                let (path, version) = (path_of(row.get_ref(0)?.as_blob()?), optional(row, 1)?.and_then(ContentHash::from_bytes));
                if let (Some(path), Some(answer)) = (path, ChunkId::from_bytes(row.get_ref(2)?.as_blob()?)) {
                    beside.push((path, version.unwrap_or_else(|| ContentHash::of(b"")), answer));
                }
            }
            Ok(beside)
        };
        self.ask(query)
    }

    /// Returns the line that has the answer to a question, if it was ever answered and the line is known.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn answer_line(&self, question: &QuestionKey) -> Result<Option<AnswerLine>, LedgerError> {
        if self.schema() < 4 {
            return Ok(None);
        }
        let query = |connection: &Connection| {
            connection
                .prepare_cached(
                    "SELECT l.id, s.name, s.number, l.position, l.length, l.crc FROM questions q
                     JOIN lines l ON l.id = q.line JOIN segments s ON s.id = l.segment WHERE q.question = ?1",
                )?
                .query_row([question.as_bytes()], line_of)
                .optional()
        };
        self.ask(query)
    }
}
