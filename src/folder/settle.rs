//! How long a file must be quiet before it is read: its writer may not be done.

mod settle_delays;
pub(super) mod settler;
pub(super) mod truncated;
pub(super) mod write_lease;
