//! Events of the kernel: where changes are announced, and what is done where they are not.
//!
//! Events are a hint. Nothing here decides that a file is there or was removed: it only says where to look, and when to scan.

mod blocking_jobs;
pub(super) mod event_loop;
pub(super) mod event_queue;
pub(super) mod inotify;
mod lookout;
mod watch_health;
pub(super) mod watch_mode;
