//! The daemon, put together: what a run is made of is opened here in its order, watched over, reloaded and ended.
//!
//! This room and the command line above it are the only ones that know both the configuration and the stages. It writes nothing to a
//! terminal, so that it can be used as a library: it returns what happened, or a [`Failure`].

pub mod failure;
pub(crate) mod process_limits;
pub(crate) mod reload;
pub(crate) mod serve;
pub(crate) mod sighup;
pub(crate) mod spending;
pub mod stall_detector;
pub(crate) mod startup;
pub mod watchdog;

pub use failure::Failure;
pub use stall_detector::Vigil;
pub use watchdog::Supervised;
