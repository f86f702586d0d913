//! Where callbacks come in, and questions on calls: any process that is up takes them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dialfleet_engine::Fleet;
use dialfleet_engine::converse::{Place, converse};
use dialfleet_engine::port::carrier::{Document, RawCallback};
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

/// How long it waits for an answer to a question on a call.
const QUESTION_PATIENCE: Duration = Duration::from_secs(15);

/// A request at the door.
pub(super) struct Knock {
    url: String,
    body: Bytes,
    reply: Reply,
}

/// Who waits for what.
enum Reply {
    /// A callback, until it is safe.
    Taken(oneshot::Sender<Result<(), ReceiveError>>),
    /// A question on a call.
    Page(oneshot::Sender<Result<Document, ReceiveError>>),
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

/// The answer to a question.
pub(super) enum Told {
    Page(String),
    /// Nobody answered.
    Nothing,
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

    /// Stands before one of them. Returns whether somebody is there.
    fn stand(&self, weather: &Weather, (url, body): (&str, &Bytes), reply: Reply) -> bool {
        let doors = self.open();
        if doors.is_empty() {
            return false;
        }
        let nth = weather.chance.index(Kind::Callback, doors.len());
        let knock = Knock {
            url: url.to_owned(),
            body: body.clone(),
            reply,
        };
        let door = doors.values().nth(nth);
        door.is_some_and(|door| door.try_send(knock).is_ok())
    }

    /// Brings a question to one of them.
    pub(super) async fn ask(&self, weather: &Weather, url: &str, body: &Bytes) -> Told {
        let (reply, told) = oneshot::channel();
        if !self.stand(weather, (url, body), Reply::Page(reply)) {
            return Told::Nothing;
        }
        match tokio::time::timeout(QUESTION_PATIENCE, told).await {
            Ok(Ok(Ok(page))) => Told::Page(page.body),
            Ok(Ok(Err(error))) => Told::Refused(error.to_string()),
            Ok(Err(_)) | Err(_) => Told::Nothing,
        }
    }

    /// Brings a callback to one of them.
    pub(super) async fn knock(&self, weather: &Weather, url: &str, body: &Bytes) -> Answered {
        let (reply, told) = oneshot::channel();
        if !self.stand(weather, (url, body), Reply::Taken(reply)) {
            return Answered::NotNow;
        }
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(Ok(()))) => Answered::Taken,
            Ok(Ok(Err(ReceiveError::Unavailable)) | Err(_)) | Err(_) => Answered::NotNow,
            Ok(Ok(Err(error))) => Answered::Refused(error.to_string()),
        }
    }
}

/// The part of a process that answers carriers, until it is to stop.
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
    let (path, query) = raw.url.split_once("/flow?").unwrap_or((&raw.url, ""));
    let mut parts = path.rsplit('/');
    let mut part = || parts.next().unwrap_or_default();
    let (token, leg, attempt, carrier, kind) = (part(), part(), part(), part(), part());
    let address = Address {
        kind,
        carrier,
        attempt,
        leg,
        token,
    };
    // The carrier may have given up by the time of the answer.
    match knock.reply {
        Reply::Taken(tell) => {
            let _ = tell.send(receive(fleet, address, &raw).await);
        }
        Reply::Page(tell) => {
            let _ = tell.send(converse(fleet, address, &place(query), &raw).await);
        }
    }
}

fn place(query: &str) -> Place {
    let mut place = Place::default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "t" => place.turn = value.parse().unwrap_or(u32::MAX),
            "o" => place.opt_out = value.to_owned(),
            _ => {}
        }
    }
    place
}
