//! `riverbed init`: a commented pipeline.toml for AWS.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Failure, print};
use crate::config::{Purpose, template};
use crate::report::Exit;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder to write it to; made if it is not there
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// The folder to follow, as `source.path`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    source: Option<String>,
    /// Where the output goes, as `sink.path`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let path = arguments.dir.join("pipeline.toml");
    let chosen = [("source.path", &arguments.source), ("sink.path", &arguments.output)];
    let chosen = chosen.into_iter().filter_map(|(key, value)| Some((key, toml::Value::from(value.as_deref()?))));
    let chosen: Vec<_> = chosen.collect();
    fs::create_dir_all(&arguments.dir).map_err(|error| Failure::new(error, Exit::Io))?;
    // Never over a file that is there.
    let written = OpenOptions::new().write(true).create_new(true).open(&path);
    match written.and_then(|mut file| file.write_all(template(Purpose::Aws, &chosen).as_bytes())) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!("`{}` is there already", path.display()), Exit::Io)
                .help("move it away, or name another folder"));
        }
        Err(error) => return Err(Failure::new(error, Exit::Io).help("name a folder that you may write to")),
    }
    let left: Vec<_> = ["source.path", "sink.path"].into_iter().filter(|key| chosen.iter().all(|(set, _)| set != key)).collect();
    let set = if left.is_empty() { String::new() } else { format!("set `{}` in it, then ", left.join("` and `")) };
    print(&format!("wrote {path}\nnext: {set}`riverbed check -c {path}` and `riverbed run -c {path}`\n", path = path.display()))
}
