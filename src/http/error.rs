//! The one place where something that went wrong becomes an answer: RFC 9457 problem documents.
//!
//! [`ApiError`] says what it means; [`render`], which every response passes last, writes the body,
//! because only there the request's id is known. Answers of the framework itself (404, 405, 413, …)
//! get the same shape there. What the client cannot mend is logged once, here, with its causes; the
//! client gets a fixed sentence.

use std::error::Error as StdError;
use std::fmt::Write as _;

use axum::body::Body;
use axum::http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dialfleet_engine::import::ImportError;
use dialfleet_engine::order::OrderError;
use dialfleet_engine::port::store::StoreError;
use dialfleet_engine::receive::ReceiveError;
use dialfleet_engine::record::RecordError;
use serde::Serialize;
use thiserror::Error;

/// The media type of problems.
pub(crate) const PROBLEM: &str = "application/problem+json";
/// What a client is told to wait when the store or the broker is out.
const RETRY_AFTER_S: u16 = 2;

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// Where, as a JSON pointer into the request's body, or the name of a part.
    pub(crate) pointer: String,
    /// A stable code.
    pub(crate) code: &'static str,
    /// A sentence.
    pub(crate) detail: String,
}

/// What went wrong, by meaning.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("send your key as \"Authorization: Bearer <key>\"")]
    Unauthorized,
    #[error("the signature is missing or wrong")]
    Forged,
    /// The request as such is wrong.
    #[error("{detail}")]
    BadRequest { code: &'static str, detail: String },
    /// It can be read, and fields of it have values that cannot be.
    #[error("{}", sentence(.0))]
    Invalid(Vec<FieldError>),
    #[error("{0}")]
    UnusableFile(String),
    /// It makes no sense in the present state.
    #[error("{detail}")]
    Conflict { code: &'static str, detail: String },
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("nothing of the {0} bytes was asked for")]
    NoSuchRange(u64),
    #[error("the Content-Type must be {expected}")]
    WrongMediaType { expected: &'static str },
    /// Nothing is wrong, only too much at once, or somebody we need is out.
    #[error("{0}")]
    Busy(&'static str),
    #[error("{}", sentence(.0))]
    NotReady(Vec<FieldError>),
    /// There is no room to keep what was sent; nothing of it was kept.
    #[error("{0}")]
    NoRoom(String),
    #[error("the store is not available; try again")]
    Unavailable(#[source] StoreError),
    #[error("something went wrong on our side; the request id helps to find out what")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

impl ApiError {
    pub(crate) fn bad_cursor() -> Self {
        Self::bad_request(
            "bad_cursor",
            "cursor: not the next_cursor of a page of this list",
        )
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::BadRequest {
            code,
            detail: detail.into(),
        }
    }

    pub(crate) fn invalid(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::Invalid(vec![FieldError {
            pointer: pointer.into(),
            code,
            detail: detail.into(),
        }])
    }

    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A key is needed"),
            Self::Forged => (StatusCode::FORBIDDEN, "forged", "Not genuine"),
            Self::BadRequest { code, .. } => (StatusCode::BAD_REQUEST, code, "Bad request"),
            Self::Invalid(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "Fields have wrong values",
            ),
            Self::UnusableFile(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "unusable_file",
                "The file cannot be used",
            ),
            Self::Conflict { code, .. } => (StatusCode::CONFLICT, code, "Not possible now"),
            Self::TooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                "The body is too large",
            ),
            Self::NoSuchRange(_) => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "no_such_range",
                "No such range",
            ),
            Self::WrongMediaType { .. } => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Wrong media type",
            ),
            Self::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Not possible now"),
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            Self::NoRoom(_) => (
                StatusCode::INSUFFICIENT_STORAGE,
                "no_room",
                "There is no room",
            ),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The store is not available",
            ),
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
            ),
        }
    }
}

fn sentence(errors: &[FieldError]) -> String {
    let mut text = String::new();
    for error in errors {
        let separator = if text.is_empty() { "" } else { "; " };
        let name = error.pointer.trim_start_matches('/').replace('/', ".");
        let _ = match name.as_str() {
            "" => write!(text, "{separator}{}", error.detail),
            _ => write!(text, "{separator}{name}: {}", error.detail),
        };
    }
    text
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unclear(_) | StoreError::Refused(_) => {
                Self::Unavailable(error)
            }
            StoreError::NoRoom(why) => Self::NoRoom(why),
            StoreError::Corrupt { .. } => Self::Internal(Box::new(error)),
            StoreError::BadCursor => Self::bad_cursor(),
        }
    }
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::NotFound => Self::NotFound("campaign"),
            OrderError::Invalid { field, why } => {
                Self::invalid(format!("/{field}"), "bad_value", why)
            }
            OrderError::Flow(faults) => Self::Invalid(
                faults
                    .into_iter()
                    .map(|fault| FieldError {
                        pointer: format!("/flow{}", fault.pointer),
                        code: "bad_value",
                        detail: format!("{} ({})", fault.reason, fault.fix),
                    })
                    .collect(),
            ),
            OrderError::Unready { code, why } => Self::Conflict { code, detail: why },
            OrderError::State(bad) => Self::Conflict {
                code: "wrong_state",
                detail: bad.to_string(),
            },
            OrderError::Contended => Self::Conflict {
                code: "contended",
                detail: error.to_string(),
            },
            OrderError::Store(error) => error.into(),
        }
    }
}

impl From<ImportError> for ApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::NoCampaign => Self::NotFound("campaign"),
            ImportError::Stopped => Self::Conflict {
                code: "wrong_state",
                detail: error.to_string(),
            },
            ImportError::Unusable(why) => Self::UnusableFile(why.to_string()),
            ImportError::Queue => {
                Self::Busy("the queue did not take the rows; send the file again")
            }
            ImportError::NoRoom(_) => Self::NoRoom(error.to_string()),
            ImportError::Store(error) => error.into(),
        }
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::NotOnCall | RecordError::NothingToRetry => Self::Conflict {
                code: "wrong_state",
                detail: error.to_string(),
            },
            RecordError::Store(error) => error.into(),
        }
    }
}

impl From<ReceiveError> for ApiError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::NoSuchAddress => Self::NotFound("callback address"),
            ReceiveError::Forged => Self::Forged,
            ReceiveError::Unreadable(why) => Self::bad_request("unreadable", why),
            ReceiveError::Unexpected => Self::Conflict {
                code: "not_expected",
                detail: error.to_string(),
            },
            ReceiveError::Unavailable => {
                Self::Busy("the callback could not be kept; send it again")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = self.to_string();
        let (status, code, title) = self.kind();
        let mut response = status.into_response();
        let errors = match self {
            Self::Unauthorized => {
                let scheme = HeaderValue::from_static("Bearer realm=\"dialfleet\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                Vec::new()
            }
            Self::NoSuchRange(bytes) => {
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{bytes}")) {
                    response.headers_mut().insert(CONTENT_RANGE, value);
                }
                Vec::new()
            }
            Self::Invalid(errors) | Self::NotReady(errors) => errors,
            Self::Unavailable(error) => {
                tracing::warn!(error = chain(&error), "a request failed: the store is out");
                Vec::new()
            }
            Self::NoRoom(ref why) => {
                tracing::error!(why, "a request failed: there is no room");
                Vec::new()
            }
            Self::Internal(error) => {
                tracing::error!(error = chain(&*error), "a request failed");
                Vec::new()
            }
            Self::NotFound(_)
            | Self::Forged
            | Self::BadRequest { .. }
            | Self::UnusableFile(_)
            | Self::Conflict { .. }
            | Self::TooLarge { .. }
            | Self::WrongMediaType { .. }
            | Self::Busy(_) => Vec::new(),
        };
        response.extensions_mut().insert(Problem {
            title: title.to_owned(),
            detail,
            code: code.to_owned(),
            errors,
        });
        response
    }
}

/// What [`render`] writes into the body.
#[derive(Debug, Clone)]
struct Problem {
    title: String,
    detail: String,
    code: String,
    errors: Vec<FieldError>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// Gives a failed response its body. The framework's own refusals come here without a [`Problem`].
pub(crate) fn render(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = response
        .extensions_mut()
        .remove::<Problem>()
        .unwrap_or_else(|| of_status(status));
    let document = Document {
        r#type: format!("urn:dialfleet:problem:{}", problem.code),
        title: &problem.title,
        status: status.as_u16(),
        detail: &problem.detail,
        code: &problem.code,
        request_id,
        errors: &problem.errors,
    };
    // Texts and numbers only: always has a JSON form.
    *response.body_mut() = Body::from(serde_json::to_vec(&document).unwrap_or_default());
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    response
}

fn of_status(status: StatusCode) -> Problem {
    let title = status.canonical_reason().unwrap_or("Error").to_owned();
    let detail = match status {
        StatusCode::NOT_FOUND => "there is nothing at this address".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED => {
            "this address does not take this method; the Allow header says which it takes"
                .to_owned()
        }
        StatusCode::SERVICE_UNAVAILABLE => "the request took too long; try again".to_owned(),
        _ => title.to_lowercase(),
    };
    let code = title.to_lowercase().replace([' ', '-'], "_");
    Problem {
        title,
        detail,
        code,
        errors: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_as_people_write_it() {
        let error = ApiError::invalid("/retry/max_attempts", "bad_value", "must be 1 to 20");
        assert_eq!(error.to_string(), "retry.max_attempts: must be 1 to 20");
    }

    #[test]
    fn a_full_store_says_so() {
        let why = "the data folder cannot be written: its disk is full".to_owned();
        let error = ApiError::from(StoreError::NoRoom(why.clone()));
        assert_eq!(error.kind().0, StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(error.to_string(), why);
    }

    #[test]
    fn causes_stay_inside() {
        let cause = || Box::new(std::io::Error::other("mongodb://user:secret@host"));
        let corrupt = StoreError::Corrupt {
            what: "lead",
            id: "cmp_1:a".to_owned(),
            source: cause(),
        };
        for error in [StoreError::Unavailable(cause()), corrupt] {
            let logged = chain(&error);
            let error = ApiError::from(error);
            assert!(logged.contains("secret"), "{logged}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
