//! Reasons why a gate closes, and the effect of an attempt's outcome on them.

use std::time::Duration;

use crate::bedrock::error::{CallError, Class, Disposition};

/// Why a gate is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The service cannot be reached, or does not work.
    Outage,
    /// Credentials or access to the model are missing: a person must act.
    Refused,
    /// Every call is throttled.
    QuotaZero,
    /// The model is not loaded yet.
    NotReady,
    /// The day's budget is spent.
    Budget,
    /// There is no room for what the calls would bring.
    Disk,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Outage, Self::Refused, Self::QuotaZero, Self::NotReady, Self::Budget, Self::Disk];

    /// Returns the name that the log uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Refused => "refused",
            Self::QuotaZero => "quota-zero",
            Self::NotReady => "not-ready",
            Self::Budget => "budget",
            Self::Disk => "disk",
        }
    }

    /// Returns whether an answer of this kind shows that the reason has gone.
    pub(super) fn is_disproved_by(self, answer: CallResult) -> bool {
        match self {
            Self::Outage => !matches!(answer, CallResult::Failed),
            Self::Refused => matches!(answer, CallResult::Served | CallResult::Rejected | CallResult::NotReady),
            Self::QuotaZero | Self::NotReady => matches!(answer, CallResult::Served),
            // The caller that closed the gate opens it: a served call says nothing about its reason.
            Self::Budget | Self::Disk => false,
        }
    }
}

/// When a closed gate lets a single call through, to see whether the reason still applies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Probes {
    /// At even intervals.
    Every(Duration),
    /// First after `first`, then each time after `factor` times as long, up to `longest`.
    Growing {
        /// The first wait.
        first: Duration,
        /// By what it grows.
        factor: f64,
        /// The longest wait.
        longest: Duration,
    },
    /// Not at all: the caller that closed the gate opens it.
    Never,
}

/// What an attempt says about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallResult {
    Served,
    /// The service works, and refuses this one input.
    Rejected,
    Throttled,
    NotReady,
    Refused,
    Failed,
}

impl CallResult {
    pub(super) fn of(result: Result<(), &CallError>) -> Self {
        let Err(error) = result else { return Self::Served };
        match error.class.disposition() {
            Disposition::Halt => Self::Refused,
            Disposition::Reject => Self::Rejected,
            Disposition::Retry if error.is_not_ready() => Self::NotReady,
            Disposition::Retry if error.class == Class::Throttled => Self::Throttled,
            Disposition::Retry => Self::Failed,
        }
    }
}
