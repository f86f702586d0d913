//! The one request that makes a telephone ring, and what its answer means.
//!
//! Nothing else can send it: the HTTP client is private to this file and knows one URL. It leaves
//! at most once. Retries and redirects are off, and its body is a stream with one item: a layer
//! below that sent the request a second time would have no body left, and with a `Content-Length`
//! that is not met no server can act on it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use dialfleet_domain::call::{Refusal, RefusalClass};
use dialfleet_domain::id::CarrierCallId;
use dialfleet_engine::port::carrier::DialAnswer;
use futures_util::{future, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Client};
use url::Url;

use super::error::{ApiError, Verdict, judge};
use super::record::CallJson;
use crate::carrier::client::{self, BodyError, Purpose};
use crate::carrier::scrub::Scrub;

/// A call's record has some 2 kB.
const MAX_ANSWER: usize = 64 * 1024;
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

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
        let length = form.len();
        let once = stream::once(future::ready(Ok::<_, Infallible>(Bytes::from(form))));
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, FORM)
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(once));
        match request.send().await {
            Err(error) => self.not_answered(&error.without_url()),
            Ok(response) => {
                let status = response.status().as_u16();
                let body = client::read(response, MAX_ANSWER).await;
                self.answered(status, body)
            }
        }
    }

    /// No answer came. Only what failed before a connection stood is known not to have been sent: a
    /// connect failure or time-out is told apart from the total one by where it happened.
    fn not_answered(&self, error: &reqwest::Error) -> DialAnswer {
        let said = self.scrub.chain(error);
        let refused = |class, code: &str| {
            let refusal = Refusal {
                class,
                code: code.to_owned(),
                message: said.clone(),
            };
            DialAnswer::Refused(refusal)
        };
        if error.is_builder() {
            refused(RefusalClass::ConfigFault, "request")
        } else if error.is_dns() {
            refused(RefusalClass::Failover, "dns")
        } else if error.is_connect() {
            refused(RefusalClass::Failover, "connect")
        } else {
            DialAnswer::Unclear(said)
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
        let Ok(call) = serde_json::from_slice::<CallJson>(body) else {
            return unclear("the answer is not a call");
        };
        match CarrierCallId::parse(call.sid) {
            Err(_) => unclear("the call has no usable sid"),
            Ok(call_id) => DialAnswer::Accepted {
                call_id,
                queued_for: Duration::from_millis(call.queue_time.unwrap_or(0)),
            },
        }
    }
}
