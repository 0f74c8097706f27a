//! Where a key's value came from, and what variables and flags lay over the file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError};
use crate::model::path::escaped;

/// One key that a variable or a flag sets over the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The key with its section, as `bedrock.max-in-flight`.
    key: String,
    value: toml::Value,
    /// What was written, where it is not UTF-8: names of files are bytes, and TOML is not.
    bytes: Option<PathBuf>,
    origin: String,
}

/// What variables of ours begin with.
const PREFIX: &str = "RIVERBED_";

impl Override {
    /// Reads a flag's `key=value`. A value that is no TOML stands for itself: `--set log.level=debug` needs no quotes.
    ///
    /// # Errors
    /// When there is no `=`, or no section before the key.
    pub fn parse(flag: impl AsRef<OsStr>) -> Result<Self, String> {
        let flag = flag.as_ref().as_bytes();
        let at = flag.iter().position(|byte| *byte == b'=').ok_or("write key=value, as bedrock.max-in-flight=8")?;
        let key = String::from_utf8_lossy(&flag[..at]);
        let key = key.trim();
        if key.split('.').count() != 2 || key.split('.').any(str::is_empty) {
            return Err(format!("`{key}` is no key: write section.key, as bedrock.max-in-flight"));
        }
        Ok(Self::of(key.to_owned(), OsStr::from_bytes(&flag[at + 1..]), format!("--set {key}")))
    }

    /// Sets a key from a flag of its own, as `--source`.
    #[must_use]
    pub fn flag(flag: &str, key: &str, value: &Path) -> Self {
        Self { value: escaped(value).into(), ..Self::of(key.to_owned(), value.as_os_str(), flag.to_owned()) }
    }

    /// Returns what the environment sets: `RIVERBED_BEDROCK_MAX_IN_FLIGHT` for `bedrock.max-in-flight`, in the order of names.
    #[must_use]
    pub fn from_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Self> {
        let ours = variables.filter_map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            let (section, key) = name.strip_prefix(PREFIX)?.split_once('_')?;
            let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase().replace('_', "-"));
            Some(Self::of(key, &value, name))
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort_by(|one, other| one.origin.cmp(&other.origin));
        ours
    }

    fn of(key: String, value: &OsStr, origin: String) -> Self {
        match value.to_str() {
            Some(text) => Self { key, value: value_of(text), bytes: None, origin },
            None => Self { key, value: escaped(Path::new(value)).into(), bytes: Some(value.into()), origin },
        }
    }
}

/// Returns where a configuration holds paths, with their keys.
fn paths(config: &mut Config) -> [(&'static str, Option<&mut PathBuf>); 6] {
    let Config { source, sink, ledger, status, .. } = config;
    [
        ("source.path", Some(&mut source.path)),
        ("source.done-dir", source.done_dir.as_mut()),
        ("source.failed-dir", source.failed_dir.as_mut()),
        ("sink.path", Some(&mut sink.path)),
        ("ledger.path", ledger.path.as_mut()),
        ("status.token-file", status.token_file.as_mut()),
    ]
}

fn value_of(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.to_owned().into())
}

/// Returns a configuration as TOML from which it can be read again, but for paths that are not UTF-8: those are escaped.
pub(super) fn table(config: &Config) -> toml::Table {
    let mut shown = config.clone();
    for path in paths(&mut shown).into_iter().filter_map(|(_, path)| path) {
        *path = escaped(path).into();
    }
    let mut table = toml::Table::try_from(shown).expect("a configuration with paths in UTF-8 is TOML");
    // As people write them sizes are rounded.
    let sizes = [
        ("source", "max-file-size", config.source.max_file_size),
        ("sink", "rotate-size", config.sink.rotate_size),
        ("ledger", "cache-size", config.ledger.cache_size),
    ];
    for (section, key, size) in sizes {
        table[section][key] = format!("{}B", size.as_u64()).into();
    }
    table
}

/// Lays the overrides over a configuration, later ones over earlier ones.
pub(super) fn apply(mut config: Config, overrides: &[Override]) -> Result<Config, ConfigError> {
    for over in overrides {
        let unfit = |message: String| ConfigError::Override { origin: over.origin.clone(), message };
        if over.bytes.is_some() && paths(&mut config).iter().all(|(key, _)| *key != over.key) {
            return Err(unfit("its value is not UTF-8, and only paths need not be".to_owned()));
        }
        let mut table = table(&config);
        let (section, key) = over.key.split_once('.').expect("checked when it was parsed");
        let Some(toml::Value::Table(keys)) = table.get_mut(section) else {
            let known: Vec<_> = table.keys().map(String::as_str).collect();
            return Err(unfit(format!("there is no section `{section}`; there are {}", known.join(", "))));
        };
        keys.insert(key.to_owned(), over.value.clone());
        let read: Config = serde_path_to_error::deserialize(table)
            .map_err(|error| unfit(format!("`{}`: {}", error.path(), error.inner().message())))?;
        let mut before = std::mem::replace(&mut config, read);
        keep_paths(&mut config, &mut before, over);
    }
    Ok(config)
}

/// Puts paths back as they were before they were TOML, and the one that is set as it was written.
fn keep_paths(config: &mut Config, before: &mut Config, over: &Override) {
    for ((key, path), (_, before)) in paths(config).into_iter().zip(paths(before)) {
        let Some(path) = path else { continue };
        let kept = if key == over.key { over.bytes.clone() } else { before.cloned() };
        if let Some(kept) = kept {
            *path = kept;
        }
    }
}

/// Knows the line of each key in the file, and what was laid over it.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    path: PathBuf,
    text: String,
    overrides: Vec<(String, String)>,
}

impl Origins {
    pub(super) fn new(path: &Path, text: &str, overrides: &[Override]) -> Self {
        let overrides = overrides.iter().map(|over| (over.key.clone(), over.origin.clone())).collect();
        Self { path: path.to_owned(), text: text.to_owned(), overrides }
    }

    /// Returns where a key's value came from: flag, variable, file and line, or the default.
    pub(super) fn place(&self, key: &str) -> String {
        if let Some((_, origin)) = self.overrides.iter().rev().find(|(over, _)| over == key) {
            return origin.clone();
        }
        match self.line(key) {
            Some((number, line)) => format!("{}:{number}: {}", self.path.display(), line.trim()),
            None => format!("{}, where `{key}` is not set and has its default", self.path.display()),
        }
    }

    /// Returns the line of a key in the file without what stands on it.
    pub(super) fn bare_place(&self, key: &str) -> String {
        let number = self.line(key).map(|(number, _)| format!(":{number}")).unwrap_or_default();
        format!("{}{number}", self.path.display())
    }

    fn line(&self, key: &str) -> Option<(usize, &str)> {
        let table = DeTable::parse(&self.text).ok()?;
        let (section, key) = key.split_once('.').unwrap_or((key, ""));
        let (name, value) = table.get_ref().get_key_value(section)?;
        let start = match value.get_ref() {
            DeValue::Table(keys) if !key.is_empty() => keys.get_key_value(key)?.0.span().start,
            _ => name.span().start,
        };
        let number = self.text[..start].matches('\n').count();
        Some((number + 1, self.text.lines().nth(number)?))
    }
}

/// Returns a path as it is set over the file, or in what can be read of it: it may be damaged elsewhere.
pub(super) fn path(file: &str, folder: &Path, overrides: &[Override], key: &str) -> Option<PathBuf> {
    if let Some(over) = overrides.iter().rev().find(|over| over.key == key) {
        return over.bytes.clone().or_else(|| over.value.as_str().map(PathBuf::from));
    }
    let (table, _) = DeTable::parse_recoverable(file);
    let (section, key) = key.split_once('.')?;
    let DeValue::Table(keys) = table.get_ref().get(section)?.get_ref() else { return None };
    Some(folder.join(keys.get(key)?.get_ref().as_str()?))
}

/// Returns the first key, with its section, that looks as if it held a secret.
pub(super) fn secret(table: &toml::Table) -> Option<String> {
    const WORDS: [&str; 7] = ["secret", "password", "access-key", "api-key", "bearer", "session-token", "credential"];
    let known = toml::Table::try_from(Config::default()).expect("a configuration is TOML");
    let looks = |section: Option<&str>, key: &str| {
        let plain = key.to_lowercase().replace('_', "-");
        let of_ours = |section| known.get(section).and_then(|section| section.get(key)).is_some();
        !section.is_some_and(of_ours) && WORDS.iter().any(|word| plain.contains(word))
    };
    table.iter().find_map(|(name, value)| {
        if looks(None, name) {
            return Some(name.clone());
        }
        let keys = value.as_table()?;
        keys.keys().find(|key| looks(Some(name), key)).map(|key| format!("{name}.{key}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bytes_whatever_else_is_laid_over_them() {
        let odd = |name: &[u8]| PathBuf::from(OsStr::from_bytes(name));
        let mut config = Config::default();
        config.source.path = odd(b"caf\xe9/drop");
        let mut flag = OsString::from("ledger.path=");
        flag.push(odd(b"\xff/ledger.db"));
        let overrides = [
            Override::parse("log.level=debug").unwrap(),
            Override::parse(&flag).unwrap(),
            Override::flag("--output", "sink.path", &odd(b"out\xfe")),
            Override::parse("bedrock.max-in-flight=8").unwrap(),
        ];
        let config = apply(config, &overrides).unwrap();
        assert_eq!(config.source.path, odd(b"caf\xe9/drop"));
        assert_eq!((config.sink.path.as_path(), config.ledger.path.as_ref()), (&*odd(b"out\xfe"), Some(&odd(b"\xff/ledger.db"))));
        assert_eq!(config.bedrock.max_in_flight.get(), 8);
        assert_eq!(path("", Path::new(""), &overrides, "ledger.path"), config.ledger.path);
        // An output whose name is a number is one all the same.
        let config = apply(config, &[Override::flag("--output", "sink.path", Path::new("5"))]).unwrap();
        assert_eq!(config.sink.path, Path::new("5"));
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_where_no_path_is_meant() {
        let flag = Override::parse(OsStr::from_bytes(b"log.level=\xff")).unwrap();
        let said = apply(Config::default(), &[flag]).unwrap_err().place().unwrap();
        assert!(said.contains("not UTF-8"), "{said}");
        let variables = [("RIVERBED_LOG_LEVEL".into(), OsStr::from_bytes(b"\xff").to_owned())].into_iter();
        assert!(apply(Config::default(), &Override::from_environment(variables)).is_err());
    }
}
