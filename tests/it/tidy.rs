//! Rules of the source tree: files and types, pictures and code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use riverbed::config::{Purpose, template};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a file with its expected text; on a difference fixes it and fails.
pub fn hold(name: &str, found: &str, expected: &str, mended: impl FnOnce() -> String) {
    if found != expected {
        fs::write(root().join(name), mended()).unwrap();
        panic!("`{name}` was not up to date; it has been written anew");
    }
}

#[test]
fn the_shipped_configuration_has_every_key_with_its_default_and_its_comment() {
    let expected = template(Purpose::Sample, &[]);
    hold("pipeline.toml", &fs::read_to_string(root().join("pipeline.toml")).unwrap(), &expected, || expected.clone());
}

/// The storeys, lowest first; a module imports from its own storey only itself.
const STOREYS: [&[&str]; 10] = [
    &["docs", "domain", "report", "telemetry"],
    &["folder", "extract", "chunk", "plan", "bedrock", "ledger", "emulator"],
    &["embed", "throttle"],
    &["chat", "commitlog"],
    &["pipeline"],
    &["status", "systemd"],
    &["config"],
    &["daemon"],
    &["cli"],
    &["main"],
];

#[test]
fn imports_only_go_down() {
    let storey = |module: &str| STOREYS.iter().position(|modules| modules.contains(&module));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in files(&root().join("src")) {
        let below = file.strip_prefix(root().join("src")).unwrap().with_extension("");
        let module = below.iter().next().unwrap().to_str().unwrap().to_owned();
        if module == "lib" {
            continue;
        }
        let at = storey(&module).unwrap_or_else(|| panic!("`{module}` stands on no storey"));
        for used in imports(&fs::read_to_string(&file).unwrap()) {
            seen += 1;
            let goes_to = storey(&used).unwrap_or_else(|| panic!("`{used}` stands on no storey"));
            // On the lowest storey telemetry counts the domain's things and reports show text as it says.
            let known = [("telemetry", "domain"), ("report", "domain"), ("emulator", "emulator")];
            let allowed = module == used || goes_to < at || known.contains(&(&module, &used));
            let emulator_alone = module != "emulator" || used == "emulator";
            if !allowed || !emulator_alone {
                wrong.push(format!("{}: crate::{used}", file.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} imports were found: does the test still read them?");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_module_is_deeper_than_a_room_and_a_group_in_it() {
    let source = root().join("src");
    let depth = |file: &PathBuf| {
        let below = file.strip_prefix(&source).unwrap();
        // Unit tests lie below the module whose private items they read.
        below.iter().take_while(|part| !part.to_str().unwrap().starts_with("tests")).count()
    };
    let deep: Vec<_> = files(&source).into_iter().filter(|file| depth(file) > 3).collect();
    assert!(deep.is_empty(), "{deep:#?}");
}

/// A name is an address: who reads it must not have to ask which of many is meant.
#[test]
fn at_most_three_types_have_one_name() {
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        // Types of unit tests are nobody's address.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if file.iter().any(|part| part.to_str().unwrap().starts_with("tests")) {
            continue;
        }
        for line in text.lines() {
            let restricted = line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map(|(_, rest)| rest);
            let words = restricted.or(line.strip_prefix("pub ")).unwrap_or(line);
            let name = ["struct ", "enum ", "trait ", "type ", "union "].iter().find_map(|kind| words.strip_prefix(kind));
            let Some(name) = name else { continue };
            let name = name.chars().take_while(|character| character.is_alphanumeric()).collect();
            places.entry(name).or_default().push(file.clone());
        }
    }
    assert!(places.len() > 600, "only {} types were found: does the test still read them?", places.len());
    places.retain(|_, places| places.len() > 3);
    assert!(places.is_empty(), "{places:#?}");
}

/// Returns the modules of this crate that a source file names.
fn imports(text: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| rest.chars().take_while(|character| character.is_ascii_lowercase() || *character == '_').collect::<String>();
    let mut modules: BTreeSet<_> = text.split("crate::").skip(1).map(name).filter(|name| !name.is_empty()).collect();
    for group in text.split("use crate::{").skip(1) {
        let inside = group.split_once(';').unwrap().0;
        let mut depth = 0;
        let mut word = String::new();
        for character in inside.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                'a'..='z' | '_' if depth == 0 && word.is_empty() => word.push(character),
                'a'..='z' | '_' if depth == 0 && !word.starts_with('!') => word.push(character),
                ':' if depth == 0 && !word.is_empty() && !word.starts_with('!') => {
                    modules.insert(std::mem::take(&mut word));
                    word.push('!');
                }
                ',' if depth == 0 => {
                    if !word.is_empty() && !word.starts_with('!') {
                        modules.insert(word.clone());
                    }
                    word.clear();
                }
                _ => {}
            }
        }
        if !word.is_empty() && !word.starts_with('!') {
            modules.insert(word);
        }
    }
    modules
}

#[test]
fn the_modules_of_a_group_are_all_read() {
    let text = "use crate::report::Exit;\nuse crate::{bedrock, chunk,\n    sink::{Sink, line}, source};\n";
    let expected = ["bedrock", "chunk", "report", "sink", "source"].map(ToOwned::to_owned);
    assert_eq!(imports(text), BTreeSet::from(expected));
}

#[test]
fn the_top_level_has_only_what_belongs_there() {
    let known = ["Cargo.toml", "Cargo.lock", "src", "pipeline.toml", "tests", "benches", "README.md", "LICENSE", "target"];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || known.contains(&name.as_str()), "`{name}` does not belong at the top level");
    }
}

#[test]
fn backoff_is_used_in_one_file() {
    let uses = files(&root().join("src")).into_iter().filter(|file| fs::read_to_string(file).unwrap().contains("backoff::"));
    let uses: Vec<_> = uses.collect();
    assert_eq!(uses, [root().join("src/throttle/retry.rs")]);
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
