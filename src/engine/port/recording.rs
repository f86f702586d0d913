//! Recordings and transcripts in the store.

use async_trait::async_trait;
use dialfleet_domain::id::{AttemptId, CampaignId, RecordingId, TenantId};
use dialfleet_domain::recording::{Recording, RecordingState, Transcript};
use dialfleet_domain::time::Timestamp;

use super::store::{Answer, Cas, Inserted, Page};

/// Which recordings a list shows.
#[derive(Debug, Clone, Default)]
pub struct RecordingFilter {
    /// Only of this campaign.
    pub campaign: Option<CampaignId>,
    /// Only of this call.
    pub attempt: Option<AttemptId>,
    /// Only those that stand there.
    pub state: Option<RecordingState>,
}

/// Recording and transcript documents.
#[async_trait]
pub trait RecordingStore: Send + Sync {
    /// Inserts a recording; one that is there stays as it is.
    async fn insert_recording(&self, recording: &Recording) -> Answer<Inserted>;
    /// Reads one.
    async fn recording(&self, id: &RecordingId) -> Answer<Option<Recording>>;
    /// Whole-document compare-and-set on `version`.
    async fn save_recording(&self, recording: &Recording, expected: u64) -> Answer<Cas>;
    /// Those with `check_at <= now`, earliest first.
    async fn due_recordings(&self, now: Timestamp, limit: usize) -> Answer<Vec<Recording>>;
    /// A tenant's, newest announcement first.
    async fn list_recordings(
        &self,
        tenant: &TenantId,
        filter: &RecordingFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Recording>>;
    /// Stores the transcript of a recording; an older one is replaced.
    async fn put_transcript(&self, transcript: &Transcript) -> Answer<()>;
    /// Reads one.
    async fn transcript(&self, id: &RecordingId) -> Answer<Option<Transcript>>;
    /// Deletes one; that there is none is no error.
    async fn delete_transcript(&self, id: &RecordingId) -> Answer<()>;
    /// A tenant's transcripts in which every one of `words` was said, newest first.
    async fn search_transcripts(
        &self,
        tenant: &TenantId,
        words: &[String],
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Transcript>>;
}
