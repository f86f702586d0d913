//! The `Calls` resource.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::request::{CallRequest, Form, Source};
use super::wire::{API_VERSION, ApiError, call_json, rest_status};
use super::{Front, Fronts, progress};
use crate::fuse::Fuse;
use crate::network::{CallView, HangUp, Search};
use crate::office::NotPlaced;
use crate::timetable::CallStatus;

const MAX_PAGE: usize = 1_000;
/// Of the statuses that calls are listed by, those of calls in progress.
const LIVE: [&str; 3] = ["queued", "ringing", "in-progress"];

pub(super) async fn create(
    State(fronts): State<Fronts>,
    Path(account): Path<String>,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let front = fronts.admit(&account, &headers)?;
    let request = CallRequest::parse(&Form::parse(&body), &front.name)?;
    let dial = request.dial.clone();
    let teller = {
        let front = front.clone();
        |call_id, key| progress::teller(front, call_id, request, key)
    };
    let answer = {
        let account = front.account_sid.clone();
        move |call: &CallView| call_json(&account, call).to_string()
    };
    let office = front.office.clone();
    let work = front
        .office
        .tasks
        .spawn(office.place(dial, fuse, teller, answer));
    let placed = work.await.unwrap_or(Err(NotPlaced::Broken));
    let answer = placed.map_err(|why| match why {
        NotPlaced::TooMany => ApiError::new(429, 20429, "Too Many Requests"),
        NotPlaced::Refused => ApiError::new(
            400,
            21214,
            "'To' phone number cannot be reached: it is not currently reachable via Twilio.",
        ),
        NotPlaced::NoSuchNumber => ApiError::new(
            400,
            21211,
            "The phone number you are attempting to call is not valid.",
        ),
        NotPlaced::Broken => ApiError::internal(),
    })?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::CREATED, kind, answer).into_response())
}

pub(super) async fn fetch(
    State(fronts): State<Fronts>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&account, &headers, &file)?;
    let call = find(&front, &file)?;
    Ok(Json(call_json(&account, &call)))
}

pub(super) async fn update(
    State(fronts): State<Fronts>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit(&account, &headers)?;
    let over = || ApiError::new(400, 21220, "Call is not in-progress. Cannot redirect.");
    let call = match find(&front, &file) {
        Err(_) if front.office.forgot => return Err(over()),
        found => found?,
    };
    let form = Form::parse(&body);
    match form.get("Status") {
        // Documented: does not affect calls already in progress.
        Some("canceled") if call.status == CallStatus::InProgress => {}
        Some("completed" | "canceled") => match front.office.hang_up(&call.call_id) {
            HangUp::Cut => {}
            HangUp::AlreadyEnded => return Err(over()),
            HangUp::Unknown => return Err(ApiError::not_found(&file)),
        },
        Some(_) => return Err(ApiError::new(400, 20001, "Status is not valid")),
        None if call.status.is_terminal() => return Err(over()),
        None => redirect(&front, &call, &form)?,
    }
    let call = find(&front, &file)?;
    Ok(Json(call_json(&account, &call)))
}

/// Puts another document in the place of the one that is executed. (Another time limit is accepted
/// and has no effect.)
fn redirect(front: &Front, call: &CallView, form: &Form) -> Result<(), ApiError> {
    if form.get("Url").is_some() && form.get("Twiml").is_some() {
        let why = "Url and Twiml exclude each other";
        return Err(ApiError::new(400, 20001, why));
    }
    let Some(source) = Source::parse(form)? else {
        return Ok(());
    };
    let over = || ApiError::new(400, 21220, "Call is not in-progress. Cannot redirect.");
    let conversations = front.conversations();
    let conversation = conversations.get(&call.call_id).ok_or_else(over)?;
    conversation.try_send(source).map_err(|_| over())
}

/// The account's call of that file name.
pub(super) fn find(front: &Front, file: &str) -> Result<CallView, ApiError> {
    let missing = || ApiError::not_found(&format!("/{API_VERSION}/Accounts/…/Calls/{file}"));
    let sid = file.strip_suffix(".json").ok_or_else(missing)?;
    let call = front.office.network.call(sid);
    call.filter(|call| call.dial.carrier == front.name)
        .ok_or_else(missing)
}

/// Newest first. A page is named by the last call of the page before it (`PageToken`), so that calls
/// created between two requests shift nothing.
pub(super) async fn list(
    State(fronts): State<Fronts>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&account, &headers, "Calls.json")?;
    let query = Form::parse(query.unwrap_or_default().as_bytes());
    let number = |key| query.get(key).and_then(|text| text.parse::<usize>().ok());
    let size = number("PageSize").unwrap_or(50).clamp(1, MAX_PAGE);
    let page = number("Page").unwrap_or(0);
    let token = query
        .get("PageToken")
        .and_then(|token| token.strip_prefix("PA"));
    let before = token
        .and_then(|sid| front.office.network.call(sid))
        .map(|call| call.serial);
    let skip = if before.is_some() {
        0
    } else {
        page.saturating_mul(size)
    };
    let (to, from, status) = (query.get("To"), query.get("From"), query.get("Status"));
    let office = &front.office;
    let lag = u128::from(office.faults.get(&front.name).list_lag_ms);
    let now = office.now();
    let search = Search {
        // Those in progress are asked for by a status of theirs.
        live: status.is_some_and(|status| LIVE.contains(&status)),
        to,
        before: before.unwrap_or(u64::MAX),
        skip,
        limit: size + 1,
        ..Search::default()
    };
    let mut calls = office.network.calls(&search, |call| {
        call.dial.carrier == front.name
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
