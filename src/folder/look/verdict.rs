//! The source's decision about one path, for `explain`.

use std::io;

use super::file_filter::{Rules, Taken};
use super::root::Root;
use crate::domain::{DocumentPath, Observation};
use crate::folder::SourceConfig;
use crate::folder::scan::log_once::Skip;

/// What lies under a path, as the source takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Absent,
    /// A file that is taken.
    Document(Observation),
    /// A file that fails because it is too large.
    TooLarge(Observation),
    /// A folder in which documents may lie.
    Folder,
    /// Something that is ignored, for this reason.
    Passed(&'static str),
}

/// Returns what the source makes of a path now. Blocks.
///
/// # Errors
/// When the source folder, or the way to the path, cannot be looked at.
pub fn verdict(config: &SourceConfig, path: &DocumentPath) -> io::Result<Verdict> {
    let root = Root::open(&config.path)?.with(config.symlinks);
    let rules = Rules::new(config);
    rules.refresh(&root);
    Ok(match rules.seek(&root, path)? {
        None => Verdict::Absent,
        Some(Taken::Folder) => Verdict::Folder,
        Some(Taken::Document(seen, _)) if seen.size > config.max_file_size.as_u64() => Verdict::TooLarge(seen),
        Some(Taken::Document(seen, _)) => Verdict::Document(seen),
        Some(Taken::Nothing(why)) => Verdict::Passed(match why {
            Skip::Temporary => "hidden, or a name that programs and systems give to files of their own or to unfinished ones",
            Skip::NotRegular => "not a regular file",
            Skip::Link => "a symbolic link, and `source.symlinks` ignores those",
            Skip::LinkToFolder => "a symbolic link to a folder",
            Skip::LinkOutside => "a symbolic link out of the source folder",
            Skip::LinkNowhere => "a symbolic link that leads nowhere",
            Skip::Excluded => "left out by `source.include`, `source.exclude` or `.riverbedignore`",
            Skip::Below => "in a folder below, and `source.recursive` is off",
            Skip::Marker => "the marker of another file",
            Skip::Unmarked => "waiting for its marker (`source.marker`)",
        }),
    })
}
