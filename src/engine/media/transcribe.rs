//! Has a stored recording written down. Whatever goes wrong, the recording stays.

use std::time::Duration;

use dialfleet_domain::recording::transcript::About;
use dialfleet_domain::recording::{
    Failure, GIVE_UP, Recording, RecordingState, Transcript, TranscriptState, Turn,
};
use dialfleet_domain::time::Timestamp;

use super::{MARGIN, amend};
use crate::fleet::Fleet;
use crate::port::media::{Heard, Speech, TranscribeError};
use crate::port::store::Answer;

/// Between two questions how far the transcriber is: a quarter of the time it has had, within these.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Takes the next step with a claimed recording, and writes down what came of it.
pub(super) async fn transcribe(fleet: &Fleet, recording: Recording) -> Answer<()> {
    let time = recording.lease().saturating_sub(MARGIN);
    let heard = tokio::select! {
        biased;
        heard = hear(fleet, &recording) => heard,
        () = fleet.clock.sleep(time) => Err(TranscribeError::Unavailable("it took too long".to_owned())),
    };
    let now = fleet.clock.now();
    let open = |r: &Recording| r.state == RecordingState::Stored && r.transcript.is_open();
    let failed = async |recording: Recording, why: Failure| {
        fleet.metrics.recording("not_transcribed");
        let after = amend(fleet, recording, |r| {
            let waited = open(r);
            if waited {
                r.not_transcribed(why.clone(), now);
            }
            waited
        });
        if let Some(after) = after.await?
            && after.transcript == TranscriptState::Parked
        {
            tracing::error!(recording = %after.id, reason = after.reason.as_deref().unwrap_or_default(), "a transcript was put aside");
        }
        Ok(())
    };
    match heard {
        Ok(Heard::All(turns)) => {
            if let Some(transcript) = transcript(&recording, turns, now) {
                fleet.store.put_transcript(&transcript).await?;
            }
            let id = recording.id.clone();
            let done = amend(fleet, recording, |r| {
                let waited = open(r);
                if waited {
                    r.transcribed(now);
                }
                waited
            });
            if done.await?.is_some() {
                fleet.metrics.recording("transcribed");
            } else if fleet
                .store
                .recording(&id)
                .await?
                .is_none_or(|r| r.state == RecordingState::Deleted)
            {
                fleet.store.delete_transcript(&id).await?;
            }
            Ok(())
        }
        Ok(Heard::Later(_)) if now.since(recording.since) >= GIVE_UP => {
            let why = "the transcriber never finished".to_owned();
            failed(recording, Failure::Final(why)).await
        }
        Ok(Heard::Later(operation)) => {
            let (least, most) = ASK_AGAIN;
            let at = now + (now.since(recording.since) / 4).clamp(least, most);
            amend(fleet, recording, |r| {
                let waited = open(r);
                if waited {
                    r.transcribing(&operation, at);
                }
                waited
            })
            .await?;
            Ok(())
        }
        Err(error) => {
            tracing::warn!(%error, recording = %recording.id, tries = recording.tries, "a recording was not written down");
            // What the transcriber has under way may still come: it is asked again, not told again.
            if let (TranscribeError::Unavailable(_), TranscriptState::Asked { operation }) =
                (&error, &recording.transcript)
                && now.since(recording.since) < GIVE_UP
            {
                let (operation, at) = (operation.clone(), now + ASK_AGAIN.0 * 5);
                amend(fleet, recording, |r| {
                    let waited = open(r);
                    if waited {
                        r.transcribing(&operation, at);
                    }
                    waited
                })
                .await?;
                return Ok(());
            }
            let lost = matches!(recording.transcript, TranscriptState::Asked { .. });
            let why = match error {
                TranscribeError::Refused(why) if !lost => Failure::Final(why),
                TranscribeError::Refused(why) | TranscribeError::Unavailable(why) => {
                    Failure::Again(why)
                }
            };
            failed(recording, why).await
        }
    }
}

async fn hear(fleet: &Fleet, recording: &Recording) -> Result<Heard, TranscribeError> {
    let refused = |why: &str| TranscribeError::Refused(why.to_owned());
    let Some(transcriber) = &fleet.media.transcriber else {
        return Err(refused("no transcriber is configured"));
    };
    if let TranscriptState::Asked { operation } = &recording.transcript {
        return transcriber.go_on(operation).await;
    }
    let (Some(media), Some(language)) = (&recording.media, &recording.language) else {
        return Err(refused("there is nothing to write down"));
    };
    let store = fleet
        .media
        .store()
        .ok_or_else(|| refused("this process has no storage"))?;
    let unavailable =
        |error: crate::port::media::MediaError| TranscribeError::Unavailable(error.to_string());
    let body = store
        .get(&recording.tenant, media, 0..media.bytes)
        .await
        .map_err(unavailable)?;
    let speech = Speech {
        name: recording.id.as_str().to_owned(),
        language: language.clone(),
        channels: recording.channels.unwrap_or(1),
        duration_ms: recording.duration_ms,
        content_type: media.content_type.clone(),
        bytes: media.bytes,
        body,
    };
    transcriber.begin(speech).await
}

fn transcript(recording: &Recording, turns: Vec<Turn>, now: Timestamp) -> Option<Transcript> {
    let about = About {
        id: recording.id.clone(),
        tenant: recording.tenant.clone(),
        campaign: recording.campaign.clone(),
        attempt: recording.attempt.clone(),
        language: recording.language.clone()?,
    };
    Some(Transcript::new(about, turns, now))
}
