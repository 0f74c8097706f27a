//! The words of the project: phrases of a private language, and the field's word for each.
//!
//! A phrase is banned where a reader would have to decode it. Single words that have honest uses are not: `told` is fine,
//! `is asked about` is not. This file is the one place where the phrases may be.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tidy::root;

/// What must not be written, and what to write instead.
const BANNED: [(&str, &str); 46] = [
    ("taken back", "deleted"),
    ("takes back", "deletes"),
    ("take back", "delete"),
    ("taking back", "deleting"),
    ("took back", "deleted"),
    ("takes note", "records"),
    ("take note", "record"),
    ("took note", "recorded"),
    ("taking note", "recording"),
    ("looks on", "reads, observes"),
    ("look on", "read, observe"),
    ("is gone", "was removed, no longer exists"),
    ("are gone", "were removed"),
    ("given up", "failed, abandoned"),
    ("gave up", "failed"),
    ("whoever", "the thing's name, or `anyone who`"),
    ("what stands", "the current lines, the text"),
    ("that stands", "current"),
    ("that stand", "current"),
    ("stands for", "represents, is the current line of"),
    ("stand for", "represent, are the current lines of"),
    ("under way", "in progress, in flight, pending"),
    ("gets over", "retries, survives"),
    ("got over", "retried, survived"),
    ("nobody tells", "unknown"),
    ("is told of", "is reported"),
    ("are told of", "are reported"),
    ("is told again", "is notified again"),
    ("is asked about", "a prompt runs over"),
    ("are asked about", "prompts run over"),
    ("was asked about", "a prompt ran over"),
    ("asked about again", "a prompt runs again over"),
    ("comes again", "is repeated, returns"),
    ("came again", "was repeated, returned"),
    ("of its own accord", "by itself"),
    ("second purse", "second account"),
    ("held against", "compared with"),
    ("tells its story", "shows its history"),
    ("handed on", "sent"),
    ("hands on", "sends"),
    ("made anew", "recreated"),
    ("must mend", "must fix"),
    ("gets on", "makes progress"),
    ("told from", "distinguished from"),
    ("as things stand", "for now"),
    ("nobody to tell", "no way to report it"),
];

/// Lines that keep a phrase: a name in a public format, and a step of the ledger's schema, which never changes.
const KEPT: [&str; 3] = [
    r#"Self::UnderWay => "under way","#,
    "-- Every file that was ever taken, as it was last seen. state: 0 under way, 1 done, 2 failed, 3 skipped, 4 gone.",
    "-- Which line of `answers.jsonl` stands for which question about which document.",
];

/// Names of so many words are sentences: tests have them.
const SENTENCE: usize = 5;

#[test]
fn texts_and_comments_use_the_words_of_the_field() {
    let mut found = String::new();
    let mut seen = 0;
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        seen += 1;
        for (line, phrase, instead) in banned(&text) {
            let shown = file.strip_prefix(root()).unwrap().display();
            let _infallible = writeln!(found, "{shown}:{line}: `{phrase}`; write: {instead}");
        }
    }
    assert!(seen > 300, "only {seen} files were read: does the test still find them?");
    assert!(found.is_empty(), "\n{found}");
}

/// Returns the texts that people read: sources, tests, benches, the manual and the configuration. Documents that tests only feed
/// to riverbed are data, and so is what an earlier build has written.
fn sources() -> Vec<PathBuf> {
    let is_data = |file: &Path| {
        let below = file.strip_prefix(root()).unwrap();
        ["tests/samples", "tests/upgrade", "tests/it/words.rs"].iter().any(|data| below.starts_with(data))
    };
    let is_text = |file: &Path| {
        file.extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| ["rs", "md", "toml", "html", "snap", "py", "sh", "yml", "service"].contains(&ending))
    };
    let mut all: Vec<_> = ["src", "tests", "benches"].iter().flat_map(|folder| every_file(&root().join(folder))).collect();
    all.extend(["README.md", "pipeline.toml"].map(|name| root().join(name)));
    all.retain(|file| is_text(file) && !is_data(file));
    all
}

fn every_file(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(every_file(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Finds the banned phrases of a text, each with the number of the line in which it begins. A phrase may go over the end of a line,
/// in a comment or in a string.
fn banned(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    // All lines as one, without the marks that comments and strings put at their ends; `begins` has where each begins in it.
    let (mut flat, mut begins) = (String::new(), Vec::new());
    for line in text.lines() {
        begins.push(flat.len());
        let line = line.trim();
        if KEPT.contains(&line) {
            continue;
        }
        let line = ["//!", "///", "//", "#"].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
        let line = line.trim().trim_end_matches('\\').trim_end().to_lowercase();
        flat.push_str(&sentences(&line));
        flat.push(' ');
    }
    let mut found = Vec::new();
    for (phrase, instead) in BANNED {
        for (at, _) in flat.match_indices(phrase) {
            let is_inside = |character: char| character.is_alphanumeric() || character == '_';
            let before = flat[..at].chars().next_back();
            let after = flat[at + phrase.len()..].chars().next();
            if !before.is_some_and(is_inside) && !after.is_some_and(is_inside) {
                found.push((begins.partition_point(|begin| *begin <= at), phrase, instead));
            }
        }
    }
    found.sort_unstable();
    found
}

/// Returns a line in which names that are sentences, as those of tests, are written with spaces.
fn sentences(line: &str) -> String {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut written = String::new();
    for word in line.split_inclusive(|character| !is_name(character)) {
        if word.matches('_').count() + 1 >= SENTENCE { written += &word.replace('_', " ") } else { written += word }
    }
    written
}

#[test]
fn a_phrase_is_found_over_the_end_of_a_line_and_in_the_name_of_a_test() {
    let lines = |text| banned(text).into_iter().map(|(line, phrase, _)| (line, phrase)).collect::<Vec<_>>();
    assert_eq!(lines("/// A line that is taken\n/// back.\n"), [(1, "taken back")]);
    assert_eq!(lines("let it = \"is\\\n    gone\";\n\n// Whoever asks."), [(1, "is gone"), (4, "whoever")]);
    assert_eq!(lines("fn a_line_is_taken_back_at_once() {}"), [(1, "taken back")]);
    assert_eq!(lines("self.take_back(is_gone); // mistaken backup, under wayside\n"), []);
    assert_eq!(lines(KEPT[0]), []);
}

#[test]
fn every_banned_phrase_is_small_letters_with_something_else_to_write() {
    for (phrase, instead) in BANNED {
        assert_eq!(phrase, phrase.to_lowercase());
        assert!(!instead.is_empty() && banned(instead).is_empty(), "{phrase}: {instead}");
    }
}
