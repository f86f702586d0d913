//! Reading requests: bodies with a limit, JSON that names the field at fault, query parameters.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::error::ApiError;

/// Bytes a JSON body may have.
pub(crate) const MAX_JSON: usize = 1024 * 1024;
/// Bytes read and forgotten beyond a limit: an answer that is sent while the client still writes is
/// usually lost with the connection.
const LINGER: usize = 8 * 1024 * 1024;

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > limit.saturating_add(LINGER)) {
        return Err(ApiError::TooLarge { limit });
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(limit));
    let mut over = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|_| ApiError::bad_request("incomplete_body", "the body ended too early"))?;
        if over > 0 || whole.len() + chunk.len() > limit {
            whole = BytesMut::new();
            over += chunk.len();
            if over > LINGER {
                break;
            }
        } else {
            whole.extend_from_slice(&chunk);
        }
    }
    if over > 0 {
        return Err(ApiError::TooLarge { limit });
    }
    Ok(whole.freeze())
}

/// The media type without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let bare = text.split(';').next().unwrap_or_default();
    Some(bare.trim().to_ascii_lowercase())
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        if !media_type(request.headers()).is_some_and(|m| is_json(&m)) {
            return Err(ApiError::WrongMediaType {
                expected: "application/json",
            });
        }
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts.headers, body, MAX_JSON).await?;
        parse_json(&bytes).map(Self)
    }
}

/// A body that may be empty, whatever its type; otherwise JSON.
pub(crate) struct OptionalJson<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts.headers, body, MAX_JSON).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        if !media_type(&parts.headers).is_some_and(|m| is_json(&m)) {
            return Err(ApiError::WrongMediaType {
                expected: "application/json, if there is a body",
            });
        }
        parse_json(&bytes).map(|value| Self(Some(value)))
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let malformed =
        |error: &serde_json::Error| ApiError::bad_request("malformed_json", error.to_string());
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.inner().is_data() {
            field_error(error.path(), error.inner())
        } else {
            malformed(error.inner())
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn field_error(path: &serde_path_to_error::Path, error: &serde_json::Error) -> ApiError {
    let mut pointer = String::new();
    for segment in path {
        let name = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.clone(),
            Segment::Enum { variant } => variant.clone(),
            // An unknown field has no place in the type; the message names it.
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    }
    let mut detail = error.to_string();
    // A flow's errors say where in it they are.
    if let Some((place, why)) = detail
        .strip_prefix("at /")
        .and_then(|rest| rest.split_once(": "))
    {
        if !place.is_empty() {
            pointer = format!("{}/{place}", pointer.trim_end_matches('/'));
        }
        detail = why.to_owned();
    }
    let named = |prefix: &str| {
        let rest = detail.strip_prefix(prefix)?;
        rest.split('`').next().map(str::to_owned)
    };
    let (name, code) = if let Some(name) = named("unknown field `") {
        (Some(name), "unknown_field")
    } else if let Some(name) = named("missing field `") {
        (Some(name), "missing")
    } else {
        (None, "bad_value")
    };
    if let Some(name) = name.filter(|name| !pointer.ends_with(&format!("/{name}"))) {
        pointer.push('/');
        pointer.push_str(&name);
    }
    // Where in the text is of no use once the field is named.
    let end = detail.rfind(" at line ").unwrap_or(detail.len());
    ApiError::invalid(pointer, code, &detail[..end])
}

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|error| ApiError::bad_request("bad_query", error.body_text()))
    }
}

/// No query parameters: an option that we do not have yet, such as a dry run, must not be ignored
/// by something that acts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

#[cfg(test)]
mod tests {
    use dialfleet_engine::create::NewCampaign;

    use super::*;

    fn refusal(json: &str) -> (String, &'static str) {
        match parse_json::<NewCampaign>(json.as_bytes()) {
            Err(ApiError::Invalid(mut errors)) => {
                let error = errors.pop().expect("one");
                (error.pointer, error.code)
            }
            other => panic!("{json}: {:?}", other.map(|c| c.name)),
        }
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let table = [
            (r#"{"name":"a","colour":1}"#, "/colour", "unknown_field"),
            (r#"{"concurrency":3}"#, "/name", "missing"),
            (
                r#"{"name":"a","concurrency":"5"}"#,
                "/concurrency",
                "bad_value",
            ),
            (
                r#"{"name":"a","caller_ids":["x"]}"#,
                "/caller_ids/0",
                "bad_value",
            ),
            (
                r#"{"name":"a","retry":{"max":1}}"#,
                "/retry/max",
                "unknown_field",
            ),
            (
                r#"{"name":"a","retry":{"max_attempts":99}}"#,
                "/retry",
                "bad_value",
            ),
            (r#"{"name":"a","region":"XX"}"#, "/region", "bad_value"),
        ];
        for (json, pointer, code) in table {
            assert_eq!(refusal(json), (pointer.to_owned(), code), "{json}");
        }
    }

    #[test]
    fn text_that_is_not_json_is_told_apart() {
        for text in ["", "{", "{\"name\":\"a\"} x"] {
            let Err(ApiError::BadRequest { code, .. }) = parse_json::<NewCampaign>(text.as_bytes())
            else {
                panic!("{text:?} was taken");
            };
            assert_eq!(code, "malformed_json");
        }
    }
}
