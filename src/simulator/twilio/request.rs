//! A create request: its form, checked as Twilio checks it, and whose attempt it is.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::wire::ApiError;
use crate::network::Dial;
use crate::timetable::{Amd, CallStatus};

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
    pub(super) fn parse(form: &Form) -> Result<Self, ApiError> {
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

    /// Names this call for faults and counts: the same in every run.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.dial.attempt_key, self.dial.leg)
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

/// Whose call it is, read from the callback URL.
pub(super) struct Whose {
    pub(super) attempt: String,
    pub(super) campaign: String,
    pub(super) leg: String,
}

impl Whose {
    /// Dialfleet calls back at `…/webhooks/twilio/<carrier>/<attempt>/<leg>/<mac>`, the attempt being
    /// base64url of `<campaign>:<ref>:<n>`. For any other client the URL is the attempt (none: each
    /// call is its own) and the caller id is the campaign.
    pub(super) fn of(url: &str, from: &str) -> Self {
        let path = url.split(['#', '?']).next().unwrap_or(url);
        let mut parts = path.rsplit('/');
        let tail = [
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ];
        if let [
            Some(_mac),
            Some(leg),
            Some(attempt),
            Some(_carrier),
            Some(_),
            Some("webhooks"),
        ] = tail
            && let Ok(bytes) = URL_SAFE_NO_PAD.decode(attempt)
            && let Ok(attempt) = String::from_utf8(bytes)
            && let Some((campaign, _)) = attempt.split_once(':')
        {
            let campaign = campaign.to_owned();
            return Self {
                attempt,
                campaign,
                leg: leg.to_owned(),
            };
        }
        Self {
            attempt: url.to_owned(),
            campaign: from.to_owned(),
            leg: String::new(),
        }
    }
}

fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

fn is_http(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|h| !h.contains('_'))
    })
}
