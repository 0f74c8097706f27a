//! `riverbed verify`: compares the output with the ledger.

use std::fmt::Write as _;
use std::time::SystemTime;

use bytesize::ByteSize;
use clap::Args;
use indicatif::HumanCount;
use serde_json::json;

use super::format::{columns, plain};
use super::{Failure, Global, print, print_json, runtime};
use crate::commitlog::verify::{Finding, Off, Verified, VerifyError, verify};
use crate::commitlog::{Opening, Repaired};
use crate::config::Loaded;
use crate::daemon::startup::{self, Store, ledger_failure};
use crate::ledger::Reader;
use crate::report::Exit;

const EXAMPLES: &str = "\
Examples:
  riverbed verify                      compare output and ledger; exits with 0, or with 65 and the differences
  riverbed verify --output b           the same for another output
  riverbed verify --json | jq .findings
  riverbed verify --repair             restore what the ledger has; the next run makes the rest again

It reads every byte of the output, also beside a running daemon. Sealed files that were moved away
count as missing: verify before you move them.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArguments {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    /// Restores lines that the ledger still has; the next run makes the others again, from the cache where it can. Stop the
    /// daemon first
    #[arg(long)]
    repair: bool,
}

pub(super) fn run(arguments: &VerifyArguments, global: &Global) -> Result<Exit, Failure> {
    let (loaded, reader) = global.look("verify")?;
    let folder = &loaded.config.sink.path;
    let mut verified = if arguments.repair { Verified::default() } else { verify(&reader, folder).map_err(failure)? };
    let mut repaired = None;
    if arguments.repair {
        // A damaged ledger is no basis for a comparison.
        let ledger = reader.check().map_err(ledger_failure)?;
        if ledger.is_empty() {
            drop(reader);
            let done = runtime()?.block_on(async { tokio::task::block_in_place(|| repair(&loaded)) })?;
            verified = verify(&Reader::open(&loaded.ledger_path()).map_err(ledger_failure)?, folder).map_err(failure)?;
            repaired = Some(done);
        } else {
            verified.ledger = ledger;
        }
    }
    let output = folder.display().to_string();
    if arguments.json {
        print_json(&object(&verified, repaired, &output))?;
    } else {
        print(&format!("output {}\n{}", plain(&output), report(&verified, repaired)))?;
    }
    Ok(if verified.is_sound() { Exit::Done } else { Exit::Ledger })
}

/// Takes ledger and output as a run does, and repairs what is off then.
fn repair(loaded: &Loaded) -> Result<Repaired, Failure> {
    let mut store = Store::open_as(loaded, Opening::Repair)?;
    let verified = verify(&store.reader, &loaded.config.sink.path).map_err(failure)?;
    let repaired = store.delivery.repair(&verified.lacking, SystemTime::now()).map_err(startup::failure)?;
    store.delivery.ledger().settle();
    Ok(repaired)
}

fn failure(error: VerifyError) -> Failure {
    match error {
        VerifyError::Ledger(error) => ledger_failure(error),
        VerifyError::Read { .. } => Failure::new(error, Exit::Io).help("let this user read the output folder"),
    }
}

fn count(number: u64, of: &str) -> String {
    format!("{} {of}{}", HumanCount(number), if number == 1 { "" } else { "s" })
}

fn report(verified: &Verified, repaired: Option<Repaired>) -> String {
    let Verified { files, lines, bytes, waiting, tails, findings, ledger, .. } = verified;
    if !ledger.is_empty() {
        let findings: Vec<_> = ledger.iter().map(|finding| plain(finding)).collect();
        return format!(
            "the ledger is damaged: {}\nhelp: move it away with its `-wal` and restore it: from a copy, or from the output with `riverbed run --rebuild-ledger`\n",
            findings.join("; ")
        );
    }
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
    let mut said = repaired.map_or_else(String::new, |Repaired { put_back, lost, documents }| {
        format!(
            "repaired: {} restored; {} exist nowhere, so the next run rebuilds their content ({} to process)\n",
            count(put_back, "line"),
            count(lost, "line"),
            count(documents, "document")
        )
    });
    if !findings.is_empty() {
        said += &(columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()) + "\n");
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
            "; {bytes} at the end of {}, whose lines are repeated in a later one",
            count(tails.len() as u64, "abandoned file")
        );
    }
    said.push('\n');
    if !findings.is_empty() {
        said.push_str(
            "help: restore the files from a copy; `riverbed verify --repair` restores what the ledger still has, and the next run rebuilds the rest, from cached answers where possible\n",
        );
    }
    said
}

fn object(verified: &Verified, repaired: Option<Repaired>, output: &str) -> String {
    let Verified { files, lines, bytes, waiting, tails, findings, ledger, .. } = verified;
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
        "ledger": ledger,
        "repaired": repaired.map(|Repaired { put_back, lost, documents }| json!({
            "put_back": put_back,
            "lost": lost,
            "documents": documents,
        })),
    });
    format!("{said}\n")
}
