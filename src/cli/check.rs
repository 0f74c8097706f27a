//! `riverbed check`: local checks, with `--online` those that call AWS, and with `--service` what the sandbox of the unit would
//! deny.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::Args;

use super::format::plain;
use super::{
    Failure, Global, Needs, call_exit, call_help,
    preflight::{self, Warning},
    print, run, service,
};
use crate::bedrock::{
    CallError, Class, Client, Endpoint, ModelKey,
    client::{Emulated, Holder},
};
use crate::chat::prompt::Per;
use crate::config::Loaded;
use crate::daemon::{
    process_limits::{self, Descriptors},
    serve, startup,
};
use crate::domain::TokenCount;
use crate::domain::moment::rfc3339;
use crate::embed::Embedder;
use crate::report::Exit;
use crate::throttle::retry::{self, Schedule};

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Also finds the credentials, and makes one call of a few tokens to each model
    #[arg(long)]
    online: bool,
    /// Lists what the sandbox of `riverbed service` would deny; exits with 78 if there is anything
    #[arg(long)]
    service: bool,
}

/// What is embedded to see whether a model answers.
const TEXT: &str = "riverbed";

/// Throttled so often in succession, a model has no quota worth the name.
const THROTTLED: u32 = 5;
/// Attempts at a service that says that it is not ready.
const NOT_READY: u32 = 3;
/// The least wait between them, where `retry.max-interval` allows it.
const BETWEEN: Duration = Duration::from_secs(2);

/// Reports which call to AWS failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("no credentials could be had")]
    Credentials(#[source] CallError),
    #[error("`{model}` does not answer{}", tried(*.attempts))]
    Model { model: String, attempts: u32, source: CallError },
}

fn tried(attempts: u32) -> String {
    if attempts == 1 { String::new() } else { format!(", asked {attempts} times") }
}

pub(super) fn run(arguments: &CheckArguments, global: &Global) -> Result<Exit, Failure> {
    let loaded = global.load_for(Needs::Folders, Vec::new())?;
    run::source_is_there(&loaded)?;
    serve::guard(&loaded)?;
    process_limits::raise_descriptors();
    let warnings = preflight::look(&loaded)?;
    super::runtime()?.block_on(async {
        let config = &loaded.config;
        let emulator = if arguments.online { run::emulator_of(config).await? } else { None };
        let client = match (&config.bedrock.endpoint, &emulator) {
            (Some(Endpoint::Emulator), None) => None,
            (_, Some(emulator)) => Some(Client::connect(&config.bedrock, Some(&Emulated { url: emulator.endpoint() })).await?),
            (_, None) => Some(Client::connect(&config.bedrock, None).await?),
        };
        let settings = &loaded.settings;
        let embed = if config.embed.enabled {
            format!("{}, {} dimensions", settings.model(), settings.dimensions())
        } else {
            "off: only prompts run over documents".to_owned()
        };
        print(&format!(
            "configuration  {file}\n\
             source         {source}\n\
             bedrock        {place}, at most {in_flight} calls at once\n\
             embed          {embed}\n\
             chunk          at most {max} tokens, up to {overlap} of them overlap\n\
             sink           {sink}\n{chat}{foreign}",
            file = match global.file(Needs::Folders, &global.overrides(Vec::new())) {
                Some(file) => format!("{}: fine", file.display()),
                None => "none: defaults, with what flags and variables set".to_owned(),
            },
            source = config.source.path.display(),
            place = client.as_ref().map_or("the built-in emulator", Client::place),
            in_flight = config.bedrock.max_in_flight,
            max = config.chunk.max_tokens,
            overlap = config.chunk.overlap_tokens,
            sink = config.sink.path.display(),
            chat = chat(&loaded),
            foreign = foreign(&loaded),
        ))?;
        if let Some(short) = Descriptors::too_few(&loaded) {
            let Descriptors { allowed, needed, .. } = short;
            let in_flight = config.bedrock.max_in_flight;
            print(&format!(
                "descriptors    {allowed} allowed, {needed} needed for `bedrock.max-in-flight` = {in_flight}: fewer calls will be in \
                 flight\n  help: {}\n",
                short.help()
            ))?;
        }
        for Warning { problem, help } in &warnings {
            print(&format!("warning        {problem}\n               help: {help}\n"))?;
        }
        match client {
            Some(client) if arguments.online => online(client, &loaded).await,
            Some(_) | None => Ok(Exit::Done),
        }
    })?;
    if arguments.service { service::check(&loaded, global) } else { Ok(Exit::Done) }
}

/// Says which variables look like ours and set nothing.
fn foreign(loaded: &Loaded) -> String {
    match loaded.foreign_variables() {
        [] => String::new(),
        foreign => format!("variables      {} match no section, and are ignored\n", foreign.join(", ")),
    }
}

/// Says what is asked of chat models.
fn chat(loaded: &Loaded) -> String {
    let mut text = String::new();
    for prompt in loaded.prompts.all() {
        let per = match prompt.per {
            Per::Document => "document",
            Per::Chunk => "chunk",
        };
        let is_context = loaded.prompts.context().is_some_and(|context| context.name == prompt.name);
        let what = if is_context { "for the context of" } else { "about" };
        let _infallible = writeln!(text, "chat           {} of {}, {what} each {per}", prompt.name, prompt.model);
    }
    if let Some(messages) = loaded.prompts.messages() {
        let models: Vec<_> = messages.models().map(ToString::to_string).collect();
        let _infallible = writeln!(text, "messages       *.chat.json, to {}", models.join(", "));
    }
    for (name, (model, _)) in loaded.prompts.models() {
        if !loaded.prompts.is_known(&model) {
            let _infallible =
                writeln!(text, "not known      {name}: the service says what it takes (`riverbed models` lists the known ones)");
        }
    }
    text
}

/// Asks for credentials, then each model. Prints what works as it goes, so that a failure is below what led to it.
async fn online(client: Client, loaded: &Loaded) -> Result<Exit, Failure> {
    let (region, from) = client.region();
    print(&format!("region         {}, from {from}\n", plain(region)))?;
    let holder =
        client.holder().await.map_err(|error| failure(&error.clone(), ModelKey::Embed, CheckError::Credentials(error)))?;
    print(&format!("credentials    {}\n", plain(&described(&holder))))?;
    let retry = &loaded.config.retry;
    if loaded.config.embed.enabled {
        let embedder = Embedder::new(client.clone(), loaded.settings.clone());
        let answered = ask(retry, async || embedder.embed(&[TEXT]).await).await;
        say(loaded.settings.model().to_string(), ModelKey::Embed, answered.map(|(answer, elapsed)| (answer.tokens, elapsed)))?;
    }
    for (name, (model, max_tokens)) in loaded.prompts.models() {
        let Some(request) = loaded.prompts.probe(&model) else { continue };
        let asker = startup::asker(loaded, None, None, client.clone(), &model, max_tokens)?;
        let answered = ask(retry, async || asker.chat.ask(&request).await).await;
        let is_of_prompt = loaded.prompts.all().any(|prompt| prompt.model == model);
        say(
            name,
            if is_of_prompt { ModelKey::Chat } else { ModelKey::Messages },
            answered.map(|(answer, elapsed)| (answer.usage.map(|usage| usage.prompt_tokens() + usage.output_tokens), elapsed)),
        )?;
    }
    Ok(Exit::Done)
}

/// Says that a model answers, or why it does not.
fn say(
    model: String,
    asked: ModelKey,
    answered: Result<(Option<TokenCount>, Duration), (CallError, u32)>,
) -> Result<(), Failure> {
    match answered {
        Ok((tokens, elapsed)) => {
            let tokens = match tokens {
                Some(tokens) if tokens.get() == 1 => "1 token".to_owned(),
                Some(tokens) => format!("{} tokens", tokens.get()),
                None => "tokens not counted".to_owned(),
            };
            print(&format!("answers        {model}: {tokens}, {} ms\n", elapsed.as_millis()))?;
            Ok(())
        }
        Err((source, attempts)) => Err(failure(&source.clone(), asked, CheckError::Model { model, attempts, source })),
    }
}

/// Makes one call, and more only where the service asks for a retry: a bounded number, whatever it says.
async fn ask<T>(
    retry: &retry::RetryConfig,
    call: impl AsyncFn() -> Result<T, CallError>,
) -> Result<(T, Duration), (CallError, u32)> {
    let mut schedule = Schedule::new(retry);
    let mut attempts = 0;
    loop {
        let begun = Instant::now();
        let error = match call().await {
            Ok(answer) => return Ok((answer, begun.elapsed())),
            Err(error) => error,
        };
        attempts += 1;
        let most = match error.class {
            Class::Throttled => THROTTLED,
            Class::Unavailable => NOT_READY,
            Class::TimedOut
            | Class::Connection
            | Class::BadAnswer
            | Class::Refused
            | Class::Model
            | Class::Credentials
            | Class::Configuration
            | Class::Request => 1,
        };
        if attempts >= most {
            return Err((error, attempts));
        }
        let least = error.retry_after.unwrap_or_default().max(BETWEEN.min(retry.max_interval));
        tokio::time::sleep(schedule.next_delay(Some(least))).await;
    }
}

/// Shows whose credentials are used, and of the key only what identifies it.
fn described(holder: &Holder) -> String {
    let mut text = holder.source.clone();
    let mut add = |what: String| {
        let _infallible = write!(text, ", {what}");
    };
    if let Some(id) = &holder.access_key_id {
        let shown: String = id.chars().skip(id.chars().count().saturating_sub(4)).collect();
        add(format!("key …{shown}"));
    }
    if let Some(account) = &holder.account {
        add(format!("account {account}"));
    }
    if let Some(expires) = holder.expires {
        add(format!("good until {}", rfc3339(expires)));
    }
    text
}

fn failure(cause: &CallError, asked: ModelKey, error: CheckError) -> Failure {
    Failure::new(error, call_exit(cause)).help(call_help(cause, asked))
}
