//! Webhooks: is it genuine, does it belong to the address it came to, and what does it say?

use dialfleet_domain::call::Ending;
use dialfleet_domain::flow::Input;
use dialfleet_domain::flow::action::Keys;
use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::money::Money;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::carrier::{CallStatus, CallbackNews, CallbackRefused, RawCallback};
use serde::Deserialize;
use serde_json::Value;

use super::record::{self, Hangup};
use super::recording::Saved;
use super::signature::PublicKey;
use super::state::State;

/// Keys become part of a document id.
const MAX_KEY: usize = 100;

#[derive(Deserialize)]
struct Envelope {
    data: Event,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    event_type: String,
    #[serde(default)]
    payload: Payload,
}

#[derive(Deserialize, Default)]
struct Payload {
    #[serde(default)]
    call_control_id: Option<String>,
    #[serde(default)]
    connection_id: Option<String>,
    #[serde(default)]
    client_state: Option<String>,
    /// Of a detection, or the end of a greeting.
    #[serde(default)]
    result: Option<String>,
    /// Of a call's cost: one part for each leg and service.
    #[serde(default)]
    cost_parts: Option<Value>,
    /// Of a command that ended.
    #[serde(default)]
    status: Option<Value>,
    /// The keys that were gathered.
    #[serde(default)]
    digits: Option<String>,
    /// Why a queue was left.
    #[serde(default)]
    reason: Option<String>,
    #[serde(flatten)]
    hangup: Hangup,
    #[serde(flatten)]
    saved: Saved,
}

/// Verifies `raw` and reads it.
///
/// The signature covers the time and the body, not the address: the state inside the body says for
/// which leg of which attempt Telnyx sends it, and that must be the one in the address. So a genuine
/// webhook cannot be posted to another call's address.
pub(super) fn read(
    connection_id: &str,
    key: &PublicKey,
    raw: &RawCallback,
    now: Timestamp,
) -> Result<CallbackNews, CallbackRefused> {
    let header = |name: &str| raw.headers.get(name).ok_or(CallbackRefused::Forged);
    let signature = header("telnyx-signature-ed25519")?;
    let timestamp = header("telnyx-timestamp")?;
    if !key.verifies(signature, timestamp, &raw.body, now) {
        return Err(CallbackRefused::Forged);
    }
    let unreadable = |why: &str| CallbackRefused::Unreadable(why.to_owned());
    let envelope: Envelope = serde_json::from_slice(&raw.body)
        .map_err(|_| unreadable("it is not an event of API version 2"))?;
    let event = envelope.data;
    // The key is the whole account's; the call must be of the application that we dial with.
    let connection = event.payload.connection_id.as_deref();
    if connection.is_some_and(|id| id != connection_id) {
        return Err(CallbackRefused::Forged);
    }
    let state = event.payload.client_state.as_deref().unwrap_or_default();
    let state =
        State::decode(state).ok_or_else(|| unreadable("its client_state is not one of ours"))?;
    if !state.belongs_to(&raw.url) {
        return Err(CallbackRefused::Forged);
    }
    let plain = |text: &str| {
        (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    if !plain(&event.id) {
        return Err(unreadable("it has no usable id"));
    }
    let mut event = event;
    let saved = std::mem::take(&mut event.payload.saved);
    let is_saved = event.event_type == "call.recording.saved";
    // That event need not name the call as the others do.
    let leg = saved.call_leg_id.clone().filter(|_| is_saved);
    let call_id = event.payload.call_control_id.clone().or(leg);
    let call_id = call_id.unwrap_or_default();
    let call_id = CarrierCallId::parse(call_id)
        .map_err(|_| unreadable("it has no usable call_control_id"))?;
    let (call_id, statuses) = match state.of {
        None => (call_id, statuses(&event, state.step)),
        // The other leg of a transfer: it is the person's call that goes on, or not.
        Some(ours) => (ours, transferred(&event, state.step)),
    };
    Ok(CallbackNews {
        statuses,
        recording: is_saved.then(|| saved.news()).flatten(),
        event_key: event.id,
        call_id,
    })
}

/// What the leg of a transfer says when it is over.
fn transferred(event: &Event, step: Option<u32>) -> Vec<CallStatus> {
    let (true, Some(step)) = (event.event_type == "call.hangup", step) else {
        return Vec::new();
    };
    let connected = matches!(
        event.payload.hangup.status(),
        CallStatus::Ended {
            ending: Ending::Completed,
            ..
        }
    );
    let input = Input::Transferred { connected };
    vec![CallStatus::StepEnded { step, input }]
}

/// What it says; nothing, if it is about something that we do not follow.
fn statuses(event: &Event, step: Option<u32>) -> Vec<CallStatus> {
    let payload = &event.payload;
    let detected = |detected| vec![CallStatus::detected(detected)];
    let result = payload.result.as_deref().unwrap_or_default();
    match event.event_type.as_str() {
        "call.initiated" => vec![CallStatus::Initiated],
        "call.answered" => vec![CallStatus::Answered],
        "call.hangup" => vec![payload.hangup.status()],
        "call.cost" => cost(payload.cost_parts.as_ref()).into_iter().collect(),
        "call.machine.detection.ended" | "call.machine.premium.detection.ended" => {
            detected(record::detected(result))
        }
        // A beep before the verdict is the verdict: no other comes.
        "call.machine.greeting.ended" | "call.machine.premium.greeting.ended" => {
            detected(record::greeting(result))
        }
        kind => match (ended(kind, payload), step) {
            (Some(input), Some(step)) => vec![CallStatus::StepEnded { step, input }],
            (Some(_) | None, _) => Vec::new(),
        },
    }
}

/// What the end of a command is to the flow; nothing, if it is none. The end of the call ends a
/// command too, and there is no next one.
fn ended(kind: &str, payload: &Payload) -> Option<Input> {
    let status = payload.status.as_ref().and_then(Value::as_str);
    match (kind, status.unwrap_or_default()) {
        ("call.speak.ended" | "call.playback.ended" | "call.gather.ended", "call_hangup") => None,
        ("call.speak.ended" | "call.playback.ended", "failed" | "file_not_found") => {
            Some(Input::Failed)
        }
        // What was stopped is over as well: if we stopped it, the flow has gone on already.
        ("call.speak.ended" | "call.playback.ended" | "streaming.stopped", _) => Some(Input::Done),
        ("streaming.failed", _) => Some(Input::Failed),
        ("call.gather.ended", _) => {
            let digits = payload.digits.as_deref().unwrap_or_default();
            let keys = Keys::parse(digits).unwrap_or_default();
            Some(Input::Keys { keys })
        }
        ("call.dequeued", _) => match payload.reason.as_deref() {
            // Somebody took it: it ends with that.
            Some("bridged" | "bridging-in-process" | "hangup") => None,
            Some(_) | None => Some(Input::Transferred { connected: false }),
        },
        _ => None,
    }
}

/// What the parts come to; nothing if one of them cannot be read, for a part would be taken for the
/// whole.
fn cost(parts: Option<&Value>) -> Option<CallStatus> {
    let part = |part: &Value| {
        let amount = match part.get("cost")? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Money::parse(&amount, part.get("currency")?.as_str()?).ok()
    };
    let parts: Option<Vec<Money>> = parts?.as_array()?.iter().map(part).collect();
    let money = Money::sum(parts?).ok().flatten()?;
    Some(CallStatus::Cost { money })
}

#[cfg(test)]
#[path = "callback_tests.rs"]
mod tests;
