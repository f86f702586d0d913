//! Recordings and transcripts.

use async_trait::async_trait;
use bson::{Document, doc};
use dialfleet_domain::id::{RecordingId, TenantId};
use dialfleet_domain::recording::{Recording, Transcript};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::recording::{RecordingFilter, RecordingStore};
use dialfleet_engine::port::store::{Answer, Cas, Inserted, Page};
use mongodb::Collection;

use super::index::{RECORDINGS, TRANSCRIPTS};
use super::page;
use super::read::{self, List};
use super::write::{self, Change, CompareAndSet, int};
use super::{MongoStore, error};
use crate::page::{ListName, Newest};

const WHAT: &str = "recording";
const TRANSCRIPT: &str = "transcript";

impl MongoStore {
    fn recordings(&self) -> Collection<Recording> {
        self.db.collection(RECORDINGS)
    }

    fn transcripts(&self) -> Collection<Transcript> {
        self.db.collection(TRANSCRIPTS)
    }
}

#[async_trait]
impl RecordingStore for MongoStore {
    async fn insert_recording(&self, recording: &Recording) -> Answer<Inserted> {
        let inserted = write::within_one(self.recordings().insert_one(recording)).await?;
        Ok(match inserted {
            Ok(_) => Inserted::Fresh,
            Err(_) => Inserted::Present,
        })
    }

    async fn recording(&self, id: &RecordingId) -> Answer<Option<Recording>> {
        let found = read::by_id(
            &self.unreadable,
            &self.recordings(),
            WHAT,
            std::iter::once(id.as_str()),
            |r: &Recording| r.id.as_str(),
        )
        .await?;
        Ok(found.into_iter().next().flatten())
    }

    async fn save_recording(&self, recording: &Recording, expected: u64) -> Answer<Cas> {
        let document =
            bson::serialize_to_raw_document_buf(recording).map_err(|e| error::unwritable(&e))?;
        let expected = doc! { "_id": recording.id.as_str(), "version": int(expected) };
        let change = Change::Whole(document);
        write::one(&self.db, RECORDINGS, CompareAndSet { expected, change }).await
    }

    async fn due_recordings(&self, now: Timestamp, limit: usize) -> Answer<Vec<Recording>> {
        let list = List {
            filter: doc! { "check_at": { "$lte": now.millis() } },
            sort: doc! { "check_at": 1, "_id": 1 },
            limit,
            index: Some("due"),
        };
        read::list(&self.unreadable, &self.recordings(), WHAT, list).await
    }

    async fn list_recordings(
        &self,
        tenant: &TenantId,
        filter: &RecordingFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Recording>> {
        let name = ListName::of_recordings(tenant, filter);
        let after = name.after::<Newest>(cursor)?;
        let mut wanted: Document = doc! { "tenant": tenant.as_str() };
        if let Some(campaign) = &filter.campaign {
            wanted.insert("campaign", campaign.as_str());
        }
        if let Some(attempt) = &filter.attempt {
            wanted.insert("attempt", attempt.as_str());
        }
        if let Some(state) = filter.state {
            wanted.insert("state", state.name());
        }
        page::after_newest(&mut wanted, "announced_at", after);
        let list = List {
            filter: wanted,
            sort: doc! { "announced_at": -1, "_id": -1 },
            limit: limit.saturating_add(1),
            index: None,
        };
        let found = read::list(&self.unreadable, &self.recordings(), WHAT, list).await?;
        Ok(name.page(found, limit, |r: &Recording| {
            (r.announced_at, r.id.as_str().to_owned())
        }))
    }

    async fn put_transcript(&self, transcript: &Transcript) -> Answer<()> {
        let transcripts = self.transcripts();
        let replaced = transcripts
            .replace_one(doc! { "_id": transcript.id.as_str() }, transcript)
            .upsert(true);
        write::within(replaced).await.map(drop)
    }

    async fn transcript(&self, id: &RecordingId) -> Answer<Option<Transcript>> {
        let found = read::by_id(
            &self.unreadable,
            &self.transcripts(),
            TRANSCRIPT,
            std::iter::once(id.as_str()),
            |t: &Transcript| t.id.as_str(),
        )
        .await?;
        Ok(found.into_iter().next().flatten())
    }

    async fn delete_transcript(&self, id: &RecordingId) -> Answer<()> {
        let transcripts = self.transcripts();
        let deleted = transcripts.delete_one(doc! { "_id": id.as_str() });
        write::within(deleted).await.map(drop)
    }

    async fn search_transcripts(
        &self,
        tenant: &TenantId,
        words: &[String],
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Transcript>> {
        let name = ListName::of_transcripts(tenant, words);
        let after = name.after::<Newest>(cursor)?;
        let mut found = Vec::new();
        if !words.is_empty() {
            let mut filter = doc! { "tenant": tenant.as_str(), "words": { "$all": words } };
            page::after_newest(&mut filter, "at", after);
            let list = List {
                filter,
                sort: doc! { "at": -1, "_id": -1 },
                limit: limit.saturating_add(1),
                index: Some("said"),
            };
            found = read::list(&self.unreadable, &self.transcripts(), TRANSCRIPT, list).await?;
        }
        Ok(name.page(found, limit, |t: &Transcript| {
            (t.at, t.id.as_str().to_owned())
        }))
    }
}
