//! A run or a command that could not be done, with what to print and how to end.

use std::error::Error;

use crate::bedrock::ConnectError;
use crate::config::ConfigError;
use crate::report::{Exit, Report};

/// A command that could not be done.
#[derive(Debug)]
pub struct Failure {
    pub(crate) error: Box<dyn Error + Send + Sync>,
    pub(crate) place: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) exit: Exit,
}

impl Failure {
    pub(crate) fn new(error: impl Into<Box<dyn Error + Send + Sync>>, exit: Exit) -> Self {
        Self { error: error.into(), place: None, help: None, exit }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Returns what to print.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        Report { error: &*self.error, place: self.place.clone(), help: self.help.clone() }
    }

    /// Returns how to end.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let (place, help) = (error.place(), Some(error.help()));
        Self { place, help, ..Self::new(error, Exit::Config) }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let help = error.help();
        Self::new(error, Exit::Config).help(help)
    }
}
