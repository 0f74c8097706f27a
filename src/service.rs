//! Life under systemd: what it is told, what it may expect, and the unit that says so; and what others watch over it with.

pub mod dashboard;
pub mod notify;
pub mod sandbox;
pub mod supervise;
pub mod unit;
pub mod vigil;

pub use notify::Notifier;
pub use supervise::Supervised;
pub use vigil::Vigil;
