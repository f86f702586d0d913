//! The embedded store, in memory and in a file.

use std::sync::Arc;

use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_tests::clock::ManualClock;
use dialfleet_tests::sample::T0;
use tempfile::TempDir;

use crate::store::store_conformance;

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(T0))
}

pub(crate) async fn in_memory() -> ((), SqliteStore) {
    ((), SqliteStore::in_memory(clock()).unwrap())
}

pub(crate) async fn in_a_file() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), clock()).unwrap();
    (dir, store)
}

store_conformance!(sqlite_memory, crate::sqlite::in_memory);
store_conformance!(sqlite_file, crate::sqlite::in_a_file);
