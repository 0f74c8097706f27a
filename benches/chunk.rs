//! How fast the chunker is, on prose, on Markdown and on text without boundaries; and how much memory 60 MB take.
//!
//! Ends with 1 if it is slower than the marks, which leave a slow machine room.
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

use std::fs;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Instant;

use riverbed::chunk::{ChunkConfig, split};
use riverbed::domain::{Format, Limits, TokenCount};

const MEGABYTE: usize = 1_000_000;

/// Name, format, how to make the text, and the least MB/s.
type Case = (&'static str, Format, fn() -> String, u32);

const CASES: [Case; 12] = [
    ("prose", Format::Text, || prose(60 * MEGABYTE), 20),
    ("Markdown", Format::Markdown, || markdown(60 * MEGABYTE), 10),
    ("one paragraph", Format::Text, || prose(10 * MEGABYTE).replace("\n\n", " "), 5),
    ("one list", Format::Markdown, || "- an item, and what it says\n".repeat(100_000), 5),
    ("letters without a break", Format::Text, || "a".repeat(4 * MEGABYTE), 1),
    ("base64", Format::Text, || base64(4 * MEGABYTE), 1),
    ("Chinese", Format::Text, || "天地玄黄宇宙洪荒日月盈昃辰宿列张".repeat(MEGABYTE / 12), 1),
    ("flags", Format::Text, || "🇩🇪🇫🇷".repeat(MEGABYTE / 16), 1),
    ("a stop, then brackets", Format::Text, || format!("a.{}", ")".repeat(MEGABYTE)), 1),
    ("a stop, then white space", Format::Text, || format!("a.{}b", " ".repeat(MEGABYTE)), 1),
    ("marks on one letter", Format::Text, || format!("a{}", "\u{301}".repeat(MEGABYTE / 2)), 1),
    ("quotes in quotes", Format::Markdown, || format!("{}text", "> ".repeat(MEGABYTE / 8)), 1),
];

fn main() -> ExitCode {
    let config = ChunkConfig::default();
    let mut all_fast = true;
    println!("{:26} {:>8} {:>8} {:>8} {:>6}   peak memory so far", "", "MB/s", "at least", "chunks", "fill");
    for (name, format, text, mark) in CASES {
        let text = text();
        let start = Instant::now();
        let chunks = split(&text, format, &config, &limits());
        let speed = text.len() as f64 / MEGABYTE as f64 / start.elapsed().as_secs_f64();
        let tokens: TokenCount = chunks.iter().map(|chunk| chunk.tokens).sum();
        let fill = tokens.get() as f64 / chunks.len() as f64 / f64::from(config.max_tokens.get());
        println!("{name:26} {speed:>8.1} {mark:>8} {:>8} {fill:>6.2}   {}", chunks.len(), peak_memory());
        all_fast &= speed >= f64::from(mark);
    }
    if all_fast { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn limits() -> Limits {
    Limits {
        texts_per_call: NonZeroUsize::MIN,
        characters_per_text: NonZeroUsize::new(50_000).expect("it is not 0"),
        tokens_per_text: TokenCount::new(8192),
        tokens_per_call: TokenCount::new(8192),
        bytes_per_call: NonZeroUsize::MAX,
    }
}

/// Returns the process's high-water mark, where the system tells it.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(|| "unknown".to_owned(), |peak| peak.trim().to_owned())
}

/// Returns numbers without a pattern, always the same (`SplitMix64`).
fn dice() -> impl Iterator<Item = u64> {
    let mut state = 0_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn push_word(text: &mut String, number: u64) {
    for letter in 0..2 + number % 7 {
        text.push(char::from(b'a' + u8::try_from((number >> (8 + 5 * letter)) % 26).unwrap_or_default()));
    }
}

/// Sentences of about 10 words in paragraphs of about 8 sentences, wrapped.
fn prose(length: usize) -> String {
    let mut text = String::with_capacity(length + 100);
    for number in dice() {
        push_word(&mut text, number);
        text += match number >> 52 {
            0..50 => ".\n\n",
            50..400 => ". ",
            400..700 => "\n",
            _ => " ",
        };
        if text.len() >= length {
            break;
        }
    }
    text
}

/// Prose with a heading, a list, a code block and a table now and then.
fn markdown(length: usize) -> String {
    let mut text = String::with_capacity(length + 1000);
    for (paragraph, number) in prose(length / 2).split("\n\n").zip(dice()) {
        match number % 8 {
            0 => text += "## A heading *with* emphasis\n\n",
            1 => text += "- an item\n- another, with `code`\n\n  and a paragraph\n\n",
            2 => text += "```rust\nfn main() {\n    work();\n}\n```\n\n",
            3 => text += "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\n",
            _ => {}
        }
        text += paragraph;
        text += "\n\n";
    }
    text
}

fn base64(length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    dice().take(length).map(|number| char::from(ALPHABET[usize::try_from(number % 64).unwrap_or_default()])).collect()
}
