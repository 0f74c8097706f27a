//! Calls that fail for lack of descriptors, memory or child processes: nothing was sent, so they wait and are retried.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::error::{CallError, Class};
use crate::domain::shortage::tells_of_shortage;

/// The first wait, the longest, and all together; then it is a failed call like any other.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// The waits of one call.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    waited: Duration,
    next: Option<Duration>,
}

impl Shortage {
    /// Waits, where that is why a call failed, and returns whether to make it again: not after a stop. Cancel safe.
    pub(crate) async fn is_waited_out(&mut self, error: &CallError, stop: &CancellationToken) -> bool {
        if !is_short(error) || self.waited >= PATIENCE {
            return false;
        }
        let wait = self.next.unwrap_or(FIRST);
        warn!(%error, "the process is short of descriptors, memory or children, the call waits");
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            return false;
        }
        self.waited += wait;
        self.next = Some((wait * 2).min(LONGEST));
        true
    }
}

fn is_short(error: &CallError) -> bool {
    error.status.is_none() && tells_of_shortage(&error.message)
}

/// Takes what the process is short of for no fault of credentials, for which it may have kept them from being looked for.
pub(super) fn of_the_process(error: CallError) -> CallError {
    let class = if is_short(&error) { Class::Connection } else { error.class };
    CallError { class, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: Option<u16>, message: &str) -> CallError {
        let (class, message) = (Class::Credentials, message.to_owned());
        CallError { class, status, code: None, message, request_id: None, retry_after: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_waited_out_for_a_while_and_nothing_else_is() {
        let short = error(None, "io error: tcp open error: Too many open files (os error 24)");
        let (mut shortage, stop) = (Shortage::default(), CancellationToken::new());
        let mut times = 0;
        while shortage.is_waited_out(&short, &stop).await {
            times += 1;
        }
        assert!((20..60).contains(&times), "{times}");
        for other in [error(Some(500), "Too many open files (os error 24)"), error(None, "Connection refused (os error 111)")] {
            assert!(!Shortage::default().is_waited_out(&other, &stop).await, "{other}");
            assert_eq!(of_the_process(other).class, Class::Credentials);
        }
        stop.cancel();
        assert!(!Shortage::default().is_waited_out(&short, &stop).await, "a stop ends the wait");
        assert_eq!(of_the_process(short).class, Class::Connection);
    }
}
