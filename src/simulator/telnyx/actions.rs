//! Commands on a call. A command repeated within a minute, by its `command_id`, is ignored and
//! answered as if it were new.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::calls::find;
use super::conversation::{Order, Task};
use super::request::{client_state, read};
use super::wire::ApiError;
use super::{Front, Fronts};
use crate::network::{CallView, HangUp};
use crate::timetable::CallStatus;

type Answer = Result<Json<Value>, ApiError>;

/// What every command has.
pub(super) struct Ids {
    pub(super) client_state: Option<String>,
    pub(super) command_id: Option<String>,
}

/// A command by the name it has in its address.
pub(super) trait Command: DeserializeOwned + Send {
    const NAME: &'static str;
    /// Checks it as Telnyx does, and splits it.
    fn split(self) -> Result<(Ids, Order), ApiError>;
}

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
    let ids = Ids {
        client_state: command.client_state,
        command_id: command.command_id,
    };
    if !begin(&front, &call, "hangup", ids)? {
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

/// Any other command.
pub(super) async fn give<C: Command>(
    State(fronts): State<Fronts>,
    Path(control): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let front = fronts.admit(&headers)?;
    let (ids, order) = read::<C>(&body)?.split()?;
    let call = find(&front, &control)?;
    answered(&call)?;
    let state = ids.client_state.clone();
    if begin(&front, &call, C::NAME, ids)? {
        carry_out(&front, &call, order, state)?;
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
fn begin(front: &Front, call: &CallView, name: &str, ids: Ids) -> Result<bool, ApiError> {
    client_state(ids.client_state.as_deref())?;
    let now = front.office.now();
    let mut lines = front.lines();
    let line = lines
        .get_mut(&call.call_id)
        .ok_or_else(ApiError::not_found)?;
    if !line.command(ids.command_id.as_deref(), now) {
        return Ok(false);
    }
    if call.status.is_terminal() {
        return Err(ApiError::call_ended());
    }
    line.log_command(now, name, json!({"command_id": ids.command_id}));
    if ids.client_state.is_some() {
        line.client_state = ids.client_state;
    }
    Ok(true)
}

/// Starts what the network does at once, and queues what is heard one after the other.
fn carry_out(
    front: &Arc<Front>,
    call: &CallView,
    order: Order,
    state: Option<String>,
) -> Result<(), ApiError> {
    match order {
        Order::Record(plan) => super::recordings::start(front, call, *plan),
        Order::TurnRecording(stage) => super::recordings::turn_running(front, call, stage),
        Order::Stream(stream) => super::stream::start(front, call, stream, state),
        Order::StopStream => {
            if let Some(line) = front.lines().get_mut(&call.call_id) {
                line.stream.cancel();
            }
            Ok(())
        }
        order => {
            let lines = front.lines();
            let line = lines.get(&call.call_id);
            let tasks = line.and_then(|line| line.tasks.as_ref());
            let tasks = tasks.ok_or_else(ApiError::call_ended)?;
            let full = |_| ApiError::new(422, 90032, "Queue full", "Too many commands.");
            tasks.try_send(Task { order, state }).map_err(full)
        }
    }
}
