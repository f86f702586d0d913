//! Where carriers report. The carrier's signature is the key here.

use std::collections::BTreeMap;

use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dialfleet_engine::converse::{self, Place};
use dialfleet_engine::port::carrier::RawCallback;
use dialfleet_engine::receive::{Address, receive};

use crate::error::ApiError;
use crate::extract::read_body;
use crate::serve::Peer;
use crate::state::ApiState;

/// Bytes a callback may have.
const MAX_CALLBACK: usize = 64 * 1024;

/// `{kind}/{carrier}/{attempt}/{leg}/{token}`.
type Segments = [String; 5];

fn address([kind, carrier, attempt, leg, token]: &Segments) -> Address<'_> {
    Address {
        kind,
        carrier,
        attempt,
        leg,
        token,
    }
}

/// `POST /webhooks/{kind}/{carrier}/{attempt}/{leg}/{token}`: 204 once the callback is safe; 403,
/// 404 or 400 if it never will be; 503 when the carrier shall send it again.
pub(crate) async fn take(
    State(app): State<ApiState>,
    Path(segments): Path<Segments>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let raw = read(&app, request).await?;
    receive(&app.fleet, address(&segments), &raw).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /webhooks/{kind}/{carrier}/{attempt}/{leg}/{token}/flow?t=`: what the call does next, as the
/// carrier reads it; 403, 404 or 400 if the question is not genuine.
pub(crate) async fn converse(
    State(app): State<ApiState>,
    Path(segments): Path<Segments>,
    request: Request,
) -> Result<Response, ApiError> {
    let raw = read(&app, request).await?;
    let page = converse::converse(&app.fleet, address(&segments), &place(&raw.url), &raw).await?;
    Ok(([(CONTENT_TYPE, page.content_type)], page.body).into_response())
}

/// What the query says; of a genuine question it is as we wrote it.
fn place(url: &str) -> Place {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut place = Place::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "t" => place.turn = value.parse().unwrap_or(u32::MAX),
            "l" => place.language = Some(value.into_owned()),
            "o" => place.opt_out = value.into_owned(),
            _ => {}
        }
    }
    place
}

async fn read(app: &ApiState, request: Request) -> Result<RawCallback, ApiError> {
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, MAX_CALLBACK).await?;
    // Signatures cover the address as the carrier wrote it: nothing may be decoded and encoded again.
    let target = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    Ok(RawCallback {
        url: format!("{}{target}", app.fleet.settings.public_url),
        headers: texts(&parts.headers),
        peer: parts.extensions.get::<Peer>().map(|peer| peer.0),
        body,
    })
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
