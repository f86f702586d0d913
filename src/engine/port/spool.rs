//! What a process keeps by itself while nobody else takes it.

use crate::port::store::DoNotCall;

/// A place for opt-outs that neither the store nor the broker takes.
pub trait Spool: Send + Sync {
    /// Keeps an entry durably.
    ///
    /// # Errors
    /// It could not be kept.
    fn add(&self, entry: &DoNotCall) -> std::io::Result<()>;
    /// What an earlier process left, and what was added.
    ///
    /// # Errors
    /// It cannot be read: nobody knows who must not be called.
    fn left(&self) -> std::io::Result<Vec<DoNotCall>>;
    /// Forgets everything.
    fn clear(&self);
}
