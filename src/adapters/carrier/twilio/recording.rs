//! Recordings: what is announced, commanded and fetched.

use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::recording::{Act, Channels, Recording};
use dialfleet_engine::port::carrier::{CarrierError, RecordRequest, RecordingNews};
use dialfleet_engine::port::media::{Download, MediaError};
use form_urlencoded::Serializer;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use url::Url;

use super::dial::FORM;
use super::error::{ApiError, NOT_IN_PROGRESS};
use super::request::OVERRIDES;
use super::signature::Fields;
use crate::carrier::client::{self, Purpose};
use crate::carrier::media::{Fetcher, unavailable};
use crate::carrier::scrub::Scrub;

/// A list of the recordings of one call is short.
const MAX_ANSWER: usize = 1024 * 1024;
/// Twilio's name for the one that is being made.
const CURRENT: &str = "Twilio.CURRENT";

/// What a callback says of a recording. The end of a recorded call names it as well; by then it may
/// not be ready, so whoever fetches it asks again.
pub(super) fn news(fields: &Fields) -> Option<RecordingNews> {
    let ready = fields.get("RecordingStatus").unwrap_or("completed") == "completed";
    let sid = fields.get("RecordingSid").filter(|sid| is_sid(sid))?;
    let seconds = fields.get("RecordingDuration");
    let seconds: Option<u64> = seconds.and_then(|text| text.parse().ok());
    ready.then(|| RecordingNews {
        id: sid.to_owned(),
        // It is where the account is.
        url: None,
        channels: fields
            .get("RecordingChannels")
            .and_then(|text| text.parse().ok()),
        duration_ms: seconds.map(|s| s.saturating_mul(1_000)),
    })
}

fn is_sid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// What of a form asks for a recording. Silence is kept: cut out, no time in it would be right.
pub(super) fn ask(form: &mut Serializer<'_, String>, channels: Channels, callback_url: &str) {
    let tracks = match channels {
        Channels::Mono => "mono",
        Channels::Dual => "dual",
    };
    form.append_pair("RecordingChannels", tracks)
        .append_pair("Trim", "do-not-trim")
        .append_pair(
            "RecordingStatusCallback",
            &format!("{callback_url}{OVERRIDES}"),
        )
        .append_pair("RecordingStatusCallbackMethod", "POST")
        .append_pair("RecordingStatusCallbackEvent", "completed");
}

/// Commands and fetches.
pub(super) struct Recorder {
    http: Client,
    /// `…/Accounts/{sid}`.
    account: Url,
    scrub: Scrub,
    fetcher: Fetcher,
}

#[derive(Deserialize)]
struct Listed {
    recordings: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    status: String,
}

impl Recorder {
    pub(super) fn new(
        purpose: Purpose,
        account: Url,
        scrub: Scrub,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: client::build(&purpose)?,
            fetcher: Fetcher::new(purpose, account.clone(), scrub.clone())?,
            account,
            scrub,
        })
    }

    pub(super) async fn command(&self, request: &RecordRequest) -> Result<(), CarrierError> {
        let call = &request.call_id;
        let (name, form) = match request.act {
            Act::Begin => {
                // A second one would be a second recording.
                if self.is_recording(call).await? {
                    return Ok(());
                }
                let mut form = Serializer::new(String::new());
                ask(&mut form, request.channels, &request.callback_url);
                ("Recordings.json".to_owned(), form.finish())
            }
            Act::Pause => (current(), "Status=paused&PauseBehavior=silence".to_owned()),
            Act::Resume => (current(), "Status=in-progress".to_owned()),
            Act::Stop => (current(), "Status=stopped".to_owned()),
        };
        let request = self.http.post(self.url(call, &name));
        let request = request.header(CONTENT_TYPE, FORM).body(form);
        self.send(request).await.map(drop)
    }

    async fn is_recording(&self, call: &CarrierCallId) -> Result<bool, CarrierError> {
        let body = self
            .send(self.http.get(self.url(call, "Recordings.json")))
            .await?;
        let listed: Listed = serde_json::from_slice(&body)
            .map_err(|error| CarrierError::Unavailable(self.scrub.chain(&error)))?;
        let live = ["in-progress", "paused"];
        Ok(listed
            .recordings
            .iter()
            .any(|one| live.contains(&one.status.as_str())))
    }

    pub(super) async fn fetch(&self, recording: &Recording) -> Result<Download, MediaError> {
        if !is_sid(&recording.their_id) {
            return Err(unavailable("it has no usable name"));
        }
        let mut url = self.account.clone();
        let file = format!("{}.wav", recording.their_id);
        client::push(&mut url, &["Recordings", &file]);
        if recording.channels == Some(2) {
            // Both are mixed into one otherwise.
            url.set_query(Some("RequestedChannels=2"));
        }
        self.fetcher.fetch(&url).await
    }

    fn url(&self, call: &CarrierCallId, name: &str) -> Url {
        let mut url = self.account.clone();
        let mut path = vec!["Calls", call.as_str()];
        path.extend(name.split('/'));
        client::push(&mut url, &path);
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<bytes::Bytes, CarrierError> {
        let failed =
            |error: &dyn std::error::Error| CarrierError::Unavailable(self.scrub.chain(error));
        let answer = request.send().await;
        let answer = answer.map_err(|error| failed(&error.without_url()))?;
        let status = answer.status().as_u16();
        let body = client::read(answer, MAX_ANSWER)
            .await
            .map_err(|error| failed(&error))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let error = ApiError::read(&body);
        let code = error.as_ref().and_then(ApiError::code);
        let message = error.as_ref().map_or("", ApiError::message);
        let said = self
            .scrub
            .clean(format!("HTTP {status} {message}").trim_end());
        Err(match (status, code) {
            (401 | 403, _) => CarrierError::Unauthorized(said),
            (400..=499, Some(NOT_IN_PROGRESS)) => CarrierError::AlreadyEnded,
            // Nothing is being recorded, or there is no call.
            (404, Some(_)) => CarrierError::NotFound,
            _ => CarrierError::Unavailable(said),
        })
    }
}

fn current() -> String {
    format!("Recordings/{CURRENT}.json")
}
