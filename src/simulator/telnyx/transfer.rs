//! Passing a call on: a new leg, a bridge, and what is left of the old leg afterwards.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Front;
use super::conversation::Transfer;
use super::wire::{Names, uuid};
use crate::heard::Sound;
use crate::timetable::CallStatus;

/// The new leg.
struct Leg<'a> {
    front: &'a Arc<Front>,
    call_id: &'a str,
    wanted: &'a Transfer,
    id: String,
}

impl Leg<'_> {
    fn tell(&self, name: &str, more: &Value) {
        let names = Names::of(self.call_id);
        let mut lines = self.front.lines();
        let Some(line) = lines.get_mut(self.call_id) else {
            return;
        };
        let own = line.request.dial(&self.front.name).from;
        let mut extra = json!({
            "call_control_id": format!("v3:{}", self.id),
            "call_leg_id": uuid(&self.id),
            "call_session_id": names.session,
            "client_state": self.wanted.state,
            "from": self.wanted.from.clone().unwrap_or(own),
            "to": self.wanted.to,
            "direction": "outgoing",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            extra[key] = value.clone();
        }
        let (url, event) = (self.wanted.url.clone(), (name, CallStatus::InProgress));
        line.tell_at(url, self.front, event, None, &extra);
    }
}

/// To the end of the new leg.
pub(super) async fn perform(
    front: &Arc<Front>,
    call_id: &str,
    wanted: &Transfer,
    state: Option<String>,
    over: &CancellationToken,
) {
    let office = &front.office;
    let extension = office.network.extension(&wanted.to, wanted.ring);
    let leg = Leg {
        front,
        call_id,
        wanted,
        id: extension.id,
    };
    leg.tell("call.initiated", &json!({"state": "bridging"}));
    let guard = Cancelled { leg: &leg, over };
    sleep(office.scaled(extension.after)).await;
    let to = wanted.to.clone();
    let talk = match extension.answer {
        Ok(talk) => talk.min(wanted.longest),
        Err(status) => {
            let answered = false;
            office.hear(
                call_id,
                Sound::Transferred {
                    to,
                    answered,
                    status,
                },
            );
            guard.forget();
            let (cause, source) = match (status, extension.sip) {
                (CallStatus::Busy, _) => ("user_busy", "callee"),
                (CallStatus::NoAnswer, _) => ("timeout", "caller"),
                (_, 404) => ("not_found", "callee"),
                (_, 603) => ("call_rejected", "callee"),
                _ => ("unspecified", "unknown"),
            };
            return leg.tell("call.hangup", &hangup(cause, source, extension.sip));
        }
    };
    let (answered, status) = (true, CallStatus::Completed);
    office.hear(
        call_id,
        Sound::Transferred {
            to,
            answered,
            status,
        },
    );
    leg.tell("call.answered", &json!({"state": "answered"}));
    leg.tell("call.bridged", &json!({}));
    if let Some(line) = front.lines().get_mut(call_id) {
        let event = ("call.bridged", CallStatus::InProgress);
        line.tell(front, event, state, &json!({}));
    }
    sleep(office.scaled(talk)).await;
    guard.forget();
    leg.tell("call.hangup", &hangup("normal_clearing", "callee", 200));
    if !wanted.park {
        office.hang_up(call_id);
        // The old leg has nothing left to hear.
        sleep(Duration::from_secs(1)).await;
    }
}

fn hangup(cause: &str, source: &str, sip: u16) -> Value {
    json!({
        "state": "hangup",
        "hangup_cause": cause,
        "hangup_source": source,
        "sip_hangup_cause": sip.to_string(),
    })
}

/// Ends the new leg when the old one ends first: by being dropped in its midst.
struct Cancelled<'a> {
    leg: &'a Leg<'a>,
    over: &'a CancellationToken,
}

impl Cancelled<'_> {
    fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        if self.over.is_cancelled() {
            let extra = hangup("originator_cancel", "caller", 487);
            self.leg.tell("call.hangup", &extra);
        }
    }
}
