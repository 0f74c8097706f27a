//! Answers about the parts of a long text: kept in the ledger as they come, so that a crash before the last of them has none of them
//! paid for twice.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::domain::{Billed, ContentHash, Fingerprint, Kept, QuestionKey, Record, TokensUsed};
use crate::ledger::{LedgerError, Reader};
use crate::pipeline::PipelineError;

/// Where they are kept.
#[derive(Clone)]
pub(in crate::pipeline) struct Keeping {
    pub(in crate::pipeline) ledger: Arc<Reader>,
    pub(in crate::pipeline) records: mpsc::Sender<Record>,
}

/// An answer about a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) usage: Option<TokensUsed>,
    pub(super) usd: Option<f64>,
    pub(super) latency_ms: Option<u64>,
}

/// Returns the key of the question about a part: the whole question, which part it is, and its text.
pub(super) fn key(question: QuestionKey, at: usize, text: &ContentHash) -> QuestionKey {
    let settings = Fingerprint::of(&[("part of", &question.to_string()), ("at", &at.to_string())]);
    QuestionKey::of(settings, text.as_bytes())
}

impl Keeping {
    /// Returns an answer that is kept.
    pub(super) async fn recall(&self, key: QuestionKey) -> Result<Option<Part>, PipelineError> {
        let ledger = Arc::clone(&self.ledger);
        let kept = spawn_blocking(move || ledger.kept(&key)).await.map_err(PipelineError::Panicked)?;
        let kept: Result<Option<String>, LedgerError> = kept;
        Ok(kept?.and_then(|json| serde_json::from_str(&json).ok()))
    }

    /// Keeps an answer, with what it was billed.
    pub(super) async fn keep(&self, question: QuestionKey, part: &Part, model: String, billed: Billed) {
        let answer = Some(serde_json::to_string(part).expect("a part is JSON"));
        // A writer that has stopped has ended the pipeline, and says why itself.
        let _ended = self.records.send(Record::Kept(Kept { question, answer, model, billed })).await;
    }
}
