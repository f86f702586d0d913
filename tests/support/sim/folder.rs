//! A place's disk: what a process keeps there is found by the next one at that place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dialfleet_engine::port::spool::Spool;
use dialfleet_engine::port::store::DoNotCall;

/// The opt-outs in one folder.
#[derive(Default)]
pub(super) struct Folder(Mutex<Vec<DoNotCall>>);

impl Folder {
    fn entries(&self) -> MutexGuard<'_, Vec<DoNotCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool for Folder {
    fn add(&self, entry: &DoNotCall) -> std::io::Result<()> {
        self.entries().push(entry.clone());
        Ok(())
    }

    fn left(&self) -> std::io::Result<Vec<DoNotCall>> {
        Ok(self.entries().clone())
    }

    fn clear(&self) {
        self.entries().clear();
    }
}

/// The folders of all places.
#[derive(Default)]
pub(super) struct Folders(Mutex<BTreeMap<String, Arc<Folder>>>);

impl Folders {
    /// The folder of the place where `who` works.
    pub(super) fn of(&self, who: &str) -> Arc<Folder> {
        let place = who.split('.').next().unwrap_or(who);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(place.to_owned()).or_default())
    }
}
