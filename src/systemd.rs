//! Life under systemd: notifications, the watchdog and the unit; and what monitoring needs.

pub mod sandbox_check;
pub mod sd_notify;
pub mod unit;

pub use sd_notify::Notifier;
