//! `pipeline.toml` and the manual's list of keys, written from the sections themselves: names, defaults and comments are written once.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{Config, is_live};

/// What a written configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The sample that comes with the sources: runs as it is, on the emulator.
    Sample,
    /// Work on AWS.
    Aws,
}

/// Keys that are set in every written file, because each user chooses them.
const CHOSEN: [&str; 3] = ["source.path", "embed.model", "sink.path"];

/// What the sample sets so that it runs without an account.
const SAMPLE: [(&str, &str); 6] = [
    ("source.path", "\"tests/samples\""),
    ("chunk.max-tokens", "128"),
    ("chunk.overlap-tokens", "16"),
    ("bedrock.endpoint", "\"emulator\""),
    ("sink.path", "\"target/riverbed\""),
    ("emulator.latency", "\"100ms\""),
];

/// Examples for keys that have no default.
const EXAMPLES: [(&str, &str); 41] = [
    ("source.marker", "\".done\""),
    ("source.done-dir", "\"done\""),
    ("source.failed-dir", "\"failed\""),
    ("bedrock.endpoint", "\"emulator\""),
    ("bedrock.region", "\"us-east-1\""),
    ("bedrock.profile", "\"default\""),
    ("bedrock.role-arn", "\"arn:aws:iam::123456789012:role/riverbed\""),
    ("bedrock.external-id", "\"customer-42\""),
    ("bedrock.requests-per-minute", "600"),
    ("bedrock.tokens-per-minute", "300000"),
    ("embed.family", "\"titan-text-v2\""),
    ("embed.dimensions", "1024"),
    ("embed.normalize", "true"),
    ("embed.input-type", "\"search_document\""),
    ("embed.context", "\"place\""),
    ("chat.name", "\"summary\""),
    ("chat.model", "\"amazon.nova-micro-v1:0\""),
    ("chat.family", "\"nova-micro\""),
    ("chat.system", "\"You sum documents up. Answer with the summary alone.\""),
    ("chat.prompt", "\"Sum this up in three sentences:\\n\\n{{text}}\""),
    ("chat.temperature", "0.2"),
    ("chat.top-p", "0.9"),
    ("chat.top-k", "50"),
    ("chat.guardrail", "\"gr-0123456789ab\""),
    ("ledger.path", "\"/var/lib/riverbed/ledger.db\""),
    ("status.token-file", "\"/etc/riverbed/status-token\""),
    ("chat.cache-ttl", "\"1h\""),
    ("chat.service-tier", "\"flex\""),
    ("chat.latency", "\"optimized\""),
    ("chat.effort", "\"low\""),
    ("chat.thinking", "4096"),
    ("messages.family", "\"claude-4.5\""),
    ("messages.guardrail", "\"gr-1\""),
    ("messages.cache-ttl", "\"1h\""),
    ("messages.service-tier", "\"flex\""),
    ("messages.latency", "\"optimized\""),
    ("messages.effort", "\"low\""),
    ("messages.thinking", "4096"),
    ("budget.max-usd-per-day", "5.00"),
    ("budget.max-chat-usd-per-day", "2.00"),
    ("budget.prices", "{ \"amazon.titan-embed-text-v2:0\" = { input = 0.02 } }"),
];

const WIDTH: usize = 100;
/// The columns of the narrowest terminal on which the manual is not wrapped.
const TERMINAL: usize = 80;

struct Key {
    name: String,
    comment: String,
    /// The default as TOML, if there is one.
    default: Option<String>,
    unit: String,
}

/// Returns a commented `pipeline.toml` with every key. What of the keys that each user chooses has been chosen already, by its dotted name,
/// is in the place of the default.
#[must_use]
pub fn template(purpose: Purpose, chosen: &[(&str, toml::Value)]) -> String {
    let mut text = String::from(match purpose {
        Purpose::Sample => {
            "# riverbed: follows a folder of documents and streams their Amazon Bedrock embeddings out as JSON lines.\n\
             # This sample runs as it is, without an AWS account. `riverbed init` writes a file for work on AWS.\n"
        }
        Purpose::Aws => {
            "# riverbed: follows a folder of documents and streams their Amazon Bedrock embeddings out as JSON lines.\n\
             # Credentials do not stand here: they come from the AWS chain (environment, profile, SSO, role, instance).\n"
        }
    });
    text.push_str("# Lines that are commented out show the default, or an example where there is none.\n");
    text.push_str("# Paths are relative to this file's folder.\n");
    for Section { name: section, comment, keys, is_list } in sections() {
        text.push('\n');
        for line in wrapped(&comment, WIDTH - 2) {
            let _infallible = writeln!(text, "# {line}");
        }
        let _infallible = if is_list { writeln!(text, "# [[{section}]]") } else { writeln!(text, "[{section}]") };
        for key in keys {
            let full = format!("{section}.{}", key.name);
            let sample = find(&SAMPLE, &full).filter(|_| purpose == Purpose::Sample);
            for line in wrapped(&key.comment, WIDTH - 2) {
                let _infallible = writeln!(text, "# {line}");
            }
            let example = || find(&EXAMPLES, &full).expect("every key has a default or an example").to_owned();
            let chosen = chosen.iter().find(|(name, _)| *name == full).map(|(_, value)| value.to_string());
            let line = match (sample, chosen.or(key.default)) {
                (Some(value), _) => format!("{} = {value} # only for the sample", key.name),
                (None, Some(default)) if CHOSEN.contains(&full.as_str()) => format!("{} = {default}", key.name),
                (None, default) => format!("# {} = {}", key.name, default.unwrap_or_else(example)),
            };
            let _infallible = writeln!(text, "{line}");
        }
    }
    text
}

/// Returns the manual's list of keys, in Markdown for a terminal of 80 columns: what each is, its unit, its default, and whether a daemon
/// that runs takes it.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    for Section { name: section, comment, keys, is_list } in sections() {
        let heading = if is_list { format!("`[[{section}]]`") } else { format!("`[{section}]`") };
        let _infallible = writeln!(text, "## {heading}\n\n{}\n", wrapped(&comment, TERMINAL).join("\n"));
        for key in keys {
            let full = format!("{section}.{}", key.name);
            let default = key.default.map_or_else(|| "no default".to_owned(), |default| format!("default `{default}`"));
            let takes = if is_live(&full) { "reload" } else { "restart" };
            let head = format!("**{full}** ({}; {default}; {takes})", key.unit);
            for (number, line) in wrapped(&head, TERMINAL - 2).into_iter().chain(wrapped(&key.comment, TERMINAL - 2)).enumerate()
            {
                let _infallible = writeln!(text, "{}{line}", if number == 0 { "- " } else { "  " });
            }
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Returns what is written as the value of a key: its unit, or the words that it takes.
fn unit(key: &str, schema: &Value, default: Option<&str>) -> String {
    for several in ["oneOf", "anyOf"] {
        if let Some(schemas) = schema[several].as_array() {
            let units = schemas.iter().filter(|schema| schema["type"] != "null").map(|schema| unit(key, schema, default));
            return units.collect::<Vec<_>>().join(" | ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter(|word| !word.is_null()).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" | ");
    }
    if let Some(word) = schema.get("const") {
        return format!("`{word}`");
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    let default = default.unwrap_or_default().trim_matches('"');
    match kind {
        "boolean" => "`true` | `false`".into(),
        "array" => format!("list: {}", unit(key, &schema["items"], None)),
        "object" => "table".into(),
        "integer" | "number" if key.ends_with("-tokens") => "tokens".into(),
        "integer" | "number" if key.ends_with("-per-minute") => "number per minute".into(),
        "integer" | "number" if key.contains("usd") => "USD".into(),
        "integer" if key == "thinking" => "tokens".into(),
        "integer" => "whole number".into(),
        "number" => "number".into(),
        _ if humantime::parse_duration(default).is_ok() => "duration".into(),
        _ if default.ends_with('B') && default.parse::<bytesize::ByteSize>().is_ok() => "size".into(),
        _ if ["path", "dir", "token-file"].iter().any(|end| key.ends_with(end)) => "path".into(),
        _ => "text".into(),
    }
}

fn find(pairs: &[(&'static str, &'static str)], key: &str) -> Option<&'static str> {
    pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
}

/// A section: a table, or a list of tables.
pub(super) struct Section {
    pub(super) name: String,
    comment: String,
    keys: Vec<Key>,
    pub(super) is_list: bool,
}

impl Section {
    /// Returns whether it has a key, in whatever case that is written.
    pub(super) fn has(&self, key: &str) -> bool {
        let key = key.to_lowercase().replace('_', "-");
        self.keys.iter().any(|known| known.name == key)
    }

    /// Returns the heading above its keys, in backticks.
    pub(super) fn heading(&self) -> String {
        if self.is_list { format!("`[[{}]]`", self.name) } else { format!("`[{}]`", self.name) }
    }
}

/// Returns the sections in their order.
pub(super) fn sections() -> Vec<Section> {
    let schema = SchemaSettings::default().with(|settings| settings.inline_subschemas = true).into_generator();
    let schema = schema.into_root_schema_for::<Config>().to_value();
    let mut defaults = toml::Table::try_from(Config::default()).expect("a configuration is TOML");
    // A prompt has a name, a model and a text; what else it has by itself are its defaults.
    let prompt: crate::chat::prompt::PromptConfig =
        toml::from_str("name = \"n\"\nmodel = \"m\"\nprompt = \"p\"").expect("these are all that a prompt needs");
    let mut prompt = toml::Table::try_from(prompt).expect("a prompt is TOML");
    prompt.retain(|key, _| !["name", "model", "prompt"].contains(&key));
    defaults.insert("chat".into(), prompt.into());
    let properties = |of: &Value| of["properties"].as_object().cloned().unwrap_or_default();
    let comment = |of: &Value| of["description"].as_str().unwrap_or_default().replace('\n', " ");
    let sections = properties(&schema).into_iter().map(|(section, schema)| {
        let is_list = schema.get("items").is_some();
        let keys = if is_list { properties(&schema["items"]) } else { properties(&schema) };
        let keys = keys.into_iter().map(|(name, schema)| {
            let default = defaults.get(&section).and_then(|keys| keys.get(&name)).map(ToString::to_string);
            Key { comment: comment(&schema), unit: unit(&name, &schema, default.as_deref()), default, name }
        });
        let keys = keys.collect();
        Section { comment: comment(&schema), name: section, keys, is_list }
    });
    sections.collect()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one from the start");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
