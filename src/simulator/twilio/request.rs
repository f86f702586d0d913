//! A create request: its form, checked as Twilio checks it.

use std::time::Duration;

use super::detection::Detection;
use super::document::Target;
use super::wire::ApiError;
use crate::network::Dial;
use crate::takes::Plan;
use crate::timetable::CallStatus;
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

    /// Every value of `key`.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
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
    pub(super) detection: Option<Detection>,
    /// What happens after the answer. `None`: an application's own document, which is silence.
    pub(super) source: Option<Source>,
    /// Where a document comes from when its own address fails.
    pub(super) fallback: Option<String>,
    /// The recording asked for with the call.
    pub(super) record: Option<Plan>,
}

/// Where a document comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// It came with the request.
    Inline(String),
    /// It is asked for.
    Fetched(Target),
}

/// Longest document within a request.
const MAX_TWIML: usize = 4_000;

impl Source {
    /// `Url` or, without one, `Twiml`.
    pub(super) fn parse(form: &Form) -> Result<Option<Self>, ApiError> {
        let bad = |code, message: &str| ApiError::new(400, code, message);
        let post = match form.get("Method") {
            None | Some("POST") => true,
            Some("GET") => false,
            Some(_) => return Err(bad(21206, "Method is not valid.")),
        };
        match (form.get("Url"), form.get("Twiml")) {
            (Some(url), _) if !is_http(url) => Err(bad(21205, "Url is not a valid URL.")),
            (Some(url), _) => {
                let url = url.to_owned();
                Ok(Some(Self::Fetched(Target { url, post })))
            }
            (None, Some(text)) if text.chars().count() > MAX_TWIML => {
                Err(bad(21218, "Twiml has more than 4000 characters."))
            }
            (None, Some(text)) => Ok(Some(Self::Inline(text.to_owned()))),
            (None, None) => Ok(None),
        }
    }
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
        let source = Source::parse(form)?;
        if source.is_none() && form.get("ApplicationSid").is_none() {
            return Err(bad(21205, "Url parameter is required."));
        }
        let callback = |key| match form.get(key) {
            Some(url) if !is_http(url) => Err(bad(21609, "The StatusCallback URL is not valid.")),
            url => Ok(url.map(str::to_owned)),
        };
        let status_callback = callback("StatusCallback")?;
        let amd_callback = callback("AsyncAmdStatusCallback")?;
        // Documented: no detection when digits are sent.
        let detection = Detection::parse(form)?.filter(|_| form.get("SendDigits").is_none());
        let asynchronous = detection.is_some_and(|d| !d.holds);
        let record = match form.get("Record") {
            Some("true") => Some(Plan::parse(form, "OutboundAPI")?),
            None | Some("false") => None,
            Some(_) => return Err(bad(21206, "Record is not valid.")),
        };
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
            amd: detection.map(|d| d.amd),
        };
        let events = form
            .all("StatusCallbackEvent")
            .flat_map(str::split_whitespace);
        Ok(Self {
            dial,
            status_callback,
            events: events.map(str::to_owned).collect(),
            amd_callback: amd_callback.filter(|_| asynchronous),
            detection,
            source,
            fallback: callback("FallbackUrl")?,
            record,
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
