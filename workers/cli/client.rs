//! A client of the HTTP API, for the commands.

use std::process::ExitCode;

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Server, complain, say};
use crate::config::{Environment, Source};

/// What an API call ended with.
pub(crate) type Done = anyhow::Result<ExitCode>;

/// A request body.
pub(crate) enum Body {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// A file of this content type.
    File(&'static str, Vec<u8>),
}

/// The API said no.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(crate) struct Refused {
    sentence: String,
    code: u8,
}

impl Refused {
    fn new(status: StatusCode, problem: &Value) -> Self {
        let title = problem["title"]
            .as_str()
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("error"));
        let mut sentence = match problem["detail"].as_str() {
            Some(detail) => format!("{title}: {detail}"),
            None => title.to_owned(),
        };
        for error in problem["errors"].as_array().into_iter().flatten() {
            let pointer = error["pointer"].as_str().unwrap_or_default();
            let detail = error["detail"].as_str().unwrap_or_default();
            sentence.push_str(&format!("\n  {pointer}: {detail}"));
        }
        // 3 not found, 4 not allowed, 5 conflict, 7 unavailable, 1 anything else.
        let code = match status.as_u16() {
            404 => 3,
            401 | 403 => 4,
            409 | 412 => 5,
            429 | 502..=504 => 7,
            _ => 1,
        };
        Self { sentence, code }
    }
}

/// Calls the API and returns its JSON.
///
/// # Errors
/// It cannot be reached, or says no.
pub(crate) async fn call(
    server: &Server,
    method: Method,
    path: &str,
    body: Body,
) -> anyhow::Result<Value> {
    let response = send(server, method, path, body).await?;
    let status = response.status();
    let bytes = response.bytes().await?;
    let value: Value = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    };
    if status.is_success() {
        Ok(value)
    } else {
        Err(Refused::new(status, &value).into())
    }
}

async fn send(
    server: &Server,
    method: Method,
    path: &str,
    body: Body,
) -> anyhow::Result<reqwest::Response> {
    let key = Environment
        .secret("DIALFLEET_API_KEY")
        .map_err(anyhow::Error::msg)?
        .context("DIALFLEET_API_KEY is not set: it is the key that the server was started with")?;
    let url = format!("{}/v1{path}", server.server.trim_end_matches('/'));
    let request = reqwest::Client::new()
        .request(method, &url)
        .bearer_auth(key);
    let request = match body {
        Body::Empty => request,
        Body::Json(value) => request.json(&value),
        Body::File(kind, bytes) => request.header("content-type", kind).body(bytes),
    };
    request
        .send()
        .await
        .with_context(|| format!("{} cannot be reached", server.server))
}

/// Fetches a file, with the name that the API gives it.
///
/// # Errors
/// As [`call`].
pub(crate) async fn download(
    server: &Server,
    path: &str,
) -> anyhow::Result<(Option<String>, Vec<u8>)> {
    let response = send(server, Method::GET, path, Body::Empty).await?;
    let status = response.status();
    let named = response.headers().get("content-disposition");
    let named = named.and_then(|value| value.to_str().ok()?.split('"').nth(1));
    let named = named.map(str::to_owned);
    let bytes = response.bytes().await?;
    if status.is_success() {
        return Ok((named, bytes.to_vec()));
    }
    let problem = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Err(Refused::new(status, &problem).into())
}

/// The exit code of a command: 0 ok, 1 failure, 3 not found, 4 not allowed, 5 conflict, 7 unavailable.
pub(crate) fn exit(done: Done) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            if let Some(refused) = error.downcast_ref::<Refused>() {
                say(&format!("error: {refused}"));
                return ExitCode::from(refused.code);
            }
            complain(&error);
            if error.downcast_ref::<reqwest::Error>().is_some() {
                ExitCode::from(7)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// A value for a path segment.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
