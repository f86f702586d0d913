//! Commands on a call. A command repeated within a minute, by its `command_id`, is ignored and
//! answered as if it were new.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::calls::find;
use super::request::{client_state, read};
use super::wire::ApiError;
use super::{Front, Fronts};
use crate::network::{CallView, HangUp};
use crate::timetable::CallStatus;

/// How long a character is spoken, network time.
const PER_CHARACTER: Duration = Duration::from_millis(60);
/// Longest text of a speak command.
const MAX_TEXT: usize = 3_000;

type Answer = Result<Json<Value>, ApiError>;

fn done() -> Json<Value> {
    Json(json!({"data": {"result": "ok"}}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hangup {
    client_state: Option<String>,
    command_id: Option<String>,
}

pub(super) async fn hangup(
    State(fronts): State<Fronts>,
    Path(control): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let front = fronts.admit(&headers)?;
    let command: Hangup = read(&body)?;
    let call = match find(&front, &control) {
        Err(_) if front.office.forgot => return Err(ApiError::call_ended()),
        found => found?,
    };
    if !begin(
        &front,
        &call,
        "hangup",
        command.client_state,
        command.command_id,
    )? {
        return Ok(done());
    }
    if let Some(line) = front.lines().get_mut(&call.call_id) {
        line.hung_up = true;
    }
    match front.office.hang_up(&call.call_id) {
        HangUp::Cut => Ok(done()),
        HangUp::AlreadyEnded => Err(ApiError::call_ended()),
        HangUp::Unknown => Err(ApiError::not_found()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Speak {
    payload: String,
    voice: String,
    language: Option<String>,
    #[serde(default)]
    payload_type: PayloadType,
    client_state: Option<String>,
    command_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum PayloadType {
    #[default]
    Text,
    Ssml,
}

pub(super) async fn speak(
    State(fronts): State<Fronts>,
    Path(control): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let front = fronts.admit(&headers)?;
    let command: Speak = read(&body)?;
    let length = command.payload.chars().count();
    let invalid =
        |pointer, detail: &str| Err(ApiError::field(10015, "Invalid parameter", pointer, detail));
    if !(1..=MAX_TEXT).contains(&length) {
        return invalid("/payload", "must have 1 to 3000 characters");
    }
    if command.voice.is_empty() || command.language.as_deref() == Some("") {
        return invalid("/voice", "can't be blank");
    }
    if matches!(command.payload_type, PayloadType::Ssml) && !command.payload.starts_with("<speak") {
        return invalid("/payload", "is not SSML");
    }
    let call = find(&front, &control)?;
    answered(&call)?;
    let state = command.client_state.clone();
    if begin(
        &front,
        &call,
        "speak",
        command.client_state,
        command.command_id,
    )? {
        let long = PER_CHARACTER * u32::try_from(length).unwrap_or(u32::MAX);
        busy(
            &front,
            &call,
            "call.speak",
            state,
            long,
            json!({"status": "completed"}),
        );
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gather {
    #[serde(default = "a_minute")]
    timeout_millis: u64,
    #[serde(default = "five_seconds")]
    initial_timeout_millis: u64,
    client_state: Option<String>,
    command_id: Option<String>,
}

const fn a_minute() -> u64 {
    60_000
}

const fn five_seconds() -> u64 {
    5_000
}

/// Nobody ever presses a key.
pub(super) async fn gather(
    State(fronts): State<Fronts>,
    Path(control): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let front = fronts.admit(&headers)?;
    let command: Gather = read(&body)?;
    let call = find(&front, &control)?;
    answered(&call)?;
    let state = command.client_state.clone();
    if begin(
        &front,
        &call,
        "gather",
        command.client_state,
        command.command_id,
    )? {
        let long = command.timeout_millis.min(command.initial_timeout_millis);
        let ended = json!({"digits": "", "status": "timeout"});
        busy(
            &front,
            &call,
            "call.gather",
            state,
            Duration::from_millis(long),
            ended,
        );
    }
    Ok(done())
}

fn answered(call: &CallView) -> Result<(), ApiError> {
    if call.status < CallStatus::InProgress {
        let detail = "This call can't receive this command because it has not been answered yet.";
        return Err(ApiError::new(422, 90034, "Call not answered yet", detail));
    }
    Ok(())
}

/// Notes a command on a live call. `false`: it is a repetition.
fn begin(
    front: &Front,
    call: &CallView,
    name: &str,
    state: Option<String>,
    id: Option<String>,
) -> Result<bool, ApiError> {
    client_state(state.as_deref())?;
    let now = front.office.now();
    let mut lines = front.lines();
    let line = lines
        .get_mut(&call.call_id)
        .ok_or_else(ApiError::not_found)?;
    if !line.command(id.as_deref(), now) {
        return Ok(false);
    }
    if call.status.is_terminal() {
        return Err(ApiError::call_ended());
    }
    line.log_command(now, name, json!({"command_id": id}));
    if state.is_some() {
        line.client_state = state;
    }
    Ok(true)
}

/// Speaks or listens for `long` network time, after whatever was commanded before.
fn busy(
    front: &Arc<Front>,
    call: &CallView,
    what: &'static str,
    state: Option<String>,
    long: Duration,
    ended: Value,
) {
    let long = long.div_f64(front.office.network.speed());
    let now = front.office.now();
    let (call_id, status) = (call.call_id.clone(), CallStatus::InProgress);
    let wait = {
        let mut lines = front.lines();
        let Some(line) = lines.get_mut(&call_id) else {
            return;
        };
        let begins = line.busy_until.max(now);
        line.busy_until = begins + long;
        if what == "call.speak" {
            line.tell(
                front,
                ("call.speak.started", status),
                state.clone(),
                &json!({}),
            );
        }
        line.busy_until.since(now)
    };
    let front = front.clone();
    let tasks = front.office.tasks.clone();
    tasks.spawn(async move {
        let stop = front.office.stop.clone();
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
        let call = front.office.network.call(&call_id);
        let ended = match call {
            Some(call) if !call.status.is_terminal() => ended,
            _ => json!({"status": "call_hangup"}),
        };
        if let Some(line) = front.lines().get_mut(&call_id) {
            let event = format!("{what}.ended");
            line.tell(&front, (&event, status), state, &ended);
        }
    });
}
