//! The chat questions about a document, with their outcomes.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::super::Failure;
use crate::cli::format::plain;
use crate::commitlog::config;
use crate::config::Loaded;
use crate::daemon::startup::ledger_failure;
use crate::domain::{Body, DocumentPath, Failure as GivenUp, Stage};
use crate::ledger::{AskedAbout, Reader};

/// What one prompt came to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answers {
    /// `None` for the messages that the file itself holds.
    prompt: Option<String>,
    /// `waiting`, `answered`, `failed`, or `not asked`.
    state: &'static str,
    /// Current ones.
    answers: u64,
    /// Of them those that are not whole, by how they ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_whole: BTreeMap<String, u64>,
    models: Vec<String>,
    /// Of the answers whose tokens are known.
    input_tokens: u64,
    output_tokens: u64,
    /// Answers whose tokens are not known.
    #[serde(skip_serializing_if = "is_none")]
    uncounted: u64,
    /// Of the answers whose cost is known; `None` where it is of none.
    usd: Option<f64>,
    /// Answers whose cost is not known.
    #[serde(skip_serializing_if = "is_none")]
    unpriced: u64,
    /// Lines that are not where they were written.
    #[serde(skip_serializing_if = "is_none")]
    unreadable: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Reads what is known of a document's questions.
pub(super) fn read(
    loaded: &Loaded,
    reader: &Reader,
    path: &DocumentPath,
    failure: Option<&GivenUp>,
) -> Result<Vec<Answers>, Failure> {
    let AskedAbout { waiting, answers: lines } = reader.asked_about(path).map_err(ledger_failure)?;
    let mut by_prompt: BTreeMap<Option<String>, Answers> = BTreeMap::new();
    for asks in loaded.prompts.asks(path) {
        by_prompt.insert(asks.prompt.map(|prompt| prompt.to_string()), Answers { state: "not asked", ..Answers::default() });
    }
    for (prompt, line) in lines {
        let of = by_prompt.entry(prompt).or_default();
        of.state = "answered";
        of.answers += 1;
        let folder = &loaded.config.sink.path;
        let text = line.names.iter().find_map(|name| config::read_line(folder, name, line.position, line.length, line.crc));
        let Some(body) = text.and_then(|text| serde_json::from_str::<Body>(&text).ok()) else {
            of.unreadable += 1;
            of.uncounted += 1;
            of.unpriced += 1;
            continue;
        };
        if !body.ending.is_whole() {
            let ending = serde_json::to_value(body.ending).ok();
            let ending = ending.as_ref().and_then(|ending| ending.as_str()).unwrap_or_default().to_owned();
            *of.not_whole.entry(ending).or_default() += 1;
        }
        // An emulator charges nothing, for answers as for vectors.
        let usd = if body.is_emulated() { Some(0.0) } else { body.usd };
        match usd {
            Some(usd) => of.usd = Some(of.usd.unwrap_or_default() + usd),
            None => of.unpriced += 1,
        }
        if !of.models.contains(&body.model) {
            of.models.push(body.model);
        }
        match body.usage {
            Some(usage) => {
                of.input_tokens += usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
                of.output_tokens += usage.output_tokens;
            }
            None => of.uncounted += 1,
        }
    }
    for prompt in waiting {
        by_prompt.entry(prompt).or_default().state = "waiting";
    }
    let failed = |prompt: &Option<String>| {
        let failure = failure.filter(|failure| failure.stage == Stage::Chat)?;
        let is_its = prompt.as_ref().is_none_or(|prompt| failure.message.starts_with(&format!("`{prompt}`: ")));
        is_its.then_some("failed")
    };
    let told = |(prompt, of): (Option<String>, Answers)| Answers { state: failed(&prompt).unwrap_or(of.state), prompt, ..of };
    Ok(by_prompt.into_iter().map(told).collect())
}

impl Answers {
    pub(super) const HEADING: [&'static str; 8] =
        ["PROMPT", "STATE", "ANSWERS", "NOT WHOLE", "TOKENS IN", "TOKENS OUT", "USD", "MODEL"];

    pub(super) fn row(&self) -> [String; 8] {
        let Self { prompt, state, answers, not_whole, models, input_tokens, output_tokens, uncounted, usd, unpriced, .. } = self;
        let tokens = |tokens: u64| known_part(&tokens, tokens > 0, *uncounted);
        let not_whole: Vec<_> = not_whole.iter().map(|(ending, count)| format!("{count} {ending}")).collect();
        [
            prompt.as_ref().map_or_else(|| "(messages)".to_owned(), |prompt| plain(prompt)),
            (*state).to_owned(),
            answers.to_string(),
            not_whole.join(", "),
            tokens(*input_tokens),
            tokens(*output_tokens),
            if *answers == 0 {
                String::new()
            } else {
                known_part(&format!("{:.6}", usd.unwrap_or_default()), usd.is_some(), *unpriced)
            },
            plain(&models.join(", ")),
        ]
    }
}

/// Says a sum of what is known of some answers; of so many it is not.
fn known_part(sum: &dyn fmt::Display, is_any_known: bool, unknown: u64) -> String {
    match (unknown, is_any_known) {
        (0, _) => sum.to_string(),
        (_, true) => format!("at least {sum}"),
        (_, false) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_over_answers_of_which_not_all_are_known_says_so() {
        let row = |of: Answers| {
            let [.., tokens_in, tokens_out, usd, _] = of.row();
            [tokens_in, tokens_out, usd]
        };
        let known = || Answers { answers: 2, input_tokens: 7, output_tokens: 2, usd: Some(0.5), ..Answers::default() };
        assert_eq!(row(known()), ["7", "2", "0.500000"]);
        let partly = Answers { uncounted: 1, unpriced: 1, ..known() };
        assert_eq!(row(partly), ["at least 7", "at least 2", "at least 0.500000"]);
        let nothing = Answers { answers: 2, uncounted: 2, unpriced: 2, ..Answers::default() };
        assert_eq!(row(nothing), ["unknown", "unknown", "unknown"]);
        assert_eq!(row(Answers::default()), ["0", "0", ""], "nothing was asked");
    }
}
