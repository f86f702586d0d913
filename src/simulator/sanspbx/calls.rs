//! Placing and ending calls, and what the client is told: once, when a call is over.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{ApiError, dialed, read};
use super::{Front, Fronts};
use crate::courier::{Courier, Letter, Parcel};
use crate::fuse::Fuse;
use crate::network::{CallView, Dial, HangUp};
use crate::office::{NotPlaced, Teller};
use crate::timetable::{CallStatus, NetEvent};
use crate::whose::{Whose, is_http};

/// How long the client may take to answer a callback. There is no second try.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct DialCall {
    appid: u32,
    call_to: String,
    caller_id: String,
    status_callback: Option<String>,
    custom_field: Option<Value>,
}

pub(super) async fn dial(
    State(fronts): State<Fronts>,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let front = fronts.admit(&headers)?;
    let request: DialCall = read(&body)?;
    let dial = request.dial(&front)?;
    let (to, call_to) = (dial.to.clone(), request.call_to.clone());
    let answer = {
        let front = front.clone();
        move |call: &CallView| {
            let callid = front.name_call(&call.call_id, &call_to);
            json!({ "status": "success", "data": { "msg": { "callid": callid } } }).to_string()
        }
    };
    let teller = {
        let front = front.clone();
        move |call_id: String, key| {
            let (office, name) = (front.office.clone(), front.account.name.clone());
            Ending {
                courier: Courier::new(office, name, to, key, true),
                front,
                call_id,
                request,
            }
        }
    };
    let office = front.office.clone();
    let work = office
        .tasks
        .spawn(office.clone().place(dial, fuse, teller, answer));
    let placed = work.await.unwrap_or(Err(NotPlaced::Broken));
    let answer = placed.map_err(|why| match why {
        NotPlaced::TooMany => ApiError::new(429, "Too many requests"),
        NotPlaced::Refused => ApiError::new(200, "Invalid destination"),
        NotPlaced::NoSuchNumber => ApiError::new(200, "Invalid number"),
        NotPlaced::Broken => ApiError::internal(),
    })?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, answer).into_response())
}

impl DialCall {
    fn dial(&self, front: &Front) -> Result<Dial, ApiError> {
        let account = &front.account;
        if self.appid != account.app_id {
            return Err(ApiError::new(400, "Invalid appid"));
        }
        let to = dialed(&self.call_to, &account.country_code)
            .ok_or_else(|| ApiError::new(400, "Invalid call_to"))?;
        let digits = self.caller_id.trim_start_matches('+');
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ApiError::new(400, "Invalid caller_id"));
        }
        let url = self.status_callback.as_deref().unwrap_or_default();
        if !url.is_empty() && !is_http(url) {
            return Err(ApiError::new(400, "Invalid parameter status_callback"));
        }
        let whose = Whose::of(url, &self.caller_id);
        Ok(Dial {
            carrier: account.name.clone(),
            to,
            from: self.caller_id.clone(),
            ring_timeout: account.ring,
            time_limit: account.talk,
            attempt_key: whose.attempt,
            campaign_key: whose.campaign,
            leg: whose.leg,
            amd: None,
        })
    }
}

/// Waits for the end of a call.
struct Ending {
    front: Arc<Front>,
    call_id: String,
    request: DialCall,
    courier: Courier,
}

impl Teller for Ending {
    fn tell(&mut self, event: NetEvent) {
        let NetEvent::Ended { status, .. } = event else {
            return;
        };
        let Some(url) = self
            .request
            .status_callback
            .clone()
            .filter(|url| !url.is_empty())
        else {
            return;
        };
        let Some(callid) = self.front.callid(&self.call_id) else {
            return;
        };
        let mut body = json!({
            "Linkedid": callid,
            "disposition": disposition(status),
            "did": self.request.caller_id,
            "call_to": self.request.call_to,
            "custom_field": self.request.custom_field,
        });
        if status == CallStatus::Completed {
            body["rec_path"] = json!(format!("/recordings/{callid}.wav"));
        }
        self.courier.send(status, |_| Parcel {
            name: self.call_id.clone(),
            letter: Arc::new(Report(body)),
            tries: vec![(Duration::ZERO, url)],
            read: PATIENCE,
            total: PATIENCE,
            again: Vec::new(),
        });
    }

    fn vanished(&mut self) {
        self.courier.abandon();
    }
}

/// Asterisk's words. A call that the caller ended before its answer is one that nobody answered.
const fn disposition(status: CallStatus) -> &'static str {
    match status {
        CallStatus::Completed => "ANSWERED",
        CallStatus::Busy => "BUSY",
        CallStatus::NoAnswer | CallStatus::Canceled => "NO ANSWER",
        CallStatus::Failed
        | CallStatus::Queued
        | CallStatus::Initiated
        | CallStatus::Ringing
        | CallStatus::InProgress => "FAILED",
    }
}

/// The callback: JSON that nobody signs.
struct Report(Value);

impl Letter for Report {
    fn request(&self, http: &Client, url: &str, _nth: u32) -> RequestBuilder {
        http.post(url).json(&self.0)
    }
}

#[derive(Deserialize)]
struct Disconnect {
    callid: String,
}

pub(super) async fn disconnect(
    State(fronts): State<Fronts>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    const OVER: ApiError = ApiError::new(200, "Call is already disconnected");
    let front = fronts.admit(&headers)?;
    let request: Disconnect = read(&body)?;
    let known = front.network_id(&request.callid);
    let answer = known.map_or(HangUp::Unknown, |id| front.office.hang_up(&id));
    match answer {
        HangUp::Cut => Ok(Json(
            json!({ "status": "success", "msg": "Call disconnected" }),
        )),
        HangUp::AlreadyEnded => Err(OVER),
        HangUp::Unknown if front.office.forgot => Err(OVER),
        HangUp::Unknown => Err(ApiError::new(404, "Call not found")),
    }
}
