//! A look at one path: what it is, whether the rules let it in, and its content.
//!
//! Nothing here remembers earlier looks but the cache of open folders, and nothing waits.

pub(super) mod dir_cache;
pub(super) mod done_marker;
pub(super) mod file_filter;
pub(super) mod globs;
pub(super) mod inspect;
pub(super) mod read;
pub(super) mod root;
pub(super) mod temp_names;
pub(super) mod verdict;
