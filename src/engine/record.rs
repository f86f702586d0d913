//! Recordings as the carriers tell of them, and what people order about them.

use dialfleet_domain::call::{Attempt, CallState, Verdict};
use dialfleet_domain::id::{CarrierCallId, CarrierId, RecordingId};
use dialfleet_domain::recording::{Act, Channels, Recording, RecordingState, TranscriptState};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::fleet::Fleet;
use crate::media;
use crate::message::RecordingEvent;
use crate::port::carrier::{CarrierError, RecordRequest};
use crate::port::store::{Answer, Inserted, StoreError};
use crate::todo;

/// What became of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// It is in the store: it will be fetched.
    Written,
    /// Nobody knows its attempt.
    Orphan,
}

/// The id of a recording that `carrier` calls `their_id`.
#[must_use]
pub fn id_of(carrier: &CarrierId, their_id: &str) -> RecordingId {
    use std::fmt::Write;
    let mut hash = Sha256::new();
    for part in [carrier.as_str(), their_id] {
        // The length first, so that no two pairs give the same bytes.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut id = String::from("rec_");
    for byte in &hash.finalize()[..16] {
        let _ = write!(id, "{byte:02x}");
    }
    RecordingId::parse(id).expect("a few hex digits are an id")
}

/// Writes an announced recording down, so that it will be fetched whoever dies. One that is announced
/// again is tried again at once, if it is still to be had.
///
/// # Errors
/// The store failed.
pub async fn announce(fleet: &Fleet, event: &RecordingEvent) -> Answer<Announced> {
    let Some(attempt) = fleet.attempt(&event.attempt).await? else {
        fleet.metrics.violation("orphan_callback");
        tracing::error!(attempt = %event.attempt, "a genuine recording of an attempt that is not in the store");
        return Ok(Announced::Orphan);
    };
    let policy = fleet
        .campaign(&attempt.campaign)
        .await?
        .map(|campaign| campaign.recording)
        .unwrap_or_default();
    let now = fleet.clock.now();
    let news = &event.recording;
    // Not every word of it says how many there are.
    let planned = attempt.recording.map(|plan| match plan.channels {
        Channels::Mono => 1,
        Channels::Dual => 2,
    });
    let recording = Recording {
        id: id_of(&event.carrier, &news.id),
        tenant: attempt.tenant,
        campaign: attempt.campaign,
        lead: attempt.lead,
        attempt: attempt.id,
        carrier: event.carrier.clone(),
        call_id: event.call_id.clone(),
        their_id: news.id.clone(),
        url: news.url.clone(),
        channels: news.channels.or(planned),
        duration_ms: news.duration_ms,
        state: RecordingState::Announced,
        media: None,
        transcript: TranscriptState::None,
        keep_ms: Some(policy.keep_ms()),
        language: policy.transcribe.map(|wanted| wanted.language),
        tries: 0,
        reason: None,
        failing_since: None,
        since: now,
        check_at: Some(now),
        announced_at: event.received_at,
        deleted_at: None,
        version: 1,
    };
    match fleet.store.insert_recording(&recording).await? {
        Inserted::Fresh => fleet.metrics.recording("announced"),
        Inserted::Present => {
            if let Some(stored) = fleet.store.recording(&recording.id).await? {
                media::amend(fleet, stored, |r| {
                    r.announced_again(news.url.clone(), now) && {
                        r.channels = news.channels.or(r.channels);
                        r.duration_ms = news.duration_ms.or(r.duration_ms);
                        true
                    }
                })
                .await?;
            }
        }
    }
    fleet.media.tell();
    Ok(Announced::Written)
}

/// Gives a command about the recording of an answered call. `false`: not now.
pub(crate) async fn command(
    fleet: &Fleet,
    attempt: &Attempt,
    (carrier, call_id): (&CarrierId, &CarrierCallId),
    act: Act,
) -> Answer<bool> {
    let leg = attempt
        .current_leg()
        .filter(|(_, leg)| leg.call_id.as_ref() == Some(call_id));
    let Some((leg, current)) = leg.filter(|_| attempt.state == CallState::Answered) else {
        return Ok(true);
    };
    let Some(port) = fleet.carriers.get(carrier) else {
        tracing::error!(%carrier, call = %call_id, "cannot record: this process does not know the carrier");
        return Ok(false);
    };
    let callback_url = fleet.keys.callback_url(
        &fleet.settings.public_url,
        port.profile().kind,
        carrier,
        &attempt.id,
        leg,
    );
    let request = RecordRequest {
        attempt: attempt.id.clone(),
        leg,
        call_id: call_id.clone(),
        to: attempt.phone.clone(),
        from: current.from.clone(),
        act,
        channels: attempt
            .recording
            .map_or(Channels::Mono, |plan| plan.channels),
        callback_url,
    };
    match port.record(&request).await {
        Ok(()) | Err(CarrierError::AlreadyEnded | CarrierError::NotFound) => Ok(true),
        Err(CarrierError::Unsupported) => {
            tracing::warn!(%carrier, call = %call_id, act = act.name(), "the carrier cannot do this to a recording");
            Ok(true)
        }
        Err(error @ (CarrierError::Unauthorized(_) | CarrierError::Unavailable(_))) => {
            tracing::error!(%error, %carrier, call = %call_id, act = act.name(), "a recording could not be commanded; trying again");
            Ok(false)
        }
    }
}

/// Why an order about a recording was not carried out.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Only an answered call can be recorded.
    #[error("the call is not answered, or is over")]
    NotOnCall,
    /// Nothing was put aside.
    #[error("there is nothing to try again")]
    NothingToRetry,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Orders something about the recording of a call, durably, and tries at once.
///
/// # Errors
/// See [`RecordError`].
pub async fn order(fleet: &Fleet, attempt: Attempt, act: Act) -> Result<(), RecordError> {
    let now = fleet.clock.now();
    match fleet.amend(attempt, |a| a.ask_record(act, now)).await? {
        Some((attempt, Verdict::Note)) => {
            todo::execute(fleet, attempt, None).await;
            Ok(())
        }
        Some(_) | None => Err(RecordError::NotOnCall),
    }
}

/// Deletes a recording and its transcript. Once it returns, nobody is given them any more; what is in
/// the storage is gone as well, or will be as soon as the storage answers.
///
/// # Errors
/// The store failed.
pub async fn delete(fleet: &Fleet, recording: Recording) -> Result<(), RecordError> {
    let now = fleet.clock.now();
    let deleted = media::amend(fleet, recording, |r| {
        let first = r.state != RecordingState::Deleted;
        if first {
            r.deleted(now);
        }
        first
    })
    .await?;
    if let Some(deleted) = deleted {
        media::sweep(fleet, deleted).await?;
    }
    Ok(())
}

/// Tries again what was put aside.
///
/// # Errors
/// See [`RecordError`].
pub async fn retry(fleet: &Fleet, recording: Recording) -> Result<Recording, RecordError> {
    let now = fleet.clock.now();
    let retried = media::amend(fleet, recording, |r| r.retry(now)).await?;
    fleet.media.tell();
    retried.ok_or(RecordError::NothingToRetry)
}
