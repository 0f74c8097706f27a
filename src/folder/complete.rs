//! The end of a file whose document is done: kept, moved or deleted, as `on-done` and `on-failed` say.

pub(super) mod completed;
mod destination;
mod names;
mod take;
