//! Stored documents that do not have their shape. Lists leave them out, so that one bad document
//! blocks nobody; here they are remembered until the engine raises the alarm.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dialfleet_domain::id::masked;
use dialfleet_engine::port::store::{StoreError, Unreadable as Found};
use thiserror::Error;

/// How many are remembered: enough to see what is wrong.
const MOST: usize = 100;

/// What is wrong with a document, without the numbers in it.
#[derive(Debug, Error)]
#[error("{0}")]
struct Why(String);

/// The error for whoever asked for a document by its id.
pub(crate) fn corrupt(what: &'static str, id: &str, why: &str) -> StoreError {
    StoreError::Corrupt {
        what,
        id: masked(id),
        source: Box::new(Why(masked(why))),
    }
}

/// The unreadable documents of one store.
#[derive(Debug, Default)]
pub(crate) struct Unreadable(Mutex<BTreeMap<(&'static str, String), String>>);

impl Unreadable {
    /// Remembers the document of an error, if it is about one.
    pub(crate) fn remember(&self, error: &StoreError) {
        let StoreError::Corrupt { what, id, source } = error else {
            return;
        };
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < MOST {
            found.insert((what, id.clone()), source.to_string());
        }
    }

    /// What could be read; the rest is remembered and left out.
    pub(crate) fn readable<T>(&self, read: impl Iterator<Item = Result<T, StoreError>>) -> Vec<T> {
        read.filter_map(|item| item.map_err(|error| self.remember(&error)).ok())
            .collect()
    }

    /// Those since the last time.
    pub(crate) fn take(&self) -> Vec<Found> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *found)
            .into_iter()
            .map(|((what, id), why)| Found { what, id, why })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_without_numbers() {
        let found = Unreadable::default();
        let error = corrupt("lead", "cmp_1:+442079460119", "bad value \"+442079460119\"");
        assert_eq!(
            error.to_string(),
            "the stored lead cmp_1:+442***119 cannot be read"
        );
        found.remember(&error);
        found.remember(&error);
        found.remember(&StoreError::BadCursor);
        let told = found.take();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].why, "bad value \"+442***119\"");
        assert_eq!(found.take(), []);
    }
}
