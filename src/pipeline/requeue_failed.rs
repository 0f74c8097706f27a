//! Documents that failed through no fault of their own: each start retries them.
//!
//! This build fails none for such a reason, but earlier ones have, and a run that ends may have found no other text to compare one with.
//! Where the reason still applies, the gate is closed for it and the documents wait: they do not fail once more, so this ends.

use tracing::{info, warn};

use crate::bedrock::was_a_condition;
use crate::domain::path::Sanitized;
use crate::domain::{DocumentPath, Stage};
use crate::folder::{self, OnFailed};
use crate::ledger::{Failed, Ledger, LedgerError, Reader};
use crate::report::chain;

/// Has such documents taken again by the scan that is about to begin, and brings back their files where those were moved away. Blocks.
///
/// # Errors
/// When the ledger cannot be read or written. Where it has no room now, the next start does it.
pub(super) fn take_again(reader: &Reader, ledger: &mut Ledger, config: &folder::SourceConfig) -> Result<(), LedgerError> {
    let paths: Vec<DocumentPath> = (reader.failed()?.into_iter())
        .filter(|failed| !failed.retried && is_of_a_condition(failed))
        .inspect(|failed| bring_back(failed, config))
        .map(|failed| failed.path)
        .collect();
    if paths.is_empty() {
        return Ok(());
    }
    match ledger.retry(&paths) {
        Err(LedgerError::Full | LedgerError::Busy) => return Ok(()),
        retried => retried?,
    }
    info!(documents = paths.len(), "retrying documents whose failure was not their own fault");
    Ok(())
}

fn is_of_a_condition(failed: &Failed) -> bool {
    let failure = &failed.failure;
    // What is said of a prompt begins with its name; a file of messages has none.
    let is_of_messages = failure.stage == Stage::Chat && !failure.message.starts_with('`');
    was_a_condition(&failure.class, &failure.message, is_of_messages)
}

fn bring_back(failed: &Failed, config: &folder::SourceConfig) {
    let Some(version) = failed.version.filter(|_| config.on_failed == OnFailed::Move) else { return };
    let document = Sanitized(&failed.path);
    match folder::put_back(config, &failed.path, &version) {
        Ok(true) => info!(%document, "its file is back in the source folder"),
        Ok(false) => {}
        Err(error) => {
            let help = "put it back into the source folder by hand";
            warn!(%document, error = %chain(&error), help, "cannot move the file back from `source.failed-dir`");
        }
    }
}
