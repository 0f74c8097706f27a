//! The manual: what it says exists, and what exists is in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use riverbed::config::{Purpose, reference, template};
use riverbed::docs::CHAPTERS;
use serde_json::Value;

use crate::support::{Ended, ends, finish, riverbed};
use crate::tidy::{files, hold, root};

/// The columns of the narrowest terminal on which the manual is not wrapped.
const COLUMNS: usize = 80;

async fn docs(topic: &str) -> Ended {
    finish(riverbed(Path::new("."), &["docs", topic])).await
}

/// Returns README and chapters, each with the name of its file.
fn texts() -> Vec<(String, String)> {
    let chapters = CHAPTERS.iter().map(|chapter| format!("src/docs/{}.md", chapter.name));
    let names = [String::from("README.md")].into_iter().chain(chapters);
    names.map(|name| (name.clone(), fs::read_to_string(root().join(&name)).unwrap())).collect()
}

#[test]
fn the_readme_has_at_most_250_lines_none_of_them_long() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 250, "{} lines", readme.lines().count());
    let long = readme.lines().filter(|line| line.chars().count() > 150);
    assert_eq!(long.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn chapters_and_tables_fit_a_terminal_of_80_columns() {
    let mut wide = Vec::new();
    for (name, text) in texts() {
        for line in text.lines().filter(|line| name != "README.md" || line.starts_with('|')) {
            if line.chars().count() > COLUMNS {
                wide.push(format!("{name}: {line}"));
            }
        }
    }
    wide.extend(reference().lines().filter(|line| line.chars().count() > COLUMNS).map(ToOwned::to_owned));
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn every_file_in_the_folder_of_the_manual_is_a_chapter() {
    let found: BTreeSet<_> =
        fs::read_dir(root().join("src/docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let chapters: BTreeSet<_> = CHAPTERS.iter().map(|chapter| format!("{}.md", chapter.name)).collect();
    assert_eq!(found, chapters);
}

#[test]
fn paths_that_readme_and_manual_name_exist() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for (name, text) in texts() {
        let words = text.split(|character: char| character.is_whitespace() || "`(),;:".contains(character));
        let paths = words.filter(|word| ["src/", "tests/", "benches/", ".ci/"].iter().any(|folder| word.starts_with(folder)));
        for path in paths.map(|path| path.trim_end_matches('.')) {
            seen += 1;
            if !root().join(path).exists() {
                missing.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} paths were found: does the test still read them?");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_chapter_on_architecture_has_every_room() {
    let chapter = fs::read_to_string(root().join("src/docs/architecture.md")).unwrap();
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing: Vec<_> = rooms.filter(|room| *room != "docs" && !chapter.contains(&format!("| `src/{room}.rs` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What the name of a constant that bounds something has in it, between underscores.
const BOUNDS: [&str; 10] = ["MAX", "MOST", "LARGEST", "LONGEST", "CAPACITY", "QUEUE", "CONNECTIONS", "ONCE", "KEPT", "ROOM"];
/// What such a constant is a number of.
const NUMBERS: [&str; 9] = ["usize", "u64", "u32", "u16", "u8", "i64", "Duration", "NonZeroUsize", "NonZeroU32"];

/// A constant that bounds something.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    name: String,
    value: String,
    comment: String,
}

/// Returns the bounds in a source file, without those of its tests.
fn bounds(text: &str) -> Vec<Bound> {
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines() {
        let line = line.trim();
        if let Some(said) = line.strip_prefix("///").or_else(|| line.strip_prefix("// ")) {
            comment.push_str(if comment.is_empty() { "" } else { " " });
            comment.push_str(said.trim());
            continue;
        }
        if let Some(bound) = bound(line, &comment) {
            found.push(bound);
        }
        if !line.starts_with("#[") {
            comment.clear();
        }
    }
    found
}

fn bound(line: &str, comment: &str) -> Option<Bound> {
    let declared = line.split_once("const ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"))?.1;
    let (name, rest) = declared.split_once(": ")?;
    let (kind, value) = rest.split_once(" = ")?;
    let words = || name.split('_');
    // The least that something must have bounds nothing.
    let is_bound = NUMBERS.contains(&kind)
        && words().any(|word| BOUNDS.contains(&word))
        && !words().any(|word| ["LEAST", "MIN"].contains(&word));
    let value = shown(value.trim_end_matches(';'), &format!("{name} {comment}"));
    // A link of rustdoc leads nowhere from another file.
    let comment = comment.replace("[`", "`").replace("`]", "`");
    is_bound.then(|| Bound { name: name.to_owned(), value, comment })
}

/// Returns a value as a person writes it, or as it is where it is no plain number.
fn shown(value: &str, about: &str) -> String {
    let value = value
        .strip_prefix("NonZeroUsize::new(")
        .or_else(|| value.strip_prefix("NonZeroU32::new("))
        .and_then(|rest| Some(rest.split_once(')')?.0))
        .unwrap_or(value);
    let duration = value.strip_prefix("Duration::from_").and_then(|rest| rest.trim_end_matches(')').split_once('('));
    if let Some((unit, number)) = duration {
        let unit = match unit {
            "millis" => "ms",
            "secs" => "s",
            "mins" => "min",
            "hours" => "h",
            unit => unit,
        };
        return format!("{number} {unit}");
    }
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    let number = match value.split_once(" << ") {
        Some((left, right)) => number(left).zip(number(right)).map(|(left, right)| left << right),
        None => value.split(" * ").map(number).product(),
    };
    let Some(number) = number else { return format!("`{value}`") };
    let is_bytes = ["BYTES", "Bytes", "in bytes"].iter().any(|word| about.contains(word));
    for (unit, size) in [("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if is_bytes && number >= size && number.is_multiple_of(size) {
            return format!("{} {unit}", number / size);
        }
    }
    let digits = number.to_string();
    let grouped: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    grouped.join(",") + if is_bytes { " bytes" } else { "" }
}

#[test]
fn bounds_are_found_with_their_comments() {
    let text = "/// What one commit holds at most,\n/// in bytes.\n#[rustfmt::skip]\npub(super) const LARGEST_COMMIT: usize = 4 << 20;\n\
                const STEP: usize = 3;\nfn f() {\n    const MAX_WAIT: Duration = Duration::from_millis(250);\n}\n\
                const AT_ONCE: usize = 65_536;\n#[cfg(test)]\nmod tests {\n    const MAX: usize = 1;\n}\n";
    let bound =
        |name: &str, value: &str, comment: &str| Bound { name: name.into(), value: value.into(), comment: comment.into() };
    let expected = [
        bound("LARGEST_COMMIT", "4 MiB", "What one commit holds at most, in bytes."),
        bound("MAX_WAIT", "250 ms", ""),
        bound("AT_ONCE", "65,536", ""),
    ];
    assert_eq!(bounds(text), expected);
}

#[test]
fn the_chapter_on_bounds_has_every_bound_with_its_place() {
    let mut text = String::from(
        "# Bounds: every limit in the code, with its place\n\n\
         A test writes this chapter from the source. It takes the constants whose name\nsays that they bound something.\n",
    );
    let mut count = 0;
    for file in files(&root().join("src")) {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let bounds = bounds(&fs::read_to_string(&file).unwrap());
        if bounds.is_empty() || name.split('/').any(|part| part == "tests" || part == "tests.rs") {
            continue;
        }
        let _infallible = writeln!(text, "\n`{name}`\n");
        for Bound { name, value, comment } in bounds {
            count += 1;
            let item = format!("`{name}` {value}. {comment}");
            for (number, line) in wrapped(item.trim_end(), COLUMNS - 2).iter().enumerate() {
                let _infallible = writeln!(text, "{}{line}", if number == 0 { "- " } else { "  " });
            }
        }
    }
    assert!(count > 50, "only {count} bounds were found: does the test still read them?");
    hold("src/docs/bounds.md", &fs::read_to_string(root().join("src/docs/bounds.md")).unwrap(), &text, || text.clone());
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Returns the keys of a `pipeline.toml` with all of them, each with its section.
fn keys(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.trim_start_matches('[').split_once(']')) {
            name.0.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[tokio::test]
async fn the_chapter_on_the_configuration_has_every_key_with_unit_default_and_sentence() {
    let printed = docs("config").await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let keys = keys(&template(Purpose::Aws, &[]));
    assert!(keys.len() > 80, "{keys:?}");
    let listed = printed.stdout.split("\n- **").skip(1).map(|entry| entry.split_once("** (").unwrap());
    let listed: Vec<(String, String)> = listed.map(|(key, rest)| (key.to_owned(), rest.to_owned())).collect();
    assert_eq!(listed.iter().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>(), keys);
    let entry = |key: &str| {
        let (_, entry) = listed.iter().find(|(name, _)| name == key).unwrap();
        entry.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(
        entry("source.settle").starts_with("duration; default `\"500ms\"`; restart) Quiet time"),
        "{}",
        entry("source.settle")
    );
    assert!(entry("source.max-file-size").starts_with("size; default `\"256.0 MiB\"`; restart) Largest file"));
    assert!(entry("source.on-done").starts_with("`\"keep\"` | `\"move\"` | `\"delete\"`; default `\"keep\"`; restart)"));
    assert!(entry("bedrock.max-in-flight").starts_with("whole number; default `64`; reload)"));
    assert!(entry("budget.max-usd-per-day").starts_with("USD; no default; reload)"));
    assert!(entry("messages.models").starts_with("list: text; default `[]`; reload)"));
    assert!(entry("chat.thinking").starts_with("`\"off\"` | `\"adaptive\"` | tokens; no default; reload)"));
}

#[test]
fn keys_that_the_readme_names_exist() {
    let known = keys(&template(Purpose::Aws, &[]));
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, table) = readme.split_once("## Keys that people set").unwrap();
    let named = table.lines().skip_while(|line| !line.starts_with("| ---")).skip(1).map_while(|line| line.strip_prefix("| `"));
    let named: Vec<_> = named.map(|line| line.split_once('`').unwrap().0.to_owned()).collect();
    assert_eq!(named.len(), 12);
    assert!(named.iter().all(|key| known.contains(key)), "{named:?}");
}

#[tokio::test]
async fn every_topic_prints_its_chapter_as_it_is() {
    let list = finish(riverbed(Path::new("."), &["docs"])).await;
    assert_eq!(list.code, Some(0), "{list:?}");
    for (name, text) in texts() {
        let topic = Path::new(&name).file_stem().unwrap().to_str().unwrap().to_lowercase();
        assert!(list.stdout.lines().any(|line| line.split_whitespace().next() == Some(&topic)), "{topic}: {}", list.stdout);
        let printed = docs(&topic).await;
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{topic}");
        assert!(printed.stdout.starts_with(&text), "{topic}");
    }
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    let refused = docs("operation").await;
    assert_eq!(refused.code, Some(64));
    assert!(refused.stderr.contains("a similar value exists: 'operations'"), "{}", refused.stderr);
    let refused = finish(riverbed(Path::new("."), &["docs", "operations", "--output", "out"])).await;
    assert_eq!(refused.code, Some(64));
    assert!(refused.stderr.contains("`riverbed docs` takes no `--output`"), "{}", refused.stderr);
}

#[tokio::test]
async fn the_man_page_is_one_page_of_roff() {
    let page = docs("man").await;
    assert_eq!(page.code, Some(0));
    assert_eq!(page.stdout.lines().filter(|line| line.starts_with(".TH riverbed 1")).count(), 1, "{}", page.stdout);
    for heading in ["NAME", "SYNOPSIS", "OPTIONS", "\"RIVERBED RUN\"", "\"RIVERBED FAILED RETRY\"", "EXAMPLES", "\"SEE ALSO\""] {
        assert!(page.stdout.lines().any(|line| line == format!(".SH {heading}")), "{heading}");
    }
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = riverbed(Path::new("."), &["docs", "config"]);
    assert_eq!(ends(command.stdout(writer).spawn().unwrap()).await, Some(0));
}

#[tokio::test]
async fn readme_and_manual_have_the_embedding_models_that_the_program_knows() {
    let printed = finish(riverbed(Path::new("."), &["models", "--json"])).await;
    let known: Value = serde_json::from_str(&printed.stdout).unwrap();
    let [readme, aws] = ["README.md", "src/docs/aws.md"].map(|name| fs::read_to_string(root().join(name)).unwrap());
    let models: Vec<_> = known["models"].as_array().unwrap().iter().filter(|model| model["kind"] == "embed").collect();
    assert!(models.len() > 5, "{known}");
    let mut shown = BTreeSet::new();
    for model in &models {
        let (id, family) = (model["id"].as_str().unwrap(), model["family"].as_str().unwrap());
        let dimensions: Vec<_> = model["dimensions"].as_array().unwrap().iter().map(ToString::to_string).collect();
        let end = format!("| {} |", dimensions.join(", "));
        // Some models have an older id too: one row for the family will do.
        if readme.lines().any(|line| line.contains(id) && line.ends_with(&end)) {
            shown.insert(family);
        }
        let row = aws.lines().find(|line| line.starts_with(&format!("| `{family}` |"))).unwrap_or_else(|| panic!("{family}"));
        let tokens = row.split_once(" tokens").map(|(before, _)| before.rsplit(' ').next().unwrap().replace(',', ""));
        let context = model["context_tokens"].to_string();
        assert!(tokens.is_none_or(|tokens| tokens == context), "{row} {context}");
    }
    let families: BTreeSet<_> = models.iter().map(|model| model["family"].as_str().unwrap()).collect();
    assert_eq!(shown, families);
}

#[test]
fn the_chapter_on_operations_has_every_exit_code() {
    let report = fs::read_to_string(root().join("src/report.rs")).unwrap();
    let (_, codes) = report.split_once("pub enum Exit {").unwrap();
    let codes = codes.lines().take_while(|line| *line != "}").filter_map(|line| line.split_once(" = ")?.1.strip_suffix(','));
    let codes: Vec<_> = codes.map(ToOwned::to_owned).collect();
    assert!(codes.len() > 8, "{codes:?}");
    let chapter = fs::read_to_string(root().join("src/docs/operations.md")).unwrap();
    let missing: Vec<_> = codes.iter().filter(|code| !chapter.contains(&format!("\n| {code} | "))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_line_in_the_readme_is_the_one_that_the_manual_explains() {
    let line = |name: &str| {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let (_, rest) = text.split_once("```json\n").unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let shown = line("README.md");
    assert_eq!(shown, line("src/docs/output.md"));
    let chapter = fs::read_to_string(root().join("src/docs/output.md")).unwrap();
    // What the words of a field say by themselves needs no row.
    let plain = ["text", "page", "media_type", "dimensions", "embedding", "embedded_at"];
    let fields = shown.split('"').skip(1).step_by(2).zip(shown.split('"').skip(2).step_by(2));
    let fields: Vec<_> = fields.filter(|(_, after)| after.starts_with(':')).map(|(field, _)| field).collect();
    assert!(fields.len() > 15, "{fields:?}");
    for field in fields.into_iter().filter(|field| !plain.contains(field)) {
        let has_a_row = chapter.lines().any(|row| row.starts_with('|') && row.contains(&format!("`{field}`")));
        assert!(has_a_row, "{field}");
    }
}
