//! Recordings: what is announced, commanded and fetched.
//!
//! A link in an event works for ten minutes and needs no key; after that the recording's own record
//! has a fresh one.

use dialfleet_domain::id::CarrierId;
use dialfleet_domain::recording::{Act, Channels, MediaUrl, Recording};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::carrier::{CarrierError, RecordRequest, RecordingNews};
use dialfleet_engine::port::media::{Download, MediaError};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::error::{Command, command};
use super::http::Api;
use super::state::command_id;
use crate::carrier::media::{Fetcher, unavailable};

/// Before the leg, in a name that we made ourselves.
const OF_LEG: &str = "leg:";
/// What is asked for: nothing is lost that a transcriber could use.
const FORMAT: &str = "wav";

/// Of `call.recording.saved`.
#[derive(Deserialize, Default)]
pub(super) struct Saved {
    #[serde(default)]
    recording_id: Option<String>,
    #[serde(default)]
    pub(super) call_leg_id: Option<String>,
    #[serde(default)]
    recording_urls: Option<Urls>,
    #[serde(default)]
    recording_started_at: Option<String>,
    #[serde(default)]
    recording_ended_at: Option<String>,
    #[serde(default)]
    channels: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Urls {
    #[serde(default)]
    wav: Option<String>,
    #[serde(default)]
    mp3: Option<String>,
}

impl Urls {
    fn best(self) -> Option<String> {
        self.wav.or(self.mp3).filter(|url| !url.is_empty())
    }
}

impl Saved {
    /// As news; `None` if nobody could tell which one it is.
    pub(super) fn news(self) -> Option<RecordingNews> {
        let at = |text: &Option<String>| Timestamp::parse_rfc3339(text.as_deref()?).ok();
        let (began, ended) = (at(&self.recording_started_at), at(&self.recording_ended_at));
        let length = began.zip(ended).map(|(began, ended)| ended.since(began));
        let own = self.recording_id.filter(|id| plain(id));
        let made = || {
            let leg = self.call_leg_id.as_deref().filter(|id| plain(id))?;
            Some(format!(
                "{OF_LEG}{leg}:{}",
                began.map_or(0, Timestamp::millis)
            ))
        };
        Some(RecordingNews {
            id: own.or_else(made)?,
            url: self
                .recording_urls
                .and_then(Urls::best)
                .and_then(|url| MediaUrl::new(&url)),
            channels: match self.channels.as_ref().and_then(Value::as_str) {
                Some("dual") => Some(2),
                Some("single") => Some(1),
                Some(_) | None => None,
            },
            duration_ms: length.and_then(|length| u64::try_from(length.as_millis()).ok()),
        })
    }
}

fn plain(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// What of a Dial command asks for a recording from the answer on.
pub(super) fn ask(body: &mut Value, channels: Channels) {
    body["record"] = json!("record-from-answer");
    body["record_channels"] = json!(tracks(channels));
    body["record_format"] = json!(FORMAT);
}

const fn tracks(channels: Channels) -> &'static str {
    match channels {
        Channels::Mono => "single",
        Channels::Dual => "dual",
    }
}

/// Carries a command out. None has a `client_state`: it would replace that of the flow's step.
pub(super) async fn perform(
    api: &Api,
    carrier: &CarrierId,
    request: &RecordRequest,
) -> Result<(), CarrierError> {
    let call = request.call_id.as_str();
    let (name, body) = match request.act {
        Act::Begin => (
            "record_start",
            json!({
                "format": FORMAT,
                "channels": tracks(request.channels),
                "command_id": command_id(carrier, call, "record"),
            }),
        ),
        // Without an id: a second pause within a minute is another one.
        Act::Pause => ("record_pause", json!({})),
        Act::Resume => ("record_resume", json!({})),
        Act::Stop => ("record_stop", json!({})),
    };
    let answer = api
        .command(&["calls", call, "actions", name], &body)
        .await?;
    match command(answer.status, answer.errors().as_ref()) {
        Command::Taken => Ok(()),
        Command::CallEnded => Err(CarrierError::AlreadyEnded),
        Command::NoCall => Err(CarrierError::NotFound),
        Command::Later => Err(api.refused(&answer)),
        Command::Never => {
            let error = api.refused(&answer);
            tracing::error!(%error, attempt = %request.attempt, call, command = name, "Telnyx refuses a command about a recording");
            Ok(())
        }
    }
}

/// A recording in Telnyx's own records.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    recording_started_at: Option<String>,
    #[serde(default)]
    download_urls: Option<Urls>,
}

impl Record {
    fn began(&self) -> i64 {
        let began = self.recording_started_at.as_deref();
        let began = began.and_then(|text| Timestamp::parse_rfc3339(text).ok());
        began.map_or(0, Timestamp::millis)
    }
}

/// Fetches from the link that we were given, or from a fresh one.
pub(super) async fn fetch(
    api: &Api,
    fetcher: &Fetcher,
    recording: &Recording,
) -> Result<Download, MediaError> {
    if let Some(url) = &recording.url {
        let url = Url::parse(url.expose());
        let url = url.map_err(|_| unavailable("it is at an address that cannot be used"));
        match fetcher.fetch(&url?).await {
            Ok(download) => return Ok(download),
            Err(error) => {
                tracing::debug!(%error, recording = %recording.id, "asking for a fresh link")
            }
        }
    }
    let url = fresh(api, &recording.their_id).await?;
    fetcher.fetch(&url).await
}

async fn fresh(api: &Api, id: &str) -> Result<Url, MediaError> {
    let record: Option<Record> = match id.strip_prefix(OF_LEG).and_then(|id| id.rsplit_once(':')) {
        None => api.get(&["recordings", id]).await.map(Some),
        Some((leg, began)) => {
            let filter = [("filter[call_leg_id]", leg)];
            let listed = api.list::<Record>(&["recordings"], &filter).await;
            listed.map(|mut all| {
                let at = all.iter().position(|r| r.began().to_string() == began);
                at.map(|at| all.swap_remove(at))
            })
        }
    }
    .map_err(|error| match error {
        CarrierError::NotFound => MediaError::NotFound,
        error @ (CarrierError::AlreadyEnded
        | CarrierError::Unauthorized(_)
        | CarrierError::Unavailable(_)
        | CarrierError::Unsupported) => MediaError::Unavailable(error.to_string()),
    })?;
    let url = record.and_then(|r| r.download_urls).and_then(Urls::best);
    let url = url.ok_or(MediaError::NotFound)?;
    Url::parse(&url).map_err(|_| unavailable("it is at an address that cannot be used"))
}
