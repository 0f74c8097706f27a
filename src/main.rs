//! The command `riverbed`.

use std::io::{self, Write as _};
use std::panic::{UnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;
use riverbed::cli::Cli;
use riverbed::report::Exit;

fn main() -> ExitCode {
    guarded(|| match Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(|failure| {
            // With a closed standard error there is no way to report it.
            let _unheard = writeln!(io::stderr(), "{}", failure.report());
            failure.exit()
        }),
        Err(usage) => Cli::usage(&usage),
    })
    .into()
}

/// Has a panic, which has said by then what went wrong, end the process with the exit code of a bug.
fn guarded(run: impl FnOnce() -> Exit + UnwindSafe) -> Exit {
    catch_unwind(run).unwrap_or(Exit::Bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug_to_who_reads_the_exit_code() {
        assert_eq!(guarded(|| panic!("for the test")), Exit::Bug);
        assert_eq!(guarded(|| Exit::Config), Exit::Config);
    }
}
