//! A setting that is read while it may be changed.

use std::sync::{Arc, PoisonError, RwLock};

/// A setting that can be changed while others work with it. A reader keeps the value that it read for as long as it is needed, so that
/// nothing changes under its hands.
#[derive(Debug, Default)]
pub struct Setting<T>(RwLock<Arc<T>>);

impl<T> Setting<T> {
    /// Makes a setting.
    #[must_use]
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Self(RwLock::new(value.into()))
    }

    /// Returns it as it is now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it for all who read it from now on.
    pub fn set(&self, value: impl Into<Arc<T>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value.into();
    }
}
