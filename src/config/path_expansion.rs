//! Paths as people write them: `~` is the home folder, and what else a shell would expand is an error.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::Config;
use crate::report::Invalid;

/// Returns a path with `~` expanded, if it begins with that and a home folder is known; else as it is.
pub(super) fn expanded(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// Expands `~` in the paths of a configuration under the keys that are `meant`. They are relative to `folder`. Blocks.
///
/// # Errors
/// When one begins as nobody can expand, or may be a folder that an earlier build made under that very name.
pub(super) fn expand(config: &mut Config, folder: &Path, meant: impl Fn(&str) -> bool) -> Result<(), Invalid> {
    let Config { source, sink, ledger, status, .. } = config;
    let optional = [
        ("source.done-dir", &mut source.done_dir),
        ("source.failed-dir", &mut source.failed_dir),
        ("ledger.path", &mut ledger.path),
        ("status.token-file", &mut status.token_file),
    ];
    let optional = optional.into_iter().filter_map(|(key, path)| Some((key, path.as_mut()?)));
    let paths = [("source.path", &mut source.path), ("sink.path", &mut sink.path)].into_iter().chain(optional);
    for (key, path) in paths.filter(|(key, _)| meant(key)) {
        check(key, path, folder)?;
        *path = expanded(std::mem::take(path));
    }
    Ok(())
}

fn check(key: &'static str, path: &Path, folder: &Path) -> Result<(), Invalid> {
    let invalid =
        |problem: String, help: String| Err(Invalid { key, problem: format!("is `{}`, {problem}", path.display()), help });
    let names = || path.components().filter_map(|part| if let Component::Normal(name) = part { name.to_str() } else { None });
    let is_there = |path: &Path| folder.join(path).symlink_metadata().is_ok();
    let first = match path.components().next() {
        Some(Component::Normal(name)) => name.to_str().unwrap_or_default(),
        _ => "",
    };
    if first == "~" {
        return match home() {
            Some(home) if is_there(Path::new("~")) => invalid(
                "which is the home folder, but a folder that is called `~` lies here too".into(),
                format!(
                    "write `{}` for the home folder, or `./{}` for the one that lies here",
                    home.join(path.strip_prefix("~").unwrap_or(path)).display(),
                    path.display()
                ),
            ),
            Some(_) => Ok(()),
            None => invalid("and HOME does not say which folder that is".into(), "write the path in full".into()),
        };
    }
    if first.starts_with('~') && !is_there(Path::new(first)) {
        return invalid(
            format!("and `{first}` is not expanded"),
            format!("write the path in full, or `./{}` for a folder of that name", path.display()),
        );
    }
    let is_variable = |name: &str| name.contains("${") || name.strip_prefix('$').is_some_and(|rest| rest.starts_with(is_letter));
    match names().find(|name| is_variable(name)) {
        // `./$name` is written by who means a folder of that name.
        Some(name) if !is_there(path) && (!first.is_empty() || path.is_absolute()) => {
            invalid(format!("and `{name}` is not expanded"), "write the path in full, or set the key by its variable".into())
        }
        Some(_) | None => Ok(()),
    }
}

fn is_letter(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_'
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home: &OsString| !home.is_empty()).map(PathBuf::from).filter(|home| home.is_absolute())
}
