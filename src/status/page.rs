//! The page: one file without anything from elsewhere, and the events that keep it up to date.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, stream};
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use super::collect::View;

/// The page.
pub(super) const PAGE: &str = include_str!("page.html");

/// How long a sample of the plots is.
const SAMPLE: Duration = Duration::from_secs(10);
/// Samples that are kept: an hour's.
const SAMPLES: usize = 360;
/// How often the page gets the status.
const STATUS: Duration = Duration::from_secs(1);
/// After so many of them a stream ends, and the page asks for another: no client holds a place for ever without listening.
const STATUSES: u32 = 600;

/// What a browser may do with the page: run its own script and style, known by their hashes, and listen to this server.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let inside = PAGE.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
        let (inside, _) = inside.expect("the page has a script and a style");
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside)))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
});

/// What the plots show: the last hour, a sample each ten seconds.
#[derive(Debug)]
pub(super) struct History {
    samples: Mutex<VecDeque<Sample>>,
    taken: watch::Sender<Option<Sample>>,
}

/// Texts a second, and milliseconds a call; none where no call ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Sample(f64, Option<f64>);

impl Default for History {
    fn default() -> Self {
        Self { samples: Mutex::default(), taken: watch::Sender::new(None) }
    }
}

impl History {
    /// Takes samples until it is dropped.
    pub(super) async fn keep(&self, view: &View) -> Infallible {
        let mut ticks = interval(SAMPLE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut before = Counted::of(view);
        loop {
            ticks.tick().await;
            let now = Counted::of(view);
            self.add(now.since(before));
            before = now;
        }
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.samples();
        samples.push_back(sample);
        while samples.len() > SAMPLES {
            samples.pop_front();
        }
        drop(samples);
        self.taken.send_replace(Some(sample));
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    texts: u64,
    calls: u64,
    took: Duration,
    at: Instant,
}

impl Counted {
    fn of(view: &View) -> Self {
        let counters = view.main_calls();
        let (calls, took) = counters.latency();
        Self { texts: counters.totals().texts, calls, took, at: Instant::now() }
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn since(self, before: Self) -> Sample {
        let calls = self.calls - before.calls;
        let milliseconds = (self.took.saturating_sub(before.took)).as_secs_f64() * 1000.0;
        // A machine that was busy or asleep looks late: the texts are those of all that time.
        let texts = (self.texts - before.texts) as f64 / (self.at - before.at).max(SAMPLE).as_secs_f64();
        Sample(texts, (calls > 0).then(|| milliseconds / calls as f64))
    }
}

/// What a stream of events goes on with.
struct Listener {
    view: Arc<View>,
    history: Arc<History>,
    samples: watch::Receiver<Option<Sample>>,
    with_names: bool,
    told: u32,
    _place: OwnedSemaphorePermit,
}

/// Returns events for as long as somebody listens, within bounds: the history, then the status once a second, and each new sample.
pub(super) fn events(
    view: Arc<View>,
    history: Arc<History>,
    with_names: bool,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let samples = history.taken.subscribe();
    let listener = Listener { view, history, samples, with_names, told: 0, _place: place };
    stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok(Frame::data(text.into())), listener))
    })
}

impl Listener {
    async fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        if self.told == 0 {
            self.samples.mark_unchanged();
            text += &event("history", &*self.history.samples());
        } else if let Ok(Ok(())) = timeout(STATUS, self.samples.changed()).await {
            text += &event("sample", &*self.samples.borrow_and_update());
        }
        self.told += 1;
        if self.told > STATUSES {
            return None;
        }
        match self.view.status().await {
            Ok(status) if self.with_names => text += &event("status", &status),
            Ok(status) => text += &event("status", &status.without_names()),
            Err(error) => {
                warn!(%error, "cannot tell the status");
                return None;
            }
        }
        Some(text)
    }
}

fn event(name: &str, data: &impl Serialize) -> String {
    // JSON has no line breaks of its own, which end an event's data.
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).expect("what is shown is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        for word in ["http://", "https://", "src=", "@import", "url(", "innerHTML", "insertAdjacent", "document.write", "eval("] {
            assert!(!PAGE.contains(word), "the page has {word}");
        }
        assert_eq!(PAGE.matches("<script>").count() + PAGE.matches("<style>").count(), 2);
        assert!(POLICY.contains("script-src 'sha256-") && !POLICY.contains("unsafe"), "{}", *POLICY);
    }

    #[test]
    fn an_hour_of_samples_is_kept() {
        let history = History::default();
        for second in 0..1000_u32 {
            history.add(Sample(second.into(), None));
        }
        let samples = history.samples();
        assert_eq!(
            (samples.len(), samples.front(), samples.back()),
            (360, Some(&Sample(640.0, None)), Some(&Sample(999.0, None)))
        );
    }

    #[test]
    fn a_sample_has_what_was_added_since_the_last_one() {
        let at = Instant::now();
        let before = Counted { texts: 10, calls: 2, took: Duration::from_secs(1), at };
        let now = Counted { texts: 40, calls: 5, took: Duration::from_millis(1_600), at: at + SAMPLE };
        assert_eq!(now.since(before), Sample(3.0, Some(200.0)));
        let late = Counted { at: at + 3 * SAMPLE, ..now };
        assert_eq!(late.since(before), Sample(1.0, Some(200.0)), "who looks late has the texts of more time");
        assert_eq!(now.since(now), Sample(0.0, None));
    }
}
