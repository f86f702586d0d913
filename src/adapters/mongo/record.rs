//! Everything else: evidence, do-not-call lists, imports, processes, keys, duties.

use std::collections::HashSet;

use async_trait::async_trait;
use bson::{Document, doc};
use dialfleet_domain::id::{CampaignId, ImportId, TenantId, WorkerId};
use dialfleet_domain::import::{Import, ImportState, RowError, Tally};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{
    Answer, Callback, Cas, DoNotCall, Heartbeat, Inserted, MacKey, RecordStore, StoreError,
    Unreadable,
};
use mongodb::options::{FindOptions, ReturnDocument};
use serde::Deserialize;

use super::error::{self, Cause};
use super::index::{CALLBACKS, DO_NOT_CALL, DUTIES, IMPORTS, ROW_ERRORS, SETTINGS};
use super::read::{self, List};
use super::write::{self, Change, CompareAndSet, int};
use super::{MongoStore, PING_TIME, server_time};
use crate::unreadable::corrupt;

const IMPORT: &str = "import";
/// The one document that holds every key: "none yet" is a question about one document.
const MAC_KEYS: &str = "mac_keys";

#[async_trait]
impl RecordStore for MongoStore {
    async fn insert_callbacks(&self, callbacks: &[Callback]) -> Answer<Vec<Inserted>> {
        self.together.callbacks.ask(self, callbacks).await
    }

    async fn delete_callbacks(&self, before: Timestamp, limit: usize) -> Answer<u64> {
        let callbacks = self.documents(CALLBACKS);
        let old = doc! { "received_at": { "$lt": before.millis() } };
        if limit == 0 {
            return Ok(0);
        }
        let options = FindOptions::builder()
            .sort(doc! { "received_at": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .projection(doc! { "_id": 1 })
            .build();
        let found: Vec<Document> = read::all(
            &self.unreadable,
            &callbacks,
            "callback",
            old.clone(),
            options,
        )
        .await?;
        let ids: Vec<_> = found
            .into_iter()
            .filter_map(|mut callback| callback.remove("_id"))
            .collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let mut these = old;
        these.insert("_id", doc! { "$in": ids });
        Ok(write::within(callbacks.delete_many(these))
            .await?
            .deleted_count)
    }

    async fn add_do_not_call(&self, entries: &[DoNotCall]) -> Answer<()> {
        let documents = entries
            .iter()
            .map(|entry| with_id(entry, do_not_call_id(&entry.tenant, &entry.phone)))
            .collect::<Answer<Vec<_>>>()?;
        write::insert_or_find(&self.documents(DO_NOT_CALL), &documents).await?;
        Ok(())
    }

    async fn remove_do_not_call(&self, tenant: &TenantId, phone: &E164) -> Answer<bool> {
        let entry = doc! { "_id": do_not_call_id(tenant, phone) };
        Ok(write::within(self.documents(DO_NOT_CALL).delete_one(entry))
            .await?
            .deleted_count
            == 1)
    }

    async fn do_not_call(&self, tenant: &TenantId, phones: &[E164]) -> Answer<Vec<bool>> {
        let ids = phones.iter().map(|phone| do_not_call_id(tenant, phone));
        let ids: Vec<_> = ids.collect();
        self.together.do_not_call.ask(self, &ids).await
    }

    async fn insert_import(&self, import: &Import) -> Answer<Inserted> {
        let document = to_document(import)?;
        let inserted = write::within_one(self.documents(IMPORTS).insert_one(document)).await?;
        Ok(fresh(inserted.is_ok()))
    }

    async fn import(&self, id: &ImportId) -> Answer<Option<Import>> {
        let filter = doc! { "_id": id.as_str() };
        let imports = self.documents(IMPORTS);
        let found = read::first(&self.unreadable, &imports, IMPORT, filter, None, None).await?;
        let read = found.map(from_document).transpose();
        read.inspect_err(|error| self.unreadable.remember(error))
    }

    async fn list_imports(&self, campaign: &CampaignId, limit: usize) -> Answer<Vec<Import>> {
        let filter = doc! { "campaign": campaign.as_str() };
        let sort = doc! { "created_at": -1, "_id": -1 };
        self.imports(filter, sort, limit).await
    }

    async fn open_imports(&self, campaign: &CampaignId, limit: usize) -> Answer<Vec<Import>> {
        let filter = doc! { "campaign": campaign.as_str(), "state": ImportState::Open.name() };
        let sort = doc! { "created_at": 1, "_id": 1 };
        self.imports(filter, sort, limit).await
    }

    async fn close_import(&self, id: &ImportId, batches: u32, unreadable: u64) -> Answer<()> {
        let set = doc! { "$set": { "batches": i64::from(batches), "unreadable": int(unreadable) } };
        write::within(
            self.documents(IMPORTS)
                .update_one(doc! { "_id": id.as_str() }, set),
        )
        .await?;
        Ok(())
    }

    async fn tally_import(
        &self,
        id: &ImportId,
        batch: u32,
        tally: Tally,
        at: Timestamp,
    ) -> Answer<Option<Import>> {
        let set = doc! { "$set": {
            format!("tallies.{batch}"): write::value(&tally)?,
            "heard_at": at.millis(),
        } };
        let imports = self.documents(IMPORTS);
        let find = imports
            .find_one_and_update(doc! { "_id": id.as_str() }, set)
            .return_document(ReturnDocument::After);
        write::within(find).await?.map(from_document).transpose()
    }

    async fn end_import(
        &self,
        id: &ImportId,
        state: ImportState,
        refused: Option<String>,
        at: Timestamp,
    ) -> Answer<Cas> {
        let from: Vec<_> = state.from().iter().map(|state| state.name()).collect();
        let expected = doc! { "_id": id.as_str(), "state": { "$in": from } };
        let mut set = doc! { "state": state.name(), "done_at": at.millis() };
        let change = match refused {
            Some(refused) => {
                set.insert("refused", refused);
                doc! { "$set": set }
            }
            None => doc! { "$set": set, "$unset": { "refused": "" } },
        };
        let change = Change::Fields(change);
        write::one(&self.db, IMPORTS, CompareAndSet { expected, change }).await
    }

    async fn insert_row_errors(&self, errors: &[RowError]) -> Answer<()> {
        let documents = errors
            .iter()
            .map(|e| with_id(e, format!("{}:{}", e.import, e.line)))
            .collect::<Answer<Vec<_>>>()?;
        write::insert_or_find(&self.documents(ROW_ERRORS), &documents).await?;
        Ok(())
    }

    async fn row_errors(&self, id: &ImportId, after: u64, limit: usize) -> Answer<Vec<RowError>> {
        let filter = doc! { "import": id.as_str(), "line": { "$gt": int(after) } };
        let errors = self.documents(ROW_ERRORS);
        read::list(
            &self.unreadable,
            &errors,
            "row error",
            List {
                filter,
                sort: doc! { "line": 1 },
                limit,
                index: None,
            },
        )
        .await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Answer<()> {
        let mine = doc! { "_id": heartbeat.worker.as_str() };
        // Refused only when the very first beat was sent twice; then the other one is there.
        let _ = write::within_one(self.workers.replace_one(mine, heartbeat).upsert(true)).await?;
        Ok(())
    }

    async fn leave(&self, worker: &WorkerId) -> Answer<()> {
        write::within(self.workers.delete_one(doc! { "_id": worker.as_str() })).await?;
        Ok(())
    }

    async fn workers(&self, since: Timestamp) -> Answer<Vec<Heartbeat>> {
        let options = FindOptions::builder()
            .sort(doc! { "_id": 1 })
            .batch_size(1_000)
            .build();
        read::all(
            &self.unreadable,
            &self.workers,
            "heartbeat",
            doc! { "beat_at": { "$gte": since.millis() } },
            options,
        )
        .await
    }

    async fn mac_keys(&self, candidate: &MacKey) -> Answer<Vec<MacKey>> {
        if let Some(keys) = self.stored_keys().await? {
            return Ok(keys);
        }
        let set = doc! { "$setOnInsert": { "keys": [write::value(candidate)?] } };
        write::upsert(&self.documents(SETTINGS), doc! { "_id": MAC_KEYS }, set).await?;
        let stored = self.stored_keys().await?;
        stored.ok_or_else(|| {
            StoreError::Unclear(Box::new(Cause(
                "the keys were written and are gone".to_owned(),
            )))
        })
    }

    async fn hold_duty(
        &self,
        task: &str,
        holder: &WorkerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Answer<Cas> {
        let free = doc! {
            "_id": task,
            "$or": [{ "holder": holder.as_str() }, { "until": { "$lte": now.millis() } }],
        };
        let set = doc! { "$set": { "holder": holder.as_str(), "until": until.millis() } };
        write::upsert(&self.documents(DUTIES), free, set).await
    }

    async fn clock(&self) -> Answer<Timestamp> {
        server_time(&self.db).await
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable.take()
    }

    async fn ping(&self) -> Answer<()> {
        read::within(PING_TIME, "server", self.db.run_command(doc! { "ping": 1 })).await?;
        Ok(())
    }
}

impl MongoStore {
    pub(super) async fn keep(&self, callbacks: &[Callback]) -> Answer<Vec<Inserted>> {
        let refused_by = write::insert_or_find(&self.callbacks, callbacks).await?;
        Ok(refused_by.iter().map(|by| fresh(by.is_none())).collect())
    }

    pub(super) async fn listed(&self, ids: Vec<String>) -> Answer<Vec<bool>> {
        #[derive(Deserialize)]
        struct Listed {
            #[serde(rename = "_id")]
            id: String,
        }
        let options = FindOptions::builder()
            .projection(doc! { "_id": 1 })
            .batch_size(read::one_reply(ids.len()))
            .build();
        let listed = self.documents(DO_NOT_CALL);
        let filter = doc! { "_id": { "$in": ids.clone() } };
        let found: Vec<Listed> = read::every(
            &self.unreadable,
            &listed,
            "do-not-call entry",
            filter,
            options,
        )
        .await?;
        let found: HashSet<_> = found.into_iter().map(|listed| listed.id).collect();
        Ok(ids.iter().map(|id| found.contains(id)).collect())
    }

    /// The first imports of an order.
    async fn imports(&self, filter: Document, sort: Document, limit: usize) -> Answer<Vec<Import>> {
        let mut most = limit;
        loop {
            let list = List {
                filter: filter.clone(),
                sort: sort.clone(),
                limit: most,
                index: None,
            };
            let found: Vec<Document> =
                read::list(&self.unreadable, &self.documents(IMPORTS), IMPORT, list).await?;
            let len = found.len();
            let mut imports = self
                .unreadable
                .readable(found.into_iter().map(from_document));
            if imports.len() >= limit || len < most {
                imports.truncate(limit);
                return Ok(imports);
            }
            most = limit + (len - imports.len());
        }
    }

    /// The keys, newest first, unless there are none yet.
    async fn stored_keys(&self) -> Answer<Option<Vec<MacKey>>> {
        #[derive(Deserialize)]
        struct Stored {
            keys: Vec<MacKey>,
        }
        let settings = self.documents(SETTINGS);
        let found: Option<Stored> = read::first(
            &self.unreadable,
            &settings,
            "key",
            doc! { "_id": MAC_KEYS },
            None,
            None,
        )
        .await?;
        Ok(found.map(|stored| stored.keys))
    }
}

const fn fresh(inserted: bool) -> Inserted {
    if inserted {
        Inserted::Fresh
    } else {
        Inserted::Present
    }
}

fn do_not_call_id(tenant: &TenantId, phone: &E164) -> String {
    format!("{tenant}:{}", phone.as_str())
}

/// A document whose type has no `_id` of its own.
fn with_id<T: serde::Serialize>(value: &T, id: String) -> Answer<Document> {
    let mut document = doc! { "_id": id };
    document.extend(bson::serialize_to_document(value).map_err(|e| error::unwritable(&e))?);
    Ok(document)
}

/// An import has a map whose keys are numbers, which BSON's serializer refuses and JSON's writes
/// as texts; so it takes the way over JSON.
fn to_document(import: &Import) -> Answer<Document> {
    let json = serde_json::to_value(import)
        .map_err(|e| StoreError::Refused(format!("an import cannot be written: {e}")))?;
    bson::serialize_to_document(&json).map_err(|e| error::unwritable(&e))
}

fn from_document(document: Document) -> Answer<Import> {
    let id = document.get_str("_id").unwrap_or_default().to_owned();
    let read = bson::deserialize_from_document::<serde_json::Value>(document)
        .map_err(|error| error.to_string())
        .and_then(|json| serde_json::from_value(json).map_err(|error| error.to_string()));
    read.map_err(|why| corrupt(IMPORT, &id, &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_comes_back_as_it_was_and_its_numbers_are_long() {
        let json = serde_json::json!({
            "_id": "imp_1", "tenant": "ten_1", "campaign": "cmp_1", "state": "open", "batches": 12,
            "tallies": { "0": { "accepted": 3, "duplicate": 0, "rejected": 1 },
                         "11": { "accepted": 5_000_000_000_u64, "duplicate": 0, "rejected": 0 } },
            "unreadable": 2, "created_at": 1_700_000_000_000_i64,
        });
        let import: Import = serde_json::from_value(json).expect("an import");
        let document = to_document(&import).expect("writable");
        assert_eq!(document.get_i64("unreadable").expect("a long"), 2);
        assert_eq!(
            document.get_i64("created_at").expect("a long"),
            1_700_000_000_000
        );
        assert_eq!(from_document(document).expect("readable"), import);
    }
}
