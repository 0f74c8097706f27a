//! The command `riverbed`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use riverbed::cli::Cli;

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(|failure| {
            // A standard error that is closed leaves nobody to tell.
            let _unheard = writeln!(io::stderr(), "{}", failure.report());
            failure.exit()
        }),
        Err(usage) => Cli::usage(&usage),
    };
    exit.into()
}
