//! Life under systemd: notifications, the watchdog and the unit; and what monitoring needs.

pub mod dashboard;
pub mod notify;
pub mod sandbox;
pub mod supervise;
pub mod unit;
pub mod vigil;

pub use notify::Notifier;
pub use supervise::Supervised;
pub use vigil::Vigil;
