//! The bodies of commands, by their published names and types. A field that is not here is refused,
//! which Telnyx does not do.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::actions::{Command, Ids};
use super::conversation::{Order, Transfer};
use super::request::client_state as base64;
use super::wire::ApiError;
use crate::takes::{Plan, Stage};
use crate::whose::{is_e164, is_http};
use crate::xml::Element;

/// Longest text of a speak command.
const MAX_TEXT: usize = 3_000;
/// Longest token of a stream.
const MAX_TOKEN: usize = 4_000;

pub(super) fn invalid(pointer: &'static str, detail: &str) -> ApiError {
    ApiError::field(10015, "Invalid parameter", pointer, detail)
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum PayloadType {
    #[default]
    Text,
    Ssml,
}

/// The words of a payload.
pub(super) fn spoken(
    payload: &str,
    kind: PayloadType,
    voice: &str,
    language: Option<&str>,
) -> Result<String, ApiError> {
    if !(1..=MAX_TEXT).contains(&payload.chars().count()) {
        return Err(invalid("/payload", "must have 1 to 3000 characters"));
    }
    if voice.is_empty() || language == Some("") {
        return Err(invalid("/voice", "can't be blank"));
    }
    match kind {
        PayloadType::Text => Ok(payload.to_owned()),
        PayloadType::Ssml => match Element::parse(payload) {
            Ok(root) if root.name == "speak" => Ok(root.words().trim().to_owned()),
            _ => Err(invalid("/payload", "is not SSML")),
        },
    }
}

/// The address of a file.
pub(super) fn file(url: Option<String>) -> Result<String, ApiError> {
    match url {
        Some(url) if is_http(&url) => Ok(url),
        _ => Err(invalid("/audio_url", "is not a URL")),
    }
}

/// What every command has, taken out of one.
macro_rules! ids {
    ($command:ident) => {
        Ids {
            client_state: $command.client_state,
            command_id: $command.command_id,
        }
    };
}

pub(super) use ids;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Speak {
    payload: String,
    voice: String,
    language: Option<String>,
    #[serde(default)]
    payload_type: PayloadType,
    client_state: Option<String>,
    command_id: Option<String>,
}

impl Command for Speak {
    const NAME: &'static str = "speak";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let language = self.language.as_deref();
        let text = spoken(&self.payload, self.payload_type, &self.voice, language)?;
        Ok((ids!(self), Order::Speak(text)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaybackStart {
    audio_url: Option<String>,
    #[serde(rename = "loop")]
    times: Option<Value>,
    client_state: Option<String>,
    command_id: Option<String>,
}

impl Command for PlaybackStart {
    const NAME: &'static str = "playback_start";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let url = file(self.audio_url)?;
        let times = match &self.times {
            None => 1,
            Some(Value::String(word)) if word == "infinity" => 1_000,
            Some(number) => {
                let number = number.as_u64().and_then(|n| u32::try_from(n).ok());
                let number = number.filter(|n| (1..=1_000).contains(n));
                number.ok_or_else(|| invalid("/loop", "must be a number or \"infinity\""))?
            }
        };
        Ok((ids!(self), Order::Play { url, times }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaybackStop {
    stop: Option<String>,
    client_state: Option<String>,
    command_id: Option<String>,
}

impl Command for PlaybackStop {
    const NAME: &'static str = "playback_stop";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let all = match self.stop.as_deref() {
            None | Some("all") => true,
            Some("current") => false,
            Some(_) => return Err(invalid("/stop", "must be current or all")),
        };
        Ok((ids!(self), Order::StopPlayback { all }))
    }
}

/// A command that has nothing but what every command has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    client_state: Option<String>,
    command_id: Option<String>,
}

macro_rules! plain {
    ($type:ident, $name:literal, $order:expr) => {
        #[derive(Deserialize)]
        #[serde(transparent)]
        pub(super) struct $type(Plain);

        impl Command for $type {
            const NAME: &'static str = $name;

            fn split(self) -> Result<(Ids, Order), ApiError> {
                let plain = self.0;
                Ok((ids!(plain), $order))
            }
        }
    };
}

plain!(GatherStop, "gather_stop", Order::StopGather);
plain!(
    RecordStop,
    "record_stop",
    Order::TurnRecording(Stage::Complete)
);
plain!(
    RecordPause,
    "record_pause",
    Order::TurnRecording(Stage::Paused)
);
plain!(
    RecordResume,
    "record_resume",
    Order::TurnRecording(Stage::Running)
);
plain!(StreamingStop, "streaming_stop", Order::StopStream);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TransferCommand {
    to: String,
    from: Option<String>,
    #[serde(default = "half_a_minute")]
    timeout_secs: u64,
    #[serde(default = "four_hours")]
    time_limit_secs: u64,
    target_leg_client_state: Option<String>,
    park_after_unbridge: Option<String>,
    webhook_url: Option<String>,
    webhook_url_method: Option<String>,
    client_state: Option<String>,
    command_id: Option<String>,
}

const fn half_a_minute() -> u64 {
    30
}

const fn four_hours() -> u64 {
    14_400
}

impl Command for TransferCommand {
    const NAME: &'static str = "transfer";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let sip = self.to.starts_with("sip:") || self.to.starts_with("sips:");
        if !sip && !is_e164(&self.to) {
            let title = "Phone number must be in +E164 format";
            return Err(ApiError::field(10016, title, "/to", title));
        }
        if self.from.as_deref().is_some_and(|from| !is_e164(from)) {
            let title = "Phone number must be in +E164 format";
            return Err(ApiError::field(10016, title, "/from", title));
        }
        if !(5..=600).contains(&self.timeout_secs) {
            return Err(invalid("/timeout_secs", "must be 5 to 600"));
        }
        if !(30..=14_400).contains(&self.time_limit_secs) {
            return Err(invalid("/time_limit_secs", "must be 30 to 14400"));
        }
        if self.webhook_url.as_deref().is_some_and(|url| !is_http(url)) {
            return Err(invalid("/webhook_url", "is not a URL"));
        }
        if self
            .webhook_url_method
            .as_deref()
            .is_some_and(|m| m != "POST")
        {
            return Err(invalid("/webhook_url_method", "GET is not simulated"));
        }
        base64(self.target_leg_client_state.as_deref())?;
        let park = match self.park_after_unbridge.as_deref() {
            None => false,
            Some("self") => true,
            Some(_) => return Err(invalid("/park_after_unbridge", "must be self")),
        };
        let transfer = Transfer {
            to: self.to,
            from: self.from,
            ring: Duration::from_secs(self.timeout_secs),
            longest: Duration::from_secs(self.time_limit_secs),
            state: self.target_leg_client_state,
            url: self.webhook_url,
            park,
        };
        Ok((ids!(self), Order::Transfer(transfer)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enqueue {
    queue_name: String,
    max_wait_time_secs: Option<u64>,
    client_state: Option<String>,
    command_id: Option<String>,
}

impl Command for Enqueue {
    const NAME: &'static str = "enqueue";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        if self.queue_name.is_empty() {
            return Err(invalid("/queue_name", "can't be blank"));
        }
        let wait = Duration::from_secs(self.max_wait_time_secs.unwrap_or(14_400));
        let name = self.queue_name.clone();
        Ok((ids!(self), Order::Enqueue { name, wait }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordStart {
    format: String,
    channels: String,
    recording_track: Option<String>,
    play_beep: Option<bool>,
    max_length: Option<u32>,
    timeout_secs: Option<u32>,
    trim: Option<String>,
    custom_file_name: Option<String>,
    client_state: Option<String>,
    command_id: Option<String>,
}

impl Command for RecordStart {
    const NAME: &'static str = "record_start";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        let long = self.max_length.is_some_and(|s| s > 43_200);
        if long || self.timeout_secs.is_some_and(|s| s > 14_400) {
            return Err(invalid("/max_length", "must be 0 to 43200"));
        }
        if self
            .trim
            .as_deref()
            .is_some_and(|trim| trim != "trim-silence")
        {
            return Err(invalid("/trim", "must be trim-silence"));
        }
        if self
            .custom_file_name
            .as_deref()
            .is_some_and(|name| name.len() > 40)
        {
            return Err(invalid("/custom_file_name", "has at most 40 characters"));
        }
        let _ = self.play_beep;
        let track = self.recording_track.as_deref();
        let mut plan = plan(&self.format, &self.channels, track)?;
        plan.client_state = self.client_state.clone();
        Ok((ids!(self), Order::Record(Box::new(plan))))
    }
}

/// How a recording is asked for, with a command or with a call.
pub(super) fn plan(format: &str, channels: &str, track: Option<&str>) -> Result<Plan, ApiError> {
    if !["mp3", "wav"].contains(&format) {
        return Err(invalid("/format", "must be wav or mp3"));
    }
    let dual = match channels {
        "single" => false,
        "dual" => true,
        _ => return Err(invalid("/channels", "must be single or dual")),
    };
    let track = track.unwrap_or("both");
    if !["both", "inbound", "outbound"].contains(&track) {
        return Err(invalid(
            "/recording_track",
            "must be both, inbound or outbound",
        ));
    }
    Ok(Plan {
        dual,
        track: track.to_owned(),
        format: format.to_owned(),
        source: "StartCallRecordingAPI",
        ..Plan::default()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamingStart {
    stream_url: String,
    stream_track: Option<String>,
    stream_codec: Option<String>,
    stream_bidirectional_mode: Option<String>,
    stream_bidirectional_codec: Option<String>,
    stream_bidirectional_sampling_rate: Option<u32>,
    stream_bidirectional_target_legs: Option<String>,
    stream_auth_token: Option<String>,
    #[serde(default)]
    custom_parameters: Vec<Parameter>,
    client_state: Option<String>,
    command_id: Option<String>,
}

impl Command for StreamingStart {
    const NAME: &'static str = "streaming_start";

    fn split(self) -> Result<(Ids, Order), ApiError> {
        if !self.stream_url.starts_with("wss://") && !self.stream_url.starts_with("ws://") {
            return Err(invalid("/stream_url", "must be a WebSocket address"));
        }
        let codecs = ["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16", "default"];
        let legs = ["both", "self", "opposite"];
        let tracks = ["inbound_track", "outbound_track", "both_tracks"];
        let words: [(&'static str, &Option<String>, &[&str]); 5] = [
            ("/stream_track", &self.stream_track, &tracks),
            ("/stream_codec", &self.stream_codec, &codecs),
            (
                "/stream_bidirectional_mode",
                &self.stream_bidirectional_mode,
                &["mp3", "rtp"],
            ),
            (
                "/stream_bidirectional_codec",
                &self.stream_bidirectional_codec,
                &codecs,
            ),
            (
                "/stream_bidirectional_target_legs",
                &self.stream_bidirectional_target_legs,
                &legs,
            ),
        ];
        for (pointer, word, known) in words {
            if word.as_deref().is_some_and(|word| !known.contains(&word)) {
                return Err(invalid(pointer, "is not one of the known words"));
            }
        }
        let rate = self.stream_bidirectional_sampling_rate;
        if rate.is_some_and(|rate| ![8_000, 16_000, 22_050, 24_000, 48_000].contains(&rate)) {
            return Err(invalid(
                "/stream_bidirectional_sampling_rate",
                "is not a known rate",
            ));
        }
        if self
            .stream_auth_token
            .as_deref()
            .is_some_and(|t| t.len() > MAX_TOKEN)
        {
            return Err(invalid("/stream_auth_token", "has at most 4000 characters"));
        }
        let params = self.custom_parameters.into_iter();
        let params: BTreeMap<_, _> = params.map(|one| (one.name, one.value)).collect();
        Ok((ids!(self), Order::Stream((self.stream_url, params))))
    }
}
