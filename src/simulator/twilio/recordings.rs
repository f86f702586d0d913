//! Recordings: started with a call, by request or by a document; told of by callbacks; served with
//! the account's credentials.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::callback::{self, Fields};
use super::calls::find;
use super::request::Form;
use super::wire::{API_VERSION, ApiError, rfc2822};
use super::{Front, Fronts};
use crate::courier::Courier;
use crate::dice::Dice;
use crate::fuse::Fuse;
use crate::heard::Sound;
use crate::media::{self, Format};
use crate::network::CallView;
use crate::takes::{Plan, Stage, Take};
use crate::timetable::CallStatus;
use crate::whose::is_http;

/// Longest time, in network time, between the end of a recording and the word that it is complete.
const PROCESSING_MS: u64 = 3_000;

impl Plan {
    /// The fields of a request that starts a recording, or that creates a call which is recorded.
    pub(super) fn parse(form: &Form, source: &'static str) -> Result<Self, ApiError> {
        let bad = |field: &str| ApiError::new(400, 20001, format!("{field} is not valid"));
        let one_of = |field: &str, words: &[&'static str]| match form.get(field) {
            None => Ok(words[0]),
            Some(given) => {
                let known = words.iter().find(|word| **word == given);
                known.copied().ok_or_else(|| bad(field))
            }
        };
        let callback = form.get("RecordingStatusCallback");
        if callback.is_some_and(|url| !is_http(url)) {
            return Err(bad("RecordingStatusCallback"));
        }
        one_of("RecordingStatusCallbackMethod", &["POST"])?;
        one_of("Trim", &["trim-silence", "do-not-trim"])?;
        let events = form.all("RecordingStatusCallbackEvent");
        let events: Vec<_> = events
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect();
        if events
            .iter()
            .any(|e| !["in-progress", "completed", "absent"].contains(&e.as_str()))
        {
            return Err(bad("RecordingStatusCallbackEvent"));
        }
        Ok(Self {
            dual: one_of("RecordingChannels", &["mono", "dual"])? == "dual",
            track: one_of("RecordingTrack", &["both", "inbound", "outbound"])?.to_owned(),
            source,
            callback: callback.map(str::to_owned),
            events,
            ..Self::default()
        })
    }
}

fn sid(take: &Take) -> String {
    format!("RE{}", take.id)
}

/// Begins a recording of an answered call.
pub(super) fn start(front: &Arc<Front>, call: &CallView, plan: Plan) -> Take {
    let office = &front.office;
    let now = office.now();
    let take = office.takes().start(call, plan, office.network.seed(), now);
    let id = sid(&take);
    office.hear(&call.call_id, Sound::RecordingStarted { id });
    tell(front, &take, "in-progress", Duration::ZERO);
    take
}

/// Halts, continues or completes a recording; `None` when it was complete.
pub(super) fn turn(front: &Arc<Front>, id: &str, to: Stage) -> Option<Take> {
    let office = &front.office;
    let (now, speed) = (office.now(), office.network.speed());
    let take = office.takes().turn(id, to, now, speed)?;
    let id = sid(&take);
    let sound = match to {
        Stage::Running => Sound::RecordingResumed { id },
        Stage::Paused => Sound::RecordingPaused { id },
        Stage::Complete => Sound::RecordingStopped { id },
    };
    office.hear(&take.call_id, sound);
    if to == Stage::Complete {
        let absent = take.length.is_zero();
        let dice = Dice::new(office.network.seed());
        // Half of them are told of at once: before the end of the call, if that ended them.
        let wait = match dice.between("processing", &take.id, 0, 0, 2 * PROCESSING_MS) {
            short @ 0..=PROCESSING_MS => short,
            _ => 0,
        };
        let wait = office.scaled(Duration::from_millis(wait));
        tell(
            front,
            &take,
            if absent { "absent" } else { "completed" },
            wait,
        );
    }
    Some(take)
}

/// The call is over: so are its recordings.
pub(super) fn complete_all(front: &Arc<Front>, call_id: &str) {
    let takes = front.office.takes().of_call(call_id);
    for take in takes {
        turn(front, &take.id, Stage::Complete);
    }
}

/// Where the file is, without its ending.
pub(super) fn address(front: &Front, take: &Take) -> String {
    let (origin, account) = (&front.office.origin, &front.account_sid);
    format!(
        "{origin}/{API_VERSION}/Accounts/{account}/Recordings/{}",
        sid(take)
    )
}

/// `RecordingUrl`, `RecordingSid` and `RecordingDuration` as other callbacks have them.
pub(super) fn facts(front: &Front, take: &Take) -> Fields {
    vec![
        ("RecordingUrl", address(front, take)),
        ("RecordingSid", sid(take)),
        ("RecordingDuration", take.length.as_secs().to_string()),
    ]
}

fn tell(front: &Arc<Front>, take: &Take, status: &str, wait: Duration) {
    let plan = &take.plan;
    let wanted = if plan.events.is_empty() {
        status == "completed"
    } else {
        plan.events.iter().any(|event| event == status)
    };
    let Some(url) = plan.callback.as_deref().filter(|_| wanted) else {
        return;
    };
    let mut fields: Fields = vec![
        ("AccountSid", front.account_sid.clone()),
        ("CallSid", take.call_id.clone()),
        ("RecordingStatus", status.to_owned()),
        (
            "RecordingChannels",
            if plan.dual { "2" } else { "1" }.to_owned(),
        ),
        ("RecordingStartTime", rfc2822(take.started_at)),
        ("RecordingSource", plan.source.to_owned()),
        ("RecordingTrack", plan.track.clone()),
    ];
    fields.extend(facts(front, take));
    let token = format!("{}-{status}", sid(take));
    let seq = if status == "in-progress" {
        callback::RECORDING_SEQ
    } else {
        callback::RECORDING_SEQ + 1
    };
    let parcel = callback::parcel(front.clone(), url, token, fields);
    let (office, phone) = (front.office.clone(), take.phone.clone());
    let courier = Courier::new(office, take.carrier.clone(), phone, take.id.clone(), false);
    courier.send_aside(CallStatus::InProgress, seq, wait, parcel);
}

fn recording_json(front: &Front, take: &Take) -> Value {
    let status = match take.stage {
        Stage::Running => "in-progress",
        Stage::Paused => "paused",
        Stage::Complete => "completed",
    };
    let seconds = take.ended_at.map(|_| take.length.as_secs().to_string());
    let (account, id) = (&front.account_sid, sid(take));
    json!({
        "sid": id,
        "account_sid": account,
        "call_sid": take.call_id,
        "conference_sid": null,
        "status": status,
        "channels": if take.plan.dual { 2 } else { 1 },
        "track": take.plan.track,
        "source": take.plan.source,
        "duration": seconds,
        "start_time": rfc2822(take.started_at),
        "date_created": rfc2822(take.started_at),
        "date_updated": rfc2822(take.ended_at.unwrap_or(take.started_at)),
        "error_code": null,
        "price": null,
        "price_unit": "USD",
        "encryption_details": null,
        "media_url": address(front, take),
        "api_version": API_VERSION,
        "uri": format!("/{API_VERSION}/Accounts/{account}/Recordings/{id}.json"),
    })
}

/// `POST Calls/{sid}/Recordings.json`.
pub(super) async fn create(
    State(fronts): State<Fronts>,
    Path((account, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let front = fronts.admit(&account, &headers)?;
    let call = find(&front, &format!("{call}.json"))?;
    if call.status != CallStatus::InProgress {
        let why = "Requested resource is not eligible for recording";
        return Err(ApiError::new(400, 21220, why));
    }
    let plan = Plan::parse(&Form::parse(&body), "StartCallRecordingAPI")?;
    let take = start(&front, &call, plan);
    let answer = recording_json(&front, &take);
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `GET Calls/{sid}/Recordings.json`.
pub(super) async fn list(
    State(fronts): State<Fronts>,
    Path((account, call)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&account, &headers, &call)?;
    let call = find(&front, &format!("{call}.json"))?;
    let takes = front.office.takes().of_call(&call.call_id);
    let rows: Vec<_> = takes
        .iter()
        .map(|take| recording_json(&front, take))
        .collect();
    Ok(Json(json!({
        "recordings": rows,
        "page": 0,
        "page_size": 50,
        "next_page_uri": null,
    })))
}

/// The account's recording of that name.
fn known(front: &Front, sid: &str) -> Result<Take, ApiError> {
    let id = sid.strip_prefix("RE");
    let take = id.and_then(|id| front.office.takes().get(id).cloned());
    take.filter(|take| take.carrier == front.name)
        .ok_or_else(|| ApiError::not_found(&format!("/Recordings/{sid}")))
}

/// `POST Calls/{sid}/Recordings/{RE…|Twilio.CURRENT}.json`.
pub(super) async fn update(
    State(fronts): State<Fronts>,
    Path((account, call, file)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit(&account, &headers)?;
    let call = find(&front, &format!("{call}.json"))?;
    let name = file.strip_suffix(".json").unwrap_or(&file);
    let take = match name {
        "Twilio.CURRENT" => {
            let running = front.office.takes().running(&call.call_id).cloned();
            running.ok_or_else(|| ApiError::not_found("/Recordings/Twilio.CURRENT"))?
        }
        sid => known(&front, sid)?,
    };
    let to = match Form::parse(&body).get("Status") {
        Some("paused") => Stage::Paused,
        Some("in-progress") => Stage::Running,
        Some("stopped") => Stage::Complete,
        _ => return Err(ApiError::new(400, 20001, "Status is not valid")),
    };
    let take = turn(&front, &take.id, to).filter(|take| take.call_id == call.call_id);
    let take = take.ok_or_else(|| {
        ApiError::new(400, 21220, "Invalid recording status: it has already ended")
    })?;
    Ok(Json(recording_json(&front, &take)))
}

/// `GET Recordings/{RE…}.json`, `.wav` or `.mp3`. Two channels only when asked for
/// (`RequestedChannels=2`).
pub(super) async fn fetch(
    State(fronts): State<Fronts>,
    Path((account, file)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let front = fronts.admit(&account, &headers)?;
    if let Some(sid) = file.strip_suffix(".json") {
        let take = known(&front, sid)?;
        return Ok(Json(recording_json(&front, &take)).into_response());
    }
    // Without an ending it is the .wav.
    let (sid, format) = Format::split(&file).unwrap_or((&file, Format::Wav));
    let take = known(&front, sid)?;
    let query = Form::parse(query.unwrap_or_default().as_bytes());
    let both = take.plan.dual && query.get("RequestedChannels") == Some("2");
    Ok(media::serve(
        &front.office,
        &take,
        (format, both),
        &fuse,
        true,
    ))
}

/// `DELETE Recordings/{RE…}.json`.
pub(super) async fn delete(
    State(fronts): State<Fronts>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let front = fronts.admit(&account, &headers)?;
    let take = known(&front, file.strip_suffix(".json").unwrap_or(&file))?;
    front.office.takes().remove(&take.id);
    Ok(StatusCode::NO_CONTENT)
}
