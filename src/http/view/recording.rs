//! Recordings and transcripts.

use dialfleet_domain::id::{AttemptId, CampaignId, CarrierId, LeadId, RecordingId};
use dialfleet_domain::recording::{Recording, Transcript, Turn};
use serde::Serialize;

use super::Time;

/// A recording. Where the carrier has it is nobody's business.
#[derive(Debug, Serialize)]
pub(crate) struct RecordingView {
    id: RecordingId,
    campaign: CampaignId,
    lead: LeadId,
    call: AttemptId,
    carrier: CarrierId,
    /// `announced`, `stored`, `parked` or `deleted`.
    state: &'static str,
    channels: Option<u8>,
    duration_ms: Option<u64>,
    bytes: Option<u64>,
    /// Of the sound, hex.
    sha256: Option<String>,
    content_type: Option<String>,
    /// It is encrypted in the storage.
    encrypted: bool,
    /// `none`, `waiting`, `asked`, `done` or `parked`.
    transcript: &'static str,
    language: Option<String>,
    /// Tries of what is being tried now.
    tries: u32,
    /// Why the last try failed.
    reason: Option<String>,
    announced_at: Time,
    stored_at: Option<Time>,
    /// When it will be deleted.
    expires_at: Option<Time>,
    deleted_at: Option<Time>,
}

impl From<Recording> for RecordingView {
    fn from(r: Recording) -> Self {
        let media = r.media.as_ref();
        Self {
            expires_at: r.expires_at().filter(|_| r.deleted_at.is_none()).map(Time),
            bytes: media.map(|m| m.bytes),
            sha256: media.map(|m| m.sha256.clone()),
            content_type: media.map(|m| m.content_type.clone()),
            encrypted: media.is_some_and(|m| m.sealed.is_some()),
            stored_at: media.map(|m| Time(m.stored_at)),
            transcript: r.transcript.name(),
            state: r.state.name(),
            id: r.id,
            campaign: r.campaign,
            lead: r.lead,
            call: r.attempt,
            carrier: r.carrier,
            channels: r.channels,
            duration_ms: r.duration_ms,
            language: r.language,
            tries: r.tries,
            reason: r.reason,
            announced_at: r.announced_at.into(),
            deleted_at: r.deleted_at.map(Time),
        }
    }
}

/// What was said in a recording.
#[derive(Debug, Serialize)]
pub(crate) struct TranscriptView {
    recording: RecordingId,
    campaign: CampaignId,
    call: AttemptId,
    language: String,
    turns: Vec<TurnView>,
    created_at: Time,
}

/// What one party said without a pause.
#[derive(Debug, Serialize)]
struct TurnView {
    channel: u8,
    start_ms: u64,
    end_ms: u64,
    text: String,
}

impl From<Turn> for TurnView {
    fn from(turn: Turn) -> Self {
        Self {
            channel: turn.channel,
            start_ms: turn.start_ms,
            end_ms: turn.end_ms,
            text: turn.text,
        }
    }
}

impl From<Transcript> for TranscriptView {
    fn from(t: Transcript) -> Self {
        Self {
            recording: t.id,
            campaign: t.campaign,
            call: t.attempt,
            language: t.language,
            turns: t.turns.into_iter().map(TurnView::from).collect(),
            created_at: t.at.into(),
        }
    }
}
