//! Outcomes of configuration reloads.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::schema::Configuration;
use crate::domain::moment::rfc3339;

/// Keeps what became of the last reload, for all who ask.
#[derive(Debug, Default)]
pub struct Reloads(Mutex<Configuration>);

impl Reloads {
    /// Records that the configuration was read and used: these keys took effect, and those need a restart.
    pub fn used(&self, changed: Vec<String>, needs_restart: Vec<String>) {
        let mut of = self.lock();
        of.reloads += 1;
        of.reloaded_at = Some(rfc3339(SystemTime::now()));
        (of.changed, of.needs_restart, of.error) = (changed, needs_restart, None);
    }

    /// Records that it could not be used.
    pub fn failed(&self, error: String) {
        let mut of = self.lock();
        of.reloads += 1;
        of.failed_reloads += 1;
        of.error = Some(error);
    }

    /// Returns the state.
    #[must_use]
    pub fn look(&self) -> Configuration {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Configuration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
