//! Notes that the fleet shares.

use async_trait::async_trait;
use bson::{Document, doc};
use dialfleet_engine::port::board::{BoardStore, Note};
use dialfleet_engine::port::store::{Answer, Cas};
use futures_util::future::try_join_all;

use super::index::NOTES;
use super::read::{self, List};
use super::write::{self, Change, CompareAndSet, int};
use super::{MongoStore, error};

const NOTE: &str = "note";

#[async_trait]
impl BoardStore for MongoStore {
    async fn notes(&self, keys: &[String]) -> Answer<Vec<Option<Note>>> {
        let notes = self.db.collection::<Note>(NOTES);
        read::by_id(
            &self.unreadable,
            &notes,
            NOTE,
            keys.iter().map(String::as_str),
            |n: &Note| &n.key,
        )
        .await
    }

    async fn notes_with(&self, prefix: &str, limit: usize) -> Answer<Vec<Note>> {
        // The last character there is: every key that begins with the prefix sorts before it.
        let filter = doc! { "_id": { "$gte": prefix, "$lt": format!("{prefix}\u{10ffff}") } };
        let list = List {
            filter,
            sort: doc! { "_id": 1 },
            limit,
            index: None,
        };
        read::list(
            &self.unreadable,
            &self.db.collection::<Note>(NOTES),
            NOTE,
            list,
        )
        .await
    }

    async fn save_notes(&self, notes: &[Note]) -> Answer<Vec<Cas>> {
        try_join_all(notes.iter().map(|note| self.save_note(note))).await
    }
}

impl MongoStore {
    async fn save_note(&self, note: &Note) -> Answer<Cas> {
        let document: Document =
            bson::serialize_to_document(note).map_err(|e| error::unwritable(&e))?;
        if note.version == 1 {
            let inserted = write::within_one(self.documents(NOTES).insert_one(document)).await?;
            return Ok(inserted.map_or(Cas::Lost, |_| Cas::Won));
        }
        let expected = doc! { "_id": &note.key, "version": int(note.version.saturating_sub(1)) };
        let set = doc! { "$set": { "version": int(note.version), "body": &note.body } };
        let change = Change::Fields(set);
        write::one(&self.db, NOTES, CompareAndSet { expected, change }).await
    }
}
