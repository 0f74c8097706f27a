//! Errors for people: what happened, why, where, and what to do.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::process::ExitCode;

use crate::domain::escape::{plain, plain_lines};

/// How the process ends. The numbers are those of `sysexits.h`, so that systemd can tell what a restart would fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped cleanly.
    Done = 0,
    /// `run --once` finished, but documents have failed.
    DocumentsFailed = 2,
    /// The command line is off.
    Usage = 64,
    /// Ledger or output need a person.
    Ledger = 65,
    /// A bug of riverbed's.
    Bug = 70,
    /// A limit of the system is too low: threads, descriptors.
    Limit = 71,
    /// Reading or writing failed.
    Io = 74,
    /// Another instance holds ledger or output.
    AlreadyRunning = 75,
    /// Credentials or permissions are missing.
    Permission = 77,
    /// The configuration cannot work.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A setting that cannot work: which key, why, and what to do. The configuration adds file and line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct Invalid {
    /// The key with its section, as `embed.dimensions`.
    pub key: &'static str,
    /// What is wrong, as the rest of a sentence that begins with the key.
    pub problem: String,
    /// What to do about it.
    pub help: String,
}

/// Returns the error with its causes on one line, for a log field.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    for cause in causes(error) {
        // Some libraries repeat their cause in their own text.
        if !line.ends_with(&cause) {
            let _infallible = write!(line, ": {cause}");
        }
    }
    line
}

/// Bytes of a text from outside that are kept at most, where it is a message: it goes into the log, the ledger and `failed.jsonl`.
pub const LONGEST_MESSAGE: usize = 2048;

/// Returns a text's beginning, and how long it was where that is not all of it.
#[must_use]
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}… (cut, {} bytes)", &text[..text.floor_char_boundary(most)], text.len()))
}

/// Returns the known name that is nearest to one that is not known, if one is near: small slips, another case, `_` for `-`.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.trim().to_lowercase().replace('_', "-");
    let name = plain(name);
    let distances = known.into_iter().map(|known| (strsim::damerau_levenshtein(&name, &plain(known)), known));
    // A third of a name may be off: beyond that anything is like anything.
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= name.chars().count().max(3)).then_some(nearest)
}

/// An error as it is printed: the chain, the place if there is one, and advice.
#[derive(Debug)]
pub struct Report<'a> {
    /// What happened, with its causes behind `source()`.
    pub error: &'a dyn Error,
    /// File and line that it is about.
    pub place: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", plain(&self.error.to_string()))?;
        let mut last = self.error.to_string();
        for cause in causes(self.error) {
            if !last.ends_with(&cause) {
                write!(f, "\n  because: {}", plain(&cause))?;
            }
            last = cause;
        }
        if let Some(place) = &self.place {
            write!(f, "\n  at: {}", plain_lines(place.trim_end()).replace('\n', "\n  "))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", plain_lines(help).replace('\n', "\n        "))?;
        }
        Ok(())
    }
}

fn causes(error: &dyn Error) -> impl Iterator<Item = String> {
    std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the output `out`")]
    struct Open(#[source] io::Error);

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("größe", 6), "größ… (cut, 7 bytes)");
        assert_eq!(cut("größe", 7), "größe");
        assert_eq!(cut("größe", 3), "gr… (cut, 7 bytes)");
    }

    #[test]
    fn the_nearest_name_is_one_that_a_slip_leads_to_and_none_where_nothing_is_near() {
        let known = ["max-tokens", "max-in-flight", "model", "ok"];
        for (slip, meant) in [
            ("max_tokens", "max-tokens"),
            ("MaxTokens", "max-tokens"),
            ("max-flight", "max-in-flight"),
            ("modle", "model"),
            ("ko", "ok"),
        ] {
            assert_eq!(nearest(slip, known), Some(meant), "{slip}");
        }
        assert_eq!(["profile", "x", ""].map(|name| nearest(name, known)), [None; 3]);
        assert_eq!(nearest("a", []), None);
    }

    #[test]
    fn a_report_says_what_why_where_and_what_to_do() {
        let error = Open(io::Error::from(io::ErrorKind::PermissionDenied));
        let report =
            Report { error: &error, place: Some("pipeline.toml:3".into()), help: Some("give the user write access".into()) };
        insta::assert_snapshot!(report, @"
        error: cannot open the output `out`
          because: permission denied
          at: pipeline.toml:3
          help: give the user write access
        ");
        assert_eq!(chain(&error), "cannot open the output `out`: permission denied");
    }
}
