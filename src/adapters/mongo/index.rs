//! Every collection and index, as data. The unique ones on attempts are the safety argument
//! of the whole system, so a process refuses to start when one is missing or different.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};
use thiserror::Error;

use super::error::{self, Cause};

pub(super) const CAMPAIGNS: &str = "campaigns";
pub(super) const LEADS: &str = "leads";
pub(super) const ATTEMPTS: &str = "attempts";
pub(super) const CALLBACKS: &str = "callbacks";
pub(super) const DO_NOT_CALL: &str = "dnc";
pub(super) const IMPORTS: &str = "imports";
pub(super) const ROW_ERRORS: &str = "row_errors";
pub(super) const WORKERS: &str = "workers";
pub(super) const SETTINGS: &str = "settings";
pub(super) const DUTIES: &str = "duties";
pub(super) const NOTES: &str = "notes";
pub(super) const RECORDINGS: &str = "recordings";
pub(super) const TRANSCRIPTS: &str = "transcripts";

const COLLECTIONS: [&str; 13] = [
    CAMPAIGNS,
    LEADS,
    ATTEMPTS,
    CALLBACKS,
    DO_NOT_CALL,
    IMPORTS,
    ROW_ERRORS,
    WORKERS,
    SETTINGS,
    DUTIES,
    NOTES,
    RECORDINGS,
    TRANSCRIPTS,
];

/// The index every collection has.
pub(super) const ID: &str = "_id_";
/// U1: an attempt exists once.
pub(super) const U1: &str = "u1_lead_n";
/// U2: a slot holds one call.
pub(super) const U2: &str = "u2_campaign_slot";
/// U3: a person gets one call.
pub(super) const U3: &str = "u3_tenant_phone";
/// U4: a carrier's channel holds one call.
pub(super) const U4: &str = "u4_channel";
/// What a campaign's attempts cost.
pub(super) const COST: &str = "cost";
/// What a carrier's attempts cost.
pub(super) const COST_AT_CARRIER: &str = "cost_at_carrier";
/// Attempts whose carrier is to be asked what they cost.
pub(super) const COST_DUE: &str = "cost_due";
/// A campaign has a phone once.
pub(super) const LEAD_PHONE: &str = "u_campaign_phone";
/// Live attempts, by campaign.
pub(super) const ATTEMPTS_LIVE: &str = "live_campaign";

/// An index build on a full collection takes a while.
const BUILD_TIME: Duration = Duration::from_secs(600);
const LIST_TIME: Duration = Duration::from_secs(10);

/// Which documents an index holds.
#[derive(Clone, Copy)]
enum Holds {
    All,
    /// Those that have the (first) field; also says so for the elements of an array.
    Having,
    True(&'static str),
    NotNegative(&'static str),
    Present(&'static str),
    Is(&'static str, &'static str),
}

struct Index {
    collection: &'static str,
    name: &'static str,
    keys: &'static [(&'static str, i32)],
    unique: bool,
    holds: Holds,
}

const fn index(
    collection: &'static str,
    name: &'static str,
    keys: &'static [(&'static str, i32)],
    holds: Holds,
) -> Index {
    Index {
        collection,
        name,
        keys,
        unique: false,
        holds,
    }
}

const fn unique(
    collection: &'static str,
    name: &'static str,
    keys: &'static [(&'static str, i32)],
    holds: Holds,
) -> Index {
    Index {
        collection,
        name,
        keys,
        unique: true,
        holds,
    }
}

/// `slot` and `live` are absent when free: `$exists` would also hold nulls, so it is not used there.
const INDEXES: [Index; 28] = [
    unique(ATTEMPTS, U1, &[("lead", 1), ("n", 1)], Holds::All),
    unique(
        ATTEMPTS,
        U2,
        &[("campaign", 1), ("slot", 1)],
        Holds::NotNegative("slot"),
    ),
    unique(
        ATTEMPTS,
        U3,
        &[("tenant", 1), ("phone", 1)],
        Holds::True("live"),
    ),
    unique(
        ATTEMPTS,
        U4,
        &[("channel.carrier", 1), ("channel.number", 1)],
        Holds::NotNegative("channel.number"),
    ),
    // Both answer by themselves: no document is read for a sum.
    index(
        ATTEMPTS,
        COST,
        &[
            ("campaign", 1),
            ("spend.carrier", 1),
            ("spend.currency", 1),
            ("spend.open", 1),
            ("spend.units", 1),
        ],
        Holds::NotNegative("spend.units"),
    ),
    index(
        ATTEMPTS,
        COST_AT_CARRIER,
        &[
            ("spend.carrier", 1),
            ("intent_at", 1),
            ("spend.currency", 1),
            ("spend.open", 1),
            ("spend.units", 1),
        ],
        Holds::NotNegative("spend.units"),
    ),
    index(
        ATTEMPTS,
        COST_DUE,
        &[("cost_at", 1), ("_id", 1)],
        Holds::Present("cost_at"),
    ),
    index(
        ATTEMPTS,
        "live_check",
        &[("check_at", 1), ("_id", 1)],
        Holds::True("live"),
    ),
    index(
        ATTEMPTS,
        ATTEMPTS_LIVE,
        &[("campaign", 1), ("_id", 1)],
        Holds::True("live"),
    ),
    index(
        ATTEMPTS,
        "todo",
        &[("todo_at", 1), ("_id", 1)],
        Holds::Present("todo_at"),
    ),
    index(ATTEMPTS, "call", &[("legs.call_id", 1)], Holds::Having),
    index(
        ATTEMPTS,
        "tenant_newest",
        &[("tenant", 1), ("intent_at", -1), ("_id", -1)],
        Holds::All,
    ),
    index(
        ATTEMPTS,
        "campaign_newest",
        &[("campaign", 1), ("intent_at", -1), ("_id", -1)],
        Holds::All,
    ),
    unique(
        LEADS,
        LEAD_PHONE,
        &[("campaign", 1), ("phone", 1)],
        Holds::All,
    ),
    index(
        LEADS,
        "claim",
        &[
            ("campaign", 1),
            ("state", 1),
            ("priority", -1),
            ("due_at", 1),
            ("_id", 1),
        ],
        Holds::All,
    ),
    // The outcome makes it cover the counts, too.
    index(
        LEADS,
        "due",
        &[
            ("campaign", 1),
            ("state", 1),
            ("due_at", 1),
            ("last_outcome", 1),
        ],
        Holds::All,
    ),
    index(
        LEADS,
        "claimed",
        &[("state", 1), ("claimed_at", 1), ("_id", 1)],
        Holds::Is("state", "claimed"),
    ),
    index(
        CAMPAIGNS,
        "wake",
        &[("state", 1), ("wake_at", 1)],
        Holds::All,
    ),
    index(
        CAMPAIGNS,
        "tenant_newest",
        &[("tenant", 1), ("created_at", -1), ("_id", -1)],
        Holds::All,
    ),
    index(
        IMPORTS,
        "campaign_newest",
        &[("campaign", 1), ("created_at", -1), ("_id", -1)],
        Holds::All,
    ),
    index(
        IMPORTS,
        "campaign_state",
        &[("campaign", 1), ("state", 1)],
        Holds::All,
    ),
    unique(
        ROW_ERRORS,
        "u_import_line",
        &[("import", 1), ("line", 1)],
        Holds::All,
    ),
    index(CALLBACKS, "received", &[("received_at", 1)], Holds::All),
    index(WORKERS, "beat", &[("beat_at", 1)], Holds::All),
    index(
        RECORDINGS,
        "due",
        &[("check_at", 1), ("_id", 1)],
        Holds::Present("check_at"),
    ),
    index(
        RECORDINGS,
        "tenant_newest",
        &[("tenant", 1), ("announced_at", -1), ("_id", -1)],
        Holds::All,
    ),
    index(RECORDINGS, "attempt", &[("attempt", 1)], Holds::All),
    index(
        TRANSCRIPTS,
        "said",
        &[("tenant", 1), ("words", 1), ("at", -1), ("_id", -1)],
        Holds::All,
    ),
];

/// Why the collections and indexes are not as they must be.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// The database cannot be asked.
    #[error("the database cannot be asked for its indexes")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An index cannot be built: another one with its name differs, or existing documents violate it.
    #[error(
        "the indexes of collection {collection} cannot be built: drop what differs from them and migrate again"
    )]
    Refused {
        /// Which collection.
        collection: &'static str,
        /// What the server says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Indexes are missing or different. Without the unique ones a person may be rung twice; the
    /// others are named in queries, which fail without them.
    #[error("run `dialfleet migrate`: {}", .0.join("; "))]
    Wrong(Vec<String>),
}

impl Index {
    fn keys(&self) -> Document {
        self.keys
            .iter()
            .map(|&(field, way)| (field.to_owned(), Bson::Int32(way)))
            .collect()
    }

    fn partial(&self) -> Option<Document> {
        match self.holds {
            Holds::All | Holds::Having => None,
            Holds::True(field) => Some(doc! { field: true }),
            Holds::NotNegative(field) => Some(doc! { field: { "$gte": 0 } }),
            Holds::Present(field) => Some(doc! { field: { "$exists": true } }),
            Holds::Is(field, value) => Some(doc! { field: value }),
        }
    }

    fn model(&self) -> IndexModel {
        let mut options = IndexOptions::default();
        options.name = Some(self.name.to_owned());
        options.unique = self.unique.then_some(true);
        options.sparse = matches!(self.holds, Holds::Having).then_some(true);
        options.partial_filter_expression = self.partial();
        IndexModel::builder()
            .keys(self.keys())
            .options(options)
            .build()
    }

    /// What is wrong with `found` (the collection's indexes) for this one, if anything.
    fn complaint(&self, found: &[IndexModel]) -> Option<String> {
        let name = |model: &IndexModel| model.options.as_ref().and_then(|o| o.name.clone());
        let Some(model) = found.iter().find(|m| name(m).as_deref() == Some(self.name)) else {
            return Some(format!("{}.{} is missing", self.collection, self.name));
        };
        let options = model.options.clone().unwrap_or_default();
        let same = same_numbers(&model.keys, &self.keys())
            && options.unique.unwrap_or(false) == self.unique
            && options.sparse.unwrap_or(false) == matches!(self.holds, Holds::Having)
            && options.partial_filter_expression == self.partial();
        (!same).then(|| format!("{}.{} is different", self.collection, self.name))
    }
}

/// Keys made by another client may be written `1.0`.
fn same_numbers(a: &Document, b: &Document) -> bool {
    let number = |value: &Bson| match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Double(n) => Some(*n),
        _ => None,
    };
    a.len() == b.len()
        && a.iter().zip(b).all(|((ak, av), (bk, bv))| {
            ak == bk && number(av).is_some() && number(av) == number(bv)
        })
}

/// Creates what is missing; changes nothing that exists.
pub(super) async fn create(db: &Database) -> Result<(), SchemaError> {
    try_join_all(COLLECTIONS.map(|collection| create_one(db, collection))).await?;
    Ok(())
}

async fn create_one(db: &Database, collection: &'static str) -> Result<(), SchemaError> {
    let models: Vec<_> = INDEXES
        .iter()
        .filter(|i| i.collection == collection)
        .map(Index::model)
        .collect();
    let built = if models.is_empty() {
        within(LIST_TIME, db.create_collection(collection)).await?
    } else {
        // Makes the collection, too.
        let collection = db.collection::<Document>(collection);
        let built = within(BUILD_TIME, collection.create_indexes(models)).await?;
        built.map(drop)
    };
    let Err(e) = built else {
        return Ok(());
    };
    let source = Cause::boxed(&e);
    match error::command_code(&e) {
        Some(error::NAMESPACE_EXISTS) => Ok(()),
        Some(_) => Err(SchemaError::Refused { collection, source }),
        None => Err(SchemaError::Unavailable(source)),
    }
}

/// Whether every index is there, as declared.
pub(super) async fn check(db: &Database) -> Result<(), SchemaError> {
    let complaints = try_join_all(COLLECTIONS.map(|collection| check_one(db, collection))).await?;
    let complaints: Vec<_> = complaints.into_iter().flatten().collect();
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(SchemaError::Wrong(complaints))
    }
}

async fn check_one(db: &Database, collection: &'static str) -> Result<Vec<String>, SchemaError> {
    let listed = within(LIST_TIME, async {
        let indexes = db.collection::<Document>(collection).list_indexes().await?;
        indexes.try_collect::<Vec<_>>().await
    })
    .await?;
    let found = match listed {
        Ok(found) => found,
        Err(e) if error::command_code(&e) == Some(error::NAMESPACE_NOT_FOUND) => Vec::new(),
        Err(e) => return Err(SchemaError::Unavailable(Cause::boxed(&e))),
    };
    let mine = INDEXES.iter().filter(|i| i.collection == collection);
    Ok(mine.filter_map(|index| index.complaint(&found)).collect())
}

async fn within<T, F>(time: Duration, work: F) -> Result<mongodb::error::Result<T>, SchemaError>
where
    F: IntoFuture<Output = mongodb::error::Result<T>, IntoFuture: Send>,
{
    tokio::time::timeout(time, work.into_future())
        .await
        .map_err(|_| SchemaError::Unavailable(Box::new(Cause("no answer in time".to_owned()))))
}
