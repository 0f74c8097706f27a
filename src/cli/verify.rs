//! `riverbed verify`: is the output as the ledger has it?

use std::fmt::Write as _;

use bytesize::ByteSize;
use clap::Args;
use indicatif::HumanCount;
use serde_json::json;

use super::shown::{columns, plain};
use super::store::ledger_failure;
use super::{Failure, Global, print};
use crate::pipeline::verify::{Finding, Off, Verified, VerifyError, verify};
use crate::report::Exit;

const EXAMPLES: &str = "\
Examples:
  riverbed verify                      the output, one line and 0 if all is well; else what is off, and 65
  riverbed verify --output b           the same of another output
  riverbed verify --json | jq .findings

Reads every byte of the output, while a daemon runs or none. Sealed files that were taken away are
missing: verify before they are.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Failure> {
    let (loaded, reader) = global.look("verify")?;
    let verified = verify(&reader, &loaded.config.sink.path).map_err(|error| match error {
        VerifyError::Ledger(error) => ledger_failure(error),
        VerifyError::Read { .. } => Failure::new(error, Exit::Io).help("let this user read the output folder"),
    })?;
    let output = loaded.config.sink.path.display().to_string();
    print(&if arguments.json {
        object(&verified, &output)
    } else {
        format!("output {}\n{}", plain(&output), report(&verified))
    })?;
    Ok(if verified.is_sound() { Exit::Done } else { Exit::Ledger })
}

fn count(number: u64, of: &str) -> String {
    format!("{} {of}{}", HumanCount(number), if number == 1 { "" } else { "s" })
}

fn report(verified: &Verified) -> String {
    let Verified { files, lines, bytes, waiting, tails, findings } = verified;
    let heading = ["FILE", "WHAT", "LINES", "BYTES", "WHICH"].map(str::to_owned);
    let rows = findings.iter().map(|((file, off), finding)| {
        let Finding { lines, bytes, numbers, is_gone } = finding;
        let numbers = match numbers {
            Some((first, last)) if first == last => format!("seq {first}"),
            Some((first, last)) if last - first + 1 == *lines => format!("seq {first} to {last}"),
            Some((first, last)) => format!("between seq {first} and {last}"),
            None => String::new(),
        };
        let which = if *is_gone { format!("{numbers}: the file is not there") } else { numbers };
        [plain(file), off.as_str().to_owned(), lines.to_string(), bytes.to_string(), which]
    });
    let mut said = String::new();
    if !findings.is_empty() {
        said = columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()) + "\n";
    }
    let read = format!("{} in {} ({})", count(*lines, "line"), count(*files, "file"), ByteSize::b(*bytes).display().iec());
    let _infallible = match findings.values().map(|finding| finding.lines).sum() {
        0 => write!(said, "{read}: all as the ledger has them"),
        off => write!(said, "{} off, {read} as the ledger has them", if off == 1 { "1 is".into() } else { format!("{off} are") }),
    };
    if *waiting > 0 {
        let _infallible = write!(said, "; {} waiting in the ledger to be written", count(*waiting, "more line"));
    }
    if !tails.is_empty() {
        let bytes = ByteSize::b(tails.values().sum()).display().iec();
        let _infallible = write!(
            said,
            "; {bytes} at the end of {}, whose lines stand again in a later one",
            count(tails.len() as u64, "given-up file")
        );
    }
    said.push('\n');
    if !findings.is_empty() {
        said.push_str(
            "help: put the files back from a copy; what cannot be put back is made anew, and paid for again, by a run with an empty `sink.path`\n",
        );
    }
    said
}

fn object(verified: &Verified, output: &str) -> String {
    let Verified { files, lines, bytes, waiting, tails, findings } = verified;
    let finding = |((file, off), finding): (&(String, Off), &Finding)| {
        json!({
            "file": file,
            "what": off.as_str().replace(' ', "_"),
            "lines": finding.lines,
            "bytes": finding.bytes,
            "seq": finding.numbers.map(|(first, last)| [first, last]),
            "file_is_gone": finding.is_gone,
        })
    };
    let said = json!({
        "output": output,
        "sound": verified.is_sound(),
        "files": files,
        "lines": lines,
        "bytes": bytes,
        "waiting": waiting,
        "given_up_tails": tails,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    });
    format!("{said}\n")
}
