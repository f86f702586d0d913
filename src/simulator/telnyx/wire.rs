//! JSON as Telnyx writes it: calls, pages and errors; and its names for the network's calls.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dialfleet_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::network::CallView;
use crate::timetable::CallStatus;

/// `{"errors":[{code, title, detail, source?}]}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: u16,
    code: u32,
    title: &'static str,
    detail: String,
    pointer: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(
        status: u16,
        code: u32,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            pointer: None,
        }
    }

    /// A field of the body is at fault.
    pub(super) fn field(
        code: u32,
        title: &'static str,
        pointer: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            pointer: Some(pointer),
            ..Self::new(422, code, title, detail)
        }
    }

    pub(super) fn internal() -> Self {
        Self::new(
            500,
            10007,
            "Unexpected error",
            "An unexpected error occurred.",
        )
    }

    pub(super) fn not_found() -> Self {
        let detail = "The requested resource or URL could not be found.";
        Self::new(404, 10005, "Resource not found", detail)
    }

    pub(super) fn call_ended() -> Self {
        let detail = "This call is no longer active and can't receive commands.";
        Self::new(422, 90018, "Call has already ended", detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut error = json!({
            "code": self.code.to_string(),
            "title": self.title,
            "detail": self.detail,
            "meta": {"url": format!("https://developers.telnyx.com/docs/overview/errors/{}", self.code)},
        });
        if let Some(pointer) = self.pointer {
            error["source"] = json!({ "pointer": pointer });
        }
        (status, Json(json!({ "errors": [error] }))).into_response()
    }
}

/// ISO 8601 with microseconds.
pub(super) fn iso8601(at: Timestamp) -> String {
    at.to_utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The three names of a call, made from the network's `CA` and 32 hexadecimal digits.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) control: String,
    pub(super) leg: String,
    pub(super) session: String,
}

impl Names {
    pub(super) fn of(call_id: &str) -> Self {
        let hex = call_id.strip_prefix("CA").unwrap_or(call_id);
        let session: String = hex.chars().rev().collect();
        Self {
            control: format!("v3:{hex}"),
            leg: uuid(hex),
            session: uuid(&session),
        }
    }

    /// The network's name of the call that Telnyx would call `control`.
    pub(super) fn network(control: &str) -> Option<String> {
        control.strip_prefix("v3:").map(|hex| format!("CA{hex}"))
    }
}

/// 32 hexadecimal digits as a UUID.
pub(super) fn uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// A call as `GET /v2/calls/{call_control_id}` has it; `dialed` is the answer to Dial, which is
/// asynchronous and knows nothing yet.
pub(super) fn call_json(call: &CallView, client_state: Option<&str>, dialed: bool) -> Value {
    let names = Names::of(&call.call_id);
    let started = call.started_at.filter(|_| !dialed);
    let mut data = json!({
        "record_type": "call",
        "call_control_id": names.control,
        "call_leg_id": names.leg,
        "call_session_id": names.session,
        "is_alive": started.is_some() && !call.status.is_terminal(),
    });
    if let Some(state) = client_state {
        data["client_state"] = json!(state);
    }
    if let Some(at) = started {
        data["start_time"] = json!(iso8601(at));
    }
    if let Some(at) = call.ended_at {
        data["end_time"] = json!(iso8601(at));
        data["call_duration"] = json!(call.duration.map_or(0, |d| d.as_secs()));
    }
    json!({ "data": data })
}

/// `hangup_cause` and `hangup_source` of an ended call.
pub(super) fn hangup_cause(
    call: &CallView,
    retry_on_timeout: bool,
    by_us: bool,
) -> (&'static str, &'static str) {
    let talked_out = call.duration.is_some_and(|d| d >= call.dial.time_limit);
    match (call.status, call.sip) {
        (CallStatus::Completed, _) if talked_out => ("time_limit", "unknown"),
        (CallStatus::Completed, _) if by_us => ("normal_clearing", "caller"),
        (CallStatus::Completed, _) => ("normal_clearing", "callee"),
        (CallStatus::Busy, _) => ("user_busy", "callee"),
        (CallStatus::NoAnswer, _) if retry_on_timeout => ("timeout", "caller"),
        (CallStatus::NoAnswer, _) => ("no_answer", "caller"),
        (CallStatus::Canceled, _) => ("originator_cancel", "caller"),
        (CallStatus::Failed, Some(404)) => ("not_found", "callee"),
        (CallStatus::Failed, Some(603)) => ("call_rejected", "callee"),
        _ => ("unspecified", "unknown"),
    }
}

/// What a minute costs, one begun counting whole, in thousandths of a dollar: the trunk, and commands.
const PARTS: [(&str, u32); 2] = [("sip-trunking", 7), ("call-control", 2)];

/// What `call.cost` says of an answered call that is over.
pub(super) fn cost(call: &CallView) -> Option<Value> {
    let talk = call.ended_at.and(call.duration)?;
    if call.status != CallStatus::Completed {
        return None;
    }
    let minutes = u32::try_from(talk.as_secs().div_ceil(60).max(1)).unwrap_or(u32::MAX);
    let dollars = |mills: u32| f64::from(mills) * f64::from(minutes) / 1_000.0;
    let part = |(name, mills): (&str, u32)| {
        json!({
            "call_part": name,
            "rate": f64::from(mills) / 1_000.0,
            "cost": dollars(mills),
            "currency": "USD",
            "billed_duration_secs": minutes.saturating_mul(60),
        })
    };
    Some(json!({
        "status": "valid",
        "billed_duration_secs": minutes.saturating_mul(60),
        "cost_parts": PARTS.map(part),
        "total_cost": dollars(PARTS.iter().map(|(_, mills)| mills).sum()),
    }))
}
