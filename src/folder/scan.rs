//! Scans: walks the folder, holds what is there against what is known, and sends the difference.

#[cfg(test)]
pub(super) mod fixture;
pub(super) mod follow;
mod known_files_cursor;
pub(super) mod log_once;
pub(super) mod once;
pub(super) mod recently_sent;
pub(super) mod reconcile;
pub(super) mod scan_scope;
pub(super) mod walk;
