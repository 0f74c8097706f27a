//! Error messages about a key in a user's words: serde and TOML speak of types.

use std::fmt::Write as _;

use super::template::{Section, sections};
use crate::report::nearest;

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) problem: String,
    pub(super) help: String,
}

/// Says what is wrong with a key, whose path serde gives with its message.
pub(super) fn said(path: &str, message: &str) -> Said {
    let key = plain(path);
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return match (quoted(rest).first(), key.rsplit_once('.')) {
            (Some(name), None) => unknown_section(name),
            (Some(name), Some((section, _))) => unknown_key(section, name, &quoted(rest)[1..]),
            (None, _) => other(&key, message),
        };
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let words = quoted(rest);
        let Some((value, known)) = words.split_first() else { return other(&key, message) };
        let problem = format!("`{key}` is `{value}`, which is none of its values");
        let help = match nearest(value, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`? there are {}", listed(known)),
            None => format!("choose one of {}", listed(known)),
        };
        return Said { problem, help };
    }
    if let Some(name) = message.strip_prefix("missing field ").and_then(|rest| quoted(rest).first().copied()) {
        let section = heading(&key);
        return Said { problem: format!("{section} lacks `{name}`"), help: format!("write `{name} = …` below {section}") };
    }
    let of_type = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(start));
    if message == "wanted string or table" {
        let problem = format!("`{key}` takes one of its words, and is something else");
        return Said {
            problem,
            help: "write the word in quotes; the comment above the key in a file of `riverbed init` has them".into(),
        };
    }
    match of_type.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((given, expected)) => unfit(&key, &Given::of(given), expected).unwrap_or_else(|| other(&key, message)),
        None => other(&key, message),
    }
}

/// Says that there is no such section.
pub(super) fn unknown_section(name: &str) -> Said {
    let known = sections();
    if known.iter().any(|section| section.name == name && section.is_list) {
        let problem = format!("`[[{name}]]` is a list, so none of its keys is set alone");
        return Said { problem, help: "set it in the configuration file".into() };
    }
    let having = known.iter().filter(|section| section.has(name)).map(Section::heading).collect::<Vec<_>>();
    let meant = match nearest(name, known.iter().map(|section| section.name.as_str())) {
        _ if !having.is_empty() => format!("`{}` is a key of {}: write it below; ", name.replace('_', "-"), having.join(", ")),
        Some(meant) => {
            let heading = known.iter().find(|section| section.name == meant).map(Section::heading).unwrap_or_default();
            format!("did you mean {heading}? ")
        }
        None => String::new(),
    };
    let there_are = known.iter().map(|section| format!("`{}`", section.name)).collect::<Vec<_>>().join(", ");
    Said { problem: format!("there is no section `{name}`"), help: format!("{meant}there are {there_are}") }
}

fn unknown_key(section: &str, name: &str, known: &[&str]) -> Said {
    let mut help = String::new();
    let all = sections();
    let elsewhere: Vec<_> = all.iter().filter(|other| other.name != section && other.has(name)).collect();
    if let Some(meant) = nearest(name, known.iter().copied()) {
        let _infallible = write!(help, "did you mean `{meant}`? ");
    } else if !elsewhere.is_empty() {
        let headings = elsewhere.iter().map(|section| section.heading()).collect::<Vec<_>>().join(", ");
        let _infallible = write!(help, "`{}` is a key of {headings}; ", name.replace('_', "-"));
    }
    let _infallible = write!(help, "{} has {}", heading(section), listed(known));
    Said { problem: format!("there is no key `{section}.{name}`"), help }
}

/// A value as serde speaks of it.
enum Given<'a> {
    Text(&'a str),
    Number(&'a str),
    Truth(&'a str),
    List,
    Table,
    Other(&'a str),
}

impl<'a> Given<'a> {
    fn of(given: &'a str) -> Self {
        let inside = |start: &str, mark: char| given.strip_prefix(start)?.strip_prefix(mark)?.strip_suffix(mark);
        if let Some(text) = inside("string ", '"') {
            return Self::Text(text);
        }
        if let Some(number) = inside("integer ", '`').or_else(|| inside("floating point ", '`')) {
            return Self::Number(number);
        }
        match given {
            "sequence" => Self::List,
            "map" => Self::Table,
            _ => inside("boolean ", '`').map_or(Self::Other(given), Self::Truth),
        }
    }

    fn said(&self) -> String {
        match self {
            Self::Text(text) => format!("the text \"{text}\""),
            Self::Number(number) => format!("the number {number}"),
            Self::Truth(truth) => format!("`{truth}`"),
            Self::List => "a list".to_owned(),
            Self::Table => "a table".to_owned(),
            Self::Other(other) => (*other).to_owned(),
        }
    }

    /// Returns it as it is, without quotes.
    fn bare(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) | Self::Number(text) | Self::Truth(text) => Some(text.trim()),
            Self::List | Self::Table | Self::Other(_) => None,
        }
    }
}

/// Says that a value is of another type than its key takes; `None` for a type that has no words here.
fn unfit(key: &str, given: &Given<'_>, expected: &str) -> Option<Said> {
    let bare = given.bare();
    let whole = bare.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let (takes, help) = match expected {
        "a duration" => {
            let example = whole.map_or_else(|| "30s".to_owned(), |number| format!("{number}s"));
            ("a time", format!("write a time with its unit: `\"{example}\"`; there are `ms`, `s`, `m`, `h` and `d`"))
        }
        "parsable string" | "an integer or string" | "integer overflow" => {
            ("a size", "write a size with its unit: `\"64MiB\"`; or bytes as a number".to_owned())
        }
        "a boolean" => {
            let meant = match bare.map(str::to_lowercase).as_deref() {
                Some("yes" | "on" | "1" | "true") => "write `true`, without quotes",
                Some("no" | "off" | "0" | "false") => "write `false`, without quotes",
                _ => "write `true` or `false`, without quotes",
            };
            ("`true` or `false`", meant.to_owned())
        }
        "a sequence" if key == "chat" => {
            ("a list of prompts", "write `[[chat]]`, with two brackets, above each prompt".to_owned())
        }
        "a sequence" => ("a list", format!("write a list: `[\"{}\"]`", bare.unwrap_or("one"))),
        "f64" | "f32" => {
            let is_number = bare.is_some_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
            let example = if is_number { bare.unwrap_or_default() } else { "2.5" };
            ("a number", format!("write a number without quotes: `{example}`"))
        }
        _ if expected.starts_with("struct ") || expected == "a map" => {
            let help = if key.contains('.') {
                "write a table: `{ input = 0.02 }`".to_owned()
            } else {
                format!("write `[{key}]` on a line of its own, and its keys below it")
            };
            ("a table", help)
        }
        _ if expected.contains("string") => ("a text", format!("write a text in quotes: `\"{}\"`", bare.unwrap_or("text"))),
        _ => {
            let least = if expected.starts_with("a nonzero ") { " from 1" } else { "" };
            let most = match expected.strip_prefix("a nonzero ").unwrap_or(expected) {
                "u8" => " to 255",
                "u16" => " to 65535",
                "u32" => " to 4294967295",
                "usize" | "u64" | "i64" => "",
                _ => return None,
            };
            let is_in_quotes = matches!(given, Given::Text(_));
            match whole.filter(|_| is_in_quotes) {
                Some(number) => ("a number", format!("write it without quotes: `{number}`")),
                None => ("a whole number", format!("write a whole number{least}{most}, without quotes: `8`")),
            }
        }
    };
    Some(Said { problem: format!("`{key}` takes {takes}, and is {}", given.said()), help })
}

fn other(key: &str, message: &str) -> Said {
    let help = "`riverbed schema config` lists every key; `riverbed init` writes a file with all of them".to_owned();
    Said { problem: if key.is_empty() { message.to_owned() } else { format!("`{key}`: {message}") }, help }
}

/// Returns a path without the places in its lists, as keys are called elsewhere.
fn plain(path: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0_usize;
    for character in path.chars() {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            other if depth == 0 => plain.push(other),
            _ => {}
        }
    }
    if plain == "." || plain == "?" { String::new() } else { plain.trim_start_matches("?.").to_owned() }
}

fn heading(section: &str) -> String {
    let known = sections();
    known.iter().find(|known| known.name == section).map_or_else(|| format!("`[{section}]`"), Section::heading)
}

/// Returns the text between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, message: &str, problem: &str, help: &str) {
        let said = said(path, message);
        assert_eq!(said.problem, problem);
        assert!(said.help.starts_with(help), "{}", said.help);
    }

    #[test]
    fn a_type_is_named_in_the_words_of_who_writes_it() {
        let time = "write a time with its unit: ";
        check(
            "source.settle",
            "invalid type: integer `30`, expected a duration",
            "`source.settle` takes a time, and is the number 30",
            &format!("{time}`\"30s\"`"),
        );
        check(
            "source.settle",
            "invalid value: string \"500\", expected a duration",
            "`source.settle` takes a time, and is the text \"500\"",
            &format!("{time}`\"500s\"`"),
        );
        check(
            "source.settle",
            "invalid value: string \"soon\", expected a duration",
            "`source.settle` takes a time, and is the text \"soon\"",
            &format!("{time}`\"30s\"`"),
        );
        check(
            "source.max-file-size",
            "invalid value: string \"big\", expected parsable string",
            "`source.max-file-size` takes a size, and is the text \"big\"",
            "write a size with its unit: `\"64MiB\"`",
        );
        check(
            "source.recursive",
            "invalid type: string \"yes\", expected a boolean",
            "`source.recursive` takes `true` or `false`, and is the text \"yes\"",
            "write `true`, without quotes",
        );
        check(
            "source.include",
            "invalid type: string \"*.md\", expected a sequence",
            "`source.include` takes a list, and is the text \"*.md\"",
            "write a list: `[\"*.md\"]`",
        );
        check(
            "chunk.max-tokens",
            "invalid type: string \"512\", expected a nonzero u32",
            "`chunk.max-tokens` takes a number, and is the text \"512\"",
            "write it without quotes: `512`",
        );
        check(
            "chunk.max-tokens",
            "invalid value: integer `-5`, expected a nonzero u32",
            "`chunk.max-tokens` takes a whole number, and is the number -5",
            "write a whole number from 1 to 4294967295",
        );
        check(
            "embed.model",
            "invalid type: integer `5`, expected a string",
            "`embed.model` takes a text, and is the number 5",
            "write a text in quotes: `\"5\"`",
        );
        check(
            "chat",
            "invalid type: map, expected a sequence",
            "`chat` takes a list of prompts, and is a table",
            "write `[[chat]]`",
        );
        check(
            "source",
            "invalid type: integer `5`, expected struct Config",
            "`source` takes a table, and is the number 5",
            "write `[source]` on a line",
        );
        check(
            "budget.max-usd-per-day",
            "invalid type: string \"5\", expected f64",
            "`budget.max-usd-per-day` takes a number, and is the text \"5\"",
            "write a number without quotes: `5`",
        );
    }

    #[test]
    fn the_nearest_name_comes_first_and_a_key_of_another_section_is_found() {
        let known = "expected one of `name`, `model`, `max-tokens`, `temperature`";
        check(
            "chat[0].max_tokens",
            &format!("unknown field `max_tokens`, {known}"),
            "there is no key `chat.max_tokens`",
            "did you mean `max-tokens`? `[[chat]]` has `name`",
        );
        check(
            "bedrock.model",
            "unknown field `model`, expected one of `endpoint`, `region`",
            "there is no key `bedrock.model`",
            "`model` is a key of `[embed]`, `[[chat]]`; `[bedrock]` has `endpoint`",
        );
        check(
            "bedrok",
            "unknown field `bedrok`, expected one of `source`",
            "there is no section `bedrok`",
            "did you mean `[bedrock]`? there are `source`",
        );
        check(
            "max_tokens",
            "unknown field `max_tokens`, expected one of `source`",
            "there is no section `max_tokens`",
            "`max-tokens` is a key of `[chunk]`",
        );
        check(
            "log.level",
            "unknown variant `Debug`, expected one of `error`, `debug`",
            "`log.level` is `Debug`, which is none of its values",
            "did you mean `debug`? there are `error`, `debug`",
        );
        check(
            "log.level",
            "unknown variant `x`, expected `error` or `debug`",
            "`log.level` is `x`, which is none of its values",
            "choose one of `error`, `debug`",
        );
        check("chat[1]", "missing field `model`", "`[[chat]]` lacks `model`", "write `model = …` below `[[chat]]`");
        assert_eq!(unknown_section("chat").problem, "`[[chat]]` is a list, so none of its keys is set alone");
    }
}
