//! Where carriers report. The carrier's signature is the key here.

use std::collections::BTreeMap;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use dialfleet_engine::port::carrier::RawCallback;
use dialfleet_engine::receive::{Address, receive};

use crate::error::ApiError;
use crate::extract::read_body;
use crate::serve::Peer;
use crate::state::ApiState;

/// Bytes a callback may have.
const MAX_CALLBACK: usize = 64 * 1024;

/// `POST /webhooks/{kind}/{carrier}/{attempt}/{leg}/{token}`: 204 once the callback is safe; 403,
/// 404 or 400 if it never will be; 503 when the carrier shall send it again.
pub(crate) async fn take(
    State(app): State<ApiState>,
    Path((kind, carrier, attempt, leg, token)): Path<(String, String, String, String, String)>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, MAX_CALLBACK).await?;
    // Signatures cover the address as the carrier wrote it: nothing may be decoded and encoded again.
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let raw = RawCallback {
        url: format!("{}{target}", app.fleet.settings.public_url),
        headers: texts(&parts.headers),
        peer: parts.extensions.get::<Peer>().map(|peer| peer.0),
        body,
    };
    let address = Address {
        kind: &kind,
        carrier: &carrier,
        attempt: &attempt,
        leg: &leg,
        token: &token,
    };
    receive(&app.fleet, address, &raw).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Header names are in lower case already; a repeated one is joined, as RFC 9110 has it, and one
/// that is not text is left out.
fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        texts
            .entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    texts
}
