//! The part of the status that comes from the ledger, with or without a daemon.

use std::time::SystemTime;

use super::schema::{Answers, Documents, Ended, Failed, Money, Output, Skipped, State, Status, Storage};
use crate::domain::moment::{exact_rfc3339, moment};
use crate::domain::path::Sanitized;
use crate::domain::{DocumentPath, Usd};
use crate::ledger::{self, Day, LedgerError, Overview, Reader, SegmentState};
use crate::throttle::Prices;
use crate::throttle::budget::day_of;
use crate::throttle::price::Used;

/// Documents of each kind that are listed by name.
pub(super) const NAMED: u32 = 20;
/// Characters that are shown of a name or a message; what is longer is cut.
const LONGEST_TEXT: usize = 1000;

/// What a day may cost, by the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// All in all.
    pub day: Option<Usd>,
    /// Of that for chat.
    pub chat: Option<Usd>,
    /// Whether an emulator is paid.
    pub emulated: bool,
}

/// The ledger at one moment.
#[derive(Debug, Clone)]
pub struct Standing {
    overview: Overview,
    today: Vec<Day>,
}

impl Standing {
    /// Reads it. Blocks.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn read(reader: &Reader) -> Result<Self, LedgerError> {
        let today = day_of(SystemTime::now());
        Ok(Self { overview: reader.overview(NAMED)?, today: reader.usage(today, today)? })
    }

    /// Returns it as it is shown where no daemon runs.
    #[must_use]
    pub fn status(&self, prices: &Prices, bounds: Bounds) -> Status {
        let count = |state| self.overview.documents.iter().filter(|(of, _)| *of == state).map(|(_, count)| count).sum();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: State::Stopped,
            daemon: None,
            folders: None,
            documents: Documents {
                waiting: count(ledger::DocumentState::UnderWay),
                done: count(ledger::DocumentState::Done),
                failed: count(ledger::DocumentState::Failed),
                skipped: count(ledger::DocumentState::Skipped),
                gone: count(ledger::DocumentState::Gone),
                oldest_waiting_seconds: None,
                since_start: None,
            },
            answers: Answers {
                done: self.overview.answers.standing,
                waiting: self.overview.answers.waiting,
                failed: self.overview.answers.failed,
                since_start: None,
            },
            chunks: None,
            calls: None,
            questions: None,
            models: Vec::new(),
            money: self.money(prices, bounds),
            queues: Vec::new(),
            source: None,
            configuration: None,
            storage: self.storage(),
            waiting: Vec::new(),
            failed: self.overview.failed.iter().map(failed).collect(),
            skipped: self.overview.skipped.iter().map(skipped).collect(),
            ended: self.overview.ended.iter().map(ended).collect(),
        }
    }

    fn money(&self, prices: &Prices, bounds: Bounds) -> Money {
        let (mut spent, mut for_chat, mut unpriced) = ([Usd::ZERO; 2], [Usd::ZERO; 2], 0);
        for Day { model, emulated, usage, .. } in &self.today {
            let (cost, is_known) = prices.bill(model, used(*usage));
            spent[usize::from(*emulated)] += cost;
            // Only chat models write.
            if usage.output.get() > 0 {
                for_chat[usize::from(*emulated)] += cost;
            }
            unpriced += if is_known { 0 } else { usage.calls };
        }
        let left = |max: Option<Usd>, spent: [Usd; 2]| Some(max?.less(spent[usize::from(bounds.emulated)]).dollars());
        let [today, emulated] = spent;
        Money {
            today_usd: today.dollars(),
            today_emulated_usd: emulated.dollars(),
            today_unpriced_calls: unpriced,
            budget_usd: bounds.day.map(Usd::dollars),
            budget_left_usd: left(bounds.day, spent),
            chat_budget_usd: bounds.chat.map(Usd::dollars),
            chat_budget_left_usd: left(bounds.chat, for_chat),
            since_start_usd: None,
        }
    }

    fn storage(&self) -> Storage {
        let mut outputs: Vec<Output> = Vec::new();
        for segment in &self.overview.segments {
            let name = segment.output.stem();
            if outputs.last().is_none_or(|last| last.name != name) {
                outputs.push(Output { name: name.to_owned(), files: 0, bytes: 0, unsynced_bytes: 0, unsound_files: 0 });
            }
            let output = outputs.last_mut().expect("one was just pushed");
            output.files += 1;
            output.bytes += segment.committed;
            output.unsynced_bytes += segment.committed.saturating_sub(segment.synced);
            output.unsound_files += match segment.state {
                SegmentState::Suspect | SegmentState::Damaged => 1,
                SegmentState::Open | SegmentState::Sealing | SegmentState::Sealed => 0,
            };
        }
        Storage { ledger_bytes: self.overview.bytes, cache_bytes: self.overview.cached_bytes, outputs }
    }
}

fn used(usage: ledger::DayUsage) -> Used {
    let ledger::DayUsage { calls, tokens, cache_read, cache_write, cache_write_hour, output, rate, .. } = usage;
    Used { calls, input: tokens, cache_read, cache_write, cache_write_hour, output, rate }
}

fn failed(failed: &ledger::Failed) -> Failed {
    let ledger::Failed { path, failure, at, retried, .. } = failed;
    Failed {
        document: name(path),
        stage: failure.stage.as_str().to_owned(),
        class: cut(&failure.class),
        message: cut(&failure.message),
        advice: cut(&failure.advice),
        failed_at: time(*at),
        retried: *retried,
    }
}

fn skipped(kind: &ledger::SkippedKind) -> Skipped {
    let ledger::SkippedKind { why, files, example } = kind;
    Skipped {
        reason: cut(&why.kind()),
        class: why.class().to_owned(),
        media_type: why.media_type().map(cut),
        files: *files,
        example: Some(name(example)),
        advice: why.advice().to_owned(),
    }
}

fn ended(ended: &ledger::EndedDocument) -> Ended {
    let ledger::EndedDocument { path, state, chunks, embedded, cached, retracted, at } = ended;
    Ended {
        document: name(path),
        became: state.as_str().to_owned(),
        chunks: *chunks,
        embedded: *embedded,
        cached: *cached,
        retracted: *retracted,
        at: time(*at),
    }
}

/// Returns a document's name with what does not belong on a screen escaped.
pub(super) fn name(path: &DocumentPath) -> String {
    cut(&Sanitized(path).to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn time(milliseconds: i64) -> String {
    exact_rfc3339(moment(milliseconds))
}
