//! The command line: one file per subcommand.
//!
//! Commands read their arguments, call the rooms below, and print. What a daemon consists of is in [`daemon`](crate::daemon); no other
//! room writes to the terminal.

mod ask;
mod check;
mod docs;
mod document_arg;
mod emulate;
mod explain;
mod failed;
mod format;
mod init;
mod models;
mod plan;
mod preflight;
mod progress;
mod run;
mod running_instances;
mod schema;
mod screen;
mod service;
mod skipped;
mod status;
mod summary;
mod verify;

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use libc::EIO;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::bedrock::{CallError, Class, Disposition, ModelKey};
use crate::config::{ConfigError, Loaded, Override};
use crate::daemon::failure::Failure;
use crate::daemon::process_limits::runtime;
use crate::domain::escape::{plain_json, plain_lines};
use crate::ledger::{LedgerError, Reader};
use crate::report::Exit;

const EXAMPLES: &str = "\
Examples:
  riverbed run --once --source a --output b --emulator
                                              try it on a folder, without an account and without a file
  riverbed run --once                         process what is in the folder, then exit
  riverbed run                                follow the folder
  riverbed init /etc/riverbed                 write a commented pipeline.toml for AWS
  riverbed check                              validate configuration, folders and ledger; sends nothing
  riverbed check --online                     ask AWS too: credentials, access, quota
  riverbed plan                               dry run: work, cost and duration
  riverbed status                             state and cost of the daemon
  riverbed status --output b                  the same for another output
  riverbed ask 'What is due?' -f drop/a.md    stream one answer
  riverbed failed                             failed documents, with reasons
  riverbed explain drop/handbook.md           history of one document
  riverbed verify                             compare output and ledger, line by line
  riverbed models claude                      Claude's models, with limits and prices
  riverbed service                            print a hardened unit for systemd
  riverbed run --set bedrock.max-in-flight=8  run with one key changed
  riverbed emulate --listen 127.0.0.1:8080    a Bedrock runtime for any client, without an account
  riverbed docs                               the chapters of the manual

Every key can also be set by a variable: RIVERBED_BEDROCK_MAX_IN_FLIGHT=8.
Exit codes: 0 done, 2 documents failed or wait (run --once), 64 usage, 65 ledger or output need a person,
71 too few threads or descriptors, 74 I/O, 75 already running, 77 credentials or permission,
78 configuration. `riverbed docs operations` explains them.";

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
    /// Configuration file [default: pipeline.toml]; none is needed with --source and --output
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Sets one key, such as --set bedrock.max-in-flight=8; can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = OsStringValueParser::new().try_map(Override::parse))]
    set: Vec<Override>,
    /// Folder of documents, in place of `source.path`
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    source: Option<PathBuf>,
    /// Output folder, in place of `sink.path`
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output: Option<PathBuf>,
    /// Uses the built-in emulator in place of AWS: no account, no cost, no real vectors
    #[arg(long, global = true)]
    emulator: bool,
}

/// The configuration file where none is named.
const FILE: &str = "pipeline.toml";

/// What a command has to know before it can do without a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Source and output: it runs, or says what a run would do.
    Folders,
    /// The output: it looks at one.
    Output,
    /// Any of the flags: it asks a model.
    Anything,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follows the folder; with --once, processes what is there and exits
    Run(run::RunArguments),
    /// Writes a commented pipeline.toml for AWS
    Init(init::InitArguments),
    /// Validates everything that a run needs; with --online, asks AWS too
    Check(check::CheckArguments),
    /// Dry run: shows the work, cost and duration of a run without calling Bedrock
    Plan(plan::PlanArguments),
    /// Shows the state of the daemon, or of the ledger where no daemon runs
    Status(status::StatusArguments),
    /// Asks a chat model one question, or tests a `[[chat]]` prompt on a file
    Ask(ask::AskArguments),
    /// Lists, shows and retries failed documents
    Failed(failed::FailedArguments),
    /// Lists the files that were not read, with reasons
    Skipped(skipped::SkippedArguments),
    /// Shows the history of one document
    Explain(explain::ExplainArguments),
    /// Compares the output with the ledger, line by line
    Verify(verify::VerifyArguments),
    /// Runs the Bedrock emulator alone, for any client
    Emulate(emulate::EmulateArguments),
    /// Prints the systemd unit, the Grafana dashboard or the Prometheus alert rules
    Service(service::ServiceArguments),
    /// Lists the known models with limits and prices
    Models(models::ModelsArguments),
    /// Prints a JSON Schema: of the configuration or of an output file
    Schema(schema::SchemaArguments),
    /// Prints a chapter of the manual, or the man page
    Docs(docs::DocsArguments),
    /// Prints the completions of a shell
    Completions {
        /// Shell to complete for
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
        command.refuse_folders(&global)?;
        match command {
            Command::Run(arguments) => run::run(&arguments, &global),
            Command::Init(arguments) => init::run(&arguments, &global),
            Command::Check(arguments) => check::run(&arguments, &global),
            Command::Plan(arguments) => plan::run(&arguments, &global),
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
            Command::Docs(arguments) => docs::run(&arguments),
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

impl Command {
    /// Refuses the flags for folders and emulator to commands that would not heed them.
    fn refuse_folders(&self, global: &Global) -> Result<(), Failure> {
        let (name, help) = match self {
            Self::Init(_) if !global.emulator => return Ok(()),
            Self::Init(_) => ("init", "it writes a file for AWS; set `bedrock.endpoint = \"emulator\"` in it to try it"),
            Self::Emulate(_) => ("emulate", "it processes no folder; `riverbed run --emulator` does"),
            Self::Service(_) => {
                ("service", "a unit goes by its configuration file: name the folders there (`riverbed init --source --output`)")
            }
            Self::Schema(_) => ("schema", "it writes to standard output"),
            Self::Models(_) => ("models", "it lists what is known of models, whatever folder there is"),
            Self::Docs(_) => ("docs", "the manual is the same for every folder"),
            Self::Completions { .. } => ("completions", "they are written to standard output"),
            Self::Run(_)
            | Self::Check(_)
            | Self::Plan(_)
            | Self::Status(_)
            | Self::Ask(_)
            | Self::Failed(_)
            | Self::Skipped(_)
            | Self::Explain(_)
            | Self::Verify(_) => return Ok(()),
        };
        let given =
            [(global.source.is_some(), "--source"), (global.output.is_some(), "--output"), (global.emulator, "--emulator")];
        match given.into_iter().rev().find(|(is_given, _)| *is_given) {
            Some((_, flag)) => Err(Failure::new(format!("`riverbed {name}` takes no `{flag}`"), Exit::Usage).help(help)),
            None => Ok(()),
        }
    }
}

impl Global {
    /// Reads the configuration with variables and flags over it, for a command that looks at an output; flags of the command itself
    /// come last.
    fn load(&self, flags: Vec<Override>) -> Result<Loaded, Failure> {
        self.load_for(Needs::Output, flags)
    }

    /// The same for a command with other needs.
    fn load_for(&self, needs: Needs, flags: Vec<Override>) -> Result<Loaded, Failure> {
        let overrides = self.overrides(flags);
        Ok(Loaded::read(self.file(needs, &overrides).as_deref(), &overrides)?)
    }

    /// Opens the ledger of an output to look at it. Where there is nothing to look at, the daemons that run elsewhere are named.
    fn look(&self, command: &str) -> Result<(Loaded, Reader), Failure> {
        let overrides = self.overrides(Vec::new());
        let file = self.file(Needs::Output, &overrides);
        let loaded = Loaded::read(file.as_deref(), &overrides);
        let mut loaded = loaded.map_err(|error| unreadable(error, command))?;
        let reader = reader(&loaded, command)?;
        if file.is_none() && !overrides.iter().any(|over| over.key() == "source.path") {
            let remembered: Option<String> =
                reader.meta(crate::daemon::startup::SOURCE).map_err(crate::daemon::startup::ledger_failure)?;
            if let Some(source) = remembered {
                loaded.config.source.path = source.into();
            }
        }
        Ok((loaded, reader))
    }

    /// Returns whether it is known how a run would go: by a file, or by flags that say where its vectors come from.
    fn is_of_a_run(&self) -> bool {
        let overrides = self.overrides(Vec::new());
        self.file(Needs::Output, &overrides).is_some() || overrides.iter().any(|over| over.key().starts_with("bedrock."))
    }

    /// Returns the configuration file to read; `None` where there is none in this folder and flags or variables say what is needed.
    fn file(&self, needs: Needs, overrides: &[Override]) -> Option<PathBuf> {
        if let Some(file) = &self.config {
            return Some(file.clone());
        }
        // A link that leads nowhere is a file that cannot be read, not one that is not there.
        let is_there = !matches!(Path::new(FILE).symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        let is_set = |key: &str| overrides.iter().any(|over| over.key() == key);
        let is_enough = match needs {
            Needs::Folders => is_set("source.path") && is_set("sink.path"),
            Needs::Output => is_set("sink.path") || is_set("ledger.path"),
            Needs::Anything => self.source.is_some() || self.output.is_some() || self.emulator,
        };
        (is_there || !is_enough).then(|| FILE.into())
    }

    /// Returns what lies over the file, later ones over earlier ones.
    fn overrides(&self, flags: Vec<Override>) -> Vec<Override> {
        let mut overrides = Override::from_environment(std::env::vars_os());
        overrides.extend(self.set.iter().cloned());
        let path = |flag, key, path: &Option<PathBuf>| path.as_ref().map(|path| Override::flag(flag, key, path));
        overrides.extend(path("--source", "source.path", &self.source));
        overrides.extend(path("--output", "sink.path", &self.output));
        overrides.extend(self.emulator.then(|| Override::flag("--emulator", "bedrock.endpoint", Path::new("emulator"))));
        overrides.extend(flags);
        overrides
    }
}

/// Opens the ledger of a configuration to look at it.
fn reader(loaded: &Loaded, command: &str) -> Result<Reader, Failure> {
    Reader::open(&loaded.ledger_path()).map_err(|error| match error {
        LedgerError::Missing { .. } => {
            let output = format::plain(&loaded.config.sink.path.display().to_string());
            let help = format!(
                "nothing has run for the output `{output}` yet: `riverbed run` makes the ledger; \
                 `--output DIR` names another output, `--config FILE` another configuration"
            );
            running_instances::named_in(Failure::new(error, Exit::Io).help(help), command, Some(loaded))
        }
        error => crate::daemon::startup::ledger_failure(error),
    })
}

/// Says that a configuration cannot be used by a command that looks at an output; where it is not there, what runs elsewhere, too.
fn unreadable(error: ConfigError, command: &str) -> Failure {
    match error {
        ConfigError::Read { .. } => running_instances::named_in(error.into(), command, None),
        error => error.into(),
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
