//! The origin of a key's value: file, variable or flag.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};

use super::key_errors::{self, Said};
use super::{Config, ConfigError, path_expansion};
use crate::domain::path::escaped;

/// One key that a variable or a flag sets over the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The key with its section, as `bedrock.max-in-flight`.
    key: String,
    value: toml::Value,
    /// What was written, where that may be meant as a text though it reads as a number or a date.
    text: Option<String>,
    /// What was written, where it is not UTF-8: names of files are bytes, and TOML is not.
    bytes: Option<PathBuf>,
    origin: String,
    kind: OverrideKind,
}

/// What sets a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OverrideKind {
    Flag,
    Variable,
}

/// What variables of ours begin with.
const PREFIX: &str = "RIVERBED_";

/// Variables that begin so and are no keys: tests set it.
const INTERNAL: [&str; 1] = ["RIVERBED_STEPS"];

impl Override {
    /// Reads a flag's `key=value`. A value that is no TOML is taken as text: `--set log.level=debug` needs no quotes.
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
        Ok(Self::of(key.to_owned(), OsStr::from_bytes(&flag[at + 1..]), format!("--set {key}"), OverrideKind::Flag))
    }

    /// Sets a key from a flag of its own, as `--source`.
    #[must_use]
    pub fn flag(flag: &str, key: &str, value: &Path) -> Self {
        Self {
            value: escaped(value).into(),
            text: None,
            ..Self::of(key.to_owned(), value.as_os_str(), flag.to_owned(), OverrideKind::Flag)
        }
    }

    /// Returns the key with its section.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns what the environment sets: `RIVERBED_BEDROCK_MAX_IN_FLIGHT` for `bedrock.max-in-flight`, in the order of names. An empty
    /// variable sets nothing.
    #[must_use]
    pub fn from_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Self> {
        let ours = variables.filter_map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            if INTERNAL.contains(&name.as_str()) || value.to_str().is_some_and(|text| text.trim().is_empty()) {
                return None;
            }
            let (section, key) = name.strip_prefix(PREFIX)?.split_once('_').unwrap_or((&name[PREFIX.len()..], ""));
            let key = format!("{}.{}", section.to_lowercase(), key.to_lowercase().replace('_', "-"));
            Some(Self::of(key, &value, name, OverrideKind::Variable))
        });
        let mut ours: Vec<_> = ours.collect();
        ours.sort_by(|one, other| one.origin.cmp(&other.origin));
        ours
    }

    fn of(key: String, value: &OsStr, origin: String, kind: OverrideKind) -> Self {
        match value.to_str() {
            Some(text) => Self { key, value: value_of(text), text: Some(text.to_owned()), bytes: None, origin, kind },
            None => Self { key, value: escaped(Path::new(value)).into(), text: None, bytes: Some(value.into()), origin, kind },
        }
    }

    /// Returns whether it sets this key.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.key == key
    }

    /// Returns whether it is a variable of somebody else's that happens to begin as ours do.
    fn is_foreign(&self, known: &toml::Table) -> bool {
        let (section, key) = self.key.split_once('.').expect("checked when it was parsed");
        match known.get(section) {
            _ if self.kind == OverrideKind::Flag => false,
            None => section != "chat",
            Some(keys) => keys.get(key).is_none() && is_of_a_service(&self.origin),
        }
    }

    /// Says how a list is written, where one is expected.
    fn misfit(&self, said: Said, message: &str) -> Said {
        let Some(text) = self.text.as_deref().filter(|_| message.contains("expected a sequence")) else { return said };
        let items: Vec<_> = text.trim_matches(['[', ']']).split(',').map(|item| item.trim().trim_matches(['"', '\''])).collect();
        let list = items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
        let help = match self.kind {
            OverrideKind::Flag => format!("write a list: --set '{}=[{list}]'", self.key),
            OverrideKind::Variable => format!("write a list: {}='[{list}]'", self.origin),
        };
        Said { help, ..said }
    }
}

/// Returns the variables that begin as ours do and name no section, in order.
pub(super) fn foreign(overrides: &[Override]) -> Vec<String> {
    let known = known();
    overrides.iter().filter(|over| over.is_foreign(&known)).map(|over| over.origin.clone()).collect()
}

/// Returns all sections with all keys that have a default.
fn known() -> toml::Table {
    table(&Config::default())
}

/// Returns whether Kubernetes gives a variable of this name to every container beside a service, and Docker to one that is linked.
fn is_of_a_service(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        let (port, protocol, what) = (parts.next(), parts.next(), parts.next());
        port.is_some_and(is_number)
            && protocol.is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
            && what.is_none_or(|what| matches!(what, "PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.match_indices("_PORT_").any(|(at, word)| is_port(&name[at + word.len()..]))
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
    let known = known();
    for over in overrides.iter().filter(|over| !over.is_foreign(&known)) {
        let unfit = |Said { problem, help }| ConfigError::Unfit { problem, place: over.origin.clone(), help };
        if over.bytes.is_some() && paths(&mut config).iter().all(|(key, _)| *key != over.key) {
            let problem = format!("the value of `{}` is not UTF-8", over.key);
            return Err(unfit(Said { problem, help: "write it in UTF-8: only paths need not be".to_owned() }));
        }
        let mut table = table(&config);
        let (section, key) = over.key.split_once('.').expect("checked when it was parsed");
        let Some(toml::Value::Table(keys)) = table.get_mut(section) else {
            return Err(unfit(key_errors::unknown_section(section)));
        };
        keys.insert(key.to_owned(), over.value.clone());
        let mut as_text = None;
        // An account's number is a profile's name, and a date a folder's.
        if let Some(text) = over.text.clone().filter(|_| !over.value.is_str()) {
            let mut table = table.clone();
            table[section][key] = text.into();
            as_text = Some(table);
        }
        let read = serde_path_to_error::deserialize(table).or_else(|error| match as_text.map(Config::deserialize) {
            Some(Ok(config)) => Ok(config),
            _ => Err(unfit(
                over.misfit(key_errors::said(&error.path().to_string(), error.inner().message()), error.inner().message()),
            )),
        })?;
        let mut before = std::mem::replace(&mut config, read);
        keep_paths(&mut config, &mut before, over);
        let invalid = |invalid| ConfigError::Invalid { invalid, place: over.origin.clone() };
        path_expansion::expand(&mut config, Path::new(""), |key| key == over.key).map_err(invalid)?;
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
    foreign: Vec<String>,
}

impl Origins {
    pub(super) fn new(path: &Path, text: &str, overrides: &[Override]) -> Self {
        let set = overrides.iter().map(|over| (over.key.clone(), over.origin.clone())).collect();
        Self { path: path.to_owned(), text: text.to_owned(), overrides: set, foreign: foreign(overrides) }
    }

    /// Returns the variables that begin as ours do and name no section.
    pub(super) fn foreign(&self) -> &[String] {
        &self.foreign
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

    /// Returns the line of a key in the file without its content.
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
        let text = over.value.as_str().map(ToOwned::to_owned).or_else(|| over.text.clone());
        return over.bytes.clone().or_else(|| text.map(PathBuf::from)).map(path_expansion::expanded);
    }
    let (table, _) = DeTable::parse_recoverable(file);
    let (section, key) = key.split_once('.')?;
    let DeValue::Table(keys) = table.get_ref().get(section)?.get_ref() else { return None };
    Some(folder.join(path_expansion::expanded(keys.get(key)?.get_ref().as_str()?.into())))
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

    fn overrides(variables: &[(&str, &str)]) -> Vec<Override> {
        Override::from_environment(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    /// Returns the whole text of an error for a person.
    fn told(error: &ConfigError) -> String {
        format!("{error}; {}", error.help())
    }

    fn applied(variables: &[(&str, &str)]) -> Result<Config, String> {
        apply(Config::default(), &overrides(variables)).map_err(|error| told(&error))
    }

    #[test]
    fn a_variable_that_is_empty_sets_nothing() {
        let default = Config::default();
        for name in
            ["RIVERBED_BEDROCK_PROFILE", "RIVERBED_SOURCE_PATH", "RIVERBED_BEDROCK_MAX_IN_FLIGHT", "RIVERBED_SOURCE_EXCLUDE"]
        {
            assert_eq!(applied(&[(name, "")]), Ok(default.clone()), "{name}");
            assert_eq!(applied(&[(name, " \n")]), Ok(default.clone()), "{name}");
        }
    }

    #[test]
    fn a_text_may_look_like_anything_else() {
        for text in ["123456789012", "0042", "2024-05-01", "true", "1e5", "nan", "0x1F", "[1]", "12:30:00"] {
            let config = applied(&[("RIVERBED_BEDROCK_PROFILE", text)]).unwrap();
            assert_eq!(config.bedrock.profile.as_deref(), Some(text));
            let config = apply(Config::default(), &[Override::parse(format!("source.path={text}")).unwrap()]).unwrap();
            assert_eq!(config.source.path, Path::new(text));
        }
        assert_eq!(applied(&[("RIVERBED_BEDROCK_PROFILE", "\"12\"")]).unwrap().bedrock.profile.as_deref(), Some("12"));
        assert!(applied(&[("RIVERBED_BEDROCK_MAX_IN_FLIGHT", "many")]).unwrap_err().contains("bedrock.max-in-flight"));
    }

    #[test]
    fn variables_that_kubernetes_gives_beside_a_service_of_our_name_are_not_ours() {
        let foreign_ones = [
            ("RIVERBED_PORT", "tcp://10.0.0.7:9464"),
            ("RIVERBED_PORT_9464_TCP", "tcp://10.0.0.7:9464"),
            ("RIVERBED_PORT_9464_TCP_ADDR", "10.0.0.7"),
            ("RIVERBED_SERVICE_HOST", "10.0.0.7"),
            ("RIVERBED_SERVICE_PORT_METRICS", "9464"),
            ("RIVERBED_STATUS_PORT", "tcp://10.0.0.7:9464"),
            ("RIVERBED_STATUS_PORT_9464_TCP_PROTO", "tcp"),
            ("RIVERBED_STATUS_SERVICE_HOST", "10.0.0.7"),
            ("RIVERBED_EMULATOR_SERVICE_PORT_HTTP", "80"),
            ("RIVERBED_ANYTHING", "1"),
        ];
        assert_eq!(applied(&foreign_ones), Ok(Config::default()));
        let mut names = foreign_ones.map(|(name, _)| name);
        names.sort_unstable();
        assert_eq!(foreign(&overrides(&foreign_ones)), names);
    }

    #[test]
    fn a_misspelled_key_of_a_section_is_an_error_wherever_it_is() {
        for name in [
            "RIVERBED_BEDROCK_MAX_IN_FLGHT",
            "RIVERBED_STATUS_PORTS",
            "RIVERBED_STATUS_PORT_FOO",
            "RIVERBED_SOURCE",
            "RIVERBED_CHAT_MODEL",
        ] {
            assert!(applied(&[(name, "1")]).is_err(), "{name}");
        }
        let flag = Override::parse("service.host=1").unwrap();
        assert!(apply(Config::default(), &[flag]).is_err(), "a flag is meant for us");
    }

    #[test]
    fn an_error_for_a_list_shows_how_one_is_written() {
        let said = applied(&[("RIVERBED_SOURCE_EXCLUDE", "private/, *.log")]).unwrap_err();
        assert!(said.ends_with("write a list: RIVERBED_SOURCE_EXCLUDE='[\"private/\", \"*.log\"]'"), "{said}");
        let flag = Override::parse("source.exclude=private/").unwrap();
        let said = told(&apply(Config::default(), &[flag]).unwrap_err());
        assert!(said.ends_with("write a list: --set 'source.exclude=[\"private/\"]'"), "{said}");
    }

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
        let said = told(&apply(Config::default(), &[flag]).unwrap_err());
        assert!(said.contains("not UTF-8"), "{said}");
        let variables = [("RIVERBED_LOG_LEVEL".into(), OsStr::from_bytes(b"\xff").to_owned())].into_iter();
        assert!(apply(Config::default(), &Override::from_environment(variables)).is_err());
    }
}
