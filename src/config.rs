//! `pipeline.toml`: composes the sections that the stages own, from file, variables and flags.
//!
//! Each key lives in the room that uses it, with its default, its limits and its comment. This room reads the file, names what is
//! wrong with its place, and writes the template and the table of keys. It opens nothing but configuration.

mod context_check;
mod key_errors;
mod overrides;
mod path_expansion;
mod reload;
mod template;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bedrock;
use crate::chunk;
use crate::commitlog::config;
use crate::domain::{Fingerprint, Limits};
use crate::emulator;
use crate::folder::{self, Globs, OnDone, OnFailed};
use crate::ledger;
use crate::pipeline::{self, chat::Prompts};
use crate::report::{Invalid, nearest};
use crate::telemetry;

use overrides::Origins;
pub use overrides::Override;
pub use reload::{Renewed, is_live};
pub use template::{Purpose, reference, template};

/// The configuration of riverbed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The folder to follow.
    pub source: folder::SourceConfig,
    /// How documents are cut.
    pub chunk: chunk::ChunkConfig,
    /// The endpoint, credentials and rate of calls.
    pub bedrock: bedrock::BedrockConfig,
    /// The embedding model and its vectors.
    pub embed: crate::embed::EmbedConfig,
    /// Prompts that chat models answer for each document; any number, each under a `[[chat]]` of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chat: Vec<crate::chat::prompt::PromptConfig>,
    /// Files that are chat requests themselves.
    pub messages: crate::chat::openai::config::MessagesConfig,
    /// Backoff of failed calls.
    pub retry: crate::throttle::retry::RetryConfig,
    /// The output files.
    pub sink: config::SinkConfig,
    /// The record of what is known and committed.
    pub ledger: ledger::LedgerConfig,
    /// Daily spending limits, and prices.
    pub budget: crate::throttle::budget::BudgetConfig,
    /// Queues, shutdown and progress.
    pub run: pipeline::RunConfig,
    /// The built-in emulator, for `bedrock.endpoint = "emulator"` and `riverbed emulate`.
    pub emulator: emulator::EmulatorConfig,
    /// The status server.
    pub status: crate::status::config::StatusConfig,
    /// The log.
    pub log: telemetry::LogConfig,
}

/// A configuration that was read, with where each key came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration; it has passed every check that needs neither network nor folder.
    pub config: Config,
    /// What makes the vectors.
    pub settings: crate::embed::Settings,
    /// What calls cost.
    pub prices: crate::throttle::Prices,
    /// The prompts that run over documents.
    pub prompts: Arc<Prompts>,
    origins: Origins,
}

/// Says why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or holds a key or a type that is not known.
    #[error("the configuration `{}` does not parse", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's message, with the place in the file.
        message: String,
    },
    /// A variable or a flag holds a key or a value that does not fit.
    #[error("{origin} does not fit")]
    Override {
        /// The variable or the flag.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A key is not known, or its value is of another kind than it takes.
    #[error("{problem}")]
    Unfit {
        /// What is wrong.
        problem: String,
        /// Where it is.
        place: String,
        /// What to do.
        help: String,
    },
    /// A secret is in the configuration.
    #[error("`{key}` looks like a secret")]
    Secret {
        /// The key.
        key: String,
        /// Where it is.
        place: String,
    },
    /// A setting cannot work.
    #[error("{invalid}")]
    Invalid {
        /// The setting.
        invalid: Invalid,
        /// Where it is.
        place: String,
    },
    /// Settings can be in effect only with others that need a restart.
    #[error("this needs a restart: {invalid}")]
    Together {
        /// The setting.
        invalid: Invalid,
        /// Where it is.
        place: String,
        /// What is another in the configuration, and stays as it was until then.
        needs_restart: Vec<String>,
    },
}

impl ConfigError {
    /// Returns the location of the error.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::Parse { message, .. } | Self::Override { message, .. } => Some(message.clone()),
            Self::Secret { place, .. }
            | Self::Unfit { place, .. }
            | Self::Invalid { place, .. }
            | Self::Together { place, .. } => Some(place.clone()),
        }
    }

    /// Returns what to do.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Read { .. } => {
                "`riverbed init` writes one, `--config FILE` names another; `--output DIR` (for a run `--source DIR` too) needs none"
                    .into()
            }
            Self::Parse { message, .. } if message.contains("invalid type: map, expected a sequence") => {
                "each stands under brackets of its own, as `[[chat]]`".into()
            }
            Self::Parse { message, .. } if message.contains("expected a sequence") => {
                "write a list in brackets, as [\"private/\", \"*.log\"]".into()
            }
            Self::Parse { message, .. } if message.contains("string values must be quoted") => {
                "write a text in quotes: `path = \"drop\"`".into()
            }
            Self::Parse { message, .. } if message.contains("duplicate key") => "leave one of them out".into(),
            Self::Parse { .. } => "a line is `key = value`, below its `[section]`; `riverbed init` writes a file with all keys".into(),
            Self::Override { .. } => {
                "`riverbed schema config` lists every key; `riverbed init` writes a file with all of them".into()
            }
            Self::Secret { .. } => {
                "remove it: credentials come from the AWS chain (environment, profile, SSO, role, container, instance), and \
                 a Bedrock API key from the variable AWS_BEARER_TOKEN_BEDROCK"
                    .into()
            }
            Self::Unfit { help, .. } => help.clone(),
            Self::Invalid { invalid, .. } => invalid.help.clone(),
            Self::Together { needs_restart, .. } => {
                let keys: Vec<_> = needs_restart.iter().map(|key| format!("`{key}`")).collect();
                format!(
                    "restart riverbed: until then {} as before",
                    if keys.len() == 1 { format!("{} is", keys[0]) } else { format!("{} are", keys.join(", ")) }
                )
            }
        }
    }
}

impl Loaded {
    /// Reads the file, lays variables and flags over it, and checks what can be checked without network or folder.
    ///
    /// Paths in the file are relative to the file's folder, those in variables and flags to the working directory.
    ///
    /// # Errors
    /// When the file cannot be read, or something in it, in a variable or in a flag cannot work.
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let parse = |error: toml::de::Error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() };
        let origins = Origins::new(path, &text, overrides);
        if let Some(key) = overrides::secret(&toml::from_str(&text).map_err(parse)?) {
            return Err(ConfigError::Secret { place: origins.bare_place(&key), key });
        }
        // Read from the text, and not from a table with the overrides in it: only so do messages show the line.
        let mut config: Config = toml::Deserializer::parse(&text).map_err(parse).and_then(|file| {
            serde_path_to_error::deserialize(file).map_err(|error| {
                let key_errors::Said { problem, help } = key_errors::said(&error.path().to_string(), error.inner().message());
                let place = origins.place_at(error.inner().span().map_or(0, |span| span.start));
                ConfigError::Unfit { problem, place, help }
            })
        })?;
        if let Some(folder) = path.parent() {
            path_expansion::expand(&mut config, folder, |key| !overrides.iter().any(|over| over.sets(key)))
                .map_err(|invalid| ConfigError::Invalid { place: origins.place(invalid.key), invalid })?;
            let Config { source, sink, ledger, status, .. } = &mut config;
            let optional = [&mut source.done_dir, &mut source.failed_dir, &mut ledger.path, &mut status.token_file];
            let paths = [&mut source.path, &mut sink.path].into_iter().chain(optional.into_iter().flatten());
            for relative in paths {
                *relative = folder.join(&*relative);
            }
        }
        Self::of(overrides::apply(config, overrides)?, origins)
    }

    /// Does the same with a file, or with none and the defaults in its place.
    ///
    /// # Errors
    /// Likewise.
    pub fn read(file: Option<&Path>, overrides: &[Override]) -> Result<Self, ConfigError> {
        match file {
            Some(path) => Self::load(path, overrides),
            None => Self::of(Self::without_file(overrides)?, Origins::new(Path::new(""), "", overrides)),
        }
    }

    /// Checks a configuration.
    fn of(config: Config, origins: Origins) -> Result<Self, ConfigError> {
        let invalid = |invalid: Invalid| ConfigError::Invalid { place: origins.place(invalid.key), invalid };
        if config.bedrock.endpoint.as_ref().is_some_and(bedrock::Endpoint::has_user_information) {
            let key = "bedrock.endpoint";
            let problem = "holds a user name or a password, which would appear in every log".into();
            let help =
                "remove the part before the `@`: calls are signed with AWS credentials; a proxy's password goes into HTTPS_PROXY"
                    .into();
            return Err(ConfigError::Invalid { place: origins.bare_place(key), invalid: Invalid { key, problem, help } });
        }
        check(&config).map_err(invalid)?;
        let unknown = |error: Invalid| invalid(meant(error, &config));
        let settings = crate::embed::Settings::resolve(&config.embed).map_err(unknown)?;
        let prices = crate::throttle::Prices::new(config.budget.prices.clone(), region(&config.bedrock));
        if config.embed.enabled {
            check_budget(&config, &settings, &prices).map_err(invalid)?;
        }
        let prompts = Prompts::resolve(&config.chat, &config.messages, config.embed.context.as_deref()).map_err(unknown)?;
        context_check::check(&prompts, &settings).map_err(invalid)?;
        check_work(&config, &prompts).map_err(invalid)?;
        check_chat_budget(&config, &prompts, &prices).map_err(invalid)?;
        Ok(Self { config, settings, prices, prompts: Arc::new(prompts), origins })
    }

    /// Returns where the ledger lies by a file that may be damaged elsewhere, to find a daemon that was started when it was not.
    #[must_use]
    pub fn ledger_beside(path: &Path, overrides: &[Override]) -> PathBuf {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let find = |key| overrides::path(&text, folder, overrides, key);
        let output = || find("sink.path").unwrap_or_else(|| folder.join(config::SinkConfig::default().path));
        find("ledger.path").unwrap_or_else(|| in_output(&output()))
    }

    /// Returns what variables and flags make of the defaults, for a command that needs no file. It is not checked whether
    /// documents could be processed with it.
    ///
    /// # Errors
    /// When a variable or a flag has a key or a value that does not fit.
    pub fn without_file(overrides: &[Override]) -> Result<Config, ConfigError> {
        overrides::apply(Config::default(), overrides)
    }

    /// Says that a setting turned out not to work, with where it is.
    #[must_use]
    pub fn invalid(&self, invalid: Invalid) -> ConfigError {
        ConfigError::Invalid { place: self.origins.place(invalid.key), invalid }
    }

    /// Returns the variables that begin as riverbed's do and name no section of the configuration, so that they change nothing.
    #[must_use]
    pub fn foreign_variables(&self) -> &[String] {
        self.origins.foreign()
    }

    /// Returns the file of the ledger.
    #[must_use]
    pub fn ledger_path(&self) -> PathBuf {
        let Config { ledger, sink, .. } = &self.config;
        ledger.path.clone().unwrap_or_else(|| in_output(&sink.path))
    }

    /// Returns the fingerprint of what shapes the vector of a text, whatever document it is cut from.
    #[must_use]
    pub fn vectors(&self, emulated: bool) -> Fingerprint {
        let mut settings = vec![("emulated", emulated.to_string())];
        settings.extend(self.settings.shape());
        Fingerprint::of(&settings.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
    }

    /// Returns the fingerprint of everything that shapes vectors, whether an emulator or a model makes them included.
    #[must_use]
    pub fn fingerprint(&self, emulated: bool) -> Fingerprint {
        let chunk = &self.config.chunk;
        let mut settings = vec![
            ("emulated", emulated.to_string()),
            ("chunker", chunk::VERSION.to_owned()),
            ("max-tokens", chunk.max_tokens.to_string()),
            ("overlap-tokens", chunk.overlap_tokens.to_string()),
            ("strategy", format!("{:?}", chunk.strategy)),
        ];
        settings.extend(self.settings.shape());
        // Said only where it is so: what was made before there was the key is as it was.
        if !self.config.embed.enabled {
            settings.push(("embed", "off".to_owned()));
        }
        if let Some(prompt) = self.prompts.context() {
            settings.push(("context", self.prompts.fingerprint(prompt, emulated).to_string()));
        }
        Fingerprint::of(&settings.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
    }

    /// Returns what a chunk may be: what the model takes of a text, beside the context that may be before it.
    #[must_use]
    pub fn chunk_limits(&self) -> Limits {
        let limits = self.settings.limits();
        self.prompts.context().map_or(limits, |prompt| limits.beside(prompt.max_tokens()))
    }
}

/// Returns where the ledger lies that is given no place of its own.
fn in_output(output: &Path) -> PathBuf {
    output.join(".riverbed/ledger.db")
}

/// Checks what the types do not.
fn check(config: &Config) -> Result<(), Invalid> {
    let Config { source, chunk, bedrock, retry, sink, ledger, run, .. } = config;
    let positive = [
        ("source.rescan", source.rescan),
        ("bedrock.connect-timeout", bedrock.connect_timeout),
        ("bedrock.attempt-timeout", bedrock.attempt_timeout),
        ("retry.initial", retry.initial),
        ("retry.max-interval", retry.max_interval),
        ("run.progress-every", run.progress_every),
    ];
    for (key, duration) in positive {
        if duration.is_zero() {
            let (problem, help) = ("is zero".into(), "give a time such as \"500ms\" or \"30s\"".into());
            return Err(Invalid { key, problem, help });
        }
    }
    if source.max_file_size.as_u64() == 0 {
        let (problem, help) = ("is zero, so that no file would be read".into(), "give a size such as \"64MiB\"".into());
        return Err(Invalid { key: "source.max-file-size", problem, help });
    }
    if chunk.overlap_tokens.saturating_mul(2) > chunk.max_tokens.get() {
        return Err(Invalid {
            key: "chunk.overlap-tokens",
            problem: format!("is {}, more than half of `chunk.max-tokens` ({})", chunk.overlap_tokens, chunk.max_tokens),
            help: format!("give at most {}", chunk.max_tokens.get() / 2),
        });
    }
    if let Some(cap) = bedrock.tokens_per_minute.filter(|cap| cap.get() < chunk.max_tokens.get().into()) {
        return Err(Invalid {
            key: "bedrock.tokens-per-minute",
            problem: format!(
                "is {cap}, less than one chunk (`chunk.max-tokens` is {}): no call would ever fit",
                chunk.max_tokens
            ),
            help: "give at least `chunk.max-tokens`".into(),
        });
    }
    if bedrock.external_id.is_some() && bedrock.role_arn.is_none() {
        return Err(Invalid {
            key: "bedrock.external-id",
            problem: "is set, but `bedrock.role-arn` is not".into(),
            help: "name the role in `bedrock.role-arn`, or leave it out".into(),
        });
    }
    if !(1.0..=100.0).contains(&retry.multiplier) {
        return Err(Invalid {
            key: "retry.multiplier",
            problem: format!("is {}", retry.multiplier),
            help: "give a number from 1 to 100; 2 doubles each next wait".into(),
        });
    }
    if retry.max_interval < retry.initial {
        return Err(Invalid {
            key: "retry.max-interval",
            problem: "is shorter than `retry.initial`".into(),
            help: "give at least `retry.initial`".into(),
        });
    }
    check_globs(config)?;
    check_moves(config)?;
    check_listen(&config.status)?;
    if resolved(&sink.path).starts_with(resolved(&source.path)) {
        return Err(Invalid {
            key: "sink.path",
            problem: format!("is `{}`, inside the source folder: riverbed would read its own output", sink.path.display()),
            help: "choose a folder beside `source.path`".into(),
        });
    }
    if let Some(path) = ledger.path.as_ref().filter(|path| resolved(path).starts_with(resolved(&source.path))) {
        return Err(Invalid {
            key: "ledger.path",
            problem: format!("is `{}`, inside the source folder: riverbed writes nothing there", path.display()),
            help: "choose a file beside `source.path`".into(),
        });
    }
    if sink.rotate_size.as_u64() < 4096 {
        return Err(Invalid {
            key: "sink.rotate-size",
            problem: format!("is {}, less than most lines", sink.rotate_size),
            help: "give at least \"4KiB\"; \"256MiB\" is the default".into(),
        });
    }
    Ok(())
}

/// Checks that no glob begins with the path of the source folder.
fn check_globs(config: &Config) -> Result<(), Invalid> {
    let Config { source, chat, .. } = config;
    // Those that are none are reported where prompts are read.
    let of_prompt = |globs: &Vec<String>| Globs::new(globs.clone()).unwrap_or_default();
    let chat =
        chat.iter().flat_map(|chat| [("chat.include", of_prompt(&chat.include)), ("chat.exclude", of_prompt(&chat.exclude))]);
    let own = [("source.include", source.include.clone()), ("source.exclude", source.exclude.clone())];
    for (key, globs) in own.into_iter().chain(chat) {
        globs.check_within(&source.path).map_err(|error| Invalid {
            key,
            problem: format!("has a glob that matches nothing: {error}"),
            help: "write globs from the source folder on: `/a/` is the folder `a` in it, and `a/` any folder of that name".into(),
        })?;
    }
    Ok(())
}

/// Names the model, family or prompt first that is nearest to one that is not known.
fn meant(invalid: Invalid, config: &Config) -> Invalid {
    // What was written is in backticks, behind the prompt's name where it is one's.
    let mut written = invalid.problem.split('`').skip(1).step_by(2);
    let written = if invalid.key.starts_with("chat.") { written.nth(1) } else { written.next() };
    let Some(written) = written else { return invalid };
    let meant = match invalid.key {
        "embed.model" => nearest_model(written, crate::embed::known_models()),
        "chat.model" | "messages.models" => nearest_model(written, crate::throttle::price::known_models()),
        "embed.family" => nearest(written, crate::embed::family_names()).map(str::to_owned),
        "chat.family" => nearest(written, crate::chat::capabilities::family_names()).map(str::to_owned),
        "embed.context" => nearest(written, config.chat.iter().map(|prompt| prompt.name.as_str())).map(str::to_owned),
        _ => None,
    };
    match meant.filter(|meant| meant != written) {
        Some(meant) => Invalid { help: format!("did you mean `{meant}`? {}", invalid.help), ..invalid },
        None => invalid,
    }
}

/// Returns the known model that is nearest to an id, with the id's own prefix and, where it is known without one, its version.
fn nearest_model(written: &str, known: impl Iterator<Item = &'static str>) -> Option<String> {
    let id = bedrock::ModelId::try_from(written.to_owned()).ok()?;
    let plain = id.foundation_model()?;
    let prefix = written.strip_suffix(plain)?;
    let known: Vec<_> = known.collect();
    let version = plain.rfind("-v").or_else(|| plain.rfind(':')).unwrap_or(plain.len());
    let (stem, version) = plain.split_at(version);
    let whole = nearest(plain, known.iter().copied()).map(str::to_owned);
    let by_stem = || nearest(stem, known.iter().copied()).map(|known| format!("{known}{version}"));
    // Ids that are known without versions are not distinguished by these.
    let has_version =
        |known: &str| known.contains(':') || known.rsplit_once("-v").is_some_and(|(_, rest)| rest.parse::<u32>().is_ok());
    let meant = whole.filter(|whole| has_version(whole)).or_else(by_stem)?;
    Some(format!("{prefix}{meant}"))
}

/// Returns the region that the calls go to, as far as that is known without asking AWS: few prices differ by it.
fn region(bedrock: &bedrock::BedrockConfig) -> Option<String> {
    bedrock.region.clone().or_else(bedrock::region_of_environment)
}

/// Checks that there is something to do with documents.
fn check_work(config: &Config, prompts: &Prompts) -> Result<(), Invalid> {
    if config.embed.enabled {
        return Ok(());
    }
    if let Some(prompt) = prompts.context() {
        return Err(Invalid {
            key: "embed.context",
            problem: format!("is `{}`, but no vectors are made that could have a context (`embed.enabled`)", prompt.name),
            help: "leave it out: the prompt then has answers of its own".into(),
        });
    }
    if prompts.is_empty() {
        return Err(Invalid {
            key: "embed.enabled",
            problem: "is false, and no prompt is configured either: there would be nothing to do".into(),
            help: "write a `[[chat]]`, set `messages.enabled`, or leave it out".into(),
        });
    }
    Ok(())
}

/// Checks that a budget can be kept: what the calls cost is known, and it is enough for one.
fn check_budget(config: &Config, settings: &crate::embed::Settings, prices: &crate::throttle::Prices) -> Result<(), Invalid> {
    let key = "budget.max-usd-per-day";
    let Some(max) = config.budget.max_usd_per_day.map(crate::throttle::budget::Limit::usd) else { return Ok(()) };
    let Some(price) = prices.of(settings.model()) else {
        let problem = format!("is {max}, but no price of `{}` is known, so it cannot be kept", settings.model());
        return Err(Invalid { key, problem, help: crate::throttle::price::missing(settings.model()) });
    };
    let chunk = u64::from(config.chunk.max_tokens.get()).min(settings.limits().tokens_per_text.get());
    if crate::throttle::budget::affordable_tokens(&price, max).is_some_and(|tokens| tokens.get() < chunk) {
        let problem = format!("is {max}, less than one call could cost ({price}, {chunk} tokens and as many again in reserve)");
        return Err(Invalid { key, problem, help: "raise it: no call would ever be made".into() });
    }
    Ok(())
}

/// Checks that the status is shown to other machines only where that is wanted, and then to those alone that have the token.
fn check_listen(status: &crate::status::config::StatusConfig) -> Result<(), Invalid> {
    let crate::status::Listen::At(address) = status.listen else { return Ok(()) };
    if address.ip().is_loopback() {
        return Ok(());
    }
    if !status.allow_remote {
        return Err(Invalid {
            key: "status.listen",
            problem: format!("is `{address}`, which other machines can reach"),
            help: "give a loopback address, such as \"127.0.0.1:9464\", or set `status.allow-remote` and `status.token-file`"
                .into(),
        });
    }
    if status.token_file.is_none() {
        return Err(Invalid {
            key: "status.allow-remote",
            problem: "is set, but no token that other machines would have to send".into(),
            help: "name a file with one in `status.token-file`; `openssl rand -hex 32` makes one".into(),
        });
    }
    Ok(())
}

/// Checks that a budget can be kept over chat models too.
fn check_chat_budget(config: &Config, prompts: &Prompts, prices: &crate::throttle::Prices) -> Result<(), Invalid> {
    let budget = &config.budget;
    let bounds =
        [("budget.max-usd-per-day", budget.max_usd_per_day), ("budget.max-chat-usd-per-day", budget.max_chat_usd_per_day)];
    let Some((key, max)) = bounds.into_iter().find_map(|(key, max)| Some((key, max?.usd()))) else { return Ok(()) };
    match prompts.models().into_values().find(|(model, _)| prices.of_chat(model).is_none()) {
        None => Ok(()),
        Some((model, _)) => Err(Invalid {
            key,
            problem: format!("is {max}, but no price of `{model}` is known, so it cannot be kept"),
            help: crate::throttle::price::missing(&model),
        }),
    }
}

/// Checks where files are moved to once their documents have ended.
fn check_moves(config: &Config) -> Result<(), Invalid> {
    let Config { source, sink, .. } = config;
    let moves = [
        ("source.on-done", source.on_done == OnDone::Move, "source.done-dir", &source.done_dir),
        ("source.on-failed", source.on_failed == OnFailed::Move, "source.failed-dir", &source.failed_dir),
    ];
    for (on, is_move, key, folder) in moves {
        let Some(folder) = folder else {
            if is_move {
                return Err(Invalid {
                    key: on,
                    problem: format!("is `move`, but `{key}` is not set"),
                    help: format!("name a folder beside `source.path` in `{key}`"),
                });
            }
            continue;
        };
        let (there, source, sink) = (resolved(folder), resolved(&source.path), resolved(&sink.path));
        let problem = match () {
            () if there.starts_with(&source) => "inside the source folder: what is moved there would be a document again",
            () if source.starts_with(&there) => "and the source folder is in it: what is moved there could be a document again",
            () if there == sink => "the folder of the output: a file that is moved there could pass for a part of it",
            () => continue,
        };
        return Err(Invalid {
            key,
            problem: format!("is `{}`, {problem}", folder.display()),
            help: "choose a folder beside `source.path`".into(),
        });
    }
    Ok(())
}

/// Returns where a path leads: over symbolic links as far as it is there, and on from there as it is written.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    there.map_or_else(
        || path.clone(),
        |(above, real)| path.strip_prefix(above).map_or_else(|_| real.clone(), |below| real.join(below)),
    )
}
