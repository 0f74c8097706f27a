//! The daemon killed again and again, with SIGKILL, while documents change under it.
//!
//! After the last kill it finishes, and its output is held line by line to a clean run's. The command fails on any difference, and
//! where some step of the writer was hit too seldom to say anything about it.
//!
//! ```text
//! cargo bench --bench crash                1,000 kills
//! cargo bench --bench crash -- 200 7       as many kills as you like, and another seed
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::collections::BTreeMap;
use std::process::ExitCode;

use driver::Files;
use tokio::runtime::Runtime;

#[path = "../tests/it/crash/driver.rs"]
mod driver;
#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

/// Kills in a step that say something about it.
const ENOUGH: u32 = 5;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let kills = u32::try_from(numbers.next().unwrap_or(1000)).expect("fewer than that");
    let seed: u64 = numbers.next().unwrap_or(1);
    println!("seed {seed}");
    let runtime = Runtime::new().expect("a runtime starts");
    let mut fell: BTreeMap<&str, u32> = BTreeMap::new();
    for (files, kills) in [(Files::Stay, kills - kills / 4), (Files::Move, kills / 4)] {
        let report = runtime.block_on(driver::run(files, kills, seed));
        println!("{report}\n");
        for (step, count) in report.fell {
            *fell.entry(step).or_default() += count;
        }
    }
    let is_seldom = |name: &&str| fell.get(name).is_none_or(|fell| *fell < ENOUGH);
    let seldom: Vec<_> = driver::STEPS.iter().map(|(name, _)| *name).filter(is_seldom).collect();
    if seldom.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("hit fewer than {ENOUGH} times: {}", seldom.join(", "));
    ExitCode::FAILURE
}
