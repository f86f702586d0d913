//! Questions about calls.
//!
//! * The status of a call says whether it lives, not whether it was answered or how it ended, and is
//!   forgotten 10 minutes after the end. The answer is among the call's events; the cause is in the
//!   record of its `call.hangup` webhook, delivered or not, or among the events.
//! * Calls to a number are found among the call events of the last 24 hours and among the active
//!   calls, which tell whose they are by their `client_state`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::DateTime;
use dialfleet_domain::call::Ending;
use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::carrier::{CallRecord, CallStatus, CarrierError};
use serde::Deserialize;
use serde_json::Value;

use super::http::Api;
use super::record::Hangup;
use super::state::State;

/// So long after a call's end its cause may still be on its way into the records.
const CAUSE_LAG: Duration = Duration::from_secs(120);
/// How deep `metadata` of a call event is searched: what is in it is not documented, except that it
/// includes the raw event.
const MAX_DEPTH: usize = 4;

/// `GET /v2/calls/{call_control_id}`.
#[derive(Deserialize)]
struct Status {
    call_control_id: String,
    #[serde(default)]
    call_leg_id: Option<String>,
    #[serde(default)]
    client_state: Option<String>,
    is_alive: bool,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default)]
    end_time: Option<String>,
}

/// A row of `GET /v2/connections/{connection_id}/active_calls`.
#[derive(Deserialize)]
struct Active {
    call_control_id: String,
    #[serde(default)]
    call_leg_id: Option<String>,
    #[serde(default)]
    client_state: Option<String>,
    #[serde(default)]
    call_duration: Option<u64>,
}

/// A row of `GET /v2/call_events`.
#[derive(Deserialize)]
struct Event {
    call_leg_id: String,
    event_timestamp: String,
    name: String,
    #[serde(default)]
    metadata: Value,
}

/// A row of `GET /v2/webhook_deliveries`.
#[derive(Deserialize)]
struct Delivery {
    webhook: Webhook,
}

#[derive(Deserialize)]
struct Webhook {
    #[serde(default)]
    event_type: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// What the carrier knows of one call.
pub(super) async fn call(
    api: &Api,
    call: &CarrierCallId,
    now: Timestamp,
) -> Result<CallRecord, CarrierError> {
    let status: Status = match api.get(&["calls", call.as_str()]).await {
        Ok(status) => status,
        // Forgotten; its webhooks are remembered longer.
        Err(CarrierError::NotFound) => {
            let end = end_of(api, call, None).await?;
            let end = end.ok_or(CarrierError::NotFound)?;
            return Ok(record(call.clone(), None, None, end));
        }
        Err(error) => return Err(error),
    };
    if status.call_control_id != call.as_str() {
        return Err(api.unreadable("it is about another call"));
    }
    let state = status.client_state.as_deref().and_then(State::decode);
    let began = status.start_time.map(|at| time(api, &at)).transpose()?;
    // Right after Dial a call is not alive yet: only the end says that it is over.
    let ended = status.end_time.filter(|_| !status.is_alive);
    let Some(ended) = ended else {
        let state_of = match status.call_leg_id.filter(|_| status.is_alive) {
            Some(leg) if is_answered(api, &leg).await? => CallStatus::Answered,
            Some(_) | None => CallStatus::Initiated,
        };
        return Ok(record(call.clone(), state.as_ref(), began, state_of));
    };
    let ended = time(api, &ended)?;
    let end = match end_of(api, call, status.call_leg_id.as_deref()).await? {
        Some(end) => end,
        None if now.since(ended) < CAUSE_LAG => {
            return Err(CarrierError::Unavailable(
                "the call is over, and its cause is not in the records yet".to_owned(),
            ));
        }
        // Nobody will say any more: an attempt, to be repeated hours later.
        None => CallStatus::Ended {
            ending: Ending::Unreachable,
            duration_s: None,
            sip: None,
        },
    };
    Ok(record(call.clone(), state.as_ref(), began, end))
}

async fn is_answered(api: &Api, leg: &str) -> Result<bool, CarrierError> {
    let events = events_of(api, leg).await?;
    Ok(events.iter().any(|event| event.name == "call.answered"))
}

/// The events of one call.
async fn events_of(api: &Api, leg: &str) -> Result<Vec<Event>, CarrierError> {
    let filter = [("filter[leg_id]", leg)];
    let mut events: Vec<Event> = api.list(&["call_events"], &filter).await?;
    events.retain(|event| event.call_leg_id == leg);
    Ok(events)
}

/// How a call ended, by the record of its webhook or by its events; `None` when neither knows.
async fn end_of(
    api: &Api,
    call: &CarrierCallId,
    leg: Option<&str>,
) -> Result<Option<CallStatus>, CarrierError> {
    let filters = [
        ("filter[event_type]", "call.hangup"),
        ("filter[webhook][contains]", call.as_str()),
    ];
    let deliveries: Vec<Delivery> = api.list(&["webhook_deliveries"], &filters).await?;
    let of_call = |payload: &Value| payload["call_control_id"] == call.as_str();
    let found = deliveries
        .into_iter()
        .map(|delivery| delivery.webhook)
        .filter(|webhook| webhook.event_type.as_deref() == Some("call.hangup"))
        .find(|webhook| of_call(&webhook.payload));
    if let Some(webhook) = found {
        return hangup(api, webhook.payload).map(Some);
    }
    let Some(leg) = leg else { return Ok(None) };
    let end = events_of(api, leg)
        .await?
        .into_iter()
        .filter(|event| event.name == "call.hangup")
        .find_map(|event| holder(event.metadata, "hangup_cause"));
    end.map(|payload| hangup(api, payload)).transpose()
}

/// Every call that is live now.
pub(super) async fn live(
    api: &Api,
    connection: &str,
    now: Timestamp,
) -> Result<Vec<CallRecord>, CarrierError> {
    let calls = active(api, connection).await?;
    let records = calls.into_iter().map(|call| call.record(api, now));
    records.collect()
}

async fn active(api: &Api, connection: &str) -> Result<Vec<Active>, CarrierError> {
    let path = ["connections", connection, "active_calls"];
    let mut calls: Vec<Active> = api.list(&path, &[]).await?;
    // A transfer's other leg rings somebody else, and ends with the call that it is for.
    calls.retain(|call| call.state().is_none_or(|state| state.of.is_none()));
    Ok(calls)
}

impl Active {
    fn state(&self) -> Option<State> {
        State::decode(self.client_state.as_deref()?)
    }

    /// It began when its duration says: later rather than sooner, whatever the duration counts from.
    fn record(self, api: &Api, now: Timestamp) -> Result<CallRecord, CarrierError> {
        let state = self.state();
        let lasts = self.call_duration.map(Duration::from_secs);
        let began = lasts.map(|lasts| now - lasts);
        let call_id = name(api, self.call_control_id)?;
        Ok(record(
            call_id,
            state.as_ref(),
            began,
            CallStatus::Initiated,
        ))
    }
}

/// What the events of a call say.
struct Story {
    began: Timestamp,
    call_id: Option<String>,
    answered: bool,
    end: Option<CallStatus>,
}

/// Every call from one number to the other, newest first.
pub(super) async fn find(
    api: &Api,
    connection: &str,
    (to, from): (&E164, &E164),
    now: Timestamp,
) -> Result<Vec<CallRecord>, CarrierError> {
    let filters = [("filter[to]", to.as_str()), ("filter[from]", from.as_str())];
    let events: Vec<Event> = api.list(&["call_events"], &filters).await?;
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    for event in events {
        let at = time(api, &event.event_timestamp)?;
        let story = stories.entry(event.call_leg_id).or_insert(Story {
            began: at,
            call_id: None,
            answered: false,
            end: None,
        });
        story.began = story.began.min(at);
        story.answered |= event.name == "call.answered";
        if let Some(holder) = holder_of(&event.metadata, "call_control_id", MAX_DEPTH) {
            let call_id = holder["call_control_id"].as_str();
            story.call_id = story.call_id.take().or(call_id.map(str::to_owned));
        }
        if event.name == "call.hangup" && story.end.is_none() {
            let payload = holder(event.metadata, "hangup_cause").unwrap_or_default();
            story.end = Some(hangup(api, payload)?);
        }
    }
    // Second, so that a call that began while the events were read is in one of the two.
    let mut live = active(api, connection).await?;
    let mut records = Vec::new();
    for (leg, story) in stories {
        let same = |call: &Active| call.call_leg_id.as_deref() == Some(leg.as_str());
        let alive = live.iter().position(same).map(|at| live.swap_remove(at));
        let named = alive.map(|call| call.call_control_id).or(story.call_id);
        let call_id = match named {
            Some(named) => named,
            None => named_by_webhooks(api, &leg).await?,
        };
        let status = match (story.end, story.answered) {
            (Some(end), _) => end,
            (None, true) => CallStatus::Answered,
            (None, false) => CallStatus::Initiated,
        };
        records.push(CallRecord {
            call_id: name(api, call_id)?,
            to: to.as_str().to_owned(),
            from: from.as_str().to_owned(),
            created_at: Some(story.began),
            status,
        });
    }
    for call in live {
        let state = call.state();
        if state.is_some_and(|state| state.to == *to && state.from == *from) {
            records.push(call.record(api, now)?);
        }
    }
    records.sort_by_key(|record| std::cmp::Reverse(record.created_at));
    Ok(records)
}

/// The name of a call whose events do not tell it. Without one the list is not complete.
async fn named_by_webhooks(api: &Api, leg: &str) -> Result<String, CarrierError> {
    let filter = [("filter[webhook][contains]", leg)];
    let deliveries: Vec<Delivery> = api.list(&["webhook_deliveries"], &filter).await?;
    deliveries
        .iter()
        .map(|delivery| &delivery.webhook.payload)
        .filter(|payload| payload["call_leg_id"] == leg)
        .find_map(|payload| payload["call_control_id"].as_str())
        .map(str::to_owned)
        .ok_or_else(|| api.unreadable("a call without a call_control_id is in it"))
}

fn record(
    call_id: CarrierCallId,
    state: Option<&State>,
    created_at: Option<Timestamp>,
    status: CallStatus,
) -> CallRecord {
    CallRecord {
        call_id,
        to: state.map_or_else(String::new, |state| state.to.as_str().to_owned()),
        from: state.map_or_else(String::new, |state| state.from.as_str().to_owned()),
        created_at,
        status,
    }
}

fn name(api: &Api, call_id: String) -> Result<CarrierCallId, CarrierError> {
    CarrierCallId::parse(call_id).map_err(|error| api.unreadable(&error.to_string()))
}

/// Proof of absence compares these: a guess will not do.
fn time(api: &Api, text: &str) -> Result<Timestamp, CarrierError> {
    let at = DateTime::parse_from_rfc3339(text)
        .map_err(|_| api.unreadable("a time in it is not ISO 8601"))?;
    Ok(Timestamp::from_millis(at.timestamp_millis()))
}

fn hangup(api: &Api, payload: Value) -> Result<CallStatus, CarrierError> {
    let hangup: Hangup =
        serde_json::from_value(payload).map_err(|error| api.unreadable(&error.to_string()))?;
    Ok(hangup.status())
}

/// The object in `value` that has `key`.
fn holder(value: Value, key: &str) -> Option<Value> {
    holder_of(&value, key, MAX_DEPTH).cloned()
}

fn holder_of<'a>(value: &'a Value, key: &str, depth: usize) -> Option<&'a Value> {
    let fields = value.as_object()?;
    if fields.contains_key(key) {
        return Some(value);
    }
    let deeper = depth.checked_sub(1)?;
    fields
        .values()
        .find_map(|inner| holder_of(inner, key, deeper))
}
