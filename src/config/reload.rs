//! Keys that take effect on reload, and keys that need a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, ConfigError, Loaded, overrides};

/// Takes the value of one key, or of all of a section's, from another configuration.
type Take = fn(&mut Config, &Config);

/// The keys that take effect when the daemon reloads its configuration; `chat` and `messages` cover all of their keys.
/// What is not here needs a restart: it shapes ledger and output, or is taken into use once, at the start.
const LIVE: [(&str, Take); 16] = [
    ("source.include", |of, new| of.source.include.clone_from(&new.source.include)),
    ("source.exclude", |of, new| of.source.exclude.clone_from(&new.source.exclude)),
    ("bedrock.max-in-flight", |of, new| of.bedrock.max_in_flight = new.bedrock.max_in_flight),
    ("bedrock.requests-per-minute", |of, new| of.bedrock.requests_per_minute = new.bedrock.requests_per_minute),
    ("bedrock.tokens-per-minute", |of, new| of.bedrock.tokens_per_minute = new.bedrock.tokens_per_minute),
    ("chat", |of, new| of.chat.clone_from(&new.chat)),
    ("messages", |of, new| of.messages.clone_from(&new.messages)),
    ("retry.initial", |of, new| of.retry.initial = new.retry.initial),
    ("retry.multiplier", |of, new| of.retry.multiplier = new.retry.multiplier),
    ("retry.max-interval", |of, new| of.retry.max_interval = new.retry.max_interval),
    ("retry.give-up-after", |of, new| of.retry.give_up_after = new.retry.give_up_after),
    ("budget.max-usd-per-day", |of, new| of.budget.max_usd_per_day = new.budget.max_usd_per_day),
    ("budget.max-chat-usd-per-day", |of, new| of.budget.max_chat_usd_per_day = new.budget.max_chat_usd_per_day),
    ("budget.prices", |of, new| of.budget.prices.clone_from(&new.budget.prices)),
    ("run.progress-every", |of, new| of.run.progress_every = new.run.progress_every),
    ("log.level", |of, new| of.log.level = new.log.level),
];

/// Returns whether a key, written with its section, takes effect without a restart.
#[must_use]
pub fn is_live(key: &str) -> bool {
    let section = key.split_once('.').map_or(key, |(section, _)| section);
    LIVE.iter().any(|(live, _)| *live == key || *live == section)
}

/// The result of a reload: which keys take effect, and which need a restart.
#[derive(Debug)]
pub struct Renewed {
    /// What is in effect from now on.
    pub loaded: Loaded,
    /// The keys whose value is another one in it, in order; a prompt as `chat.NAME`.
    pub changed: Vec<String>,
    /// The keys that have another value in what was read, and need a restart.
    pub needs_restart: Vec<String>,
}

impl Loaded {
    /// Returns what this configuration becomes when `new` has been read in its place: what can change without a restart is as in `new`,
    /// the rest stays.
    ///
    /// # Errors
    /// When the two cannot be in effect together, though each could alone.
    pub fn renewed(&self, new: Self) -> Result<Renewed, ConfigError> {
        let mut config = self.config.clone();
        for (_, take) in LIVE {
            take(&mut config, &new.config);
        }
        self.keep_contexts(&mut config, &new.config);
        let changed = differences(&self.config, &config);
        let needs_restart = differences(&config, &new.config);
        let loaded = Self::of(config, new.origins).map_err(|error| match error {
            ConfigError::Invalid { invalid, place } if !needs_restart.is_empty() => {
                ConfigError::Together { invalid, place, needs_restart: needs_restart.clone() }
            }
            error => error,
        })?;
        Ok(Renewed { loaded, changed, needs_restart })
    }
}

impl Loaded {
    /// Keeps the prompt for contexts as it is, and one that is to become it away or as it is: it shapes vectors, as `embed.context` does.
    fn keep_contexts(&self, config: &mut Config, new: &Config) {
        for name in [&self.config.embed.context, &new.embed.context].into_iter().flatten() {
            let at = config.chat.iter().position(|prompt| prompt.name == *name);
            let kept = self.config.chat.iter().find(|prompt| prompt.name == *name).cloned();
            match (at, kept) {
                (Some(at), Some(kept)) => config.chat[at] = kept,
                (Some(at), None) => drop(config.chat.remove(at)),
                (None, kept) => config.chat.extend(kept),
            }
        }
    }
}

/// Returns the keys that have different values in two configurations.
fn differences(one: &Config, other: &Config) -> Vec<String> {
    let (one, other) = (values(one), values(other));
    let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// Returns each key that has a value. Prompts go by their names.
fn values(config: &Config) -> BTreeMap<String, toml::Value> {
    let mut values = BTreeMap::new();
    for (section, of) in overrides::table(config) {
        match of {
            toml::Value::Table(keys) => {
                values.extend(keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            toml::Value::Array(prompts) => {
                let name =
                    |prompt: &toml::Value| prompt.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
                values.extend(prompts.into_iter().map(|prompt| (format!("{section}.{}", name(&prompt)), prompt)));
            }
            value => drop(values.insert(section, value)),
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Override, reference};

    const FILE: &str = "[chunk]\nmax-tokens = 100\noverlap-tokens = 0\n[[chat]]\nname = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"{{text}}\"\n";

    fn load(text: &str) -> Result<Loaded, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.toml");
        fs::write(&path, text).unwrap();
        // So that paths do not hang on the folder.
        let paths = ["source.path=/drop", "sink.path=/out"].map(|flag| Override::parse(flag).unwrap());
        Loaded::load(&path, &paths)
    }

    fn renewed(old: &str, new: &str) -> Renewed {
        load(old).unwrap().renewed(load(new).unwrap()).unwrap()
    }

    #[test]
    fn what_is_the_same_changes_nothing() {
        let Renewed { changed, needs_restart, .. } = renewed(FILE, FILE);
        assert_eq!((changed, needs_restart), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_is_live_is_taken_and_the_rest_is_named() {
        let new = FILE.replace("max-tokens = 100", "max-tokens = 200").replace("{{text}}", "Sum up: {{text}}")
            + "[[chat]]\nname = \"title\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"{{text}}\"\n\
               [budget]\nmax-usd-per-day = 5\n[log]\nlevel = \"debug\"\nformat = \"json\"\n[sink]\nrotate-size = \"256.001MiB\"\n";
        let Renewed { loaded, changed, needs_restart } = renewed(FILE, &new);
        assert_eq!(changed, ["budget.max-usd-per-day", "chat.sum", "chat.title", "log.level"]);
        assert_eq!(needs_restart, ["chunk.max-tokens", "log.format", "sink.rotate-size"]);
        assert_eq!((loaded.config.chunk.max_tokens.get(), loaded.prompts.all().count()), (100, 2));
        // What needs a restart is named as long as it is so, and what has been taken is news once.
        let Renewed { changed, needs_restart, .. } = loaded.renewed(load(&new).unwrap()).unwrap();
        assert_eq!((changed.len(), needs_restart.len()), (0, 3));
        let Renewed { changed, needs_restart, .. } = loaded.renewed(load(FILE).unwrap()).unwrap();
        assert_eq!((changed.len(), needs_restart), (4, Vec::new()));
    }

    #[test]
    fn the_prompt_for_contexts_shapes_vectors_and_needs_a_restart() {
        let old =
            FILE.replace("prompt = \"{{text}}\"", "per = \"chunk\"\nprompt = \"{{text}}\"") + "[embed]\ncontext = \"sum\"\n";
        let new = old.replace("{{text}}", "Sum up: {{text}}");
        let Renewed { loaded, changed, needs_restart } = renewed(&old, &new);
        assert_eq!((changed, needs_restart), (Vec::new(), vec!["chat.sum".to_owned()]));
        assert_eq!(loaded.fingerprint(false), load(&old).unwrap().fingerprint(false));
        assert_ne!(loaded.fingerprint(false), load(&new).unwrap().fingerprint(false));
    }

    #[test]
    fn what_is_sound_only_with_what_needs_a_restart_is_refused() {
        let new = "[chunk]\nmax-tokens = 40\noverlap-tokens = 0\n[bedrock]\ntokens-per-minute = 50\n";
        let error = load(FILE).unwrap().renewed(load(new).unwrap()).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("this needs a restart: `bedrock.tokens-per-minute` is 50, less than one chunk"), "{said}");
        assert!(error.help().contains("`chunk.max-tokens`"), "{}", error.help());
    }

    #[test]
    fn every_live_key_is_a_key() {
        let reference = reference();
        for (key, _) in LIVE {
            assert!(reference.contains(&format!("- **{key}")), "{key}");
        }
    }
}
