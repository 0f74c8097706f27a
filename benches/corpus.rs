//! Real input: riverbed over thousands of files that were not made for it, with every output line checked.
//!
//! The files are the READMEs, changelogs, licences, examples and pictures that lie in the sources of this program's own
//! dependencies, which cargo has unpacked; or those of another folder.
//!
//! ```text
//! cargo bench --bench corpus               the dependencies' sources
//! cargo bench --bench corpus -- FOLDER     another folder
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Files are taken up to here: enough to meet every kind, few enough to end within a minute.
const FILES: usize = 5_000;

fn main() -> ExitCode {
    let folder = std::env::args().skip(1).find(|argument| argument != "--bench").map(PathBuf::from);
    match folder.map_or_else(registry, Ok).and_then(|folder| run(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn registry() -> Outcome<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))).ok_or("no CARGO_HOME")?;
    Ok(home.join("registry/src"))
}

fn run(folder: &Path) -> Outcome<()> {
    let scene = tempfile::tempdir()?;
    let source = scene.path().join("drop");
    let taken = unpack(folder, &source)?;
    println!("files      {} from {}", taken.len(), folder.display());
    if taken.is_empty() {
        return Err("nothing to read".into());
    }

    fs::write(scene.path().join("pipeline.toml"), "[bedrock]\nendpoint = \"emulator\"\n[log]\nformat = \"json\"\n")?;
    let riverbed =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_riverbed")).args(arguments).current_dir(scene.path()).output();
    let ended = riverbed(&["run", "--once"])?;
    let summary = String::from_utf8(ended.stdout)?;
    print!("{summary}");
    if !ended.status.success() {
        return Err(format!("riverbed ended with {}", ended.status).into());
    }

    let validator = jsonschema::validator_for(&serde_json::from_slice(&riverbed(&["schema", "vectors"])?.stdout)?)?;
    let embedded = lines(&scene.path().join("out/vectors.jsonl"), &source, &validator)?;
    let skipped = skipped(&ended.stderr)?;
    let named: BTreeSet<_> = embedded.keys().chain(skipped.keys()).cloned().collect();
    if let Some(lost) = taken.symmetric_difference(&named).next() {
        return Err(format!("`{lost}` has neither lines nor a reason").into());
    }
    if let Some(both) = embedded.keys().find(|document| skipped.contains_key(*document)) {
        return Err(format!("`{both}` has lines and a reason").into());
    }
    if let Some((name, why)) = skipped.iter().find(|(name, _)| is_plainly_text(&source.join(name))) {
        return Err(format!("`{name}` is text and was skipped: {why}").into());
    }
    let promised = format!(
        "{} done, {} skipped, 0 failed of {} found",
        grouped(embedded.len()),
        grouped(skipped.len()),
        grouped(taken.len())
    );
    if !summary.contains(&promised) {
        return Err(format!("the summary does not add up: it should say «{promised}»").into());
    }
    let chunks: usize = embedded.values().sum();
    println!("ok         {} documents with {} lines, {} others each with its reason", embedded.len(), chunks, skipped.len());
    Ok(())
}

/// Copies files into one tree, those that people wrote for people first, until there are enough. Returns their names.
fn unpack(folder: &Path, to: &Path) -> Outcome<BTreeSet<String>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort_by_key(|path| (!is_for_people(path), path.clone()));
    let mut taken = BTreeSet::new();
    for path in files.iter().take(FILES) {
        let below = path.strip_prefix(folder)?;
        fs::create_dir_all(to.join(below).parent().ok_or("no folder")?)?;
        fs::copy(path, to.join(below))?;
        taken.insert(below.to_str().ok_or("a name is not UTF-8")?.to_owned());
    }
    Ok(taken)
}

/// Lists the files below a folder, but for those that riverbed passes over by their names, and for Rust sources.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let (path, kind) = {
            let entry = entry?;
            (entry.path(), entry.file_type()?)
        };
        let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if kind.is_dir() && !is_hidden {
            list(&path, files)?;
        } else if kind.is_file() && !is_hidden && !matches!(extension(&path), "rs" | "tmp") {
            files.push(path);
        }
    }
    Ok(())
}

fn is_for_people(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let by_name = ["README", "CHANGELOG", "CHANGES", "LICEN", "COPYING", "NOTICE", "CONTRIBUTING", "SECURITY"];
    by_name.iter().any(|beginning| name.starts_with(beginning))
        || matches!(extension(path), "md" | "txt" | "rst" | "html" | "pdf" | "png" | "jpg" | "gif" | "svg" | "ico")
}

/// Returns what is after the last dot of a file's name.
fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// Returns whether anybody would call a file text: by its name, and by being words in UTF-8.
fn is_plainly_text(path: &Path) -> bool {
    let by_name = matches!(extension(path), "" | "md" | "txt" | "rst" | "toml" | "yml" | "yaml" | "json" | "c" | "py" | "sh");
    let words = fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty() && !text.contains('\0'));
    by_name && words
}

/// Checks every line, and returns the number of lines of each document.
fn lines(path: &Path, source: &Path, validator: &jsonschema::Validator) -> Outcome<BTreeMap<String, usize>> {
    let mut documents = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (number, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line: Value = serde_json::from_str(&line?)?;
        let at = |problem: String| format!("line {}: {problem}", number + 1);
        validator.validate(&line).map_err(|error| at(error.to_string()))?;
        let document = line["document"].as_str().ok_or("no document")?;
        let vector = line["embedding"].as_array().ok_or("no vector")?;
        #[expect(clippy::cast_possible_truncation, reason = "a vector is of 32-bit numbers")]
        let finite = vector.iter().all(|number| number.as_f64().is_some_and(|number| (number as f32).is_finite()));
        if vector.len() != 1024 || !finite {
            return Err(at(format!("a vector of {} numbers, finite: {finite}", vector.len())).into());
        }
        let file = fs::read_to_string(source.join(document))?;
        let text = file.strip_prefix('\u{feff}').unwrap_or(&file);
        let end = |end: usize| line["span"][end].as_u64().and_then(|end| usize::try_from(end).ok()).ok_or("no span");
        if text.get(end(0)?..end(1)?) != line["text"].as_str() {
            return Err(at("the text is not that of its span".into()).into());
        }
        if !ids.insert(line["id"].as_str().ok_or("no id")?.to_owned()) {
            return Err(at("an id stands twice".into()).into());
        }
        *documents.entry(document.to_owned()).or_default() += 1;
    }
    Ok(documents)
}

/// Reads which files the log says were skipped, and why.
fn skipped(log: &[u8]) -> Outcome<BTreeMap<String, String>> {
    let mut skipped = BTreeMap::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(&line?)?;
        if event["message"] == "skipped" {
            let of = |field: &str| event[field].as_str().map(ToOwned::to_owned).ok_or("an event without its fields");
            skipped.insert(of("document")?, of("why")?);
        }
    }
    Ok(skipped)
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
