//! `riverbed init`: a commented pipeline.toml for AWS.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{self, Path, PathBuf};

use clap::{Args, ValueHint};

use super::{FILE, Failure, Global, print};
use crate::config::{Purpose, template};
use crate::report::Exit;

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// Folder for the file; created if missing
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
}

pub(super) fn run(arguments: &InitArguments, global: &Global) -> Result<Exit, Failure> {
    let path = arguments.dir.join(FILE);
    let mut chosen = Vec::new();
    for (flag, key, folder) in [("--source", "source.path", &global.source), ("--output", "sink.path", &global.output)] {
        if let Some(folder) = folder {
            chosen.push((key, toml::Value::from(written(folder, &arguments.dir, flag)?)));
        }
    }
    fs::create_dir_all(&arguments.dir).map_err(|error| Failure::new(error, Exit::Io))?;
    // Never over a file that is there.
    let written = OpenOptions::new().write(true).create_new(true).open(&path);
    match written.and_then(|mut file| file.write_all(template(Purpose::Aws, &chosen).as_bytes())) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(format!("`{}` already exists", path.display()), Exit::Io)
                .help("move it away, or name another folder"));
        }
        Err(error) => return Err(Failure::new(error, Exit::Io).help("name a folder that you may write to")),
    }
    let left: Vec<_> = ["source.path", "sink.path"].into_iter().filter(|key| chosen.iter().all(|(set, _)| set != key)).collect();
    let set = if left.is_empty() { String::new() } else { format!("set `{}` in it, then ", left.join("` and `")) };
    let mut said = format!("wrote {}\n", path.display());
    for (key, folder) in &chosen {
        let _infallible = writeln!(said, "  {key} = {folder}");
    }
    print(&format!("{said}next: {set}`riverbed check -c {path}` and `riverbed run -c {path}`\n", path = path.display()))
}

/// Returns how a folder is written in a file: flags go by the working directory, the file by its own folder.
fn written(folder: &Path, dir: &Path, flag: &str) -> Result<String, Failure> {
    let whole = |path: &Path| path::absolute(path).map_err(|error| Failure::new(error, Exit::Io));
    // A path that means the same in both is left as it was typed.
    let means = if whole(dir)? == whole(Path::new("."))? { folder.to_owned() } else { whole(folder)? };
    means.into_os_string().into_string().map_err(|path| {
        let said = format!("`{flag} {}` is no UTF-8, as all in a configuration file is", path.display());
        Failure::new(said, Exit::Usage).help("name the folder otherwise, or a link that leads to it")
    })
}
