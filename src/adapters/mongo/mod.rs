//! The store on MongoDB: a replica set, server 6.0 or newer.
//!
//! Every write waits for a majority and every read is a majority read from the primary, so that
//! what one process was told another one sees. The invariants live in unique indexes (`index.rs`);
//! everything that changes a document is a compare-and-set on that one document, and there are no
//! transactions. Nothing here retries by itself: the driver repeats a single write once under its
//! own number, and whatever is unclear after that is said to be unclear.
//!
//! What many ask at once goes out in one command (`gather.rs`). `write.rs` has the two shapes every
//! batch takes: an unordered insert with an answer per document, and a bulk compare-and-set with an
//! answer per document.

mod attempt;
mod board;
mod campaign;
mod claim;
mod cost;
mod error;
mod gather;
mod index;
mod lead;
mod page;
mod read;
mod record;
mod recording;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::lead::Lead;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Answer, Callback, Heartbeat, StoreError};
use mongodb::options::{
    ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database};
use thiserror::Error;

use self::error::Cause;
use self::gather::Together;
pub use self::index::SchemaError;
use crate::unreadable::{Unreadable, corrupt};

/// The database, when the URI names none.
const DEFAULT_DATABASE: &str = "dialfleet";
/// Server 6.0 as the wire protocol counts.
const OLDEST_WIRE_VERSION: i32 = 17;

/// How long the server waits for a majority.
const MAJORITY_TIME: Duration = Duration::from_secs(5);
/// A write takes no longer; a little more than [`MAJORITY_TIME`], so that the server may say first.
const WRITE_TIME: Duration = Duration::from_secs(6);
/// A read of named documents takes no longer.
const READ_TIME: Duration = Duration::from_secs(5);
/// A list takes no longer.
const LIST_TIME: Duration = Duration::from_secs(10);
/// A sign of life takes no longer.
const PING_TIME: Duration = Duration::from_secs(1);

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The URI is not one, or a host in it is unknown.
    #[error("the MongoDB URI cannot be used")]
    BadUri(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nobody answers, or not as MongoDB does.
    #[error("MongoDB cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A single server has no majority writes: it loses what it acknowledged.
    #[error("this MongoDB is not a replica set; one member is enough, but start it with --replSet")]
    Standalone,
    /// Older than 6.0.
    #[error("this MongoDB is older than 6.0 (its wire version is {0})")]
    TooOld(i32),
}

/// The store on MongoDB. A clone is the same store.
#[derive(Debug, Clone)]
pub struct MongoStore {
    db: Database,
    campaigns: Collection<Campaign>,
    leads: Collection<Lead>,
    attempts: Collection<Attempt>,
    callbacks: Collection<Callback>,
    workers: Collection<Heartbeat>,
    unreadable: Arc<Unreadable>,
    together: Arc<Together>,
}

impl MongoStore {
    /// Connects; `app_name` shows up in the server's logs. The database is the one in `uri`, or
    /// `dialfleet`. Creates nothing: see [`Self::migrate`].
    ///
    /// # Errors
    /// The URI is bad, nobody answers within a few seconds, or the server is a single one or too old.
    pub async fn connect(uri: &str, app_name: &str) -> Result<Self, ConnectError> {
        let mut options = ClientOptions::parse(uri)
            .await
            .map_err(|e| ConnectError::BadUri(Cause::boxed(&e)))?;
        options.app_name = Some(app_name.to_owned());
        // Every promise of this module rests on these five; a URI cannot weaken them.
        options.write_concern = Some(
            WriteConcern::builder()
                .w(mongodb::options::Acknowledgment::Majority)
                .w_timeout(MAJORITY_TIME)
                .build(),
        );
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.retry_writes = Some(true);
        options.retry_reads = Some(true);
        // The default of 30 s outlives the 10 s that a stopping process has.
        options.server_selection_timeout = Some(Duration::from_secs(3));
        options
            .connect_timeout
            .get_or_insert(Duration::from_secs(2));
        options.max_pool_size.get_or_insert(64);
        let database = options
            .default_database
            .clone()
            .unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let client =
            Client::with_options(options).map_err(|e| ConnectError::BadUri(Cause::boxed(&e)))?;
        let db = client.database(&database);

        let hello = hello(&db).await.map_err(|e| match e {
            StoreError::Unavailable(source)
            | StoreError::Unclear(source)
            | StoreError::Corrupt { source, .. } => ConnectError::Unreachable(source),
            StoreError::NoRoom(why) | StoreError::Refused(why) => {
                ConnectError::Unreachable(why.into())
            }
            StoreError::BadCursor => ConnectError::Unreachable(Box::new(e)),
        })?;
        if !hello.contains_key("setName") {
            return Err(ConnectError::Standalone);
        }
        let wire = hello.get_i32("maxWireVersion").unwrap_or(0);
        if wire < OLDEST_WIRE_VERSION {
            return Err(ConnectError::TooOld(wire));
        }
        Ok(Self {
            campaigns: db.collection(index::CAMPAIGNS),
            leads: db.collection(index::LEADS),
            attempts: db.collection(index::ATTEMPTS),
            callbacks: db.collection(index::CALLBACKS),
            workers: db.collection(index::WORKERS),
            unreadable: Arc::default(),
            together: Arc::default(),
            db,
        })
    }

    /// Creates the collections and indexes that are missing. May be run by many at once.
    ///
    /// # Errors
    /// The server cannot be reached, or an index exists in another form.
    pub async fn migrate(&self) -> Result<(), SchemaError> {
        index::create(&self.db).await
    }

    /// Refuses to go on unless every index is as declared: without the unique ones a person may be
    /// rung twice.
    ///
    /// # Errors
    /// The server cannot be reached, or an index is missing or different; the error names each.
    pub async fn check_indexes(&self) -> Result<(), SchemaError> {
        index::check(&self.db).await
    }

    /// Drops the whole database. For tests, which make one each.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn destroy_for_tests(&self) -> Answer<()> {
        write::within(self.db.drop()).await
    }

    /// Makes a document unreadable. For tests.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn spoil_for_tests(&self, collection: &str, id: &str, field: &str) -> Answer<()> {
        let set = doc! { "$set": { field: 7 } };
        write::within(
            self.documents(collection)
                .update_one(doc! { "_id": id }, set),
        )
        .await
        .map(drop)
    }

    fn documents(&self, collection: &str) -> Collection<Document> {
        self.db.collection(collection)
    }
}

async fn hello(db: &Database) -> Answer<Document> {
    read::within(READ_TIME, "server", db.run_command(doc! { "hello": 1 })).await
}

async fn server_time(db: &Database) -> Answer<Timestamp> {
    let hello = hello(db).await?;
    match hello.get_datetime("localTime") {
        Ok(at) => Ok(Timestamp::from_millis(at.timestamp_millis())),
        Err(e) => Err(corrupt("server time", "now", &e.to_string())),
    }
}
