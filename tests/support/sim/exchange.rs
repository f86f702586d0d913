//! The carriers' side: the simulated network, which call belongs to which carrier, and the callbacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::call::{Ending, Party};
use dialfleet_domain::campaign::AmdMode;
use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::carrier::{
    CallRecord, CallStatus, CarrierError, CarrierProfile, CommandStyle, DialRequest,
};
use dialfleet_engine::port::store::AttemptStore;
use dialfleet_simulator::{
    CallStatus as NetStatus, CallView, Dial, HangUp, NetEvent, Network, Refused, Search, Step,
};
use serde::{Deserialize, Serialize};

use super::chance::Kind;
use super::checks::Checks;
use super::door::{Answered, Doors};
use super::faults::LIST_LAG_MAX_S;
use super::weather::Weather;

/// When a carrier sends a callback again that was not taken.
const SEND_AGAIN: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
];
/// How late a late callback is, ms.
const LATE_MS: (u64, u64) = (500, 60_000);

/// The body of a callback.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) key: String,
    pub(super) call: String,
    pub(super) statuses: Vec<CallStatus>,
}

/// What the carrier knows about a call besides the network's own view.
#[derive(Clone)]
struct Line {
    carrier: CarrierId,
    url: String,
    /// Where to ask what happens after the answer, if that is to be asked.
    flow_url: Option<String>,
    /// The steps that it was told to do.
    steps: BTreeSet<u32>,
    amd: bool,
    listed_at: Duration,
    callbacks: u32,
}

/// See the module.
pub(super) struct Exchange {
    pub(super) network: Network,
    pub(super) doors: Doors,
    pub(super) weather: Arc<Weather>,
    pub(super) checks: Arc<Checks>,
    /// The true store, to see what a request is sent for.
    store: SqliteStore,
    lines: Mutex<BTreeMap<String, Line>>,
}

impl Exchange {
    pub(super) fn new(
        network: Network,
        weather: Arc<Weather>,
        checks: Arc<Checks>,
        store: SqliteStore,
    ) -> Self {
        Self {
            network,
            doors: Doors::default(),
            weather,
            checks,
            store,
            lines: Mutex::default(),
        }
    }

    /// A process has decided to send a create-call request.
    pub(super) async fn leaves(&self, request: &DialRequest) {
        let id = std::slice::from_ref(&request.attempt);
        let found = AttemptStore::attempts(&self.store, id).await;
        let row = found.ok().and_then(|mut rows| rows.pop().flatten());
        self.checks.leaves(row.as_ref(), request);
    }

    /// A process has read the list of calls to a person as it was then.
    pub(super) fn looked(&self, phone: &E164, at: Duration) {
        self.checks.looked(phone.as_str(), at);
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A create-call request arrives.
    pub(super) fn create(
        self: &Arc<Self>,
        profile: &CarrierProfile,
        request: &DialRequest,
    ) -> Result<String, Refused> {
        let carrier = &profile.id;
        let now = self.weather.time.now();
        let dial = Dial {
            carrier: carrier.as_str().to_owned(),
            to: request.to.as_str().to_owned(),
            from: request.from.as_str().to_owned(),
            ring_timeout: Duration::from_secs(request.ring_timeout_s.into()),
            time_limit: Duration::from_secs(request.max_duration_s.into()),
            attempt_key: request.attempt.as_str().to_owned(),
            campaign_key: request.attempt.lead().campaign().as_str().to_owned(),
            leg: request.leg.to_string(),
            amd: None,
        };
        let placed = self.network.place(dial, now)?;
        let lags = self
            .weather
            .hits(Kind::CarrierTime, self.weather.faults.list_lags);
        let lag = if lags {
            self.weather
                .chance
                .ms(Kind::CarrierTime, 1, LIST_LAG_MAX_S * 1000)
        } else {
            Duration::ZERO
        };
        let asks = profile.capabilities.commands == CommandStyle::Document;
        let line = Line {
            carrier: carrier.clone(),
            url: request.callback_url.clone(),
            flow_url: (asks && request.opening.is_none()).then(|| request.flow_url.clone()),
            steps: BTreeSet::new(),
            amd: request.amd.mode != AmdMode::Off,
            listed_at: self.weather.time.elapsed() + lag,
            callbacks: 0,
        };
        self.lines().insert(placed.call_id.clone(), line);
        self.network
            .read_ledger(|ledger| self.checks.placed(ledger, request));
        let (me, call) = (Arc::clone(self), placed.call_id.clone());
        self.weather.spawn(async move {
            while let Some(wait) = me.advance(&call) {
                tokio::time::sleep(wait).await;
            }
        });
        Ok(placed.call_id)
    }

    /// Lets everything happen to a call that is due; returns when there is more.
    pub(super) fn advance(self: &Arc<Self>, call: &str) -> Option<Duration> {
        loop {
            match self.network.step(call, self.weather.time.now()) {
                Step::Event(event) => self.happened(call, event),
                Step::Wait(time) => return Some(time),
                Step::Done => return None,
            }
        }
    }

    fn happened(self: &Arc<Self>, call: &str, event: NetEvent) {
        let Some(view) = self.network.call(call) else {
            return;
        };
        self.network
            .read_ledger(|ledger| self.checks.happened(ledger, call, &view, event));
        let statuses = match event {
            NetEvent::Initiated => vec![CallStatus::Initiated],
            NetEvent::Ringing => vec![CallStatus::Ringing],
            NetEvent::Answered { party } => {
                if self.lines().get(call).is_some_and(|line| line.amd) {
                    let party = match party {
                        dialfleet_simulator::Party::Human => Party::Human,
                        dialfleet_simulator::Party::Machine => Party::Machine,
                        dialfleet_simulator::Party::Fax => Party::Fax,
                        dialfleet_simulator::Party::Silence => Party::Unknown,
                    };
                    self.call_back(
                        call,
                        vec![CallStatus::Party {
                            party,
                            detected: None,
                        }],
                    );
                }
                let flow_url = self.lines().get(call).and_then(|l| l.flow_url.clone());
                if let Some(url) = flow_url {
                    let conversation = Arc::clone(self).converse(call.to_owned(), url);
                    self.weather.spawn(conversation);
                }
                vec![CallStatus::Answered]
            }
            NetEvent::Ended { .. } => vec![status(&view)],
        };
        self.call_back(call, statuses);
    }

    pub(super) fn call_back(self: &Arc<Self>, call: &str, statuses: Vec<CallStatus>) {
        let (w, f) = (&self.weather, &self.weather.faults);
        let (url, nth) = {
            let mut lines = self.lines();
            let Some(line) = lines.get_mut(call) else {
                return;
            };
            line.callbacks += 1;
            (line.url.clone(), line.callbacks)
        };
        if w.hits(Kind::Callback, f.callback_lost) {
            w.journal.line(
                "carrier",
                format_args!("callback {} {statuses:?} lost", short(call)),
            );
            return;
        }
        let body = Body {
            key: format!("{call}/{nth}"),
            call: call.to_owned(),
            statuses,
        };
        let Ok(body) = serde_json::to_vec(&body).map(Bytes::from) else {
            return;
        };
        let copies = 1 + u32::from(w.hits(Kind::Callback, f.callback_twice));
        for _ in 0..copies {
            let late = w.hits(Kind::Callback, f.callback_late);
            let (low, high) = if late { LATE_MS } else { (1, 60) };
            let after = w.chance.ms(Kind::Callback, low, high);
            let (me, url, body) = (Arc::clone(self), url.clone(), body.clone());
            w.spawn(async move { me.deliver(after, &url, body).await });
        }
    }

    async fn deliver(&self, after: Duration, url: &str, body: Bytes) {
        tokio::time::sleep(after).await;
        for again in SEND_AGAIN.into_iter().map(Some).chain([None]) {
            match self.doors.knock(&self.weather, url, &body).await {
                Answered::Taken => return,
                Answered::NotNow => {}
                Answered::Refused(why) => {
                    self.weather
                        .fail(format!("a genuine callback was refused: {why}"));
                    return;
                }
            }
            if let Some(time) = again {
                tokio::time::sleep(time).await;
            }
        }
        self.weather
            .journal
            .line("carrier", format_args!("callback given up"));
    }

    /// Whether a call was not told to do this step before.
    pub(super) fn is_new(&self, call: &str, step: u32) -> bool {
        let mut lines = self.lines();
        let line = lines.get_mut(call);
        line.is_some_and(|line| line.steps.insert(step))
    }

    /// The caller wants a call ended.
    pub(super) fn hang_up(self: &Arc<Self>, call: &CarrierCallId) -> Result<(), CarrierError> {
        self.weather
            .journal
            .line("carrier", format_args!("hang up {}", short(call.as_str())));
        match self.network.hang_up(call.as_str(), self.weather.time.now()) {
            HangUp::Cut => {
                self.advance(call.as_str());
                Ok(())
            }
            HangUp::AlreadyEnded => Err(CarrierError::AlreadyEnded),
            HangUp::Unknown => Err(CarrierError::NotFound),
        }
    }

    /// What the carrier's record of a call says, if it is listed yet.
    pub(super) fn look(&self, call: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        let listed = self.is_listed(call.as_str(), None);
        let view = self.network.call(call.as_str()).filter(|_| listed);
        view.as_ref().and_then(record).ok_or(CarrierError::NotFound)
    }

    /// The records of a carrier's calls among those that are looked for, if `wanted` accepts them; newest
    /// first.
    pub(super) fn list(
        &self,
        carrier: &CarrierId,
        search: &Search<'_>,
        wanted: impl Fn(&CallView) -> bool,
    ) -> Vec<CallRecord> {
        let views = self.network.calls(search, wanted);
        views
            .iter()
            .filter(|view| self.is_listed(&view.call_id, Some(carrier)))
            .filter_map(record)
            .collect()
    }

    fn is_listed(&self, call: &str, carrier: Option<&CarrierId>) -> bool {
        let now = self.weather.time.elapsed();
        let lines = self.lines();
        lines.get(call).is_some_and(|line| {
            line.listed_at <= now && carrier.is_none_or(|id| line.carrier == *id)
        })
    }
}

/// The first digits of a call id.
pub(super) fn short(call: &str) -> &str {
    call.get(..8).unwrap_or(call)
}

fn record(view: &CallView) -> Option<CallRecord> {
    // Carriers write whole seconds.
    let placed = view.placed_at.millis();
    Some(CallRecord {
        call_id: CarrierCallId::parse(view.call_id.clone()).ok()?,
        to: view.dial.to.clone(),
        from: view.dial.from.clone(),
        created_at: Some(Timestamp::from_millis(placed - placed.rem_euclid(1000))),
        status: status(view),
    })
}

fn status(view: &CallView) -> CallStatus {
    let ending = match view.status {
        NetStatus::Queued | NetStatus::Initiated => return CallStatus::Initiated,
        NetStatus::Ringing => return CallStatus::Ringing,
        NetStatus::InProgress => return CallStatus::Answered,
        NetStatus::Completed => Ending::Completed,
        NetStatus::Busy => Ending::Busy,
        NetStatus::NoAnswer => Ending::NoAnswer,
        NetStatus::Failed => Ending::from_sip(view.sip.unwrap_or(500), false),
        NetStatus::Canceled => Ending::Canceled,
    };
    let duration_s = view
        .duration
        .and_then(|time| u32::try_from(time.as_secs()).ok());
    CallStatus::Ended {
        ending,
        duration_s,
        sip: view.sip,
    }
}
