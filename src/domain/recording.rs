//! Recordings of calls: which calls are recorded, and what becomes of a recording that a carrier
//! announces. It is fetched into our own storage, written down there as a transcript if the campaign
//! wants one, and deleted when its time is over.
//!
//! The document is a small state machine. Whoever works on one claims it by compare-and-set, which
//! moves [`Recording::check_at`]: a process that dies is succeeded at that time.

pub mod policy;
pub mod redact;
pub mod transcript;

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use policy::{Act, Channels, Plan, RecordingPolicy, Start, Transcribe, When};
pub use transcript::{Transcript, TranscriptState, Turn};

use crate::id::{AttemptId, CampaignId, CarrierCallId, CarrierId, LeadId, RecordingId, TenantId};
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// How long a recording is tried for before it is put aside.
pub const GIVE_UP: Duration = Duration::from_secs(24 * 3600);
/// Between two tries: an eighth of the time for which this is what fails, and no less than a part in 64
/// of the time since the first try, within these. When the storage is back after a minute, a carrier
/// that fails as well is asked again after a second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// How long a worker has for its first try; twice as long for each of the next ones.
const FIRST_LEASE: Duration = Duration::from_secs(60);
/// And at most.
pub const LONGEST_LEASE: Duration = Duration::from_secs(8 * 60);
/// Characters of a reason.
const MAX_REASON: usize = 300;

/// An address that is also a key: a carrier's pre-signed link. Prints without what follows the host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MediaUrl(String);

impl MediaUrl {
    /// Takes an address as the carrier wrote it, at most 4,096 characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let usable = (1..=4_096).contains(&text.len()) && !text.chars().any(char::is_control);
        usable.then(|| Self(text.to_owned()))
    }

    /// The address itself: to be fetched, and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MediaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.split('/').nth(2).unwrap_or("?");
        // Credentials may be before the host.
        let host = host.rsplit('@').next().unwrap_or("?");
        write!(f, "MediaUrl({host}/***)")
    }
}

/// Where a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// The carrier says that it has one.
    Announced,
    /// It is in our storage.
    Stored,
    /// It could not be had; a person may order another try.
    Parked,
    /// It was deleted.
    Deleted,
}

impl RecordingState {
    /// The name used in documents and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Stored => "stored",
            Self::Parked => "parked",
            Self::Deleted => "deleted",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Announced, Self::Stored, Self::Parked, Self::Deleted]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// What is in our storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Media {
    /// Its name there.
    pub key: String,
    /// Bytes, as the carrier gave them.
    pub bytes: u64,
    /// SHA-256 of these bytes, hex.
    pub sha256: String,
    /// Such as `audio/mpeg`.
    pub content_type: String,
    /// The id of the key that it is encrypted with; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// When it was there.
    pub stored_at: Timestamp,
}

/// A recording of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// Made from the carrier and its name for it, so that one announced twice is one.
    #[serde(rename = "_id")]
    pub id: RecordingId,
    /// Whose.
    pub tenant: TenantId,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// Of a call to which lead.
    pub lead: LeadId,
    /// Of which call.
    pub attempt: AttemptId,
    /// Who has it.
    pub carrier: CarrierId,
    /// The carrier's name for the call.
    pub call_id: CarrierCallId,
    /// The carrier's name for the recording.
    pub their_id: String,
    /// Where the carrier says it is, if that is needed to fetch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<MediaUrl>,
    /// 1, or 2 with one party in each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// Its length, ms, by the carrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Where it stands.
    pub state: RecordingState,
    /// What we have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    /// Where its transcript stands.
    pub transcript: TranscriptState,
    /// The language to write it down in, BCP 47; absent when no transcript is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Tries of what is being tried now.
    pub tries: u32,
    /// Why the last try failed: a sentence without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it fails for that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Since when it is being tried.
    pub since: Timestamp,
    /// When somebody works on it next; absent when nothing is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<Timestamp>,
    /// How long it is kept, ms from [`Media::stored_at`]; absent means for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<u64>,
    /// When the carrier's announcement came.
    pub announced_at: Timestamp,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// +1 with every write; every write compares it.
    pub version: u64,
}

/// What is to be done with a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Fetch it from the carrier.
    Fetch,
    /// Have it written down.
    Transcribe,
    /// Delete it: its time is over.
    Expire,
    /// It is deleted: let what is in our storage go, too.
    Sweep,
    /// Nothing yet.
    Wait,
}

/// Why a try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may go well another time.
    Again(String),
    /// It never will.
    Final(String),
}

impl Recording {
    /// What is to be done at `now`.
    #[must_use]
    pub fn work(&self, now: Timestamp) -> Work {
        if self.check_at.is_none_or(|at| at > now) {
            return Work::Wait;
        }
        match self.state {
            RecordingState::Announced => Work::Fetch,
            RecordingState::Stored if self.expires_at().is_some_and(|at| at <= now) => Work::Expire,
            RecordingState::Stored if self.transcript.is_open() => Work::Transcribe,
            RecordingState::Deleted => Work::Sweep,
            RecordingState::Stored | RecordingState::Parked => Work::Wait,
        }
    }

    /// When its time is over.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let stored = self.media.as_ref()?.stored_at;
        Some(stored + Duration::from_millis(self.keep_ms?))
    }

    /// How long whoever takes it on now may work on it.
    #[must_use]
    pub fn lease(&self) -> Duration {
        LONGEST_LEASE.min(FIRST_LEASE * (1 << self.tries.min(3)))
    }

    /// Takes it on: until the lease ends, nobody else does.
    pub fn claim(&mut self, now: Timestamp) {
        self.check_at = Some(now + self.lease());
        self.tries = self.tries.saturating_add(1);
        self.version += 1;
    }

    /// It is in our storage.
    pub fn stored(&mut self, media: Media, now: Timestamp) {
        self.media = Some(media);
        self.state = RecordingState::Stored;
        // A link that is a key is kept no longer than it is needed.
        self.url = None;
        if self.language.is_some() {
            self.transcript = TranscriptState::Waiting;
        }
        self.begin_again(now);
        self.check_at = self.next(now);
    }

    /// A try to fetch it failed.
    pub fn not_fetched(&mut self, why: Failure, now: Timestamp) {
        if self.failed(why, now) {
            self.state = RecordingState::Parked;
            self.check_at = None;
        }
    }

    /// The transcriber works on it under this name; look again at `at`.
    pub fn transcribing(&mut self, operation: &str, at: Timestamp) {
        if !matches!(&self.transcript, TranscriptState::Asked { operation: o } if o == operation) {
            self.transcript = TranscriptState::Asked {
                operation: operation.to_owned(),
            };
        }
        self.check_at = Some(at);
        self.version += 1;
    }

    /// Its transcript is stored.
    pub fn transcribed(&mut self, now: Timestamp) {
        self.transcript = TranscriptState::Done;
        self.begin_again(now);
        self.check_at = self.next(now);
    }

    /// A try to have it written down failed. The recording is kept in any case.
    pub fn not_transcribed(&mut self, why: Failure, now: Timestamp) {
        // What was asked for is lost, and is asked for again.
        self.transcript = TranscriptState::Waiting;
        if self.failed(why, now) {
            self.transcript = TranscriptState::Parked;
            self.check_at = self.next(now);
        }
    }

    /// A person wants it gone, or its time is over. What is in our storage is still to be deleted.
    pub fn deleted(&mut self, now: Timestamp) {
        self.state = RecordingState::Deleted;
        self.deleted_at = Some(now);
        self.url = None;
        self.transcript = TranscriptState::None;
        self.begin_again(now);
        self.check_at = Some(now);
    }

    /// What there was is gone. Returns whether it is for good: somebody who was fetching it may have
    /// put it there again until then.
    pub fn swept(&mut self, now: Timestamp) -> bool {
        let again = self.deleted_at.unwrap_or(now) + LONGEST_LEASE * 2;
        self.check_at = (now < again).then_some(again);
        self.version += 1;
        self.check_at.is_none()
    }

    /// There is nothing to do before `at`.
    pub fn put_off(&mut self, at: Option<Timestamp>) {
        self.check_at = at;
        self.version += 1;
    }

    /// A person orders another try of what was put aside. Returns whether there was anything.
    pub fn retry(&mut self, now: Timestamp) -> bool {
        match self.state {
            RecordingState::Announced => {}
            RecordingState::Parked => self.state = RecordingState::Announced,
            RecordingState::Stored if self.transcript == TranscriptState::Parked => {
                self.transcript = TranscriptState::Waiting;
            }
            RecordingState::Stored | RecordingState::Deleted => return false,
        }
        self.begin_again(now);
        self.check_at = Some(now);
        true
    }

    /// It was announced again: there is news of it, or it can be had now.
    pub fn announced_again(&mut self, url: Option<MediaUrl>, now: Timestamp) -> bool {
        if self.state != RecordingState::Announced {
            return false;
        }
        if url.is_some() {
            self.url = url;
        }
        self.begin_again(now);
        self.check_at = Some(now);
        true
    }

    fn begin_again(&mut self, now: Timestamp) {
        self.tries = 0;
        self.since = now;
        self.reason = None;
        self.failing_since = None;
        self.version += 1;
    }

    /// When there is something to do with one that is stored.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let open = self.transcript.is_open().then_some(now);
        [open, self.expires_at()].into_iter().flatten().min()
    }

    /// Writes a failure down. Returns whether it was the last one.
    fn failed(&mut self, why: Failure, now: Timestamp) -> bool {
        self.version += 1;
        let (reason, last) = match why {
            Failure::Again(reason) => (reason, now.since(self.since) >= GIVE_UP),
            Failure::Final(reason) => (reason, true),
        };
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let same = self.reason.as_ref() == Some(&reason);
        let failing_since = self.failing_since.filter(|_| same).unwrap_or(now);
        let wait = (now.since(failing_since) / 8).max(now.since(self.since) / 64);
        let (least, most) = AGAIN;
        self.check_at = Some(now + wait.clamp(least, most));
        self.failing_since = Some(failing_since);
        self.reason = Some(reason);
        last
    }
}
