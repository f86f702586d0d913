//! A Dial request: its JSON, checked as Telnyx checks it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::commands::plan;
use super::wire::ApiError;
use crate::network::Dial;
use crate::takes::Plan;
use crate::timetable::Amd;
use crate::whose::{Whose, is_e164, is_http};

/// The fields this simulation knows, by their published names and types. Any other is refused,
/// which Telnyx does not do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallRequest {
    connection_id: String,
    to: String,
    from: String,
    #[serde(default = "ring_default")]
    timeout_secs: u64,
    #[serde(default = "yes")]
    pub(super) retry_on_timeout: bool,
    #[serde(default = "talk_default")]
    time_limit_secs: u64,
    pub(super) client_state: Option<String>,
    pub(super) command_id: Option<String>,
    pub(super) webhook_url: Option<String>,
    #[serde(default)]
    webhook_url_method: Method,
    #[serde(default)]
    webhook_retries_policies: BTreeMap<String, RetryPolicy>,
    #[serde(default)]
    answering_machine_detection: Detection,
    answering_machine_detection_config: Option<DetectionConfig>,
    record: Option<Record>,
    #[serde(default = "dual")]
    record_channels: String,
    #[serde(default = "mp3")]
    record_format: String,
    record_track: Option<String>,
    record_max_length: Option<u32>,
    record_trim: Option<String>,
    record_custom_file_name: Option<String>,
}

#[derive(Deserialize)]
enum Record {
    #[serde(rename = "record-from-answer")]
    FromAnswer,
}

/// Accepted, and of no effect: detection takes the time that it takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the names and types are checked")]
struct DetectionConfig {
    total_analysis_time_millis: Option<u32>,
    after_greeting_silence_millis: Option<u32>,
    between_words_silence_millis: Option<u32>,
    greeting_duration_millis: Option<u32>,
    initial_silence_millis: Option<u32>,
    maximum_number_of_words: Option<u32>,
    maximum_word_length_millis: Option<u32>,
    silence_threshold: Option<u32>,
    greeting_total_analysis_time_millis: Option<u32>,
    greeting_silence_duration_millis: Option<u32>,
}

fn dual() -> String {
    "dual".to_owned()
}

fn mp3() -> String {
    "mp3".to_owned()
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Get,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryPolicy {
    retries_ms: Vec<u64>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Detection {
    #[default]
    Disabled,
    Detect,
    DetectBeep,
    DetectWords,
    GreetingEnd,
    Premium,
}

const fn ring_default() -> u64 {
    30
}

const fn talk_default() -> u64 {
    14_400
}

const fn yes() -> bool {
    true
}

/// Reads a body; anything but the expected object is a 422, or a 400 when it is no JSON.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let title = "Bad Request";
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            ApiError::new(422, 10015, "Invalid parameter", error.to_string())
        } else {
            ApiError::new(400, 10015, title, "The request body is not valid JSON.")
        }
    })
}

impl CallRequest {
    pub(super) fn parse(body: &[u8], connection_id: &str) -> Result<Self, ApiError> {
        let request: Self = read(body)?;
        let number = |pointer, text: &str| {
            let detail = "The phone number must be in +E164 format";
            if is_e164(text) {
                Ok(())
            } else {
                Err(ApiError::field(
                    10016,
                    "Phone number must be in +E164 format",
                    pointer,
                    detail,
                ))
            }
        };
        number("/to", &request.to)?;
        number("/from", &request.from)?;
        if request.connection_id != connection_id {
            return Err(ApiError::field(
                10015,
                "Invalid value for connection_id (Call Control App ID)",
                "/connection_id",
                "The requested connection_id (Call Control App ID) is either invalid or does not exist.",
            ));
        }
        let invalid = |pointer, detail: &str| {
            Err(ApiError::field(10015, "Invalid parameter", pointer, detail))
        };
        if !(5..=600).contains(&request.timeout_secs) {
            return invalid("/timeout_secs", "must be 5 to 600");
        }
        if !(30..=14_400).contains(&request.time_limit_secs) {
            return invalid("/time_limit_secs", "must be 30 to 14400");
        }
        client_state(request.client_state.as_deref())?;
        if request
            .webhook_url
            .as_deref()
            .is_some_and(|url| !is_http(url))
        {
            return invalid("/webhook_url", "is not a URL");
        }
        if request.webhook_url_method == Method::Get {
            return invalid("/webhook_url_method", "GET is not simulated");
        }
        for policy in request.webhook_retries_policies.values() {
            let pauses = &policy.retries_ms;
            if pauses.len() > 5 || pauses.iter().sum::<u64>() > 60_000 {
                let detail = "at most 5 retries, 60000 ms in all";
                return invalid("/webhook_retries_policies", detail);
            }
        }
        plan(
            &request.record_format,
            &request.record_channels,
            request.record_track.as_deref(),
        )?;
        if request.record_max_length.is_some_and(|s| s > 43_200) {
            return invalid("/record_max_length", "must be 0 to 43200");
        }
        if request
            .record_trim
            .as_deref()
            .is_some_and(|t| t != "trim-silence")
        {
            return invalid("/record_trim", "must be trim-silence");
        }
        if request
            .record_custom_file_name
            .as_deref()
            .is_some_and(|n| n.len() > 40)
        {
            return invalid("/record_custom_file_name", "has at most 40 characters");
        }
        let _ = &request.answering_machine_detection_config;
        Ok(request)
    }

    /// The recording asked for with the call.
    pub(super) fn recording(&self) -> Option<Plan> {
        let Record::FromAnswer = self.record.as_ref()?;
        let track = self.record_track.as_deref();
        let plan = plan(&self.record_format, &self.record_channels, track).ok()?;
        let source = "DialVerb";
        Some(Plan { source, ..plan })
    }

    /// What the network is asked for. With `retry_on_timeout` Telnyx goes on ringing by another
    /// route when the time is up.
    pub(super) fn dial(&self, carrier: &str) -> Dial {
        let url = self.webhook_url.as_deref().unwrap_or_default();
        let whose = Whose::of(url, &self.from);
        let ring = Duration::from_secs(self.timeout_secs);
        Dial {
            carrier: carrier.to_owned(),
            to: self.to.clone(),
            from: self.from.clone(),
            ring_timeout: if self.retry_on_timeout {
                2 * ring
            } else {
                ring
            },
            time_limit: Duration::from_secs(self.time_limit_secs),
            attempt_key: whose.attempt,
            campaign_key: whose.campaign,
            leg: whose.leg,
            amd: match self.answering_machine_detection {
                Detection::Disabled => None,
                Detection::Detect | Detection::Premium => Some(Amd::Detect),
                Detection::DetectBeep | Detection::DetectWords | Detection::GreetingEnd => {
                    Some(Amd::GreetingEnd)
                }
            },
        }
    }

    pub(super) fn detection(&self) -> Detection {
        self.answering_machine_detection
    }

    /// The pauses between the tries of an event's webhook, if the request has its own.
    pub(super) fn retries(&self, event: &str) -> Option<Vec<Duration>> {
        let policy = self.webhook_retries_policies.get(event)?;
        let pauses = policy.retries_ms.iter().copied();
        Some(pauses.map(Duration::from_millis).collect())
    }
}

/// A state must be Base64.
pub(super) fn client_state(state: Option<&str>) -> Result<(), ApiError> {
    match state {
        Some(text) if STANDARD.decode(text).is_err() => Err(ApiError::field(
            10015,
            "Invalid parameter",
            "/client_state",
            "client_state must be a valid Base-64 encoded string",
        )),
        _ => Ok(()),
    }
}
