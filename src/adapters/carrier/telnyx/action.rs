//! What each action is in Telnyx's commands.
//!
//! Every command carries the number of the input that it follows in its `client_state`, and comes back
//! with it in the event of its end. A transfer's new leg has a state of its own: its events come to
//! the same address, and are about the person's call.

use dialfleet_domain::flow::action::Saying;
use dialfleet_domain::flow::{Action, Codec, Target};
use dialfleet_engine::port::carrier::StepRequest;
use serde_json::{Value, json};

use super::state::State;
use super::voice::{named, spoken};

/// All keys there are.
const KEYS: &str = "0123456789#*";
/// The least that Telnyx lets a transfer ring.
const LEAST_RING_S: u32 = 5;

/// The command of an action, by its name, and its body but for the ids; `None` for the end of the
/// call.
pub(super) fn command_of(action: &Action, step: &StepRequest) -> Option<(&'static str, Value)> {
    Some(match action {
        Action::Say(saying) => ("speak", words(saying)),
        Action::Play { url } => ("playback_start", json!({ "audio_url": url })),
        // There is no command to wait; listening for keys that end nothing is one.
        Action::Pause { seconds } => ("gather", silence(*seconds)),
        Action::Gather {
            prompt,
            max_digits,
            finish_on,
            timeout_s,
            opt_out: _,
        } => {
            let millis = u64::from(*timeout_s) * 1_000;
            let keys = json!({
                "minimum_digits": 1,
                "maximum_digits": max_digits,
                "timeout_millis": millis,
                "inter_digit_timeout_millis": millis,
                // Empty: none ends them, and # is a key like any other.
                "terminating_digit": finish_on.map(String::from).unwrap_or_default(),
                "valid_digits": KEYS,
            });
            gather(prompt, keys, millis)
        }
        // Without them the newest recording's format and channels are the account's.
        Action::Record { on: true } => {
            ("record_start", json!({"format": "wav", "channels": "dual"}))
        }
        Action::Record { on: false } => ("record_stop", json!({})),
        Action::Stream { url, codec, params } => {
            let (name, rate) = match codec {
                Codec::Pcmu => ("PCMU", 8_000),
                Codec::Pcma => ("PCMA", 8_000),
                Codec::L16 => ("L16", 16_000),
            };
            let params: Vec<Value> = params
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            let body = json!({
                "stream_url": url,
                "stream_track": "inbound_track",
                "stream_codec": name,
                // The default takes MP3 only.
                "stream_bidirectional_mode": "rtp",
                "stream_bidirectional_codec": name,
                "stream_bidirectional_sampling_rate": rate,
                "custom_parameters": params,
            });
            ("streaming_start", body)
        }
        Action::Transfer {
            to: Target::Queue(name),
            timeout_s,
            ..
        } => (
            "enqueue",
            json!({"queue_name": name, "max_wait_time_secs": timeout_s}),
        ),
        Action::Transfer {
            to: Target::Number(to) | Target::Sip(to),
            caller_id,
            timeout_s,
        } => {
            let from = caller_id.as_ref().unwrap_or(&step.from);
            let body = json!({
                "to": to,
                "from": from.as_str(),
                "timeout_secs": (*timeout_s).clamp(LEAST_RING_S, 600),
                "target_leg_client_state": state(step, true).encode(),
                "webhook_url": step.callback_url,
                "webhook_url_method": "POST",
                // The person's leg goes on with the flow when the other one is over.
                "park_after_unbridge": "self",
            });
            ("transfer", body)
        }
        Action::Hangup => return None,
    })
}

/// Whose call it is, and what a command follows; `other`: of the leg that a transfer makes.
pub(super) fn state(step: &StepRequest, other: bool) -> State {
    State {
        attempt: step.attempt.clone(),
        leg: step.leg,
        to: step.to.clone(),
        from: step.from.clone(),
        step: Some(step.step),
        of: other.then(|| step.call_id.clone()),
    }
}

/// The commands that end whatever is being heard. They have no state of their own: it would become
/// the call's.
pub(super) const STOPS: [&str; 2] = ["playback_stop", "gather_stop"];

fn silence(seconds: u32) -> Value {
    let millis = u64::from(seconds) * 1_000;
    json!({"timeout_millis": millis, "initial_timeout_millis": millis})
}

/// Of a prompt this carrier is told one part only; the interpreter has seen to the others.
fn gather(prompt: &[Action], mut keys: Value, millis: u64) -> (&'static str, Value) {
    match prompt.last() {
        Some(Action::Say(saying)) => {
            keys["maximum_tries"] = json!(1);
            if let (Some(keys), Value::Object(said)) = (keys.as_object_mut(), words(saying)) {
                keys.extend(said);
            }
            ("gather_using_speak", keys)
        }
        Some(Action::Play { url }) => {
            keys["maximum_tries"] = json!(1);
            keys["audio_url"] = json!(url);
            ("gather_using_audio", keys)
        }
        Some(Action::Pause { seconds }) => {
            let longer = millis + u64::from(*seconds) * 1_000;
            keys["initial_timeout_millis"] = json!(longer);
            keys["timeout_millis"] = json!(longer);
            ("gather", keys)
        }
        Some(
            Action::Gather { .. }
            | Action::Record { .. }
            | Action::Stream { .. }
            | Action::Transfer { .. }
            | Action::Hangup,
        )
        | None => {
            keys["initial_timeout_millis"] = json!(millis);
            ("gather", keys)
        }
    }
}

fn words(saying: &Saying) -> Value {
    let mut body = if saying.ssml {
        json!({
            "payload": format!("<speak>{}</speak>", saying.text),
            "payload_type": "ssml",
        })
    } else {
        json!({"payload": saying.text, "payload_type": "text"})
    };
    match saying.voice.as_deref().and_then(named) {
        Some(voice) => body["voice"] = json!(voice),
        None => {
            body["voice"] = json!("female");
            let language = saying.language.as_deref().unwrap_or("en-US");
            body["language"] = json!(spoken(language));
        }
    }
    body
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
