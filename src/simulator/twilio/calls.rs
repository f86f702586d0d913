//! The `Calls` resource.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::request::{CallRequest, Form};
use super::wire::{API_VERSION, ApiError, call_json, rest_status};
use super::{Front, progress};
use crate::faults::CreateFault;
use crate::fuse::Fuse;
use crate::network::{CallView, HangUp, Refused};
use crate::timetable::CallStatus;

const MAX_PAGE: usize = 1_000;

pub(super) async fn create(
    State(front): State<Arc<Front>>,
    Path(account): Path<String>,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    front.admit(&account, &headers)?;
    let request = CallRequest::parse(&Form::parse(&body))?;
    // A task of its own: a client that hangs up while we are slow does not undo its call.
    let work = front.tasks.spawn(place(front.clone(), request, fuse));
    work.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

async fn place(front: Arc<Front>, request: CallRequest, fuse: Fuse) -> Result<Response, ApiError> {
    let key = request.key();
    let nth = front.network.create_seen(&key, front.now());
    let (fault, slowness) = front.faults.create(&request.dial.to, &key, nth);
    front.stop.run_until_cancelled(sleep(slowness.before)).await;
    match fault {
        CreateFault::TooMany => return Err(ApiError::new(429, 20429, "Too Many Requests")),
        CreateFault::ErrorBefore => return Err(ApiError::internal()),
        CreateFault::ResetBefore => {
            fuse.light(0);
            return Err(ApiError::internal());
        }
        CreateFault::None | CreateFault::ErrorAfter | CreateFault::ResetAfter(_) => {}
    }
    let placed = match front.network.place(request.dial.clone(), front.now()) {
        Ok(placed) => placed,
        Err(Refused::InvalidNumber) => {
            let message = "The phone number you are attempting to call is not valid.";
            return Err(ApiError::new(400, 21211, message));
        }
    };
    let call = front
        .network
        .call(&placed.call_id)
        .ok_or_else(ApiError::internal)?;
    progress::follow(&front, placed.call_id, request, format!("{key}#{nth}"));
    front.stop.run_until_cancelled(sleep(slowness.after)).await;
    let answer = call_json(&front.account_sid, &call).to_string();
    match fault {
        CreateFault::ErrorAfter => return Err(ApiError::internal()),
        CreateFault::ResetAfter(roll) => {
            // The head of the answer is longer than 100 bytes, so this is always short of the end.
            let bytes = u64::try_from(answer.len() + 100).unwrap_or(1);
            fuse.light(roll % bytes);
        }
        _ => {}
    }
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, kind, answer).into_response())
}

pub(super) async fn fetch(
    State(front): State<Arc<Front>>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    front.admit_read(&account, &headers, &file)?;
    let call = find(&front, &file)?;
    Ok(Json(call_json(&account, &call)))
}

pub(super) async fn update(
    State(front): State<Arc<Front>>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    front.admit(&account, &headers)?;
    let over = || ApiError::new(400, 21220, "Call is not in-progress. Cannot redirect.");
    let call = match find(&front, &file) {
        Err(_) if front.forgot => return Err(over()),
        found => found?,
    };
    let form = Form::parse(&body);
    match form.get("Status") {
        // Documented: does not affect calls already in progress.
        Some("canceled") if call.status == CallStatus::InProgress => {}
        Some("completed" | "canceled") => {
            match front.network.hang_up(&call.call_id, front.now()) {
                HangUp::Cut => {}
                HangUp::AlreadyEnded => return Err(over()),
                HangUp::Unknown => return Err(ApiError::not_found(&file)),
            }
            if let Some(wake) = front.wakes().get(&call.call_id) {
                wake.notify_one();
            }
        }
        Some(_) => return Err(ApiError::new(400, 20001, "Status is not valid")),
        // A new document or time limit is accepted and has no effect: there is no media here.
        None if call.status.is_terminal() => return Err(over()),
        None => {}
    }
    let call = find(&front, &file)?;
    Ok(Json(call_json(&account, &call)))
}

fn find(front: &Front, file: &str) -> Result<CallView, ApiError> {
    let missing = || ApiError::not_found(&format!("/{API_VERSION}/Accounts/…/Calls/{file}"));
    let sid = file.strip_suffix(".json").ok_or_else(missing)?;
    front.network.call(sid).ok_or_else(missing)
}

/// Newest first. A page is named by the last call of the page before it (`PageToken`), so that calls
/// created between two requests shift nothing.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    front.admit_read(&account, &headers, "Calls.json")?;
    let query = Form::parse(query.unwrap_or_default().as_bytes());
    let number = |key| query.get(key).and_then(|text| text.parse::<usize>().ok());
    let size = number("PageSize").unwrap_or(50).clamp(1, MAX_PAGE);
    let page = number("Page").unwrap_or(0);
    let token = query
        .get("PageToken")
        .and_then(|token| token.strip_prefix("PA"));
    let before = token
        .and_then(|sid| front.network.call(sid))
        .map(|call| call.serial);
    let skip = if before.is_some() {
        0
    } else {
        page.saturating_mul(size)
    };
    let (to, from, status) = (query.get("To"), query.get("From"), query.get("Status"));
    let (now, lag) = (front.now(), u128::from(front.faults.get().list_lag_ms));
    let mut calls = front.network.calls(before, skip, size + 1, |call| {
        to.is_none_or(|to| call.dial.to == to)
            && from.is_none_or(|from| call.dial.from == from)
            && status.is_none_or(|status| rest_status(call.status) == status)
            && now.since(call.placed_at).as_millis() >= lag
    });
    let more = calls.len() > size;
    calls.truncate(size);
    let uri = |page: usize, token: Option<&str>| {
        let mut out = form_urlencoded::Serializer::new(String::new());
        for (key, value) in [("To", to), ("From", from), ("Status", status)] {
            if let Some(value) = value {
                out.append_pair(key, value);
            }
        }
        out.append_pair("PageSize", &size.to_string())
            .append_pair("Page", &page.to_string());
        if let Some(sid) = token {
            out.append_pair("PageToken", &format!("PA{sid}"));
        }
        format!(
            "/{API_VERSION}/Accounts/{account}/Calls.json?{}",
            out.finish()
        )
    };
    let last = calls
        .last()
        .filter(|_| more)
        .map(|call| call.call_id.as_str());
    let start = page.saturating_mul(size);
    Ok(Json(json!({
        "calls": calls.iter().map(|call| call_json(&account, call)).collect::<Vec<_>>(),
        "page": page,
        "page_size": size,
        "start": start,
        "end": start + calls.len().saturating_sub(1),
        "uri": uri(page, None),
        "first_page_uri": uri(0, None),
        "next_page_uri": last.map(|sid| uri(page + 1, Some(sid))),
        "previous_page_uri": page.checked_sub(1).map(|page| uri(page, None)),
    })))
}
