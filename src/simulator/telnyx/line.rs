//! What Telnyx remembers of a call besides the network: its state, its commands, its events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dialfleet_domain::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Front;
use super::conversation::Task;
use super::request::CallRequest;
use super::webhook;
use super::wire::{Names, iso8601, uuid};
use crate::courier::Courier;
use crate::timetable::CallStatus;

/// Duplicates of a command are ignored for so long.
const COMMAND_WINDOW: Duration = Duration::from_secs(60);
/// Calls kept after their end.
const KEPT: usize = 20_000;

/// One call.
pub(super) struct Line {
    pub(super) request: Arc<CallRequest>,
    pub(super) courier: Courier,
    pub(super) names: Names,
    /// Of the newest command that had one: goes with every event from then on.
    pub(super) client_state: Option<String>,
    /// Commands seen, and when.
    commands: BTreeMap<String, Timestamp>,
    /// Where its conversation takes what is to be heard; from the answer to the end.
    pub(super) tasks: Option<mpsc::Sender<Task>>,
    /// Ends with the call.
    pub(super) over: CancellationToken,
    /// Ends with the newest stream.
    pub(super) stream: CancellationToken,
    /// We were asked to hang up.
    pub(super) hung_up: bool,
    /// `GET /v2/call_events`, oldest first.
    pub(super) events: Vec<Row>,
}

/// One event or command of a call.
pub(super) struct Row {
    pub(super) at: Timestamp,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) metadata: Value,
}

impl Line {
    /// Notes a command. `false`: it was seen within the last minute and is ignored.
    pub(super) fn command(&mut self, id: Option<&str>, now: Timestamp) -> bool {
        let Some(id) = id else { return true };
        let seen = self.commands.insert(id.to_owned(), now);
        seen.is_none_or(|at| now.since(at) >= COMMAND_WINDOW)
    }

    /// Notes a command among the events.
    pub(super) fn log_command(&mut self, at: Timestamp, name: &str, metadata: Value) {
        self.events.push(Row {
            at,
            kind: "command",
            name: name.to_owned(),
            metadata,
        });
    }

    /// Tells the client, with `state` instead of the call's own if the event is a command's.
    pub(super) fn tell(
        &mut self,
        front: &Arc<Front>,
        event: (&str, CallStatus),
        state: Option<String>,
        extra: &Value,
    ) {
        self.tell_at(None, front, event, state, extra);
    }

    /// The same, at another address.
    pub(super) fn tell_at(
        &mut self,
        url: Option<String>,
        front: &Arc<Front>,
        (name, status): (&str, CallStatus),
        state: Option<String>,
        extra: &Value,
    ) {
        let now = front.office.now();
        let dial = self.request.dial(&front.name);
        let mut payload = json!({
            "call_control_id": self.names.control,
            "call_leg_id": self.names.leg,
            "call_session_id": self.names.session,
            "connection_id": front.connection_id,
            "client_state": state.or_else(|| self.client_state.clone()),
            "from": dial.from,
            "to": dial.to,
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            payload[key] = value.clone();
        }
        // As published.
        let without: &[&str] = match name {
            "call.cost" => &["from", "to"],
            name if name.starts_with("call.recording.") => &["call_control_id"],
            _ => &[],
        };
        for key in without {
            payload.as_object_mut().map(|p| p.remove(*key));
        }
        let hex: String = self.names.leg.chars().filter(|c| *c != '-').collect();
        let id = uuid(&format!("{}{:012x}", &hex[..20], self.events.len()));
        let event = json!({
            "record_type": "event",
            "event_type": name,
            "id": id,
            "occurred_at": iso8601(now),
            "payload": payload,
        });
        self.events.push(Row {
            at: now,
            kind: "webhook",
            name: name.to_owned(),
            metadata: json!({ "event": event }),
        });
        if let Some(url) = url.or_else(|| self.request.webhook_url.clone()) {
            let pauses = self.request.retries(name);
            let parcel = |_| webhook::parcel(front, event, &url, pauses);
            self.courier.send(status, parcel);
        }
    }
}

/// The calls of an account, by the network's id, and the Dial commands.
#[derive(Default)]
pub(super) struct Lines {
    calls: BTreeMap<String, Line>,
    ended: VecDeque<String>,
    /// What was answered to each command; `None` while it is under way.
    dials: BTreeMap<String, (Timestamp, Option<String>)>,
    recent: VecDeque<Timestamp>,
}

/// What becomes of a Dial command.
pub(super) enum Admission {
    /// It is executed.
    Fresh,
    /// It was seen within the last minute: ignored, and answered as it was then.
    Repeated(Option<String>),
    /// Too many within five seconds.
    TooMany,
}

impl Lines {
    /// Notes a Dial command; at most `dps` each second, reckoned over five.
    pub(super) fn admit(&mut self, command: Option<&str>, dps: u32, now: Timestamp) -> Admission {
        self.dials
            .retain(|_, (at, _)| now.since(*at) < COMMAND_WINDOW);
        if let Some((_, answer)) = command.and_then(|id| self.dials.get(id)) {
            return Admission::Repeated(answer.clone());
        }
        let window = Duration::from_secs(5);
        while self
            .recent
            .front()
            .is_some_and(|at| now.since(*at) >= window)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= usize::try_from(dps).unwrap_or(usize::MAX).saturating_mul(5) {
            return Admission::TooMany;
        }
        self.recent.push_back(now);
        if let Some(id) = command {
            self.dials.insert(id.to_owned(), (now, None));
        }
        Admission::Fresh
    }

    /// The command placed a call; this is its answer.
    pub(super) fn placed(&mut self, command: Option<&str>, answer: &str) {
        if let Some((_, kept)) = command.and_then(|id| self.dials.get_mut(id)) {
            *kept = Some(answer.to_owned());
        }
    }

    /// The command came to nothing: it may be given again.
    pub(super) fn failed(&mut self, command: Option<&str>) {
        if let Some(id) = command
            && self
                .dials
                .get(id)
                .is_some_and(|(_, answer)| answer.is_none())
        {
            self.dials.remove(id);
        }
    }

    pub(super) fn open(&mut self, call_id: String, line: Line) {
        self.calls.insert(call_id, line);
    }

    pub(super) fn get(&self, call_id: &str) -> Option<&Line> {
        self.calls.get(call_id)
    }

    pub(super) fn get_mut(&mut self, call_id: &str) -> Option<&mut Line> {
        self.calls.get_mut(call_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.calls.values()
    }

    pub(super) fn ended(&mut self, call_id: &str) {
        self.ended.push_back(call_id.to_owned());
        if self.ended.len() > KEPT
            && let Some(old) = self.ended.pop_front()
        {
            self.calls.remove(&old);
        }
    }

    pub(super) fn vanished(&mut self, call_id: &str) {
        if let Some(line) = self.calls.remove(call_id) {
            line.over.cancel();
            line.courier.abandon();
        }
    }
}

impl Line {
    pub(super) fn new(request: Arc<CallRequest>, call_id: &str, courier: Courier) -> Self {
        Self {
            client_state: request.client_state.clone(),
            request,
            courier,
            names: Names::of(call_id),
            commands: BTreeMap::new(),
            tasks: None,
            over: CancellationToken::new(),
            stream: CancellationToken::new(),
            hung_up: false,
            events: Vec::new(),
        }
    }
}
