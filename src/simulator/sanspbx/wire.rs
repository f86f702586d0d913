//! JSON as the exchange writes it, and numbers as it reads them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

/// `{status: "error", msg}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: u16,
    msg: &'static str,
}

impl ApiError {
    pub(super) const fn new(status: u16, msg: &'static str) -> Self {
        Self { status, msg }
    }

    pub(super) const fn internal() -> Self {
        Self::new(500, "Internal error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "status": "error", "msg": self.msg });
        (status, Json(body)).into_response()
    }
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            ApiError::new(400, "Missing parameter")
        } else {
            ApiError::new(400, "Invalid json")
        }
    })
}

/// The number that an exchange in the country `code` dials: `00` and `+` lead abroad, `0` and ten
/// digits are at home, and so are ten digits alone.
pub(super) fn dialed(text: &str, code: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let abroad = text.strip_prefix('+').or_else(|| text.strip_prefix("00"));
    if let Some(number) = abroad {
        return (digits(number) && (7..=15).contains(&number.len())).then(|| format!("+{number}"));
    }
    let home = text.strip_prefix('0').unwrap_or(text);
    if !digits(home) {
        return None;
    }
    match home.len() {
        10 => Some(format!("+{code}{home}")),
        n if n == 10 + code.len() && home.starts_with(code) => Some(format!("+{home}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_in_the_exchanges_country() {
        let table = [
            ("09876543210", Some("+919876543210")),
            ("9876543210", Some("+919876543210")),
            ("919876543210", Some("+919876543210")),
            ("+12125550123", Some("+12125550123")),
            ("0012125550123", Some("+12125550123")),
            // The ten digits of New York ring at home.
            ("02125550123", Some("+912125550123")),
            ("0987654321", None),
            ("", None),
            ("0", None),
            ("+", None),
            ("98765 43210", None),
        ];
        for (text, number) in table {
            assert_eq!(dialed(text, "91").as_deref(), number, "{text}");
        }
    }
}
