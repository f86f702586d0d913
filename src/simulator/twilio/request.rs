//! A create request: its form, checked as Twilio checks it.

use std::time::Duration;

use super::wire::ApiError;
use crate::network::Dial;
use crate::timetable::{Amd, CallStatus};
use crate::whose::{Whose, is_e164, is_http};

/// Fields of a form body, in order, keys repeated.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The first value of `key` that is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).find(|value| !value.is_empty())
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    fn seconds(&self, key: &str, default: u64) -> Duration {
        Duration::from_secs(
            self.get(key)
                .and_then(|v| v.parse().ok())
                .unwrap_or(default),
        )
    }
}

pub(super) struct CallRequest {
    pub(super) dial: Dial,
    pub(super) status_callback: Option<String>,
    events: Vec<String>,
    /// Where to post the result of asynchronous detection.
    pub(super) amd_callback: Option<String>,
}

impl CallRequest {
    pub(super) fn parse(form: &Form, carrier: &str) -> Result<Self, ApiError> {
        let bad = |code, message: &str| ApiError::new(400, code, message);
        let to = form
            .get("To")
            .ok_or_else(|| bad(21201, "No 'To' number is specified"))?;
        let from = form
            .get("From")
            .ok_or_else(|| bad(21213, "No 'From' number is specified"))?;
        if !is_e164(to) {
            return Err(bad(
                21211,
                "The phone number you are attempting to call is not valid.",
            ));
        }
        if !is_e164(from) {
            return Err(bad(21212, "The source phone number provided is not valid."));
        }
        if !["Url", "Twiml", "ApplicationSid"]
            .iter()
            .any(|key| form.get(key).is_some())
        {
            return Err(bad(21205, "Url parameter is required."));
        }
        if form.get("Url").is_some_and(|url| !is_http(url)) {
            return Err(bad(21205, "Url is not a valid URL."));
        }
        let callback = |key| match form.get(key) {
            Some(url) if !is_http(url) => Err(bad(21609, "The StatusCallback URL is not valid.")),
            url => Ok(url.map(str::to_owned)),
        };
        let status_callback = callback("StatusCallback")?;
        let amd_callback = callback("AsyncAmdStatusCallback")?;
        let amd = match form.get("MachineDetection") {
            None => None,
            Some("Enable") => Some(Amd::Detect),
            Some("DetectMessageEnd") => Some(Amd::GreetingEnd),
            Some(_) => return Err(bad(21234, "Invalid MachineDetection value.")),
        };
        let asynchronous = amd.is_some() && form.get("AsyncAmd") == Some("true");
        let whose = Whose::of(status_callback.as_deref().unwrap_or_default(), from);
        let dial = Dial {
            carrier: carrier.to_owned(),
            to: to.to_owned(),
            from: from.to_owned(),
            ring_timeout: form.seconds("Timeout", 60),
            time_limit: form.seconds("TimeLimit", 14_400),
            attempt_key: whose.attempt,
            campaign_key: whose.campaign,
            leg: whose.leg,
            amd,
        };
        let events = form
            .all("StatusCallbackEvent")
            .flat_map(str::split_whitespace);
        Ok(Self {
            dial,
            status_callback,
            events: events.map(str::to_owned).collect(),
            amd_callback: amd_callback.filter(|_| asynchronous),
        })
    }

    /// Whether a callback was asked for when a call gets this status.
    pub(super) fn wants(&self, status: CallStatus) -> bool {
        let event = match status {
            CallStatus::Queued => return false,
            CallStatus::Initiated => "initiated",
            CallStatus::Ringing => "ringing",
            CallStatus::InProgress => "answered",
            CallStatus::Completed
            | CallStatus::Busy
            | CallStatus::NoAnswer
            | CallStatus::Failed
            | CallStatus::Canceled => "completed",
        };
        let by_default = self.events.is_empty() && event == "completed";
        by_default || self.events.iter().any(|wanted| wanted == event)
    }
}
