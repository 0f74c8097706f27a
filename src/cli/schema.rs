//! `riverbed schema`: JSON Schemas, made from the types that are read and written.

use clap::{Args, ValueEnum};
use schemars::schema_for;

use super::{Failure, print};
use crate::commitlog::line;
use crate::config::Config;
use crate::report::Exit;

#[derive(Debug, Args)]
pub(super) struct SchemaArguments {
    /// What the schema describes
    #[arg(default_value = "vectors")]
    of: Of,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    /// pipeline.toml
    Config,
    /// A line of vectors.jsonl
    Vectors,
    /// A line of answers.jsonl
    Answers,
    /// A line of failed.jsonl
    Failed,
}

pub(super) fn run(arguments: &SchemaArguments) -> Result<Exit, Failure> {
    let schema = match arguments.of {
        Of::Config => schema_for!(Config),
        Of::Vectors => schema_for!(line::Vectors<'_>),
        Of::Answers => schema_for!(line::AnswerLine<'_>),
        Of::Failed => schema_for!(line::Failed<'_>),
    };
    print(&format!("{:#}\n", schema.to_value()))
}
