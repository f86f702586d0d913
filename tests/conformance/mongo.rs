//! The store on a real MongoDB.

use dialfleet_adapters::mongo::MongoStore;
use dialfleet_tests::mongo::Database;

use crate::store::store_conformance;

pub(crate) async fn make() -> (Database, MongoStore) {
    let database = Database::new();
    let store = database.store().await;
    (database, store)
}

store_conformance!(mongodb, crate::mongo::make);
