//! JSON as Twilio writes it: calls and errors.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dialfleet_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::network::CallView;
use crate::timetable::CallStatus;

pub(super) const API_VERSION: &str = "2010-04-01";

/// `{code, message, more_info, status}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: u16,
    code: u32,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn not_found(path: &str) -> Self {
        Self::new(
            404,
            20404,
            format!("The requested resource {path} was not found"),
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(500, 20500, "Internal Server Error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status,
        });
        (status, Json(body)).into_response()
    }
}

/// RFC 2822, UTC, with a two-digit day.
pub(super) fn rfc2822(at: Timestamp) -> String {
    at.to_utc()
        .format("%a, %d %b %Y %H:%M:%S +0000")
        .to_string()
}

/// REST has no `initiated`.
pub(super) fn rest_status(status: CallStatus) -> &'static str {
    match status {
        CallStatus::Initiated => CallStatus::Queued.as_str(),
        other => other.as_str(),
    }
}

/// What a minute costs; one begun counts whole.
const CENTS_PER_100_MINUTES: u64 = 140;

/// The real one writes it some minutes after the end.
fn price(call: &CallView) -> Option<String> {
    let talk = call.ended_at.and(call.duration)?;
    let answered = call.status == CallStatus::Completed;
    let minutes = if answered {
        talk.as_secs().div_ceil(60).max(1)
    } else {
        0
    };
    let price = minutes * CENTS_PER_100_MINUTES;
    Some(format!("-{}.{:04}0", price / 10_000, price % 10_000))
}

pub(super) fn call_json(account: &str, call: &CallView) -> Value {
    let uri = format!("/{API_VERSION}/Accounts/{account}/Calls/{}", call.call_id);
    let part = |name: &str| format!("{uri}/{name}.json");
    let seconds = call.duration.map(|d| d.as_secs().to_string());
    json!({
        "sid": call.call_id,
        "account_sid": account,
        "parent_call_sid": null,
        "group_sid": null,
        "to": call.dial.to,
        "to_formatted": call.dial.to,
        "from": call.dial.from,
        "from_formatted": call.dial.from,
        "phone_number_sid": null,
        "caller_name": null,
        "forwarded_from": null,
        "direction": "outbound-api",
        "status": rest_status(call.status),
        "date_created": rfc2822(call.placed_at),
        "date_updated": rfc2822(call.ended_at.or(call.started_at).unwrap_or(call.placed_at)),
        "start_time": call.started_at.map(rfc2822),
        "end_time": call.ended_at.map(rfc2822),
        "duration": seconds,
        "price": price(call),
        "price_unit": "USD",
        "answered_by": call.answered_by,
        "queue_time": call.queued_for.as_millis().to_string(),
        "trunk_sid": null,
        "api_version": API_VERSION,
        "uri": format!("{uri}.json"),
        "subresource_uris": {
            "events": part("Events"),
            "notifications": part("Notifications"),
            "payments": part("Payments"),
            "recordings": part("Recordings"),
            "siprec": part("Siprec"),
            "streams": part("Streams"),
            "transcriptions": part("Transcriptions"),
            "user_defined_messages": part("UserDefinedMessages"),
            "user_defined_message_subscriptions": part("UserDefinedMessageSubscriptions"),
        },
    })
}
