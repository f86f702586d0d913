//! Recordings, their sound, and what was said in them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, Response, StatusCode};
use dialfleet_domain::id::{AttemptId, CampaignId, RecordingId};
use dialfleet_domain::recording::{Act, Media, Recording, RecordingState, transcript};
use dialfleet_engine::port::media::MediaError;
use dialfleet_engine::port::recording::RecordingFilter;
use dialfleet_engine::record;
use serde::Deserialize;

use super::page_limit;
use crate::error::ApiError;
use crate::extract::{NoParams, Params};
use crate::range::{Asked, asked};
use crate::state::ApiState;
use crate::view::{List, RecordingView, TranscriptView};

/// Which recordings, and which page of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    campaign: Option<String>,
    call: Option<String>,
    state: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/recordings`: newest first.
pub(crate) async fn list(
    State(app): State<ApiState>,
    Params(filter): Params<Filter>,
) -> Result<Json<List<RecordingView>>, ApiError> {
    let bad = |error: &dyn std::fmt::Display| ApiError::bad_request("bad_query", error.to_string());
    let state = filter.state.map(|name| {
        RecordingState::parse(&name)
            .ok_or_else(|| bad(&"state: must be announced, stored, parked or deleted"))
    });
    let which = RecordingFilter {
        campaign: filter
            .campaign
            .map(CampaignId::parse)
            .transpose()
            .map_err(|e| bad(&e))?,
        attempt: filter
            .call
            .map(AttemptId::parse)
            .transpose()
            .map_err(|e| bad(&e))?,
        state: state.transpose()?,
    };
    page(&app, which, filter.cursor.as_deref(), filter.limit).await
}

/// `GET /v1/calls/{id}/recordings`: those of one call. The id is percent-encoded.
pub(crate) async fn of_call(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    Params(paging): Params<super::Paging>,
) -> Result<Json<List<RecordingView>>, ApiError> {
    let which = RecordingFilter {
        attempt: Some(AttemptId::parse(id).map_err(|_| ApiError::NotFound("call"))?),
        ..RecordingFilter::default()
    };
    page(&app, which, paging.cursor.as_deref(), paging.limit).await
}

async fn page(
    app: &ApiState,
    which: RecordingFilter,
    cursor: Option<&str>,
    limit: Option<usize>,
) -> Result<Json<List<RecordingView>>, ApiError> {
    let limit = page_limit(limit)?;
    let store = &app.fleet.store;
    let page = store.list_recordings(app.tenant(), &which, cursor, limit);
    Ok(Json(List::of(page.await?)))
}

/// `GET /v1/recordings/{id}`
pub(crate) async fn show(
    State(app): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<RecordingView>, ApiError> {
    Ok(Json(recording_of(&app, id).await?.into()))
}

/// `DELETE /v1/recordings/{id}`: its sound and its transcript; what there was to know about it stays.
pub(crate) async fn delete(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    _: Params<NoParams>,
) -> Result<StatusCode, ApiError> {
    let recording = recording_of(&app, id).await?;
    let id = recording.id.clone();
    record::delete(&app.fleet, recording).await?;
    tracing::info!(recording = %id, "a recording was deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/recordings/{id}/retry`: fetch again, or write down again, what was put aside.
pub(crate) async fn retry(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    _: Params<NoParams>,
) -> Result<(StatusCode, Json<RecordingView>), ApiError> {
    let recording = recording_of(&app, id).await?;
    let retried = record::retry(&app.fleet, recording).await?;
    Ok((StatusCode::ACCEPTED, Json(retried.into())))
}

/// `POST /v1/calls/{id}/recording/{start|pause|resume|stop}`: 202 once it is sure to be commanded.
pub(crate) async fn order(
    State(app): State<ApiState>,
    Path((id, verb)): Path<(String, String)>,
    _: Params<NoParams>,
) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::NotFound("call");
    let act = Act::parse(&verb).ok_or(ApiError::NotFound("order about a recording"))?;
    let id = AttemptId::parse(id).map_err(|_| missing())?;
    let attempt = app.fleet.attempt(&id).await?;
    let attempt = attempt
        .filter(|attempt| attempt.tenant == *app.tenant())
        .ok_or_else(missing)?;
    record::order(&app.fleet, attempt, act).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `GET /v1/recordings/{id}/media`: the sound, or one range of it.
pub(crate) async fn media(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let recording = recording_of(&app, id).await?;
    let media = match (recording.state, &recording.media) {
        (RecordingState::Stored, Some(media)) => media,
        _ => return Err(ApiError::NotFound("sound: it is not stored")),
    };
    let store = app.fleet.media.store();
    let store = store.ok_or(ApiError::Busy("this process has no storage"))?;
    let tag = format!("\"{}\"", media.sha256);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(IF_NONE_MATCH).is_some_and(|tags| {
        tags == "*"
            || tags
                .split(',')
                .any(|t| t.trim().trim_start_matches("W/") == tag)
    }) {
        let response = Response::builder().status(StatusCode::NOT_MODIFIED);
        return built(response.header(ETAG, tag), Body::empty());
    }
    // Parts of what it was before are of no use: then all of it.
    let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|condition| condition == tag));
    let (status, range) = match asked(range, media.bytes) {
        Asked::All => (StatusCode::OK, 0..media.bytes),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => return Err(ApiError::NoSuchRange(media.bytes)),
    };
    let body = store
        .get(&recording.tenant, media, range.clone())
        .await
        .map_err(|error| unreadable(&recording, error))?;
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, &media.content_type)
        .header(CONTENT_LENGTH, range.end - range.start)
        .header(ACCEPT_RANGES, "bytes")
        .header(CONTENT_DISPOSITION, file_name(&recording, media))
        .header(ETAG, tag);
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end - 1);
        response = response.header(
            CONTENT_RANGE,
            format!("bytes {first}-{last}/{}", media.bytes),
        );
    }
    built(response, Body::from_stream(body))
}

fn built(response: axum::http::response::Builder, body: Body) -> Result<Response<Body>, ApiError> {
    let response = response.body(body);
    response.map_err(|error| ApiError::Internal(Box::new(error)))
}

fn file_name(recording: &Recording, media: &Media) -> String {
    let ending = match media.content_type.as_str() {
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/ogg" => "ogg",
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        _ => "bin",
    };
    format!("attachment; filename=\"{}.{ending}\"", recording.id)
}

fn unreadable(recording: &Recording, error: MediaError) -> ApiError {
    match error {
        MediaError::Unavailable(why) => {
            tracing::warn!(recording = %recording.id, why, "a recording could not be given out");
            ApiError::Busy("the storage does not answer; try again")
        }
        error @ (MediaError::NotFound
        | MediaError::TooBig(_)
        | MediaError::WrongType(_)
        | MediaError::Sealed(_)
        | MediaError::Unsupported) => ApiError::Internal(Box::new(error)),
    }
}

/// `GET /v1/recordings/{id}/transcript`
pub(crate) async fn transcript(
    State(app): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<TranscriptView>, ApiError> {
    let recording = recording_of(&app, id).await?;
    if recording.state == RecordingState::Deleted {
        return Err(ApiError::NotFound("transcript"));
    }
    let found = app.fleet.store.transcript(&recording.id).await?;
    let found = found.ok_or(ApiError::NotFound("transcript"))?;
    Ok(Json(found.into()))
}

/// What is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    q: String,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/transcripts?q=`: those in which all of these words were said, newest first.
pub(crate) async fn search(
    State(app): State<ApiState>,
    Params(question): Params<Question>,
) -> Result<Json<List<TranscriptView>>, ApiError> {
    let limit = page_limit(question.limit)?;
    let words = transcript::asked(&question.q).ok_or_else(|| {
        let most = transcript::MAX_ASKED;
        ApiError::bad_request("bad_query", format!("q: give 1 to {most} words"))
    })?;
    let cursor = question.cursor.as_deref();
    let store = &app.fleet.store;
    let page = store.search_transcripts(app.tenant(), &words, cursor, limit);
    Ok(Json(List::of(page.await?)))
}

async fn recording_of(app: &ApiState, id: String) -> Result<Recording, ApiError> {
    let missing = || ApiError::NotFound("recording");
    let id = RecordingId::parse(id).map_err(|_| missing())?;
    let found = app.fleet.store.recording(&id).await?;
    found
        .filter(|recording| recording.tenant == *app.tenant())
        .ok_or_else(missing)
}
