//! Reads questions and answers: of one document, of all, and those that a run would ask.

use rusqlite::{Connection, params};

use super::chat_answers::{AnswerLine, line_of};
use super::reader::path_of;
use super::{DocumentState, LedgerError, Reader, Waits};
use crate::domain::{ContentHash, DocumentPath, Fingerprint};

/// Since this schema anything is asked.
const SINCE: u32 = 4;

/// Answers by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Current ones.
    pub standing: u64,
    /// Prompts that wait to be asked about documents.
    pub waiting: u64,
    /// Documents of which a question failed.
    pub failed: u64,
}

/// The questions about one document. The messages that a file itself holds have no prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskedAbout {
    /// The prompts that wait to be asked.
    pub waiting: Vec<Option<String>>,
    /// The current answers, each with its prompt.
    pub answers: Vec<(Option<String>, AnswerLine)>,
}

impl Reader {
    /// Returns the prompts that run over a document.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn asked_about(&self, path: &DocumentPath) -> Result<AskedAbout, LedgerError> {
        if self.schema() < SINCE {
            return Ok(AskedAbout::default());
        }
        let named = |name: String| Some(name).filter(|name| !name.is_empty());
        let query = |connection: &Connection| {
            let mut waiting = connection.prepare_cached(
                "SELECT a.prompt FROM asks a JOIN documents d ON d.id = a.document WHERE d.path = ?1 ORDER BY a.prompt",
            )?;
            let waiting = waiting.query_map([path.as_bytes()], |row| row.get(0).map(named))?.collect::<Result<_, _>>()?;
            let mut answers = connection.prepare_cached(
                "SELECT l.id, s.name, s.number, l.position, l.length, l.crc, a.prompt FROM answers a
                 JOIN documents d ON d.id = a.document JOIN lines l ON l.id = a.line JOIN segments s ON s.id = l.segment
                 WHERE d.path = ?1 ORDER BY a.prompt, a.line",
            )?;
            let answers = answers.query_map([path.as_bytes()], |row| Ok((row.get(6).map(named)?, line_of(row)?)))?;
            Ok(AskedAbout { waiting, answers: answers.collect::<Result<_, _>>()? })
        };
        self.ask(query)
    }

    /// Returns documents, after one of them, that a prompt under a configuration would be asked about: what waits, and what ended
    /// without having been asked so. Files that hold messages, by their own configuration, are asked nothing but those.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn unasked(
        &self,
        prompt: Option<&str>,
        config: Fingerprint,
        messages_config: Fingerprint,
        after: i64,
        most: usize,
    ) -> Result<Vec<Waits>, LedgerError> {
        if self.schema() < SINCE {
            return Ok(Vec::new());
        }
        let query = |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "SELECT d.id, d.path, d.version FROM documents d
                 WHERE d.id > ?4 AND d.disposed <> 1 AND d.version IS NOT NULL
                 AND (EXISTS (SELECT 1 FROM asks a WHERE a.document = d.id AND a.prompt = ?1)
                  OR (?1 <> '' AND d.config IS NOT ?3 AND d.state = ?6
                   AND NOT EXISTS (SELECT 1 FROM asked a WHERE a.document = d.id AND a.prompt = ?1 AND a.config = ?2)))
                 ORDER BY d.id LIMIT ?5",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let (config, messages_config) = (config.as_bytes(), messages_config.as_bytes());
            let done = DocumentState::Done.to_number();
            let mut rows = statement.query(params![prompt.unwrap_or_default(), config, messages_config, after, most, done])?;
            let mut unasked = Vec::new();
            while let Some(row) = rows.next()? {
                let path = path_of(row.get_ref(1)?.as_blob()?);
                let version = ContentHash::from_bytes(row.get_ref(2)?.as_blob()?);
                if let (Some(path), Some(version)) = (path, version) {
                    unasked.push(Waits { document: row.get(0)?, path, version, prompt: prompt.map(ToOwned::to_owned) });
                }
            }
            Ok(unasked)
        };
        self.ask(query)
    }
}

/// Counts answers by state.
pub(super) fn answers(connection: &Connection, schema: u32) -> rusqlite::Result<Answers> {
    if schema < SINCE {
        return Ok(Answers::default());
    }
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
    Ok(Answers {
        standing: count("SELECT count(*) FROM answers")?,
        waiting: count("SELECT count(*) FROM asks")?,
        failed: count(r#"SELECT count(*) FROM documents WHERE state = 2 AND reason LIKE '%"stage":"chat"%'"#)?,
    })
}
