//! The one request that makes a telephone ring, and what its answer means.
//!
//! Nothing else can send it: the HTTP client is private to this file and knows one URL. It leaves
//! at most once (see [`crate::carrier::once`]).

use std::time::Duration;

use bytes::Bytes;
use dialfleet_domain::call::Refusal;
use dialfleet_domain::id::CarrierCallId;
use dialfleet_engine::port::carrier::DialAnswer;
use reqwest::Client;
use url::Url;

use super::error::{ApiError, Verdict, judge};
use super::is_sid;
use super::record::CallJson;
use crate::carrier::client::{self, BodyError, Purpose};
use crate::carrier::once;
use crate::carrier::scrub::Scrub;

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// What a placed call is answered with, and nothing else.
const CREATED: u16 = 201;

/// Places calls.
pub(super) struct Dialer {
    http: Client,
    url: Url,
    scrub: Scrub,
}

impl Dialer {
    /// `url` is the account's `Calls.json`.
    pub(super) fn new(purpose: &Purpose, url: Url, scrub: Scrub) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: client::build(purpose)?,
            url,
            scrub,
        })
    }

    /// Sends the create request once.
    pub(super) async fn dial(&self, form: String) -> DialAnswer {
        let request = self.http.post(self.url.clone());
        match once::post(request, FORM, form, &self.scrub).await {
            Err(unanswered) => unanswered,
            Ok(answer) => self.answered(answer.status, answer.body),
        }
    }

    fn answered(&self, status: u16, body: Result<Bytes, BodyError>) -> DialAnswer {
        if (200..300).contains(&status) {
            return match body {
                Ok(body) => self.accepted(status, &body),
                Err(error) => DialAnswer::Unclear(self.scrub.chain(&error)),
            };
        }
        let error = body.ok().and_then(|body| ApiError::read(&body));
        let code = error.as_ref().and_then(ApiError::code);
        let code = code.map_or_else(|| format!("HTTP {status}"), |code| code.to_string());
        let message = error.as_ref().map_or("", ApiError::message);
        match judge(status, error.as_ref()) {
            Verdict::Refused(class) => DialAnswer::Refused(Refusal {
                class,
                code,
                message: self.scrub.clean(message),
            }),
            Verdict::Unclear => DialAnswer::Unclear(
                self.scrub
                    .clean(&format!("HTTP {status}, {code}: {message}")),
            ),
        }
    }

    fn accepted(&self, status: u16, body: &[u8]) -> DialAnswer {
        let unclear =
            |why: &str| DialAnswer::Unclear(self.scrub.clean(&format!("HTTP {status}, but {why}")));
        if status != CREATED {
            return unclear("a call that was placed is answered with 201");
        }
        let Ok(call) = serde_json::from_slice::<CallJson>(body) else {
            return unclear("the answer is not a call");
        };
        // Taken for a call's name, anything else would be asked for in vain until the hard end.
        match CarrierCallId::parse(call.sid) {
            Ok(call_id) if is_call_sid(call_id.as_str()) => DialAnswer::Accepted {
                call_id,
                queued_for: Duration::from_millis(call.queue_time.unwrap_or(0)),
            },
            Ok(_) | Err(_) => unclear("the call has no usable sid"),
        }
    }
}

fn is_call_sid(sid: &str) -> bool {
    sid.strip_prefix("CA").is_some_and(is_sid)
}
