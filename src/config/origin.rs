//! Where a key's value came from, and what variables and flags lay over the file.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::wording::{self, Said};
use super::{Config, ConfigError};

/// One key that a variable or a flag sets over the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The key with its section, as `bedrock.max-in-flight`.
    key: String,
    value: toml::Value,
    origin: String,
}

/// What variables of ours begin with.
const PREFIX: &str = "RIVERBED_";

impl Override {
    /// Reads a flag's `key=value`. A value that is no TOML stands for itself: `--set log.level=debug` needs no quotes.
    ///
    /// # Errors
    /// When there is no `=`, or no section before the key.
    pub fn parse(flag: &str) -> Result<Self, String> {
        let (key, value) = flag.split_once('=').ok_or("write key=value, as bedrock.max-in-flight=8")?;
        let key = key.trim();
        if key.split('.').count() != 2 || key.split('.').any(str::is_empty) {
            return Err(format!("`{key}` is no key: write section.key, as bedrock.max-in-flight"));
        }
        Ok(Self { key: key.to_owned(), value: value_of(value), origin: format!("--set {key}") })
    }

    /// Sets a key from a flag of its own, as `--source`.
    #[must_use]
    pub fn flag(flag: &str, key: &str, value: &Path) -> Self {
        Self { key: key.to_owned(), value: value.to_string_lossy().into_owned().into(), origin: flag.to_owned() }
    }

    /// Returns the key with its section.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns what the environment sets: `RIVERBED_BEDROCK_MAX_IN_FLIGHT` for `bedrock.max-in-flight`, in the order of names.
    #[must_use]
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Self> {
        let ours = variables.filter_map(|(name, value)| {
            let (section, key) = name.strip_prefix(PREFIX)?.split_once('_')?;
            let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase().replace('_', "-"));
            Some(Self { key, value: value_of(&value), origin: name })
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort_by(|one, other| one.origin.cmp(&other.origin));
        ours
    }
}

fn value_of(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.to_owned().into())
}

/// Returns a configuration as TOML from which it can be read again.
pub(super) fn table(config: &Config) -> toml::Table {
    let mut table = toml::Table::try_from(config).expect("a configuration is TOML");
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
        let unfit = |Said { problem, help }| ConfigError::Unfit { problem, place: over.origin.clone(), help };
        let mut table = table(&config);
        let (section, key) = over.key.split_once('.').expect("checked when it was parsed");
        let Some(toml::Value::Table(keys)) = table.get_mut(section) else {
            return Err(unfit(wording::unknown_section(section)));
        };
        keys.insert(key.to_owned(), over.value.clone());
        config = serde_path_to_error::deserialize(table)
            .map_err(|error| unfit(wording::said(&error.path().to_string(), error.inner().message())))?;
    }
    Ok(config)
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
            None if self.path.as_os_str().is_empty() => format!("`{key}` has its default: there is no configuration file"),
            None => format!("{}, where `{key}` is not set and has its default", self.path.display()),
        }
    }

    /// Returns a place in the file, by its first byte.
    pub(super) fn place_at(&self, start: usize) -> String {
        let number = self.text.get(..start).unwrap_or_default().matches('\n').count();
        let line = self.text.lines().nth(number).unwrap_or_default();
        format!("{}:{}: {}", self.path.display(), number + 1, line.trim())
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
        return over.value.as_str().map(PathBuf::from);
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
