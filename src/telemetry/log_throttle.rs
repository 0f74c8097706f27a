//! Repeated warnings are counted, not logged.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::layer::{Context, Filter};

/// So many of a kind are said in each…
const SAID: u64 = 5;
/// … such a time.
const TIME: Duration = Duration::from_mins(1);
/// Kinds that are kept apart; what comes beyond them is said each time.
const KINDS: usize = 256;

/// Lets through the first few warnings and errors of each kind in a minute, and counts the rest. A kind is a place in the code with
/// what the event calls its class or its reason. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Repeats(Arc<Mutex<HashMap<EventKind, Count>>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct EventKind {
    place: Identifier,
    class: String,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    times: u64,
    what: String,
}

/// What was not said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unsaid {
    what: String,
    class: String,
    times: u64,
}

impl Repeats {
    /// Logs how many warnings were suppressed, for each kind whose minute is over. To be called now and then.
    pub fn tell(&self) {
        for Unsaid { what, class, times } in self.over(Instant::now()) {
            warn!(what, class, times, "repeated messages suppressed in the last minute");
        }
    }

    fn is_said(&self, kind: EventKind, what: impl FnOnce() -> String, now: Instant) -> bool {
        let mut counts = self.counts();
        if !counts.contains_key(&kind) && counts.len() >= KINDS {
            return true;
        }
        let count = counts.entry(kind).or_insert_with(|| Count { since: now, times: 0, what: what() });
        count.times += 1;
        count.times <= SAID
    }

    fn over(&self, now: Instant) -> Vec<Unsaid> {
        let mut unsaid = Vec::new();
        self.counts().retain(|kind, count| {
            let is_over = now.duration_since(count.since) >= TIME;
            if is_over && count.times > SAID {
                unsaid.push(Unsaid { what: count.what.clone(), class: kind.class.clone(), times: count.times - SAID });
            }
            !is_over
        });
        unsaid
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<EventKind, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    /// Spans are never counted: asked about once, they cost no question each time one is entered, and most are entered for each call.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() { Interest::always() } else { Interest::sometimes() }
    }

    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN {
            return true;
        }
        let mut read = Read::default();
        event.record(&mut read);
        self.is_said(EventKind { place: metadata.callsite(), class: read.class }, || read.message, Instant::now())
    }
}

/// Reads what an event is about.
#[derive(Default)]
struct Read {
    message: String,
    class: String,
}

impl Visit for Read {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "class" | "reason" => self.class = format!("{value:?}"),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "class" | "reason" => value.clone_into(&mut self.class),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tracing::info;
    use tracing_subscriber::layer::{Layer, SubscriberExt as _};

    use super::*;

    /// Counts what is said.
    #[derive(Clone, Default)]
    struct Ear(Arc<AtomicU64>);

    impl<S: Subscriber> Layer<S> for Ear {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn fail(times: u64, class: &str) {
        for _ in 0..times {
            warn!(class, "failed");
        }
    }

    #[test]
    fn repeated_warnings_are_counted_by_class_and_reported_when_their_minute_is_over() {
        let (repeats, ear) = (Repeats::default(), Ear::default());
        let subscriber = tracing_subscriber::registry().with(ear.clone().with_filter(repeats.clone()));
        tracing::subscriber::with_default(subscriber, || {
            fail(1000, "refused");
            fail(3, "throttled");
            for _ in 0..20 {
                info!("goes on");
            }
        });
        assert_eq!(ear.0.load(Relaxed), SAID + 3 + 20, "what is no warning is not counted");
        let now = Instant::now();
        assert_eq!(repeats.over(now), []);
        let expected = Unsaid { what: "failed".into(), class: "refused".into(), times: 1000 - SAID };
        assert_eq!(repeats.over(now + TIME), [expected]);
        assert_eq!(repeats.over(now + TIME), [], "it is reported once");
    }

    #[test]
    fn kinds_beyond_the_bound_are_said_each_time() {
        let (repeats, ear) = (Repeats::default(), Ear::default());
        let subscriber = tracing_subscriber::registry().with(ear.clone().with_filter(repeats.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for class in 0..KINDS as u64 {
                fail(1, &class.to_string());
            }
            fail(20, "another");
        });
        assert_eq!(ear.0.load(Relaxed), KINDS as u64 + 20);
        assert_eq!(repeats.counts().len(), KINDS);
    }
}
