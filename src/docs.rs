//! The manual. Rustdoc shows its chapters here and `riverbed docs` prints them, from the same files.
//!
//! A chapter is one file in `src/docs` and one row below. `riverbed docs config` adds the keys of the configuration, from their types.

/// A chapter of the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chapter {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it is about, in one line.
    pub summary: &'static str,
    /// Its text, in Markdown that is readable as it is: no line is wider than a terminal of 80 columns.
    pub text: &'static str,
}

macro_rules! chapters {
    ($($name:ident: $summary:literal,)*) => {
        $(
            #[doc = include_str!(concat!("docs/", stringify!($name), ".md"))]
            pub mod $name {}
        )*

        /// The chapters, in the order in which they are best read.
        pub const CHAPTERS: &[Chapter] = &[
            $(Chapter {
                name: stringify!($name),
                summary: $summary,
                text: include_str!(concat!("docs/", stringify!($name), ".md")),
            },)*
        ];
    };
}

chapters! {
    aws: "credentials, permissions, models, endpoints",
    files: "which files are documents, and when they are read",
    chunks: "how documents are cut",
    output: "the lines, their fields, and how to read them",
    config: "every key, with its default and its unit",
    operations: "start, stop, systemd, the Debian package, exit codes",
    monitoring: "status, the page, metrics, alerts",
    reload: "a new configuration without a restart",
    failures: "retries, outages, refusals, full disks",
    recovery: "crashes, the ledger, sealed files, verify",
    cost: "prices, budgets, and what a run would cost",
    chat: "prompts beside the vectors, contexts, chat files",
    emulator: "Bedrock's API without an account, for any client",
    performance: "what the benches promise, and how to run them",
    architecture: "the rooms of the source, and the way of a document",
    bounds: "every limit in the code, with its place",
}
