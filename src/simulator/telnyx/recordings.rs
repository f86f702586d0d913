//! Recordings: started with a call or by a command, told of by `call.recording.saved`, and listed
//! with addresses that are good for ten minutes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::wire::{ApiError, Names, iso8601, uuid};
use super::{Front, Fronts};
use crate::dice::Dice;
use crate::heard::Sound;
use crate::media::{self, Format};
use crate::network::CallView;
use crate::takes::{Plan, Stage, Take};
use crate::timetable::CallStatus;

/// Longest time, in network time, between the end of a recording and the word that it is saved.
const PROCESSING_MS: u64 = 3_000;

pub(super) fn start(front: &Arc<Front>, call: &CallView, plan: Plan) -> Result<(), ApiError> {
    let office = &front.office;
    let now = office.now();
    let take = office.takes().start(call, plan, office.network.seed(), now);
    let id = uuid(&take.id);
    office.hear(&call.call_id, Sound::RecordingStarted { id });
    Ok(())
}

/// Halts, continues or ends the recording of a call that is being made; without one, nothing.
pub(super) fn turn_running(front: &Arc<Front>, call: &CallView, to: Stage) -> Result<(), ApiError> {
    let running = front.office.takes().running(&call.call_id).cloned();
    if let Some(take) = running {
        turn(front, &take.id, to);
    }
    Ok(())
}

/// The call is over: so are its recordings.
pub(super) fn complete_all(front: &Arc<Front>, call_id: &str) {
    let takes = front.office.takes().of_call(call_id);
    for take in takes {
        turn(front, &take.id, Stage::Complete);
    }
}

fn turn(front: &Arc<Front>, id: &str, to: Stage) {
    let office = &front.office;
    let (now, speed) = (office.now(), office.network.speed());
    let Some(take) = office.takes().turn(id, to, now, speed) else {
        return;
    };
    let id = uuid(&take.id);
    let sound = match to {
        Stage::Running => Sound::RecordingResumed { id },
        Stage::Paused => Sound::RecordingPaused { id },
        Stage::Complete => Sound::RecordingStopped { id },
    };
    office.hear(&take.call_id, sound);
    if to == Stage::Complete {
        saved(front, take);
    }
}

fn saved(front: &Arc<Front>, take: Take) {
    let dice = Dice::new(front.office.network.seed());
    // Half of them are told of at once: before the end of the call, if that ended them.
    let wait = match dice.between("processing", &take.id, 0, 0, 2 * PROCESSING_MS) {
        short @ 0..=PROCESSING_MS => short,
        _ => 0,
    };
    if wait == 0 {
        return tell(front, &take);
    }
    let wait = front.office.scaled(Duration::from_millis(wait));
    let front = front.clone();
    let (tasks, stop) = (front.office.tasks.clone(), front.office.stop.clone());
    tasks.spawn(async move {
        if stop.run_until_cancelled(sleep(wait)).await.is_some() {
            tell(&front, &take);
        }
    });
}

fn tell(front: &Arc<Front>, take: &Take) {
    let office = &front.office;
    let expired = office
        .faults
        .media_expired(&take.carrier, &take.phone, &take.id);
    let event = ("call.recording.saved", CallStatus::InProgress);
    let mut saved = json!({
        "recording_id": uuid(&take.id),
        "channels": channels(take),
        "recording_started_at": iso8601(take.started_at),
        "recording_ended_at": take.ended_at.map(iso8601),
        "recording_urls": urls(front, take, expired),
        "public_recording_urls": {},
    });
    if let Some(state) = &take.plan.client_state {
        saved["client_state"] = json!(state);
    }
    if let Some(line) = front.lines().get_mut(&take.call_id) {
        line.tell(front, event, None, &saved);
    }
}

fn channels(take: &Take) -> &'static str {
    if take.plan.dual { "dual" } else { "single" }
}

/// The format it was asked for in.
fn urls(front: &Front, take: &Take, expired: bool) -> Value {
    let format = match take.plan.format.as_str() {
        "wav" => Format::Wav,
        _ => Format::Mp3,
    };
    let url = media::address(&front.office, take, format, expired);
    json!({ &take.plan.format: url })
}

fn recording_json(front: &Front, take: &Take) -> Value {
    let names = Names::of(&take.call_id);
    let complete = take.stage == Stage::Complete;
    let mut data = json!({
        "record_type": "recording",
        "id": uuid(&take.id),
        "call_control_id": names.control,
        "call_leg_id": names.leg,
        "call_session_id": names.session,
        "channels": channels(take),
        "duration_millis": take.length.as_millis(),
        "recording_started_at": iso8601(take.started_at),
        "recording_ended_at": take.ended_at.map(iso8601),
        "source": "call",
        "initiated_by": take.plan.source,
        "status": if complete { "completed" } else { "processing" },
    });
    if complete {
        data["download_urls"] = urls(front, take, false);
    }
    data
}

fn known(front: &Front, id: &str) -> Result<Take, ApiError> {
    let hex: String = id.chars().filter(|c| *c != '-').collect();
    let take = front.office.takes().get(&hex).cloned();
    take.filter(|take| take.carrier == front.name && id == uuid(&take.id))
        .ok_or_else(ApiError::not_found)
}

pub(super) async fn fetch(
    State(fronts): State<Fronts>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&headers, &id)?;
    let take = known(&front, &id)?;
    Ok(Json(json!({ "data": recording_json(&front, &take) })))
}

pub(super) async fn delete(
    State(fronts): State<Fronts>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let front = fronts.admit(&headers)?;
    let take = known(&front, &id)?;
    front.office.takes().remove(&take.id);
    Ok((
        StatusCode::OK,
        Json(json!({ "data": recording_json(&front, &take) })),
    ))
}

/// Of one leg: `filter[call_leg_id]`.
pub(super) async fn list(
    State(fronts): State<Fronts>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&headers, "recordings")?;
    let query = query.unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let leg = pairs.find(|(key, _)| key == "filter[call_leg_id]");
    let Some((_, leg)) = leg else {
        let detail = "Only the recordings of a leg are simulated.";
        return Err(ApiError::field(
            10015,
            "Invalid parameter",
            "/filter",
            detail,
        ));
    };
    let hex: String = leg.chars().filter(|c| *c != '-').collect();
    let takes = front.office.takes().of_call(&format!("CA{hex}"));
    let own = takes.iter().filter(|take| take.carrier == front.name);
    let rows: Vec<_> = own.map(|take| recording_json(&front, take)).collect();
    let total = rows.len();
    Ok(Json(json!({
        "data": rows,
        "meta": {"page_number": 1, "page_size": 20, "total_pages": 1, "total_results": total},
    })))
}
