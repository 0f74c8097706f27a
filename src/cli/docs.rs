//! `riverbed docs`: prints the chapters of the manual, and the man page.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::{Cli, EXAMPLES, Failure, print};
use crate::config::reference;
use crate::docs::{CHAPTERS, Chapter};
use crate::report::Exit;

/// The man page, which is made from the command line itself.
const MAN: &str = "man";
/// The chapter that is followed by the keys.
const CONFIG: &str = "config";

const HELP: &str = "\
Examples:
  riverbed docs                     list the chapters
  riverbed docs operations          read one; through $PAGER or less where it goes to a terminal
  riverbed docs config | grep settle
  riverbed docs man | man -l -      riverbed(1)";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct DocsArguments {
    /// Chapter to print; without one, lists the chapters
    #[arg(value_parser = topics(), hide_possible_values = true)]
    topic: Option<String>,
}

fn topics() -> PossibleValuesParser {
    PossibleValuesParser::new(rows().map(|(name, summary)| PossibleValue::new(name).help(summary)))
}

/// Returns every topic with what it is about.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let chapters = CHAPTERS.iter().map(|Chapter { name, summary, .. }| (*name, *summary));
    [("readme", "the overview: first steps, promises, limits, troubleshooting")]
        .into_iter()
        .chain(chapters)
        .chain([(MAN, "the man page riverbed(1), as roff")])
}

pub(super) fn run(arguments: &DocsArguments) -> Result<Exit, Failure> {
    match arguments.topic.as_deref() {
        None => print(&list()),
        Some(topic) => page(&text(topic)),
    }
}

fn list() -> String {
    let width = rows().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, summary) in rows() {
        let _infallible = writeln!(text, "{name:width$}  {summary}");
    }
    text.push_str("\n`riverbed docs TOPIC` prints one of them.\n");
    text
}

fn text(topic: &str) -> String {
    let of_chapter = || CHAPTERS.iter().find(|chapter| chapter.name == topic).map(|chapter| chapter.text);
    match topic {
        MAN => man(),
        CONFIG => of_chapter().unwrap_or_default().to_owned() + "\n" + &reference(),
        _ => of_chapter().unwrap_or(include_str!("../../README.md")).to_owned(),
    }
}

/// Prints a text through a pager where standard output is a terminal. Elsewhere, and where there is no pager, it is printed as it is.
fn page(text: &str) -> Result<Exit, Failure> {
    if io::stdout().is_terminal() {
        // A pager may be given with arguments, as `less -FR`; so it goes to a shell, as man and git do it.
        let chosen = std::env::var_os("PAGER").filter(|pager| !pager.is_empty()).map(|pager| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(pager);
            shell
        });
        let mut less = Command::new("less");
        less.arg("-R");
        for pager in chosen.into_iter().chain([less]) {
            if through(pager, text)? {
                return Ok(Exit::Done);
            }
        }
    }
    print(text)
}

/// Shows a text with a pager; returns `false` where there is no such program.
fn through(mut pager: Command, text: &str) -> Result<bool, Failure> {
    let failure = |error| Failure::new(error, Exit::Io);
    // Ctrl-C belongs to the pager, which uses it to end a search: this process must outlive it, or the shell and the pager would read
    // from one terminal.
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failure)?;
    let _entered = runtime.enter();
    let _heard = signal(SignalKind::interrupt()).map_err(failure)?;
    let Ok(mut child) = pager.stdin(Stdio::piped()).spawn() else { return Ok(false) };
    let mut stdin = child.stdin.take().expect("it is piped");
    let written = stdin.write_all(text.as_bytes());
    drop(stdin);
    let status = child.wait().map_err(failure)?;
    // The codes with which a shell says that it found no program, or none that it may run.
    let is_missing = matches!(status.code(), Some(126 | 127));
    match written {
        // A pager that was quit before the end has shown what was wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failure(error)),
        _ => Ok(!is_missing),
    }
}

/// Returns riverbed(1): one page for the whole command, with a section for each subcommand.
fn man() -> String {
    let mut command = Cli::command();
    command.build();
    let about = Man::new(command.clone()).manual("User Commands");
    let mut page = Vec::new();
    about
        .render_title(&mut page)
        .and_then(|()| about.render_name_section(&mut page))
        .and_then(|()| about.render_synopsis_section(&mut page))
        .and_then(|()| about.render_description_section(&mut page))
        .and_then(|()| about.render_options_section(&mut page))
        .expect("memory takes what is written to it");
    let mut page = String::from_utf8_lossy(&page).into_owned();
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        page.push_str(&section(subcommand, "riverbed"));
    }
    page.push_str(&verbatim("SH", "EXAMPLES", EXAMPLES));
    page + &verbatim("SH", "SEE ALSO", &format!("The manual has these chapters:\n\n{}", list()))
}

/// Returns the section of a subcommand, followed by those of its own subcommands.
fn section(command: &clap::Command, parent: &str) -> String {
    let name = format!("{parent} {}", command.get_name());
    // The options of every command are written once, at the beginning of the page.
    let is_common =
        |arg: &clap::Arg| arg.get_id() == "help" || Cli::command().get_arguments().any(|of| of.get_id() == arg.get_id());
    let own = command.clone().display_name(name.clone()).bin_name(name.clone()).disable_help_flag(true);
    let man = Man::new(own.mut_args(|arg| if is_common(&arg) { arg.hide(true) } else { arg }));
    let mut body = Vec::new();
    man.render_description_section(&mut body)
        .and_then(|()| man.render_synopsis_section(&mut body))
        .and_then(|()| man.render_options_section(&mut body))
        .expect("memory takes what is written to it");
    // Each of these is a section of a page by itself; here it is a part of one.
    let mut text = String::from_utf8_lossy(&body).replace(".SH ", ".SS ");
    if let Some(help) = command.get_after_help() {
        text.push_str(&verbatim("SS", "NOTES", &help.to_string()));
    }
    let mut heading = Roff::new();
    heading.control("SH", [name.to_uppercase().as_str()]);
    let mut text = heading.to_roff() + &text;
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        text.push_str(&section(subcommand, &name));
    }
    text
}

/// Returns a section, or a part of one (`SS`), whose lines stay as they are.
fn verbatim(level: &str, heading: &str, text: &str) -> String {
    let mut roff = Roff::new();
    roff.control(level, [heading]).control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_man_page_has_every_command_with_its_own_options() {
        let page = man();
        for subcommand in Cli::command().get_subcommands() {
            let heading = format!(".SH \"RIVERBED {}\"", subcommand.get_name().to_uppercase());
            assert!(page.contains(&heading), "{heading}");
        }
        let section = |name: &str| page.split("\n.SH ").find(|section| section.starts_with(name)).unwrap().to_owned();
        assert!(section("\"RIVERBED RUN\"").contains("rebuild\\-ledger"));
        assert!(!section("\"RIVERBED RUN\"").contains("pipeline.toml unless named"), "it stands once");
        assert!(section("\"RIVERBED FAILED RETRY\"").contains("PATH"));
        assert_eq!(page.matches("\n.TH ").count() + usize::from(page.starts_with(".TH ")), 1);
    }

    #[test]
    fn every_topic_has_a_text_of_its_own() {
        let texts: std::collections::BTreeSet<_> = rows().map(|(name, _)| text(name)).collect();
        assert_eq!(texts.len(), rows().count());
        assert!(texts.iter().all(|text| text.lines().count() > 5));
        assert!(list().lines().all(|line| line.len() <= 80), "{}", list());
    }
}
