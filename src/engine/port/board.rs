//! Small facts that the whole fleet shares: who holds which part of a carrier's rate, what a
//! breaker says, how a route does. Each is one document, read whole and written by compare-and-set.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::store::{Answer, Cas};

/// A note on the board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Its name, `kind/subject`.
    #[serde(rename = "_id")]
    pub key: String,
    /// Counts its writes, from 1.
    pub version: u64,
    /// What it says, as JSON text: a note is never searched by its content.
    pub body: String,
}

/// Notes. A lost one costs pace or knowledge, never safety.
#[async_trait]
pub trait BoardStore: Send + Sync {
    /// Reads notes by key; order as given.
    async fn notes(&self, keys: &[String]) -> Answer<Vec<Option<Note>>>;
    /// Every note whose key begins with `prefix`, by key, at most `limit`.
    async fn notes_with(&self, prefix: &str, limit: usize) -> Answer<Vec<Note>>;
    /// Writes notes, each if the stored one still has the version before its own (none, for
    /// version 1); answers in the same order.
    async fn save_notes(&self, notes: &[Note]) -> Answer<Vec<Cas>>;
}
