//! Databases of one's own on the real MongoDB.

use dialfleet_adapters::mongo::MongoStore;
use dialfleet_runtime::clock::fill_random;

use crate::fleet::service;

/// A database that is there for one test and dropped after it, failed or not.
pub struct Database {
    uri: String,
    name: String,
}

impl Database {
    /// A name that nobody has, on the server that `MONGODB_URI` names.
    ///
    /// # Panics
    /// `MONGODB_URI` is not set.
    #[must_use]
    pub fn new() -> Self {
        let mut random = [0; 8];
        fill_random(&mut random);
        let name = format!("test_{:016x}", u64::from_le_bytes(random));
        Self {
            uri: on_database(&service("MONGODB_URI"), &name),
            name,
        }
    }

    /// The URI, with the database in it.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store in it, migrated and empty.
    ///
    /// # Panics
    /// MongoDB cannot be used.
    pub async fn store(&self) -> MongoStore {
        let store = self.connect().await;
        store
            .migrate()
            .await
            .expect("a new database can be migrated");
        store
    }

    /// The store in it, as it is.
    ///
    /// # Panics
    /// MongoDB cannot be used.
    pub async fn connect(&self) -> MongoStore {
        MongoStore::connect(&self.uri, "dialfleet-tests")
            .await
            .expect("MONGODB_URI names a replica set")
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test's runtime cannot be waited on from inside it. What cannot be dropped is only litter.
        let uri = self.uri.clone();
        let drops = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    if let Ok(store) = MongoStore::connect(&uri, "dialfleet-tests").await {
                        let _ = store.destroy_for_tests().await;
                    }
                });
            }
        });
        let _ = drops.join();
    }
}

/// `uri` with another database.
fn on_database(uri: &str, name: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a URI has a scheme");
    let (rest, query) = rest
        .split_once('?')
        .map_or((rest, String::new()), |(rest, query)| {
            (rest, format!("?{query}"))
        });
    let hosts = rest.split_once('/').map_or(rest, |(hosts, _)| hosts);
    format!("{scheme}://{hosts}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_the_path() {
        for uri in [
            "mongodb://u:p@a:1,b:2",
            "mongodb://u:p@a:1,b:2/",
            "mongodb://u:p@a:1,b:2/other",
        ] {
            assert_eq!(on_database(uri, "x"), "mongodb://u:p@a:1,b:2/x");
            assert_eq!(
                on_database(&format!("{uri}?replicaSet=r"), "x"),
                "mongodb://u:p@a:1,b:2/x?replicaSet=r"
            );
        }
    }
}
