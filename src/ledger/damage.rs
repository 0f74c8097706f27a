//! Records damage of the ledger. Whichever reader has found it, source or status, nothing more is written to it then.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::LedgerError;

/// What the writer of a ledger and those who look into it beside it have in common. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Damage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    finding: OnceLock<String>,
    is_met: CancellationToken,
}

impl Damage {
    /// Keeps what an error says, if it is of damage.
    pub(super) fn see(&self, error: &LedgerError) {
        let finding = match error {
            LedgerError::Corrupt(cause) => cause.to_string(),
            LedgerError::Damaged { finding, .. } => finding.clone(),
            _ => return,
        };
        let _met_before = self.0.finding.set(finding);
        self.0.is_met.cancel();
    }

    /// Waits until damage is met. Cancel safe.
    pub async fn met(&self) {
        self.0.is_met.cancelled().await;
    }

    /// Refuses where damage was met in the ledger that lies there.
    ///
    /// # Errors
    /// With what was found.
    pub fn check(&self, path: &Path) -> Result<(), LedgerError> {
        match self.0.finding.get() {
            Some(finding) => Err(LedgerError::Damaged { path: path.to_owned(), finding: finding.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use bytesize::ByteSize;
    use rusqlite::Connection;

    use crate::ledger::{Ledger, LedgerError, Reader};

    /// Makes a ledger, and has nothing but zeros stand where its tables and indexes begin.
    fn damaged(path: &Path) -> Ledger {
        let ledger = Ledger::open(path, ByteSize::mib(1)).unwrap();
        ledger.work_in_the_log();
        let connection = Connection::open(path).unwrap();
        let mut roots = connection.prepare("SELECT rootpage FROM sqlite_schema WHERE rootpage > 1").unwrap();
        let file = File::options().write(true).open(path).unwrap();
        for root in roots.query_map([], |row| row.get::<_, u32>(0)).unwrap() {
            file.write_all_at(&[0; 4096], u64::from(root.unwrap() - 1) * 4096).unwrap();
        }
        ledger
    }

    #[tokio::test]
    async fn a_ledger_that_a_reader_finds_damaged_is_not_written_to_any_more() {
        type Look = fn(&Reader) -> bool;
        let looks: [(&str, Look); 4] = [
            ("count", |reader| matches!(reader.count_known(), Err(LedgerError::Corrupt(_)))),
            ("overview", |reader| matches!(reader.overview(1), Err(LedgerError::Corrupt(_)))),
            ("skipped", |reader| matches!(reader.skipped(|_| ()), Err(LedgerError::Corrupt(_)))),
            ("kinds", |reader| matches!(reader.skipped_kinds(None), Err(LedgerError::Corrupt(_)))),
        ];
        for (name, look) in looks {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ledger.db");
            let mut ledger = damaged(&path);
            let reader = ledger.reader().unwrap().again().unwrap();
            ledger.stands().unwrap();
            assert!(look(&reader), "{name}");
            ledger.damage().met().await;
            for refused in [ledger.begin().map(drop), ledger.set_meta("after", &"it was met"), ledger.stands()] {
                assert!(matches!(refused, Err(LedgerError::Damaged { .. })), "{name}: {refused:?}");
            }
        }
    }
}
