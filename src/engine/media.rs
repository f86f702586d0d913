//! What is done with recordings: fetched, written down, deleted. The store says what is due, and a
//! compare-and-set who does it, so that any process may take over from one that died; no message is
//! needed for that.

mod fetch;
mod transcribe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dialfleet_domain::id::RecordingId;
use dialfleet_domain::recording::{Recording, RecordingState, Work};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;

use crate::fleet::Fleet;
use crate::port::media::{MediaError, MediaStore, Transcriber};
use crate::port::store::{Answer, Cas};

/// Recordings worked on at once, per process.
const SIDE_BY_SIDE: usize = 16;
/// Between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// While the storage does not delete.
const DELETE_AGAIN: Duration = Duration::from_secs(60);
/// How long work may go on when this process is to stop.
const GRACE: Duration = Duration::from_secs(3);
/// Left of a lease for writing down what came of it.
const MARGIN: Duration = Duration::from_secs(5);
/// Tries of a compare-and-set against others, each of whom made progress.
const TRIES: usize = 20;
/// Bytes of a recording, unless the configuration says otherwise.
pub const MAX_BYTES: u64 = 200 * 1024 * 1024;

/// Where this process keeps recordings, and who writes them down.
pub struct MediaRoom {
    store: Option<Arc<dyn MediaStore>>,
    transcriber: Option<Arc<dyn Transcriber>>,
    max_bytes: u64,
    news: Notify,
}

impl MediaRoom {
    /// For a process that has to do with recordings.
    #[must_use]
    pub fn new(
        store: Arc<dyn MediaStore>,
        transcriber: Option<Arc<dyn Transcriber>>,
        max_bytes: u64,
    ) -> Self {
        Self {
            store: Some(store),
            transcriber,
            max_bytes,
            news: Notify::new(),
        }
    }

    /// For one that has not.
    #[must_use]
    pub fn none() -> Self {
        Self {
            store: None,
            transcriber: None,
            max_bytes: 0,
            news: Notify::new(),
        }
    }

    /// Whether there is a place to keep recordings.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.store.is_some()
    }

    /// Where they are kept.
    #[must_use]
    pub fn store(&self) -> Option<&dyn MediaStore> {
        self.store.as_deref()
    }

    /// Something is due.
    pub(crate) fn tell(&self) {
        self.news.notify_one();
    }
}

/// Changes a recording with a compare-and-set, reading it again whenever somebody was faster. `None`:
/// there was nothing to change, or nothing is there.
pub(crate) async fn amend(
    fleet: &Fleet,
    mut recording: Recording,
    change: impl Fn(&mut Recording) -> bool,
) -> Answer<Option<Recording>> {
    for _ in 0..TRIES {
        let expected = recording.version;
        if !change(&mut recording) {
            return Ok(None);
        }
        match fleet.store.save_recording(&recording, expected).await? {
            Cas::Won => return Ok(Some(recording)),
            Cas::Lost => match fleet.store.recording(&recording.id).await? {
                Some(fresh) => recording = fresh,
                None => return Ok(None),
            },
        }
    }
    fleet.metrics.violation("cas_exhausted");
    tracing::error!(recording = %recording.id, "a recording could not be written in {TRIES} tries");
    Ok(None)
}

/// Works until this process is to stop.
pub(crate) async fn run(fleet: &Fleet) {
    let mut under_way: BTreeMap<RecordingId, Recording> = BTreeMap::new();
    let mut work = FuturesUnordered::new();
    loop {
        let room = SIDE_BY_SIDE.saturating_sub(work.len());
        match take_on(fleet, room).await {
            Ok(claimed) => {
                for (recording, what) in claimed {
                    under_way.insert(recording.id.clone(), recording.clone());
                    work.push(done(fleet, recording, what));
                }
            }
            Err(error) => tracing::warn!(%error, "it is not known which recordings are due"),
        }
        tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => break,
            Some(id) = work.next(), if !work.is_empty() => { under_way.remove(&id); }
            () = fleet.media.news.notified() => {}
            () = fleet.clock.sleep(TICK) => {}
        }
    }
    let grace = fleet.clock.sleep(GRACE);
    let mut grace = std::pin::pin!(grace);
    loop {
        tokio::select! {
            biased;
            next = work.next() => match next {
                Some(id) => { under_way.remove(&id); }
                None => return,
            },
            () = &mut grace => break,
        }
    }
    drop(work);
    // What is left need not wait for its lease to end.
    let now = fleet.clock.now();
    let left = under_way.into_values().map(|claimed| async move {
        let (mut back, expected) = (claimed.clone(), claimed.version);
        back.put_off(Some(now));
        fleet.store.save_recording(&back, expected).await
    });
    join_all(left).await;
}

/// Claims what is due, at most `room`.
async fn take_on(fleet: &Fleet, room: usize) -> Answer<Vec<(Recording, Work)>> {
    if room == 0 {
        return Ok(Vec::new());
    }
    let now = fleet.clock.now();
    let mut due = fleet.store.due_recordings(now, room * 2).await?;
    if due.len() > room {
        // Others look at the same list.
        let first = fleet.entropy.draw() % u64::try_from(due.len()).unwrap_or(1);
        due.rotate_left(usize::try_from(first).unwrap_or(0));
        due.truncate(room);
    }
    let claims = due.into_iter().map(|mut recording| async move {
        let (what, expected) = (recording.work(now), recording.version);
        match what {
            Work::Wait => recording.put_off(recording.expires_at().filter(|at| *at > now)),
            Work::Fetch | Work::Transcribe | Work::Expire | Work::Sweep => recording.claim(now),
        }
        let saved = fleet.store.save_recording(&recording, expected).await?;
        Ok((saved == Cas::Won && what != Work::Wait).then_some((recording, what)))
    });
    let claims: Vec<Answer<Option<_>>> = join_all(claims).await;
    let mut claimed = Vec::with_capacity(claims.len());
    for claim in claims {
        match claim {
            Ok(one) => claimed.extend(one),
            // Perhaps it is ours; then its lease ends.
            Err(error) => tracing::warn!(%error, "a recording could not be claimed"),
        }
    }
    Ok(claimed)
}

/// Does what is due with a claimed recording, and returns its id.
async fn done(fleet: &Fleet, recording: Recording, what: Work) -> RecordingId {
    let id = recording.id.clone();
    let answer = match what {
        Work::Fetch => fetch::fetch(fleet, recording).await,
        Work::Transcribe => transcribe::transcribe(fleet, recording).await,
        Work::Expire => expire(fleet, recording).await,
        Work::Sweep => sweep(fleet, recording).await,
        Work::Wait => Ok(()),
    };
    if let Err(error) = answer {
        tracing::warn!(%error, recording = %id, "what came of a recording could not be written; it will be done again");
    }
    id
}

/// Its time is over.
async fn expire(fleet: &Fleet, recording: Recording) -> Answer<()> {
    let now = fleet.clock.now();
    let deleted = amend(fleet, recording, |r| {
        let over = r.state == RecordingState::Stored;
        if over {
            r.deleted(now);
        }
        over
    });
    match deleted.await? {
        Some(deleted) => {
            fleet.metrics.recording("expired");
            sweep(fleet, deleted).await
        }
        None => Ok(()),
    }
}

/// Lets go of what is in the storage of a deleted recording.
pub(crate) async fn sweep(fleet: &Fleet, recording: Recording) -> Answer<()> {
    fleet.store.delete_transcript(&recording.id).await?;
    let gone = match (&recording.media, fleet.media.store()) {
        (None, _) => Ok(()),
        (Some(media), Some(store)) => store.delete(&media.key).await,
        (Some(_), None) => Err(MediaError::Unavailable(
            "this process has no storage".to_owned(),
        )),
    };
    let now = fleet.clock.now();
    amend(fleet, recording, |r| {
        if r.state != RecordingState::Deleted {
            return false;
        }
        match &gone {
            Ok(()) => {
                r.swept(now);
            }
            Err(why) => {
                tracing::warn!(recording = %r.id, %why, "a deleted recording is still in the storage; trying again");
                r.put_off(Some(now + DELETE_AGAIN));
            }
        }
        true
    })
    .await?;
    Ok(())
}
