//! Times one lexical vector: a text of 2,000 characters at 1,024 dimensions. Fails above the mark.
//!
//! `cargo bench --bench lexical`

#![expect(clippy::print_stdout, reason = "the figure is the output")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use riverbed::emulator::lexical_vectors;

const MARK: Duration = Duration::from_micros(150);
const CHARACTERS: usize = 2_000;
const DIMENSIONS: usize = 1_024;
const ROUNDS: usize = 15;
const CALLS_A_ROUND: u32 = 100;

const PARAGRAPH: &str = "Meltwater runs under the ice in summer and makes the glacier slide faster. Crevasses open where \
    the ice flows over a step in the rock, and close again further down. In a warm year the tongue retreats by forty \
    metres; what it leaves behind is a plain of gravel, a lake the colour of milk, and boulders from another valley. ";

fn main() -> ExitCode {
    // Numbered, so that no paragraph is the same as another: repeated words would be cheaper than a real text's.
    let text: String = (1..)
        .flat_map(|number| format!("{number}x{} {PARAGRAPH}", number * 7919).into_bytes())
        .map(char::from)
        .take(CHARACTERS)
        .collect();
    let mut rounds: Vec<Duration> = (0..ROUNDS).map(|_| round(&text)).collect();
    rounds.sort_unstable();
    // The median: other work on the machine makes single rounds slow, and none makes one fast.
    let median = rounds[ROUNDS / 2];
    println!(
        "lexical vector, {CHARACTERS} characters, {DIMENSIONS} dimensions: {median:.1?} (mark {MARK:?}, best {:.1?})",
        rounds[0]
    );
    if median <= MARK { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn round(text: &str) -> Duration {
    let start = Instant::now();
    for _ in 0..CALLS_A_ROUND {
        black_box(lexical_vectors::vector(black_box(text), DIMENSIONS));
    }
    start.elapsed() / CALLS_A_ROUND
}
