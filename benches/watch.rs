//! Whether the source misses, halves or repeats anything: bursts while nobody reads the events, folders made and filled at once,
//! fourteen kinds of writer, a source folder that comes and goes, races with links that lead out, 200,000 files of one folder that are
//! renamed; and what watching costs.
//!
//! Every figure has a mark; one that misses its mark makes the command fail. Needs rsync, and a system that lets its users make
//! namespaces (`unshare -rm`), for mounts and for a daemon without privileges.
//!
//! ```text
//! cargo bench --bench watch                    all cases
//! cargo bench --bench watch -- held writers    some of them: held, folders, writers, root, absent, closed, mounts, races, idle,
//!                                              rescan, renames, some-renames (a tenth of them)
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

#[path = "../tests/it/concurrent_writers.rs"]
mod concurrent_writers;
#[path = "watch/figures.rs"]
mod figures;
#[path = "watch/folders.rs"]
mod folders;
#[path = "watch/held.rs"]
mod held;
#[path = "../tests/it/hostile.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod hostile;
#[path = "watch/known.rs"]
mod known;
#[path = "../tests/it/source/memory.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod memory;
#[path = "watch/process.rs"]
mod process;
#[path = "watch/races.rs"]
mod races;
#[path = "../tests/it/renames.rs"]
mod renames;
#[path = "watch/renames.rs"]
mod renaming;
#[path = "watch/root.rs"]
mod root;
#[path = "watch/source.rs"]
mod source;
#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;
#[path = "watch/written.rs"]
mod written;

use std::pin::Pin;
use std::process::ExitCode;

use figures::Figures;
use tokio::runtime::Runtime;

type Case = for<'a> fn(&'a mut Figures) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

const CASES: [(&str, Case); 12] = [
    ("held", |figures| Box::pin(held::bench(figures))),
    ("folders", |figures| Box::pin(folders::bench(figures))),
    ("writers", |figures| Box::pin(written::bench(figures))),
    ("root", |figures| Box::pin(root::made_anew(figures))),
    ("absent", |figures| Box::pin(root::absent(figures))),
    ("closed", |figures| Box::pin(root::closed(figures))),
    ("mounts", |figures| Box::pin(root::in_a_namespace(figures))),
    ("races", |figures| Box::pin(races::bench(figures))),
    ("renames", |figures| Box::pin(renaming::all(figures))),
    ("some-renames", |figures| Box::pin(renaming::tenth(figures))),
    ("idle", |figures| Box::pin(known::idle(figures))),
    ("rescan", |figures| Box::pin(known::rescan(figures))),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = Runtime::new().expect("a runtime starts");
    match arguments.first().map(String::as_str) {
        // This program again, as a part of a case.
        Some("follow") => {
            runtime.block_on(source::follow_and_tell(&arguments[1..]));
            return ExitCode::SUCCESS;
        }
        Some("mounted") => {
            let mut figures = Figures::default();
            runtime.block_on(root::mounted(&mut figures));
            return figures.verdict();
        }
        _ => {}
    }
    if let Some(unknown) = arguments.iter().find(|name| !CASES.iter().any(|(case, _)| case == name)) {
        println!("there is no case `{unknown}`");
        return ExitCode::FAILURE;
    }
    let mut figures = Figures::default();
    for (name, case) in CASES {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            println!("{name}");
            runtime.block_on(case(&mut figures));
        }
    }
    figures.verdict()
}
