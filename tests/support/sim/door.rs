//! Where callbacks come in: any process that is up takes them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dialfleet_engine::Fleet;
use dialfleet_engine::port::carrier::RawCallback;
use dialfleet_engine::receive::{Address, ReceiveError, receive};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::chance::Kind;
use super::weather::Weather;

/// Callbacks that may wait at one process.
const WAITING: usize = 256;
/// How long a carrier waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A callback at the door.
pub(super) struct Knock {
    url: String,
    body: Bytes,
    reply: oneshot::Sender<Result<(), ReceiveError>>,
}

/// What the carrier was told.
pub(super) enum Answered {
    /// 2xx.
    Taken,
    /// 503, or no answer: send it again.
    NotNow,
    /// Anything else.
    Refused(String),
}

/// The doors of the processes that are up.
#[derive(Default)]
pub(super) struct Doors(Mutex<BTreeMap<String, mpsc::Sender<Knock>>>);

impl Doors {
    fn open(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::Sender<Knock>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process comes up.
    pub(super) fn add(&self, who: &str) -> mpsc::Receiver<Knock> {
        let (send, receive) = mpsc::channel(WAITING);
        self.open().insert(who.to_owned(), send);
        receive
    }

    /// A process is gone.
    pub(super) fn remove(&self, who: &str) {
        self.open().remove(who);
    }

    /// Brings a callback to one of them.
    pub(super) async fn knock(&self, weather: &Weather, url: &str, body: &Bytes) -> Answered {
        let door = {
            let doors = self.open();
            if doors.is_empty() {
                return Answered::NotNow;
            }
            let nth = weather.chance.index(Kind::Callback, doors.len());
            doors.values().nth(nth).cloned()
        };
        let (reply, told) = oneshot::channel();
        let knock = Knock {
            url: url.to_owned(),
            body: body.clone(),
            reply,
        };
        if door.is_none_or(|door| door.try_send(knock).is_err()) {
            return Answered::NotNow;
        }
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Ok(()))) => Answered::Taken,
            Ok(Ok(Err(ReceiveError::Unavailable)) | Err(_)) | Err(_) => Answered::NotNow,
            Ok(Ok(Err(error))) => Answered::Refused(error.to_string()),
        }
    }
}

/// The part of a process that takes callbacks, until it is to stop.
pub(super) async fn serve(fleet: &Fleet, mut knocks: mpsc::Receiver<Knock>) {
    let mut taken = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => break,
            Some(()) = taken.next() => {}
            knock = knocks.recv() => match knock {
                Some(knock) => taken.push(answer(fleet, knock)),
                None => break,
            },
        }
    }
    while taken.next().await.is_some() {}
}

async fn answer(fleet: &Fleet, knock: Knock) {
    let raw = RawCallback {
        url: knock.url,
        headers: BTreeMap::new(),
        peer: None,
        body: knock.body,
    };
    let mut parts = raw.url.rsplit('/');
    let mut part = || parts.next().unwrap_or_default();
    let (token, leg, attempt, carrier, kind) = (part(), part(), part(), part(), part());
    let answer = receive(
        fleet,
        Address {
            kind,
            carrier,
            attempt,
            leg,
            token,
        },
        &raw,
    )
    .await;
    // The carrier may have given up.
    let _ = knock.reply.send(answer);
}
