//! The command line: one file per subcommand.

mod ask;
mod check;
mod daemon;
mod emulate;
mod explain;
mod failed;
mod hangups;
mod init;
mod limits;
mod models;
mod money;
mod named;
mod plan;
mod progress;
mod reload;
mod run;
mod schema;
mod service;
mod shown;
mod skipped;
mod status;
mod store;
mod summary;
mod verify;

use std::error::Error;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use libc::EIO;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::bedrock::{CallError, Class, ConnectError, Disposition, ModelKey};
use crate::config::{ConfigError, Loaded, Override};
use crate::model::shown::{plain_json, plain_lines};
use crate::report::{Exit, Report};
use limits::runtime;

const EXAMPLES: &str = "\
Examples:
  riverbed run --once                         work off the folder and end
  riverbed run                                follow the folder
  riverbed init /etc/riverbed                 write a commented pipeline.toml for AWS
  riverbed check                              say what would keep it from running, and send nothing
  riverbed check --online                     ask AWS too: credentials, access, quota
  riverbed plan                               what a run would do, cost and take
  riverbed status                             how the daemon is doing, and what it costs
  riverbed ask 'What is due?' -f drop/a.md    one answer, as it is written
  riverbed failed                             what was given up, and why
  riverbed explain drop/handbook.md           what became of a file, and why
  riverbed verify                             hold the output against the ledger, line by line
  riverbed models claude                      what is known of Claude's models, with prices
  riverbed service                            print a hardened unit for systemd
  riverbed run --set bedrock.max-in-flight=8  run with one key changed
  riverbed emulate --listen 127.0.0.1:8080    a Bedrock runtime for any client, without an account

Every key can also be set by a variable: RIVERBED_BEDROCK_MAX_IN_FLIGHT=8.
Exit codes: 0 done, 2 documents failed or wait (run --once), 64 usage, 65 ledger or output need a person,
71 too few threads or descriptors, 74 I/O, 75 already running, 77 credentials or permission,
78 configuration.";

/// Follows a folder of documents and streams their Amazon Bedrock embeddings out as JSON lines.
#[derive(Debug, Parser)]
#[command(name = "riverbed", version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Configuration file
    #[arg(short, long, global = true, default_value = "pipeline.toml", value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: PathBuf,
    /// Sets one key over file and variables, as --set bedrock.max-in-flight=8; can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = OsStringValueParser::new().try_map(Override::parse))]
    set: Vec<Override>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follows the folder, or with --once works off what is there
    Run(run::Arguments),
    /// Writes a commented pipeline.toml for AWS
    Init(init::Arguments),
    /// Says what would keep riverbed from running; with --online it asks AWS too
    Check(check::Arguments),
    /// Says what a run would do, cost and take; sends nothing
    Plan(plan::Arguments),
    /// Says how the daemon is doing: from itself, or from the ledger where none runs
    Status(status::Arguments),
    /// Asks a chat model one question, or tries a `[[chat]]` prompt on a file
    Ask(ask::Arguments),
    /// Documents that were given up, and why; tries them again
    Failed(failed::Arguments),
    /// Files that hold no document, and why
    Skipped(skipped::Arguments),
    /// Tells what became of one document, and why
    Explain(explain::Arguments),
    /// Holds the output against the ledger, line by line
    Verify(verify::Arguments),
    /// Runs the Bedrock emulator alone, for any client
    Emulate(emulate::Arguments),
    /// Prints the unit for systemd, the dashboard for Grafana or the alert rules for Prometheus
    Service(service::Arguments),
    /// Lists the models that are known, with their limits and prices; asks nobody
    Models(models::Arguments),
    /// Prints the JSON Schema of the configuration or of an output file
    Schema(schema::Arguments),
    /// Prints completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// When it could not be done; the failure knows the exit code.
    pub fn run(self) -> Result<Exit, Failure> {
        let Self { global, command } = self;
        match command {
            Command::Run(arguments) => run::run(arguments, &global),
            Command::Init(arguments) => init::run(&arguments),
            Command::Check(arguments) => check::run(&arguments, &global),
            Command::Plan(arguments) => plan::run(arguments, &global),
            Command::Status(arguments) => status::run(&arguments, &global),
            Command::Ask(arguments) => ask::run(arguments, &global),
            Command::Failed(arguments) => failed::run(arguments, &global),
            Command::Skipped(arguments) => skipped::run(&arguments, &global),
            Command::Explain(arguments) => explain::run(&arguments, &global),
            Command::Verify(arguments) => verify::run(&arguments, &global),
            Command::Emulate(arguments) => emulate::run(arguments, &global),
            Command::Service(arguments) => service::run(&arguments, &global),
            Command::Models(arguments) => models::run(&arguments),
            Command::Schema(arguments) => schema::run(&arguments),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "riverbed", &mut script);
                print(&String::from_utf8_lossy(&script))
            }
        }
    }

    /// Prints what clap has to say: help and version to standard output, anything else as a usage error.
    #[must_use]
    pub fn usage(said: &clap::Error) -> Exit {
        // A closed pipe behind `--help | head` is no failure.
        let _unheard = said.print();
        if said.use_stderr() { Exit::Usage } else { Exit::Done }
    }
}

impl Global {
    /// Reads the configuration with variables and flags over it; flags of the command itself come last.
    fn load(&self, flags: Vec<Override>) -> Result<Loaded, Failure> {
        Ok(Loaded::load(&self.config, &self.overrides(flags))?)
    }

    /// Returns what lies over the file, later ones over earlier ones.
    fn overrides(&self, flags: Vec<Override>) -> Vec<Override> {
        let mut overrides = Override::from_environment(std::env::vars_os());
        overrides.extend(self.set.iter().cloned());
        overrides.extend(flags);
        overrides
    }
}

/// A command that could not be done.
#[derive(Debug)]
pub struct Failure {
    error: Box<dyn Error + Send + Sync>,
    place: Option<String>,
    help: Option<String>,
    exit: Exit,
}

impl Failure {
    fn new(error: impl Into<Box<dyn Error + Send + Sync>>, exit: Exit) -> Self {
        Self { error: error.into(), place: None, help: None, exit }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Returns what to print.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        Report { error: &*self.error, place: self.place.clone(), help: self.help.clone() }
    }

    /// Returns how to end.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let (place, help) = (error.place(), Some(error.help()));
        Self { place, help, ..Self::new(error, Exit::Config) }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let help = error.help();
        Self::new(error, Exit::Config).help(help)
    }
}

/// Returns how a command ends for which no call could be made.
fn call_exit(error: &CallError) -> Exit {
    match error.class.disposition() {
        _ if error.is_of_configuration() => Exit::Config,
        Disposition::Halt => Exit::Permission,
        Disposition::Retry if error.class == Class::Throttled => Exit::Permission,
        Disposition::Retry => Exit::Io,
        Disposition::Reject => Exit::Bug,
    }
}

/// Returns what to do about a failed call, with what names it to AWS.
fn call_help(error: &CallError, asked: ModelKey) -> String {
    let request = error.request_id.as_ref().map(|id| format!("\n(request {id}, for AWS support)"));
    format!("{}{}", error.advice_for(asked), request.unwrap_or_default())
}

/// Prints a command's result. A reader that has closed the pipe has what it wanted.
fn print(text: &str) -> Result<Exit, Failure> {
    print_on(text).map(|_| Exit::Done)
}

/// Prints a command's result that is JSON.
fn print_json(json: &str) -> Result<Exit, Failure> {
    write(&plain_json(json)).map(|_| Exit::Done)
}

/// Prints a part of a result that goes on, and says to break off where nobody reads it any more. Whatever the text has in it, a terminal
/// shows it and does nothing else.
fn print_on(text: &str) -> Result<ControlFlow<()>, Failure> {
    write(&plain_lines(text))
}

fn write(text: &str) -> Result<ControlFlow<()>, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        // A pipe whose reader, or a terminal whose window, has been closed.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(EIO) => {
            Ok(ControlFlow::Break(()))
        }
        Err(error) => Err(Failure::new(error, Exit::Io)),
    }
}

/// The requests to stop that a terminal (Ctrl-C) and systemd (SIGTERM) send.
struct StopRequests {
    interrupt: Signal,
    terminate: Signal,
}

impl StopRequests {
    /// Takes the requests over from here on; before, they end the process.
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(error, Exit::Io));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next request.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
