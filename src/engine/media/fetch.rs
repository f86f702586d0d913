//! From the carrier into our storage, counted and hashed on the way.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dialfleet_domain::recording::{Failure, Media, Recording, RecordingState};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::{MARGIN, amend};
use crate::fleet::Fleet;
use crate::port::media::{MediaError, MediaStore, MediaStream};
use crate::port::store::Answer;

/// What a claimed recording is called in the storage. Of no other claim: two may fetch at once, and not
/// quite the same, and the document must tell of what is there.
fn key_of(recording: &Recording) -> String {
    // A tenant's name may have any character; its folder may not.
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            c
        } else {
            '_'
        }
    };
    let tenant: String = recording.tenant.as_str().chars().map(safe).collect();
    let day = recording.announced_at.to_utc().format("%Y/%m/%d");
    format!(
        "recordings/{tenant}/{day}/{}-{}",
        recording.id, recording.version
    )
}

/// Fetches a claimed recording, and writes down what came of it.
pub(super) async fn fetch(fleet: &Fleet, recording: Recording) -> Answer<()> {
    let Some(store) = fleet.media.store() else {
        return Ok(());
    };
    let time = recording.lease().saturating_sub(MARGIN);
    let fetched = tokio::select! {
        biased;
        fetched = bring(fleet, store, &recording) => fetched,
        () = fleet.clock.sleep(time) => Err(MediaError::Unavailable("it took too long".to_owned())),
    };
    let now = fleet.clock.now();
    match fetched {
        Ok(media) => {
            let took = now.since(recording.announced_at);
            let id = recording.id.clone();
            let stored = amend(fleet, recording, |r| {
                let waited = r.state == RecordingState::Announced;
                if waited {
                    r.stored(media.clone(), now);
                }
                waited
            });
            if stored.await?.is_some() {
                fleet.metrics.recording("stored");
                fleet.metrics.recording_time(took);
                fleet.media.tell();
            } else if fleet
                .store
                .recording(&id)
                .await?
                .and_then(|r| r.media)
                .is_none_or(|kept| kept.key != media.key)
                && let Err(error) = store.delete(&media.key).await
            {
                // Somebody else was faster, or it was deleted meanwhile.
                tracing::warn!(%error, recording = %id, key = media.key, "what was fetched in vain is still in the storage");
            }
        }
        Err(error) => {
            tracing::warn!(%error, recording = %recording.id, tries = recording.tries, "a recording was not fetched");
            fleet.metrics.recording("failed");
            let why = failure(&error);
            let after = amend(fleet, recording, |r| {
                let waited = r.state == RecordingState::Announced;
                if waited {
                    r.not_fetched(why.clone(), now);
                }
                waited
            });
            if after
                .await?
                .is_some_and(|r| r.state == RecordingState::Parked)
            {
                fleet.metrics.recording("parked");
                tracing::error!("a recording was put aside");
            }
        }
    }
    Ok(())
}

fn failure(error: &MediaError) -> Failure {
    let text = error.to_string();
    match error {
        MediaError::TooBig(_) | MediaError::Unsupported => Failure::Final(text),
        // A page that says "come back later" has a type of its own.
        MediaError::WrongType(_)
        | MediaError::NotFound
        | MediaError::Sealed(_)
        | MediaError::Unavailable(_) => Failure::Again(text),
    }
}

async fn bring(
    fleet: &Fleet,
    store: &dyn MediaStore,
    recording: &Recording,
) -> Result<Media, MediaError> {
    let Some(carrier) = fleet.carriers.get(&recording.carrier) else {
        let why = "this process does not know the carrier".to_owned();
        return Err(MediaError::Unavailable(why));
    };
    let download = carrier.fetch(recording).await?;
    let content_type = kind(&download.content_type)?;
    let most = fleet.media.max_bytes;
    if download.bytes.is_some_and(|n| n > most) {
        return Err(MediaError::TooBig(most));
    }
    let tally = Arc::new(Mutex::new(Tally::default()));
    let body = counted(download.body, &tally, most);
    let key = key_of(recording);
    let sealed = store.put(&recording.tenant, &key, body).await?;
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    if tally.bytes == 0 || download.bytes.is_some_and(|n| n != tally.bytes) {
        return Err(MediaError::Unavailable("it broke off".to_owned()));
    }
    Ok(Media {
        key,
        bytes: tally.bytes,
        sha256: hex(&tally.hash.finalize()),
        content_type,
        sealed,
        stored_at: fleet.clock.now(),
    })
}

/// The type of what was fetched; what says nothing is taken for what we asked for.
fn kind(said: &str) -> Result<String, MediaError> {
    let bare = said.split(';').next().unwrap_or_default().trim();
    let bare = bare.to_ascii_lowercase();
    match bare.as_str() {
        "application/octet-stream" | "binary/octet-stream" | "" => {
            Ok("application/octet-stream".to_owned())
        }
        _ if bare.starts_with("audio/") && bare.len() <= 60 => Ok(bare),
        _ => {
            let shown: String = bare
                .chars()
                .filter(char::is_ascii_graphic)
                .take(60)
                .collect();
            Err(MediaError::WrongType(shown))
        }
    }
}

#[derive(Default)]
struct Tally {
    bytes: u64,
    hash: Sha256,
}

/// The same bytes, counted and hashed; more than `most` are an error.
fn counted(body: MediaStream, tally: &Arc<Mutex<Tally>>, most: u64) -> MediaStream {
    let tally = Arc::clone(tally);
    body.map(move |chunk: Result<Bytes, MediaError>| {
        let chunk = chunk?;
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if tally.bytes > most {
            return Err(MediaError::TooBig(most));
        }
        tally.hash.update(&chunk);
        Ok(chunk)
    })
    .boxed()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
