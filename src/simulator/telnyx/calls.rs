//! Dial, and the status of a call.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::line::{Admission, Line};
use super::progress::Following;
use super::request::CallRequest;
use super::wire::{ApiError, Names, call_json};
use super::{Front, Fronts};
use crate::courier::Courier;
use crate::fuse::Fuse;
use crate::network::CallView;
use crate::office::NotPlaced;

/// How long the status of an ended call can be asked for.
const STATUS_KEPT: Duration = Duration::from_secs(600);

pub(super) async fn dial(
    State(fronts): State<Fronts>,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let front = fronts.admit(&headers)?;
    let request = Arc::new(CallRequest::parse(&body, &front.connection_id)?);
    let command = request.command_id.clone();
    let now = front.office.now();
    let admission = front.lines().admit(command.as_deref(), front.dps, now);
    match admission {
        Admission::Fresh => {}
        Admission::Repeated(answer) => {
            let dial = request.dial(&front.name);
            let key = format!("{}/{}", dial.attempt_key, dial.leg);
            front.office.network.create_seen(&front.name, &key, now);
            return Ok(whole(answer.ok_or_else(ApiError::internal)?));
        }
        Admission::TooMany => return Err(too_many()),
    }
    // A task of its own, which ends whatever becomes of the client.
    let work = place(front.clone(), request, command, fuse);
    let answer = front.office.tasks.spawn(work).await;
    answer
        .unwrap_or_else(|_| Err(ApiError::internal()))
        .map(whole)
}

fn whole(answer: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, answer).into_response()
}

fn too_many() -> ApiError {
    let detail = "You have exceeded the dials per second limit.";
    ApiError::new(429, 90103, "Dial rate limit exceeded", detail)
}

async fn place(
    front: Arc<Front>,
    request: Arc<CallRequest>,
    command: Option<String>,
    fuse: Fuse,
) -> Result<String, ApiError> {
    let dial = request.dial(&front.name);
    let teller = {
        let (front, request) = (front.clone(), request.clone());
        |call_id: String, key| {
            let (office, name) = (front.office.clone(), front.name.clone());
            let to = request.dial(&front.name).to;
            let courier = Courier::new(office, name, to, key, false);
            let mut line = Line::new(request, &call_id, courier);
            let control = json!({"call_control_id": line.names.control});
            line.log_command(front.office.now(), "dial", control);
            front.lines().open(call_id.clone(), line);
            Following { front, call_id }
        }
    };
    let answer = {
        let (front, command) = (front.clone(), command.clone());
        move |call: &CallView| {
            let answer = call_json(call, request.client_state.as_deref(), true).to_string();
            front.lines().placed(command.as_deref(), &answer);
            answer
        }
    };
    let placed = front.office.clone().place(dial, fuse, teller, answer).await;
    placed.map_err(|why| {
        front.lines().failed(command.as_deref());
        match why {
            NotPlaced::TooMany => too_many(),
            NotPlaced::Refused => {
                let detail = "The call could not be routed D40";
                ApiError::new(403, 10010, "Authorization failed", detail)
            }
            NotPlaced::NoSuchNumber => {
                let detail = "The phone number is not valid.";
                ApiError::field(10002, "Invalid phone number", "/to", detail)
            }
            NotPlaced::Broken => ApiError::internal(),
        }
    })
}

pub(super) async fn status(
    State(fronts): State<Fronts>,
    Path(control): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&headers, &control)?;
    let call = find(&front, &control)?;
    let now = front.office.now();
    if call.ended_at.is_some_and(|at| now.since(at) > STATUS_KEPT) {
        return Err(ApiError::not_found());
    }
    let lines = front.lines();
    let state = lines.get(&call.call_id);
    let state = state.and_then(|line| line.client_state.as_deref());
    Ok(Json(call_json(&call, state, false)))
}

/// The account's call of that name.
pub(super) fn find(front: &Front, control: &str) -> Result<CallView, ApiError> {
    let id = Names::network(control).ok_or_else(|| {
        let detail = "The call_control_id provided was not valid.";
        ApiError::field(90015, "Invalid Call Control ID", "/call_control_id", detail)
    })?;
    let call = front.office.network.call(&id);
    call.filter(|call| call.dial.carrier == front.name)
        .ok_or_else(ApiError::not_found)
}
