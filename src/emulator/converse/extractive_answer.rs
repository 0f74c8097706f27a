//! Answers without a model: sentences of what was given, chosen by the words they share with the question or with the rest.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation as _;

use crate::emulator::lexical_vectors;

/// Sentences that are looked at; a bound on the work of one call.
const MAX_SENTENCES: usize = 400;
/// Numbers of the vectors that tell how near a sentence is to the whole: enough to rank some hundred.
const DIMENSIONS: usize = 128;
/// Sentences of a summary that does not say how many.
const SUMMARY: usize = 3;
/// Beginnings of words that ask for the whole in short rather than for one thing in it.
const SHORTENING: [&str; 14] = [
    "summar",
    "shorten",
    "condense",
    "overview",
    "gist",
    "abstract",
    "headline",
    "title",
    "tl;dr",
    "describe",
    "abridge",
    "zusammenfass",
    "résum",
    "resum",
];
const NUMBERS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// Answers `question` with sentences of `data`, in the order in which they are there. Where there is no data, the question
/// has to serve as its own. The same input gives the same answer on every machine.
pub(super) fn answer(question: &str, data: &[String]) -> String {
    let whole = if data.is_empty() { question.to_owned() } else { data.join("\n\n") };
    let (asked, material): (Vec<String>, Vec<String>) = match sentences(&whole) {
        found if data.is_empty() => found.into_iter().partition(|sentence| asks(sentence)),
        found => (vec![question.to_owned()], found),
    };
    if material.is_empty() {
        return asked.join(" ");
    }
    let question = asked.join(" ");
    let chosen = match wanted(&question) {
        Wanted::Summary(count) => central(&material, count),
        Wanted::Answer(count) => nearest(&question, &material, count),
    };
    chosen.into_iter().map(|index| material[index].as_str()).collect::<Vec<_>>().join(" ")
}

/// Parts a text into sentences, each with its white space folded. Blank lines, list items and headings end one too.
pub(super) fn sentences(text: &str) -> Vec<String> {
    let paragraphs = text.split('\n').fold(vec![String::new()], |mut paragraphs, line| {
        let line = line.trim();
        let begins = line.is_empty() || line.starts_with(['#', '-', '*', '|', '>']);
        if begins {
            paragraphs.push(String::new());
        }
        let paragraph = paragraphs.last_mut().expect("it begins with one");
        paragraph.push_str(line.trim_start_matches(['#', '*', '>', '|']).trim_start_matches("- "));
        paragraph.push(if line.starts_with('#') { '\n' } else { ' ' });
        paragraphs
    });
    let sentences = paragraphs.iter().flat_map(|paragraph| paragraph.unicode_sentences());
    let folded = sentences.map(|sentence| sentence.split_whitespace().collect::<Vec<_>>().join(" "));
    folded.filter(|sentence| sentence.chars().any(char::is_alphanumeric)).take(MAX_SENTENCES).collect()
}

enum Wanted {
    Summary(usize),
    Answer(usize),
}

fn wanted(question: &str) -> Wanted {
    let lower = question.to_lowercase();
    let words: Vec<_> = lower.split_whitespace().collect();
    // "in two sentences", "3 sentences".
    let said = words
        .windows(2)
        .find(|pair| pair[1].starts_with("sentence") || pair[1].starts_with("satz") || pair[1].starts_with("sätz"));
    let count = said.and_then(|pair| {
        let named = NUMBERS.iter().position(|name| *name == pair[0]).map(|index| index + 1);
        named.or_else(|| pair[0].parse().ok()).filter(|count| (1..=20).contains(count))
    });
    let shortens = words.iter().any(|word| SHORTENING.iter().any(|beginning| word.starts_with(beginning)));
    if shortens { Wanted::Summary(count.unwrap_or(SUMMARY)) } else { Wanted::Answer(count.unwrap_or(1)) }
}

/// Says whether a sentence asks or orders rather than tells.
fn asks(sentence: &str) -> bool {
    let first = sentence.split_whitespace().next().unwrap_or_default().to_lowercase();
    sentence.ends_with(['?', ':', '？']) || SHORTENING.iter().any(|beginning| first.starts_with(beginning))
}

/// Returns the leading sentence and those nearest to the whole, in order.
fn central(sentences: &[String], count: usize) -> Vec<usize> {
    let whole = lexical_vectors::vector(&sentences.join(" "), DIMENSIONS);
    let mut ranked: Vec<_> = (1..sentences.len()).map(|index| (nearness(&whole, &sentences[index]), index)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let others = ranked.into_iter().take(count - 1).map(|(_, index)| index);
    in_order(std::iter::once(0).chain(others))
}

/// Returns the sentences that share the most with the question: words first, those the rarer in the text the more; then parts
/// of words.
fn nearest(question: &str, sentences: &[String], count: usize) -> Vec<usize> {
    let words: Vec<Vec<String>> = sentences.iter().map(|sentence| words(sentence)).collect();
    let mut in_sentences: HashMap<&str, usize> = HashMap::new();
    for word in words.iter().flatten() {
        *in_sentences.entry(word).or_default() += 1;
    }
    let asked = self::words(question);
    let direction = lexical_vectors::vector(question, DIMENSIONS);
    #[expect(clippy::cast_precision_loss, reason = "at most some hundred sentences")]
    let rarity = |word: &str| (1.0 + sentences.len() as f32 / in_sentences[word] as f32).ln();
    let score = |index: usize| {
        let shared = words[index].iter().filter(|word| asked.contains(word)).map(|word| rarity(word)).sum::<f32>();
        shared + nearness(&direction, &sentences[index])
    };
    let mut ranked: Vec<_> = (0..sentences.len()).map(|index| (score(index), index)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    in_order(ranked.into_iter().take(count).map(|(_, index)| index))
}

/// Returns the different words of a text that can tell something, in lower case.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<_> = text.unicode_words().filter(|word| word.len() > 2).map(str::to_lowercase).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn nearness(direction: &[f32], sentence: &str) -> f32 {
    lexical_vectors::vector(sentence, DIMENSIONS).iter().zip(direction).map(|(a, b)| a * b).sum()
}

fn in_order(indexes: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut indexes: Vec<_> = indexes.collect();
    indexes.sort_unstable();
    indexes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAVE: &str = "# Leave\n\nParents may take up to twelve weeks of paid leave. The request goes to the people team four weeks \
                         before the leave begins. Lunch is served at noon. A second period of leave can be arranged with the \
                         people team, if both parents agree.";

    fn check(question: &str, data: &str, expected: &str) {
        assert_eq!(answer(question, &[data.to_owned()]), expected);
    }

    #[test]
    fn a_question_is_answered_by_the_sentence_that_shares_its_words() {
        check("When is lunch served?", LEAVE, "Lunch is served at noon.");
        check("How many weeks of leave may parents take?", LEAVE, "Parents may take up to twelve weeks of paid leave.");
        check("To whom does the request go?", LEAVE, "The request goes to the people team four weeks before the leave begins.");
    }

    #[test]
    fn a_summary_leads_with_the_first_sentence_and_leaves_out_what_is_beside_the_point() {
        let summary = answer("Summarise this in three sentences.", &[LEAVE.to_owned()]);
        assert!(summary.starts_with("Leave") && !summary.contains("Lunch"), "{summary}");
        assert_eq!(sentences(&answer("Summarize it in one sentence", &["It rains. It pours.".to_owned()])), ["It rains."]);
    }

    #[test]
    fn a_text_without_data_answers_its_own_question() {
        assert_eq!(answer("Otters swim. Alders grow. What do otters do?", &[]), "Otters swim.");
        assert_eq!(answer("Hello!", &[]), "Hello!");
        assert_eq!(answer("Who are you?", &[]), "Who are you?");
    }

    #[test]
    fn other_scripts_have_sentences_too() {
        check("狐狸在哪里?", "今天下雨。狐狸在森林里。", "狐狸在森林里。");
    }

    proptest! {
        #[test]
        fn an_answer_is_made_of_sentences_that_were_given(question: String, data: String) {
            let given = sentences(&data);
            let answer = answer(&question, std::slice::from_ref(&data));
            if given.is_empty() {
                prop_assert_eq!(answer, question);
            } else {
                prop_assert!(given.iter().any(|sentence| answer.starts_with(sentence)), "{:?}", answer);
            }
        }
    }
}
