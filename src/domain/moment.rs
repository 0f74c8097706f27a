//! Wall-clock times: in the ledger's form, and as people and programs read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last moment that RFC 3339 has a year for, in milliseconds since 1970.
const LAST: i64 = 253_402_300_799_999;

/// Returns a moment as the ledger keeps it: in milliseconds since 1970, less than none before that.
#[must_use]
pub fn milliseconds(at: SystemTime) -> i64 {
    let signed = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since),
        Err(before) => -signed(before.duration()),
    }
}

/// Returns a moment in whole seconds since 1970; none before that.
#[must_use]
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the moment that so many milliseconds since 1970 are.
#[must_use]
pub fn moment(milliseconds: i64) -> SystemTime {
    let time = Duration::from_millis(milliseconds.unsigned_abs());
    // A `SystemTime` has 64 bits of seconds: no milliseconds are too many for it.
    if milliseconds < 0 { UNIX_EPOCH - time } else { UNIX_EPOCH + time }
}

/// Returns a moment as RFC 3339 in UTC, to the second. What no such time can say, since a clock or a file was wrong by centuries, is the
/// first or the last moment that it can.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(sayable(at)).to_string()
}

/// Returns the same to the millisecond.
#[must_use]
pub fn exact_rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(sayable(at)).to_string()
}

/// `humantime` panics before 1970 and fails after the year 9999.
fn sayable(at: SystemTime) -> SystemTime {
    at.clamp(UNIX_EPOCH, moment(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_kept_and_found_again_before_1970_too() {
        for at in [0, 1, -1, 1_780_000_000_123, -86_400_000, LAST, -LAST] {
            assert_eq!(milliseconds(moment(at)), at);
        }
        assert_eq!(moment(-1500), UNIX_EPOCH - Duration::from_millis(1500));
    }

    #[test]
    fn a_clock_that_is_wrong_by_centuries_is_said_and_ends_nothing() {
        let said = |at| (rfc3339(moment(at)), exact_rfc3339(moment(at)));
        assert_eq!(said(1_772_366_400_250), ("2026-03-01T12:00:00Z".into(), "2026-03-01T12:00:00.250Z".into()));
        let first = ("1970-01-01T00:00:00Z".into(), "1970-01-01T00:00:00.000Z".into());
        assert_eq!([said(-1), said(i64::MIN)], [first.clone(), first]);
        let last = ("9999-12-31T23:59:59Z".into(), "9999-12-31T23:59:59.999Z".into());
        assert_eq!([said(LAST + 1), said(i64::MAX)], [last.clone(), last]);
    }
}
